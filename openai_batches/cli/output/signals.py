"""SIGTERM and SIGHUP, which end a command in the same good order as Ctrl-C."""

import contextlib
import signal
from collections.abc import Generator
from types import FrameType

__all__ = ["heard_as_interrupts"]

_NAMES = ("SIGTERM", "SIGHUP")


@contextlib.contextmanager
def heard_as_interrupts() -> Generator[None]:
    """Let the signals that end a program be what Ctrl-C is to it, while this lasts: files are closed, words are said.

    A signal that is ignored, as that of a terminal that hangs up is under ``nohup``, stays ignored.
    """
    before = {}
    # Only the main thread may, and no other hears signals.
    with contextlib.suppress(ValueError):
        for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
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
