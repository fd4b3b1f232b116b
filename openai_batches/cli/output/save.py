"""Files that a command writes: their names, the checks before, and writing them completely or not at all."""

import contextlib
import os
import unicodedata
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token

from openai_batches._threads import in_thread, in_thread_without_fail
from openai_batches.cli.errors import CommandError
from openai_batches.cli.output.streams import OutputStream
from openai_batches.cli.output.terminal import STANDARD_STREAM
from openai_batches.storage.atomic import PartFile
from openai_batches.storage.compression import compression_of

__all__ = ["STDOUT", "FileName", "OutputName", "check_apart", "opened_output", "refuse_file", "safe_name", "saved"]

STDOUT = Path(STANDARD_STREAM)
_SEPARATORS = tuple(filter(None, (os.sep, os.altsep)))
_MOST_BYTES = 200
# What leads elsewhere, or means something to a shell or another system.
_FORBIDDEN = frozenset('<>:"|?*')
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in "123456789")}
)


def _path(_: object, tokens: Sequence[Token]) -> Path:
    name = tokens[0].value
    path = Path(name)
    if name.startswith("-") and path != STDOUT:
        raise CommandError(f"{name} is not accepted as a file name", f"Write a file of that name as ./{name}")
    # A path does not know that a folder was meant.
    if name.endswith(_SEPARATORS) and not path.is_dir():
        raise CommandError(f"There is no folder {name}", "Make it, or name a file")
    return path


# Annotations of parameters: a file to write, or "-", which is no option.
FileName = Annotated[Path | None, Parameter(metavar="FILE", allow_leading_hyphen=True, converter=_path, n_tokens=1)]
OutputName = Annotated[FileName, Parameter(name=("--output", "-o"))]


def refuse_file(path: Path, *, force: bool) -> None:
    """Refuse a file that cannot be written under its name."""
    if path.is_dir():
        raise CommandError(f"{path} is a folder", "Name a file in it")
    if not path.parent.is_dir():
        raise CommandError(f"There is no folder {path.parent}", "Make it, or name another file")
    if not os.path.lexists(path):
        return
    if not force:
        raise CommandError(f"{path} exists", "Name another file, or replace it with --force")
    if not path.is_file() and not path.is_symlink():
        raise CommandError(f"{path} is not a regular file", "Name another one, or write to standard output: -o -")


@contextlib.asynccontextmanager
async def saved(path: Path, *, force: bool) -> "AsyncGenerator[Callable[[Callable[[], bytes]], Awaitable[None]]]":
    """Give what writes to a file the bytes that a function makes; the file gets its name when the block ends well.

    It is packed if its name ends in ``.gz`` or ``.zst``. After an error nothing of it is left.
    """
    refuse_file(path, force=force)
    part = PartFile(path, compression=compression_of(path.name), overwrite=force)
    try:
        await in_thread(part.open)
        await in_thread(part.restart, None)

        async def write(make: Callable[[], bytes]) -> None:
            await in_thread(lambda: part.write([make()]))

        yield write
        await in_thread(part.keep)
    finally:
        # A thread that still writes is waited for, whatever becomes of us.
        await in_thread_without_fail(part.discard)


@contextlib.asynccontextmanager
async def opened_output(
    path: Path | None, *, force: bool
) -> "AsyncGenerator[Callable[[Callable[[], bytes]], Awaitable[None]]]":
    """Give the same for a file, or for standard output where the path is None."""
    if path is None:
        yield OutputStream().write
        return
    async with saved(path, force=force) as write:
        yield write


def check_apart(*, reads: Mapping[str, Path | str | None], writes: Mapping[str, Path | str | None]) -> None:
    """Refuse to write a file that is read or written under another name, whatever links lead there.

    Standard input and output are no files.
    """
    seen = [(name, path) for name, path in reads.items() if _is_file(path)]
    for name, path in writes.items():
        if not _is_file(path):
            continue
        for other, there in seen:
            if _are_same(there, path):
                raise CommandError(f"{other} and {name} are the same file: {path}", "Name another file to write")
        seen.append((name, path))


def _is_file(path: Path | str | None) -> bool:
    return path is not None and str(path) != STANDARD_STREAM


def _are_same(one: Path | str | None, other: Path | str | None) -> bool:
    first, second = str(one), str(other)
    if os.path.realpath(first) == os.path.realpath(second):
        return True
    try:
        # Names that differ in letters alone, on a disk that does not tell them apart.
        return Path(first).samefile(second)
    except OSError:
        return False


def safe_name(name: str, *, otherwise: str) -> str:
    """Return a name that stands for a file in the folder it is put into, and for nothing else.

    What stands before a slash or backslash is left out, and so are dots, dashes and spaces at the start. Characters
    that cannot be seen, or mean something to a system, become ``_``. It is cut to 200 bytes before its suffix.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    shown = "".join("_" if _is_odd(character) else character for character in unicodedata.normalize("NFC", last))
    kept = shown.strip().lstrip(".-~ ").rstrip(". ")
    if not kept.strip("_"):
        return otherwise
    stem, dot, suffix = kept.rpartition(".")
    if not dot or len(suffix) > 16:
        stem, dot, suffix = kept, "", ""
    if stem.lower() in _RESERVED:
        stem = f"{stem}_"
    return _cut(stem) + dot + suffix


def _is_odd(character: str) -> bool:
    return character in _FORBIDDEN or not character.isprintable()


def _cut(text: str) -> str:
    return text.encode("utf-8", "replace")[:_MOST_BYTES].decode("utf-8", "ignore")
