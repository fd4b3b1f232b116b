r"""Split a stream of bytes into lines, or into blocks of whole lines.

Lines end with ``\n`` alone: ``str.splitlines`` also splits at U+2028 and U+0085, which may stand in valid JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from openai_batches.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BlockSplitter", "LineSplitter"]


class LineSplitter:
    r"""Takes chunks as they come, gives whole lines without their ``\n``."""

    def __init__(self, *, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._pieces: list[bytes] = []
        self._held = 0
        self._lines = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that this chunk ends."""
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines:
            if self._pieces:
                lines[0] = b"".join((*self._pieces, lines[0]))
                self._pieces.clear()
                self._held = 0
            self._lines += len(lines)
        if rest:
            self._pieces.append(rest)
            self._held += len(rest)
            if self._held > self._max_line_bytes:
                number = self._lines + 1
                raise DecodeError(f"Line {number} is longer than {self._max_line_bytes:,} bytes", line_number=number)
        return lines

    def rest(self) -> bytes:
        r"""Return what stands after the last ``\n``."""
        return b"".join(self._pieces)


class BlockSplitter:
    r"""Takes chunks as they come, gives blocks of whole lines, ``\n`` included.

    A block is larger than ``block_bytes`` only if one line is: what fits into the processor's cache is read faster.
    """

    def __init__(self, *, max_line_bytes: int, block_bytes: int = 32 * 1024) -> None:
        self._max_line_bytes = max_line_bytes
        self._block_bytes = block_bytes
        self._pieces: list[bytes] = []
        self._held = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that this chunk ends."""
        start = 0
        while end := chunk.rfind(b"\n", start, start + self._block_bytes) + 1 or chunk.find(b"\n", start) + 1:
            block = chunk[start:end]
            if self._pieces:
                block = b"".join((*self._pieces, block))
                self._pieces.clear()
                self._held = 0
            start = end
            yield block
        if start < len(chunk):
            self._pieces.append(chunk[start:])
            self._held += len(chunk) - start
            if self._held > self._max_line_bytes:
                raise DecodeError(f"A line is longer than {self._max_line_bytes:,} bytes")

    def rest(self) -> bytes:
        r"""Return what stands after the last ``\n``."""
        return b"".join(self._pieces)
