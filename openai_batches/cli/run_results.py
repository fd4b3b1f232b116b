"""Where ``run`` puts the results: looked at before anything is sent, written when all of them are there."""

import functools
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
from cyclopts import Group, Parameter

from openai_batches import write_results
from openai_batches.cli.endings import CommandError
from openai_batches.cli.result_lines import RowLines
from openai_batches.cli.saving import refuse_file
from openai_batches.cli.streaming import OutputStream, gathered

if TYPE_CHECKING:
    from openai_batches import BatchJob, BatchResult

__all__ = ["DEFAULT_OUTPUT", "Output", "stream_results"]

_STDOUT = "-"
_FORMATS: tuple[Literal["jsonl", "csv", "parquet"], ...] = ("jsonl", "csv", "parquet")
_GROUP = Group("Results", sort_key=10)


@Parameter(name="*", group=_GROUP)
@attrs.frozen(kw_only=True)
class Output:
    """Where the results go, and how."""

    output: Annotated[
        str | None,
        Parameter(
            name=("--output", "-o"),
            metavar="OUT",
            allow_leading_hyphen=True,
            help="The file to write: .jsonl, .csv or .parquet, the first two also with .gz behind; - is standard "
            "output, which gets each result as it comes.",
        ),
    ] = None
    format: Annotated[
        Literal["jsonl", "csv", "parquet"] | None,
        Parameter(help="What to write, where the name of OUT does not say (jsonl for -)."),
    ] = None
    ordered: Annotated[bool, Parameter(help="Write the results in the order of the requests.")] = False
    force: Annotated[bool, Parameter(help="Replace OUT, if it is there.")] = False

    @property
    def is_stream(self) -> bool:
        """Whether the results go to standard output."""
        return self.output == _STDOUT

    @property
    def path(self) -> Path | None:
        """The file to write, if it is one."""
        return None if self.output is None or self.is_stream else Path(self.output)

    @property
    def is_there(self) -> bool:
        """Whether the file is there already."""
        return self.path is not None and os.path.lexists(self.path)

    @property
    def kind(self) -> Literal["jsonl", "csv", "parquet"]:
        """What is written."""
        if self.format is not None:
            return self.format
        path = self.path
        suffix = "" if path is None else Path(path.stem if path.suffix == ".gz" else path.name).suffix
        for name in _FORMATS:
            if suffix == f".{name}":
                return name
        if self.is_stream:
            return "jsonl"
        raise CommandError(
            f"{self.output} does not say in which format to write",
            "Let it end in .jsonl, .csv or .parquet, or add --format",
        )

    def check(self, *, may_be_there: bool) -> None:
        """Find what would keep the results from being written, before anything is paid for.

        Args:
            may_be_there: whether a file of this name is no reason to stop.

        Raises:
            CommandError: there is such a thing.
        """
        if self.output is None:
            if self.format is not None or self.ordered or self.force:
                raise CommandError("--format, --ordered and --force are about OUT", "Name it: -o results.jsonl")
            return
        if self.path is not None:
            refuse_file(self.path, force=self.force or may_be_there)
        if self.kind == "parquet":
            self._check_parquet()
        if self.path is not None:
            _check_folder(self.path.parent)

    def _check_parquet(self) -> None:
        if self.path is None:
            raise CommandError("Parquet is not written to standard output", "Name a file: -o results.parquet")
        if self.path.suffix == ".gz":
            raise CommandError("Parquet is compressed already", f"Leave out .gz: -o {self.path.with_suffix('')}")
        if importlib.util.find_spec("pyarrow") is None:
            raise CommandError(
                "Parquet needs the package pyarrow: pip install 'openai_batches[arrow]'", "Install it, and try again"
            )

    async def write(self, job: "BatchJob") -> int:
        """Write the results of a job that has ended, all of them or nothing, and return their number.

        Raises:
            BatchesError: they cannot be read, or the file exists.
            OSError: the file cannot be written.
        """
        if self.path is None:
            return 0
        results = job.results(ordered=self.ordered)
        try:
            return await write_results(results, self.path, format=self.kind, overwrite=self.force)
        except OSError as error:
            # A write that fails, as where the disk is full, does not say which file it was of.
            error.filename = error.filename or str(self.path)
            raise


DEFAULT_OUTPUT = Output()


def _check_folder(folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        text = f"Nothing can be written in {folder}: {error.strerror or error}"
        raise CommandError(text, "Name a file in another folder") from error


async def stream_results(job: "BatchJob", output: Output) -> int:
    """Carry a job to its end, and write its results to standard output as they come; return their number.

    Raises:
        BatchesError: as ``BatchJob.run``.
        ClosedPipeError: nobody reads them.
        CommandError: they cannot be written.
    """
    lines, stream, count = RowLines(output.kind), OutputStream(), 0
    async for piece in gathered(job.results(ordered=output.ordered), weigh=_weight):
        await stream.write(functools.partial(lines.made, piece))
        count += len(piece)
    await stream.write(lines.end)
    return count


def _weight(result: "BatchResult") -> int:
    return len(result.raw_line)
