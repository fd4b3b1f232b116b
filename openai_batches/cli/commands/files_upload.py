"""``openai-batches files upload``: a file to the service."""

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from cyclopts import App, Parameter

from openai_batches import make_converter
from openai_batches.cli.command import command
from openai_batches.cli.commands.transferring import transfer_shown
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.amounts import Seconds, checked_life
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected, provider_of
from openai_batches.cli.options.sources import STDIN, SourceName, request_source
from openai_batches.cli.output.documents import write_document
from openai_batches.cli.output.terminal import note, say
from openai_batches.cli.output.texts import one_line, size_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import BinaryIO

__all__ = ["app"]

_BATCH = "batch"
_PIECE_BYTES = 256 * 1024
_PACKED = (".gz", ".zst")

app: App = command(
    "upload",
    examples="""\
openai-batches files upload requests.jsonl
zcat requests.jsonl.gz | openai-batches files upload -
openai-batches files upload large.jsonl --parts --expires-after 7d""",
)


@app.default
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
    """Return what the service shall call the file.

    Raises:
        CommandError: it does not take that.
    """
    own = "upload" if path == STDIN else Path(path).name
    called = name or ("requests.jsonl" if path == STDIN and purpose == _BATCH else own)
    if purpose != _BATCH or called.endswith(".jsonl"):
        return called
    if called.endswith(_PACKED):
        raise CommandError(f"{called}: the service reads no packed files", "Unpack it; `split` does so too")
    raise CommandError(
        f"The file of a batch has to be called *.jsonl, not {called}", "Give it another --name, or another --purpose"
    )


@contextlib.asynccontextmanager
async def _source(path: str) -> "AsyncGenerator[Path | AsyncGenerator[bytes]]":
    if path != STDIN:
        await asyncio.to_thread(_check_file, Path(path))
        yield Path(path)
        return
    with request_source(path) as source:
        stream = cast("BinaryIO", source)
        first = await asyncio.to_thread(stream.read, _PIECE_BYTES)
        if not first:
            raise CommandError(
                "There is nothing on standard input", "Look at what was to write to it; nothing was uploaded"
            )
        yield _pieces(first, stream)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise CommandError(f"{path} is a folder", "Name a file")
    if path.exists() and not path.is_file():
        raise CommandError(f"{path} is no regular file", "Send it to standard input: files upload - < FILE")
    if path.exists() and not path.stat().st_size:
        raise CommandError(f"{path} is empty", "Name a file that has something in it")


async def _pieces(first: bytes, stream: "BinaryIO") -> "AsyncGenerator[bytes]":
    yield first
    while piece := await asyncio.to_thread(stream.read, _PIECE_BYTES):
        yield piece
