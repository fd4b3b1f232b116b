"""The command line: how long it takes to be there, what it adds to a large file, and what `head` costs."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

sys.path.append(str(Path(__file__).parent))

from _measure import KEY, Goal, argument_parser, environment, heading, prepare, print_goals

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = str(Path(sys.executable).with_name("openai-batches"))
HELP, IMPORTS = "--help", "import aiohttp, rich, cyclopts"
BARE = "import asyncio, sys, openai_batches as o; print(asyncio.run(o.validate_requests(sys.argv[1])).requests)"
VALIDATE, BARE_VALIDATE = "validate", "bare validate_requests"
ALL, FIRST = "results", "results | head"
# As many as one batch of OpenAI's can have, in a file as large as one can be.
REQUESTS, REQUEST_BYTES = 50_000, 3_990
SENT_GOAL_MB = 16.0
# Each of these is an interpreter's whole life, which is short.
STARTS = 3


@dataclass
class Lives:
    """The CPU time of processes from their start to their end, by what they did."""

    times: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, name: str, command: list[str], *, head: bool = False, **variables: str) -> None:
        """Run a command to its end; with `head`, only until it has written a line, after which nobody reads it."""
        process = subprocess.Popen(
            command, env={**environment(), **variables}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        _drain(process.stdout, head=head)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        # 141 is a pipe that was closed.
        if process.returncode not in {0, 141 if head else 0}:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        self.times.setdefault(name, []).append(usage.ru_utime + usage.ru_stime)

    def medians(self) -> dict[str, float]:
        return {name: statistics.median(times) for name, times in self.times.items()}

    def report(self, title: str) -> dict[str, float]:
        medians = self.medians()
        first = next(iter(medians.values()))
        heading(title)
        print(f"{'':<32}{'cpu ms':>9}{'fastest':>10}{'slowest':>10}{'runs':>6}{'x first':>9}")
        for name, median in medians.items():
            times = self.times[name]
            line = f"{name:<32}{median * 1e3:>9.1f}{min(times) * 1e3:>10.1f}{max(times) * 1e3:>10.1f}"
            print(f"{line}{len(times):>6}{median / first:>9.2f}")
        return medians


def _drain(stream: IO[bytes], *, head: bool) -> None:
    with stream:
        if head:
            stream.readline()
            return
        while stream.read(1 << 20):
            pass


def starting(rounds: int) -> None:
    lives = Lives()
    for _ in range(STARTS * rounds):
        lives.measure(IMPORTS, [sys.executable, "-c", IMPORTS])
        lives.measure(HELP, [PROGRAM, "--help"])
        lives.measure("list --help", [PROGRAM, "list", "--help"])
    medians = lives.report("The program's help, from the start of an interpreter to its end")
    print_goals((Goal(HELP, IMPORTS, at_most=1.3),), medians)


def write_requests(path: Path, count: int) -> None:
    text = "lorem ipsum " * ((REQUEST_BYTES - 180) // 12)
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], "max_tokens": 256}
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            request = {"custom_id": f"r-{number:06d}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(request) + "\n")


def validating(rounds: int) -> None:
    """Compare what a large file takes, with the start of an interpreter and without it."""
    whole, starts = Lives(), Lives()
    commands = {BARE_VALIDATE: [sys.executable, "-c", BARE], VALIDATE: [PROGRAM, "validate"]}
    with tempfile.TemporaryDirectory() as directory:
        large, small = (Path(directory, name) for name in ("large.jsonl", "small.jsonl"))
        write_requests(large, REQUESTS)
        write_requests(small, 1)
        size = large.stat().st_size
        for _ in range(STARTS * rounds):
            for name, command in commands.items():
                whole.measure(name, [*command, str(large)])
                starts.measure(name, [*command, str(small)])
    medians = whole.report(f"{REQUESTS:,} requests validated, {size / 1e6:,.0f} MB, whole processes")
    begun = starts.report("The same with one request")
    net = {name: median - begun[name] for name, median in medians.items()}
    print_goals((Goal(VALIDATE, BARE_VALIDATE, at_most=1.05),), net)
    print("  both without what one request takes")


@contextlib.contextmanager
def server(size: int) -> Iterator[tuple[str, int]]:
    """Give the base URL of a server of result files, in a process of its own, and the bytes of the larger one."""
    command = [sys.executable, str(Path(__file__).with_name("_results_server.py")), "--size", str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port, stretch, times = map(int, process.stdout.readline().split())
            yield f"http://127.0.0.1:{port}/counted", stretch * times
        finally:
            process.stdin.close()
            process.wait(timeout=10)


def sent_mb(url: str) -> float:
    """Return how many bytes of files have left the server since it was asked before."""
    with urllib.request.urlopen(f"{url}/sent") as answer:
        return float(json.loads(answer.read())["bytes"]) / 1e6


def reading(rounds: int) -> None:
    """Compare the first line of the results with all of them."""
    lives = Lives()
    sent: dict[str, list[float]] = {ALL: [], FIRST: []}
    with server(250_000_000) as (url, size):
        command = [PROGRAM, "results", "batch_large", "--base-url", url]
        for _ in range(rounds):
            for name, measured in sent.items():
                lives.measure(name, command, head=name == FIRST, OPENAI_API_KEY=KEY)
                measured.append(sent_mb(url))
    medians = lives.report(f"Results of {size / 1e6:,.0f} MB, all of them and the first line")
    for name, measured in sent.items():
        print(f"  {name:<22}{max(measured):,.1f} MB left the server")
    print_goals((Goal(FIRST, ALL, at_most=0.25),), medians)
    verdict = "ok" if max(sent[FIRST]) < SENT_GOAL_MB else "missed"
    print(f"  sent            {max(sent[FIRST]):.1f} MB for a line; goal: less than {SENT_GOAL_MB:g} MB: {verdict}")


def main() -> None:
    rounds = argument_parser(__doc__ or "", rounds=5).parse_args().rounds
    prepare()
    starting(rounds)
    validating(rounds)
    reading(rounds)


if __name__ == "__main__":
    main()
