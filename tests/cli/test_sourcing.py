"""Standard input and large files, as sources of requests; questions to the person at the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import pty
import select
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from support.request_lines import write_requests

from openai_batches import FileObject, validate_requests
from openai_batches.cli.options import sources as sources_module
from openai_batches.cli.options.sources import opened_sources, request_source
from openai_batches.cli.output import file_rows, questions as questions_module
from openai_batches.cli.output.file_rows import file_row
from openai_batches.cli.output.questions import can_ask, confirmed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """What is written to this descriptor is on standard input."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as stream, os.fdopen(writing, "wb"):
        monkeypatch.setattr(sys, "stdin", stream)
        yield writing


def test_standard_input_is_read_piece_by_piece(typed: int) -> None:
    """What is there is given at once: a program that writes slowly is not waited for."""
    with request_source("-") as source:
        os.write(typed, b"one\n")
        assert source.read(0) == b""  # type: ignore[union-attr]
        assert source.read(100) == b"one\n"  # type: ignore[union-attr]


def test_a_reader_of_standard_input_can_be_left_alone(typed: int) -> None:
    """A thread that waits for input comes to its end when nobody wants any more."""
    with request_source("-") as source:
        got: list[bytes] = []
        thread = threading.Thread(target=lambda: got.append(source.read(100)))  # type: ignore[union-attr]
        thread.start()
    thread.join(30)
    assert got == [b""]


def test_what_ctrl_c_throws_away_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal forgets what was typed at Ctrl-C: a reader that was about to take it can still be told to stop."""
    select_really, promised = select.select, []

    def select_before_ctrl_c(readers: list[int], *others: list[int]) -> tuple[list[int], list[int], list[int]]:
        if not promised:
            promised.append(readers[0])
            return readers[:1], [], []
        return select_really(readers, *others)

    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        monkeypatch.setattr(select, "select", select_before_ctrl_c)
        with request_source("-") as source:
            read: list[bytes] = []
            thread = threading.Thread(target=lambda: read.append(source.read(100)), daemon=True)
            thread.start()
        thread.join(10)
        assert read == [b""]
    os.close(ours)


def test_whoever_types_requests_is_told_how_to_end(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A program that waits for a person in silence looks like one that hangs."""
    master, slave = pty.openpty()
    with os.fdopen(master, "wb"), os.fdopen(slave) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        with request_source("-") as source:
            os.write(master, b"\x04")
            assert [source.read(100), source.read(100)] == [b"", b""]  # type: ignore[union-attr]
        assert capfd.readouterr().err == "Reading requests from the keyboard; Ctrl-D ends them.\n"
        with opened_sources(["-"], of="prompts"):
            assert capfd.readouterr().err == "Reading prompts from the keyboard; Ctrl-D ends them.\n"


async def test_a_large_file_is_read_with_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal; the requests are the same."""
    screen = io.StringIO()
    monkeypatch.setattr(sources_module, "_LARGE_BYTES", 0)
    monkeypatch.setattr(sources_module, "progress_is_shown", lambda: True)
    monkeypatch.setattr(sources_module, "stderr", lambda: Console(file=screen, force_terminal=True, width=80))
    path = write_requests(Path("requests.jsonl"), 10)
    with request_source(str(path)) as source:
        report = await validate_requests(source)
    assert (report.requests, report.bytes) == (10, path.stat().st_size)
    assert "requests.jsonl" in screen.getvalue()


def test_large_files_are_read_with_one_picture_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other; each is opened when it is its turn, and closed in the end."""
    shown: list[tuple[str, int]] = []

    @contextlib.contextmanager
    def watching(total: int) -> Iterator[Callable[[str, int], None]]:
        assert total == 10
        yield lambda name, count: shown.append((name, count))

    monkeypatch.setattr(sources_module, "_LARGE_BYTES", 6)
    monkeypatch.setattr(sources_module, "progress_is_shown", lambda: True)
    monkeypatch.setattr(sources_module, "_watching", watching)
    Path("a.txt").write_bytes(b"one\n")
    Path("b.txt").write_bytes(b"two\n+\n")
    with opened_sources(["a.txt", "b.txt"], of="prompts") as sources:
        for source in sources:
            assert isinstance(source, sources_module._Watched)
            while source.read(4):
                pass
        assert shown == [("a.txt", 4), ("a.txt", 4), ("b.txt", 8), ("b.txt", 10), ("b.txt", 10)]
    with opened_sources(["a.txt", "b.txt"], of="prompts"):
        Path("b.txt").unlink()


def test_a_person_is_asked_only_where_one_can_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both the question and the answer need a terminal."""
    master, slave = pty.openpty()
    with os.fdopen(master, "wb"), os.fdopen(slave) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert not can_ask()
        monkeypatch.setattr(questions_module, "stderr", lambda: Console(force_terminal=True))
        assert can_ask()
        monkeypatch.setattr(sys, "stdin", None)
        assert not can_ask()


@pytest.mark.parametrize(
    ("answer", "is_yes"), [("y\n", True), (" YES \n", True), ("n\n", False), ("\n", False), ("", False)]
)
async def test_only_yes_is_yes(typed: int, answer: str, is_yes: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """No answer, an empty one and any other are a no."""
    asked = asyncio.create_task(confirmed("Delete 3 files?"))
    if answer:
        os.write(typed, answer.encode())
    else:
        os.dup2(os.open(os.devnull, os.O_WRONLY), typed)
    assert await asked is is_yes
    assert capfd.readouterr().err == "Delete 3 files? [y/N] "


def test_a_name_is_cut_where_a_terminal_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The id of a file is not: it is what the next command wants."""
    file = FileObject(id="file-1", bytes=1, filename="x" * 99, purpose="batch")
    assert file_row(file) == ("file-1", "x" * 99, "1 B", "")
    monkeypatch.setattr(file_rows, "out_is_terminal", lambda: True)
    monkeypatch.setattr(file_rows, "stdout", lambda: Console(width=100))
    assert file_row(file, when="soon") == ("file-1", f"{'x' * 39}…", "1 B", "soon")
