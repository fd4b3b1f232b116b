"""Read requests from a file, plain and packed, and from Python, beside the plain loop that people write for it."""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).parent))

from _measure import Goal, argument_parser, heading, prepare, print_goals, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TITLE = "Reading 300,000 requests (270 MB of lines) in blocks"
COUNT = 300_000
PIECE_BYTES = 1 << 20
MAX_GROWTH_MB = 16
GOALS = (
    Goal("blocks", "plain read", at_most=1.6),
    Goal("iter_blocks", "loop of lines", at_most=1.0),
    Goal("blocks .gz", "plain .gz", at_most=1.2),
    Goal("blocks .zst", "plain .zst", at_most=2.0),  # the plain one takes a cut file for a whole one
    Goal("BatchRequests", "json.dumps", at_most=1.1),
)


def some_words() -> list[str]:
    chooser = random.Random(7)
    words = ["".join(chooser.choices("etaoinshrdlu", k=chooser.randint(2, 9))) for _ in range(2_000)]
    return [" ".join(chooser.choices(words, k=40)) for _ in range(10_000)]


TEXTS = some_words()


def request_body(number: int) -> dict[str, Any]:
    content = f"{TEXTS[number % 9_973]} {TEXTS[number % 9_967]} {TEXTS[number % 9_949]}"
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}], "temperature": 0.2}


def json_dumps(_: Path) -> Iterator[bytes]:
    for number in range(COUNT):
        body = request_body(number)
        line = {"custom_id": f"request-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        yield json.dumps(line).encode() + b"\n"


def pieces(file: Any) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def plain_zstd(path: Path) -> Iterator[bytes]:
    import zstandard

    return pieces(zstandard.open(path.with_suffix(".zst"), "rb"))


def blocks(path: Path) -> Iterator[bytes]:
    from openai_batches.requests.read import blocks_of_path

    return blocks_of_path(path)


def gathered(source: Any) -> int:
    from openai_batches.requests.read import iter_blocks

    async def total() -> int:
        return sum([len(block) async for block in iter_blocks(source)])

    return asyncio.run(total())


def batch_requests(_: Path) -> int:
    from openai_batches.requests.request import BatchRequest

    return gathered(
        BatchRequest(f"request-{number}", request_body(number), "/v1/chat/completions") for number in range(COUNT)
    )


def added(read: Callable[[Path], Iterator[bytes]]) -> Callable[[Path], int]:
    return lambda path: sum(map(len, read(path)))


CONTENDERS: dict[str, Callable[[Path], int]] = {
    "plain read": added(lambda path: pieces(path.open("rb", buffering=0))),
    "loop of lines": added(lines),
    "blocks": added(blocks),
    "iter_blocks": gathered,
    "plain .gz": added(lambda path: pieces(gzip.open(path.with_suffix(".gz")))),  # noqa: SIM115
    "blocks .gz": added(lambda path: blocks(path.with_suffix(".gz"))),
    "plain .zst": added(plain_zstd),
    "blocks .zst": added(lambda path: blocks(path.with_suffix(".zst"))),
    "json.dumps": added(json_dumps),
    "BatchRequests": batch_requests,
}


def write_files(path: Path) -> None:
    import zstandard

    with (
        path.open("wb") as plain,
        gzip.open(path.with_suffix(".gz"), "wb", compresslevel=1) as gz,
        zstandard.open(path.with_suffix(".zst"), "wb") as zst,
    ):
        for line in json_dumps(path):
            plain.write(line)
            gz.write(line)
            zst.write(line)


def contend(name: str, path: Path) -> None:
    import zstandard  # noqa: F401  # its import belongs to nobody's time

    import openai_batches.requests.read  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    total = CONTENDERS[name](path)
    cpu_s = time.process_time() - begun
    growth_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"cpu_s": cpu_s, "growth_mb": growth_mb, "total": total}))


def main() -> None:
    parser = argument_parser(TITLE, rounds=5)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        contend(arguments.contender, arguments.path)
        return
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.jsonl"
        write_files(path)
        times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        growths = dict.fromkeys(CONTENDERS, 0.0)
        for _ in range(arguments.rounds):
            for name, measured in times.items():
                command = [sys.executable, __file__, "--contender", name, "--path", str(path)]
                found = json.loads(run(command))
                measured.append(found["cpu_s"])
                growths[name] = max(growths[name], found["growth_mb"])
    heading(TITLE)
    medians = {name: statistics.median(measured) for name, measured in times.items()}
    print(f"{'':<16}{'cpu ms':>9}{'us/request':>12}{'growth MB':>11}")
    for name, median in medians.items():
        print(f"{name:<16}{median * 1e3:>9.1f}{median / COUNT * 1e6:>12.2f}{growths[name]:>11.1f}")
    print_goals(GOALS, medians)
    for name in ("blocks", "iter_blocks", "blocks .gz", "blocks .zst", "BatchRequests"):
        verdict = "ok" if growths[name] < MAX_GROWTH_MB else "missed"
        print(f"  {name:<16}grew by {growths[name]:.1f} MB; goal: under {MAX_GROWTH_MB} MB: {verdict}")


if __name__ == "__main__":
    main()
