"""A server that takes uploads and forgets them: `python _sink.py` prints its port.

It runs in a process of its own, so that its CPU time is in nobody's figures. It listens on loopback alone, reads each
body by its Content-Length, answers with a file object, and stops when its standard input, a pipe, ends, or after a
while.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _lifetime import until_told

MAX_HEAD_BYTES = 64 * 1024
_BUFFER_BYTES = 1024 * 1024


def _answer(length: int) -> bytes:
    file = {
        "id": "file-52voFe6FU6MWyAwa1Uj39R",
        "object": "file",
        "bytes": length,
        "created_at": 1_774_437_191,
        "filename": "requests.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
        "expires_at": 1_777_029_191,
    }
    body = json.dumps(file).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n"
    return f"{head}x-request-id: req_5f0c2e7b9d1a4c83\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Sink(asyncio.BufferedProtocol):
    """One client's connection; what it sends lands in one buffer, again and again."""

    def __init__(self) -> None:
        self._buffer = bytearray(_BUFFER_BYTES)
        self._head = b""
        self._length = self._left = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, _: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        assert self._transport is not None
        if not self._left:
            self._head += self._buffer[:count]
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                if len(self._head) > MAX_HEAD_BYTES:
                    self._transport.abort()
                return
            lines = self._head[:end].lower().split(b"\r\n")
            lengths = [line for line in lines if line.startswith(b"content-length:")]
            if not lengths:
                self._transport.abort()
                return
            self._length = self._left = int(lengths[0].partition(b":")[2])
            count, self._head = len(self._head) - end - 4, b""
        self._left -= count
        if self._left <= 0:
            self._transport.write(_answer(self._length))


async def serve(lifetime_s: float) -> None:
    """Serve until the standard input ends, and no longer than its lifetime."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    try:
        await until_told(lifetime_s)
    finally:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lifetime-s", type=float, default=1_800.0, help="stop by itself after so many seconds")
    asyncio.run(serve(parser.parse_args().lifetime_s))


if __name__ == "__main__":
    main()
