"""The four operations on batches."""

from aiohttp import web

from . import parameters
from .answers import APIError, json_response
from .desk import Desk
from .rules import PROJECT
from .store import StoredBatch

_DEFAULT_LIMIT = 20
_MAX_LIMIT = 100
_UNCANCELLABLE = frozenset({"completed", "failed", "expired"})


class BatchRoutes:
    """Create, list, retrieve and cancel batches at one desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def add_to(self, app: web.Application) -> None:
        """Register the routes."""
        guarded = self._desk.guarded
        app.router.add_post("/v1/batches", guarded(self.create))
        app.router.add_get("/v1/batches", guarded(self.list), allow_head=False)
        app.router.add_get("/v1/batches/{id}", guarded(self.retrieve), allow_head=False)
        app.router.add_post("/v1/batches/{id}/cancel", guarded(self.cancel))

    async def create(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Make a batch of an uploaded file."""
        asked = parameters.create_batch(await parameters.json_object(request))
        now = self._desk.clock.now()
        file = self._desk.store.find_file(scope, asked.input_file_id, now)
        if file is None and self._desk.rules.unknown_input_file == "reject":
            message = f"Cannot find file {asked.input_file_id}, or project {PROJECT} does not have access to it."
            raise APIError(message, param="file_id")
        if file is not None and file.purpose != "batch":
            message = f"Invalid purpose of file '{file.id}': expected 'batch', but got '{file.purpose}' instead."
            raise APIError(message, param="input_file_id", code="invalid_value")
        batch = self._desk.store.new_batch(
            scope=scope,
            now=now,
            endpoint=asked.endpoint,
            input_file_id=asked.input_file_id,
            completion_window=asked.completion_window,
            metadata=asked.metadata,
            output_lifetime_s=asked.output_lifetime_s,
        )
        self._desk.lifecycle.begin(batch)
        return json_response(batch.to_wire())

    async def list(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Answer one page, the newest batch first."""
        limit = parameters.limit(request, default=_DEFAULT_LIMIT, minimum=0, maximum=_MAX_LIMIT)
        return json_response(self._desk.page(self._desk.store.batches, request, scope, limit=limit, missing=_no_batch))

    async def retrieve(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Answer one batch."""
        return json_response(self._batch(request, scope).to_wire())

    async def cancel(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Turn a batch towards cancelled."""
        batch = self._batch(request, scope)
        if batch.status in _UNCANCELLABLE:
            raise APIError(f"Cannot cancel a batch with status '{batch.status}'.", status=409)
        self._desk.lifecycle.cancel(batch)
        return json_response(batch.to_wire())

    def _batch(self, request: web.Request, scope: str) -> StoredBatch:
        batch_id = request.match_info["id"]
        batch = self._desk.store.batches.get(scope, batch_id)
        if batch is None:
            raise APIError(_no_batch(batch_id), status=404)
        return batch


def _no_batch(batch_id: str) -> str:
    return f"No batch found with id '{batch_id}'."
