"""Ids that occur twice are found among any number of them, and only those."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from openai_batches.requests import duplicates
from openai_batches.requests.duplicates import DuplicateFinder


def find(blocks: list[tuple[list[str], Any]], maximum: int = 100, **options: int) -> tuple[list[Any], int]:
    finder = DuplicateFinder(**options)
    try:
        for custom_ids, lines in blocks:
            finder.add(custom_ids, lines)
        return finder.find(maximum)
    finally:
        finder.close()


def test_the_line_and_the_first_line_are_named() -> None:
    """Each repetition is named with the line on which the id was first, within a block and across blocks."""
    blocks = [(["a", "b", "a"], range(1, 4)), ([], ()), (["c"], [7]), (["b", "d", "a"], [9, 12, 13])]
    assert find(blocks) == ([("a", 3, 1), ("b", 9, 2), ("a", 13, 1)], 0)


def test_the_first_are_named_and_the_others_counted() -> None:
    """A file that was concatenated with itself has very many."""
    names = [f"id {number}" for number in range(50)]
    found, more = find([(names, range(1, 51)), (names, range(51, 101))], 3)
    assert found == [("id 0", 51, 1), ("id 1", 52, 2), ("id 2", 53, 3)]
    assert more == 47


def test_too_many_suspects_are_counted_without_a_second_look() -> None:
    """What is looked into is bounded; the number of all is right nevertheless."""
    names = [f"id {number}" for number in range(50)]
    found, more = find([(names, range(1, 51)), (names, range(51, 101)), (names, range(101, 151))], max_suspects=10)
    assert len(found) == 20
    assert more == 80
    assert [line for _, line, _ in found] == sorted(line for _, line, _ in found)


def test_ids_that_share_a_hash_are_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash is only a suspicion."""
    monkeypatch.setattr(duplicates, "hash", len, raising=False)
    assert find([(["a", "b", "long", "c", "a"], range(1, 6))]) == ([("a", 5, 1)], 0)


@pytest.mark.parametrize("options", [{}, {"bucket": 8}, {"held": 16}, {"held": 16, "bucket": 4}])
def test_many_ids_are_looked_at_bucket_by_bucket(options: dict[str, int]) -> None:
    """In one bucket, in several, and from a temporary file if there are very many."""
    blocks = [
        ([f"{block}-{number}" for number in range(40)], range(block * 40 + 1, block * 40 + 41)) for block in range(20)
    ]
    assert find(blocks, **options) == ([], 0)
    blocks.append((["7-7", "new", "19-39"], [2_000, 2_001, 2_002]))
    assert find(blocks, **options) == ([("7-7", 2_000, 288), ("19-39", 2_002, 800)], 0)


ids = st.text(max_size=2) | st.sampled_from(["a", "b", "ü\n", "\x00"])


@given(st.lists(st.lists(ids, max_size=12), max_size=6), st.integers(0, 9), st.integers(5, 20), st.integers(1, 9))
def test_all_repetitions_are_found_whatever_the_buckets(
    blocks: list[list[str]], maximum: int, held: int, bucket: int
) -> None:
    """As a dict of all ids would find them."""
    first: dict[str, int] = {}
    expected = []
    line = 0
    numbered = []
    for block in blocks:
        numbered.append((block, range(line + 1, line + 1 + len(block))))
        for custom_id in block:
            line += 1
            if first.setdefault(custom_id, line) != line:
                expected.append((custom_id, line, first[custom_id]))
    found, more = find(numbered, maximum, held=held, bucket=bucket)
    assert found == expected[:maximum]
    assert more == len(expected[maximum:])
