"""A file of the user's alone that gets its name when it is whole: until then it stands beside it under another."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from openai_batches.errors import InputError

__all__ = ["NewFile", "refuse_target"]


def refuse_target(path: Path, *, overwrite: bool) -> None:
    """Refuse a name that no file can be given.

    Raises:
        InputError: it is that of a directory, or of a file that is not to be replaced.
    """
    if path.is_dir():
        raise InputError(f"{path} is a directory")
    if not overwrite and os.path.lexists(path):
        raise InputError(f"{path} exists: pass overwrite=True to replace it")


class NewFile:
    """One such file. Each method blocks; whoever makes one calls ``discard`` in the end.

    Attributes:
        stream: what is written to.

    Args:
        path: the name that it gets.
        overwrite: whether a file of that name is replaced; it stays as it is until the new one is whole.

    Raises:
        InputError: it cannot have that name.
        OSError: it cannot be made.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        refuse_target(path, overwrite=overwrite)
        self._path = path
        self._overwrite = overwrite
        # Made readable by its owner alone, and under a name that nobody else has.
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.", suffix=".part")
        self._temporary = Path(name)
        self.stream: IO[bytes] = os.fdopen(descriptor, "wb")

    def keep(self) -> None:
        """Give the file its name; what it holds is on the disk by then.

        Raises:
            InputError: somebody else has made a file of that name meanwhile, which is not to be replaced.
            OSError: it cannot be written.
        """
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()  # not every system renames an open file
        if self._overwrite:
            self._temporary.replace(self._path)
            return
        try:
            # Unlike a rename, a link refuses a target that has come into being meanwhile.
            os.link(self._temporary, self._path)
        except OSError:
            # Or the file system has no links.
            refuse_target(self._path, overwrite=False)
            self._temporary.replace(self._path)

    def discard(self) -> None:
        """Close and remove what stands beside the name."""
        # What cannot be closed cleanly, on a full disk for example, is removed all the same.
        with suppress(OSError):
            self.stream.close()
        with suppress(OSError):
            self._temporary.unlink()
