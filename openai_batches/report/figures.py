"""The figures of a job's report: its ledger, its bill, and how long its batches waited and ran.

Pure functions of values: no network, no clock, no disk.
"""

from __future__ import annotations

import datetime as dt
import math
import statistics
from collections import Counter
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING

import attrs

from openai_batches._text import as_count
from openai_batches.costs.bill import Bill
from openai_batches.jobs.journal.sqlite import JournalView
from openai_batches.jobs.ledger import Ledger
from openai_batches.models import Batch, BatchStatus
from openai_batches.report.charts import ENDS, drawn_state
from openai_batches.resources.progress import Span, began_at, ended_at, spans_of
from openai_batches.results.result import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openai_batches.costs.bill import ModelBill
    from openai_batches.costs.prices import PriceTable
    from openai_batches.jobs.journal.records import Attempt
    from openai_batches.jobs.ledger import ShardLedger
    from openai_batches.models import BatchError

__all__ = ["AttemptLine", "JobFigures", "figures_of"]

_NINE_TENTHS = 0.9
_MAX_CODES, _MAX_CURRENCY, _MAX_LINES, _MAX_SHARDS = 20, 20, 60, 1_000


@attrs.frozen
class Spread:
    """The durations of something, in ascending order."""

    seconds: tuple[float, ...]

    @property
    def times_s(self) -> dict[str, float]:
        """The shortest, the median, the one that nine of ten do not exceed, and the longest."""
        p90_s = self.seconds[math.ceil(_NINE_TENTHS * len(self.seconds)) - 1]
        return {
            "min": self.seconds[0],
            "median": statistics.median(self.seconds),
            "p90": p90_s,
            "max": self.seconds[-1],
        }


@attrs.frozen
class AttemptLine:
    """The life of one batch of the job: the states it went through, at least one."""

    shard: int
    number: int
    batch: Batch
    spans: tuple[Span, ...]

    @property
    def seconds(self) -> float:
        """How long it lived, or has lived so far."""
        return (self.spans[-1].end - self.spans[0].begin).total_seconds()


@attrs.frozen(kw_only=True)
class JobFigures:
    """What the report of a job shows.

    Attributes:
        view: what the journal says.
        now: when it was read.
        ledger: what became of the requests.
        bill: what their answers used and cost, so far.
        lines: the lives of the batches, in the order of the shards.
        waiting: from a batch's creation until it ran.
        running: from then on until it was completed.
        whole: from its creation until it was completed.
    """

    view: JournalView
    now: dt.datetime
    ledger: Ledger
    bill: Bill
    lines: tuple[AttemptLine, ...]
    waiting: Spread
    running: Spread
    whole: Spread

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
        """The bill of each model, the most expensive first, and those without a price last."""
        return sorted(self.bill.by_model.items(), key=_by_cost)

    @property
    def unpriced_tokens(self) -> int:
        """How many tokens are of models without a price."""
        return sum(self.bill.by_model[model].usage.total_tokens for model in self.bill.unpriced_models)

    @property
    def source_name(self) -> str:
        """The name of the file that the requests come from, or its path where it has none."""
        source = self.view.job.source or ""
        return PurePath(source).name or source

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many requests ended in each outcome, or in none so far, where any did."""
        counts = [(outcome.value, count) for outcome, count in self.ledger.outcomes.items()]
        return [(name, count) for name, count in [*counts, ("unfinished", self.ledger.unfinished)] if count]

    @property
    def error_rows(self) -> list[tuple[str, int]]:
        """How many requests ended with each code of an error, the most frequent first, and the others in one row."""
        codes = Counter(self.ledger.error_codes).most_common()
        rows = [(code or "no code", count) for code, count in codes[:_MAX_CODES]]
        if others := codes[_MAX_CODES:]:
            rows.append((as_count(len(others), "other code"), sum(count for _, count in others)))
        return rows

    @property
    def objections(self) -> list[tuple[Attempt, BatchError]]:
        """What the service found wrong with batches."""
        batches = [(attempt, attempt.batch) for attempt in self.view.attempts if attempt.batch is not None]
        return [(attempt, error) for attempt, batch in batches for error in batch.errors or ()]

    @property
    def states(self) -> set[str]:
        """The states that the legend explains."""
        states = {span.state for line in self.lines for span in line.spans}
        return {state if state in ENDS else drawn_state(state) for state in states}

    @property
    def longest(self) -> list[AttemptLine]:
        """The batches that have a row of their own: the longest ones, in the order of the shards."""
        longest = sorted(self.lines, key=lambda line: -line.seconds)[:_MAX_LINES]
        return sorted(longest, key=lambda line: (line.shard, line.number))

    @property
    def own_rows(self) -> list[ShardLedger]:
        """The shards that have a row of their own: those with failures or several attempts before all others."""
        return sorted(sorted(self.ledger.shards, key=_went_smoothly)[:_MAX_SHARDS], key=lambda shard: shard.shard)

    @property
    def other_shards(self) -> list[ShardLedger]:
        """The shards that are one row together."""
        return sorted(self.ledger.shards, key=_went_smoothly)[_MAX_SHARDS:]

    def counts_of(self, shards: Iterable[ShardLedger]) -> dict[str, int]:
        """Return the columns of the ledger for some shards, with an outcome only where a request of the job has it."""
        shards = tuple(shards)
        outcomes = [outcome for outcome, count in self.ledger.outcomes.items() if count or outcome is Outcome.SUCCEEDED]
        return {
            "inputs": sum(shard.inputs for shard in shards),
            **{outcome.value: sum(shard.outcomes.get(outcome, 0) for shard in shards) for outcome in outcomes},
            "unfinished": sum(shard.unfinished for shard in shards),
            "attempts": sum(shard.attempts for shard in shards),
        }


def figures_of(view: JournalView, now: dt.datetime, prices: PriceTable | None = None) -> JobFigures:
    """Return the figures of a job whose journal was read at ``now``; without a table of prices, by ``PRICES``."""
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
        waiting=_spread(batches, BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS),
        running=_spread(batches, BatchStatus.IN_PROGRESS, BatchStatus.COMPLETED),
        whole=_spread(batches, BatchStatus.VALIDATING, BatchStatus.COMPLETED),
    )


def _spread(batches: Iterable[Batch], first: BatchStatus, second: BatchStatus) -> Spread:
    """Return how long it was from one status to the other, wherever both times are known."""
    times = ((began_at(batch, first), began_at(batch, second)) for batch in batches)
    lengths = [max((end - begin).total_seconds(), 0.0) for begin, end in times if begin is not None and end is not None]
    return Spread(tuple(sorted(lengths)))


def _by_cost(item: tuple[str, ModelBill]) -> tuple[bool, Decimal, int]:
    _, bill = item
    return bill.cost is None, -(bill.cost or Decimal(0)), -bill.usage.total_tokens


def _went_smoothly(shard: ShardLedger) -> bool:
    return shard.attempts == 1 and shard.outcomes.get(Outcome.SUCCEEDED, 0) == shard.inputs
