"""What requests cost, in the same words wherever it is said."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

from openai_batches._text import as_count
from openai_batches.cli.output.texts import money_text, one_line, words

if TYPE_CHECKING:
    from openai_batches import Estimate

__all__ = ["NO_MODEL", "Costs", "condition", "costs_of", "no_price", "range_text", "standard_costs_of", "uncounted"]

NO_MODEL = "(no model)"
_NAMED_MODELS = 5
# Of the input alone, and with the longest answers.
Costs: TypeAlias = tuple[Decimal | None, Decimal | None]


def costs_of(found: "Estimate") -> list[Costs]:
    """Return what the requests of each model cost in a batch, and what is known of lines that nobody can read."""
    return [*((share.cost_low, share.cost_high) for share in found.by_model.values()), *_unread(found)]


def standard_costs_of(found: "Estimate") -> list[Costs]:
    """Return what they cost without a batch, likewise."""
    shares = found.by_model.values()
    return [*((share.standard_cost_low, share.standard_cost_high) for share in shares), *_unread(found)]


def _unread(found: "Estimate") -> list[Costs]:
    return [(Decimal(0), None)] if found.unreadable_lines else []


def range_text(costs: Sequence[Costs], currency: str, condition: str) -> str:
    """Return what all of them cost together, as far as it is known.

    Args:
        costs: what each costs.
        currency: what these are in.
        condition: under which condition the longest answers cost no more.
    """
    lows = [low for low, _ in costs if low is not None]
    highs = [high for _, high in costs if high is not None]
    if costs and not lows:
        return "unknown"
    low = money_text(sum(lows, Decimal(0)), currency)
    if len(lows) < len(costs):
        return f"{low} for the input, as far as prices are known"
    if len(highs) < len(costs):
        return f"{low} for the input that is counted, the most is unknown"
    return f"{low} for the input, {money_text(sum(highs, Decimal(0)), currency)} {condition}"


def condition(estimates: "Iterable[Estimate]", assumed_tokens: int | None) -> str:
    """Return what is behind the highest cost: ``at most``, unless something was assumed or left out."""
    found = list(estimates)
    if assumed_tokens is not None and any(one.requests_without_maximum for one in found):
        return f"if answers have {as_count(assumed_tokens, 'token')}"
    return "at most" + (" without media" if any(one.media_parts for one in found) else "")


def no_price(models: Sequence[str]) -> str:
    """Return that some models have no price."""
    names = [f"'{one_line(model)}'" if model else NO_MODEL for model in models[:_NAMED_MODELS]]
    return f"there is no price for {words([*names, *(['others'] if len(models) > _NAMED_MODELS else [])])}"


def uncounted(found: "Estimate") -> list[str]:
    """Return what of the requests is in none of the numbers, each in a line."""
    texts = []
    if count := found.media_parts:
        texts.append(as_count(count, "image, sound or file is not counted", "images, sounds or files are not counted"))
    if count := found.stored_parts:
        one, many = "prompt or item kept at the service is", "prompts or items kept at the service are"
        texts.append(f"{as_count(count, one, many)} not counted")
    if count := found.requests_with_unknown_maximum:
        texts.append(f"{as_count(count, 'request sets', 'requests set')} max_tokens, n or the like to no whole number")
    if count := found.unreadable_lines:
        texts.append(as_count(count, "line cannot be read as a request", "lines cannot be read as requests"))
    return texts
