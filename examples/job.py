"""A job of many batches: what happens, what became of each request, and how it goes on after an interruption.

Like quickstart.py it runs against the service with OPENAI_API_KEY set, and against the emulator without.

    python examples/job.py [directory]
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from openai_batches import (
    BatchesError,
    BatchJob,
    BatchSession,
    JobEvent,
    JobEventKind,
    PollPolicy,
    ShardLimits,
    requests_from,
)
from openai_batches.emulator import BatchServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CITIES = ["Aarhus", "Bergen", "Cork", "Dresden", "Evora", "Faro", "Ghent", "Huelva", "Izmir", "Jena", "Kyiv", "Lodz"]


@asynccontextmanager
async def open_session() -> AsyncIterator[BatchSession]:
    """Open a session with the service if there is a key for it, else with an emulator started for this run."""
    if os.environ.get("OPENAI_API_KEY"):
        async with BatchSession() as session:
            yield session
        return
    poll = PollPolicy.every(0.05)
    async with BatchServer(speed=60) as server, BatchSession("any-key", base_url=server.base_url, poll=poll) as session:
        print(f"No OPENAI_API_KEY: this runs against the emulator at {server.base_url}, and the answers are echoes.\n")
        yield session


def tell(event: JobEvent) -> None:
    """Print what happens, but for the counts."""
    if event.kind != JobEventKind.CHANGED:
        print(f"  {event.at:%H:%M:%S}  {event.kind:10} {event}")


async def interrupted(session: BatchSession, directory: Path) -> None:
    """Begin the job, and leave it as soon as the first batch exists: as Ctrl-C would, or a crash."""
    requests = requests_from(
        ((city, {"text": city}) for city in CITIES),
        model="gpt-4o-mini",
        template="In which country is {text}? One word.",
        max_tokens=10,
    )
    # Shards as small as these are for show: a batch takes up to 50,000 requests.
    job = BatchJob(session, requests, directory=directory, limits=ShardLimits(max_requests=5), on_event=tell)
    print("A job is begun, and interrupted:")
    async with job:
        async for event in job.events():
            if event.kind == JobEventKind.CREATED:
                break


async def resumed(session: BatchSession, directory: Path) -> None:
    """Go on with the job: its requests are in the directory, and its batches run at the service."""
    print("\nIt goes on where it was left:")
    async with BatchJob(session, directory=directory, on_event=tell) as job:
        ledger = await job.run()
        print(f"\n{ledger.succeeded} of {ledger.inputs} succeeded; every one is accounted for: {ledger.balances}")
        for shard in ledger.shards:
            print(f"  shard {shard.shard}: {shard.inputs} requests, {', '.join(shard.batch_ids)}")
        print(f"{ledger.usage.total_tokens} tokens, which cost {ledger.bill().cost} $\n")
        async for result in job.results(ordered=True):
            print(f"  {result.custom_id:10} {result.outcome:10} {result.output_text}")


async def main() -> None:
    """Run the whole way once."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()) / "cities"
    async with open_session() as session:
        await interrupted(session, directory)
        await resumed(session, directory)
        print(f"\nAll of it is in {directory}")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (BatchesError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
