"""Run contenders in turns, each in a fresh process, and print how their CPU times compare.

What is measured is the CPU time (user and system) of the client's process between two points of one run, after a
warm-up. The server is another process. Seconds mean nothing on another machine: the goals are ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import compileall
import contextlib
import gc
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

KEY = "sk-benchmark"
_FILES = 4_096
_CHILD_TIMEOUT_S = 600.0


class Stopwatch:
    """CPU time of this process within `with stopwatch:`, which starts from a collected heap."""

    def __init__(self) -> None:
        self.cpu_s = 0.0

    def __enter__(self) -> None:
        gc.collect()
        self._begun = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.cpu_s = time.process_time() - self._begun


Contender = Callable[[str, int, Stopwatch], Awaitable[int]]
"""Runs so many operations against a URL, within the stopwatch, and returns how many it did."""


@dataclass(frozen=True)
class Goal:
    """`name` takes at most, or at least, so many times what `other` takes."""

    name: str
    other: str
    at_most: float | None = None
    at_least: float | None = None

    def judged(self, medians: dict[str, float]) -> str:
        ratio = medians[self.name] / medians[self.other]
        if self.at_most is not None:
            verdict = "ok" if ratio <= self.at_most else "missed"
            return f"{ratio:.3f} x {self.other}; goal: at most {self.at_most:g} x: {verdict}"
        assert self.at_least is not None
        verdict = "ok" if ratio >= self.at_least else "missed"
        return f"{ratio:.1f} x {self.other}; goal: at least {self.at_least:g} x: {verdict}"


@dataclass(frozen=True)
class Comparison:
    """Contenders that do the same, the first of which the others are compared with.

    `count` is how many operations each does, `unit` what `per_unit` of these are called.
    """

    title: str
    contenders: dict[str, Contender]
    goals: tuple[Goal, ...]
    count: int
    unit: str
    per_unit: int = 1
    batches: int = 30_000
    slow: tuple[str, ...] = ()

    def main(self, script: str) -> None:
        parser = argument_parser(self.title, rounds=15)
        parser.add_argument("--contender", help=argparse.SUPPRESS)
        parser.add_argument("--url", help=argparse.SUPPRESS)
        arguments = parser.parse_args()
        if arguments.contender:
            self._contend(arguments.contender, arguments.url)
        else:
            self._compare(script, arguments.rounds)

    def _contend(self, name: str, url: str) -> None:
        allow_files()
        stopwatch = Stopwatch()
        done = asyncio.run(self.contenders[name](url, self.count, stopwatch))
        if done != self.count:
            raise SystemExit(f"{name} did {done:,} instead of {self.count:,}")
        print(json.dumps({"cpu_s": stopwatch.cpu_s}))

    def _compare(self, script: str, rounds: int) -> None:
        prepare()
        times: dict[str, list[float]] = {name: [] for name in self.contenders}
        with server(self.batches) as url:
            for number in range(rounds):
                for name, measured in times.items():
                    # What is many times slower needs fewer runs to be told apart.
                    if name in self.slow and number % 5:
                        continue
                    command = [sys.executable, script, "--contender", name, "--url", url]
                    measured.append(json.loads(run(command))["cpu_s"])
        self._report(times)

    def _report(self, times: dict[str, list[float]]) -> None:
        medians = {name: statistics.median(measured) for name, measured in times.items()}
        bare = next(iter(medians.values()))
        heading(self.title)
        print(f"{'':<16}{'cpu ms':>9}{'fastest':>10}{'slowest':>10}{'runs':>6}{'us/' + self.unit:>12}{'x bare':>9}")
        for name, median in medians.items():
            low, high, each = min(times[name]), max(times[name]), median / self.count * self.per_unit
            line = f"{name:<16}{median * 1e3:>9.1f}{low * 1e3:>10.1f}{high * 1e3:>10.1f}{len(times[name]):>6}"
            print(f"{line}{each * 1e6:>12.1f}{median / bare:>9.2f}")
        print_goals(self.goals, medians)


def argument_parser(title: str, *, rounds: int) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark takes, so that one command line serves them all."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each contender has its turn")
    return parser


def heading(title: str) -> None:
    versions = []
    for package in ("openai_batches", "aiohttp", "msgspec", "orjson", "openai"):
        with contextlib.suppress(PackageNotFoundError):
            versions.append(f"{package} {version(package)}")
    print(f"\n{title}")
    print(f"{platform.python_implementation()} {platform.python_version()}, {', '.join(versions)}")


def print_goals(goals: tuple[Goal, ...], medians: dict[str, float]) -> None:
    for goal in goals:
        print(f"  {goal.name:<16}{goal.judged(medians)}")


def prepare() -> None:
    """Compile the package, as an installer does: what is measured is not the compiler."""
    spec = importlib.util.find_spec("openai_batches")
    if spec is None or spec.origin is None:
        raise SystemExit("openai_batches is not installed")
    compileall.compile_dir(Path(spec.origin).parent, quiet=2)


def environment() -> dict[str, str]:
    """Return the environment of a contender: byte code is written, no key, no other address and no proxy is found."""
    unwanted = ("OPENAI_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}


def run(command: list[str]) -> str:
    """Run a command to its end and return what it printed."""
    done = subprocess.run(
        command, env=environment(), stdout=subprocess.PIPE, check=True, text=True, timeout=_CHILD_TIMEOUT_S
    )
    return done.stdout


def allow_files() -> None:
    """Let this process open as many connections as the contenders want to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextlib.contextmanager
def server(batches: int) -> Iterator[str]:
    """Give the base URL of a server of so many batches, in a process of its own."""
    allow_files()  # the server inherits it
    command = [sys.executable, str(Path(__file__).with_name("_server.py")), "--total", str(batches)]
    cores = _cores()
    _stay_on(cores[:1])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        _stay_on(cores[-1:])
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.stdin.close()
            process.wait(timeout=10)
            _stay_on(cores)


def _cores() -> list[int]:
    """Return the cores this process may run on; none, where they cannot be chosen or there is but one."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return cores if len(cores) > 1 else []


def _stay_on(cores: list[int]) -> None:
    # A client that shares its core with the server now and then finds another part of the answer waiting each time.
    if cores:
        os.sched_setaffinity(0, cores)
