"""What a job is about to do, and what that will cost: shown, and agreed to, before anything is sent."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from openai_batches.cli.asking import can_ask, confirmed
from openai_batches.cli.endings import CommandError
from openai_batches.cli.terminal import stderr
from openai_batches.cli.texts import money_text, one_line, size_text, words
from openai_batches.wording import as_count

if TYPE_CHECKING:
    from openai_batches import Estimate, Ledger

__all__ = [
    "ASSUMED_TOKENS",
    "DEFAULT_CONFIRM_ABOVE_USD",
    "JobPlan",
    "agreed",
]

DEFAULT_CONFIRM_ABOVE_USD = 5.0
# What an answer is taken to have at most, where its request sets no maximum.
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
        is_free: whether nobody is paid for it.
    """

    source: str
    ledger: "Ledger"
    bytes: int
    estimate: "Estimate"
    is_free: bool

    @property
    def cost_high(self) -> float | None:
        """What it will cost at most, as far as that can be told."""
        high = self.estimate.cost_high
        return None if high is None else float(high)

    @property
    def cost(self) -> str:
        """What it will cost, in words."""
        here = "nothing here; at the service " if self.is_free else ""
        low, high = self.estimate.cost_low, self.estimate.cost_high
        if low is None or high is None:
            return (
                f"{here}unknown: there is no price for {words(map(repr, self.estimate.unpriced_models[:_MAX_LINES]))}"
            )
        few, much = (money_text(cost, self.estimate.currency) for cost in (low, high))
        return f"{here}{few} for the input, {much} at most (prices of {self.estimate.prices_as_of})"

    def lines(self) -> "list[tuple[str, str]]":
        """Return what a person wants to know of it: names and texts."""
        estimate = self.estimate
        about = "" if estimate.method == "tiktoken" else "about "
        kinds = _kinds(self.ledger)
        lines = [
            ("requests", f"{self.ledger.inputs:,} in {self._shards}, {size_text(self.bytes)}"),
            ("model" if len(kinds) == 1 else "models", kinds[0]),
            *(("", kind) for kind in kinds[1:]),
            ("tokens", f"{about}{estimate.input_tokens:,} in, {estimate.max_output_tokens or 0:,} out at most"),
        ]
        if estimate.requests_without_maximum:
            several = as_count(estimate.requests_without_maximum, "request")
            lines.append(("", f"taking {ASSUMED_TOKENS:,} for each answer of {several} without a maximum"))
        if estimate.media_parts:
            lines.append(("", f"without {as_count(estimate.media_parts, 'image, sound or file', _MEDIA)}"))
        return [*lines, ("cost", self.cost)]

    def document(self) -> dict[str, Any]:
        """Return the same for ``--json``."""
        return {
            "source": self.source,
            "requests": self.ledger.inputs,
            "batches": len(self.ledger.shards),
            "bytes": self.bytes,
            "input_tokens": self.estimate.input_tokens,
            "max_output_tokens": self.estimate.max_output_tokens,
            "cost_low": self.estimate.cost_low,
            "cost_high": self.estimate.cost_high,
            "currency": self.estimate.currency,
        }

    @property
    def _shards(self) -> str:
        return as_count(len(self.ledger.shards), "batch", "batches")


_MEDIA = "images, sounds or files"


async def agreed(plan: JobPlan, *, confirm_above_usd: float) -> bool:
    """Return whether a job may be sent: it is cheap enough, or the person says so.

    Args:
        plan: the job.
        confirm_above_usd: up to which cost nobody is asked.

    Raises:
        CommandError: somebody should be asked, and nobody is there.
    """
    cost, currency = plan.cost_high, plan.estimate.currency
    # Nobody has said how much is much in another currency.
    is_cheap = cost is not None and (cost <= confirm_above_usd if currency == "USD" else cost == 0)
    if plan.is_free or is_cheap:
        return True
    why = "What this costs is not known" if cost is None else f"This costs up to {money_text(cost, currency)}"
    if not can_ask():
        is_limited = cost is not None and currency == "USD"
        limit = f", which is above {money_text(confirm_above_usd)}" if is_limited else ""
        advice = "Add --yes to send it all the same" + (", or set --confirm-above" if is_limited else "")
        raise CommandError(f"{why}{limit}, and there is nobody to ask; nothing was sent", advice)
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
