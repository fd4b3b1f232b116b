"""A stream into a file of the user's alone, which gets its name when it is whole: until then ``.part`` is behind it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from openai_batches.errors import InputError
from openai_batches.storage.atomic import can_move_open_files, opened_part, part_path

if TYPE_CHECKING:
    from pathlib import Path

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
        FileExistsError: another process is writing it.
        OSError: it cannot be made.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        refuse_target(path, overwrite=overwrite)
        self._path = path
        self._overwrite = overwrite
        self._part = part_path(path)
        self._is_kept = False
        self.stream: IO[bytes] = os.fdopen(opened_part(self._part), "wb")

    def keep(self) -> None:
        """Give the file its name; what it holds is on the disk by then.

        Raises:
            InputError: somebody else has made a file of that name meanwhile, which is not to be replaced.
            OSError: it cannot be written.
        """
        self.stream.flush()
        os.fsync(self.stream.fileno())
        if not can_move_open_files():
            self.stream.close()
        if self._overwrite:
            self._part.replace(self._path)
        else:
            self._move()
        self._is_kept = True
        self.stream.close()  # and with it, its lock

    def _move(self) -> None:
        try:
            # Unlike a rename, a link refuses a target that has come into being meanwhile.
            os.link(self._part, self._path)
        except OSError:
            # Or the file system has no links.
            refuse_target(self._path, overwrite=False)
            self._part.replace(self._path)
        else:
            self._part.unlink()

    def discard(self) -> None:
        """Close and remove what stands beside the name, if it was not kept."""
        if not can_move_open_files():
            with suppress(OSError):
                self.stream.close()
        if not self._is_kept:
            with suppress(OSError):
                self._part.unlink()  # while the lock still says that it is ours
        # What cannot be closed cleanly, on a full disk for example, is removed all the same.
        with suppress(OSError):
            self.stream.close()
