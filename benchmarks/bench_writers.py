"""Write 200,000 results as JSONL, CSV and Parquet, beside the plain loop that people write for it."""

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
from typing import Any

sys.path.append(str(Path(__file__).parent))

from _measure import Goal, argument_parser, heading, prepare, print_goals, run

TITLE = "Writing 200,000 results (240 MB of lines) as rows"
COUNT = 200_000
MAX_GROWTH_MB = 64
GOALS = (
    Goal("JSONL", "loop JSONL", at_most=2.0),
    Goal("CSV", "loop CSV", at_most=1.0),
    Goal("Parquet", "loop Parquet", at_most=1.0),
)
NAMES = ("custom_id", "outcome", "status_code", "text", "input_tokens", "output_tokens", "error_code", "error_message")


def write_lines(path: Path, count: int) -> None:
    text = "It is about the weather, and I am quite sure of it. " * 16
    with path.open("wb") as file:
        for number in range(count):
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": f"{number} {text}", "refusal": None},
                "finish_reason": "stop",
            }
            usage = {"prompt_tokens": 100, "completion_tokens": 200, "total_tokens": 300}
            body = {"id": f"chatcmpl-{number}", "model": "gpt-4o-mini", "choices": [choice], "usage": usage}
            response = {"status_code": 200, "request_id": f"q{number}", "body": body}
            line = {"id": f"b{number}", "custom_id": f"request-{number}", "response": response, "error": None}
            file.write(json.dumps(line).encode() + b"\n")


def plain_row(line: bytes) -> list[Any]:
    import orjson

    data = orjson.loads(line)
    body = data["response"]["body"]
    usage = body["usage"]
    text = body["choices"][0]["message"]["content"]
    tokens = (usage["prompt_tokens"], usage["completion_tokens"])
    return [data["custom_id"], "succeeded", data["response"]["status_code"], text, *tokens, None, None]


def loop_jsonl(source: Path, target: Path) -> None:
    import orjson

    with source.open("rb") as lines, target.open("wb") as file:
        for line in lines:
            file.write(orjson.dumps(dict(zip(NAMES, plain_row(line), strict=True))) + b"\n")


def loop_csv(source: Path, target: Path) -> None:
    import csv

    with source.open("rb") as lines, target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(NAMES)
        writer.writerows(map(plain_row, lines))


def loop_parquet(source: Path, target: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with source.open("rb") as lines:
        rows = [dict(zip(NAMES, plain_row(line), strict=True)) for line in lines]
    pq.write_table(pa.Table.from_pylist(rows), target, compression="zstd")


def library(format_: Any) -> Any:
    def write(source: Path, target: Path) -> None:
        from openai_batches.results.parse import ResultReader
        from openai_batches.results.write import write_results

        def results() -> Any:
            reader = ResultReader()
            rest = b""
            with source.open("rb") as file:
                while piece := file.read(256 * 1024):
                    whole, newline, rest_of_piece = (rest + piece).rpartition(b"\n")
                    rest = rest_of_piece
                    if newline:
                        yield from reader.read(whole + newline)
            if rest:
                yield from reader.read(rest)

        asyncio.run(write_results(results(), target, format=format_))

    return write


CONTENDERS = {
    "loop JSONL": loop_jsonl,
    "JSONL": library("jsonl"),
    "loop CSV": loop_csv,
    "CSV": library("csv"),
    "loop Parquet": loop_parquet,
    "Parquet": library("parquet"),
}


def contend(name: str, path: Path) -> None:
    CONTENDERS[name](path.with_name("warm.jsonl"), path.with_name(f"warm-{time.monotonic_ns()}"))
    target = path.with_name(f"target-{time.monotonic_ns()}")
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.process_time()
    CONTENDERS[name](path, target)
    cpu_s = time.process_time() - begun
    growth_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    target.unlink()
    print(json.dumps({"cpu_s": cpu_s, "growth_mb": growth_mb}))


def main() -> None:
    parser = argument_parser(TITLE, rounds=3)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        contend(arguments.contender, Path(arguments.path))
        return
    prepare()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "results.jsonl")
        write_lines(path, COUNT)
        write_lines(path.with_name("warm.jsonl"), 2_000)
        for _ in range(arguments.rounds):
            for name, measured in found.items():
                command = [sys.executable, __file__, "--contender", name, "--path", str(path)]
                measured.append(json.loads(run(command)))
    medians = {name: statistics.median(row["cpu_s"] for row in rows) for name, rows in found.items()}
    growths = {name: max(row["growth_mb"] for row in rows) for name, rows in found.items()}
    heading(TITLE)
    print(f"{'':<16}{'cpu ms':>9}{'us/result':>12}{'growth MB':>11}")
    for name, median in medians.items():
        print(f"{name:<16}{median * 1e3:>9.0f}{median / COUNT * 1e6:>12.2f}{growths[name]:>11.1f}")
    print_goals(GOALS, medians)
    for name in ("JSONL", "CSV", "Parquet"):
        verdict = "ok" if growths[name] <= MAX_GROWTH_MB else "missed"
        print(f"  {name:<16}growth; goal: at most {MAX_GROWTH_MB} MB: {verdict}")


if __name__ == "__main__":
    main()
