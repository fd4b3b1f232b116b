"""Questions to the person at the terminal."""

import asyncio
import sys

from rich.text import Text

from openai_batches.cli.terminal import stderr

__all__ = ["can_ask", "confirmed"]


def can_ask() -> bool:
    """Return whether there is a person who can read a question and answer it."""
    return sys.stdin is not None and sys.stdin.isatty() and stderr().is_terminal


async def confirmed(question: str) -> bool:
    """Ask a question on standard error; return whether the answer is yes. No answer is a no.

    Args:
        question: a sentence with a question mark.
    """
    stderr().print(Text(f"{question} [y/N] "), end="", soft_wrap=True)
    loop = asyncio.get_running_loop()
    typed = asyncio.Event()
    # A terminal has something to read when a line is whole; until then Ctrl-C is heard.
    loop.add_reader(sys.stdin.fileno(), typed.set)
    try:
        await typed.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
