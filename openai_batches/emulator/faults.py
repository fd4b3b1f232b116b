"""Faults: the ways in which a service, or the road to it, disappoints its clients."""

import asyncio
import io
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Self

import attrs
import msgspec
from aiohttp import web

from .answers import APIError, Hangup, StreamedAnswer
from .validation import not_found

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# How often a hanging answer looks whether its client has gone.
_LOOK_S = 0.02
_CREATE_BATCH = r"^/v1/batches/?$"


@attrs.define(kw_only=True)
class Fault:
    """One way to fail, which requests it befalls, and how often; the class methods name the kinds.

    Args:
        kind: A name from the registry.
        method: HTTP method it befalls; None is every method.
        path: Regular expression searched in the path; None is every path.
        times: How many requests it befalls; None is no end.
        after_n: How many matching requests pass unharmed first.
        probability: Chance to befall a request, 0 to 1.
        seed: Makes the chances repeatable.
        status: HTTP status of the kinds that answer.
        html: Answer with a page of HTML, as a proxy does, instead of JSON.
        retry_after_s: The `Retry-After` header in seconds; None leaves it out.
        retry_after_ms: The `retry-after-ms` header; None leaves it out.

    Raises:
        ValueError: `kind` is not registered, `path` is no regular expression, or `status` no HTTP status.
    """

    kind: str = attrs.field(kw_only=False)
    method: str | None = None
    path: str | None = None
    times: int | None = 1
    after_n: int = 0
    probability: float = 1.0
    seed: int = 0
    status: int = 500
    html: bool = False
    retry_after_s: float | None = None
    retry_after_ms: float | None = None
    fired: int = attrs.field(default=0, init=False)
    _seen: int = attrs.field(default=0, init=False)
    _random: random.Random = attrs.field(init=False, repr=False)
    _pattern: re.Pattern[str] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.method = self.method and self.method.upper()
        if not isinstance(self.status, int) or not 100 <= self.status <= 599:
            raise ValueError(f"status must be an HTTP status, not {self.status!r}")
        if self.kind not in _KINDS:
            raise ValueError(f"unknown kind of fault {self.kind!r}; there are {', '.join(sorted(_KINDS))}")
        self._random = random.Random(self.seed)
        try:
            self._pattern = re.compile(self.path or "")
        except re.error as error:
            raise ValueError(f"path {self.path!r} is no regular expression: {error}") from error

    @classmethod
    def lost_answer(cls, **where: Any) -> Self:
        """Act, then reset the connection without an answer; `where` takes the selecting parameters of `Fault`."""
        return cls("lost_answer", **where)

    @classmethod
    def reset_before(cls, **where: Any) -> Self:
        """Reset the connection before acting."""
        return cls("reset_before", **where)

    @classmethod
    def error_before(cls, status: int = 500, *, html: bool = False, **where: Any) -> Self:
        """Answer with `status` before acting."""
        return cls("error_before", status=status, html=html, **where)

    @classmethod
    def error_after(cls, status: int = 500, *, html: bool = False, **where: Any) -> Self:
        """Act, then answer with `status` all the same."""
        return cls("error_after", status=status, html=html, **where)

    @classmethod
    def hang_after(cls, **where: Any) -> Self:
        """Act, then never answer, until the client gives up or the server closes."""
        return cls("hang_after", **where)

    @classmethod
    def rate_limited(
        cls, *, retry_after_s: float | None = None, retry_after_ms: float | None = None, **where: Any
    ) -> Self:
        """Answer 429 before acting, with the waiting headers that are given."""
        return cls("rate_limited", retry_after_s=retry_after_s, retry_after_ms=retry_after_ms, **where)

    @classmethod
    def file_not_found_once(cls, **where: Any) -> Self:
        """Refuse to create a batch because its input file is supposedly not there."""
        where = {"method": "POST", "path": _CREATE_BATCH, **where}
        return cls("file_not_found_once", **where)

    @classmethod
    def cut_body(cls, **where: Any) -> Self:
        """Act, announce the whole answer, send half of its body and reset the connection."""
        return cls("cut_body", **where)

    def befalls(self, request: web.Request) -> bool:
        """Tell whether this request is hit, and count it."""
        if self.method not in {None, request.method} or not self._pattern.search(request.path):
            return False
        self._seen += 1
        if self._seen <= self.after_n or (self.times is not None and self.fired >= self.times):
            return False
        if self._random.random() >= self.probability:
            return False
        self.fired += 1
        return True


class Faults:
    """The faults of a running server, in the order in which they were added; the first that befalls a request wins."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = list(faults)
        self.closing: asyncio.Event = asyncio.Event()

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._faults))

    def __len__(self) -> int:
        return len(self._faults)

    def add(self, *faults: Fault) -> None:
        """Add faults behind those that are there."""
        self._faults.extend(faults)

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer through the first fault that befalls the request, or undisturbed."""
        for fault in self:
            if fault.befalls(request):
                return await _KINDS[fault.kind](_Case(fault, request, handler, self.closing))
        return await handler(request)


@attrs.frozen
class _Case:
    fault: Fault
    request: web.Request
    handler: Handler
    closing: asyncio.Event

    async def act(self) -> web.StreamResponse:
        """Do what was asked."""
        return await self.handler(self.request)


_Kind = Callable[[_Case], Awaitable[web.StreamResponse]]
_KINDS: dict[str, _Kind] = {}


def _kind(function: _Kind) -> _Kind:
    """Register a kind under its function's name."""
    _KINDS[function.__name__.strip("_")] = function
    return function


def _discard(answer: web.StreamResponse) -> None:
    if isinstance(answer, StreamedAnswer):
        answer.close()


def _error(status: int, *, html: bool) -> web.Response:
    if html:
        page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>\n"
        return web.Response(text=page, status=status, content_type="text/html")
    message = "The server had an error while processing your request."
    return APIError(message, status=status, type="server_error").to_response()


@_kind
async def _lost_answer(case: _Case) -> web.StreamResponse:
    _discard(await case.act())
    return Hangup()


@_kind
async def _reset_before(_: _Case) -> web.StreamResponse:
    return Hangup()


@_kind
async def _error_before(case: _Case) -> web.StreamResponse:
    return _error(case.fault.status, html=case.fault.html)


@_kind
async def _error_after(case: _Case) -> web.StreamResponse:
    _discard(await case.act())
    return _error(case.fault.status, html=case.fault.html)


@_kind
async def _hang_after(case: _Case) -> web.StreamResponse:
    _discard(await case.act())
    while case.request.transport is not None and not case.closing.is_set():  # noqa: ASYNC110 - a lost client sets no event
        await asyncio.sleep(_LOOK_S)
    return Hangup()


@_kind
async def _rate_limited(case: _Case) -> web.StreamResponse:
    headers = {}
    if case.fault.retry_after_s is not None:
        headers["Retry-After"] = f"{case.fault.retry_after_s:g}"
    if case.fault.retry_after_ms is not None:
        headers["retry-after-ms"] = f"{case.fault.retry_after_ms:g}"
    raise APIError(
        "Rate limit reached for requests.", status=429, type="requests", code="rate_limit_exceeded", headers=headers
    )


@_kind
async def _file_not_found_once(case: _Case) -> web.StreamResponse:
    try:
        body = msgspec.json.decode(await case.request.read(), type=dict[str, Any])
    except ValueError:
        body = {}
    raise APIError(not_found(str(body.get("input_file_id"))), param="file_id")


@_kind
async def _cut_body(case: _Case) -> web.StreamResponse:
    answer = await case.act()
    if isinstance(answer, web.Response) and isinstance(answer.body, bytes):
        headers = {"Content-Type": answer.headers["Content-Type"]}
        body = answer.body
        answer = StreamedAnswer(io.BytesIO(body), start=0, length=len(body), status=answer.status, headers=headers)
    if isinstance(answer, StreamedAnswer):
        answer.cut_in_half()
    return answer
