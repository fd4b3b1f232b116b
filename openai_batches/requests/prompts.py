"""Prompts from a file: the rows of a table in CSV, lines of JSON, or lines of text, one at a time.

Source: https://www.rfc-editor.org/rfc/rfc4180 (CSV), https://jsonlines.org
"""

from __future__ import annotations

import csv
import io
import os
from collections import deque
from contextlib import aclosing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

import msgspec

from openai_batches._threads import in_threads
from openai_batches.errors import InputError, InvalidRequestsError
from openai_batches.models import Problem
from openai_batches.requests.check_line import CheckedLine, parsed
from openai_batches.requests.read import blocks_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

__all__ = ["PromptFormat", "PromptSource", "RowReader", "read_prompts"]

PromptFormat: TypeAlias = Literal["csv", "jsonl", "text"]
PromptSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO"
# A line of text, or the fields of a row.
_Row: TypeAlias = "tuple[int, str | dict[str, Any]]"

_SUFFIXES: dict[str, PromptFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "text",
    ".text": "text",
}
_TABS = frozenset({".tsv", ".tab"})
_PACKED = frozenset({".gz", ".zst"})
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# More characters than any model takes, and few enough for the memory where a quote is never closed.
_MAX_FIELD_CHARS = 1 << 24
_HELD_ROWS = 1000
_BLOCK_BYTES = 1 << 18
_decode = msgspec.json.Decoder(Any, float_hook=float).decode


async def read_prompts(
    source: PromptSource, *, format: PromptFormat | None = None, delimiter: str | None = None
) -> AsyncGenerator[str | dict[str, Any], None]:
    """Yield the prompts of a file: lines as text, rows of a table as dicts of their fields.

    They are what :func:`requests_from` takes. Files may be packed with gzip or zstd; they are read in a thread, up to
    1,000 rows ahead, and never held whole. Blank lines are passed over.

    Args:
        source: a path, the bytes of a file, or a file opened in binary mode, which is not closed.
        format: ``"csv"`` (the first row names the fields), ``"jsonl"`` (an object or a text on each line) or ``"text"``
            (a prompt on each line); what the path's suffix says if not given.
        delimiter: what stands between the fields of CSV: a comma, in a ``.tsv`` a tab, if not given.

    Raises:
        InputError: this is no source, its format is not known, or it is packed and broken.
        InvalidRequestsError: a row cannot be read; ``problems`` name the file and the line.
        OSError: the file cannot be read.
    """
    reader = RowReader(source, format=format, delimiter=delimiter)
    async with aclosing(in_threads(_handfuls(reader))) as handfuls:
        async for rows in handfuls:
            for row in rows:
                if isinstance(row, Problem):
                    raise InvalidRequestsError(str(row), problems=(row,))
                yield row[1]


def _handfuls(reader: RowReader) -> Generator[list[_Row | Problem], None, None]:
    held: list[_Row | Problem] = []
    blocks = 0
    for row in reader.rows():
        # Rows may be long, but those of one block are not too long together.
        if held and (len(held) >= _HELD_ROWS or reader.blocks > blocks):
            yield held
            held = []
        blocks = reader.blocks
        held.append(row)
    if held:
        yield held


class RowReader:
    """Reads the rows of a file, with their line numbers, as :func:`read_prompts` says; for use in a thread."""

    def __init__(self, source: PromptSource, *, format: PromptFormat | None, delimiter: str | None) -> None:
        named = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
        self.file: str | None = os.fspath(named) if isinstance(named, str | os.PathLike) else None
        # Of CSV: the names in its first row, once that is read, and where this row stands.
        self.header: list[str] | None = None
        self.header_line: int = 0
        self.blank_lines: int = 0
        self.blocks: int = 0
        _check_source(source)
        suffix = _suffix(self.file)
        self.format: PromptFormat = _checked_format(format, suffix, self.file)
        self._delimiter = _checked_delimiter(delimiter, self.format, self.file, is_tabs=suffix in _TABS)
        self._source = source

    def rows(self) -> Generator[_Row | Problem, None, None]:
        """Yield each row with its 1-based line, or what is wrong with it; the rows behind a bad one follow."""
        blocks = self._blocks()
        yield from {"csv": self._table, "jsonl": self._json_lines, "text": self._text_lines}[self.format](blocks)

    def _blocks(self) -> Iterator[bytes]:
        if isinstance(self._source, str | os.PathLike) and Path(self._source).is_dir():
            raise InputError(f"'{self.file}' is a folder: prompts are read from a file")
        for block in blocks_of(self._source, _BLOCK_BYTES):
            self.blocks += 1
            if self.blocks == 1 and block.startswith(_UTF_16):
                raise InputError(f"{self.file or 'the file'} is written in UTF-16: save it in UTF-8")
            yield block.removeprefix(_BOM) if self.blocks == 1 else block

    def _problem(self, line: int, code: str, message: str) -> Problem:
        return Problem(code=code, message=message, line=line, file=self.file)

    def _lines(self, blocks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
        before = 0
        for block in blocks:
            lines = block.split(b"\n")
            lines.pop()
            for number, line in enumerate(lines, before + 1):
                if line and not line.isspace():
                    yield number, line
                else:
                    self.blank_lines += 1
            before += len(lines)

    def _text_lines(self, blocks: Iterator[bytes]) -> Iterator[_Row | Problem]:
        for number, line in self._lines(blocks):
            try:
                yield number, line.decode().removesuffix("\r")
            except UnicodeDecodeError as error:
                yield self._not_utf_8(number, error)

    def _json_lines(self, blocks: Iterator[bytes]) -> Iterator[_Row | Problem]:
        for number, line in self._lines(blocks):
            try:
                value = _decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                checked = CheckedLine(number, self.file)
                parsed(checked, line)
                yield from checked.problems
                continue
            if isinstance(value, dict | str):
                yield number, value
            else:
                message = (
                    f"A line must hold an object or a text, but this one holds {line[:40].decode(errors='ignore')}."
                )
                yield self._problem(number, "invalid_type", message)

    def _table(self, blocks: Iterator[bytes]) -> Iterator[_Row | Problem]:
        # A setting of the whole process, which is only raised here.
        csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD_CHARS))
        text = _TableText(blocks)
        records = csv.reader(text, delimiter=self._delimiter, strict=True)
        while True:
            start = records.line_num + 1
            try:
                record = next(records)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._problem(start, "invalid_row", _reason(str(error)))
                if self.header is None or "field limit" in str(error):
                    return
                continue
            if broken := text.broken_up_to(records.line_num):
                yield self._not_utf_8(*broken)
                if self.header is None:
                    return
            elif not record:
                self.blank_lines += 1
            elif self.header is None:
                self.header, self.header_line = self._named(record, start), start
            elif len(record) != len(self.header):
                count = f"{len(record):,} field{'' if len(record) == 1 else 's'}"
                message = f"This row has {count}, the header has {len(self.header):,}."
                yield self._problem(start, "invalid_row", message)
            else:
                yield start, self._fields(self.header, record)

    def _fields(self, header: list[str], record: list[str]) -> dict[str, str]:
        if "" not in header:
            return dict(zip(header, record, strict=True))
        # Spreadsheets end lines with commas: an empty cell in a column without a name is left out.
        return {name: cell for name, cell in zip(header, record, strict=True) if name or cell.strip()}

    def _named(self, record: list[str], line: int) -> list[str]:
        names = [name.strip() for name in record]
        seen: set[str] = set()
        for name in filter(None, names):
            if name in seen:
                raise InputError(f"{self.file or 'the file'}:{line}: two fields of the header are called {name!r}")
            seen.add(name)
        return names

    def _not_utf_8(self, line: int, error: UnicodeDecodeError) -> Problem:
        return Problem(
            code="invalid_utf8",
            message=f"This line is not valid UTF-8 (0x{error.object[error.start]:02x}): save the file in UTF-8.",
            line=line,
            column=len(error.object[: error.start].decode(errors="replace")) + 1,
            file=self.file,
        )


class _TableText:
    """The text of a table, line by line; lines that are no UTF-8 are noted, for their rows to be refused."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._broken: deque[tuple[int, UnicodeDecodeError]] = deque()
        self._lines = 0
        self._text = chain.from_iterable(map(self._decoded, blocks))

    def __iter__(self) -> Iterator[str]:
        return self._text

    def broken_up_to(self, line: int) -> tuple[int, UnicodeDecodeError] | None:
        """Return the first broken line up to this one, once."""
        found = None
        while self._broken and self._broken[0][0] <= line:
            found = found or self._broken[0]
            self._broken.popleft()
        return found

    def _decoded(self, block: bytes) -> io.StringIO:
        try:
            text = block.decode()
        except UnicodeDecodeError:
            for number, line in enumerate(block.split(b"\n"), self._lines + 1):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    self._broken.append((number, error))
            text = block.decode(errors="replace")
        self._lines += block.count(b"\n")
        return io.StringIO(text, newline="\n")


def _reason(message: str) -> str:
    """Return what is wrong with a row, given what the csv module says of it."""
    if "field limit" in message:
        return f"This row has a field of more than {_MAX_FIELD_CHARS:,} characters: is a quote not closed?"
    if "new-line character" in message:
        return "This row has a carriage return outside of quotes: end the lines with line feeds."
    if "unexpected end" in message:
        return "A quote that this row opens is never closed."
    return f"This row is no CSV: {message}."


def _check_source(source: object) -> None:
    if isinstance(source, str) and "\n" in source:
        raise InputError("a str is the path of a file of prompts: the prompts themselves are given as bytes")
    if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview) and not hasattr(source, "read"):
        raise InputError(f"prompts are read from a path, bytes or a binary file, not from {type(source).__name__}")


def _suffix(file: str | None) -> str:
    """Return what the name of a file ends in, below its packing."""
    path = Path(file or "")
    return (Path(path.stem) if path.suffix.lower() in _PACKED else path).suffix.lower()


def _checked_format(format: str | None, suffix: str, file: str | None) -> PromptFormat:
    known: dict[str, PromptFormat] = {"csv": "csv", "jsonl": "jsonl", "text": "text"}
    found = _SUFFIXES.get(suffix) if format is None else known.get(format)
    if found is None:
        what = f"{format!r} is no format of prompts" if format is not None else _unnamed(file)
        raise InputError(f"{what}: the format can be csv, jsonl or text")
    return found


def _unnamed(file: str | None) -> str:
    return f"'{file}' does not say by its name how it is written" if file else "prompts without a name need a format"


def _checked_delimiter(delimiter: object, format: PromptFormat, file: str | None, *, is_tabs: bool) -> str:
    if delimiter is None:
        return "\t" if is_tabs else ","
    if format != "csv":
        what = f"'{file}' is" if file else "these prompts are"
        raise InputError(f"a delimiter is for csv, {what} {format}")
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise InputError(f"delimiter must be one character, such as ';' or a tab, not {delimiter!r}")
    return delimiter
