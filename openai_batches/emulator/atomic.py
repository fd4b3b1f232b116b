"""Files that are written beside their place and renamed, and files that are sure to be on disk."""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def rewritten(path: Path) -> Generator[BinaryIO]:
    """Open a new file beside `path`, which takes its place when it is closed; the old one can be read until then."""
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as target:
        yield target
    new.replace(path)


def sync(*paths: Path) -> None:
    """Return when the bytes of files will survive a loss of power, once their names do; missing files are left out."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            _sync(path, os.O_RDWR)


def sync_names(folder: Path) -> None:
    """Return when the names in a folder will survive a loss of power."""
    # Some systems do not open folders; nothing more can be done for names there.
    with contextlib.suppress(PermissionError):
        _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
