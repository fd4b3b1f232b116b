"""The rows of a journal: a job and its attempts as SQLite keeps them, and back.

Each row is sealed with a digest of itself, since SQLite does not see damage to what is in its pages. One that is not
what was written raises :class:`sqlite3.DatabaseError`, as SQLite does where it sees damage itself.
"""

from __future__ import annotations

import hashlib
import sqlite3
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from openai_batches.errors import DecodeError
from openai_batches.http.decode import decode
from openai_batches.jobs.journal.records import Attempt, JobRecord, Step, Tally
from openai_batches.models import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["JobEntry", "attempts_in", "forget_job", "job_in", "put_attempts", "put_job", "sealed"]

_COLUMNS = tuple(field.name for field in attrs.fields(Attempt))
_SEALED = (*_COLUMNS, "seal")
_SELECT = f"SELECT {', '.join(_SEALED)} FROM attempts ORDER BY shard, number"  # noqa: S608  # our own names
_UPSERT = f"INSERT OR REPLACE INTO attempts ({', '.join(_SEALED)}) VALUES ({', '.join('?' * len(_SEALED))})"  # noqa: S608
_SELECT_JOB = "SELECT record, is_cancelled, is_finished, seal FROM job"
_UPSERT_JOB = "INSERT OR REPLACE INTO job (id, record, is_cancelled, is_finished, seal) VALUES (1, ?, ?, ?, ?)"


@attrs.frozen
class JobEntry:
    """The row of a job.

    Attributes:
        record: what it is about, as it was written.
        is_cancelled: whether it was told to end without sending anything more.
        is_finished: whether nothing is left to do.
    """

    record: bytes
    is_cancelled: bool = False
    is_finished: bool = False

    @classmethod
    def of(cls, job: JobRecord) -> JobEntry:
        """Return the row of a new job."""
        return cls(_encode(job))

    @property
    def job(self) -> JobRecord:
        """What it is about."""
        job: JobRecord = _decode(self.record, JobRecord)
        return job


def job_in(db: sqlite3.Connection) -> JobEntry | None:
    """Return the job of a journal, or None if it was not planned yet."""
    row = db.execute(_SELECT_JOB).fetchone()
    if row is None:
        return None
    record, is_cancelled, is_finished = _unsealed(row)
    return JobEntry(record, bool(is_cancelled), bool(is_finished))


def put_job(db: sqlite3.Connection, entry: JobEntry) -> None:
    """Write a job down, in the place of what is there of it."""
    db.execute(_UPSERT_JOB, sealed((entry.record, int(entry.is_cancelled), int(entry.is_finished))))


def forget_job(db: sqlite3.Connection) -> None:
    """Leave nothing of a job and its attempts."""
    db.execute("DELETE FROM attempts")
    db.execute("DELETE FROM job")


def attempts_in(db: sqlite3.Connection) -> list[Attempt]:
    """Return all attempts of a journal, in the order of their shards."""
    return [_attempt(_unsealed(row)) for row in db.execute(_SELECT)]


def put_attempts(db: sqlite3.Connection, attempts: Iterable[Attempt]) -> None:
    """Write attempts down, each in the place of the one of its number."""
    db.executemany(_UPSERT, map(_row, attempts))


def sealed(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row with the digest of its values behind them."""
    return (*values, hashlib.blake2b(msgspec.msgpack.encode(values), digest_size=8).digest())


_encode = msgspec.json.encode


def _decode(data: bytes, cls: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=cls)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise sqlite3.DatabaseError(str(error)) from error


def _unsealed(row: Sequence[Any]) -> tuple[Any, ...]:
    values = tuple(row[:-1])
    if sealed(values)[-1] != row[-1]:
        raise sqlite3.DatabaseError("a row is not what was written")
    return values


def _row(attempt: Attempt) -> tuple[Any, ...]:
    fields = attrs.asdict(attempt, recurse=False)
    fields["step"] = attempt.step.value
    fields["batch"] = None if attempt.batch is None else _encode(attempt.batch)
    fields["tally"] = None if attempt.tally is None else _encode(attempt.tally)
    fields["is_tidy"], fields["is_adopted"] = int(attempt.is_tidy), int(attempt.is_adopted)
    return sealed(tuple(fields[name] for name in _COLUMNS))


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
