"""A job that was only planned: it can be looked at, gone on with, or taken back as if it had never been."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from support.job_service import open_shop, stopped_shop

from openai_batches import BatchJob, InputError, JobError, JobEventKind, JournalError
from openai_batches.jobs.journal.sqlite import is_at_work, read_journal
from openai_batches.storage.locks import is_locked, locked

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_plan_sends_nothing(tmp_path: Path) -> None:
    """The ledger says what there is to do; `run` goes on from there, with another object too."""
    async with open_shop(tmp_path, requests=7) as shop:
        async with shop.job() as job:
            ledger = await job.plan()
            assert (ledger.inputs, ledger.unfinished, len(ledger.shards)) == (7, 7, 2)
            assert await job.plan() == ledger
            assert [request for request in shop.server.requests if request.method == "POST"] == []
        async with shop.job() as job:
            assert (await job.run()).succeeded == 7


@pytest.mark.parametrize("is_read_again", [False, True])
async def test_what_is_discarded_leaves_nothing(tmp_path: Path, is_read_again: bool) -> None:
    """No directory, no journal, no copy of the requests; the job is closed, and can be begun anew."""
    async with open_shop(tmp_path, requests=7) as shop:
        if is_read_again:
            async with shop.job() as job:
                await job.plan()
        before = shop.source.read_bytes()
        async with shop.job() as job:
            await job.plan()
            directory = job.directory
            assert directory.exists()
            await job.discard()
            assert not directory.exists()
            with pytest.raises(InputError, match="closed"):
                await job.run()
        assert shop.source.read_bytes() == before
        async with shop.job() as job:
            assert (await job.run()).succeeded == 7


async def test_a_directory_that_was_there_before_stays(tmp_path: Path) -> None:
    """With whatever else is in it."""
    async with open_shop(tmp_path, requests=1) as shop:
        directory = tmp_path / "mine"
        directory.mkdir()
        (directory / "notes.txt").write_text("mine")
        for _ in range(2):
            async with BatchJob(shop.session, shop.source, directory=directory) as job:
                await job.plan()
        async with BatchJob(shop.session, shop.source, directory=directory) as job:
            await job.discard()
        assert [path.name for path in directory.iterdir()] == ["notes.txt"]


async def test_what_was_begun_is_not_discarded(tmp_path: Path) -> None:
    """Its batches cost, and its results are waited for."""
    created = asyncio.Event()
    async with (
        stopped_shop(tmp_path, requests=1) as shop,
        shop.job(on_event=lambda event: created.set() if event.kind == JobEventKind.CREATED else None) as job,
    ):
        running = asyncio.create_task(job.run())
        await created.wait()
        with pytest.raises(InputError, match="before it is run"):
            await job.discard()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        with pytest.raises(InputError, match="was begun: it can be cancelled"):
            await job.discard()
        assert (await job.summary()).inputs == 1


async def test_a_discarded_job_is_not_there(tmp_path: Path) -> None:
    """As for any directory without a job."""
    async with open_shop(tmp_path, requests=1) as shop:
        async with shop.job() as job:
            await job.plan()
            await job.discard()
        with pytest.raises(JournalError, match="There is no job"):
            read_journal(job.directory)
        async with BatchJob(shop.session, directory=job.directory) as again:
            with pytest.raises(JobError, match="There is no job"):
                await again.summary()


async def test_who_is_at_work_can_be_told_without_disturbing(tmp_path: Path) -> None:
    """A job holds its lock while it is open, and only then."""
    async with open_shop(tmp_path, requests=1) as shop:
        assert not is_at_work(tmp_path)
        async with shop.job() as job:
            await job.plan()
            assert is_at_work(job.directory)
            assert (await job.run()).succeeded == 1
        assert not is_at_work(job.directory)


def test_a_lock_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a folder in its place nor a file system without locks is taken for nobody."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(JournalError, match="folder cannot be opened"):
        is_locked(tmp_path / "folder")

    def refuse(_: int, **__: object) -> None:
        raise OSError(95, "No locks available")

    (tmp_path / "file").touch()
    monkeypatch.setattr("openai_batches.storage.locks._lock", refuse)
    with pytest.raises(JournalError, match="cannot be locked: No locks available"):
        is_locked(tmp_path / "file")


@pytest.mark.skipif(os.name == "nt", reason="flock is POSIX's")
def test_who_only_looks_keeps_nobody_from_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two who look at a time see nobody at work; and a job that begins meanwhile has its lock a moment later."""
    import fcntl

    path = tmp_path / "lock"
    path.touch()
    with path.open("rb") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        assert not is_locked(path)
        pauses: list[float] = []

        def pause(length_s: float) -> None:
            pauses.append(length_s)
            if not looked_at.closed:
                fcntl.flock(looked_at, fcntl.LOCK_UN)

        monkeypatch.setattr("openai_batches.storage.locks.time.sleep", pause)
        descriptor = locked(path)
    try:
        assert len(pauses) == 1
        assert is_locked(path)
        with pytest.raises(JournalError, match="Another process is at work"):
            locked(path)
        assert sum(pauses) < 0.2
    finally:
        os.close(descriptor)
