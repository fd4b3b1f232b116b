"""Numbers, money and times are told so that a person can read them, and never rounded into a lie."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from openai_batches._text import as_count, as_duration, as_moment, as_money, as_share


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (0.04, "0 s"),
        (4.24, "4.2 s"),
        (9, "9 s"),
        (9.97, "10.0 s"),
        (45.4, "45 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3_599.7, "1 h"),
        (7_500, "2 h 5 min"),
        (86_400, "1 d"),
        (273_600, "3 d 4 h"),
        (86_400_000, "1,000 d"),
    ],
)
def test_a_length_of_time_has_two_parts_at_most(seconds: float, expected: str) -> None:
    assert as_duration(seconds) == expected


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("0", "$0"),
        ("1234.567", "$1,234.57"),
        ("0.1995", "$0.20"),
        ("0.01", "$0.01"),
        ("0.00999", "$0.01"),
        ("0.00456789", "$0.0046"),
        ("0.0001", "$0.0001"),
        ("0.00009999", "<$0.0001"),
    ],
)
def test_money_has_cents_or_two_digits(amount: str, expected: str) -> None:
    """Prices are known as decimals, sums for a person may be floats."""
    assert as_money(Decimal(amount), "USD") == as_money(float(amount), "USD") == expected


def test_other_money_has_its_name_behind_it() -> None:
    assert as_money(Decimal("12.5"), "CNY") == "12.50 CNY"
    assert as_money(0.00001, "CNY") == "<0.0001 CNY"


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        (0, 0, "0 %"),
        (0, 10, "0 %"),
        (10, 10, "100 %"),
        (1, 8, "12.5 %"),
        (1, 1_000_000, "< 0.1 %"),
        (999_999, 1_000_000, "> 99.9 %"),
    ],
)
def test_a_share_is_nothing_or_all_only_where_it_is(part: int, whole: int, expected: str) -> None:
    assert as_share(part, whole) == expected


def test_one_is_one_and_more_are_many() -> None:
    assert [as_count(1, "batch", "batches"), as_count(2_000, "batch", "batches"), as_count(0, "line")] == [
        "1 batch",
        "2,000 batches",
        "0 lines",
    ]


def test_a_moment_is_told_in_utc() -> None:
    there = dt.timezone(dt.timedelta(hours=2))
    assert as_moment(dt.datetime(2026, 3, 25, 0, 30, tzinfo=there)) == "2026-03-24 22:30 UTC"
