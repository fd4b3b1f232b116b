"""One poller reads the statuses of all batches of a session that are waited for.

Young batches are polled often, old ones rarely, and those near their end more often again. Batches that are due at
nearly the same time are polled in one round. Those who wait take updates from a :class:`Watch`; without one, nothing
runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
from typing import TYPE_CHECKING

import attrs

from openai_batches.errors import BatchesError, DecodeError, InputError, NotFoundError
from openai_batches.http.failures import can_pass
from openai_batches.models import Batch, BatchStatus
from openai_batches.resources.progress import (
    BatchUpdate,
    answered_count,
    entered_at,
    has_changed,
    is_ending,
    is_older,
    remaining_s,
)
from openai_batches.resources.status import StatusReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from openai_batches.pagination import AsyncPaginator
    from openai_batches.policies import PollPolicy

__all__ = ["Poller", "Watch"]

_logger = logging.getLogger("openai_batches")
# A service may not show a batch to readers at once after it was created.
_UNSEEN_S = 60.0
# A proxy may now and then answer with a page of its own, but not every time.
_MAX_UNREADABLE = 5
# A batch is polled early by up to this share of its pause, if a round is due anyway.
_EARLY_SHARE = 0.25
# The estimated end is never nearer than the time without a change, divided by this.
_SILENCE = 10.0
# Clocks are not finer than this.
_TICK_S = 0.001


class Watch:
    """The updates of some batches; they are polled until it is closed.

    With ``only_ends`` it gets ends and errors alone, not every change.
    """

    def __init__(self, poller: Poller, *, poll: PollPolicy, only_ends: bool) -> None:
        self.poll = poll
        self._poller = poller
        self._only_ends = only_ends
        self._open: set[str] = set()
        self._left = 0
        self._updates: asyncio.Queue[BatchUpdate] = asyncio.Queue()

    def __len__(self) -> int:
        """Return for how many batches the last update is still to be taken."""
        return self._left

    def add(self, batch: Batch | str) -> None:
        """Watch a batch; its present state is the first update of it, also of one that has ended."""
        batch_id = batch.id if isinstance(batch, Batch) else batch
        if batch_id not in self._open:
            self._open.add(batch_id)
            self._left += 1
            self._poller.join(self, batch)

    def __contains__(self, batch_id: str) -> bool:
        """Return whether a batch is watched and has not ended."""
        return batch_id in self._open

    def seen(self, batch_id: str) -> Batch | None:
        """Return an open batch as it was last seen."""
        return self._poller.seen(batch_id)

    def tell(self, update: BatchUpdate) -> None:
        """Take an update from the poller."""
        if update.is_last:
            self._open.discard(update.batch_id)
        if update.is_last or not self._only_ends:
            self._updates.put_nowait(update)

    async def next_update(self) -> BatchUpdate:
        """Return the next update, as soon as there is one."""
        update = await self._updates.get()
        self._left -= update.is_last
        return update

    def close(self) -> None:
        """Watch nothing any more; updates that were not taken yet can still be taken. Closing twice does nothing."""
        self._left -= len(self._open)
        while self._open:
            self._poller.leave(self, self._open.pop())


@attrs.define(eq=False, kw_only=True)
class _Open:
    """A batch that is waited for; times are those of the event loop."""

    id: str
    due_s: float
    pace_from_s: float
    unseen_until_s: float
    batch: Batch | None = None
    early_s: float = 0.0
    asked_s: float | None = None
    # When the count of answered requests last changed, in Unix seconds, and the count: the time before, and the last.
    earlier: tuple[float, int] | None = None
    latest: tuple[float, int] | None = None
    is_seen: bool = False
    is_asked: bool = False
    is_woken: bool = False
    unreadable: int = 0
    unseen: int = 0
    watches: dict[Watch, None] = attrs.field(factory=dict["Watch", None])


class Poller:
    """Polls the statuses of batches, for as long as there is a watch over them."""

    def __init__(
        self,
        *,
        retrieve: Callable[[str], Awaitable[Batch]],
        list_batches: Callable[[], AsyncPaginator[Batch]],
        poll: PollPolicy,
        now: Callable[[], float],
    ) -> None:
        self.poll = poll
        self.now = now
        self._reader = StatusReader(retrieve=retrieve, list_batches=list_batches)
        self._open: dict[str, _Open] = {}
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm = asyncio.Event()
        self._next_s = math.inf
        self._logged: Exception | None = None
        self._is_closed = False

    def watch(self, *, poll: PollPolicy | None = None, only_ends: bool = False) -> Watch:
        """Return a watch over no batches yet; adding thousands to it is cheap, and one task can take all their updates.

        Args:
            poll: how often to poll; of several watches over a batch, the one with the shortest pause decides.
            only_ends: get ends and errors alone.
        """
        return Watch(self, poll=poll or self.poll, only_ends=only_ends)

    def wake(self, batch_id: str) -> None:
        """Poll a batch at once, if it is watched, and more often for a while.

        If a request for it is on its way, it is polled once more, since that answer may be older.
        """
        if (one := self._open.get(batch_id)) is not None:
            one.is_woken = True
            one.pace_from_s = asyncio.get_running_loop().time()
            self._set_due(one, one.pace_from_s)

    def seen(self, batch_id: str) -> Batch | None:
        """Return a watched batch as it was last seen."""
        one = self._open.get(batch_id)
        return None if one is None else one.batch

    def note(self, batch: Batch) -> None:
        """Take a record from elsewhere, such as the answer to a cancel; only a change makes an update."""
        one = self._open.get(batch.id)
        if one is not None and (
            one.batch is None or (has_changed(batch, one.batch) and not is_older(batch, one.batch))
        ):
            self._saw(one, batch)

    async def close(self) -> None:
        """End all watches with an error. Nothing is left running, and closing twice does nothing."""
        self._is_closed = True
        self._end_all(InputError("The session was closed while the batch was waited for; it was not cancelled"))
        if self._tasks:
            await asyncio.wait(self._tasks)

    def join(self, watch: Watch, batch: Batch | str) -> None:
        """Add a batch to a watch."""
        known = batch if isinstance(batch, Batch) else None
        batch_id = batch.id if isinstance(batch, Batch) else batch
        # The caller's record may be old: it makes an update only where another one was known.
        if known is not None and (known.is_terminal or self.seen(batch_id) is not None):
            self.note(known)
        if known is not None and known.is_terminal:
            watch.tell(BatchUpdate(batch_id=batch_id, batch_or_error=known))
            return
        if self._is_closed:
            watch.tell(BatchUpdate(batch_id=batch_id, batch_or_error=InputError("The session is closed")))
            return
        if (one := self._open.get(batch_id)) is None:
            one = self._open[batch_id] = self._opened(batch_id)
        one.batch = one.batch or known
        one.watches[watch] = None
        if one.is_seen and one.batch is not None:
            watch.tell(BatchUpdate(batch_id=batch_id, batch_or_error=one.batch))
        if one.asked_s is not None and not one.is_asked:
            self._set_due(one, one.asked_s + self._pause_s(one))
        if self._task is None:
            self._start()

    def leave(self, watch: Watch, batch_id: str) -> None:
        """Remove a batch from a watch; a batch without a watch is no longer polled."""
        one = self._open[batch_id]
        del one.watches[watch]
        if not one.watches:
            self._drop(one)

    def _opened(self, batch_id: str) -> _Open:
        time_s = asyncio.get_running_loop().time()
        one = _Open(id=batch_id, due_s=time_s, pace_from_s=time_s, unseen_until_s=time_s + _UNSEEN_S)
        self._set_due(one, time_s)
        return one

    def _loop_s(self, unix_s: float) -> float:
        """Return the event loop's time at a time of the wall clock."""
        return asyncio.get_running_loop().time() - (self.now() - unix_s)

    def _drop(self, one: _Open) -> None:
        del self._open[one.id]
        self._reader.forget(one.id)
        if not self._open and self._task is not None:
            task, self._task, self._next_s = self._task, None, math.inf
            if not task.get_loop().is_closed():
                task.cancel()

    def _end(self, one: _Open, update: BatchUpdate) -> None:
        self._drop(one)
        for watch in one.watches:
            watch.tell(update)

    def _end_all(self, error: Exception) -> None:
        for one in tuple(self._open.values()):
            self._end(one, BatchUpdate(batch_id=one.id, batch_or_error=error))

    def _start(self) -> None:
        # Each task has its own event, so that one that is still ending cannot consume the next one's.
        self._alarm = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._run(self._alarm), name="openai_batches poller")
        self._task = task
        self._tasks.add(task)
        task.add_done_callback(self._stopped)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """End all watches with an error if the task has ended before them, for whatever reason."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if task is self._task:
            self._task, self._next_s = None, math.inf
            failure = BatchesError(f"Waiting was broken off, the batch was not cancelled: {error or 'cancelled'}")
            failure.__cause__ = error
            self._end_all(failure)

    async def _run(self, alarm: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as rounds:
            while True:
                alarm.clear()
                idle = [one for one in self._open.values() if not one.is_asked]
                self._next_s = min((one.due_s for one in idle), default=math.inf)
                soon_s = loop.time() + _TICK_S
                if self._next_s > soon_s:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout_at(None if self._next_s == math.inf else self._next_s):
                            await alarm.wait()
                    continue
                due = [one for one in idle if one.due_s - one.early_s <= soon_s]
                for one in due:
                    one.is_asked, one.is_woken = True, False
                rounds.create_task(self._round(due))

    async def _round(self, due: Sequence[_Open]) -> None:
        """Poll the batches that are due."""
        asked = {one.id: one for one in due}

        def tell(batch_id: str, said: Batch | Exception) -> bool:
            # A batch may have been left, and watched again, since the round began.
            if (one := self._open.get(batch_id)) is None:
                return False
            if asked.get(batch_id) is one:
                one.is_asked = False
            if isinstance(said, Batch):
                self._saw(one, said)
            elif asked.get(batch_id) is one:
                self._failed(one, said)
            return True

        try:
            await self._reader.read(tuple(asked), tell)
        except Exception as error:  # noqa: BLE001  # any error is passed on to those who wait
            for one in due:
                if one.is_asked:
                    tell(one.id, error)
        finally:
            self._logged = None

    def _saw(self, one: _Open, batch: Batch) -> None:
        """Take a record that was polled."""
        previous = one.batch
        if previous is not None and is_older(batch, previous):
            batch = previous
        is_change = not one.is_seen or previous is None or has_changed(batch, previous)
        update = BatchUpdate(batch_id=one.id, batch_or_error=batch, previous=previous if one.is_seen else None)
        self._set_pace(one, batch, previous)
        one.batch, one.is_seen, one.unreadable, one.unseen = batch, True, 0, 0
        if batch.is_terminal:
            self._end(one, update)
            return
        if is_change:
            for watch in one.watches:
                watch.tell(update)
        self._schedule(one)

    def _failed(self, one: _Open, error: Exception) -> None:
        """Take a failed poll, which says nothing about the batch: only one that cannot pass ends the watches."""
        if isinstance(error, NotFoundError):
            one.unseen += 1
            passes = asyncio.get_running_loop().time() < one.unseen_until_s
        elif isinstance(error, DecodeError):
            one.unreadable += 1
            passes = one.unreadable < _MAX_UNREADABLE
        else:
            passes = can_pass(error)
        if one.batch is None or not passes:
            self._end(one, BatchUpdate(batch_id=one.id, batch_or_error=error))
            return
        # A failure mostly concerns the whole round, and a missing batch stays missing: each is logged once.
        is_known = self._logged is not None or one.unseen > 1
        level = logging.DEBUG if is_known else logging.WARNING
        line = "Batch %s could not be looked at, it was last seen %s: %s"
        _logger.log(level, line, one.id, one.batch.status, error)
        self._logged = error
        self._schedule(one)

    def _set_pace(self, one: _Open, batch: Batch, previous: Batch | None) -> None:
        """Update from a record what the pauses between polls depend on."""
        if not one.is_seen and batch.created_at is not None:
            one.pace_from_s = self._loop_s(batch.created_at.timestamp())
        is_new = not one.is_seen or previous is None or batch.status != previous.status or not is_ending(previous)
        if is_new and is_ending(batch):
            # For a batch that runs with no request left, entered_at is when it began to run, which does not help.
            entered = None if batch.status == BatchStatus.IN_PROGRESS else entered_at(batch)
            one.pace_from_s = max(one.pace_from_s, self._loop_s(entered.timestamp() if entered else self.now()))
        count = answered_count(batch)
        if count is not None and (one.latest is None or count > one.latest[1]):
            one.earlier, one.latest = one.latest, (self.now(), count)

    def _pause_s(self, one: _Open) -> float:
        """Return the pause after a poll: the shortest of all watches."""
        age_s = asyncio.get_running_loop().time() - one.pace_from_s
        left_s = None
        if one.batch is not None and one.latest is not None:
            now_s, (changed_s, _) = self.now(), one.latest
            left_s = remaining_s(one.batch, now_s=now_s, earlier=one.earlier)
            # The last few requests can take long: a batch without changes is polled less and less often.
            left_s = None if left_s is None else max(left_s, (now_s - changed_s) / _SILENCE)
        chance = random.random()
        policies = {watch.poll for watch in one.watches}
        return min(poll.delay_s(age_s=age_s, remaining_s=left_s, chance=chance) for poll in policies)

    def _schedule(self, one: _Open) -> None:
        """Set when a batch is polled next."""
        one.asked_s = asyncio.get_running_loop().time()
        pause_s = 0.0 if one.is_woken else self._pause_s(one)
        one.due_s, one.early_s = math.inf, pause_s * _EARLY_SHARE
        self._set_due(one, one.asked_s + pause_s)

    def _set_due(self, one: _Open, due_s: float) -> None:
        """Poll a batch at this time, or earlier if that is already set."""
        one.due_s = min(one.due_s, due_s)
        if one.due_s < self._next_s:
            self._alarm.set()
