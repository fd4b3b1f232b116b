"""What the shell completes, and how it is told to."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cyclopts.completion.detect import ShellDetectionError
from support.machine_needs import needs_bash

from openai_batches.cli.commands import completion

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    Cli = Callable[..., Finished]

ASK = """
source ./script
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_openai_batches
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Ask bash what it would offer behind words: ``complete("list", "--st")``."""
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "openai-batches"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m openai_batches.cli "$@"\n', "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    done = cli("--install-completion", "--shell", "bash", "--output", "script")
    assert done.code == 0

    def ask(*words: str) -> list[str]:
        command = ["bash", "-c", ASK, "bash", "openai-batches", *words]
        asked = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert asked.stderr == ""
        return asked.stdout.split()

    return ask


@needs_bash
def test_commands_and_options(complete: Callable[..., list[str]]) -> None:
    """Commands of the program and of a family, and each command's own options, although it is loaded late."""
    assert {"list", "run", "serve", "webhook"} <= set(complete(""))
    assert complete("can") == ["cancel"]
    assert complete("webhook", "") == ["listen"]
    assert complete("webhook", "listen", "--fet") == ["--fetch"]
    assert complete("list", "--loc") == ["--local", "--local-data", "--local-speed"]
    assert complete("cancel", "--fetch") == []


@needs_bash
def test_what_an_option_can_be(complete: Callable[..., list[str]], home: Path) -> None:
    """Statuses, services and formats; and the profiles as the configuration has them at that moment."""
    assert set(complete("list", "--status", "c")) == {"cancelling", "cancelled", "completed"}
    assert complete("cancel", "--provider", "g") == ["groq"]
    assert complete("serve", "--profile", "a") == ["azure"]
    assert complete("cancel", "--profile", "") == []
    (home / ".config").mkdir()
    (home / ".config" / "openai-batches.toml").write_text("[profiles.work]\n[profiles.home]\n", "utf-8")
    assert complete("cancel", "--profile", "") == ["home", "work"]
    Path("mine.toml").write_text("[profiles.mine]\n", "utf-8")
    assert complete("cancel", "--config", "mine.toml", "--profile", "") == ["mine"]


@needs_bash
def test_it_never_shows_an_error(complete: Callable[..., list[str]], home: Path) -> None:
    """A configuration that cannot be read, options that do not exist: nothing is offered, and nothing said."""
    (home / ".config").mkdir()
    (home / ".config" / "openai-batches.toml").write_text("not = [toml", "utf-8")
    assert complete("cancel", "--profile", "") == []
    assert complete("cancel", "--bogus", "--provider", "nob") == []


@needs_bash
def test_with_the_tabulator_key(
    complete: Callable[..., list[str]], terminal: Callable[..., DrivenTerminal], tmp_path: Path
) -> None:
    """In a real bash: a word is completed, and where a file is meant, the names of files are."""
    Path("requests of mine.jsonl").write_text("", "utf-8")
    Path("rc").write_text("PS1='ready> '\nsource ./script\n", "utf-8")
    driven = terminal(columns=100, command=["bash", "--noprofile", "--rcfile", "rc", "-i"])
    driven.wait_for("ready>")
    driven.type("openai-batches canc\t")
    driven.wait_for("ready> openai-batches cancel")
    driven.type("\x15openai-batches validate req\t")
    driven.wait_for(r"validate requests\ of\ mine.jsonl")
    driven.type("\x15exit\n")
    assert driven.finish() == 0


@pytest.mark.parametrize(
    ("words", "offered"),
    [(("cancel", "--profile", ""), ["home", "work"]), (("serve", "--profile", ""), ["azure", "groq", "openai"])],
)
def test_what_the_shell_asks_the_program(cli: Cli, home: Path, words: tuple[str, ...], offered: list[str]) -> None:
    """Names that are not known when the script is made are asked for when they are needed."""
    (home / ".config").mkdir()
    (home / ".config" / "openai-batches.toml").write_text("[profiles.work]\n[profiles.home]\n", "utf-8")
    done = cli("__complete", *words)
    assert (done.code, done.err) == (0, "")
    assert set(offered) <= set(done.out.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_a_script_for_each_shell(cli: Cli, shell: str) -> None:
    """It goes to a file or to standard output, and shells that are here can read it."""
    done = cli("--install-completion", "--shell", shell, "-o", "-")
    assert (done.code, done.err) == (0, "")
    assert "openai-batches" in done.out
    if shell != "powershell" and shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=done.out, capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("shell", "file", "words"),
    [
        ("bash", ".local/share/bash-completion/completions/openai-batches", "source "),
        ("zsh", ".zsh/completions/_cyclopts_openai-batches", "fpath="),
        ("fish", ".config/fish/completions/openai-batches.fish", "New shells"),
    ],
)
def test_where_it_is_written(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch, shell: str, file: str, words: str
) -> None:
    """One file where the shell looks for it; what is left to do is said, and no other file is touched."""
    for name in ("ZSH", "ZSH_CUSTOM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(completion, "detect_shell", lambda: shell)
    done = cli("--install-completion")
    assert done.code == 0
    assert done.out == f"Wrote {home / file}\n"
    assert words in done.err
    assert [path for path in home.rglob("*") if path.is_file()] == [home / file]


def test_a_file_that_is_named_is_not_replaced_unasked(cli: Cli) -> None:
    """Where the shell looks, the file is the program's own; elsewhere it may be anybody's. An option is no file."""
    Path("x").write_text("precious", "utf-8")
    done = cli("--install-completion", "--shell", "bash", "-o", "x")
    assert (done.code, done.out, Path("x").read_text("utf-8")) == (2, "", "precious")
    assert "--force" in done.err.splitlines()[1]
    assert cli("--install-completion", "--shell", "bash", "-o", "x", "--force").code == 0
    assert Path("x").read_text("utf-8") != "precious"
    assert cli("--install-completion", "-o", "--shell").code == 2
    assert not Path("--shell").exists()


def test_a_zsh_is_offered_files(cli: Cli) -> None:
    """Where a positional argument is said to be something and nothing else is known, names of files are offered."""
    script = cli("--install-completion", "--shell", "zsh", "-o", "-").out
    assert "'*:The batches; - reads ids from standard input, one a line.:_files' \\" in script


def test_misuse(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that cannot be told or is not known, a place that cannot be written: two lines."""

    def detect() -> str:
        raise ShellDetectionError

    monkeypatch.setattr(completion, "detect_shell", detect)
    done = cli("--install-completion")
    assert (done.code, done.out) == (2, "")
    assert "Name it with --shell" in done.err
    assert cli("--install-completion", "--shell", "csh").code == 2
    Path("taken").write_text("", "utf-8")
    done = cli("--install-completion", "--shell", "fish", "-o", "taken/file")
    assert done.code == 2
    assert "taken" in done.err
    assert len(done.err.splitlines()) == 2
