"""How long a server of a benchmark lives: as long as the pipe on its standard input, within a bound."""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def until_told(lifetime_s: float) -> None:
    """Return when the standard input, a pipe, ends, or after so many seconds."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), over.set)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(lifetime_s):
                await over.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
