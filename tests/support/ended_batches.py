"""Batches at the emulator that have ended, for commands that read what they left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openai_batches import Batch, BatchSession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from openai_batches.emulator import BackgroundServer

CHAT = "/v1/chat/completions"


def asked(service: BackgroundServer, ask: Callable[[BatchSession], Awaitable[Any]]) -> Any:
    """What a session with the emulator is answered."""

    async def run() -> Any:
        async with BatchSession(service.api_key, base_url=service.base_url, trust_env=False) as session:
            return await ask(session)

    return asyncio.run(run())


def created(service: BackgroundServer, lines: Iterable[bytes]) -> Batch:
    """A batch of these requests that was just created."""

    async def create(session: BatchSession) -> Batch:
        file = await session.files.create(b"".join(lines), filename="requests.jsonl")
        return await session.batches.create(input_file_id=file.id, endpoint=CHAT)

    batch: Batch = asked(service, create)
    return batch


def ended(service: BackgroundServer, lines: Iterable[bytes]) -> Batch:
    """A batch of these requests that has ended."""
    batch_id = created(service, lines).id
    batch: Batch = asked(service, lambda session: session.batches.wait(batch_id, poll=0.01))
    return batch


def output_of(service: BackgroundServer, batch: Batch, content: bytes) -> None:
    """Let the output file of a batch hold these bytes instead of its own."""
    stored = service.store.files.items[batch.output_file_id or ""]
    stored.path.write_bytes(content)
    stored.bytes = len(content)


def names() -> list[str]:
    """What is in the working folder."""
    return sorted(path.name for path in Path().iterdir())
