"""The emulator's memory: batches and files per key, with the files' contents in a temporary folder."""

import random
import shutil
import string
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import attrs

_BASE62 = string.digits + string.ascii_letters


class _Kept(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def scope(self) -> str: ...


T = TypeVar("T", bound=_Kept)


@attrs.define(kw_only=True)
class StoredFile:
    """One file: the fields of its record, whose key it belongs to, and where its bytes lie."""

    id: str
    scope: str
    path: Path
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return the File object as the API shows it."""
        return {
            "id": self.id,
            "bytes": self.bytes,
            "created_at": self.created_at,
            "filename": self.filename,
            "object": "file",
            "purpose": self.purpose,
            "status": "processed",
            "expires_at": self.expires_at,
            "status_details": None,
        }


@attrs.define(kw_only=True)
class Counts:
    """How many lines a batch has, how many succeeded and how many went to the error file."""

    total: int = 0
    completed: int = 0
    failed: int = 0


@attrs.define(kw_only=True)
class Usage:
    """Tokens of a batch's successful lines, summed."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def to_wire(self) -> dict[str, Any]:
        """Return the usage object as the API shows it."""
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": self.cached_tokens},
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": self.input_tokens + self.output_tokens,
        }


@attrs.define(kw_only=True)
class StoredBatch:
    """One batch: the fields of its record and whose key it belongs to."""

    id: str
    scope: str
    endpoint: str
    input_file_id: str
    completion_window: str
    created_at: int
    expires_at: int
    metadata: dict[str, str] | None = None
    output_lifetime_s: int = 30 * 86_400
    status: str = "validating"
    model: str | None = None
    errors: list[dict[str, Any]] | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    counts: Counts = attrs.field(factory=Counts)
    usage: Usage = attrs.field(factory=Usage)

    def to_wire(self) -> dict[str, Any]:
        """Return the Batch object as the API shows it, unset fields as null."""
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": None if self.errors is None else {"object": "list", "data": self.errors},
            "input_file_id": self.input_file_id,
            "completion_window": self.completion_window,
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            "in_progress_at": self.in_progress_at,
            "expires_at": self.expires_at,
            "finalizing_at": self.finalizing_at,
            "completed_at": self.completed_at,
            "failed_at": self.failed_at,
            "expired_at": self.expired_at,
            "cancelling_at": self.cancelling_at,
            "cancelled_at": self.cancelled_at,
            "request_counts": attrs.asdict(self.counts),
            "usage": self.usage.to_wire(),
            "metadata": self.metadata,
        }


class Ids:
    """Makes ids of the service's shapes.

    Args:
        seed: Makes the ids repeatable; None draws them from the system's entropy.
    """

    def __init__(self, seed: int | str | None = None) -> None:
        self._random = random.Random(seed)

    def hex(self, digits: int) -> str:
        """Return `digits` random hexadecimal digits."""
        return f"{self._random.getrandbits(digits * 4):0{digits}x}"

    def timed(self, prefix: str, created_at: float) -> str:
        """Return an id that carries its creation time (Unix seconds) in its first eight digits."""
        return f"{prefix}{int(created_at) & 0xFFFFFFFF:08x}{self.hex(4)}8190{self.hex(16)}"

    def file(self) -> str:
        """Return the id of a file."""
        return "file-" + "".join(self._random.choices(_BASE62, k=22))

    def request(self) -> str:
        """Return the id of an HTTP request."""
        return f"req_{self.hex(32)}"


class Shelf(Generic[T]):
    """Records of many owners in the order of their creation; a page costs its own length, not the shelf's."""

    def __init__(self) -> None:
        self.items: dict[str, T] = {}
        self._order: dict[str, list[T | None]] = {}
        self._places: dict[str, tuple[str, int]] = {}

    def put(self, item: T) -> None:
        """Add `item` as the newest of its owner."""
        row = self._order.setdefault(item.scope, [])
        self._places[item.id] = (item.scope, len(row))
        row.append(item)
        self.items[item.id] = item

    def get(self, scope: str, id: str) -> T | None:
        """Return the item if it exists and belongs to `scope`."""
        item = self.items.get(id)
        return item if item is not None and item.scope == scope else None

    def remove(self, item: T) -> None:
        """Forget `item`; its id stays good as a cursor, so that a walk that deletes as it goes ends."""
        scope, index = self._places[item.id]
        self._order[scope][index] = None
        del self.items[item.id]

    def knows(self, scope: str, id: str) -> bool:
        """Tell whether `id` is, or once was, an item of `scope`."""
        return id in self._places and self._places[id][0] == scope

    def page(
        self, scope: str, *, after: str | None, limit: int, newest_first: bool, keep: Callable[[T], bool]
    ) -> tuple[list[T], bool]:
        """Return up to `limit` items behind the item `after`, and whether more follow.

        Args:
            scope: Whose items.
            after: Id of the last item seen, known to `scope`; None starts at the top.
            limit: Most items of the page; zero is an empty page with nothing after it.
            newest_first: The direction of the walk.
            keep: Which items count.
        """
        row = self._order.get(scope, [])
        step = -1 if newest_first else 1
        index = (len(row) - 1 if newest_first else 0) if after is None else self._places[after][1] + step
        found: list[T] = []
        while limit and 0 <= index < len(row):
            item = row[index]
            if item is not None and keep(item):
                if len(found) == limit:
                    return found, True
                found.append(item)
            index += step
        return found, False


class Store:
    """Everything the server remembers; its folder lives from `open` to `close`.

    Args:
        seed: Makes the ids repeatable.
    """

    def __init__(self, *, seed: int | None = None) -> None:
        self.ids: Ids = Ids(seed)
        self.batches: Shelf[StoredBatch] = Shelf()
        self.files: Shelf[StoredFile] = Shelf()
        self.folder: Path | None = None
        self._paths = 0

    def open(self) -> None:
        """Make the temporary folder."""
        self.folder = Path(tempfile.mkdtemp(prefix="openai-batches-emulator-"))

    def close(self) -> None:
        """Remove the temporary folder and all in it."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def new_path(self) -> Path:
        """Return a path in the folder that nothing uses yet.

        Raises:
            RuntimeError: The folder is not open.
        """
        if self.folder is None:
            raise RuntimeError("the store is closed")
        self._paths += 1
        return self.folder / f"{self._paths}.spool"

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
        self.files.put(file)
        return file

    def new_batch(
        self,
        *,
        scope: str,
        now: float,
        endpoint: str,
        input_file_id: str,
        completion_window: str = "24h",
        metadata: dict[str, str] | None = None,
        output_lifetime_s: int = 30 * 86_400,
    ) -> StoredBatch:
        """Add a batch of `scope` created at `now` (Unix seconds), in its first state."""
        batch = StoredBatch(
            id=self.ids.timed("batch_", now),
            scope=scope,
            endpoint=endpoint,
            input_file_id=input_file_id,
            completion_window=completion_window,
            created_at=int(now),
            expires_at=int(now) + 86_400,
            metadata=metadata,
            output_lifetime_s=output_lifetime_s,
        )
        self.batches.put(batch)
        return batch

    def find_file(self, scope: str, id: str, now: float) -> StoredFile | None:
        """Return the file if it belongs to `scope` and has not expired at `now`; an expired one is removed."""
        file = self.files.get(scope, id)
        if file is not None and file.expires_at is not None and file.expires_at <= now:
            self.remove_file(file)
            return None
        return file

    def remove_file(self, file: StoredFile) -> None:
        """Delete the record and the bytes."""
        self.files.remove(file)
        file.path.unlink(missing_ok=True)

    def read(self, file_id: str) -> bytes:
        """Return the whole content of a file of any key, for a look behind the counter.

        Raises:
            KeyError: There is no such file.
        """
        return self.files.items[file_id].path.read_bytes()
