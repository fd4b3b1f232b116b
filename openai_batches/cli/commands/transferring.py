"""The progress of an upload or a download, on a terminal."""

import contextlib
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from openai_batches.cli.output.terminal import progress_is_shown, stderr
from openai_batches.cli.output.texts import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["transfer_shown"]

_MOST_CHARS = 28


@contextlib.contextmanager
def transfer_shown(what: str, *, is_shown: bool = True) -> "Generator[Callable[[int, int | None], None] | None]":
    """Give what is told the bytes that are there and the bytes in all, and shows them with the speed and the time left.

    Args:
        what: what goes on, in some words.
        is_shown: whether it is worth showing; in any case, only a terminal shows it, and None is given elsewhere.
    """
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
