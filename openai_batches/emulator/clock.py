"""The emulator's clocks: what time it is inside, and how long that is outside."""

import math
import time
from typing import Protocol, runtime_checkable

from openai_batches._names import public
from openai_batches.emulator import checking

DEFAULT_START = 1_750_000_000.0
# Eleven days in a second: beyond, a moment of the machine is longer than the life of a batch.
MAX_SPEED = 1_000_000.0


@public
class Clock(Protocol):
    """Tells the emulated time and how long the real world has to wait for a moment."""

    def now(self) -> float:
        """Return the emulated time in Unix seconds."""
        ...

    def real_delay(self, when: float) -> float | None:
        """Return the real seconds until `when`, or None if waiting alone never gets there."""
        ...


@public
@runtime_checkable
class LastingClock(Clock, Protocol):
    """A clock whose time goes on where it was when a server with a data folder starts again."""

    def catch_up(self, when: float) -> None:
        """Go to `when` (Unix seconds) if that is later."""
        ...

    def horizon(self) -> float:
        """Return the moment until which the time, once it is written down, need not be written again."""
        ...


@public
class RealClock:
    """A clock that runs by itself, `speed` emulated seconds per real second.

    Args:
        speed: Emulated seconds per real second, up to 1,000,000; 1.0 is the wall clock.
        start: Emulated Unix seconds to start from; None is the present.

    Raises:
        TypeError: `speed` or `start` is no number.
        ValueError: `speed` is not above zero, or too high.
    """

    def __init__(self, *, speed: float = 1.0, start: float | None = None) -> None:
        checking.number("speed", speed, above=0, most=MAX_SPEED)
        if start is not None:
            checking.number("start", start)
        self.speed = speed
        self._is_wall_clock = start is None and speed == 1
        self._start = time.time() if start is None else start
        self._origin = time.monotonic()

    def now(self) -> float:
        """Return the emulated time in Unix seconds."""
        return self._start + (time.monotonic() - self._origin) * self.speed

    def real_delay(self, when: float) -> float | None:
        """Return the real seconds until `when`, zero if it has passed."""
        return max(0.0, (when - self.now()) / self.speed)

    def catch_up(self, when: float) -> None:
        """Go to `when` (Unix seconds) if that is later."""
        self._start += max(0.0, when - self.now())

    def horizon(self) -> float:
        """Return what the time will be in a real second; the wall clock goes on by itself, and has none."""
        return math.inf if self._is_wall_clock else self.now() + self.speed


@public
class SteppedClock:
    """A clock that stands still until it is told to move.

    `BatchServer.advance` walks it from event to event; moving it by hand jumps over the moments in between.

    Args:
        start: Emulated Unix seconds to start from.
    """

    def __init__(self, *, start: float = DEFAULT_START) -> None:
        checking.number("start", start)
        self._now = float(start)

    def now(self) -> float:
        """Return the emulated time in Unix seconds."""
        return self._now

    def real_delay(self, when: float) -> float | None:
        """Return zero if `when` has come, else None: no waiting makes it come."""
        return 0.0 if when <= self._now else None

    def move_to(self, when: float) -> None:
        """Set the time to `when` (Unix seconds).

        Raises:
            ValueError: `when` lies in the past.
        """
        if when < self._now:
            raise ValueError("a clock does not run backwards")
        self._now = float(when)

    def catch_up(self, when: float) -> None:
        """Go to `when` (Unix seconds) if that is later."""
        self._now = max(self._now, float(when))

    def horizon(self) -> float:
        """Return the present: every step is written down."""
        return self._now
