"""Numbers, sizes, times, costs and text of others, formatted for the user."""

import datetime as dt
import difflib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

from openai_batches._text import as_count, as_money, largest_units

if TYPE_CHECKING:
    from openai_batches import Estimate

__all__ = [
    "NO_MODEL",
    "Costs",
    "age_text",
    "clean",
    "closest",
    "condition",
    "costs_of",
    "cut",
    "lasting_text",
    "money_text",
    "no_price",
    "one_line",
    "path_text",
    "range_text",
    "size_text",
    "standard_costs_of",
    "time_text",
    "uncounted",
]

_UNITS = ("kB", "MB", "GB", "TB", "PB")
NO_MODEL = "(no model)"
_NAMED_MODELS = 5
# Of the input alone, and with the longest answers.
Costs: TypeAlias = tuple[Decimal | None, Decimal | None]


def clean(text: str) -> str:
    r"""Return text of others with its control characters made visible: no terminal obeys them.

    A line feed stays one, a tab becomes a space; escape becomes ``\x1b``.
    """
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character == "\n" or character.isprintable():
        return character
    if character == "\t":
        return " "
    return _escaped(character)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def one_line(text: str) -> str:
    """Return text of others on one line."""
    return clean(" ".join(text.split()))


def path_text(path: object) -> str:
    r"""Return the name of a file or folder on one line, with every character of it: a line feed is ``\\n``."""
    text = str(path)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def cut(text: str, width: int) -> str:
    """Return text on one line of at most so many characters."""
    text = one_line(text)
    return text if len(text) <= width else f"{text[: max(width, 1) - 1]}…"


def size_text(size: int) -> str:
    """Return a number of bytes as ``512 B``, ``1.5 kB``, ``200 MB``."""
    if size < 1_000:
        return f"{size} B"
    number, power = size / 1_000, 0
    # 999.5 would be written as 1,000.
    while number >= 999.5 and power < len(_UNITS) - 1:
        number, power = number / 1_000, power + 1
    return f"{number:.1f} {_UNITS[power]}" if number < 99.95 else f"{number:,.0f} {_UNITS[power]}"


def lasting_text(seconds: float) -> str:
    """Return a length of time in its two largest units: ``45s``, ``3m 20s``, ``2h 5m``, ``3d 4h``."""
    return " ".join(f"{count}{unit}" for count, unit in largest_units(max(0, round(seconds))))


def age_text(then: dt.datetime | None, now: dt.datetime) -> str:
    """Return how long ago, or how far ahead, a moment is: ``3m 20s ago``, ``in 2h``, ``now``; empty without one."""
    if then is None:
        return ""
    seconds = (now - then).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{lasting_text(seconds)} ago" if seconds > 0 else f"in {lasting_text(-seconds)}"


def time_text(then: dt.datetime | None) -> str:
    """Return a moment in the person's own time zone, to the second; empty without one."""
    return "" if then is None else f"{then.astimezone():%Y-%m-%d %H:%M:%S}"


def money_text(amount: Decimal | float | None, currency: str = "USD") -> str:
    """Return an amount as reports write it, and ``?`` where no price is known."""
    return "?" if amount is None else as_money(amount, one_line(currency))


def closest(typed: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant; None where none is similar."""
    return next(iter(difflib.get_close_matches(typed, list(known), n=1)), None)


def words(items: Iterable[object]) -> str:
    """Return ``a, b and c``."""
    texts = [str(item) for item in items]
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)


def costs_of(found: "Estimate") -> list[Costs]:
    """Return what the requests of each model cost in a batch, and what is known of lines that cannot be read."""
    return [*((share.cost_low, share.cost_high) for share in found.by_model.values()), *_unread(found)]


def standard_costs_of(found: "Estimate") -> list[Costs]:
    """Return what they cost without a batch, likewise."""
    shares = found.by_model.values()
    return [*((share.standard_cost_low, share.standard_cost_high) for share in shares), *_unread(found)]


def _unread(found: "Estimate") -> list[Costs]:
    return [(Decimal(0), None)] if found.unreadable_lines else []


def range_text(costs: Sequence[Costs], currency: str, condition: str) -> str:
    """Return what all of them cost together, as far as it is known."""
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
        texts.append(f"{as_count(count, 'request sets', 'requests set')} max_tokens, n or the like to no integer")
    if count := found.unreadable_lines:
        texts.append(as_count(count, "line cannot be read as a request", "lines cannot be read as requests"))
    return texts
