"""Three ways to run the program: in this process, in one of its own, and in a terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING

import pytest
from support.driven_terminal import DrivenTerminal
from support.finished import Finished

from openai_batches import BatchesWarning
from openai_batches.cli.main import run
from openai_batches.cli.output.terminal import stderr, stdout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from openai_batches.emulator import BackgroundServer

_TIMEOUT_S = 60.0


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a configuration file and a working folder that is empty, for each test alone."""
    home = tmp_path / "home"
    work = tmp_path / "work"
    home.mkdir()
    work.mkdir()
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_OPENAI_", "GROQ_"))]:
        monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.chdir(work)
    return home


@pytest.fixture
def cli(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finished]:
    """Run the program in this process, which is quick: ``cli("list", "--json", stdin=b"...")``."""

    def call(*arguments: object, stdin: bytes = b"") -> Finished:
        capfdbinary.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        # A console knows the width that the environment said when it was made.
        stdout.cache_clear()
        stderr.cache_clear()
        with _program_wide_state():
            code = run([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return Finished(code, out.decode(), err.decode())

    return call


@contextlib.contextmanager
def _program_wide_state() -> Iterator[None]:
    """Undo what a program does to its process for good."""
    logger = logging.getLogger("openai_batches")
    before = (logger.level, logger.handlers, logger.propagate)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", BatchesWarning)
            yield
    finally:
        logger.level, logger.handlers, logger.propagate = before
        logger.setLevel(before[0])


@pytest.fixture
def program() -> Callable[..., Finished]:
    """Run the program in a process of its own: ``program("list", stdin=b"", env={...})``."""

    def call(*arguments: object, stdin: bytes = b"", env: dict[str, str] | None = None) -> Finished:
        command = [sys.executable, "-m", "openai_batches.cli", *map(str, arguments)]
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
            env={**os.environ, **(env or {})},
        )
        return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())

    return call


@pytest.fixture
def terminal() -> Iterator[Callable[..., DrivenTerminal]]:
    """Run the program in a terminal of some columns and rows: ``terminal("list", "--watch", columns=160)``."""
    opened: list[DrivenTerminal] = []

    def start(
        *arguments: object,
        columns: int = 80,
        rows: int = 30,
        env: dict[str, str] | None = None,
        command: Sequence[str] = (sys.executable, "-m", "openai_batches.cli"),
    ) -> DrivenTerminal:
        command = [*command, *map(str, arguments)]
        opened.append(DrivenTerminal(command, columns=columns, rows=rows, env={**os.environ, **(env or {})}))
        return opened[-1]

    yield start
    for driven in opened:
        driven.close()


@pytest.fixture
def service(batch_environment: BackgroundServer) -> BackgroundServer:
    """An emulator that the environment names as the service, with a key."""
    return batch_environment
