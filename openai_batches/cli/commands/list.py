"""``openai-batches list``: show the batches of the service, once or on a screen that is kept up to date."""

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import App, Parameter
from rich.console import Group, RenderableType
from rich.text import Text

from openai_batches import Batch, BatchesError, BatchStatus, DecodeError
from openai_batches._text import as_count
from openai_batches.cli.command import command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.amounts import Seconds, check_interval
from openai_batches.cli.options.selection import BatchFilter, pairs_of, status_names, statuses_of
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.output.batch_cells import status_style
from openai_batches.cli.output.batch_table import BatchTable
from openai_batches.cli.output.documents import JsonItems
from openai_batches.cli.output.live import check_can_watch, screen_drawn
from openai_batches.cli.output.signals import interruptible
from openai_batches.cli.output.terminal import flush, note, out_is_terminal, say, stdout, write
from openai_batches.cli.output.texts import cut, lasting_text, one_line
from openai_batches.http.failures import can_pass

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from openai_batches import BatchSession


__all__ = ["ListView", "app", "watch_list"]

# As many rows as one can read at once; --limit shows more.
_ROWS_ON_TERMINAL = 30
_MAX_PAGE = 100
_INTERVAL_S = 5.0

app: App = command(
    "list",
    examples="""\
openai-batches list --status open --watch
openai-batches list --since 7d --status failed,expired
openai-batches list --metadata team=search --older-than 30d --jsonl \\
    > old.jsonl""",
)
# The header, an empty line, and the line that says how old the list is.
_OTHER_LINES = 3


@attrs.define
class _Shown:
    """What came of the list.

    Attributes:
        batches: how many batches were shown.
        has_more: whether there may be others that fit.
    """

    batches: int = 0
    has_more: bool = False


@app.default
async def list_batches(
    *,
    status: Annotated[tuple[str, ...], Parameter(metavar="STATUS", completer=status_names)] = (),
    since: Seconds | None = None,
    older_than: Seconds | None = None,
    endpoint: Annotated[str | None, Parameter(metavar="PATH")] = None,
    model: Annotated[str | None, Parameter(metavar="NAME")] = None,
    metadata: Annotated[tuple[str, ...], Parameter(metavar="KEY=VALUE")] = (),
    limit: Annotated[int | None, Parameter(metavar="N")] = None,
    show_metadata: bool = False,
    watch: bool = False,
    interval: Seconds | None = None,
    json: bool = False,
    jsonl: bool = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """List batches, newest first.

    Pages are asked for as they are needed, and shown as they come.

    Args:
        status: Only batches in this status, or in one of several: open, ended, validating, failed, ...
        since: Only batches that are younger than this, such as 2h or 7d.
        older_than: Only batches that are older than this.
        endpoint: Only batches of this endpoint, such as chat/completions.
        model: Only batches of this model; `*` stands for anything: 'gpt-4o*'.
        metadata: Only batches with this pair; with all of several.
        limit: Rows to show (30 on a terminal, else all); 0 is all.
        show_metadata: Show the metadata, too.
        watch: Show it until Ctrl-C, always as it is now: of the newest 100, as many as fit on the screen.
        interval: How often to look while watching (5s).
        json: Write one JSON document, in the service's words.
        jsonl: Write one line of JSON for each batch, as they come.
        service: the service.
    """
    check_interval(interval, option="--watch", is_given=watch)
    _check(limit=limit, watch=watch, is_document=json, is_lines=jsonl)
    if since is not None and older_than is not None and since <= older_than:
        raise CommandError(
            f"A batch cannot be younger than {lasting_text(since)} and older than {lasting_text(older_than)}",
            "Give --since the longer time: --since 7d --older-than 1d",
        )
    now = _now()
    wanted = BatchFilter(
        statuses=statuses_of(status),
        since=None if since is None else now - dt.timedelta(seconds=since),
        until=None if older_than is None else now - dt.timedelta(seconds=older_than),
        endpoint=endpoint,
        model=model,
        metadata=pairs_of(metadata),
    )
    async with connected(service) as session:
        if watch:
            interval_s = _INTERVAL_S if interval is None else interval
            await watch_list(session, wanted, limit=limit or None, interval_s=interval_s, shows_metadata=show_metadata)
        elif json or jsonl:
            await _write(session, wanted, limit, is_document=json)
        else:
            await _show(session, wanted, limit, now, shows_metadata=show_metadata)
    return ExitCode.DONE


async def _show(
    session: "BatchSession", wanted: BatchFilter, limit: int | None, now: dt.datetime, *, shows_metadata: bool
) -> None:
    is_terminal = out_is_terminal()
    most = _ROWS_ON_TERMINAL if limit is None and is_terminal else limit
    drawn = BatchTable(stdout().width if is_terminal else None, shows_metadata=shows_metadata)
    shown = _Shown()
    async for page in _pages(session, wanted, most or None, shown):
        if is_terminal:
            say(drawn.of(page, now))
        else:
            write(drawn.text_of(page, now).encode())
            flush()
    _tell_none(shown, wanted)
    if shown.has_more and limit is None:
        note(f"The newest {as_count(shown.batches, 'batch', 'batches')}; --limit 0 shows all")


async def _write(session: "BatchSession", wanted: BatchFilter, limit: int | None, *, is_document: bool) -> None:
    items = JsonItems(is_document=is_document)
    shown = _Shown()
    async for page in _pages(session, wanted, limit or None, shown):
        items.write(page)
    items.end()
    _tell_none(shown, wanted)


def _check(*, limit: int | None, watch: bool, is_document: bool, is_lines: bool) -> None:
    if limit is not None and limit < 0:
        raise CommandError(f"--limit must be 0 or more, not {limit}", "Leave it out, or write 0 for all")
    if is_document and is_lines:
        raise CommandError("--json and --jsonl cannot be used together", "Choose one of them")
    if watch and (is_document or is_lines):
        raise CommandError("--watch and --json cannot be used together", "Leave one of them out")
    if watch:
        check_can_watch()


async def _pages(
    session: "BatchSession", wanted: BatchFilter, most: int | None, shown: _Shown
) -> "AsyncGenerator[Sequence[Batch]]":
    """Yield the batches that fit, page after page, and ask for no page that is not needed."""
    size = min(most, _MAX_PAGE) if most is not None and wanted.is_open else _MAX_PAGE
    async for page in session.batches.list(limit=size).pages():
        fitting = [batch for batch in page.data if wanted.accepts(batch)]
        left = None if most is None else most - shown.batches
        if fitting:
            shown.batches += len(fitting[:left])
            yield fitting[:left]
        if wanted.is_behind(page.data):
            return
        if left is not None and len(fitting) >= left:
            shown.has_more = bool(page.has_more) or len(fitting) > left
            return


def _tell_none(shown: _Shown, wanted: BatchFilter) -> None:
    if not shown.batches:
        note("There are no batches" if wanted.is_open else "No batches match")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@attrs.define(kw_only=True)
class ListView:
    """What is known of the list, and how it is shown.

    Attributes:
        limit: how many rows at most; None: as many as fit.
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
        space = max((rows - _OTHER_LINES) // table.lines_each(self.batches, now), 1)
        shown = self.batches[: min(space, self.limit or space)]
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
            return Text(cut(f"As of {age} ago. {self.trouble}", columns), "yellow")
        statuses = [batch.status for batch in self.batches]
        line = Text(f"{self.seen_at.astimezone():%H:%M:%S}  every {lasting_text(self.interval_s)}", "bright_black")
        for status in dict.fromkeys([*BatchStatus, *statuses]):
            if count := statuses.count(status):
                line.append("  ").append(f"{count} {one_line(status)}", status_style(status))
        if not statuses:
            line.append("  No batches match")
        if hidden:
            line.append(f"  and {as_count(hidden, 'row')} below")
        line.truncate(columns, overflow="ellipsis")
        return line


async def watch_list(
    session: "BatchSession", wanted: BatchFilter, *, limit: int | None, interval_s: float, shows_metadata: bool
) -> None:
    """Show the list until Ctrl-C, asking for one page of it each time; then leave the last rows on the terminal."""
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
                    # A proxy may answer with a page of its own now and then.
                    if not can_pass(error) and not isinstance(error, DecodeError):
                        raise
                    view.trouble = one_line(str(error))
                drawing.refresh()
    if view.batches:
        say(view.rows(_now(), console.width))


async def _looked(session: "BatchSession", wanted: BatchFilter) -> list[Batch]:
    page = await session.batches.list(limit=_MAX_PAGE)
    return [batch for batch in page.data if wanted.accepts(batch)]
