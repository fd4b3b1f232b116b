"""A template is filled by the fields of a row, or says which place it was that could not be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from openai_batches import InputError
from openai_batches.requests.templates import FieldError, Template, TemplateError, ValueFormat, named_fields

VALUES = {
    "text": "Bücher, {nice}",
    "n": 5,
    "price": 2.5,
    "is_new": True,
    "tags": ["a", "b"],
    "author": {"name": "Ann", "born.in": 1950, "books": [{"title": "One"}]},
    "a.b": "dotted",
    "time: UTC": "noon",
    "cell": "12.5",
    "huge": float("inf"),
    "deep": {"list": [float("inf")]},
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{text}", "Bücher, {nice}"),
        ("<{text}> {n}\n{text}", "<Bücher, {nice}> 5\nBücher, {nice}"),
        ("{{{n}}} {{}}", "{5} {}"),
        ('{{"price": {price}, "new": {is_new}}}', '{"price": 2.5, "new": true}'),
        ("{price:.2f} {n:04d} {text:.3s}", "2.50 0005 Büc"),
        ("{tags} {author[books]}", '["a","b"] [{"title":"One"}]'),
        ("{tags[1]} {tags.0} {author.name} {author[name]}", "b a Ann Ann"),
        ("{author.books[0].title}", "One"),
        ("{a.b} {time: UTC}", "dotted noon"),
        ("{cell:.2f} {cell:08.3f} {cell:>6} {cell}", "12.50 0012.500   12.5 12.5"),
        ("{is_new:>6} {tags:_<12}", '  true ["a","b"]___'),
    ],
)
def test_places_are_filled(text: str, filled: str) -> None:
    """Text stands as it is, what is no text as JSON; a field of the whole name comes before a way into an object."""
    assert Template(text).fill(VALUES) == filled


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("{texts}", "texts", "This row has no 'texts'."),
        ("{author.age}", "author.age", "This row has no 'author.age'."),
        ("{tags[2]}", "tags[2]", r"This row has no 'tags\[2\]'."),
        ("{tags[x]}", "tags[x]", r"This row has no 'tags\[x\]'."),
        ("{text.upper}", "text.upper", "This row has no 'text.upper'."),
        ("{tags[9223372036854775808]}", "tags[9223372036854775808]", "This row has no 'tags"),
        pytest.param(f"{{tags[{'9' * 5000}]}}", f"tags[{'9' * 5000}]", "This row has no 'tags", id="many digits"),
        ("{none:.2f}", "none", "This row has no 'none'."),
        ("{none: UTC}", "none: UTC", "This row has no 'none: UTC'."),
        ("{text:d}", "text", r"'Bücher, {nice}' in the field 'text' is no number, and {text:d} needs one\."),
        ("{cell:d}", "cell", "'12.5' in the field 'cell' is no whole number, and {cell:d} needs one"),
        ("{price:d}", "price", "2.5 in the field 'price' is no whole number, and {price:d} needs one"),
        ("{n:s}", "n", "5 in the field 'n' is no text, and {n:s} needs one"),
        ("{tags:d}", "tags", r'\["a","b"\] in the field \'tags\' is no number, and {tags:d} needs one'),
        ("{is_new:d}", "is_new", "true in the field 'is_new' is no number"),
        ("{author:d}", "author", r'{"name":"Ann","born.in":1950,"books":\[{"… in the field'),
        ("{huge}", "huge", "The field huge cannot be written as JSON: it is inf"),
        ("{huge:.2f}", "huge", "The field huge cannot be written as JSON: it is inf"),
        ("{deep}", "deep", r"The field deep.list\[0\] cannot be written as JSON: it is inf"),
    ],
)
def test_a_place_that_cannot_be_filled_is_named(text: str, field: str, message: str) -> None:
    with pytest.raises(FieldError, match=message) as caught:
        Template(text).fill(VALUES)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{n:99999999999d}", r"ask.txt: \{n:99999999999d\} asks for more than 1,000 characters"),
        ("{n} {text:>1001}", r"ask.txt: \{text:>1001\} asks for more than 1,000 characters"),
        ("{n:UTC}", r"ask.txt: \{n:UTC\} has no known format behind its colon, such as .2f"),
    ],
)
def test_a_format_that_no_value_has_is_the_fault_of_the_template(text: str, message: str) -> None:
    """Only a row shows it, for a field may be called so; but then no other row has to be read."""
    template = Template(text, name="ask.txt")
    with pytest.raises(TemplateError, match=message):
        template.fill(VALUES)
    (field,) = template.lacking(["n"]) or [text[1:-1]]
    assert template.fill({"n": 1, field: "noon"}).endswith("noon")


@pytest.mark.parametrize("value", ["", " ", None])
def test_no_number_is_needed_where_nothing_is(value: Any) -> None:
    """A cell that may be empty is written as nothing."""
    template = Template("<{a:.2f}>")
    with pytest.raises(FieldError, match="The field 'a' is empty"):
        template.fill({"a": value})
    assert template.fill({"a": value}, allow_empty=True) == "<>"


@pytest.mark.parametrize("text", ["Caf\udce9 {a}", "{a\udce9}", "\ud83d {a}"])
def test_a_template_is_text_that_can_be_sent(text: str) -> None:
    """What a terminal in another encoding makes of an argument is no text."""
    with pytest.raises(InputError, match=r"ask.txt is not valid UTF-8: character \d is (the byte 0xe9|half of a char)"):
        Template(text, name="ask.txt")


@pytest.mark.parametrize("value", ["", " \n", None])
def test_an_empty_value_is_no_prompt(value: Any) -> None:
    """An empty cell is more often a mistake than what was meant; who means it says so."""
    template = Template("{a} and {b:>2}")
    with pytest.raises(FieldError, match="The field 'a' is empty") as caught:
        template.fill({"a": value, "b": 1})
    assert caught.value.code == "invalid_value"
    assert template.fill({"a": value, "b": None}, allow_empty=True) == f"{value or ''} and "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"ask.txt has no \{field\} for a prompt to go into"),
        ("{{text}}", r"ask.txt has no \{field\} for a prompt to go into"),
        ("one\ntwo {text", r"ask.txt:2:5: a '\{' stands alone: double it"),
        ("{a} }", r"ask.txt:1:5: a '\}' stands alone"),
        ("{a {b}}", r"ask.txt:1:1: a '\{' stands alone"),
        ("{} {a}", "ask.txt has a place without a name"),
    ],
)
def test_a_template_that_is_none_is_refused(text: str, message: str) -> None:
    """Before a row is read, with the line and the column."""
    with pytest.raises(InputError, match=message):
        Template(text, name="ask.txt")


def test_a_template_knows_its_fields() -> None:
    template = Template("{a.b} {a[c]} {d:.2f} {e f}")
    assert template.fields == ("a", "d", "e f")
    assert template.lacking(["a", "e f"]) == ["d"]
    assert template.lacking(["a.b", "a[c]", "d:.2f", "e f"]) == []
    assert Template("{}").fields == ("",)


@given(st.text())
def test_any_text_is_kept_as_it_is(text: str) -> None:
    """What is doubled stands once; nothing else changes."""
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert Template(f"{doubled}{{x}}{doubled}").fill({"x": "-"}) == f"{text}-{text}"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=5,
)


@given(
    st.text("{}ab.[]0", max_size=8),
    st.one_of(st.text(max_size=4), st.from_regex(r"\A(.?[<>=^])?[-+ ]?z?#?0?\d{0,12}[,_]?(\.\d{1,12})?\w?\Z")),
    st.dictionaries(st.sampled_from("ab"), _JSON | st.from_regex(r"\A[+-]?\d*\.?\d*(e\d+)?\Z"), min_size=1),
)
def test_whatever_is_asked_of_whatever_row_ends_in_text_or_an_error_of_ours(
    text: str, spec: str, values: dict[str, Any]
) -> None:
    """And the text can be sent."""
    try:
        filled = Template(f"{text}{{a:{spec}}}").fill(values, allow_empty=True)
    except InputError:
        return
    assert len(filled.encode()) < 1_000_000


def test_the_fields_there_are_help_to_find_the_one_there_is_not() -> None:
    assert named_fields("txt", ["id", "text", ""]) == "did you mean 'text'?"
    assert named_fields("question", ["id", "text", ""]) == "there are 'id', 'text'"
    assert named_fields("x", map(str, range(12))).endswith("'9' and 2 more")
    assert named_fields("x", []) == "there are none"


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
def test_only_plain_numbers_are_read_as_numbers(spec: str, value: str | float, what: str) -> None:
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
