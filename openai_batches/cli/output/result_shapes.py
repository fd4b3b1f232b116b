"""In which format results are written and where to, by the options of the command and the name of the file."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, cast

import attrs

from openai_batches import ParquetWriter
from openai_batches.cli.errors import CommandError
from openai_batches.cli.output.result_lines import Counts, LineMaker, RawLines, RowLines, TextLines
from openai_batches.cli.output.save import STDOUT, opened_output, refuse_file
from openai_batches.cli.output.terminal import out_is_file
from openai_batches.results.formats import OutputFormat, format_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from openai_batches import BatchResult

__all__ = ["Shape", "Sink", "chosen_format", "result_sink", "shape_of"]


@attrs.frozen(kw_only=True)
class Shape:
    """How results are written.

    Attributes:
        path: the file; None is standard output.
        lines: makes their bytes; None where they go to a Parquet file, which has a path.
        is_quiet: whether they are not written at all.
    """

    path: Path | None
    lines: LineMaker | None
    is_quiet: bool

    @property
    def shows_progress(self) -> bool:
        """Whether a person would see nothing of them otherwise."""
        return self.is_quiet or self.path is not None or out_is_file()


@attrs.frozen
class Sink:
    """Where results go.

    Attributes:
        write: writes the next ones.
        counts: knows of how many answers not all was written.
    """

    write: "Callable[[list[BatchResult]], Awaitable[None]]"
    counts: Counts


def shape_of(
    output: Path | None,
    format: "OutputFormat | None",
    *,
    raw: bool,
    text: bool,
    ids: bool,
    null: bool,
    failed: bool,
    is_quiet: bool,
) -> Shape:
    """Return the shape that the options of the command mean."""
    if sum((raw, text, format is not None)) > 1:
        raise CommandError("--raw, --text and --format cannot be used together", "Choose one of them")
    if (ids or null) and not text:
        raise CommandError("--ids and --null are only used with --text", "Add --text")
    if text and failed:
        raise CommandError(
            "--text and --failed cannot be used together: a request that failed has no answer",
            "Leave one out; see --raw",
        )
    path = None if output == STDOUT else output
    lines: LineMaker | None
    if raw:
        _check_name(path, "--raw", "the service's own lines", may_be="jsonl")
        lines = RawLines()
    elif text:
        _check_name(path, "--text", "texts alone")
        lines = TextLines(with_ids=ids, ends_with_null=null)
    else:
        kind = chosen_format(path, format)
        lines = None if kind == "parquet" else RowLines(kind)
    return Shape(path=path, lines=lines, is_quiet=is_quiet and output is None)


def _check_name(path: Path | None, option: str, what: str, *, may_be: str | None = None) -> None:
    """Refuse a file whose name says another format than what is written."""
    named = None if path is None else format_of(path.name)[0]
    if path is not None and named not in {None, may_be}:
        raise CommandError(f"{path.name} means {named}, but {option} writes {what}", "Give the file another suffix")


@contextlib.asynccontextmanager
async def result_sink(shape: Shape, *, force: bool) -> "AsyncGenerator[Sink]":
    """Give what writes results; a file gets its name when the block ends well."""
    lines = shape.lines
    if shape.is_quiet:
        yield Sink(_dropped, RawLines())
    elif lines is None:
        path = cast("Path", shape.path)
        refuse_file(path, force=force)
        async with ParquetWriter(path, overwrite=force) as writer:
            yield Sink(writer.write_many, writer)
    else:
        async with opened_output(shape.path, force=force) as write:
            yield Sink(lambda results: write(lambda: lines.made(results)), lines)
            await write(lines.end)


async def _dropped(_: object) -> None:
    """Write nothing."""


def chosen_format(path: Path | None, format: OutputFormat | None) -> OutputFormat:
    """Return what is written to a file, or to standard output."""
    if path is None:
        if format == "parquet":
            raise CommandError("Parquet is written to a file", "Name it: -o results.parquet")
        return format or "jsonl"
    named, compression = format_of(path.name)
    if format is not None and named not in {None, format}:
        text = f"{path.name} means {named}, but --format says {format}"
        raise CommandError(text, "Leave --format out, or give the file another suffix")
    found = format or named
    if found is None:
        raise CommandError(
            f"{path.name} does not say in which format to write", "End it in .jsonl, .csv or .parquet, or add --format"
        )
    if found == "parquet" and compression is not None:
        raise CommandError(f"{path.name}: Parquet is already compressed", f"Leave {path.suffix} out")
    return found
