"""Validate and shard a million requests, and compare it with parsing every line."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import statistics
import string
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _measure import Goal, argument_parser, heading, prepare, print_goals, run

TITLE = "requests of about 1 KB validated and cut into shards"
GOAL_MB = 64.0
GOALS = (Goal("openai_batches", "bare orjson", at_most=2.0),)
KINDS = ("ascii", "mixed", "chinese", "models", "embeddings")
PHRASES = 997


def write_input(path: Path, count: int, kind: str) -> None:
    """Write so many requests.

    `mixed` has some letter beyond ASCII in every fifth line, `chinese` little else, `models` ten models in turns, and
    `embeddings` ten inputs in each request.
    """
    chance = random.Random(7)
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 2_000))) if kind == "chinese" else string.ascii_lowercase
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(5_000)]
    length = 50 if kind == "chinese" else 122
    texts = [" ".join(chance.choices(words, k=length)) for _ in range(PHRASES)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            text = texts[number % PHRASES] + ("\n“”" if kind == "mixed" and number % 5 == 0 else "")
            file.write(json.dumps(request(number, text, kind), ensure_ascii=kind == "ascii") + "\n")


def request(number: int, text: str, kind: str) -> dict[str, object]:
    if kind == "embeddings":
        third = len(text) // 10
        inputs = [text[start : start + third] for start in range(0, third * 10, third)]
        url, body = "/v1/embeddings", {"model": "text-embedding-3-small", "input": inputs, "dimensions": 512}
    else:
        model = f"model-{number % 10}" if kind == "models" else "gpt-4o-mini"
        messages = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": text}]
        url, body = "/v1/chat/completions", {"model": model, "messages": messages, "max_tokens": 256}
    return {"custom_id": f"request-{number:09d}", "method": "POST", "url": url, "body": body}


def parse(path: Path) -> int:
    """Read a file, split its lines, parse each, and return how many there are."""
    import orjson

    count = 0
    with path.open("rb") as file:
        for line in file:
            orjson.loads(line)
            count += 1
    return count


def shard(path: Path) -> int:
    """Validate and shard a file, and return how many requests are in the shards."""
    from openai_batches.requests.shards import write_shards

    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        shards = asyncio.run(write_shards(path, directory))
        return sum(shard.requests for shard in shards)


CONTENDERS = {"bare orjson": parse, "openai_batches": shard}


def contend(name: str, path: Path, count: int) -> dict[str, float]:
    """Return the CPU time and the growth of memory of one contender, after a small run to warm up."""
    small = path.with_suffix(".small")
    CONTENDERS[name](small)
    unit = 1e-6 if sys.platform == "darwin" else 1.024e-3
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    done = CONTENDERS[name](path)
    if done != count:
        raise SystemExit(f"{name} did {done:,} instead of {count:,}")
    cpu_s = time.process_time() - begun
    return {"cpu_s": cpu_s, "grown_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit}


def compare(kind: str, count: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"{kind}.jsonl"
        write_input(path, count, kind)
        write_input(path.with_suffix(".small"), 10, kind)
        size = path.stat().st_size
        command = [sys.executable, __file__, "--path", str(path), "--requests", str(count), "--contender"]
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
        for _ in range(rounds):
            for name, measured in runs.items():
                measured.append(json.loads(run([*command, name])))
    heading(f"{count:,} {TITLE}: {kind}, {size / 1e6:,.0f} MB")
    medians = {name: statistics.median(one["cpu_s"] for one in measured) for name, measured in runs.items()}
    bare = next(iter(medians.values()))
    print(f"{'':<16}{'cpu ms':>9}{'fastest':>10}{'slowest':>10}{'runs':>6}{'x bare':>9}{'grown MB':>10}")
    for name, measured in runs.items():
        times = [one["cpu_s"] for one in measured]
        grown = max(one["grown_mb"] for one in measured)
        print(
            f"{name:<16}{medians[name] * 1e3:>9.0f}{min(times) * 1e3:>10.0f}{max(times) * 1e3:>10.0f}{len(times):>6}"
            f"{medians[name] / bare:>9.2f}{grown:>10.1f}"
        )
    print_goals(GOALS, medians)
    grown = max(one["grown_mb"] for one in runs["openai_batches"])
    verdict = "ok" if grown < GOAL_MB else "missed"
    print(f"  openai_batches  grew by {grown:.1f} MB; goal: less than {GOAL_MB:g} MB: {verdict}")


def main() -> None:
    parser = argument_parser(TITLE, rounds=5)
    parser.add_argument("--requests", type=int, default=1_000_000, help="how many requests")
    parser.add_argument("--kind", choices=KINDS, nargs="*", default=["mixed"], help="what is in them")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        print(json.dumps(contend(arguments.contender, arguments.path, arguments.requests)))
        return
    prepare()
    for kind in arguments.kind:
        compare(kind, arguments.requests, arguments.rounds)


if __name__ == "__main__":
    main()
