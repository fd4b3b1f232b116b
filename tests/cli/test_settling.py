"""What is on standard output when something goes wrong, and what moves on standard error until then."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import sys
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from support.batch_stage import in_terminal

from openai_batches.cli.output import terminal
from openai_batches.cli.output.documents import write_document
from openai_batches.cli.output.signals import interruptible
from openai_batches.cli.output.terminal import busy, flush_or_discard_output, say, table, write

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_written_before_an_error_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    """The lines that were done are done."""
    write(b"one line\n")
    flush_or_discard_output()
    assert capfd.readouterr().out == "one line\n"


def test_what_nobody_takes_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the interpreter does not complain of it at its end."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(terminal.sys, "stdout", stream)
        write(b"one line\n")
        flush_or_discard_output()
        terminal.flush()


@pytest.mark.parametrize("kind", ["pipe", "file"])
async def test_ctrl_c_ends_a_write_that_nobody_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    """What a pipe did not take is forgotten, as it would not take it later either; a file has what was written."""
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "wb") as pipe, (tmp_path / "out").open("wb") as file:
        descriptor = {"pipe": pipe, "file": file}[kind].fileno()

        class Full:
            @property
            def buffer(self) -> Full:
                return self

            def fileno(self) -> int:
                return descriptor

            def write(self, _: object) -> None:
                signal.raise_signal(signal.SIGINT)

        before = signal.getsignal(signal.SIGINT)
        monkeypatch.setattr(sys, "stdout", Full())
        with interruptible() as interruption:
            write(b"one line\n")
        assert interruption.has_come
        assert signal.getsignal(signal.SIGINT) is before
        assert stat.S_ISCHR(os.fstat(descriptor).st_mode) == (kind == "pipe")


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


def test_json_on_a_terminal_is_harmless_and_still_json(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """JSON may hold characters that terminals obey: these are escaped there, and a pipe gets them as they are."""
    record = {"text": "a\x1b[31m\x9b31m\u202e\U000e0001 é", "list": [1]}
    with in_terminal(monkeypatch):
        write_document(record)
    terminal.flush()
    shown = capfd.readouterr().out
    assert all(each == "\n" or each.isprintable() for each in shown)
    assert "é" in shown
    assert json.loads(shown) == record
    write_document(record)
    terminal.flush()
    assert "\x9b" in capfd.readouterr().out
