"""HTML is made so that nothing anybody wrote can become a part of it."""

from __future__ import annotations

from hypothesis import given, strategies as st
from support.report_parts import Element, read_page

from openai_batches.report.markup import Html, bounded, joined, tag


def page(inside: str) -> Element:
    return read_page(f"<!DOCTYPE html>{inside}")


def test_what_is_html_is_put_in_as_it_is_and_everything_else_is_escaped() -> None:
    assert tag("p", tag("b", "a & b"), "<i>", Html("<br>")) == "<p><b>a &amp; b</b>&lt;i&gt;<br></p>"


def test_names_of_attributes_are_written_as_html_has_them_and_none_is_left_out() -> None:
    written = tag("td", class_="n", data_value=3, aria_label='"x"', title=None)
    assert written == '<td class="n" data-value="3" aria-label="&quot;x&quot;"></td>'


def test_some_elements_have_no_end() -> None:
    assert tag("meta", name="a", content="b") == '<meta name="a" content="b">'
    assert joined(["a<", tag("br"), "b"]) == "a&lt;<br>b"


def test_letters_that_show_nothing_or_turn_the_text_around_are_written_out() -> None:
    """A right-to-left mark in an id could make one batch look like another; a NUL is no HTML at all."""
    assert tag("p", "a\0\x1b[31m\u202eb\n") == "<p>a\\x00\\x1b[31m\\u202eb\\n</p>"
    assert tag("p", "\ud800").encode() == b"<p>\\ud800</p>"
    assert tag("p", "ü 漢\u00a0字") == "<p>ü 漢\u00a0字</p>"


@given(st.text(st.characters(), max_size=40))
def test_any_text_stays_one_text_in_a_cell_and_in_an_attribute(text: str) -> None:
    cell = page(tag("td", text, title=text)).one("td")
    assert cell.text == cell.attributes["title"]
    assert cell.text.replace("\u00a0", " ").replace(" ", "").isprintable() or any(letter.isspace() for letter in text)
    assert [element.name for element in cell.walk()] == ["td"]
    if text.isprintable():
        assert cell.text == text


def test_a_long_text_is_cut_and_says_so() -> None:
    assert bounded("abcd", 4) == "abcd"
    assert bounded("abcde", 4) == "abc…"
