"""The records of files, uploads, batches and webhook messages, and the ids that they get."""

import random
import string
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from openai_batches._names import public
from openai_batches.emulator.rules import ORGANIZATION

UPLOAD_LIFETIME_S = 3600
_BASE62 = string.digits + string.ascii_letters


@public
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
class Run:
    """What a batch needs from its first line to its end, and to go on after a restart.

    `source` is a second name for the bytes of the input file. Lines that succeed go to `output`, others to `errors`.
    `started` is exact, in emulated Unix seconds, and `tokens` are the estimated input tokens. Once the run is complete,
    every line has its result, and the counts are final.
    """

    source: Path
    output: Path
    errors: Path
    started: float
    tokens: int = 0
    is_complete: bool = False


@public
@attrs.define(kw_only=True)
class StoredBatch:
    """One batch: the fields of its record, whose key it belongs to, and how far it is.

    Args:
        since: Emulated Unix seconds at which the present status began, exactly; the fields that end in `_at` are
            whole seconds.
        organization: Whose key made it.
        run: How its lines are worked through; None before the first and when the batch is over.
    """

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
    since: float = 0.0
    organization: str = ORGANIZATION
    run: Run | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in {"cancelled", "completed", "expired", "failed"}

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


@attrs.define(kw_only=True)
class StoredPart:
    """One part of an upload, and where its bytes lie."""

    id: str
    upload_id: str
    path: Path
    bytes: int
    created_at: int

    @property
    def scope(self) -> str:
        """The upload it belongs to."""
        return self.upload_id

    def to_wire(self) -> dict[str, Any]:
        """Return the UploadPart object as the API shows it."""
        return {"id": self.id, "object": "upload.part", "created_at": self.created_at, "upload_id": self.upload_id}


@public
@attrs.define(kw_only=True)
class StoredUpload:
    """One announced file, which comes in parts: the fields of its record and whose key it belongs to."""

    id: str
    scope: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    lifetime_s: int | None = None
    status: str = "pending"

    @property
    def expires_at(self) -> int:
        """Unix seconds at which a pending upload is given up."""
        return self.created_at + UPLOAD_LIFETIME_S

    def to_wire(self, file: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the Upload object as the API shows it; `file` is the File object that a completed one became."""
        return {
            "id": self.id,
            "object": "upload",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": self.status,
            "expires_at": self.expires_at,
            "file": file,
        }


@attrs.define(kw_only=True)
class StoredMessage:
    """One webhook message that its receiver has not accepted yet.

    `id` is the `webhook-id` header; `first` and `due` are the emulated Unix seconds of the first and the next attempt.
    """

    id: str
    url: str
    event_id: str
    event_type: str
    batch_id: str
    body: bytes
    first: float
    due: float
    attempts: int = 0

    @property
    def scope(self) -> str:
        """The receiver it goes to."""
        return self.url


Record = StoredFile | StoredBatch | StoredUpload | StoredPart | StoredMessage


class Row(NamedTuple):
    """One record as it is kept on disk: its index, its place there, and its content; None if only the place is kept."""

    kind: str
    number: int
    id: str
    scope: str
    content: bytes | None


class Ids:
    """Makes ids of the service's shapes."""

    def __init__(self, seed: int | str | None = None) -> None:
        self._random = random.Random(seed)

    def reseed(self, seed: int | str) -> None:
        """Begin another repeatable sequence of ids."""
        self._random.seed(seed)

    def hex(self, digits: int) -> str:
        """Return `digits` random hexadecimal digits."""
        return f"{self._random.getrandbits(digits * 4):0{digits}x}"

    def timed(self, prefix: str, created_at: float) -> str:
        """Return an id that carries its creation time (Unix seconds) in its first eight digits."""
        return f"{prefix}{int(created_at) & 0xFFFFFFFF:08x}{self.hex(4)}8190{self.hex(16)}"

    def batch(self, created_at: float) -> str:
        """Return the id of a batch."""
        return self.timed("batch_", created_at)

    def file(self) -> str:
        """Return the id of a file."""
        return "file-" + "".join(self._random.choices(_BASE62, k=22))

    def request(self) -> str:
        """Return the id of an HTTP request."""
        return f"req_{self.hex(32)}"
