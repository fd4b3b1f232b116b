"""What the tests of hostile clients share: bytes as they are, and a server that must be unharmed afterwards."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest

from openai_batches.emulator import BatchServer, SteppedClock

LATER_S = 30.0
KEY = b"Host: x\r\nAuthorization: Bearer sk-alice\r\n"
GET = b"GET /v1/batches HTTP/1.1\r\n" + KEY
JSON = b"POST /v1/batches HTTP/1.1\r\nContent-Type: application/json\r\n" + KEY
FORM = b"POST /v1/files HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\n" + KEY
FILE_PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'


@contextlib.asynccontextmanager
async def unharmed(caplog: pytest.LogCaptureFixture, patience_s: float = LATER_S) -> AsyncIterator[BatchServer]:
    """A server that has no connection, no task, no file and no word in the log too many afterwards."""
    with caplog.at_level(logging.WARNING):
        async with BatchServer(clock=SteppedClock(), client_timeout_s=patience_s) as running:
            before = len(asyncio.all_tasks())
            yield running
            await gone(running)
            assert len(asyncio.all_tasks()) <= before
            assert [record.path for record in running.requests if (record.status or 0) >= 500] == []
            assert len(list(running.store.folder.iterdir())) == len(running.store.files.items)
    assert caplog.records == []


async def gone(server: BatchServer) -> None:
    """Return when the server holds no connection any more."""
    assert server._runner is not None
    assert server._runner.server is not None
    async with asyncio.timeout(60):
        while server._runner.server.connections:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.005)


async def connect(server: BatchServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = server.base_url.removeprefix("http://").removesuffix("/v1").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def send(server: BatchServer, *pieces: bytes, most: int = 1) -> list[tuple[int, dict[str, str], bytes]]:
    """Send bytes as they are and return at most so many answers, fewer if the server closes: status, headers, body."""
    reader, writer = await connect(server)
    answers = []
    try:
        async with asyncio.timeout(60):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            while len(answers) < most:
                head = await reader.readuntil(b"\r\n\r\n")
                start, *lines = head.decode().splitlines()
                headers = dict(line.lower().split(": ", 1) for line in lines if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                answers.append((int(start.split()[1]), headers, body))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()
    return answers
