"""What a person types for times, sizes and money."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from openai_batches.cli.options.amounts import bytes_of, seconds_of, usd_of
from openai_batches.cli.output.texts import lasting_text, money_text, size_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("2h", 7_200),
        ("1h30m", 5_400),
        ("1h 30m", 5_400),
        ("7d", 604_800),
        ("1.5h", 5_400),
        ("2W", 1_209_600),
        ("0", 0),
    ],
)
def test_times(text: str, seconds: float) -> None:
    """As people write them; a bare number is seconds."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-5", "5 5", "1h30", "2 fortnights", "5s!", "1e3", "nan", "٣s", "9" * 400])
def test_what_is_no_time(text: str) -> None:
    """The message shows what was typed, and what is one."""
    with pytest.raises(ValueError, match="length of time"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000", 1_000),
        ("64kB", 64_000),
        ("200 MB", 200_000_000),
        ("1GiB", 2**30),
        ("1.5k", 1_500),
        ("2TB", 2 * 10**12),
        ("9007199254740993", 9_007_199_254_740_993),
        ("0.1GB", 100_000_000),
    ],
)
def test_sizes(text: str, size: int) -> None:
    """To the byte, however large."""
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "1 2", "5 apples", "1kB2MB", "inf", "9" * 400])
def test_what_is_no_size(text: str) -> None:
    """The message shows what was typed, and what is one."""
    with pytest.raises(ValueError, match="size"):
        bytes_of(text)


@pytest.mark.parametrize(("text", "usd"), [("5", 5), ("$5", 5), ("0.50", 0.5), (" $0.0042 ", 0.0042)])
def test_money(text: str, usd: float) -> None:
    """With its sign or without it."""
    assert usd_of(text) == usd


@pytest.mark.parametrize("text", ["", "$", "five", "5 EUR", "-1", "1,000", "9" * 400])
def test_what_is_no_money(text: str) -> None:
    """The message shows what was typed, and what is one."""
    with pytest.raises(ValueError, match="amount of dollars"):
        usd_of(text)


@given(st.floats(0, 10**8))
def test_a_time_that_was_written_can_be_read(seconds: float) -> None:
    """To the smaller of the two units that are shown."""
    step = 1 if seconds < 3_600 else 60 if seconds < 86_400 else 3_600
    assert abs(seconds_of(lasting_text(seconds)) - seconds) <= step


@given(st.integers(0, 999 * 10**12))
def test_a_size_that_was_written_can_be_read(size: int) -> None:
    """To the digits that are shown."""
    assert abs(bytes_of(size_text(size)) - size) <= size * 0.05 + 0.5


@given(st.floats(0.0001, 999))
def test_money_that_was_written_can_be_read(usd: float) -> None:
    """To the cent, or to two digits."""
    assert abs(usd_of(money_text(usd)) - usd) <= max(0.005, usd * 0.05) + 1e-9


@given(st.text())
def test_anything_may_be_typed(text: str) -> None:
    """It is an amount, or no amount: never another error."""
    for read in (seconds_of, bytes_of, usd_of):
        try:
            assert read(text) >= 0
        except ValueError as error:
            assert str(error)  # noqa: PT017
