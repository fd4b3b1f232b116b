"""Turn what a user wants to upload into bytes of known length that can be sent more than once.

Files are read in a thread, piece by piece, and are never held whole. What cannot be read twice (a pipe, an async
iterable) is first written to an anonymous temporary file, so that its length is known and a failed upload can be
repeated.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

import attrs

from openai_batches._threads import in_thread
from openai_batches.errors import InputError

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["Chunks", "Progress", "Source", "Uploadable", "open_source", "watched"]

Uploadable: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | AsyncIterable[bytes]"
# Told how many bytes were sent, and of how many.
Progress: TypeAlias = "Callable[[int, int], object]"

# All who read a file share its position, so each file has one lock.
_locks: WeakKeyDictionary[IO[bytes], threading.Lock] = WeakKeyDictionary()
# Large enough that a thread for each piece costs little, and small enough that a slow connection sends one in time.
_PIECE_BYTES = 256 * 1024


class Chunks(Protocol):
    """A way to read the same bytes any number of times."""

    def __call__(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Return an iterator over the bytes from one position up to another, or to their end."""
        ...


@attrs.frozen(kw_only=True)
class Source:
    """Bytes that can be sent, and sent again: their name (if they have one), their number, and how to read them."""

    filename: str | None
    size: int
    chunks: Chunks


async def watched(chunks: AsyncIterator[bytes], size: int, progress: Progress) -> AsyncIterator[bytes]:
    """Yield the same bytes, and tell ``progress``: 0 at the start, then what was sent after each piece."""
    sent = 0
    progress(0, size)
    async for chunk in chunks:
        yield chunk
        # The next piece is asked for when this one was written.
        sent += len(chunk)
        progress(sent, size)


@asynccontextmanager
async def open_source(data: Uploadable) -> AsyncIterator[Source]:
    """Open something to upload; a file that is given is read from its position, and is not closed."""
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        with await in_thread(path.open, "rb") as file:
            yield await _from_file(file, path.name)
    elif isinstance(data, bytes | bytearray | memoryview):
        yield _from_bytes(bytes(data))
    elif isinstance(data, AsyncIterable):
        with tempfile.TemporaryFile() as spool:
            async for gathered in _gathered(data):
                await in_thread(spool.write, gathered)
            spool.seek(0)
            yield await _from_file(spool, None)
    elif callable(getattr(data, "read", None)):
        async with _opened_file(data) as source:
            yield source
    else:
        raise InputError(
            f"a path, bytes, a binary file or an async iterable of bytes can be uploaded, not {type(data).__name__}"
        )


async def _gathered(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Join small pieces, since each piece that is yielded is written by a thread."""
    held = bytearray()
    async for piece in pieces:
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise InputError(f"the async iterable must give bytes, it gave {type(piece).__name__}")
        held += piece
        if len(held) >= _PIECE_BYTES:
            yield bytes(held)
            held.clear()
    yield bytes(held)


@asynccontextmanager
async def _opened_file(file: IO[bytes]) -> AsyncIterator[Source]:
    if isinstance(file.read(0), str):
        raise InputError("the file is opened in text mode: open it in binary mode, with open(…, 'rb')")
    name = getattr(file, "name", None)
    filename = Path(name).name if isinstance(name, str) else None
    if file.seekable():
        yield await _from_file(file, filename)
        return
    with tempfile.TemporaryFile() as spool:
        while piece := await in_thread(file.read, _PIECE_BYTES):
            await in_thread(spool.write, piece)
        spool.seek(0)
        yield await _from_file(spool, filename)


async def _from_file(file: IO[bytes], filename: str | None) -> Source:
    lock = _lock_of(file)

    def measure() -> tuple[int, int]:
        with lock:
            origin = file.tell()
            end = file.seek(0, os.SEEK_END)
            file.seek(origin)
            return origin, end - origin

    origin, size = await in_thread(measure)

    def read_at(offset: int, count: int) -> bytes:
        # Seek and read are one step, and leave the position as it was: an aborted attempt may still be reading, and the
        # same file may be uploaded twice at once.
        with lock:
            before = file.tell()
            file.seek(origin + offset)
            piece = file.read(count)
            file.seek(before)
            return piece

    async def chunks(start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        offset, stop = start, size if stop is None else stop
        while offset < stop:
            piece = await in_thread(read_at, offset, min(_PIECE_BYTES, stop - offset))
            if not piece:
                missing = size - offset
                raise InputError(
                    f"the file became shorter while it was sent: {missing:,} of {size:,} bytes are missing"
                )
            offset += len(piece)
            yield piece

    return Source(filename=filename, size=size, chunks=chunks)


def _lock_of(file: IO[bytes]) -> threading.Lock:
    try:
        return _locks.setdefault(file, threading.Lock())
    except TypeError:
        return threading.Lock()  # what cannot be referred to weakly is known to this upload alone


def _from_bytes(data: bytes) -> Source:
    async def chunks(start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        stop = len(data) if stop is None else stop
        for offset in range(start, stop, _PIECE_BYTES):
            yield data[offset : min(offset + _PIECE_BYTES, stop)]

    return Source(filename=None, size=len(data), chunks=chunks)
