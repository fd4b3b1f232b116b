"""The formats of files of rows: JSONL, CSV and Parquet, written onto a stream."""

from __future__ import annotations

import datetime as dt
import importlib
from contextlib import suppress
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

from openai_batches.errors import InputError
from openai_batches.results.rows import as_cell, as_json, whole_text
from openai_batches.storage.compression import Compression, compression_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai_batches.results.rows import Column

__all__ = ["CsvFormat", "JsonlFormat", "OutputFormat", "ParquetFormat", "RowFormat", "format_of"]

OutputFormat: TypeAlias = Literal["jsonl", "csv", "parquet"]

# Parquet keeps a group of rows in memory until it is complete; readers like them large.
_GROUP_ROWS = 16 * 1024
_GROUP_CHARS = 8 * 1024 * 1024
# What Arrow takes as it comes, most of the time.
_ARROW_READY = frozenset({str, int, float, bool})
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_ENDINGS: dict[str, OutputFormat] = {f".{name}": name for name in get_args(OutputFormat)}


def format_of(name: str) -> tuple[OutputFormat | None, Compression | None]:
    """Return the format and the compression that a file's name ends with, in upper or lower case; None for neither."""
    compression = compression_of(name)
    path = PurePath(name)
    return _ENDINGS.get((PurePath(path.stem) if compression else path).suffix.lower()), compression


class RowFormat(Protocol):
    """Writes rows, whose values are in the order of the columns, onto a stream; the stream itself stays open."""

    def append(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write rows, or hold them until there are enough."""
        ...

    def finish(self) -> None:
        """Write what is held, and what has to stand at the end."""
        ...

    def close(self) -> None:
        """Use the stream no more, whether all was written or not."""
        ...


class JsonlFormat:
    """A line of JSON for each row: an object with every column."""

    def __init__(self, stream: IO[bytes], columns: Sequence[Column]) -> None:
        self._stream = stream
        self._names = [column.name for column in columns]

    def append(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write rows."""
        lines = [as_json(dict(zip(self._names, row, strict=True))) for row in rows]
        # Each line ends, the last one too.
        self._stream.write(b"\n".join([*lines, b""]))

    def finish(self) -> None:
        """Write nothing more."""

    def close(self) -> None:
        """Do nothing: the stream is the caller's."""


class CsvFormat:
    r"""CSV in UTF-8 after RFC 4180: the first line names the columns, and lines end in ``\r\n``."""

    def __init__(self, stream: IO[bytes], columns: Sequence[Column], *, escape_formulas: bool = False) -> None:
        self._stream = stream
        self._columns = columns
        self._escapes_formulas = escape_formulas
        self._lines = [",".join(_quoted(column.name) for column in columns)]

    def append(self, rows: Sequence[Sequence[Any]]) -> None:
        """Write rows."""
        self._lines += map(self._line, rows)
        # Each line ends, the last one too.
        self._stream.write(whole_text("\r\n".join([*self._lines, ""])).encode())
        self._lines = []

    def finish(self) -> None:
        """Write the line of names where there was no row."""
        if self._lines:
            self.append([])

    def close(self) -> None:
        """Do nothing: the stream is the caller's."""

    def _line(self, row: Sequence[Any]) -> str:
        # The standard writer looks at each character; for long texts this is many times as fast.
        cells = []
        for value, column in zip(row, self._columns, strict=True):
            if value is None:
                cells.append("")
            elif type(value) is str and column.kind is str:
                cells.append(self._text(value))
            else:
                cells.append(self._other(as_cell(value, column)))
        return ",".join(cells)

    def _text(self, text: str) -> str:
        return _quoted(f"'{text}" if self._escapes_formulas and text.startswith(_FORMULA_STARTS) else text)

    def _other(self, cell: Any) -> str:
        if isinstance(cell, str):
            return self._text(cell)
        if isinstance(cell, bool):
            return "true" if cell else "false"
        if isinstance(cell, dt.date):
            return cell.isoformat()
        return _quoted(as_json(cell).decode()) if isinstance(cell, list) else str(cell)


def _quoted(text: str) -> str:
    if '"' in text:
        text = text.replace('"', '""')
    elif "," not in text and "\n" not in text and "\r" not in text:
        return text
    return f'"{text}"'


class ParquetFormat:
    """Parquet, a group of rows at a time, every column typed and nullable; needs pyarrow."""

    def __init__(self, stream: IO[bytes], columns: Sequence[Column]) -> None:
        try:
            # By name, since pyarrow has no type stubs: what comes from it is Any.
            self._pa: Any = importlib.import_module("pyarrow")
            parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise InputError("Parquet needs the package pyarrow: pip install 'openai_batches[arrow]'") from error
        self._misfits = (self._pa.ArrowException, OverflowError, TypeError, ValueError)
        self._columns = columns
        self._schema = self._pa.schema([(column.name, self._type(column)) for column in columns])
        self._writer = parquet.ParquetWriter(stream, self._schema, compression="zstd")
        self._rows: list[list[Any]] = []
        self._chars = 0

    def append(self, rows: Sequence[Sequence[Any]]) -> None:
        """Hold rows, and write them when they make a group."""
        for row in rows:
            self._rows.append(list(row))
            self._chars += sum([len(value) for value in row if isinstance(value, str)])
            if len(self._rows) >= _GROUP_ROWS or self._chars >= _GROUP_CHARS:
                self._write_group()

    def finish(self) -> None:
        """Write the last group and the footer."""
        if self._rows:
            self._write_group()
        self._writer.close()

    def close(self) -> None:
        """Use the stream no more; what was written without ``finish`` is not a Parquet file."""
        self._rows = []
        self._writer.close()

    def _write_group(self) -> None:
        rows, self._rows, self._chars = self._rows, [], 0
        # The message is the last column: the ones before it may still add to it.
        arrays = [self._array(index, rows) for index in range(len(self._columns))]
        self._writer.write_table(self._pa.Table.from_arrays(arrays, schema=self._schema))

    def _array(self, index: int, rows: list[list[Any]]) -> Any:
        column, type_ = self._columns[index], self._schema.field(index).type
        values = [row[index] for row in rows]
        if column.kind in _ARROW_READY and not column.is_list:
            with suppress(*self._misfits):
                return self._pa.array(values, type_)
        cells = [as_cell(value, column) for value in values]
        with suppress(*self._misfits):
            return self._pa.array(cells, type_)
        return self._pa.array([self._fitting(index, *pair, type_) for pair in zip(cells, rows, strict=True)], type_)

    def _fitting(self, index: int, cell: Any, row: list[Any], type_: Any) -> Any:
        try:
            self._pa.array([cell], type_)
        except self._misfits:
            row[-1] = row[-1] or f"{self._columns[index].name} does not fit its column, which is of type {type_}"
            return None
        return cell

    def _type(self, column: Column) -> Any:
        kinds = {
            bool: self._pa.bool_(),
            int: self._pa.int64(),
            float: self._pa.float64(),
            dt.datetime: self._pa.timestamp("us", tz="UTC"),
            dt.date: self._pa.date32(),
        }
        kind = kinds.get(column.kind, self._pa.string())
        return self._pa.list_(kind) if column.is_list else kind
