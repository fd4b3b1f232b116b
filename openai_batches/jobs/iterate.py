"""Iterate over a job's results while it runs: each piece as soon as it is on the disk, or in the source's order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from openai_batches._threads import in_threads
from openai_batches.errors import InputError, JobError
from openai_batches.jobs.plan import source_path
from openai_batches.jobs.result_files import attempt_results, shard_results
from openai_batches.jobs.state import JobState
from openai_batches.results.inputs import iter_ids

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from openai_batches.results.result import BatchResult

__all__ = ["JobWalk", "first_of", "in_source_order"]

_Walk: TypeAlias = "AsyncGenerator[list[BatchResult], None]"


@attrs.frozen
class JobWalk:
    """An iteration over the results of a job; it ends with the job, however that ends."""

    task: asyncio.Task[None]
    # The job's attempts, once they are known.
    state: Callable[[], JobState | None]
    # What is set when the next thing happens.
    told: Callable[[], asyncio.Event]
    body_type: Any = None

    async def unordered(self) -> _Walk:
        """Yield the results of each attempt once it is verified."""
        taken = 0
        while True:
            state = self.state()
            while state is not None and taken < len(state.verified):
                files = state.files_of(state.verified[taken])
                taken += 1
                async with aclosing(in_threads(attempt_results(files, self.body_type))) as pieces:
                    async for piece in pieces:
                        yield piece
            if self.task.done():
                return
            await first_of(self.task, self.told())

    async def ordered(self) -> _Walk:
        """Yield the results in the order of the source; the shards of one model are in that order already."""
        while (state := self.state()) is None:
            if self.task.done():
                return
            await first_of(self.task, self.told())
        by_model: dict[tuple[str, str | None], list[int]] = {}
        for attempt in state.firsts():
            if not attempt.is_adopted:
                by_model.setdefault((attempt.endpoint, attempt.model), []).append(attempt.shard)
        walks = [self._shards(state, shards) for shards in by_model.values()]
        if len(walks) > 1:
            walks = [in_source_order(source_path(state.job, state.directory), walks, is_cut=self.task.done)]
        others = [attempt.shard for attempt in state.firsts() if attempt.is_adopted]
        for walk in (*walks, self._shards(state, others)):
            async with aclosing(walk):
                async for piece in walk:
                    yield piece

    async def _shards(self, state: JobState, shards: list[int]) -> _Walk:
        """Yield the results of some shards, each once all its attempts are verified."""
        for shard in shards:
            while not state.is_done(shard):
                if self.task.done():
                    return
                await first_of(self.task, self.told())
            files = [state.files_of(attempt) for attempt in state.shard(shard)]
            async with aclosing(in_threads(shard_results(files, self.body_type))) as pieces:
                async for piece in pieces:
                    yield piece


async def first_of(task: asyncio.Task[None], told: asyncio.Event) -> None:
    """Return when a task is done, or an event is set."""
    waiter = asyncio.ensure_future(told.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()


async def in_source_order(source: Path, walks: Sequence[_Walk], *, is_cut: Callable[[], bool]) -> _Walk:
    """Yield the results of all walks in the order in which a file names their requests.

    The next id in the file is that of the next result of one of the walks; one whose results have all been yielded is
    only waited for when no other walk has that id. Where ``is_cut`` says that walks may have ended before their time,
    this ends too, where the first result is lacking.
    """
    heads: dict[str, tuple[deque[BatchResult], _Walk]] = {}
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


async def _advance(heads: dict[str, tuple[deque[BatchResult], _Walk]], walk: _Walk) -> None:
    """Put the next result of a walk among the heads, if there is one."""
    nothing: list[BatchResult] = []
    waiting = deque(await anext(walk, nothing))
    if waiting:
        heads[_id(waiting)] = waiting, walk


def _id(waiting: deque[BatchResult]) -> str:
    return waiting[0].custom_id or ""
