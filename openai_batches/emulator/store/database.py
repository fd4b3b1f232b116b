"""The emulator's records on disk: one SQLite database per data folder."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from openai_batches.emulator.store.folder import DataFolderError, FolderInUseError
from openai_batches.emulator.store.records import Row

# "oaib": distinguishes this database from those of other programs.
_APPLICATION = 0x6F616962
_VERSION = 1
# Long enough for a server that was just killed to have ended.
_LOCK_S = 0.5

_SCHEMA = (
    """CREATE TABLE record (
        kind TEXT NOT NULL, number INTEGER NOT NULL, id TEXT NOT NULL, scope TEXT NOT NULL, content BLOB,
        PRIMARY KEY (kind, number)
    ) WITHOUT ROWID""",
    "CREATE TABLE state (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "INSERT INTO state VALUES ('run', 0), ('time', 0.0)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)


def is_open_elsewhere(path: Path) -> bool:
    """Tell whether a server has a database open at this moment; nothing is made where there is none."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None)
    except sqlite3.Error:
        return False
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        return _code(error) == sqlite3.SQLITE_BUSY
    else:
        return False
    finally:
        connection.close()


class Database:
    """The records of one server, which alone may have them open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._explained():
            # SQLite gives its other files the permissions of this one.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._connection = sqlite3.connect(path, timeout=_LOCK_S, isolation_level=None, check_same_thread=False)
        try:
            with self._explained():
                self._begin()
        except BaseException:
            self._connection.close()
            raise

    def rows(self) -> Iterator[Row]:
        """Read every record, in the order of its index."""
        with self._explained():
            yield from map(Row._make, self._connection.execute("SELECT * FROM record ORDER BY kind, number"))

    def write(self, rows: Iterable[Row], forgotten: Iterable[tuple[str, int]], time: float) -> None:
        """Keep rows, and forget others by kind and number, all or nothing; `time` is the emulated time."""
        try:
            with self._transaction() as connection:
                connection.executemany("REPLACE INTO record VALUES (?, ?, ?, ?, ?)", rows)
                connection.executemany("DELETE FROM record WHERE kind = ? AND number = ?", forgotten)
                connection.execute("UPDATE state SET value = ? WHERE name = 'time'", (time,))
        except sqlite3.Error as error:
            number = errno.ENOSPC if _code(error) == sqlite3.SQLITE_FULL else errno.EIO
            raise OSError(number, f"{os.strerror(number)} ({error})", str(self._path)) from error

    def close(self) -> None:
        """Close it, for another server to open."""
        self._connection.close()

    def _begin(self) -> None:
        # Held until the connection or the process ends, however it ends.
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        application, version = self._pragma("application_id"), self._pragma("user_version")
        is_new = self._pragma("schema_version") == 0
        if not is_new and application != _APPLICATION:
            raise DataFolderError(f"{self._path} is no database of the emulator")
        if version > _VERSION:
            raise DataFolderError(
                f"{self._path} was written by a newer version (its format is {version}, known are up to {_VERSION})"
            )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        with self._transaction() as connection:
            for statement in _SCHEMA if is_new else ():
                connection.execute(statement)
            connection.execute("UPDATE state SET value = value + 1 WHERE name = 'run'")
            state = dict(connection.execute("SELECT name, value FROM state"))
        self.run: int = state["run"]
        self.time: float = state["time"]

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    @contextlib.contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            # A full disk may have rolled it back already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if _code(error) == sqlite3.SQLITE_BUSY:
                raise FolderInUseError(f"{self._path.parent} is in use by another server") from error
            reasons = {
                sqlite3.SQLITE_CORRUPT: f"{self._path} is damaged ({error})",
                sqlite3.SQLITE_NOTADB: f"{self._path} is damaged, or no database ({error})",
            }
            raise DataFolderError(reasons.get(_code(error), f"{self._path} cannot be used: {error}")) from error
        except (KeyError, TypeError, ValueError) as error:
            raise DataFolderError(f"{self._path} is damaged ({error!r})") from error


def _code(error: sqlite3.Error) -> int:
    """Return the primary result code; errors of the Python side have none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
