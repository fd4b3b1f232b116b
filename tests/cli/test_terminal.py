"""Where a command writes, and what it writes there: colours for terminals, plain text for everything else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from rich.text import Text
from support.full_pipes import wait_until_full
from support.machine_needs import needs_bash, needs_full_device

from openai_batches.cli.errors import ClosedPipeError, CommandError
from openai_batches.cli.output import terminal as terminal_module
from openai_batches.cli.output.terminal import note, out_is_file, out_is_terminal, say, table, warn, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    Cli = Callable[..., Finished]

SHOW = """
import sys
from openai_batches.cli.errors import ExitCode
from openai_batches.cli import main
from openai_batches.cli.app import app
from openai_batches.cli.output.signals import interruptible
from openai_batches.cli.output.terminal import note, progress_is_shown, say, table, warn
from rich.text import Text

@app.command
def shown(rows: int = 3) -> ExitCode:
    made = table("id", "size>")
    for number in range(rows):
        made.add_row(Text(f"batch_{number}_" + "x" * 70, style="red"), str(number))
    say(made)
    warn("look again")
    note(f"progress {progress_is_shown()}")
    return ExitCode.DONE

@app.command
async def waited() -> ExitCode:
    with interruptible() as interruption:
        return shown(5_000)
    note(f"interrupted {interruption.has_come}")
    return ExitCode.STOPPED

sys.exit(main())
"""
COMMAND = (sys.executable, "-c", SHOW, "shown")


def run(redirect: str, *, env: dict[str, str] | None = None, rows: int = 3) -> subprocess.CompletedProcess[bytes]:
    """Run a command that shows a table, with its output where a shell sends it."""
    line = f'exec "$@" {redirect}' if "|" not in redirect else f'"$@" {redirect}; exit ${{PIPESTATUS[0]}}'
    command = ["bash", "-c", line, "bash", *COMMAND, str(rows)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60, env={**os.environ, **(env or {})})


@pytest.fixture(autouse=True)
def fresh_consoles() -> Iterator[None]:
    """Consoles are made once in the life of a program, and here once in the life of a test."""
    for make in (terminal_module.stdout, terminal_module.stderr):
        make.cache_clear()
    yield
    for make in (terminal_module.stdout, terminal_module.stderr):
        make.cache_clear()


class TestColours:
    @pytest.mark.parametrize("columns", [80, 160])
    def test_a_terminal_has_them(self, terminal: Callable[..., DrivenTerminal], columns: int) -> None:
        """And a table that is too wide is cut there, with a sign that it was."""
        driven = terminal(command=COMMAND, columns=columns)
        assert driven.finish() == 0
        assert b"\x1b[31m" in driven.raw
        assert "progress True" in driven.screen
        assert ("…" in driven.screen) == (columns == 80)
        assert max(map(len, driven.screen.splitlines())) <= columns

    @pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
    def test_who_asks_for_none_gets_none(self, terminal: Callable[..., DrivenTerminal], env: dict[str, str]) -> None:
        """Neither colours nor bold; and a terminal that cannot move its cursor gets no progress."""
        driven = terminal(command=COMMAND, env=env)
        assert driven.finish() == 0
        assert b"\x1b" not in driven.raw
        assert f"progress {'TERM' not in env}" in driven.screen

    @needs_bash
    @pytest.mark.parametrize("env", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}, {"COLUMNS": "20"}])
    def test_a_pipe_has_none_and_nothing_is_cut(self, env: dict[str, str]) -> None:
        """Whatever the environment asks for: what a pipe gets is for programs."""
        done = run("", env=env)
        assert done.returncode == 0
        assert b"\x1b" not in done.stdout + done.stderr
        assert [len(line.split()[0]) for line in done.stdout.splitlines()[1:]] == [78, 78, 78]
        assert b"warning: look again\nprogress False\n" in done.stderr


class TestOutputsThatTakeNothing:
    @needs_bash
    @pytest.mark.parametrize(
        ("redirect", "reason"),
        [(">&-", "closed"), pytest.param(">/dev/full", "No space left on device", marks=needs_full_device)],
    )
    def test_closed_and_full(self, redirect: str, reason: str) -> None:
        """Two lines, exit code 2, and no word of the interpreter's."""
        done = run(redirect)
        assert done.returncode == 2
        first, second = done.stderr.decode().splitlines()
        assert first.startswith("error: Standard output ")
        assert reason in first
        assert second.startswith("advice: ")

    @needs_bash
    @pytest.mark.parametrize("unbuffered", ["", "1"])
    def test_a_reader_that_has_seen_enough(self, unbuffered: str) -> None:
        """As with `head`: exit code 141 and not a word, also in the middle of a table."""
        done = run("| head -n 2", rows=5_000, env={"PYTHONUNBUFFERED": unbuffered})
        assert done.returncode == 141
        assert done.stderr == b""
        assert len(done.stdout.splitlines()) == 2

    @pytest.mark.parametrize(
        ("command", "code", "said"),
        [
            (["shown", "5000"], 130, "error: Interrupted\n"),
            (["waited"], 4, "interrupted True\n"),
        ],
    )
    def test_a_reader_that_never_reads(self, command: list[str], code: int, said: str) -> None:
        """The first Ctrl-C ends the write, and what stands behind it; what the pipe did not take is forgotten."""
        argv = [sys.executable, "-c", SHOW, *command]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            wait_until_full(process.stdout.fileno())
            process.send_signal(signal.SIGINT)
            try:
                assert process.wait(60) == code
            finally:
                process.kill()
            assert process.stderr.read() == said

    def test_an_encoding_that_lacks_letters(self) -> None:
        """What cannot be written is written as an escape, rather than not at all."""
        code = SHOW.replace("batch_{number}_", "日{number}_")
        done = subprocess.run(
            [sys.executable, "-c", code, "shown"],
            capture_output=True,
            check=False,
            timeout=60,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )
        assert done.returncode == 0
        assert rb"\u65e50_" in done.stdout

    @needs_bash
    @pytest.mark.parametrize("redirect", ["2>&-", pytest.param("2>/dev/full", marks=needs_full_device)])
    def test_what_is_said_beside_it_may_be_lost(self, redirect: str) -> None:
        """Notes that nobody can read do not keep the result back."""
        done = run(redirect)
        assert done.returncode == 0
        assert len(done.stdout.splitlines()) == 4

    def test_what_was_written_before_an_error_is_kept(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """An error later on takes nothing back that was there already."""

        async def cancel(*_: object) -> None:
            write(b"first\n")
            raise CommandError("then", "that")

        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setattr("openai_batches.resources.batches.Batches.cancel", cancel)
        done = cli("cancel", "batch_1")
        assert done.out == "first\n"
        assert "error: then" in done.err


class TestErrorsOfTheSystem:
    @pytest.mark.parametrize(
        ("error", "expected"),
        [(BrokenPipeError(32, "Broken pipe"), ClosedPipeError), (OSError(5, "odd"), CommandError)],
    )
    @pytest.mark.parametrize("use", ["say", "terminal", "write", "flush", "through"])
    def test_each_way_to_write(
        self, monkeypatch: pytest.MonkeyPatch, use: str, error: OSError, expected: type[Exception]
    ) -> None:
        """Each tells a reader that has gone from an output that cannot be written."""

        class Broken:
            encoding = "utf-8"

            def write(self, _: object) -> int:
                raise error

            def flush(self) -> None:
                if use != "through":
                    raise error

            def isatty(self) -> bool:
                return use == "terminal"

            def fileno(self) -> int:
                raise error

            @property
            def buffer(self) -> Broken:
                return self

        monkeypatch.setattr(sys, "stdout", Broken())
        if use == "through":

            def os_write(*_: object) -> int:
                raise error

            monkeypatch.setattr(Broken, "fileno", lambda _: 1)
            monkeypatch.setattr(os, "write", os_write)
        act: dict[str, Callable[[], None]] = {
            "say": lambda: say("x"),
            "terminal": lambda: say("x"),
            "write": lambda: write(b"x"),
            "flush": terminal_module.flush,
            "through": lambda: terminal_module.write_through(b"x"),
        }
        with pytest.raises(expected):
            act[use]()

    def test_an_output_that_was_closed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is no terminal, and no file."""
        with open(os.devnull, "w", encoding="utf-8") as closed:  # noqa: PTH123
            pass
        monkeypatch.setattr(sys, "stdout", closed)
        assert not out_is_terminal()
        monkeypatch.setattr(sys, "stdout", None)
        assert not out_is_file()
        with pytest.raises(CommandError, match="Standard output is closed"):
            write(b"x")

    def test_a_file_is_one(self, monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]) -> None:
        """Where nobody sees what comes."""
        with open(os.path.join(tmp_path, "out"), "w", encoding="utf-8") as file:  # noqa: PTH118, PTH123
            monkeypatch.setattr(sys, "stdout", file)
            assert out_is_file()


def test_foreign_text_does_not_reach_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """What others wrote is shown, not obeyed."""
    note("a\x1b[2Jb")
    warn("c\x1b]0;d\x07")
    note(Text("plain"))
    assert capfd.readouterr().err == "a\\x1b[2Jb\nwarning: c\\x1b]0;d\\x07\nplain\n"


def test_a_table_in_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    """Numbers stand to the right, and each row is a line, however long."""
    made = table("name", "size>", title="Title")
    made.add_row("x" * 200, "5")
    made.add_row("y", "1,000")
    say(made)
    assert [line.rstrip() for line in capfd.readouterr().out.splitlines()] == [
        "Title",
        f"{'name':<200}   size",
        f"{'x' * 200}      5",
        f"{'y':<200}  1,000",
    ]
