"""A server of one large result file that only hands out bytes: `python _results_server.py` prints its port.

The file is a stretch of rendered lines, again and again, so that the server holds little; it runs in a process of its
own. It stops when its standard input, a pipe, ends, or after a while.

Below `/counted` it hands out in small pieces, knows a batch for each file, and says at `/counted/sent` how many bytes
of files have left it since it was asked before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _lifetime import until_told

LINES = 20_000
_WORDS = ["the", "answer", "of", "a", "model", "has", "words,", '"quotes"', "numbers", "42,", "lines\n", "and", "é"]
_PIECE_BYTES = 64 * 1024
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\nx-request-id: req_1\r\n\r\n"
)


def line(number: int, chance: random.Random) -> bytes:
    """Return a line of an output file, of 1 to 2 kB, with every field of a chat completion."""
    written = chance.randint(60, 190)
    text = " ".join(chance.choices(_WORDS, k=written))
    message = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    details = {"audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    body = {
        "id": f"chatcmpl-{number:024x}",
        "object": "chat.completion",
        "created": 1_774_437_191,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 120,
            "completion_tokens": written,
            "total_tokens": 120 + written,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, **details},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_0123456789",
    }
    response = {"status_code": 200, "request_id": f"{number * 7:032x}", "body": body}
    record = {"id": f"batch_req_{number:032x}", "custom_id": f"request-{number}", "response": response, "error": None}
    return json.dumps(record).encode() + b"\n"


def answer_of(document: object) -> bytes:
    """Return an answer with a JSON document."""
    body = json.dumps(document).encode()
    return _HEAD % len(body) + body


def batch_of(path: bytes) -> dict[str, object]:
    """Return the batch whose output file has the name that the batch has in the path."""
    batch_id = path.rpartition(b"/")[2].decode()
    return {
        "id": batch_id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "input",
        "completion_window": "24h",
        "status": "completed",
        "created_at": 1_774_437_191,
        "output_file_id": batch_id.removeprefix("batch_"),
    }


class Counting:
    """Hands out a file in small pieces, and counts those that somebody took."""

    def __init__(self) -> None:
        self._sent = 0

    async def hand_out(self, writer: asyncio.StreamWriter, stretch: bytes) -> None:
        for start in range(0, len(stretch), _PIECE_BYTES):
            piece = stretch[start : start + _PIECE_BYTES]
            writer.write(piece)
            await writer.drain()
            self._sent += len(piece)

    def taken(self) -> int:
        sent, self._sent = self._sent, 0
        return sent


async def serve(size: int, lifetime_s: float) -> None:
    """Serve until the standard input ends, and no longer than its lifetime."""
    chance = random.Random(1)
    stretch = b"".join(line(number, chance) for number in range(LINES))
    times = max(1, size // len(stretch))

    counting = Counting()

    async def hand_out(path: bytes, writer: asyncio.StreamWriter) -> None:
        if path == b"/counted/sent":
            writer.write(answer_of({"bytes": counting.taken()}))
            return
        if path.startswith(b"/counted/batches/"):
            writer.write(answer_of(batch_of(path)))
            return
        count = 1 if b"/small/" in path else times
        writer.write(_HEAD % (count * len(stretch)))
        for _ in range(count):
            if path.startswith(b"/counted/"):
                await counting.hand_out(writer, stretch)
            else:
                writer.write(stretch)
                await writer.drain()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await hand_out(head.split(b" ", 2)[1], writer)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], len(stretch), times, flush=True)
    try:
        await until_told(lifetime_s)
    finally:
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000_000, help="bytes of the file, about")
    parser.add_argument("--lifetime-s", type=float, default=3_600.0, help="stop by itself after so many seconds")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.size, arguments.lifetime_s))


if __name__ == "__main__":
    main()
