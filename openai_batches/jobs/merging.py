"""Several walks over results, each in the order of the source, into one in that order."""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING

from openai_batches.errors import InputError, JobError
from openai_batches.results.inputs import iter_ids

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    from openai_batches.results.result import BatchResult

__all__ = ["in_source_order"]


async def in_source_order(
    source: Path, walks: Sequence[AsyncGenerator[list[BatchResult], None]], *, is_cut: Callable[[], bool]
) -> AsyncGenerator[list[BatchResult], None]:
    """Yield the results of all walks in the order in which a file names their requests.

    The next id in the file is that of the next result of one of the walks; one whose results have all been yielded is
    only waited for when no other walk has that id.

    Args:
        source: the file of all requests.
        walks: results of some of the requests, each walk in the order of the file.
        is_cut: whether walks may have ended before their time: then this ends too, where the first result is lacking.

    Raises:
        JobError: the file cannot be read, or names a request that no walk has.
    """
    heads: dict[str, tuple[deque[BatchResult], AsyncGenerator[list[BatchResult], None]]] = {}
    idle = deque(walks)
    piece: list[BatchResult] = []
    try:
        async with aclosing(iter_ids(source)) as blocks:
            async for ids in blocks:
                for custom_id in ids:
                    while idle and custom_id not in heads:
                        if piece:
                            yield piece  # the next result may be hours away
                            piece = []
                        await _advance(heads, idle.popleft())
                    if custom_id not in heads and is_cut():
                        yield piece
                        return
                    if custom_id not in heads:
                        raise JobError(f"{source} has changed: {custom_id!r} was not among its requests")
                    waiting, walk = heads.pop(custom_id)
                    piece.append(waiting.popleft())
                    if waiting:
                        heads[_id(waiting)] = waiting, walk
                    else:
                        idle.appendleft(walk)  # it is where the source is just now
        yield piece
    except (InputError, OSError) as error:
        text = f"The order of the results is that of {source}, which cannot be read: {error}"
        raise JobError(text) from error
    finally:
        for walk in walks:
            await walk.aclose()


async def _advance(
    heads: dict[str, tuple[deque[BatchResult], AsyncGenerator[list[BatchResult], None]]],
    walk: AsyncGenerator[list[BatchResult], None],
) -> None:
    """Put the next result of a walk among the heads, if there is one."""
    nothing: list[BatchResult] = []
    waiting = deque(await anext(walk, nothing))
    if waiting:
        heads[_id(waiting)] = waiting, walk


def _id(waiting: deque[BatchResult]) -> str:
    return waiting[0].custom_id or ""
