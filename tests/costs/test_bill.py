"""What results cost, added up while they pass by."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, strategies as st
from support.result_lines import read_result, result

from openai_batches.costs.bill import Bill
from openai_batches.costs.prices import PriceTable, cost_of, usage_from
from openai_batches.models import BatchUsage, TokenCounts
from openai_batches.results.result import BatchResult

TABLE = PriceTable.from_mapping({"as_of": "2026-01-31", "models": {"a": {"input": 2, "output": 4}, "b": {"input": 6}}})
MILLION = 1_000_000


def test_a_bill_adds_up_by_model() -> None:
    """Each model has its requests, tokens and cost; the whole is their sum."""
    bill = Bill(TABLE)
    for tokens in (1, 2, 3):
        bill.add(result(body={"model": "a-0613", "usage": {"prompt_tokens": tokens, "completion_tokens": 10}}))
    bill.add(result(body={"model": "b", "usage": {"prompt_tokens": MILLION}}))
    assert list(bill.by_model) == ["a-0613", "b"]
    assert bill.by_model["a-0613"].requests == 3
    assert bill.by_model["a-0613"].usage == BatchUsage(input_tokens=6, output_tokens=30, total_tokens=36)
    assert bill.by_model["a-0613"].cost == Decimal(66) / MILLION
    assert bill.by_model["b"].cost == 3
    assert bill.cost == 3 + Decimal(66) / MILLION
    assert bill.usage == BatchUsage(input_tokens=MILLION + 6, output_tokens=30, total_tokens=MILLION + 36)
    assert (bill.unpriced_models, bill.results_without_usage) == ((), 0)


def test_a_model_without_a_price_makes_the_sum_unknown() -> None:
    """It is named, its cost is None, and so is the whole: a sum without it would be a lie."""
    bill = Bill(TABLE)
    bill.add(result(body={"model": "a", "usage": {"prompt_tokens": 1}}))
    bill.add(result(body={"model": "c", "usage": {"prompt_tokens": 1}}))
    bill.add(result(body={"usage": {"prompt_tokens": 1}}))
    assert bill.cost is None
    assert bill.unpriced_models == ("c", "")
    assert bill.by_model["a"].cost == Decimal(1) / MILLION
    assert bill.by_model["c"].cost is None


def test_an_empty_bill_is_nothing() -> None:
    """Nothing used costs 0, which is known."""
    bill = Bill(TABLE)
    assert (bill.cost, bill.usage, bill.by_model) == (0, BatchUsage(), {})


def test_what_says_nothing_of_tokens_is_counted() -> None:
    """Requests that failed or never ran, and bodies that are no objects, or no JSON, cost nothing and are told."""
    bill = Bill(TABLE)
    expired = b'{"custom_id": "1", "response": null, "error": {"code": "batch_expired", "message": "late"}}'
    bill.add(read_result(expired, line_number=1))
    bill.add(result(body={"error": {"message": "no"}}, status=400))
    bill.add(result(body=[1, 2]))
    bill.add(result(body="plain text"))
    bill.add(result(body={"model": 5, "usage": 5}))
    bill.add(BatchResult(custom_id="1", outcome=result(body={}).outcome, raw_body=b"{no"))
    assert bill.results_without_usage == 6
    assert bill.cost == 0


def test_bodies_in_other_shapes_are_read_too() -> None:
    """A body sent as JSON text, or with a model that is none, counts like any other."""
    bill = Bill(TABLE)
    bill.add(result(body=msgspec.json.encode({"model": "a", "usage": {"prompt_tokens": 1}}).decode()))
    bill.add(result(body={"model": None, "usage": {"prompt_tokens": 1}}))
    assert {model: entry.requests for model, entry in bill.by_model.items()} == {"a": 1, "": 1}


def test_a_whole_batch_can_be_added_at_once() -> None:
    """The usage that the service gives with a batch costs what its results cost one by one."""
    usage = TokenCounts(input=100, output=20, cached=1000, reasoning=5).usage
    bill = Bill(TABLE)
    bill.add_usage(usage, "a", requests=7)
    assert bill.by_model["a"].requests == 7
    assert bill.cost == cost_of(usage, "a", TABLE)
    assert bill.usage.input_tokens_details.cached_tokens == 100
    assert bill.usage.output_tokens_details.reasoning_tokens == 5
    whole = Bill.of({"a": usage, "b": BatchUsage()}, TABLE)
    assert (whole.cost, whole.usage) == (bill.cost, bill.usage)
    assert [entry.requests for entry in whole.by_model.values()] == [None, None]


USAGES = st.builds(
    lambda tokens, cached, out: {
        "prompt_tokens": tokens + cached,
        "completion_tokens": out,
        "prompt_tokens_details": {"cached_tokens": cached},
    },
    *[st.integers(0, 10**9)] * 3,
)


@given(st.lists(st.tuples(st.sampled_from(["a", "a-0613"]), USAGES), max_size=20))
def test_a_bill_is_the_sum_of_its_results(rows: list[tuple[str, dict[str, Any]]]) -> None:
    """To the last digit, in any order."""
    bill = Bill(TABLE)
    for model, usage in rows:
        bill.add(result(body={"model": model, "usage": usage}))
    assert bill.cost == sum((cost_of(usage, model, TABLE) or 0 for model, usage in rows), Decimal(0))
    used = [usage_from(usage) for _, usage in rows]
    assert bill.usage.total_tokens == sum(usage.total_tokens for usage in used if usage)


def test_a_bill_can_be_printed() -> None:
    """The text has tokens, cost and date, small sums without exponents, and names what has no price."""
    bill = Bill(TABLE)
    assert "cost 0 " in str(bill)
    bill.add_usage(BatchUsage(input_tokens=1), "a")
    assert "E-" not in str(bill)
    bill.add_usage(BatchUsage(input_tokens=1), "unknown")
    assert "cost unknown, no price for 'unknown'" in str(bill)
    assert str(TABLE.as_of) in str(bill)


def test_a_bill_that_an_earlier_version_pickled_is_added_to() -> None:
    """Its sums by model were four numbers and a count."""
    bill = Bill(TABLE)
    bill.add_usage(BatchUsage(), "a")
    bill._sums["a"].__setstate__({"requests": 2, "read": 10, "written": 20, "cached": 3, "reasoning": 4})
    bill.add_usage(BatchUsage(input_tokens=1), "a")
    assert (bill.by_model["a"].requests, bill.usage) == (3, TokenCounts(11, 20, 3, 4).usage)
    assert pickle.loads(pickle.dumps(bill)).by_model == bill.by_model
