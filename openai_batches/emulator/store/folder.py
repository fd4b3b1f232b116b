"""The folder in which an emulator keeps the contents of files."""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Self

from openai_batches._names import public
from openai_batches.emulator.atomic import sync, sync_names

_SUFFIX = ".spool"
CONTENT_NAME = re.compile(r"[0-9]{1,18}\.spool", re.ASCII)
# And while they are rewritten; `spoiled` is how earlier versions called that.
_OURS = re.compile(r"[0-9]{1,18}\.(spool(\.new)?|spoiled)", re.ASCII)


@public
class DataFolderError(OSError):
    """The data folder cannot be used: unwritable, in use, damaged, or of a newer version; the message says which."""


class FolderInUseError(DataFolderError):
    """Another server has the data folder."""


class Folder:
    """Numbered files in one folder."""

    def __init__(self, path: Path, *, is_kept: bool) -> None:
        self.path = path
        self._is_kept = is_kept
        self._last = 0

    @classmethod
    def temporary(cls) -> Self:
        """Make a folder that lives as long as the server."""
        return cls(Path(tempfile.mkdtemp(prefix="openai-batches-emulator-")), is_kept=False)

    @classmethod
    def kept(cls, path: Path) -> Self:
        """Make, or find again, a folder that stays."""
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)
        # It is better to fail now than at the first upload.
        attempt = path / f"0{_SUFFIX}"
        attempt.write_bytes(b"")
        attempt.unlink()
        return cls(path, is_kept=True)

    def new_path(self) -> Path:
        """Return a path that nothing uses yet, nor did before a restart."""
        self._last += 1
        return self.path / f"{self._last}{_SUFFIX}"

    def link(self, path: Path) -> Path:
        """Return a second name for the bytes at `path`."""
        link = self.new_path()
        link.hardlink_to(path)
        return link

    def sync(self, *paths: Path) -> None:
        """Return when the bytes at these paths will survive a loss of power, once their names do.

        Only their owner may read them from then on; where nothing is, nothing is done.
        """
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                path.chmod(0o600)
        sync(*paths)

    def sync_names(self) -> None:
        """Return when the names in the folder will survive a loss of power."""
        sync_names(self.path)

    def sweep(self, known: Collection[Path]) -> None:
        """Remove our own files that are not `known`, and begin to count behind all that is there or `known`."""
        last = max((int(path.stem) for path in known), default=0)
        for path in self.path.iterdir():
            if path in known or not _OURS.fullmatch(path.name):
                continue
            if path.is_file() and not path.is_symlink():
                path.unlink()
            else:
                last = max(last, int(path.name.partition(".")[0]))
        self._last = last

    def close(self) -> None:
        """Remove a temporary folder with all in it."""
        if not self._is_kept:
            shutil.rmtree(self.path, ignore_errors=True)


class CreatedPaths:
    """The folders and the database that a start makes, so that they are removed if it fails."""

    def __init__(self) -> None:
        self._folders: list[Path] = []
        self._database: Path | None = None

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it, where they are not there."""
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
            self._folders.append(folder)

    def note(self, database: Path) -> None:
        """Take note of a database that is going to be made if it is not there."""
        self._database = None if database.exists() else database

    def remove(self) -> None:
        """Remove what was made, but no folder that holds something else; the database is closed."""
        if self._database is not None:
            for end in ("", "-wal", "-shm"):
                Path(f"{self._database}{end}").unlink(missing_ok=True)
        for folder in reversed(self._folders):
            with contextlib.suppress(OSError):
                folder.rmdir()
