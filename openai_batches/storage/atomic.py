"""Files that are written beside their target, and take the target's name once they are whole.

Until then such a file is called like the target with ``.part`` behind it, is readable by its owner alone, and is locked
where the system can lock, so that two writers of one target do not write into each other. What a crashed process left
is overwritten from its start, since it is not known what it is.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import threading
from typing import IO, TYPE_CHECKING

from openai_batches.errors import InputError
from openai_batches.storage.compression import Compression, Compressor, Inflater, compressor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows does not let an open file be opened for writing or renamed anyway
    fcntl = None  # type: ignore[assignment]

__all__ = ["NewFile", "PartFile", "part_path", "refuse_existing", "refuse_target", "sync_folder", "write_file"]

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def refuse_existing(target: Path, *, overwrite: bool) -> None:
    """Raise FileExistsError or IsADirectoryError where a name is taken, as the system does."""
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if not overwrite and os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def refuse_target(target: Path, *, overwrite: bool) -> None:
    """Raise InputError where a name is taken, for functions that have an argument ``overwrite``."""
    if target.is_dir():
        raise InputError(f"{target} is a directory")
    if not overwrite and os.path.lexists(target):
        raise InputError(f"{target} exists: pass overwrite=True to replace it")


class NewFile:
    """One such file: write to its ``stream``, then call ``keep``. Each method blocks; call ``discard`` in the end.

    Where the target may not be overwritten, ``refuse`` raises an error if it exists, also if it comes into being while
    the file is written. Where it may, it stays as it is until the new file is whole.
    """

    def __init__(
        self,
        target: Path,
        *,
        overwrite: bool,
        is_buffered: bool = True,
        refuse: Callable[..., None] = refuse_target,
    ) -> None:
        refuse(target, overwrite=overwrite)
        self._target = target
        self._overwrite = overwrite
        self._refuse = refuse
        self._part = part_path(target)
        self._is_kept = False
        self.stream: IO[bytes] = os.fdopen(_opened_part(target), "wb", -1 if is_buffered else 0)

    def keep(self, *, is_certain: bool = False) -> None:
        """Give the file its name, once what it holds is on the disk.

        Where it must be certain that the name outlasts a crash, a folder that cannot be synced is an error.
        """
        self.stream.flush()
        os.fsync(self.stream.fileno())
        if not _can_move_open_files():
            self.stream.close()
        if self._overwrite:
            self._refuse(self._target, overwrite=True)
            self._part.replace(self._target)
        else:
            self._move()
        self._is_kept = True
        self.stream.close()  # and with it, its lock
        sync_folder(self._target.parent, is_certain=is_certain)

    def _move(self) -> None:
        try:
            # Unlike a rename, a link refuses a target that has come into being meanwhile.
            os.link(self._part, self._target)
        except OSError:
            # Or the file system has no links.
            self._refuse(self._target, overwrite=False)
            self._part.replace(self._target)
        else:
            self._part.unlink()

    def discard(self) -> None:
        """Close the file, and remove it if it was not kept."""
        if not _can_move_open_files():
            with contextlib.suppress(OSError):
                self.stream.close()
        if not self._is_kept:
            with contextlib.suppress(OSError):
                self._part.unlink()  # while the lock still says that it is ours
        # What cannot be closed cleanly, on a full disk for example, is removed all the same.
        with contextlib.suppress(OSError):
            self.stream.close()


def write_file(target: Path, data: bytes) -> None:
    """Write a whole file, in place of one that is there. This blocks, and raises OSError."""
    new = NewFile(target, overwrite=True, refuse=refuse_existing)
    try:
        new.stream.write(data)
        new.keep()
    finally:
        new.discard()


class PartFile:
    """Such a file for content that comes in pieces, may begin anew, and is unpacked or compressed on its way.

    Each method blocks, and waits for the one before it: call them in threads. ``discard`` is called in the end, also
    while a thread that was left behind still writes; that thread finds the file closed.
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
        self._new: NewFile | None = None
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
        """Make the file; it raises FileExistsError where the target exists, or another process is writing it."""
        with self._lock:
            refuse_existing(self.target, overwrite=self._overwrite)
            if not self._is_over:
                self._new = NewFile(self.target, overwrite=self._overwrite, is_buffered=False, refuse=refuse_existing)

    def restart(self, encoding: str | None) -> None:
        """Drop what was written, and begin with the first byte of the content, which comes in this encoding."""
        with self._lock, self._named():
            self._inflater = None if encoding is None else Inflater(encoding)
            self._compressor = None if self._compression is None else compressor(self._compression)
            self._rows = _Rows() if self._rows is not None else None
            self.received = 0
            file = self._opened().stream
            file.seek(0)
            file.truncate()

    def write(self, chunks: Iterable[bytes]) -> None:
        """Write further bytes as they came; it raises TransportError where they are not encoded as was said."""
        with self._lock, self._named():
            data = b"".join(chunks)
            if self._inflater is None:
                self._write(data)
            else:
                for piece in self._inflater.expand(data):
                    self._write(piece)

    def keep(self) -> None:
        """Give the file its name, once everything is on the disk."""
        with self._lock, self._named():
            new = self._opened()
            if self._compressor is not None:
                _write_all(new.stream, self._compressor.flush())
            new.keep()
            self._is_over = True

    def discard(self) -> None:
        """Close and remove the file, if it was not kept."""
        with self._lock:
            new, self._new = self._new, None
            self._is_over = True
            if new is not None:
                new.discard()

    def _write(self, content: bytes) -> None:
        if self._rows is not None:
            self._rows.feed(content)
        stream = self._opened().stream
        _write_all(stream, content if self._compressor is None else self._compressor.compress(content))
        self.received += len(content)

    def _opened(self) -> NewFile:
        if self._new is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # a thread that was left behind comes too late
        return self._new

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
    """Counts the lines that are not blank.

    Attributes:
        count: their number so far, with the last one, which may go on.
    """

    def __init__(self) -> None:
        self.count = 0
        # Whether there is a line that has no end yet, and is counted.
        self._is_open = False

    def feed(self, data: bytes) -> None:
        lines = io.BytesIO(data).readlines()
        if not lines:
            return
        is_first_blank, is_last_blank = lines[0].isspace(), lines[-1].isspace()
        # Of each file that is downloaded all lines come by here: nothing in Python is called for one.
        self.count += len(lines) - sum(map(bytes.isspace, lines))
        if self._is_open and not is_first_blank:
            self.count -= 1
        goes_on = self._is_open and len(lines) == 1
        self._is_open = not data.endswith(b"\n") and (goes_on or not is_last_blank)


def part_path(target: Path) -> Path:
    """Return how a file is called until it is whole."""
    return target.with_name(f"{target.name}.part")


def _can_move_open_files() -> bool:
    """Return whether a file can get its name while it is open, and with that locked."""
    return fcntl is not None


def _opened_part(target: Path) -> int:
    """Return the descriptor of an empty, locked file beside a target; what a killed process left there is overwritten.

    It raises FileExistsError where another process is writing it, or where it is no regular file.
    """
    path = part_path(target)
    while True:
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            _lock(descriptor, path)
            status = os.fstat(descriptor)
            if _is_at(target, status):
                # A process was killed when the file had both names: the target is whole, and keeps its bytes.
                path.unlink(missing_ok=True)
            elif _is_at(path, status):
                os.ftruncate(descriptor, 0)
                if hasattr(os, "fchmod"):
                    os.fchmod(descriptor, 0o600)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its writer renamed or removed it while we waited for the lock


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


def _is_at(path: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.lstat(), status)
    except FileNotFoundError:
        return False


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def sync_folder(folder: Path, *, is_certain: bool = False) -> None:
    """Make a rename outlast a crash; where that need not be certain, a system that cannot is forgiven."""
    if is_certain and not hasattr(os, "O_DIRECTORY"):
        return  # Windows has no way to do it
    with contextlib.nullcontext() if is_certain else contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
