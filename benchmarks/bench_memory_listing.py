"""List a million batches, and see what is left of them in memory."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _measure import KEY, argument_parser, heading, prepare, run, server

TITLE = "Memory while 1,000,000 batches are listed in pages of 100"
COUNT = 1_000_000
WARM_UP = 2_000
GOAL_MB = 20.0


def memory_mb() -> float:
    """Return how much memory this process has: now, or where the system does not say, at its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def walk(url: str) -> dict[str, float]:
    """Return the memory after the first pages, at its highest from then on, and at the end."""
    from openai_batches import BatchSession

    count = 0
    first = highest = 0.0
    last_id = ""
    async with BatchSession(KEY, base_url=url) as session:
        async for batch in session.batches.list():
            count += 1
            if batch.id <= last_id:
                raise SystemExit(f"{batch.id} came after {last_id}")
            last_id = batch.id
            if count == WARM_UP:
                first = memory_mb()
            elif count % 10_000 == 0:
                highest = max(highest, memory_mb())
        last = memory_mb()
    if count != COUNT:
        raise SystemExit(f"{count:,} batches came instead of {COUNT:,}")
    return {"first": first, "highest": max(highest, last), "last": last}


def main() -> None:
    parser = argument_parser(TITLE, rounds=1)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.url:
        print(json.dumps(asyncio.run(walk(arguments.url))))
        return
    prepare()
    with server(COUNT) as url:
        memory = json.loads(run([sys.executable, __file__, "--url", url]))
    growth = memory["highest"] - memory["first"]
    heading(TITLE)
    print(f"{'after 20 pages':<20}{memory['first']:>9.1f} MB")
    print(f"{'at its highest':<20}{memory['highest']:>9.1f} MB")
    print(f"{'after 10,000 pages':<20}{memory['last']:>9.1f} MB")
    verdict = "ok" if growth < GOAL_MB else "missed"
    print(f"  growth {growth:.1f} MB; goal: less than {GOAL_MB:g} MB: {verdict}")


if __name__ == "__main__":
    main()
