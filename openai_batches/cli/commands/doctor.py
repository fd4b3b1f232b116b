"""``openai-batches doctor``: show files and batches at the service that are no longer needed, and other problems."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from cyclopts import App, Parameter, validators
from rich.text import Text

from openai_batches import Diagnosis, make_converter
from openai_batches._text import as_count
from openai_batches.cli.advice import service_options
from openai_batches.cli.command import command
from openai_batches.cli.errors import ExitCode
from openai_batches.cli.options.amounts import Seconds
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.output.documents import write_document
from openai_batches.cli.output.file_rows import file_row, now
from openai_batches.cli.output.terminal import busy, say, table
from openai_batches.cli.output.texts import age_text, one_line, path_text, size_text
from openai_batches.cli.run.job_on_disk import job_folders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai_batches import Batch, BatchSession, FileObject

__all__ = ["app", "name_of"]

app: App = command(
    "doctor",
    examples="""
openai-batches doctor                          # the jobs in this folder
openai-batches doctor jobs/monday jobs/tuesday
openai-batches doctor --stalled-after 6h --json
""",
)


@attrs.frozen
class _Finding:
    """Things of one kind that were found.

    Attributes:
        title: what they are.
        rows: one row of cells for each.
        remedies: what can be done: commands, and what each is for.
    """

    title: str
    rows: "list[tuple[str, ...]]"
    remedies: tuple[tuple[str, str], ...]


@app.default
async def doctor(
    *directories: Annotated[Path, Parameter(metavar="DIR")],
    stalled_after: Seconds = 26 * 3_600.0,
    expiring_within: Seconds = 3 * 86_400.0,
    max_items: Annotated[int, Parameter(metavar="N", validator=validators.Number(gte=0))] = 5,
    json: bool = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Find unused files and stuck batches at the service. Nothing is changed.

    Input files that are not needed, batches that belong to no job, batches whose
    status does not change, results that are about to be deleted; each with the
    command that fixes it. The exit code is 1 where something was found.

    What is needed is known from the batches at the service and from the journals
    of your jobs, so name the folders of all of them.

    Args:
        directories: Folders of jobs (those in this folder).
        stalled_after: How long an open batch may keep its status (26h).
        expiring_within: How far ahead to look for results that expire (3d).
        max_items: Rows to show of each kind (5); --json has all.
        json: Write one JSON document.
        service: the service.
    """
    folders = job_folders(directories)
    async with connected(service) as session:
        with busy("Looking at all batches and files"):
            found = await session.doctor(folders, stalled_after_s=stalled_after, expiring_within_s=expiring_within)
        name = "the emulator" if service.local else name_of(session)
    findings = _findings(found, "".join(f" {shlex.quote(word)}" for word in service_options(service)))
    if json:
        write_document(_document(found))
    else:
        _tell(name, found, findings, max_items)
    return ExitCode.FAILED if findings else ExitCode.DONE


def name_of(session: "BatchSession") -> str:
    """Return what to call the service: by its name where it is at its own address, else by the address."""
    provider = session.provider
    return provider.name if session.base_url == provider.base_url else one_line(session.base_url)


def _findings(found: Diagnosis, options: str) -> list[_Finding]:
    leftover_ids = {file.id for file in found.leftovers}
    others = [file for file in found.orphans if file.id not in leftover_ids]
    delete = f"openai-batches files delete ID{options}"
    cancel = f"openai-batches cancel ID{options}"
    findings = (
        _Finding(
            f"{_files(found.leftovers)} of jobs that are no longer needed",
            list(map(file_row, found.leftovers)),
            ((f"openai-batches gc{options}", "to delete those that are older than a day"),),
        ),
        _Finding(
            f"{_files(others)} that no open batch uses, and no job uploaded",
            list(map(file_row, others)),
            ((delete, "if it is not needed"),),
        ),
        _Finding(
            f"{as_count(len(found.unknown), 'open batch', 'open batches')} that belong to none of these jobs",
            list(map(_batch_row, found.unknown)),
            ((f"openai-batches adopt ID -d DIR{options}", "to make it part of a job"), (cancel, "to cancel it")),
        ),
        _Finding(
            f"{as_count(len(found.stalled), 'open batch', 'open batches')} whose status has not changed for too long",
            list(map(_batch_row, found.stalled)),
            ((cancel, "to end it and keep what has run; `run` sends the rest again"),),
        ),
        _Finding(
            f"{_files(found.expiring, 'result file')} that the service is about to delete",
            list(map(_expiring_row, found.expiring)),
            ((f"openai-batches files download ID{options}", "to keep it"),),
        ),
        _Finding(
            f"{as_count(len(found.unreadable), 'job')} with a journal that cannot be read",
            [(path_text(path), one_line(why)) for path, why in found.unreadable.items()],
            (("openai-batches jobs", "to see what is known of it"),),
        ),
    )
    return [finding for finding in findings if finding.rows]


def _files(files: "Sequence[FileObject]", what: str = "input file") -> str:
    return f"{as_count(len(files), what)} ({size_text(sum(file.bytes for file in files))})"


def _expiring_row(file: "FileObject") -> tuple[str, ...]:
    return file_row(file, when=f"deleted {age_text(file.expires_at, now())}")


def _batch_row(batch: "Batch") -> tuple[str, ...]:
    counts = batch.request_counts
    done = "" if counts is None else f"{counts.completed + counts.failed:,} of {counts.total:,}"
    return one_line(batch.id), str(batch.status), done, age_text(batch.created_at, now())


def _tell(name: str, found: Diagnosis, findings: list[_Finding], max_items: int) -> None:
    say(Text(f"At {name}: {as_count(found.files, 'batch file')}, {size_text(found.bytes)}"))
    if not findings:
        say(Text("No problems were found.", "bold green"))
    for finding in findings:
        say()
        say(Text(finding.title, "bold yellow"))
        shown = finding.rows[:max_items]
        if shown:
            rows = table(*[""] * len(shown[0]))
            rows.show_header = False
            for row in shown:
                rows.add_row(*map(Text, (f"  {row[0]}", *row[1:])))
            say(rows)
        if more := len(finding.rows) - len(shown):
            say(f"  and {more:,} more")
        for remedy, why in finding.remedies:
            # Of a single one, the line can be pasted as it is.
            line = remedy.replace(" ID", f" {shlex.quote(finding.rows[0][0])}") if len(finding.rows) == 1 else remedy
            say(f"  → {why}:")
            say(Text(f"      {line}", "bold cyan"))


def _document(found: Diagnosis) -> dict[str, Any]:
    document: dict[str, Any] = make_converter().unstructure(found)
    return {**document, "needed": sorted(found.needed), "leftovers": [file.id for file in found.leftovers]}
