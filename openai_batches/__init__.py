"""Asyncio-native client for the OpenAI Batch API and the services that speak it.

The rooms, from the foundation up; each imports only rooms before it:

* values: ``version``, ``errors``, ``models``, ``policy``, ``providers``
* rules, without network, clock or disk: ``converters``, ``protocol``, ``checking``, ``pagination``, ``lines``,
  ``results``, ``multipart``
* doors to the world: ``exchange`` (one attempt, through aiohttp), ``transport`` (attempts), ``sources`` (uploads)
* verbs: ``files``, ``creating``, ``waiting``, ``batches``
* the front desk: ``session``
* apart from all of them, and not imported here: ``emulator``, a server of the API
"""

from openai_batches.batches import Batches
from openai_batches.converters import configure_converter, make_converter
from openai_batches.errors import (
    AmbiguousCreateError,
    APIError,
    AuthenticationError,
    BadRequestError,
    BatchesError,
    BatchesWarning,
    BatchFailedError,
    ConflictError,
    DecodeError,
    InputError,
    InternalServerError,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    RateLimitError,
    TransportError,
    TransportTimeoutError,
    UnprocessableEntityError,
    WaitTimeoutError,
)
from openai_batches.files import FileContent, Files
from openai_batches.models import (
    Batch,
    BatchError,
    BatchErrors,
    BatchStatus,
    BatchUsage,
    DeletedFile,
    FileObject,
    InputTokensDetails,
    OutputTokensDetails,
    Page,
    RequestCounts,
)
from openai_batches.pagination import AsyncPaginator
from openai_batches.policy import PollPolicy, RetryPolicy
from openai_batches.protocol import Answer
from openai_batches.providers import OPENAI, Provider
from openai_batches.results import BatchResult, Outcome, ResultError
from openai_batches.session import BatchSession
from openai_batches.version import __version__

__all__ = [
    "OPENAI",
    "APIError",
    "AmbiguousCreateError",
    "Answer",
    "AsyncPaginator",
    "AuthenticationError",
    "BadRequestError",
    "Batch",
    "BatchError",
    "BatchErrors",
    "BatchFailedError",
    "BatchResult",
    "BatchSession",
    "BatchStatus",
    "BatchUsage",
    "Batches",
    "BatchesError",
    "BatchesWarning",
    "ConflictError",
    "DecodeError",
    "DeletedFile",
    "FileContent",
    "FileObject",
    "Files",
    "InputError",
    "InputTokensDetails",
    "InternalServerError",
    "NotFoundError",
    "Outcome",
    "OutputTokensDetails",
    "Page",
    "PaginationError",
    "PermissionDeniedError",
    "PollPolicy",
    "Provider",
    "RateLimitError",
    "RequestCounts",
    "ResultError",
    "RetryPolicy",
    "TransportError",
    "TransportTimeoutError",
    "UnprocessableEntityError",
    "WaitTimeoutError",
    "__version__",
    "configure_converter",
    "make_converter",
]
