"""Results as lines of bytes: JSON or CSV rows, the service's own lines, or the texts of the answers."""

import io
from typing import TYPE_CHECKING, Protocol

from openai_batches.results.formats import CsvFormat, JsonlFormat
from openai_batches.results.rows import RowMaker, whole_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai_batches import BatchResult

__all__ = ["Counts", "LineMaker", "RawLines", "RowLines", "TextLines"]

_SUCCEEDED = "succeeded"
# What would end a line or a field, and the backslash that says so.
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


class Counts(Protocol):
    """Counts the answers of which not all was written."""

    @property
    def textless(self) -> int:
        """How many answers had no text, which is all that is written of them."""
        ...

    @property
    def partial(self) -> int:
        """How many answers had several choices, of which only the first is written."""
        ...


class LineMaker(Counts, Protocol):
    """Makes the bytes of results; use it in one thread at a time."""

    def made(self, results: "Sequence[BatchResult]") -> bytes:
        """Return the bytes of the next results."""
        ...

    def end(self) -> bytes:
        """Return what stands behind the last one."""
        ...


class RowLines:
    """The rows that ``write_results`` writes, as JSONL or CSV."""

    def __init__(self, format: str) -> None:
        self._maker = RowMaker()
        self._stream = io.BytesIO()
        kind = CsvFormat if format == "csv" else JsonlFormat
        self._format = kind(self._stream, self._maker.columns)

    @property
    def textless(self) -> int:
        """How many answers had no text."""
        return self._maker.textless

    @property
    def partial(self) -> int:
        """How many answers had several choices."""
        return self._maker.partial

    def made(self, results: "Sequence[BatchResult]") -> bytes:
        """Return the rows of the next results."""
        self._format.append([self._maker.row(result) for result in results])
        return self._taken()

    def end(self) -> bytes:
        """Return the line of names, if nothing was written before."""
        self._format.finish()
        return self._taken()

    def _taken(self) -> bytes:
        data = self._stream.getvalue()
        self._stream.seek(0)
        self._stream.truncate()
        return data


class RawLines:
    """The lines of the service's files, as they are."""

    def __init__(self) -> None:
        self.textless: int = 0
        self.partial: int = 0

    def made(self, results: "Sequence[BatchResult]") -> bytes:
        """Return the lines of the next results; one that is in neither file has none."""
        return b"".join([result.raw_line + b"\n" for result in results if result.raw_line])

    def end(self) -> bytes:
        """Return nothing."""
        return b""


class TextLines:
    r"""The texts of answers, one on each line; a result without one is an empty line.

    A line feed, carriage return, tab or backslash in a text is written as ``\n``, ``\r``, ``\t`` or ``\\``.
    """

    def __init__(self, *, with_ids: bool, ends_with_null: bool) -> None:
        self.textless: int = 0
        self.partial: int = 0
        self._with_ids = with_ids
        self._ends_with_null = ends_with_null

    def made(self, results: "Sequence[BatchResult]") -> bytes:
        """Return the texts of the next results."""
        end = "\0" if self._ends_with_null else "\n"
        return whole_text("".join([self._line(result) + end for result in results])).encode()

    def end(self) -> bytes:
        """Return nothing."""
        return b""

    def _line(self, result: "BatchResult") -> str:
        text = result.output_text
        if text is None:
            self.textless += result.outcome == _SUCCEEDED
            text = ""
        self.partial += result.choice_count > 1
        if not self._ends_with_null:
            text = text.translate(_ESCAPES)
        line = f"{(result.custom_id or '').translate(_ESCAPES)}\t{text}" if self._with_ids else text
        # Within a line, a byte of zero would be taken for its end.
        return line.replace("\0", "\N{REPLACEMENT CHARACTER}") if self._ends_with_null else line
