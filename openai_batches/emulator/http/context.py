"""The context of every route: the parts of one server, and the key of a request."""

import sys
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs
from aiohttp import web

from openai_batches._names import public
from openai_batches.emulator.answers import APIError, page_of
from openai_batches.emulator.batches.lifecycle import Lifecycle
from openai_batches.emulator.clock import Clock
from openai_batches.emulator.faults.faults import Faults
from openai_batches.emulator.http.limits import Limits
from openai_batches.emulator.keys import ApiKey
from openai_batches.emulator.profiles.profiles import Profile
from openai_batches.emulator.rules import Rules
from openai_batches.emulator.store.index import Index
from openai_batches.emulator.store.records import StoredBatch, StoredFile
from openai_batches.emulator.store.store import Store

_SHOWN_HEAD = 5
_SHOWN_TAIL = 4
_MAX_CLIENT_REQUEST_ID = 512

ScopedHandler = Callable[[web.Request, str], Awaitable[web.StreamResponse]]
R = TypeVar("R", StoredBatch, StoredFile)


@public
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
class Context:
    """The parts of one server that its routes need."""

    rules: Rules
    store: Store
    clock: Clock
    lifecycle: Lifecycle
    faults: Faults
    requests: deque[RequestRecord]
    profile: Profile
    limits: Limits = attrs.field(init=False)
    _retrievals: Counter[str] = attrs.field(factory=Counter[str], init=False)

    def __attrs_post_init__(self) -> None:
        self.limits = Limits(rules=self.rules, clock=self.clock, store=self.store)

    def owner(self, request: web.Request) -> ApiKey:
        """Return the key of the request, whose project's batches and files it may see."""
        client_id = request.headers.get("X-Client-Request-Id", "")
        if len(client_id) > _MAX_CLIENT_REQUEST_ID or not client_id.isascii():
            message = f"X-Client-Request-Id must be ASCII of at most {_MAX_CLIENT_REQUEST_ID} characters."
            raise APIError(message)
        key = self.key(request)
        if not key:
            message = "You didn't provide an API key. Send it in the Authorization header, as Bearer YOUR_KEY."
            raise APIError(message, status=401)
        owner = ApiKey(key) if self.rules.keys is None else self.rules.keys.get(key)
        if owner is None:
            message = (
                f"Incorrect API key provided: {_masked(key)}. "
                "You can find your API key at https://platform.openai.com/account/api-keys."
            )
            raise APIError(message, status=401, code="invalid_api_key")
        owner.check(request, refusal_status=self.rules.choices.missing_scope_status)
        return owner

    def key(self, request: web.Request) -> str:
        """Return the key that the request carries, valid or not; "" is none."""
        for name in self.profile.key_headers:
            if key := request.headers.get(name, "").strip():
                return key
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""

    def show(self, item: StoredBatch | StoredFile) -> dict[str, Any]:
        """Return the record of a batch or a file as the service shows it."""
        record = self.profile.show(item)
        if self.rules.choices.model_while_validating == "absent" and record.get("model", "") is None:
            del record["model"]
        if isinstance(item, StoredFile) and self.is_pending(item):
            record["status"] = "pending"
        return record

    def count_retrieval(self, file: StoredFile) -> None:
        """Count that a file's record is read."""
        if self.is_pending(file):
            self._retrievals[file.id] += 1

    def is_pending(self, file: StoredFile) -> bool:
        """Tell whether no batch can be made of a file yet, because it was only just uploaded."""
        profile = self.profile
        if not profile.pending_s or file.purpose != "batch":
            return False
        is_young = self.clock.now() < file.created_at + profile.pending_s
        return is_young and self._retrievals[file.id] <= profile.pending_looks

    def guarded(self, handler: ScopedHandler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Wrap a handler so that it is only reached with a valid key."""

        async def guard(request: web.Request) -> web.StreamResponse:
            owner = self.owner(request)
            try:
                answer = await handler(request, self.store.owner(owner.owner))
            except APIError as error:
                error.headers.update(owner.answer_headers)
                raise
            answer.headers.update(owner.answer_headers)
            return answer

        shape = self.profile.refusal
        if shape is None:
            return guard

        async def shaping_guard(request: web.Request) -> web.StreamResponse:
            try:
                return await guard(request)
            except APIError as error:
                error.body = shape(error.body)
                raise

        return shaping_guard

    def page(
        self,
        index: Index[R],
        request: web.Request,
        scope: str,
        *,
        limit: int,
        missing: Callable[[str], str],
        newest_first: bool = True,
        keep: Callable[[R], bool] = lambda _: True,
    ) -> dict[str, Any]:
        """Return one page of a listing; `missing` words the refusal of an unknown cursor."""
        if not self.profile.has_cursors:
            items, _ = index.page(scope, after=None, limit=sys.maxsize, newest_first=newest_first, keep=keep)
            return {"object": "list", "data": [self.show(item) for item in items]}
        after = request.query.get("after") or None
        if after is not None and not index.knows(scope, after):
            if self.rules.unknown_cursor == "error":
                raise APIError(missing(after), param="after")
            limit = 0 if self.rules.unknown_cursor == "empty" else limit
            after = None
        items, has_more = index.page(scope, after=after, limit=limit, newest_first=newest_first, keep=keep)
        return page_of([self.show(item) for item in items], has_more=has_more)


def _masked(key: str) -> str:
    """Show the ends of a long key and nothing of a short one."""
    hidden = len(key) - _SHOWN_HEAD - _SHOWN_TAIL
    if hidden < _SHOWN_HEAD:
        return "*" * len(key)
    return f"{key[:_SHOWN_HEAD]}{'*' * hidden}{key[-_SHOWN_TAIL:]}"
