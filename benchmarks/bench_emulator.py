"""Run batches in the emulator: what a line costs, what a long file keeps in memory, who waits, how it starts."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).parent))

from _measure import KEY, Stopwatch, argument_parser, heading, prepare, run

if TYPE_CHECKING:
    import aiohttp

    from openai_batches.emulator import BatchServer

TITLE = "Batches in the emulator"
ENDPOINT = "/v1/chat/completions"
LINES = 50_000
INPUT_MB = 200
BATCHES, LINES_OF_EACH = 200, 3_000
LINE_GOAL_US, GROWTH_GOAL_MB, SPREAD_GOAL, START_GOAL_MS = 40.0, 64.0, 0.4, 50.0


def write_lines(path: Path, count: int, *, text_bytes: int = 60) -> None:
    body: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x" * text_bytes}]}
    with path.open("w") as target:
        for number in range(count):
            line = {"custom_id": f"request-{number}", "method": "POST", "url": ENDPOINT, "body": body}
            target.write(json.dumps(line) + "\n")


class Client:
    """What a batch needs, without a client's comforts."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url

    async def upload(self, path: Path) -> str:
        import aiohttp

        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field("file", path.open("rb"), filename="in.jsonl")
        async with self._session.post(f"{self._url}/files", data=form) as answer:
            return str((await answer.json())["id"])

    async def create(self, file_id: str) -> str:
        wanted = {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h"}
        async with self._session.post(f"{self._url}/batches", json=wanted) as answer:
            return str((await answer.json())["id"])

    async def batch(self, batch_id: str) -> dict[str, Any]:
        async with self._session.get(f"{self._url}/batches/{batch_id}") as answer:
            return dict(await answer.json())

    async def counts(self) -> list[int]:
        """Return how many lines of each of the newest batches are done."""
        done: list[int] = []
        after = ""
        while True:
            async with self._session.get(f"{self._url}/batches?limit=100{after}") as answer:
                page = await answer.json()
            done += [batch["request_counts"]["completed"] for batch in page["data"]]
            if not page["has_more"]:
                return done
            after = f"&after={page['last_id']}"


@contextlib.asynccontextmanager
async def running(*, validating_s: float = 0.0) -> AsyncIterator[tuple[BatchServer, Client]]:
    """A server and a client of it; lines and files take no time but that of the machine."""
    import aiohttp

    from openai_batches.emulator import BatchServer, SteppedClock, Timings

    timings = Timings(validating_s=validating_s, line_s=0, finalizing_s=0)
    async with (
        BatchServer(clock=SteppedClock(), timings=timings) as server,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
    ):
        yield server, Client(session, server.base_url)


async def merely_copy(folder: Path) -> dict[str, float]:
    """Read the file line by line and write a line for each."""
    path = folder / "in.jsonl"
    write_lines(path, LINES)
    stopwatch = Stopwatch()
    with stopwatch, path.open("rb") as source, (folder / "out.jsonl").open("wb") as target:
        for line in source:
            target.write(line)
    return {"cpu_s": stopwatch.cpu_s}


async def echo_lines(folder: Path) -> dict[str, float]:
    """Validate a batch of the file and answer it, from its creation to its results."""
    path = folder / "in.jsonl"
    write_lines(path, LINES)
    stopwatch = Stopwatch()
    async with running() as (server, client):
        file_id = await client.upload(path)
        with stopwatch:
            batch_id = await client.create(file_id)
            await server.settle()
        batch = await client.batch(batch_id)
    assert batch["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}, batch
    return {"cpu_s": stopwatch.cpu_s}


async def long_file(folder: Path) -> dict[str, float]:
    """Upload a long file, run a batch of it, and watch the memory."""
    from bench_memory_listing import memory_mb

    path = folder / "in.jsonl"
    write_lines(path, LINES - 1, text_bytes=INPUT_MB * 1_000_000 // LINES)
    small = folder / "small.jsonl"
    write_lines(small, 100)
    highest = 0.0

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, memory_mb())
            await asyncio.sleep(0.01)

    async with running() as (server, client):
        await client.create(await client.upload(small))
        await server.settle()
        first = memory_mb()
        watching = asyncio.create_task(watch())
        batch_id = await client.create(await client.upload(path))
        await server.settle()
        watching.cancel()
        batch = await client.batch(batch_id)
    assert batch["status"] == "completed", batch
    return {"mb": path.stat().st_size / 1e6, "first": first, "highest": highest}


async def many_batches(folder: Path) -> dict[str, float]:
    """Start many batches at once, and see how far each is when half of all lines are done."""
    path = folder / "in.jsonl"
    write_lines(path, LINES_OF_EACH)
    async with running(validating_s=1) as (server, client):
        file_id = await client.upload(path)
        for _ in range(BATCHES):
            await client.create(file_id)
        started = time.perf_counter()
        all_at_once = asyncio.create_task(server.advance(seconds=1))
        done = await client.counts()
        while sum(done) < BATCHES * LINES_OF_EACH / 2:
            done = await client.counts()
        await all_at_once
        whole_s = time.perf_counter() - started
        assert sum(await client.counts()) == BATCHES * LINES_OF_EACH
    shares = sorted(count / LINES_OF_EACH for count in done)
    tenth = len(shares) // 10
    return {"low": shares[tenth], "middle": statistics.median(shares), "high": shares[-tenth - 1], "whole_s": whole_s}


async def start(_: Path) -> dict[str, float]:
    """Start one server and answer one request."""
    import aiohttp

    from openai_batches.emulator import BatchServer

    started = time.perf_counter()
    async with BatchServer() as server:
        listening = time.perf_counter()
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
            async with session.get(f"{server.base_url}/batches") as answer:
                assert answer.status == 200
            answered = time.perf_counter()
    return {"ms": (listening - started) * 1e3, "answered_ms": (answered - started) * 1e3}


Task = Callable[[Path], Awaitable[dict[str, float]]]
TASKS: dict[str, Task] = {
    "copy": merely_copy,
    "echo": echo_lines,
    "memory": long_file,
    "fairness": many_batches,
    "start": start,
}


def measure(name: str, rounds: int) -> dict[str, float]:
    """Return the median of each figure over so many fresh processes."""
    runs = [json.loads(run([sys.executable, __file__, "--task", name])) for _ in range(rounds)]
    return {figure: statistics.median(each[figure] for each in runs) for figure in runs[0]}


def verdict(is_ok: bool) -> str:
    return "ok" if is_ok else "missed"


def main() -> None:
    parser = argument_parser(TITLE, rounds=5)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(asyncio.run(TASKS[arguments.task](Path(folder)))))
        return
    prepare()
    heading(TITLE)
    rounds = arguments.rounds
    bare, echo = measure("copy", rounds)["cpu_s"], measure("echo", rounds)["cpu_s"]
    each = (echo - bare) / LINES * 1e6
    print(f"{LINES:,} lines: {echo * 1e3:.0f} ms of CPU time, merely copying {bare * 1e3:.0f} ms")
    print(f"  {each:.1f} us a line; goal: at most {LINE_GOAL_US:g} us: {verdict(each <= LINE_GOAL_US)}")
    memory = measure("memory", 1)
    growth = memory["highest"] - memory["first"]
    print(
        f"a batch of {memory['mb']:.0f} MB: {memory['first']:.1f} MB before, {memory['highest']:.1f} MB at its highest"
    )
    print(f"  growth {growth:.1f} MB; goal: less than {GROWTH_GOAL_MB:g} MB: {verdict(growth < GROWTH_GOAL_MB)}")
    fair = measure("fairness", rounds)
    spread = fair["high"] - fair["low"]
    print(
        f"{BATCHES} batches of {LINES_OF_EACH} lines, half done: the slow tenth has {fair['low']:.0%}, "
        f"the middle {fair['middle']:.0%}, the fast tenth {fair['high']:.0%}; all in {fair['whole_s']:.1f} s"
    )
    print(f"  spread {spread:.2f}; goal: at most {SPREAD_GOAL:g}: {verdict(spread <= SPREAD_GOAL)}")
    begun = measure("start", rounds)
    print(f"start: {begun['ms']:.1f} ms, the first answer after {begun['answered_ms']:.1f} ms")
    print(f"  goal: at most {START_GOAL_MS:g} ms: {verdict(begun['ms'] <= START_GOAL_MS)}")


if __name__ == "__main__":
    main()
