"""Upload the requests of an attempt and create a batch of them, exactly once."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from typing import TYPE_CHECKING, Any

from openai_batches._threads import in_thread
from openai_batches.errors import APIError, JobError
from openai_batches.http.failures import is_ambiguous, is_out_of_quota
from openai_batches.jobs.admission import lacks_capacity
from openai_batches.jobs.cleanup.leftovers import JOB_NAME
from openai_batches.jobs.events import JobEventKind
from openai_batches.jobs.journal.records import Attempt, Step
from openai_batches.jobs.result_files import check_size
from openai_batches.models import BatchStatus
from openai_batches.resources.create import is_unseen_file

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from openai_batches.jobs.context import JobContext
    from openai_batches.models import Batch

__all__ = ["Submitter", "is_validated"]

# How long a stop waits for the answer that says whether a batch was created.
_GRACE_S = 10.0
_MAX_REFUSALS = 10


class Submitter:
    """Uploads requests and creates batches."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._session = context.session
        self._state = context.state
        self._admission = context.admission

    async def upload(self, attempt: Attempt) -> Attempt:
        """Upload an attempt's requests."""
        async with self._context.transfers:
            attempt = await self._state.save(attempt, step=Step.UPLOADING)
            path, name = self._context.requests / attempt.name, attempt.name_at_service(self._state.job.job_id)
            if not await in_thread(path.is_file):
                raise JobError(f"{path}, which the job needs, is not there any more")
            await in_thread(check_size, path, attempt.bytes)
            await self._context.uploads.acquire()
            file = await self._state.patiently(
                "upload the requests", lambda: self._session.files.create(path, filename=name), attempt
            )
        attempt = await self._state.save(
            attempt, step=Step.UPLOADED, file_id=file.id, file_created_s=_seconds(file.created_at)
        )
        self._state.tell(JobEventKind.UPLOADED, f"uploaded as {file.id}", attempt)
        return attempt

    async def create(self, attempt: Attempt) -> Attempt:
        """Create an attempt's batch when there is capacity, or adopt the one that an earlier run has created."""
        is_repeat = attempt.step is Step.CREATING
        if is_repeat:
            found = await self._state.patiently("look for the batch", lambda: self._find(attempt), attempt)
            if found is not None:
                self._admission.resume(attempt.model, is_validated=is_validated(found))
                return await self._noted(attempt, found, JobEventKind.ADOPTED, "found")
        if not await self._admission.acquire(attempt.model):
            return await self._state.save(attempt, step=Step.UPLOADED, key=None)
        try:
            created = await _finished_or_stopped(self._created(attempt, is_repeat=is_repeat))
        except BaseException:
            await self._admission.release(attempt.model)
            raise
        if created.batch is None:
            await self._admission.release(attempt.model)
        elif is_validated(created.batch):
            await self._admission.mark_validated(attempt.model)
        return created

    async def _created(self, attempt: Attempt, *, is_repeat: bool) -> Attempt:
        attempt = await self._state.save(attempt, step=Step.CREATING, key=attempt.key or secrets.token_hex(16))
        is_in_doubt = is_repeat

        async def act() -> Batch:
            nonlocal is_in_doubt
            was_in_doubt, is_in_doubt = is_in_doubt, True
            if was_in_doubt and (found := await self._find(attempt)) is not None:
                return found
            await self._context.creations.acquire()
            batch = await self._session.batches.create(**self._wanted(attempt))
            # An earlier request may have been carried out late: then there are two, and the search leaves one.
            return (await self._find(attempt) or batch) if was_in_doubt else batch

        try:
            batch = await self._state.patiently("create the batch", act, attempt)
        except APIError as error:
            return await self._refused(attempt, error)
        return await self._noted(attempt, batch, JobEventKind.CREATED, "created")

    async def _noted(self, attempt: Attempt, batch: Batch, kind: JobEventKind, what: str) -> Attempt:
        attempt = await self._state.save(attempt, step=Step.CREATED, batch=batch)
        self._state.tell(kind, f"{what} {batch.id}", attempt, batch=batch)
        return attempt

    async def _refused(self, attempt: Attempt, error: APIError) -> Attempt:
        """Return the attempt with its next step after the service refused to create a batch."""
        if is_ambiguous(error):
            raise error  # the batch may exist: the key is kept, so that it is looked for
        attempt = await self._state.save(attempt, step=Step.UPLOADED, key=None, refusals=attempt.refusals + 1)
        if is_out_of_quota(error.code, error.type):
            self._state.stop_creating(error.message)
            await self._admission.close()
            return attempt
        if lacks_capacity(error):
            self._admission.mark_full(attempt.model)
            self._state.tell(JobEventKind.REFUSED, f"no capacity for the batch yet: {error.message}", attempt)
            if self._admission.is_refused_too_often(attempt.model) and not self._state.is_cancelled:
                raise error
            return attempt
        if is_unseen_file(error) and attempt.refusals < _MAX_REFUSALS:
            await self._admission.add_slots(attempt.model)
            self._state.tell(JobEventKind.REFUSED, f"the file is gone, it is uploaded again: {error.message}", attempt)
            return await self._state.save(attempt, step=Step.PLANNED, file_id=None, file_created_s=None)
        raise error

    async def _find(self, attempt: Attempt) -> Batch | None:
        since = dt.datetime.fromtimestamp(attempt.file_created_s or 0.0, dt.UTC)
        return await self._session.batches.find(attempt.key or "", since=since, input_file_id=attempt.file_id)

    def _wanted(self, attempt: Attempt) -> dict[str, Any]:
        own = {
            JOB_NAME: self._state.job.job_id,
            "openai_batches_shard": str(attempt.shard),
            "openai_batches_attempt": str(attempt.number),
        }
        return {
            **self._context.settings.fields,
            "input_file_id": attempt.file_id,
            "endpoint": attempt.endpoint,
            "metadata": {**self._context.settings.metadata, **own},
            "idempotency_key": attempt.key,
        }


def is_validated(batch: Batch) -> bool:
    """Return whether a batch has passed validation."""
    return batch.in_progress_at is not None or batch.status in {
        BatchStatus.IN_PROGRESS,
        BatchStatus.FINALIZING,
        BatchStatus.COMPLETED,
        BatchStatus.EXPIRED,
    }


def _seconds(when: dt.datetime | None) -> float | None:
    return None if when is None else when.timestamp()


async def _finished_or_stopped(work: Coroutine[Any, Any, Attempt]) -> Attempt:
    """Return the attempt that is worked on; a stop waits a moment for the work, so that the journal has its outcome."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        try:
            await asyncio.wait([task], timeout=_GRACE_S)
        finally:
            # A second stop does not wait, and the task is ended as well.
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        raise
