"""Faults that refuse: limits, quotas, broken servers, and files and batches that are supposedly not there."""

import email.utils
from typing import Any, Self, Unpack

import attrs
import msgspec
from aiohttp import web

from openai_batches.emulator.answers import APIError
from openai_batches.emulator.faults.aim import AimedFault, Where
from openai_batches.emulator.faults.cases import CREATE, ONE_BATCH, Case
from openai_batches.emulator.faults.kinds import field, kind
from openai_batches.emulator.rules import ORGANIZATION
from openai_batches.emulator.validation import not_found, token_limit_reached


def _is_http_status(_: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    if value not in range(100, 600):
        raise ValueError(f"{attribute.name} must be an HTTP status, not {value!r}")


@attrs.frozen(kw_only=True)
class _AsPage:
    """Whether the answer is a page of HTML, as a proxy's, instead of JSON."""

    html: bool = field()


@attrs.frozen(kw_only=True)
class _Status(_AsPage):
    """The HTTP status of the answer, and how it is written."""

    status: int = attrs.field(validator=_is_http_status)


@attrs.frozen(kw_only=True)
class _Waiting:
    """The headers that say how long to wait; None leaves one out.

    They are `Retry-After` in seconds, `retry-after-ms`, and `Retry-After` as a date so many seconds from the server's
    present.
    """

    retry_after_s: float | None = field()
    retry_after_ms: float | None = field()
    retry_after_date_s: float | None = field()


@attrs.frozen(kw_only=True)
class _Limit:
    """Enqueued tokens that the service says it allows."""

    limit: int = field(least=0)


def _page(status: int) -> web.Response:
    page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>\n"
    return web.Response(text=page, status=status, content_type="text/html")


def _error(status: int, *, html: bool) -> web.Response:
    if html:
        return _page(status)
    message = "The server had an error while processing your request."
    return APIError(message, status=status, type="server_error").to_response()


async def _error_before(_: Case, error: _Status) -> web.StreamResponse:
    return _error(error.status, html=error.html)


async def _error_after(case: Case, error: _Status) -> web.StreamResponse:
    await case.act_and_drop()
    return _error(error.status, html=error.html)


async def _too_large(_: Case, written: _AsPage) -> web.StreamResponse:
    if written.html:
        return _page(413)
    return APIError("The request is too large.", status=413).to_response()


async def _rate_limited(case: Case, waiting: _Waiting) -> web.StreamResponse:
    headers: dict[str, str] = {}
    if waiting.retry_after_s is not None:
        headers["Retry-After"] = f"{waiting.retry_after_s:g}"
    if waiting.retry_after_date_s is not None:
        headers["Retry-After"] = email.utils.formatdate(case.now() + waiting.retry_after_date_s, usegmt=True)
    if waiting.retry_after_ms is not None:
        headers["retry-after-ms"] = f"{waiting.retry_after_ms:g}"
    raise APIError(
        "Rate limit reached for requests.", status=429, type="requests", code="rate_limit_exceeded", headers=headers
    )


async def _insufficient_quota(_: Case) -> web.StreamResponse:
    message = "You exceeded your current quota. Check your plan and your billing details."
    raise APIError(message, status=429, type="insufficient_quota", code="insufficient_quota")


async def _asked(case: Case) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await case.request.read(), type=dict[str, Any])
    except ValueError:
        return {}


async def _file_not_found_once(case: Case) -> web.StreamResponse:
    file_id = (await _asked(case)).get("input_file_id")
    raise APIError(not_found(str(file_id), ORGANIZATION), param="file_id")


async def _token_limit_at_create(_: Case, allowed: _Limit) -> web.StreamResponse:
    raise APIError(token_limit_reached("this model", allowed.limit, ORGANIZATION), code="token_limit_exceeded")


async def _unseen_batch(case: Case) -> web.StreamResponse:
    batch_id = case.request.path.rstrip("/").rpartition("/")[2]
    raise APIError(f"No batch found with id '{batch_id}'.", status=404)


class RefusalFaults(AimedFault):
    """Names the faults that refuse."""

    __slots__ = ()

    @classmethod
    @kind(_error_before, _Status)
    def error_before(cls, status: int = 500, *, html: bool = False, **where: Unpack[Where]) -> Self:
        """Answer with `status` before acting, as JSON or as a page of HTML."""
        return cls("error_before", status=status, html=html, **where)

    @classmethod
    @kind(_error_after, _Status)
    def error_after(cls, status: int = 500, *, html: bool = False, **where: Unpack[Where]) -> Self:
        """Act, then answer with `status` all the same."""
        return cls("error_after", status=status, html=html, **where)

    @classmethod
    @kind(_too_large, _AsPage, method="POST")
    def too_large(cls, *, html: bool = False, **where: Unpack[Where]) -> Self:
        """Answer 413 before acting, as JSON or as a proxy's page of HTML."""
        return cls("too_large", html=html, **where)

    @classmethod
    @kind(_rate_limited, _Waiting)
    def rate_limited(
        cls,
        *,
        retry_after_s: float | None = None,
        retry_after_ms: float | None = None,
        retry_after_date_s: float | None = None,
        **where: Unpack[Where],
    ) -> Self:
        """Answer 429 before acting, with the waiting headers that are given.

        The date lies so many seconds ahead of the `Date` header, which is the emulated time.
        """
        return cls(
            "rate_limited",
            retry_after_s=retry_after_s,
            retry_after_ms=retry_after_ms,
            retry_after_date_s=retry_after_date_s,
            **where,
        )

    @classmethod
    @kind(_insufficient_quota)
    def insufficient_quota(cls, **where: Unpack[Where]) -> Self:
        """Answer 429 with type and code `insufficient_quota`, which waiting does not help."""
        return cls("insufficient_quota", **where)

    @classmethod
    @kind(_file_not_found_once, method="POST", path=CREATE)
    def file_not_found_once(cls, **where: Unpack[Where]) -> Self:
        """Refuse to create a batch with 400 because its input file is supposedly not there."""
        return cls("file_not_found_once", **where)

    @classmethod
    @kind(_token_limit_at_create, _Limit, method="POST", path=CREATE)
    def token_limit_at_create(cls, *, limit: int = 2_000_000, **where: Unpack[Where]) -> Self:
        """Refuse to create a batch with 400 `token_limit_exceeded`, as Azure does where it fails fast."""
        return cls("token_limit_at_create", limit=limit, **where)

    @classmethod
    @kind(_unseen_batch, method="GET", path=ONE_BATCH)
    def unseen_batch(cls, **where: Unpack[Where]) -> Self:
        """Answer 404 to the first questions for a batch, which is there."""
        return cls("unseen_batch", **where)
