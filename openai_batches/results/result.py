"""The result of one request, :class:`BatchResult`, and its outcome.

Source: https://platform.openai.com/docs/guides/batch#5-retrieve-the-results
"""

from __future__ import annotations

import enum
import functools
import json
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from openai_batches._names import public
from openai_batches.errors import DecodeError, IncompleteOutputError, RefusalError, RequestFailedError
from openai_batches.http.failures import may_succeed_later
from openai_batches.results import bodies
from openai_batches.results.bodies import BodyHead
from openai_batches.results.line import body_in

if TYPE_CHECKING:
    import cattrs

    from openai_batches.models import BatchUsage

__all__ = ["BatchResult", "Outcome", "ResultDraft", "ResultError", "missing_result"]

T = TypeVar("T")


@public
class Outcome(enum.StrEnum):
    """What became of one request.

    ``missing``, an input without a line in either file, and ``foreign``, a line without an input, are found only where
    results are joined with their inputs.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    MISSING = "missing"
    INVALID = "invalid"
    FOREIGN = "foreign"


_SUCCEEDED = Outcome.SUCCEEDED
_NEVER_RAN = frozenset({Outcome.EXPIRED, Outcome.CANCELLED, Outcome.MISSING})


@public
@attrs.frozen(kw_only=True)
class ResultError:
    """Why one request did not succeed, in the service's words."""

    code: str | None = None
    message: str = ""
    type: str | None = None
    param: str | None = None


@attrs.define(eq=False)
class ResultDraft:
    """A result while it is made: to make a frozen object takes three times as long."""

    custom_id: str | None
    outcome: Outcome
    status_code: int | None = None
    request_id: str | None = None
    error: ResultError | None = None
    line_number: int = 0
    _raw_body: bytes | None = attrs.field(default=None, repr=False)
    raw_line: bytes = attrs.field(default=b"", repr=False)
    head: BodyHead | None = attrs.field(default=None, repr=False)
    _body_type: Any = attrs.field(default=None, repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResultDraft) and self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash(self._compared())

    def _compared(self) -> tuple[Any, ...]:
        before = (self.custom_id, self.outcome, self.status_code, self.request_id, self.error, self.line_number)
        return (*before, self.raw_body)

    @functools.cached_property
    def raw_body(self) -> bytes:
        """The answer's body as it stood in the line, JSON in UTF-8; empty where there was none."""
        if self._raw_body is not None or not self.raw_line:
            return self._raw_body or b""
        return body_in(self.raw_line)

    @functools.cached_property
    def body(self) -> Any:
        """The answer's body, decoded on first use; None where there was none, a str where it is plain text.

        With ``body_type``, the body of a success is of that type.

        Raises:
            DecodeError: the body is not JSON, or not of ``body_type``.
        """
        if self._body_type is None or self.outcome is not _SUCCEEDED or not self.raw_body:
            return self._tree
        data = self.raw_body
        if data[:1] == b'"' and not isinstance(self._tree, str):
            data = json.dumps(self._tree).encode()
        return self._named(bodies.structured, data, self._body_type)

    @functools.cached_property
    def _tree(self) -> Any:
        return self._named(bodies.json_value, self.raw_body) if self.raw_body else None

    def _named(self, read: Any, *args: Any) -> Any:
        """Return what a function reads; its error names the line and the request."""
        try:
            return read(*args)
        except DecodeError as error:
            where = f"line {self.line_number} ({self.custom_id!r})"
            raise DecodeError(f"{error}, in {where}", details=error.details, line_number=self.line_number) from error

    @property
    def _answer(self) -> Any:
        """The body of a success, as plain values; None where there is none that can be read."""
        if self.outcome is not _SUCCEEDED:
            return None
        try:
            return self._tree
        except DecodeError:
            return None

    @property
    def output_text(self) -> str | None:
        """The text of the answer (chat, responses or completions), or None where there is no text in it.

        Of several choices it is that of index 0.
        """
        return bodies.output_text(self._answer)

    @property
    def choice_count(self) -> int:
        """How many choices the answer has, of which ``output_text`` is the first; 0 where it knows no choices."""
        return bodies.choice_count(self._answer)

    @property
    def refusal(self) -> str | None:
        """The words in which the model refused to answer, or None where it did not."""
        return bodies.refusal_text(self._answer)

    @property
    def model(self) -> str | None:
        """The model that answered, as the answer names it, or None."""
        return self._known_head.model

    @functools.cached_property
    def usage(self) -> BatchUsage | None:
        """The tokens the answer took, under the same names for every endpoint, or None where it does not say."""
        return self._known_head.tokens()

    @functools.cached_property
    def _known_head(self) -> BodyHead:
        return self.head or bodies.read_head(self.raw_body)

    @property
    def embedding(self) -> Any:
        """The first embedding of the answer, or None: as float32 in a numpy array, or an ``array('f')``.

        Raises:
            DecodeError: an embedding cannot be read.
        """
        return next(iter(self.embeddings), None)

    @functools.cached_property
    def embeddings(self) -> list[Any]:
        """The embeddings of the answer in the order of its inputs, from numbers or base64; empty where it has none.

        Raises:
            DecodeError: an embedding cannot be read.
        """
        if self._answer_is_empty:
            return []
        found: list[Any] = self._named(bodies.embedding_vectors, self.raw_body)
        return found

    @property
    def _answer_is_empty(self) -> bool:
        return self.outcome is not _SUCCEEDED or not self.raw_body

    @property
    def never_ran(self) -> bool:
        """Whether the service did not carry the request out: it expired, was cancelled, or is missing."""
        return self.outcome in _NEVER_RAN

    @property
    def is_retryable(self) -> bool:
        """Whether the request failed for a reason that may pass: 408, 409, 429, 5xx, a status of 0, or a timeout.

        A quota that is used up does not come back by asking.
        """
        if self.outcome is not Outcome.FAILED:
            return False
        code, kind = (self.error.code, self.error.type) if self.error else (None, None)
        return may_succeed_later(self.status_code, code, kind)

    def raise_for_outcome(self) -> None:
        """Do nothing for a success.

        Raises:
            RequestFailedError: the request did not succeed; ``result`` is this result.
        """
        if self.outcome is _SUCCEEDED:
            return
        why = "" if self.error is None else f": {self.error.message}"
        status = "" if self.status_code is None else f" with status {self.status_code}"
        text = f"Request {self.custom_id!r} {_VERBS[self.outcome]}{status}{why}"
        raise RequestFailedError(text, result=self)

    def parse(self, cls: type[T], *, converter: cattrs.Converter | None = None) -> T:
        """Return the value that the text of the answer holds as JSON.

        Args:
            cls: an attrs class, dataclass, TypedDict, msgspec struct, pydantic model, or any type of these.
            converter: a cattrs converter of your own, with hooks for your types.

        Raises:
            RequestFailedError: the request did not succeed.
            RefusalError: the model refused to answer; ``refusal`` are its words.
            IncompleteOutputError: the answer was cut, by its length limit or a filter; ``reason`` says which.
            DecodeError: there is no text, or it does not hold such a value; ``details`` name the fields.

        Source: https://platform.openai.com/docs/guides/structured-outputs#refusals
        """
        self.raise_for_outcome()
        tree = self._tree
        number = self.line_number
        if (refusal := bodies.refusal_text(tree)) is not None:
            text = f"The model refused to answer {self.custom_id!r}: {refusal}"
            raise RefusalError(text, refusal=refusal, line_number=number)
        if (reason := bodies.cut_reason(tree)) is not None:
            text = f"The answer to {self.custom_id!r} is not whole ({reason})"
            raise IncompleteOutputError(text, reason=reason, line_number=number)
        if (output := bodies.output_text(tree)) is None:
            raise DecodeError(f"The answer to {self.custom_id!r} has no text", line_number=number)
        value: T = self._named(bodies.structured, output.encode("utf-8", "surrogatepass"), cls, converter)
        return value


@public
@attrs.frozen(eq=False)
class BatchResult(ResultDraft):
    """What became of one request.

    Two results are equal if they say the same, whatever their lines look like.

    Attributes:
        custom_id: the request's own id; None only for an ``invalid`` line from which it could not be rescued.
        outcome: what became of the request.
        status_code: the HTTP status of the request's answer, or None where it never ran.
        request_id: the service's id of that answer, or None.
        error: why it did not succeed, or None.
        line_number: the 1-based line of the file; 0 for a request without a line.
        raw_line: the line as it stood in the file; empty where there was none.
        head: the model and the usage, where they were read with the line; ``model`` and ``usage`` always know them.
    """


_VERBS = {
    Outcome.FAILED: "failed",
    Outcome.EXPIRED: "expired before it ran",
    Outcome.CANCELLED: "was cancelled before it ran",
    Outcome.MISSING: "is missing from the results",
    Outcome.INVALID: "has a result that cannot be read",
    Outcome.FOREIGN: "is not among the inputs",
}


def missing_result(custom_id: str) -> BatchResult:
    """Return the result of an input that has no line in the files."""
    reason = ResultError(code="missing", message="Neither file of the batch has a line for this request")
    return BatchResult(custom_id, Outcome.MISSING, None, None, reason)
