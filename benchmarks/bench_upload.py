"""Upload a file of 200 MB, beside bare aiohttp and the official SDK: CPU time, and how much memory it takes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _measure import KEY, Goal, argument_parser, heading, prepare, print_goals, run

TITLE = "Uploading 200 MB from disk"
SIZE = 200_000_000
MAX_GROWTH_MB = 16.0
_LINE = json.dumps(
    {
        "custom_id": "request-%07d",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-5.4-mini", "messages": [{"role": "user", "content": "lorem ipsum " * 60}]},
    }
)

Upload = Callable[[Path], Awaitable[object]]
Contender = Callable[[str], "contextlib.AbstractAsyncContextManager[Upload]"]


@contextlib.asynccontextmanager
async def bare(url: str) -> Iterator[Upload]:
    """What anybody would write: no retries, no errors, no records."""
    import aiohttp
    import orjson

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:

        async def upload(path: Path) -> object:
            with path.open("rb") as file:
                form = aiohttp.FormData()
                form.add_field("purpose", "batch")
                form.add_field("file", file, filename=path.name)
                async with session.post(f"{url}/files", data=form) as response:
                    return orjson.loads(await response.read())["bytes"]

        yield upload


@contextlib.asynccontextmanager
async def ours(url: str) -> Iterator[Upload]:
    from openai_batches import BatchSession

    async with BatchSession(KEY, base_url=url) as session:

        async def upload(path: Path) -> object:
            return (await session.files.create(path)).bytes

        yield upload


@contextlib.asynccontextmanager
async def ours_with_progress(url: str) -> Iterator[Upload]:
    from openai_batches import BatchSession

    async with BatchSession(KEY, base_url=url) as session:

        async def upload(path: Path) -> object:
            sent: list[int] = [0]
            return (await session.files.create(path, progress=lambda now, _: sent.__setitem__(0, now))).bytes

        yield upload


@contextlib.asynccontextmanager
async def sdk(url: str) -> Iterator[Upload]:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(api_key=KEY, base_url=url) as client:

        async def upload(path: Path) -> object:
            return (await client.files.create(file=path, purpose="batch")).bytes

        yield upload


CONTENDERS: dict[str, Contender] = {
    "bare aiohttp": bare,
    "openai_batches": ours,
    "with progress": ours_with_progress,
    "SDK": sdk,
}
SLOW = ("SDK",)
GOALS = (Goal("openai_batches", "bare aiohttp", at_most=1.3), Goal("with progress", "bare aiohttp", at_most=1.3))


def memory_mb() -> float:
    """Return how much memory this process has now, or, where the system does not say, had at its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def highest_memory() -> Iterator[list[float]]:
    """Give a list that holds the highest of the memory seen every few milliseconds."""
    highest, over = [memory_mb()], threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            highest[0] = max(highest[0], memory_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield highest
    finally:
        over.set()
        watcher.join()


async def contend(name: str, url: str, large: Path, small: Path) -> dict[str, float]:
    """Return the CPU time of one upload, and how much memory another one took: watching it takes time too."""
    async with CONTENDERS[name](url) as upload:
        await upload(small)
        gc.collect()
        before = memory_mb()
        begun = time.process_time()
        size = await upload(large)
        cpu_s = time.process_time() - begun
        if not isinstance(size, int) or size < SIZE:
            raise SystemExit(f"{name} sent {size} bytes")
        with highest_memory() as highest:
            await upload(large)
    return {"cpu_s": cpu_s, "growth_mb": highest[0] - before}


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """Give the base URL of a server that takes uploads, in a process and on a core of its own."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    stay_on = os.sched_setaffinity if len(cores) > 1 else lambda *_: None
    command = [sys.executable, str(Path(__file__).with_name("_sink.py"))]
    stay_on(0, cores[:1])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        stay_on(0, cores[1:])
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.stdin.close()
            process.wait(timeout=10)
            stay_on(0, cores)


def write_lines(path: Path, size: int) -> Path:
    """Write requests, at least so many bytes of them."""
    with path.open("w") as file:
        number = 0
        while file.tell() < size:
            file.writelines(_LINE % count + "\n" for count in range(number, number + 1_000))
            number += 1_000
    return path


def report(measured: dict[str, list[dict[str, float]]]) -> None:
    heading(TITLE)
    medians = {name: statistics.median(run["cpu_s"] for run in runs) for name, runs in measured.items()}
    growths = {name: max(run["growth_mb"] for run in runs) for name, runs in measured.items()}
    bare_s = next(iter(medians.values()))
    print(f"{'':<16}{'cpu ms':>9}{'fastest':>10}{'slowest':>10}{'runs':>6}{'x bare':>9}{'growth MB':>12}")
    for name, runs in measured.items():
        times = [run["cpu_s"] * 1e3 for run in runs]
        line = f"{name:<16}{medians[name] * 1e3:>9.1f}{min(times):>10.1f}{max(times):>10.1f}{len(runs):>6}"
        print(f"{line}{medians[name] / bare_s:>9.2f}{growths[name]:>12.1f}")
    print_goals(GOALS, medians)
    growth = growths["openai_batches"]
    verdict = "ok" if growth < MAX_GROWTH_MB else "missed"
    print(f"  openai_batches  grew by {growth:.1f} MB; goal: less than {MAX_GROWTH_MB:g} MB: {verdict}")


def main() -> None:
    parser = argument_parser(TITLE, rounds=9)
    for name in ("--contender", "--url", "--folder"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        folder = Path(arguments.folder)
        large, small = folder / "large.jsonl", folder / "small.jsonl"
        print(json.dumps(asyncio.run(contend(arguments.contender, arguments.url, large, small))))
        return
    prepare()
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as folder, sink() as url:
        write_lines(Path(folder, "large.jsonl"), SIZE)
        write_lines(Path(folder, "small.jsonl"), 1_000_000)
        for number in range(arguments.rounds):
            for name, runs in measured.items():
                # What is many times slower needs fewer runs to be told apart.
                if name in SLOW and number % 4:
                    continue
                command = [sys.executable, __file__, "--contender", name, "--url", url, "--folder", folder]
                runs.append(json.loads(run(command)))
    report(measured)


if __name__ == "__main__":
    main()
