"""Several walks, each in the order of the source, become one in that order, and wait for no more than they must."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st
from support import virtual_time
from support.job_parts import requests_file

from openai_batches import BatchResult, JobError, Outcome
from openai_batches.jobs.merging import in_source_order

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence


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
        assert virtual_time.run(main(requests_file(Path(folder) / "a.jsonl", wanted))) == wanted


def test_results_do_not_wait_for_a_lane_that_comes_later_in_the_source(tmp_path: Path) -> None:
    """What is first in the source and at hand is yielded, hours before the other lane has its first result."""
    source = requests_file(tmp_path / "a.jsonl", ["a1", "a2", "a3", "b1", "a4"])

    async def main() -> list[tuple[str | None, float]]:
        walks = [walk([["a1", "a2"], ["a3", "a4"]], at_s=[1_010, 1_050]), walk([["b1"]], at_s=[5_000])]
        seen = []
        async for piece in in_source_order(source, walks, is_cut=lambda: False):
            seen += [(result.custom_id, virtual_time.now()) for result in piece]
        return seen

    assert virtual_time.run(main()) == [("a1", 1_010), ("a2", 1_010), ("a3", 1_050), ("b1", 5_000), ("a4", 5_000)]


async def test_walks_that_were_cut_end_it_where_the_first_result_is_lacking(tmp_path: Path) -> None:
    source = requests_file(tmp_path / "a.jsonl", ["a1", "b1", "a2", "b2"])
    walks = [walk([["a1", "a2"]]), walk([["b1"]])]
    assert await ids(source, walks, lambda: True) == ["a1", "b1", "a2"]


async def test_a_source_with_other_requests_has_changed(tmp_path: Path) -> None:
    source = requests_file(tmp_path / "a.jsonl", ["a1", "new"])
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
    source = requests_file(tmp_path / "a.jsonl", ["a1", "b1", "a2"])
    closed: list[str] = []
    pieces = in_source_order(
        source, [walk([["a1"], ["a2"]], closed=closed), walk([["b1"]], closed=closed)], is_cut=lambda: False
    )
    async for piece in pieces:
        assert piece
        break
    await pieces.aclose()
    assert "a1" in closed
