"""Output of any length to standard output, written piece by piece in a thread."""

import asyncio
import codecs
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from typing import TypeVar

from openai_batches._threads import in_daemon_thread
from openai_batches.cli.output.terminal import out_is_terminal, write_through
from openai_batches.cli.output.texts import clean

__all__ = ["OutputStream", "gathered"]

T = TypeVar("T")

_PIECE_BYTES = 256 * 1024
_PIECE_ITEMS = 1_024


class OutputStream:
    """Standard output, for more than a screenful.

    What a terminal would obey is made visible there; a pipe or a file gets the bytes as they are.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace") if out_is_terminal() else None

    async def write(self, make: Callable[[], bytes]) -> None:
        """Write what a function makes, both in a thread."""

        def work() -> None:
            data = make()
            write_through(data if self._decoder is None else clean(self._decoder.decode(data)).encode())

        await in_daemon_thread(work)


async def gathered(items: AsyncIterable[T], *, weigh: Callable[[T], int]) -> AsyncGenerator[list[T]]:
    """Yield items together with those that came since the step before: the first at once, later ones many at a time.

    Meanwhile the next ones are read, up to 1,024 items or 256 kB ahead.
    """
    held: list[T] = []
    weight = 0
    is_there, has_room = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        nonlocal weight
        async for item in items:
            held.append(item)
            weight += weigh(item)
            is_there.set()
            if weight >= _PIECE_BYTES or len(held) >= _PIECE_ITEMS:
                has_room.clear()
                await has_room.wait()

    reader = asyncio.ensure_future(read())
    reader.add_done_callback(lambda _: is_there.set())
    try:
        while held or not reader.done():
            is_there.clear()
            if not held and not reader.done():
                await is_there.wait()
                continue
            piece, held, weight = held, [], 0
            has_room.set()
            yield piece
        await reader
    finally:
        reader.cancel()
        await asyncio.wait({reader})
