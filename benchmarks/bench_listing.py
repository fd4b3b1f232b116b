"""List 30,000 batches in pages of 100, beside a bare loop over aiohttp and the official SDK."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).parent))

from _measure import KEY, Comparison, Goal, Stopwatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

WARM_UP = 1_000


async def bare(url: str, _: int, stopwatch: Stopwatch) -> int:
    """What anybody would write: no records, no retries, no errors."""
    import aiohttp
    import orjson

    async def walk(session: aiohttp.ClientSession, at_most: int | None = None) -> int:
        count = 0
        after = ""
        while True:
            async with session.get(f"{url}/batches?limit=100{after}") as response:
                page = orjson.loads(await response.read())
            for _ in page["data"]:
                count += 1
            if not page["has_more"] or count == at_most:
                return count
            after = f"&after={page['last_id']}"

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        await walk(session, WARM_UP)
        with stopwatch:
            return await walk(session)


async def _walk(batches: AsyncIterable[Any], at_most: int | None = None) -> int:
    count = 0
    async for _ in batches:
        count += 1
        if count == at_most:
            break
    return count


async def ours(url: str, _: int, stopwatch: Stopwatch) -> int:
    from openai_batches import BatchSession

    async with BatchSession(KEY, base_url=url) as session:
        await _walk(session.batches.list(), WARM_UP)
        with stopwatch:
            return await _walk(session.batches.list())


async def sdk(url: str, _: int, stopwatch: Stopwatch) -> int:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(api_key=KEY, base_url=url) as client:
        await _walk(client.batches.list(limit=100), WARM_UP)
        with stopwatch:
            return await _walk(client.batches.list(limit=100))


async def sdk_on_aiohttp(url: str, _: int, stopwatch: Stopwatch) -> int:
    from openai import AsyncOpenAI, DefaultAioHttpClient

    async with AsyncOpenAI(api_key=KEY, base_url=url, http_client=DefaultAioHttpClient()) as client:
        await _walk(client.batches.list(limit=100), WARM_UP)
        with stopwatch:
            return await _walk(client.batches.list(limit=100))


LISTING = Comparison(
    title="Listing 30,000 batches in pages of 100",
    contenders={"bare aiohttp": bare, "openai_batches": ours, "SDK on aiohttp": sdk_on_aiohttp, "SDK": sdk},
    goals=(
        Goal("openai_batches", "bare aiohttp", at_most=1.05),
        Goal("SDK on aiohttp", "openai_batches", at_least=9),
        Goal("SDK", "openai_batches", at_least=9),
    ),
    count=30_000,
    unit="page",
    per_unit=100,
    slow=("SDK", "SDK on aiohttp"),
)

if __name__ == "__main__":
    LISTING.main(__file__)
