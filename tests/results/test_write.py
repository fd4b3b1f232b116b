"""Results into files: whole or not at all, in order, without holding the loop or the memory."""

from __future__ import annotations

import asyncio
import csv
import errno
import gzip
import io
import json
import os
import stat
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pytest
from support.result_lines import read_result

from openai_batches.errors import InputError
from openai_batches.results import write
from openai_batches.results.write import CsvWriter, JsonlWriter, ParquetWriter, ResultWriter, write_results

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from openai_batches.results.result import BatchResult

ALL = [JsonlWriter, CsvWriter, ParquetWriter]
NAMES = {JsonlWriter: "out.jsonl", CsvWriter: "out.csv", ParquetWriter: "out.parquet"}


@attrs.frozen
class Answer:
    word: str
    count: int = 0


def result(number: int, text: str = "Hi") -> BatchResult:
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    body = {"model": "a", "choices": [choice], "usage": {"prompt_tokens": number, "completion_tokens": 1}}
    line = {"custom_id": f"r{number}", "response": {"status_code": 200, "body": body}, "error": None}
    return read_result(msgspec.json.encode(line), line_number=number)


def rows_of(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    name = path.name.lower()
    if name.endswith(".gz"):
        data = gzip.decompress(data)
    elif name.endswith(".zst"):
        data = pytest.importorskip("zstandard").ZstdDecompressor().stream_reader(data).read()
    name = name.removesuffix(".gz").removesuffix(".zst")
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in data.splitlines()]
    if name.endswith(".csv"):
        return list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    found: list[dict[str, Any]] = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    return found


def others(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir() if entry != path)


def entries(directory: Path) -> list[Path]:
    return list(directory.iterdir())


@pytest.mark.parametrize("writer_class", ALL)
@pytest.mark.parametrize("count", [0, 1, 512, 1_300])
async def test_every_result_is_a_row_in_order(tmp_path: Path, writer_class: type[ResultWriter], count: int) -> None:
    """None is lost at the edge of a piece of work, and the number of rows is told."""
    path = tmp_path / NAMES[writer_class]
    async with writer_class(path) as writer:
        for number in range(count):
            await writer.write(result(number))
    assert writer.rows == count
    assert [row["custom_id"] for row in rows_of(path)] == [f"r{number}" for number in range(count)]
    assert others(path) == []


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.csv", "a.parquet", "a.jsonl.gz", "a.b.csv.gz", "a.csv.zst", "a.JSONL.GZ", "a.Parquet"]
)
async def test_the_suffix_says_what_is_written(tmp_path: Path, name: str) -> None:
    """Three formats, two of them compressed on request, in any case; from lists and from async iterables."""
    path = tmp_path / name

    async def coming() -> AsyncIterator[BatchResult]:
        for number in range(3):
            yield result(number)

    assert await write_results(coming(), path) == 3
    expected = rows_of(path)
    assert [row["text"] for row in expected] == ["Hi"] * 3
    assert [int(row["input_tokens"]) for row in expected] == [0, 1, 2]
    assert await write_results([result(number) for number in range(3)], str(path), overwrite=True) == 3
    assert rows_of(path) == expected


async def test_the_format_can_be_said(tmp_path: Path) -> None:
    """It wins over the suffix; what is neither said nor known is refused before anything is written."""
    path = tmp_path / "out.txt"
    await write_results([result(1)], path, format="jsonl")
    assert json.loads(path.read_bytes())["custom_id"] == "r1"
    for name, format_ in (("out", None), ("out.xlsx", None), ("out.gz", None), ("out.csv", "xml")):
        with pytest.raises(InputError, match="give format="):
            await write_results([], tmp_path / name, format=format_)  # type: ignore[arg-type]
    assert others(path) == []


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
async def test_parsed_fields_have_columns(tmp_path: Path, name: str) -> None:
    """One for each field; a text that does not parse leaves them empty and says why."""
    path = tmp_path / name
    results = [result(1, '{"word": "yes", "count": 2}'), result(2, "no JSON")]
    await write_results(results, path, parse=Answer, prefix="answer_")
    good, bad = rows_of(path)
    assert (good["answer_word"], int(good["answer_count"])) == ("yes", 2)
    assert not good["error_code"]
    assert not bad["answer_word"]
    assert (bad["outcome"], bad["error_code"]) == ("succeeded", "parse_error")
    with pytest.raises(InputError, match="are parsed into"):
        JsonlWriter(path, parse=int)


async def test_formulas_are_escaped_on_request(tmp_path: Path) -> None:
    """For files that people open in a spreadsheet."""
    path = tmp_path / "out.csv"
    async with CsvWriter(path, escape_formulas=True) as writer:
        await writer.write(result(1, "=1+1"))
    assert rows_of(path)[0]["text"] == "'=1+1"


async def test_the_file_is_the_users_alone(tmp_path: Path) -> None:
    """Mode 0600, while it is written and after."""
    path = tmp_path / "out.jsonl"
    async with JsonlWriter(path) as writer:
        (temporary,) = entries(tmp_path)
        assert not path.exists()
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        await writer.write(result(1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet", "out.jsonl.gz"])
async def test_an_exception_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    """Neither a half of a file nor a temporary one; a file that was there stays as it was."""
    path = tmp_path / name

    async def broken() -> AsyncIterator[BatchResult]:
        for number in range(1_000):
            yield result(number)
        raise ValueError("the stream broke")

    with pytest.raises(ValueError, match="the stream broke"):
        await write_results(broken(), path)
    assert entries(tmp_path) == []
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match="the stream broke"):
        await write_results(broken(), path, overwrite=True)
    assert path.read_bytes() == b"before"
    assert others(path) == []


@pytest.mark.parametrize("pause_s", [0, 0.01, 0.05])
async def test_a_cancellation_leaves_nothing_behind(tmp_path: Path, pause_s: float) -> None:
    """Wherever it strikes: while opening, between rows, or while a thread writes."""
    path = tmp_path / "out.jsonl.gz"

    async def endless() -> AsyncIterator[BatchResult]:
        while True:
            yield result(1, "x" * 1_000)

    task = asyncio.ensure_future(write_results(endless(), path))
    await asyncio.sleep(pause_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _until(lambda: entries(tmp_path) == [])


async def test_a_second_cancellation_does_not_stop_the_tidying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is at work is not disturbed, and what it wrote is removed when it is done."""
    path = tmp_path / "out.jsonl"
    started, released = threading.Event(), threading.Event()

    def slow(self: Any, rows: Any) -> None:
        started.set()
        released.wait(30)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write.JsonlFormat, "append", slow)
    task = asyncio.ensure_future(write_results([result(1)], path))
    await asyncio.to_thread(started.wait, 30)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(entries(tmp_path)) == 1
    released.set()
    await _until(lambda: entries(tmp_path) == [])


async def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
async def test_what_is_there_is_not_replaced_unasked(tmp_path: Path, kind: str) -> None:
    """It is refused at once, before results are asked for; a link that points nowhere is something too."""
    path = tmp_path / "out.jsonl"
    if kind == "file":
        path.write_bytes(b"before")
    elif kind == "link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.mkdir()

    def results() -> Iterator[BatchResult]:
        raise AssertionError("asked too early")
        yield

    with pytest.raises(InputError, match=r"exists|is a directory"):
        await write_results(results(), path)
    assert others(path) == []


async def test_what_appears_meanwhile_is_not_replaced_either(tmp_path: Path) -> None:
    """The name is taken in one step that refuses a name that is taken."""
    path = tmp_path / "out.jsonl"

    def results() -> Iterator[BatchResult]:
        yield result(1)
        path.write_bytes(b"another's")

    with pytest.raises(InputError, match="exists"):
        await write_results(results(), path)
    assert path.read_bytes() == b"another's"
    assert others(path) == []


async def test_a_file_system_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the file is renamed."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "out.jsonl"
    assert await write_results([result(1)], path) == 1
    assert len(rows_of(path)) == 1
    assert others(path) == []


async def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """Until the new one is whole, readers see the old one."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"before")
    async with JsonlWriter(path, overwrite=True) as writer:
        await writer.write_many(result(number) for number in range(1_000))
        assert path.read_bytes() == b"before"
    assert len(rows_of(path)) == 1_000


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """Is the operating system's error, unchanged."""
    with pytest.raises(FileNotFoundError):
        await write_results([], tmp_path / "nowhere" / "out.jsonl")


async def test_rows_that_were_lost_are_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever passes over an error of ``write`` does not get a file with a hole."""
    path = tmp_path / "out.jsonl"
    whole = write.JsonlFormat.append
    answers = iter([OSError(errno.ENOSPC, "No space left on device"), None])

    def fail_once(self: Any, rows: Any) -> None:
        if (error := next(answers)) is not None:
            raise error
        whole(self, rows)

    monkeypatch.setattr(write.JsonlFormat, "append", fail_once)
    writer = await JsonlWriter(path).__aenter__()
    with pytest.raises(OSError, match="No space left"):
        await writer.write_many(result(number) for number in range(600))
    await writer.write(result(600))
    with pytest.raises(OSError, match="No space left"):
        await writer.__aexit__(None, None, None)
    assert entries(tmp_path) == []


@pytest.mark.parametrize("method", ["append", "finish", "close"])
async def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Whichever step fails, the temporary file goes."""
    path = tmp_path / "out.jsonl"

    def fail(self: Any, *args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write.JsonlFormat, method, fail)
    if method == "close":
        # The rows are in the file by then: what cannot be closed twice is no loss.
        assert await write_results([result(1)], path) == 1
    else:
        with pytest.raises(OSError, match="No space left"):
            await write_results([result(1)], path)
    assert others(path) == []


async def test_parquet_without_pyarrow_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra, before results are asked for."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"openai_batches\[arrow\]"):
        await write_results([result(1)], tmp_path / "out.parquet")
    assert entries(tmp_path) == []


@pytest.mark.parametrize("name", ["out.parquet.gz", "out.parquet.zst", "out.Parquet.GZ"])
async def test_parquet_is_not_compressed_once_more(tmp_path: Path, name: str) -> None:
    """No reader would find its way in."""
    with pytest.raises(InputError, match="compressed already"):
        await write_results([], tmp_path / name)
    assert entries(tmp_path) == []


async def test_zstd_without_its_package_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra, before results are asked for."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(InputError, match=r"openai_batches\[zstd\]"):
        await write_results([result(1)], tmp_path / "out.csv.zst")
    assert entries(tmp_path) == []


async def test_what_is_not_in_the_rows_is_counted(tmp_path: Path) -> None:
    """Answers without a text, and those of which only one choice of several is written."""
    several = result(1)
    body = {**several.body, "choices": several.body["choices"] * 2}
    line = {"custom_id": "r1", "response": {"status_code": 200, "body": body}, "error": None}
    async with JsonlWriter(tmp_path / "out.jsonl") as writer:
        await writer.write_many([result(0), read_result(msgspec.json.encode(line), line_number=1)])
        body["choices"] = []
        await writer.write(read_result(msgspec.json.encode(line), line_number=2))
    assert (writer.textless, writer.partial) == (1, 1)


async def test_a_writer_is_used_inside_its_block_and_once(tmp_path: Path) -> None:
    """Anything else is a mistake, told as one."""
    writer = JsonlWriter(tmp_path / "out.jsonl")
    with pytest.raises(InputError, match="inside the writer's block"):
        await writer.write(result(1))
    async with writer:
        pass
    with pytest.raises(InputError, match="inside the writer's block"):
        await writer.write(result(1))
    with pytest.raises(InputError, match="make another one"):
        async with writer:
            pass


async def test_tasks_can_share_a_writer(tmp_path: Path) -> None:
    """Each row is there once, and no two are mixed."""
    path = tmp_path / "out.jsonl"
    async with JsonlWriter(path) as writer:

        async def some(start: int) -> None:
            for number in range(start, start + 500):
                await writer.write(result(number, "x" * 200))
                await asyncio.sleep(0)

        await asyncio.gather(*(some(start) for start in range(0, 2_000, 500)))
    assert sorted(int(row["custom_id"][1:]) for row in rows_of(path)) == list(range(2_000))


async def test_large_results_are_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows wait when their lines are large."""
    most = 0
    whole = write.JsonlFormat.append

    def watch(self: Any, rows: list[Any]) -> None:
        nonlocal most
        most = max(most, len(rows))
        whole(self, rows)

    monkeypatch.setattr(write.JsonlFormat, "append", watch)
    await write_results((result(number, "x" * 300_000) for number in range(20)), tmp_path / "out.jsonl")
    assert 0 < most <= 4


async def test_the_loop_stays_free_while_rows_are_written(tmp_path: Path) -> None:
    """The work is a thread's: the loop turns often meanwhile."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.ensure_future(turn())
    await write_results([result(1, "word " * 100)] * 8_000, tmp_path / "out.csv")
    turning.cancel()
    assert turns > 100


async def test_the_base_class_writes_nothing(tmp_path: Path) -> None:
    """It has no format of its own."""
    with pytest.raises(NotImplementedError):
        async with ResultWriter(tmp_path / "out"):
            pass
    assert entries(tmp_path) == []
