"""A server of one large result file that only hands out bytes: `python _results_server.py` prints its port.

The file is a stretch of rendered lines, again and again, so that the server holds little; it runs in a process of its
own. It stops when its standard input, a pipe, ends, or after a while.
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


async def serve(size: int, lifetime_s: float) -> None:
    """Serve until the standard input ends, and no longer than its lifetime."""
    chance = random.Random(1)
    stretch = b"".join(line(number, chance) for number in range(LINES))
    times = max(1, size // len(stretch))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                count = 1 if b"/small/" in head else times
                writer.write(_HEAD % (count * len(stretch)))
                for _ in range(count):
                    writer.write(stretch)
                    await writer.drain()
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
