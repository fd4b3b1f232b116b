"""``openai-batches results``: write the results of a batch, and the requests that should be sent again."""

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from openai_batches import BatchResults, NotFoundError, Outcome, RequestCounts, to_requests
from openai_batches._text import as_count
from openai_batches.cli.advice import resume_command
from openai_batches.cli.command import command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.amounts import Seconds, check_interval
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.options.sources import request_source
from openai_batches.cli.output.result_lines import Counts
from openai_batches.cli.output.result_shapes import Shape, result_sink, shape_of
from openai_batches.cli.output.save import STDOUT, FileName, OutputName, check_apart, opened_output, refuse_file
from openai_batches.cli.output.signals import interruptible
from openai_batches.cli.output.streams import gathered
from openai_batches.cli.output.terminal import STANDARD_STREAM, note, progress_is_shown, stderr, warn
from openai_batches.cli.output.texts import money_text, one_line, path_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence

    from openai_batches import Batch, BatchResult, BatchSession, RequestSource, ResultSummary


__all__ = ["ResendFile", "app", "exit_code", "summary_text"]

app: App = command(
    "results",
    examples="""\
openai-batches results batch_abc                  # JSONL, one result a line
openai-batches results batch_abc -o results.csv   # or .jsonl, .parquet
openai-batches results batch_abc --ordered --text
openai-batches results batch_abc --failed | jq .error_message
openai-batches results batch_abc --resend again.jsonl
openai-batches results batch_abc --raw | jq .response.body""",
)
_SETTLED = frozenset({Outcome.SUCCEEDED, Outcome.FOREIGN})


class ResendFile:
    """Notes which requests are worth another try, and writes them to a file."""

    def __init__(self, path: Path | None, *, takes_all: bool) -> None:
        self._path = path
        self._takes_all = takes_all
        self._ids: set[str] = set()
        self._left_out = 0

    @property
    def is_wanted(self) -> bool:
        """Whether there is a file to write."""
        return self._path is not None

    def note(self, results: "Sequence[BatchResult]") -> None:
        """Look at the next results, which are joined with their requests: each request has one."""
        if self._path is None:
            return
        for result in results:
            # A line without an id is no request's: that of which it may have been is among the others.
            if result.outcome in _SETTLED or result.custom_id is None:
                continue
            if self._takes_all or result.never_ran or result.is_retryable:
                self._ids.add(result.custom_id)
            else:
                self._left_out += 1

    async def write(
        self, session: "BatchSession", summary: "ResultSummary", inputs: str | None, *, force: bool
    ) -> None:
        """Write the file, of lines of the inputs as they are."""
        if self._path is None or summary.batch is None:
            return
        if summary.is_of_other_inputs:
            raise CommandError(
                f"None of the requests of {inputs} is in batch {summary.batch.id}",
                "Name the file of requests that it was made of: --inputs FILE",
            )
        left_out = f"; {as_count(self._left_out, 'request')} would fail again" if self._left_out else ""
        if not self._ids:
            note(f"There is nothing to send again{left_out}")
            return
        path = None if self._path == STDOUT else self._path
        async with _requests(session, summary.batch, inputs) as source, opened_output(path, force=force) as write:
            lines = to_requests(self._ids, source)
            async with contextlib.aclosing(gathered(lines, weigh=len)) as pieces:
                async for piece in pieces:
                    await write(functools.partial(b"".join, piece))
        where = "" if path is None else f" in {path_text(path)}"
        note(f"{as_count(len(self._ids), 'request')} to send again{where}{left_out}")


@app.default
async def results(
    id: Annotated[str, Parameter(metavar="ID")],
    /,
    *,
    output: OutputName = None,
    format: Literal["jsonl", "csv", "parquet"] | None = None,
    raw: bool = False,
    text: bool = False,
    ids: bool = False,
    null: Annotated[bool, Parameter(name=("--null", "-0"))] = False,
    failed: bool = False,
    ordered: bool = False,
    inputs: Annotated[str | None, Parameter(metavar="FILE", allow_leading_hyphen=True)] = None,
    resend: FileName = None,
    resend_all: bool = False,
    wait: bool = False,
    interval: Seconds | None = None,
    force: bool = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    r"""Get the results of a batch that has ended: one for each request, as JSON lines on standard output.

    A result has custom_id, outcome, status_code, text, tokens and error; --raw has all that the service wrote. How many
    succeeded, and what they cost, is said on standard error. The exit code is 1 if any did not succeed.

    Args:
        id: The batch.
        output: Write to this file instead, whole or not at all. Its suffix is its format: .jsonl, .csv or .parquet;
            .gz or .zst behind the first two packs it. `-` is standard output.
        format: The format, where the name of the file does not say it (jsonl).
        raw: The lines of the service's output and error files, as they are.
        text: The texts of the answers alone, one on each line, with \n for a line feed in a text and \\ for a
            backslash; an empty line for a result without a text.
        ids: With --text: the custom_id and a tab before each text.
        null: With --text: texts as they are, each ended by a zero byte instead of a line feed (for xargs -0).
        failed: Only the results that did not succeed.
        ordered: In the order of the requests, those without any result too. All results are read before the first is
            written.
        inputs: The requests of the batch, to join the results with; without it, --ordered gets them from the service.
            `-` is standard input.
        resend: Write the requests that did not run, or failed for a reason that may pass, to this file, ready to be
            sent again; `-` is standard output. The results are then only written with -o, in the order of the requests.
        resend_all: With --resend: all requests that did not succeed.
        wait: If the batch has not ended, wait for it.
        interval: With --wait: how often to ask (often at first, then rarely).
        force: Replace files that exist.
        service: the service.
    """
    check_interval(interval, option="--wait", is_given=wait)
    shape = shape_of(output, format, raw=raw, text=text, ids=ids, null=null, failed=failed, is_quiet=resend is not None)
    again = _checked_resend(resend, shape, inputs, force=force, resend_all=resend_all)
    async with connected(service) as session:
        async with result_sink(shape, force=force) as sink:
            batch = await _ended(session, id, inputs, wait=wait, interval_s=interval)
            with _opened(inputs) as source:
                # What is to be sent again is known of requests, each of which has one outcome, and not of lines.
                found = session.batches.results(batch, inputs=source, ordered=ordered or again.is_wanted)
                async for piece in _read(found, batch, is_watched=shape.shows_progress):
                    again.note(piece)
                    await sink.write([one for one in piece if not failed or one.outcome != Outcome.SUCCEEDED])
        await again.write(session, found.summary, inputs, force=force)
    _tell(found.summary, sink.counts)
    return exit_code(found.summary)


def _tell(summary: "ResultSummary", counts: Counts) -> None:
    note(summary_text(summary))
    for disagreement in summary.disagreements:
        warn(disagreement)
    if counts.textless:
        warn(f"{as_count(counts.textless, 'answer')} without text: --raw has all that was answered")
    if counts.partial:
        what = as_count(counts.partial, "answer has", "answers have")
        warn(f"{what} several choices, of which only the first is written: --raw has all")


def _checked_resend(
    path: Path | None, shape: Shape, inputs: str | None, *, force: bool, resend_all: bool
) -> ResendFile:
    if inputs is not None and inputs != STANDARD_STREAM and not Path(inputs).is_file():
        raise CommandError(
            f"There is no file {inputs}", "Check the path: --inputs names the requests that the batch was made of"
        )
    if resend_all and path is None:
        raise CommandError("--resend-all is only used with --resend", "Name the file: --resend FILE")
    check_apart(reads={"--inputs": inputs}, writes={"-o": shape.path, "--resend": path})
    if path is not None:
        if path == STDOUT and shape.path is None and not shape.is_quiet:
            raise CommandError("Results and requests cannot both go to standard output", "Name a file for one of them")
        if path != STDOUT:
            refuse_file(path, force=force)
        if inputs == STANDARD_STREAM:
            raise CommandError(
                "--resend reads the requests again, and standard input can be read only once", "Name a file"
            )
    return ResendFile(path, takes_all=resend_all)


@contextlib.contextmanager
def _opened(inputs: str | None) -> "Generator[RequestSource | None]":
    if inputs != STANDARD_STREAM:
        yield None if inputs is None else Path(inputs)
        return
    with request_source(inputs) as source:
        yield source


async def _ended(
    session: "BatchSession", id: str, inputs: str | None, *, wait: bool, interval_s: float | None
) -> "Batch":
    """Return the batch, once it has ended."""
    batch = await session.batches.retrieve(id)
    if batch.is_terminal:
        return batch
    counts = batch.request_counts
    if not wait:
        answered = ""
        # A batch that is validated still counts nothing.
        if counts is not None and counts.total:
            answered = f", with {counts.completed + counts.failed:,} of {as_count(counts.total, 'request')} done"
        same = ", with the same input" if inputs == STANDARD_STREAM else ""
        raise CommandError(
            f"Batch {batch.id} is {batch.status}{answered}: there are no results before it has ended",
            f"Wait for it{same}: {resume_command()} --wait",
            ExitCode.STOPPED,
        )
    with interruptible() as interruption:
        batch = await _waited_for(session, batch, interval_s)
    if interruption.has_come:
        raise CommandError(
            f"Batch {batch.id} continues to run", "The same command waits for it again", ExitCode.STOPPED
        )
    return batch


async def _waited_for(session: "BatchSession", batch: "Batch", interval_s: float | None) -> "Batch":
    if not progress_is_shown():
        note(f"Waiting for batch {batch.id}, which is {batch.status}")
        return await session.batches.wait(batch, poll=interval_s)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=stderr(), transient=True) as progress:
        task = progress.add_task(str(batch.status), total=None)
        async for change in session.batches.watch(batch, poll=interval_s):
            batch, counts = change.batch, change.batch.request_counts or RequestCounts()
            done = counts.completed + counts.failed
            progress.update(task, description=one_line(batch.status), completed=done, total=counts.total or None)
    return batch


async def _read(results: "BatchResults", batch: "Batch", *, is_watched: bool) -> "AsyncGenerator[list[BatchResult]]":
    """Yield the results, many at a time; show how many there were, on a terminal."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    total = batch.request_counts.total if batch.request_counts else None
    with Progress(*columns, console=stderr(), transient=True, disable=not (is_watched and progress_is_shown())) as bar:
        task = bar.add_task("results", total=total or None)
        async with results, contextlib.aclosing(gathered(results, weigh=lambda result: len(result.raw_line))) as pieces:
            try:
                async for piece in pieces:
                    yield piece
                    bar.advance(task, len(piece))
            except NotFoundError as error:
                raise _gone(batch, error) from error


def _gone(batch: "Batch", error: NotFoundError) -> CommandError:
    advice = "They were deleted or have expired; the batch has only the number of results"
    if batch.input_file_id and batch.input_file_id in str(error):
        advice = "Name a copy of the requests that the batch was made of: --inputs FILE"
    text = f"Not all files of batch {batch.id} are still at the service: {error}"
    return CommandError(text, advice, ExitCode.REFUSED)


@contextlib.asynccontextmanager
async def _requests(
    session: "BatchSession", batch: "Batch", inputs: str | None
) -> "AsyncGenerator[Path | AsyncIterator[bytes]]":
    if inputs is not None:
        yield Path(inputs)
        return
    async with (
        session.files.content(batch.input_file_id) as content,
        contextlib.aclosing(content.iter_lines()) as lines,
    ):
        yield lines


def summary_text(summary: "ResultSummary") -> str:
    """Return the outcomes, tokens and cost: ``3 results: 2 succeeded, 1 failed; 20 tokens in, 8 out; $0.42``."""
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in summary.outcomes.items() if count)
    text = as_count(summary.total, "result") + (f": {outcomes}" if outcomes else "")
    if summary.doubled:
        text += f", {summary.doubled:,} doubled and left out"
    usage = summary.usage
    if not usage.total_tokens:
        return text
    bill = summary.bill()
    cost = money_text(bill.cost)
    if bill.cost is None:
        cost = f"no price known for {', '.join(model or 'an unnamed model' for model in bill.unpriced_models)}"
    return f"{text}; {usage.input_tokens:,} tokens in, {usage.output_tokens:,} out; {cost}"


def exit_code(summary: "ResultSummary") -> ExitCode:
    """Return whether all requests of the batch succeeded, and the service says so too, as far as can be told."""
    counts = summary.batch.request_counts if summary.batch is not None else None
    succeeded = summary.outcomes[Outcome.SUCCEEDED]
    is_short = summary.inputs is None and counts is not None and succeeded < counts.total
    is_whole = not is_short and succeeded >= summary.total and not summary.disagreements
    return ExitCode.DONE if is_whole else ExitCode.FAILED
