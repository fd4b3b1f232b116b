"""The progress of a batch, read from its records: which is older, what changed, its states in time, when it may end.

Pure functions of values: no network, no clock.
"""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import attrs

from openai_batches._names import public
from openai_batches.models import Batch, BatchStatus

__all__ = [
    "BatchChange",
    "BatchUpdate",
    "Span",
    "answered_count",
    "began_at",
    "ended_at",
    "entered_at",
    "has_changed",
    "is_ending",
    "is_older",
    "remaining_s",
    "spans_of",
]

# How far along a batch is; an unknown status has no place in this order.
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


@public
@attrs.frozen(kw_only=True)
class BatchChange:
    """One observation of a batch: its first state, a change of its status or counts, or a stall.

    Attributes:
        batch: the batch as it is now.
        previous: the batch as it was seen before; None in the first change.
        is_stall: whether this reports that nothing has changed for some time.
        in_status_s: seconds since the batch entered its status: by the service's own time where it gives one, else
            since the status was first seen.
        unchanged_s: seconds for which neither status nor counts had changed at that time, as far as is known.
    """

    batch: Batch
    previous: Batch | None = None
    is_stall: bool = False
    in_status_s: float = 0.0
    unchanged_s: float = 0.0


@attrs.frozen(kw_only=True)
class BatchUpdate:
    """What a watch gets of a batch: its present state, or the error after which it is no longer watched.

    Attributes:
        batch_id: the id it is watched under.
        batch_or_error: the batch, or the error that ends the watching of it.
        previous: the batch as it was seen before, or None.
    """

    batch_id: str
    batch_or_error: Batch | Exception
    previous: Batch | None = None

    @property
    def batch(self) -> Batch:
        """The batch; where there is an error in its place, that is raised."""
        if isinstance(self.batch_or_error, Exception):
            raise self.batch_or_error
        return self.batch_or_error

    @property
    def is_last(self) -> bool:
        """Whether nothing more will come of this batch."""
        return isinstance(self.batch_or_error, Exception) or self.batch_or_error.is_terminal


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
    was seen ended stays ended. A record with an unknown status counts as new.
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
    """Return in how many seconds the last request may be answered, or None where that cannot be estimated.

    The higher of two speeds counts: since the batch began to run, and since an earlier record, of which ``earlier`` is
    the time and the number of answered requests.
    """
    counts, begun_at = batch.request_counts, batch.in_progress_at
    if counts is None or batch.status != BatchStatus.IN_PROGRESS:
        return None
    answered = counts.completed + counts.failed
    marks = [(begun_at.timestamp(), 0)] if begun_at is not None else []
    marks += [earlier] if earlier is not None else []
    speeds = [(answered - then) / (now_s - since_s) for since_s, then in marks if now_s > since_s and answered > then]
    return max(counts.total - answered, 0) / max(speeds) if speeds else None


_ENDS = tuple(status for status in BatchStatus if status.is_terminal)
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
_RUN = frozenset({BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING, BatchStatus.COMPLETED})


@attrs.frozen
class Span:
    """How long a batch was in one state.

    Attributes:
        state: the state, in the service's word.
        begin: when it began.
        end: when it ended; for a state that nothing comes after, when it began.
    """

    state: str
    begin: dt.datetime
    end: dt.datetime

    @property
    def seconds(self) -> float:
        """Its length; never less than 0."""
        return (self.end - self.begin).total_seconds()


def began_at(batch: Batch, status: BatchStatus) -> dt.datetime | None:
    """Return when a batch came into a status; None where the service does not say, which some do with a 0."""
    name = "created_at" if status == BatchStatus.VALIDATING else f"{status.value}_at"
    time: dt.datetime | None = getattr(batch, name, None)
    return None if time is None or time <= _EPOCH else time


def ended_at(batch: Batch) -> dt.datetime | None:
    """Return when a batch ended; None where it has not, or the service does not say.

    Of a service that says when, but under another word than the status it gives, the latest such time is taken.
    """
    if not batch.is_terminal:
        return None
    if (time := began_at(batch, batch.status)) is not None:
        return time
    return max((time for status in _ENDS if (time := began_at(batch, status)) is not None), default=None)


def spans_of(batch: Batch, now: dt.datetime) -> tuple[Span, ...]:
    """Return the states a batch went through, in order, each beginning where the one before it ends.

    The last one is the state it is in: until now, or, where it has ended, a span without length at the end. A time that
    the service left out is passed over, and one that lies before the batch's creation or behind its end is moved there:
    no span has a length below 0. A batch of which no time is known has no spans.
    """
    marks = _marks(batch)
    end = ended_at(batch)
    if end is None and marks:
        last = max(time for _, time in marks)
        end = last if batch.is_terminal else max(now, last)
    if end is None:
        return ()
    created = began_at(batch, BatchStatus.VALIDATING)
    begin = min(marks[0][1] if marks else end, end) if created is None else created
    end = max(begin, end)
    edges = [*(min(max(time, begin), end) for _, time in marks), end]
    spans = [Span(state.value, *edge) for (state, _), edge in zip(marks, pairwise(edges), strict=True)]
    if batch.is_terminal:
        spans.append(Span(batch.status.value, end, end))
    return tuple(spans)


def _marks(batch: Batch) -> list[tuple[BatchStatus, dt.datetime]]:
    """Return the states of a batch before its end with the time at which each began, in order."""
    passed = (BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING, BatchStatus.CANCELLING)
    told = [(status, time) for status in passed if (time := began_at(batch, status)) is not None]
    told.sort(key=lambda mark: mark[1])
    if (created := began_at(batch, BatchStatus.VALIDATING)) is not None:
        told.insert(0, (_first_state(batch), created))
    if batch.is_terminal or not told:
        return told
    states = [state for state, _ in told]
    if batch.status in states:
        # Times of states that come after the present one are not true yet.
        return told[: states.index(batch.status) + 1]
    # No time is known for the present state: it begins where the last known one does.
    return [*told, (batch.status, max(time for _, time in told))]


def _first_state(batch: Batch) -> BatchStatus:
    """Return the state from a batch's creation on: running, if it has run and no time says since when."""
    is_written = began_at(batch, BatchStatus.FINALIZING) is not None and batch.status != BatchStatus.VALIDATING
    is_untold = began_at(batch, BatchStatus.IN_PROGRESS) is None
    has_run = is_untold and (is_written or batch.status in _RUN)
    return BatchStatus.IN_PROGRESS if has_run else BatchStatus.VALIDATING
