"""What became of all requests of a batch, and where the service counts otherwise."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest
from support.result_lines import read_result, result

from openai_batches import PRICES, Batch, BatchStatus, ModelPrice, Outcome, RequestCounts
from openai_batches.results import summary as summary_module
from openai_batches.results.result import missing_result
from openai_batches.results.summary import ResultSummary


def success(model: str | None = "m", **usage: Any) -> Any:
    return result(model=model, usage=usage or None)


def batch(total: int, completed: int, failed: int, status: str = "completed") -> Batch:
    counts = RequestCounts(total=total, completed=completed, failed=failed)
    return Batch(id="b", status=BatchStatus(status), request_counts=counts)


def summary(*results: Any, **fields: Any) -> ResultSummary:
    made = ResultSummary(is_complete=True, **fields)
    made.add(results)
    return made


UNRUN = {"code": "batch_expired", "message": "m"}


def test_counts_by_outcome_and_code() -> None:
    """Every result is counted by its outcome, every failure by its code."""
    found = summary(
        result(),
        result(status=400, error={"code": "c"}),
        result(status=404, error={"code": "c"}),
        result(status=500),
        result(status=None, error=UNRUN),
        missing_result("x"),
        read_result(b"<", line_number=1),
    )
    counts = {outcome: count for outcome, count in found.outcomes.items() if count}
    assert counts == {"succeeded": 1, "failed": 3, "expired": 1, "missing": 1, "invalid": 1}
    assert set(found.outcomes) == set(Outcome)
    assert found.error_codes == {"c": 2, "": 1, "batch_expired": 1, "missing": 1, "invalid_line": 1}
    assert found.total == 7
    assert pickle.loads(pickle.dumps(found)) == found


def test_tokens_by_model() -> None:
    """The tokens of chats, responses and embeddings add up, by the model that answered; failures use none."""
    found = summary(
        success("m", prompt_tokens=10, completion_tokens=5, prompt_tokens_details={"cached_tokens": 4}),
        success("m", prompt_tokens=1, completion_tokens=2, completion_tokens_details={"reasoning_tokens": 2}),
        success("n", input_tokens=7, output_tokens=1, input_tokens_details={"cached_tokens": 3}),
        success("m", prompt_tokens=100),
        success(None, input_tokens=1, output_tokens_details={"reasoning_tokens": 1}),
        success("m"),
        result(status=500, model="m", usage={"prompt_tokens": 1_000}),
    )
    by_model = found.usage_by_model
    assert list(by_model) == ["m", "n", ""]
    first = by_model["m"]
    assert (first.input_tokens, first.output_tokens, first.total_tokens) == (111, 7, 118)
    assert (first.input_tokens_details.cached_tokens, first.output_tokens_details.reasoning_tokens) == (4, 2)
    assert found.usage.input_tokens == 119
    assert found.usage.input_tokens_details.cached_tokens == 7
    assert found.usage.output_tokens_details.reasoning_tokens == 3
    assert summary().usage.total_tokens == 0


def test_what_a_service_writes_does_not_grow_a_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that puts something new into every code, model or id cannot fill the memory."""
    monkeypatch.setattr(summary_module, "MAX_NAMES", 3)
    monkeypatch.setattr(summary_module, "MAX_SAMPLES", 2)
    found = summary(*(result(status=400, error={"code": f"c{number}"}) for number in range(9)))
    found.add([success(f"m{number}", prompt_tokens=1) for number in range(9)])
    found.add([success("m1", prompt_tokens=1)])
    for number in range(9):
        found.add_doubled(str(number))
    assert found.error_codes == {"c0": 1, "c1": 1, "c2": 1, "others": 6}
    assert {model: usage.input_tokens for model, usage in found.usage_by_model.items()} == {
        "m0": 1,
        "m1": 2,
        "m2": 1,
        "others": 6,
    }
    assert (found.doubled, found.doubled_ids) == (9, ["0", "1"])


@pytest.mark.parametrize(
    ("given", "results", "fields"),
    [
        (batch(2, 1, 1), [result(), result(status=400)], {}),
        (batch(2, 1, 0, "expired"), [result(), result(status=None, error=UNRUN)], {}),
        (batch(2, 1, 1, "expired"), [result(), result(status=None, error=UNRUN)], {}),
        (batch(2, 1, 1), [result(), read_result(b"<", line_number=1)], {}),
        (batch(1, 2, 0), [result()], {"inputs": 1, "doubled": 1}),
        (batch(2, 1, 0, "cancelled"), [result(), missing_result("x")], {"inputs": 2}),
        (Batch(id="b", status=BatchStatus.COMPLETED), [result()], {}),
        (None, [result()], {}),
    ],
)
def test_agreement(given: Batch | None, results: list[Any], fields: dict[str, Any]) -> None:
    """Where the counts can be right they are not doubted; a service that does not count says nothing wrong."""
    assert summary(*results, batch=given, **fields).disagreements == ()


@pytest.mark.parametrize(
    ("given", "results", "fields", "words"),
    [
        (batch(2, 2, 0), [result(), result(status=400)], {}, ["2 completed requests, 1", "0 failed requests, 1"]),
        (batch(3, 1, 0), [result()], {}, ["the service counts 3 requests, there is 1 line"]),
        (batch(1, 1, 0), [result()], {"inputs": 2}, ["the service counts 1 request, there are 2 inputs"]),
        (batch(2, 1, 0), [result()], {"inputs": 1}, ["the service counts 2 requests, there is 1 input"]),
        (batch(2, 1, 0), [result(), missing_result("x")], {"inputs": 2}, ["completed, and 1 input is in neither"]),
    ],
)
def test_disagreement(given: Batch, results: list[Any], fields: dict[str, Any], words: list[str]) -> None:
    """What the lines do not bear out is told, a sentence each, and only once everything was read."""
    found = summary(*results, batch=given, **fields)
    assert len(found.disagreements) == len(words)
    assert all(word in told for word, told in zip(words, found.disagreements, strict=True))
    found.is_complete = False
    assert found.disagreements == ()


def test_a_bill_of_the_answers() -> None:
    """What the answers used is priced by model, with the built-in table or another; an unknown model is named."""
    made = summary(success("gpt-4o-mini", prompt_tokens=1_000_000, completion_tokens=0), success("m", prompt_tokens=10))
    assert made.bill().unpriced_models == ("m",)
    assert made.bill().by_model["gpt-4o-mini"].cost == PRICES.models["gpt-4o-mini"].cost(input_tokens=1_000_000)
    prices = PRICES.with_models({"m": ModelPrice(input=Decimal(2)), "gpt-4o-mini": ModelPrice(input=Decimal(4))})
    assert made.bill(prices).by_model["m"].cost == ModelPrice(input=Decimal(2)).cost(input_tokens=10)


def test_inputs_of_another_batch_are_called_so() -> None:
    """Where not one input is in the batch, which has others, the summary asks whether they belong together."""
    made = summary(*[missing_result(name) for name in "ab"], batch=batch(2, 2, 0), inputs=2, foreign=2)
    assert made.is_of_other_inputs
    assert "none of the 2 inputs is in this batch" in " ".join(made.disagreements)
    assert not summary(missing_result("a"), success(), batch=batch(2, 2, 0), inputs=2, foreign=1).is_of_other_inputs
