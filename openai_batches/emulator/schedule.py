"""The schedule: functions that are called when the emulator's clock reaches their moment."""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable

from openai_batches.emulator.clock import Clock, SteppedClock

_logger = logging.getLogger(__name__)

Act = Callable[[], Awaitable[None]]


class Schedule:
    """Starts functions when the clock reaches their moment, each in a task of its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Act]] = []
        self._sequence = itertools.count()
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def at(self, when: float, act: Act) -> None:
        """Start `act` at `when` (Unix seconds); of two at one moment, the one that was entered first starts first."""
        if not self._closed:
            heapq.heappush(self._due, (when, next(self._sequence), act))
            self._arm()

    async def settle(self, is_waiting: Callable[[], bool]) -> None:
        """Return when nothing runs, and nothing is to be waited for or the clock stands still.

        `is_waiting` tells whether acts that lie ahead on a running clock are worth waiting for.
        """
        while True:
            self._fire()
            if self._running:
                await asyncio.wait(self._running)
                continue
            delay = self._clock.real_delay(self._due[0][0]) if self._due and is_waiting() else None
            if delay is None:
                return
            await asyncio.sleep(delay)

    async def advance_to(self, when: float, is_waiting: Callable[[], bool]) -> None:
        """Walk a stepped clock to `when` (Unix seconds), stopping at each moment at which something happens."""
        if not isinstance(self._clock, SteppedClock):
            raise TypeError("only a SteppedClock can be advanced: give the server clock=SteppedClock()")
        await self.settle(is_waiting)
        while self._due and self._due[0][0] <= when:
            self._clock.move_to(max(self._due[0][0], self._clock.now()))
            await self.settle(is_waiting)
        self._clock.move_to(when)

    async def close(self) -> None:
        """Stop; functions that have not started are dropped."""
        self._closed = True
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        delay = self._clock.real_delay(self._due[0][0]) if self._due else None
        if delay is not None:
            self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        """Start what is due."""
        while self._due and self._due[0][0] <= self._clock.now():
            _, _, act = heapq.heappop(self._due)
            task = asyncio.create_task(self._run(act))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        self._arm()

    async def _run(self, act: Act) -> None:
        try:
            await act()
        except Exception:
            _logger.exception("the emulator could not do what was scheduled")
