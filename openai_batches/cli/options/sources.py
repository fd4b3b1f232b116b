"""Arguments that name a source of requests: a file, or ``-`` for standard input."""

import contextlib
import os
import select
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

from cyclopts import Parameter
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from openai_batches.cli.errors import CommandError, UnknownOptionError
from openai_batches.cli.output.terminal import STANDARD_STREAM, note, open_keyboard, progress_is_shown, stderr
from openai_batches.cli.output.texts import cut

if TYPE_CHECKING:
    from openai_batches import RequestSource

__all__ = [
    "SourceName",
    "check_read_once",
    "opened_sources",
    "refuse_options",
    "request_source",
    "source_name",
]

# What is smaller is read before a person has looked.
_LARGE_BYTES = 20_000_000
_NAME_CHARS = 32


def refuse_options(_: object, names: str | tuple[str, ...] | None) -> None:
    """Refuse what looks like an option where a source is named."""
    for name in (names,) if isinstance(names, str) else names or ():
        if name.startswith("-") and name != STANDARD_STREAM:
            raise UnknownOptionError(name, f"write a file of that name as ./{name}")


# Annotation of a parameter: a path, or "-", which is no option.
SourceName = Annotated[
    str, Parameter(metavar="FILE", required=True, allow_leading_hyphen=True, validator=refuse_options)
]


def source_name(name: str) -> str:
    """Return what to call a source in messages."""
    return "<stdin>" if name == STANDARD_STREAM else name


def check_read_once(names: Sequence[str]) -> None:
    """Refuse sources of which standard input is more than one."""
    if names.count(STANDARD_STREAM) > 1:
        raise CommandError("Standard input can be read only once", "Give - only once")


@contextlib.contextmanager
def request_source(name: str) -> "Generator[RequestSource]":
    """Give a source of requests that can be read once; a large file shows how far it is read, on a terminal."""
    with opened_sources([name], of="requests") as (source,):
        yield source


@contextlib.contextmanager
def opened_sources(names: Sequence[str], *, of: str) -> "Generator[list[Path | BinaryIO]]":
    """Give sources that can each be read once, in this order."""
    check_read_once(names)
    sizes = {name: _size(name, of) for name in names if name != STANDARD_STREAM}
    is_watched = max(sizes.values(), default=0) >= _LARGE_BYTES and progress_is_shown()
    with contextlib.ExitStack() as stack:
        told = stack.enter_context(_watching(sum(sizes.values()))) if is_watched else None
        sources: list[Path | BinaryIO] = []
        before = 0
        for name in names:
            if name == STANDARD_STREAM:
                stdin = stack.enter_context(contextlib.closing(_StandardInput(of)))
                sources.append(cast("BinaryIO", stdin))
            elif told is not None:
                watched = stack.enter_context(contextlib.closing(_Watched(name, before, told)))
                sources.append(cast("BinaryIO", watched))
            else:
                sources.append(Path(name))
            before += sizes.get(name, 0)
        yield sources


def _size(name: str, of: str) -> int:
    path = Path(name)
    size = path.stat().st_size
    if path.is_dir():
        raise CommandError(f"{name} is a folder", f"Name a file of {of}")
    return size


@contextlib.contextmanager
def _watching(total: int) -> "Generator[Callable[[str, int], None]]":
    """Give what shows a name, and how many of all bytes are read."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr(), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda name, count: progress.update(task, description=cut(name, _NAME_CHARS), completed=count)


class _Watched:
    """A file that is opened when it is first read, and tells of every piece."""

    def __init__(self, name: str, before: int, told: Callable[[str, int], None]) -> None:
        self.name = name
        self._file: BinaryIO | None = None
        self._before = before
        self._told = told

    def read(self, size: int) -> bytes:
        """Read so many bytes at most."""
        if self._file is None:
            self._file = Path(self.name).open("rb")  # noqa: SIM115  # closed in close
        data = self._file.read(size)
        self._told(Path(self.name).name, self._before + self._file.tell())
        return data

    def close(self) -> None:
        """Close it, if it was opened."""
        if self._file is not None:
            self._file.close()


class _StandardInput:
    """Standard input, which is read in a thread that can be told to stop: Ctrl-C does not wait for a line."""

    name = "<stdin>"

    def __init__(self, of: str) -> None:
        # Python has none where the shell said `<&-`.
        if sys.stdin is None:
            raise CommandError("Standard input is closed", "Name a file, or leave it open")
        self._stream = sys.stdin.buffer
        self._pipe: tuple[int, int] | None = None
        self._is_over = False
        with contextlib.suppress(OSError):
            self._fd = self._stream.fileno()
            self._pipe = os.pipe() if os.name == "posix" else None
            if self._stream.isatty():
                self._fd = open_keyboard(self._fd)
        if self._stream.isatty():
            note(f"Reading {of} from the keyboard; Ctrl-D ends them.")

    def read(self, size: int) -> bytes:
        """Read what there is, so many bytes at most; nothing is the end."""
        if self._pipe is None or size == 0:
            return self._stream.read(size)
        if self._is_over:
            return b""
        data = self._read(self._pipe[0], size)
        # A terminal would want another Ctrl-D each time it is asked.
        self._is_over = not data
        return data

    def _read(self, stop: int, size: int) -> bytes:
        while stop not in select.select([self._fd, stop], [], [])[0]:
            with contextlib.suppress(BlockingIOError):
                return os.read(self._fd, size)
        return b""

    def close(self) -> None:
        """Let a thread that still reads come to its end."""
        # The pipe stays open: the thread may still look at it.
        if self._pipe is not None:
            os.write(self._pipe[1], b".")
