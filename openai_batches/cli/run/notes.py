"""What the program stores beside a job's journal: whether it is local, and which result files it has written."""

import contextlib
import os
from pathlib import Path
from typing import Self

import attrs
import msgspec

from openai_batches.storage.atomic import write_file

__all__ = ["JobNotes", "Written"]

_NAME = "program.json"


@attrs.frozen
class Written:
    """A file of results, as it was when it was written."""

    format: str
    is_ordered: bool
    bytes: int
    mtime_ns: int


@attrs.define
class JobNotes:
    """The notes of a job. They are a convenience: where they are lost or cannot be read, nothing is known.

    Attributes:
        is_local: whether it was started with ``--local``, so that its answers are those of the emulator.
        written: the files of its results, by their absolute paths.
    """

    is_local: bool = False
    written: dict[str, Written] = attrs.field(factory=dict[str, Written])

    @classmethod
    def read(cls, directory: Path) -> "Self":
        """Return the notes of a job. This blocks."""
        try:
            return msgspec.json.decode((directory / _NAME).read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError):
            return cls()

    def has_written(self, path: Path, *, format: str, is_ordered: bool) -> bool:  # as in ``Written``
        """Return whether a file holds the results of this job, in this format and order. This blocks."""
        seen = _seen(path, format=format, is_ordered=is_ordered)
        return seen is not None and self.written.get(_key(path)) == seen

    def note_written(self, path: Path, *, format: str, is_ordered: bool) -> None:
        """Note a file that was written just now. This blocks."""
        seen = _seen(path, format=format, is_ordered=is_ordered)
        if seen is not None:
            self.written[_key(path)] = seen

    def save(self, directory: Path) -> None:
        """Write the notes down, or leave those of before. This blocks."""
        with contextlib.suppress(OSError):
            write_file(directory / _NAME, msgspec.json.encode(self))


def _key(path: Path) -> str:
    return os.fsencode(path.absolute()).decode(errors="backslashreplace")


def _seen(path: Path, *, format: str, is_ordered: bool) -> Written | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return Written(format, is_ordered, stat.st_size, stat.st_mtime_ns)
