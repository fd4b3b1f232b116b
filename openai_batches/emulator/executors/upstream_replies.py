"""What the replies of an upstream server mean for the lines that it was asked."""

import email.utils
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

import attrs
import msgspec

from openai_batches.emulator.answers import error_object
from openai_batches.emulator.executors.executor import LineAnswer

# Replies that say "not now", which is no fault of the request.
_NOT_NOW = frozenset({429, 502, 503})
_EXCERPT_CHARACTERS = 200
_MAX_REQUEST_ID_CHARACTERS = 128
# A placeholder such as EMPTY for a key may well be a word of a good answer.
_MIN_SECRET_BYTES = 4
_MIN_SECRET_BYTES_OF_SUCCESS = 16

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@attrs.frozen
class Reply:
    """What came back: status, headers with lower-case names, and the whole body."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    came: Literal["whole", "broken", "too long", "not at all"] = "whole"

    @classmethod
    def missing(cls, came: Literal["broken", "too long", "not at all"], message: str) -> Self:
        """Return what stands for a reply that did not come, or not whole."""
        status, code = (502, "bad_upstream_answer") if came == "too long" else (503, "upstream_unavailable")
        body = {"error": error_object(message, type="server_error", code=code)}
        return cls(status, {}, msgspec.json.encode(body), came)

    @property
    def is_refusal_for_now(self) -> bool:
        """Whether the upstream will answer later: it is starting, overloaded, or away behind its proxy."""
        if self.came != "whole":
            return self.came == "not at all"
        return self.status in _NOT_NOW and b'"insufficient_quota"' not in self.content

    @property
    def is_worth_repeating(self) -> bool:
        """Whether another try may end otherwise, although the request itself may be the cause."""
        if self.came != "whole":
            return self.came == "broken"
        return self.status in {408, 409} or self.status >= 500

    def pause_s(self) -> float | None:
        """Return the seconds that the upstream asks to wait, in any of the three forms; None if it does not."""
        asked = _number(self.headers.get("retry-after-ms"))
        if asked is not None:
            return asked / 1000
        given = self.headers.get("retry-after")
        asked = _number(given)
        return _seconds_until(given) if given is not None and asked is None else asked


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _seconds_until(date: str) -> float | None:
    try:
        when = email.utils.parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time())


def to_answer(reply: Reply, secrets: Iterable[str]) -> LineAnswer:
    """Return the line's answer, in which none of `secrets` is shown.

    A body that is no JSON object becomes an error object that quotes its beginning; with a status of success, the
    status becomes 502.
    """
    is_success = 200 <= reply.status < 300
    content = _without(reply.content, secrets, _MIN_SECRET_BYTES_OF_SUCCESS if is_success else _MIN_SECRET_BYTES)
    request_id = _usable(reply.headers.get("x-request-id"))
    try:
        return LineAnswer(reply.status, _decode(content), request_id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        excerpt = content[: 4 * _EXCERPT_CHARACTERS].decode(errors="replace")
    excerpt = " ".join(excerpt.split())[:_EXCERPT_CHARACTERS]
    message = f"The upstream's answer of status {reply.status} is no JSON object: {excerpt}"
    error = error_object(message, type="server_error", code="bad_upstream_answer")
    return LineAnswer(502 if is_success else reply.status, {"error": error}, request_id)


def _without(content: bytes, secrets: Iterable[str], min_bytes: int) -> bytes:
    for secret in secrets:
        for spelling in {secret.encode(), msgspec.json.encode(secret)[1:-1]}:
            if len(spelling) >= min_bytes:
                content = content.replace(spelling, b"***")
    return content


def _usable(request_id: str | None) -> str | None:
    is_usable = request_id and request_id.isprintable() and len(request_id) <= _MAX_REQUEST_ID_CHARACTERS
    return request_id if is_usable else None
