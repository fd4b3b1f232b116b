"""A job that was planned and never begun, taken back: nothing of it stays behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openai_batches.errors import InputError
from openai_batches.jobs.journal.records import Step
from openai_batches.jobs.plan import draft_of, remove_draft

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openai_batches.jobs.journal.records import Attempt, JobRecord
    from openai_batches.jobs.journal.sqlite import Journal

__all__ = ["discard", "was_begun"]


def was_begun(attempts: Iterable[Attempt]) -> bool:
    """Return whether anything of a job may have been sent."""
    return any(attempt.step is not Step.PLANNED or attempt.number > 1 for attempt in attempts)


def discard(journal: Journal, job: JobRecord, attempts: Iterable[Attempt]) -> None:
    """Remove a job from its journal, and its requests from the disk. This blocks.

    Raises:
        InputError: something of it may have been sent.
        JournalError: the journal cannot be written.
        OSError: the job's folder cannot be renamed.
    """
    if was_begun(attempts):
        raise InputError(f"The job in {journal.directory} was begun: it can be cancelled, and not be discarded")
    journal.forget()
    # Whatever is left if this ends here, is removed by the next plan in this directory.
    draft = journal.directory / draft_of(job.job_id)
    (journal.directory / job.job_id).rename(draft)
    remove_draft(draft)
