"""Which bytes of a content are asked for after a connection was cut, and how often.

A range is only asked for where the service names its bytes by a strong validator; else the content is asked for anew.

Source: https://www.rfc-editor.org/rfc/rfc9110#name-range-requests
"""

from __future__ import annotations

import asyncio
import email.utils
import re
from typing import TYPE_CHECKING, Any

import attrs

from openai_batches.errors import TransportError
from openai_batches.http.wire import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_batches.http.client import ByteStream
    from openai_batches.http.retries import Transport

__all__ = ["Patience", "Ranges", "content_encoding"]

_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.ASCII | re.IGNORECASE)
# A file that changes twice within a second keeps its date; a minute allows for clocks that differ.
_SETTLED_S = 60.0
# However far each attempt gets: a server may give a single byte each time.
_MAX_ATTEMPTS = 1_000


class Ranges:
    """Which part of a content can be asked for; after one answer that is not what was asked for, only the whole.

    Attributes:
        path: the path of the content.
        validator: what tells its bytes from all others, or None where a cut answer has to begin anew.
    """

    def __init__(self, path: str, *, is_raw: bool) -> None:
        self.path = path
        self.validator: str | None = None
        self._is_raw = is_raw
        self._is_trusted = True

    def request(self, offset: int) -> Request[Any]:
        """Return the request for the bytes from an offset on."""
        # aiohttp does not notice when a compressed body is cut.
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if offset and self.validator:
            headers |= {"Range": f"bytes={offset}-", "If-Range": self.validator}
        return Request(method="GET", path=self.path, returns=object, headers=headers, is_raw=self._is_raw)

    def begin(self, headers: Mapping[str, str]) -> str | None:
        """Learn from the head of an answer that has all bytes whether they can be asked for in part.

        Return what tells these bytes from all others, also where they cannot; None where nothing does.
        """
        name = strong_validator(headers)
        is_plain = content_encoding(headers) is None
        self.validator = name if self._is_trusted and is_plain else None
        return name

    def go_on(self, stream: ByteStream, offset: int, total: int | None) -> int:
        """Check that a 206 goes on where the answer before it was cut; return how many bytes there are in all."""
        span = content_range(stream.headers)
        named_by = "etag" if self.validator and self.validator.startswith('"') else "last-modified"
        if (
            not offset
            or span is None
            or span.start != offset
            or span.total != (total or span.total)
            or stream.size not in {None, span.stop - span.start}
            or stream.headers.get(named_by) not in {None, self.validator}
            or content_encoding(stream.headers)
        ):
            raise self.distrust("the answer is another range than was asked for")
        return span.total

    def distrust(self, why: str) -> TransportError:
        """Return an error, and ask for no range again, since this service does not answer them properly."""
        self.validator = None
        self._is_trusted = False
        return TransportError(f"GET {self.path}: {why}")


class Patience:
    """How often a content that is cut again and again is asked for: as long as each answer brings new bytes.

    Attributes:
        attempts: how many answers were cut.
    """

    def __init__(self, transport: Transport) -> None:
        self.attempts: int = 0
        self._transport = transport
        self._highest = self._failures = 0
        self._first_failure_s = 0.0

    def pause_s(self, cut: TransportError, kept: int) -> float | None:
        """Return the pause before the next attempt, or None to give up."""
        now_s = asyncio.get_running_loop().time()
        self.attempts += 1
        if kept > self._highest or not self._failures:
            self._highest, self._failures, self._first_failure_s = max(self._highest, kept), 0, now_s
        self._failures += 1
        if not cut.can_pass or self.attempts == _MAX_ATTEMPTS:
            return None
        return self._transport.pause_s(cut, attempt=self._failures, elapsed_s=now_s - self._first_failure_s)


@attrs.frozen
class ContentRange:
    """The bytes from ``start`` up to, not including, ``stop``, of ``total`` in all."""

    start: int
    stop: int
    total: int


def content_range(headers: Mapping[str, str]) -> ContentRange | None:
    """Return which bytes the body of a 206 holds, or None where that is not said, or makes no sense.

    Source: https://www.rfc-editor.org/rfc/rfc9110#name-content-range
    """
    match = _RANGE.fullmatch(headers.get("content-range", "").strip())
    if match is None:
        return None
    first, last, total = map(int, match.groups())
    return ContentRange(first, last + 1, total) if first <= last < total else None


def strong_validator(headers: Mapping[str, str]) -> str | None:
    """Return the validator of a content for ``If-Range``, or None where there is no strong one.

    That is an ``ETag`` that is not weak, or, where there is no ``ETag`` at all, a ``Last-Modified`` that lies at least
    a minute before the answer's ``Date``.

    Source: https://www.rfc-editor.org/rfc/rfc9110#name-if-range
    """
    etag = headers.get("etag")
    if etag is not None:
        return etag if _ETAG.fullmatch(etag) else None
    modified = headers.get("last-modified", "")
    modified_s, sent_s = _seconds(modified), _seconds(headers.get("date", ""))
    if modified_s is None or sent_s is None or sent_s - modified_s < _SETTLED_S:
        return None
    return modified


def content_encoding(headers: Mapping[str, str]) -> str | None:
    """Return how the body is encoded, in lower case, or None where it is the bytes themselves."""
    encoding = headers.get("content-encoding", "").strip().lower()
    return None if encoding in {"", "identity"} else encoding


def _seconds(date: str) -> float | None:
    try:
        parsed = email.utils.parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return None if parsed.tzinfo is None else parsed.timestamp()
