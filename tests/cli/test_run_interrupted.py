"""`run` that is stopped: it says the command that goes on, and that command finishes the job."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.run_stage import LOCAL, ids_in, write_requests

from openai_batches import BatchJob
from openai_batches.cli.output.signals import stopped_by_signals
from openai_batches.cli.run import run
from openai_batches.emulator import SteppedClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]
    Terminal = Callable[..., DrivenTerminal]

EXAMPLE = Path(__file__).parents[2] / "examples" / "requests.jsonl"
OUT = Path("out $x.jsonl")
JOB = Path("requests.jsonl.job")
TYPED = ("run", "requests.jsonl", "--local", "-o", OUT, "--max-requests", 25)
# The real service does not hurry either.
STANDING = pytest.mark.batch_server(clock=SteppedClock())


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Leave Ctrl-C as it was."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def printed_command(written: str) -> str:
    """The command that a person copies: one line, which only the screen wraps."""
    return written.partition("To continue from here:\n  ")[2].partition("\n")[0]


class TestInATerminal:
    def test_ctrl_c_in_the_middle_loses_nothing(self, terminal: Terminal) -> None:
        """The printed command, pasted into a shell, finishes: each request has its row once."""
        Path("requests.jsonl").write_bytes(EXAMPLE.read_bytes())
        driven = terminal(*TYPED, columns=160)
        driven.wait_for("in_progress", "/100")
        end = time.monotonic() + 60
        while not re.search(r" [1-9]\d?/100 ", driven.screen):
            assert time.monotonic() < end
            driven.look(0.05)
        driven.interrupt()
        assert driven.finish() == 4
        assert "Stopped; nothing is lost." in driven.screen
        assert not OUT.exists()
        command = printed_command(driven.written)
        assert shlex.split(command)[-len(TYPED) :] == list(map(str, TYPED))
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False, timeout=100)
        assert done.returncode == 0
        assert b"Continuing" in done.stderr
        assert sorted(ids_in(OUT.read_text())) == sorted(ids_in(EXAMPLE.read_text()))

    def test_kill_9_loses_nothing_either(self, terminal: Terminal, program: Callable[..., Finished]) -> None:
        """Nobody says how to go on then; it is the same command."""
        write_requests(Path("requests.jsonl"), 400)
        arguments = ("run", "requests.jsonl", "--local", "-o", OUT, "--max-requests", 100)
        driven = terminal(*arguments)
        # They are at it for some seconds.
        driven.wait_for("in_progress")
        driven.kill(signal.SIGKILL)
        assert driven.finish() == -signal.SIGKILL
        assert program(*arguments, "--local-speed", 500).code == 0
        assert sorted(ids_in(OUT.read_text())) == sorted(f"r{number}" for number in range(400))
        assert program("list", "--local").out.count("batch_") == 4

    def test_other_commands_see_the_emulator_meanwhile(
        self, terminal: Terminal, program: Callable[..., Finished]
    ) -> None:
        """A second terminal lists the batches of the first one, and its job."""
        write_requests(Path("requests.jsonl"))
        driven = terminal("run", "requests.jsonl", "--local", "--local-speed", 0.01)
        driven.wait_for("validating")
        assert program("list", "--local").out.count("batch_") == 1
        assert "running" in program("jobs").out
        assert "Another process is at work" in program("run", "requests.jsonl", "--local").err
        driven.interrupt()
        assert driven.finish() == 4

    @STANDING
    def test_a_second_ctrl_c_does_not_wait(self, terminal: Terminal, service: BackgroundServer) -> None:
        """Nor does it lose anything: the journal knows what was sent."""
        write_requests(Path("requests.jsonl"))
        driven = terminal("run", "requests.jsonl", "--yes")
        driven.wait_for("validating")
        driven.interrupt()
        driven.interrupt()
        assert driven.finish() == 4
        assert " -m openai_batches.cli run requests.jsonl --yes\n" in driven.written

    @STANDING
    def test_a_terminal_that_hangs_up(self, terminal: Terminal, service: BackgroundServer) -> None:
        """SIGHUP stops the job in good order, too."""
        write_requests(Path("requests.jsonl"))
        driven = terminal("run", "requests.jsonl", "--yes")
        driven.wait_for("validating")
        driven.kill(signal.SIGHUP)
        assert driven.finish() == 4

    def test_ctrl_c_at_the_question_leaves_nothing(self, terminal: Terminal, service: BackgroundServer) -> None:
        """Nothing was sent, and there is nothing to go on with."""
        write_requests(Path("requests.jsonl"))
        driven = terminal("run", "requests.jsonl", "--confirm-above", 0)
        driven.wait_for("[y/N]")
        driven.interrupt()
        assert driven.finish() == 130
        assert "Stopped; nothing was sent." in driven.screen
        assert not JOB.exists()

    def test_ctrl_c_while_requests_are_typed(self, terminal: Terminal) -> None:
        """Whoever waits for standard input is not waited for."""
        driven = terminal("run", "-", "--directory", "typed", "--local")
        driven.wait_for("Reading requests from the keyboard")
        driven.interrupt()
        assert driven.finish() == 130
        assert not Path("typed").exists()


@STANDING
def test_sigterm_without_a_terminal(service: BackgroundServer) -> None:
    """As a container is stopped: exit code 4, and the command in the log."""
    write_requests(Path("requests.jsonl"))
    command = [sys.executable, "-m", "openai_batches.cli", "run", "requests.jsonl", "--yes", "-o", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 60
        while not service.store.batches.items and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 4
    assert b"To continue from here:" in told
    assert told.endswith(b" -m openai_batches.cli run requests.jsonl --yes -o -\n")


class TestInThisProcess:
    """The same with a job that signals its own process, which is quick and sees every branch."""

    @pytest.fixture(autouse=True)
    def _requests(self) -> None:
        write_requests(Path("requests.jsonl"))

    def test_the_first_signal_stops(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """The command to go on with is told in any case."""
        monkeypatch.setattr(BatchJob, "run", signalled(1))
        for quiet in ([], ["-q"]):
            done = cli("run", "requests.jsonl", "-o", OUT, *LOCAL, "--report", "report.html", *quiet)
            assert done.code == 4
            assert "<html" in Path("report.html").read_text()
            assert ("Stopping at a point from which the job can continue ..." in done.err) == (not quiet)
            assert "  openai-batches run requests.jsonl -o 'out $x.jsonl' --local" in done.err

    @pytest.mark.parametrize("is_shown", [True, False])
    def test_the_second_signal_ends_the_process(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch, is_shown: bool
    ) -> None:
        """With the code of what can be gone on with, the command, and a cursor that is seen again."""
        codes: list[int] = []
        monkeypatch.setattr(os, "_exit", codes.append)
        monkeypatch.setattr(run, "progress_is_shown", lambda: is_shown)
        monkeypatch.setattr(BatchJob, "run", signalled(2))
        done = cli("run", "requests.jsonl", *LOCAL)
        assert codes == [4]
        assert done.err.count("To continue from here:") == 2
        assert ("\x1b[?25h" in done.err) == is_shown

    def test_before_anything_was_sent(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """Twice, while the requests are being checked: 130."""
        codes: list[int] = []
        monkeypatch.setattr(os, "_exit", codes.append)
        monkeypatch.setattr(BatchJob, "plan", signalled(2))
        done = cli("run", "requests.jsonl", *LOCAL)
        assert (done.code, codes) == (130, [130])
        assert done.err == "Stopped; nothing was sent.\n"

    @STANDING
    def test_batches_of_a_real_service_go_on(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch, service: BackgroundServer
    ) -> None:
        """Other than those of the emulator, which sleeps until the next run."""
        monkeypatch.setattr(BatchJob, "run", signalled(1))
        done = cli("run", "requests.jsonl", "--yes")
        assert done.code == 4
        assert "The batches it has created continue at the service." in done.err

    def test_a_cancellation_of_other_origin_is_not_taken_for_a_signal(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever cancels the program's task ends it."""
        monkeypatch.setattr(BatchJob, "run", signalled(0))
        done = cli("run", "requests.jsonl", *LOCAL)
        assert done.code == 130
        assert done.err.endswith("error: Interrupted\n")

    def test_a_signal_that_is_ignored_stays_ignored(self) -> None:
        """As under nohup."""
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

        async def work() -> bool:
            with stopped_by_signals(lambda: None, lambda: 4) as stopping:
                signal.raise_signal(signal.SIGHUP)
                await asyncio.sleep(0.01)
                return stopping.has_come

        try:
            assert asyncio.run(work()) is False
        finally:
            signal.signal(signal.SIGHUP, before)


def signalled(count: int) -> Callable[[BatchJob], Awaitable[None]]:
    """Something a job does, in the middle of which signals come, and which then ends."""

    async def act(_: BatchJob) -> None:
        for _ in range(count):
            signal.raise_signal(signal.SIGTERM)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        raise asyncio.CancelledError

    return act
