"""Make batches that others have created part of a job: download their requests, and write them to its journal."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import attrs

from openai_batches._threads import in_thread
from openai_batches.errors import InputError, JournalError
from openai_batches.jobs.journal.records import Attempt, JobRecord, Step
from openai_batches.jobs.plan import JOB_PREFIX, begin, draft_of, make_folders, remove_draft, requests_folder, settled
from openai_batches.jobs.result_files import custom_ids

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from openai_batches.jobs.context import Service
    from openai_batches.jobs.journal.sqlite import Journal
    from openai_batches.jobs.state import JobState
    from openai_batches.models import Batch

__all__ = ["adopted", "begun_with"]


def _empty_job(base_url: str, options: dict[str, object], now_s: float) -> JobRecord:
    """Return a job without requests of its own, which batches can be adopted into."""
    return JobRecord(
        job_id=f"{JOB_PREFIX}{secrets.token_hex(6)}",
        created_s=now_s,
        base_url=base_url,
        source=None,
        source_digest="",
        source_bytes=0,
        source_mtime_ns=0,
        requests=0,
        options=options,
    )


async def begun_with(session: Service, journal: Journal, batch: Batch | str, options: Mapping[str, Any]) -> None:
    """Begin a job with a batch that is adopted; if that fails, there is no job."""
    found = await _found(session, batch)
    job = _empty_job(session.base_url, settled(options), session.now())
    draft = draft_of(job.job_id)
    try:
        attempt, _ = await _fetched(session, found, journal.directory, draft, 1)
        await in_thread(begin, journal, job, [attempt])
    except BaseException:
        await in_thread(remove_draft, journal.directory / draft)
        raise


async def adopted(session: Service, state: JobState, batch: Batch | str) -> Attempt:
    """Make a batch a shard of a job, and return it; one that is part of the job already is returned as it is.

    Its input file is downloaded, whole or not at all: it says which requests the batch has.
    """
    batch_id = batch if isinstance(batch, str) else batch.id
    for attempt in state.attempts.values():
        if attempt.batch is not None and attempt.batch.id == batch_id:
            return attempt
    found = await _found(session, batch_id)
    number = max((shard for shard, _ in state.attempts), default=0) + 1
    attempt, ids = await _fetched(session, found, state.directory, state.job.job_id, number)
    folder = requests_folder(state.directory, state.job.job_id)
    known = [(folder / one.name, one.bytes) for one in state.firsts()]
    try:
        await in_thread(_check_apart, ids, known, found.id)
    except BaseException:
        await in_thread((folder / attempt.name).unlink, missing_ok=True)
        raise
    await state.reopen()
    return await state.save(attrs.evolve(attempt, step=Step.PLANNED), step=attempt.step)


async def _found(session: Service, batch: Batch | str) -> Batch:
    found = await session.batches.retrieve(batch if isinstance(batch, str) else batch.id)
    if not found.input_file_id or not found.endpoint:
        raise InputError(f"Batch {found.id} does not say what it was made of, and cannot be part of a job")
    return found


async def _fetched(
    session: Service, batch: Batch, directory: Path, job_id: str, shard: int
) -> tuple[Attempt, frozenset[str]]:
    """Return a batch as a shard, with its requests in a job's folder, and their ids."""
    attempt = Attempt(
        shard=shard,
        number=1,
        endpoint=batch.endpoint,
        model=batch.model,
        requests=0,
        bytes=0,
        tokens=0,
        step=Step.CREATED,
        file_id=batch.input_file_id,
        file_created_s=None if batch.created_at is None else batch.created_at.timestamp(),
        batch=batch,
        is_tidy=True,
        is_adopted=True,
    )
    await in_thread(make_folders, directory, job_id)
    path = requests_folder(directory, job_id) / attempt.name
    # A file of this name is left from an adoption that failed.
    got = await session.files.download(batch.input_file_id, path, overwrite=True)
    ids = await in_thread(_ids, path)
    return attrs.evolve(attempt, requests=len(ids), bytes=got.bytes, tokens=got.bytes // 4), ids


def _check_apart(ids: frozenset[str], known: list[tuple[Path, int]], batch_id: str) -> None:
    """Refuse ids that other requests of the job have: their results could not be told apart."""
    for path, size in known:
        doubled = next((custom_id for custom_id in custom_ids(path, size) if custom_id in ids), None)
        if doubled is not None:
            raise InputError(
                f"Batch {batch_id} cannot be part of the job: the job has a request {doubled[:80]!r}, too. "
                "Adopt it into a job of its own, in another directory"
            )


def _ids(path: Path) -> frozenset[str]:
    try:
        ids = custom_ids(path)
    except JournalError as error:
        raise InputError(f"The batch cannot be part of a job: {error.__cause__}") from error
    if not ids or len(set(ids)) != len(ids):
        text = f"{len(ids):,} requests, of which {len(set(ids)):,} have ids of their own"
        raise InputError(f"The batch cannot be part of a job: its input file has {text}")
    return frozenset(ids)
