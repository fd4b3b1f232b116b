"""Output that changes while a command runs: lines or a whole screen that is drawn again, and progress bars."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Generator

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from openai_batches.cli.errors import CommandError
from openai_batches.cli.output.signals import cleared_at_ctrl_z
from openai_batches.cli.output.terminal import out_is_terminal, progress_is_shown, stderr, stdout
from openai_batches.cli.output.texts import cut, one_line

__all__ = ["Drawing", "check_can_watch", "lines_drawn", "screen_drawn", "transfer_shown"]

# Ages and a new size of the terminal are seen this often.
_REFRESH_S = 0.25
_MOMENT_S = 0.1
_MOST_CHARS = 28


class Drawing:
    """Something that is drawn anew when it changes; nothing at all where no terminal shows it."""

    def __init__(self, render: Callable[[], RenderableType], console: Console | None, *, is_screen: bool) -> None:
        self._render = render
        self._console = console
        self._is_screen = is_screen
        self._live: Live | None = None
        self._drawn_s = -math.inf

    def refresh(self) -> None:
        """Draw what is to be seen now."""
        if self._console is None:
            return
        if self._live is None:
            self._live = Live(
                self._render(), console=self._console, screen=self._is_screen, transient=True, auto_refresh=False
            )
            self._live.start(refresh=True)
        else:
            self._live.update(self._render(), refresh=True)
        self._drawn_s = time.monotonic()

    def refresh_soon(self) -> None:
        """Draw what is to be seen now, unless that was done a moment ago: then it has time until the next moment."""
        if time.monotonic() - self._drawn_s >= _MOMENT_S:
            self.refresh()

    @contextlib.contextmanager
    def aside(self) -> Generator[None]:
        """Let something be written in the block: it may be to the same terminal, and not into what is drawn."""
        # It is drawn again at the next refresh: many such blocks in a row do not take turns with it.
        self.stop()
        yield

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None


@contextlib.asynccontextmanager
async def lines_drawn(render: Callable[[], RenderableType]) -> AsyncGenerator[Drawing]:
    """Draw lines below what is written, on standard error, where that is a terminal; they are gone in the end."""
    drawing = Drawing(render, stderr() if progress_is_shown() else None, is_screen=False)
    async with _refreshed_regularly(drawing):
        yield drawing


@contextlib.asynccontextmanager
async def screen_drawn(
    render: Callable[[], RenderableType], *, on_log_line: Callable[[str], object]
) -> AsyncGenerator[Drawing]:
    """Draw a whole screen on standard output, which is a terminal; what was there before comes back in the end."""
    drawing = Drawing(render, stdout(), is_screen=True)

    def tell(line: str) -> None:
        on_log_line(line)
        drawing.refresh()

    with _log_lines_passed_on(tell):
        async with _refreshed_regularly(drawing):
            yield drawing


def check_can_watch(option: str = "--watch") -> None:
    """Check that a whole screen can be drawn."""
    if not out_is_terminal() or stdout().is_dumb_terminal:
        raise CommandError(
            f"{option} needs a terminal, and standard output is not one", f"Leave {option} out, or use `wait`"
        )


@contextlib.asynccontextmanager
async def _refreshed_regularly(drawing: Drawing) -> AsyncGenerator[None]:
    async def refresh() -> None:
        while True:
            await asyncio.sleep(_REFRESH_S)
            drawing.refresh()

    # Before anything is drawn: it may come at once.
    with cleared_at_ctrl_z(drawing.stop, drawing.refresh):
        drawing.refresh()
        task = asyncio.create_task(refresh())
        try:
            yield
        finally:
            task.cancel()
            drawing.stop()


class _EventWriter(logging.Handler):
    def __init__(self, tell: Callable[[str], object]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(one_line(record.getMessage()))


@contextlib.contextmanager
def _log_lines_passed_on(tell: Callable[[str], object]) -> Generator[None]:
    logger = logging.getLogger("openai_batches")
    told: list[logging.Handler] = [_EventWriter(tell)]
    handlers, logger.handlers = logger.handlers, told
    try:
        yield
    finally:
        logger.handlers = handlers


@contextlib.contextmanager
def transfer_shown(what: str, *, is_shown: bool = True) -> "Generator[Callable[[int, int | None], None] | None]":
    """Give a callback for a progress bar, which takes the bytes so far and the total; None where no bar is shown."""
    if not (is_shown and progress_is_shown()):
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr(), transient=True, expand=True) as bar:
        task = bar.add_task(cut(what, _MOST_CHARS), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
