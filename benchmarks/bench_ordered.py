"""Read 1,000,000 results, shuffled at random, in the order of their inputs, and see what that takes of memory."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).parent))

from _measure import KEY, argument_parser, heading, prepare, run
from _results_server import line

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLE = "Memory while 1,000,000 results, shuffled at random, are read in the order of their inputs"
COUNT = 1_000_000
GOAL_MB = 128.0
RENDERED = 2_000


def memory_mb() -> float:
    """Return how much memory this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def write_files(directory: Path, count: int) -> None:
    """Write the inputs, and their results in another order; 1 % of them failed, and stand in the error file."""
    chance = random.Random(1)
    bodies = [line(number, chance) for number in range(RENDERED)]
    order = list(range(count))
    chance.shuffle(order)
    request = (
        b'{"custom_id":"request-%d","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}\n'
    )
    with (directory / "inputs.jsonl").open("wb") as inputs:
        inputs.writelines(request % number for number in range(count))
    failed = (
        b'{"id":"batch_req_1","custom_id":"request-%d","response":{"status_code":400,"request_id":"r",'
        b'"body":{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"c"}}},"error":null}\n'
    )
    with (directory / "output.jsonl").open("wb") as output, (directory / "error.jsonl").open("wb") as errors:
        for number in order:
            if number % 100 == 0:
                errors.write(failed % number)
            else:
                model = number % RENDERED
                output.write(bodies[model].replace(b'"request-%d"' % model, b'"request-%d"' % number, 1))


async def serve(directory: Path) -> None:
    """Serve the files until the standard input ends."""
    from aiohttp import web

    async def content(request: web.Request) -> web.FileResponse:
        return web.FileResponse(directory / f"{request.match_info['name']}.jsonl")

    app = web.Application()
    app.router.add_get("/v1/files/{name}/content", content)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), over.set)
    await over.wait()
    await runner.cleanup()


@contextlib.contextmanager
def server(directory: Path) -> Iterator[str]:
    """Give the base URL of a server of the files, in a process of its own."""
    command = [sys.executable, __file__, "--serve", str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.stdin.close()
            process.wait(timeout=10)


async def read(url: str, inputs: Path, count: int) -> dict[str, float]:
    """Read all results, and return what it took."""
    from openai_batches import Batch, BatchSession, BatchStatus

    async with BatchSession(KEY, base_url=url) as session:
        small = Batch(id="batch_1", status=BatchStatus.COMPLETED, output_file_id="error")
        async for _ in session.batches.results(small, inputs=["request-1"], ordered=True):
            pass
        first = highest = memory_mb()
        watching = asyncio.create_task(_watch())
        begun, cpu = time.perf_counter(), time.process_time()
        batch = Batch(id="batch_1", status=BatchStatus.COMPLETED, output_file_id="output", error_file_id="error")
        number = 0
        until_first = 0.0
        async for result in session.batches.results(batch, inputs=inputs, ordered=True):
            if number == 0:
                until_first = time.perf_counter() - begun
            outcome = "failed" if number % 100 == 0 else "succeeded"
            if result.custom_id != f"request-{number}" or result.outcome != outcome:
                raise SystemExit(f"{result.custom_id} came in place {number}")
            number += 1
            if number % 10_000 == 0:
                highest = max(highest, memory_mb())
        took, cpu = time.perf_counter() - begun, time.process_time() - cpu
        watching.cancel()
    if number != count:
        raise SystemExit(f"{number:,} results came instead of {count:,}")
    highest = max(highest, Highest.mb)
    return {
        "first": first,
        "highest": highest,
        "took": took,
        "cpu": cpu,
        "until_first": until_first,
        "gap": Highest.gap,
    }


class Highest:
    """The most memory that was seen, and the longest the event loop did not come round, in seconds."""

    mb = 0.0
    gap = 0.0


async def _watch() -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        Highest.gap = max(Highest.gap, now - last - 0.005)
        last = now
        Highest.mb = max(Highest.mb, memory_mb())


def main() -> None:
    parser = argument_parser(TITLE, rounds=1)
    parser.add_argument("--count", type=int, default=COUNT, help="how many results")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--inputs", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(Path(arguments.serve)))
        return
    if arguments.url:
        print(json.dumps(asyncio.run(read(arguments.url, Path(arguments.inputs), arguments.count))))
        return
    prepare()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_files(directory, arguments.count)
        size = (directory / "output.jsonl").stat().st_size
        inputs = ["--inputs", str(directory / "inputs.jsonl"), "--count", str(arguments.count)]
        with server(directory) as url:
            found = json.loads(run([sys.executable, __file__, "--url", url, *inputs]))
    growth = found["highest"] - found["first"]
    heading(TITLE)
    print(f"{'output file':<28}{size / 1e6:>9.1f} MB")
    print(f"{'after a small batch':<28}{found['first']:>9.1f} MB")
    print(f"{'at its highest':<28}{found['highest']:>9.1f} MB")
    print(f"{'all, in time':<28}{found['took']:>9.1f} s, {found['cpu']:.1f} s of CPU")
    print(f"{'until the first result':<28}{found['until_first']:>9.1f} s")
    print(f"{'event loop held up, at most':<28}{found['gap'] * 1e3:>9.1f} ms")
    verdict = "ok" if growth < GOAL_MB else "missed"
    print(f"  growth {growth:.1f} MB, exact order; goal: less than {GOAL_MB:g} MB: {verdict}")


if __name__ == "__main__":
    main()
