"""The state of a running job: its attempts as the journal has them, its events, and how long failures are retried."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from openai_batches._threads import in_thread
from openai_batches.errors import AmbiguousCreateError, APIError, BatchesError, DecodeError
from openai_batches.http.failures import can_pass, is_out_of_quota
from openai_batches.jobs.events import JobEvent, JobEventKind
from openai_batches.jobs.journal.records import Attempt, Step
from openai_batches.jobs.ledger import Ledger
from openai_batches.jobs.plan import requests_folder, results_folder
from openai_batches.jobs.result_files import AttemptFiles
from openai_batches.models import BatchStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from openai_batches.jobs.journal.records import JobRecord
    from openai_batches.jobs.journal.sqlite import Journal
    from openai_batches.models import Batch

__all__ = ["JobState"]

T = TypeVar("T")

_FIRST_DELAY_S, _LAST_DELAY_S = 5.0, 300.0
# A proxy may now and then answer with a page of its own, but not every time.
_MAX_UNREADABLE = 5


class JobState:
    """The attempts of a job, in step with its journal.

    Attributes:
        attempts: all attempts by shard and number.
        verified: those whose requests are accounted for, in the order in which that happened.
        is_cancelled: whether nothing more is to be sent.
        is_finished: whether nothing is left to do, at the service neither.
        pause: why nothing more can be created in this run; None while it can.
    """

    def __init__(
        self,
        journal: Journal,
        job: JobRecord,
        *,
        on_event: Callable[[JobEvent], None],
        patience_s: float,
        now: Callable[[], float],
    ) -> None:
        self.job: JobRecord = job
        self.directory: Path = journal.directory
        self.attempts: dict[tuple[int, int], Attempt] = {}
        self.verified: list[Attempt] = []
        self.is_cancelled: bool = False
        self.is_finished: bool = False
        self.pause: str | None = None
        self._journal = journal
        self._on_event = on_event
        self._patience_s = patience_s
        self._now = now

    async def open(self) -> None:
        """Read the journal."""
        attempts = await in_thread(self._journal.attempts)
        self.is_cancelled, self.is_finished = await in_thread(self._journal.marks)
        self.attempts = {(one.shard, one.number): one for one in attempts}
        self.verified = [one for one in attempts if one.step is Step.VERIFIED]

    def firsts(self) -> list[Attempt]:
        """Return the first attempt at each shard."""
        return [attempt for (_, number), attempt in sorted(self.attempts.items()) if number == 1]

    def is_done(self, shard: int) -> bool:
        """Return whether every request of a shard has its outcome."""
        return self.shard(shard)[-1].step is Step.VERIFIED

    def files_of(self, attempt: Attempt) -> AttemptFiles:
        """Return the files with the requests of an attempt and their results."""
        requests, results = (make(self.directory, self.job.job_id) for make in (requests_folder, results_folder))
        files = ((attempt.output_name, attempt.output_bytes), (attempt.error_name, attempt.error_bytes))
        names = [name for name, _ in files if name is not None]
        following, tally = self.attempts.get((attempt.shard, attempt.number + 1)), attempt.tally
        sizes = {requests / attempt.name: attempt.bytes}
        sizes.update({results / name: size for name, size in files if name is not None and size is not None})
        if following is not None:
            sizes[requests / following.name] = following.bytes
        was_refused = attempt.batch is not None and attempt.batch.status == BatchStatus.FAILED and not names
        return AttemptFiles(
            requests=requests / attempt.name,
            result_files=tuple(results / name for name in names),
            resent=None if following is None else requests / following.name,
            is_plain=tally is not None and tally.is_plain,
            lacks_lines=tally is not None and not (tally.is_plain or tally.doubled or tally.foreign),
            refused=attempt.batch if was_refused else None,
            was_sent=attempt.batch is not None and (bool(names) or attempt.batch.status != BatchStatus.CANCELLED),
            sizes=sizes,
        )

    def last(self) -> list[Attempt]:
        """Return the last attempt at each shard."""
        return list({shard: attempt for (shard, _), attempt in sorted(self.attempts.items())}.values())

    def shard(self, number: int) -> list[Attempt]:
        """Return all attempts at a shard, the first one first."""
        attempts: list[Attempt] = []
        while (attempt := self.attempts.get((number, len(attempts) + 1))) is not None:
            attempts.append(attempt)
        return attempts

    async def save(self, attempt: Attempt, *others: Attempt, **changes: Any) -> Attempt:
        """Write an attempt with its changes, and others with it, to the journal and then to memory; return it."""
        changed = attrs.evolve(attempt, **changes)
        if changed == attempt and not others:
            return attempt  # an earlier run has written it
        await in_thread(self._journal.save, changed, *others)
        for one in (changed, *others):
            self.attempts[one.shard, one.number] = one
        if changed.step is Step.VERIFIED and attempt.step is not Step.VERIFIED:
            self.verified.append(changed)
        return changed

    async def cancel(self) -> None:
        """Write down that nothing more is to be sent."""
        await in_thread(self._journal.cancel)
        self.is_cancelled = True

    async def reopen(self) -> None:
        """Write down that there is something to do again."""
        await in_thread(self._journal.reopen)
        self.is_finished = False

    async def finish(self) -> None:
        """Write down that nothing is left to do, at the service neither."""
        await in_thread(self._journal.finish)
        self.is_finished = True

    def stop_creating(self, reason: str) -> None:
        """Note that the account has no quota left: what runs goes on, and nothing more is created in this run."""
        if self.pause is None:
            self.pause = reason
            self.tell(JobEventKind.PAUSED, f"The account has no quota left, nothing more is created: {reason}")

    def tell_opened(self, *, is_new: bool) -> None:
        """Tell how many requests are planned, or are left of a job that goes on."""
        if is_new:
            self.tell(JobEventKind.PLANNED, f"{self.job.requests:,} requests in {len(self.attempts):,} shards")
            return
        ledger = Ledger.of(self.attempts.values())
        self.tell(JobEventKind.RESUMED, f"{ledger.unfinished:,} of {ledger.inputs:,} requests are left")

    def tell(
        self,
        kind: JobEventKind,
        message: str,
        attempt: Attempt | None = None,
        *,
        batch: Batch | None = None,
        delay_s: float | None = None,
    ) -> None:
        """Tell what happened, to an attempt or to the job as a whole."""
        where = "" if attempt is None else f"Shard {attempt.shard}: "
        where = (
            where if attempt is None or attempt.number == 1 else f"Shard {attempt.shard}, attempt {attempt.number}: "
        )
        event = JobEvent(
            kind=kind,
            at=dt.datetime.fromtimestamp(self._now(), dt.UTC),
            message=f"{where}{message}",
            shard=None if attempt is None else attempt.shard,
            attempt=None if attempt is None else attempt.number,
            batch=batch,
            delay_s=delay_s,
        )
        self._on_event(event)

    async def patiently(self, what: str, act: Callable[[], Awaitable[T]], attempt: Attempt | None = None) -> T:
        """Return what ``act`` returns; repeat it after growing pauses while it fails for a reason that may pass."""
        clock = asyncio.get_running_loop().time
        since, delay_s, unreadable = clock(), _FIRST_DELAY_S, 0
        while True:
            try:
                return await act()
            except BatchesError as error:
                unreadable = unreadable + 1 if isinstance(error, DecodeError) else 0
                passes = 0 < unreadable < _MAX_UNREADABLE or _passes(error)
                if not passes or clock() - since + delay_s > self._patience_s:
                    raise
                told = f"could not {what}, tried again in {delay_s:.0f} s: {error}"
                self.tell(JobEventKind.POSTPONED, told, attempt, delay_s=delay_s)
            await asyncio.sleep(delay_s * random.uniform(0.75, 1.0))
            delay_s = min(delay_s * 2, _LAST_DELAY_S)


def _passes(error: BatchesError) -> bool:
    """Return whether an act that failed so may be repeated; a used-up quota does not come back by itself."""
    if isinstance(error, AmbiguousCreateError):
        return True  # the batch is looked for again, by its file where it cannot be by its key
    is_over = isinstance(error, APIError) and is_out_of_quota(error.code, error.type)
    return can_pass(error) and not is_over
