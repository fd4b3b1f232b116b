"""Serves an emulator that keeps its data, in a process that tests can kill: FOLDER PORT UPSTREAM CONCURRENCY."""

import asyncio
import sys

from openai_batches.emulator import BatchServer, Timings, UpstreamExecutor


async def serve(folder: str, port: str, upstream: str, concurrency: str) -> None:
    executor = UpstreamExecutor(upstream, concurrency=int(concurrency), patience_s=20, first_pause_s=0.01)
    timings = Timings(validating_s=0, finalizing_s=0)
    async with BatchServer(data=folder, port=int(port), executor=executor, timings=timings) as server:
        print(server.base_url, flush=True)  # noqa: T201 - whom the test asks
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
