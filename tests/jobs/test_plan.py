"""The plan of a job: the source is checked and cut before anything is sent, and told from another one afterwards."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from support.job_parts import CHAT, JOB_ID, attempt, job_record, plan
from support.request_lines import request_line, write_requests

from openai_batches import InputError, InvalidRequestsError, JobError, JournalError, ShardLimits
from openai_batches.jobs import plan as plan_module
from openai_batches.jobs.journal.records import Step
from openai_batches.jobs.journal.sqlite import Journal
from openai_batches.jobs.plan import planned, requests_folder, results_folder, settled, source_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

IDS = [f"r{number}" for number in range(10)]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "job")
    yield journal
    journal.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_requests(tmp_path / "requests.jsonl", IDS)


def read(path: Path) -> bytes:
    return path.read_bytes()


def folders(journal: Journal) -> list[Path]:
    return [path for path in journal.directory.iterdir() if path.is_dir()]


def rewrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))


async def lines_of(ids: list[str]) -> AsyncIterator[bytes]:
    for custom_id in ids:
        yield request_line(custom_id)


class TestNewJobs:
    async def test_a_file_is_cut_into_shards_that_the_journal_knows(self, journal: Journal, source: Path) -> None:
        limits = ShardLimits(max_requests=4)
        job = await planned(journal, source, plan(limits=limits))
        assert journal.job() == job
        assert job.job_id.startswith("openai-batches-")
        assert (job.requests, job.source, job.source_bytes) == (10, str(source), len(read(source)))
        attempts = journal.attempts()
        assert [(one.shard, one.number, one.requests) for one in attempts] == [(1, 1, 4), (2, 1, 4), (3, 1, 2)]
        assert {(one.step, one.endpoint, one.model) for one in attempts} == {(Step.PLANNED, CHAT, "gpt-4o-mini")}
        folder = requests_folder(journal.directory, job.job_id)
        assert {one.name: one.bytes for one in attempts} == {
            path.name: path.stat().st_size for path in folder.iterdir()
        }
        assert source_path(job, journal.directory) == source

    async def test_two_jobs_of_one_source_have_names_of_their_own(self, tmp_path: Path, source: Path) -> None:
        names = set()
        for name in "ab":
            journal = Journal(tmp_path / name)
            names.add((await planned(journal, source, plan())).job_id)
            journal.close()
        assert len(names) == 2

    @pytest.mark.parametrize("kind", ["list", "async", "bytes"])
    async def test_requests_from_memory_are_kept_since_nobody_can_give_them_again(
        self, journal: Journal, kind: str
    ) -> None:
        make: dict[str, Any] = {
            "list": lambda: [request_line(custom_id) for custom_id in IDS],
            "async": lambda: lines_of(IDS),
            "bytes": lambda: b"".join(map(request_line, IDS)),
        }
        job = await planned(journal, make[kind](), plan())
        spooled = source_path(job, journal.directory)
        assert job.source is None
        assert spooled.parent == journal.directory / job.job_id
        assert [json.loads(line)["custom_id"] for line in spooled.read_bytes().splitlines()] == IDS
        assert await planned(journal, make[kind](), plan()) == job
        assert await planned(journal, None, plan()) == job
        assert folders(journal) == [journal.directory / job.job_id], "comparing leaves nothing behind"

    @pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
    @pytest.mark.parametrize("in_memory", [False, True])
    async def test_only_the_owner_can_read_what_a_plan_makes(
        self, journal: Journal, source: Path, in_memory: bool
    ) -> None:
        """Folders have the mode 0700 and files 0600, whatever the process leaves to others."""
        before = os.umask(0)
        try:
            job = await planned(journal, lines_of(IDS) if in_memory else source, plan())
        finally:
            os.umask(before)
        made = [journal.directory / job.job_id, *(journal.directory / job.job_id).rglob("*")]
        assert {path.name for path in made} >= {job.job_id, "requests", "results", "shard-00001.jsonl"}
        assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o700}
        assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o600}


class TestNothingIsPlanned:
    async def test_without_requests_there_is_no_job(self, journal: Journal) -> None:
        with pytest.raises(InputError, match=r"There is no job in .* yet: give it its requests"):
            await planned(journal, None, plan())

    @pytest.mark.parametrize("in_memory", [False, True])
    async def test_invalid_requests_leave_no_job_and_no_file(
        self, journal: Journal, tmp_path: Path, in_memory: bool
    ) -> None:
        lines = [*map(request_line, IDS), b'{"custom_id": "bad"}\n', request_line("r1")]
        path = tmp_path / "bad.jsonl"
        path.write_bytes(b"".join(lines))
        with pytest.raises(InvalidRequestsError) as caught:
            await planned(journal, lines if in_memory else path, plan(limits=ShardLimits(max_requests=2)))
        assert len(caught.value.problems) >= 2
        assert journal.job() is None
        assert journal.attempts() == []
        assert folders(journal) == []

    async def test_a_source_that_is_not_there(self, journal: Journal, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="is not there"):
            await planned(journal, tmp_path / "none.jsonl", plan())
        assert folders(journal) == []

    async def test_text_of_requests_is_not_taken_for_a_path(self, journal: Journal) -> None:
        """Nor are the prompts in it shown."""
        text = request_line("a" * 14_000).decode()
        with pytest.raises(InputError, match="text of requests is given as bytes") as caught:
            await planned(journal, text, plan())
        assert len(str(caught.value)) < 200
        with pytest.raises(InputError, match="is not there") as caught:
            await planned(journal, "x/" * 1_000, plan())
        assert len(str(caught.value)) < 200
        assert folders(journal) == []

    @pytest.mark.parametrize("in_memory", [False, True])
    async def test_problems_name_a_file_only_where_there_is_one(
        self, journal: Journal, tmp_path: Path, in_memory: bool
    ) -> None:
        """What requests from memory were written to is gone by then."""
        path = tmp_path / "bad.jsonl"
        path.write_bytes(b'{"custom_id": "bad"}\n')
        with pytest.raises(InvalidRequestsError) as caught:
            await planned(journal, path.read_bytes() if in_memory else path, plan())
        assert {problem.file for problem in caught.value.problems} == {None if in_memory else str(path)}
        assert ("source.jsonl" in str(caught.value), "bad.jsonl" in str(caught.value)) == (False, not in_memory)

    async def test_a_source_that_is_a_folder(self, journal: Journal, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="is a folder or a device"):
            await planned(journal, str(tmp_path), plan())

    async def test_a_source_that_changes_while_it_is_read(
        self, journal: Journal, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file that is still being written would be taken for a whole one."""
        write_shards = plan_module.write_shards

        async def slowly(path: Any, *args: Any, **kwargs: Any) -> Any:
            shards = await write_shards(path, *args, **kwargs)
            with source.open("ab") as file:
                file.write(request_line("late"))
            return shards

        monkeypatch.setattr(plan_module, "write_shards", slowly)
        with pytest.raises(InputError, match="changed while it was read"):
            await planned(journal, source, plan())
        assert journal.job() is None
        assert folders(journal) == []

    async def test_a_source_that_fails_leaves_nothing(self, journal: Journal) -> None:
        async def failing() -> AsyncIterator[bytes]:
            yield request_line("r1")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await planned(journal, failing(), plan())
        assert folders(journal) == []

    async def test_a_plan_that_is_cancelled_leaves_nothing(self, journal: Journal) -> None:
        is_asked = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            yield request_line("r1")
            is_asked.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(planned(journal, endless(), plan()))
        await is_asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert journal.job() is None
        assert folders(journal) == []

    @pytest.mark.parametrize("can_tell", [True, False])
    async def test_of_a_journal_that_cannot_be_written_only_what_it_may_know_stays(
        self, journal: Journal, source: Path, monkeypatch: pytest.MonkeyPatch, can_tell: bool
    ) -> None:
        """Where it cannot be asked either, nobody can tell whether what failed is on the disk."""
        job, asked = journal.job, []

        def fail(*_: object) -> None:
            raise JournalError("disk full")

        def answer() -> object:
            asked.append(1)
            if not can_tell and len(asked) > 1:
                raise JournalError("disk full")
            return job()

        with monkeypatch.context() as patch:
            patch.setattr(journal, "begin", fail)
            patch.setattr(journal, "job", answer)
            with pytest.raises(JournalError, match="disk full"):
                await planned(journal, source, plan())
        assert len(folders(journal)) == (0 if can_tell else 1)
        await planned(journal, source, plan())
        assert len(folders(journal)) == (1 if can_tell else 2)

    async def test_a_job_that_is_written_down_in_spite_of_a_failure_has_its_folder(
        self, journal: Journal, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk may say that it failed after it has not."""
        begin = journal.begin

        def fail(*args: Any) -> None:
            begin(*args)
            raise JournalError("disk I/O error, afterwards")

        monkeypatch.setattr(journal, "begin", fail)
        with pytest.raises(JournalError, match="afterwards"):
            await planned(journal, source, plan())
        job = await planned(journal, None, plan())
        assert folders(journal) == [journal.directory / job.job_id]


class TestLeftovers:
    async def test_what_a_killed_plan_left_is_removed_and_nothing_of_the_users(
        self, journal: Journal, source: Path, tmp_path: Path
    ) -> None:
        directory = journal.directory
        left = requests_folder(directory, f"{JOB_ID}.part")
        left.mkdir(parents=True)
        for path in (left / "shard-00001.jsonl", left / ".shard-00002.jsonl.x.part", left.parent / "source.jsonl"):
            path.write_bytes(b"{}\n")
        results_folder(directory, f"{JOB_ID}.part").mkdir()
        mine = [
            directory / "openai-batches-backup" / "a",
            directory / "openai-batches-0123456789AB" / "a",
            directory / "openai-batches-0123456789abc" / "a",
            directory / "openai-batches-222222222222.part" / "a",
            directory / "openai-batches-333333333333.part" / "requests" / "notes.txt",
            directory / JOB_ID / "source.jsonl",
            directory / JOB_ID / "requests" / "shard-00001.jsonl",
            directory / "requests" / "shard-00001.jsonl",
            directory / "openai-batches-000000000000",
        ]
        for path in mine:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("mine")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "source.jsonl").write_text("mine")
        (directory / "openai-batches-111111111111.part").symlink_to(elsewhere)
        await planned(journal, source, plan())
        assert not left.parent.exists()
        assert [path.read_text() for path in mine] == ["mine"] * len(mine)
        assert (elsewhere / "source.jsonl").read_text() == "mine"

    async def test_results_of_a_job_whose_journal_is_gone_are_kept(self, journal: Journal, source: Path) -> None:
        """They were paid for."""
        results = results_folder(journal.directory, JOB_ID)
        results.mkdir(parents=True)
        (results / "batch_1_output.jsonl").write_bytes(b"{}\n")
        await planned(journal, source, plan())
        assert (results / "batch_1_output.jsonl").read_bytes() == b"{}\n"

    async def test_a_job_that_is_known_is_never_removed(self, journal: Journal, source: Path) -> None:
        job = await planned(journal, source, plan())
        await planned(journal, source, plan())
        assert requests_folder(journal.directory, job.job_id).is_dir()


class TestTheSameSource:
    async def test_a_file_that_was_only_touched_is_the_same(self, journal: Journal, source: Path) -> None:
        job = await planned(journal, source, plan())
        os.utime(source, ns=(1, 1))
        assert await planned(journal, source, plan()) == job

    async def test_a_file_with_its_size_and_time_is_not_read(
        self, journal: Journal, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = await planned(journal, source, plan())
        monkeypatch.delattr(plan_module, "_digest")
        assert await planned(journal, str(source), plan()) == job

    async def test_a_file_that_was_moved_is_the_same_and_is_read_where_it_is(
        self, journal: Journal, source: Path, tmp_path: Path
    ) -> None:
        job = await planned(journal, source, plan())
        moved = tmp_path / "moved.jsonl"
        shutil.move(source, moved)
        again = await planned(journal, moved, plan())
        assert again == attrs.evolve(job, source=str(moved))
        assert source_path(again, journal.directory) == moved

    async def test_the_requests_of_a_file_may_come_from_memory_and_the_other_way_round(
        self, journal: Journal, source: Path, tmp_path: Path
    ) -> None:
        job = await planned(journal, source, plan())
        assert await planned(journal, read(source), plan()) == job
        other = Journal(tmp_path / "other")
        job = await planned(other, read(source), plan())
        assert await planned(other, source, plan()) == job
        other.close()

    async def test_a_compressed_file_is_known_by_its_own_bytes(self, journal: Journal, tmp_path: Path) -> None:
        path = tmp_path / "requests.jsonl.gz"
        path.write_bytes(gzip.compress(b"".join(map(request_line, IDS))))
        job = await planned(journal, path, plan())
        path.touch()
        assert await planned(journal, path, plan()) == job
        assert job.requests == 10


class TestAnotherSource:
    @pytest.mark.parametrize("edit", ["size", "content"])
    async def test_a_file_that_changed_is_refused(self, journal: Journal, source: Path, edit: str) -> None:
        job = await planned(journal, source, plan())
        lines = read(source)
        rewrite(
            source,
            lines + request_line("more") if edit == "size" else lines.replace(b'"content": "r3"', b'"content": "r4"'),
        )
        with pytest.raises(InputError, match=r"requests\.jsonl has changed since the job in .* was begun"):
            await planned(journal, source, plan())
        assert journal.job() == job

    @pytest.mark.parametrize("requests", [[], [request_line("r0")], b"", [b"no request at all"]])
    async def test_other_requests_from_memory_are_refused(self, journal: Journal, requests: Any) -> None:
        await planned(journal, list(map(request_line, IDS)), plan())
        with pytest.raises(InputError, match="The requests have changed"):
            await planned(journal, requests, plan())

    async def test_a_generator_that_was_read_before_is_said_to_be_one_perhaps(self, journal: Journal) -> None:
        lines = iter(list(map(request_line, IDS)))
        await planned(journal, lines, plan())
        with pytest.raises(InputError, match=r"may have been read before\).*or no source at all"):
            await planned(journal, lines, plan())
        again = lines_of(IDS)
        await anext(again)
        with pytest.raises(InputError, match="may have been read before"):
            await planned(journal, again, plan())

    async def test_a_file_that_is_gone_is_said_to_be(self, journal: Journal, source: Path) -> None:
        await planned(journal, source, plan())
        await asyncio.to_thread(source.unlink)
        with pytest.raises(JobError, match=r"requests\.jsonl cannot be read: No such file"):
            await planned(journal, source, plan())
        assert (await planned(journal, None, plan())).requests == 10

    async def test_another_service_is_refused(self, journal: Journal, source: Path) -> None:
        await planned(journal, source, plan())
        journal.save(attrs.evolve(journal.attempts()[0], step=Step.UPLOADED, file_id="file-1"))
        with pytest.raises(InputError, match=r"is at https://api\.openai\.com/v1, and this session is with http://x"):
            await planned(journal, source, plan(base_url="http://x"))

    async def test_a_mistyped_service_is_no_bond(self, journal: Journal, source: Path) -> None:
        """As long as none has answered anything, the job goes on where it is meant to be, and stays there."""
        was = await planned(journal, source, plan(base_url="https://typo.invalid/v1"))
        journal.save(attrs.evolve(journal.attempts()[0], step=Step.UPLOADING))
        now = await planned(journal, source, plan())
        assert now == journal.job() == attrs.evolve(was, base_url="https://api.openai.com/v1")
        assert [one.step for one in journal.attempts()] == [Step.UPLOADING]

    @pytest.mark.parametrize(
        ("was", "now", "is_same"),
        [
            ("http://127.0.0.1:8001/v1", "http://127.0.0.1:8002/v1", True),
            ("http://localhost:8001/v1", "http://localhost:8001/v2", False),
            ("http://example.com:8001/v1", "http://example.com:8002/v1", False),
        ],
    )
    async def test_on_this_machine_a_port_is_no_more_than_a_way_in(
        self, journal: Journal, was: str, now: str, is_same: bool
    ) -> None:
        """A proxy or an emulator has another one after each start."""
        journal.begin(job_record(base_url=was), [attempt(step=Step.UPLOADED)])
        if is_same:
            assert (await planned(journal, None, plan(base_url=now))).base_url == was
        else:
            with pytest.raises(InputError, match="is at http"):
                await planned(journal, None, plan(base_url=now))

    async def test_another_completion_window_is_refused(self, journal: Journal, source: Path) -> None:
        await planned(journal, source, plan())
        with pytest.raises(InputError, match="begun with completion_window='24h', and cannot go on with '48h'"):
            await planned(journal, source, plan(options={"completion_window": "48h"}))

    async def test_a_window_that_nobody_names_is_that_of_the_job(self, journal: Journal, source: Path) -> None:
        """A new one has the usual one."""
        open_ = {"completion_window": None}
        await planned(journal, source, plan(options={"completion_window": "7d"}))
        assert (await planned(journal, None, plan(options=open_))).options == {"completion_window": "7d"}
        assert settled(open_) == {"completion_window": "24h"}

    async def test_an_option_of_a_later_library_does_not_matter_to_an_older_job(self, journal: Journal) -> None:
        journal.begin(job_record(), [attempt()])
        options = {"completion_window": "24h", "flavour": "sweet"}
        assert await planned(journal, None, plan(options=options)) == job_record()
