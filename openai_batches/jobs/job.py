"""``BatchJob``: any number of requests carried to their end, through crashes; and ``session.run``, the short way."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self, TypeVar

import attrs

from openai_batches._arguments import checked_expiry
from openai_batches._names import public
from openai_batches._threads import in_thread
from openai_batches.errors import InputError, JobError, JobStoppedError
from openai_batches.jobs.adopt import adopted, begun_with
from openai_batches.jobs.arguments import check_job, checked_pairs, job_directory
from openai_batches.jobs.context import JobContext, Settings
from openai_batches.jobs.events import EventStream, JobEventKind
from openai_batches.jobs.iterate import JobWalk, first_of
from openai_batches.jobs.journal.sqlite import journal_path
from openai_batches.jobs.ledger import Ledger
from openai_batches.jobs.ownership import Hold, hold
from openai_batches.jobs.plan import Plan, discard, planned, settled
from openai_batches.jobs.runner import Runner
from openai_batches.jobs.signals import checked_signals, stop_task, stopped_elsewhere, stopping
from openai_batches.jobs.state import JobState
from openai_batches.models import Batch

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
    from pathlib import Path
    from types import TracebackType

    from openai_batches._arguments import ExpiresAfter
    from openai_batches.jobs.context import Service
    from openai_batches.jobs.events import JobEvent
    from openai_batches.jobs.journal.sqlite import Journal
    from openai_batches.policies import PollPolicy
    from openai_batches.requests.packing import ShardLimits
    from openai_batches.requests.read import RequestSource
    from openai_batches.results.result import BatchResult

__all__ = ["BatchJob"]

T = TypeVar("T")

# In so many turns an event loop has begun to close an iterator that was left.
_TURNS = 3


@public
class BatchJob:
    """A job: sends the requests of a source in batches until each has an outcome, and continues after interruptions.

    The requests are checked and cut into shards. Each shard is uploaded, a batch is created from it and waited for, and
    the results are collected; requests that did not run, or failed for a reason that may pass, are sent again. Each
    step is recorded in a journal in the job's directory before the next is taken. A job whose process was killed
    therefore continues where it stopped, without creating a batch twice and without losing a result: create the
    ``BatchJob`` again, with the same source and directory, or without a source.

    Creating a ``BatchJob`` starts nothing. ``run``, ``events`` and ``results`` start it, and can be used at the same
    time. The first of them, which starts the job, owns it: when that one is cancelled or closed, the job stops. Its
    batches then continue at the service, and remain in the journal. Use a job with ``async with``, or call ``close``.

    Args:
        session: the session to work with.
        source: a path (``.jsonl``, ``.jsonl.gz``, ``.jsonl.zst``), or an iterable or async iterable of requests,
            mappings and raw lines, which is first written to the directory. None continues the job in the directory; so
            does passing the same source again, byte for byte.
        directory: where the journal, the shards and the results are kept, readable to their owner only; None: next to
            the source, with ``.job`` appended to its name.
        endpoint: what the ``url`` of each request must be; None: requests are sorted by it. Like ``limits`` and
            ``strict`` it only has an effect when the job is begun, because a job that is continued has its shards
            already.
        limits: what no shard exceeds; None: the service's limits.
        strict: False does not check the contents of the bodies, but leaves this to the service.
        concurrency: how many uploads and downloads may be on their way at once.
        max_open: how many batches may be open at once; None: as many as the service takes.
        max_attempts: how often a request is sent, at most, the first time included.
        completion_window: the time within which batches have to be completed; OpenAI accepts ``"24h"``. None: that of
            the job, ``"24h"`` for a new one.
        metadata: up to 12 pairs for each batch; the job adds four of its own.
        output_expires_after: when the result files expire at the service, as for ``batches.create``.
        resend_cancelled: also send again the requests that did not run because their batch was cancelled from outside
            the job. After ``cancel`` of this job nothing is sent again.
        keep_files: leave the input files at the service; otherwise each is deleted once its results are on the disk.
        poll: how often to poll a batch; None: every 5 s at first, every 5 min later.
        stall_after: after how many seconds without a change a batch is reported as stalled; or a mapping of statuses to
            seconds.
        patience_s: how long a step that fails for a reason that may pass is tried again before the job gives up (6 h).
        on_event: called with each event, in the event loop; it must be quick.

    Raises:
        InputError: an argument cannot be right.
    """

    def __init__(
        self,
        session: Service,
        source: RequestSource | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
        endpoint: str | None = None,
        limits: ShardLimits | None = None,
        strict: bool = True,
        concurrency: int = 4,
        max_open: int | None = None,
        max_attempts: int = 3,
        completion_window: str | None = None,
        metadata: Mapping[str, str] | None = None,
        output_expires_after: ExpiresAfter | None = None,
        resend_cancelled: bool = False,
        keep_files: bool = False,
        poll: PollPolicy | None = None,
        stall_after: float | Mapping[str, float] | None = None,
        patience_s: float = 6 * 3_600.0,
        on_event: Callable[[JobEvent], object] | None = None,
    ) -> None:
        fields: dict[str, Any] = {}
        if checked_expiry(output_expires_after, name="output_expires_after") is not None:
            fields["output_expires_after"] = output_expires_after
        self._session = session
        self._source = source
        self._directory = job_directory(source, directory)
        self._settings = Settings(
            concurrency=concurrency,
            max_open=max_open,
            max_attempts=max_attempts,
            fields=fields,
            metadata=checked_pairs(metadata),
            resend_cancelled=resend_cancelled,
            keep_files=keep_files,
            poll=poll,
            stall_after=stall_after,
        )
        check_job(self._settings, session=session, limits=limits, strict=strict, patience_s=patience_s, told=on_event)
        self._plan = Plan(
            base_url=session.base_url,
            provider=session.provider,
            endpoint=endpoint,
            limits=limits,
            strict=strict,
            options={"completion_window": completion_window},
            now_s=0.0,
        )
        self._patience_s = patience_s
        self._events = EventStream(on_event)
        self._hold: Hold | None = None
        self._state: JobState | None = None
        self._runner: Runner | None = None
        self._opening = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<BatchJob {self._directory}>"

    @property
    def directory(self) -> Path:
        """The job's directory."""
        return self._directory

    async def __aenter__(self) -> Self:
        """Return the job; nothing is done yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the job."""
        await self.close()

    async def close(self) -> None:
        """Stop the job at a point from which it can continue, and release its directory; its batches continue.

        Of a closed job only ``summary`` can be used; to continue it, create the ``BatchJob`` again. Closing twice does
        nothing.
        """
        self._is_closed = True
        if self._hold is not None:
            self._hold.is_leaving = True
        if self._task is not None:
            await stop_task(self._task)
        async with self._opening:
            await self._let_go()

    async def plan(self) -> Ledger:
        """Check the requests and cut them into shards, and return the ledger; nothing is sent.

        If there is a job in the directory already, it is only compared with its source. ``run`` then continues from
        here, and ``discard`` removes the job.

        Raises:
            InputError: the source changed since the job was begun, or it is a job of another service.
            InvalidRequestsError: the service would refuse some of the requests.
            JournalError: another process is at work on the job, or its journal cannot be used.
            JobError: the source is not there any more.
            OSError: the disk is full, or a file cannot be read or written.
        """
        state = await self._opened()
        return Ledger.of(state.attempts.values())

    async def discard(self) -> None:
        """Remove a job that was only planned: it is closed, and nothing of it stays on the disk.

        Raises:
            InputError: the job runs, or something of it was sent already.
            JournalError: the journal cannot be written.
            OSError: a file cannot be removed.
        """
        state = await self._opened()
        if self._hold is None or await self._running() is not None:
            raise InputError("A job is discarded before it is run")
        await in_thread(discard, self._hold.journal, state.job, state.attempts.values())
        await self.close()

    async def run(self, *, stop_on: Collection[signal.Signals] = ()) -> Ledger:
        """Run the job until it has ended, and return its ledger.

        Cancelling this call stops the job at the next point from which it can continue; its batches continue at the
        service. Under ``asyncio.run``, Ctrl-C cancels it in this way.

        Args:
            stop_on: signals that stop the job in the same way, such as ``signal.SIGTERM``; in the main thread only.

        Raises:
            JobStoppedError: one of these signals arrived, or the call that started the job was cancelled or closed.
            InputError: the source changed since the job was begun, or it is a job of another service.
            InvalidRequestsError: the service would refuse some of the requests; nothing was sent.
            JournalError: another process is at work on the job, or its journal cannot be used.
            JobPausedError: the account has no quota left; all results that could be collected are.
            BatchFailedError: the service has no capacity for a shard, and the job has no other batch open.
            JobError: something that belongs to the job, such as a file in its directory, does not exist any more.
            APIError: the service said no, in a way that does not pass.
            TransportError: the service cannot be reached for longer than ``patience_s``.
            OSError: the disk is full, or a file cannot be read or written.
        """
        signals = checked_signals(stop_on)
        task, is_ours = await self._started()
        try:
            with stopped_elsewhere(), stopping(task, signals):
                await (task if is_ours else asyncio.shield(task))
        finally:
            if is_ours:
                await stop_task(task)
        return await self.summary()

    async def events(self) -> AsyncGenerator[JobEvent, None]:
        """Yield the events from now on, until the job has ended; of events not yet taken, the newest 10,000 are kept.

        Raises:
            BatchesError: as ``run``.
            OSError: as ``run``.
        """
        with self._events.queue() as queue:
            task, is_ours = await self._started()
            try:
                while True:
                    while queue:
                        yield queue.popleft()
                    if task.done():
                        with stopped_elsewhere():
                            task.result()
                        return
                    await first_of(task, self._events.next_event)
            finally:
                if is_ours:
                    await stop_task(task)

    async def results(self, *, ordered: bool = False, body_type: Any = None) -> AsyncGenerator[BatchResult, None]:
        """Yield one result for each request, beginning when the first shard is done.

        Results are read from the disk, so that this can be called again at any time. Closing the iterator early stops
        the job, if this iterator started it.

        Args:
            ordered: yield in the order of the source, each shard when it and all before it are done.
            body_type: a type, as for ``result.parse``, that ``result.body`` of a success is given as.

        Raises:
            BatchesError: as ``run``, after the results that are there.
            OSError: as ``run``.
        """
        task, is_ours = await self._started()
        try:
            walk = JobWalk(task, lambda: self._state, lambda: self._events.next_event, body_type)
            pieces = walk.ordered() if ordered else walk.unordered()
            async with aclosing(pieces):
                async for piece in pieces:
                    for result in piece:
                        yield result
            with stopped_elsewhere():
                await asyncio.shield(task)
        finally:
            if is_ours:
                await stop_task(task)

    async def summary(self) -> Ledger:
        """Return the outcomes of the requests so far.

        Raises:
            JobError: there is no job in the directory yet.
            JournalError: another process is at work on the job, or its journal cannot be used.
        """
        if self._state is not None:
            return Ledger.of(self._state.attempts.values())
        journal = await self._open_journal(is_there=True)
        if await in_thread(journal.job) is None:
            raise JobError(f"There is no job in {self._directory} yet")
        return Ledger.of(await in_thread(journal.attempts))

    async def cancel(self) -> Ledger:
        """End the job: nothing more is sent, its batches are cancelled, and the results they have are collected.

        Cancelling takes the service up to ten minutes.

        Raises:
            BatchesError: as ``run``.
            OSError: as ``run``.
        """
        state = await self._opened()
        if not (state.is_finished or state.is_cancelled):
            await state.cancel()
            state.tell(JobEventKind.CANCELLED, "The job was cancelled: nothing more is sent")
        # A runner that begins later than this finds it in the state.
        if self._runner is not None and self._task is not None and not self._task.done():
            await self._runner.cancel()
        while True:
            try:
                return await self.run()
            except JobStoppedError:
                if self._is_closed:
                    raise
                # The job was stopped by the code that had started it: run it again, to collect what is cancelled.

    async def adopt(self, batch: Batch | str) -> None:
        """Add a batch that was created outside of this job to it: ``run`` waits for the batch and collects its results.

        Its input file is downloaded to find its requests, and is not deleted at the service. In the order of the
        source, its results come last. A job that has no source yet can consist of adopted batches only.

        Args:
            batch: the batch, or its id.

        Raises:
            InputError: the job is running, it has a request of this id, or the batch does not say what it is made of.
            NotFoundError: the service has no such batch, or its input file is gone.
            BatchesError: as ``run``.
            OSError: as ``run``.
        """
        if not isinstance(batch, str | Batch):
            raise InputError(f"adopt takes a Batch or its id, not {batch!r}")
        if await self._running() is not None:
            raise InputError("A batch is adopted before the job is run, or after it has been stopped")
        journal = await self._open_journal()
        if self._source is None and await in_thread(journal.job) is None:
            async with self._opening:
                await self._or_let_go(begun_with(self._session, journal, batch, self._plan.options))
        await adopted(self._session, await self._opened(), batch)

    async def _started(self) -> tuple[asyncio.Task[None], bool]:
        """Return the task that carries the job, and whether it was started just now."""
        if (task := await self._running()) is not None:
            return task, False
        self._task = asyncio.create_task(self._carry())
        return self._task, True

    async def _running(self) -> asyncio.Task[None] | None:
        """Return the task that carries the job, if one does: one that is being stopped is waited for."""
        for _ in range(_TURNS if self._task is not None and not self._task.done() else 0):
            await asyncio.sleep(0)
        while self._task is not None and not self._task.done():
            if not self._task.cancelling():
                return self._task
            await asyncio.wait([self._task])
        return None

    async def _carry(self) -> None:
        state = await self._opened()
        if state.is_finished:
            return
        window = settled(state.job.options)["completion_window"]
        fields = {"completion_window": window, **self._settings.fields}
        settings = attrs.evolve(self._settings, fields=fields)
        self._runner = Runner(JobContext.of(self._session, state, settings))
        if await self._runner.run():
            await state.finish()
        ledger = Ledger.of(state.attempts.values())
        state.tell(JobEventKind.FINISHED, f"{ledger.inputs:,} requests are done, {ledger.succeeded:,} succeeded")

    async def _open_journal(self, *, is_there: bool = False) -> Journal:
        async with self._opening:
            if self._is_closed:
                raise InputError("The job is closed: to go on with it, make it again")
            if self._hold is None:
                if is_there and not await in_thread(os.path.lexists, journal_path(self._directory)):
                    raise JobError(f"There is no job in {self._directory} yet: begin it with its requests")
                self._hold = await hold(self._directory)
            return self._hold.journal

    async def _let_go(self) -> None:
        """Let go of the directory; nothing is left of a job that was not begun."""
        held, self._hold = self._hold, None
        if held is not None:
            held.is_leaving = True
            await in_thread(held.close)

    async def _or_let_go(self, beginning: Awaitable[T]) -> T:
        try:
            return await beginning
        except BaseException:
            await self._let_go()
            raise

    async def _opened(self) -> JobState:
        """Return the job's state, from the journal or newly planned."""
        journal = await self._open_journal()
        async with self._opening:
            if self._state is None:
                is_new = await in_thread(journal.job) is None
                now, plan = self._session.now, attrs.evolve(self._plan, now_s=self._session.now())
                job = await self._or_let_go(planned(journal, self._source, plan))
                state = JobState(journal, job, on_event=self._events.tell, patience_s=self._patience_s, now=now)
                await state.open()
                self._state = state
                state.tell_opened(is_new=is_new)
            return self._state
