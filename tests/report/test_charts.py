"""Axes have round steps, histograms lose nothing, and areas are as large as what they show."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from openai_batches.report.charts import Bin, bins_of, levels_of, step_of


@pytest.mark.parametrize(
    ("length_s", "expected_s"),
    [
        (0.3, 0.1),
        (5, 1),
        (61, 15),
        (3_600, 900),
        (40_000, 10_800),
        (86_400 * 30, 864_000),
        (86_400 * 4_000, 69_120_000),
    ],
)
def test_steps_are_round_and_few(length_s: float, expected_s: float) -> None:
    assert step_of(length_s, 5) == expected_s


@given(st.floats(0.001, 1e10), st.integers(1, 20))
def test_a_step_never_gives_more_ticks_than_wanted(length_s: float, max_steps: int) -> None:
    assert length_s / step_of(length_s, max_steps) <= max_steps + 1e-9


def test_lengths_are_counted_where_they_belong() -> None:
    assert bins_of((20, 20), 12) == (Bin(20, 21, 2),)
    assert bins_of((2, 61, 119, 130), 4) == (Bin(0, 60, 1), Bin(60, 120, 2), Bin(120, 180, 1))
    assert [bin_.count for bin_ in bins_of((0.0, 0.41), 12)] == [1, 0, 0, 0, 1]


@given(st.lists(st.floats(0, 1e7), min_size=1, max_size=50).map(sorted), st.integers(2, 15))
def test_a_histogram_has_every_length_once_and_few_bins(seconds: list[float], max_bins: int) -> None:
    bins = bins_of(seconds, max_bins)
    assert sum(bin_.count for bin_ in bins) == len(seconds)
    assert len(bins) <= max_bins + 1
    assert bins[0].count > 0
    assert bins[-1].count > 0


def test_levels_tell_how_many_there_are_on_average() -> None:
    assert levels_of([(0.0, 1.0), (0.25, 0.5), (0.5, 0.625)], 4) == [1.0, 2.0, 1.5, 1.0]
    assert levels_of([], 2) == [0.0, 0.0]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted), max_size=20), st.integers(1, 30))
def test_an_area_is_as_large_as_its_spans_together(edges: list[list[float]], width: int) -> None:
    spans = [(begin, end) for begin, end in edges]
    assert sum(levels_of(spans, width)) / width == pytest.approx(sum(end - begin for begin, end in spans), abs=1e-6)
