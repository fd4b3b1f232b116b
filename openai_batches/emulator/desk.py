"""What every route needs: the parts of one server, and who is asking."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs
from aiohttp import web

from .answers import APIError
from .clock import Clock
from .faults import Faults
from .lifecycle import Lifecycle
from .rules import Rules
from .store import Shelf, Store, StoredBatch, StoredFile

_SHOWN_HEAD = 5
_SHOWN_TAIL = 4
_MAX_CLIENT_REQUEST_ID = 512

ScopedHandler = Callable[[web.Request, str], Awaitable[web.StreamResponse]]
R = TypeVar("R", StoredBatch, StoredFile)


@attrs.define(kw_only=True)
class RequestRecord:
    """One request as the server saw it.

    Args:
        method: HTTP method.
        path: Decoded path.
        query: Query parameters, the first of each name.
        headers: Lower-cased headers that tell how a client behaves; never the key.
        time: Emulated Unix seconds of its arrival.
        status: HTTP status of the answer; None while there is none, and where the connection was cut instead.
        request_id: The `x-request-id` of the answer.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    time: float
    request_id: str
    status: int | None = None


@attrs.define(kw_only=True)
class Desk:
    """The parts of one server, handed to its routes."""

    rules: Rules
    store: Store
    clock: Clock
    lifecycle: Lifecycle
    faults: Faults
    requests: deque[RequestRecord]

    def scope(self, request: web.Request) -> str:
        """Return whose batches and files the request may see: its key.

        Raises:
            APIError: There is no key or a wrong one, or the client's request id is unusable.
        """
        client_id = request.headers.get("X-Client-Request-Id", "")
        if len(client_id) > _MAX_CLIENT_REQUEST_ID or not client_id.isascii():
            message = f"X-Client-Request-Id must be ASCII of at most {_MAX_CLIENT_REQUEST_ID} characters."
            raise APIError(message)
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            message = "You didn't provide an API key. Send it in the Authorization header, as Bearer YOUR_KEY."
            raise APIError(message, status=401)
        if self.rules.api_keys is not None and key not in self.rules.api_keys:
            message = (
                f"Incorrect API key provided: {_masked(key)}. "
                "You can find your API key at https://platform.openai.com/account/api-keys."
            )
            raise APIError(message, status=401, code="invalid_api_key")
        return key

    def guarded(self, handler: ScopedHandler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Wrap a handler so that it is only reached with a valid key."""

        async def guard(request: web.Request) -> web.StreamResponse:
            return await handler(request, self.scope(request))

        return guard

    def page(
        self,
        shelf: Shelf[R],
        request: web.Request,
        scope: str,
        *,
        limit: int,
        missing: Callable[[str], str],
        newest_first: bool = True,
        keep: Callable[[R], bool] = lambda _: True,
    ) -> dict[str, Any]:
        """Return one page of a listing; `missing` words the refusal of an unknown cursor.

        Raises:
            APIError: The cursor is unknown, and the rules say that this is an error.
        """
        after = request.query.get("after") or None
        if after is not None and not shelf.knows(scope, after):
            if self.rules.unknown_cursor == "error":
                raise APIError(missing(after), param="after")
            limit = 0 if self.rules.unknown_cursor == "empty" else limit
            after = None
        items, has_more = shelf.page(scope, after=after, limit=limit, newest_first=newest_first, keep=keep)
        return {
            "object": "list",
            "data": [item.to_wire() for item in items],
            "first_id": items[0].id if items else None,
            "last_id": items[-1].id if items else None,
            "has_more": has_more,
        }


def _masked(key: str) -> str:
    """Show the ends of a long key and nothing of a short one."""
    hidden = len(key) - _SHOWN_HEAD - _SHOWN_TAIL
    if hidden < _SHOWN_HEAD:
        return "*" * len(key)
    return f"{key[:_SHOWN_HEAD]}{'*' * hidden}{key[-_SHOWN_TAIL:]}"
