"""What holds for every command: help, exit codes, two lines for an error, nothing that betrays a key."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from openai_batches.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]

COMMANDS = [name for name in app if not name.startswith("-")]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(cli: Cli, name: str) -> None:
    """`--help` says what a command does, lists its options, and ends with lines that can be typed."""
    done = cli(name, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Usage: openai-batches {name}" in done.out
    assert f"openai-batches {name}" in done.out.partition("Examples:")[2]


def test_help_of_the_program_lists_all_commands(cli: Cli) -> None:
    """Who types `--help` finds every command, and what the exit codes mean."""
    done = cli("--help")
    assert done.code == 0
    assert [name for name in COMMANDS if not re.search(rf"│ {name} ", done.out)] == []
    assert "Exit codes:\n\n  0  done\n" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cancell"], "There is no command 'cancell': did you mean 'cancel'?"),
        (["cancel"], "ID is missing"),
        (["cancel", "x", "--bogus"], "Unknown option: --bogus"),
        (["cancel", "x", "--lokal"], "Unknown option: --lokal. Did you mean --local?"),
        (["validate", "a", "--provdier", "groq"], "Unknown option: --provdier. Did you mean --provider?"),
        (["run", "--lokal"], "Unknown option: --lokal. Did you mean --local?"),
        (["run", "--dryrun", "x"], "Unknown option: --dryrun. Did you mean --dry-run?"),
        (["run", "a", "-z", "b"], "Unknown option: -z"),
        (["results", "b", "--format", "xml"], "--format cannot be 'xml': it is one of jsonl, csv, parquet"),
        (["results", "b", "--format", "csv", "--format", "csv"], "--format"),
        (["run", "a", "b", "c"], "Too many arguments: b c"),
        (["run", "--", "a", "b"], "Too many arguments: b"),
        (["list", "a"], "Too many arguments: a"),
        (["list", "--since", "1d", "--older-than", "2d"], "A batch cannot be younger than 1d and older than 2d"),
        (["files", "download", "file-1", "-o", "new/"], "There is no folder new/"),
        (["cancel", "batch_1"], "There is no key for OpenAI"),
        (["cancel", "batch_1", "--profile", "work"], "There is no profile 'work'"),
        (["cancel", "batch_1", "--provider", "nobody"], "No provider 'nobody' is known"),
        (["cancel", "batch_1", "--config", "none.toml"], "There is no configuration file none.toml"),
    ],
)
def test_a_wrong_call_is_one_line_of_what_and_one_of_advice(cli: Cli, arguments: list[str], message: str) -> None:
    """Exit code 2, nothing on standard output, no traceback."""
    done = cli(*arguments)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith("advice: ")


@pytest.mark.parametrize("flag", ["--api-key", "--api-key=sk-live-secret", "--key"])
def test_a_key_on_the_command_line_is_refused_and_not_shown(cli: Cli, flag: str) -> None:
    """Others on the machine can read command lines: the person is told where a key belongs."""
    done = cli("cancel", "batch_1", flag, "sk-live-secret")
    assert done.code == 2
    assert "not given on the command line" in done.err
    assert "secret" not in done.err


def test_an_unknown_id_is_the_services_no(cli: Cli, service: BackgroundServer) -> None:
    """Exit code 3, the service's own words, and advice."""
    done = cli("cancel", "batch_1")
    assert (done.code, done.out) == (3, "")
    assert "No batch found with id 'batch_1'" in done.err


def test_a_closed_pipe_ends_the_program_quietly() -> None:
    """As `head` does with every well-behaved program: exit code 141 and not a word."""
    import subprocess

    with subprocess.Popen(
        [sys.executable, "-m", "openai_batches.cli", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_ctrl_c_with_nothing_to_go_on_with_is_130(terminal: Callable[..., DrivenTerminal]) -> None:
    """Interrupting is no error of the program's: one word, no traceback."""
    arguments = ("cancel", "batch_1", "--debug", "--base-url", "http://127.0.0.1:9/v1")
    driven = terminal(*arguments, env={"OPENAI_API_KEY": "sk-test"})
    driven.wait_for("POST /batches/batch_1/cancel")
    driven.interrupt()
    assert driven.finish() == 130
    assert "error: Interrupted" in driven.screen
