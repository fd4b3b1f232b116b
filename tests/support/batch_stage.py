"""Batches in every state that there is, at an emulator whose clock stands still."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from support.request_lines import request_lines

from openai_batches import BatchSession
from openai_batches.cli.output import terminal as terminal_module
from openai_batches.emulator import Fault, SteppedClock, Timings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import pytest

    from openai_batches import Batch
    from openai_batches.emulator import BackgroundServer

CHAT = "/v1/chat/completions"
HOUR_S = 3_600.0


def held(**options: Any) -> dict[str, Any]:
    """The parameters of an emulator that holds its batches where they are, ten hours ago."""
    timings = Timings(validating_s=60, line_s=60, finalizing_s=60, cancelling_s=60)
    return {"clock": SteppedClock(start=time.time() - 10 * HOUR_S), "timings": timings, **options}


def ask(service: BackgroundServer, question: Callable[[BatchSession], Awaitable[Any]]) -> Any:
    """Ask the emulator something in a session of its own."""

    async def asked() -> Any:
        async with BatchSession(service.api_key, base_url=service.base_url, trust_env=False) as session:
            return await question(session)

    return asyncio.run(asked())


def submit(
    service: BackgroundServer,
    content: bytes | int = 1,
    *,
    endpoint: str = CHAT,
    metadata: dict[str, str] | None = None,
) -> str:
    """Create a batch of some content, or of so many good requests; return its id."""
    data = request_lines(*(f"r{number}" for number in range(content))) if isinstance(content, int) else content

    async def create(session: BatchSession) -> Batch:
        file = await session.files.create(data, filename="requests.jsonl")
        return await session.batches.create(input_file_id=file.id, endpoint=endpoint, metadata=metadata)

    return str(ask(service, create).id)


def cancel(service: BackgroundServer, batch_id: str) -> None:
    ask(service, lambda session: session.batches.cancel(batch_id))


def every_state(service: BackgroundServer) -> dict[str, str]:
    """Make a batch in each state; return their ids by it, oldest first."""
    ids = {"completed": submit(service, 3, metadata={"team": "search", "owner": "ann"})}
    ids["failed"] = submit(service, request_lines("a", "a", "b") + b"{broken\n")
    service.faults.add(Fault.expired_early(for_s=100))
    ids["expired"] = submit(service, 3)
    service.advance(hours=1)
    ids["cancelled"] = submit(service, 3)
    service.advance(minutes=2)
    cancel(service, ids["cancelled"])
    service.faults.add(Fault.stuck("finalizing"))
    ids["finalizing"] = submit(service, 3)
    service.advance(hours=1)
    ids["cancelling"] = submit(service, 9)
    ids["in_progress"] = submit(service, request_lines(*"abcdefgh", model="gpt-4o"))
    service.advance(minutes=3.5)
    cancel(service, ids["cancelling"])
    ids["validating"] = submit(service, 2, metadata={"team": "ads"})
    return ids


@contextlib.contextmanager
def in_terminal(monkeypatch: pytest.MonkeyPatch, *, columns: int = 80, rows: int = 30) -> Iterator[None]:
    """Have this process believe that its output goes to a terminal."""
    consoles = (terminal_module.stdout, terminal_module.stderr)
    with monkeypatch.context() as patch:
        patch.setattr(type(terminal_module.stdout()), "is_terminal", property(lambda _: True))
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("LINES", str(rows))
        for console in consoles:
            console.cache_clear()
        try:
            yield
        finally:
            for console in consoles:
                console.cache_clear()


@contextlib.contextmanager
def interrupted_when(condition: Callable[[], bool]) -> Iterator[None]:
    """Press Ctrl-C in this process, once something is so."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.005):
            if condition():
                os.kill(os.getpid(), signal.SIGINT)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def asked(service: BackgroundServer, method: str, path: str) -> int:
    """How often the emulator was asked for something."""
    return sum(request.method == method and request.path == path for request in service.requests)


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
