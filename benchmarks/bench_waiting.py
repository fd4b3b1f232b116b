"""Wait for a thousand batches at once, beside asking for each of them, bare and with the official SDK."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).parent))

from _measure import KEY, allow_files, argument_parser, environment, heading, prepare

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TITLE = "batches waited for at once"
POLL_S = 2.0
REQUESTS_GOAL = 20.0
CPU_GOAL = 0.3
ENDED = {"completed", "failed", "expired", "cancelled"}
ENDPOINT = "/v1/chat/completions"
_CHILD_TIMEOUT_S = 300.0


async def created(url: str, count: int) -> list[str]:
    """Create batches, and return their ids: what comes before the waiting, and is not measured."""
    import aiohttp

    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
    line = json.dumps({"custom_id": "1", "method": "POST", "url": ENDPOINT, "body": body}).encode()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field("file", line, filename="one.jsonl")
        async with session.post(f"{url}/files", data=form) as response:
            file_id = (await response.json())["id"]
        wanted = {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h"}

        async def create(_: int) -> str:
            async with session.post(f"{url}/batches", json=wanted) as response:
                return str((await response.json())["id"])

        return list(await asyncio.gather(*map(create, range(count))))


async def one_by_one(ids: list[str], status_of: Callable[[str], Awaitable[str]]) -> int:
    """What every guide shows: a loop for each batch."""

    async def wait(batch_id: str) -> None:
        while await status_of(batch_id) not in ENDED:  # noqa: ASYNC110  # only asking tells
            await asyncio.sleep(POLL_S)

    await asyncio.gather(*map(wait, ids))
    return len(ids)


async def bare(url: str, ids: list[str]) -> int:
    import aiohttp
    import orjson

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:

        async def status_of(batch_id: str) -> Any:
            async with session.get(f"{url}/batches/{batch_id}") as response:
                return orjson.loads(await response.read())["status"]

        return await one_by_one(ids, status_of)


async def ours(url: str, ids: list[str]) -> int:
    from openai_batches import BatchSession

    async with BatchSession(KEY, base_url=url) as session:
        return len([batch async for batch in session.batches.as_completed(ids, poll=POLL_S) if batch.is_terminal])


async def sdk(url: str, ids: list[str]) -> int:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(api_key=KEY, base_url=url) as client:

        async def status_of(batch_id: str) -> str:
            return (await client.batches.retrieve(batch_id)).status

        return await one_by_one(ids, status_of)


CONTENDERS = {"bare aiohttp": bare, "openai_batches": ours, "SDK": sdk}


async def contend(name: str, url: str, count: int) -> dict[str, float]:
    ids = await created(url, count)
    await CONTENDERS[name](url, [])  # what is imported is not measured
    started, begun = time.monotonic(), time.process_time()
    done = await CONTENDERS[name](url, ids)
    cpu_s, took_s = time.process_time() - begun, time.monotonic() - started
    if done != count:
        raise SystemExit(f"{name} waited for {done:,} batches instead of {count:,}")
    return {"cpu_s": cpu_s, "took_s": took_s}


def run(name: str, count: int, lasting_s: float) -> dict[str, float]:
    """Run a contender beside a new emulator, each on a core of its own where there are two."""
    allow_files()
    here = [sys.executable, str(Path(__file__).with_name("_emulator.py")), "--validating-s", str(lasting_s)]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    _stay_on(cores[:1])
    with subprocess.Popen(
        here, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as emulator:
        _stay_on(cores[-1:])
        assert emulator.stdin is not None
        assert emulator.stdout is not None
        url = emulator.stdout.readline().strip()
        command = [sys.executable, __file__, "--contender", name, "--url", url, "--batches", str(count)]
        try:
            done = subprocess.run(
                command, env=environment(), stdout=subprocess.PIPE, check=True, text=True, timeout=_CHILD_TIMEOUT_S
            )
        finally:
            emulator.stdin.close()
            asked = emulator.stdout.read()
            _stay_on(cores)
    found = json.loads(done.stdout)
    return {**found, "asked": int(asked), "a_round": int(asked) / found["took_s"] * POLL_S}


def _stay_on(cores: list[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)


def report(count: int, runs: dict[str, list[dict[str, float]]]) -> None:
    heading(f"{count:,} {TITLE}, each asked about every {POLL_S:g} s")
    print(f"{'':<16}{'cpu ms':>9}{'fastest':>10}{'slowest':>10}{'runs':>6}{'requests':>10}{'a round':>9}{'took s':>8}")
    cpu = {name: statistics.median(one["cpu_s"] for one in measured) for name, measured in runs.items()}
    for name, measured in runs.items():
        times = [one["cpu_s"] * 1e3 for one in measured]
        asked, a_round, took = (
            statistics.median(one[key] for one in measured) for key in ("asked", "a_round", "took_s")
        )
        line = f"{name:<16}{cpu[name] * 1e3:>9.0f}{min(times):>10.0f}{max(times):>10.0f}{len(times):>6}"
        print(f"{line}{asked:>10.0f}{a_round:>9.0f}{took:>8.1f}")
    a_round = max(one["a_round"] for one in runs["openai_batches"])
    for what, value, goal in (
        ("requests a round", a_round, REQUESTS_GOAL * count / 1_000),
        ("CPU, x bare aiohttp", cpu["openai_batches"] / cpu["bare aiohttp"], CPU_GOAL),
    ):
        print(f"  {what:<20}{value:>8.2f}; goal: at most {goal:g}: {'ok' if value <= goal else 'missed'}")
    print(
        f"  The SDK's CPU time is {cpu['SDK'] / cpu['openai_batches']:.0f} x ours; it may not keep up with the pauses."
    )


def main() -> None:
    parser = argument_parser(TITLE, rounds=2)
    parser.add_argument("--batches", type=int, default=1_000, help="how many batches")
    parser.add_argument("--lasting-s", type=float, default=16.0, help="how long they last, about")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        allow_files()
        print(json.dumps(asyncio.run(contend(arguments.contender, arguments.url, arguments.batches))))
        return
    prepare()
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(arguments.rounds):
        for name, measured in runs.items():
            measured.append(run(name, arguments.batches, arguments.lasting_s))
    report(arguments.batches, runs)


if __name__ == "__main__":
    main()
