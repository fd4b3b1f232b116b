"""The events of a job, and how they reach its callback and its iterators."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import enum
from collections import deque
from typing import TYPE_CHECKING

import attrs

from openai_batches._names import public
from openai_batches.models import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["EventStream", "JobEvent", "JobEventKind"]

# So many events are kept for an iterator that does not take them.
_MAX_EVENTS = 10_000


@public
class JobEventKind(enum.StrEnum):
    """What happened."""

    PLANNED = "planned"  # the requests are checked and cut into shards; nothing was sent yet
    RESUMED = "resumed"  # the journal was read; what is in it goes on
    UPLOADED = "uploaded"  # a shard's requests are at the service
    CREATED = "created"  # a batch was created
    ADOPTED = "adopted"  # a batch was found that an earlier run had created, or somebody else
    CHANGED = "changed"  # a batch has another status or other counts
    STALLED = "stalled"  # a batch has not changed for longer than the limit for its status
    ENDED = "ended"  # a batch has ended
    REFUSED = "refused"  # the service had no capacity for a batch: it is created again later
    POSTPONED = "postponed"  # something failed for a reason that may pass, and is tried again later
    VERIFIED = "verified"  # the results of a batch are on the disk, and each of its requests is accounted for
    RESENT = "resent"  # some requests of a batch did not run: they are sent again in another one
    PAUSED = "paused"  # the account has no quota left: nothing more is created in this run
    CANCELLED = "cancelled"  # the job was told to end: nothing more is sent
    FINISHED = "finished"  # every request has its outcome


@public
@attrs.frozen(kw_only=True)
class JobEvent:
    """One thing that happened in a job.

    Attributes:
        kind: what happened.
        at: when, by this machine's clock.
        message: the same for people, in one sentence.
        shard: the shard it happened to; None for the job as a whole.
        attempt: the attempt at that shard, from 1.
        batch: the batch it happened to, as it was last seen.
        delay_s: for ``postponed``: after how many seconds it is tried again; for ``stalled``: for how many the batch
            has not changed.
    """

    kind: JobEventKind
    at: dt.datetime
    message: str
    shard: int | None = None
    attempt: int | None = None
    batch: Batch | None = None
    delay_s: float | None = None

    def __str__(self) -> str:
        return self.message


class EventStream:
    """Passes each event of a job to its callback, and to all who iterate over its events.

    Attributes:
        next_event: set when the next event comes; then there is a new one.
    """

    def __init__(self, on_event: Callable[[JobEvent], object] | None) -> None:
        self.next_event: asyncio.Event = asyncio.Event()
        self._on_event = on_event
        self._queues: dict[int, deque[JobEvent]] = {}

    def tell(self, event: JobEvent) -> None:
        """Pass an event on."""
        if self._on_event is not None:
            self._on_event(event)
        for queue in self._queues.values():
            queue.append(event)
        came, self.next_event = self.next_event, asyncio.Event()
        came.set()

    @contextlib.contextmanager
    def queue(self) -> Iterator[deque[JobEvent]]:
        """Give a queue of the events from now on, of which the newest are kept."""
        queue: deque[JobEvent] = deque(maxlen=_MAX_EVENTS)
        self._queues[id(queue)] = queue
        try:
            yield queue
        finally:
            del self._queues[id(queue)]
