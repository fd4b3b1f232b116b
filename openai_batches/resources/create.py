"""Create a batch exactly once, although the API has no idempotency keys.

A key of our own is put into the batch's metadata. When an attempt leaves open whether the batch exists (no answer, a
broken connection, 5xx, an answer that cannot be read), the newest batches are searched for the key. A batch that is
found is adopted; only if there is none, the request is sent again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from openai_batches._arguments import MAX_METADATA_PAIRS
from openai_batches.errors import (
    AmbiguousCreateError,
    BadRequestError,
    BatchesError,
    InputError,
    NotFoundError,
)
from openai_batches.http.failures import Repeat, is_ambiguous
from openai_batches.http.retries import Transport
from openai_batches.http.wire import Request
from openai_batches.models import Batch, BatchStatus, FileObject
from openai_batches.pagination import AsyncPaginator
from openai_batches.policies import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["KEY_NAME", "Creator", "is_unseen_file"]

KEY_NAME = "openai_batches_key"

_logger = logging.getLogger("openai_batches")
# A search goes back this much further than the attempt itself, by the service's own clock.
_MARGIN_S = 900.0
# A file that is pending for longer than this is tried all the same.
_PENDING_S = 300.0
_NO_METADATA = "the service shows no metadata, in which the key to find it by would be"
# For how long "Cannot find file" may mean that the service does not see its own new file yet.
_FILE_PATIENCE = RetryPolicy(attempts=20, budget_s=60.0, initial_delay_s=1.0, max_delay_s=8.0)


@attrs.define
class _Seen:
    """What a search saw: batches with the key, batches of the file without any metadata, and whether any has some."""

    named: list[Batch] = attrs.field(factory=list)
    nameless: list[Batch] = attrs.field(factory=list)
    shows_metadata: bool = False

    def add(self, batches: Iterable[Batch], key: str, file_id: str | None) -> None:
        for batch in batches:
            if (batch.metadata or {}).get(KEY_NAME) == key:
                self.named.append(batch)
            elif not batch.metadata and file_id is not None and batch.input_file_id == file_id:
                self.nameless.append(batch)
            self.shows_metadata = self.shows_metadata or bool(batch.metadata)


@attrs.frozen(kw_only=True)
class Creator:
    """Creates batches, each of them once; ``list_batches`` starts a new list each time, newest first."""

    transport: Transport
    list_batches: Callable[[], AsyncPaginator[Batch]]
    cancel: Callable[[str], Awaitable[Batch]]
    find_file: Callable[[str], Awaitable[FileObject | None]]
    waits_for_files: bool = False
    keeps_metadata: bool = True

    async def create(
        self, fields: Mapping[str, Any], metadata: Mapping[str, str] | None, *, key: str | None = None
    ) -> Batch:
        """Return the one batch of these fields; a key in the metadata that is left from another batch is replaced."""
        pairs = {name: value for name, value in (metadata or {}).items() if name != KEY_NAME}
        has_free_pair = len(pairs) < MAX_METADATA_PAIRS
        if key is not None and not has_free_pair:
            raise InputError(f"metadata has {len(pairs)} pairs of its own, and the idempotency_key needs one of the 16")
        key = key or secrets.token_hex(16) if has_free_pair and self.keeps_metadata else None
        if key is not None:
            pairs[KEY_NAME] = key
        body = _encoded({**fields, "metadata": pairs})
        request = Request(method="POST", path="/batches", returns=Batch, body=body, repeat=Repeat.ONLY_UNDONE)
        if self.waits_for_files:
            await self._file_ready(str(fields["input_file_id"]))
        return await self._once(request, key, str(fields["input_file_id"]))

    async def find(self, key: str, *, since_s: float, file_id: str | None) -> Batch | None:
        """Return the batch of a key, or None; duplicates of it are cancelled.

        A service that shows no metadata is searched for the only batch that was made of ``file_id``.
        """
        _logger.info("GET /batches: looking for a batch that may exist already")
        seen = await self._search(key, file_id, lambda _: since_s, None)
        found = seen.named
        if not found and not seen.shows_metadata:
            # A batch that failed has run nothing, so it is not the one that is looked for.
            found = [batch for batch in seen.nameless if batch.status != BatchStatus.FAILED]
        return await self._only_one(found[::-1]) if found else None

    async def _once(self, request: Request[Batch], key: str | None, file_id: str) -> Batch:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        attempts = doubts = 0
        while True:
            attempts += 1
            try:
                batch = await self.transport.send(request)
            except BatchesError as error:
                failure = error
            else:
                return await self._checked(batch, key, file_id, loop.time() - begun) if doubts else batch
            if is_ambiguous(failure):
                doubts += 1
                delay_s = self.transport.pause_s(failure, attempt=doubts, elapsed_s=loop.time() - begun)
                # Wait before the search, since the service may still be processing the attempt.
                await asyncio.sleep(self.transport.retry.initial_delay_s if delay_s is None else delay_s)
                if found := await self._found(key, file_id, loop.time() - begun, failure):
                    return await self._only_one(found)
            else:
                delay_s = await self._patience_s(failure, file_id, attempts, loop.time() - begun)
                await asyncio.sleep(delay_s or 0)
                # The refusal is about this attempt; an earlier one may have been carried out late.
                is_late = doubts and delay_s is None
                if is_late and (found := await self._found(key, file_id, loop.time() - begun, failure)):
                    return await self._only_one(found)
            if delay_s is None:
                raise failure

    async def _found(
        self, key: str | None, file_id: str, elapsed_s: float, failure: BatchesError | None
    ) -> list[Batch]:
        """Return the batches that carry the key, oldest first, among all that are not older than the first attempt."""
        if key is None:
            why = "its metadata has no free pair for a key to find it by" if self.keeps_metadata else _NO_METADATA
            text = f"The batch may exist, but {why} ({failure}). Before you create it again, look at the newest batches"
            raise AmbiguousCreateError(text) from failure
        _logger.info("POST /batches: no clear answer, looking for the batch (%s)", failure)
        seen = await self._search(key, file_id, lambda newest_s: newest_s - elapsed_s, failure)
        if seen.nameless and not seen.shows_metadata:
            first = seen.nameless[0]
            text = f"Batch {first.id} may be the one: it is of the same file, but {_NO_METADATA} ({failure})"
            raise AmbiguousCreateError(text, idempotency_key=key) from failure
        return seen.named[::-1]

    async def _search(
        self, key: str, file_id: str | None, oldest_s: Callable[[float], float], failure: BatchesError | None
    ) -> _Seen:
        """Return the batches that may be the one, newest first, among all that are not older than the first attempt.

        ``oldest_s`` returns when the first attempt was made, given when the newest batch was; by the service's clock.
        """
        seen = _Seen()
        newest_s = 0.0
        try:
            async for page in self.list_batches().pages():
                seen.add(page.data, key, file_id)
                times = [batch.created_at.timestamp() for batch in page.data if batch.created_at is not None]
                newest_s = max([newest_s, *times])
                # Both times are the service's own, so an error of either clock does not matter. In a list that is
                # oldest first, each page ends with its newest batch, so such a list is read to its end.
                if times and times[-1] < oldest_s(newest_s) - _MARGIN_S:
                    break
        except BatchesError as error:
            text = (
                f"The batch may exist, and the search for it failed: {error}. Before you create it again, "
                f"look for one whose metadata has {KEY_NAME}={key}"
            )
            raise AmbiguousCreateError(text, idempotency_key=key) from (failure or error)
        return seen

    async def _only_one(self, found: list[Batch]) -> Batch:
        """Return the oldest batch of a key; cancel the others, which a slow service created late."""
        batch, *doubles = found
        for double in doubles:
            _logger.warning("Batch %s is a double of %s: it is cancelled", double.id, batch.id)
            try:
                await self.cancel(double.id)
            except BatchesError:
                _logger.warning("The double %s could not be cancelled", double.id, exc_info=True)
        return batch

    async def _checked(self, batch: Batch, key: str | None, file_id: str, elapsed_s: float) -> Batch:
        """Return the batch of a repeated attempt, or that of an earlier attempt which was carried out late."""
        try:
            found = await self._found(key, file_id, elapsed_s, None)
        except AmbiguousCreateError as error:
            # This batch exists in any case; the search has only failed to rule out a duplicate.
            _logger.warning("Batch %s took several attempts, and may have a double: %s", batch.id, error)
            return batch
        return await self._only_one(found or [batch])

    async def _patience_s(self, failure: BatchesError, file_id: str, attempt: int, elapsed_s: float) -> float | None:
        """Return the pause after which the service may see the file, or None if the failure has another reason."""
        if not is_unseen_file(failure) or self.transport.retry.attempts <= 1:
            return None
        delay_s = _FILE_PATIENCE.delay_s(attempt, elapsed_s=elapsed_s)
        if delay_s is None or await self.find_file(file_id) is None:
            return None
        _logger.info("POST /batches: the service does not see the file yet, next attempt in %.1f s", delay_s)
        return delay_s

    async def _file_ready(self, file_id: str) -> None:
        """Return when a file is no longer pending, or has been for so long that the service may say why."""
        begun = asyncio.get_running_loop().time()
        policy = attrs.evolve(self.transport.retry, attempts=sys.maxsize, budget_s=_PENDING_S)
        looks = 0
        while True:
            looks += 1
            file = await self.find_file(file_id)
            delay_s = policy.delay_s(looks, elapsed_s=asyncio.get_running_loop().time() - begun)
            if file is None or (file.status or "").lower() != "pending" or delay_s is None:
                return
            await asyncio.sleep(delay_s)


def is_unseen_file(error: BatchesError) -> bool:
    """Tell whether a service refused a batch because it does not know the input file."""
    said = error.message.lower() if isinstance(error, BadRequestError | NotFoundError) else ""
    return "cannot find file" in said or "no such file" in said


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the batch cannot be written as JSON: {error}") from error
