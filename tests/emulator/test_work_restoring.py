"""What is left of a batch's work after a crash, and that it goes on without asking a line twice."""

import json
from collections import Counter
from typing import Any

import attrs
import pytest
from support.asking import chat_line, jsonl
from support.working import Watched, WorkMaker, ids_of

from openai_batches.emulator import EchoExecutor
from openai_batches.emulator.batches.execution import Work


class Picky(Watched):
    """Answers every third line with 404."""

    async def __call__(self, url: str, body: dict[str, Any], custom_id: str) -> Any:
        answer = await super().__call__(url, body, custom_id)
        return (404, {"error": {"message": "gone"}}) if int(custom_id.rpartition("-")[2]) % 3 == 0 else answer


def _state(work: Work) -> tuple[int, Any, Any]:
    return work.done, attrs.asdict(work._counts), attrs.asdict(work._results._usage)


async def _finish(work: Work, total: int) -> None:
    await work.restore()
    await work.run_to(total)


async def test_a_restored_work_is_the_same(maker: WorkMaker) -> None:
    """Counts, usage and the lines that are done come from the files alone."""
    work = maker.work(Picky())
    await work.run_to(7)
    again = maker.work(Watched())
    await again.restore()
    assert _state(again) == _state(work)
    assert again._counts.completed + again._counts.failed == 7
    assert again._results._usage.input_tokens > 0


async def test_wrong_counts_are_corrected(maker: WorkMaker) -> None:
    """What was remembered elsewhere of counts and usage may be older than the files."""
    work = maker.work(Picky())
    await work.run_to(7)
    right = _state(work)
    await work.restore()
    assert _state(work) == right


async def test_nothing_was_written(maker: WorkMaker) -> None:
    """A crash before the first answer leaves nothing to read."""
    work = maker.work(Watched())
    await _finish(work, 10)
    assert len(ids_of(work.run.output)) == 10


@pytest.mark.parametrize("name", ["output", "errors"])
async def test_an_incomplete_line_is_executed_again(maker: WorkMaker, name: Any) -> None:
    """Wherever in its last line a file ends, that line alone is asked again, and all is as without the crash."""
    whole = maker.work(Picky(), lines=4)
    await whole.run_to(4)
    expected, path = _state(whole), getattr(whole.run, name)
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    start = len(content) - len(lines[-1])
    picky = Picky()
    for length in range(start, len(content)):
        path.write_bytes(content[:length])
        work = maker.work(picky, lines=4)
        await _finish(work, 4)
        assert _state(work) == expected
        assert path.read_bytes() == content
    assert picky.answered == {json.loads(lines[-1])["custom_id"]: len(content) - start}


@pytest.mark.parametrize("hole", [b"\0" * 50 + b"\n", b"{}\n", b'{"custom_id": 1}\n', b"\xff\n", b"\n"])
async def test_lines_behind_a_hole_are_executed_again(maker: WorkMaker, hole: Any) -> None:
    """Behind a line that a power failure made unreadable, lines are asked again, so that each is there once."""
    work = maker.work(Picky())
    await work.run_to(10)
    lines = work.run.output.read_bytes().splitlines(keepends=True)
    work.run.output.write_bytes(b"".join([*lines[:2], hole, *lines[3:]]))
    again = maker.work(Picky())
    await _finish(again, 10)
    assert Counter(ids_of(again.run.output)) == Counter(ids_of(maker.folder / "batch_1.out"))
    assert Counter(ids_of(again.run.output) + ids_of(again.run.errors)) == Counter(
        f"batch_1-{index}" for index in range(10)
    )
    assert again._counts == work._counts


async def test_a_result_file_without_a_complete_line_is_removed(maker: WorkMaker) -> None:
    """A file that has not one whole line is as if it had never been made."""
    work = maker.work(Watched())
    work.run.errors.write_bytes(b'{"custom_id": "batch_1-3", "respon')
    work.run.output.write_bytes(b"")
    await work.restore()
    assert (work.done, work.run.errors.exists(), work.run.output.exists()) == (0, False, False)


@pytest.mark.parametrize("executor", [EchoExecutor, Watched])
async def test_many_lines_that_are_done(maker: WorkMaker, executor: Any) -> None:
    """Lines done in any order, more of them than are read at once, are passed over."""
    first = maker.work(Watched(concurrency=7, pauses=3), lines=2000)
    await first.run_to(1700)
    work = maker.work(executor(), lines=2000)
    await _finish(work, 2000)
    assert Counter(ids_of(work.run.output)) == Counter(f"batch_1-{index}" for index in range(2000))
    assert not work._lines.skipped


async def test_giving_up_after_a_crash_in_giving_up(maker: WorkMaker) -> None:
    """Lines that were given up before the crash are not given up again."""
    work = maker.work(Watched())
    await work.run_to(4)
    await work.give_up("batch_expired", "expired")
    content = work.run.errors.read_bytes()
    work.run.errors.write_bytes(content[: len(content) // 2])
    again = maker.work(Watched())
    await again.restore()
    await again.give_up("batch_expired", "expired")
    assert sorted(ids_of(again.run.errors)) == [f"batch_1-{index}" for index in range(4, 10)]
    assert work.run.errors.read_bytes() == content
    assert again._counts == work._counts


async def test_lines_of_one_id_are_told_apart(maker: WorkMaker) -> None:
    """Where ids may come twice, a line that has no result yet is asked, and one that has is not, whatever its id."""
    (maker.folder / "batch_1.in").write_bytes(jsonl(*(chat_line(name) for name in "aabbb")))
    await maker.work(EchoExecutor(), lines=5).run_to(3)
    again = maker.work(again_asked := Watched(), lines=5)
    await _finish(again, 5)
    assert (ids_of(again.run.output), again_asked.asked) == (list("aabbb"), list("bb"))
    given_up = maker.work(EchoExecutor(), "batch_2", lines=5)
    (maker.folder / "batch_2.in").write_bytes((maker.folder / "batch_1.in").read_bytes())
    await given_up.run_to(3)
    again = maker.work(EchoExecutor(), "batch_2", lines=5)
    await again.restore()
    await again.give_up("batch_expired", "over")
    assert (ids_of(again.run.output), ids_of(again.run.errors)) == (list("aab"), list("bb"))
