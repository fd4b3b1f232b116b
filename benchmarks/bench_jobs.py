"""Carry a job to its end, beside a bare program that moves the same bytes, and the official SDK."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).parent))

from _measure import KEY, argument_parser, environment, heading, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLE = "a job from its file of requests to its last result"
RATIO_GOAL = 1.55
GROWTH_GOAL_MB = 200.0
JOURNAL_GOAL_BYTES = 64.0
FLAT_GOAL = 1.1
# The service's own bound, and what the official SDK has to be content with: it does not cut.
SHARD_LINES = 50_000
POLL_S = 0.5
LOOK_EVERY = 10_000
_CHILD_TIMEOUT_S = 1_800.0
ENDPOINT, ENDED = "/v1/chat/completions", {"completed", "failed", "expired", "cancelled"}
SYSTEM = "You are a helpful assistant who answers with few words, in plain English."


def write_input(path: Path, count: int) -> None:
    with path.open("w") as file:
        for number in range(count):
            asked = f"What is the square of {number}? " * 8
            messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]
            body = {"model": "gpt-4o-mini", "messages": messages}
            request = {"custom_id": f"request-{number}", "method": "POST", "url": ENDPOINT, "body": body}
            file.write(json.dumps(request) + "\n")


async def bare(url: str, path: Path) -> dict[str, float]:
    """What moves the same bytes, and no more: no checks, no journal, nothing on the disk, no errors."""
    import aiohttp
    import orjson

    async def batch_of(session: aiohttp.ClientSession, shard: bytes) -> str:
        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field("file", shard, filename="shard.jsonl")
        async with session.post(f"{url}/files", data=form) as response:
            file = await response.json(loads=orjson.loads)
        wanted = {"input_file_id": file["id"], "endpoint": ENDPOINT, "completion_window": "24h"}
        async with session.post(f"{url}/batches", json=wanted) as response:
            return str((await response.json(loads=orjson.loads))["id"])

    async def count(session: aiohttp.ClientSession, batch_id: str) -> int:
        while True:
            async with session.get(f"{url}/batches/{batch_id}") as response:
                batch = await response.json(loads=orjson.loads)
            if batch["status"] in ENDED:
                break
            await asyncio.sleep(POLL_S)
        found, rest = 0, b""
        async with session.get(f"{url}/files/{batch['output_file_id']}/content") as response:
            async for chunk in response.content.iter_any():
                lines = (rest + chunk).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    found += orjson.loads(line)["response"]["status_code"] == 200
        return found

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        batches: list[str] = []
        lines: list[bytes] = []
        with path.open("rb") as file:
            for line in file:
                orjson.loads(line)
                lines.append(line)
                if len(lines) == SHARD_LINES:
                    batches.append(await batch_of(session, b"".join(lines)))
                    lines.clear()
        if lines:
            batches.append(await batch_of(session, b"".join(lines)))
        del lines
        return {"done": sum([await count(session, batch_id) for batch_id in batches])}


def journal_bytes(directory: str) -> int:
    """Return how much the journal takes on the disk, with what is not yet merged into it."""
    return sum(file.stat().st_size for file in Path(directory).glob("journal.*"))


async def ours(url: str, path: Path) -> dict[str, float]:
    from openai_batches import BatchSession, Outcome, PollPolicy

    done = journal = 0
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        async with BatchSession(KEY, base_url=url) as session:
            job = session.run(path, directory=directory, poll=PollPolicy.every(POLL_S))
            async for result in job:
                done += result.outcome is Outcome.SUCCEEDED
                if done % LOOK_EVERY == 0:
                    journal = max(journal, journal_bytes(directory))
    return {"done": done, "journal_bytes": journal}


async def sdk(url: str, path: Path) -> dict[str, float]:
    """As its guide shows it."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(api_key=KEY, base_url=url) as client:
        file = await client.files.create(file=path, purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        while batch.status not in ENDED:
            await asyncio.sleep(POLL_S)
            batch = await client.batches.retrieve(batch.id)
        content = await client.files.content(batch.output_file_id or "")
        done = 0
        for line in content.text.split("\n"):
            if line:
                done += json.loads(line)["response"]["status_code"] == 200
    return {"done": done}


CONTENDERS = {"bare": bare, "openai_batches": ours, "SDK": sdk}


def contend(name: str, url: str, path: Path, count: int) -> dict[str, float]:
    """Return the CPU times and the growth of memory of one contender, after a job of ten requests to warm up."""
    small = path.with_suffix(".small.jsonl")
    asyncio.run(CONTENDERS[name](url, small))
    unit = 1e-6 if sys.platform == "darwin" else 1.024e-3
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    found = asyncio.run(CONTENDERS[name](url, path))
    after = resource.getrusage(resource.RUSAGE_SELF)
    if found["done"] != count:
        raise SystemExit(f"{name} did {found['done']:,} instead of {count:,}")
    return {
        **found,
        "user_s": after.ru_utime - before.ru_utime,
        "system_s": after.ru_stime - before.ru_stime,
        "grown_mb": (after.ru_maxrss - before.ru_maxrss) * unit,
        "took_s": time.monotonic() - started,
    }


@contextlib.contextmanager
def emulator(*, is_pinned: bool) -> Iterator[str]:
    """Give the base URL of a new emulator, in a process of its own, on a core of its own where that is wanted."""
    cores = sorted(os.sched_getaffinity(0)) if is_pinned and hasattr(os, "sched_getaffinity") else []
    command = [sys.executable, str(Path(__file__).with_name("_emulator.py"))]
    if cores:
        os.sched_setaffinity(0, cores[:1])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        if cores:
            os.sched_setaffinity(0, cores[-1:])
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(timeout=60)
            if cores:
                os.sched_setaffinity(0, cores)


def run(name: str, path: Path, count: int, *, is_pinned: bool) -> dict[str, float]:
    with emulator(is_pinned=is_pinned) as url:
        command = [sys.executable, __file__, "--contender", name, "--url", url]
        command += ["--path", str(path), "--requests", str(count)]
        done = subprocess.run(
            command, env=environment(), stdout=subprocess.PIPE, check=True, text=True, timeout=_CHILD_TIMEOUT_S
        )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compare(count: int, rounds: int, *, is_pinned: bool) -> None:
    rows = {
        f"bare {count:,}": ("bare", count),
        f"openai_batches {count:,}": ("openai_batches", count),
        f"openai_batches {count // 2:,}": ("openai_batches", count // 2),
        f"SDK {min(count, SHARD_LINES):,}": ("SDK", min(count, SHARD_LINES)),
    }
    runs: dict[str, list[dict[str, float]]] = {row: [] for row in rows}
    with tempfile.TemporaryDirectory() as directory:
        paths = {requests: Path(directory) / f"{requests}.jsonl" for _, requests in rows.values()}
        for requests, path in paths.items():
            write_input(path, requests)
            write_input(path.with_suffix(".small.jsonl"), 10)
        for _ in range(rounds):
            for row, (name, requests) in rows.items():
                measured = run(name, paths[requests], requests, is_pinned=is_pinned)
                cpu_s = measured["user_s"] + measured["system_s"]
                each = {f"{part}_us": measured[f"{part}_s"] / requests * 1e6 for part in ("user", "system")}
                runs[row].append({**measured, **each, "cpu_s": cpu_s, "each_us": cpu_s / requests * 1e6})
    report(count, runs)


def report(count: int, runs: dict[str, list[dict[str, float]]]) -> None:
    heading(f"{TITLE}, {count:,} requests")
    print(
        f"{'':<26}{'us/request':>11}{'fastest':>9}{'slowest':>9}{'user':>7}{'system':>8}{'runs':>6}{'took s':>9}"
        f"{'x bare':>8}{'grown MB':>10}"
    )
    names = list(runs)
    medians = {name: statistics.median(one["each_us"] for one in measured) for name, measured in runs.items()}
    for name, measured in runs.items():
        times = [one["each_us"] for one in measured]
        took, grown = (max(one[key] for one in measured) for key in ("took_s", "grown_mb"))
        # System time is mostly that of writing files, which swings by itself.
        user, system = (statistics.median(one[key] for one in measured) for key in ("user_us", "system_us"))
        print(
            f"{name:<26}{medians[name]:>11.2f}{min(times):>9.2f}{max(times):>9.2f}{user:>7.2f}{system:>8.2f}"
            f"{len(times):>6}{took:>9.1f}{medians[name] / medians[names[0]]:>8.2f}{grown:>10.1f}"
        )
    whole, half = runs[names[1]], runs[names[2]]
    ratios = sorted(one["cpu_s"] / other["cpu_s"] for one, other in zip(whole, runs[names[0]], strict=True))
    print(f"  ratio to bare, round by round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    judge("openai_batches, x bare", statistics.median(ratios), RATIO_GOAL)
    judge("a request, x one of half as many", medians[names[1]] / medians[names[2]], FLAT_GOAL)
    judge("growth, MB", max(one["grown_mb"] for one in (*whole, *half)), GROWTH_GOAL_MB)
    judge("journal, bytes a request", max(one["journal_bytes"] for one in whole) / count, JOURNAL_GOAL_BYTES)


def judge(what: str, value: float, goal: float) -> None:
    print(f"  {what:<34}{value:>8.2f}; goal: at most {goal:g}: {'ok' if value <= goal else 'missed'}")


def main() -> None:
    parser = argument_parser(TITLE, rounds=3)
    parser.add_argument("--requests", type=int, default=100_000, help="how many requests, twice as many as the half")
    parser.add_argument("--unpinned", action="store_true", help="let the emulator and the contenders use all cores")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        print(json.dumps(contend(arguments.contender, arguments.url, arguments.path, arguments.requests)))
        return
    prepare()
    compare(arguments.requests, arguments.rounds, is_pinned=not arguments.unpinned)


if __name__ == "__main__":
    main()
