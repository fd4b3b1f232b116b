"""Yes-or-no questions to the user at the terminal."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Generator

from rich.text import Text

from openai_batches.cli.output.terminal import open_keyboard, stderr

__all__ = ["can_ask", "confirmed"]

_READ = 4_096


def can_ask() -> bool:
    """Return whether there is a person who can read a question and answer it."""
    return sys.stdin is not None and sys.stdin.isatty() and stderr().is_terminal


async def confirmed(question: str) -> bool:
    """Ask a question on standard error; return whether the answer is yes. No answer is a no."""
    stderr().print(Text(f"{question} [y/N] "), end="", soft_wrap=True)
    return (await _line()).decode(errors="replace").strip().lower() in {"y", "yes"}


async def _line() -> bytes:
    """Return what is typed, up to a line feed or the end; the event loop, and with it Ctrl-C, goes on meanwhile."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[bytes] = loop.create_future()
    line = bytearray()

    def read(terminal: int) -> None:
        # It may have been thrown away, or be another's, by the time it is read.
        with contextlib.suppress(BlockingIOError):
            data = os.read(terminal, _READ)
            line.extend(data)
            if (not data or b"\n" in data) and not typed.done():
                # Whoever ends the input in the middle of a line has not answered.
                typed.set_result(bytes(line) if data else b"")

    with _terminal() as terminal:
        loop.add_reader(terminal, read, terminal)
        try:
            return await typed
        finally:
            loop.remove_reader(terminal)


@contextlib.contextmanager
def _terminal() -> Generator[int]:
    """Give the terminal that answers are typed at."""
    with contextlib.ExitStack() as closing:
        terminal = sys.stdin.fileno()
        with contextlib.suppress(OSError):
            terminal = open_keyboard(terminal)
            closing.callback(os.close, terminal)
        yield terminal
