"""Plan a job before anything is sent: check its source, divide it into shards, write the journal; or take it back."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from yarl import URL

from openai_batches._arguments import shortened
from openai_batches._threads import in_thread
from openai_batches.errors import InputError, InvalidRequestsError, JobError
from openai_batches.jobs.arguments import checked_source
from openai_batches.jobs.journal.records import Attempt, JobRecord, Step
from openai_batches.providers import Provider
from openai_batches.requests.packing import ShardLimits
from openai_batches.requests.read import iter_blocks
from openai_batches.requests.shards import write_shards
from openai_batches.storage.atomic import NewFile, part_path, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from openai_batches.jobs.journal.sqlite import Journal
    from openai_batches.requests.packing import Shard
    from openai_batches.requests.read import RequestSource

__all__ = [
    "JOB_PREFIX",
    "Plan",
    "SourceFile",
    "begin",
    "discard",
    "draft_of",
    "make_folders",
    "planned",
    "remove_draft",
    "requests_folder",
    "results_folder",
    "service_place",
    "settled",
    "source_path",
    "was_begun",
]

JOB_PREFIX = "openai-batches-"
_SPOOLED = "source.jsonl"
_DRAFT_SUFFIX = ".part"
_MAX_SHOWN = 80
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PIECE_BYTES = 4 << 20
# The steps of an attempt to which no service has answered yet.
_UNANSWERED = frozenset({Step.PLANNED, Step.UPLOADING})
# The options of a new job that are not given.
_USUAL = {"completion_window": "24h"}


def requests_folder(directory: Path, job_id: str) -> Path:
    """Return where a job keeps its requests; the job's id in the path tells it from folders of the user."""
    return directory / job_id / "requests"


def results_folder(directory: Path, job_id: str) -> Path:
    """Return where a job keeps its result files."""
    return directory / job_id / "results"


def draft_of(job_id: str) -> str:
    """Return the name of a job's folder until the journal has the job."""
    return f"{job_id}{_DRAFT_SUFFIX}"


def make_folders(directory: Path, job_id: str) -> None:
    """Make a job's folders, which only their owner can enter."""
    for folder in (directory / job_id, requests_folder(directory, job_id), results_folder(directory, job_id)):
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def source_path(job: JobRecord, directory: Path) -> Path:
    """Return where the requests of a job are, in the order in which they were given."""
    return directory / job.job_id / _SPOOLED if job.source is None else Path(job.source)


def begin(journal: Journal, job: JobRecord, attempts: list[Attempt]) -> None:
    """Rename a job's draft folder to its own name, and write the job to the journal."""
    folder = journal.directory / job.job_id
    (journal.directory / draft_of(job.job_id)).rename(folder)
    sync_folder(journal.directory)
    try:
        journal.begin(job, attempts)
    except BaseException:
        # If the journal cannot be read, the job may be in it, and the folder stays.
        if journal.job() is None:
            folder.rename(journal.directory / draft_of(job.job_id))
        raise


@attrs.frozen(kw_only=True)
class Plan:
    """What a job is to do; options that are None are those of the job, or the usual ones for a new job."""

    base_url: str
    provider: Provider
    endpoint: str | None
    limits: ShardLimits | None
    strict: bool
    options: dict[str, Any]
    now_s: float


@attrs.frozen(kw_only=True)
class SourceFile:
    """The requests as a file, and what identifies it."""

    path: Path
    name: str | None
    digest: str
    bytes: int
    mtime_ns: int


async def planned(journal: Journal, source: RequestSource | None, plan: Plan) -> JobRecord:
    """Return the record of a job: from its journal, or newly planned.

    A job that is in the journal is only compared with the source. A file of the same size and time of change is not
    read; any other source is read whole. The file may have been moved meanwhile. If no service has answered to the job
    yet, it goes on with the service of this session.
    """
    job = await in_thread(journal.job)
    if job is not None:
        job = await in_thread(_with_service, journal, job, plan)
        _compare(job, plan, journal.directory)
        if source is not None and not job.source_digest:
            text = "is one of adopted batches, and has no requests of its own: give it no source, or another directory"
            raise InputError(f"The job in {journal.directory} {text}")
        if source is not None:
            await _check_source(job, source, journal.directory)
        return _moved(job, source)
    if source is None:
        raise InputError(f"There is no job in {journal.directory} yet: give it its requests")
    return await _new_job(journal, source, plan)


async def _new_job(journal: Journal, source: RequestSource, plan: Plan) -> JobRecord:
    await in_thread(_remove_drafts, journal.directory)
    job_id = f"{JOB_PREFIX}{secrets.token_hex(6)}"
    draft = draft_of(job_id)
    try:
        await in_thread(make_folders, journal.directory, draft)
        file, shards = await _cut(source, journal.directory, draft, plan)
        job, attempts = _written(job_id, file, shards, plan)
        await in_thread(begin, journal, job, attempts)
    except BaseException:
        await in_thread(remove_draft, journal.directory / draft)
        raise
    return job


def _written(job_id: str, file: SourceFile, shards: list[Shard], plan: Plan) -> tuple[JobRecord, list[Attempt]]:
    job = JobRecord(
        job_id=job_id,
        created_s=plan.now_s,
        base_url=plan.base_url,
        source=file.name,
        source_digest=file.digest,
        source_bytes=file.bytes,
        source_mtime_ns=file.mtime_ns,
        requests=sum(shard.requests for shard in shards),
        options=settled(plan.options),
    )
    attempts = [
        Attempt(
            shard=shard.number,
            number=1,
            endpoint=shard.endpoint,
            model=shard.model,
            requests=shard.requests,
            bytes=shard.bytes,
            tokens=shard.estimated_tokens,
        )
        for shard in shards
    ]
    return job, attempts


async def _cut(source: RequestSource, directory: Path, draft: str, plan: Plan) -> tuple[SourceFile, list[Shard]]:
    file = await _as_file(source, directory / draft)
    folder = requests_folder(directory, draft)
    try:
        shards = await write_shards(
            file.path, folder, endpoint=plan.endpoint, limits=plan.limits, provider=plan.provider, strict=plan.strict
        )
    except InvalidRequestsError as error:
        if file.name is not None:
            raise
        raise _of_memory(error) from None
    if await in_thread(_stamp, file.path) != (file.bytes, file.mtime_ns):
        raise InputError(f"{file.path} changed while it was read: run the job again once it is whole")
    return file, shards


def _of_memory(error: InvalidRequestsError) -> InvalidRequestsError:
    """Return problems of requests that came from no file that anybody could look into."""
    problems = tuple(attrs.evolve(problem, file=None) for problem in error.problems)
    shown = str(error)
    for before, after in zip(error.problems, problems, strict=True):
        shown = shown.replace(str(before), str(after))
    return InvalidRequestsError(shown, problems=problems, more_problems=error.more_problems)


def _remove_drafts(directory: Path) -> None:
    """Remove what plans left behind that were cut off before the journal knew of them: nothing of them was sent.

    Folders of jobs have another name, and stay, whether or not there is a journal that knows them.
    """
    for folder in directory.glob(f"{JOB_PREFIX}{'[0-9a-f]' * 12}{_DRAFT_SUFFIX}"):
        remove_draft(folder)


def remove_draft(folder: Path) -> None:
    """Remove what a plan has written to a folder, and the folder where nothing else is in it."""
    if folder.is_symlink():
        return
    requests = folder / "requests"
    spooled = folder / _SPOOLED
    # Earlier versions put a dot before the names of shards that are not whole.
    shards = itertools.chain.from_iterable(map(requests.glob, ("shard-*.jsonl", "shard-*.part", ".shard-*.part")))
    for path in (spooled, part_path(spooled), *shards):
        with contextlib.suppress(OSError):
            path.unlink()
    for empty in (requests, folder / "results", folder):
        with contextlib.suppress(OSError):
            empty.rmdir()


def service_place(base_url: str) -> URL:
    """Return what identifies a service: its URL, on this machine without the port, which may change at each start."""
    url = URL(base_url)
    return url.with_port(None) if url.host in _LOOPBACK else url


def _with_service(journal: Journal, job: JobRecord, plan: Plan) -> JobRecord:
    """Return the job, with the address of this session's service if no other service has answered to it. This blocks.

    So an address that was mistyped when the job was planned can be corrected.
    """
    is_here = service_place(job.base_url) == service_place(plan.base_url)
    if is_here or not all(attempt.step in _UNANSWERED for attempt in journal.attempts()):
        return job
    moved = attrs.evolve(job, base_url=plan.base_url)
    journal.begin(moved, [])
    return moved


def settled(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a job, with the usual ones in place of those that are None."""
    return {**_USUAL, **{name: given for name, given in options.items() if given is not None}}


def _compare(job: JobRecord, plan: Plan, directory: Path) -> None:
    if service_place(job.base_url) != service_place(plan.base_url):
        raise InputError(f"The job in {directory} is at {job.base_url}, and this session is with {plan.base_url}")
    for name, was in job.options.items():
        given = plan.options.get(name)
        is_left_open = name in plan.options and given is None
        if given != was and not is_left_open:
            raise InputError(f"The job in {directory} was begun with {name}={was!r}, and cannot go on with {given!r}")


def _moved(job: JobRecord, source: RequestSource | None) -> JobRecord:
    """Return the job with its source where it is now."""
    if job.source is None or not isinstance(source, str | os.PathLike):
        return job
    return attrs.evolve(job, source=str(Path(source).absolute()))


async def _check_source(job: JobRecord, source: RequestSource, directory: Path) -> None:
    if isinstance(source, str | os.PathLike):
        path = checked_source(source)
        size, mtime_ns = await in_thread(_stamp, path)
        if (size, mtime_ns) == (job.source_bytes, job.source_mtime_ns):
            return
        digest = await in_thread(_digest, path) if size == job.source_bytes else ""
        what, why = f"{path} has", ""
    else:
        running, is_once = _new_digest(), hasattr(source, "__next__") or hasattr(source, "__anext__")
        async for block in iter_blocks(source):
            running.update(block)
        digest = running.hexdigest()
        what, why = "The requests have", " (a generator or an opened file may have been read before)" if is_once else ""
    if digest != job.source_digest:
        raise InputError(
            f"{what} changed since the job in {directory} was begun{why}: give the requests it was begun with, or no "
            "source at all, since the job keeps them; or begin another job in another directory"
        )


async def _as_file(source: RequestSource, directory: Path) -> SourceFile:
    if not isinstance(source, str | os.PathLike):
        return await _spooled(source, directory / _SPOOLED)
    return await in_thread(_looked_at, checked_source(source))


def _looked_at(path: Path) -> SourceFile:
    if not path.is_file():
        shown = str(path) if len(str(path)) <= _MAX_SHOWN else shortened(str(path))
        kind = "is a folder or a device" if path.exists() else "is not there"
        raise InputError(f"{shown} {kind}: the requests of a job come from a file, or from memory")
    size, mtime_ns = _stamp(path)
    return SourceFile(path=path, name=str(path.absolute()), digest=_digest(path), bytes=size, mtime_ns=mtime_ns)


async def _spooled(source: RequestSource, path: Path) -> SourceFile:
    """Write requests from memory to a file of the job, since they cannot be read from memory a second time."""
    digest = _new_digest()
    new = await in_thread(NewFile, path, overwrite=True)
    try:
        async for block in iter_blocks(source):
            digest.update(block)
            await in_thread(new.stream.write, block)
        await in_thread(new.keep)
    finally:
        await in_thread(new.discard)
    size, mtime_ns = await in_thread(_stamp, path)
    return SourceFile(path=path, name=None, digest=digest.hexdigest(), bytes=size, mtime_ns=mtime_ns)


def _new_digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


def _digest(path: Path) -> str:
    digest = _new_digest()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror or error}") from error
    return status.st_size, status.st_mtime_ns


def was_begun(attempts: Iterable[Attempt]) -> bool:
    """Return whether anything of a job may have been sent."""
    return any(attempt.step is not Step.PLANNED or attempt.number > 1 for attempt in attempts)


def discard(journal: Journal, job: JobRecord, attempts: Iterable[Attempt]) -> None:
    """Remove a job from its journal, and its requests from the disk. This blocks."""
    if was_begun(attempts):
        raise InputError(f"The job in {journal.directory} was begun: it can be cancelled, and not be discarded")
    journal.forget()
    # Whatever is left if this ends here, is removed by the next plan in this directory.
    draft = journal.directory / draft_of(job.job_id)
    (journal.directory / job.job_id).rename(draft)
    remove_draft(draft)
