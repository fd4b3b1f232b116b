r"""Requests from wherever they are, as blocks of whole lines.

Nothing is checked or repaired here, and one block is held at a time. Files are read, unpacked and cut in a thread,
without a step of Python for each line. Iterables are also advanced in a thread, since a generator may block.
"""

from __future__ import annotations

import asyncio
import io
import os
import zlib
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypeVar

from openai_batches._threads import in_threads
from openai_batches.errors import InputError
from openai_batches.requests.request import BatchRequest, RequestItem, as_line

__all__ = ["MAX_LINE_BYTES", "RequestSource", "blocks_of", "blocks_of_path", "iter_blocks"]

T = TypeVar("T")

RequestSource: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryIO
    | Iterable[RequestItem]
    | AsyncIterable[RequestItem]
)

BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 64 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 31
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BUFFER_BYTES = 128 * 1024
# How long an async iterable that never waits may keep the event loop busy.
_BUSY_S = 0.002


async def iter_blocks(
    source: RequestSource, *, block_bytes: int = BLOCK_BYTES, max_line_bytes: int = MAX_LINE_BYTES
) -> AsyncIterator[bytes]:
    r"""Yield the lines of a source in blocks of whole lines, as they stand, each ended by ``\n``.

    A path is a ``.jsonl`` file, plain or packed with gzip or zstd, which its first bytes say, or its name. An iterable
    is iterated in worker threads, one at a time but not always the same one, and as far ahead as one block: what may
    be used in one thread alone belongs in an async iterable. A file that is open in binary mode is read from where it
    stands, and is not closed. Leaving early closes generators and opened files.

    A block with a line longer than ``block_bytes`` may have twice the bytes of that line; a line longer than
    ``max_line_bytes`` is an error.
    """
    if isinstance(source, AsyncIterable):
        async for block in _blocks_of_async(source, block_bytes, max_line_bytes):
            yield block
        return
    async with aclosing(in_threads(blocks_of(source, block_bytes, max_line_bytes))) as blocks:
        async for block in blocks:
            yield block


def blocks_of_path(
    path: str | os.PathLike[str], block_bytes: int = BLOCK_BYTES, *, max_line_bytes: int = MAX_LINE_BYTES
) -> Generator[bytes, None, None]:
    """Yield the lines of a file as :func:`iter_blocks` does; for use in a thread."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"'{path}' is a folder: requests are read from a file")
    try:
        # Counting lines costs more than reading them, and only one error names a line.
        yield from _blocks_of_path(path, block_bytes, max_line_bytes, is_counted=not path.is_file())
    except _UncountedLineError as error:
        for _ in _blocks_of_path(path, block_bytes, max_line_bytes, is_counted=True):
            pass
        raise InputError(f"a line of '{path}' is longer than {max_line_bytes:,} bytes") from error


def _blocks_of_path(
    path: Path, block_bytes: int, max_line_bytes: int, *, is_counted: bool
) -> Generator[bytes, None, None]:
    with path.open("rb") as file:
        yield from _blocks_of_file(file, str(path), block_bytes, max_line_bytes, is_counted=is_counted)


def blocks_of(
    source: Any, block_bytes: int = BLOCK_BYTES, max_line_bytes: int = MAX_LINE_BYTES
) -> Generator[bytes, None, None]:
    """Yield the lines of a source that is no async iterable as :func:`iter_blocks` does; for use in a thread."""
    if isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{")):
        raise InputError("a str is the path of a file; lines in a str are given in a list, or as bytes")
    if isinstance(source, str | os.PathLike):
        return blocks_of_path(source, block_bytes, max_line_bytes=max_line_bytes)
    if isinstance(source, bytes | bytearray | memoryview):
        return _blocks_of_open(io.BytesIO(source), block_bytes, max_line_bytes)
    if callable(getattr(source, "read", None)):
        if isinstance(source.read(0), str):
            raise InputError("the file is opened in text mode: open it in binary mode, with open(…, 'rb')")
        return _blocks_of_open(source, block_bytes, max_line_bytes)
    if isinstance(source, Mapping | BatchRequest):
        raise InputError("a single request is given in a list")
    if not isinstance(source, Iterable):
        raise InputError(f"requests come from a path, a file, or an iterable, not from {type(source).__name__}")
    return _blocks_of_items(source, block_bytes, max_line_bytes)


class _Borrowed(io.RawIOBase):
    """A file of the caller's, which is read but never closed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def _blocks_of_open(file: BinaryIO, block_bytes: int, max_line_bytes: int) -> Generator[bytes, None, None]:
    name = getattr(file, "name", None)
    with io.BufferedReader(_Borrowed(file), _BUFFER_BYTES) as reader:
        name = name if isinstance(name, str) else "the file"
        yield from _blocks_of_file(reader, name, block_bytes, max_line_bytes, is_counted=True)


def _blocks_of_file(
    file: io.BufferedReader[Any], name: str, block_bytes: int, max_line_bytes: int, *, is_counted: bool
) -> Generator[bytes, None, None]:
    def cut(readinto: Callable[[Any], int | None]) -> Generator[bytes, None, None]:
        return _cut(readinto, name, block_bytes, max_line_bytes, is_counted=is_counted)

    head = file.peek(len(_ZSTD_MAGIC))
    if head and (head.startswith(_GZIP_MAGIC) or name.endswith(".gz")):
        with _said_of(name, zlib.error, EOFError):
            yield from cut(_Unpacked(file, lambda: zlib.decompressobj(wbits=_GZIP_WBITS)).readinto)
    elif head and (head.startswith(_ZSTD_MAGIC) or name.endswith(".zst")):
        zstd = _zstandard(name)
        with _said_of(name, zstd.ZstdError, EOFError):
            yield from cut(_Unpacked(file, zstd.ZstdDecompressor().decompressobj).readinto)
    else:
        yield from cut(file.readinto)


@contextmanager
def _said_of(name: str, *errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise InputError(f"{name!r} cannot be unpacked, it is cut or broken: {error}") from error


def _zstandard(name: str) -> Any:
    try:
        return import_module("zstandard")  # an extra, which few need
    except ImportError as error:
        raise InputError(f"{name!r}: zstd needs the package zstandard: pip install 'openai_batches[zstd]'") from error


class _Unpacked:
    """A file of gzip's members or zstd's frames, unpacked as it is read; ``unpacker`` makes what unpacks the next.

    Unlike zstandard's own reader it notices a frame that is cut.
    """

    # Zeros are packed 1,000 : 1 by gzip, 30,000 : 1 by zstd: a piece is small until the ratio of the last is known.
    _LEAST, _MOST, _PLENTY = 256, 32 * 1024, 256 * 1024

    def __init__(self, file: io.BufferedReader[Any], unpacker: Callable[[], Any]) -> None:
        self._file = file
        self._unpacker = unpacker
        self._frame: Any = None
        self._frames = 0
        self._packed = b""
        self._ready = memoryview(b"")
        self._size = self._LEAST

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer what fits; 0 is the end."""
        while not self._ready:
            self._packed = self._packed or self._file.read(self._size)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("it ends too early")
                return 0
            self._unpack()
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _unpack(self) -> None:
        if self._frame is None:
            # The last member may be filled up with zeros, with which no other begins.
            self._packed = self._packed.lstrip(b"\0") if self._frames else self._packed
            if not self._packed:
                return
            self._frame = self._unpacker()
            self._frames += 1
        piece = self._frame.decompress(self._packed)
        self._packed = b""
        if self._frame.eof:
            self._packed = self._frame.unused_data
            self._frame = None
        self._ready = memoryview(piece)
        self._size = min(2 * self._size, self._MOST) if len(piece) < self._PLENTY else self._LEAST


class _UncountedLineError(Exception):
    """A line is too long, and the lines before it were not counted."""


def _cut(
    readinto: Callable[[Any], int | None], name: str, block_bytes: int, max_line_bytes: int, *, is_counted: bool
) -> Generator[bytes, None, None]:
    """Yield what can be read, cut after the last line end that fits."""
    most = max_line_bytes + 1
    size = min(max(block_bytes, 1), most)
    buffer = bytearray(size)
    held = lines = 0
    while True:
        with memoryview(buffer) as view:
            while held < len(buffer) and (count := readinto(view[held:])):
                held += count
            is_end = held < len(buffer)
            end = held if is_end else buffer.rfind(b"\n") + 1
            block = bytes(view[:end])
            # What is left of the next line moves to the front.
            view[: held - end] = view[end:held]
        held -= end
        if block:
            # The last line of all may have no end.
            lines += block.count(b"\n") if is_counted else 0
            yield block if block.endswith(b"\n") else block + b"\n"
        if is_end:
            return
        # It is freed before the next is made: else the allocator takes new pages for each.
        del block
        if held == most:
            raise _too_long(lines + 1, max_line_bytes, name) if is_counted else _UncountedLineError
        # A long line has made the buffer grow, which the next ones do not need.
        del buffer[max(size, held) :]
        if held == len(buffer):
            buffer.extend(bytes(min(held, most - held)))


def _too_long(number: int, max_line_bytes: int, name: str = "") -> InputError:
    return InputError(f"line {number:,}{name and f' of {name!r}'} is longer than {max_line_bytes:,} bytes")


class _Gathering:
    """Lines that become a block when they are enough."""

    def __init__(self, block_bytes: int, max_line_bytes: int) -> None:
        self._block_bytes = block_bytes
        self._max_line_bytes = max_line_bytes
        self._lines: list[bytes] = []
        self._held = 0
        self._number = 0

    def add(self, item: Any) -> bytes:
        """Take one item; return a block that is full without it, or nothing."""
        self._number += 1
        try:
            line = as_line(item)
        except InputError as error:
            raise InputError(f"item {self._number:,} of the requests: {error}") from error.__cause__
        if len(line) > self._max_line_bytes:
            raise _too_long(self._number, self._max_line_bytes)
        full = self.rest() if self._held + len(line) >= self._block_bytes else b""
        self._lines.append(line)
        self._held += len(line) + 1
        return full

    def rest(self) -> bytes:
        """Return the block of what is held, or nothing."""
        if not self._lines:
            return b""
        self._lines.append(b"")
        block = b"\n".join(self._lines)
        self._lines.clear()
        self._held = 0
        return block


def _blocks_of_items(items: Iterable[Any], block_bytes: int, max_line_bytes: int) -> Generator[bytes, None, None]:
    gathering = _Gathering(block_bytes, max_line_bytes)
    iterator = iter(items)
    try:
        for item in iterator:
            if full := gathering.add(item):
                yield full
    finally:
        if isinstance(iterator, Generator):
            iterator.close()
    if rest := gathering.rest():
        yield rest


async def _blocks_of_async(items: AsyncIterable[Any], block_bytes: int, max_line_bytes: int) -> AsyncIterator[bytes]:
    gathering = _Gathering(block_bytes, max_line_bytes)
    clock = asyncio.get_running_loop().time
    rested_at = clock()
    async for item in items:
        if full := gathering.add(item):
            yield full
        if clock() - rested_at > _BUSY_S:
            await asyncio.sleep(0)
            rested_at = clock()
    if rest := gathering.rest():
        yield rest
