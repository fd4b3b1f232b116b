"""The figures of a job's report: its ledger, its bill, and how long its batches waited and ran.

Pure functions of values: no network, no clock, no disk.
"""

from __future__ import annotations

import datetime as dt
import math
import statistics
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from openai_batches.costs.bill import Bill
from openai_batches.jobs.journal.sqlite import JournalView
from openai_batches.jobs.ledger import Ledger
from openai_batches.models import Batch, BatchStatus
from openai_batches.resources.progress import Span, began_at, ended_at, spans_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from openai_batches.costs.bill import ModelBill
    from openai_batches.costs.prices import PriceTable
    from openai_batches.jobs.journal.records import Attempt

__all__ = ["AttemptLine", "JobFigures", "Objection", "Spread", "figures_of"]

_NINE_TENTHS = 0.9
_MAX_CURRENCY = 20


@attrs.frozen
class Spread:
    """How long something took, time after time.

    Attributes:
        seconds: each of them, the shortest one first.
    """

    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Half of them took no longer."""
        return statistics.median(self.seconds)

    @property
    def p90_s(self) -> float:
        """Nine of ten took no longer."""
        return self.seconds[math.ceil(_NINE_TENTHS * len(self.seconds)) - 1]


@attrs.frozen
class AttemptLine:
    """The life of one batch of the job.

    Attributes:
        shard: the number of its shard.
        number: the number of the attempt.
        batch: the batch.
        spans: the states it went through; never empty.
    """

    shard: int
    number: int
    batch: Batch
    spans: tuple[Span, ...]

    @property
    def seconds(self) -> float:
        """How long it lived, or lives."""
        return (self.spans[-1].end - self.spans[0].begin).total_seconds()


@attrs.frozen
class Objection:
    """Something the service found wrong with a batch.

    Attributes:
        shard: the number of its shard.
        number: the number of the attempt.
        batch_id: the batch.
        code: the service's code, or ``""``.
        text: what it said.
    """

    shard: int
    number: int
    batch_id: str
    code: str
    text: str


@attrs.frozen(kw_only=True)
class JobFigures:
    """What the report of a job shows.

    Attributes:
        view: what the journal says.
        now: when it was read.
        ledger: what became of the requests.
        bill: what their answers used and cost, so far.
        lines: the lives of the batches, in the order of the shards.
        undrawn: how many attempts have no batch, or one of which no time is known.
        waiting: from a batch's creation until it ran.
        running: from then on until it was completed.
        whole: from its creation until it was completed.
        objections: what the service found wrong with batches.
        refusals: how often it had no room for one.
    """

    view: JournalView
    now: dt.datetime
    ledger: Ledger
    bill: Bill
    lines: tuple[AttemptLine, ...]
    undrawn: int
    waiting: Spread
    running: Spread
    whole: Spread
    objections: tuple[Objection, ...]
    refusals: int

    @property
    def state(self) -> str:
        """``finished``, ``cancelled``, or ``unfinished``."""
        if self.view.is_cancelled:
            return "cancelled"
        return "finished" if self.view.is_finished else "unfinished"

    @property
    def begun(self) -> dt.datetime:
        """When the job was planned."""
        return dt.datetime.fromtimestamp(self.view.job.created_s, dt.UTC)

    @property
    def ended(self) -> dt.datetime | None:
        """When its last batch ended; None while there is something left to do, and where no service says."""
        if not self.view.is_finished:
            return None
        return max((time for line in self.lines if (time := ended_at(line.batch)) is not None), default=None)

    @property
    def elapsed_s(self) -> float:
        """How long it took, or takes until now; never less than 0."""
        if (ended := self.ended) is None and self.view.is_finished:
            return 0.0
        return max(((ended or self.now) - self.begun).total_seconds(), 0.0)

    @property
    def batches(self) -> int:
        """How many batches were created."""
        return sum(len(shard.batch_ids) for shard in self.ledger.shards)

    @property
    def unsuccessful(self) -> int:
        """How many requests have an outcome that is no success."""
        return sum(self.ledger.outcomes.values()) - self.ledger.succeeded

    @property
    def priced(self) -> Decimal:
        """What the answers cost whose model has a price."""
        return sum(filter(None, (bill.cost for bill in self.bill.by_model.values())), Decimal(0))

    @property
    def currency(self) -> str:
        """What the prices are in."""
        return self.bill.prices.currency[:_MAX_CURRENCY]

    @property
    def models(self) -> list[tuple[str, ModelBill]]:
        """The bill of each model, the dearest first, and those without a price behind."""
        return sorted(self.bill.by_model.items(), key=_dearness)


def figures_of(view: JournalView, now: dt.datetime, prices: PriceTable | None = None) -> JobFigures:
    """Return the figures of a job.

    Args:
        view: what the journal says.
        now: when it was read; an aware time.
        prices: the table to look the models up in; None: the built-in ``PRICES``.
    """
    ledger = Ledger.of(view.attempts)
    lines = tuple(
        AttemptLine(attempt.shard, attempt.number, attempt.batch, spans)
        for attempt in view.attempts
        if attempt.batch is not None and (spans := spans_of(attempt.batch, now))
    )
    batches = [line.batch for line in lines]
    return JobFigures(
        view=view,
        now=now,
        ledger=ledger,
        bill=ledger.bill(prices),
        lines=lines,
        undrawn=len(view.attempts) - len(lines),
        waiting=_spread(batches, BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS),
        running=_spread(batches, BatchStatus.IN_PROGRESS, BatchStatus.COMPLETED),
        whole=_spread(batches, BatchStatus.VALIDATING, BatchStatus.COMPLETED),
        objections=tuple(_objections(view.attempts)),
        refusals=sum(attempt.refusals for attempt in view.attempts),
    )


def _spread(batches: Iterable[Batch], first: BatchStatus, second: BatchStatus) -> Spread:
    """Return how long it was from one status to the other, wherever both times are known."""
    times = ((began_at(batch, first), began_at(batch, second)) for batch in batches)
    lengths = [max((end - begin).total_seconds(), 0.0) for begin, end in times if begin is not None and end is not None]
    return Spread(tuple(sorted(lengths)))


def _objections(attempts: Sequence[Attempt]) -> Iterable[Objection]:
    for attempt in attempts:
        if attempt.batch is not None:
            for error in attempt.batch.errors or ():
                yield Objection(attempt.shard, attempt.number, attempt.batch.id, error.code or "", str(error))


def _dearness(item: tuple[str, ModelBill]) -> tuple[bool, Decimal, int]:
    _, bill = item
    return bill.cost is None, -(bill.cost or Decimal(0)), -bill.usage.total_tokens
