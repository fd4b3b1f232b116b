"""An event loop whose time jumps: whoever sleeps an hour in it sleeps no time at all.

It is for coroutines that wait for each other and for the clock. A real connection would look dead in it, since time
jumps to the next timer as soon as nothing is ready.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Jumps over every wait for the clock."""

    def __init__(self) -> None:
        self._virtual_now = 1_000.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        self._virtual_now += seconds

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # its own name
        """Wait for threads as long as they take: they live in real time."""
        await super().shutdown_default_executor()


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if ready := super().select(0):
            return ready
        self._loop.jump(timeout)
        return []


def run(main: Coroutine[None, None, T]) -> T:
    """Return what a coroutine returns, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def in_virtual_time(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Make a test of a coroutine, which runs in virtual time."""

    @functools.wraps(test)
    def run_test(*args: Any, **options: Any) -> None:
        run(test(*args, **options))

    return run_test


def now() -> float:
    """The virtual time of the running loop, in seconds."""
    return asyncio.get_running_loop().time()
