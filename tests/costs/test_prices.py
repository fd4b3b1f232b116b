"""Tokens into money: exact, dated, replaceable, and never 0 for what is not known."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from openai_batches.costs.prices import PRICES, ModelPrice, PriceTable, cost_of, usage_from
from openai_batches.errors import InputError
from openai_batches.models import BatchUsage, TokenCounts

TABLE = PriceTable.from_mapping(
    {
        "as_of": "2026-01-31",
        "models": {
            "tiny": {"input": 1, "output": "4", "cached_input": 0.1},
            "tiny-2025-01-01": {"input": 2, "output": 8},
            "tiny-pro": {"input": 10, "output": 40},
            "stated": {"batch_input": 3, "batch_output": 7, "batch_cached_input": "0.5"},
            "embedder": {"input": "0.02"},
            "ft:tiny": {"input": 5, "output": 6},
        },
    }
)
MILLION = 1_000_000
AMOUNTS = st.decimals(0, 1000, places=4)
COUNTS = st.integers(0, 10**12)


def cost(model: str, **tokens: int) -> Decimal | None:
    price = TABLE.find(model)
    assert price is not None
    return price.cost(**{"input_tokens": 0, **tokens})


def test_a_batch_costs_half_of_the_standard_price() -> None:
    """Where no batch price is stated, input, output and cached input are at half of what they cost otherwise."""
    assert cost("tiny", input_tokens=MILLION) == Decimal("0.5")
    assert cost("tiny", output_tokens=MILLION) == Decimal(2)
    assert cost("tiny", input_tokens=MILLION, cached_tokens=MILLION) == Decimal("0.05")
    assert cost("tiny", input_tokens=MILLION, cached_tokens=MILLION // 2) == Decimal("0.275")


def test_without_a_batch_the_standard_price_is_the_price() -> None:
    """What a batch saves can be told; where only the batch price is known, the other is not."""
    assert cost("tiny", input_tokens=MILLION, output_tokens=MILLION, in_batch=False) == Decimal(5)
    assert cost("tiny", input_tokens=MILLION, cached_tokens=MILLION, in_batch=False) == Decimal("0.1")
    assert cost("stated", input_tokens=MILLION, in_batch=False) is None


def test_a_stated_batch_price_is_the_price() -> None:
    """A batch price is not halved again, and needs no standard price beside it."""
    assert cost("stated", input_tokens=MILLION, output_tokens=MILLION) == Decimal(10)
    assert cost("stated", input_tokens=MILLION, cached_tokens=MILLION) == Decimal("0.5")


def test_cached_input_without_a_price_costs_what_input_costs() -> None:
    """No discount is assumed that is not stated."""
    assert cost("tiny-pro", input_tokens=MILLION, cached_tokens=MILLION) == Decimal(5)


def test_output_without_a_price_is_unknown_not_free() -> None:
    """A model that writes nothing has no price for output; output it is said to have written has no cost."""
    assert cost("embedder", input_tokens=MILLION) == Decimal("0.01")
    assert cost("embedder", input_tokens=MILLION, output_tokens=1) is None
    assert ModelPrice(output=Decimal(1)).cost(input_tokens=1) is None


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("tiny", "tiny"),
        ("tiny-2026-07-18", "tiny"),
        ("tiny-0613", "tiny"),
        ("tiny-2025-01-01", "tiny-2025-01-01"),
        ("tiny-pro-2026-07-18", "tiny-pro"),
        ("ft:tiny", "ft:tiny"),
        ("ft:tiny-2026-07-18", "ft:tiny"),
        ("ft:tiny:acme::id", "ft:tiny"),
        ("ft:tiny-2026-07-18:acme:name:id", "ft:tiny"),
        ("tiny-audio-preview", None),
        ("tiny-mini", None),
        ("tiny-pro-max", None),
        ("tiny-06", None),
        ("tiny-2026-07-18-preview", None),
        ("tin", None),
        ("", None),
        ("ft:embedder:acme::id", None),
        ("TINY", None),
    ],
)
def test_a_snapshot_has_the_price_of_its_model(model: str, found: str | None) -> None:
    """Its own where listed, else that of the longest name before its date; another variant is another model."""
    assert TABLE.find(model) is (None if found is None else TABLE.models[found])


@given(
    price=st.builds(ModelPrice, input=AMOUNTS, output=AMOUNTS, cached_input=AMOUNTS), counts=st.tuples(COUNTS, COUNTS)
)
def test_costs_add_up_to_the_last_digit(price: ModelPrice, counts: tuple[int, int]) -> None:
    """What is paid together is what was paid one by one: money is not rounded on its way."""
    parts = [price.cost(input_tokens=count, output_tokens=count, cached_tokens=count // 3) for count in counts]
    whole = price.cost(
        input_tokens=sum(counts), output_tokens=sum(counts), cached_tokens=sum(count // 3 for count in counts)
    )
    assert whole == sum(filter(None, parts))


def test_the_table_can_be_changed_in_parts() -> None:
    """Given prices win, the others stay, the old table is what it was, and a new day is noted."""
    changed = TABLE.with_models({"tiny": {"input": 3}, "new": ModelPrice(input=Decimal(1))}, as_of="2026-03-01")
    assert changed.models["tiny"] == ModelPrice(input=Decimal(3))
    assert changed.models["new"] == ModelPrice(input=Decimal(1))
    assert changed.models["embedder"] is TABLE.models["embedder"]
    assert changed.as_of == dt.date(2026, 3, 1)
    assert TABLE.models["tiny"].input == Decimal(1)
    assert TABLE.with_models({}).as_of == TABLE.as_of


def test_a_table_does_not_change_with_the_dict_it_was_made_of() -> None:
    """A table is a value."""
    models = {"a": ModelPrice(input=Decimal(1))}
    table = PriceTable(as_of=dt.date(2026, 1, 1), models=models)
    models.clear()
    assert table.find("a") is not None
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        table.currency = "EUR"  # type: ignore[misc]


@pytest.mark.parametrize("value", ["2026-06-04", dt.date(2026, 6, 4), dt.datetime(2026, 6, 4, 12, tzinfo=dt.UTC)])
def test_a_table_has_a_day_and_a_currency(value: object) -> None:
    """The date may be text, a date or a time."""
    table = PriceTable.from_mapping({"as_of": value, "models": {}, "currency": "EUR"})
    assert (table.as_of, table.currency) == (dt.date(2026, 6, 4), "EUR")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"models": {}}, "date of its prices"),
        ({"models": {}, "as_of": "yesterday"}, "yesterday"),
        ({"models": {}, "as_of": 20260604}, "20260604"),
        ({"as_of": "2026-06-04"}, "needs models"),
        ({"as_of": "2026-06-04", "models": []}, "needs models"),
        ({"as_of": "2026-06-04", "models": {}, "currency": 5}, "currency must be"),
        ({"as_of": "2026-06-04", "models": {}, "unit": "1K"}, "unit"),
        ({"as_of": "2026-06-04", "models": {"a": 5}}, "'a'"),
        ({"as_of": "2026-06-04", "models": {5: {"input": 5}}}, "5"),
        ({"as_of": "2026-06-04", "models": {"a": {"output": 5}}}, "no price for its input"),
        ({"as_of": "2026-06-04", "models": {"a": {"input": 5, "cache_input": 5}}}, "cache_input"),
        *(
            ({"as_of": "2026-06-04", "models": {"a": {"input": value}}}, "input of 'a'")
            for value in (-1, True, "much", float("nan"), float("inf"), [1])
        ),
    ],
)
def test_a_table_that_is_none_is_refused_by_name(data: dict[str, Any], text: str) -> None:
    """A slip in a table would be a wrong price, so nothing in it is guessed or passed over."""
    with pytest.raises(InputError, match=text):
        PriceTable.from_mapping(data)


def test_a_price_is_the_number_that_was_written() -> None:
    """0.1 is 0.1, not the nearest binary fraction."""
    table = TABLE.with_models({"a": {"input": 0.1, "output": None}})
    assert table.models["a"] == ModelPrice(input=Decimal("0.1"))


USAGE = TokenCounts(input=100, output=20, cached=40, reasoning=5).usage


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (USAGE, USAGE),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "total_tokens": 120,
                "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            USAGE,
        ),
        (
            {
                "input_tokens": 100,
                "output_tokens": 20,
                "input_tokens_details": {"cached_tokens": 40},
                "output_tokens_details": {"reasoning_tokens": 5},
            },
            USAGE,
        ),
        ({"prompt_tokens": 7, "total_tokens": 7}, BatchUsage(input_tokens=7, total_tokens=7)),
        (
            {"prompt_tokens": 7, "completion_tokens": None, "prompt_tokens_details": None},
            BatchUsage(input_tokens=7, total_tokens=7),
        ),
        ({"output_tokens": 7, "input_tokens_details": {}}, BatchUsage(output_tokens=7, total_tokens=7)),
        ({}, None),
        ({"prompt_tokens": "many"}, None),
        ({5: 6, "input_tokens": [5]}, None),
        (None, None),
        ("100", None),
    ],
)
def test_every_endpoints_usage_is_read(usage: object, expected: BatchUsage | None) -> None:
    """Chat, responses, completions and embeddings count in their own words; what is no usage is None."""
    assert usage_from(usage) == expected


def test_cost_of_usage() -> None:
    """Cached tokens are a part of the input; unknown models and answers without usage cost None."""
    assert cost_of(USAGE, "tiny-0613", TABLE) == (60 * Decimal("0.5") + 40 * Decimal("0.05") + 20 * 2) / MILLION
    assert cost_of({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 99}}, "tiny", TABLE) == (
        10 * Decimal("0.05") / MILLION
    )
    assert cost_of(USAGE, "unheard-of", TABLE) is None
    assert cost_of(None, "tiny", TABLE) is None


def test_the_built_in_prices_hold_together() -> None:
    """They are dated, in USD, and a batch never costs more than half of the standard price of input and output."""
    assert PRICES.currency == "USD"
    assert dt.date(2026, 1, 1) <= PRICES.as_of
    assert cost_of({"prompt_tokens": MILLION}, "gpt-4o-mini-2024-07-18") == Decimal("0.075")
    assert cost_of({"prompt_tokens": MILLION}, "gpt-4o-2024-05-13") == Decimal("2.5")
    assert cost_of({"prompt_tokens": MILLION, "prompt_tokens_details": {"cached_tokens": MILLION}}, "gpt-4o") == (
        Decimal("1.25")
    )
    for name, price in PRICES.models.items():
        standard = price.input
        assert standard is not None, name
        assert price.cost(input_tokens=MILLION) == standard / 2
        cached = price.cost(input_tokens=MILLION, cached_tokens=MILLION)
        assert cached is not None, name
        assert cached <= standard / 2, name
        assert (price.output is None) == ("embedding" in name)
