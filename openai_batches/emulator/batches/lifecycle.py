"""The life of a batch: which state follows which, and when."""

import asyncio
import contextlib
import functools
import logging
import math
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs

from openai_batches.emulator.batches.execution import Work
from openai_batches.emulator.clock import Clock
from openai_batches.emulator.executors.executor import ExecutorHandle
from openai_batches.emulator.faults.faults import Faults
from openai_batches.emulator.profiles.result_style import ResultStyle
from openai_batches.emulator.rules import Rules
from openai_batches.emulator.schedule import Schedule
from openai_batches.emulator.store.records import Run, StoredBatch
from openai_batches.emulator.store.store import Store
from openai_batches.emulator.threads import Threads
from openai_batches.emulator.validation import (
    Verdict,
    not_found,
    request_limit_reached,
    token_limit_reached,
    validate,
    wrong_purpose,
)

_logger = logging.getLogger(__name__)

# How often the counts of a long batch change.
_STEPS_PER_BATCH = 256
# A line is due although rounding makes it late by so many emulated seconds.
_ROUNDING_S = 0.001
# After so many real seconds without an answer, the calls of a batch that is to end are cancelled.
_STALLED_S = 10.0
_EXPIRED = ("batch_expired", "This request could not be executed before the completion window expired.")
_CANCELLED = ("batch_cancelled", "This request could not be executed because the batch was cancelled.")

_Step = Callable[["_OpenBatch"], Awaitable[None]]


@attrs.define(eq=False)
class _OpenBatch:
    """What a batch needs while it is not over."""

    batch: StoredBatch
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    work: Work | None = None
    has_results: bool = False


class Lifecycle:
    """Moves batches from state to state as the clock goes."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        schedule: Schedule,
        executor: ExecutorHandle,
        rules: Rules,
        threads: Threads,
        results: ResultStyle,
        faults: Faults,
        ended: Callable[[StoredBatch], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._executor = executor
        self._rules = rules
        self._threads = threads
        self._results = results
        self._faults = faults
        self._open: dict[str, _OpenBatch] = {}
        self._schedule = schedule
        self._ended = ended

    def begin(self, batch: StoredBatch) -> None:
        """Start the life of a batch that was just made."""
        self._faults.begin(batch)
        entry = self._open[batch.id] = _OpenBatch(batch)
        self._call_at(self._clock.now() + self._rules.timings.validating_s, entry, self._validate)
        self._call_at(float(batch.expires_at), entry, self._expire)

    async def resume(self) -> None:
        """Go on with the batches that were not over when the server ended, each from where it was."""
        entries = [_OpenBatch(batch) for batch in self._store.batches.items.values() if not batch.is_over]
        self._open.update((entry.batch.id, entry) for entry in entries)
        await asyncio.gather(*(self._run_step(entry, self._resume_one) for entry in entries))

    async def _resume_one(self, entry: _OpenBatch) -> None:
        batch, run, timings = entry.batch, entry.batch.run, self._rules.timings
        if run is not None:
            entry.work = self._work(batch, run)
            if not run.is_complete:
                await entry.work.restore()
                if batch.status == "in_progress":
                    self._next_lines(entry, entry.work, run)
        if batch.status == "validating":
            self._call_at(batch.since + timings.validating_s, entry, self._validate)
        elif batch.status == "finalizing":
            self._call_at(batch.since + timings.finalizing_s, entry, self._finalize)
        elif batch.status == "cancelling":
            self._call_at(batch.since + timings.cancelling_s, entry, self._finish_cancel)
        self._call_at(float(batch.expires_at), entry, self._expire)

    def cancel(self, batch: StoredBatch) -> None:
        """Begin to cancel a batch that is not over; one that is being cancelled stays as it is."""
        entry = self._open.get(batch.id)
        if entry is not None and batch.status != "cancelling":
            self._set_status(batch, "cancelling")
            if entry.work is not None and entry.work.takes_real_time:
                entry.work.stop()
            self._call_at(batch.since + self._rules.timings.cancelling_s, entry, self._finish_cancel)

    def statuses(self) -> Counter[str]:
        """Return how many of the batches that are not over are in each state."""
        return Counter(entry.batch.status for entry in self._open.values())

    def is_busy(self) -> bool:
        """Tell whether a batch is not over."""
        return not all(self._faults.is_holding(entry.batch) for entry in self._open.values())

    def _call_at(self, when: float, entry: _OpenBatch, step: _Step) -> None:
        self._schedule.at(when, functools.partial(self._run_step, entry, step))

    async def _run_step(self, entry: _OpenBatch, step: _Step) -> None:
        """Take one step; steps of one batch never overlap, and a crash of the emulator fails the batch."""
        is_end = step in {self._expire, self._finish_cancel}
        # The step that holds the lock may wait for calls that take hours.
        async with _interrupting(entry.work if is_end else None), entry.lock:
            again = functools.partial(self._call_at, entry=entry, step=step)
            can_be_held = step not in {self._expire, self._resume_one}
            if entry.batch.id not in self._open or (can_be_held and self._faults.hold(entry.batch, again)):
                return
            try:
                await step(entry)
            except Exception:
                _logger.exception("the emulator could not go on with %s", entry.batch.id)
                message = "The server had an error while processing your batch."
                self._fail(entry, [{"code": "server_error", "message": message, "param": None, "line": None}])
            if entry.batch.id not in self._open:
                # The same transaction holds the end of the batch and its webhooks.
                self._ended(entry.batch)
            await self._commit(entry)

    async def _commit(self, entry: _OpenBatch) -> None:
        """Write the changes to disk; if that fails, it is tried again with the next change or answer."""
        try:
            await self._store.commit()
        except OSError:
            _logger.exception("the emulator could not write the state of %s to disk", entry.batch.id)

    def _set_status(self, batch: StoredBatch, status: str) -> None:
        now = self._clock.now()
        batch.status, batch.since = status, now
        setattr(batch, f"{status}_at", int(now))
        self._store.touch(batch)

    async def _validate(self, entry: _OpenBatch) -> None:
        batch = entry.batch
        if batch.status != "validating":
            return
        refuse = self._faults.refusing(batch)
        verdict = await self._examine(batch)
        if entry.batch.status != "validating":
            return
        if not verdict.errors:
            self._check_queue(batch, verdict)
        if refuse is not None:
            refuse(verdict)
        if verdict.errors:
            self._fail(entry, verdict.errors)
        else:
            self._start(entry, verdict)

    async def _examine(self, batch: StoredBatch) -> Verdict:
        verdict = Verdict()
        file = self._store.find_file(batch.scope, batch.input_file_id, self._clock.now())
        if file is not None:
            # If the file was deleted meanwhile, the second search does not find it.
            with contextlib.suppress(FileNotFoundError):
                verdict = await self._threads.run(validate, file.path, endpoint=batch.endpoint, rules=self._rules)
            file = self._store.find_file(batch.scope, batch.input_file_id, self._clock.now())
        if file is None:
            verdict.errors.clear()
            verdict.refuse("invalid_request", not_found(batch.input_file_id, batch.organization), param="file_id")
        elif file.purpose != "batch":
            verdict.errors.clear()
            verdict.refuse("invalid_request", wrong_purpose(file.id, file.purpose), param="file_id")
        return verdict

    def _check_queue(self, batch: StoredBatch, verdict: Verdict) -> None:
        scope, organization = batch.scope, batch.organization
        most_tokens, most_requests = self._rules.tokens_of(verdict.model), self._rules.enqueued_request_limit
        if most_tokens is not None and self._enqueued(scope, verdict) > most_tokens:
            verdict.refuse("token_limit_exceeded", token_limit_reached(verdict.model, most_tokens, organization))
        requests = sum(entry.batch.counts.total for entry in self._open.values() if entry.batch.scope == scope)
        if most_requests is not None and requests + verdict.total > most_requests:
            verdict.refuse("request_limit_exceeded", request_limit_reached(most_requests, organization))

    def _enqueued(self, scope: str, verdict: Verdict) -> int:
        others = (entry.batch for entry in self._open.values() if entry.batch.scope == scope)
        runs = (batch.run for batch in others if batch.model == verdict.model)
        return verdict.tokens + sum(run.tokens for run in runs if run is not None)

    def limit_reached(self, scope: str, model: str | None, tokens: int) -> int | None:
        """Return the token limit that a batch of so many estimated input tokens would exceed, or None."""
        limit = self._rules.tokens_of(model)
        enqueued = self._enqueued(scope, Verdict(model=model, tokens=tokens))
        return limit if limit is not None and enqueued > limit else None

    def _start(self, entry: _OpenBatch, verdict: Verdict) -> None:
        batch = entry.batch
        run = batch.run = Run(
            # A second name for the bytes, so that the input file may be deleted while the batch runs.
            source=self._store.link(self._store.files.items[batch.input_file_id].path),
            output=self._store.new_path(),
            errors=self._store.new_path(),
            started=self._clock.now(),
            tokens=verdict.tokens,
        )
        entry.work = self._work(batch, run)
        batch.model = verdict.model
        batch.counts.total = verdict.total
        self._set_status(batch, "in_progress")
        self._next_lines(entry, entry.work, run)

    def _work(self, batch: StoredBatch, run: Run) -> Work:
        durable = self._store.is_durable
        return Work(batch, run, executor=self._executor, threads=self._threads, is_durable=durable)

    def _next_lines(self, entry: _OpenBatch, work: Work, run: Run) -> None:
        total = entry.batch.counts.total
        goal = min(total, work.done + math.ceil(total / _STEPS_PER_BATCH))
        step = functools.partial(self._run_lines, goal=goal)
        self._call_at(run.started + goal * self._line_s(work), entry, step)

    async def _run_lines(self, entry: _OpenBatch, *, goal: int) -> None:
        batch, work, run = entry.batch, entry.work, entry.batch.run
        if batch.status != "in_progress" or work is None or run is None:
            return
        await work.run_to(max(goal, self._lines_due(batch, work, run, self._clock.now())))
        # Meanwhile the batch may have been cancelled, or have expired.
        if entry.batch.status != "in_progress" or work.is_stopped:
            return
        if work.done < batch.counts.total:
            self._next_lines(entry, work, run)
            return
        run.is_complete = True
        self._set_status(batch, "finalizing")
        self._call_at(batch.since + self._rules.timings.finalizing_s, entry, self._finalize)

    def _line_s(self, work: Work) -> float:
        return 0.0 if work.takes_real_time else self._rules.timings.line_s

    def _lines_due(self, batch: StoredBatch, work: Work, run: Run, until: float) -> int:
        """Return how many lines are done at `until`."""
        total, line_s = batch.counts.total, self._line_s(work)
        until = min(until, batch.expires_at)
        return min(total, int((until - run.started + _ROUNDING_S) / line_s)) if line_s else total

    async def _finalize(self, entry: _OpenBatch) -> None:
        if entry.batch.status == "finalizing":
            await self._write_results(entry)
            if entry.batch.status == "finalizing":
                self._finish(entry, "completed")

    async def _expire(self, entry: _OpenBatch) -> None:
        if entry.batch.status in {"validating", "in_progress"}:
            await self._end_lines(entry, entry.batch.expires_at, _EXPIRED)
            await self._write_results(entry)
            if entry.batch.status != "cancelling":
                self._finish(entry, "expired")

    async def _finish_cancel(self, entry: _OpenBatch) -> None:
        await self._end_lines(entry, entry.batch.since, _CANCELLED)
        await self._write_results(entry)
        self._finish(entry, "cancelled")

    async def _end_lines(self, entry: _OpenBatch, until: float, error: tuple[str, str]) -> None:
        """Execute the lines that were due `until`, and write the error for all others."""
        batch, work, run = entry.batch, entry.work, entry.batch.run
        if work is not None and run is not None and not run.is_complete:
            if not work.takes_real_time:
                await work.run_to(self._lines_due(batch, work, run, until))
            if error is not _CANCELLED or self._rules.choices.cancelled_lines == "written":
                await work.give_up(*error)
            run.is_complete = True
            self._store.touch(batch)

    async def _write_results(self, entry: _OpenBatch) -> None:
        """Rewrite the result files in the style of the service, and apply the faults on result files."""
        run = entry.batch.run
        if run is not None and not entry.has_results:
            spoil = self._faults.spoiling(entry.batch)
            if self._results != ResultStyle() or spoil is not None:
                # After a crash, rewritten files could not be continued.
                await self._commit(entry)
            if self._results != ResultStyle():
                await self._threads.run(self._results.rewrite, run.source, run.output, run.errors)
            if spoil is not None:
                await self._threads.run(spoil, {"output": run.output, "error": run.errors})
            await self._store.secure(run.output, run.errors)
            entry.has_results = True

    def _fail(self, entry: _OpenBatch, errors: list[dict[str, Any]]) -> None:
        entry.batch.errors = errors
        self._finish(entry, "failed", keep_results=False)

    def _finish(self, entry: _OpenBatch, status: str, *, keep_results: bool = True) -> None:
        batch, run = entry.batch, entry.batch.run
        if run is not None:
            self._store.discard(run.source)
            batch.output_file_id = self._publish(batch, run.output, "output", is_kept=keep_results)
            batch.error_file_id = self._publish(batch, run.errors, "error", is_kept=keep_results)
            batch.run = None
        self._set_status(batch, status)
        del self._open[batch.id]

    def _publish(self, batch: StoredBatch, path: Path, name: str, *, is_kept: bool) -> str | None:
        if not (is_kept and self._results.has_file(name, batch.counts)):
            self._store.discard(path)
            return None
        file = self._store.new_file(
            scope=batch.scope,
            path=path,
            filename=f"{batch.id}_{name}.jsonl",
            purpose="batch_output",
            now=self._clock.now(),
            lifetime_s=batch.output_lifetime_s,
        )
        return file.id


@contextlib.asynccontextmanager
async def _interrupting(work: Work | None) -> AsyncGenerator[None]:
    """Interrupt lines that keep their batch from ending: at once if they take real time, else when they stall."""
    if work is None:
        yield
    elif work.takes_real_time:
        work.interrupt()
        yield
    else:
        watch = asyncio.create_task(work.interrupt_if_stalled(_STALLED_S))
        try:
            yield
        finally:
            watch.cancel()
