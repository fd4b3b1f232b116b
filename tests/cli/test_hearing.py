"""Signals and lost terminals end a program in good order: no half file, the screen as it was, the right code."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.batch_stage import submit
from support.machine_needs import needs_bash
from support.request_lines import request_lines

from openai_batches.cli.output.signals import cleared_at_ctrl_z, signals_as_interrupts
from openai_batches.emulator import Fault, SteppedClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Terminal = Callable[..., DrivenTerminal]

pytestmark = pytest.mark.batch_server(clock=SteppedClock())
ENDINGS = [signal.SIGTERM, signal.SIGHUP]
SHOWN, BACK = b"\x1b[?25h", b"\x1b[?1049l"


@pytest.mark.parametrize("number", ENDINGS)
@pytest.mark.parametrize(("command", "code"), [("list --watch", 0), ("show ID --watch", 0), ("wait ID", 4)])
def test_what_waits_ends_as_at_ctrl_c(
    terminal: Terminal, service: BackgroundServer, command: str, code: int, number: signal.Signals
) -> None:
    """The cursor is shown again, the screen of before is back, and the code is the same."""
    batch_id = submit(service)
    driven = terminal(*command.replace("ID", batch_id).split())
    driven.wait_for("validating")
    driven.kill(number)
    assert driven.finish() == code
    assert driven.raw.count(b"\x1b[?25l") == driven.raw.count(SHOWN)
    assert (BACK in driven.raw) == ("--watch" in command)


@needs_bash
@pytest.mark.parametrize(("command", "code"), [("list --watch", 0), ("wait ID", 4), ("run in.jsonl --yes", 4)])
def test_ctrl_z_finds_the_terminal_as_it_was(
    terminal: Terminal, service: BackgroundServer, command: str, code: int
) -> None:
    """The shell's prompt is not written into a screen that is to come back, and `fg` draws it again."""
    batch_id = submit(service)
    Path("in.jsonl").write_bytes(request_lines("a", "b"))
    program = f"{shlex.quote(sys.executable)} -m openai_batches.cli {command.replace('ID', batch_id)}"
    # A name in two parts: the screen shows what is typed, too.
    script = f'{program}; echo "stop""ped" $?; fg >/dev/null; echo "end""ed" $?'
    driven = terminal(command=["bash", "-m", "-c", script])
    driven.wait_for("validating")
    driven.type("\x1a")
    while b"stopped 148" not in driven.raw:
        driven.look(0.05)
    before, _, _ = driven.raw.partition(b"stopped 148")
    assert before.count(b"\x1b[?25l") == before.count(SHOWN)
    assert before.count(b"\x1b[?1049h") == before.count(BACK) == ("--watch" in command)
    while b"validating" not in driven.raw[len(before) :]:
        driven.look(0.05)
    driven.interrupt()
    while f"ended {code}".encode() not in driven.raw:
        driven.look(0.05)
    assert driven.raw.count(b"\x1b[?25l") == driven.raw.count(SHOWN)


def test_where_nobody_could_let_it_go_on_ctrl_z_stops_nothing(terminal: Terminal, service: BackgroundServer) -> None:
    """A program without a shell is drawn again at once."""
    submit(service)
    driven = terminal("list", "--watch")
    driven.wait_for("validating")
    driven.type("\x1a")
    while driven.raw.count(b"\x1b[?1049h") < 2:
        driven.look(0.05)
    driven.interrupt()
    assert driven.finish() == 0
    assert driven.raw.count(b"\x1b[?1049h") == driven.raw.count(BACK)


async def test_where_ctrl_z_is_ignored_it_stays_so() -> None:
    """Afterwards the signal is as it was."""
    with cleared_at_ctrl_z(lambda: None, lambda: None):
        assert signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        with cleared_at_ctrl_z(lambda: None, lambda: None):
            assert signal.getsignal(signal.SIGTSTP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)


@pytest.mark.parametrize("number", ENDINGS)
@pytest.mark.parametrize("command", ["results ID -o out.csv", "files download FILE -o out.jsonl"])
def test_what_writes_leaves_nothing_half(
    terminal: Terminal, service: BackgroundServer, command: str, number: signal.Signals
) -> None:
    """Neither under the file's name nor beside it."""
    batch_id = submit(service, request_lines(*map(str, range(100))))
    service.advance(hours=30)
    file_id = service.store.batches.items[batch_id].output_file_id
    service.faults.add(Fault.slow_drip(path="/content$", bytes_per_s=2_000, piece_bytes=200, times=None))
    driven = terminal(*command.replace("ID", batch_id).replace("FILE", str(file_id)).split())
    while not any(Path().iterdir()):
        driven.look(0.05)
    driven.kill(number)
    assert driven.finish() == 130
    assert not any(Path().iterdir())
    assert driven.raw.count(b"\x1b[?25l") == driven.raw.count(SHOWN)


def test_only_what_nobody_has_decided_about_is_changed() -> None:
    """A signal that is ignored, as under nohup, stays ignored; afterwards all is as before."""
    kept = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_as_interrupts():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, kept)


def test_where_ctrl_c_is_ignored_sigterm_is_not() -> None:
    """As in the background of a script."""
    kept = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals_as_interrupts(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, kept)


def test_another_thread_changes_nothing() -> None:
    """No thread but the main one may, and none hears signals."""

    def enter() -> None:
        with signals_as_interrupts():
            seen.append(signal.getsignal(signal.SIGTERM))

    seen: list[object] = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


def test_a_terminal_that_has_hung_up_does_not_spoil_the_exit_code() -> None:
    """Under nohup the work goes on, and what nobody can read any more is no failure of it."""
    Path("a.txt").write_text("hello\n")
    master, slave = pty.openpty()
    os.close(master)
    command = [sys.executable, "-m", "openai_batches.cli", "requests", "a.txt", "-m", "m", "-o", "made.jsonl"]
    done = subprocess.run(command, stderr=slave, stdin=slave, start_new_session=True, timeout=60, check=False)
    os.close(slave)
    assert done.returncode == 0
    assert Path("made.jsonl").read_bytes().count(b"hello") == 1


def test_an_output_that_is_closed_does_not_matter_to_what_writes_a_file() -> None:
    """Nothing was to go there, and the exit code says that all is done."""
    Path("a.txt").write_text("hello\n")
    line = f"exec {shlex.quote(sys.executable)} -m openai_batches.cli requests a.txt -m m -o made.jsonl >&-"
    done = subprocess.run(["/bin/sh", "-c", line], stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, b"error" in done.stderr) == (0, False)
    assert Path("made.jsonl").read_bytes().count(b"hello") == 1


@pytest.mark.parametrize("columns", ["0", "2", "-1", "\N{SUPERSCRIPT TWO}", "99999999999999", "many"])
@pytest.mark.parametrize("arguments", [["list", "--help"], ["validate", "none.jsonl"]])
def test_a_size_that_no_screen_has_is_not_drawn_for(
    program: Callable[..., Finished], columns: str, arguments: list[str]
) -> None:
    """What stands in COLUMNS and LINES by mistake neither hides words nor makes a program run for ever."""
    done = program(*arguments, env={"COLUMNS": columns, "LINES": columns})
    assert done.code == (0 if "--help" in arguments else 2)
    assert "Usage: openai-batches list" in done.out or "error: There is no file none.jsonl" in done.err


def test_a_narrow_terminal_is_drawn_for(terminal: Terminal) -> None:
    """As if it were as wide as a word."""
    driven = terminal("run", "--help", columns=1, rows=1)
    assert driven.finish() == 0
