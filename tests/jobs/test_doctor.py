"""What is at the service that nobody needs, knows or will get: named by the doctor, cleared away by gc."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import attrs
import pytest
from support.job_parts import CHAT, JOB_ID, attempt, batch, job_record, modes
from support.request_lines import request_line

from openai_batches import InputError, JournalError, PermissionDeniedError
from openai_batches.emulator import Fault
from openai_batches.jobs.cleanup.doctor import Cleanup, _expires_within, _last_moved, clean_up, examine
from openai_batches.jobs.journal.records import Step
from openai_batches.jobs.journal.sqlite import Journal, journal_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from openai_batches import Batch, BatchSession, FileObject
    from openai_batches.emulator import BatchServer
    from openai_batches.jobs.journal.records import Attempt

_DAY_S = 86_400.0


@pytest.fixture
def session(server: BatchServer, open_session: Callable[..., BatchSession]) -> BatchSession:
    """A session whose clock is the server's."""
    return open_session(server, now=server.clock.now)


async def upload(session: BatchSession, name: str = f"{JOB_ID}-shard-00001.jsonl") -> FileObject:
    return await session.files.create(request_line("a") + request_line("b"), filename=name)


async def create(session: BatchSession, file: FileObject) -> Batch:
    return await session.batches.create(input_file_id=file.id, endpoint=CHAT)


def job(directory: Path, *attempts: Attempt) -> Path:
    journal = Journal(directory)
    journal.begin(job_record(), list(attempts))
    journal.close()
    return directory


def ids(records: object) -> set[str]:
    return {record.id for record in records}  # type: ignore[attr-defined]


class TestDoctor:
    async def test_nothing_at_the_service_is_nothing_to_worry_about(self, session: BatchSession) -> None:
        found = await session.doctor()
        assert (found.files, found.bytes, found.orphans, found.unknown) == (0, 0, (), ())
        assert (found.stalled, found.expiring, found.unreadable, found.needed) == ((), (), {}, frozenset())

    async def test_orphans_are_files_that_no_open_batch_uses_and_no_journal_needs(
        self, session: BatchSession, tmp_path: Path
    ) -> None:
        names = ("orphan.jsonl", "used.jsonl", "planned.jsonl", "done.jsonl")
        orphan, used, planned, done = [await upload(session, name) for name in names]
        await create(session, used)
        directory = job(
            tmp_path / "job",
            attempt(1, step=Step.UPLOADED, file_id=planned.id),
            attempt(2, step=Step.VERIFIED, file_id=done.id),
            attempt(3, step=Step.UPLOADING),
        )
        found = await session.doctor(directory)
        assert ids(found.orphans) == {orphan.id, done.id}
        assert found.leftovers == ()
        assert found.needed == {used.id, planned.id}
        assert (found.files, found.bytes) == (4, 4 * used.bytes)
        assert planned.id in ids((await session.doctor()).orphans), "nobody said that there is a job"

    async def test_open_batches_that_no_journal_knows(self, session: BatchSession, tmp_path: Path) -> None:
        known, unknown = [await create(session, await upload(session)) for _ in range(2)]
        directory = job(tmp_path / "job", attempt(step=Step.CREATED, batch=known))
        found = await session.doctor([str(directory)])
        assert ids(found.unknown) == {unknown.id}

    async def test_ended_batches_are_neither_unknown_nor_stalled(
        self, session: BatchSession, server: BatchServer
    ) -> None:
        await create(session, await upload(session))
        await server.advance(seconds=60)
        await server.advance(hours=48)
        found = await session.doctor()
        assert (found.unknown, found.stalled) == ((), ())

    async def test_open_batches_whose_status_has_not_changed_for_long(
        self, session: BatchSession, server: BatchServer
    ) -> None:
        batch = await create(session, await upload(session))
        server.clock.move_to(server.clock.now() + 1_000)  # type: ignore[attr-defined]
        assert ids((await session.doctor(stalled_after_s=900)).stalled) == {batch.id}
        assert (await session.doctor(stalled_after_s=1_100)).stalled == ()
        assert (await session.doctor()).stalled == ()

    async def test_result_files_that_expire_soon(self, session: BatchSession, server: BatchServer) -> None:
        made = [
            await session.batches.create(
                input_file_id=(await upload(session)).id,
                endpoint=CHAT,
                output_expires_after=seconds and {"anchor": "created_at", "seconds": seconds},
            )
            for seconds in (5 * 86_400, None)
        ]
        await server.advance(seconds=60)
        soon = await session.batches.retrieve(made[0].id)
        assert (await session.doctor()).expiring == ()
        assert ids((await session.doctor(expiring_within_s=6 * _DAY_S)).expiring) == {soon.output_file_id}

    async def test_a_journal_that_cannot_be_read_is_named(self, session: BatchSession, tmp_path: Path) -> None:
        directory = job(tmp_path / "job", attempt())
        journal_path(directory).write_bytes(b"rubbish" * 1_000)
        found = await session.doctor([directory])
        assert list(found.unreadable) == [str(directory)]
        assert "is damaged" in found.unreadable[str(directory)]

    @pytest.mark.parametrize("verb", ["doctor", "gc"])
    async def test_a_directory_without_a_job_is_a_mistake(
        self, session: BatchSession, server: BatchServer, tmp_path: Path, verb: str
    ) -> None:
        with pytest.raises(InputError, match="There is no job in"):
            await getattr(session, verb)([tmp_path])
        assert not server.requests
        assert not modes(tmp_path)

    async def test_what_is_made_of_a_file_while_the_doctor_looks_is_seen(
        self, session: BatchSession, server: BatchServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file whose batch is created just now is no orphan."""
        file = await upload(session)
        listed = session.files.list

        def listing(**options: object) -> object:
            async def files() -> object:
                async for one in listed(**options):  # type: ignore[arg-type]
                    yield one
                if options["purpose"] == "batch":
                    await create(session, file)

            return files()

        monkeypatch.setattr(session.files, "list", listing)
        assert (await examine(session)).orphans == ()

    async def test_a_batch_without_times_has_not_stalled_and_a_file_without_end_does_not_expire(self) -> None:
        now = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
        assert _last_moved(attrs.evolve(batch(), created_at=None), now) == now
        assert _last_moved(batch(finalizing_at=1_774_440_000), now).timestamp() == 1_774_440_000

    async def test_only_what_is_still_there_is_expiring(self, session: BatchSession) -> None:
        now = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
        file = await upload(session)
        for seconds, is_expiring in ((-1, False), (0, False), (1, True), (60, True), (61, False)):
            expires_at = now + dt.timedelta(seconds=seconds)
            assert _expires_within(attrs.evolve(file, expires_at=expires_at), now, 60) is is_expiring
        assert not _expires_within(attrs.evolve(file, expires_at=None), now, 60)


class TestCleaning:
    async def left(self, session: BatchSession) -> set[str]:
        return ids([file async for file in session.files.list()])

    async def test_without_being_told_to_it_deletes_nothing(self, session: BatchSession, server: BatchServer) -> None:
        file = await upload(session)
        await server.advance(hours=48)
        found = await session.gc()
        assert (ids(found.files), found.is_dry_run, found.bytes) == ({file.id}, True, file.bytes)
        assert await self.left(session) == {file.id}

    async def test_it_deletes_old_files_of_ours_that_nobody_needs(
        self, session: BatchSession, server: BatchServer, tmp_path: Path
    ) -> None:
        orphan, planned, done, users = [
            await upload(session, name)
            for name in (*[f"{JOB_ID}-shard-0000{n}.jsonl" for n in (1, 2, 3)], "mine.jsonl")
        ]
        directory = job(
            tmp_path / "job",
            attempt(2, step=Step.UPLOADED, file_id=planned.id),
            attempt(3, step=Step.VERIFIED, file_id=done.id),
        )
        await server.advance(hours=48)
        young = await upload(session)
        running = await upload(session, f"{JOB_ID}-shard-00004.jsonl")
        await create(session, running)
        found = await session.gc(directory, dry_run=False)
        assert ids(found.files) == {orphan.id, done.id}
        assert not found.is_dry_run
        assert await self.left(session) == {planned.id, users.id, young.id, running.id}
        await server.advance(seconds=2)
        assert ids((await session.gc(directory, older_than_s=0)).files) == {young.id}

    async def test_a_journal_that_cannot_be_read_keeps_everything(
        self, session: BatchSession, server: BatchServer, tmp_path: Path
    ) -> None:
        file = await upload(session)
        directory = job(tmp_path / "job", attempt(step=Step.UPLOADED, file_id=file.id))
        journal_path(directory).write_bytes(b"rubbish" * 1_000)
        await server.advance(hours=48)
        with pytest.raises(JournalError, match=r"Nothing is deleted: .*is damaged"):
            await session.gc(directory, dry_run=False)
        assert await self.left(session) == {file.id}

    async def test_results_are_deleted_only_where_they_are_on_the_disk(
        self, session: BatchSession, server: BatchServer, tmp_path: Path
    ) -> None:
        files = [await upload(session) for _ in range(3)]
        made = [await create(session, file) for file in files]
        await server.advance(seconds=60)
        done, waiting, foreign = [await session.batches.retrieve(one.id) for one in made]
        directory = job(
            tmp_path / "job",
            attempt(1, step=Step.VERIFIED, batch=done, file_id=files[0].id),
            attempt(2, step=Step.ENDED, batch=waiting, file_id=files[1].id),
            attempt(3, step=Step.VERIFIED),
        )
        found = await clean_up(session, directory, dry_run=False, with_results=True)
        assert ids(found.files) == {done.output_file_id}
        assert {waiting.output_file_id, foreign.output_file_id} < await self.left(session)

    async def test_what_is_gone_already_is_gone(self, session: BatchSession, server: BatchServer) -> None:
        """Two may clean up at once."""
        first, second = await upload(session), await upload(session)
        await server.advance(hours=48)
        server.faults.add(Fault.error_before(404, method="DELETE", path="/files/", times=1))
        found = await session.gc(dry_run=False)
        assert isinstance(found, Cleanup)
        assert ids(found.files) == {first.id, second.id}
        assert len(await self.left(session)) == 1

    async def test_only_what_was_agreed_to_is_deleted_and_each_is_told(
        self, session: BatchSession, server: BatchServer
    ) -> None:
        """Between a question and its answer the service moves on."""
        agreed, other = await upload(session), await upload(session)
        await server.advance(hours=48)
        gone: list[FileObject] = []
        found = await session.gc(dry_run=False, only={agreed.id, "file-gone"}, on_deleted=gone.append)
        assert ids(found.files) == ids(gone) == {agreed.id}
        assert await self.left(session) == {other.id}

    async def test_after_a_failure_it_is_known_what_is_gone(self, session: BatchSession, server: BatchServer) -> None:
        files = [await upload(session) for _ in range(3)]
        await server.advance(hours=48)
        server.faults.add(Fault.error_before(403, method="DELETE", path="/files/", after_n=2))
        gone: list[FileObject] = []
        with pytest.raises(PermissionDeniedError):
            await session.gc(dry_run=False, on_deleted=gone.append)
        assert ids(files) - await self.left(session) == ids(gone)
        assert len(gone) == 2
