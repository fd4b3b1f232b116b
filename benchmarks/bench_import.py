"""Import what a program needs and make a session, in fresh interpreters: ours, aiohttp's and the official SDK's.

The import of the package alone would measure nothing: its names are loaded when they are asked for.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _measure import Goal, argument_parser, heading, prepare, print_goals, run

TITLE = "Importing, and making and closing a session, in a fresh interpreter"
NOTHING = "nothing"
ASYNC = """
import asyncio
async def main():
    async with {}:
        pass
asyncio.run(main())
"""
STATEMENTS = {
    NOTHING: "pass",
    "aiohttp": "import aiohttp" + ASYNC.format("aiohttp.ClientSession()"),
    "openai_batches": "from openai_batches import BatchSession" + ASYNC.format("BatchSession('sk-benchmark')"),
    "openai": "from openai import AsyncOpenAI" + ASYNC.format("AsyncOpenAI(api_key='sk-benchmark')"),
}
GOALS = (
    Goal("openai_batches", "aiohttp", at_most=1.3),
    Goal("openai_batches", "openai", at_most=0.5),
)


def cpu_s(statement: str) -> float:
    """Return the CPU time of an interpreter from its start to the end of the statement."""
    return float(run([sys.executable, "-I", "-c", f"{statement}\nimport time\nprint(time.process_time())"]))


def main() -> None:
    rounds = argument_parser(TITLE, rounds=15).parse_args().rounds * 2
    prepare()
    for statement in STATEMENTS.values():
        cpu_s(statement)  # byte code is written, files are in the cache
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(rounds):
        for name, measured in times.items():
            measured.append(cpu_s(STATEMENTS[name]))
    medians = {name: statistics.median(measured) for name, measured in times.items()}
    start = medians[NOTHING]
    heading(TITLE)
    print(f"{'':<16}{'cpu ms':>9}{'fastest':>10}{'slowest':>10}{'runs':>6}{'without the interpreter':>27}")
    for name, median in medians.items():
        line = f"{name:<16}{median * 1e3:>9.1f}{min(times[name]) * 1e3:>10.1f}{max(times[name]) * 1e3:>10.1f}"
        print(f"{line}{rounds:>6}{(median - start) * 1e3:>27.1f}")
    print_goals(GOALS, medians)


if __name__ == "__main__":
    main()
