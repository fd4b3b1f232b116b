"""Estimate the cost of 200,000 requests, beside one pass of `orjson.loads` over every line of the same file."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _measure import Goal, argument_parser, heading, prepare, print_goals, run

TITLE = "Estimating the cost of 200,000 requests (230 MB)"
COUNT = 200_000
MAX_GROWTH_MB = 16
GOALS = (Goal("estimate", "orjson", at_most=2.0),)


def write_requests(path: Path) -> None:
    text = "Tell me what this is about, in one sentence, and how sure you are of it. " * 12
    with path.open("wb") as file:
        for number in range(COUNT):
            messages = [
                {"role": "system", "content": "You are brief."},
                {"role": "user", "content": f"{number} {text}"},
            ]
            body = {"model": "gpt-4o-mini", "max_tokens": 64, "messages": messages}
            line = {"custom_id": f"request-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line).encode() + b"\n")


def with_orjson(path: str) -> None:
    import orjson

    with Path(path).open("rb") as file:
        for line in file:
            orjson.loads(line)


def with_estimate(path: str) -> None:
    from openai_batches.costs.estimate import estimate

    found = asyncio.run(estimate(path, vocabulary_timeout_s=0))
    assert found.requests == COUNT, found


CONTENDERS = {"orjson": with_orjson, "estimate": with_estimate}


def contend(name: str, path: str) -> None:
    warm = Path(path).with_name("warm.jsonl")
    if name == "estimate":
        from openai_batches.costs.estimate import estimate

        asyncio.run(estimate(warm, vocabulary_timeout_s=0))
    else:
        with_orjson(str(warm))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    CONTENDERS[name](path)
    cpu_s = time.process_time() - begun
    growth_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    print(json.dumps({"cpu_s": cpu_s, "growth_mb": growth_mb}))


def main() -> None:
    parser = argument_parser(TITLE, rounds=5)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        contend(arguments.contender, arguments.path)
        return
    prepare()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "requests.jsonl")
        write_requests(path)
        with path.open("rb") as file:
            Path(directory, "warm.jsonl").write_bytes(b"".join(file.readline() for _ in range(2_000)))
        for _ in range(arguments.rounds):
            for name, measured in found.items():
                command = [sys.executable, __file__, "--contender", name, "--path", str(path)]
                measured.append(json.loads(run(command)))
    medians = {name: statistics.median(row["cpu_s"] for row in rows) for name, rows in found.items()}
    heading(TITLE)
    print(f"{'':<16}{'cpu ms':>9}{'us/request':>12}{'growth MB':>11}")
    for name, median in medians.items():
        growth_mb = max(row["growth_mb"] for row in found[name])
        print(f"{name:<16}{median * 1e3:>9.0f}{median / COUNT * 1e6:>12.2f}{growth_mb:>11.1f}")
    print_goals(GOALS, medians)
    verdict = "ok" if max(row["growth_mb"] for row in found["estimate"]) <= MAX_GROWTH_MB else "missed"
    print(f"  {'estimate':<16}growth; goal: at most {MAX_GROWTH_MB} MB: {verdict}")


if __name__ == "__main__":
    main()
