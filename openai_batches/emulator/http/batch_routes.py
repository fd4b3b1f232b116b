"""The four operations on batches."""

import asyncio
from typing import Any

from aiohttp import web

from openai_batches.emulator.answers import APIError, json_response
from openai_batches.emulator.batches.retention import is_kept
from openai_batches.emulator.http import parameters
from openai_batches.emulator.http.context import Context
from openai_batches.emulator.rules import ORGANIZATION, PROJECT
from openai_batches.emulator.store.records import StoredBatch, StoredFile
from openai_batches.emulator.validation import estimated_tokens, first_model, token_limit_reached, wrong_purpose

_DEFAULT_LIMIT = 20
_MAX_LIMIT = 100
_UNCANCELLABLE = frozenset({"completed", "failed", "expired"})
_CENTURY_S = 100 * 365 * 86_400


class BatchRoutes:
    """Create, list, retrieve and cancel batches."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._by_key: dict[tuple[str, str], tuple[dict[str, Any], StoredBatch]] = {}

    def add_to(self, app: web.Application) -> None:
        """Register the routes."""
        guarded = self._context.guarded
        app.router.add_post("/v1/batches", guarded(self.create))
        app.router.add_get("/v1/batches", guarded(self.list), allow_head=False)
        app.router.add_get("/v1/batches/{id}", guarded(self.retrieve), allow_head=False)
        app.router.add_post("/v1/batches/{id}/cancel", guarded(self.cancel))

    async def create(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Make a batch of an uploaded file."""
        body = await parameters.json_object(request)
        asked = parameters.create_batch(body, self._context.rules.terms)
        if (made := self._made_before(scope, body)) is not None:
            return json_response(self._context.show(made))
        key = self._context.owner(request)
        organization = key.organization or ORGANIZATION
        now = self._context.clock.now()
        file = self._context.store.find_file(scope, asked.input_file_id, now)
        if file is None and self._context.rules.unknown_input_file == "reject":
            project = key.project or PROJECT
            message = f"Cannot find file {asked.input_file_id}, or project {project} does not have access to it."
            raise APIError(message, param="file_id")
        if file is not None and file.purpose != "batch" and self._context.rules.choices.wrong_purpose == "reject":
            message = wrong_purpose(file.id, file.purpose)
            raise APIError(message, param="input_file_id", code="invalid_value")
        if file is not None:
            await self._check_readiness(scope, file, organization)
        self._context.limits.count_batch(scope)
        batch = self._context.store.new_batch(
            scope=scope,
            now=now,
            endpoint=asked.endpoint,
            input_file_id=asked.input_file_id,
            completion_window=asked.completion_window,
            window_s=_CENTURY_S if self._context.profile.never_expires else asked.window_s,
            metadata=asked.metadata,
            output_lifetime_s=asked.output_lifetime_s,
            organization=organization,
        )
        self._context.lifecycle.begin(batch)
        if "idempotency_key" in body:
            self._by_key[scope, body["idempotency_key"]] = body, batch
        return json_response(self._context.show(batch))

    def _made_before(self, scope: str, body: dict[str, Any]) -> StoredBatch | None:
        """Return the batch that was made with the same key, where the service knows such keys."""
        if "idempotency_key" not in body:
            return None
        made_of, batch = self._by_key.get((scope, parameters.text(body, "idempotency_key")), (body, None))
        if made_of != body:
            raise APIError("The idempotency key was used before, with other parameters.", status=409)
        return batch

    async def _check_readiness(self, scope: str, file: StoredFile, organization: str) -> None:
        context = self._context
        if context.is_pending(file):
            message = f"The file '{file.id}' is not processed yet: its status is 'pending'."
            raise APIError(message, param="input_file_id", code="invalid_request")
        if context.profile.fails_fast:
            model = await asyncio.to_thread(first_model, file.path)
            if (limit := context.lifecycle.limit_reached(scope, model, estimated_tokens(file.bytes))) is not None:
                raise APIError(token_limit_reached(model, limit, organization), code="token_limit_exceeded")

    async def list(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Answer one page, the newest batch first."""
        limit = parameters.limit(request, default=_DEFAULT_LIMIT, minimum=0, maximum=_MAX_LIMIT)
        page = self._context.page(
            self._context.store.batches, request, scope, limit=limit, missing=_no_batch, keep=self._is_kept
        )
        return json_response(page)

    async def retrieve(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Answer one batch."""
        return json_response(self._context.show(self._batch(request, scope)))

    async def cancel(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Begin to cancel a batch."""
        batch = self._batch(request, scope)
        choices = self._context.rules.choices
        is_late = batch.status == "finalizing" and choices.cancel_while_finalizing == "reject"
        if is_late or batch.status in _UNCANCELLABLE:
            headers = {"x-should-retry": "false"} if choices.conflict_forbids_retry else None
            raise APIError(f"Cannot cancel a batch with status '{batch.status}'.", status=409, headers=headers)
        self._context.lifecycle.cancel(batch)
        return json_response(self._context.show(batch))

    def _is_kept(self, batch: StoredBatch) -> bool:
        return is_kept(batch, self._context.rules, self._context.clock.now())

    def _batch(self, request: web.Request, scope: str) -> StoredBatch:
        batch_id = request.match_info["id"]
        batch = self._context.store.batches.get(scope, batch_id)
        if batch is None or not self._is_kept(batch):
            raise APIError(_no_batch(batch_id), status=404, code=self._context.rules.choices.unknown_batch_code)
        return batch


def _no_batch(batch_id: str) -> str:
    return f"No batch found with id '{batch_id}'."
