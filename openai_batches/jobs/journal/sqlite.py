"""The journal of a job: one SQLite file in the job's directory, which only this module writes.

What is going to be done is written down before it is done, and what came of it afterwards, each in one transaction that
is on the disk before the next step is taken (WAL, ``synchronous=FULL``). So a process that is killed at any moment
leaves a journal from which another one can go on. Requests and results are not in here: they are files beside it.
The file says whose it is (``application_id``): somebody else's database of this name is seen before anything is written
to it.

The methods block, and are meant for a thread; they may be called from any.

Sources: https://www.sqlite.org/pragma.html#pragma_synchronous, https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, TypeVar

import attrs

from openai_batches.errors import JournalError
from openai_batches.jobs.journal.records import Attempt, JobRecord
from openai_batches.jobs.journal.rows import JobEntry, attempts_in, forget_job, job_in, put_attempts, put_job
from openai_batches.storage.locks import is_locked, locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Journal", "JournalView", "is_at_work", "journal_path", "read_attempts", "read_journal"]

T = TypeVar("T")

_NAME = "journal.sqlite"
_LOCK_NAME = "journal.lock"
_SQLITE_SUFFIXES = ("", "-wal", "-shm", "-journal")
# What SQLite's file begins with, and where in these bytes it says which schema it has, and whose it is.
_HEAD_BYTES, _MAGIC = 100, b"SQLite format 3\0"
_VERSION_AT, _APPLICATION_AT = slice(60, 64), slice(68, 72)
_APPLICATION_ID = int.from_bytes(b"oaib", "big")
# How long a transaction waits for a reader, such as another process that reads the ledger.
_PATIENCE_S = 10.0


def journal_path(directory: Path) -> Path:
    """Return where the journal of a job is."""
    return directory / _NAME


def is_at_work(directory: Path) -> bool:
    """Return whether a process works on the job in a directory, without disturbing it. This blocks."""
    return is_locked(directory / _LOCK_NAME)


_SCHEMA_1 = """
CREATE TABLE job (id INTEGER PRIMARY KEY CHECK (id = 1), record BLOB NOT NULL, is_cancelled INTEGER NOT NULL DEFAULT 0,
    is_finished INTEGER NOT NULL DEFAULT 0, seal BLOB NOT NULL);
CREATE TABLE attempts (
    shard INTEGER NOT NULL, number INTEGER NOT NULL, endpoint TEXT NOT NULL, model TEXT,
    requests INTEGER NOT NULL, bytes INTEGER NOT NULL, tokens INTEGER NOT NULL, step TEXT NOT NULL,
    file_id TEXT, file_created_s REAL, key TEXT, batch BLOB, refusals INTEGER NOT NULL,
    output_name TEXT, output_bytes INTEGER, error_name TEXT, error_bytes INTEGER, tally BLOB,
    is_tidy INTEGER NOT NULL, is_adopted INTEGER NOT NULL,
    seal BLOB NOT NULL,
    PRIMARY KEY (shard, number)
) WITHOUT ROWID;
"""
# One step for each version of the schema: what turns the version before it into this one.
_MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (lambda db: _run_script(db, _SCHEMA_1),)


class Journal:
    """The journal of one job, open for writing; it is locked until it is closed or its process ends.

    A new one in which nothing was written down is removed when it is closed, with the directory that was made for it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._mutex = threading.Lock()
        path = journal_path(directory)
        try:
            self._made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = locked(directory / _LOCK_NAME)
        except FileExistsError as error:
            raise JournalError(
                f"{directory} is a file, and a job is kept in a folder: give another directory"
            ) from error
        except OSError as error:
            raise JournalError(f"The job in {directory} cannot be opened: {error.strerror or error}") from error
        self._is_new = not path.exists()
        try:
            with _told(path):
                _look_at(path)
                self._db = _opened(path)
                _migrate(self._db, path)
        except BaseException:
            self._let_go(is_useless=self._is_new)
            raise

    def close(self) -> None:
        """Let go of the journal; closing twice does nothing."""
        with self._mutex:
            if self._lock >= 0:
                is_useless = self._is_new and _has_no_job(self._db)
                with contextlib.suppress(sqlite3.Error):
                    self._db.close()
                self._let_go(is_useless=is_useless)

    def _let_go(self, *, is_useless: bool) -> None:
        """Release the lock; remove the files and folders of a journal that has no job."""
        if is_useless:
            for name in (*(f"{_NAME}{suffix}" for suffix in _SQLITE_SUFFIXES), _LOCK_NAME):
                with contextlib.suppress(OSError):
                    (self.directory / name).unlink()
        os.close(self._lock)
        self._lock = -1
        if is_useless:
            with contextlib.suppress(OSError):
                for folder in self._made:
                    folder.rmdir()

    def begin(self, job: JobRecord, attempts: list[Attempt]) -> None:
        """Write the job and all its shards, or nothing."""
        with self._transaction() as db:
            put_job(db, JobEntry.of(job))
            put_attempts(db, attempts)

    def forget(self) -> None:
        """Remove the job; closing then removes the journal's files."""
        with self._transaction() as db:
            forget_job(db)
        if not self._is_new:
            self._is_new, self._made = True, [self.directory]

    def job(self) -> JobRecord | None:
        """Return what the job is about, or None if it was not planned yet."""
        with self._reading() as db:
            entry = job_in(db)
            return None if entry is None else entry.job

    def attempts(self) -> list[Attempt]:
        """Return all attempts, in the order of their shards."""
        with self._reading() as db:
            return attempts_in(db)

    def save(self, *attempts: Attempt) -> None:
        """Write some attempts, all or none."""
        with self._transaction() as db:
            put_attempts(db, attempts)

    def marks(self) -> tuple[bool, bool]:
        """Return whether the job was told to end without sending anything more, and whether nothing is left to do."""
        with self._reading() as db:
            entry = job_in(db)
        return (False, False) if entry is None else (entry.is_cancelled, entry.is_finished)

    def cancel(self) -> None:
        """Write down that nothing more is to be sent."""
        self._mark(is_cancelled=True)

    def reopen(self) -> None:
        """Write down that there is something to do again."""
        self._mark(is_finished=False)

    def finish(self) -> None:
        """Write down that nothing is left to do, at the service neither."""
        self._mark(is_finished=True)

    def _mark(self, *, is_cancelled: bool | None = None, is_finished: bool | None = None) -> None:
        with self._transaction() as db:
            entry = job_in(db)
            if entry is not None:
                known = JobEntry(
                    entry.record,
                    is_cancelled=entry.is_cancelled if is_cancelled is None else is_cancelled,
                    is_finished=entry.is_finished if is_finished is None else is_finished,
                )
                put_job(db, known)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._mutex, _told(journal_path(self.directory)):
            if self._lock < 0:
                raise JournalError(f"The journal in {self.directory} is closed")
            yield self._db

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise


@attrs.frozen(kw_only=True)
class JournalView:
    """What a journal says of a job, all of it at one moment.

    Attributes:
        job: what the job is about.
        attempts: all attempts, in the order of their shards.
        is_cancelled: whether the job was told to end without sending anything more.
        is_finished: whether nothing is left to do, at the service neither.
    """

    job: JobRecord
    attempts: tuple[Attempt, ...]
    is_cancelled: bool
    is_finished: bool


def read_journal(directory: Path) -> JournalView:
    """Return what is known of a job, which this or another process may be at work on; it is not held up.

    This blocks: call it in a thread.
    """
    path = journal_path(directory)
    if not os.path.lexists(path):
        raise JournalError(f"There is no job in {directory}")
    view = _looked(path, _view)
    if view is None:
        raise JournalError(f"There is no job in {directory} yet: its requests were not planned to their end")
    return view


def read_attempts(directory: Path) -> list[Attempt]:
    """Return all attempts of a job, which another process may be at work on."""
    return _looked(journal_path(directory), attempts_in)


def _view(db: sqlite3.Connection) -> JournalView | None:
    entry = job_in(db)
    if entry is None:
        return None
    return JournalView(
        job=entry.job,
        attempts=tuple(attempts_in(db)),
        is_cancelled=entry.is_cancelled,
        is_finished=entry.is_finished,
    )


def _looked(path: Path, take: Callable[[sqlite3.Connection], T]) -> T:
    """Read from a journal without leaving files beside it."""
    log = path.with_name(f"{_NAME}-wal")
    with _told(path):
        # Where nobody has the journal open, it is read without the files that SQLite makes for readers.
        if path.is_file() and not log.exists():
            before = path.stat().st_mtime_ns
            with contextlib.suppress(sqlite3.Error):
                taken = _read(path, "immutable=1", take)
                if not log.exists() and path.stat().st_mtime_ns == before:
                    return taken
        return _read(path, "mode=ro", take)


def _read(path: Path, mode: str, take: Callable[[sqlite3.Connection], T]) -> T:
    uri = f"{path.absolute().as_uri()}?{mode}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
        # Everything that is read from here on is of one moment, while a writer goes on.
        db.execute("BEGIN")
        (application_id,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        _check_owner(application_id, path)
        _check_version(version, path)
        if version < len(_MIGRATIONS):
            text = f"{path} was written by an older version of openai_batches (schema {version}): run the job once"
            raise JournalError(text)
        return take(db)


def _look_at(path: Path) -> None:
    """Refuse a file of another program before SQLite opens it, which may write to it."""
    if not path.exists():
        return
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if len(head) == _HEAD_BYTES and head.startswith(_MAGIC):
        _check_owner(int.from_bytes(head[_APPLICATION_AT], "big"), path)
        _check_version(int.from_bytes(head[_VERSION_AT], "big"), path)


def _check_owner(application_id: int, path: Path) -> None:
    if application_id != _APPLICATION_ID:
        raise JournalError(
            f"{path} is not a journal of this library, and is left as it is: keep the job in another directory"
        )


def _has_no_job(db: sqlite3.Connection) -> bool:
    try:
        (count,) = db.execute("SELECT (SELECT count(*) FROM job) + (SELECT count(*) FROM attempts)").fetchone()
    except sqlite3.Error:
        return False
    return bool(count == 0)


def _opened(path: Path) -> sqlite3.Connection:
    # SQLite gives its other files the mode of this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    db = sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False)
    try:
        if db.execute("PRAGMA page_count").fetchone() == (0,):
            # Before there is a log, so that it is in the file itself from the first page on.
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        # The file is small, and a damaged page is better found before anything is paid for.
        _check(db)
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection) -> None:
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _check_version(version: int, path: Path) -> None:
    if version > len(_MIGRATIONS):
        raise JournalError(
            f"{path} was written by a newer version of openai_batches (schema {version}, "
            f"this one knows {len(_MIGRATIONS)}): update the library to go on with this job"
        )


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        _check_version(version, path)
        for number, migrate in enumerate(_MIGRATIONS[version:], version + 1):
            db.execute("BEGIN IMMEDIATE")
            migrate(db)
            db.execute(f"PRAGMA user_version = {number}")
            db.execute("COMMIT")
    except BaseException:
        db.close()
        raise


def _run_script(db: sqlite3.Connection, script: str) -> None:
    """Run statements without the commit that ``executescript`` would make first."""
    for statement in script.split(";"):
        db.execute(statement)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into ``JournalError``."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = f"{path} cannot be read or written: {error}; nothing was lost, run the job again once that is mended"
        raise JournalError(text) from error
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the message for a damaged schema may not be UTF-8
        text = f"{path} is damaged ({error}): put a copy of it in its place, or begin anew in another directory"
        raise JournalError(text) from error
    except OSError as error:
        raise JournalError(f"{path} cannot be opened: {error.strerror or error}") from error
