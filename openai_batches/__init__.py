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

_names = LazyNames(globals())
with _names:
    from openai_batches.costs.bill import (
        Bill as Bill,
    )
    from openai_batches.costs.bill import (
        ModelBill as ModelBill,
    )
    from openai_batches.costs.estimate import (
        Estimate as Estimate,
    )
    from openai_batches.costs.estimate import (
        ModelEstimate as ModelEstimate,
    )
    from openai_batches.costs.estimate import (
        estimate as estimate,
    )
    from openai_batches.costs.estimate import (
        read_prices as read_prices,
    )
    from openai_batches.costs.prices import (
        PRICES as PRICES,
    )
    from openai_batches.costs.prices import (
        ModelPrice as ModelPrice,
    )
    from openai_batches.costs.prices import (
        PriceTable as PriceTable,
    )
    from openai_batches.costs.prices import (
        cost_of as cost_of,
    )
    from openai_batches.errors import (
        AmbiguousCreateError as AmbiguousCreateError,
    )
    from openai_batches.errors import (
        APIError as APIError,
    )
    from openai_batches.errors import (
        AuthenticationError as AuthenticationError,
    )
    from openai_batches.errors import (
        BadRequestError as BadRequestError,
    )
    from openai_batches.errors import (
        BatchesError as BatchesError,
    )
    from openai_batches.errors import (
        BatchesWarning as BatchesWarning,
    )
    from openai_batches.errors import (
        BatchFailedError as BatchFailedError,
    )
    from openai_batches.errors import (
        ConflictError as ConflictError,
    )
    from openai_batches.errors import (
        DecodeError as DecodeError,
    )
    from openai_batches.errors import (
        IncompleteOutputError as IncompleteOutputError,
    )
    from openai_batches.errors import (
        InputError as InputError,
    )
    from openai_batches.errors import (
        InternalServerError as InternalServerError,
    )
    from openai_batches.errors import (
        InvalidRequestsError as InvalidRequestsError,
    )
    from openai_batches.errors import (
        JobError as JobError,
    )
    from openai_batches.errors import (
        JobPausedError as JobPausedError,
    )
    from openai_batches.errors import (
        JobStoppedError as JobStoppedError,
    )
    from openai_batches.errors import (
        JournalError as JournalError,
    )
    from openai_batches.errors import (
        NotFoundError as NotFoundError,
    )
    from openai_batches.errors import (
        PaginationError as PaginationError,
    )
    from openai_batches.errors import (
        PermissionDeniedError as PermissionDeniedError,
    )
    from openai_batches.errors import (
        RateLimitError as RateLimitError,
    )
    from openai_batches.errors import (
        RefusalError as RefusalError,
    )
    from openai_batches.errors import (
        RequestFailedError as RequestFailedError,
    )
    from openai_batches.errors import (
        TransportError as TransportError,
    )
    from openai_batches.errors import (
        TransportTimeoutError as TransportTimeoutError,
    )
    from openai_batches.errors import (
        UnprocessableEntityError as UnprocessableEntityError,
    )
    from openai_batches.errors import (
        WaitTimeoutError as WaitTimeoutError,
    )
    from openai_batches.errors import (
        WebhookSignatureError as WebhookSignatureError,
    )
    from openai_batches.http.decode import (
        configure_converter as configure_converter,
    )
    from openai_batches.http.decode import (
        make_converter as make_converter,
    )
    from openai_batches.http.wire import (
        Answer as Answer,
    )
    from openai_batches.jobs.cleanup.doctor import (
        Cleanup as Cleanup,
    )
    from openai_batches.jobs.cleanup.doctor import (
        Diagnosis as Diagnosis,
    )
    from openai_batches.jobs.events import (
        JobEvent as JobEvent,
    )
    from openai_batches.jobs.events import (
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
    )
    from openai_batches.jobs.ledger import (
        ShardLedger as ShardLedger,
    )
    from openai_batches.models import (
        Batch as Batch,
    )
    from openai_batches.models import (
        BatchError as BatchError,
    )
    from openai_batches.models import (
        BatchErrors as BatchErrors,
    )
    from openai_batches.models import (
        BatchStatus as BatchStatus,
    )
    from openai_batches.models import (
        BatchUsage as BatchUsage,
    )
    from openai_batches.models import (
        DeletedFile as DeletedFile,
    )
    from openai_batches.models import (
        FileObject as FileObject,
    )
    from openai_batches.models import (
        InputTokensDetails as InputTokensDetails,
    )
    from openai_batches.models import (
        OutputTokensDetails as OutputTokensDetails,
    )
    from openai_batches.models import (
        Page as Page,
    )
    from openai_batches.models import (
        RequestCounts as RequestCounts,
    )
    from openai_batches.pagination import (
        AsyncPaginator as AsyncPaginator,
    )
    from openai_batches.policies import (
        PollPolicy as PollPolicy,
    )
    from openai_batches.policies import (
        RetryPolicy as RetryPolicy,
    )
    from openai_batches.problems import (
        Problem as Problem,
    )
    from openai_batches.problems import (
        Repair as Repair,
    )
    from openai_batches.providers import (
        AZURE as AZURE,
    )
    from openai_batches.providers import (
        DASHSCOPE as DASHSCOPE,
    )
    from openai_batches.providers import (
        DEEPINFRA as DEEPINFRA,
    )
    from openai_batches.providers import (
        DOUBLEWORD as DOUBLEWORD,
    )
    from openai_batches.providers import (
        GROQ as GROQ,
    )
    from openai_batches.providers import (
        NEBIUS as NEBIUS,
    )
    from openai_batches.providers import (
        NOVITA as NOVITA,
    )
    from openai_batches.providers import (
        OGX as OGX,
    )
    from openai_batches.providers import (
        OPENAI as OPENAI,
    )
    from openai_batches.providers import (
        PARASAIL as PARASAIL,
    )
    from openai_batches.providers import (
        SILICONFLOW as SILICONFLOW,
    )
    from openai_batches.providers import (
        ZHIPU as ZHIPU,
    )
    from openai_batches.providers import (
        Provider as Provider,
    )
    from openai_batches.report.write import (
        write_report as write_report,
    )
    from openai_batches.requests.packing import (
        Shard as Shard,
    )
    from openai_batches.requests.packing import (
        ShardLimits as ShardLimits,
    )
    from openai_batches.requests.prompts import (
        PromptSource as PromptSource,
    )
    from openai_batches.requests.prompts import (
        read_prompts as read_prompts,
    )
    from openai_batches.requests.read import (
        RequestSource as RequestSource,
    )
    from openai_batches.requests.request import (
        BatchRequest as BatchRequest,
    )
    from openai_batches.requests.request import (
        parse_request as parse_request,
    )
    from openai_batches.requests.request import (
        requests_from as requests_from,
    )
    from openai_batches.requests.schemas import (
        json_schema_format as json_schema_format,
    )
    from openai_batches.requests.shards import (
        iter_shards as iter_shards,
    )
    from openai_batches.requests.shards import (
        write_shards as write_shards,
    )
    from openai_batches.requests.validate import (
        ValidationReport as ValidationReport,
    )
    from openai_batches.requests.validate import (
        validate_requests as validate_requests,
    )
    from openai_batches.requests.write import (
        RequestFile as RequestFile,
    )
    from openai_batches.requests.write import (
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
    )
    from openai_batches.resources.downloads import (
        DownloadedFile as DownloadedFile,
    )
    from openai_batches.resources.files import (
        Files as Files,
    )
    from openai_batches.resources.progress import (
        BatchChange as BatchChange,
    )
    from openai_batches.resources.receiving import (
        WebhookReceiver as WebhookReceiver,
    )
    from openai_batches.resources.wait import (
        BatchChanges as BatchChanges,
    )
    from openai_batches.resources.wait import (
        CompletedBatches as CompletedBatches,
    )
    from openai_batches.resources.webhooks import (
        WebhookEvent as WebhookEvent,
    )
    from openai_batches.resources.webhooks import (
        sign_webhook as sign_webhook,
    )
    from openai_batches.resources.webhooks import (
        verify_webhook as verify_webhook,
    )
    from openai_batches.results.inputs import (
        to_requests as to_requests,
    )
    from openai_batches.results.result import (
        BatchResult as BatchResult,
    )
    from openai_batches.results.result import (
        Outcome as Outcome,
    )
    from openai_batches.results.result import (
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
    )
    from openai_batches.results.write import (
        JsonlWriter as JsonlWriter,
    )
    from openai_batches.results.write import (
        ParquetWriter as ParquetWriter,
    )
    from openai_batches.results.write import (
        ResultWriter as ResultWriter,
    )
    from openai_batches.results.write import (
        write_results as write_results,
    )
    from openai_batches.session import (
        BatchSession as BatchSession,
    )
    from openai_batches.version import __version__ as __version__

load_old_names("jobs", "requests", "results")


def __getattr__(name: str) -> object:
    return _names.load(name)


def __dir__() -> list[str]:
    return _names.dir()
