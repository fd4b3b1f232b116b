"""Command lines that the user is advised to type, such as the one that continues a job that was stopped."""

import contextvars
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from openai_batches.cli.output.terminal import STANDARD_STREAM, note

if TYPE_CHECKING:
    from openai_batches.cli.options.service import Service

__all__ = [
    "TYPED",
    "command_line",
    "command_of_file",
    "command_without",
    "resume_command",
    "say_resume",
    "service_options",
]

_PROGRAM = "openai-batches"
# What was typed behind the program's name.
TYPED: contextvars.ContextVar[Sequence[str]] = contextvars.ContextVar("TYPED", default=())
# The one command that need not read its source again.
_JOB_COMMAND = "run"
_OUTPUT_FLAGS = frozenset({"-o", "--output"})


def command_line(*words: str, service: "Service") -> str:
    """Return a command line with the options that name the service."""
    return shlex.join([*_program(), *words, *service_options(service)])


def service_options(service: "Service") -> list[str]:
    """Return the options that name the same service in another command."""
    options: list[str] = ["--local"] if service.local else []
    named = (
        ("--local-data", service.local_data),
        ("--profile", service.profile),
        ("--provider", service.provider),
        ("--base-url", service.base_url),
        ("--api-key-env", service.api_key_env),
        ("--config", service.config),
    )
    for name, value in named:
        if value is not None:
            options += [name, str(value)]
    return options


def resume_command() -> str:
    """Return the command line that was typed, to be typed again into a shell in the same folder.

    Standard input cannot be read twice, and a job keeps what it has read: ``-`` as the source of ``run`` is left out.
    """
    words = list(TYPED.get())
    kept = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if word != STANDARD_STREAM or words[0] != _JOB_COMMAND or before in _OUTPUT_FLAGS
    ]
    return shlex.join([*_program(), *kept])


def command_without(source: str, directory: Path) -> str:
    """Return the command line of this run with a job's directory in the place of its source."""
    return _command_with(source, [] if _is_typed("--directory") else [str(directory)])


def command_of_file(source: str, file_id: str, *, endpoint: str) -> str:
    """Return the command line that was typed with a file at the service in the place of its source."""
    return _command_with(source, [file_id], [] if _is_typed("--endpoint") else ["--endpoint", endpoint])


def _command_with(source: str, instead: Sequence[str], more: Sequence[str] = ()) -> str:
    """Return the command line that was typed with other words in the place of a source, and more at its end."""
    words = TYPED.get()
    at = words.index(source) if source in words else len(words)
    return shlex.join([*_program(), *words[:at], *instead, *words[at + 1 :], *more])


def _is_typed(option: str) -> bool:
    return any(word.partition("=")[0] == option for word in TYPED.get())


def say_resume() -> None:
    """Tell the person the command, on a line of its own that can be copied whole."""
    note(Text("To continue from here:", style="bold"))
    note(Text(f"  {resume_command()}"))


def _program() -> list[str]:
    """Return how the program was called, in the shortest way that is sure to work."""
    called = Path(sys.argv[0])
    if called.parts[-2:] == ("cli", "__main__.py"):
        return [sys.executable, "-m", "openai_batches.cli"]
    found = shutil.which(_PROGRAM)
    is_found = found is not None and Path(found).resolve() == called.resolve()
    return [str(called)] if called.name == _PROGRAM and called.is_file() and not is_found else [_PROGRAM]
