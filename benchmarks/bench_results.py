"""Read a result file of 1 GB over HTTP, every line of it, beside a bare loop over aiohttp and the official SDK."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).parent))

from _measure import KEY, Goal, argument_parser, heading, prepare, print_goals, run

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLE = "Reading the results in a file of 1 GB"
GROWTH_GOAL_MB = 16.0
# The SDK holds the whole file: it gets a small one, and its time per line is compared.
SLOW = {"SDK"}


def memory_mb() -> float:
    """Return how much memory this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Course:
    """What is measured of one file after another: the first warms up."""

    def __init__(self) -> None:
        self.lines = 0
        self.highest_mb = 0.0
        self.warm_mb = 0.0
        self.cpu_s = 0.0
        self._begun = 0.0

    def start(self) -> None:
        self.warm_mb = self.highest_mb = memory_mb()
        self._begun = time.process_time()

    def stop(self, lines: int) -> None:
        self.cpu_s = time.process_time() - self._begun
        self.lines = lines
        self.look()

    def look(self) -> None:
        self.highest_mb = max(self.highest_mb, memory_mb())


LOOK_EVERY = 50_000


async def bare(url: str, course: Course) -> None:
    """What anybody would write: every line decoded, no records, no errors."""
    import aiohttp
    import orjson

    async def walk(session: aiohttp.ClientSession, file_id: str) -> int:
        count = 0
        rest = b""
        async with session.get(f"{url}/files/{file_id}/content") as response:
            async for chunk in response.content.iter_any():
                lines = (rest + chunk).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    orjson.loads(line)
                    count += 1
                    if count % LOOK_EVERY == 0:
                        course.look()
        return count

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        await walk(session, "small")
        course.start()
        course.stop(await walk(session, "large"))


async def ours(url: str, course: Course) -> None:
    from openai_batches import Batch, BatchSession, BatchStatus, Outcome

    async def walk(session: BatchSession, file_id: str) -> int:
        count = 0
        batch = Batch(id="batch_1", status=BatchStatus.COMPLETED, output_file_id=file_id)
        results = session.batches.results(batch)
        async for _ in results:
            count += 1
            if count % LOOK_EVERY == 0:
                course.look()
        if results.summary.outcomes[Outcome.SUCCEEDED] != count or not results.summary.usage.total_tokens:
            raise SystemExit("the summary is wrong")
        return count

    async with BatchSession(KEY, base_url=url) as session:
        await walk(session, "small")
        course.start()
        course.stop(await walk(session, "large"))


async def sdk(url: str, course: Course) -> None:
    from openai import AsyncOpenAI

    async def walk(client: AsyncOpenAI, file_id: str) -> int:
        count = 0
        content = await client.files.content(file_id)
        for line in content.text.split("\n"):
            if line:
                json.loads(line)
                count += 1
        course.look()
        return count

    async with AsyncOpenAI(api_key=KEY, base_url=url) as client:
        course.start()
        course.stop(await walk(client, "small"))


CONTENDERS = {"bare aiohttp": bare, "openai_batches": ours, "SDK": sdk}


@contextlib.contextmanager
def server(size: int) -> Iterator[str]:
    """Give the base URL of a server of a result file, in a process of its own, on a core of its own."""
    command = [sys.executable, str(Path(__file__).with_name("_results_server.py")), "--size", str(size)]
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        os.sched_setaffinity(0, cores[-1:])
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline().split()[0])}/v1"
        finally:
            process.stdin.close()
            process.wait(timeout=10)
            os.sched_setaffinity(0, cores)


def contend(name: str, url: str) -> None:
    course = Course()
    asyncio.run(CONTENDERS[name](url, course))
    growth_mb = course.highest_mb - course.warm_mb
    print(json.dumps({"cpu_s": course.cpu_s, "lines": course.lines, "growth_mb": growth_mb}))


def main() -> None:
    parser = argument_parser(TITLE, rounds=5)
    parser.add_argument("--size", type=int, default=1_000_000_000, help="bytes of the file, about")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        contend(arguments.contender, arguments.url)
        return
    prepare()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    with server(arguments.size) as url:
        for number in range(arguments.rounds):
            for name, measured in found.items():
                if name in SLOW and number % 5:
                    continue
                measured.append(json.loads(run([sys.executable, __file__, "--contender", name, "--url", url])))
    report(found)


def report(found: dict[str, list[dict[str, float]]]) -> None:
    heading(TITLE)
    medians = {}
    print(f"{'':<16}{'us/line':>9}{'fastest':>10}{'slowest':>10}{'runs':>6}{'lines':>10}{'growth MB':>12}{'x bare':>9}")
    for name, runs in found.items():
        each = [1e6 * measured["cpu_s"] / measured["lines"] for measured in runs]
        growth = max(measured["growth_mb"] for measured in runs)
        medians[name] = statistics.median(each)
        low, high, ratio = min(each), max(each), medians[name] / medians["bare aiohttp"]
        line = f"{name:<16}{medians[name]:>9.2f}{low:>10.2f}{high:>10.2f}{len(runs):>6}{runs[0]['lines']:>10,.0f}"
        print(f"{line}{growth:>12.1f}{ratio:>9.2f}")
    print("  The SDK read a file of 30 MB, since it holds the whole: compare its time per line.")
    print_goals((Goal("openai_batches", "bare aiohttp", at_most=0.85),), medians)
    growth = max(measured["growth_mb"] for measured in found["openai_batches"])
    verdict = "ok" if growth < GROWTH_GOAL_MB else "missed"
    print(f"  growth          {growth:.1f} MB; goal: less than {GROWTH_GOAL_MB:g} MB: {verdict}")


if __name__ == "__main__":
    main()
