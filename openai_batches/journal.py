"""A job's memory: one SQLite file in the job's directory, which only this room writes.

What is going to be done is written down before it is done, and what came of it afterwards, each in one transaction that
is on the disk before the next step is taken (WAL, ``synchronous=FULL``). So a process that is killed at any moment
leaves a journal from which another one can go on. Requests and results are not in here: they are files beside it.
Each row is sealed with a digest of itself, since SQLite does not see damage to what is in its pages. The file says
whose it is (``application_id``): somebody else's database of this name is seen before anything is written to it.

The methods block, and are meant for a thread; they may be called from any.

Sources: https://www.sqlite.org/pragma.html#pragma_synchronous, https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from openai_batches.attempts import Attempt, JobRecord, Step, Tally
from openai_batches.converters import decode
from openai_batches.errors import DecodeError, JournalError
from openai_batches.locking import locked
from openai_batches.models import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["Journal", "journal_path", "read_attempts"]

_NAME = "journal.sqlite"
_LOCK_NAME = "journal.lock"
_SQLITE_SUFFIXES = ("", "-wal", "-shm", "-journal")
# What SQLite's file begins with, and where in these bytes it says which schema it has, and whose it is.
_HEAD_BYTES, _MAGIC = 100, b"SQLite format 3\0"
_VERSION_AT, _APPLICATION_AT = slice(60, 64), slice(68, 72)
_APPLICATION_ID = int.from_bytes(b"oaib", "big")
# How long a reader, such as another process that looks at the ledger, may hold a transaction up.
_PATIENCE_S = 10.0


def journal_path(directory: Path) -> Path:
    """Return where the journal of a job is."""
    return directory / _NAME


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
_COLUMNS = tuple(field.name for field in attrs.fields(Attempt))
_SEALED = (*_COLUMNS, "seal")
_SELECT = f"SELECT {', '.join(_SEALED)} FROM attempts ORDER BY shard, number"  # noqa: S608  # our own names
_UPSERT = f"INSERT OR REPLACE INTO attempts ({', '.join(_SEALED)}) VALUES ({', '.join('?' * len(_SEALED))})"  # noqa: S608
_SELECT_JOB = "SELECT record, is_cancelled, is_finished, seal FROM job"
_UPSERT_JOB = "INSERT OR REPLACE INTO job (id, record, is_cancelled, is_finished, seal) VALUES (1, ?, ?, ?, ?)"


class Journal:
    """The journal of one job, open for writing: nobody else can open it so until it is closed, or its process ends.

    A new one in which nothing was written down is removed when it is closed, with the directory that was made for it.

    Args:
        directory: the job's directory; it is made if it is not there.

    Raises:
        JournalError: another process is at work on the job, the journal is not one of this library, or of a newer
            version of it, it is damaged, or it cannot be written.
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
                is_useless = self._is_new and _knows_nothing(self._db)
                with contextlib.suppress(sqlite3.Error):
                    self._db.close()
                self._let_go(is_useless=is_useless)

    def _let_go(self, *, is_useless: bool) -> None:
        """Release the lock; leave nothing behind that was made for nothing."""
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
        """Write down what is to be done: the job and all its shards, or nothing."""
        with self._transaction() as db:
            db.execute(_UPSERT_JOB, _sealed((_encode(job), 0, 0)))
            db.executemany(_UPSERT, map(_row, attempts))

    def job(self) -> JobRecord | None:
        """Return what the job is about, or None if it was not planned yet."""
        with self._reading() as db:
            row = _job_row(db)
            return None if row is None else _decode(row[0], JobRecord)

    def attempts(self) -> list[Attempt]:
        """Return all attempts, in the order of their shards."""
        with self._reading() as db:
            return [_attempt(_unsealed(row)) for row in db.execute(_SELECT)]

    def save(self, *attempts: Attempt) -> None:
        """Write down how far some attempts have come: all of them or none."""
        with self._transaction() as db:
            db.executemany(_UPSERT, map(_row, attempts))

    def marks(self) -> tuple[bool, bool]:
        """Return whether the job was told to end without sending anything more, and whether nothing is left to do."""
        with self._reading() as db:
            _, is_cancelled, is_finished = _job_row(db) or (b"", 0, 0)
        return bool(is_cancelled), bool(is_finished)

    def cancel(self) -> None:
        """Write down that nothing more is to be sent."""
        self._mark(is_cancelled=1)

    def reopen(self) -> None:
        """Write down that there is something to do again."""
        self._mark(is_finished=0)

    def finish(self) -> None:
        """Write down that nothing is left to do, at the service neither."""
        self._mark(is_finished=1)

    def _mark(self, **marks: int) -> None:
        with self._transaction() as db:
            row = _job_row(db)
            if row is not None:
                known = {"is_cancelled": row[1], "is_finished": row[2], **marks}
                db.execute(_UPSERT_JOB, _sealed((row[0], *known.values())))

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


def read_attempts(directory: Path) -> list[Attempt]:
    """Return all attempts of a job, which another process may be at work on.

    Raises:
        JournalError: the journal cannot be read, or is of another version of this library.
    """
    path = journal_path(directory)
    log = path.with_name(f"{_NAME}-wal")
    with _told(path):
        # Where nobody has the journal open, it is read without the files that SQLite makes for readers.
        if path.is_file() and not log.exists():
            before = path.stat().st_mtime_ns
            with contextlib.suppress(sqlite3.Error):
                attempts = _read(path, "immutable=1")
                if not log.exists() and path.stat().st_mtime_ns == before:
                    return attempts
        return _read(path, "mode=ro")


def _read(path: Path, mode: str) -> list[Attempt]:
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)) as db:
        (application_id,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        _check_owner(application_id, path)
        _check_version(version, path)
        if version < len(_MIGRATIONS):
            text = f"{path} was written by an older version of openai_batches (schema {version}): run the job once"
            raise JournalError(text)
        return [_attempt(_unsealed(row)) for row in db.execute(_SELECT)]


def _look_at(path: Path) -> None:
    """Refuse what is not ours before SQLite opens it, which may be to write."""
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


def _knows_nothing(db: sqlite3.Connection) -> bool:
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
            # Before there is a log, so that the file itself says so from its first page on.
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
    """Say what is the matter with the file, in our words."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = f"{path} cannot be read or written: {error}; nothing was lost, run the job again once that is mended"
        raise JournalError(text) from error
    except (sqlite3.Error, UnicodeDecodeError) as error:  # a damaged schema may not even be put into words
        text = f"{path} is damaged ({error}): put a copy of it in its place, or begin anew in another directory"
        raise JournalError(text) from error
    except OSError as error:
        raise JournalError(f"{path} cannot be opened: {error.strerror or error}") from error


_encode = msgspec.json.encode


def _decode(data: bytes, cls: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=cls)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise sqlite3.DatabaseError(str(error)) from error


def _sealed(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row with the digest of its values behind them."""
    return (*values, hashlib.blake2b(msgspec.msgpack.encode(values), digest_size=8).digest())


def _unsealed(row: Sequence[Any]) -> tuple[Any, ...]:
    values = tuple(row[:-1])
    if _sealed(values)[-1] != row[-1]:
        raise sqlite3.DatabaseError("a row is not what was written")
    return values


def _job_row(db: sqlite3.Connection) -> tuple[bytes, int, int] | None:
    row = db.execute(_SELECT_JOB).fetchone()
    if row is None:
        return None
    record, is_cancelled, is_finished = _unsealed(row)
    return record, is_cancelled, is_finished


def _row(attempt: Attempt) -> tuple[Any, ...]:
    fields = attrs.asdict(attempt, recurse=False)
    fields["step"] = attempt.step.value
    fields["batch"] = None if attempt.batch is None else _encode(attempt.batch)
    fields["tally"] = None if attempt.tally is None else _encode(attempt.tally)
    fields["is_tidy"], fields["is_adopted"] = int(attempt.is_tidy), int(attempt.is_adopted)
    return _sealed(tuple(fields[name] for name in _COLUMNS))


def _attempt(values: tuple[Any, ...]) -> Attempt:
    fields = dict(zip(_COLUMNS, values, strict=True))
    try:
        fields["step"] = Step(fields["step"])
        fields["batch"] = None if fields["batch"] is None else decode(fields["batch"], Batch)
    except (ValueError, DecodeError) as error:
        raise sqlite3.DatabaseError(str(error)) from error
    fields["tally"] = None if fields["tally"] is None else _decode(fields["tally"], Tally)
    fields["is_tidy"], fields["is_adopted"] = bool(fields["is_tidy"]), bool(fields["is_adopted"])
    return Attempt(**fields)
