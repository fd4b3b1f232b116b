"""``openai-batches jobs``: list, show and cancel the jobs on this machine."""

import asyncio
import contextlib
import datetime as dt
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.text import Text

from openai_batches import PRICES, BatchJob, Outcome, write_report
from openai_batches._threads import in_thread
from openai_batches.cli.advice import command_line, say_resume
from openai_batches.cli.command import command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.output.documents import write_document
from openai_batches.cli.output.signals import stopped_by_signals
from openai_batches.cli.output.terminal import (
    facts,
    note,
    out_is_terminal,
    progress_is_shown,
    say,
    stderr,
    stdout,
    table,
    warn,
)
from openai_batches.cli.output.texts import age_text, money_text, one_line, path_text, time_text
from openai_batches.cli.run.job_on_disk import FoundJob, found_jobs, has_journal, jobs_below
from openai_batches.cli.run.messages import EventMessages, ledger_lines, say_summary
from openai_batches.cli.run.places import check_report

if TYPE_CHECKING:
    from rich.table import Table

    from openai_batches import Ledger

__all__ = ["app"]

app: App = command(
    "jobs",
    examples="""
openai-batches jobs
openai-batches jobs ~/batches --recursive
""",
)

_STYLES = {"running": "cyan", "finished": "green", "stopped": "yellow", "cancelling": "yellow", "unreadable": "red"}
_COLUMNS = ("directory", "state", "requests>", "succeeded>", "failed>", "left>", "cost>", "begun")
_WIDE, _LEAST, _GAP = 120, 10, 2
_Directory = Annotated[Path, Parameter(metavar="DIR")]


@app.default
async def jobs(
    *folders: Annotated[Path, Parameter(metavar="DIR")],
    recursive: Annotated[bool, Parameter(name=("--recursive", "-r"))] = False,
    json: bool = False,
    service: Service = DEFAULT_SERVICE,  # noqa: ARG001  # what every command takes
) -> ExitCode:
    """Show the jobs on this machine, the newest first.

    Nothing is asked of the service, and a job that runs is not disturbed.

    Args:
        folders: Directories of jobs, or folders that hold them (this one).
        recursive: Look in the folders below as well, however deep.
        json: Write a JSON document.
        service: The service.
    """
    found = await in_thread(found_jobs, folders or (Path(),), is_recursive=recursive)
    if json:
        write_document([job.document() for job in found])
        return ExitCode.DONE
    if not found:
        below = await in_thread(lambda: sum(map(jobs_below, folders or (Path(),))))
        if below and not recursive:
            again = command_line("jobs", *map(str, folders), "--recursive", service=DEFAULT_SERVICE)
            note(f"There are no jobs here, and {below:,} in the folders below: {again}")
        else:
            note("There are no jobs here; `openai-batches run requests.jsonl` starts one.")
        return ExitCode.DONE
    say(_listed(found))
    for job in found:
        if job.problem:
            warn(one_line(job.problem))
    return ExitCode.DONE


show_app: App = command(
    "show",
    examples="""
openai-batches jobs show requests.jsonl.job
openai-batches jobs show requests.jsonl.job --report report.html
openai-batches jobs show requests.jsonl.job --json
""",
)
app.command(show_app)


@show_app.default
async def show(
    directory: _Directory,
    /,
    *,
    report: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    force: bool = False,
    json: bool = False,
    service: Service = DEFAULT_SERVICE,  # noqa: ARG001
) -> ExitCode:
    """Show what became of the requests of a job, shard by shard.

    Nothing is asked of the service, and a job that runs is not disturbed.

    Args:
        directory: The directory of the job.
        report: Write a report to this .html file as well.
        force: Replace that file, if it is there.
        json: Write a JSON document.
        service: The service.
    """
    _check(directory)
    job = await in_thread(FoundJob.read, directory)
    if report is not None:
        await in_thread(check_report, report, force=force, view=job.view)
    if job.view is None:
        raise CommandError(job.problem, "Restore it from a copy, or start again in another directory")
    ledger = job.ledger
    if json:
        write_document(job.document())
    else:
        say(facts(f"{directory}: {job.state}", [*_facts(job), *ledger_lines(ledger, PRICES, is_free=job.is_local)]))
        say()
        say(_shards(ledger))
    if report is not None:
        await write_report(directory, report, overwrite=True)
        note(f"The report is in {report}")
    return ExitCode.DONE


cancel_app: App = command(
    "cancel",
    examples="""
openai-batches jobs cancel requests.jsonl.job
openai-batches run requests.jsonl.job -o results.jsonl   # what had run
""",
)
app.command(cancel_app)


@cancel_app.default
async def cancel(directory: _Directory, /, *, service: Service = DEFAULT_SERVICE) -> ExitCode:
    """Cancel a job: nothing more of it is sent, and what has run is kept.

    Its batches are cancelled, which takes the service up to ten minutes, and what
    they had finished is collected; `run DIR -o OUT` then writes it. Stop the job
    first, where it runs. Batches of others are left alone.

    Args:
        directory: The directory of the job.
        service: The service.
    """
    _check(directory)
    found = await in_thread(FoundJob.read, directory)
    if found.view is not None and found.view.is_finished:
        note(f"The job in {path_text(directory)} has ended: there is nothing to cancel")
        _say_end(found.ledger, directory, None, service)
        return ExitCode.DONE
    begin = time.monotonic()
    with stopped_by_signals(lambda: None, _left) as stopping:
        try:
            async with connected(service) as session:
                ledger = await _cancelled(BatchJob(session, directory=directory, on_event=EventMessages().tell))
        except asyncio.CancelledError:
            if not stopping.has_come:
                raise
            return ExitCode(_left())
    _say_end(ledger, directory, time.monotonic() - begin, service)
    return ExitCode.DONE


def _say_end(ledger: "Ledger", directory: Path, lasted_s: float | None, service: Service) -> None:
    say_summary(ledger, directory=directory, out=None, lasted_s=lasted_s, prices=PRICES, service=service)


async def _cancelled(job: BatchJob) -> "Ledger":
    is_shown = progress_is_shown()
    with stderr().status(Text(f"Cancelling {path_text(job.directory)} …")) if is_shown else contextlib.nullcontext():
        async with job:
            return await job.cancel()


def _left() -> int:
    note("Stopped; its batches may not all have ended.")
    say_resume()
    return ExitCode.STOPPED


def _check(directory: Path) -> None:
    if not has_journal(directory):
        raise CommandError(f"There is no job in {directory}", "`openai-batches jobs` lists the jobs")


def _listed(found: list[FoundJob]) -> "Table":
    is_wide = not out_is_terminal() or stdout().width >= _WIDE
    names = [name.removesuffix(">") for name in _COLUMNS]
    rows = [_cells(job) for job in found]
    taken = sum(max(len(row[at]) for row in [names, *rows]) + _GAP for at in range(1, len(names)))
    # What is left is the directory's, and the source's where there is one: of a path the end says most.
    left = max(_LEAST, stdout().width - taken - (_GAP if is_wide else 0)) if out_is_terminal() else sys.maxsize
    sources = [one_line(job.source) or ("-" if job.view is not None else "") for job in found if is_wide]
    for_source = min(left // 2, max(map(len, sources), default=0))
    made = table(*_COLUMNS, *(["source"] if is_wide else []))
    for job, source, (directory, state, *cells) in zip(found, sources or [""] * len(found), rows, strict=True):
        has_failed = job.view is not None and cells[2] != "0"
        styled = [Text(cell, "red" if has_failed and at == 2 else "") for at, cell in enumerate(cells)]
        shown = Text(state, _STYLES.get(state, ""))
        made.add_row(
            _end(directory, left - for_source), shown, *styled, *([_end(source, for_source)] if is_wide else [])
        )
    return made


def _cells(job: FoundJob) -> list[str]:
    known = [path_text(job.directory), job.state]
    if job.view is None:
        return [*known, *[""] * (len(_COLUMNS) - len(known))]
    ledger = job.ledger
    bad = ledger.inputs - ledger.succeeded - ledger.unfinished
    numbers = (ledger.inputs, ledger.succeeded, bad, ledger.unfinished)
    age = age_text(job.created_at, dt.datetime.now(dt.UTC))
    return [*known, *(f"{number:,}" for number in numbers), "$0" if job.is_local else _cost(ledger), age]


def _end(text: str, width: int) -> str:
    return text if len(text) <= width else f"…{text[1 - width :]}"


def _cost(ledger: "Ledger") -> str:
    return money_text(ledger.bill().cost)


def _facts(job: FoundJob) -> list[tuple[str, str]]:
    assert job.view is not None  # noqa: S101  # who asks has seen it
    return [
        ("source", one_line(job.source) or "none: its requests are in its directory"),
        ("service", f"{one_line(job.view.job.base_url)}{', the emulator' if job.is_local else ''}"),
        ("begun", f"{time_text(job.created_at)} ({age_text(job.created_at, dt.datetime.now(dt.UTC))})"),
    ]


def _shards(ledger: "Ledger") -> "Table":
    made = table("shard>", "step", "try>", "succeeded>", "failed>", "id")
    for shard in ledger.shards:
        succeeded = shard.outcomes.get(Outcome.SUCCEEDED, 0)
        bad = sum(shard.outcomes.values()) - succeeded
        made.add_row(
            f"{shard.shard:,}",
            str(shard.step),
            f"{shard.attempts}",
            f"{succeeded:,}/{shard.inputs:,}",
            Text(f"{bad:,}", "red" if bad else ""),
            one_line(shard.batch_ids[-1]) if shard.batch_ids else "",
        )
    return made
