"""A service for jobs: quick batches over real HTTP, and, where a test says so, batches that it refuses or fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from support.http_servers import KEY, QUICK
from support.request_lines import write_requests

from openai_batches import (
    Batch,
    BatchChange,
    BatchError,
    BatchJob,
    BatchSession,
    BatchStatus,
    JobEvent,
    PollPolicy,
    ShardLimits,
)
from openai_batches.emulator import BatchServer, SteppedClock, Timings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

OFTEN = PollPolicy.every(0.01)
# A batch takes some 50 ms of real time at this speed.
SPEED = 60
TIMINGS = Timings(validating_s=1.0, line_s=0.02, finalizing_s=1.0, cancelling_s=1.0)


class Doctored:
    """The verbs of batches of a service that refuses some batches and fails others, as it is told.

    Attributes:
        refusals: what the next creations raise, one each; None lets one pass.
        failures: why the next batches that are created fail in validation, one each; None lets one pass.
        created: how many batches were created.
    """

    def __init__(self, session: BatchSession) -> None:
        self._batches = session.batches
        self._doomed: dict[str, BatchError] = {}
        self.refusals: list[Exception | None] = []
        self.failures: list[BatchError | None] = []
        self.created = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

    async def create(self, **fields: Any) -> Batch:
        if self.refusals and (refusal := self.refusals.pop(0)) is not None:
            raise refusal
        batch = await self._batches.create(**fields)
        self.created += 1
        if self.failures and (failure := self.failures.pop(0)) is not None:
            self._doomed[batch.id] = failure
            await self._batches.cancel(batch.id)
        return batch

    async def watch(self, batch: Batch, **options: Any) -> AsyncIterator[BatchChange]:
        if (failure := self._doomed.get(batch.id)) is not None:
            yield BatchChange(batch=attrs.evolve(batch, status=BatchStatus.FAILED, errors=(failure,)))
            return
        async for change in self._batches.watch(batch, **options):
            yield change


class Front:
    """A session whose verbs of batches are doctored."""

    def __init__(self, session: BatchSession) -> None:
        self._session = session
        self.batches = Doctored(session)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@attrs.define(eq=False)
class Shop:
    """A server, a session with it, and a folder for jobs."""

    server: BatchServer
    session: BatchSession
    folder: Path
    events: list[JobEvent] = attrs.field(factory=list)

    @property
    def source(self) -> Path:
        return self.folder / "requests.jsonl"

    def job(self, source: Any = ..., **options: Any) -> BatchJob:
        """A job in small shards, whose events are written down."""
        session = options.pop("session", self.session)
        per_shard = options.pop("per_shard", 5)
        given = {
            "limits": ShardLimits(max_requests=per_shard),
            "poll": OFTEN,
            "on_event": self.events.append,
            **options,
        }
        return BatchJob(session, self.source if source is ... else source, **given)

    def kinds(self) -> Counter[str]:
        return Counter(event.kind.value for event in self.events)

    def asked(self, method: str, path: str) -> int:
        """How often the server was asked so."""
        return sum(one.method == method and one.path == path for one in self.server.requests)

    def inputs(self) -> int:
        """How many input files are at the service."""
        return sum(file.purpose == "batch" for file in self.server.store.files.items.values())

    def statuses(self) -> Counter[str]:
        return Counter(batch.status for batch in self.server.store.batches.items.values())

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Return when something is so, which takes no long time."""
        async with asyncio.timeout(60):
            while not is_so():  # noqa: ASYNC110  # what is asked sets no event
                await asyncio.sleep(0.005)

    async def drive(self, *, minutes: float = 1) -> None:
        """Let the service's time go on, for ever; until then it stands still."""
        while True:
            await self.server.advance(minutes=minutes)
            await asyncio.sleep(0.005)


@asynccontextmanager
async def open_shop(folder: Path, *, requests: int = 0, **options: Any) -> AsyncIterator[Shop]:
    """A quick server, and requests in small shards of five."""
    given = {"speed": SPEED, "timings": TIMINGS, **options}
    if "clock" in options:
        del given["speed"]
    async with (
        BatchServer(**given) as server,
        BatchSession(KEY, base_url=server.base_url, retry=QUICK, now=server.clock.now) as session,
    ):
        shop = Shop(server, session, folder)
        if requests:
            write_requests(shop.source, requests)
        yield shop


@asynccontextmanager
async def stopped_shop(folder: Path, *, requests: int = 0, **options: Any) -> AsyncIterator[Shop]:
    """A server whose time stands still until it is driven."""
    async with open_shop(folder, requests=requests, clock=SteppedClock(), **options) as shop:
        yield shop
