"""The command that goes on with what was stopped: what was typed, as a shell takes it."""

import contextvars
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from openai_batches.cli.terminal import note

__all__ = ["TYPED", "resume_command", "say_resume"]

_PROGRAM = "openai-batches"
_STDIN = "-"
# What was typed behind the program's name.
TYPED: contextvars.ContextVar[Sequence[str]] = contextvars.ContextVar("TYPED", default=())
_OUTPUT_FLAGS = frozenset({"-o", "--output"})


def resume_command() -> str:
    """Return the command line of this run, to be typed into a shell in the same folder.

    Standard input cannot be read twice, and a job keeps what it has read: ``-`` as the source is left out.
    """
    words = list(TYPED.get())
    kept = [
        word for before, word in zip(["", *words], words, strict=False) if word != _STDIN or before in _OUTPUT_FLAGS
    ]
    return shlex.join([*_program(), *kept])


def say_resume() -> None:
    """Tell the person the command, on a line of its own that can be copied whole."""
    note(Text("To go on from here:", style="bold"))
    note(Text(f"  {resume_command()}"))


def _program() -> list[str]:
    """Return how the program was called, in the shortest way that is sure to work."""
    called = Path(sys.argv[0])
    if called.parts[-2:] == ("cli", "__main__.py"):
        return [sys.executable, "-m", "openai_batches.cli"]
    if called.name != _PROGRAM or (found := shutil.which(_PROGRAM)) is None:
        return [_PROGRAM]
    return [_PROGRAM] if Path(found).resolve() == called.resolve() else [str(called)]
