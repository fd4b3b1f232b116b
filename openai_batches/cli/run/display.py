"""The live display of a job: a line for the whole job, and one for each shard."""

import asyncio
import contextlib
import functools
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING

import attrs
from rich.console import Group
from rich.live import Live
from rich.text import Text

from openai_batches._text import as_count
from openai_batches.cli.output.signals import cleared_at_ctrl_z
from openai_batches.cli.output.terminal import stderr
from openai_batches.cli.output.texts import lasting_text, money_text
from openai_batches.cli.run.progress import JobProgress, ShardRow

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Frame", "shown_live"]

_FRAME_S, _IDLE_FRAMES, _FRAME_SHARE = 0.2, 5, 25
_STATE_WIDTH, _TRY_WIDTH, _BAR_WIDTH = 11, 3, 24
_WIDE, _MOST_COLUMNS = 110, 160
# Above and below the shards: two empty lines, the bar, the facts, the names of the columns, the rest; and the prompt.
_OTHER_ROWS = 7
_COLOURS = {"waiting": "dim", "uploaded": "dim", "done": "green", "no capacity": "yellow", "cancelling": "yellow"}


@attrs.frozen(kw_only=True)
class Frame:
    """What is drawn of a job at one moment.

    Attributes:
        progress: how far it is.
        left_s: in how many seconds it will be done; None if that cannot be told.
        elapsed_s: since when it runs.
        cost: what is counted of its cost; None where a price is not known.
        expected: what it is expected to cost at most; None if that is not known.
        currency: what these are in.
        is_free: whether it costs nothing.
        is_stopping: whether it was told to stop.
    """

    progress: JobProgress
    left_s: float | None
    elapsed_s: float
    cost: float | None = None
    expected: float | None = None
    currency: str = "USD"
    is_free: bool = False
    is_stopping: bool = False

    def drawn(self, columns: int, rows: int) -> Group:
        """Return what fits a terminal of this size."""
        columns = min(columns - 1, _MOST_COLUMNS)
        lines = [Text(), self._total(columns), self._facts(), Text()]
        lines += _shard_lines(self.progress.rows, columns, max(1, rows - _OTHER_ROWS))
        for line in lines:
            line.truncate(columns, overflow="ellipsis")
            line.no_wrap = True
        return Group(*lines)

    def _total(self, columns: int) -> Text:
        done, total = self.progress.done, self.progress.total
        counts = f"  {done:>{len(f'{total:,}')},}/{total:,}  {100 * done // max(1, total):>3} %  "
        ahead = f"{self._ahead:<14}"
        bar = _bar(done, self.progress.failed, total, min(60, columns - len(counts) - len(ahead)))
        return Text.assemble(bar, (counts, "bold"), ahead)

    @property
    def _ahead(self) -> str:
        if self.is_stopping:
            return "stopping"
        if self.progress.done >= self.progress.total:
            return "finishing"
        return "time left: ?" if self.left_s is None else f"{lasting_text(self.left_s)} left"

    def _facts(self) -> Text:
        progress = self.progress
        shards = as_count(len(progress.rows), "shard")
        text = Text(f"{lasting_text(self.elapsed_s)} · {progress.shards_done:,} of {shards}", style="dim")
        if progress.failed:
            text.append(f" · {progress.failed:,} failed", style="red")
        if progress.resent:
            text.append(f" · {as_count(progress.resent, 'retry', 'retries')}", style="yellow")
        return text.append(f" · {self._money}")

    @property
    def _money(self) -> str:
        if self.is_free:
            return "no cost"
        expected = "" if self.expected is None else f" of at most {money_text(self.expected, self.currency)}"
        return f"{money_text(self.cost, self.currency)}{expected}"


def _bar(done: int, failed: int, total: int, width: int) -> Text:
    width = max(width, 1)
    good = width * (done - failed) // max(1, total)
    bad = min(width - good, -(-width * failed // max(1, total)))
    return Text.assemble(("━" * good, "green"), ("━" * bad, "red"), ("─" * (width - good - bad), "bright_black"))


def _shard_lines(shards: "Sequence[ShardRow]", columns: int, rows: int) -> list[Text]:
    """Return a line for each shard, or for those where something happens and one for all others."""
    number = max(len("shard"), len(f"{len(shards):,}"))
    most = max((shard.inputs for shard in shards), default=0)
    counts = max(len("requests"), 2 * len(f"{most:,}") + 1)
    head = f"{'shard':>{number}}  {'state':<{_STATE_WIDTH}}  {'try':>{_TRY_WIDTH}}  {'requests':>{counts}}"
    bar = f"{'':{_BAR_WIDTH + 2}}" if columns >= _WIDE else ""
    lines = [Text(f"{head}  {bar}id", style="bold")]
    shown, hidden = _chosen(shards, rows)
    lines += [_shard_line(shard, number, counts, has_bar=bool(bar)) for shard in shown]
    if hidden:
        states = Counter(shard.state for shard in hidden)
        texts = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
        lines.append(Text(f"{'+':>{number}}  {len(hidden):,} more: {texts}", style="dim"))
    return lines


def _chosen(shards: "Sequence[ShardRow]", rows: int) -> "tuple[list[ShardRow], list[ShardRow]]":
    """Return the shards that are shown, in their order, and the others."""
    if len(shards) <= rows:
        return list(shards), []
    # Where something happens; then what comes next; then what was done last.
    waiting = [shard for shard in shards if not shard.is_active and shard.state != "done"]
    done = [shard for shard in reversed(shards) if shard.state == "done"]
    active = [shard for shard in shards if shard.is_active]
    chosen = {shard.shard for shard in (*active, *waiting, *done)[: max(1, rows)]}
    return [one for one in shards if one.shard in chosen], [one for one in shards if one.shard not in chosen]


def _shard_line(shard: ShardRow, number: int, counts: int, *, has_bar: bool) -> Text:
    text = Text()
    style = _COLOURS.get(shard.state, "cyan")
    text.append(f"{shard.shard:>{number},}  ", style="" if shard.is_active else "dim")
    text.append(f"{shard.state:<{_STATE_WIDTH}.{_STATE_WIDTH}}  ", style=style)
    text.append(f"{shard.attempt:>{_TRY_WIDTH}}  ", style="yellow" if shard.attempt > 1 else "dim")
    done = f"{shard.done:,}/{shard.inputs:,}"
    text.append(f"{done:>{counts}}  ", style="red" if shard.failed else "dim" if not shard.done else "")
    if has_bar:
        text.append_text(_bar(shard.done, shard.failed, shard.inputs, _BAR_WIDTH)).append("  ")
    return text.append(shard.batch_id or "", style="dim")


@contextlib.asynccontextmanager
async def shown_live(picture: Callable[[], Awaitable[Frame]], is_new: Callable[[], bool]) -> AsyncGenerator[None]:
    """Draw a job on standard error while the block runs; what others write there stands above it."""
    console = stderr()

    async def frame() -> Group:
        return (await picture()).drawn(console.width, console.height)

    async def draw() -> None:
        idle, took_s = 0, 0.0
        while True:
            # Thousands of shards are drawn less often: the job has better things to do.
            await asyncio.sleep(max(_FRAME_S, took_s * _FRAME_SHARE))
            idle = 0 if is_new() else idle + 1
            if idle % _IDLE_FRAMES == 0:
                begin = time.perf_counter()
                live.update(await frame(), refresh=True)
                took_s = time.perf_counter() - begin

    live = Live(
        await frame(), console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
    )
    with cleared_at_ctrl_z(live.stop, functools.partial(live.start, refresh=True)):
        # A terminal that hangs up cannot be drawn on, and that is no reason to end in another way.
        with contextlib.suppress(OSError):
            live.start(refresh=True)
        drawer = asyncio.ensure_future(draw())
        drawer.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            yield
        finally:
            drawer.cancel()
            with contextlib.suppress(OSError):
                live.stop()
