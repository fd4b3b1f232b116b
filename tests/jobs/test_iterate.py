"""Walks over the results of a running job: each piece as soon as it is on the disk, and an end when the job has one."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, strategies as st
from support import virtual_time
from support.job_parts import JOB_ID, attempt, batch, job_record, success_line
from support.request_lines import write_requests

from openai_batches import BatchResult, JobError, Outcome
from openai_batches.jobs.iterate import JobWalk, first_of, in_source_order
from openai_batches.jobs.journal.records import Step, Tally
from openai_batches.jobs.journal.sqlite import Journal
from openai_batches.jobs.plan import make_folders, requests_folder, results_folder
from openai_batches.jobs.state import JobState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from openai_batches.jobs.events import JobEvent
    from openai_batches.jobs.journal.records import Attempt


class Running:
    """A job whose shards are done when a test says so."""

    def __init__(self, directory: Path, lanes: dict[int, tuple[str, list[str]]], source: Path) -> None:
        self.journal = Journal(directory)
        make_folders(directory, JOB_ID)
        self.ids = {shard: ids for shard, (_, ids) in lanes.items()}
        attempts = []
        for shard, (model, ids) in lanes.items():
            one = attempt(shard, model=model, requests=len(ids), is_adopted=model == "adopted")
            path = write_requests(requests_folder(directory, JOB_ID) / one.name, ids)
            attempts.append(attrs.evolve(one, bytes=path.stat().st_size))
        self.journal.begin(job_record(source=str(source)), attempts)
        self.told = asyncio.Event()
        self.end = asyncio.Event()
        self.task = asyncio.ensure_future(self._until_the_end())
        self.state: JobState | None = None

    async def _until_the_end(self) -> None:
        await self.end.wait()

    async def open(self) -> None:
        job = self.journal.job()
        assert job is not None
        state = JobState(self.journal, job, on_event=self.tell, patience_s=1.0, now=lambda: 0.0)
        await state.open()
        self.state = state
        self.tell()

    def tell(self, _: JobEvent | None = None) -> None:
        told, self.told = self.told, asyncio.Event()
        told.set()

    async def finish(self, shard: int) -> Attempt:
        assert self.state is not None
        one = self.state.attempts[shard, 1]
        name = f"batch_{shard}_output.jsonl"
        path = results_folder(self.state.directory, JOB_ID) / name
        path.write_bytes(b"".join(map(success_line, self.ids[shard])))
        changes: dict[str, Any] = {"step": Step.VERIFIED, "batch": batch(f"batch_{shard}", "completed")}
        tally = Tally(outcomes={"succeeded": len(self.ids[shard])})
        saved = await self.state.save(one, **changes, output_name=name, tally=tally)
        self.tell()
        return saved

    def walk(self) -> JobWalk:
        return JobWalk(self.task, lambda: self.state, lambda: self.told)


@pytest.fixture
async def running(tmp_path: Path) -> Any:
    source = write_requests(tmp_path / "source.jsonl", ["a1", "b1", "a2", "b2"])
    lanes = {1: ("a", ["a1", "a2"]), 2: ("b", ["b1", "b2"]), 3: ("adopted", ["c1"])}
    running = Running(tmp_path / "job", lanes, source)
    yield running
    running.task.cancel()
    await asyncio.gather(running.task, return_exceptions=True)
    running.journal.close()


async def taken(pieces: AsyncGenerator[list[BatchResult], None], count: int) -> list[str | None]:
    ids: list[str | None] = []
    while len(ids) < count:
        ids += [result.custom_id for result in await asyncio.wait_for(anext(pieces), 60)]
    return ids


async def all_of(pieces: AsyncGenerator[list[BatchResult], None]) -> list[str | None]:
    async with aclosing(pieces):
        return [result.custom_id async for piece in pieces for result in piece]


async def test_a_shard_is_yielded_when_it_is_done_not_before(running: Running) -> None:
    pieces = running.walk().unordered()
    first = asyncio.ensure_future(taken(pieces, 2))
    await asyncio.sleep(0)
    await running.open()
    await running.finish(2)
    assert await first == ["b1", "b2"]
    await running.finish(3)
    assert await taken(pieces, 1) == ["c1"]
    await running.finish(1)
    running.end.set()
    assert await taken(pieces, 2) == ["a1", "a2"]
    assert await anext(pieces, None) is None


async def test_in_order_a_shard_waits_for_those_before_it(running: Running) -> None:
    """Shards of two models are merged by the source; adopted ones come last."""
    pieces = running.walk().ordered()
    first = asyncio.ensure_future(taken(pieces, 1))
    await asyncio.sleep(0)
    await running.open()
    await running.finish(3)
    await running.finish(2)
    await asyncio.sleep(0.01)
    assert not first.done()
    await running.finish(1)
    assert await first + await taken(pieces, 5 - len(first.result())) == ["a1", "b1", "a2", "b2", "c1"]
    assert await anext(pieces, None) is None


async def test_one_lane_needs_no_source(tmp_path: Path) -> None:
    running = Running(tmp_path / "job", {1: ("a", ["a1"]), 2: ("a", ["a2"])}, tmp_path / "none.jsonl")
    await running.open()
    for shard in (1, 2):
        await running.finish(shard)
    assert await all_of(running.walk().ordered()) == ["a1", "a2"]
    running.end.set()
    await running.task
    running.journal.close()


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_job_that_ends_before_it_begins_has_no_results(running: Running, ordered: bool) -> None:
    walk = running.walk()
    running.end.set()
    await running.task
    assert await all_of(walk.ordered() if ordered else walk.unordered()) == []


async def test_a_job_that_ends_early_has_the_results_that_are_there(running: Running) -> None:
    await running.open()
    await running.finish(1)
    running.end.set()
    await running.task
    assert await all_of(running.walk().ordered()) == ["a1"], "the next in the order of the source is not there"
    assert await all_of(running.walk().unordered()) == ["a1", "a2"]


async def test_leaving_early_leaves_nothing_behind(running: Running) -> None:
    await running.open()
    await running.finish(1)
    await running.finish(2)
    for pieces in (running.walk().ordered(), running.walk().unordered()):
        assert await taken(pieces, 1)
        await pieces.aclose()


async def test_a_body_type_reaches_the_results(running: Running) -> None:
    @attrs.frozen
    class Answer:
        model: str

    await running.open()
    await running.finish(3)
    walk = JobWalk(running.task, lambda: running.state, lambda: running.told, Answer)
    async with aclosing(walk.unordered()) as pieces:
        (result,) = await anext(pieces)
        assert result.body == Answer("gpt-4o-mini")


async def test_waiting_ends_with_the_task_or_the_event(running: Running) -> None:
    async def both(event: asyncio.Event) -> None:
        await asyncio.wait_for(first_of(running.task, event), 60)

    event = asyncio.Event()
    waiting = asyncio.ensure_future(both(event))
    await asyncio.sleep(0)
    event.set()
    await waiting
    running.end.set()
    await both(asyncio.Event())
    assert running.task.done()


# Several walks, each in the order of the source, become one in that order, and wait for no more than they must.


async def walk(
    pieces: Sequence[Sequence[str]], *, at_s: Sequence[float] = (), closed: list[str] | None = None
) -> AsyncGenerator[list[BatchResult], None]:
    """Yield results by their ids, each piece at a time of its own."""
    try:
        for number, piece in enumerate(pieces):
            if number < len(at_s):
                await asyncio.sleep(max(at_s[number] - virtual_time.now(), 0))
            yield [BatchResult(custom_id, Outcome.SUCCEEDED) for custom_id in piece]
    finally:
        if closed is not None:
            closed.append(pieces[0][0])


async def ids(
    source: Path,
    walks: Sequence[AsyncGenerator[list[BatchResult], None]],
    is_cut: Callable[[], bool] = lambda: False,
) -> list[str | None]:
    return [result.custom_id async for piece in in_source_order(source, walks, is_cut=is_cut) for result in piece]


@given(
    lanes=st.lists(st.integers(0, 3), max_size=60),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=10),
)
def test_the_order_is_that_of_the_source_for_any_lanes(lanes: list[int], sizes: list[int]) -> None:
    """Each request is of some lane, and each lane comes in pieces of some sizes."""
    by_lane: dict[int, list[str]] = {}
    for number, lane in enumerate(lanes):
        by_lane.setdefault(lane, []).append(f"r{number}")
    cut: list[list[list[str]]] = []
    for lane_ids in by_lane.values():
        pieces, start = [], 0
        while start < len(lane_ids):
            size = sizes[(len(pieces) + len(cut)) % len(sizes)]
            pieces.append(lane_ids[start : start + size])
            start += size
        cut.append(pieces)

    async def main(source: Path) -> list[str | None]:
        return await ids(source, [walk(pieces) for pieces in cut])

    with tempfile.TemporaryDirectory() as folder:
        wanted = [f"r{number}" for number in range(len(lanes))]
        assert virtual_time.run(main(write_requests(Path(folder) / "a.jsonl", wanted))) == wanted


def test_results_do_not_wait_for_a_lane_that_comes_later_in_the_source(tmp_path: Path) -> None:
    """What is first in the source and at hand is yielded, hours before the other lane has its first result."""
    source = write_requests(tmp_path / "a.jsonl", ["a1", "a2", "a3", "b1", "a4"])

    async def main() -> list[tuple[str | None, float]]:
        walks = [walk([["a1", "a2"], ["a3", "a4"]], at_s=[1_010, 1_050]), walk([["b1"]], at_s=[5_000])]
        seen = []
        async for piece in in_source_order(source, walks, is_cut=lambda: False):
            seen += [(result.custom_id, virtual_time.now()) for result in piece]
        return seen

    assert virtual_time.run(main()) == [("a1", 1_010), ("a2", 1_010), ("a3", 1_050), ("b1", 5_000), ("a4", 5_000)]


async def test_walks_that_were_cut_end_it_where_the_first_result_is_lacking(tmp_path: Path) -> None:
    source = write_requests(tmp_path / "a.jsonl", ["a1", "b1", "a2", "b2"])
    walks = [walk([["a1", "a2"]]), walk([["b1"]])]
    assert await ids(source, walks, lambda: True) == ["a1", "b1", "a2"]


async def test_a_source_with_other_requests_has_changed(tmp_path: Path) -> None:
    source = write_requests(tmp_path / "a.jsonl", ["a1", "new"])
    closed: list[str] = []
    walks = [walk([["a1"], ["a2"]], closed=closed), walk([["b1"]], closed=closed)]
    with pytest.raises(JobError, match="has changed: 'new' was not among its requests"):
        await ids(source, walks)
    assert closed == ["a1", "b1"]


@pytest.mark.parametrize("content", [None, b"{}\n"])
async def test_a_source_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    source = tmp_path / "a.jsonl"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(JobError, match=r"The order of the results is that of .*a\.jsonl, which cannot be read"):
        await ids(source, [walk([["a1"]])])


async def test_leaving_early_closes_the_walks(tmp_path: Path) -> None:
    source = write_requests(tmp_path / "a.jsonl", ["a1", "b1", "a2"])
    closed: list[str] = []
    pieces = in_source_order(
        source, [walk([["a1"], ["a2"]], closed=closed), walk([["b1"]], closed=closed)], is_cut=lambda: False
    )
    async for piece in pieces:
        assert piece
        break
    await pieces.aclose()
    assert "a1" in closed
