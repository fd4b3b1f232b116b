"""What a job will send and what that will cost, shown and confirmed before anything is sent."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from openai_batches._text import as_count
from openai_batches.cli.errors import CommandError
from openai_batches.cli.output.questions import can_ask, confirmed
from openai_batches.cli.output.terminal import stderr
from openai_batches.cli.output.texts import (
    condition,
    costs_of,
    money_text,
    no_price,
    one_line,
    range_text,
    size_text,
    uncounted,
)

if TYPE_CHECKING:
    from openai_batches import Estimate, Ledger

__all__ = [
    "ASSUMED_TOKENS",
    "DEFAULT_CONFIRM_ABOVE_USD",
    "JobPlan",
    "agreed",
]

DEFAULT_CONFIRM_ABOVE_USD = 5.0
# What an answer is taken to have, where its request sets no maximum and no option says otherwise.
ASSUMED_TOKENS = 1_000
_MAX_LINES = 4


@attrs.frozen(kw_only=True)
class JobPlan:
    """A job before its first request is sent.

    Attributes:
        source: what to call its requests.
        ledger: its shards.
        bytes: the size of its input files.
        estimate: what it will use and cost.
        assumed_tokens: what the estimate takes for an answer whose request sets no maximum.
        is_free: whether it costs nothing.
    """

    source: str
    ledger: "Ledger"
    bytes: int
    estimate: "Estimate"
    assumed_tokens: int
    is_free: bool

    @property
    def cost_high(self) -> float | None:
        """What it will cost with the longest answers, as far as that can be told."""
        high = self.estimate.cost_high
        return None if high is None else float(high)

    @property
    def cost_limit(self) -> float | None:
        """What it will cost at most; None where that is not known for certain."""
        return self.cost_high if self.condition == "at most" else None

    @property
    def condition(self) -> str:
        """Under which condition ``cost_high`` is the most."""
        return condition([self.estimate], self.assumed_tokens)

    def lines(self) -> "list[tuple[str, str]]":
        """Return what a person wants to know of it: names and texts."""
        kinds = _kinds(self.ledger)
        return [
            ("requests", f"{self.ledger.inputs:,} in {self._shards}, {size_text(self.bytes)}"),
            ("model" if len(kinds) == 1 else "models", kinds[0]),
            *(("", kind) for kind in kinds[1:]),
            ("tokens", self._tokens),
            *(("", text) for text in (*self._assumption, *uncounted(self.estimate))),
            ("cost", self._costs[0]),
            *(("", text) for text in self._costs[1:]),
        ]

    @property
    def _tokens(self) -> str:
        estimate = self.estimate
        about = "" if estimate.method == "tiktoken" else "about "
        most = "unknown" if estimate.max_output_tokens is None else f"{estimate.max_output_tokens:,}"
        is_limit = estimate.max_output_tokens is not None and not estimate.requests_without_maximum
        return f"{about}{estimate.input_tokens:,} in, {most} out{' at most' if is_limit else ''}"

    @property
    def _assumption(self) -> list[str]:
        if not (count := self.estimate.requests_without_maximum):
            return []
        return [f"assuming {self.assumed_tokens:,} for each answer of {as_count(count, 'request')} without a maximum"]

    @property
    def _costs(self) -> list[str]:
        estimate = self.estimate
        here = "nothing here; at the service " if self.is_free else ""
        text = range_text(costs_of(estimate), estimate.currency, self.condition)
        if not (models := estimate.unpriced_models):
            return [f"{here}{text}", f"prices of {estimate.prices_as_of}"]
        # Where nothing is known, the reason is the answer.
        return [f"{here}{text}: {no_price(models)}"] if text == "unknown" else [f"{here}{text}", no_price(models)]

    def document(self) -> dict[str, Any]:
        """Return the same for ``--json``."""
        return {
            "source": self.source,
            "requests": self.ledger.inputs,
            "batches": len(self.ledger.shards),
            "bytes": self.bytes,
            "input_tokens": self.estimate.input_tokens,
            "max_output_tokens": self.estimate.max_output_tokens,
            "assumed_output_tokens": self.assumed_tokens,
            "requests_without_maximum": self.estimate.requests_without_maximum,
            "requests_with_unknown_maximum": self.estimate.requests_with_unknown_maximum,
            "media_parts": self.estimate.media_parts,
            "stored_parts": self.estimate.stored_parts,
            "unreadable_lines": self.estimate.unreadable_lines,
            "cost_low": self.estimate.cost_low,
            "cost_high": self.estimate.cost_high,
            "currency": self.estimate.currency,
        }

    @property
    def _shards(self) -> str:
        return as_count(len(self.ledger.shards), "shard")


async def agreed(plan: JobPlan, *, confirm_above_usd: float) -> bool:
    """Return whether a job may be sent: it is cheap enough, or the person says so."""
    cost, currency = plan.cost_high, plan.estimate.currency
    # The limit is in dollars: in another currency, every cost is confirmed.
    is_cheap = cost is not None and (cost <= confirm_above_usd if currency == "USD" else cost == 0)
    if plan.is_free or is_cheap:
        return True
    why = "What this costs is not known"
    if cost is not None:
        why = f"This costs {money_text(cost, currency)} {plan.condition}"
    if not can_ask():
        is_limited = cost is not None and currency == "USD"
        limit = f", which is above {money_text(confirm_above_usd)}" if is_limited else ""
        advice = "Add --yes to send it anyway" + (", or set --confirm-above" if is_limited else "")
        raise CommandError(f"{why}{limit}, and there is no terminal to ask on; nothing was sent", advice)
    stderr().print()
    return await confirmed(f"{why}. Send {as_count(plan.ledger.inputs, 'request')}?")


def _kinds(ledger: "Ledger") -> list[str]:
    """Return the models and endpoints, with the requests of each where there are several."""
    kinds: Counter[tuple[str, str]] = Counter()
    for shard in ledger.shards:
        kinds[shard.model or "?", shard.endpoint] += shard.inputs
    texts = [
        f"{one_line(model)} at {one_line(endpoint)}" + (f", {as_count(count, 'request')}" if len(kinds) > 1 else "")
        for (model, endpoint), count in kinds.most_common(_MAX_LINES)
    ]
    return [*texts, f"and {len(kinds) - _MAX_LINES:,} more"] if len(kinds) > _MAX_LINES else texts
