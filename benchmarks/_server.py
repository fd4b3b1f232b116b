"""A server of batches that only hands out bytes: `python _server.py --total 30000` prints its port.

It runs in a process of its own, so that its CPU time is in nobody's figures. It listens on loopback alone, keeps
connections alive, knows GET and nothing else, and stops when its standard input, a pipe, ends, or after a while.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

from _lifetime import until_told

PAGE = 100
MAX_CONNECTIONS = 4_096
MAX_HEAD_BYTES = 64 * 1024
# More pages than these are rendered when they are asked for.
MAX_RENDERED_PAGES = 500
_PREFIX = "batch_69c3c347282c8190"
_MARK = "f" * 16
_CREATED_AT = 1_774_437_191
_HEAD = (
    b"HTTP/1.1 %d %s\r\n"
    b"Date: Wed, 25 Mar 2026 11:13:11 GMT\r\n"
    b"Content-Type: application/json\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: keep-alive\r\n"
    b"openai-version: 2020-10-01\r\n"
    b"openai-organization: org-benchmark\r\n"
    b"openai-project: proj_0123456789abcdef01234567\r\n"
    b"openai-processing-ms: 63\r\n"
    b"x-request-id: req_5f0c2e7b9d1a4c83a6e0f7d2b4c19e58\r\n"
    b"strict-transport-security: max-age=31536000; includeSubDomains; preload\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"Server: cloudflare\r\n"
    b"\r\n"
)


def batch_id(number: int) -> str:
    """Return the id of a batch; all ids are equally long."""
    return f"{_PREFIX}{number:016x}"


def _batch(batch_id: str) -> dict[str, Any]:
    """Return a completed batch, with every field the API documents."""
    return {
        "id": batch_id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "model": "gpt-5.4-mini-2026-03-05",
        "errors": None,
        "input_file_id": "file-7Xq2mVdT9bKc4RzLp8WnYs",
        "completion_window": "24h",
        "status": "completed",
        "output_file_id": "file-3HnUe6PaJt1GfBo5ZiQxCk",
        "error_file_id": None,
        "created_at": _CREATED_AT,
        "in_progress_at": _CREATED_AT + 3,
        "expires_at": _CREATED_AT + 86_400,
        "finalizing_at": _CREATED_AT + 3_600,
        "completed_at": _CREATED_AT + 3_630,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "request_counts": {"total": 1_000, "completed": 1_000, "failed": 0},
        "usage": {
            "input_tokens": 412_553,
            "input_tokens_details": {"cached_tokens": 20_480},
            "output_tokens": 187_204,
            "output_tokens_details": {"reasoning_tokens": 9_216},
            "total_tokens": 599_757,
        },
        "metadata": {"customer_id": "user_123456789", "batch_description": "Nightly eval job"},
    }


def _answer(body: bytes, status: int = 200, reason: bytes = b"OK") -> bytes:
    return _HEAD % (status, reason, len(body)) + body


class Batches:
    """The answers for so many batches, numbered from 0."""

    def __init__(self, total: int) -> None:
        self._total = total
        mark = _PREFIX + _MARK
        record = json.dumps(_batch(mark), separators=(",", ":"))
        page = {
            "object": "list",
            "data": [_batch(mark)] * PAGE,
            "first_id": mark,
            "last_id": mark,
            "has_more": True,
        }
        self._before_id, self._after_id = _answer(record.encode()).split(_MARK.encode())
        self._pieces = json.dumps(page, separators=(",", ":")).encode().split(_MARK.encode())
        self._last_pieces = [*self._pieces[:-1], self._pieces[-1].replace(b"true", b"false")]
        self._missing = _answer(b'{"error":{"message":"No such batch"}}', 404, b"Not Found")
        pages = range(0, total, PAGE) if total <= MAX_RENDERED_PAGES * PAGE else ()
        self._pages = {start: self._page(start) for start in pages}

    def _page(self, start: int) -> bytes:
        ids = [b"%016x" % number for number in range(start, start + PAGE)]
        ids += [ids[0], ids[-1]]
        pieces = self._last_pieces if start + PAGE >= self._total else self._pieces
        parts = [part for pair in zip(pieces, ids, strict=False) for part in pair]
        return _answer(b"".join([*parts, pieces[-1]]))

    def answer(self, head: bytes) -> bytes:
        """Return what a request is answered with; only its first line counts."""
        method, target, _ = head.split(b" ", 2)
        path, _, query = target.partition(b"?")
        if method != b"GET" or not path.startswith(b"/v1/batches"):
            return self._missing
        if path != b"/v1/batches":
            digits = path[-len(_MARK) :]
            return self._before_id + digits + self._after_id
        start = 0
        for parameter in query.split(b"&"):
            name, _, value = parameter.partition(b"=")
            if name == b"after":
                start = int(value[-len(_MARK) :], 16) + 1
        if start % PAGE or not 0 <= start < self._total:
            return self._missing
        return self._pages.get(start) or self._page(start)


class Connection(asyncio.Protocol):
    """One client's connection."""

    open_connections = 0

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._head = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        Connection.open_connections += 1
        self._transport = transport
        if Connection.open_connections > MAX_CONNECTIONS:
            transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        Connection.open_connections -= 1
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._head += data
        while self._transport is not None and (end := self._head.find(b"\r\n\r\n")) >= 0:
            self._transport.write(self._batches.answer(self._head))
            self._head = self._head[end + 4 :]
        if len(self._head) > MAX_HEAD_BYTES and self._transport is not None:
            self._transport.abort()


async def serve(total: int, lifetime_s: float) -> None:
    """Serve until the standard input ends, and no longer than its lifetime."""
    loop = asyncio.get_running_loop()
    batches = Batches(total)
    server = await loop.create_server(lambda: Connection(batches), "127.0.0.1", 0, backlog=MAX_CONNECTIONS)
    print(server.sockets[0].getsockname()[1], flush=True)
    try:
        await until_told(lifetime_s)
    finally:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total", type=int, default=30_000, help="how many batches there are")
    parser.add_argument("--lifetime-s", type=float, default=1_800.0, help="stop by itself after so many seconds")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.total, arguments.lifetime_s))


if __name__ == "__main__":
    main()
