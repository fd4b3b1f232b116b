"""Read the content of a file at the service while it arrives, and go on after connections that break."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Self

from openai_batches._names import public
from openai_batches.errors import APIError, InputError, TransportError
from openai_batches.http.ranges import Patience, Ranges
from openai_batches.storage.lines import BlockSplitter, LineSplitter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from openai_batches.http.client import ByteStream
    from openai_batches.http.retries import Transport

__all__ = ["FileContent"]

_MAX_LINE_BYTES = 64 * 1024 * 1024
_MAX_READ_BYTES = 512 * 1024 * 1024

_logger = logging.getLogger("openai_batches")


@public
class FileContent:
    """The content of a file at the service, to be read once, inside its ``async with`` block, as it comes.

    Entering the block sends the request, which is retried like every GET. If the connection breaks while the content is
    read, which also happens if the reader pauses for a long time, reading resumes where it stopped: with a range
    request if the service sends a strong validator, otherwise from the start, where the bytes that were read already
    are skipped. Each byte is given once. If further attempts receive nothing new, ``TransportError`` is raised when the
    retries of the policy are used up; content that is shorter than announced is never treated as complete. Leaving the
    block releases the connection. Only pieces are held in memory, except by ``read``.

    Source: https://www.rfc-editor.org/rfc/rfc9110#name-range-requests

    Attributes:
        size: the number of bytes announced, or None. Known once the block is entered.
    """

    def __init__(self, transport: Transport, path: str, *, file_id: str) -> None:
        self.size: int | None = None
        self._transport = transport
        self._file_id = file_id
        self._ranges = Ranges(path, is_raw=False)
        self._name: str | None = None
        self._answer: AbstractAsyncContextManager[ByteStream] | None = None
        self._stream: ByteStream | None = None
        self._is_entered = self._is_open = self._is_read = False

    async def __aenter__(self) -> Self:
        """Send the request and wait for the answer's head.

        Raises:
            InputError: it was opened before.
            NotFoundError: the service has no such file, or not for this key.
            APIError: the service said no.
            TransportError: no answer came, or one that is not the whole file (204, 206).
        """
        if self._is_entered:
            raise InputError("This content was opened already: ask for it again, by another session.files.content(id)")
        self._is_entered = True
        stream = await self._ask(0)
        if stream.status != 200:
            await self._hang_up()
            raise self._incomplete(stream)
        self._is_open = True
        self.size, self._name = stream.size, self._ranges.begin(stream.headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the connection back."""
        self._is_open = False
        await self._hang_up()

    def iter_chunks(self) -> AsyncGenerator[bytes, None]:
        """Return an iterator over the bytes as they arrive, in pieces of no particular size.

        Raises:
            InputError: outside of the ``async with`` block, or it was read before.
            TransportError: while iterating, when connections break and it gets no further, or the file has changed.
            APIError: while iterating, when the service said no to being asked again.
        """
        return self._chunks(self._taken())

    def iter_lines(self, *, max_line_bytes: int = _MAX_LINE_BYTES) -> AsyncGenerator[bytes, None]:
        r"""Return an iterator over the lines as bytes, split at ``\n`` alone and without it; the last needs no ``\n``.

        Args:
            max_line_bytes: a longer line is refused rather than held in memory.

        Raises:
            InputError: outside of the ``async with`` block, or it was read before.
            DecodeError: while iterating, when a line is longer than ``max_line_bytes``.
            TransportError: as for ``iter_chunks``.
            APIError: as for ``iter_chunks``.
        """
        return self._split(LineSplitter(max_line_bytes=max_line_bytes))

    def iter_line_blocks(self, *, max_line_bytes: int = _MAX_LINE_BYTES) -> AsyncGenerator[bytes, None]:
        r"""Return an iterator over blocks of as many lines as have arrived, each with its ``\n``; the last needs none.

        Args:
            max_line_bytes: a longer line is refused rather than held in memory.

        Raises:
            InputError: outside of the ``async with`` block, or it was read before.
            DecodeError: while iterating, when a line is longer than ``max_line_bytes``.
            TransportError: as for ``iter_chunks``.
            APIError: as for ``iter_chunks``.
        """
        return self._split(BlockSplitter(max_line_bytes=max_line_bytes))

    async def read(self, *, max_bytes: int = _MAX_READ_BYTES) -> bytes:
        """Return the whole content.

        Args:
            max_bytes: larger content is refused, 512 MiB unless said otherwise: it would be held in memory.

        Raises:
            InputError: outside of the ``async with`` block, or it was read before.
            TransportError: the content is larger than ``max_bytes``, or as for ``iter_chunks``.
            APIError: as for ``iter_chunks``.
        """
        chunks = self.iter_chunks()
        pieces: list[bytes] = []
        left = max_bytes
        if (self.size or 0) <= max_bytes:
            async for chunk in chunks:
                pieces.append(chunk)
                left -= len(chunk)
                if left < 0:
                    break
            else:
                return b"".join(pieces)
        text = f"File {self._file_id} is larger than max_bytes={max_bytes:,}: raise it, or read it with iter_lines()"
        raise TransportError(text, can_pass=False)

    async def _split(self, splitter: LineSplitter | BlockSplitter) -> AsyncGenerator[bytes, None]:
        async for chunk in self.iter_chunks():
            for piece in splitter.feed(chunk):
                yield piece
        if rest := splitter.rest():
            yield rest

    def _taken(self) -> ByteStream:
        """Return the stream; a second call fails, since its bytes can be read only once."""
        if self._stream is None:
            raise InputError("File content is read inside its block: async with session.files.content(id) as content")
        if self._is_read:
            raise InputError("This content was read already: ask for it again, by another session.files.content(id)")
        self._is_read = True
        return self._stream

    async def _chunks(self, stream: ByteStream) -> AsyncGenerator[bytes, None]:
        patience = Patience(self._transport)
        done = passing = 0
        while True:
            try:
                async for chunk in stream.iter_chunks():
                    fresh = chunk[passing:] if passing else chunk
                    passing -= len(chunk) - len(fresh)
                    if fresh:
                        done += len(fresh)
                        yield fresh
                self._check_end(done, passing)
            except TransportError as error:
                cut = error
            else:
                return
            stream, passing = await self._asked_again(cut, patience, done)

    def _check_end(self, done: int, passing: int) -> None:
        """Check that an answer that ended without an error is complete."""
        if passing:
            text = f"File {self._file_id} ends at byte {done - passing:,}, and {done:,} were read before"
            raise TransportError(text, can_pass=False)
        if self.size is not None and done < self.size:
            raise TransportError(f"File {self._file_id}: the answer ended at byte {done:,} of {self.size:,}")

    async def _asked_again(self, cut: TransportError, patience: Patience, done: int) -> tuple[ByteStream, int]:
        """Ask again after a failure; return the new answer, and how many of its bytes were read before."""
        # Outside of the block nobody reads any further.
        while self._is_open:
            delay_s = patience.pause_s(cut, done)
            if delay_s is None:
                cut.add_note(f"{done:,} bytes of file {self._file_id} had been read")
                break
            _logger.info("File %s: cut after %d bytes, next in %.1f s: %s", self._file_id, done, delay_s, cut)
            await self._hang_up()
            await asyncio.sleep(delay_s)
            offset = done if self._ranges.validator else 0
            try:
                stream = await self._ask(offset)
            except APIError as error:
                if error.status != 416 or not offset:
                    raise
                cut = self._ranges.distrust("the service has no such range")
                continue
            try:
                return stream, self._passing(stream, offset, done)
            except TransportError as error:
                cut = error
        raise cut

    def _passing(self, stream: ByteStream, offset: int, done: int) -> int:
        """Return how many bytes of this answer were read before; raise if it is the answer of another content."""
        if stream.status == 206:
            self._ranges.go_on(stream, offset, self.size)
            return 0
        if stream.status != 200:
            raise self._incomplete(stream)
        pairs = ((self._name, self._ranges.begin(stream.headers)), (self.size, stream.size))
        if any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise TransportError(f"File {self._file_id} is not the same any more as when it was begun", can_pass=False)
        return done

    async def _ask(self, offset: int) -> ByteStream:
        answer = self._transport.stream(self._ranges.request(offset))
        self._stream = await answer.__aenter__()
        self._answer = answer
        return self._stream

    async def _hang_up(self) -> None:
        answer, self._answer, self._stream = self._answer, None, None
        if answer is not None:
            await answer.__aexit__(None, None, None)

    def _incomplete(self, stream: ByteStream) -> TransportError:
        text = f"File {self._file_id}: the service answered {stream.status}, which is not the whole content"
        return TransportError(text, can_pass=False)
