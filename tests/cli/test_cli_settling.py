"""What is on standard output when something goes wrong, and what moves on standard error until then."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from rich.console import Console

from openai_batches.cli import terminal
from openai_batches.cli.terminal import busy, say, settle_output, table, write

if TYPE_CHECKING:
    import pytest


def test_what_was_written_before_an_error_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    """The lines that were done are done."""
    write(b"one line\n")
    settle_output()
    assert capfd.readouterr().out == "one line\n"


def test_what_nobody_takes_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the interpreter does not complain of it at its end."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(terminal.sys, "stdout", stream)
        write(b"one line\n")
        settle_output()
        terminal.flush()


def test_something_under_way_is_shown_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe, not a byte of it."""
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "stderr", lambda: Console(file=screen, force_terminal=True, width=80))
    monkeypatch.setattr(terminal, "progress_is_shown", lambda: False)
    with busy("Looking"):
        assert screen.getvalue() == ""
    monkeypatch.setattr(terminal, "progress_is_shown", lambda: True)
    with busy("Looking"):
        pass
    assert "Looking …" in screen.getvalue()


def test_numbers_are_under_each_other_in_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    """As on a terminal."""
    made = table("name", "size>")
    made.add_row("a", "1")
    made.add_row("b", "1,000")
    say(made)
    assert [text.rstrip() for text in capfd.readouterr().out.splitlines()] == [
        "name   size",
        "a         1",
        "b     1,000",
    ]
