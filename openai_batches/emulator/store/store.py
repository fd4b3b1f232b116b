"""What the emulator remembers: records in memory, contents in a folder, and both on disk if there is a data folder."""

import asyncio
import hashlib
import logging
from collections import Counter
from pathlib import Path
from typing import TypeVar

from openai_batches._names import public
from openai_batches.emulator.clock import Clock, LastingClock, RealClock
from openai_batches.emulator.rules import ORGANIZATION
from openai_batches.emulator.store.committing import Commits, NoCommits
from openai_batches.emulator.store.folder import CreatedPaths, Folder
from openai_batches.emulator.store.index import Index
from openai_batches.emulator.store.records import (
    Ids,
    Record,
    StoredBatch,
    StoredFile,
    StoredMessage,
    StoredPart,
    StoredUpload,
)

_logger = logging.getLogger(__name__)

# How long an upload that has ended can still be asked for.
_REMEMBERED_S = 86_400

R = TypeVar("R", bound=Record)


@public
class Store:
    """Everything the server remembers, from `open` to `close`, and with a data folder beyond.

    Every change is made by a method here, or told to `touch`; `commit` waits until all that changed is on disk.
    Without a data folder that costs nothing.

    Args:
        seed: Makes the ids repeatable.
        data: The data folder; None keeps records in memory and contents in a temporary folder.
        clock: Whose time goes on where it was, and is kept.
        new_ids: Makes the ids as the service does.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        data: Path | None = None,
        clock: Clock | None = None,
        new_ids: type[Ids] = Ids,
    ) -> None:
        self.ids: Ids = new_ids(seed)
        self.batches: Index[StoredBatch] = Index("batch")
        self.files: Index[StoredFile] = Index("file")
        self.uploads: Index[StoredUpload] = Index("upload")
        self.parts: Index[StoredPart] = Index("part")
        self.messages: Index[StoredMessage] = Index("message")
        self._bytes: Counter[str] = Counter()
        self._seed = seed
        self._data = data
        self._clock: Clock = RealClock() if clock is None else clock
        self._contents: Folder | None = None
        self._commits: Commits | NoCommits = NoCommits()
        self._created = CreatedPaths()

    @property
    def is_durable(self) -> bool:
        """Whether what is committed outlives the server."""
        return self._data is not None

    @property
    def folder(self) -> Path | None:
        """Where the contents of files lie; None while the store is closed."""
        return None if self._contents is None else self._contents.path

    def open(self) -> None:
        """Make the temporary folder, or take up what the data folder holds.

        Raises:
            DataFolderError: The data folder is unwritable, in use, damaged or of a newer version.
        """
        if self._data is None:
            self._contents = Folder.temporary()
            return
        from openai_batches.emulator.store.loading import load  # noqa: PLC0415 - SQLite is imported only where it is used

        indexes = (self.files, self.batches, self.uploads, self.parts, self.messages)
        database, self._contents, self._created = load(self._data, indexes)
        self._commits = Commits(database, self._contents, self._clock)
        for file in self.files.items.values():
            self._bytes[file.scope] += file.bytes
        for file in [file for file in self.files.items.values() if not file.path.exists()]:
            _logger.error("the bytes of %s are gone, and so is the file", file.id)
            self.remove_file(file)
        if isinstance(self._clock, LastingClock):
            self._clock.catch_up(database.time)
        if self._seed is not None and database.run > 1:
            # The ids of earlier runs are in use.
            self.ids.reseed(f"{self._seed}/{database.run}")

    async def commit(self) -> None:
        """Return when every change so far will survive the end of the process.

        Raises:
            OSError: The data folder cannot be written, as when its disk is full.
        """
        await self._commits.commit()

    async def close(self) -> None:
        """Let go of the data folder, or remove the temporary folder and all in it."""
        try:
            await self.commit()
        except OSError:
            _logger.exception("the last changes could not be written")
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._commits.close()
        self._commits = NoCommits()
        if self._contents is not None:
            self._contents.close()
            self._contents = None

    def undo(self) -> None:
        """Remove what `open` had to make on disk, after a start that failed; the store is closed."""
        self._created.remove()

    def owner(self, key: str) -> str:
        """Return the name under which the things of an API key are kept: no key is written to disk."""
        return key if self._data is None else hashlib.sha256(key.encode(errors="replace")).hexdigest()

    def touch(self, batch: StoredBatch) -> None:
        """Take note that fields of a batch have changed."""
        self._keep(self.batches, batch)

    def new_path(self) -> Path:
        """Return a path in the folder that nothing uses yet.

        Raises:
            RuntimeError: The folder is not open.
        """
        return self._open_folder().new_path()

    def link(self, path: Path) -> Path:
        """Return a second name for the bytes at `path`, which stay as long as either name does."""
        return self._open_folder().link(path)

    async def secure(self, *paths: Path) -> None:
        """Return when the bytes at these paths are on disk, for a record that is going to speak of them."""
        if self.is_durable:
            await asyncio.to_thread(self._open_folder().sync, *paths)

    def discard(self, path: Path) -> None:
        """Delete the bytes at `path`, once no record on disk needs them."""
        self._commits.discard(path)

    def new_file(
        self, *, scope: str, path: Path, filename: str, purpose: str, now: float, lifetime_s: int | None
    ) -> StoredFile:
        """Add the bytes at `path` as a file of `scope`, created at `now`, that lives `lifetime_s` or for ever."""
        created_at = int(now)
        file = StoredFile(
            id=self.ids.file(),
            scope=scope,
            path=path,
            filename=filename,
            purpose=purpose,
            bytes=path.stat().st_size,
            created_at=created_at,
            expires_at=None if lifetime_s is None else created_at + lifetime_s,
        )
        self._put(self.files, file)
        self._bytes[scope] += file.bytes
        return file

    def new_batch(
        self,
        *,
        scope: str,
        now: float,
        endpoint: str,
        input_file_id: str,
        completion_window: str = "24h",
        window_s: int = 86_400,
        metadata: dict[str, str] | None = None,
        output_lifetime_s: int = 30 * 86_400,
        organization: str = ORGANIZATION,
    ) -> StoredBatch:
        """Add a batch of `scope` created at `now` (Unix seconds), in its first state."""
        batch = StoredBatch(
            id=self.ids.batch(now),
            scope=scope,
            endpoint=endpoint,
            input_file_id=input_file_id,
            completion_window=completion_window,
            created_at=int(now),
            expires_at=int(now) + window_s,
            metadata=metadata,
            output_lifetime_s=output_lifetime_s,
            organization=organization,
            since=now,
        )
        self._put(self.batches, batch)
        return batch

    def find_file(self, scope: str, id: str, now: float) -> StoredFile | None:
        """Return the file if it belongs to `scope` and has not expired at `now`; an expired one is removed."""
        file = self.files.get(scope, id)
        if file is not None and file.expires_at is not None and file.expires_at <= now:
            self.remove_file(file)
            return None
        return file

    def bytes_of(self, scope: str) -> int:
        """Return how many bytes the files of `scope` have, those that expired and were not removed yet among them."""
        return self._bytes[scope]

    def remove_file(self, file: StoredFile) -> None:
        """Delete the record and the bytes."""
        self._remove(self.files, file)
        self._bytes[file.scope] -= file.bytes
        if not self._bytes[file.scope]:
            del self._bytes[file.scope]
        self.discard(file.path)

    def remove_batch(self, batch: StoredBatch) -> None:
        """Delete the record of a batch that is over; its files stay."""
        self._remove(self.batches, batch)

    def new_upload(
        self, *, scope: str, now: float, size: int, filename: str, purpose: str, lifetime_s: int | None
    ) -> StoredUpload:
        """Announce a file of `scope` and of `size` bytes that comes in parts."""
        upload = StoredUpload(
            id=self.ids.timed("upload_", now),
            scope=scope,
            bytes=size,
            created_at=int(now),
            filename=filename,
            purpose=purpose,
            lifetime_s=lifetime_s,
        )
        self._put(self.uploads, upload)
        return upload

    def new_part(self, upload: StoredUpload, path: Path, now: float) -> StoredPart:
        """Add the bytes at `path` as a part of a pending upload."""
        part = StoredPart(
            id=self.ids.timed("part_", now),
            upload_id=upload.id,
            path=path,
            bytes=path.stat().st_size,
            created_at=int(now),
        )
        self._put(self.parts, part)
        return part

    def end_upload(self, upload: StoredUpload, status: str) -> None:
        """Turn a pending upload to `status`, and delete its parts."""
        if upload.status == "pending":
            upload.status = status
            self._keep(self.uploads, upload)
            for part in self.parts.of(upload.id):
                self._commits.forget(self.parts.kind, self.parts.drop(part))
                self.discard(part.path)

    def give_up_uploads(self, now: float) -> None:
        """End the pending uploads that have expired at `now`, and forget those that ended long ago."""
        for upload in tuple(self.uploads.items.values()):
            if upload.expires_at <= now:
                self.end_upload(upload, "expired")
            if upload.expires_at + _REMEMBERED_S <= now:
                self._commits.forget(self.uploads.kind, self.uploads.drop(upload))

    def keep_message(self, message: StoredMessage) -> None:
        """Remember a webhook message, or that it has changed."""
        if message.id in self.messages.items:
            self._keep(self.messages, message)
        else:
            self._put(self.messages, message)

    def remove_message(self, message: StoredMessage) -> None:
        """Forget a webhook message that was accepted, or is given up."""
        if message.id in self.messages.items:
            self._commits.forget(self.messages.kind, self.messages.drop(message))

    def read(self, file_id: str) -> bytes:
        """Return the whole content of a file of any key, for tests.

        Raises:
            KeyError: There is no such file.
        """
        return self.files.items[file_id].path.read_bytes()

    def _open_folder(self) -> Folder:
        if self._contents is None:
            raise RuntimeError("the store is closed")
        return self._contents

    def _put(self, index: Index[R], record: R) -> None:
        index.put(record)
        self._keep(index, record)

    def _keep(self, index: Index[R], record: R) -> None:
        self._commits.keep(index.kind, index.places[record.id], record)

    def _remove(self, index: Index[R], record: R) -> None:
        self._commits.remove(index.kind, index.places[record.id], record.id)
        for forgotten in index.remove(record):
            self._commits.forget(index.kind, forgotten)
