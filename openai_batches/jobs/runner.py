"""Run a job: take each shard from step to step, with each step in the journal before the next is taken.

After an interruption the journal says how to go on: an upload that was begun is looked for by its name, a batch that
was about to be created is looked for by its key, a batch that runs is waited for, and files on the disk are counted
again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from openai_batches.errors import BatchesError, JobError, JobPausedError, NotFoundError
from openai_batches.jobs.collect import Collector
from openai_batches.jobs.events import JobEventKind
from openai_batches.jobs.journal.records import Attempt, Step
from openai_batches.jobs.submit import Submitter, is_validated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from openai_batches.jobs.context import JobContext
    from openai_batches.models import Batch

__all__ = ["Runner"]

# So many batches are retrieved at once.
_LOOKS = 8
# How long to wait before a batch is created all the same, while the service lacks capacity and none of ours is open.
_FIRST_PROBE_S, _LAST_PROBE_S = 15.0, 300.0


class Runner:
    """Takes the shards of a job through their steps."""

    def __init__(self, context: JobContext) -> None:
        self._state = context.state
        self._settings = context.settings
        self._batches = context.session.batches
        self._files = context.session.files
        self._admission = context.admission
        self._leftovers = context.leftovers
        self._submitter = Submitter(context)
        self._collector = Collector(context)

    async def run(self) -> bool:
        """Wait until every request has its outcome; return whether no file is left at the service to be deleted."""
        self._state.pause = None
        await self._restore()
        prober = asyncio.create_task(self._probe())
        try:
            await _all_of([self._carry(attempt) for attempt in self._state.last()])
        finally:
            prober.cancel()
            await asyncio.gather(prober, return_exceptions=True)
        if self._state.pause is not None:
            waiting = sum(attempt.step is not Step.VERIFIED for attempt in self._state.last())
            waits = "1 shard waits" if waiting == 1 else f"{waiting:,} shards wait"
            text = f"No quota is left ({self._state.pause}): {waits} until the job is run again"
            raise JobPausedError(text, reason=self._state.pause)
        return await self._clean_up()

    async def cancel(self) -> None:
        """Send nothing more, and cancel the batches that run; ``run`` collects what they finished."""
        await self._admission.close()
        batches = [one.batch for one in self._state.last() if one.step is Step.CREATED and one.batch is not None]
        await asyncio.gather(*map(self._collector.cancel, batches))

    async def _restore(self) -> None:
        """Find out what became of steps that an earlier run has begun and not finished."""
        if self._state.is_cancelled:
            await self._admission.close()
        begun = [attempt for attempt in self._state.last() if attempt.step is Step.UPLOADING]
        if begun:
            found = await self._state.patiently("look for the uploads", lambda: self._leftovers.find(begun))
            for attempt, file in found:
                created_s = None if file.created_at is None else file.created_at.timestamp()
                await self._state.save(attempt, step=Step.UPLOADED, file_id=file.id, file_created_s=created_s)
        created = [one for one in self._state.last() if one.step is Step.CREATED]
        opened = [(attempt, attempt.batch) for attempt in created if attempt.batch is not None]
        await self._check_service([batch for _, batch in opened])
        for attempt, batch in opened:
            self._admission.resume(attempt.model, is_validated=is_validated(batch))

    async def _check_service(self, batches: Sequence[Batch]) -> None:
        """Raise if the service knows none of the open batches and none of their files: they are at another service."""
        first = 0
        while first < len(batches):
            # Mostly the first one is enough.
            some = batches[first : first + (_LOOKS if first else 1)]
            unknown = await asyncio.gather(*map(self._why_unknown, some))
            if None in unknown:
                return
            first += len(some)
            if first == len(batches):
                none = f"knows none of the {first:,} batches that the job has open, such as"
                known = "does not know" if first == 1 else none
                raise JobError(
                    f"The service {known} {batches[0].id}: the job was begun with another service, key or project, and "
                    "goes on with those"
                ) from unknown[0]

    async def _why_unknown(self, batch: Batch) -> NotFoundError | None:
        """Return the error that says that the service knows neither a batch nor its file; None if it may know one."""
        # Other failures are left to the code that waits for the batch, which tries again.
        with contextlib.suppress(BatchesError):
            try:
                await self._batches.retrieve(batch.id)
            except NotFoundError:
                # A new batch may be hidden for a moment; its file is older.
                try:
                    await self._files.retrieve(batch.input_file_id)
                except NotFoundError as error:
                    return error
        return None

    async def _carry(self, attempt: Attempt) -> None:
        """Take a shard through its steps, attempt after attempt."""
        steps: dict[Step, Callable[[Attempt], Awaitable[Attempt]]] = {
            Step.PLANNED: self._submitter.upload,
            Step.UPLOADING: self._submitter.upload,
            Step.UPLOADED: self._submitter.create,
            Step.CREATING: self._submitter.create,
            Step.CREATED: self._collector.wait,
            Step.ENDED: self._collector.collect,
            Step.COLLECTED: self._collector.verify,
        }
        while True:
            if attempt.step is Step.VERIFIED:
                await self._collector.tidy(attempt)
                following = self._state.attempts.get((attempt.shard, attempt.number + 1))
                if following is None:
                    return
                attempt = following
            elif self._state.is_cancelled and attempt.step in {Step.PLANNED, Step.UPLOADING, Step.UPLOADED}:
                attempt = await self._collector.give_up(attempt)
            elif self._state.pause is not None and attempt.step in {Step.PLANNED, Step.UPLOADING, Step.UPLOADED}:
                return
            else:
                attempt = await steps[attempt.step](attempt)

    async def _probe(self) -> None:
        """Let a batch be created now and then while the service lacks capacity and none of ours is open."""
        delay_s = _FIRST_PROBE_S
        while True:
            await asyncio.sleep(delay_s)
            stuck = self._admission.stuck()
            for model in stuck:
                await self._admission.add_slots(model)
            delay_s = min(delay_s * 2, _LAST_PROBE_S) if stuck else _FIRST_PROBE_S

    async def _clean_up(self) -> bool:
        """Cancel and delete what requests without an answer have left at the service; failures do not fail the job."""
        attempts = self._state.attempts.values()
        since_s = min((one.file_created_s for one in attempts if one.file_created_s is not None), default=None)
        if not await self._cancel_doubles(since_s):
            return False
        if self._settings.keep_files:
            return True
        for attempt in list(attempts):
            await self._collector.tidy(attempt)
        known = frozenset(attempt.file_id for attempt in attempts if attempt.file_id is not None)
        try:
            await self._state.patiently(
                "look for files left over", lambda: self._leftovers.delete_unknown(known, since_s)
            )
        except BatchesError as error:
            self._state.tell(
                JobEventKind.POSTPONED, f"files left over could not be deleted, the next run tries: {error}"
            )
            return False
        return all(attempt.is_tidy for attempt in attempts)

    async def _cancel_doubles(self, since_s: float | None) -> bool:
        """Cancel batches that were created late, after another one had been created in their place."""
        if since_s is None:
            return True
        known = frozenset(one.batch.id for one in self._state.attempts.values() if one.batch is not None)
        try:
            await self._state.patiently(
                "look for doubles", lambda: self._leftovers.cancel_doubles(self._batches, known, since_s)
            )
        except BatchesError as error:
            self._state.tell(JobEventKind.POSTPONED, f"doubles could not be looked for, the next run tries: {error}")
            return False
        return True


async def _all_of(work: list[Coroutine[Any, Any, None]]) -> None:
    """Run all at once; at the first failure, cancel the others and raise it."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        if tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
