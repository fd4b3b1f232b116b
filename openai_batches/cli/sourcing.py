"""A source of requests, as a person names it: a file, or ``-`` for standard input; large files with progress."""

import contextlib
import os
import select
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

from cyclopts import Parameter
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from openai_batches.cli.endings import CommandError
from openai_batches.cli.terminal import note, progress_is_shown, stderr
from openai_batches.cli.texts import cut

if TYPE_CHECKING:
    from openai_batches import RequestSource

__all__ = ["STDIN", "SourceName", "request_source", "source_name"]

STDIN = "-"
# What is smaller is read before a person has looked.
_LARGE_BYTES = 20_000_000
_NAME_CHARS = 32


def _check(_: object, names: str | tuple[str, ...]) -> None:
    for name in (names,) if isinstance(names, str) else names:
        if name.startswith("-") and name != STDIN:
            raise CommandError(f"Unknown option: {name}", f"See --help; a file of that name is ./{name}")


# Annotation of a parameter: a path, or "-", which is no option.
SourceName = Annotated[str, Parameter(metavar="FILE", required=True, allow_leading_hyphen=True, validator=_check)]


def source_name(name: str) -> str:
    """Return what to call a source in messages."""
    return "<stdin>" if name == STDIN else name


@contextlib.contextmanager
def request_source(name: str) -> "Generator[RequestSource]":
    """Give a source of requests that can be read once; a large file shows how far it is read, on a terminal.

    Args:
        name: the path of a file, plain or packed, or ``-`` for standard input.

    Raises:
        CommandError: standard input is closed, or the path is a folder.
        OSError: there is no such file.
    """
    if name == STDIN:
        with contextlib.closing(_StandardInput()) as stdin:
            yield cast("BinaryIO", stdin)
        return
    path = Path(name)
    size = path.stat().st_size
    if path.is_dir():
        raise CommandError(f"{name} is a folder", "Name a file of requests, one on each line")
    if size < _LARGE_BYTES or not progress_is_shown():
        yield path
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with path.open("rb") as file, Progress(*columns, console=stderr(), transient=True) as progress:
        task = progress.add_task(cut(path.name, _NAME_CHARS), total=size)
        yield cast("BinaryIO", _Watched(file, lambda: progress.update(task, completed=file.tell())))


class _Watched:
    """A file that tells of every piece that is read."""

    def __init__(self, file: BinaryIO, told: Callable[[], object]) -> None:
        self._file = file
        self._told = told
        self.name = file.name

    def read(self, size: int) -> bytes:
        """Read so many bytes at most."""
        data = self._file.read(size)
        self._told()
        return data


class _StandardInput:
    """Standard input, which is read in a thread that can be told to stop: Ctrl-C does not wait for a line."""

    name = "<stdin>"

    def __init__(self) -> None:
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
                # Ctrl-C throws away what was typed, also between the moment it is there and the moment it is read. On a
                # description of its own the terminal need not wait then, and stays as it was for the shell.
                self._fd = os.open(os.ttyname(self._fd), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        if self._stream.isatty():
            note("Reading requests from the keyboard; Ctrl-D ends them.")

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
