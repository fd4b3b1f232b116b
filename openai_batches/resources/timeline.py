"""The life of a batch as spans of time, one for each state it went through.

Pure functions of values: no network, no clock.
"""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import TYPE_CHECKING

import attrs

from openai_batches.models import BatchStatus

if TYPE_CHECKING:
    from openai_batches.models import Batch

__all__ = ["Span", "began_at", "ended_at", "spans_of"]

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

    Args:
        batch: the batch.
        now: until when a batch that has not ended is drawn; an aware time.
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
    """Return which state a batch that has not ended was in from when on, the first one first."""
    passed = (BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING, BatchStatus.CANCELLING)
    told = [(status, time) for status in passed if (time := began_at(batch, status)) is not None]
    told.sort(key=lambda mark: mark[1])
    if (created := began_at(batch, BatchStatus.VALIDATING)) is not None:
        told.insert(0, (_first_state(batch), created))
    if batch.is_terminal or not told:
        return told
    states = [state for state, _ in told]
    if batch.status in states:
        # What is said to come after the state it is in has not come yet.
        return told[: states.index(batch.status) + 1]
    # It is in this state for as long as nothing else is known of it.
    return [*told, (batch.status, max(time for _, time in told))]


def _first_state(batch: Batch) -> BatchStatus:
    """Return the state from a batch's creation on: one that has run did so since then, if nobody says since when."""
    is_written = began_at(batch, BatchStatus.FINALIZING) is not None and batch.status != BatchStatus.VALIDATING
    is_untold = began_at(batch, BatchStatus.IN_PROGRESS) is None
    has_run = is_untold and (is_written or batch.status in _RUN)
    return BatchStatus.IN_PROGRESS if has_run else BatchStatus.VALIDATING
