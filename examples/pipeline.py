"""From a list of prompts to a table: requests, a price, shards, batches, results in order, a CSV file.

Like quickstart.py it runs against the service with OPENAI_API_KEY set, and against the emulator without.

    python examples/pipeline.py [reviews.csv]
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from openai_batches import (
    BatchesError,
    BatchSession,
    Shard,
    estimate,
    json_schema_format,
    requests_from,
    write_results,
    write_shards,
)
from openai_batches.emulator import BatchServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@attrs.frozen
class Review:
    """What the model shall make of a review; a strict schema is made of it, and the answers are read into it."""

    sentiment: Literal["positive", "neutral", "negative"]
    summary: str
    would_buy_again: bool


REVIEWS = {
    "kettle": "Boils in a minute and looks great. The lid sticks a little.",
    "lamp": "Arrived broken, and nobody answers my mails.",
    "socks": "They are socks. They do what socks do.",
    "tent": "Ein Sturm, drei Nächte, kein Tropfen drinnen. Sofort wieder!",
}


@asynccontextmanager
async def open_session() -> AsyncIterator[BatchSession]:
    """Open a session with the service if there is a key for it, else with an emulator started for this run."""
    if os.environ.get("OPENAI_API_KEY"):
        async with BatchSession() as session:
            yield session
        return
    async with BatchServer(speed=60) as server, BatchSession("any-key", base_url=server.base_url) as session:
        print(f"No OPENAI_API_KEY: this runs against the emulator at {server.base_url}, and the answers are made up.\n")
        yield session


async def run_shard(session: BatchSession, shard: Shard, table: Path) -> None:
    """Upload a shard, have it answered, and write the answers in the order of its requests."""
    file = await session.files.create(shard.path)
    batch = await session.batches.create(input_file_id=file.id, endpoint=shard.endpoint)
    is_emulated = session.base_url.startswith("http://127.0.0.1")
    batch = await session.batches.wait(batch, poll=0.1 if is_emulated else None)
    results = session.batches.results(batch, inputs=shard.path, ordered=True)
    rows = await write_results(results, table, parse=Review, overwrite=True)
    print(f"shard {shard.number}: {rows} rows in {table}")
    print("  " + ", ".join(f"{count} {outcome}" for outcome, count in results.summary.outcomes.items() if count))


async def main() -> None:
    """Run the whole way once."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()) / "reviews.csv"
    requests = requests_from(
        REVIEWS.items(),
        model="gpt-4o-mini",
        template="What does this customer think? {text}",
        response_format=json_schema_format(Review),
        max_tokens=200,
    )
    print(await estimate(requests), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        async with open_session() as session:
            shards = await write_shards(requests, folder)
            for shard in shards:
                name = target.name if len(shards) == 1 else f"{target.stem}-{shard.number}{target.suffix}"
                await run_shard(session, shard, target.with_name(name))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (BatchesError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
