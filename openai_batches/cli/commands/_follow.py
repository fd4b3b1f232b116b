"""Wait for batches and show their progress, for the commands ``wait``, ``cancel`` and ``create``."""

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import attrs
from rich.console import Group, RenderableType
from rich.text import Text

from openai_batches import Batch, PollPolicy
from openai_batches._text import as_count
from openai_batches.cli.errors import ExitCode
from openai_batches.cli.explain import Failures
from openai_batches.cli.output.batch_cells import (
    counts_cell,
    failed_count,
    left_cell,
    progress_bar,
    status_cell,
    went_well,
)
from openai_batches.cli.output.live import Drawing, lines_drawn
from openai_batches.cli.output.terminal import flush, note, out_is_terminal, say, stderr, write
from openai_batches.cli.output.texts import lasting_text, one_line

if TYPE_CHECKING:
    from openai_batches import BatchSession

__all__ = ["BatchWaiter", "say_status", "status_line"]

_STATUS_WIDTH = 11
_COUNTS_WIDTH = 13
_GAP = "  "
_WIDEST_BAR, _NARROWEST_BAR = 40, 4


def status_line(batch: Batch) -> Text:
    """Return a batch's id, its status, and how many of its requests failed."""
    line = Text.assemble(one_line(batch.id), _GAP, status_cell(batch))
    if failed := failed_count(batch):
        line.append(f"{_GAP}{failed:,} of {counts_cell(batch).rpartition('/')[2]} failed", "red")
    return line


def say_status(batch: Batch) -> None:
    """Write a batch's id and status to standard output; only a tab stands between them where a program reads it."""
    if out_is_terminal():
        say(status_line(batch))
    else:
        write(f"{one_line(batch.id)}\t{one_line(batch.status)}\n".encode())
        flush()


@attrs.define(kw_only=True)
class BatchWaiter:
    """Batches that are waited for.

    Attributes:
        open: those that have not ended, by their ids, as they were last seen; None: not yet.
        all_went_well: whether all that ended have completed, with no request failed.
    """

    session: "BatchSession"
    failures: Failures
    on_end: Callable[[Batch], object] = say_status
    poll_s: float | None = None
    open: dict[str, Batch | None] = attrs.field(factory=dict[str, Batch | None])
    all_went_well: bool = True

    async def follow(self, batches: Sequence[Batch | str], *, timeout_s: float | None = None) -> bool:
        """Wait for batches; return whether that has not taken longer than it may."""
        policy = None if self.poll_s is None else PollPolicy.every(self.poll_s)
        watch = self.session.batches.poller.watch(poll=policy)
        for batch in batches:
            self.open[batch.id if isinstance(batch, Batch) else batch] = batch if isinstance(batch, Batch) else None
        try:
            async with lines_drawn(self._rendered) as drawing, asyncio.timeout(timeout_s):
                for batch in batches:
                    watch.add(batch)
                while len(watch):
                    update = await watch.next_update()
                    self._take(drawing, update.batch_id, update.batch_or_error)
                    drawing.refresh_soon()
        except TimeoutError:
            text = f"{as_count(len(self.open), 'batch has', 'batches have')} not ended after"
            note(f"{text} {lasting_text(timeout_s or 0)}, and nothing was cancelled")
            return False
        finally:
            watch.close()
        return True

    def code(self, *, has_time_left: bool) -> ExitCode:
        """Return what the shell is told: the worst of what has happened."""
        codes = [
            ExitCode.DONE if has_time_left else ExitCode.STOPPED,
            ExitCode.DONE if self.all_went_well else ExitCode.FAILED,
            self.failures.code,
        ]
        return max(codes)

    def _take(self, drawing: Drawing, batch_id: str, said: Batch | Exception) -> None:
        if isinstance(said, Exception):
            del self.open[batch_id]
            self.failures.tell(batch_id, said)
        elif said.is_terminal:
            del self.open[batch_id]
            self.all_went_well = self.all_went_well and went_well(said)
            with drawing.aside():
                self.on_end(said)
        else:
            self.open[batch_id] = said

    def _rendered(self) -> RenderableType:
        console = stderr()
        now = dt.datetime.now(dt.UTC)
        space = max(console.height - 2, 1)
        longest = max(map(len, self.open), default=0)
        hidden = len(self.open) - space + 1 if len(self.open) > space else 0
        shown = islice(self.open.items(), space - 1 if hidden else space)
        lines = [_line(one_line(name).ljust(longest), batch, now, console.width) for name, batch in shown]
        if hidden:
            lines.append(Text(f"and {as_count(hidden, 'more batch', 'more batches')}"))
        return Group(*lines)


def _line(name: str, batch: Batch | None, now: dt.datetime, width: int) -> Text:
    """Return a batch on one line: what does not fit is left out, the name last."""
    if batch is None:
        return Text(name, "bright_black", overflow="ellipsis", no_wrap=True)
    status = status_cell(batch)
    status.pad_right(max(_STATUS_WIDTH - status.cell_len, 0))
    counts, left = counts_cell(batch), left_cell(batch, now)
    line = Text.assemble(name, _GAP, status, overflow="ellipsis", no_wrap=True)
    if counts:
        line.append(f"{_GAP}{counts:>{_COUNTS_WIDTH}}")
        space = width - line.cell_len - len(_GAP) - (len(_GAP) + len(left) if left else 0)
        if space >= _NARROWEST_BAR:
            line.append(_GAP).append_text(progress_bar(batch, min(space, _WIDEST_BAR)))
        if left:
            line.append(f"{_GAP}{left}")
    return line
