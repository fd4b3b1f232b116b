"""What became of each request: lines of output and error files as :class:`BatchResult` records.

Source: https://platform.openai.com/docs/guides/batch#5-retrieve-the-results
"""

from __future__ import annotations

import enum
import functools
import re
from typing import Any

import attrs
import msgspec

from openai_batches.errors import DecodeError

__all__ = ["BatchResult", "Outcome", "ResultError", "read_result"]


class Outcome(enum.StrEnum):
    """What became of one request."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    INVALID = "invalid"


_NEVER_RAN = {"batch_expired": Outcome.EXPIRED, "batch_cancelled": Outcome.CANCELLED}


@attrs.frozen(kw_only=True)
class ResultError:
    """Why one request did not succeed, in the service's words."""

    code: str | None = None
    message: str = ""
    type: str | None = None
    param: str | None = None


@attrs.frozen(kw_only=True)
class BatchResult:
    """One line of a result file.

    Attributes:
        custom_id: the request's own id; None only for an ``invalid`` line from which it could not be rescued.
        outcome: what became of the request.
        status_code: the HTTP status of the request's answer, or None where it never ran.
        request_id: the service's id of that answer, or None.
        error: why it did not succeed, or None.
        line_number: the 1-based line of the file.
        raw_body: the answer's body as it stood in the line, JSON in UTF-8; empty where there was none.
    """

    custom_id: str | None
    outcome: Outcome
    status_code: int | None = None
    request_id: str | None = None
    error: ResultError | None = None
    line_number: int = 0
    raw_body: bytes = attrs.field(default=b"", repr=False)

    @functools.cached_property
    def body(self) -> Any:
        """The answer's body, decoded on first use; None where there was none, a str where it is plain text.

        Raises:
            DecodeError: the body is not JSON.
        """
        if not self.raw_body:
            return None
        return _untwisted(_json(self.raw_body, self.line_number))

    @property
    def output_text(self) -> str | None:
        """The text of the answer (chat, responses or completions), or None where there is no text in it."""
        body = self.body if self.outcome is Outcome.SUCCEEDED else None
        if not isinstance(body, dict):
            return None
        if isinstance(choices := body.get("choices"), list):
            first = choices[0] if choices and isinstance(choices[0], dict) else {}
            message = first.get("message")
            text = message.get("content") if isinstance(message, dict) else first.get("text")
            return text if isinstance(text, str) else None
        parts = [
            part["text"]
            for item in _list(body.get("output"))
            if isinstance(item, dict)
            for part in _list(item.get("content"))
            if isinstance(part, dict) and part.get("type") == "output_text" and isinstance(part.get("text"), str)
        ]
        return "".join(parts) if parts else None


# What msgspec raises for bytes that are no JSON: it leaves strings in another encoding to Python, and deep nesting too.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# msgspec takes no factory for a Raw.
_NO_BODY = msgspec.Raw()


@attrs.define(kw_only=True)
class _Response:
    status_code: int = 0
    request_id: str | None = None
    body: msgspec.Raw = _NO_BODY


@attrs.define(kw_only=True)
class _Line:
    custom_id: str
    response: _Response | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Line, strict=False)
_CUSTOM_ID = re.compile(rb'"custom_id"\s*:\s*("(?:[^"\\]|\\.)*")')


def read_result(line: bytes, *, line_number: int) -> BatchResult:
    """Return what a line of a result file says; a line that cannot be read is one ``invalid`` result.

    Success is an ``error`` of null and a status of 200 to 299. A failed request keeps its reason in ``response.body``
    on some services and in ``error`` on others; both are read.

    Args:
        line: the line, without its end.
        line_number: the 1-based line of the file.
    """
    try:
        parsed = _decoder.decode(line)
    except _UNREADABLE as error:
        reason = ResultError(code="invalid_line", message=f"The line cannot be read: {error}")
        return BatchResult(
            custom_id=_rescued_id(line), outcome=Outcome.INVALID, error=reason, line_number=line_number, raw_body=b""
        )
    response = parsed.response or _Response()
    raw_body = bytes(response.body)
    reason_or_none = _reason(parsed.error)
    if reason_or_none is None and 200 <= response.status_code < 300:
        outcome = Outcome.SUCCEEDED
    else:
        reason_or_none = reason_or_none or _reason_in_body(raw_body, response.status_code)
        outcome = _NEVER_RAN.get(reason_or_none.code or "", Outcome.FAILED)
    return BatchResult(
        custom_id=parsed.custom_id,
        outcome=outcome,
        status_code=response.status_code if parsed.response else None,
        request_id=response.request_id,
        error=reason_or_none,
        line_number=line_number,
        raw_body=b"" if raw_body == b"null" else raw_body,
    )


def _rescued_id(line: bytes) -> str | None:
    found = _CUSTOM_ID.search(line)
    try:
        return msgspec.json.decode(found[1], type=str) if found else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _reason(error: Any) -> ResultError | None:
    if error is None:
        return None
    if not isinstance(error, dict):
        return ResultError(message=str(error))

    def text(name: str) -> str | None:
        value = error.get(name)
        return None if value is None else str(value)

    return ResultError(code=text("code"), message=text("message") or "", type=text("type"), param=text("param"))


def _reason_in_body(raw_body: bytes, status_code: int) -> ResultError:
    try:
        body = _untwisted(msgspec.json.decode(raw_body)) if raw_body else None
    except _UNREADABLE:
        body = None
    reason = _reason(body.get("error")) if isinstance(body, dict) else None
    return reason or ResultError(message=f"The request was answered with status {status_code}")


def _json(data: bytes, line_number: int) -> Any:
    try:
        return msgspec.json.decode(data)
    except _UNREADABLE as error:
        raise DecodeError(f"The body in line {line_number} is no JSON: {error}", line_number=line_number) from error


def _untwisted(body: Any) -> Any:
    """Return what a body holds that some services send as JSON text; other text is the body itself."""
    if isinstance(body, str):
        try:
            return msgspec.json.decode(body)
        except _UNREADABLE:
            return body
    return body


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
