"""The help of every command: examples can be pasted, and what an option takes has a word that says so."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.command_table import leaves

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.finished import Finished

_EXAMPLES = "Examples:"
_MOST_COLUMNS = 78
_COMMANDS = sorted(leaves())


@pytest.mark.parametrize("name", _COMMANDS)
def test_no_line_of_the_examples_breaks_in_a_terminal_of_80_columns(
    cli: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A line that is broken does something else when it is pasted."""
    monkeypatch.setenv("COLUMNS", "300")
    shown = cli(*name.split(), "--help").out
    long = [line for line in shown.partition(_EXAMPLES)[2].splitlines() if len(line.rstrip()) > _MOST_COLUMNS]
    assert long == []


@pytest.mark.parametrize("name", _COMMANDS)
def test_no_option_takes_a_word_of_the_programming_language(
    cli: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """N, TIME, NAME and the like, never INT or STR."""
    monkeypatch.setenv("COLUMNS", "300")
    assert re.findall(r"\b(?:STR|INT|FLOAT|BOOL|LIST|TUPLE)\b", cli(*name.split(), "--help").out) == []
