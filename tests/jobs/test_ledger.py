"""The ledger of a job balances at any time: every request has one outcome, or none yet."""

from __future__ import annotations

from decimal import Decimal

import attrs
from hypothesis import given, strategies as st
from support.job_parts import CHAT, attempt, batch

from openai_batches import Ledger, Outcome, PriceTable, ShardLedger
from openai_batches.jobs.journal.records import Attempt, Step, Tally
from openai_batches.models import TokenCounts

FINAL = ("succeeded", "failed", "expired", "cancelled", "missing", "invalid")


@st.composite
def shards(draw: st.DrawFn, shard: int) -> list[Attempt]:
    """All attempts at one shard, as far as the job has come."""
    attempts = []
    left = draw(st.integers(1, 50))
    for number in range(1, draw(st.integers(1, 4)) + 1):
        one = attempt(shard, number, requests=left)
        is_verified = draw(st.booleans())
        if not is_verified:
            return [*attempts, attrs.evolve(one, step=draw(st.sampled_from(list(Step)[:-1])))]
        resent = draw(st.integers(0, left))
        outcomes: dict[str, int] = {}
        for _ in range(left - resent):
            name = draw(st.sampled_from(FINAL))
            outcomes[name] = outcomes.get(name, 0) + 1
        attempts.append(attrs.evolve(one, step=Step.VERIFIED, tally=Tally(outcomes=outcomes, resent=resent)))
        if not resent:
            return attempts
        left = resent
    return [*attempts, attempt(shard, len(attempts) + 1, requests=left)]


@given(data=st.data(), count=st.integers(0, 4))
def test_it_balances_at_any_time(data: st.DataObject, count: int) -> None:
    """Per shard and in all, whatever the order in which attempts are given."""
    attempts = [one for shard in range(1, count + 1) for one in data.draw(shards(shard))]
    ledger = Ledger.of(data.draw(st.permutations(attempts)))
    assert ledger.balances
    assert all(shard.balances for shard in ledger.shards)
    assert [shard.shard for shard in ledger.shards] == list(range(1, count + 1))
    assert ledger.inputs == sum(one.requests for one in attempts if one.number == 1)
    assert ledger.inputs == sum(ledger.outcomes.values()) + ledger.unfinished
    assert ledger.is_complete == (ledger.unfinished == 0)
    for name in FINAL:
        told = sum(one.tally.outcomes.get(name, 0) for one in attempts if one.tally is not None)
        assert ledger.outcomes[Outcome(name)] == told
        assert getattr(ledger, name) == told


def test_a_shard_says_what_became_of_it() -> None:
    first = attempt(
        7,
        requests=5,
        step=Step.VERIFIED,
        batch=batch("batch_1", "expired"),
        tally=Tally(outcomes={"succeeded": 2, "failed": 1}, resent=2, doubled=1, foreign=3),
    )
    second = attempt(7, 2, requests=2, step=Step.CREATED, batch=batch("batch_2"))
    third = attempt(7, 3, requests=1)
    assert ShardLedger.of([first, second]) == ShardLedger(
        shard=7,
        endpoint=CHAT,
        model="gpt-4o-mini",
        inputs=5,
        outcomes={Outcome.SUCCEEDED: 2, Outcome.FAILED: 1},
        unfinished=2,
        attempts=2,
        step=Step.CREATED,
        batch_ids=("batch_1", "batch_2"),
        doubled=1,
        foreign=3,
    )
    assert not ShardLedger.of([first, third]).balances, "one request got lost"
    assert not Ledger.of([first, third]).balances


def test_codes_and_tokens_add_up_over_shards_and_attempts() -> None:
    tallies = [
        Tally(
            outcomes={},
            error_codes={"bad": 1, "": 2},
            tokens={"gpt-4o": TokenCounts(1, 2, 3, 4), "": TokenCounts(1, 0, 0, 0)},
        ),
        Tally(outcomes={}, error_codes={"bad": 3}, tokens={"gpt-4o": TokenCounts(10, 20, 30, 40)}),
    ]
    ledger = Ledger.of([attempt(number, tally=tally) for number, tally in enumerate(tallies, 1)])
    assert ledger.error_codes == {"bad": 4, "": 2}
    usage = ledger.usage_by_model["gpt-4o"]
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (11, 22, 33)
    assert usage.input_tokens_details is not None
    assert usage.input_tokens_details.cached_tokens == 33
    assert ledger.usage.total_tokens == 34
    assert tallies[0].tokens["gpt-4o"] == TokenCounts(1, 2, 3, 4), "what the journal says is not touched"


def test_nothing_costs_nothing() -> None:
    ledger = Ledger.of([])
    assert (ledger.inputs, ledger.unfinished, ledger.usage.total_tokens, ledger.shards) == (0, 0, 0, ())
    assert ledger.balances
    assert ledger.is_complete
    assert ledger.bill().cost == 0


def test_the_bill_is_made_from_the_tokens_with_the_given_prices() -> None:
    tokens = {"gpt-4o-mini": TokenCounts(1_000_000, 1_000_000, 0, 0)}
    ledger = Ledger.of([attempt(tally=Tally(outcomes={}, tokens=tokens))])
    table = PriceTable.from_mapping({"as_of": "2026-06-04", "models": {"gpt-4o-mini": {"input": 2, "output": 3}}})
    assert ledger.bill(table).cost == Decimal("2.5"), "a batch is half the price"
    cost = ledger.bill().cost
    assert cost is not None
    assert cost > 0
