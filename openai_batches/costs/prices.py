"""Prices of models, and what tokens cost.

Money is :class:`~decimal.Decimal` and exact. A model without a price costs None, never 0, and is named.

Source: https://platform.openai.com/docs/pricing
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from typing import Any

import attrs
import msgspec

from openai_batches._names import public
from openai_batches.errors import InputError
from openai_batches.models import BatchUsage, TokenCounts

__all__ = [
    "PRICES",
    "ModelPrice",
    "PriceTable",
    "cost_of",
    "usage_from",
]

_PER_TOKENS = 1_000_000
_HALF = Decimal("0.5")
# What follows the name of a model in that of its snapshot: -2024-07-18, -0613.
_SNAPSHOT = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{4})")


@public
@attrs.frozen(kw_only=True)
class ModelPrice:
    """The prices of one model, per 1,000,000 tokens.

    Where the batch prices are not stated, they are half of the standard ones, as the service promises.

    Attributes:
        input: the standard price of input tokens; None where only the batch price is known.
        output: the standard price of output tokens, reasoning included; None for a model that writes none.
        cached_input: the standard price of input tokens read from the cache; None where they cost what all input does.
        batch_input: the price of input tokens in a batch; half of ``input`` if None.
        batch_output: the price of output tokens in a batch; half of ``output`` if None.
        batch_cached_input: the price of cached input tokens in a batch; half of ``cached_input`` if None, and that of
            other input tokens in a batch where there is no such price either.

    Source: https://platform.openai.com/docs/guides/batch
    """

    input: Decimal | None = None
    output: Decimal | None = None
    cached_input: Decimal | None = None
    batch_input: Decimal | None = None
    batch_output: Decimal | None = None
    batch_cached_input: Decimal | None = None

    def cost(
        self, *, input_tokens: int, output_tokens: int = 0, cached_tokens: int = 0, in_batch: bool = True
    ) -> Decimal | None:
        """Return what tokens cost; None where there are tokens that have no price.

        Args:
            input_tokens: all input tokens, those from the cache included.
            output_tokens: all output tokens, those of reasoning included.
            cached_tokens: how many of the input tokens were read from the cache.
            in_batch: whether in a batch; False: at the standard prices of single calls.
        """
        per_input, per_output, per_cached = self.input, self.output, self.cached_input
        if in_batch:
            per_input = _stated_or_half(self.batch_input, per_input)
            per_output = _stated_or_half(self.batch_output, per_output)
            per_cached = _stated_or_half(self.batch_cached_input, per_cached)
        if per_input is None or (per_output is None and output_tokens):
            return None
        total = per_input * (input_tokens - cached_tokens) + (per_output or 0) * output_tokens
        total += (per_input if per_cached is None else per_cached) * cached_tokens
        return total / _PER_TOKENS


def _stated_or_half(stated: Decimal | None, standard: Decimal | None) -> Decimal | None:
    if stated is not None or standard is None:
        return stated
    return standard * _HALF


_PRICE_NAMES = tuple(field.name for field in attrs.fields(ModelPrice))


def _read_only(models: Mapping[str, ModelPrice]) -> Mapping[str, ModelPrice]:
    return dict(models)


@public
@attrs.frozen(kw_only=True)
class PriceTable:
    """The prices of models on one day.

    Prices change. Make a table with ``PriceTable.from_mapping`` or by hand, or take the built-in one and replace the
    prices that have changed: ``PRICES.with_models({"gpt-x": {"input": 1, "output": 4}}, as_of="2026-11-01")``.

    Attributes:
        as_of: the day the prices were looked up.
        models: name of a model → its prices per 1,000,000 tokens.
        currency: what the prices are in.
    """

    as_of: dt.date
    models: Mapping[str, ModelPrice] = attrs.field(
        converter=_read_only, hash=False, repr=lambda models: f"<{len(models)} models>"
    )
    currency: str = "USD"

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> PriceTable:
        """Return the table that a mapping (a JSON file's content, for example) holds.

        Args:
            data: ``{"as_of": "2026-06-04", "currency": "USD", "models": {"gpt-4o": {"input": 2.5, "output": 10}}}``;
                ``as_of`` is an ISO date and required, the currency USD if not stated, and the prices of a model those
                of :class:`ModelPrice`, as numbers or strings.

        Raises:
            InputError: the mapping holds no such table; the message names the model and the price.
        """
        if unknown := data.keys() - {"as_of", "currency", "models"}:
            raise InputError(
                f"a price table has as_of, currency and models, not {', '.join(sorted(map(str, unknown)))}"
            )
        models = data.get("models")
        if not isinstance(models, Mapping):
            raise InputError('a price table needs models: {"models": {"gpt-4o": {"input": 2.5, "output": 10}}, …}')
        if not isinstance(currency := data.get("currency", "USD"), str):
            raise InputError(f"currency must be a str, not {currency!r}")
        return cls(as_of=_date(data.get("as_of")), models=_checked_models(models), currency=currency)

    def with_models(
        self, models: Mapping[str, ModelPrice | Mapping[str, Any]], *, as_of: dt.date | str | None = None
    ) -> PriceTable:
        """Return a table that has these models too; the prices given here win.

        Args:
            models: name of a model → :class:`ModelPrice`, or a mapping of its fields.
            as_of: the day of the new table; this one's if not given.

        Raises:
            InputError: a price is not a number of at least 0, or the date is not a date; the message names it.
        """
        day = self.as_of if as_of is None else _date(as_of)
        return attrs.evolve(self, models={**self.models, **_checked_models(models)}, as_of=day)

    def find(self, model: str) -> ModelPrice | None:
        """Return the prices of a model, or None where the table has none.

        A snapshot (``gpt-4o-mini-2024-07-18``, ``gpt-4-0613``) has its own prices where they are listed, else those of
        the longest listed name before its date. Nothing else that a name may end with is ignored: variants such as
        ``-pro`` or ``-audio-preview`` cost something else. A fine-tuned model ``ft:gpt-4o-mini-2024-07-18:acme::id``
        is looked for as ``ft:gpt-4o-mini-2024-07-18`` and as ``ft:gpt-4o-mini``.
        """
        names = [model]
        if model.startswith("ft:"):
            names.append(":".join(model.split(":")[:2]))
        for name in names:
            if (price := self.models.get(name)) is not None:
                return price
        name = names[-1]
        known = [key for key in self.models if name.startswith(key) and _SNAPSHOT.fullmatch(name, len(key))]
        return self.models[max(known, key=len)] if known else None


def _date(value: object) -> dt.date:
    if isinstance(value, dt.datetime):
        return value.date()
    if isinstance(value, dt.date):
        return value
    try:
        return dt.date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise InputError(
            f"a price table needs the date of its prices, e.g. as_of='2026-06-04', not {value!r}"
        ) from None


def _checked_models(models: Mapping[str, ModelPrice | Mapping[str, Any]]) -> dict[str, ModelPrice]:
    return {name: _checked_price(name, price) for name, price in models.items()}


def _checked_price(name: str, data: object) -> ModelPrice:
    if isinstance(data, ModelPrice):
        data = attrs.asdict(data)
    if not isinstance(name, str) or not isinstance(data, Mapping):
        raise InputError(f"the prices of {name!r} must be a mapping such as {{'input': 2.5, 'output': 10}}")
    if unknown := data.keys() - set(_PRICE_NAMES):
        known = ", ".join(_PRICE_NAMES)
        raise InputError(f"{name!r} has {', '.join(sorted(map(str, unknown)))}; the prices of a model are {known}")
    if data.get("input") is None and data.get("batch_input") is None:
        raise InputError(f"{name!r} has no price for its input")
    return ModelPrice(**{key: _amount(name, key, value) for key, value in data.items() if value is not None})


def _amount(name: str, key: str, value: object) -> Decimal:
    if not isinstance(value, bool) and isinstance(value, int | float | str | Decimal):
        try:
            # A float's shortest text is the number that was written down.
            amount = Decimal(str(value))
        except InvalidOperation:
            amount = Decimal("NaN")
        if amount.is_finite() and amount >= 0:
            return amount
    raise InputError(f"{key} of {name!r} must be a price of at least 0 per 1,000,000 tokens, not {value!r}")


PRICES = PriceTable.from_mapping(msgspec.json.decode(files(__package__).joinpath("prices.json").read_bytes()))
"""The built-in prices, in USD per 1,000,000 tokens, of widely used models on the day ``PRICES.as_of``.

Prices change, and contracts differ: compare with https://platform.openai.com/docs/pricing before you rely on them, and
replace the table with your own (``PriceTable.from_mapping``) or parts of it (``PRICES.with_models``). Surcharges (long
contexts, regions, tools) and the prices of images and audio are not in it.
"""
# From gpt-5 on the service discounts cached input within a batch; before that a batch pays for all its input alike,
# which the table says by batch_cached_input.


def usage_from(usage: object) -> BatchUsage | None:
    """Return the tokens of a :class:`BatchUsage`, or of the ``usage`` of any answer, decoded; None where it has none.

    Sources: https://platform.openai.com/docs/api-reference/chat/object,
    https://platform.openai.com/docs/api-reference/responses/object
    """
    if isinstance(usage, BatchUsage):
        return usage
    if not isinstance(usage, Mapping):
        return None
    read = _count(usage, "input_tokens", "prompt_tokens")
    written = _count(usage, "output_tokens", "completion_tokens")
    if read is None and written is None:
        return None
    cached = _detail(usage, "cached_tokens", "input_tokens_details", "prompt_tokens_details")
    reasoning = _detail(usage, "reasoning_tokens", "output_tokens_details", "completion_tokens_details")
    return TokenCounts(read or 0, written or 0, cached, reasoning).usage


def _count(counts: Mapping[str, Any], *names: str) -> int | None:
    found = (counts.get(name) for name in names)
    return next((count for count in found if isinstance(count, int) and not isinstance(count, bool)), None)


def _detail(usage: Mapping[str, Any], name: str, *places: str) -> int:
    found = (usage.get(place) for place in places)
    return next((_count(details, name) or 0 for details in found if isinstance(details, Mapping)), 0)


def cost_of(usage: object, model: str, prices: PriceTable = PRICES) -> Decimal | None:
    """Return what a request, or all requests of one model, cost in a batch; None where that cannot be said.

    Args:
        usage: a :class:`BatchUsage` (``batch.usage``), or the ``usage`` of an answer, decoded.
        model: the model that was used, by name or snapshot.
        prices: the table to look it up in.
    """
    found = usage_from(usage)
    price = prices.find(model)
    if found is None or price is None:
        return None
    tokens = TokenCounts.of(found)
    return price.cost(input_tokens=tokens.input, output_tokens=tokens.output, cached_tokens=tokens.cached)
