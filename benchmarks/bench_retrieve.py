"""Retrieve 3,000 batches, all at once, beside bare aiohttp and the official SDK."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).parent))

from _measure import KEY, Comparison, Goal, Stopwatch
from _server import batch_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WARM_UP = 300


async def _measured(retrieve: Callable[[str], Awaitable[Any]], count: int, stopwatch: Stopwatch) -> int:
    ids = [batch_id(number) for number in range(count)]
    await asyncio.gather(*map(retrieve, ids[:WARM_UP]))
    with stopwatch:
        batches = await asyncio.gather(*map(retrieve, ids))
    found = [batch["id"] if isinstance(batch, dict) else batch.id for batch in batches]
    return len(found) if found == ids else 0


async def bare(url: str, count: int, stopwatch: Stopwatch) -> int:
    """What anybody would write: no records, no retries, no errors."""
    import aiohttp
    import orjson

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:

        async def retrieve(batch_id: str) -> Any:
            async with session.get(f"{url}/batches/{batch_id}") as response:
                return orjson.loads(await response.read())

        return await _measured(retrieve, count, stopwatch)


async def ours(url: str, count: int, stopwatch: Stopwatch) -> int:
    from openai_batches import BatchSession

    async with BatchSession(KEY, base_url=url) as session:
        return await _measured(session.batches.retrieve, count, stopwatch)


async def sdk(url: str, count: int, stopwatch: Stopwatch) -> int:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(api_key=KEY, base_url=url) as client:
        return await _measured(client.batches.retrieve, count, stopwatch)


async def sdk_on_aiohttp(url: str, count: int, stopwatch: Stopwatch) -> int:
    from openai import AsyncOpenAI, DefaultAioHttpClient

    async with AsyncOpenAI(api_key=KEY, base_url=url, http_client=DefaultAioHttpClient()) as client:
        return await _measured(client.batches.retrieve, count, stopwatch)


RETRIEVE = Comparison(
    title="3,000 concurrent retrieves",
    contenders={"bare aiohttp": bare, "openai_batches": ours, "SDK on aiohttp": sdk_on_aiohttp, "SDK": sdk},
    goals=(
        Goal("openai_batches", "bare aiohttp", at_most=1.3),
        Goal("SDK on aiohttp", "openai_batches", at_least=4),
        Goal("SDK", "openai_batches", at_least=6),
    ),
    count=3_000,
    unit="call",
    slow=("SDK", "SDK on aiohttp"),
)

if __name__ == "__main__":
    RETRIEVE.main(__file__)
