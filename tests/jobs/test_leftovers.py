"""Files that an upload left at the service without telling: found by their names, and used or deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.job_parts import CHAT, JOB_ID, attempt
from support.request_lines import request_line

from openai_batches.emulator import Fault
from openai_batches.jobs.cleanup.leftovers import Leftovers

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai_batches import BatchSession, FileObject
    from openai_batches.emulator import BatchServer

SIZE = len(request_line("a"))


@pytest.fixture
def session(server: BatchServer, open_session: Callable[..., BatchSession]) -> BatchSession:
    """A session whose clock is the server's."""
    return open_session(server, now=server.clock.now)


@pytest.fixture
def leftovers(session: BatchSession) -> Leftovers:
    return Leftovers(session.files, JOB_ID)


async def upload(session: BatchSession, name: str) -> FileObject:
    return await session.files.create(request_line("a"), filename=name)


async def left(session: BatchSession) -> set[str]:
    return {file.id async for file in session.files.list()}


async def test_a_whole_upload_is_found_by_its_name_and_its_size(session: BatchSession, leftovers: Leftovers) -> None:
    first, again, other = attempt(1, bytes=SIZE), attempt(1, 2, bytes=SIZE), attempt(2, bytes=SIZE + 1)
    one = await upload(session, f"{JOB_ID}-shard-00001.jsonl")
    await upload(session, f"{JOB_ID}-shard-00002.jsonl")
    await upload(session, "openai-batches-ffffffffffff-shard-00001.2.jsonl")
    await upload(session, f"{JOB_ID}0-shard-00001.2.jsonl")
    assert await leftovers.find([first, again, other]) == [(first, one)]
    assert await leftovers.find([]) == []


async def test_names_tell_jobs_shards_and_attempts_apart() -> None:
    names = [attempt(shard, number).name_at_service(JOB_ID) for shard in (1, 12) for number in (1, 2, 12)]
    assert len(set(names)) == 6
    assert names[0] == f"{JOB_ID}-shard-00001.jsonl"
    assert names[1] == f"{JOB_ID}-shard-00001.2.jsonl"
    assert all(name.startswith(f"{JOB_ID}-") and name.endswith(".jsonl") for name in names)


async def test_of_several_one_is_found_and_the_others_are_swept(session: BatchSession, leftovers: Leftovers) -> None:
    """An upload whose answers were lost may have been carried out each time."""
    one = attempt(1, bytes=SIZE)
    made = {(await upload(session, one.name_at_service(JOB_ID))).id for _ in range(3)}
    ((found_for, file),) = await leftovers.find([one])
    assert found_for == one
    assert await leftovers.delete_unknown(frozenset({file.id}), None) == 2
    assert await left(session) == {file.id} < made


async def test_only_files_of_the_job_are_swept(session: BatchSession, leftovers: Leftovers) -> None:
    ours = await upload(session, f"{JOB_ID}-shard-00001.jsonl")
    theirs = [await upload(session, name) for name in ("openai-batches-ffffffffffff-shard-00001.jsonl", "mine.jsonl")]
    assert await leftovers.delete_unknown(frozenset(), None) == 1
    assert await left(session) == {file.id for file in theirs}
    assert ours.id not in await left(session)


async def test_older_files_than_the_job_are_not_even_listed(
    session: BatchSession, server: BatchServer, leftovers: Leftovers
) -> None:
    """Files come newest first; a quarter of an hour is left for clocks."""
    old = await upload(session, f"{JOB_ID}-shard-00001.jsonl")
    await upload(session, "older.jsonl")
    await server.advance(hours=1)
    new = await upload(session, f"{JOB_ID}-shard-00002.jsonl")
    assert new.created_at is not None
    await upload(session, f"{JOB_ID}-shard-00003.jsonl")
    assert await leftovers.delete_unknown(frozenset({new.id}), new.created_at.timestamp()) == 1
    assert {old.id, new.id} <= await left(session)


async def test_a_file_that_somebody_else_has_deleted_is_gone(
    session: BatchSession, server: BatchServer, leftovers: Leftovers
) -> None:
    for _ in range(2):
        await upload(session, f"{JOB_ID}-shard-00001.jsonl")
    server.faults.add(Fault.error_before(404, method="DELETE", path="/files/", times=1))
    assert await leftovers.delete_unknown(frozenset(), None) == 2
    assert len(await left(session)) == 1


async def test_batches_that_nobody_knows_of_are_cancelled(session: BatchSession, server: BatchServer) -> None:
    """One that was created late is found by the job's name; one that is known, another's, or older goes on."""
    file = await upload(session, "requests.jsonl")

    async def create(job_id: str) -> str:
        pairs = {"openai_batches_job": job_id}
        return (await session.batches.create(input_file_id=file.id, endpoint=CHAT, metadata=pairs)).id

    leftovers = Leftovers(session.files, JOB_ID)
    older = await create(JOB_ID)
    await server.advance(hours=1)
    known, double, theirs = await create(JOB_ID), await create(JOB_ID), await create("openai-batches-ffffffffffff")
    since_s = server.clock.now()
    assert await leftovers.cancel_doubles(session.batches, frozenset({known}), since_s) == 1
    states = {batch.id: str(batch.status) async for batch in session.batches.list()}
    assert states[double] in {"cancelling", "cancelled"}
    assert not {states[known], states[theirs], states[older]} & {"cancelling", "cancelled"}
    assert await leftovers.cancel_doubles(session.batches, frozenset({known, double}), since_s) == 0
