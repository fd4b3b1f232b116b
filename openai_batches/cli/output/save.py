"""Files that a command writes: under their names once they are whole, and over others only if that is asked for."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token

from openai_batches.cli.errors import CommandError
from openai_batches.cli.output.streams import OutputStream
from openai_batches.storage.atomic import PartFile
from openai_batches.storage.compression import compression_of

__all__ = ["STDOUT", "FileName", "OutputName", "opened_output", "refuse_file", "saved"]

STDOUT = Path("-")
_SEPARATORS = tuple(filter(None, (os.sep, os.altsep)))


def _path(_: object, tokens: Sequence[Token]) -> Path:
    name = tokens[0].value
    path = Path(name)
    if name.startswith("-") and path != STDOUT:
        raise CommandError(f"{name} is no name of a file here", f"A file of that name is ./{name}")
    # A path does not know that a folder was meant.
    if name.endswith(_SEPARATORS) and not path.is_dir():
        raise CommandError(f"There is no folder {name}", "Make it, or name a file")
    return path


# Annotations of parameters: a file to write, or "-", which is no option.
FileName = Annotated[Path | None, Parameter(metavar="FILE", allow_leading_hyphen=True, converter=_path, n_tokens=1)]
OutputName = Annotated[FileName, Parameter(name=("--output", "-o"))]


def refuse_file(path: Path, *, force: bool) -> None:
    """Refuse a file that cannot be written under its name.

    Raises:
        CommandError: there is one, and it is not to be replaced; or it is a folder, or is to be in none.
    """
    if path.is_dir():
        raise CommandError(f"{path} is a folder", "Name a file in it")
    if not path.parent.is_dir():
        raise CommandError(f"There is no folder {path.parent}", "Make it, or name another file")
    if not os.path.lexists(path):
        return
    if not force:
        raise CommandError(f"{path} exists", "Name another file, or replace it with --force")
    if not path.is_file() and not path.is_symlink():
        raise CommandError(f"{path} is no regular file", "Name another one, or write to standard output: -o -")


@contextlib.asynccontextmanager
async def saved(path: Path, *, force: bool) -> "AsyncGenerator[Callable[[Callable[[], bytes]], Awaitable[None]]]":
    """Give what writes to a file the bytes that a function makes; the file gets its name when the block ends well.

    It is packed if its name ends in ``.gz`` or ``.zst``. After an error nothing of it is left.

    Raises:
        CommandError: it exists and is not to be replaced, or somebody else is writing it.
        OSError: it cannot be written.
    """
    refuse_file(path, force=force)
    part = PartFile(path, compression=compression_of(path.name), overwrite=force)
    try:
        await _named(part.open)
        await asyncio.to_thread(part.restart, None)

        async def write(make: Callable[[], bytes]) -> None:
            await asyncio.to_thread(lambda: part.write([make()]))

        yield write
        await _named(part.keep)
    finally:
        # A thread that still writes is waited for, whatever becomes of us.
        await asyncio.shield(asyncio.to_thread(part.discard))


@contextlib.asynccontextmanager
async def opened_output(
    path: Path | None, *, force: bool
) -> "AsyncGenerator[Callable[[Callable[[], bytes]], Awaitable[None]]]":
    """Give the same for a file, or for standard output where the path is None.

    Raises:
        ClosedPipeError: nobody reads it.
        CommandError: it cannot be written.
        OSError: likewise.
    """
    if path is None:
        yield OutputStream().write
        return
    async with saved(path, force=force) as write:
        yield write


async def _named(step: Callable[[], None]) -> None:
    try:
        await asyncio.to_thread(step)
    except FileExistsError as error:
        raise CommandError(f"{error.filename} is in use: {error.strerror}", "Wait, or name another file") from error
