"""Commits: changes to the emulator's records are written to disk, many in one transaction."""

import asyncio
import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import msgspec

from openai_batches.emulator.clock import Clock, LastingClock
from openai_batches.emulator.store.folder import Folder
from openai_batches.emulator.store.index import Place
from openai_batches.emulator.store.records import Record, Row
from openai_batches.emulator.threads import Threads

if TYPE_CHECKING:
    from openai_batches.emulator.store.database import Database


# Only the names of paths are stored, so that a data folder can be moved.
_encode = msgspec.json.Encoder(enc_hook=lambda path: path.name).encode


@attrs.frozen
class _Change:
    id: str
    scope: str
    record: Record | None


@attrs.define
class _Changes:
    """What one transaction will hold, and which contents go with it."""

    by_place: dict[tuple[str, int], _Change | None] = attrs.field(factory=dict[tuple[str, int], _Change | None])
    discarded: list[Path] = attrs.field(factory=list[Path])

    def precede(self, later: "_Changes") -> "_Changes":
        """Return both; of two changes at one place, the later one counts."""
        return _Changes(self.by_place | later.by_place, self.discarded + later.discarded)

    def rows(self) -> list[Row]:
        return [
            Row(kind, number, change.id, change.scope, None if change.record is None else _encode(change.record))
            for (kind, number), change in self.by_place.items()
            if change is not None
        ]

    def forgotten(self) -> list[tuple[str, int]]:
        return [place for place, change in self.by_place.items() if change is None]


class NoCommits:
    """Replaces `Commits` if there is no data folder."""

    def keep(self, kind: str, place: Place, record: Record) -> None:
        """Do nothing."""

    def remove(self, kind: str, place: Place, id: str) -> None:
        """Do nothing."""

    def forget(self, kind: str, place: Place) -> None:
        """Do nothing."""

    def discard(self, path: Path) -> None:
        """Delete the bytes at `path`."""
        path.unlink(missing_ok=True)

    async def commit(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Commits:
    """Collects what changes, and writes it to disk when `commit` is called.

    While one transaction is written in a thread, the next one collects whatever else changes.
    """

    def __init__(self, database: "Database", folder: Folder, clock: Clock) -> None:
        self._database = database
        self._folder = folder
        self._clock = clock
        self._thread = Threads(1, "openai-batches-emulator-database")
        self._changes = _Changes()
        self._marked = 0
        self._committed = 0
        self._horizon = database.time
        self._writing: asyncio.Future[None] | None = None

    def keep(self, kind: str, place: Place, record: Record) -> None:
        """Write `record` as it will be when the transaction begins."""
        self._change(kind, place, _Change(record.id, place.scope, record))

    def remove(self, kind: str, place: Place, id: str) -> None:
        """Write that only the place of a record is left."""
        self._change(kind, place, _Change(id, place.scope, None))

    def forget(self, kind: str, place: Place) -> None:
        """Leave nothing of a record."""
        self._change(kind, place, None)

    def discard(self, path: Path) -> None:
        """Delete the bytes at `path` as soon as no record on disk needs them."""
        self._changes.discarded.append(path)
        self._marked += 1

    async def commit(self) -> None:
        """Return when every change so far is written; if that raises an OSError, the changes stay for the next time."""
        self._mark_time()
        goal = self._marked
        while self._committed < goal:
            if self._writing is None:
                self._writing = asyncio.ensure_future(self._write())
                # If nobody waits any more, the error is not reported as one that was never retrieved.
                self._writing.add_done_callback(lambda writing: writing.cancelled() or writing.exception())
            await asyncio.shield(self._writing)

    def close(self) -> None:
        """Finish what is being written, and close the database."""
        self._thread.close()
        self._database.close()

    def _change(self, kind: str, place: Place, change: _Change | None) -> None:
        self._changes.by_place[kind, place.number] = change
        self._marked += 1

    def _mark_time(self) -> None:
        """Make sure that no time that an answer may show comes again after a restart."""
        if isinstance(self._clock, LastingClock) and self._clock.now() > self._horizon:
            self._marked += 1

    async def _write(self) -> None:
        changes, self._changes = self._changes, _Changes()
        goal = self._marked
        horizon = self._clock.horizon() if isinstance(self._clock, LastingClock) else math.inf
        time = self._clock.now() if horizon == math.inf else horizon
        try:
            rows, forgotten = changes.rows(), changes.forgotten()
            await self._thread.run(self._store, rows, forgotten, changes.discarded, time)
        except BaseException:
            self._changes = changes.precede(self._changes)
            raise
        finally:
            self._writing = None
        self._committed, self._horizon = goal, horizon

    def _store(self, rows: list[Row], forgotten: list[tuple[str, int]], discarded: list[Path], time: float) -> None:
        if rows:
            # The names in the folder come before the records that contain them.
            self._folder.sync_names()
        self._database.write(rows, forgotten, time)
        for path in discarded:
            # What cannot be deleted now is found at the next start.
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
