"""A job that is there, and what ``run`` was asked for: told apart in the words of the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from openai_batches import InputError, InvalidRequestsError
from openai_batches.cli.advice import command_without
from openai_batches.cli.errors import CommandError
from openai_batches.cli.options.sources import STDIN
from openai_batches.cli.output.terminal import note
from openai_batches.jobs.plan import service_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_batches import BatchJob, Ledger
    from openai_batches.jobs.journal.sqlite import JournalView

__all__ = ["compared"]


async def compared(
    job: "BatchJob",
    *,
    view: "JournalView | None",
    source: str | None,
    base_url: str,
    arguments: "Mapping[str, Any]",
    is_quiet: bool,
) -> "Ledger":
    """Plan a job, or open the one that is there, and return its ledger.

    Args:
        job: the job.
        view: what the journal said of it; None where there was none.
        source: the requests, as they were typed.
        base_url: the service that is meant.
        arguments: how the job is to be done.
        is_quiet: whether nothing is said.

    Raises:
        CommandError: the job that is there cannot go on as it was asked to.
        BatchesError: as ``BatchJob.plan``.
        OSError: likewise.
    """
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
        note("The job keeps its batches as they are: --max-requests, --max-bytes and --endpoint are for a new one")
    return ledger


def _other_job(
    view: "JournalView", source: str | None, directory: Path, *, base_url: str, window: str | None
) -> CommandError | None:
    """Return why a job that is there cannot go on as it was asked to; None if the reason is another one.

    Args:
        view: what its journal says.
        source: the requests, as they were typed.
        directory: where it is.
        base_url: the service that is meant.
        window: the completion window that is meant; None for that of the job.
    """
    job = view.job
    if service_place(job.base_url) != service_place(base_url):
        return CommandError(
            f"The job in {directory} was begun at {job.base_url}, and this is {base_url}",
            "Name the service that it was begun with (--profile, --base-url), or begin another job: --directory DIR",
        )
    was = job.options.get("completion_window", window)
    if window is not None and was != window:
        return CommandError(
            f"The job in {directory} was begun with --window {was}, and cannot go on with --window {window}",
            f"Go on with --window {was}, or begin another job: --directory DIR",
        )
    if source is None:
        return None
    name = "What came from standard input" if source == STDIN else source
    text = f"{name} is not what the job in {directory} was begun with"
    if not job.source_digest:
        text = f"The job in {directory} is one of adopted batches, and takes no requests"
    as_it_was = command_without(source, directory)
    return CommandError(text, f"Go on with the job as it is: {as_it_was}; or begin another one: --directory DIR")
