"""What Ctrl-C, Ctrl-Z, SIGTERM and SIGHUP do: end a block, cancel a task, or suspend the program."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Generator
from types import FrameType
from typing import cast

import attrs

__all__ = ["Interruption", "cleared_at_ctrl_z", "interruptible", "signals_as_interrupts", "stopped_by_signals"]

_ENDING = ("SIGTERM", "SIGHUP")


@contextlib.contextmanager
def signals_as_interrupts() -> Generator[None]:
    """Let the signals that end a program be what Ctrl-C is to it, while this lasts: files are closed, words are said.

    A signal that is ignored, as that of a terminal that hangs up is under ``nohup``, stays ignored.
    """
    before = {}
    # Only the main thread may, and no other hears signals.
    with contextlib.suppress(ValueError):
        for number in (getattr(signal, name) for name in _ENDING if hasattr(signal, name)):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    heard = signal.getsignal(signal.SIGINT)
    # In the background of a script, Ctrl-C is ignored and this is not.
    if callable(heard):
        heard(signal.SIGINT, frame)
    else:
        signal.default_int_handler(number, frame)


@attrs.define
class Interruption:
    """Whether the person, or the system, wants no more."""

    has_come: bool = False


@contextlib.contextmanager
def interruptible() -> Generator[Interruption]:
    """End the block at Ctrl-C, and go on behind it; a second Ctrl-C ends the program."""
    interruption = Interruption()
    try:
        yield interruption
    except asyncio.CancelledError:
        cast("asyncio.Task[object]", asyncio.current_task()).uncancel()
        interruption.has_come = True
    except KeyboardInterrupt:
        # It has ended a write that was blocked.
        interruption.has_come = True


@contextlib.contextmanager
def cleared_at_ctrl_z(leave: Callable[[], object], come_back: Callable[[], object]) -> Generator[None]:
    """Let Ctrl-Z find the terminal as it was before something was drawn on it."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        leave()
        # Without a shell, which could continue it, the system does not stop it. Sent to this very thread, it
        # has come before the handler is there again.
        loop.remove_signal_handler(signal.SIGTSTP)
        signal.raise_signal(signal.SIGTSTP)
        loop.add_signal_handler(signal.SIGTSTP, stop)
        come_back()

    is_heard = False
    # As for other signals: not everywhere, and in no thread but the main one.
    with contextlib.suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
        if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
            loop.add_signal_handler(signal.SIGTSTP, stop)
            is_heard = True
    try:
        yield
    finally:
        if is_heard:
            loop.remove_signal_handler(signal.SIGTSTP)


@contextlib.contextmanager
def stopped_by_signals(first: Callable[[], object], second: Callable[[], int]) -> Generator[Interruption]:
    """Let Ctrl-C, SIGTERM or SIGHUP cancel this task, which then ends in good order; a second one ends the process.

    A signal that is ignored, as that of a terminal that hangs up is under ``nohup``, stays ignored.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    interruption = Interruption()

    def stop() -> None:
        if interruption.has_come:
            os._exit(second())
        interruption.has_come = True
        first()
        if task is not None:  # pragma: no branch  # a command is a task
            task.cancel()

    numbers = [getattr(signal, name) for name in ("SIGINT", *_ENDING) if hasattr(signal, name)]
    watched: list[signal.Signals] = []
    for number in numbers:
        # Not every system watches signals in its event loop, and no thread but the main one may; Ctrl-C is then what
        # asyncio makes of it.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, stop)
                watched.append(number)
    try:
        yield interruption
    finally:
        for number in watched:
            loop.remove_signal_handler(number)
        if interruption.has_come and signal.SIGINT in watched:
            # It is ending already; one that comes now would only spoil its exit code.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
