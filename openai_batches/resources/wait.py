"""Wait for the end of one batch or of several, or for each change of one; the poller asks for their statuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from openai_batches._arguments import check_seconds, checked_spans
from openai_batches._names import public
from openai_batches.errors import InputError, WaitTimeoutError
from openai_batches.http.wire import segment
from openai_batches.models import Batch
from openai_batches.resources.progress import BatchChange, answered_count, entered_at

if TYPE_CHECKING:
    from openai_batches.policies import PollPolicy
    from openai_batches.resources.poller import Poller

__all__ = ["BatchChanges", "CompletedBatches", "wait_for_end"]


async def wait_for_end(
    batch: Batch | str, *, poller: Poller, poll: PollPolicy | None, timeout_s: float | None
) -> Batch:
    """Return the batch once it has ended; see ``Batches.wait``."""
    if timeout_s is not None:
        check_seconds(timeout=timeout_s)
    batch_id = _id_of(batch)
    if isinstance(batch, Batch) and batch.is_terminal:
        return batch
    watch = poller.watch(poll=poll, only_ends=True)
    last = batch if isinstance(batch, Batch) else None
    try:
        async with asyncio.timeout(timeout_s):
            watch.add(batch)
            update = await watch.next_update()
    except TimeoutError:
        last = watch.seen(batch_id) or last
        seen = f"was last seen {last.status}" if last else "was not seen yet"
        text = f"Batch {batch_id} {seen} after {timeout_s:g} s; it was not cancelled"
        raise WaitTimeoutError(text, batch=last) from None
    finally:
        watch.close()
    return update.batch


@public
class CompletedBatches(AsyncIterator[Batch]):
    """Batches, each as it ends: ``async for batch in session.batches.as_completed(batches)``.

    Batches that have ended already come first, then the others in the order in which they end. Waiting begins with the
    first step of the iteration. An error about one batch is raised by one step, and further steps still yield the
    others. Leaving the loop stops the waiting; ``aclose()`` stops it explicitly.
    """

    def __init__(
        self, batches: Iterable[Batch | str], *, poller: Poller, poll: PollPolicy | None, timeout_s: float | None
    ) -> None:
        given: Any = batches
        if isinstance(given, str | Batch) or not isinstance(given, Iterable):
            raise InputError(f"as_completed takes several batches or ids, not one {type(given).__name__}")
        if timeout_s is not None:
            check_seconds(timeout=timeout_s)
        self._batches = {_id_of(batch): batch for batch in batches}
        self._timeout_s = timeout_s
        self._deadline_s: float | None = None
        self._has_begun = False
        self._watch = poller.watch(poll=poll, only_ends=True)
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<CompletedBatches of {len(self._batches):,} batches>"

    async def __anext__(self) -> Batch:
        # Where several tasks share this iterator, one waits at a time.
        async with self._lock:
            if not self._has_begun:
                self._begin()
            if not self._watch:
                raise StopAsyncIteration
            try:
                async with asyncio.timeout_at(self._deadline_s):
                    update = await self._watch.next_update()
            except TimeoutError:
                raise self._given_up() from None
            return update.batch

    async def aclose(self) -> None:
        """Stop waiting; the batches themselves are not changed."""
        self._has_begun = True
        self._watch.close()

    def __del__(self) -> None:
        # A loop that is left drops the iterator: the batches need not be polled any more.
        if hasattr(self, "_watch"):
            self._watch.close()

    def _begin(self) -> None:
        self._has_begun = True
        if self._timeout_s is not None:
            self._deadline_s = asyncio.get_running_loop().time() + self._timeout_s
        for batch in self._batches.values():
            self._watch.add(batch)

    def _given_up(self) -> WaitTimeoutError:
        open_ids = [batch_id for batch_id in self._batches if batch_id in self._watch]
        seen = [batch for batch_id in open_ids if (batch := self._watch.seen(batch_id)) is not None]
        text = (
            f"{len(open_ids):,} of {len(self._batches):,} batches had not ended after {self._timeout_s:g} s "
            f"({', '.join(open_ids[:3])}{', …' if len(open_ids) > 3 else ''}); none was cancelled"
        )
        self._watch.close()
        return WaitTimeoutError(text, batch=seen[0] if seen else None, batches=tuple(seen))


@attrs.frozen(kw_only=True)
class _Stall:
    """When it is reported next that nothing has changed."""

    at_s: float
    span_s: float
    batch: Batch


@public
class BatchChanges(AsyncIterator[BatchChange]):
    """What happens to a batch: ``async for change in session.batches.watch(batch)``.

    It yields the current state, then every change of status or counts that is seen; the last change is the end of the
    batch. Leaving the loop stops the watching; ``aclose()`` stops it explicitly.
    """

    def __init__(
        self,
        batch: Batch | str,
        *,
        poller: Poller,
        poll: PollPolicy | None,
        stall_after_s: float | Mapping[str, float] | None,
    ) -> None:
        self._batch_id = _id_of(batch)
        self._given = batch
        self._now = poller.now
        self._spans = checked_spans(stall_after_s)
        self._watch = poller.watch(poll=poll)
        self._has_begun = False
        self._is_over = False
        self._batch: Batch | None = None
        # Times of the event loop.
        self._entered_s = self._changed_s = 0.0
        self._stall: _Stall | None = None
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<BatchChanges {self._batch_id}>"

    async def __anext__(self) -> BatchChange:
        async with self._lock:
            if self._is_over:
                raise StopAsyncIteration
            if not self._has_begun:
                self._has_begun = True
                self._watch.add(self._given)
            if (stall := self._stall) is None:
                update = await self._watch.next_update()
            else:
                try:
                    async with asyncio.timeout_at(stall.at_s):
                        update = await self._watch.next_update()
                except TimeoutError:
                    return self._stalled(stall)
            self._is_over = update.is_last
            return self._changed(update.batch)

    async def aclose(self) -> None:
        """Stop watching; the batch itself is not changed."""
        self._is_over = True
        self._watch.close()

    def __del__(self) -> None:
        # A loop that is left drops the iterator: the batches need not be polled any more.
        if hasattr(self, "_watch"):
            self._watch.close()

    def _changed(self, batch: Batch) -> BatchChange:
        previous, self._batch = self._batch, batch
        loop_s = asyncio.get_running_loop().time()
        if previous is None or batch.status != previous.status:
            entered = entered_at(batch)
            age_s = 0.0 if entered is None else max(self._now() - entered.timestamp(), 0.0)
            self._entered_s = loop_s - age_s
        if previous is None:
            # With no request answered, nothing can have changed since the status began; else the time is not known.
            self._changed_s = loop_s if answered_count(batch) else self._entered_s
        before_s, self._changed_s = self._changed_s, self._changed_s if previous is None else loop_s
        span_s = self._span_s(batch)
        self._stall = None
        if span_s is not None:
            self._stall = _Stall(at_s=max(self._changed_s + span_s, loop_s), span_s=span_s, batch=batch)
        return self._change(batch, previous, loop_s - before_s)

    def _stalled(self, stall: _Stall) -> BatchChange:
        loop_s = asyncio.get_running_loop().time()
        self._stall = attrs.evolve(stall, at_s=loop_s + stall.span_s)
        return self._change(stall.batch, stall.batch, loop_s - self._changed_s, is_stall=True)

    def _change(
        self, batch: Batch, previous: Batch | None, unchanged_s: float, *, is_stall: bool = False
    ) -> BatchChange:
        return BatchChange(
            batch=batch,
            previous=previous,
            is_stall=is_stall,
            in_status_s=asyncio.get_running_loop().time() - self._entered_s,
            unchanged_s=unchanged_s,
        )

    def _span_s(self, batch: Batch) -> float | None:
        return self._spans.get(batch.status) if isinstance(self._spans, Mapping) else self._spans


def _id_of(batch: Batch | str) -> str:
    if isinstance(batch, Batch):
        return batch.id
    segment(batch, name="batch_id")  # what cannot be an id is refused before a request is sent
    return batch
