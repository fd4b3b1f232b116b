"""Where ``run`` writes the results: options, checks before anything is sent, and the writing itself."""

import functools
import importlib.util
import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import Group, Parameter

from openai_batches import InputError, write_results
from openai_batches.cli.errors import CommandError
from openai_batches.cli.output.result_lines import RowLines
from openai_batches.cli.output.result_shapes import chosen_format
from openai_batches.cli.output.save import refuse_file
from openai_batches.cli.output.streams import OutputStream, gathered
from openai_batches.cli.output.terminal import STANDARD_STREAM
from openai_batches.results.formats import OutputFormat

if TYPE_CHECKING:
    from openai_batches import BatchJob, BatchResult
    from openai_batches.cli.run.notes import JobNotes

__all__ = ["DEFAULT_OUTPUT", "Output", "stream_results"]

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
            help="The file to write: .jsonl, .csv or .parquet, the first two also with .gz or .zst behind; - is "
            "standard output, which gets each result as it comes.",
        ),
    ] = None
    format: Annotated[
        OutputFormat | None,
        Parameter(help="What to write, where the name of OUT does not say (jsonl for -)."),
    ] = None
    ordered: Annotated[bool, Parameter(help="Write the results in the order of the requests.")] = False
    force: Annotated[bool, Parameter(help="Replace OUT, if it is there.")] = False

    @property
    def is_stream(self) -> bool:
        """Whether the results go to standard output."""
        return self.output == STANDARD_STREAM

    @property
    def path(self) -> Path | None:
        """The file to write, if it is one."""
        return None if self.output is None or self.is_stream else Path(self.output)

    @property
    def kind(self) -> OutputFormat:
        """What is written."""
        return chosen_format(self.path, self.format)

    def check(self, *, may_be_there: bool, has_report: bool = False) -> None:
        """Find what would keep the results from being written, before anything is paid for. This blocks."""
        if self.output is None:
            if self.format is not None or self.ordered or (self.force and not has_report):
                raise CommandError(
                    "--format, --ordered and --force are only used with OUT", "Name it: -o results.jsonl"
                )
            return
        if self.path is not None:
            refuse_file(self.path, force=self.force or may_be_there)
        if self.kind == "parquet" and importlib.util.find_spec("pyarrow") is None:
            raise CommandError(
                "Parquet needs the package pyarrow: pip install 'openai_batches[arrow]'", "Install it, and try again"
            )
        if self.path is not None:
            _check_folder(self.path.parent)

    def is_written(self, notes: "JobNotes") -> bool:
        """Return whether the file holds the results of a job already, by its notes. This blocks."""
        if self.path is None or not self.path.is_file():
            return False
        return notes.has_written(self.path, format=self.kind, is_ordered=self.ordered)

    async def write(self, job: "BatchJob") -> int:
        """Write the results of a job that has ended, all of them or nothing, and return their number."""
        if self.path is None:
            return 0
        results = job.results(ordered=self.ordered)
        try:
            return await write_results(results, self.path, format=self.kind, overwrite=self.force)
        except InputError as error:
            raise CommandError(
                f"{self.path} was created meanwhile by another program",
                f"The job has the results: write them to another file, with run {shlex.quote(str(job.directory))} -o",
            ) from error
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
    """Carry a job to its end, and write its results to standard output as they come; return their number."""
    lines, stream, count = RowLines(output.kind), OutputStream(), 0
    async for piece in gathered(job.results(ordered=output.ordered), weigh=_weight):
        await stream.write(functools.partial(lines.made, piece))
        count += len(piece)
    await stream.write(lines.end)
    return count


def _weight(result: "BatchResult") -> int:
    return len(result.raw_line)
