"""The lock file of a job, which one process at a time can hold; the system releases it when the process ends."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

from openai_batches.errors import JournalError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["is_locked", "locked"]

# How a system says that the lock is somebody else's, rather than that it has no locks.
_TAKEN = frozenset({errno.EAGAIN, errno.EACCES, errno.EDEADLK})
# A process that only looks whether it is held holds it for a moment.
_TRIES, _PAUSE_S = 10, 0.01


def locked(path: Path) -> int:
    """Return a descriptor that holds the lock of a job; it is released when the process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock_in_a_moment(descriptor)
        _check_place(descriptor, path)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in _TAKEN:
            raise JournalError(f"{path} cannot be locked, and a job needs that: {error.strerror or error}") from error
        text = f"Another process is at work on the job in {path.parent}: wait for it, or stop it first"
        raise JournalError(text) from error
    return descriptor


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of a job, without keeping another one from taking it."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise JournalError(f"{path} cannot be opened: {error.strerror or error}") from error
    try:
        _lock(descriptor, is_shared=True)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise JournalError(f"{path} cannot be locked: {error.strerror or error}") from error
        return True
    finally:
        os.close(descriptor)
    return False


def _lock_in_a_moment(descriptor: int) -> None:
    tries = 1
    while True:
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno not in _TAKEN or tries == _TRIES:
                raise
        else:
            return
        tries += 1
        time.sleep(_PAUSE_S)


def _check_place(descriptor: int, path: Path) -> None:
    """Refuse a lock file that its last holder has removed, since the next process would lock a new one."""
    try:
        is_there = os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        is_there = False
    if not is_there:
        raise BlockingIOError(errno.EAGAIN, "the lock was just removed")


if os.name == "nt":  # pragma: no cover  # Windows

    def _lock(descriptor: int, *, is_shared: bool = False) -> None:  # noqa: ARG001  # Windows has one kind only
        import msvcrt  # noqa: PLC0415

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]

else:

    def _lock(descriptor: int, *, is_shared: bool = False) -> None:
        import fcntl  # noqa: PLC0415

        # Processes that only look take a shared lock, so that they do not mistake each other for the holder.
        fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
