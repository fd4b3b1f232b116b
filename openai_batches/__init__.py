"""Asyncio-native client for the OpenAI Batch API and the services that speak it.

::

    async with BatchSession() as session:
        file = await session.files.create("requests.jsonl")
        batch = await session.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions")
        batch = await session.batches.wait(batch)
        async for result in session.batches.results(batch):
            print(result.custom_id, result.outcome, result.output_text)

For those who work on it: the rooms, from the foundation up; each imports only rooms before it.

* values: ``version``, ``errors``, ``models``, ``policy``, ``problems``, ``providers``
* rules, without network, clock or disk

  * of the wire: ``converters``, ``protocol``, ``checking``, ``pagination``, ``lines``, ``multipart``, ``ranges``,
    ``compression``, ``webhooks``, ``progress``, ``timeline``
  * of requests: ``encoding``, ``requests``, ``schemas``, ``response_formats``, ``value_formats``,
    ``templates``, ``judging``, ``reports``, ``validation``, ``sharding``
  * of results: ``outputs``, ``dialects``, ``results``, ``reading``, ``summaries``, ``rows``, ``formats``
  * of money: ``pricing``, ``billing``, ``counting``

* doors to the world: ``exchange`` (one attempt, through aiohttp), ``transport`` (attempts), ``sources`` (uploads),
  ``readers`` (requests), ``shards`` and ``duplicates`` (request files), ``partfile`` (downloads), ``prompts``,
  ``composing`` and ``request_files`` (prompts into requests), ``joining``, ``collecting`` and ``resending`` (results
  and their inputs), ``newfile`` and ``writers`` (tables), ``estimating``
* verbs: ``resuming`` for ``downloads`` and ``content``, ``parts``, ``files``, ``creating``, ``looking``, ``waiting``,
  ``watching``, ``batches``, ``receiving`` (webhooks)
* the engine room, for jobs of many batches

  * what is known: ``attempts``, ``events``, ``ledgers``, ``entries``, ``journal``, ``bookkeeping``
  * what is done: ``planning``, ``admission``, ``sweeping``, ``launching``, ``reconciling``, ``finishing``, ``runner``
  * what is given: ``harvesting``, ``merging``, ``walking``, ``jobs``; ``adopting``, ``discarding``,
    ``stopping``, ``doctoring``
  * what is shown, on one page: ``figures``, ``markup``, ``wording``, ``scales``, ``stylesheet``, ``charts``,
    ``tables``, ``page``, ``reporting``

* the front desk: ``session``, which is a ``service`` to the engine room
* apart from all of them: ``emulator``, a server of the API, and ``pytest_plugin``, which brings it to tests
"""

from importlib import import_module
from typing import TYPE_CHECKING

from openai_batches.version import __version__

if TYPE_CHECKING:
    from openai_batches.attempts import Step
    from openai_batches.batches import Batches
    from openai_batches.billing import Bill, ModelBill
    from openai_batches.collecting import BatchResults
    from openai_batches.content import FileContent
    from openai_batches.converters import configure_converter, make_converter
    from openai_batches.doctoring import Cleanup, Diagnosis
    from openai_batches.downloads import BatchDownload, DownloadedFile
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
        IncompleteOutputError,
        InputError,
        InternalServerError,
        InvalidRequestsError,
        JobError,
        JobPausedError,
        JobStoppedError,
        JournalError,
        NotFoundError,
        PaginationError,
        PermissionDeniedError,
        RateLimitError,
        RefusalError,
        RequestFailedError,
        TransportError,
        TransportTimeoutError,
        UnprocessableEntityError,
        WaitTimeoutError,
        WebhookSignatureError,
    )
    from openai_batches.estimating import Estimate, ModelEstimate, estimate, read_prices
    from openai_batches.events import JobEvent, JobEventKind
    from openai_batches.files import Files
    from openai_batches.jobs import BatchJob
    from openai_batches.ledgers import Ledger, ShardLedger
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
    from openai_batches.pricing import PRICES, ModelPrice, PriceTable, cost_of
    from openai_batches.problems import Problem, Repair
    from openai_batches.progress import BatchChange
    from openai_batches.prompts import PromptSource, read_prompts
    from openai_batches.protocol import Answer
    from openai_batches.providers import (
        AZURE,
        DASHSCOPE,
        DEEPINFRA,
        DOUBLEWORD,
        GROQ,
        NEBIUS,
        NOVITA,
        OGX,
        OPENAI,
        PARASAIL,
        SILICONFLOW,
        ZHIPU,
        Provider,
    )
    from openai_batches.readers import RequestSource
    from openai_batches.receiving import WebhookReceiver
    from openai_batches.reporting import write_report
    from openai_batches.reports import ValidationReport
    from openai_batches.request_files import RequestFile, write_request_file
    from openai_batches.requests import BatchRequest, parse_request, requests_from
    from openai_batches.resending import to_requests
    from openai_batches.results import BatchResult, Outcome, ResultError
    from openai_batches.schemas import json_schema_format
    from openai_batches.session import BatchSession
    from openai_batches.sharding import Shard, ShardLimits
    from openai_batches.shards import iter_shards, validate_requests, write_shards
    from openai_batches.summaries import ResultSummary
    from openai_batches.watching import BatchChanges, CompletedBatches
    from openai_batches.webhooks import WebhookEvent, sign_webhook, verify_webhook
    from openai_batches.writers import CsvWriter, JsonlWriter, ParquetWriter, ResultWriter, write_results

__all__ = [
    "AZURE",
    "DASHSCOPE",
    "DEEPINFRA",
    "DOUBLEWORD",
    "GROQ",
    "NEBIUS",
    "NOVITA",
    "OGX",
    "OPENAI",
    "PARASAIL",
    "PRICES",
    "SILICONFLOW",
    "ZHIPU",
    "APIError",
    "AmbiguousCreateError",
    "Answer",
    "AsyncPaginator",
    "AuthenticationError",
    "BadRequestError",
    "Batch",
    "BatchChange",
    "BatchChanges",
    "BatchDownload",
    "BatchError",
    "BatchErrors",
    "BatchFailedError",
    "BatchJob",
    "BatchRequest",
    "BatchResult",
    "BatchResults",
    "BatchSession",
    "BatchStatus",
    "BatchUsage",
    "Batches",
    "BatchesError",
    "BatchesWarning",
    "Bill",
    "Cleanup",
    "CompletedBatches",
    "ConflictError",
    "CsvWriter",
    "DecodeError",
    "DeletedFile",
    "Diagnosis",
    "DownloadedFile",
    "Estimate",
    "FileContent",
    "FileObject",
    "Files",
    "IncompleteOutputError",
    "InputError",
    "InputTokensDetails",
    "InternalServerError",
    "InvalidRequestsError",
    "JobError",
    "JobEvent",
    "JobEventKind",
    "JobPausedError",
    "JobStoppedError",
    "JournalError",
    "JsonlWriter",
    "Ledger",
    "ModelBill",
    "ModelEstimate",
    "ModelPrice",
    "NotFoundError",
    "Outcome",
    "OutputTokensDetails",
    "Page",
    "PaginationError",
    "ParquetWriter",
    "PermissionDeniedError",
    "PollPolicy",
    "PriceTable",
    "Problem",
    "PromptSource",
    "Provider",
    "RateLimitError",
    "RefusalError",
    "Repair",
    "RequestCounts",
    "RequestFailedError",
    "RequestFile",
    "RequestSource",
    "ResultError",
    "ResultSummary",
    "ResultWriter",
    "RetryPolicy",
    "Shard",
    "ShardLedger",
    "ShardLimits",
    "Step",
    "TransportError",
    "TransportTimeoutError",
    "UnprocessableEntityError",
    "ValidationReport",
    "WaitTimeoutError",
    "WebhookEvent",
    "WebhookReceiver",
    "WebhookSignatureError",
    "__version__",
    "configure_converter",
    "cost_of",
    "estimate",
    "iter_shards",
    "json_schema_format",
    "make_converter",
    "parse_request",
    "read_prices",
    "read_prompts",
    "requests_from",
    "sign_webhook",
    "to_requests",
    "validate_requests",
    "verify_webhook",
    "write_report",
    "write_request_file",
    "write_results",
    "write_shards",
]

# Rooms are opened when they are first asked for: the name of the package costs nothing, nor does what nobody uses.
_ROOMS = {
    "Step": "attempts",
    "Batches": "batches",
    "Bill": "billing",
    "ModelBill": "billing",
    "BatchResults": "collecting",
    "FileContent": "content",
    "configure_converter": "converters",
    "make_converter": "converters",
    "Cleanup": "doctoring",
    "Diagnosis": "doctoring",
    "BatchDownload": "downloads",
    "DownloadedFile": "downloads",
    "APIError": "errors",
    "AmbiguousCreateError": "errors",
    "AuthenticationError": "errors",
    "BadRequestError": "errors",
    "BatchFailedError": "errors",
    "BatchesError": "errors",
    "BatchesWarning": "errors",
    "ConflictError": "errors",
    "DecodeError": "errors",
    "IncompleteOutputError": "errors",
    "InputError": "errors",
    "InternalServerError": "errors",
    "InvalidRequestsError": "errors",
    "JobError": "errors",
    "JobPausedError": "errors",
    "JobStoppedError": "errors",
    "JournalError": "errors",
    "NotFoundError": "errors",
    "PaginationError": "errors",
    "PermissionDeniedError": "errors",
    "RateLimitError": "errors",
    "RefusalError": "errors",
    "RequestFailedError": "errors",
    "TransportError": "errors",
    "TransportTimeoutError": "errors",
    "UnprocessableEntityError": "errors",
    "WaitTimeoutError": "errors",
    "WebhookSignatureError": "errors",
    "Estimate": "estimating",
    "ModelEstimate": "estimating",
    "estimate": "estimating",
    "read_prices": "estimating",
    "JobEvent": "events",
    "JobEventKind": "events",
    "Files": "files",
    "BatchJob": "jobs",
    "Ledger": "ledgers",
    "ShardLedger": "ledgers",
    "Batch": "models",
    "BatchError": "models",
    "BatchErrors": "models",
    "BatchStatus": "models",
    "BatchUsage": "models",
    "DeletedFile": "models",
    "FileObject": "models",
    "InputTokensDetails": "models",
    "OutputTokensDetails": "models",
    "Page": "models",
    "RequestCounts": "models",
    "AsyncPaginator": "pagination",
    "PollPolicy": "policy",
    "RetryPolicy": "policy",
    "PRICES": "pricing",
    "ModelPrice": "pricing",
    "PriceTable": "pricing",
    "cost_of": "pricing",
    "Problem": "problems",
    "Repair": "problems",
    "BatchChange": "progress",
    "PromptSource": "prompts",
    "read_prompts": "prompts",
    "Answer": "protocol",
    "AZURE": "providers",
    "DASHSCOPE": "providers",
    "DEEPINFRA": "providers",
    "DOUBLEWORD": "providers",
    "GROQ": "providers",
    "NEBIUS": "providers",
    "NOVITA": "providers",
    "OGX": "providers",
    "OPENAI": "providers",
    "PARASAIL": "providers",
    "SILICONFLOW": "providers",
    "ZHIPU": "providers",
    "Provider": "providers",
    "RequestSource": "readers",
    "WebhookReceiver": "receiving",
    "write_report": "reporting",
    "ValidationReport": "reports",
    "RequestFile": "request_files",
    "write_request_file": "request_files",
    "BatchRequest": "requests",
    "parse_request": "requests",
    "requests_from": "requests",
    "to_requests": "resending",
    "BatchResult": "results",
    "Outcome": "results",
    "ResultError": "results",
    "json_schema_format": "schemas",
    "BatchSession": "session",
    "Shard": "sharding",
    "ShardLimits": "sharding",
    "iter_shards": "shards",
    "validate_requests": "shards",
    "write_shards": "shards",
    "ResultSummary": "summaries",
    "BatchChanges": "watching",
    "CompletedBatches": "watching",
    "WebhookEvent": "webhooks",
    "sign_webhook": "webhooks",
    "verify_webhook": "webhooks",
    "CsvWriter": "writers",
    "JsonlWriter": "writers",
    "ParquetWriter": "writers",
    "ResultWriter": "writers",
    "write_results": "writers",
}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
