"""How a server closes: nothing of it stays behind, and nothing happens afterwards."""

import asyncio
import gc
import socket
import warnings

import pytest
from support.asking import MakeRaw, chat_file

from openai_batches.emulator import BatchServer, EchoExecutor, Fault, SteppedClock

MUCH = 32 * 1024 * 1024


def test_a_client_that_takes_nothing_keeps_no_connection() -> None:
    """An answer that nobody takes does not keep the connection open beyond the server's life."""

    async def ask_and_leave_it(client: socket.socket) -> None:
        async with BatchServer(clock=SteppedClock()) as server:
            path = server.store.new_path()
            path.write_bytes(bytes(MUCH))
            file = server.store.new_file(
                scope="sk-a", path=path, filename="a", purpose="batch", now=server.clock.now(), lifetime_s=None
            )
            host, _, port = server.base_url.removeprefix("http://").removesuffix("/v1").rpartition(":")
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, (host, int(port)))
            head = f"GET /v1/files/{file.id}/content HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-a\r\n\r\n"
            await loop.sock_sendall(client, head.encode())
            assert await loop.sock_recv(client, 1) == b"H"

    with warnings.catch_warnings(record=True) as told, socket.socket() as client:
        warnings.simplefilter("always")
        client.setblocking(False)
        asyncio.run(ask_and_leave_it(client))
        gc.collect()
    assert [str(each.message) for each in told] == []


class Hooked(EchoExecutor):
    """Counts how often it is started and closed."""

    def __init__(self) -> None:
        super().__init__()
        self.starts = self.closes = 0

    async def start(self) -> None:
        self.starts += 1

    async def close(self) -> None:
        self.closes += 1


async def test_an_executor_is_closed_once() -> None:
    """A second `close` does nothing; what was never started is not closed."""
    executor = Hooked()
    async with BatchServer(executor=executor) as server:
        await server.close()
    assert (executor.starts, executor.closes) == (1, 1)
    await BatchServer(executor=(unused := Hooked())).close()
    assert (unused.starts, unused.closes) == (0, 0)


async def test_nothing_happens_after_the_end(make_raw: MakeRaw, caplog: pytest.LogCaptureFixture) -> None:
    """What was still to come does not come any more, also for who settles or walks the clock."""
    fault = Fault.stuck("validating")
    server = await BatchServer(clock=SteppedClock(), faults=fault).start()
    raw = make_raw(server)
    file = await raw.upload(chat_file(1))
    held = await raw.create(file["id"])
    await server.advance(seconds=10)
    fresh = await raw.create(file["id"])
    await server.close()
    fault.release()
    await server.advance(hours=1)
    assert [server.store.batches.items[each["id"]].status for each in (held, fresh)] == ["validating"] * 2
    assert caplog.records == []
