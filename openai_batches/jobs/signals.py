"""Stop a job's task, on a signal or otherwise, so that it can be resumed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Collection
from typing import TYPE_CHECKING

from openai_batches.errors import InputError, JobStoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["checked_signals", "stop_task", "stopped_elsewhere", "stopping"]

_GOES_ON = "the batches that it has created, if any, go on at the service, and it goes on when it is run again"


def checked_signals(signals: Collection[signal.Signals]) -> tuple[signal.Signals, ...]:
    """Return the signals to stop on."""
    if isinstance(signals, str | bytes) or not isinstance(signals, Collection):
        raise InputError(f"stop_on must be a collection of signals, such as [signal.SIGTERM], not {signals!r}")
    for number in signals:
        if not isinstance(number, signal.Signals):
            raise InputError(f"stop_on must hold signals, such as signal.SIGTERM, not {number!r}")
    return tuple(signals)


@contextlib.contextmanager
def stopped_elsewhere() -> Iterator[None]:
    """Raise ``JobStoppedError`` if the task that is waited for inside was cancelled, and not the waiting task."""
    try:
        yield
    except asyncio.CancelledError:
        waiter = asyncio.current_task()
        if waiter is None or waiter.cancelling():
            raise
        raise JobStoppedError(f"The job was stopped elsewhere: {_GOES_ON}") from None


@contextlib.contextmanager
def stopping(task: asyncio.Task[None], signals: Collection[signal.Signals]) -> Iterator[None]:
    """Cancel a task when a signal comes; it is waited for inside. Earlier handlers of the signals are removed."""
    loop = asyncio.get_running_loop()
    came: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        came.append(number)
        task.cancel()

    watched: list[signal.Signals] = []
    try:
        for number in signals:
            try:
                loop.add_signal_handler(number, stop, number)
            except (NotImplementedError, RuntimeError, ValueError) as error:
                raise InputError(f"stop_on cannot watch {number!r} here: {error}") from error
            watched.append(number)
        yield
    except asyncio.CancelledError:
        if not came or (current := asyncio.current_task()) is None or current.cancelling():
            raise  # the waiting task itself was cancelled
        raise JobStoppedError(f"{came[0].name} stopped the job: {_GOES_ON}") from None
    finally:
        for number in watched:
            loop.remove_signal_handler(number)


async def stop_task(task: asyncio.Task[None]) -> None:
    """Cancel the task of a job, and wait for its end."""
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
