"""Write to standard output and standard error, and find out what kind of terminal they are."""

import contextlib
import functools
import io
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Generator, Sequence
from typing import Any

from rich.console import Console, ConsoleDimensions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from openai_batches.cli.errors import ClosedPipeError, CommandError
from openai_batches.cli.output.texts import clean, one_line

__all__ = [
    "STANDARD_STREAM",
    "busy",
    "check_output",
    "facts",
    "note",
    "open_keyboard",
    "out_is_file",
    "out_is_terminal",
    "progress_is_shown",
    "say",
    "say_advice",
    "say_error",
    "say_facts",
    "stderr",
    "stdout",
    "table",
    "warn",
    "write",
    "write_through",
]

# What stands for standard input or output where a file is named.
STANDARD_STREAM = "-"
# A table in a pipe is as wide as it needs to be.
_PIPE_WIDTH = 10_000
# What the environment may say of the screen: anything smaller or larger is a mistake, and would be drawn for ever.
_LEAST_SIZES = {"COLUMNS": 10, "LINES": 3}
_MOST_SIZE_DIGITS = 4


class _Console(Console):
    @property
    def is_terminal(self) -> bool:
        """Whether it is one, whatever the environment asks for: what a pipe gets is for programs."""
        with contextlib.suppress(ValueError):  # it was closed
            return self.file.isatty()
        return False

    @property  # type: ignore[misc]  # it is never set
    def size(self) -> ConsoleDimensions:
        """Its size, as if nothing were narrower than a word."""
        size = super().size
        return size._replace(width=max(size.width, _LEAST_SIZES["COLUMNS"]))

    def on_broken_pipe(self) -> None:
        raise ClosedPipeError


def _console(*, is_error: bool) -> Console:
    return _Console(
        stderr=is_error,
        markup=False,
        highlight=False,
        emoji=False,
        # rich keeps bold and italics without colours; who asks for none wants none of these either.
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        legacy_windows=False,
        _environ={name: text for name, text in os.environ.items() if name not in _LEAST_SIZES or _is_size(name, text)},
    )


def _is_size(name: str, text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_SIZE_DIGITS and int(text) >= _LEAST_SIZES[name]


@functools.cache
def stdout() -> Console:
    """Return the console of what was asked for."""
    return _console(is_error=False)


@functools.cache
def stderr() -> Console:
    """Return the console of what is said about it: progress, notes, errors."""
    return _console(is_error=True)


def out_is_terminal() -> bool:
    """Return whether a person reads standard output as it comes."""
    return stdout().is_terminal


def out_is_file() -> bool:
    """Return whether standard output goes to a file, where it is not seen at once."""
    with contextlib.suppress(OSError, CommandError):
        return stat.S_ISREG(os.fstat(_output().fileno()).st_mode)
    return False


def progress_is_shown() -> bool:
    """Return whether progress is drawn: on a terminal that can move its cursor and has the characters, nowhere else."""
    console = stderr()
    return console.is_terminal and not console.is_dumb_terminal and not console.options.ascii_only


def say(renderable: RenderableType = "") -> None:
    """Write what was asked for to standard output, never cut or wrapped where that is a pipe or a file."""
    console = stdout()
    if not console.is_terminal:
        write(_plain(renderable).encode(_output().encoding, "backslashreplace"))
        flush()
        return
    try:
        console.print(renderable)
        flush()
    except OSError as error:
        raise _unwritable(error) from error


def _plain(renderable: RenderableType) -> str:
    # Nothing is printed wider than its console is.
    made = io.StringIO()
    wide = _Console(file=made, width=_PIPE_WIDTH, color_system=None, markup=False, highlight=False, emoji=False)
    wide.print(renderable, no_wrap=True, soft_wrap=not isinstance(renderable, Table))
    return made.getvalue()


def write(data: bytes) -> None:
    """Write bytes to standard output as they are; call it in a thread where there are many."""
    buffer = _output().buffer
    rest = memoryview(data)
    try:
        # Without a buffer, as PYTHONUNBUFFERED makes it, less may be written than was given.
        with _interruptible():
            while rest:
                rest = rest[buffer.write(rest) :]
    except BrokenPipeError:
        raise ClosedPipeError from None
    except OSError as error:
        raise _unwritable(error) from error


def write_through(data: bytes) -> None:
    """Write bytes to standard output past its buffer; call it in a thread, since it may block."""
    flush()
    descriptor = _output().fileno()
    rest = memoryview(data)
    try:
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:  # whoever started the program has made it so
                select.select([], [descriptor], [])
    except BrokenPipeError:
        raise ClosedPipeError from None
    except OSError as error:
        raise _unwritable(error) from error


def check_output() -> None:
    """Check that there is a standard output."""
    _output()


def flush() -> None:
    """Hand on what was written to standard output."""
    try:
        # Where the shell has closed it, nothing was written either.
        if sys.stdout is not None:
            with _interruptible():
                _output().flush()
    except BrokenPipeError:
        raise ClosedPipeError from None
    except OSError as error:
        raise _unwritable(error) from error


@contextlib.contextmanager
def _interruptible() -> Generator[None]:
    """Let Ctrl-C end a write that blocks: the event loop, which usually handles Ctrl-C, is blocked too."""
    heard = signal.getsignal(signal.SIGINT)
    # Python calls nothing where the signal is ignored, and no thread but the main one hears it.
    if not callable(heard) or threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    except KeyboardInterrupt:
        # What a full pipe did not take, it will not take at the end of the program either.
        if not out_is_file():
            discard_output()
        raise
    finally:
        signal.signal(signal.SIGINT, heard)


def discard_output() -> None:
    """Let what could not be written be forgotten, so that the interpreter does not complain of it once more."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def discard_errors() -> None:
    """Let what a terminal that has hung up does not take be forgotten, so that the exit code is the command's own."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def flush_or_discard_output() -> None:
    """Flush what was written before an error, or discard it where it cannot be written."""
    try:
        flush()
    except (ClosedPipeError, CommandError):
        discard_output()


def note(text: str | Text) -> None:
    """Say a line to the person, on standard error."""
    with contextlib.suppress(OSError, ClosedPipeError):
        stderr().print(text if isinstance(text, Text) else clean(text), soft_wrap=True)


@contextlib.contextmanager
def busy(text: str) -> Generator[None]:
    """Show that something is under way, on a terminal that can move its cursor; nothing of it stays."""
    with (
        stderr().status(Text(f"{clean(text)} …"), spinner_style="dim")
        if progress_is_shown()
        else contextlib.nullcontext()
    ):
        yield


def warn(text: str) -> None:
    """Say a line that deserves a second look, on standard error."""
    note(Text.assemble(("warning: ", "bold yellow"), clean(text)))


def say_error(text: str) -> None:
    """Say what went wrong, on standard error."""
    note(Text.assemble(("error: ", "bold red"), clean(text)))


def say_advice(text: str) -> None:
    """Say what to do about it, on standard error."""
    note(Text.assemble(("advice: ", "bold"), clean(text)))


def table(*columns: str, title: str | None = None) -> Table:
    """Return a table in the program's one style; columns whose name ends with ``>`` are numbers."""
    is_terminal = out_is_terminal()
    made = Table(
        title=title,
        box=None,
        pad_edge=False,
        show_edge=False,
        header_style="bold",
        title_justify="left",
        title_style="bold",
        padding=(0, 2, 0, 0),
    )
    for column in columns:
        number = column.endswith(">")
        # What overflows and is ignored is not justified either.
        options: dict[str, Any] = {"justify": "right", "overflow": "crop"} if number else {"overflow": "ignore"}
        if is_terminal:
            options["overflow"] = "ellipsis"
        made.add_column(column.removesuffix(">"), no_wrap=True, **options)
    return made


def say_facts(title: str, lines: Sequence[tuple[str, str]]) -> None:
    """Say facts to a person, on standard error."""
    if stderr().is_terminal:
        # A terminal that has hung up is told nothing, and that is no reason to stop.
        with contextlib.suppress(OSError):
            stderr().print(_block(title, lines))
    else:
        note(_as_lines(title, lines))


def facts(title: str, lines: Sequence[tuple[str, str]]) -> RenderableType:
    """Return named facts under a title, for standard output."""
    if out_is_terminal():
        return _block(title, lines)
    return _as_lines(title, lines)


def _as_lines(title: str, lines: Sequence[tuple[str, str]]) -> Text:
    """Return each fact on a line of its own, however long that is: it may hold a command that is copied."""
    return Text("\n".join([one_line(title), *(f"  {name:<8}  {clean(text)}" for name, text in lines)]))


def _block(title: str, lines: Sequence[tuple[str, str]]) -> Group:
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True, min_width=8)
    made.add_column(overflow="fold")
    for name, text in lines:
        made.add_row(Text(f"  {name}"), Text(clean(text)))
    return Group(Text(one_line(title), style="bold"), made)


def _output() -> Any:
    # Python has none where the shell said `>&-`.
    if sys.stdout is None:
        raise CommandError("Standard output is closed", "Leave it open, or send it to a file")
    return sys.stdout


def _unwritable(error: OSError) -> CommandError:
    return CommandError(
        f"Standard output cannot be written: {error.strerror or error}", "Free some space, or write to another place"
    )


def open_keyboard(terminal: int) -> int:
    """Return a description of our own of a terminal, which does not wait; the shell's stays as it was.

    Ctrl-C throws away what was typed, also between the moment it is there and the moment it is read: whoever waited
    then would not hear of it.
    """
    return os.open(os.ttyname(terminal), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
