"""A server of one file, which cuts its answers, and behaves as servers of files do."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from support.http_servers import Asked, RawServer, error_answer, file_json, json_answer

if TYPE_CHECKING:
    from openai_batches import BatchSession

    OpenSession = Callable[..., BatchSession]

ROW = b'{"custom_id": "r%07d", "response": {"status_code": 200, "body": {"text": "%s"}}, "error": null}\n'
DATA = b"".join(ROW % (number, random.Random(number).randbytes(20).hex().encode()) for number in range(500))
OTHER = DATA.swapcase()
OLD_DATE = "Wed, 25 Mar 2026 11:13:11 GMT"
NOW_DATE = "Wed, 25 Mar 2026 12:13:11 GMT"


@attrs.define
class Depot:
    """A server of one file, which cuts its answers after so many bytes of body, one number per answer."""

    data: bytes = DATA
    etag: str | None = '"v1"'
    modified: str | None = None
    ranges: bool = True
    framing: str = "length"  # or "chunked", or "close": until the connection ends
    encoding: str | None = None
    error: int = 0  # added to the announced length
    recorded: int | None = -1  # the length in the file's record; -1 is the right one, None: there is no record
    cuts: list[int] = attrs.field(factory=list)
    pause_s: float = 0.005
    before: Callable[[Depot, Asked], bytes | None] = lambda *_: None
    asked: list[Asked] = attrs.field(factory=list)

    async def __call__(self, asked: Asked) -> bytes | None:
        if not asked.path.endswith("/content"):
            if self.recorded is None:
                return error_answer(404)
            return json_answer(file_json(bytes=len(self.data) if self.recorded == -1 else self.recorded))
        self.asked.append(asked)
        if said := self.before(self, asked):
            return said
        head, body, announced = self._answer(asked)
        cut = self.cuts.pop(0) if self.cuts else None
        sent = body if cut is None else body[:cut]
        is_whole = sent == body and self.error <= 0 and self.framing != "close"
        if self.framing == "length":
            head += f"Content-Length: {announced + self.error}\r\n"
            sent = sent[: announced + self.error]
        elif self.framing == "chunked":
            head += "Transfer-Encoding: chunked\r\n"
            half = len(sent) // 2
            pieces = [piece for piece in (sent[:half], sent[half:]) if piece]
            sent = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
            sent += b"0\r\n\r\n" if is_whole else b""
        asked.writer.write(f"{head}\r\n".encode() + sent)
        await asked.writer.drain()
        if cut is not None:
            # What comes together with its own end is not read by aiohttp: give it a moment.
            await asyncio.sleep(self.pause_s)
            for _ in range(20):  # both sides share a loop: however late the timer was, the client has its turns
                await asyncio.sleep(0)
        return b"" if is_whole else None

    def _answer(self, asked: Asked) -> tuple[str, bytes, int]:
        status, body, head = "200 OK", self.data, f"Date: {NOW_DATE}\r\n"
        if self.encoding:
            body, head = gzip.compress(self.data), f"{head}Content-Encoding: {self.encoding}\r\n"
        names = {"ETag": self.etag, "Last-Modified": self.modified}
        head += "".join(f"{name}: {value}\r\n" for name, value in names.items() if value)
        span = asked.headers.get("Range")
        if span and self.ranges and asked.headers["If-Range"] in {self.etag, self.modified}:
            start = int(span.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return "HTTP/1.1 416 Not Satisfiable\r\n", b"", 0
            status, head = "206 Partial", f"{head}Content-Range: bytes {start}-{len(body) - 1}/{len(body)}\r\n"
            body = body[start:]
        return f"HTTP/1.1 {status}\r\n{head}", body, len(body)

    @property
    def spans(self) -> list[str | None]:
        return [asked.headers.get("Range") for asked in self.asked]


@contextlib.asynccontextmanager
async def opened(depot: Any, open_session: OpenSession, **options: Any) -> Any:
    async with RawServer(depot) as server:
        yield open_session(server, **options)


def changes(depot: Depot, _: Asked) -> None:
    """Another file at each answer; its length is the same."""
    number = len(depot.asked)
    depot.etag, depot.data = f'"v{number}"', DATA if number % 2 else OTHER


def changes_unasked(depot: Depot, asked: Asked) -> bytes | None:
    """The same, from a server that does not look at If-Range, but says which file it is."""
    changes(depot, asked)
    if "Range" in asked.headers:
        asked.headers["If-Range"] = str(depot.etag)
    return None


# Every way a server may behave.
WAYS: dict[str, dict[str, Any]] = {
    "ranges": {},
    "ranges, chunked": {"framing": "chunked"},
    "ranges, chunked, no record": {"framing": "chunked", "recorded": None},
    "ranges by date": {"etag": None, "modified": OLD_DATE},
    "ranges, no record": {"recorded": None},
    "weak etag": {"etag": 'W/"v1"', "modified": OLD_DATE},
    "no validator": {"etag": None},
    "young date": {"etag": None, "modified": NOW_DATE},
    "range ignored": {"ranges": False},
    "changing etag": {"before": changes},
    "changing etag, If-Range ignored": {"before": changes_unasked},
    "gzip": {"encoding": "gzip"},
    "gzip, chunked, no record": {"encoding": "gzip", "framing": "chunked", "recorded": None},
    "ranges, until the connection ends": {"framing": "close"},
}
