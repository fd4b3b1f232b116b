"""Asyncio-native client for the OpenAI Batch API and the services that speak it.

::

    async with BatchSession() as session:
        file = await session.files.create("requests.jsonl")
        batch = await session.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions")
        batch = await session.batches.wait(batch)
        async for result in session.batches.results(batch):
            print(result.custom_id, result.outcome, result.output_text)
"""

from openai_batches._moved import load_old_names
from openai_batches._names import LazyNames

_offered = LazyNames(globals())
with _offered:
    from openai_batches.costs.bill import (
        Bill as Bill,
        ModelBill as ModelBill,
    )
    from openai_batches.costs.estimate import (
        Estimate as Estimate,
        ModelEstimate as ModelEstimate,
        estimate as estimate,
        read_prices as read_prices,
    )
    from openai_batches.costs.prices import (
        PRICES as PRICES,
        ModelPrice as ModelPrice,
        PriceTable as PriceTable,
        cost_of as cost_of,
    )
    from openai_batches.errors import (
        AmbiguousCreateError as AmbiguousCreateError,
        APIError as APIError,
        AuthenticationError as AuthenticationError,
        BadRequestError as BadRequestError,
        BatchesError as BatchesError,
        BatchesWarning as BatchesWarning,
        BatchFailedError as BatchFailedError,
        ConflictError as ConflictError,
        DecodeError as DecodeError,
        IncompleteOutputError as IncompleteOutputError,
        InputError as InputError,
        InternalServerError as InternalServerError,
        InvalidRequestsError as InvalidRequestsError,
        JobError as JobError,
        JobPausedError as JobPausedError,
        JobStoppedError as JobStoppedError,
        JournalError as JournalError,
        NotFoundError as NotFoundError,
        PaginationError as PaginationError,
        PermissionDeniedError as PermissionDeniedError,
        RateLimitError as RateLimitError,
        RefusalError as RefusalError,
        RequestFailedError as RequestFailedError,
        TransportError as TransportError,
        TransportTimeoutError as TransportTimeoutError,
        UnprocessableEntityError as UnprocessableEntityError,
        WaitTimeoutError as WaitTimeoutError,
        WebhookSignatureError as WebhookSignatureError,
    )
    from openai_batches.http.decode import (
        configure_converter as configure_converter,
        make_converter as make_converter,
    )
    from openai_batches.http.wire import (
        Answer as Answer,
    )
    from openai_batches.jobs.cleanup.doctor import (
        Cleanup as Cleanup,
        Diagnosis as Diagnosis,
    )
    from openai_batches.jobs.events import (
        JobEvent as JobEvent,
        JobEventKind as JobEventKind,
    )
    from openai_batches.jobs.job import (
        BatchJob as BatchJob,
    )
    from openai_batches.jobs.journal.records import (
        Step as Step,
    )
    from openai_batches.jobs.ledger import (
        Ledger as Ledger,
        ShardLedger as ShardLedger,
    )
    from openai_batches.models import (
        Batch as Batch,
        BatchError as BatchError,
        BatchErrors as BatchErrors,
        BatchStatus as BatchStatus,
        BatchUsage as BatchUsage,
        DeletedFile as DeletedFile,
        FileObject as FileObject,
        InputTokensDetails as InputTokensDetails,
        OutputTokensDetails as OutputTokensDetails,
        Page as Page,
        Problem as Problem,
        Repair as Repair,
        RequestCounts as RequestCounts,
    )
    from openai_batches.pagination import (
        AsyncPaginator as AsyncPaginator,
    )
    from openai_batches.policies import (
        PollPolicy as PollPolicy,
        RetryPolicy as RetryPolicy,
    )
    from openai_batches.providers import (
        AZURE as AZURE,
        DASHSCOPE as DASHSCOPE,
        DEEPINFRA as DEEPINFRA,
        DOUBLEWORD as DOUBLEWORD,
        GROQ as GROQ,
        NEBIUS as NEBIUS,
        NOVITA as NOVITA,
        OGX as OGX,
        OPENAI as OPENAI,
        PARASAIL as PARASAIL,
        SILICONFLOW as SILICONFLOW,
        ZHIPU as ZHIPU,
        Provider as Provider,
    )
    from openai_batches.report.write import (
        write_report as write_report,
    )
    from openai_batches.requests.packing import (
        Shard as Shard,
        ShardLimits as ShardLimits,
    )
    from openai_batches.requests.prompts import (
        PromptSource as PromptSource,
        read_prompts as read_prompts,
    )
    from openai_batches.requests.read import (
        RequestSource as RequestSource,
    )
    from openai_batches.requests.request import (
        BatchRequest as BatchRequest,
        parse_request as parse_request,
        requests_from as requests_from,
    )
    from openai_batches.requests.schemas import (
        json_schema_format as json_schema_format,
    )
    from openai_batches.requests.shards import (
        iter_shards as iter_shards,
        write_shards as write_shards,
    )
    from openai_batches.requests.validate import (
        ValidationReport as ValidationReport,
        validate_requests as validate_requests,
    )
    from openai_batches.requests.write import (
        RequestFile as RequestFile,
        write_request_file as write_request_file,
    )
    from openai_batches.resources.batches import (
        Batches as Batches,
    )
    from openai_batches.resources.content import (
        FileContent as FileContent,
    )
    from openai_batches.resources.downloads import (
        BatchDownload as BatchDownload,
        DownloadedFile as DownloadedFile,
    )
    from openai_batches.resources.files import (
        Files as Files,
    )
    from openai_batches.resources.progress import (
        BatchChange as BatchChange,
    )
    from openai_batches.resources.wait import (
        BatchChanges as BatchChanges,
        CompletedBatches as CompletedBatches,
    )
    from openai_batches.resources.webhooks import (
        WebhookEvent as WebhookEvent,
        WebhookReceiver as WebhookReceiver,
        sign_webhook as sign_webhook,
        verify_webhook as verify_webhook,
    )
    from openai_batches.results.inputs import (
        to_requests as to_requests,
    )
    from openai_batches.results.result import (
        BatchResult as BatchResult,
        Outcome as Outcome,
        ResultError as ResultError,
    )
    from openai_batches.results.stream import (
        BatchResults as BatchResults,
    )
    from openai_batches.results.summary import (
        ResultSummary as ResultSummary,
    )
    from openai_batches.results.write import (
        CsvWriter as CsvWriter,
        JsonlWriter as JsonlWriter,
        ParquetWriter as ParquetWriter,
        ResultWriter as ResultWriter,
        write_results as write_results,
    )
    from openai_batches.session import (
        BatchSession as BatchSession,
    )
    from openai_batches.version import __version__ as __version__

load_old_names("jobs", "requests", "results")


def __getattr__(name: str) -> object:
    return _offered.load(name)


def __dir__() -> list[str]:
    return _offered.dir()
