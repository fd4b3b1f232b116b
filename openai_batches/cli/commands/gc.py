"""``openai-batches gc``: delete the files that jobs have left at the service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from openai_batches import Cleanup, make_converter
from openai_batches._text import as_count
from openai_batches.cli.command import command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.amounts import Seconds
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.output.documents import write_document
from openai_batches.cli.output.file_rows import file_row
from openai_batches.cli.output.questions import can_ask, confirmed
from openai_batches.cli.output.terminal import busy, note, progress_is_shown, say, stderr, table
from openai_batches.cli.output.texts import lasting_text, one_line, size_text
from openai_batches.cli.run.job_on_disk import job_folders

if TYPE_CHECKING:
    from openai_batches import BatchSession, FileObject

__all__ = ["app"]

app: App = command(
    "gc",
    examples="""
openai-batches gc              # shows what would be deleted, and asks
openai-batches gc jobs/* --older-than 1h --yes
openai-batches gc monday.job --with-results
""",
)


@app.default
async def gc(
    *directories: Annotated[Path, Parameter(metavar="DIR")],
    older_than: Seconds = 86_400.0,
    with_results: bool = False,
    without_jobs: bool = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"])] = False,
    dry_run: bool = False,
    json: bool = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Delete the input files that jobs have left at the service.

    These are files that jobs of this program have uploaded, that no open batch
    uses, and that no job you name still needs. Files of others are never deleted.

    On a terminal it shows what would be deleted, and asks. Elsewhere it deletes nothing
    without --yes, and where no job is named or found, nothing without
    --without-jobs either: what jobs elsewhere need is not known then.

    Args:
        directories: Folders of jobs whose files are kept until they are done (those in this folder).
        older_than: How old a file must be (1d).
        with_results: Delete the result files of these jobs too, once they are on this disk and counted.
        without_jobs: With --yes: delete although no job is known, because no job is running anywhere.
        yes: Delete without a question.
        dry_run: Only show what would be deleted.
        json: Write one JSON document.
        service: the service.
    """
    folders = job_folders(directories)
    if yes and not (dry_run or folders or without_jobs):
        raise CommandError(
            "No job is named or found here, and jobs elsewhere may need what would be deleted",
            "Name the folders of all jobs; or add --without-jobs, if no job is running anywhere",
        )
    options: dict[str, Any] = {"older_than_s": older_than, "with_results": with_results}
    async with connected(service) as session:
        if yes and not dry_run:
            return await _clear(session, folders, options, is_json=json, only=None)
        with busy("Looking at all batches and files"):
            found = await session.gc(folders, **options)
        if json:
            write_document(_document(found))
        else:
            _tell(found, older_than)
        if not found.files or dry_run or json:
            return ExitCode.DONE
        if not can_ask():
            further = "" if folders or without_jobs else ", with the folders of all jobs named, or with --without-jobs"
            note(f"Nothing was deleted: --yes deletes them{further}.")
            return ExitCode.DONE
        if not await confirmed(f"Delete {_amount(found.files)}?"):
            note("Nothing was deleted.")
            return ExitCode.INTERRUPTED
        # Files that are needed by now, or were not in the question, are kept.
        return await _clear(session, folders, options, is_json=False, only={file.id for file in found.files})


async def _clear(
    session: "BatchSession", folders: list[Path], options: dict[str, Any], *, is_json: bool, only: set[str] | None
) -> ExitCode:
    deleted: list[FileObject] = []
    columns = (TextColumn("deleted"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=stderr(), transient=True, disable=not progress_is_shown()) as progress:
        task = progress.add_task("", total=None if only is None else len(only))

        def told(file: "FileObject") -> None:
            deleted.append(file)
            progress.update(task, completed=len(deleted))
            if not is_json:
                say(Text(f"deleted {one_line(file.id)}  {one_line(file.filename)}"))

        try:
            found = await session.gc(folders, **options, dry_run=False, only=only, on_deleted=told)
        except BaseException:
            note(f"{_amount(tuple(deleted))}, deleted before this:")
            raise
    if is_json:
        write_document(_document(found))
    else:
        note(f"{_amount(found.files)}, deleted.")
    return ExitCode.DONE


def _tell(found: Cleanup, older_than_s: float) -> None:
    if not found.files:
        age = f" older than {lasting_text(older_than_s)}" if older_than_s else ""
        say(f"There is nothing to delete: no file{age} that jobs have left.")
        return
    rows = table("file", "name", "size>", "age>")
    for file in found.files:
        rows.add_row(*map(Text, file_row(file)))
    say(rows)


def _amount(files: "tuple[FileObject, ...]") -> str:
    return f"{as_count(len(files), 'file')}, {size_text(sum(file.bytes for file in files))}"


def _document(found: Cleanup) -> dict[str, Any]:
    document: dict[str, Any] = make_converter().unstructure(found)
    return {**document, "bytes": found.bytes}
