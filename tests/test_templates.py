"""A template is filled by the fields of a row, or says which place it was that could not be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_batches import InputError
from openai_batches.templates import FieldError, Template, named_fields

VALUES = {
    "text": "Bücher, {nice}",
    "n": 5,
    "price": 2.5,
    "is_new": True,
    "tags": ["a", "b"],
    "author": {"name": "Ann", "born.in": 1950, "books": [{"title": "One"}]},
    "a.b": "dotted",
    "time: UTC": "noon",
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
        ("{text:d}", "text:d", "The value of 'text:d' cannot be written so: Unknown format code 'd'"),
        ("{tags:d}", "tags:d", "The value of 'tags:d' cannot be written so: unsupported format string"),
    ],
)
def test_a_place_that_cannot_be_filled_is_named(text: str, field: str, message: str) -> None:
    with pytest.raises(FieldError, match=message) as caught:
        Template(text).fill(VALUES)
    assert caught.value.field == field


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
    assert template.lacking(["a", "e f"]) == ["d:.2f"]
    assert template.lacking(["a.b", "a[c]", "d:.2f", "e f"]) == []
    assert Template("{}").fields == ("",)


@given(st.text())
def test_any_text_is_kept_as_it_is(text: str) -> None:
    """What is doubled stands once; nothing else changes."""
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert Template(f"{doubled}{{x}}{doubled}").fill({"x": "-"}) == f"{text}-{text}"


def test_the_fields_there_are_help_to_find_the_one_there_is_not() -> None:
    assert named_fields("txt", ["id", "text", ""]) == "did you mean 'text'?"
    assert named_fields("question", ["id", "text", ""]) == "there are 'id', 'text'"
    assert named_fields("x", map(str, range(12))).endswith("'9' and 2 more")
    assert named_fields("x", []) == "there are none"
