"""What the emulator's tests share: a server whose time stands still, and clients."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import openai
import pytest
from aiohttp import web
from support.asking import Raw
from support.receiving import Receiver
from support.working import WorkMaker

from openai_batches.emulator import BatchServer, SteppedClock
from openai_batches.emulator.threads import Threads


@pytest.fixture
async def server() -> AsyncIterator[BatchServer]:
    async with BatchServer(clock=SteppedClock()) as running:
        yield running


@pytest.fixture
async def make_raw() -> AsyncIterator[Callable[..., Raw]]:
    async with aiohttp.ClientSession() as session:
        yield lambda server, key="sk-alice": Raw(session, server.base_url, key)


@pytest.fixture
def raw(server: BatchServer, make_raw: Callable[..., Raw]) -> Raw:
    return make_raw(server)


@pytest.fixture
async def sdk(server: BatchServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="sk-alice", max_retries=0) as client:
        yield client


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}/hook"
    yield receiver
    await runner.cleanup()


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[WorkMaker]:
    threads = Threads(4, "test")
    yield WorkMaker(tmp_path, threads)
    threads.close()
