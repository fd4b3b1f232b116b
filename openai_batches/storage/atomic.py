"""A file that grows beside its target, and takes the target's name once it is whole.

It is called like the target with ``.part`` behind it, readable by its owner alone, and locked where the system can
lock, so that two downloads of one target do not write into each other. What a crashed process left is overwritten from
its start: nobody can tell any more which bytes those were.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from typing import TYPE_CHECKING

from openai_batches.storage.compression import Compression, Compressor, Inflater, compressor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from io import FileIO
    from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows does not let an open file be opened for writing or renamed anyway
    fcntl = None  # type: ignore[assignment]

__all__ = ["PartFile", "can_move_open_files", "opened_part", "part_path", "refuse_existing", "sync_folder"]

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def refuse_existing(target: Path, *, overwrite: bool) -> None:
    """Check that a file may be written under a name.

    Raises:
        FileExistsError: there is one, and it is not to be overwritten.
        IsADirectoryError: there is a directory, which cannot be overwritten.
    """
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not overwrite and os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


class PartFile:
    """One such file. Each method blocks, and waits for the one before it: call them in threads.

    Whoever makes one calls ``discard`` in the end, which does nothing after ``keep``.

    Args:
        target: the name it shall have.
        compression: how it is compressed on disk, or None.
        overwrite: whether a file that has the name already is replaced.
        counts_rows: whether its lines are counted.
    """

    def __init__(
        self, target: Path, *, compression: Compression | None, overwrite: bool, counts_rows: bool = False
    ) -> None:
        self.target = target
        self.path: Path = part_path(target)
        self.received: int = 0
        self._compression = compression
        self._overwrite = overwrite
        self._rows: _Rows | None = _Rows() if counts_rows else None
        self._lock = threading.Lock()
        self._file: FileIO | None = None
        self._is_over = False
        self._compressor: Compressor | None = None
        self._inflater: Inflater | None = None

    @property
    def rows(self) -> int:
        """The lines of the content that are not blank; 0 where they are not counted."""
        return 0 if self._rows is None else self._rows.count

    @property
    def is_expanded(self) -> bool:
        """Whether the encoding of the answer, if it has one, came to its end."""
        return self._inflater is None or self._inflater.is_whole

    def open(self) -> None:
        """Make the file.

        Raises:
            FileExistsError: the target is there, or another download of it is running.
            OSError: the file cannot be made.
        """
        with self._lock:
            refuse_existing(self.target, overwrite=self._overwrite)
            if not self._is_over:
                self._file = os.fdopen(opened_part(self.path), "r+b", buffering=0)

    def restart(self, encoding: str | None) -> None:
        """Drop what was written, and begin with the first byte of the content.

        Args:
            encoding: how what will be written is encoded, or None where it is the content itself.

        Raises:
            TransportError: this encoding cannot be read.
            OSError: the file cannot be cut.
        """
        with self._lock, self._named():
            self._inflater = None if encoding is None else Inflater(encoding)
            self._compressor = None if self._compression is None else compressor(self._compression)
            self._rows = _Rows() if self._rows is not None else None
            self.received = 0
            file = self._opened()
            file.seek(0)
            file.truncate()

    def write(self, chunks: Iterable[bytes]) -> None:
        """Write further bytes as they came.

        Raises:
            TransportError: they are not encoded as was said.
            OSError: the disk is full, or broken.
        """
        with self._lock, self._named():
            data = b"".join(chunks)
            if self._inflater is None:
                self._write(data)
            else:
                for piece in self._inflater.expand(data):
                    self._write(piece)

    def keep(self) -> None:
        """Give the file its name, once everything is safely on the disk.

        Raises:
            FileExistsError: the target appeared in the meantime, and is not to be overwritten.
            OSError: the disk is full, or broken.
        """
        with self._lock, self._named():
            file = self._opened()
            if self._compressor is not None:
                _write_all(file, self._compressor.flush())
            os.fsync(file.fileno())
            refuse_existing(self.target, overwrite=self._overwrite)
            if not can_move_open_files():
                file.close()
            self.path.replace(self.target)
            self._is_over = True
            file.close()  # and with it, its lock
        sync_folder(self.target.parent)

    def discard(self) -> None:
        """Close and remove the file, if it was not kept."""
        with self._lock:
            file, self._file = self._file, None
            if file is None or self._is_over:
                self._is_over = True
                return
            self._is_over = True
            with contextlib.suppress(OSError):
                if not can_move_open_files():
                    file.close()
                self.path.unlink(missing_ok=True)  # while the lock still says that it is ours
            file.close()

    def _write(self, content: bytes) -> None:
        if self._rows is not None:
            self._rows.feed(content)
        file = self._opened()
        _write_all(file, content if self._compressor is None else self._compressor.compress(content))
        self.received += len(content)

    def _opened(self) -> FileIO:
        if self._file is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # a thread that was left behind comes too late
        return self._file

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Name the file in what the system says, which does not."""
        try:
            yield
        except OSError as error:
            if error.filename is not None or error.errno is None:
                raise
            raise OSError(error.errno, error.strerror, str(self.path)) from error


class _Rows:
    """Counts the lines that are not blank."""

    def __init__(self) -> None:
        self._ended = 0
        self._has_open = False

    @property
    def count(self) -> int:
        return self._ended + self._has_open

    def feed(self, data: bytes) -> None:
        *lines, last = data.split(b"\n")
        if lines:
            self._ended += self._has_open or _is_text(lines[0])
            self._ended += sum(map(_is_text, lines[1:]))
            self._has_open = False
        self._has_open = self._has_open or _is_text(last)


def _is_text(line: bytes) -> bool:
    return bool(line) and not line.isspace()


def part_path(target: Path) -> Path:
    """Return how a file is called until it is whole."""
    return target.with_name(f"{target.name}.part")


def can_move_open_files() -> bool:
    """Return whether a file can get its name while it is open, and with that locked."""
    return fcntl is not None


def opened_part(path: Path) -> int:
    """Return the descriptor of an empty file of ours under this name, and of nobody else's. This blocks.

    What a process that was killed has left under it is overwritten.

    Raises:
        FileExistsError: another process is writing it, or it is no regular file.
        OSError: it cannot be made.
    """
    while True:
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            _lock(descriptor, path)
            if _is_still(path, os.fstat(descriptor)):
                os.ftruncate(descriptor, 0)
                if hasattr(os, "fchmod"):
                    os.fchmod(descriptor, 0o600)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever had it gave it its name, or removed it, while we waited for the lock


def _lock(descriptor: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise FileExistsError(errno.EEXIST, "this is no regular file", str(path))
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileExistsError(errno.EEXIST, "another process is writing it", str(path)) from None
    except OSError:
        pass  # a file system without locks


def _is_still(path: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.lstat(), status)
    except FileNotFoundError:
        return False


def _write_all(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def sync_folder(folder: Path) -> None:
    """Make a rename last, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
