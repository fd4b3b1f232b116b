"""``openai-batches files download``: a file from the service."""

import asyncio
import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from openai_batches import APIError, TransportError
from openai_batches.cli.command import command
from openai_batches.cli.commands.file_names import safe_name
from openai_batches.cli.commands.transferring import transfer_shown
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.output.save import STDOUT, OutputName, refuse_file
from openai_batches.cli.output.streams import OutputStream, gathered
from openai_batches.cli.output.terminal import note, out_is_file, say
from openai_batches.cli.output.texts import one_line, path_text, size_text

if TYPE_CHECKING:
    from openai_batches import BatchSession

__all__ = ["app"]

app: App = command(
    "download",
    examples="""\
openai-batches files download file-abc                   # under its own name
openai-batches files download file-abc -o output.jsonl
openai-batches files download file-abc -o - | head -1""",
)


@app.default
async def download(
    id: Annotated[str, Parameter(metavar="ID")],
    /,
    *,
    output: OutputName = None,
    force: bool = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Download a file, whole or not at all, and print the name it has here.

    A connection that breaks is taken up where it broke. The file gets its name when it is whole.

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
        try:
            with transfer_shown(f"Downloading {path.name}") as progress:
                done = await session.files.download(id, path, overwrite=force, progress=progress)
        except FileExistsError as error:
            raise CommandError(f"{error.filename}: {error.strerror}", "Wait, or name another file") from error
    say(path_text(path))
    note(f"Downloaded {path_text(path.name)}, {size_text(done.bytes)}")
    return ExitCode.DONE


async def _path(session: "BatchSession", id: str, output: Path, *, force: bool) -> Path:
    """Return where to put a file; in a folder, it has its own name.

    Its record is asked for in any case: what has none is no file, whatever is answered in its place.

    Raises:
        CommandError: nothing can be written there.
        APIError: the service knows no such file.
    """
    is_folder = await asyncio.to_thread(output.is_dir)
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
            f"{error}; {size_text(received)} of the file were written, and not all of it",
            "Download it to a file, which bears more of this: -o FILE",
            ExitCode.REFUSED,
        ) from error
