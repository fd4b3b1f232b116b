"""A server on the loopback that says exactly what a test wants it to say, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import socket
import ssl
import struct
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

import attrs
import trustme
from multidict import CIMultiDict

from openai_batches import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from openai_batches import BatchSession

    # What the fixture `open_session` gives.
    OpenSession = Callable[..., BatchSession]

KEY = "sk-test-4f5a0b7c1d9e"
CHAT = "/v1/chat/completions"
# Enough attempts for every test, and no waiting between them.
QUICK = RetryPolicy(attempts=5, initial_delay_s=0.001, max_delay_s=0.004)
ONCE = RetryPolicy(attempts=1)
# Made for this run alone, and trusted by nobody who is not told to.
AUTHORITY = trustme.CA()


@attrs.define
class Asked:
    """One request, exactly as it stood on the wire; its body is read when the test asks for it."""

    method: str
    target: str
    headers: CIMultiDict[str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _body: bytes | None = None

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    async def body(self) -> bytes:
        if self._body is None:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                parts = []
                while size := int(await self.reader.readline(), 16):
                    parts.append(await self.reader.readexactly(size))
                    await self.reader.readline()
                await self.reader.readline()
                self._body = b"".join(parts)
            else:
                self._body = await self.reader.readexactly(int(self.headers.get("Content-Length", "0")))
        return self._body

    async def json(self) -> Any:
        return json.loads(await self.body())

    def reset(self) -> None:
        """Break the connection, as a crashed server does."""
        sock = self.writer.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class RawServer:
    """Answers each request with the bytes that are given, or that a function returns; None closes the connection."""

    def __init__(
        self, handler: bytes | Callable[[Asked], bytes | Awaitable[bytes | None] | None], *, tls: bool = False
    ) -> None:
        self.handler = handler
        self.asked: list[Asked] = []
        self.connections = 0
        self.was_asked = asyncio.Event()
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def origin(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    @property
    def lines(self) -> list[str]:
        """What was asked, as ``METHOD target``."""
        return [f"{asked.method} {asked.target}" for asked in self.asked]

    async def __aenter__(self) -> Self:
        context = None
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            AUTHORITY.issue_cert("127.0.0.1", "localhost").configure_cert(context)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._converse(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
            first, *lines = head.split("\r\n")[:-2]
            method, target, _ = first.split(" ")
            headers = CIMultiDict(line.split(": ", 1) for line in lines)
            asked = Asked(method, target, headers, reader, writer)
            self.asked.append(asked)
            self.was_asked.set()
            said = self.handler(asked) if callable(self.handler) else self.handler
            if inspect.isawaitable(said):
                said = await said
            if said is None:
                return
            await asked.body()
            writer.write(said)
            await writer.drain()


def answer(status: int = 200, body: bytes | str = b"", **headers: str) -> bytes:
    """One whole answer; underscores in the names of headers stand for hyphens."""
    body = body.encode() if isinstance(body, str) else body
    reason = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Whatever"
    given = {"Content_Length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status} {reason}\r\n{lines}\r\n".encode() + body


def json_answer(value: Any, status: int = 200, **headers: str) -> bytes:
    return answer(status, json.dumps(value), Content_Type="application/json", **headers)


def error_answer(status: int, message: str = "no", *, code: str | None = None, **headers: str) -> bytes:
    error = {"message": message, "type": "some_error", "param": None, "code": code}
    return json_answer({"error": error}, status, **headers)


def batch_json(batch_id: str = "batch_1", **fields: Any) -> dict[str, Any]:
    return {
        "id": batch_id,
        "object": "batch",
        "endpoint": CHAT,
        "input_file_id": "file-in",
        "completion_window": "24h",
        "status": "in_progress",
        "created_at": 1_750_000_000,
        **fields,
    }


def file_json(file_id: str = "file-1", **fields: Any) -> dict[str, Any]:
    wire = {"id": file_id, "object": "file", "bytes": 3, "created_at": 1_750_000_000}
    return {**wire, "filename": "in.jsonl", "purpose": "batch", "status": "processed", **fields}


def chat_line(custom_id: str, text: str = "hi") -> bytes:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}).encode() + b"\n"


def chat_lines(count: int) -> bytes:
    return b"".join(chat_line(f"r{index}", f"question {index}") for index in range(count))
