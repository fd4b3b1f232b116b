"""How long, or stop: pauses between attempts and between questions, as arithmetic."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from openai_batches import InputError, PollPolicy, RetryPolicy
from openai_batches.policies import as_poll_policy

seconds = st.floats(0, 1e6)
share = st.floats(0, 1)
retry_policies = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 50),
    budget_s=seconds | st.just(math.inf),
    initial_delay_s=seconds,
    max_delay_s=seconds,
    jitter=share,
    max_retry_after_s=seconds,
)
poll_policies = st.tuples(st.floats(0.001, 1e5), st.floats(0.001, 1e5), st.floats(0, 10), share).map(
    lambda drawn: PollPolicy(
        min_delay_s=min(drawn[:2]), max_delay_s=max(drawn[:2]), share_of_age=drawn[2], jitter=drawn[3]
    )
)


# Retries


def test_the_pauses_of_the_default() -> None:
    """Half a second, doubling up to twenty, four times."""
    policy = RetryPolicy(attempts=10)
    pauses = [policy.delay_s(attempt, elapsed_s=0) for attempt in range(1, 11)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 20, 20, 20, None]
    assert [RetryPolicy().delay_s(attempt, elapsed_s=0) for attempt in range(1, 7)] == [0.5, 1, 2, 4, None, None]


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 4.0), (0.5, 3.5), (1.0, 3.0)])
def test_jitter_takes_a_share_off(chance: float, pause: float) -> None:
    """A pause of our own is shortened at random, never made longer."""
    assert RetryPolicy(jitter=0.25).delay_s(4, elapsed_s=0, chance=chance) == pause


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        (None, 0.5),
        (0.0, 0.5),
        (-1.0, 0.5),
        (math.nan, 0.5),
        (0.01, 0.01),
        (7.0, 7.0),
        (60.0, 60.0),
        (60.1, None),
        (1e9, None),
    ],
)
def test_a_pause_the_service_asks_for_is_kept_exactly(asked: float | None, pause: float | None) -> None:
    """No jitter on the service's own word; one that asks for too much, or for nothing, is not waited for."""
    assert RetryPolicy(max_retry_after_s=60, jitter=0).delay_s(1, elapsed_s=0, retry_after_s=asked, chance=1) == pause
    if pause is not None and pause != 0.5:
        assert RetryPolicy(jitter=1).delay_s(1, elapsed_s=0, retry_after_s=asked, chance=1) == pause


@pytest.mark.parametrize(
    ("elapsed", "asked", "pause"),
    [
        (9.5, None, 0.5),
        (9.6, None, None),
        (5.0, 5.0, 5.0),
        (5.0, 5.1, None),
        (100.0, None, None),
        (math.inf, None, None),
    ],
)
def test_no_attempt_starts_behind_the_budget(elapsed: float, asked: float | None, pause: float | None) -> None:
    """The error is raised at once instead of after a pause that could not be followed by anything."""
    assert RetryPolicy(budget_s=10).delay_s(1, elapsed_s=elapsed, retry_after_s=asked) == pause


def test_one_attempt_is_no_retry() -> None:
    """``attempts=1`` switches retries off, whatever the service asks for."""
    assert RetryPolicy(attempts=1).delay_s(1, elapsed_s=0) is None
    assert RetryPolicy(attempts=1).delay_s(1, elapsed_s=0, retry_after_s=0.1) is None


def test_the_thousandth_attempt_is_no_trouble() -> None:
    """Doubling stops before the numbers do."""
    policy = RetryPolicy(attempts=10_000, budget_s=math.inf)
    assert policy.delay_s(5_000, elapsed_s=1e9) == 20


@given(policy=retry_policies, attempt=st.integers(1, 60), elapsed=seconds, chance=share, asked=st.none() | seconds)
def test_a_pause_is_bounded(
    policy: RetryPolicy, attempt: int, elapsed: float, chance: float, asked: float | None
) -> None:
    """A pause is never negative, never above its ceiling, never behind the budget; behind the last attempt is none."""
    pause = policy.delay_s(attempt, elapsed_s=elapsed, retry_after_s=asked, chance=chance)
    if attempt >= policy.attempts:
        assert pause is None
    if pause is not None:
        assert 0 <= pause <= (policy.max_retry_after_s if asked else policy.max_delay_s)
        assert elapsed + pause <= policy.budget_s


@given(policy=retry_policies, attempt=st.integers(1, 60), elapsed=seconds, chance=share, less=share)
def test_pauses_grow_and_chances_shrink(
    policy: RetryPolicy, attempt: int, elapsed: float, chance: float, less: float
) -> None:
    """A later attempt waits no less than an earlier one, and is given up no later."""
    earlier = policy.delay_s(attempt, elapsed_s=elapsed * less, chance=chance)
    later = policy.delay_s(attempt + 1, elapsed_s=elapsed, chance=chance)
    if later is not None:
        assert earlier is not None
        assert earlier <= later


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attempts", 0),
        ("attempts", -1),
        ("budget_s", -1),
        ("budget_s", math.nan),
        ("initial_delay_s", -0.1),
        ("max_delay_s", -1),
        ("max_delay_s", math.nan),
        ("jitter", -0.1),
        ("jitter", 1.1),
        ("jitter", math.nan),
        ("max_retry_after_s", -1),
    ],
)
def test_a_retry_policy_out_of_range_is_refused(name: str, value: Any) -> None:
    """A number that makes no sense is refused where it is written, by its name."""
    with pytest.raises(InputError, match=rf"RetryPolicy\.{name}"):
        RetryPolicy(**{name: value})


@pytest.mark.parametrize("name", ["budget_s", "initial_delay_s", "max_delay_s", "jitter", "max_retry_after_s"])
def test_zero_is_a_number(name: str) -> None:
    """No pause, no jitter and no patience are policies too."""
    assert getattr(RetryPolicy(**{name: 0}), name) == 0


# Polling


@pytest.mark.parametrize(
    ("age", "pause"),
    [(-60, 5), (0, 5), (100, 5), (200, 10), (3_600, 180), (6_000, 300), (86_400, 300), (math.inf, 300), (math.nan, 5)],
)
def test_young_batches_are_asked_often_and_old_ones_rarely(age: float, pause: float) -> None:
    """A twentieth of the age, from 5 s to 5 min; a clock that runs behind makes no trouble."""
    assert PollPolicy().delay_s(age_s=age) == pause


def test_a_fixed_interval() -> None:
    """``every`` asks like a clock."""
    policy = PollPolicy.every(2.5)
    assert {policy.delay_s(age_s=age, chance=chance) for age in (0, 1e6) for chance in (0, 0.5, 1)} == {2.5}


@pytest.mark.parametrize(
    ("remaining", "pause"), [(0, 5), (9, 5), (40, 20), (600, 180), (math.inf, 180), (math.nan, 5), (None, 180)]
)
def test_an_end_that_is_foreseen_is_closed_in_on(remaining: float | None, pause: float) -> None:
    """The pause is at most half of the time that is left, and never below the shortest pause."""
    assert PollPolicy().delay_s(age_s=3_600, remaining_s=remaining) == pause


def test_what_a_caller_means_by_poll() -> None:
    """A policy is itself, a number its interval, and None another's."""
    policy = PollPolicy(max_delay_s=60)
    assert as_poll_policy(policy, PollPolicy()) is policy
    assert as_poll_policy(None, policy) is policy
    assert as_poll_policy(2, policy) == PollPolicy.every(2)
    for wrong in (0, -1, math.nan, "1"):
        with pytest.raises(InputError, match="poll must be seconds above 0 or a PollPolicy"):
            as_poll_policy(wrong, policy)  # type: ignore[arg-type]


@given(policy=poll_policies, age=seconds, younger=share, chance=share)
def test_polling_is_bounded_and_slows_down(policy: PollPolicy, age: float, younger: float, chance: float) -> None:
    """A pause lies between the shortest and the longest, less jitter, and never shrinks with age."""
    pause = policy.delay_s(age_s=age, chance=chance)
    assert policy.min_delay_s * (1 - policy.jitter) <= pause * (1 + 1e-9)
    assert pause <= policy.max_delay_s
    assert policy.delay_s(age_s=age * younger, chance=chance) <= pause
    assert policy.delay_s(age_s=age, chance=0.0) >= pause


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_delay_s", 0),
        ("min_delay_s", math.nan),
        ("max_delay_s", 0),
        ("max_delay_s", -1),
        ("share_of_age", -0.1),
        ("jitter", 1.1),
        ("jitter", -0.1),
    ],
)
def test_a_poll_policy_out_of_range_is_refused(name: str, value: Any) -> None:
    """A number that makes no sense is refused where it is written, by its name."""
    with pytest.raises(InputError, match=rf"PollPolicy\.{name}"):
        PollPolicy(**{name: value})


def test_a_floor_above_the_ceiling_is_refused() -> None:
    """The two numbers are named with their values."""
    with pytest.raises(InputError, match=r"min_delay_s \(10\) must not be above max_delay_s \(5\)"):
        PollPolicy(min_delay_s=10, max_delay_s=5)


@pytest.mark.parametrize("interval", [0, -1, math.nan])
def test_an_interval_of_nothing_is_refused(interval: float) -> None:
    """Asking without a pause would be an attack."""
    with pytest.raises(InputError):
        PollPolicy.every(interval)


@pytest.mark.parametrize("policy", [RetryPolicy(), PollPolicy()])
def test_policies_are_values(policy: Any) -> None:
    """A policy can be compared, shared and evolved, not changed."""
    assert attrs.evolve(policy) == policy
    assert hash(attrs.evolve(policy)) == hash(policy)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        policy.jitter = 0
    with pytest.raises(InputError):
        attrs.evolve(policy, jitter=2)
