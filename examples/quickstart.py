"""The whole way of a batch: upload, create, wait, list, read the results.

With OPENAI_API_KEY set it runs against the service (or OPENAI_BASE_URL), which costs a few cents and takes a while.
Without a key it starts the emulator and runs against that, where minutes pass in seconds and every answer is an echo.

    python examples/quickstart.py [requests.jsonl]
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from openai_batches import Batch, BatchesError, BatchSession
from openai_batches.emulator import BatchServer


async def open_session(stack: AsyncExitStack) -> BatchSession:
    """Return a session with the service if there is a key for it, else with an emulator started for this run."""
    if os.environ.get("OPENAI_API_KEY"):
        return await stack.enter_async_context(BatchSession())
    server = await stack.enter_async_context(BatchServer(speed=60))
    print(f"No OPENAI_API_KEY: this runs against the emulator at {server.base_url}, and the answers are echoes.\n")
    return await stack.enter_async_context(BatchSession("any-key", base_url=server.base_url))


async def run(session: BatchSession, requests: Path) -> Batch:
    """Upload the requests, create a batch of them, and wait until it has ended."""
    file = await session.files.create(requests)
    print(f"uploaded  {file.filename} as {file.id}, {file.bytes:,} bytes")
    batch = await session.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", metadata={"example": "quickstart"}
    )
    print(f"created   {batch.id}")
    is_emulated = session.base_url.startswith("http://127.0.0.1")
    batch = await session.batches.wait(batch, poll=0.1 if is_emulated else None)
    print(f"ended     {batch.status}\n")
    return batch


async def print_batches(session: BatchSession) -> None:
    """Print all batches of the key; pages are fetched while the loop runs."""
    print(f"{'batch':38} {'status':12} {'created':19} {'done':>11}  model")
    async for batch in session.batches.list():
        created = f"{batch.created_at:%Y-%m-%d %H:%M:%S}" if batch.created_at else ""
        counts = batch.request_counts
        done = f"{counts.completed + counts.failed}/{counts.total}" if counts else ""
        print(f"{batch.id:38} {batch.status:12} {created:19} {done:>11}  {batch.model or ''}")
    print()


async def print_results(session: BatchSession, batch: Batch, requests: Path) -> None:
    """Print what became of each request beside its question: results come in any order, custom_id joins them."""
    text = await asyncio.to_thread(requests.read_text, "utf-8")
    questions = {
        line["custom_id"]: question(line.get("body", {}))
        for line in map(json.loads, filter(str.strip, text.split("\n")))
    }
    outcomes: Counter[str] = Counter()
    async for result in session.batches.results(batch):
        outcomes[result.outcome] += 1
        answer = result.output_text or (result.error.message if result.error else "(no text)")
        asked = questions.get(result.custom_id or "", "(not asked)")
        print(f"{result.custom_id or '?':24} {result.outcome:9}  {cut(asked, 40)}  ->  {cut(answer, 40)}")
    told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    print(f"\n{told or 'no results'} of {len(questions)} requests")


def question(body: dict[str, Any]) -> str:
    """Return the text of the last user message."""
    content = next((said["content"] for said in reversed(body.get("messages", [])) if said["role"] == "user"), "")
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def cut(text: str, width: int) -> str:
    """Return the text on one line, cut to a width."""
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


async def main() -> None:
    """Run the whole way once."""
    requests = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("requests.jsonl")
    async with AsyncExitStack() as stack:
        session = await open_session(stack)
        batch = await run(session, requests)
        await print_batches(session)
        await print_results(session, batch, requests)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (BatchesError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
