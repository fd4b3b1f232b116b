"""Sums over all results of a batch: counts by outcome, tokens, and where they disagree with the service's counts.

A summary is filled while results are read; its size does not grow with their number.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from openai_batches._names import public
from openai_batches._text import as_count
from openai_batches.models import Batch, BatchStatus, TokenCounts
from openai_batches.results.bodies import read_head, tokens_in
from openai_batches.results.result import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai_batches.costs.bill import Bill
    from openai_batches.costs.prices import PriceTable
    from openai_batches.models import BatchUsage
    from openai_batches.results.bodies import BodyHead
    from openai_batches.results.result import BatchResult

__all__ = ["ResultSummary", "TokenSums"]

MAX_SAMPLES = 100
# Nothing that a service writes bounds the number of codes or models.
MAX_NAMES = 1_000
_OTHERS = "others"
_SUCCEEDED = Outcome.SUCCEEDED


class TokenSums:
    """Usage and cost of answers, for classes that keep the sums of their tokens.

    Attributes:
        _tokens: model → its tokens; lists of four numbers in what an earlier version pickled.
    """

    __slots__ = ()
    _tokens: dict[str, TokenCounts]

    @property
    def usage_by_model(self) -> dict[str, BatchUsage]:
        """The tokens of all answers, by the model that the answers name; ``""`` where they name none."""
        return {model: TokenCounts(*counts).usage for model, counts in self._tokens.items()}

    @property
    def usage(self) -> BatchUsage:
        """The tokens of all answers together."""
        return TokenCounts.total(self._tokens.values()).usage

    def bill(self, prices: PriceTable | None = None) -> Bill:
        """Return what these answers cost: ``bill().cost`` in all, ``bill().by_model`` for each model.

        Args:
            prices: the table to look the models up in, instead of the built-in ``PRICES``.
        """
        from openai_batches.costs.bill import Bill  # noqa: PLC0415  # loaded only where costs are asked for
        from openai_batches.costs.prices import PRICES  # noqa: PLC0415

        return Bill.of(self.usage_by_model, PRICES if prices is None else prices)


@public
@attrs.define(kw_only=True)
class ResultSummary(TokenSums):
    """What became of the requests of one batch, as far as its files were read.

    Files are read a block ahead: while results are still coming, the counts may be some hundred ahead of them.

    Attributes:
        batch: the batch, once it is known.
        is_complete: whether both files were read to their end.
        outcomes: how many results there are of each outcome.
        error_codes: how many of each code of error (``""``: no code); from 1,000 codes on, ``others`` together.
        inputs: the number of inputs the results were joined with; None where there were none.
        foreign: how many lines have a custom_id that no input has.
        doubled: how many lines were left out, because their request has another one.
        foreign_ids: the first 100 of these ids.
        doubled_ids: the first 100 of these ids.
    """

    batch: Batch | None = None
    is_complete: bool = False
    outcomes: dict[Outcome, int] = attrs.field(factory=lambda: dict.fromkeys(Outcome, 0))
    error_codes: Counter[str] = attrs.field(factory=Counter)
    inputs: int | None = None
    foreign: int = 0
    doubled: int = 0
    foreign_ids: list[str] = attrs.field(factory=list)
    doubled_ids: list[str] = attrs.field(factory=list)
    _tokens: dict[str, TokenCounts] = attrs.field(factory=dict, repr=False)

    @property
    def total(self) -> int:
        """The number of results."""
        return sum(self.outcomes.values())

    @property
    def is_of_other_inputs(self) -> bool:
        """Whether none of the inputs is in the batch, which has other requests instead."""
        return bool(self.inputs) and self.foreign > 0 and self.outcomes[Outcome.MISSING] == self.inputs

    @property
    def tokens(self) -> dict[str, list[int]]:
        """Input, output, cached and reasoning tokens of all answers, by model: what ``usage_by_model`` is made of."""
        return {model: list(sums) for model, sums in self._tokens.items()}

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Where the service's counts differ, one sentence each; empty if they agree, or if the service does not count.

        Compared with the lines in the files. Services differ in whether they count requests that never ran as failed;
        neither is a disagreement.
        """
        counts = self.batch.request_counts if self.batch is not None else None
        if counts is None or self.batch is None or not self.is_complete:
            return ()
        found = self.outcomes
        succeeded = found[_SUCCEEDED]
        failed = found[Outcome.FAILED] + found[Outcome.INVALID]
        unrun = found[Outcome.EXPIRED] + found[Outcome.CANCELLED]
        lines = succeeded + failed + unrun
        texts = []
        # Lines without an input and second lines are not counted by outcome, but the service may count them.
        spare = self.foreign + self.doubled
        if not succeeded <= counts.completed <= succeeded + spare:
            counted = as_count(counts.completed, "completed request")
            texts.append(f"the service counts {counted}, {succeeded:,} succeeded")
        if not failed <= counts.failed <= failed + unrun + spare:
            texts.append(f"the service counts {as_count(counts.failed, 'failed request')}, {failed:,} failed")
        expected = self.inputs if self.inputs is not None else lines
        if counts.total != expected:
            there = f"there {'is' if expected == 1 else 'are'} "
            there += as_count(expected, "line" if self.inputs is None else "input")
            texts.append(f"the service counts {as_count(counts.total, 'request')}, {there}")
        if self.is_of_other_inputs:
            texts.append(f"none of the {self.inputs:,} inputs is in this batch: are they those of another one?")
        if self.batch.status == BatchStatus.COMPLETED and found[Outcome.MISSING]:
            missing = as_count(found[Outcome.MISSING], "input is", "inputs are")
            texts.append(f"the batch is completed, and {missing} in neither file")
        return tuple(texts)

    def add(self, results: Sequence[BatchResult]) -> None:
        """Count results."""
        heads = [result.head or read_head(result.raw_body) for result in results if result.outcome is _SUCCEEDED]
        if len(heads) < len(results):
            for result in results:
                if result.outcome is not _SUCCEEDED:
                    self._add_unsuccessful(result)
        self.add_successes(heads)

    def add_successes(self, heads: Sequence[BodyHead]) -> None:
        """Count successes, of which no more is needed than the heads of their answers."""
        usages: dict[str | None, list[Any]] = {model: [] for model in dict.fromkeys([head.model for head in heads])}
        if len(usages) == 1:  # as in nearly every block, and with less work for each head
            usages[heads[0].model] = [head.usage for head in heads if head.usage is not None]
        else:
            for head in heads:
                if head.usage is not None:
                    usages[head.model].append(head.usage)
        for model, found in usages.items():
            if found:
                name = _bounded(model or "", self._tokens)
                self._tokens[name] = tokens_in(found).plus(self._tokens.get(name, TokenCounts()))
        self.outcomes[_SUCCEEDED] += len(heads)

    def _add_unsuccessful(self, result: BatchResult) -> None:
        self.outcomes[result.outcome] += 1
        if result.outcome is Outcome.FOREIGN:
            self.foreign += 1
            _sample(self.foreign_ids, result.custom_id)
        if result.error is not None:
            self.error_codes[_bounded(result.error.code or "", self.error_codes)] += 1

    def add_doubled(self, custom_id: str) -> None:
        """Count a line that was left out."""
        self.doubled += 1
        _sample(self.doubled_ids, custom_id)


def _sample(ids: list[str], custom_id: str | None) -> None:
    if custom_id is not None and len(ids) < MAX_SAMPLES:
        ids.append(custom_id)


def _bounded(name: str, known: dict[str, object] | Counter[str] | dict[str, TokenCounts]) -> str:
    return name if name in known or len(known) < MAX_NAMES else _OTHERS
