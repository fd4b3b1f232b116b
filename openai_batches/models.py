"""The API's records, and what is wrong with the lines of an input file, as frozen attrs classes.

Field names are the wire's own. Every ``*_at`` is an aware :class:`~datetime.datetime`, or None. Unknown fields are
ignored and unknown statuses kept, so that a newer service does not break an older client. ``request_id`` is the
``x-request-id`` of the answer a record came with; it is neither compared nor shown.

Source: https://platform.openai.com/docs/api-reference/batch/object
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Annotated, Generic, NamedTuple, TypeVar

import attrs
import msgspec

from openai_batches._names import public

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "Batch",
    "BatchError",
    "BatchErrors",
    "BatchStatus",
    "BatchUsage",
    "DeletedFile",
    "FileObject",
    "InputTokensDetails",
    "OutputTokensDetails",
    "Page",
    "Problem",
    "Repair",
    "RequestCounts",
    "TokenCounts",
    "Upload",
    "UploadPart",
    "answered",
]

T_co = TypeVar("T_co", covariant=True)

# The constraints make the fast decoder refuse naive times and "" for an absent file: the tolerant one reads those.
_Time = Annotated[dt.datetime, msgspec.Meta(tz=True)]
_FileId = Annotated[str, msgspec.Meta(min_length=1)]


class _Answered:
    """A record that came with an answer of its own.

    ``request_id`` is no attrs field: it is neither compared, shown nor copied, and the decoder, which is slower for a
    field the wire does not have, never meets it.
    """

    __slots__ = ("_request_id",)

    _request_id: str | None

    @property
    def request_id(self) -> str | None:
        """The ``x-request-id`` of the answer this record came with, or None."""
        return getattr(self, "_request_id", None)


def answered(records: Sequence[object], request_id: str | None) -> None:
    """Note on records of one class, if they can hold it, the id of the answer that they came with."""
    if records and isinstance(records[0], _Answered):
        # The records are frozen, and their answer is known only after they were decoded.
        note = _Answered.__dict__["_request_id"].__set__
        for record in records:
            note(record, request_id)


@public
class BatchStatus(enum.StrEnum):
    """The status of a batch.

    A status this version does not know becomes a member of its own that holds the service's text; it is never terminal.
    Capitalised spellings (``"Completed"``) are the same member.

    Source: https://platform.openai.com/docs/guides/batch#4-check-the-status-of-a-batch
    """

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @classmethod
    def _missing_(cls, value: object) -> BatchStatus | None:
        if not isinstance(value, str):
            return None
        if (known := cls._value2member_map_.get(value.lower())) is not None:
            return known  # type: ignore[return-value]  # the map holds members of this class
        unknown = str.__new__(cls, value)
        unknown._name_ = value
        unknown._value_ = value
        return unknown

    @property
    def is_terminal(self) -> bool:
        """Whether a batch in this status will never change again."""
        return self in _TERMINAL


_TERMINAL = frozenset({BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED})


@public
@attrs.frozen(kw_only=True)
class RequestCounts:
    """How many requests a batch has, and how many of them succeeded or failed, as the service counts.

    The service's counts are not always right; results are therefore determined from the files, never from these counts.
    """

    total: int = 0
    completed: int = 0
    failed: int = 0


@public
@attrs.frozen(kw_only=True)
class InputTokensDetails:
    """A part of the input tokens."""

    cached_tokens: int = 0


@public
@attrs.frozen(kw_only=True)
class OutputTokensDetails:
    """A part of the output tokens."""

    reasoning_tokens: int = 0


@public
@attrs.frozen(kw_only=True)
class BatchUsage:
    """The tokens of all successful requests of a batch."""

    input_tokens: int = 0
    input_tokens_details: InputTokensDetails = InputTokensDetails()
    output_tokens: int = 0
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int = 0


class TokenCounts(NamedTuple):
    """Tokens while they are added up; in JSON, and so in the journal of a job, a list of four numbers."""

    input: int = 0
    output: int = 0
    # Of the input, read from the cache; of the output, spent on reasoning.
    cached: int = 0
    reasoning: int = 0

    @classmethod
    def of(cls, usage: BatchUsage) -> TokenCounts:
        """Return the counts of a usage; more tokens cannot come from the cache than were read."""
        cached = min(usage.input_tokens_details.cached_tokens, usage.input_tokens)
        return cls(usage.input_tokens, usage.output_tokens, cached, usage.output_tokens_details.reasoning_tokens)

    def plus(self, more: TokenCounts) -> TokenCounts:
        """Return the sum of both."""
        read, written, cached, reasoning = more
        return TokenCounts(self.input + read, self.output + written, self.cached + cached, self.reasoning + reasoning)

    @classmethod
    def total(cls, counts: Iterable[TokenCounts]) -> TokenCounts:
        """Return the sum of all."""
        return reduce(cls.plus, counts, cls())

    @property
    def usage(self) -> BatchUsage:
        """The same under the names of the wire."""
        return BatchUsage(
            input_tokens=self.input,
            input_tokens_details=InputTokensDetails(cached_tokens=self.cached),
            output_tokens=self.output,
            output_tokens_details=OutputTokensDetails(reasoning_tokens=self.reasoning),
            total_tokens=self.input + self.output,
        )


@public
@attrs.frozen(kw_only=True)
class BatchError:
    """One thing the service found wrong with the input file; ``line`` counts from 1."""

    code: str | None = None
    message: str | None = None
    param: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        return f"{where}{self.message or self.code or 'no reason given'}"


@public
@attrs.frozen(kw_only=True)
class BatchErrors:
    """The errors of a batch that failed validation, in the order of their lines."""

    object: str | None = "list"
    data: tuple[BatchError, ...] | None = None

    def __iter__(self) -> Iterator[BatchError]:
        """Iterate over the errors."""
        return iter(self.data or ())

    def __len__(self) -> int:
        """Return the number of errors."""
        return len(self.data or ())


@public
@attrs.frozen(kw_only=True)
class Batch(_Answered):
    """A batch as the service described it in one answer; it does not change by itself.

    ``id`` and ``status`` are always there. A field the schema requires but the service left out is ``""`` (None for a
    time). ``output_file_id`` and ``error_file_id`` are None where the service sends ``""``.

    Source: https://platform.openai.com/docs/api-reference/batch/object
    """

    # In the order of the wire, in which the decoder finds them fastest.
    id: str
    object: str = "batch"
    endpoint: str = ""
    model: str | None = None
    errors: BatchErrors | None = None
    input_file_id: str = ""
    completion_window: str = ""
    status: BatchStatus
    output_file_id: _FileId | None = None
    error_file_id: _FileId | None = None
    created_at: _Time | None = None
    in_progress_at: _Time | None = None
    expires_at: _Time | None = None
    finalizing_at: _Time | None = None
    completed_at: _Time | None = None
    failed_at: _Time | None = None
    expired_at: _Time | None = None
    cancelling_at: _Time | None = None
    cancelled_at: _Time | None = None
    request_counts: RequestCounts | None = None
    usage: BatchUsage | None = None
    metadata: Mapping[str, str] | None = attrs.field(default=None, hash=False)

    @property
    def is_terminal(self) -> bool:
        """Whether the batch has ended: completed, failed, expired or cancelled."""
        return self.status in _TERMINAL

    @property
    def succeeded_all(self) -> bool:
        """Whether the batch completed and, as the service counts, every request of it succeeded."""
        counts = self.request_counts
        return (
            self.status == BatchStatus.COMPLETED
            and counts is not None
            and counts.failed == 0
            and 0 < counts.total == counts.completed
        )

    @property
    def progress(self) -> float:
        """The share of requests that have an answer, 0 to 1, as the service counts; 1 for a completed batch.

        A batch whose requests are all answered has not ended before its files are written; see ``is_terminal``.
        """
        if self.status == BatchStatus.COMPLETED:
            return 1.0
        counts = self.request_counts
        if counts is None or counts.total <= 0:
            return 0.0
        return min(max((counts.completed + counts.failed) / counts.total, 0.0), 1.0)


@public
@attrs.frozen(kw_only=True)
class FileObject(_Answered):
    """A file at the service.

    Source: https://platform.openai.com/docs/api-reference/files/object
    """

    id: str
    bytes: int = 0
    created_at: _Time | None = None
    filename: str = ""
    purpose: str = ""
    object: str = "file"
    status: str | None = None
    status_details: str | None = None
    expires_at: _Time | None = None


@public
@attrs.frozen(kw_only=True)
class DeletedFile(_Answered):
    """The service's confirmation that a file was deleted."""

    id: str
    deleted: bool = True
    object: str = "file"


@attrs.frozen(kw_only=True)
class Upload(_Answered):
    """A file that is sent in parts; ``file`` is the whole, once the upload is completed.

    ``status`` is pending, completed, cancelled or expired. An upload expires an hour after it was created.

    Source: https://platform.openai.com/docs/api-reference/uploads/object
    """

    id: str
    object: str = "upload"
    bytes: int = 0
    created_at: _Time | None = None
    filename: str = ""
    purpose: str = ""
    status: str = ""
    expires_at: _Time | None = None
    file: FileObject | None = None


@attrs.frozen(kw_only=True)
class UploadPart(_Answered):
    """One part of an upload, at the service.

    Source: https://platform.openai.com/docs/api-reference/uploads/part-object
    """

    id: str
    object: str = "upload.part"
    created_at: _Time | None = None
    upload_id: str = ""


@public
@attrs.frozen(kw_only=True)
class Page(_Answered, Generic[T_co]):
    """One answer of a list call.

    ``has_more`` is None where the service does not say; ``last_id`` is the cursor of the next page, where there is one.

    Source: https://platform.openai.com/docs/api-reference/batch/list
    """

    data: tuple[T_co, ...]
    has_more: bool | None = None
    first_id: str | None = None
    last_id: str | None = None
    object: str = "list"


@public
@attrs.frozen(kw_only=True)
class Problem:
    """A reason why the service would refuse a request, or the whole input file.

    Codes are the service's own where it has one for this: ``invalid_json_line``, ``missing_required_parameter``,
    ``invalid_type``, ``invalid_method``, ``invalid_url``, ``invalid_request``, ``streaming_unsupported``,
    ``mismatched_model``, ``duplicate_custom_id``, ``empty_file``, ``empty_batch``, ``too_many_tasks``. Ours are
    ``invalid_utf8``, ``invalid_row``, ``invalid_value``, ``file_too_large``, ``line_too_large``, ``request_too_large``
    and ``too_many_inputs``.

    Attributes:
        code: what kind of problem it is.
        message: what to change, in a sentence.
        line: the 1-based line of the file, or the number of the item; None where it is about the whole file.
        column: the 1-based character of the line at which its JSON breaks, or None.
        param: the field, as a dotted path such as ``body.model``, or None.
        custom_id: the request's own id, where it could be read.
        first_line: the line this one contradicts: that of the other request with this id, or of the first model.
        file: the path of the file, or None where the requests did not come from one.
    """

    code: str
    message: str
    line: int | None = None
    column: int | None = None
    param: str | None = None
    custom_id: str | None = None
    first_line: int | None = None
    file: str | None = None

    def __str__(self) -> str:
        where = [self.file] if self.file else []
        if self.line is not None:
            where.append(str(self.line) if self.file else f"line {self.line}")
        if self.column is not None:
            where.append(str(self.column) if self.file else f"column {self.column}")
        place = (":" if self.file else ", ").join(where)
        name = f" (custom_id {self.custom_id!r})" if self.custom_id else ""
        return f"{place}: {self.message}{name}" if place else f"{self.message}{name}"


@public
@attrs.frozen(kw_only=True)
class Repair:
    """A repair of the input that does not change its meaning.

    Attributes:
        code: ``bom`` (a byte order mark before a line), ``crlf`` (a line ended as on Windows), or ``blank_line``.
        count: how many lines.
        first_line: the 1-based number of the first of them.
    """

    code: str
    count: int
    first_line: int
