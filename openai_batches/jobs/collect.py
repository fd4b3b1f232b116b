"""Wait for the batch of an attempt, download its results, and account for each of its requests."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import attrs

from openai_batches._threads import in_thread
from openai_batches.errors import BatchesError, BatchFailedError, ConflictError, JobError, NotFoundError
from openai_batches.http.failures import is_out_of_quota
from openai_batches.jobs.admission import is_out_of_capacity, token_limit
from openai_batches.jobs.events import JobEventKind
from openai_batches.jobs.journal.records import Attempt, Step, Tally
from openai_batches.jobs.reconcile import Reconciliation, reconcile
from openai_batches.jobs.resend import ResendRule, write_requests
from openai_batches.jobs.submit import is_validated
from openai_batches.models import BatchStatus
from openai_batches.results.result import Outcome

if TYPE_CHECKING:
    from openai_batches.jobs.context import JobContext
    from openai_batches.models import Batch
    from openai_batches.resources.progress import BatchChange

__all__ = ["Collector"]

# How often a batch may fail because the service does not see its input file.
_MAX_REFUSALS = 10
_UNSEEN_DELAY_S = 10.0


class Collector:
    """Waits for batches and collects their results."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._session = context.session
        self._state = context.state
        self._settings = context.settings
        self._admission = context.admission
        # Counting is CPU work: two at a time would only disturb each other.
        self._counting = asyncio.Lock()

    async def wait(self, attempt: Attempt) -> Attempt:
        """Wait for the end of an attempt's batch."""
        batch = _of(attempt)
        was_validated = is_validated(batch)
        if self._state.is_cancelled:
            await self.cancel(batch)
        try:
            async for change in self._session.batches.watch(
                batch, poll=self._settings.poll, stall_after=self._settings.stall_after
            ):
                batch = change.batch
                if not was_validated and is_validated(batch):
                    was_validated = True
                    await self._admission.mark_validated(attempt.model)
                self._tell_change(attempt, change)
        except NotFoundError as error:
            raise JobError(
                f"The service does not show {batch.id} to this key: {error}. Was the job begun with another key, "
                "project or organization? The batch is in the journal: run the job again with those"
            ) from error
        attempt = await self._state.save(attempt, step=Step.ENDED, batch=batch)
        await self._stop_without_quota(batch)  # before the end of this batch lets another one be created
        if is_out_of_capacity(batch):
            await self._admission.mark_refused(attempt.model)
        else:
            await self._admission.mark_ended(attempt.model, was_validated=was_validated)
        self._state.tell(JobEventKind.ENDED, f"{batch.id} is {batch.status}", attempt, batch=batch)
        return attempt

    async def cancel(self, batch: Batch) -> None:
        """Ask the service to stop a batch; one that has ended meanwhile stays as it is."""
        with contextlib.suppress(ConflictError, NotFoundError):
            await self._state.patiently(f"cancel {batch.id}", lambda: self._session.batches.cancel(batch.id))

    async def collect(self, attempt: Attempt) -> Attempt:
        """Download the results of an attempt, or return its next step if the service failed its batch as a whole."""
        batch = _of(attempt)
        if batch.status == BatchStatus.FAILED and not (batch.output_file_id or batch.error_file_id):
            return await self._adopted_double(attempt, batch) or await self._failed(attempt, batch)
        try:
            async with self._context.transfers:
                got = await self._state.patiently(
                    "download the results",
                    lambda: self._session.batches.download(batch, self._context.results),
                    attempt,
                )
        except NotFoundError as error:
            text = f"The results of {batch.id} are not at the service any more, and its requests were paid for: {error}"
            raise JobError(text) from error
        return await self._state.save(
            attempt,
            step=Step.COLLECTED,
            output_name=got.output and got.output.path.name,
            output_bytes=got.output and got.output.bytes,
            error_name=got.error and got.error.path.name,
            error_bytes=got.error and got.error.bytes,
        )

    async def verify(self, attempt: Attempt) -> Attempt:
        """Account for each request of an attempt, and plan the next one for those that are sent again."""
        rule = ResendRule(
            is_last=self._state.is_cancelled or attempt.number >= self._settings.max_attempts,
            with_cancelled=self._settings.resend_cancelled,
        )
        files = self._state.files_of(attempt)
        async with self._counting:
            if files.was_sent:
                found = await in_thread(reconcile, files, rule)
            else:
                found = _unrun(attempt, rule)  # the batch was cancelled before it had any result files
            following = await self._following(attempt, found.resent) if found.resent else None
        others = [] if following is None else [following]
        attempt = await self._state.save(attempt, *others, step=Step.VERIFIED, tally=found.tally)
        self._tell_verified(attempt, found.tally)
        if following is not None:
            self._state.tell(
                JobEventKind.RESENT,
                f"{following.requests:,} of {attempt.requests:,} requests are sent again",
                following,
            )
        return attempt

    async def give_up(self, attempt: Attempt) -> Attempt:
        """Account for the requests of an attempt that is not sent any more, since the job was cancelled."""
        tally = _unrun(attempt, ResendRule(is_last=True)).tally
        attempt = await self._state.save(attempt, step=Step.VERIFIED, tally=tally)
        self._tell_verified(attempt, tally)
        return attempt

    async def tidy(self, attempt: Attempt) -> None:
        """Delete an attempt's input file at the service; if that fails, the next run tries again."""
        if attempt.is_tidy or self._settings.keep_files:
            return
        if attempt.file_id is not None:
            try:
                await self._session.files.delete(attempt.file_id)
            except NotFoundError:
                pass
            except BatchesError as error:
                self._state.tell(JobEventKind.POSTPONED, f"{attempt.file_id} could not be deleted: {error}", attempt)
                return
        await self._state.save(attempt, is_tidy=True)

    async def _following(self, attempt: Attempt, numbers: frozenset[int]) -> Attempt:
        following = Attempt(
            shard=attempt.shard,
            number=attempt.number + 1,
            endpoint=attempt.endpoint,
            model=attempt.model,
            requests=len(numbers),
            bytes=0,
            tokens=-(-attempt.tokens * len(numbers) // attempt.requests),
        )
        source, target = self._context.requests / attempt.name, self._context.requests / following.name
        size = await in_thread(write_requests, source, target, numbers)
        return attrs.evolve(following, bytes=size)

    async def _adopted_double(self, attempt: Attempt, batch: Batch) -> Attempt | None:
        """Go on with the older batch of the same key, if the service did not list it when it was looked for."""
        key, since = attempt.key, batch.created_at
        if key is None or since is None:
            return None
        double = await self._state.patiently(
            "look for another batch", lambda: self._session.batches.find(key, since=since), attempt
        )
        if double is None or double.id == batch.id:
            return None
        self._admission.resume(attempt.model, is_validated=is_validated(double))
        attempt = await self._state.save(attempt, step=Step.CREATED, batch=double)
        self._state.tell(JobEventKind.ADOPTED, f"found {double.id}, {batch.id} was its double", attempt, batch=double)
        return attempt

    async def _failed(self, attempt: Attempt, batch: Batch) -> Attempt:
        """Return the attempt with its next step after the service has failed its batch as a whole."""
        why = "; ".join(str(error) for error in batch.errors or ()) or "the service gives no reason"
        again: dict[str, Any] = {"key": None, "batch": None, "refusals": attempt.refusals + 1}
        if is_out_of_capacity(batch):
            told = f"no capacity for {batch.id} yet: {why} (this shard has {_size(attempt, token_limit(why))})"
            self._state.tell(JobEventKind.REFUSED, told, attempt, batch=batch)
            attempt = await self._state.save(attempt, step=Step.UPLOADED, **again)
            self._check_size(attempt, why, batch)
            return attempt
        if await self._stop_without_quota(batch):
            return await self._state.save(attempt, step=Step.UPLOADED, **again)
        if "cannot find file" in why.lower() and attempt.refusals < _MAX_REFUSALS:
            delay_s = _UNSEEN_DELAY_S * (attempt.refusals + 1)
            self._state.tell(
                JobEventKind.POSTPONED, f"{batch.id} did not find its file: {why}", attempt, delay_s=delay_s
            )
            await asyncio.sleep(delay_s)
            if await self._state.patiently("look for the file", lambda: self._exists(attempt), attempt):
                return await self._state.save(attempt, step=Step.UPLOADED, **again)
            return await self._state.save(attempt, step=Step.PLANNED, file_id=None, file_created_s=None, **again)
        return await self._state.save(attempt, step=Step.COLLECTED)

    async def _stop_without_quota(self, batch: Batch) -> bool:
        """If a batch has failed since no quota is left, create no more batches; return whether it has."""
        why = next((str(error) for error in batch.errors or () if is_out_of_quota(error.code)), None)
        if why is None:
            return False
        self._state.stop_creating(why)
        await self._admission.close()
        return True

    def _check_size(self, attempt: Attempt, why: str, batch: Batch) -> None:
        """Raise if the service will not have the capacity for a shard; a later run tries again."""
        limit = token_limit(why)
        if self._state.is_cancelled or not self._admission.is_alone(attempt.model):
            return
        if limit is not None and attempt.tokens > limit:
            raise BatchFailedError(
                f"Shard {attempt.shard} has about {attempt.tokens:,} tokens, more than may be enqueued at all "
                f"({limit:,}): begin the job anew with limits=ShardLimits(max_tokens={max(limit // 2, 1)})",
                batch=batch,
            )
        if self._admission.is_refused_too_often(attempt.model):
            smaller = max(min(attempt.tokens, limit or attempt.tokens) // 2, 1)
            raise BatchFailedError(
                f"The service has no capacity for shard {attempt.shard} ({_size(attempt, limit)}), and this job has no "
                "other batch open. If others use the capacity, run the job again later; if the service counts more "
                f"tokens than this library, begin the job anew with limits=ShardLimits(max_tokens={smaller})",
                batch=batch,
            )

    async def _exists(self, attempt: Attempt) -> bool:
        try:
            await self._session.files.retrieve(attempt.file_id or "")
        except NotFoundError:
            return False
        return True

    def _tell_verified(self, attempt: Attempt, tally: Tally) -> None:
        outcomes = ", ".join(f"{count:,} {name}" for name, count in tally.outcomes.items()) or "none has ended"
        text = f"of {attempt.requests:,} requests {outcomes}"
        self._state.tell(JobEventKind.VERIFIED, text, attempt, batch=attempt.batch)

    def _tell_change(self, attempt: Attempt, change: BatchChange) -> None:
        batch = change.batch
        if change.is_stall:
            text = f"{batch.id} has been {batch.status} without a change for {change.unchanged_s:,.0f} s"
            self._state.tell(JobEventKind.STALLED, text, attempt, batch=batch, delay_s=change.unchanged_s)
        elif not batch.is_terminal:
            counts = batch.request_counts
            done = f", {counts.completed + counts.failed:,} of {counts.total:,} done" if counts and counts.total else ""
            self._state.tell(JobEventKind.CHANGED, f"{batch.id} is {batch.status}{done}", attempt, batch=batch)


def _size(attempt: Attempt, limit: int | None) -> str:
    """Return how large a shard is, and the limit if that is known."""
    return f"about {attempt.tokens:,} tokens" + ("" if limit is None else f" of a limit of {limit:,}")


def _unrun(attempt: Attempt, rule: ResendRule) -> Reconciliation:
    """Account for requests that were all cancelled before they ran."""
    count = attempt.requests
    if rule.with_cancelled and not rule.is_last:
        return Reconciliation(Tally(outcomes={}, resent=count, is_plain=False), frozenset(range(count)))
    return Reconciliation(Tally(outcomes={Outcome.CANCELLED.value: count}, is_plain=False), frozenset())


def _of(attempt: Attempt) -> Batch:
    if attempt.batch is None:
        raise JobError(f"The journal says that shard {attempt.shard} is {attempt.step}, and names no batch")
    return attempt.batch
