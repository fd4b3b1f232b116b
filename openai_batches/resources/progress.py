"""Read the progress of a batch off its records: which of two is older, what changed, when it may end.

Pure functions of values: no network, no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from openai_batches.models import Batch, BatchStatus

if TYPE_CHECKING:
    import datetime as dt

__all__ = [
    "BatchChange",
    "News",
    "answered_count",
    "entered_at",
    "has_changed",
    "is_ending",
    "is_older",
    "remaining_s",
]

# How far along a batch is; a status nobody knows has no place in this order.
_ORDER = {
    BatchStatus.VALIDATING: 0,
    BatchStatus.IN_PROGRESS: 1,
    BatchStatus.FINALIZING: 2,
    BatchStatus.CANCELLING: 3,
    BatchStatus.COMPLETED: 4,
    BatchStatus.FAILED: 4,
    BatchStatus.EXPIRED: 4,
    BatchStatus.CANCELLED: 4,
}
# The name of the time at which a batch entered a status; all others are called after theirs.
_ENTERED = {status: f"{status.value}_at" for status in _ORDER} | {BatchStatus.VALIDATING: "created_at"}


@attrs.frozen(kw_only=True)
class BatchChange:
    """Something that was seen of a batch: its first state, a change of its status or counts, or that it stalls.

    Attributes:
        batch: the batch as it is now.
        previous: the batch as it was seen before; None in the first change.
        is_stall: whether this tells that nothing has changed for a while.
        in_status_s: seconds since the batch entered its status: by the service's own time where it gives one, else
            since the status was first seen.
        unchanged_s: seconds for which neither status nor counts had changed when this was told, as far as is known.
    """

    batch: Batch
    previous: Batch | None = None
    is_stall: bool = False
    in_status_s: float = 0.0
    unchanged_s: float = 0.0


@attrs.frozen(kw_only=True)
class News:
    """What a watch is told of a batch: how it is now, or why that cannot be known any more.

    Attributes:
        batch_id: the id it is watched under.
        said: the batch, or the error that ends the watching of it.
        previous: the batch as it was seen before, or None.
    """

    batch_id: str
    said: Batch | Exception
    previous: Batch | None = None

    @property
    def batch(self) -> Batch:
        """The batch; where there is an error in its place, that is raised."""
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    @property
    def is_last(self) -> bool:
        """Whether nothing more will come of this batch."""
        return isinstance(self.said, Exception) or self.said.is_terminal


def answered_count(batch: Batch) -> int | None:
    """Return how many requests of a batch have an answer, as the service counts; None where it does not say."""
    counts = batch.request_counts
    return None if counts is None else counts.completed + counts.failed


def entered_at(batch: Batch) -> dt.datetime | None:
    """Return when a batch entered the status it is in; None where the service does not say."""
    name = _ENTERED.get(batch.status)
    return None if name is None else getattr(batch, name)


def has_changed(batch: Batch, previous: Batch) -> bool:
    """Return whether status or counts differ."""
    return batch.status != previous.status or batch.request_counts != previous.request_counts


def is_older(batch: Batch, seen: Batch) -> bool:
    """Return whether a record shows an earlier state of a batch than one that was seen: lists and replicas lag behind.

    A status that comes earlier in a batch's life is older, and so are fewer answers in the same status. A batch that
    was seen ended stays ended. Nothing can be said of a status nobody knows: its record counts as new.
    """
    place, known = _ORDER.get(batch.status), _ORDER.get(seen.status)
    if place is None or known is None:
        return seen.is_terminal
    if place != known:
        return place < known
    now, before = answered_count(batch), answered_count(seen)
    return now is not None and before is not None and now < before


def is_ending(batch: Batch) -> bool:
    """Return whether the end is near: the files are being written, it is being cancelled, or no request is left."""
    if batch.status in {BatchStatus.FINALIZING, BatchStatus.CANCELLING}:
        return True
    counts = batch.request_counts
    return counts is not None and 0 < counts.total <= counts.completed + counts.failed


def remaining_s(batch: Batch, *, now_s: float, earlier: tuple[float, int] | None) -> float | None:
    """Return in how many seconds the last request may be answered, or None where that cannot be told.

    The faster one counts of two speeds: since the batch began to run, and since an earlier look.

    Args:
        batch: the batch.
        now_s: the time of its record, in Unix seconds.
        earlier: the time of an earlier look, and how many requests had an answer then.
    """
    counts, begun_at = batch.request_counts, batch.in_progress_at
    if counts is None or batch.status != BatchStatus.IN_PROGRESS:
        return None
    answered = counts.completed + counts.failed
    marks = [(begun_at.timestamp(), 0)] if begun_at is not None else []
    marks += [earlier] if earlier is not None else []
    speeds = [(answered - then) / (now_s - since_s) for since_s, then in marks if now_s > since_s and answered > then]
    return max(counts.total - answered, 0) / max(speeds) if speeds else None
