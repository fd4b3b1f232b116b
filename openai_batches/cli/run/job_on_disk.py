"""Find jobs in folders and read their journals, without a service and without disturbing a running job."""

import datetime as dt
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from openai_batches import PRICES, JournalError, Ledger, Outcome, PriceTable
from openai_batches._threads import in_thread
from openai_batches.cli.errors import CommandError
from openai_batches.cli.output.terminal import note
from openai_batches.cli.output.texts import path_text, words
from openai_batches.cli.run.notes import JobNotes
from openai_batches.jobs.journal.sqlite import JournalView, is_at_work, journal_path, read_journal
from openai_batches.jobs.plan import was_begun

__all__ = ["FoundJob", "found_jobs", "has_journal", "job_folders", "jobs_below", "ledger_document", "view_of"]

# A hint is not worth more: somebody's home has a hundred thousand.
_MOST_FOLDERS = 1_000
_NAMED = 5


@attrs.frozen(kw_only=True)
class FoundJob:
    """A job as its journal tells of it.

    Attributes:
        directory: where it is kept.
        state: how it is, in a word.
        view: what its journal says; None where it cannot be read.
        problem: why it cannot be read.
        is_local: whether its answers are the emulator's.
    """

    directory: Path
    state: str
    view: JournalView | None = None
    problem: str = ""
    is_local: bool = False

    @classmethod
    def read(cls, directory: Path) -> "FoundJob":
        """Return the job in a directory. This blocks."""
        try:
            is_running = is_at_work(directory)
            view = read_journal(directory)
        except JournalError as error:
            return cls(directory=directory, state="unreadable", problem=str(error))
        is_local = JobNotes.read(directory).is_local
        return cls(directory=directory, state=_state(view, is_running=is_running), view=view, is_local=is_local)

    @property
    def ledger(self) -> Ledger:
        """What became of its requests."""
        return Ledger.of(() if self.view is None else self.view.attempts)

    @property
    def created_at(self) -> dt.datetime | None:
        """When it was planned."""
        return None if self.view is None else dt.datetime.fromtimestamp(self.view.job.created_s, dt.UTC)

    @property
    def source(self) -> str:
        """The path of its requests; empty where they came from elsewhere."""
        return (self.view is not None and self.view.job.source) or ""

    def document(self) -> dict[str, Any]:
        """Return all of it for ``--json``."""
        known = {"directory": str(self.directory), "state": self.state}
        if self.view is None:
            return {**known, "problem": self.problem}
        job = self.view.job
        return {
            **known,
            "source": job.source,
            "base_url": job.base_url,
            "is_local": self.is_local,
            "created_at": dt.datetime.fromtimestamp(round(job.created_s), dt.UTC),
            **ledger_document(self.ledger, PRICES),
        }


def _state(view: JournalView, *, is_running: bool) -> str:
    if is_running:
        return "cancelling" if view.is_cancelled and not view.is_finished else "running"
    if view.is_finished:
        return "cancelled" if view.is_cancelled else "finished"
    return "stopped" if was_begun(view.attempts) else "planned"


def ledger_document(ledger: Ledger, prices: PriceTable) -> dict[str, Any]:
    """Return a ledger for ``--json``, with what it cost by these prices."""
    usage, bill = ledger.usage, ledger.bill(prices)
    return {
        "requests": ledger.inputs,
        "unfinished": ledger.unfinished,
        **{str(outcome): count for outcome, count in ledger.outcomes.items() if outcome is not Outcome.FOREIGN},
        "error_codes": ledger.error_codes,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost": bill.cost,
        "currency": bill.prices.currency,
        "shards": [
            {
                "shard": shard.shard,
                "endpoint": shard.endpoint,
                "model": shard.model,
                "requests": shard.inputs,
                "unfinished": shard.unfinished,
                **{str(outcome): count for outcome, count in shard.outcomes.items()},
                "attempts": shard.attempts,
                "step": str(shard.step),
                "batch_ids": list(shard.batch_ids),
            }
            for shard in ledger.shards
        ],
    }


def has_journal(directory: Path) -> bool:
    """Return whether a job is kept in a directory, or was meant to be."""
    # Path.is_file raises where a folder may not be looked into.
    return os.path.isfile(journal_path(directory))  # noqa: PTH113


async def view_of(directory: Path) -> JournalView | None:
    """Return what is known of the job in a directory; None where there is none, or nothing can be told of it."""

    def look() -> JournalView | None:
        # Who opens it to work on it is told what is the matter, in better words.
        return FoundJob.read(directory).view if has_journal(directory) else None

    return await in_thread(look)


def found_jobs(folders: Sequence[Path], *, is_recursive: bool) -> list[FoundJob]:
    """Return the jobs that some folders are, or have in them, the newest first. This blocks."""
    for folder in folders:
        if not folder.is_dir():
            raise CommandError(f"{folder} is no folder", "Name the directories of jobs, or folders that hold them")
    found = {path: None for folder in folders for path in _directories(folder, is_recursive=is_recursive)}
    jobs = [FoundJob.read(path) for path in found]
    return sorted(jobs, key=lambda job: (-(job.view.job.created_s if job.view else 0), job.directory))


def jobs_below(folder: Path) -> int:
    """Return how many jobs are in the folders below one, as far as few folders show. This blocks."""
    count = 0
    for looked, (place, names, _) in enumerate(os.walk(folder)):
        jobs = [name for name in names if has_journal(Path(place, name))]
        count += len(jobs)
        names[:] = sorted(set(names) - set(jobs))
        if looked == _MOST_FOLDERS:
            break
    return count


def _directories(folder: Path, *, is_recursive: bool) -> Iterator[Path]:
    if has_journal(folder):
        yield folder
        return
    for place, names, _ in os.walk(folder):
        # What is inside of a job is its own.
        jobs = [name for name in names if has_journal(Path(place, name))]
        yield from (Path(place, name) for name in sorted(jobs))
        names[:] = sorted(set(names) - set(jobs)) if is_recursive else []


def job_folders(given: tuple[Path, ...]) -> list[Path]:
    """Return the folders of jobs that are meant, and say which these are if none were named."""
    for folder in given:
        if not has_journal(folder):
            raise CommandError(f"There is no job in {folder}", "`openai-batches jobs` lists the jobs")
    if given:
        return list(given)
    found = [Path()] if has_journal(Path()) else sorted(path for path in Path().iterdir() if has_journal(path))
    if not found:
        below = jobs_below(Path())
        hint = f" Name them: {below:,} in the folders below." if below else ""
        note(f"There is no job in this folder: jobs in other places may need files too.{hint}")
        return []
    named = [path_text(path) for path in found[:_NAMED]]
    if more := len(found) - len(named):
        named.append(f"{more:,} more")
    note(f"Jobs of this folder: {words(named)}.")
    return found
