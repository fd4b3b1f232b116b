"""The whole way of 100 requests: checked, cut into batches, waited for, collected; kill it, and run it again.

With OPENAI_API_KEY set it runs against the service (or OPENAI_BASE_URL), which costs a few cents and takes a while.
Without a key it starts the emulator and runs against that, where minutes pass in seconds and every answer is an echo.

    python examples/quickstart.py [requests.jsonl]
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from openai_batches import BatchesError, BatchJob, BatchSession, JobEvent, PollPolicy, ShardLimits
from openai_batches.emulator import BatchServer


async def open_session(stack: AsyncExitStack, data: Path) -> BatchSession:
    """Return a session with the service if there is a key for it, else with an emulator started for this run."""
    if os.environ.get("OPENAI_API_KEY"):
        return await stack.enter_async_context(BatchSession())
    # Its folder is to the emulator what its data centre is to a service: it survives, whatever becomes of this program.
    server = await stack.enter_async_context(BatchServer(speed=2, data=data))
    print(f"No OPENAI_API_KEY: this runs against the emulator at {server.base_url}, and the answers are echoes.\n")
    return await stack.enter_async_context(
        BatchSession("any-key", base_url=server.base_url, poll=PollPolicy.every(0.1))
    )


def told(event: JobEvent) -> None:
    """Print what happens, without each step of the counts."""
    if event.kind != "changed":
        print(f"{event.kind:10} {event}")


async def run(session: BatchSession, requests: Path) -> None:
    """Carry the requests to their end; what an earlier run has done is not done again."""
    async with BatchJob(session, requests, limits=ShardLimits(max_requests=25), on_event=told) as job:
        shown = 0
        async with aclosing(job.results(ordered=True)) as results:
            async for result in results:
                shown += 1
                if shown % 25 == 1:
                    print(f"{'':10} {result.custom_id}: {result.outcome}, {cut(result.output_text or '', 60)!r}, ...")
        ledger = await job.summary()
    print(f"\n{ledger.succeeded} of {ledger.inputs} requests succeeded, {ledger.usage.total_tokens:,} tokens")
    print(f"The journal and the results are in {job.directory}: delete it to begin anew.\n")


async def print_batches(session: BatchSession) -> None:
    """Print all batches of the key; pages are fetched while the loop runs."""
    print(f"{'batch':38} {'status':12} {'created':19} {'done':>11}  model")
    async for batch in session.batches.list():
        created = f"{batch.created_at:%Y-%m-%d %H:%M:%S}" if batch.created_at else ""
        counts = batch.request_counts
        done = f"{counts.completed + counts.failed}/{counts.total}" if counts else ""
        print(f"{batch.id:38} {batch.status:12} {created:19} {done:>11}  {batch.model or ''}")


def cut(text: str, width: int) -> str:
    """Return the text on one line, cut to a width."""
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


async def main() -> None:
    """Run the whole way once."""
    requests = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("requests.jsonl")
    async with AsyncExitStack() as stack:
        session = await open_session(stack, Path(f"{requests}.emulator"))
        await run(session, requests)
        await print_batches(session)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (BatchesError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped; run it again, and it goes on from here.")
