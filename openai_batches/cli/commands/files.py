"""``openai-batches files``: list, upload, download and delete files at the service."""

import contextlib
import datetime as dt
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.text import Text

from openai_batches import APIError, AuthenticationError, BatchesError, NotFoundError, TransportError, make_converter
from openai_batches._text import as_count
from openai_batches._threads import in_thread
from openai_batches.cli.command import command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.explain import Failures
from openai_batches.cli.options.amounts import Seconds, checked_life
from openai_batches.cli.options.selection import BatchId, batch_ids
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected, provider_of
from openai_batches.cli.options.sources import SourceName, request_source
from openai_batches.cli.output.documents import JsonItems, write_document
from openai_batches.cli.output.live import transfer_shown
from openai_batches.cli.output.questions import can_ask, confirmed
from openai_batches.cli.output.save import STDOUT, OutputName, refuse_file, safe_name
from openai_batches.cli.output.streams import OutputStream, gathered
from openai_batches.cli.output.terminal import STANDARD_STREAM, note, out_is_file, out_is_terminal, say, stdout
from openai_batches.cli.output.texts import cut, lasting_text, one_line, path_text, size_text, words

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import BinaryIO

    from openai_batches import BatchSession, FileObject

__all__ = ["app"]

app: App = command(
    "files",
    examples="""\
openai-batches files list --purpose batch
openai-batches files upload requests.jsonl
openai-batches files download file-abc -o output.jsonl
openai-batches files delete file-abc file-def""",
    help="List, upload, download and delete the files at the service.",
)
# Named by path, as in the table of all commands: each then has a line of its own in the list of commands.
for _order, (_name, _help) in enumerate(
    (
        ("list", "List files, newest first."),
        ("upload", "Upload a file."),
        ("download", "Download a file."),
        ("delete", "Delete files."),
    )
):
    app.command(f"{__name__}:_{_name}", name=_name, help=_help, sort_key=_order)
_NAMES = ("id", "size", "age", "left", "purpose", "name")
_NUMBERS = frozenset({"size", "age", "left"})
# What later pages may need, where the first one does not.
_WIDTHS = (27, 7, 3, 4, 12)
_PAGE = 1_000

_list: App = command(
    "list",
    examples="""\
openai-batches files list
openai-batches files list --purpose batch_output --limit 20
openai-batches files list --jsonl | jq -r 'select(.bytes > 1e8).id'""",
)
_BATCH = "batch"
_PIECE_BYTES = 256 * 1024
_PACKED = (".gz", ".zst")

_upload: App = command(
    "upload",
    examples="""\
openai-batches files upload requests.jsonl
zcat requests.jsonl.gz | openai-batches files upload -
openai-batches files upload large.jsonl --parts --expires-after 7d""",
)
_download: App = command(
    "download",
    examples="""\
openai-batches files download file-abc                   # under its own name
openai-batches files download file-abc -o output.jsonl
openai-batches files download file-abc -o - | head -1""",
)
_MOST_NAMED = 5

_delete: App = command(
    "delete",
    examples="""\
openai-batches files delete file-abc file-def
openai-batches files list --purpose batch_output \\
    | openai-batches files delete -""",
)


@_list.default
async def list_files(
    *,
    purpose: Annotated[str | None, Parameter(metavar="PURPOSE")] = None,
    limit: Annotated[int | None, Parameter(metavar="N", validator=Number(gte=0))] = None,
    json: bool = False,
    jsonl: bool = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """List files, newest first, with their sizes, their ages, and the time that is left before they expire.

    They are shown as they come, page after page. How many there are, and their size in all, is said at the end.

    Args:
        purpose: Only files of this purpose, such as batch or batch_output.
        limit: How many to show (all); 0 is all.
        json: One JSON document: a list of the service's records.
        jsonl: The service's records, one on each line.
        service: the service.
    """
    if json and jsonl:
        raise CommandError("--json and --jsonl cannot be used together", "Choose one of them")
    limit = limit or None
    shown = JsonItems(is_document=json) if json or jsonl else _Rows(dt.datetime.now(dt.UTC))
    count = size = 0
    async with connected(service) as session:
        page_size = min(limit or _PAGE, _PAGE)
        async for page in session.files.list(purpose=purpose, limit=page_size).pages():
            files = page.data if limit is None else page.data[: limit - count]
            count += len(files)
            size += sum(file.bytes for file in files)
            shown.write(files)
            if count == limit:
                break
    shown.end()
    if not (json or jsonl):
        note(f"{as_count(count, 'file')}, {size_text(size)}")
    return ExitCode.DONE


class _Rows:
    """Rows of a table that has no end yet: the first ones say how wide it is."""

    def __init__(self, now: dt.datetime) -> None:
        self._now = now
        self._widths: list[int] = []

    def write(self, files: "Sequence[FileObject]") -> None:
        """Show the next files."""
        rows = [self._cells(file) for file in files]
        if not rows:
            return
        if not self._widths:
            self._widths = [
                max(least, *map(len, column))
                for least, column in zip(_WIDTHS, zip(*rows, _NAMES, strict=True), strict=False)
            ]
            say(Text(self._line(_NAMES), "bold"))
        say(Text("\n".join(map(self._line, rows))))

    def end(self) -> None:
        """Do nothing: a table has no end."""

    def _cells(self, file: "FileObject") -> tuple[str, ...]:
        age = "" if file.created_at is None else _length((self._now - file.created_at).total_seconds())
        left = "" if file.expires_at is None else _length((file.expires_at - self._now).total_seconds())
        return one_line(file.id), size_text(file.bytes), age, left, one_line(file.purpose), one_line(file.filename)

    def _line(self, cells: Sequence[str]) -> str:
        """Return a row; the name at its end takes what is left of the line."""
        padded = [
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(_NAMES, cells, self._widths, strict=False)
        ]
        name = cells[-1]
        if out_is_terminal():
            name = cut(name, max(stdout().width - sum(self._widths) - 2 * len(padded), 1))
        return "  ".join([*padded, name]).rstrip()


def _length(seconds: float) -> str:
    """Return a length of time in one unit, which is enough to find a file by."""
    return lasting_text(seconds).partition(" ")[0]


@_upload.default
async def upload(
    path: Annotated[SourceName, Parameter(metavar="FILE")],
    /,
    *,
    purpose: Annotated[str, Parameter(metavar="PURPOSE")] = _BATCH,
    name: Annotated[str | None, Parameter(metavar="NAME")] = None,
    expires_after: Seconds | None = None,
    parts: bool = False,
    json: bool = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Upload a file, and print its id.

    It is read piece by piece, and sent again after a failure that can pass. It is not checked: see `validate`.

    Args:
        path: The file; `-` is standard input.
        purpose: What the file is for (batch).
        name: What the service shall call it (its own name; that of standard input is requests.jsonl, or upload where it
            is for something else than batches).
        expires_after: When the service deletes it, from now on: 1h to 30d (it decides).
        parts: Send it in parts, each of which can fail and be sent again alone, for links that break.
        json: Print the service's record of the file instead of its id.
        service: the service.
    """
    called = _checked_name(path, name, purpose)
    life_s = checked_life(expires_after, option="--expires-after", range_s=provider_of(service).expiry_s)
    async with connected(service) as session:
        send = session.files.upload_parts if parts else session.files.create
        async with _source(path) as source:
            with transfer_shown(f"Uploading {called}") as progress:
                file = await send(source, purpose=purpose, filename=called, expires_after=life_s, progress=progress)
    note(f"Uploaded {one_line(called)} as {one_line(file.id)}, {size_text(file.bytes)}")
    if json:
        write_document(make_converter().unstructure(file))
    else:
        say(one_line(file.id))
    return ExitCode.DONE


def _checked_name(path: str, name: str | None, purpose: str) -> str:
    """Return what the service shall call the file."""
    own = "upload" if path == STANDARD_STREAM else Path(path).name
    called = name or ("requests.jsonl" if path == STANDARD_STREAM and purpose == _BATCH else own)
    if purpose != _BATCH or called.endswith(".jsonl"):
        return called
    if called.endswith(_PACKED):
        raise CommandError(f"{called}: the service reads no packed files", "Unpack it; `split` does so too")
    raise CommandError(
        f"The file of a batch has to be called *.jsonl, not {called}", "Give it another --name, or another --purpose"
    )


@contextlib.asynccontextmanager
async def _source(path: str) -> "AsyncGenerator[Path | AsyncGenerator[bytes]]":
    if path != STANDARD_STREAM:
        await in_thread(_check_file, Path(path))
        yield Path(path)
        return
    with request_source(path) as source:
        stream = cast("BinaryIO", source)
        first = await in_thread(stream.read, _PIECE_BYTES)
        if not first:
            raise CommandError(
                "There is nothing on standard input", "Check the command that writes to it; nothing was uploaded"
            )
        yield _pieces(first, stream)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise CommandError(f"{path} is a folder", "Name a file")
    if path.exists() and not path.is_file():
        raise CommandError(f"{path} is not a regular file", "Send it to standard input: files upload - < FILE")
    if path.exists() and not path.stat().st_size:
        raise CommandError(f"{path} is empty", "Name a file that is not empty")


async def _pieces(first: bytes, stream: "BinaryIO") -> "AsyncGenerator[bytes]":
    yield first
    while piece := await in_thread(stream.read, _PIECE_BYTES):
        yield piece


@_download.default
async def download(
    id: Annotated[str, Parameter(metavar="ID")],
    /,
    *,
    output: OutputName = None,
    force: bool = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Download a file, whole or not at all, and print the name it has here.

    After a broken connection, the download resumes where it stopped. The file gets its name when it is whole.

    Args:
        id: The file.
        output: The file to write, or the folder to put it into under its own name (this folder). `-` is standard
            output, which gets the bytes as they come.
        force: Replace a file that exists.
        service: the service.
    """
    async with connected(service) as session:
        if output == STDOUT:
            await _stream(session, id)
            return ExitCode.DONE
        path = await _path(session, id, output or Path(), force=force)
        with transfer_shown(f"Downloading {path.name}") as progress:
            done = await session.files.download(id, path, overwrite=force, progress=progress)
    say(path_text(path))
    note(f"Downloaded {path_text(path.name)}, {size_text(done.bytes)}")
    return ExitCode.DONE


async def _path(session: "BatchSession", id: str, output: Path, *, force: bool) -> Path:
    """Return where to put a file; in a folder, it has its own name.

    Its record is asked for in any case: what has none is no file, whatever is answered in its place.
    """
    is_folder = await in_thread(output.is_dir)
    if not is_folder:
        refuse_file(output, force=force)
    known = await session.files.retrieve(id)
    if not is_folder:
        return output
    path = output / safe_name(known.filename, otherwise=safe_name(id, otherwise="download"))
    refuse_file(path, force=force)
    return path


async def _stream(session: "BatchSession", id: str) -> None:
    out = OutputStream()
    received = 0
    try:
        with transfer_shown(f"Downloading {one_line(id)}", is_shown=out_is_file()) as progress:
            # What has no record is no file, whatever is answered in its place.
            size = (await session.files.retrieve(id)).bytes or None
            async with (
                session.files.content(id) as content,
                contextlib.aclosing(gathered(content.iter_chunks(), weigh=len)) as pieces,
            ):
                async for piece in pieces:
                    await out.write(functools.partial(b"".join, piece))
                    received += sum(map(len, piece))
                    if progress is not None:
                        progress(received, size)
    except (APIError, TransportError) as error:
        if not received:
            raise
        raise CommandError(
            f"{error}; {size_text(received)} were written, which is not the whole file",
            "Download it to a file, which resumes after errors: -o FILE",
            ExitCode.REFUSED,
        ) from error


@_delete.default
async def delete(
    *ids: BatchId,
    yes: Annotated[bool, Parameter(name=("--yes", "-y"))] = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Delete files at the service, for good. A batch that has read its input file already is not touched.

    A person at a terminal is asked first. One file that cannot be deleted does not keep the others; the exit code is
    then 3. A file that is not there counts as one that cannot be deleted.

    Args:
        ids: The files; `-` reads ids from standard input, the first word of each line.
        yes: Do not ask.
        service: the service.
    """
    wanted = await batch_ids(ids)
    what = words(map(one_line, wanted)) if len(wanted) <= _MOST_NAMED else as_count(len(wanted), "file")
    if not yes and can_ask() and not await confirmed(f"Delete {what}?"):
        note("Nothing was deleted.")
        return ExitCode.INTERRUPTED
    failures = Failures()
    async with connected(service) as session:
        for id in wanted:  # noqa: A001  # the wire's own word
            try:
                await session.files.delete(id)
            except AuthenticationError:
                raise
            except NotFoundError as error:
                failures.tell(id, _missing(error))
            except BatchesError as error:
                failures.tell(id, error)
            else:
                say(f"{one_line(id)}  deleted")
    failures.advise()
    return failures.code


def _missing(error: NotFoundError) -> Exception:
    """Return what to say of a file that is not there; an address where no service is has no files at all."""
    if not isinstance(error.body, dict):
        return error
    return CommandError(
        "It is not there: it was deleted before, or belongs to another key",
        "`openai-batches files list` shows the files of this key",
        ExitCode.REFUSED,
    )
