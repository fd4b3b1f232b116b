"""Batches that somebody else has created become part of a job: whole, once, and without touching what is not ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs
import pytest
from support.job_parts import CHAT, modes
from support.request_lines import request_line, write_requests

from openai_batches import BatchJob, InputError, NotFoundError, Outcome
from openai_batches.jobs import adopt
from openai_batches.jobs.journal.records import Step
from openai_batches.jobs.journal.sqlite import Journal, read_attempts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from openai_batches import Batch, BatchSession
    from openai_batches.emulator import BatchServer


@pytest.fixture
def session(server: BatchServer, open_session: Callable[..., BatchSession]) -> BatchSession:
    """A session whose clock is the server's."""
    return open_session(server, now=server.clock.now)


async def foreign(session: BatchSession, content: bytes) -> Batch:
    file = await session.files.create(content, filename="theirs.jsonl")
    return await session.batches.create(input_file_id=file.id, endpoint=CHAT)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*")]


async def made_of(session: BatchSession, *custom_ids: str) -> Batch:
    return await foreign(session, b"".join(map(request_line, custom_ids)))


@pytest.mark.parametrize("by_id", [False, True])
async def test_a_job_can_be_made_of_adopted_batches_alone(
    session: BatchSession, server: BatchServer, tmp_path: Path, by_id: bool
) -> None:
    batch = await made_of(session, "a", "b")
    async with BatchJob(session, directory=tmp_path / "job") as job:
        await job.adopt(batch.id if by_id else batch)
        await server.advance(seconds=60)
        assert (await job.summary()).unfinished == 2
        ledger = await job.run()
        assert (ledger.succeeded, ledger.inputs, ledger.balances) == (2, 2, True)
        results = [result async for result in job.results(ordered=True)]
    assert [(result.custom_id, result.outcome) for result in results] == [(one, Outcome.SUCCEEDED) for one in "ab"]
    assert batch.input_file_id in {file.id async for file in session.files.list()}, "their file is theirs"
    assert os.name == "nt" or modes(tmp_path) <= {0o700, 0o600}


async def test_an_adopted_batch_is_a_shard_with_the_next_number(
    session: BatchSession, server: BatchServer, tmp_path: Path
) -> None:
    source = write_requests(tmp_path / "source.jsonl", ["r1"])
    batch = await made_of(session, "a", "b")
    async with BatchJob(session, source) as job:
        await job.adopt(batch)
        await job.adopt(batch)
        first, second = read_attempts(job.directory)
    assert (first.shard, first.is_adopted, first.step) == (1, False, Step.PLANNED)
    assert (second.shard, second.is_adopted, second.step) == (2, True, Step.CREATED)
    assert second.batch is not None
    assert (second.batch.id, second.requests, second.file_id) == (batch.id, 2, batch.input_file_id)
    assert second.is_tidy, "its file is never deleted"
    assert second.bytes == len(request_line("a") + request_line("b"))


async def test_a_finished_job_has_something_to_do_again(
    session: BatchSession, server: BatchServer, tmp_path: Path
) -> None:
    first, second = await made_of(session, "a"), await made_of(session, "b")
    await server.advance(seconds=60)
    async with BatchJob(session, directory=tmp_path / "job") as job:
        await job.adopt(first)
        assert (await job.run()).succeeded == 1
        await job.adopt(second)
        assert (await job.run()).succeeded == 2


async def test_what_an_adoption_that_was_cut_off_left_is_replaced(
    session: BatchSession, server: BatchServer, tmp_path: Path
) -> None:
    """The journal does not know of it."""
    source = write_requests(tmp_path / "source.jsonl", ["r1"])
    batch = await made_of(session, "a", "b")
    async with BatchJob(session, source) as job:
        await job.adopt(await made_of(session, "first"))
        (folder,) = job.directory.glob("openai-batches-*/requests")
        (folder / "shard-00003.jsonl").write_bytes(request_line("old"))
        await job.adopt(batch)
        assert read_attempts(job.directory)[-1].requests == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (request_line("a") + request_line("b") + request_line("a"), "3 requests, of which 2 have ids of their own"),
        (b"{}\n", "an input has no custom_id"),
    ],
)
async def test_a_file_that_does_not_hold_requests_is_refused(
    session: BatchSession, tmp_path: Path, content: bytes, message: str
) -> None:
    batch = await foreign(session, content)
    async with BatchJob(session, directory=tmp_path / "job") as job:
        with pytest.raises(InputError, match=message):
            await job.adopt(batch)
        assert not names(tmp_path)
        await job.adopt(await made_of(session, "a"))
        assert [one.shard for one in read_attempts(job.directory)] == [1]


@pytest.mark.parametrize(
    ("content", "message"), [(b"\n \n", "has 0 requests"), (b"no request\n", "cannot be part of a job")]
)
def test_what_other_services_take_for_a_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """A batch of blank lines has nothing that anybody waits for."""
    (tmp_path / "theirs.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        adopt._ids(tmp_path / "theirs.jsonl")


async def test_what_is_not_at_the_service_cannot_be_adopted(
    session: BatchSession, server: BatchServer, tmp_path: Path
) -> None:
    batch = await made_of(session, "a")
    await server.advance(seconds=60)
    await session.files.delete(batch.input_file_id)
    async with BatchJob(session, directory=tmp_path / "job") as job:
        for missing in ("batch_00000000000000000000000000000000", batch):
            with pytest.raises(NotFoundError):
                await job.adopt(missing)
        assert not names(tmp_path), "the directory is free for another job"


async def test_a_batch_that_does_not_say_what_it_is_made_of_is_refused(
    session: BatchSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some services leave these fields out."""
    batch = await made_of(session, "a")

    async def retrieve(_: str) -> Batch:
        return attrs.evolve(batch, input_file_id="")

    monkeypatch.setattr(session.batches, "retrieve", retrieve)
    async with BatchJob(session, directory=tmp_path / "job") as job:
        with pytest.raises(InputError, match=f"{batch.id} does not say what it was made of"):
            await job.adopt(batch)


async def test_a_batch_without_a_time_is_adopted_all_the_same(
    session: BatchSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = await made_of(session, "a")

    async def retrieve(_: str) -> Batch:
        return attrs.evolve(batch, created_at=None)

    monkeypatch.setattr(session.batches, "retrieve", retrieve)
    async with BatchJob(session, directory=tmp_path / "job") as job:
        await job.adopt(batch)
        (one,) = read_attempts(job.directory)
        assert one.file_created_s is None


async def test_the_journal_is_let_go_of(session: BatchSession, tmp_path: Path) -> None:
    async with BatchJob(session, directory=tmp_path / "job") as job:
        await job.adopt(await made_of(session, "a"))
    Journal(tmp_path / "job").close()


async def test_a_batch_with_a_request_that_the_job_has_is_refused(session: BatchSession, tmp_path: Path) -> None:
    """Nobody could tell the results of the two apart."""
    source = write_requests(tmp_path / "source.jsonl", ["r1", "r2"])
    batch = await made_of(session, "a", "r2")
    async with BatchJob(session, source) as job:
        with pytest.raises(InputError, match=f"{batch.id} cannot be part of the job: the job has a request 'r2', too"):
            await job.adopt(batch)
        assert [one.shard for one in read_attempts(job.directory)] == [1]
        assert {path.name for path in job.directory.rglob("shard-*")} == {"shard-00001.jsonl"}


async def test_a_job_of_adopted_batches_takes_no_source(session: BatchSession, tmp_path: Path) -> None:
    source = write_requests(tmp_path / "source.jsonl", ["r1"])
    async with BatchJob(session, directory=tmp_path / "job") as job:
        await job.adopt(await made_of(session, "a"))
    async with BatchJob(session, source, directory=tmp_path / "job") as job:
        with pytest.raises(InputError, match="is one of adopted batches, and has no requests of its own"):
            await job.run()
