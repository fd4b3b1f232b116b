"""The exceptions that the library raises, and its warning.

::

    BatchesError                      everything this library raises on purpose
    ├── TransportError                no (whole) answer came
    │   └── TransportTimeoutError     ... in time; also a TimeoutError
    ├── APIError                      the service answered with a status >= 300
    │   ├── BadRequestError           400
    │   ├── AuthenticationError       401
    │   ├── PermissionDeniedError     403
    │   ├── NotFoundError             404
    │   ├── ConflictError             409
    │   ├── UnprocessableEntityError  422
    │   ├── RateLimitError            429
    │   └── InternalServerError       >= 500
    ├── DecodeError                   an answer that is not what it should be
    │   ├── RefusalError              the model refused to answer
    │   └── IncompleteOutputError     the model's answer was cut by a limit or a filter
    ├── PaginationError               a list that cannot be followed to its end
    ├── InputError                    the caller's mistake, found before sending; also a ValueError
    │   └── InvalidRequestsError      ... in the requests of an input file, problem by problem
    ├── BatchFailedError              the service refused the whole batch
    ├── RequestFailedError            one request of a batch did not succeed
    ├── AmbiguousCreateError          it is not known whether the batch was created
    ├── JobError                      a job cannot go on as it is; what it did is in its journal
    │   ├── JobPausedError            ... until the account has quota again
    │   ├── JobStoppedError           ... since a signal told it to stop
    │   └── JournalError              ... because its journal or a file of its own cannot be used
    ├── WaitTimeoutError              the batch lives on, the waiter gave up; also a TimeoutError
    └── WebhookSignatureError         a webhook that does not prove where it comes from; also a ValueError

    BatchesWarning                    a UserWarning: it will be done, but look again

Every attribute has a default, so that all of these survive ``pickle``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai_batches._names import public

if TYPE_CHECKING:
    from openai_batches.models import Batch, Problem

__all__ = [
    "APIError",
    "AmbiguousCreateError",
    "AuthenticationError",
    "BadRequestError",
    "BatchFailedError",
    "BatchesError",
    "BatchesWarning",
    "ConflictError",
    "DecodeError",
    "IncompleteOutputError",
    "InputError",
    "InternalServerError",
    "InvalidRequestsError",
    "JobError",
    "JobPausedError",
    "JobStoppedError",
    "JournalError",
    "NotFoundError",
    "PaginationError",
    "PermissionDeniedError",
    "RateLimitError",
    "RefusalError",
    "RequestFailedError",
    "TransportError",
    "TransportTimeoutError",
    "UnprocessableEntityError",
    "WaitTimeoutError",
    "WebhookSignatureError",
]


@public
class BatchesError(Exception):
    """The root of every exception this library raises on purpose."""


@public
class BatchesWarning(UserWarning):
    """A call is carried out as requested, but is probably not what was intended."""


@public
class TransportError(BatchesError):
    """No whole answer came: refused, reset, cut, unresolved, or not HTTP.

    Attributes:
        was_sent: False when it is certain that the service saw nothing of the request.
        can_pass: False when another try would end the same way, e.g. with a certificate that does not fit.
    """

    def __init__(self, message: str = "", *, was_sent: bool = True, can_pass: bool = True) -> None:
        super().__init__(message)
        self.was_sent = was_sent
        self.can_pass = can_pass


@public
class TransportTimeoutError(TransportError, TimeoutError):
    """The service was silent for longer than the timeout allows."""


@public
class APIError(BatchesError):
    """The service answered, and the answer is an error.

    The class follows the status, with the names of the official SDK; a status without a class of its own gives a plain
    ``APIError``. If the body is not the documented JSON (an HTML page of a proxy, an empty or a truncated body), the
    error still has the class and status that follow from the answer, and ``message`` contains the first characters of
    the body.

    Attributes:
        message: what the service said.
        status: the HTTP status.
        code: the service's error code, e.g. ``invalid_value``, or None.
        type: the service's error type, e.g. ``invalid_request_error``, or None.
        param: the parameter the error is about, as a dotted path, or None.
        request_id: the answer's ``x-request-id``, or None.
        retry_after: seconds the service asks to wait before another try, or None.
        should_retry: the service's header ``x-should-retry``, or None if it was not sent.
        body: the decoded ``error`` object, or the first 64 KiB of the body as text where it is not the documented JSON.

    Source: https://platform.openai.com/docs/guides/error-codes
    """

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 0,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
        body: Any = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after
        self.should_retry = should_retry
        self.body = body

    def __str__(self) -> str:
        notes = [
            f"{name}: {value}"
            for name, value in (("code", self.code), ("param", self.param), ("request id", self.request_id))
            if value
        ]
        return f"{self.status} {self.message}" + (f" ({', '.join(notes)})" if notes else "")


@public
class BadRequestError(APIError):
    """400: the service refuses what was asked."""


@public
class AuthenticationError(APIError):
    """401: the key is missing, wrong or revoked."""


@public
class PermissionDeniedError(APIError):
    """403: the key is valid, but does not permit this request."""


@public
class NotFoundError(APIError):
    """404: the service has nothing under this id, or not for this key."""


@public
class ConflictError(APIError):
    """409: the state of the object does not allow this, e.g. cancelling a batch that has ended."""


@public
class UnprocessableEntityError(APIError):
    """422: the request is well formed, but its contents are invalid."""


@public
class RateLimitError(APIError):
    """429: too many requests, or the quota is used up (``code == "insufficient_quota"``, which is not retried)."""


@public
class InternalServerError(APIError):
    """500 and above: the service, or a proxy in front of it, failed."""


@public
class DecodeError(BatchesError):
    """An answer or a line does not hold the record it should.

    Attributes:
        details: one sentence per problem, each with the path of the field (``invalid type, expected int @ $.bytes``).
        line_number: the 1-based line in the file, or None for an answer.
    """

    def __init__(self, message: str = "", *, details: tuple[str, ...] = (), line_number: int | None = None) -> None:
        super().__init__(message)
        self.details = details
        self.line_number = line_number


@public
class RefusalError(DecodeError):
    """The model refused to answer, so that there is nothing to parse.

    Attributes:
        refusal: the model's words.
    """

    def __init__(self, message: str = "", *, refusal: str = "", line_number: int | None = None) -> None:
        super().__init__(message, line_number=line_number)
        self.refusal = refusal


@public
class IncompleteOutputError(DecodeError):
    """The model's answer was cut before it was complete, so that it cannot be parsed.

    Attributes:
        reason: why, in the service's words: ``length``, ``max_output_tokens`` or ``content_filter``.
    """

    def __init__(self, message: str = "", *, reason: str = "", line_number: int | None = None) -> None:
        super().__init__(message, line_number=line_number)
        self.reason = reason


@public
class PaginationError(BatchesError):
    """A list cannot be followed to its end: its cursor is missing, is repeated, or leads to no new items.

    Attributes:
        after: the cursor the failing page was requested with (None: the first page). Earlier items were yielded.
    """

    def __init__(self, message: str = "", *, after: str | None = None) -> None:
        super().__init__(message)
        self.after = after


@public
class InputError(BatchesError, ValueError):
    """An argument or an input is invalid; nothing was sent."""


@public
class InvalidRequestsError(InputError):
    """An input file holds requests that the service would refuse; nothing was sent.

    Attributes:
        problems: what is wrong, in the order of the lines.
        more_problems: how many more there are.
    """

    def __init__(self, message: str = "", *, problems: tuple[Problem, ...] = (), more_problems: int = 0) -> None:
        super().__init__(message)
        self.problems = problems
        self.more_problems = more_problems


@public
class BatchFailedError(BatchesError):
    """The service refused the whole batch in validation: no request of it ran.

    Attributes:
        batch: the batch, whose ``errors`` say why, line by line.
    """

    def __init__(self, message: str = "", *, batch: Batch | None = None) -> None:
        super().__init__(message)
        self.batch = batch


@public
class RequestFailedError(BatchesError):
    """One request of a batch did not succeed.

    Attributes:
        result: what became of it, a :class:`BatchResult`.
    """

    def __init__(self, message: str = "", *, result: Any = None) -> None:
        super().__init__(message)
        self.result = result


@public
class AmbiguousCreateError(BatchesError):
    """A create had no clear answer, and it could not be found out whether the batch exists.

    Look for the batch before you create it again: it may exist and be running, and you would pay for both.

    Attributes:
        idempotency_key: the key to look for in the ``metadata`` of listed batches; None if the metadata was full.
    """

    def __init__(self, message: str = "", *, idempotency_key: str | None = None) -> None:
        super().__init__(message)
        self.idempotency_key = idempotency_key


@public
class JobError(BatchesError):
    """A job cannot go on as it is: what it did is in its journal, and running it again goes on from there."""


@public
class JobPausedError(JobError):
    """The account has no quota left; finished results were collected, and the rest waits until the job is run again.

    Attributes:
        reason: the service's words.
    """

    def __init__(self, message: str = "", *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


@public
class JobStoppedError(JobError):
    """A signal or the program stopped the job; its batches continue, and running the job again continues it."""


@public
class JournalError(JobError):
    """A job's journal cannot be used: locked, damaged, of a newer version, or not to be read or written."""


@public
class WaitTimeoutError(BatchesError, TimeoutError):
    """The timeout of the waiting call passed; the batch was not changed and continues at the service.

    Attributes:
        batch: the batch as it was last seen; of several, the first one that has not ended.
        batches: all that were waited for and have not ended, as they were last seen.
    """

    def __init__(self, message: str = "", *, batch: Batch | None = None, batches: tuple[Batch, ...] = ()) -> None:
        super().__init__(message)
        self.batch = batch
        self.batches: tuple[Batch, ...] = batches or ((batch,) if batch is not None else ())


@public
class WebhookSignatureError(BatchesError, ValueError):
    """A webhook does not prove that it comes from the service; do not act on it."""
