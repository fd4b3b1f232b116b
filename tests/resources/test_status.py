"""When it pays to look for batches in the list."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from openai_batches.resources.status import worth_listing

if TYPE_CHECKING:
    from collections.abc import Mapping

pages = st.one_of(st.integers(1, 30).map(float), st.just(inf))


def on(*counts: tuple[int, float]) -> dict[str, float]:
    """So many batches on each of these pages."""
    return {f"{page}/{number}": page for count, page in counts for number in range(count)}


@pytest.mark.parametrize(
    ("expected", "listed"),
    [
        (on(), 0),
        (on((10, 1)), 0),
        (on((11, 1)), 11),
        (on((1_000, 1)), 1_000),
        (on(*((100, page) for page in range(1, 11))), 1_000),
        (on((20, 1), (5, 2)), 20),
        (on((20, 1), (15, 2)), 35),
        (on((15, 10)), 0),
        (on((1_000, inf)), 0),
        (on((20, 1), (10, inf)), 20),
    ],
)
def test_a_page_is_worth_ten_questions(expected: Mapping[str, float], listed: int) -> None:
    """As many pages are read as save more than ten questions each; the rest is asked about one by one."""
    chosen = worth_listing(expected)
    assert len(chosen) == listed
    assert chosen == sorted(chosen, key=expected.__getitem__)


@given(expected=st.dictionaries(st.text(max_size=3), pages, max_size=200))
def test_no_choice_is_cheaper(expected: dict[str, float]) -> None:
    """Of all the ways to read the first pages and ask about the rest, the cheapest is taken."""
    chosen = worth_listing(expected)

    def cost(depth: float) -> float:
        return depth * 10 + sum(page > depth for page in expected.values())

    taken = cost(max(expected[one] for one in chosen)) if chosen else len(expected)
    assert taken == min([len(expected), *(cost(page) for page in expected.values())])
