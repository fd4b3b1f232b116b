"""Requests from anywhere become shards on disk, or nothing does and it is said why."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import os
import stat
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from openai_batches import OPENAI, InputError
from openai_batches.errors import InvalidRequestsError
from openai_batches.models import Repair
from openai_batches.requests import validate as validate_module
from openai_batches.requests.packing import ShardLimits
from openai_batches.requests.request import BatchRequest
from openai_batches.requests.shards import iter_shards, write_shards
from openai_batches.requests.validate import validate_requests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from openai_batches.requests.packing import Shard
    from openai_batches.requests.validate import ValidationReport

CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
TWO = ShardLimits(max_requests=2)


def requests(count: int, **changes: Any) -> list[BatchRequest]:
    return [BatchRequest(f"r-{number}", {**BODY, **changes}, CHAT) for number in range(1, count + 1)]


def line(number: int, **changes: Any) -> bytes:
    whole = {"custom_id": f"r-{number}", "method": "POST", "url": CHAT, "body": BODY, **changes}
    return json.dumps(whole).encode() + b"\n"


def files_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def ids_in(shard: Shard) -> list[str]:
    return [json.loads(text)["custom_id"] for text in shard.path.read_bytes().splitlines()]


async def test_requests_become_shards_on_disk(tmp_path: Path) -> None:
    """Each is whole, in order, and only its owner can read it."""
    directory = tmp_path / "deep" / "shards"
    shards = await write_shards(requests(5), directory, limits=TWO)
    assert [ids_in(shard) for shard in shards] == [["r-1", "r-2"], ["r-3", "r-4"], ["r-5"]]
    assert [shard.path for shard in shards] == [directory / f"shard-0000{number}.jsonl" for number in (1, 2, 3)]
    assert [shard.bytes for shard in shards] == [shard.path.stat().st_size for shard in shards]
    assert {stat.S_IMODE(shard.path.stat().st_mode) for shard in shards} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert files_in(directory) == [shard.path.name for shard in shards]


async def test_files_plain_and_packed_are_read(tmp_path: Path) -> None:
    """What is in a shard is what was in the file, byte for byte, without what says nothing."""
    lines = [line(number) for number in range(1, 4)]
    data = b"\xef\xbb\xbf" + lines[0].replace(b"\n", b"\r\n") + b"\n" + lines[1] + lines[2].rstrip()
    plain, packed = tmp_path / "in.jsonl", tmp_path / "in.jsonl.gz"
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    for number, source in enumerate([plain, str(packed)]):
        reports: list[ValidationReport] = []
        (shard,) = await write_shards(source, tmp_path / str(number), on_report=reports.append)
        assert shard.path.read_bytes() == b"".join(lines)
        assert [report.requests for report in reports] == [3]
        assert reports[0].repairs == tuple(
            Repair(code=code, count=1, first_line=first) for code, first in (("crlf", 1), ("bom", 1), ("blank_line", 2))
        )


async def test_async_sources_are_taken_as_they_come(tmp_path: Path) -> None:
    """Shards are yielded before the source has ended."""
    asked = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal asked
        for number in itertools.count(1):
            asked = number
            yield line(number, body={**BODY, "user": "x" * 1_000_000})

    async with aclosing(iter_shards(source(), tmp_path, limits=TWO)) as shards:
        first = await anext(shards)
        assert ids_in(first) == ["r-1", "r-2"]
        assert asked < 10
    assert files_in(tmp_path) == ["shard-00001.jsonl"]


async def test_problems_of_all_lines_are_raised_and_no_shard_is_left(tmp_path: Path) -> None:
    """Those that were whole before the first problem go too: all or nothing."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"".join([line(1), line(2), line(3), b"{\n", line(4, method="GET"), line(1), line(6)]))
    directory = tmp_path / "shards"
    reports: list[ValidationReport] = []
    with pytest.raises(InvalidRequestsError) as caught:
        await write_shards(source, directory, limits=TWO, on_report=reports.append)
    found = [(problem.code, problem.line, problem.first_line) for problem in caught.value.problems]
    assert found == [("invalid_json_line", 4, None), ("invalid_method", 5, None), ("duplicate_custom_id", 6, 1)]
    assert {problem.file for problem in caught.value.problems} == {str(source)}
    assert str(caught.value).startswith(f"3 problems in the requests: {source}:4:2: ")
    assert reports[0].problems == caught.value.problems
    assert files_in(directory) == []


async def test_a_problem_in_a_later_block_ends_the_writing(tmp_path: Path) -> None:
    """What is half written goes at once; the rest is only looked at for more problems."""
    large = {"user": "x" * 600_000}
    source = [*requests(3, **large), *requests(4, **large), *requests(2, stream=True)]
    with pytest.raises(InvalidRequestsError) as caught:
        await write_shards(source, tmp_path)
    codes = [(problem.code, problem.line) for problem in caught.value.problems]
    assert codes == [("duplicate_custom_id", number) for number in (4, 5, 6)] + [
        ("streaming_unsupported", 8),
        ("duplicate_custom_id", 8),
        ("streaming_unsupported", 9),
        ("duplicate_custom_id", 9),
    ]
    assert files_in(tmp_path) == []


async def test_only_so_many_problems_are_named(tmp_path: Path) -> None:
    """The first ones, whatever they are; the others are counted."""
    with pytest.raises(InvalidRequestsError) as caught:
        await write_shards([line(1)] * 10 + [b"{"] * 10, tmp_path, max_problems=4)
    assert [(problem.code, problem.line) for problem in caught.value.problems] == [
        ("duplicate_custom_id", number) for number in (2, 3, 4, 5)
    ]
    assert caught.value.more_problems == 15
    assert "19 problems" in str(caught.value)


async def test_a_request_that_fits_no_shard_is_refused_by_name(tmp_path: Path) -> None:
    """Among the other problems, in the order of the lines."""
    source = [line(1), line(2, body={**BODY, "user": "x" * 500}), b"{", line(4)]
    with pytest.raises(InvalidRequestsError) as caught:
        await write_shards(source, tmp_path, limits=ShardLimits(max_bytes=400))
    found = [(problem.code, problem.line, problem.custom_id) for problem in caught.value.problems]
    assert found == [("request_too_large", 2, "r-2"), ("invalid_json_line", 3, None)]
    assert files_in(tmp_path) == []


async def test_no_requests_make_no_shards(tmp_path: Path) -> None:
    """That is a mistake, not an empty job."""
    empty, blank = tmp_path / "empty.jsonl", tmp_path / "blank.jsonl"
    empty.write_bytes(b"")
    blank.write_bytes(b"\n \n")
    with pytest.raises(InvalidRequestsError, match="The input file is empty"):
        await write_shards(empty, tmp_path)
    with pytest.raises(InvalidRequestsError, match="The input file has only blank lines"):
        await write_shards(blank, tmp_path)
    with pytest.raises(InvalidRequestsError, match="A generator or an open file can be read only once"):
        await write_shards([], tmp_path)


async def test_limits_are_limits(tmp_path: Path) -> None:
    """A dict in place of ShardLimits is refused at once, and a shard can be given wherever a path can."""
    limits: Any = {"max_requests": 5}
    with pytest.raises(InputError, match="limits must be ShardLimits, not dict"):
        await write_shards([line(1)], tmp_path, limits=limits)
    (shard,) = await write_shards([line(1)], tmp_path)
    assert os.fspath(shard) == str(shard.path)
    assert (await validate_requests(shard)).requests == 1


async def test_a_long_file_is_worked_through_in_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that works through a file looks now and then whether it is still wanted."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"".join(line(number, pad="x" * 700_000) for number in range(1, 6)))
    monkeypatch.setattr(validate_module, "_WHILE_S", 0.0)
    stages = 0
    async with aclosing(validate_module.work_through(source, 1, len)) as steps:
        async for _ in steps:
            stages += 1
    assert stages >= 3
    directory = tmp_path / "shards"
    async with aclosing(iter_shards(source, directory, limits=TWO)) as shards:
        assert ids_in(await anext(shards)) == ["r-1", "r-2"]
        assert files_in(directory)[-1] == "shard-00001.jsonl"
    assert files_in(directory) == ["shard-00001.jsonl"]


async def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    """Whatever reads requests says what is wrong with it."""
    with pytest.raises(FileNotFoundError):
        await write_shards(tmp_path / "none.jsonl", tmp_path / "shards")
    with pytest.raises(InputError, match="is a folder"):
        await validate_requests(tmp_path)
    assert files_in(tmp_path) == []


async def test_another_jobs_shards_are_not_overwritten(tmp_path: Path) -> None:
    """They may be on their way to the service."""
    (tmp_path / "shard-00002.jsonl").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"shard-00002\.jsonl is there already"):
        await write_shards(requests(3), tmp_path, limits=TWO)
    assert files_in(tmp_path) == ["shard-00002.jsonl"]
    assert (tmp_path / "shard-00002.jsonl").read_bytes() == b"mine"


async def test_a_source_that_breaks_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its own error comes through."""

    async def source() -> AsyncIterator[BatchRequest]:
        for request in requests(3):
            yield request
        raise OSError("the database is gone")

    with pytest.raises(OSError, match="the database is gone"):
        await write_shards(source(), tmp_path, limits=TWO)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("name", ["file", "directory"])
async def test_a_disk_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A shard that is not known to be on disk is no shard."""

    def fail(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode) == (name == "directory"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        await write_shards(requests(3), tmp_path)
    assert files_in(tmp_path) == []


async def test_shards_are_flushed_before_they_get_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file first, then its name, then the directory: a crash leaves a whole shard or none."""
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def traced_fsync(handle: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def traced_replace(old: Any, new: Any, **options: Any) -> None:
        steps.append("rename")
        replace(old, new, **options)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "replace", traced_replace)
    await write_shards(requests(3), tmp_path, limits=TWO)
    assert steps == ["file", "rename", "directory"] * 2


async def test_leaving_early_keeps_only_what_was_yielded(tmp_path: Path) -> None:
    """Shards that were whole but never handed over go too."""
    async with aclosing(iter_shards(requests(7), tmp_path, limits=TWO)) as shards:
        async for shard in shards:
            assert shard.number == 1
            assert len(files_in(tmp_path)) == 4
            break
    assert files_in(tmp_path) == ["shard-00001.jsonl"]


async def held_up(directory: Path) -> tuple[asyncio.Task[list[Shard]], threading.Event]:
    """Return the task of writing shards, whose thread waits for an event."""
    is_counting, may_go_on = threading.Event(), threading.Event()

    def count(_: bytes) -> int:
        is_counting.set()
        assert may_go_on.wait(10)
        return 1

    limits = ShardLimits(max_requests=1, max_tokens=100, count_tokens=count)
    task = asyncio.create_task(write_shards(requests(3), directory, limits=limits))
    await asyncio.to_thread(is_counting.wait, 10)
    return task, may_go_on


async def test_cancelling_waits_for_the_thread_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A cancelled task waits for its thread, however often it is cancelled."""
    task, may_go_on = await held_up(tmp_path)
    task.cancel()
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert files_in(tmp_path) == []


async def test_the_event_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    """Reading, checking and writing happen in a thread."""
    task, may_go_on = await held_up(tmp_path)
    await asyncio.sleep(0)
    may_go_on.set()
    assert len(await task) == 3


async def test_requests_are_validated_without_being_sent_anywhere(tmp_path: Path) -> None:
    """As the input of one batch: one endpoint, one model, within its limits."""
    source = tmp_path / "in.jsonl"
    source.write_bytes(line(1) + line(2) + line(2))
    report = await validate_requests(source)
    assert (report.requests, report.bytes, report.models, report.endpoints) == (3, 3 * len(line(1)), ("m",), (CHAT,))
    assert not report.is_valid
    assert str(report.problems[0]) == (
        f"{source}:3: The custom_id 'r-2' for this request is a duplicate of that on line 2. "
        "The custom_id parameter must be unique for each request. (custom_id 'r-2')"
    )
    small = attrs.evolve(OPENAI, max_requests=1)
    assert [problem.code for problem in (await validate_requests(source, provider=small)).problems] == [
        "duplicate_custom_id",
        "too_many_tasks",
    ]
    assert (await validate_requests([line(1), line(2)], provider=small, one_batch=False)).is_valid
    assert files_in(tmp_path) == ["in.jsonl"]


async def test_the_endpoint_can_be_asked_for(tmp_path: Path) -> None:
    """Then every url must be it; what is no path is refused before anything is read."""
    report = await validate_requests(requests(1), endpoint="/v1/responses")
    assert [problem.code for problem in report.problems] == ["invalid_url"]
    with pytest.raises(InvalidRequestsError, match="does not match the batch endpoint"):
        await write_shards(requests(1), tmp_path, endpoint="/v1/responses")
    for function in (validate_requests(requests(1), endpoint="v1"), write_shards(requests(1), tmp_path, endpoint="v1")):
        with pytest.raises(InputError, match="endpoint must be a path"):
            await function


@pytest.mark.parametrize("value", [0, True, 1.5])
async def test_at_least_one_problem_is_named(value: Any) -> None:
    """No problems to name would look like none to have."""
    with pytest.raises(InputError, match="max_problems must be a whole number of at least 1"):
        await validate_requests([], max_problems=value)


async def test_lax_requests_are_sharded_too(tmp_path: Path) -> None:
    """What the service fills in, e.g. the model, may be absent."""
    (shard,) = await write_shards([BatchRequest("a", {}, CHAT)], tmp_path, strict=False)
    assert shard.model is None
