"""What a batch cost: the usage of its results, added up by model."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from openai_batches._names import public
from openai_batches.costs.prices import PRICES, PriceTable, cost_of
from openai_batches.models import BatchUsage, TokenCounts

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Bill", "ModelBill"]


@public
@attrs.frozen(kw_only=True)
class ModelBill:
    """What the answers of one model used, and what that costs.

    Attributes:
        requests: the number of answers that said what they used; None where only their sums were given.
        usage: their tokens together.
        cost: what these cost in a batch; None where the table has no price for the model.
    """

    requests: int | None
    usage: BatchUsage
    cost: Decimal | None


@attrs.define(slots=False)
class _Sums:
    # None where a usage was added without the number of its requests.
    requests: int | None = 0
    tokens: TokenCounts = attrs.field(factory=TokenCounts)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what was pickled; an earlier version had four numbers for the tokens."""
        old = [state.pop(name, 0) for name in ("read", "written", "cached", "reasoning")]
        self.__dict__.update({"tokens": TokenCounts(*old), **state})


class _Answered(Protocol):
    """What is asked of a result."""

    @property
    def usage(self) -> BatchUsage | None: ...
    @property
    def model(self) -> str | None: ...


@public
class Bill:
    """Adds up what results used and cost, by model; its size does not grow with their number.

    A model's name is the one in the answer, which is a snapshot: the bill of ``gpt-4o-mini`` is under
    ``gpt-4o-mini-2024-07-18``.

    Args:
        prices: the table to look the models up in.

    Attributes:
        prices: that table.
        results_without_usage: the number of results without usage, such as those that failed or never ran.
    """

    def __init__(self, prices: PriceTable = PRICES) -> None:
        self.prices = prices
        self.results_without_usage: int = 0
        self._sums: dict[str, _Sums] = {}

    def __str__(self) -> str:
        cost = "unknown" if self.cost is None else f"{self.cost:f} {self.prices.currency}"
        unpriced = f", no price for {', '.join(map(repr, self.unpriced_models))}" if self.unpriced_models else ""
        usage = self.usage
        return (
            f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out; "
            f"cost {cost}{unpriced} (prices of {self.prices.as_of})"
        )

    def add(self, result: _Answered) -> None:
        """Add what one result used."""
        if (usage := result.usage) is None:
            self.results_without_usage += 1
        else:
            self.add_usage(usage, result.model or "")

    def add_usage(self, usage: BatchUsage, model: str, *, requests: int | None = 1) -> None:
        """Add tokens that one model used, e.g. ``batch.usage`` of ``batch.model``.

        Args:
            usage: the tokens.
            model: the model; ``""`` if it is not known, in which case it has no price.
            requests: how many requests used them; None if that is not known.
        """
        sums = self._sums.setdefault(model, _Sums())
        sums.requests = None if requests is None or sums.requests is None else sums.requests + requests
        sums.tokens = sums.tokens.plus(TokenCounts.of(usage))

    @classmethod
    def of(cls, usage_by_model: Mapping[str, BatchUsage], prices: PriceTable = PRICES) -> Bill:
        """Return the bill of tokens that are added up already, model by model; it has no number of requests.

        Args:
            usage_by_model: model → its tokens.
            prices: the table to look the models up in.
        """
        bill = cls(prices)
        for model, usage in usage_by_model.items():
            bill.add_usage(usage, model, requests=None)
        return bill

    @property
    def by_model(self) -> dict[str, ModelBill]:
        """The bill of each model, in the order in which they were first added."""
        bills = {}
        for model, sums in self._sums.items():
            usage = sums.tokens.usage
            bills[model] = ModelBill(requests=sums.requests, usage=usage, cost=cost_of(usage, model, self.prices))
        return bills

    @property
    def usage(self) -> BatchUsage:
        """The tokens of all models together."""
        return TokenCounts.total(sums.tokens for sums in self._sums.values()).usage

    @property
    def cost(self) -> Decimal | None:
        """What all of it costs; None where a model has no price: ``unpriced_models`` names it."""
        costs = [bill.cost for bill in self.by_model.values()]
        return None if None in costs else sum(filter(None, costs), Decimal(0))

    @property
    def unpriced_models(self) -> tuple[str, ...]:
        """The models that the table has no price for; ``""`` stands for answers that name none."""
        return tuple(model for model, bill in self.by_model.items() if bill.cost is None)
