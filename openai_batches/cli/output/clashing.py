"""That what a command writes spoils nothing that it reads, and no other thing that it writes."""

import os
from collections.abc import Mapping
from pathlib import Path

from openai_batches.cli.errors import CommandError

__all__ = ["check_apart"]

_STDIO = "-"


def check_apart(*, reads: Mapping[str, Path | str | None], writes: Mapping[str, Path | str | None]) -> None:
    """Refuse to write a file that is read or written under another name, whatever links lead there.

    Standard input and output are no files.

    Args:
        reads: what is read, by the name of its option or argument.
        writes: what is written, likewise.

    Raises:
        CommandError: two are the same file.
    """
    seen = [(name, path) for name, path in reads.items() if _is_file(path)]
    for name, path in writes.items():
        if not _is_file(path):
            continue
        for other, there in seen:
            if _are_same(there, path):
                raise CommandError(f"{other} and {name} are the same file: {path}", "Name another file to write")
        seen.append((name, path))


def _is_file(path: Path | str | None) -> bool:
    return path is not None and str(path) != _STDIO


def _are_same(one: Path | str | None, other: Path | str | None) -> bool:
    first, second = str(one), str(other)
    if os.path.realpath(first) == os.path.realpath(second):
        return True
    try:
        # Names that differ in letters alone, on a disk that does not tell them apart.
        return Path(first).samefile(second)
    except OSError:
        return False
