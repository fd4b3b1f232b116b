"""The package's emulator in a process of its own: `python _emulator.py` prints its address.

Batches take no time but that of the work and of validation, for which a time can be given. It stops when its standard
input, a pipe, ends, or after a while, and prints how many questions about batches it was asked.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _lifetime import until_told

from openai_batches.emulator import BatchServer, Timings

SPEED = 100.0


async def serve(validating_s: float, lifetime_s: float) -> None:
    """Serve until the standard input ends, and no longer than its lifetime."""
    timings = Timings(validating_s=validating_s * SPEED, line_s=0.0, finalizing_s=1.0)
    async with BatchServer(speed=SPEED, timings=timings) as server:
        print(server.base_url, flush=True)
        try:
            await until_told(lifetime_s)
        finally:
            asked = (one.method == "GET" and one.path.startswith("/v1/batches") for one in server.requests)
            print(sum(asked), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--validating-s", type=float, default=0.02, help="how long a batch is validated")
    parser.add_argument("--lifetime-s", type=float, default=3_600.0, help="stop by itself after so many seconds")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.validating_s, arguments.lifetime_s))


if __name__ == "__main__":
    main()
