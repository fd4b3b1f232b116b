"""Values are written as their format says, and a text is a number where one is needed and it is written so."""

from __future__ import annotations

import pytest

from openai_batches.requests.value_formats import ValueFormat


@pytest.mark.parametrize(
    ("spec", "value", "written"),
    [
        (".2f", "12.5", "12.50"),
        (".2f", " -3 ", "-3.00"),
        (".1f", ".25e1", "2.5"),
        ("05d", "7", "00007"),
        ("05d", "+07", "00007"),
        ("05", "7", "00007"),
        (",", "1234567", "1,234,567"),
        ("+", "5.", "+5.0"),
        ("%", "0.5", "50.000000%"),
        ("x", "255", "ff"),
        ("010.3f", 1.5, "000001.500"),
        (".3", 5, "5.0"),
        (">5", "7", "    7"),
        ("0>5", "k", "0000k"),
        (".3", "12345", "123"),
        (".5000", "ab", "ab"),
        ("s", "7", "7"),
        ("", "as it is", "as it is"),
    ],
)
def test_values_are_written_as_the_format_says(spec: str, value: str | float, written: str) -> None:
    """A format that takes texts leaves them texts; one for numbers reads them, whole or not, as they are written."""
    assert ValueFormat.of(spec).written(value) == written


@pytest.mark.parametrize(
    ("spec", "value", "what"),
    [
        (".2f", "n/a", "no number"),
        (".2f", "1,234", "no number"),
        (".2f", "1_000", "no number"),
        (".2f", "0x10", "no number"),
        (".2f", "nan", "no number"),
        (".2f", "inf", "no number"),
        (".2f", "\u0661", "no number"),
        ("05", "k1", "no number"),
        ("d", "5.0", "no whole number"),
        ("d", "1e3", "no whole number"),
        ("d", 5.0, "no whole number"),
        ("s", 5, "no text"),
        (".5000", 5, "no text"),
        (".2f", "1e400", "too large"),
        (".2f", 10**400, "too large"),
        pytest.param("d", "9" * 5_000, "too large", id="many digits"),
        pytest.param("d", 10**5_000, "too large", id="a number of many digits"),
    ],
)
def test_nothing_is_guessed(spec: str, value: str | float, what: str) -> None:
    """What a spreadsheet, or Python, might take for a number is none."""
    with pytest.raises(ValueError, match=f"^{what}$"):
        ValueFormat.of(spec).written(value)


@pytest.mark.parametrize(
    "spec",
    ["99999999999d", "1001", ".1001f", ".99999999999999999999", " 2023", pytest.param("9" * 5_000, id="many digits")],
)
def test_what_would_fill_the_memory_is_never_written(spec: str) -> None:
    """A thousand characters are enough for a number, and for columns."""
    assert ValueFormat.of(spec).fault == "asks for more than 1,000 characters"


@pytest.mark.parametrize("spec", [" UTC", "c", ".f", "=s", ",s", "d ", "ff"])
def test_what_is_no_format_is_known(spec: str) -> None:
    """Before a value is there to be written."""
    assert "no known format" in ValueFormat.of(spec).fault


@pytest.mark.parametrize("spec", ["d", ".2f", "s", "", ">1000", ".1000f", "c>5", "n", "_", ".5000s"])
def test_a_format_has_no_fault(spec: str) -> None:
    assert not ValueFormat.of(spec).fault
