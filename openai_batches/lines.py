r"""Cut a stream of bytes into lines, at ``\n`` bytes and nowhere else.

``str.splitlines`` also cuts at U+2028 or U+0085, which stand unescaped in valid JSON; bytes do not have that trouble.
"""

from __future__ import annotations

from openai_batches.errors import DecodeError

__all__ = ["LineSplitter"]


class LineSplitter:
    r"""Takes chunks as they come, gives whole lines without their ``\n``.

    Args:
        max_line_bytes: a longer line is refused rather than held.
    """

    def __init__(self, *, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._pieces: list[bytes] = []
        self._held = 0
        self._lines = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that this chunk ends.

        Raises:
            DecodeError: a line is longer than ``max_line_bytes``.
        """
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
