"""`openai-batches serve`: the emulator's program, with every one of its options and checks."""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from support.machine_needs import needs_full_device

from openai_batches.cli.app import app
from openai_batches.cli.commands import serve as serve_module
from openai_batches.cli.commands.serve import EmulatorOptions
from openai_batches.emulator import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    Cli = Callable[..., Finished]

REQUEST = '{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}\n'


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the program believe that it was told to stop as soon as it serves."""

    async def wait(self: Any) -> bool:
        return True

    monkeypatch.setattr("asyncio.Event.wait", wait)


def test_no_option_of_the_emulator_is_missing() -> None:
    """What its own program takes, this one takes too, except a key that others on the machine could see."""
    theirs = {
        word
        for action in options._parser()._actions
        if not isinstance(action, argparse._HelpAction)
        for word in action.option_strings
        if word.startswith("--")
    }
    arguments = app["serve"].assemble_argument_collection()
    ours = {name for argument in arguments for name in argument.names if name != "*"}
    # `openai-batches --version` says it for the whole program.
    assert theirs - ours == {"--api-key", "--version"}
    assert ours - theirs == {"--local", "--local-data", "--config", "--debug"}


def test_every_option_reaches_the_emulator() -> None:
    """Each field is handed on under its name; what was not given is left to the emulator."""
    assert serve_module.EmulatorOptions().argv() == ["--host=127.0.0.1", "--port=8080", "--speed=1.0"]
    names = {field.name for field in attrs.fields(serve_module.EmulatorOptions)}
    given = serve_module.EmulatorOptions(fault=("a", "b"), upstream_model=("m=n",), webhook_secret_env="V")
    assert given.argv()[3:] == ["--fault=a", "--fault=b", "--upstream-model=m=n", "--webhook-secret-env=V"]
    assert {f"--{name.replace('_', '-')}" for name in names} < set(options._parser()._option_string_actions)


def test_it_says_where_it_is(cli: Cli, stopped: None) -> None:
    """Standard output is for a shell's `eval`; standard error is for the person."""
    done = cli("serve", "--port", "0")
    assert done.code == 0
    base, key = done.out.splitlines()
    assert base.startswith("export OPENAI_BASE_URL=http://127.0.0.1:")
    assert key == "export OPENAI_API_KEY=sk-emulator"
    assert done.err.startswith("Serving OpenAI's Batch API at http://127.0.0.1:")
    assert "profile azure" in cli("serve", "--port", "0", "--profile", "azure").err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "99999"], "--port must be 0 to 65535"),
        (["--port", "many"], "--port cannot be 'many': it is a number"),
        (["--profile", "nobody"], "nobody"),
        (["--fault", "nothing"], "unknown kind of fault 'nothing'"),
        (["--host", "0.0.0.0"], "can be reached from outside: give an --api-key-env"),
        (["--host", "", "--api-key-env", "A_KEY"], "Host must not be empty"),
        (["--host", "nowhere.invalid", "--api-key-env", "A_KEY"], "Nothing can listen on nowhere.invalid, port 8080"),
        (["--upstream-model", "a"], "--upstream-model needs --upstream"),
        (["--data", "taken"], "taken is not a folder"),
        (["--local", "--local-data", "taken"], "taken is not a folder"),
        (["--local", "--data", "d"], "--data cannot be used with --local"),
        (["--local", "--profile", "azure"], "--profile cannot be used with --local"),
        (["--local", "--api-key-env", "A_KEY"], "--api-key-env cannot be used with --local"),
        (["--api-key", "sk-test-shown"], "A key is not given on the command line"),
    ],
)
def test_it_refuses(cli: Cli, arguments: list[str], message: str, tmp_path: Path, monkeypatch: Any) -> None:
    """The emulator's own checks and words, in two lines, with exit code 2, before anything is served."""
    (tmp_path / "work" / "taken").write_text("", "utf-8")

    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # The network's own names are not asked for.
    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    monkeypatch.setenv("A_KEY", "sk-test-hidden")
    done = cli("serve", *arguments)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith("advice: ")
    assert "sk-test" not in done.err


def test_a_port_in_use(cli: Cli) -> None:
    """The advice names what chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = cli("serve", "--port", taken.getsockname()[1])
    assert done.code == 2
    assert "There is a server already at 127.0.0.1, port" in done.err
    assert "--port 0" in done.err


@pytest.mark.parametrize(
    ("error", "code"), [(BrokenPipeError(errno.EPIPE, "Broken pipe"), 141), (OSError(errno.ENOSPC, "No space"), 2)]
)
def test_an_output_that_takes_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch, error: OSError, code: int) -> None:
    """A reader that has gone is no error; a full disk is one of two lines."""

    def say(_: str) -> None:
        raise OSError("standard output cannot be written") from error

    monkeypatch.setattr("openai_batches.emulator.server.say", say)
    done = cli("serve", "--port", "0")
    assert done.code == code
    assert ("error: " in done.err) == (code == 2)


def test_lists(cli: Cli) -> None:
    """What can be played and what can fail is listed without a server."""
    assert cli("serve", "--list-profiles").out.splitlines()[:2] == ["openai", "azure"]
    done = cli("serve", "--list-faults")
    assert (done.code, done.err) == (0, "")
    assert "rate_limited: " in done.out


def test_a_local_one_says_so(cli: Cli, stopped: None, tmp_path: Path) -> None:
    """The folder is named, and nothing is left in it that leads to a server that has ended."""
    done = cli("serve", "--local", "--port", "0")
    assert done.code == 0
    assert "Commands with --local use it, too; it keeps its batches and files in openai-batches-local" in done.err
    assert not (tmp_path / "work" / "openai-batches-local" / "emulator.address").exists()


def test_in_a_terminal_until_ctrl_c(terminal: Callable[..., DrivenTerminal]) -> None:
    """Ctrl-C is how it is meant to end: exit code 0."""
    driven = terminal("serve", "--port", "0")
    screen = driven.wait_for("export OPENAI_API_KEY=sk-emulator")
    assert "Serving OpenAI's Batch API at http://127.0.0.1:" in screen
    driven.interrupt()
    assert driven.finish() == 0


def test_it_ends_at_sigterm_and_says_nothing_in_a_pipe() -> None:
    """As a service manager ends it; the address comes at once, through a pipe too."""
    command = [sys.executable, "-m", "openai_batches.cli", "serve", "--port", "0", "--webhook", "http://127.0.0.1:9/"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().decode() for _ in range(3)]
        url = lines[0].removeprefix("export OPENAI_BASE_URL=").strip().removesuffix("/v1")
        assert json.loads(urllib.request.urlopen(f"{url}/healthz").read())["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert lines[2].startswith("export OPENAI_WEBHOOK_SECRET=whsec_")
    assert out == b""
    assert b"\x1b" not in err


def test_other_commands_use_a_local_one(terminal: Callable[..., DrivenTerminal], cli: Cli, tmp_path: Path) -> None:
    """`serve --local` announces itself in the folder; a command with `--local` finds it there, and nothing else."""
    driven = terminal("serve", "--local", "--port", "0", "--fault", "error_before:status=418,method=POST", rows=40)
    driven.wait_for("Commands with --local use it", "OPENAI_API_KEY")
    address = (tmp_path / "work" / "openai-batches-local" / "emulator.address").read_text("utf-8")
    assert address in driven.screen
    done = cli("cancel", "batch_1", "--local")
    assert "418" in done.err
    driven.interrupt()
    assert driven.finish() == 0
    assert not (tmp_path / "work" / "openai-batches-local" / "emulator.address").exists()
    assert "No batch found" in cli("cancel", "batch_1", "--local").err


def test_a_folder_that_is_served_already(terminal: Callable[..., DrivenTerminal], cli: Cli, tmp_path: Path) -> None:
    """A second server of one folder is refused, and the folder is named; a variable may name it, too."""
    driven = terminal("serve", "--local", "--port", "0", env={"OPENAI_BATCHES_LOCAL_DATA": "mine"})
    driven.wait_for("OPENAI_API_KEY")
    done = cli("serve", "--local", "--local-data", "mine", "--port", "0")
    assert done.code == 2
    assert "mine is in use by another server" in done.err
    assert "--local-data" in done.err
    driven.interrupt()
    assert driven.finish() == 0


@needs_full_device
def test_standard_output_that_is_full_is_an_error_of_two_lines() -> None:
    """With a capital at its start, as all errors have."""
    command = [sys.executable, "-m", "openai_batches.cli", "serve", "--port", "0"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 2
    *_, error, advice = done.stderr.decode().splitlines()
    assert error == "error: Standard output cannot be written: No space left on device"
    assert advice == "advice: Leave it open, or send it to a file"


def test_times_are_written_as_for_every_command(cli: Cli) -> None:
    """The emulator gets them in seconds."""
    assert "--upstream-timeout TIME" in cli("serve", "--help").out
    assert "--upstream-timeout=90.0" in EmulatorOptions(upstream_timeout=90.0).argv()
    done = cli("serve", "--upstream-timeout", "2 parsecs")
    assert (done.code, done.out) == (2, "")
    assert "is not a valid length of time" in done.err


def test_an_error_of_the_system_is_told_in_its_words(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error", "disk")

    monkeypatch.setattr(serve_module, "serve_until_stopped", broken)
    done = cli("serve", "--port", "0")
    assert done.code == 2
    assert "error: disk: Input/output error\n" in done.err
