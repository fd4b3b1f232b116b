"""Where ``run`` finds its requests and keeps its job; checks of the files it writes and of the job that exists."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openai_batches import InputError, InvalidRequestsError
from openai_batches.cli.advice import command_without
from openai_batches.cli.errors import CommandError
from openai_batches.cli.output.save import check_apart, refuse_file
from openai_batches.cli.output.terminal import STANDARD_STREAM, note
from openai_batches.cli.run.job_on_disk import has_journal
from openai_batches.jobs.plan import service_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_batches import BatchJob, Ledger
    from openai_batches.cli.run.notes import JobNotes
    from openai_batches.cli.run.save import Output
    from openai_batches.jobs.journal.sqlite import JournalView

__all__ = ["check_report", "check_targets", "job_place", "plan_or_open"]

_REPORTS = frozenset({".html", ".htm"})

# The job's id is in the first lines of its report.
_HEAD_BYTES = 256 * 1024


def job_place(source: str | None, directory: Path | None) -> tuple[str | None, Path]:
    """Return the source and the directory of a job: a job's directory stands for the job in it."""
    if source is not None and source != STANDARD_STREAM and Path(source).is_dir():
        if not has_journal(Path(source)):
            raise CommandError(f"{source} is a folder, and there is no job in it", "Name a file of requests")
        if directory is not None:
            raise CommandError(f"{source} is the directory of a job already", "Leave out --directory")
        return None, Path(source)
    if directory is not None and source in {None, STANDARD_STREAM}:
        return source, directory
    if source is None:
        raise CommandError(
            "No requests were given", "Name a file of them, - for standard input, or the directory of a job to continue"
        )
    if source == STANDARD_STREAM:
        raise CommandError(
            "A job with requests from standard input needs a directory", "Name it: --directory jobs/monday"
        )
    place = directory or Path(f"{source}.job")
    _check_source(source, place)
    return source, place


def _check_source(source: str, place: Path) -> None:
    if not Path(source).exists():
        goes_on = f"Its job continues without it: {command_without(source, place)}"
        raise CommandError(f"There is no file {source}", goes_on if has_journal(place) else "Check the path")
    if not Path(source).is_file():
        # It can be read once, and a job looks at its source again.
        raise CommandError(f"{source} is not a regular file", "Send it to standard input: run - --directory DIR < FILE")


def check_targets(
    source: str | None,
    output: "Output",
    report: Path | None,
    *,
    view: "JournalView | None",
    notes: "JobNotes",
    is_dry: bool,
) -> None:
    """Find what would keep the results and the report from being written, or what they would spoil. This blocks."""
    check_apart(reads={"SOURCE": source}, writes={"OUT": output.path, "the report": report})
    output.check(may_be_there=is_dry or output.is_written(notes), has_report=report is not None)
    if report is not None:
        check_report(report, force=output.force, view=view)


def check_report(path: Path, *, force: bool, view: "JournalView | None") -> None:
    """Refuse a file that no report can be written to; an earlier one of the same job is replaced. This blocks.

    Without Jinja2 every file is refused, before there is anything to report.
    """
    if path.suffix.lower() not in _REPORTS:
        raise CommandError(
            f"--report writes HTML, and the name {path} does not say so", "Use a name that ends in .html"
        )
    if importlib.util.find_spec("jinja2") is None:
        raise CommandError(
            "--report needs the package jinja2: pip install 'openai_batches[report]'", "Install it, and try again"
        )
    try:
        refuse_file(path, force=force or _is_report_of(path, view))
    except CommandError as error:
        raise CommandError(f"--report: {error}", error.advice) from None


def _is_report_of(path: Path, view: "JournalView | None") -> bool:
    """Return whether a file is an earlier report of the same job, which the next one replaces."""
    if view is None or not path.is_file():
        return False
    with path.open("rb") as file:
        return view.job.job_id.encode() in file.read(_HEAD_BYTES)


async def plan_or_open(
    job: "BatchJob",
    *,
    view: "JournalView | None",
    source: str | None,
    base_url: str,
    arguments: "Mapping[str, Any]",
    is_quiet: bool,
) -> "Ledger":
    """Plan a job, or open the one that is there, and return its ledger."""
    try:
        ledger = await job.plan()
    except InvalidRequestsError:
        raise
    except InputError as error:
        window = arguments["completion_window"]
        told = view and _other_job(view, source, job.directory, base_url=base_url, window=window)
        raise told or error from error
    is_cut_anew = arguments["limits"] is not None or arguments["endpoint"] is not None
    if view is not None and is_cut_anew and not is_quiet:
        note("The shards of the job stay as they are: --max-requests, --max-bytes and --endpoint are for a new job")
    return ledger


def _other_job(
    view: "JournalView", source: str | None, directory: Path, *, base_url: str, window: str | None
) -> CommandError | None:
    """Return why a job that is there cannot go on as it was asked to; None if the reason is another one."""
    job = view.job
    if service_place(job.base_url) != service_place(base_url):
        return CommandError(
            f"The job in {directory} was started at {job.base_url}, and this is {base_url}",
            "Name the service that it was started with (--profile, --base-url), or start another job: --directory DIR",
        )
    was = job.options.get("completion_window", window)
    if window is not None and was != window:
        return CommandError(
            f"The job in {directory} was started with --window {was}, and cannot continue with --window {window}",
            f"Use --window {was}, or start another job: --directory DIR",
        )
    if source is None:
        return None
    name = "What came from standard input" if source == STANDARD_STREAM else source
    text = f"{name} is not what the job in {directory} was started with"
    if not job.source_digest:
        text = f"The job in {directory} was made of adopted batches, and takes no requests"
    as_it_was = command_without(source, directory)
    return CommandError(text, f"Continue the job as it is: {as_it_was}; or start another one: --directory DIR")
