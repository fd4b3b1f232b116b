"""``openai-batches list``: which batches there are, once or all the time."""

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import App, Parameter

from openai_batches._text import as_count
from openai_batches.cli.command import command
from openai_batches.cli.commands.list_watching import watch_list
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.amounts import Seconds, check_interval
from openai_batches.cli.options.pairs import pairs_of
from openai_batches.cli.options.selection import BatchFilter, status_names, statuses_of
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.output.batch_table import BatchTable
from openai_batches.cli.output.documents import JsonItems
from openai_batches.cli.output.live import check_can_watch
from openai_batches.cli.output.terminal import flush, note, out_is_terminal, say, stdout, write
from openai_batches.cli.output.texts import lasting_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from openai_batches import Batch, BatchSession

__all__ = ["app"]

# So many rows a person takes in; who wants more says so.
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
            f"No batch is younger than {lasting_text(since)} and older than {lasting_text(older_than)}",
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
        raise CommandError("--json and --jsonl are two ways to write the same", "Choose one of them")
    if watch and (is_document or is_lines):
        raise CommandError("--watch draws on a terminal, --json writes for programs", "Leave one of them out")
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
        note("There are no batches" if wanted.is_open else "No batch fits")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
