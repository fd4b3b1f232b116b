"""The life of a batch: which state follows which, and when."""

import asyncio
import contextlib
import functools
import heapq
import itertools
import logging
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor as Pool
from typing import Any

import attrs

from .clock import Clock, SteppedClock
from .execution import Executor, Work
from .rules import Rules, Timings
from .store import Store, StoredBatch
from .validation import Verdict, not_found, token_limit_reached, validate

_logger = logging.getLogger(__name__)

# How often the counts of a long batch move.
_STEPS_PER_BATCH = 256
_EXPIRED = ("batch_expired", "This request could not be executed before the completion window expired.")
_CANCELLED = ("batch_cancelled", "This request could not be executed because the batch was cancelled.")

_Step = Callable[["_Life"], Awaitable[None]]


@attrs.define(eq=False)
class _Life:
    """What a batch needs while it is not over."""

    batch: StoredBatch
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    work: Work | None = None
    started: float = 0.0
    cancelled: float = 0.0
    tokens: int = 0


class Lifecycle:
    """Moves batches from state to state as the clock goes.

    Args:
        store: Where batches and files are kept.
        clock: What time it is.
        executor: Answers the lines.
        timings: How long states last.
        rules: Limits of validation.
        pool: Threads for validation and disk work.
    """

    def __init__(
        self, *, store: Store, clock: Clock, executor: Executor, timings: Timings, rules: Rules, pool: Pool
    ) -> None:
        self._store = store
        self._clock = clock
        self._executor = executor
        self._timings = timings
        self._rules = rules
        self._pool = pool
        self._lives: dict[str, _Life] = {}
        self._due: list[tuple[float, int, _Life, _Step]] = []
        self._sequence = itertools.count()
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def begin(self, batch: StoredBatch) -> None:
        """Start the life of a batch that was just made."""
        life = self._lives[batch.id] = _Life(batch)
        self._schedule(self._clock.now() + self._timings.validating_s, life, self._validate)
        self._schedule(float(batch.expires_at), life, self._expire)

    def cancel(self, batch: StoredBatch) -> None:
        """Turn a batch that is not over towards its end; one that is already turned stays as it is."""
        life = self._lives.get(batch.id)
        if life is not None and batch.status != "cancelling":
            now = life.cancelled = self._clock.now()
            batch.status = "cancelling"
            batch.cancelling_at = int(now)
            self._schedule(now + self._timings.cancelling_s, life, self._finish_cancel)

    async def settle(self) -> None:
        """Return when nothing moves: every batch is over, or waits for a clock that stands still."""
        while True:
            self._fire()
            if self._running:
                await asyncio.wait(self._running)
                continue
            delay = self._clock.real_delay(self._due[0][0]) if self._lives else None
            if delay is None:
                return
            await asyncio.sleep(delay)

    async def advance_to(self, when: float) -> None:
        """Walk a stepped clock to `when` (Unix seconds), stopping at each moment at which something happens.

        Raises:
            TypeError: The clock runs by itself.
        """
        if not isinstance(self._clock, SteppedClock):
            raise TypeError("only a SteppedClock can be advanced")
        await self.settle()
        while self._due and self._due[0][0] <= when:
            self._clock.move_to(max(self._due[0][0], self._clock.now()))
            await self.settle()
        self._clock.move_to(when)

    async def close(self) -> None:
        """Stop; what has not happened does not happen any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _schedule(self, when: float, life: _Life, step: _Step) -> None:
        heapq.heappush(self._due, (when, next(self._sequence), life, step))
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        delay = self._clock.real_delay(self._due[0][0]) if self._due and not self._closed else None
        if delay is not None:
            self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        """Start the steps whose time has come."""
        while self._due and self._due[0][0] <= self._clock.now():
            _, _, life, step = heapq.heappop(self._due)
            if life.batch.id in self._lives:
                task = asyncio.create_task(self._take(life, step))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        self._arm()

    async def _take(self, life: _Life, step: _Step) -> None:
        """Take one step; steps of one batch never overlap, and a crash of the emulator fails the batch."""
        async with life.lock:
            if life.batch.id not in self._lives:
                return
            try:
                await step(life)
            except Exception:
                _logger.exception("the emulator could not go on with %s", life.batch.id)
                message = "The server had an error while processing your batch."
                self._fail(life, [{"code": "server_error", "message": message, "param": None, "line": None}])

    async def _validate(self, life: _Life) -> None:
        batch = life.batch
        if batch.status != "validating":
            return
        verdict = await self._judge(batch)
        if life.batch.status != "validating":
            return
        limit = self._rules.enqueued_token_limit
        if not verdict.errors and limit is not None and self._enqueued(batch.scope, verdict) > limit:
            verdict.refuse("token_limit_exceeded", token_limit_reached(verdict.model, limit))
        if verdict.errors:
            self._fail(life, verdict.errors)
        else:
            self._start(life, verdict)

    async def _judge(self, batch: StoredBatch) -> Verdict:
        verdict = Verdict()
        file = self._store.find_file(batch.scope, batch.input_file_id, self._clock.now())
        if file is not None:
            judge = functools.partial(validate, file.path, endpoint=batch.endpoint, rules=self._rules)
            # Deleted while it was read: then it is not there, which the second look finds.
            with contextlib.suppress(FileNotFoundError):
                verdict = await asyncio.get_running_loop().run_in_executor(self._pool, judge)
            file = self._store.find_file(batch.scope, batch.input_file_id, self._clock.now())
        if file is None:
            verdict.errors.clear()
            verdict.refuse("invalid_request", not_found(batch.input_file_id), param="file_id")
        return verdict

    def _enqueued(self, scope: str, verdict: Verdict) -> int:
        others = (life for life in self._lives.values() if life.batch.scope == scope)
        return verdict.tokens + sum(life.tokens for life in others if life.batch.model == verdict.model)

    def _start(self, life: _Life, verdict: Verdict) -> None:
        batch = life.batch
        source = self._store.new_path()
        # A second name for the bytes: deleting the input file does not disturb a batch that runs.
        source.hardlink_to(self._store.files.items[batch.input_file_id].path)
        life.started = self._clock.now()
        life.tokens = verdict.tokens
        life.work = Work(
            source=source,
            output=self._store.new_path(),
            errors=self._store.new_path(),
            batch_id=batch.id,
            executor=self._executor,
            counts=batch.counts,
            usage=batch.usage,
            pool=self._pool,
            created_at=batch.created_at,
        )
        batch.model = verdict.model
        batch.counts.total = verdict.total
        batch.status = "in_progress"
        batch.in_progress_at = int(life.started)
        self._next_lines(life, life.work)

    def _next_lines(self, life: _Life, work: Work) -> None:
        total = life.batch.counts.total
        goal = min(total, work.done + math.ceil(total / _STEPS_PER_BATCH))
        step = functools.partial(self._run_lines, goal=goal)
        self._schedule(life.started + goal * self._timings.line_s, life, step)

    async def _run_lines(self, life: _Life, *, goal: int) -> None:
        batch, work = life.batch, life.work
        if batch.status != "in_progress" or work is None:
            return
        await work.run_to(max(goal, self._lines_due(life, self._clock.now())))
        # The status may have turned to cancelling while the lines ran.
        if life.batch.status != "in_progress":
            return
        if work.done < batch.counts.total:
            self._next_lines(life, work)
            return
        batch.status = "finalizing"
        batch.finalizing_at = int(self._clock.now())
        self._schedule(self._clock.now() + self._timings.finalizing_s, life, self._finalize)

    def _lines_due(self, life: _Life, until: float) -> int:
        """Return how many lines are done at `until`; a thousandth of a line forgives rounding."""
        total, line_s = life.batch.counts.total, self._timings.line_s
        until = min(until, life.batch.expires_at)
        return min(total, int((until - life.started) / line_s + 0.001)) if line_s else total

    async def _finalize(self, life: _Life) -> None:
        if life.batch.status == "finalizing":
            self._finish(life, "completed")

    async def _expire(self, life: _Life) -> None:
        if life.batch.status in {"validating", "in_progress"}:
            await self._leave_lines(life, life.batch.expires_at, _EXPIRED)
            if life.batch.status != "cancelling":
                self._finish(life, "expired")

    async def _finish_cancel(self, life: _Life) -> None:
        await self._leave_lines(life, life.cancelled, _CANCELLED)
        self._finish(life, "cancelled")

    async def _leave_lines(self, life: _Life, until: float, error: tuple[str, str]) -> None:
        """Run the lines that were due `until`, and write down that the others were not."""
        if life.work is not None:
            await life.work.run_to(self._lines_due(life, until))
            await life.work.give_up(*error)

    def _fail(self, life: _Life, errors: list[dict[str, Any]]) -> None:
        life.batch.errors = errors
        self._finish(life, "failed", keep_results=False)

    def _finish(self, life: _Life, status: str, *, keep_results: bool = True) -> None:
        batch, work, now = life.batch, life.work, self._clock.now()
        if work is not None:
            work.source.unlink(missing_ok=True)
            if keep_results:
                batch.output_file_id = self._publish(batch, work, "output", now)
                batch.error_file_id = self._publish(batch, work, "error", now)
            else:
                work.output.unlink(missing_ok=True)
                work.errors.unlink(missing_ok=True)
        batch.status = status
        setattr(batch, f"{status}_at", int(now))
        del self._lives[batch.id]

    def _publish(self, batch: StoredBatch, work: Work, name: str, now: float) -> str | None:
        path = work.output if name == "output" else work.errors
        if not (batch.counts.completed if name == "output" else batch.counts.failed):
            return None
        file = self._store.new_file(
            scope=batch.scope,
            path=path,
            filename=f"{batch.id}_{name}.jsonl",
            purpose="batch_output",
            now=now,
            lifetime_s=batch.output_lifetime_s,
        )
        return file.id
