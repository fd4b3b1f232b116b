"""Faults of answers' bodies: cut, truncated, dripping, of another length or range than they say."""

import asyncio
import io
from typing import Literal, Self, Unpack

import attrs
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from openai_batches.emulator.answers import NoAnswer, StreamedAnswer, abort
from openai_batches.emulator.faults.aim import AimedFault, Where
from openai_batches.emulator.faults.cases import CONTENT, Case
from openai_batches.emulator.faults.kinds import field, kind

_CHUNK_BYTES = 256 * 1024
# Long enough for the peer to read what was sent before the reset overtakes it.
_BEFORE_RESET_S = 0.02

_Ending = Literal["whole", "closed", "reset"]


@attrs.frozen(kw_only=True)
class _Cut:
    """How much of a body passes before it breaks; None is half of it."""

    after_bytes: int | None = field(least=0)


@attrs.frozen(kw_only=True)
class _Truncation(_Cut):
    """Whether the body is sent in chunks, without a `Content-Length`."""

    is_chunked: bool = field()


@attrs.frozen(kw_only=True)
class _Rate:
    """In pieces of which size a body drips, and how fast in bytes per real second."""

    bytes_per_s: float = field(above=0)
    piece_bytes: int = field(above=0)


@attrs.frozen(kw_only=True)
class _Length:
    """How much larger the `Content-Length` is than the body, in bytes; negative is smaller."""

    off_by: int = field()


class SpoiledAnswer(web.StreamResponse):
    """An answer whose body does not come as it is announced.

    `stop` is how many of its bytes are sent, None is all; `ending` is what follows them: the end as it should be, the
    end of the connection, or a reset. They are sent in pieces, with `pause_s` real seconds between two of them, and
    the announced length is `off_by` bytes larger than the body.
    """

    def __init__(
        self,
        answer: StreamedAnswer,
        case: Case,
        *,
        stop: int | None = None,
        ending: _Ending = "whole",
        off_by: int = 0,
        is_chunked: bool = False,
        piece_bytes: int = _CHUNK_BYTES,
        pause_s: float = 0.0,
    ) -> None:
        kept = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
        super().__init__(status=answer.status, headers=kept)
        self._answer = answer
        self._stop = answer.span if stop is None else min(stop, answer.span)
        self._ending = ending
        self._piece_bytes, self._pause_s, self._closing = piece_bytes, pause_s, case.closing
        self._surplus = b""
        if is_chunked:
            self.enable_chunked_encoding()
            return
        self.content_length = max(0, answer.span + off_by)
        if off_by < 0:
            answer.source.seek(answer.first + self.content_length)
            self._surplus = answer.source.read(answer.span - self.content_length)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head, what is to come of the body, and the end."""
        try:
            writer = await super().prepare(request)
            await self._send()
        finally:
            self._answer.close()
        if self._ending == "whole":
            return writer
        if self._ending == "reset":
            await asyncio.sleep(_BEFORE_RESET_S)
            abort(request)
        elif request.transport is not None:
            # Directly, since aiohttp does not send more than was announced.
            request.transport.write(self._surplus)
            request.transport.close()
        raise ConnectionResetError("the emulator spoiled the body")

    async def _send(self) -> None:
        source, left = self._answer.source, self._stop
        source.seek(self._answer.first)
        while left and not self._closing.is_set():
            piece = await asyncio.to_thread(source.read, min(left, self._piece_bytes))
            left -= len(piece)
            await self.write(piece)
            if left and self._pause_s:
                await asyncio.sleep(self._pause_s)


async def _streamed(case: Case) -> web.StreamResponse:
    """Do what was asked, and return an answer with a body as one that is read while it is sent."""
    answer = await case.act()
    if isinstance(answer, web.Response) and not isinstance(answer, NoAnswer) and isinstance(answer.body, bytes):
        headers = {"Content-Type": answer.headers["Content-Type"]}
        source = io.BytesIO(answer.body)
        return StreamedAnswer(source, start=0, length=len(answer.body), status=answer.status, headers=headers)
    return answer


async def _cut(case: Case, cut: _Cut, ending: _Ending, *, is_chunked: bool = False) -> web.StreamResponse:
    answer = await _streamed(case)
    if not isinstance(answer, StreamedAnswer):
        return answer
    stop = answer.span // 2 if cut.after_bytes is None else cut.after_bytes
    return SpoiledAnswer(answer, case, stop=stop, ending=ending, is_chunked=is_chunked)


async def _cut_body(case: Case, cut: _Cut) -> web.StreamResponse:
    return await _cut(case, cut, "reset")


async def _truncated(case: Case, cut: _Truncation) -> web.StreamResponse:
    return await _cut(case, cut, "closed", is_chunked=cut.is_chunked)


async def _slow_drip(case: Case, rate: _Rate) -> web.StreamResponse:
    answer = await _streamed(case)
    if not isinstance(answer, StreamedAnswer):
        return answer
    pause_s = rate.piece_bytes / rate.bytes_per_s
    return SpoiledAnswer(answer, case, piece_bytes=rate.piece_bytes, pause_s=pause_s)


async def _wrong_length(case: Case, length: _Length) -> web.StreamResponse:
    answer = await _streamed(case)
    if not isinstance(answer, StreamedAnswer):
        return answer
    return SpoiledAnswer(answer, case, ending="closed", off_by=length.off_by)


async def _range_ignored(case: Case) -> web.StreamResponse:
    headers = case.request.headers.copy()
    headers.popall("Range", None)
    return await case.handler(case.request.clone(headers=headers))


class BodyFaults(AimedFault):
    """Names the faults of bodies."""

    __slots__ = ()

    @classmethod
    @kind(_cut_body, _Cut)
    def cut_body(cls, *, after_bytes: int | None = None, **where: Unpack[Where]) -> Self:
        """Act, announce the whole answer, send a part of its body and reset the connection."""
        return cls("cut_body", after_bytes=after_bytes, **where)

    @classmethod
    @kind(_truncated, _Truncation)
    def truncated(cls, *, after_bytes: int | None = None, is_chunked: bool = False, **where: Unpack[Where]) -> Self:
        """Act, send a part of the body and close the connection in good order, short of its length or last chunk."""
        return cls("truncated", after_bytes=after_bytes, is_chunked=is_chunked, **where)

    @classmethod
    @kind(_slow_drip, _Rate)
    def slow_drip(cls, *, bytes_per_s: float = 1024.0, piece_bytes: int = 16, **where: Unpack[Where]) -> Self:
        """Act, and send the answer's body in tiny pieces at the given rate."""
        return cls("slow_drip", bytes_per_s=bytes_per_s, piece_bytes=piece_bytes, **where)

    @classmethod
    @kind(_wrong_length, _Length)
    def wrong_length(cls, *, off_by: int = 10, **where: Unpack[Where]) -> Self:
        """Act, and send the whole body under a `Content-Length` that is too large, or too small if negative."""
        return cls("wrong_length", off_by=off_by, **where)

    @classmethod
    @kind(_range_ignored, subject="answer", method="GET", path=CONTENT)
    def range_ignored(cls, **where: Unpack[Where]) -> Self:
        """Answer a request for a range with 200 and all bytes."""
        return cls("range_ignored", **where)
