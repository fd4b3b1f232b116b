"""A service in virtual time, whose batches change when told to, and which notes what it was asked, and when."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING

from support import virtual_time

from openai_batches import AsyncPaginator, Batch, BatchStatus, NotFoundError, Page, PollPolicy, RequestCounts
from openai_batches.resources.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Callable

START = 1_750_000_000
PAGE = 100
LATENCY_S = 0.05


def seconds() -> float:
    """Seconds since the test began."""
    return virtual_time.now() - 1_000


def when(at_s: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(START + at_s, dt.UTC)


def record(
    batch_id: str = "b",
    status: str = "in_progress",
    done: int = 0,
    *,
    total: int = 100,
    created_s: float = 0,
    **at: float,
) -> Batch:
    times = {f"{name}_at": when(value) for name, value in at.items()}
    return Batch(
        id=batch_id,
        status=BatchStatus(status),
        created_at=when(created_s),
        request_counts=RequestCounts(total=total, completed=done),
        **times,
    )


class PolledService:
    """Batches with a life each: what they are from which second on."""

    def __init__(self) -> None:
        self.lives: dict[str, list[tuple[float, Batch]]] = {}
        self.asked: list[tuple[float, str]] = []
        self.fault: Callable[[str], Exception | None] = lambda _: None
        self.list_lag_s = 0.0
        self.latency_s = LATENCY_S
        self.flying = 0
        self.most_flying = 0

    def add(self, *lives: tuple[float, Batch]) -> Batch:
        """Give the service a batch, as it is from each of these seconds on; newer ones are added later."""
        first = lives[0][1]
        self.lives[first.id] = list(lives)
        return first

    def ending(self, batch_id: str, at_s: float, *, created_s: float = 0) -> Batch:
        """Give the service a batch that runs, and completes at a time."""
        running = record(batch_id, created_s=created_s)
        return self.add((-1e9, running), (at_s, record(batch_id, "completed", 100, created_s=created_s)))

    def now(self, batch_id: str, *, lag_s: float = 0.0) -> Batch:
        return [batch for at_s, batch in self.lives[batch_id] if at_s <= seconds() - lag_s][-1]

    def questions(self) -> Counter[str]:
        """How often each question was asked."""
        return Counter(question for _, question in self.asked)

    def per_round(self) -> list[int]:
        """How many requests there were in each second in which there were any."""
        return list(Counter(int(at_s) for at_s, _ in self.asked).values())

    async def _ask(self, question: str) -> None:
        self.asked.append((round(seconds(), 3), question))
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        try:
            await asyncio.sleep(self.latency_s)
        finally:
            self.flying -= 1
        if (error := self.fault(question)) is not None:
            raise error

    async def retrieve(self, batch_id: str) -> Batch:
        await self._ask(batch_id)
        if batch_id not in self.lives:
            raise NotFoundError(f"No batch {batch_id}", status=404)
        return self.now(batch_id)

    def list_batches(self) -> AsyncPaginator[Batch]:
        async def fetch(after: str | None) -> Page[Batch]:
            await self._ask(f"list after {after}")
            ids = [one for one in reversed(self.lives) if self.lives[one][0][0] <= seconds()]
            start = ids.index(after) + 1 if after else 0
            shown = ids[start : start + PAGE]
            data = tuple(self.now(batch_id, lag_s=self.list_lag_s) for batch_id in shown)
            return Page(data=data, has_more=start + PAGE < len(ids), last_id=shown[-1] if shown else None)

        return AsyncPaginator(fetch)

    def poller(self, poll: PollPolicy | None = None) -> Poller:
        def now() -> float:
            return START + seconds()

        return Poller(
            retrieve=self.retrieve, list_batches=self.list_batches, poll=poll or PollPolicy.every(10), now=now
        )


def polling() -> list[asyncio.Task[object]]:
    """The tasks of pollers that are running."""
    return [task for task in asyncio.all_tasks() if "poller" in task.get_name()]


async def nothing_is_asked() -> None:
    """Let what was cancelled end; after that no poller is running."""
    await settled()
    assert polling() == []


async def settled() -> None:
    """Let what was cancelled end."""
    for _ in range(5):
        await asyncio.sleep(0)
