"""The list of batches as a screen that is always as it is now."""

import asyncio
import datetime as dt
from typing import TYPE_CHECKING

import attrs
from rich.console import Group, RenderableType
from rich.text import Text

from openai_batches import Batch, BatchesError, BatchStatus, DecodeError
from openai_batches._text import as_count
from openai_batches.cli.options.selection import BatchFilter
from openai_batches.cli.output.batch_cells import status_style
from openai_batches.cli.output.batch_table import BatchTable
from openai_batches.cli.output.interrupting import interruptible
from openai_batches.cli.output.live import screen_drawn
from openai_batches.cli.output.terminal import say, stdout
from openai_batches.cli.output.texts import cut, lasting_text, one_line
from openai_batches.resources.status import can_pass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai_batches import BatchSession

__all__ = ["ListView", "watch_list"]

_MAX_PAGE = 100
# The line of names, an empty one, and the one that says how old it is.
_OTHER_LINES = 3


@attrs.define(kw_only=True)
class ListView:
    """What is known of the list, and how it is shown.

    Attributes:
        limit: how many rows at most; None: as many as there is room for.
        interval_s: how often the service is asked.
        shows_metadata: whether there is a column of metadata.
        batches: the batches that fit.
        seen_at: when they were seen.
        trouble: why they are not newer; empty where nothing is wrong.
    """

    limit: int | None
    interval_s: float
    shows_metadata: bool = False
    batches: "Sequence[Batch]" = ()
    seen_at: dt.datetime
    trouble: str = ""

    def rendered(self, now: dt.datetime, columns: int, rows: int) -> RenderableType:
        """Return what a terminal of so many columns and rows shows."""
        table = BatchTable(columns, shows_metadata=self.shows_metadata)
        room = max((rows - _OTHER_LINES) // table.lines_each(self.batches, now), 1)
        shown = self.batches[: min(room, self.limit or room)]
        parts: list[RenderableType] = [table.of(shown, now), Text()]
        return Group(*parts, self._footer(now, columns, len(self.batches) - len(shown)))

    def rows(self, now: dt.datetime, columns: int) -> RenderableType:
        """Return what stays behind in the end: the rows."""
        return BatchTable(columns, shows_metadata=self.shows_metadata).of(self.batches[: self.limit], now)

    def saw(self, batches: "Sequence[Batch]", now: dt.datetime) -> None:
        """Take the answer to a question."""
        self.batches, self.seen_at, self.trouble = batches, now, ""

    def _footer(self, now: dt.datetime, columns: int, hidden: int) -> Text:
        if self.trouble:
            age = lasting_text((now - self.seen_at).total_seconds())
            return Text(cut(f"As it was {age} ago. {self.trouble}", columns), "yellow")
        statuses = [batch.status for batch in self.batches]
        line = Text(f"{self.seen_at.astimezone():%H:%M:%S}  every {lasting_text(self.interval_s)}", "bright_black")
        for status in dict.fromkeys([*BatchStatus, *statuses]):
            if count := statuses.count(status):
                line.append("  ").append(f"{count} {one_line(status)}", status_style(status))
        if not statuses:
            line.append("  No batch fits")
        if hidden:
            line.append(f"  and {as_count(hidden, 'row')} below")
        line.truncate(columns, overflow="ellipsis")
        return line


async def watch_list(
    session: "BatchSession", wanted: BatchFilter, *, limit: int | None, interval_s: float, shows_metadata: bool
) -> None:
    """Show the list until Ctrl-C, asking for one page of it each time; then leave the last rows on the terminal.

    Args:
        session: the session.
        wanted: which batches are meant.
        limit: how many rows at most; None: as many as there is room for.
        interval_s: seconds between an answer and the next question.
        shows_metadata: whether there is a column of metadata.

    Raises:
        BatchesError: the first question failed, or a later one in a way that does not pass.
    """
    console = stdout()
    view = ListView(limit=limit, interval_s=interval_s, shows_metadata=shows_metadata, seen_at=_now())
    with interruptible():
        view.saw(await _looked(session, wanted), _now())

        def tell(line: str) -> None:
            view.trouble = line

        async with screen_drawn(lambda: view.rendered(_now(), *console.size), on_log_line=tell) as drawing:
            while True:
                await asyncio.sleep(interval_s)
                try:
                    view.saw(await _looked(session, wanted), _now())
                except BatchesError as error:
                    # A page of a proxy may stand in for an answer now and then.
                    if not can_pass(error) and not isinstance(error, DecodeError):
                        raise
                    view.trouble = one_line(str(error))
                drawing.refresh()
    if view.batches:
        say(view.rows(_now(), console.width))


async def _looked(session: "BatchSession", wanted: BatchFilter) -> list[Batch]:
    page = await session.batches.list(limit=_MAX_PAGE)
    return [batch for batch in page.data if wanted.accepts(batch)]


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
