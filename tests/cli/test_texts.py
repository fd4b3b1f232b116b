"""Numbers, sizes, times and foreign text, as a person reads them."""

from __future__ import annotations

import datetime as dt
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from openai_batches._text import as_count
from openai_batches.cli.output.texts import (
    age_text,
    clean,
    cut,
    lasting_text,
    money_text,
    one_line,
    path_text,
    size_text,
    time_text,
    words,
)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (999_950, "1.0 MB"),
        (200_000_000, "200 MB"),
        (10**18, "1,000 PB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    """Three digits, and never 1,000 of a unit that has a larger one."""
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (59.6, "1m"),
        (200, "3m 20s"),
        (3_599.6, "1h"),
        (7_500, "2h 5m"),
        (86_399.6, "1d"),
        (86_400 * 3 + 3_600 * 4, "3d 4h"),
        (86_400 * 400, "400d"),
    ],
)
def test_lengths_of_time(seconds: float, text: str) -> None:
    """Two units, and never 60 of one."""
    assert lasting_text(seconds) == text


@given(st.floats(0, 10**9))
def test_a_length_of_time_never_has_sixty_of_a_unit(seconds: float) -> None:
    """Rounding comes before cutting into units."""
    assert not {"60s", "60m", "24h"} & set(lasting_text(seconds).split())


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (None, "?"),
        (0, "$0"),
        (0.00001, "<$0.0001"),
        (0.0001, "$0.0001"),
        (0.0042, "$0.0042"),
        (0.00999, "$0.01"),
        (0.01, "$0.01"),
        (12.5, "$12.50"),
        (1_234_567.891, "$1,234,567.89"),
    ],
)
def test_money(usd: float | None, text: str) -> None:
    """Cents from a cent on, two digits below, and a question mark where no price is known."""
    assert money_text(usd) == text


def test_ages() -> None:
    """What was and what will be, from one moment."""
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert age_text(None, now) == ""
    assert age_text(now - dt.timedelta(seconds=200), now) == "3m 20s ago"
    assert age_text(now + dt.timedelta(hours=2), now) == "in 2h"
    assert age_text(now + dt.timedelta(seconds=0.5), now) == "now"


def test_moments() -> None:
    """In the person's own time zone."""
    moment = dt.datetime(2026, 1, 1, 12, 0, 5, tzinfo=dt.UTC)
    assert time_text(None) == ""
    assert dt.datetime.strptime(time_text(moment), "%Y-%m-%d %H:%M:%S").astimezone() == moment


def test_counts_and_words() -> None:
    """One is one, two are many."""
    assert (as_count(1, "request"), as_count(2_000, "request")) == ("1 request", "2,000 requests")
    assert as_count(2, "query", "queries") == "2 queries"
    assert [words([]), words(["a"]), words(["a", "b"]), words("abc")] == ["", "a", "a and b", "a, b and c"]


@given(st.text(st.characters()))
def test_no_control_character_is_left(text: str) -> None:
    """No terminal obeys text of others: no escapes, no turning of the writing direction, no lone surrogates."""
    shown = clean(text)
    assert [character for character in shown if unicodedata.category(character)[0] == "C"] == ["\n"] * shown.count("\n")
    assert "\n" not in one_line(text)
    shown.encode()


@given(st.text(st.characters()))
def test_the_name_of_a_file_is_one_line_in_which_nothing_is_lost(name: str) -> None:
    """No two spaces become one, and a line feed is to be seen."""
    shown = path_text(name)
    assert shown.isprintable()
    assert shown.count(" ") == name.count(" ")
    assert shown == name or not name.isprintable()
    assert path_text(Path("a  b\nc\t.jsonl")) == "a  b\\nc\\t.jsonl"


def test_what_is_harmless_stays() -> None:
    """Other writings are no danger; an escape is made visible."""
    assert clean("añb 日本\n\tx") == "añb 日本\n x"
    assert clean("\x1b[31m\u202e") == "\\x1b[31m\\u202e"
    assert one_line(" a\r\n  b ") == "a b"


@given(st.text(), st.integers(1, 20))
def test_what_is_cut_fits(text: str, width: int) -> None:
    """And says that it was cut."""
    shown = cut(text, width)
    assert len(shown) <= width
    assert shown == one_line(text) or shown.endswith("…")
