"""``openai-batches show``: show everything that is known of some batches, once or until they have ended."""

import contextlib
import datetime as dt
from typing import TYPE_CHECKING

from cyclopts import App
from rich.console import Group, RenderableType
from rich.text import Text

from openai_batches import Batch, BatchesError, PollPolicy, make_converter
from openai_batches.cli.command import command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.explain import Failures
from openai_batches.cli.options.amounts import Seconds, check_interval
from openai_batches.cli.options.selection import BatchId, batch_ids
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.output.batch_page import batch_page
from openai_batches.cli.output.documents import write_document
from openai_batches.cli.output.live import check_can_watch, screen_drawn
from openai_batches.cli.output.signals import interruptible
from openai_batches.cli.output.terminal import out_is_terminal, say, stdout
from openai_batches.cli.output.texts import cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from openai_batches import BatchSession

__all__ = ["app"]

# No line is broken where no person looks.
_PIPE_WIDTH = 10_000

app: App = command(
    "show",
    examples="""\
openai-batches show batch_abc
openai-batches show batch_abc --watch
openai-batches show batch_abc --json | jq .request_counts""",
)


@app.default
async def show(
    *ids: BatchId,
    watch: bool = False,
    interval: Seconds | None = None,
    json: bool = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Show all that is known of batches: counts, times, states, files, usage and cost, metadata, errors.

    The cost is that of the tokens the service counts, by the prices this program knows.

    Args:
        ids: The batches; - reads ids from standard input, one a line.
        watch: Show them as they change, until all have ended or Ctrl-C.
        interval: How often to ask while watching (5s for young batches, up to 5m for old ones).
        json: Write JSON, in the service's words: an object, or for several batches a list.
        service: the service.
    """
    if watch and json:
        raise CommandError("--watch and --json cannot be used together", "Leave one of them out")
    check_interval(interval, option="--watch", is_given=watch)
    if watch:
        check_can_watch()
    failures = Failures()
    wanted = await batch_ids(ids)
    async with connected(service) as session:
        batches = await _retrieved(session, wanted, failures)
        batches = await _watched(session, batches, interval, failures) if watch else batches
    if json:
        documents = make_converter().unstructure(batches)
        if documents:
            write_document(documents if len(wanted) > 1 else documents[0])
    elif batches:
        say(_pages(batches, stdout().width if out_is_terminal() else _PIPE_WIDTH))
    failures.advise()
    return failures.code


async def _retrieved(session: "BatchSession", ids: "Sequence[str]", failures: Failures) -> list[Batch]:
    batches: list[Batch] = []
    for batch_id in ids:
        try:
            batches.append(await session.batches.retrieve(batch_id))
        except BatchesError as error:
            failures.tell(batch_id, error)
    return batches


async def _watched(
    session: "BatchSession", batches: list[Batch], interval_s: float | None, failures: Failures
) -> list[Batch]:
    """Show batches on the screen until all have ended, or Ctrl-C; return them as they were last seen."""
    if all(batch.is_terminal for batch in batches):
        return batches
    console = stdout()
    latest = {batch.id: batch for batch in batches}
    trouble = ""

    def tell(line: str) -> None:
        nonlocal trouble
        trouble = f"{dt.datetime.now().astimezone():%H:%M:%S}  {line}"

    def rendered() -> RenderableType:
        # Above the pages, which may be longer than the screen.
        head = [Text(cut(trouble, console.width), "yellow")] if trouble else []
        return Group(*head, _pages(latest.values(), console.width))

    watch = session.batches.poller.watch(poll=None if interval_s is None else PollPolicy.every(interval_s))
    lost: dict[str, Exception] = {}
    with contextlib.closing(watch), interruptible():
        async with screen_drawn(rendered, on_log_line=tell) as drawing:
            for batch in batches:
                watch.add(batch)
            while len(watch):
                update = await watch.next_update()
                if isinstance(update.batch_or_error, Exception):
                    # The others are followed still; what is said on this screen is gone with it.
                    lost[update.batch_id] = update.batch_or_error
                    tell(f"{update.batch_id}: {update.batch_or_error}")
                else:
                    latest[update.batch_id], trouble = update.batch_or_error, ""
                drawing.refresh()
    for batch_id, error in lost.items():
        failures.tell(batch_id, error)
    return list(latest.values())


def _pages(batches: "Iterable[Batch]", width: int) -> Group:
    now = dt.datetime.now(dt.UTC)
    parts: list[RenderableType] = []
    for batch in batches:
        parts += [Text(), batch_page(batch, now, width)] if parts else [batch_page(batch, now, width)]
    return Group(*parts)
