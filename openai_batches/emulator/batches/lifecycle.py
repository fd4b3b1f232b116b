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
from openai_batches.emulator.executors.executor import Staff
from openai_batches.emulator.faults.faults import Faults
from openai_batches.emulator.profiles.result_style import ResultStyle
from openai_batches.emulator.rules import Rules
from openai_batches.emulator.schedule import Agenda
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

# How often the counts of a long batch move.
_STEPS_PER_BATCH = 256
# A line that is late by so many emulated seconds is late by rounding.
_ROUNDING_S = 0.001
# How long, in real seconds, the lines of a batch that is to end may stand still.
_STALLED_S = 10.0
_EXPIRED = ("batch_expired", "This request could not be executed before the completion window expired.")
_CANCELLED = ("batch_cancelled", "This request could not be executed because the batch was cancelled.")

_Step = Callable[["_Life"], Awaitable[None]]


@attrs.define(eq=False)
class _Life:
    """What a batch needs while it is not over."""

    batch: StoredBatch
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    work: Work | None = None
    has_results: bool = False


class Lifecycle:
    """Moves batches from state to state as the clock goes.

    Args:
        store: Where batches and files are kept.
        clock: What time it is.
        agenda: Starts the steps when they are due.
        staff: Answers the lines.
        timings: How long states last.
        rules: Limits of validation.
        results: How the result files are written.
        faults: What goes wrong.
        ended: Called with each batch that is over.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        agenda: Agenda,
        staff: Staff,
        rules: Rules,
        threads: Threads,
        results: ResultStyle,
        faults: Faults,
        ended: Callable[[StoredBatch], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._staff = staff
        self._rules = rules
        self._threads = threads
        self._results = results
        self._faults = faults
        self._lives: dict[str, _Life] = {}
        self._agenda = agenda
        self._ended = ended

    def begin(self, batch: StoredBatch) -> None:
        """Start the life of a batch that was just made."""
        self._faults.begin(batch)
        life = self._lives[batch.id] = _Life(batch)
        self._schedule(self._clock.now() + self._rules.timings.validating_s, life, self._validate)
        self._schedule(float(batch.expires_at), life, self._expire)

    async def resume(self) -> None:
        """Go on with the batches that were not over when the server ended, each from where it was."""
        lives = [_Life(batch) for batch in self._store.batches.items.values() if not batch.is_over]
        self._lives.update((life.batch.id, life) for life in lives)
        await asyncio.gather(*(self._take(life, self._take_up) for life in lives))

    async def _take_up(self, life: _Life) -> None:
        batch, run, timings = life.batch, life.batch.run, self._rules.timings
        if run is not None:
            life.work = self._work(batch, run)
            if not run.is_complete:
                await life.work.restore()
                if batch.status == "in_progress":
                    self._next_lines(life, life.work, run)
        if batch.status == "validating":
            self._schedule(batch.since + timings.validating_s, life, self._validate)
        elif batch.status == "finalizing":
            self._schedule(batch.since + timings.finalizing_s, life, self._finalize)
        elif batch.status == "cancelling":
            self._schedule(batch.since + timings.cancelling_s, life, self._finish_cancel)
        self._schedule(float(batch.expires_at), life, self._expire)

    def cancel(self, batch: StoredBatch) -> None:
        """Turn a batch that is not over towards its end; one that is already turned stays as it is."""
        life = self._lives.get(batch.id)
        if life is not None and batch.status != "cancelling":
            self._turn(batch, "cancelling")
            if life.work is not None and life.work.takes_real_time:
                life.work.stop()
            self._schedule(batch.since + self._rules.timings.cancelling_s, life, self._finish_cancel)

    def statuses(self) -> Counter[str]:
        """Return how many of the batches that are not over are in each state."""
        return Counter(life.batch.status for life in self._lives.values())

    def is_busy(self) -> bool:
        """Tell whether a batch is not over."""
        return not all(self._faults.is_holding(life.batch) for life in self._lives.values())

    def _schedule(self, when: float, life: _Life, step: _Step) -> None:
        self._agenda.at(when, functools.partial(self._take, life, step))

    async def _take(self, life: _Life, step: _Step) -> None:
        """Take one step; steps of one batch never overlap, and a crash of the emulator fails the batch."""
        is_end = step in {self._expire, self._finish_cancel}
        # The step that holds the lock may be waiting for calls that have hours to go.
        async with _pressing(life.work if is_end else None), life.lock:
            again = functools.partial(self._schedule, life=life, step=step)
            can_be_held = step not in {self._expire, self._take_up}
            if life.batch.id not in self._lives or (can_be_held and self._faults.hold(life.batch, again)):
                return
            try:
                await step(life)
            except Exception:
                _logger.exception("the emulator could not go on with %s", life.batch.id)
                message = "The server had an error while processing your batch."
                self._fail(life, [{"code": "server_error", "message": message, "param": None, "line": None}])
            if life.batch.id not in self._lives:
                # One transaction holds the end and what is told of it.
                self._ended(life.batch)
            await self._commit(life)

    async def _commit(self, life: _Life) -> None:
        """Let what was done survive a crash; if that fails, it is tried again with the next change or answer."""
        try:
            await self._store.commit()
        except OSError:
            _logger.exception("the emulator could not write down the state of %s", life.batch.id)

    def _turn(self, batch: StoredBatch, status: str) -> None:
        now = self._clock.now()
        batch.status, batch.since = status, now
        setattr(batch, f"{status}_at", int(now))
        self._store.touch(batch)

    async def _validate(self, life: _Life) -> None:
        batch = life.batch
        if batch.status != "validating":
            return
        refuse = self._faults.refusing(batch)
        verdict = await self._judge(batch)
        if life.batch.status != "validating":
            return
        if not verdict.errors:
            self._check_queue(batch, verdict)
        if refuse is not None:
            refuse(verdict)
        if verdict.errors:
            self._fail(life, verdict.errors)
        else:
            self._start(life, verdict)

    async def _judge(self, batch: StoredBatch) -> Verdict:
        verdict = Verdict()
        file = self._store.find_file(batch.scope, batch.input_file_id, self._clock.now())
        if file is not None:
            # Deleted while it was read: then it is not there, which the second look finds.
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
        requests = sum(life.batch.counts.total for life in self._lives.values() if life.batch.scope == scope)
        if most_requests is not None and requests + verdict.total > most_requests:
            verdict.refuse("request_limit_exceeded", request_limit_reached(most_requests, organization))

    def _enqueued(self, scope: str, verdict: Verdict) -> int:
        others = (life for life in self._lives.values() if life.batch.scope == scope)
        return verdict.tokens + sum(
            life.batch.run.tokens for life in others if life.batch.run is not None and life.batch.model == verdict.model
        )

    def limit_reached(self, scope: str, model: str | None, tokens: int) -> int | None:
        """Return the token limit that a batch of so many estimated input tokens would exceed, or None."""
        limit = self._rules.tokens_of(model)
        enqueued = self._enqueued(scope, Verdict(model=model, tokens=tokens))
        return limit if limit is not None and enqueued > limit else None

    def _start(self, life: _Life, verdict: Verdict) -> None:
        batch = life.batch
        run = batch.run = Run(
            # A second name for the bytes: deleting the input file does not disturb a batch that runs.
            source=self._store.link(self._store.files.items[batch.input_file_id].path),
            output=self._store.new_path(),
            errors=self._store.new_path(),
            started=self._clock.now(),
            tokens=verdict.tokens,
        )
        life.work = self._work(batch, run)
        batch.model = verdict.model
        batch.counts.total = verdict.total
        self._turn(batch, "in_progress")
        self._next_lines(life, life.work, run)

    def _work(self, batch: StoredBatch, run: Run) -> Work:
        durable = self._store.is_durable
        return Work(batch, run, staff=self._staff, threads=self._threads, is_durable=durable)

    def _next_lines(self, life: _Life, work: Work, run: Run) -> None:
        total = life.batch.counts.total
        goal = min(total, work.done + math.ceil(total / _STEPS_PER_BATCH))
        step = functools.partial(self._run_lines, goal=goal)
        self._schedule(run.started + goal * self._line_s(work), life, step)

    async def _run_lines(self, life: _Life, *, goal: int) -> None:
        batch, work, run = life.batch, life.work, life.batch.run
        if batch.status != "in_progress" or work is None or run is None:
            return
        await work.run_to(max(goal, self._lines_due(batch, work, run, self._clock.now())))
        # The status may have turned to cancelling while the lines ran, or the window closed.
        if life.batch.status != "in_progress" or work.is_stopped:
            return
        if work.done < batch.counts.total:
            self._next_lines(life, work, run)
            return
        run.is_complete = True
        self._turn(batch, "finalizing")
        self._schedule(batch.since + self._rules.timings.finalizing_s, life, self._finalize)

    def _line_s(self, work: Work) -> float:
        return 0.0 if work.takes_real_time else self._rules.timings.line_s

    def _lines_due(self, batch: StoredBatch, work: Work, run: Run, until: float) -> int:
        """Return how many lines are done at `until`."""
        total, line_s = batch.counts.total, self._line_s(work)
        until = min(until, batch.expires_at)
        return min(total, int((until - run.started + _ROUNDING_S) / line_s)) if line_s else total

    async def _finalize(self, life: _Life) -> None:
        if life.batch.status == "finalizing":
            await self._write_results(life)
            if life.batch.status == "finalizing":
                self._finish(life, "completed")

    async def _expire(self, life: _Life) -> None:
        if life.batch.status in {"validating", "in_progress"}:
            await self._leave_lines(life, life.batch.expires_at, _EXPIRED)
            await self._write_results(life)
            if life.batch.status != "cancelling":
                self._finish(life, "expired")

    async def _finish_cancel(self, life: _Life) -> None:
        await self._leave_lines(life, life.batch.since, _CANCELLED)
        await self._write_results(life)
        self._finish(life, "cancelled")

    async def _leave_lines(self, life: _Life, until: float, error: tuple[str, str]) -> None:
        """Run the lines that were due `until`, and write down that the others were not."""
        batch, work, run = life.batch, life.work, life.batch.run
        if work is not None and run is not None and not run.is_complete:
            if not work.takes_real_time:
                await work.run_to(self._lines_due(batch, work, run, until))
            if error is not _CANCELLED or self._rules.choices.cancelled_lines == "written":
                await work.give_up(*error)
            run.is_complete = True
            self._store.touch(batch)

    async def _write_results(self, life: _Life) -> None:
        """Bring the result files into the service's style, OpenAI's being the first, and let faults spoil them."""
        run = life.batch.run
        if run is not None and not life.has_results:
            spoil = self._faults.spoiling(life.batch)
            if self._results != ResultStyle() or spoil is not None:
                # From here on the files cannot be taken up as they were written.
                await self._commit(life)
            if self._results != ResultStyle():
                await self._threads.run(self._results.rewrite, run.source, run.output, run.errors)
            if spoil is not None:
                await self._threads.run(spoil, {"output": run.output, "error": run.errors})
            await self._store.secure(run.output, run.errors)
            life.has_results = True

    def _fail(self, life: _Life, errors: list[dict[str, Any]]) -> None:
        life.batch.errors = errors
        self._finish(life, "failed", keep_results=False)

    def _finish(self, life: _Life, status: str, *, keep_results: bool = True) -> None:
        batch, run = life.batch, life.batch.run
        if run is not None:
            self._store.discard(run.source)
            batch.output_file_id = self._publish(batch, run.output, "output", is_kept=keep_results)
            batch.error_file_id = self._publish(batch, run.errors, "error", is_kept=keep_results)
            batch.run = None
        self._turn(batch, status)
        del self._lives[batch.id]

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
async def _pressing(work: Work | None) -> AsyncGenerator[None]:
    """Interrupt lines that keep their batch from ending: at once if they take real time, else if they stand still."""
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
