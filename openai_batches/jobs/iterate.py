"""Walks over the results of a job while it runs: each piece as soon as the disk has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import attrs

from openai_batches._threads import in_threads
from openai_batches.jobs.merging import in_source_order
from openai_batches.jobs.plan import source_path
from openai_batches.jobs.result_files import attempt_results, shard_results
from openai_batches.jobs.state import JobState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

    from openai_batches.results.result import BatchResult

__all__ = ["JobWalk", "first_of"]

T = TypeVar("T")
P = ParamSpec("P")


@attrs.frozen
class JobWalk:
    """A walk over the results of a job; it ends with the job, however that ends.

    Args:
        task: what carries the job.
        state: gives the job's attempts, once they are known.
        told: gives what is set when the next thing happens.
        body_type: the type of the successful answers' bodies; None leaves them plain values.
    """

    task: asyncio.Task[None]
    state: Callable[[], JobState | None]
    told: Callable[[], asyncio.Event]
    body_type: Any = None

    async def unordered(self) -> AsyncGenerator[list[BatchResult], None]:
        """Yield the results of each attempt once it is verified."""
        taken = 0
        while True:
            state = self.state()
            while state is not None and taken < len(state.verified):
                files = state.files_of(state.verified[taken])
                taken += 1
                async with aclosing(in_threads(_steps(attempt_results, files, self.body_type))) as pieces:
                    async for piece in pieces:
                        yield piece
            if self.task.done():
                return
            await first_of(self.task, self.told())

    async def ordered(self) -> AsyncGenerator[list[BatchResult], None]:
        """Yield the results in the order of the source; the shards of one model are in that order already."""
        while (state := self.state()) is None:
            if self.task.done():
                return
            await first_of(self.task, self.told())
        lanes: dict[tuple[str, str | None], list[int]] = {}
        for attempt in state.firsts():
            if not attempt.is_adopted:
                lanes.setdefault((attempt.endpoint, attempt.model), []).append(attempt.shard)
        walks = [self._shards(state, shards) for shards in lanes.values()]
        if len(walks) > 1:
            walks = [in_source_order(source_path(state.job, state.directory), walks, is_cut=self.task.done)]
        others = [attempt.shard for attempt in state.firsts() if attempt.is_adopted]
        for walk in (*walks, self._shards(state, others)):
            async with aclosing(walk):
                async for piece in walk:
                    yield piece

    async def _shards(self, state: JobState, shards: list[int]) -> AsyncGenerator[list[BatchResult], None]:
        """Yield the results of some shards, each once all its attempts are verified."""
        for shard in shards:
            while not state.is_done(shard):
                if self.task.done():
                    return
                await first_of(self.task, self.told())
            files = [state.files_of(attempt) for attempt in state.shard(shard)]
            async with aclosing(in_threads(_steps(shard_results, files, self.body_type))) as pieces:
                async for piece in pieces:
                    yield piece


async def first_of(task: asyncio.Task[None], told: asyncio.Event) -> None:
    """Return when a task is done, or an event is set."""
    waiter = asyncio.ensure_future(told.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()


def _steps(pieces: Callable[P, Iterator[T]], *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
    """Yield what a function yields, once it is called: that is work too."""
    yield from pieces(*args, **kwargs)
