"""Cells for one batch: its status, counts, age, progress bar and metadata."""

import datetime as dt

from rich.text import Text

from openai_batches import Batch, BatchStatus
from openai_batches.cli.output.texts import lasting_text, one_line
from openai_batches.resources.progress import ended_at, remaining_s

__all__ = [
    "age_cell",
    "counts_cell",
    "failed_cell",
    "failed_count",
    "left_cell",
    "metadata_cell",
    "progress_bar",
    "status_cell",
    "status_style",
    "took_cell",
    "went_well",
]

_STYLES = {
    BatchStatus.VALIDATING: "cyan",
    BatchStatus.IN_PROGRESS: "bright_blue",
    BatchStatus.FINALIZING: "cyan",
    BatchStatus.COMPLETED: "green",
    BatchStatus.FAILED: "red",
    BatchStatus.EXPIRED: "yellow",
    BatchStatus.CANCELLING: "magenta",
    BatchStatus.CANCELLED: "magenta",
}
# What the library itself writes into metadata is no news to a person.
_OWN_PREFIX = "openai_batches_"


def status_style(status: str) -> str:
    """Return the colour of a status."""
    return _STYLES.get(BatchStatus(status), "bold")


def status_cell(batch: Batch) -> Text:
    """Return a batch's status in its colour."""
    return Text(one_line(batch.status), status_style(batch.status))


def counts_cell(batch: Batch) -> str:
    """Return how many requests have an answer, and of how many: ``1,980/2,000``; empty where that is not known."""
    counts = batch.request_counts
    if counts is None or counts.total <= 0:
        return ""
    return f"{counts.completed + counts.failed:,}/{counts.total:,}"


def failed_count(batch: Batch) -> int:
    """Return how many requests have failed, as the service counts."""
    return 0 if batch.request_counts is None else batch.request_counts.failed


def failed_cell(batch: Batch) -> Text:
    """Return how many requests have failed; empty where none has."""
    count = failed_count(batch)
    return Text(f"{count:,}" if count else "", "red")


def age_cell(batch: Batch, now: dt.datetime) -> str:
    """Return how old a batch is, in the largest unit."""
    if batch.created_at is None:
        return ""
    return lasting_text((now - batch.created_at).total_seconds()).partition(" ")[0]


def took_cell(batch: Batch) -> str:
    """Return how long a batch lived; empty while it lives."""
    end = ended_at(batch)
    if end is None or batch.created_at is None:
        return ""
    return lasting_text((end - batch.created_at).total_seconds())


def left_cell(batch: Batch, now: dt.datetime) -> str:
    """Return when the last request may have its answer, as far as its progress tells: ``~12m``; else empty."""
    seconds = remaining_s(batch, now_s=now.timestamp(), earlier=None)
    return "" if not seconds else f"~{lasting_text(seconds).partition(' ')[0]}"


def metadata_cell(batch: Batch) -> str:
    """Return the metadata that a person gave it, on one line."""
    pairs = [f"{key}={value}" for key, value in (batch.metadata or {}).items() if not key.startswith(_OWN_PREFIX)]
    return one_line(" ".join(pairs))


def progress_bar(batch: Batch, width: int) -> Text:
    """Return a bar of the counts: what succeeded, what failed, what is left; nothing where they are not known."""
    counts = batch.request_counts
    if counts is None or counts.total <= 0:
        return Text()
    # What is not whole does not look whole, and what failed is seen.
    failed = min(max(round(counts.failed / counts.total * width), int(counts.failed > 0)), width)
    done = min(int(counts.completed / counts.total * width), width - failed)
    return Text.assemble(("█" * done, "green"), ("▒" * failed, "red"), ("░" * (width - done - failed), "bright_black"))


def went_well(batch: Batch) -> bool:
    """Return whether a batch completed, and no request of it failed as far as the service counts."""
    return batch.status == BatchStatus.COMPLETED and not failed_count(batch)
