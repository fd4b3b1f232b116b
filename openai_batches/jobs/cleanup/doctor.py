"""Find files and batches at the service that no job needs or knows, or that soon expire; and delete such files.

Source: https://platform.openai.com/docs/api-reference/files
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import attrs

from openai_batches._names import public
from openai_batches._threads import in_thread
from openai_batches.errors import InputError, JournalError, NotFoundError
from openai_batches.jobs.journal.records import Attempt, Step
from openai_batches.jobs.journal.sqlite import journal_path, read_attempts
from openai_batches.jobs.plan import JOB_PREFIX
from openai_batches.models import Batch, FileObject

if TYPE_CHECKING:
    from openai_batches.jobs.context import Service

__all__ = ["Cleanup", "Diagnosis", "Directories", "clean_up", "examine"]

Directories: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
_INPUT, _OUTPUT = "batch", "batch_output"
_KEPT_S = 86_400.0
_STALLED_S, _EXPIRING_S = 26 * 3_600.0, 3 * 86_400.0


@public
@attrs.frozen(kw_only=True)
class Diagnosis:
    """What is at the service.

    Attributes:
        files: how many files there are for batches and of them.
        bytes: how large they are together.
        orphans: input files that no open batch uses, and no journal needs.
        unknown: open batches that no journal knows.
        stalled: open batches whose status has not changed for longer than the limit.
        expiring: result files that expire before the limit.
        unreadable: directories whose journals could not be read, and why.
        needed: the ids of the files that open batches or journals need.
    """

    files: int
    bytes: int
    orphans: tuple[FileObject, ...]
    unknown: tuple[Batch, ...]
    stalled: tuple[Batch, ...]
    expiring: tuple[FileObject, ...]
    unreadable: dict[str, str]
    needed: frozenset[str]

    @property
    def leftovers(self) -> tuple[FileObject, ...]:
        """The orphans that jobs of this library have uploaded, which is known from their names."""
        return tuple(file for file in self.orphans if file.filename.startswith(JOB_PREFIX))


@public
@attrs.frozen(kw_only=True)
class Cleanup:
    """The files that were deleted, or would be.

    Attributes:
        files: the files.
        is_dry_run: whether nothing was deleted.
    """

    files: tuple[FileObject, ...]
    is_dry_run: bool

    @property
    def bytes(self) -> int:
        """How large the files are together."""
        return sum(file.bytes for file in self.files)


async def examine(
    session: Service,
    directories: Directories = (),
    *,
    stalled_after_s: float = _STALLED_S,
    expiring_within_s: float = _EXPIRING_S,
) -> Diagnosis:
    """Return what is at the service, seen from some jobs; nothing is changed.

    All batches and files are listed. ``session.doctor`` is this, and has its arguments.
    """
    survey = await _survey(session, _paths(directories))
    return _diagnosed(survey, stalled_after_s=stalled_after_s, expiring_within_s=expiring_within_s)


async def clean_up(
    session: Service,
    directories: Directories = (),
    *,
    dry_run: bool = True,
    older_than_s: float = _KEPT_S,
    with_results: bool = False,
    only: Collection[str] | None = None,
    on_deleted: Callable[[FileObject], object] | None = None,
) -> Cleanup:
    """Delete the files at the service that are safe to delete; return them.

    These are input files that jobs of this library have uploaded (their names say so), older than the limit, that no
    open batch uses and none of the given jobs still needs. ``session.gc`` is this, and has its arguments.
    """
    survey = await _survey(session, _paths(directories))
    diagnosis = _diagnosed(survey)
    if diagnosis.unreadable:
        raise JournalError(f"Nothing is deleted: {'; '.join(diagnosis.unreadable.values())}")
    oldest = dt.datetime.fromtimestamp(session.now() - older_than_s, dt.UTC)
    doomed = [file for file in diagnosis.leftovers if file.created_at is not None and file.created_at < oldest]
    if with_results:
        verified = (attempt for attempt in survey.attempts if attempt.step is Step.VERIFIED)
        collected = {file_id for attempt in verified for file_id in _result_ids(attempt)}
        doomed += [file for file in survey.outputs if file.id in collected]
    if only is not None:
        doomed = [file for file in doomed if file.id in only]
    if not dry_run:
        for file in doomed:
            with contextlib.suppress(NotFoundError):
                await session.files.delete(file.id)
            if on_deleted is not None:
                on_deleted(file)
    return Cleanup(files=tuple(doomed), is_dry_run=dry_run)


@attrs.frozen
class _Survey:
    """What was found at the service and in the journals, and when."""

    now: dt.datetime
    inputs: list[FileObject]
    outputs: list[FileObject]
    batches: list[Batch]
    attempts: list[Attempt]
    unreadable: dict[str, str]


async def _survey(session: Service, paths: list[Path]) -> _Survey:
    await in_thread(_check, paths)
    # Files first: what is made of one of them meanwhile is then seen among the batches, or in a journal.
    inputs = [file async for file in session.files.list(purpose=_INPUT)]
    outputs = [file async for file in session.files.list(purpose=_OUTPUT)]
    batches = [batch async for batch in session.batches.list()]
    attempts, unreadable = await in_thread(_known, paths)
    now = dt.datetime.fromtimestamp(session.now(), dt.UTC)
    return _Survey(now, inputs, outputs, batches, attempts, unreadable)


def _diagnosed(
    survey: _Survey, *, stalled_after_s: float = _STALLED_S, expiring_within_s: float = _EXPIRING_S
) -> Diagnosis:
    now, inputs, outputs = survey.now, survey.inputs, survey.outputs
    open_batches = [batch for batch in survey.batches if not batch.is_terminal]
    known = {attempt.batch.id for attempt in survey.attempts if attempt.batch is not None}
    needed = _needed(open_batches, survey.attempts)
    return Diagnosis(
        files=len(inputs) + len(outputs),
        bytes=sum(file.bytes for file in (*inputs, *outputs)),
        orphans=tuple(file for file in inputs if file.id not in needed),
        unknown=tuple(batch for batch in open_batches if batch.id not in known),
        stalled=tuple(
            batch for batch in open_batches if (now - _last_moved(batch, now)).total_seconds() > stalled_after_s
        ),
        expiring=tuple(file for file in outputs if _expires_within(file, now, expiring_within_s)),
        unreadable=survey.unreadable,
        needed=needed,
    )


def _paths(directories: Directories) -> list[Path]:
    given = [directories] if isinstance(directories, str | os.PathLike) else list(directories)
    return [Path(path) for path in given]


def _check(directories: list[Path]) -> None:
    for directory in directories:
        if not journal_path(directory).is_file():
            raise InputError(f"There is no job in {directory}")


def _known(directories: list[Path]) -> tuple[list[Attempt], dict[str, str]]:
    attempts: list[Attempt] = []
    unreadable: dict[str, str] = {}
    for directory in directories:
        try:
            attempts += read_attempts(directory)
        except JournalError as error:
            unreadable[str(directory)] = str(error)
    return attempts, unreadable


def _needed(open_batches: list[Batch], attempts: list[Attempt]) -> frozenset[str]:
    needed = {batch.input_file_id for batch in open_batches}
    for attempt in attempts:
        if attempt.step is not Step.VERIFIED:
            needed |= {attempt.file_id or "", *_result_ids(attempt)}
    return frozenset(needed - {""})


def _result_ids(attempt: Attempt) -> set[str]:
    batch = attempt.batch
    return set() if batch is None else {file_id for file_id in (batch.output_file_id, batch.error_file_id) if file_id}


def _last_moved(batch: Batch, now: dt.datetime) -> dt.datetime:
    times = (batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.cancelling_at)
    return max((time for time in times if time is not None), default=now)


def _expires_within(file: FileObject, now: dt.datetime, seconds: float) -> bool:
    return file.expires_at is not None and now < file.expires_at <= now + dt.timedelta(seconds=seconds)
