"""Write results into a file of rows: JSONL, CSV or Parquet, whole or not at all.

The rows are written to a temporary file beside the target, readable by its owner alone, which gets the target's name
when all are in it. Rows are made and written in a thread of the writer's own, many at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, cast

from openai_batches._names import public
from openai_batches._threads import OneThread
from openai_batches.errors import InputError
from openai_batches.results.formats import CsvFormat, JsonlFormat, OutputFormat, ParquetFormat, RowFormat, format_of
from openai_batches.results.result import BatchResult
from openai_batches.results.rows import RowMaker
from openai_batches.storage.atomic import NewFile
from openai_batches.storage.compression import Compressor, compression_of, compressor

if TYPE_CHECKING:
    import os
    from types import TracebackType

__all__ = ["CsvWriter", "JsonlWriter", "ParquetWriter", "ResultWriter", "write_results"]

# A step to the thread for each row would cost more than the row.
_HELD_ROWS = 512
_HELD_BYTES = 1024 * 1024


class _PackedStream:
    """A stream whose bytes are compressed on their way to another one."""

    def __init__(self, stream: IO[bytes], packing: Compressor) -> None:
        self._stream = stream
        self._packing = packing

    def write(self, data: bytes) -> None:
        self._stream.write(self._packing.compress(data))

    def finish(self) -> None:
        self._stream.write(self._packing.flush())


class _Output:
    """A temporary file beside its target, with rows of a format; used by one thread at a time."""

    def __init__(self, path: Path, *, overwrite: bool, make_format: Callable[[IO[bytes]], RowFormat]) -> None:
        self._new = NewFile(path, overwrite=overwrite)
        self._closing = ExitStack()
        self._closing.callback(self._new.discard)
        self._failure: BaseException | None = None
        try:
            self._format = make_format(self._packed(path))
            self._closing.callback(self._format.close)
        except BaseException:
            self.discard()
            raise

    def append(self, results: list[BatchResult], maker: RowMaker) -> None:
        """Write results as rows."""
        try:
            self._format.append([maker.row(result) for result in results])
        except BaseException as error:
            self._failure = error
            raise

    def commit(self) -> None:
        """Write the end, and give the file its name."""
        if self._failure is not None:
            # Rows are missing, whatever the caller made of the exception it got.
            raise self._failure
        self._format.finish()
        if self._packing is not None:
            self._packing.finish()
        self._new.keep()

    def discard(self) -> None:
        """Close and remove what is still there; after ``commit``, nothing is."""
        # What cannot be closed cleanly, on a full disk for example, is removed all the same.
        with suppress(Exception):
            self._closing.close()

    def _packed(self, path: Path) -> IO[bytes]:
        compression = compression_of(path.name)
        self._packing = None if compression is None else _PackedStream(self._new.stream, compressor(compression))
        return self._new.stream if self._packing is None else cast("IO[bytes]", self._packing)


@public
class ResultWriter:
    """Writes results as rows of a file; use one of its subclasses, as ``async with JsonlWriter(path) as writer``.

    Leaving the block gives the file its name, in one step and with everything in it; leaving it by an exception or a
    cancellation leaves nothing behind. The file is the user's alone (mode 0600). Results are held back and written
    512 at a time, or fewer if their bodies are large, so memory does not grow with the file.

    The columns are ``custom_id, outcome, status_code, text``, one for each field of ``parse``, and ``input_tokens,
    output_tokens, error_code, error_message``; what a result does not have is null. The text of a result that cannot
    be parsed gives null fields and the ``error_code`` ``parse_error``.

    Args:
        path: the file to write; one that ends in ``.gz`` or ``.zst`` is compressed (zstd needs the extra ``[zstd]``).
        parse: a type to parse the texts of successful results into: an attrs class, dataclass, TypedDict, msgspec
            Struct or pydantic model.
        prefix: what to put before the names of its fields.
        overwrite: whether a file of that name is replaced; it stays as it is until the new one is whole.

    Raises:
        InputError: the type has no fields, or one of them has the name of another column.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        parse: type[Any] | None = None,
        prefix: str = "",
        overwrite: bool = False,
    ) -> None:
        self._path = Path(path)
        self._overwrite = overwrite
        self._maker = RowMaker(parse, prefix=prefix)
        self._is_open = False
        self._held: list[BatchResult] = []
        self._held_bytes = 0
        self._rows = 0
        self._was_entered = False
        self._thread = OneThread("openai_batches-writer")
        self._output: _Output
        self._closing = ExitStack()

    @property
    def rows(self) -> int:
        """The number of rows written so far; all of them once the block is left."""
        return self._rows

    @property
    def textless(self) -> int:
        """How many of the answers written so far had no text: embeddings, or calls of tools."""
        return self._maker.textless

    @property
    def partial(self) -> int:
        """How many of the answers written so far had several choices: only that of index 0 is in the file."""
        return self._maker.partial

    async def __aenter__(self) -> Self:
        """Open the temporary file.

        Raises:
            InputError: there is a file of that name, the writer was used before, or a package it needs is missing.
            OSError: the file cannot be written there.
        """
        if self._was_entered:
            raise InputError("a writer writes one file: make another one for the next")
        self._was_entered = True
        try:
            await self._thread.run(self._open)
        except BaseException:
            await self._end()
            raise
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the file its name; after an exception, remove what was written.

        Raises:
            InputError: meanwhile, there is a file of that name.
            OSError: the file could not be written.
        """
        self._is_open = False
        try:
            if kind is None:
                await self._flush()
                await self._thread.run(self._output.commit)
        finally:
            await self._end()

    async def write(self, result: BatchResult) -> None:
        """Write one result.

        Raises:
            InputError: outside of the ``async with`` block, or this is no result.
            OSError: the file cannot be written.
        """
        if not self._is_open:
            raise InputError("results are written inside the writer's block: async with JsonlWriter(path) as writer")
        if not isinstance(result, BatchResult):
            raise InputError(f"a writer writes BatchResults, not {type(result).__name__}")
        self._held.append(result)
        self._held_bytes += len(result.raw_line)
        if len(self._held) >= _HELD_ROWS or self._held_bytes >= _HELD_BYTES:
            await self._flush()

    async def write_many(self, results: Iterable[BatchResult] | AsyncIterable[BatchResult]) -> None:
        """Write results as they come, from an iterable or an async one.

        Raises:
            InputError: outside of the ``async with`` block, or these are no results.
            OSError: the file cannot be written.
        """
        if isinstance(results, AsyncIterable):
            async for result in results:
                await self.write(result)
        elif isinstance(results, Iterable):
            for result in results:
                await self.write(result)
        else:
            wrong = type(results).__name__
            raise InputError(f"results are an iterable or an async iterable of BatchResults, not {wrong}")

    async def _flush(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        if held:
            await self._thread.run(self._write, held)

    async def _end(self) -> None:
        try:
            # There is one thread, so that this runs after what is still being written.
            await self._thread.run(self._closing.close)
        finally:
            self._thread.close()

    def _open(self) -> None:
        self._output = _Output(self._path, overwrite=self._overwrite, make_format=self._make_format)
        self._closing.callback(self._output.discard)

    def _write(self, results: list[BatchResult]) -> None:
        self._output.append(results, self._maker)
        self._rows += len(results)

    def _make_format(self, stream: IO[bytes]) -> RowFormat:
        raise NotImplementedError


@public
class JsonlWriter(ResultWriter):
    """Writes results as lines of JSON, one object each, with every column in it; see :class:`ResultWriter`."""

    def _make_format(self, stream: IO[bytes]) -> RowFormat:
        return JsonlFormat(stream, self._maker.columns)


@public
class CsvWriter(ResultWriter):
    """Writes results as CSV in UTF-8, with a line of names, quoted as RFC 4180 says; see :class:`ResultWriter`.

    A null is an empty cell, as an empty text is; truth is ``true`` or ``false``; what is no scalar is JSON. Line breaks
    inside a text stay as they are, inside quotes.

    Args:
        path: the file to write; one that ends in ``.gz`` or ``.zst`` is compressed (zstd needs the extra ``[zstd]``).
        parse: a type to parse the texts of successful results into.
        prefix: what to put before the names of its fields.
        overwrite: whether a file of that name is replaced.
        escape_formulas: whether to put a ``'`` before texts that begin with ``=``, ``+``, ``-``, ``@``, a tab or a
            carriage return. Spreadsheets run such texts as formulas, and a model's answer may be meant to be run: set
            it for files that people will open in one. By default texts are written as they are, for other programs.

    Raises:
        InputError: the type has no fields, or one of them has the name of another column.

    Source: https://owasp.org/www-community/attacks/CSV_Injection
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        parse: type[Any] | None = None,
        prefix: str = "",
        overwrite: bool = False,
        escape_formulas: bool = False,
    ) -> None:
        super().__init__(path, parse=parse, prefix=prefix, overwrite=overwrite)
        self._escapes_formulas = escape_formulas

    def _make_format(self, stream: IO[bytes]) -> RowFormat:
        return CsvFormat(stream, self._maker.columns, escape_formulas=self._escapes_formulas)


@public
class ParquetWriter(ResultWriter):
    """Writes results as Parquet, compressed with zstd, every column typed and nullable; see :class:`ResultWriter`.

    Needs pyarrow: ``pip install 'openai_batches[arrow]'``. Scalars and lists of scalars have columns of their type,
    times are in UTC; what is neither is JSON text. A parsed number that its column cannot hold (over 64 bits) is null,
    and ``error_message`` says so. At most 16,384 rows, or 8 Mi characters, are held in memory.
    """

    def _make_format(self, stream: IO[bytes]) -> RowFormat:
        if compression_of(self._path.name) is not None:
            raise InputError(
                f"{self._path.name}: Parquet is compressed already, and readers of Parquet expect it as it is"
            )
        return ParquetFormat(stream, self._maker.columns)


_WRITERS: dict[str, type[ResultWriter]] = {"jsonl": JsonlWriter, "csv": CsvWriter, "parquet": ParquetWriter}


async def write_results(
    results: Iterable[BatchResult] | AsyncIterable[BatchResult],
    path: str | os.PathLike[str],
    *,
    format: OutputFormat | None = None,
    parse: type[Any] | None = None,
    prefix: str = "",
    overwrite: bool = False,
) -> int:
    """Write results into a file, whole or not at all, and return their number.

    Args:
        results: an iterable or an async iterable of results; read as it comes, never held whole.
        path: the file to write; one that ends in ``.gz`` or ``.zst`` is compressed (zstd needs the extra ``[zstd]``).
        format: ``"jsonl"``, ``"csv"`` or ``"parquet"``; what the path's suffix says if not given.
        parse: a type to parse the texts of successful results into, a column for each of its fields.
        prefix: what to put before the names of its fields.
        overwrite: whether a file of that name is replaced; it stays as it is until the new one is whole.

    Raises:
        InputError: the format is not known, the file exists, the type has no fields, pyarrow is missing, or these are
            no results.
        OSError: the file cannot be written.
    """
    async with _writer_class(Path(path), format)(path, parse=parse, prefix=prefix, overwrite=overwrite) as writer:
        await writer.write_many(results)
    return writer.rows


def _writer_class(path: Path, format: str | None) -> type[ResultWriter]:
    named, _ = format_of(path.name)
    found = _WRITERS.get((named or "") if format is None else format)
    if found is None:
        what = f"{path.name} does not say what to write" if format is None else f"{format!r} is no format"
        raise InputError(f"{what}: give format='jsonl', 'csv' or 'parquet', or a path that ends so")
    return found
