"""How a call becomes a :class:`Request`, and an :class:`Answer` a record or an error.

Pure functions of values: no network, no clock, no disk. Header names are looked up in lower case: give a mapping that
ignores case, or one in lower case.

Source: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import email.utils
import inspect
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import attrs
import msgspec

from openai_batches._names import public
from openai_batches.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    DecodeError,
    InputError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from openai_batches.http.decode import decode
from openai_batches.http.failures import Repeat
from openai_batches.models import Page, answered

__all__ = [
    "Answer",
    "MultipartBody",
    "Request",
    "clean_path",
    "error_from",
    "query_string",
    "read",
    "segment",
]

T = TypeVar("T")

MAX_ID_CHARS = 1024
_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_\-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@attrs.frozen(kw_only=True)
class MultipartBody:
    """A form with one file, sent as ``multipart/form-data``.

    ``chunks`` is called once for each attempt, and gives the bytes of the file, exactly ``size`` of them.
    """

    fields: tuple[tuple[str, str], ...]
    field_name: str
    filename: str
    size: int
    chunks: Callable[[], AsyncIterator[bytes]]


@attrs.frozen(kw_only=True)
class Request(Generic[T]):
    """One call, complete but for the key and the service's address.

    ``path`` lies below the base URL, begins with a slash, and is quoted. ``max_bytes`` is the largest answer that is
    held in memory. With ``is_raw``, a body with a ``Content-Encoding`` is given as it was sent.
    """

    method: str
    path: str
    returns: type[T]
    repeat: Repeat = Repeat.SAFELY
    body: bytes | MultipartBody | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    max_bytes: int = 64 * 1024 * 1024
    is_raw: bool = False

    @property
    def bare(self) -> str:
        """The path without its query, for messages and logs."""
        return self.path.partition("?")[0]


@public
@attrs.frozen(kw_only=True)
class Answer:
    """What came back: status, headers (looked up ignoring case) and the whole body.

    ``request_id`` is the answer's ``x-request-id``, or None.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)

    @property
    def request_id(self) -> str | None:
        """The answer's ``x-request-id``, or None."""
        return self.headers.get("x-request-id")

    def json(self) -> Any:
        """Return the body as Python values.

        Raises:
            DecodeError: the body is not JSON.
        """
        return decode(self.body, Any)


def segment(value: str, *, name: str) -> str:
    """Return an id as one quoted path segment; an id that would change the path, such as ``..``, is refused."""
    if not isinstance(value, str):
        hint = ": pass its .id" if hasattr(value, "id") else ""
        hint = ": it was not awaited" if inspect.iscoroutine(value) else hint
        raise InputError(f"{name} must be a str, not {type(value).__name__}{hint}")
    if len(value) > MAX_ID_CHARS:
        raise InputError(f"{name} must have at most {MAX_ID_CHARS:,} characters, this one has {len(value):,}")
    if _PLAIN_SEGMENT.fullmatch(value):
        return value
    if not value:
        raise InputError(f"{name} must not be empty")
    if value in {".", ".."} or _CONTROL.search(value):
        raise InputError(f"{name} {value!r} cannot be an id")
    try:
        return quote(value, safe="")
    except UnicodeEncodeError as error:
        raise InputError(f"{name} {value!r} cannot be an id: {error.reason}") from error


def clean_path(path: str) -> str:
    """Return a caller's path, which is quoted and may have a query; one that leads out of the base URL is refused."""
    bare = path.partition("?")[0]
    if "://" in bare or path.startswith("//") or "\\" in path:
        raise InputError(f"path must lie below the base URL, not be an address of its own: {path!r}")
    if "#" in path or _CONTROL.search(path) or re.search(r"\s", path) or not path.isascii():
        raise InputError(f"path must be quoted, without fragment or white space: {path!r}")
    dots = {".", "..", "%2e", "%2e%2e", ".%2e", "%2e."}
    if any(part in dots for part in re.split("/|%2f|%5c", bare.lower())):
        raise InputError(f"path must not climb: {path!r}")
    return path if path.startswith("/") else f"/{path}"


def query_string(**parameters: str | int | None) -> str:
    """Return ``?name=value&…`` of the parameters that are not None, or nothing."""
    given = {name: value for name, value in parameters.items() if value is not None}
    try:
        return f"?{urlencode(given)}" if given else ""
    except UnicodeEncodeError as error:
        raise InputError(f"{given!r} cannot be a query: {error.reason}") from error


def read(request: Request[T], answer: Answer) -> T:
    """Return the record in an answer, with the answer's request id where the record can hold it."""
    request_id = answer.request_id
    try:
        record = decode(answer.body, request.returns)
    except DecodeError as error:
        error.add_note(f"{request.method} {request.path} answered {answer.status}, request id: {request_id}")
        raise
    answered((record,), request_id)
    if isinstance(record, Page):
        answered(record.data, request_id)
    return record


_CLASSES: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}
_SHOWN_CHARS = 300
_TITLE = re.compile(r"<(?:title|h1)\b[^>]{0,100}>([^<]{1,200})", re.IGNORECASE)


def error_from(answer: Answer, *, now: float) -> APIError:
    """Return the exception for an answer that is an error; its body may be cut, empty, or not JSON at all."""
    text = answer.body.decode("utf-8", "replace")
    error = _error_object(answer.body)
    message = error.get("message")
    if not isinstance(message, str) or not message:
        message = _description(text)
    cls = InternalServerError if answer.status >= 500 else _CLASSES.get(answer.status, APIError)
    return cls(
        message,
        status=answer.status,
        code=_code(error.get("code")),
        type=_code(error.get("type")),
        param=_code(error.get("param")),
        request_id=answer.request_id,
        retry_after=_retry_after_s(answer.headers, now),
        should_retry={"true": True, "false": False}.get(answer.headers.get("x-should-retry", "").lower()),
        body=error or text,
    )


def _description(text: str) -> str:
    """Return a message for an answer that is not the documented JSON."""
    shown = " ".join(text[: 4 * _SHOWN_CHARS].split())[:_SHOWN_CHARS]
    if not shown.startswith("<"):
        return shown or "the answer has no body"
    # Proxies and sign-in pages answer like this; the title or the heading says most.
    title = _TITLE.search(text)
    return "a web page, not an answer of the API" + (f": {' '.join(title[1].split())}" if title else "")


def _error_object(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return {}
    error = value.get("error", value)
    if isinstance(error, str):
        return {"message": error}
    if not isinstance(error, dict):
        return {}
    if "message" not in error and isinstance(error.get("detail"), str):
        return {**error, "message": error["detail"]}
    return error


def _code(value: Any) -> str | None:
    # Some services write the status as a number here.
    return None if value is None or value == "" else str(value)


def _retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            delay_s = float(headers[name]) * unit_s
        except (KeyError, ValueError):
            continue
        if 0 <= delay_s < float("inf"):
            return delay_s
    try:
        date = email.utils.parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError, OverflowError):
        return None
    return max(0.0, date.timestamp() - now)
