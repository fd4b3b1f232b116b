"""The public API as type checkers see it: read by mypy and pyright, never run."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, assert_type

import aiohttp
import aiohttp.web
import cattrs

from openai_batches import (
    AZURE,
    GROQ,
    OPENAI,
    Answer,
    APIError,
    AsyncPaginator,
    Batch,
    BatchChange,
    BatchChanges,
    BatchDownload,
    BatchesError,
    BatchFailedError,
    BatchRequest,
    BatchResults,
    BatchSession,
    BatchStatus,
    Bill,
    CompletedBatches,
    CsvWriter,
    DecodeError,
    DeletedFile,
    DownloadedFile,
    Estimate,
    FileContent,
    FileObject,
    InputError,
    Ledger,
    Outcome,
    Page,
    PaginationError,
    PollPolicy,
    PriceTable,
    PromptSource,
    RequestCounts,
    RequestFile,
    RequestSource,
    ResultSummary,
    RetryPolicy,
    Shard,
    ShardLimits,
    TransportTimeoutError,
    ValidationReport,
    WaitTimeoutError,
    WebhookEvent,
    WebhookReceiver,
    WebhookSignatureError,
    configure_converter,
    cost_of,
    estimate,
    iter_shards,
    json_schema_format,
    make_converter,
    parse_request,
    read_prices,
    read_prompts,
    requests_from,
    sign_webhook,
    to_requests,
    validate_requests,
    verify_webhook,
    write_report,
    write_request_file,
    write_results,
    write_shards,
)
from openai_batches.emulator import BackgroundServer, Fault, RequestRecord, SteppedClock


async def token() -> str:
    return "key"


async def reports(path: Path, prices: PriceTable) -> None:
    assert_type(await write_report("job", path), Ledger)
    await write_report(path, "report.html", prices=prices, overwrite=True, now=lambda: 1.0)
    await write_report(path, b"x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def sessions(borrowed: aiohttp.ClientSession) -> None:
    async with BatchSession() as session:
        assert_type(session, BatchSession)
        assert_type(session.base_url, str)
        assert_type(session.closed, bool)
    BatchSession("key", base_url="https://example.org/v1", organization="o", project="p", session=borrowed)
    BatchSession("key", base_url="https://x.example/openai/v1", provider=AZURE)
    assert_type(GROQ.window_hours, tuple[int, int] | None)
    BatchSession(
        token, timeout=30, poll=PollPolicy.every(60), retry=RetryPolicy(attempts=3), headers={"x": "y"}, provider=OPENAI
    )
    BatchSession("key", timeout=aiohttp.ClientTimeout(total=5), require_tls=True, trust_env=False)
    BatchSession(b"key")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def batches(session: BatchSession) -> None:
    batch = await session.batches.create(input_file_id="f", endpoint="/v1/responses")
    assert_type(batch, Batch)
    await session.batches.create(
        input_file_id="f",
        endpoint="/v1/responses",
        completion_window="24h",
        metadata={"a": "b"},
        output_expires_after=dt.timedelta(days=2),
        extra_field=1,
    )
    await session.batches.create("f")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(await session.batches.retrieve("b"), Batch)
    assert_type(await session.batches.cancel("b"), Batch)
    assert_type(await session.batches.wait(batch, timeout=3.5, poll=PollPolicy.every(2)), Batch)
    assert_type(await session.batches.wait("b", poll=2), Batch)
    async for ended in session.batches.as_completed([batch, "b"], timeout=5, poll=2):
        assert_type(ended, Batch)
    session.batches.as_completed(batch)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async for change in session.batches.watch(batch, poll=PollPolicy(), stall_after={BatchStatus.VALIDATING: 600}):
        assert_type(change, BatchChange)
        assert_type((change.batch, change.previous, change.is_stall), tuple[Batch, Batch | None, bool])
        assert_type(change.in_status_s + change.unchanged_s, float)
    changes = session.batches.watch("b", stall_after=600)
    assert_type(changes, BatchChanges)
    await changes.aclose()
    assert_type(session.batches.as_completed(["b"]), CompletedBatches)
    session.batches.wake("b")
    assert_type(session.batches.list(after="b", limit=10, prefetch=1), AsyncPaginator[Batch])
    assert_type(session.batches.results(batch), BatchResults)
    async for result in session.batches.results("b"):
        assert_type(result.outcome, Outcome)
        assert_type(result.output_text, str | None)
        assert_type(result.choice_count, int)
        assert_type(result.custom_id, str | None)


async def records(batch: Batch) -> None:
    assert_type(batch.status, BatchStatus)
    assert_type(batch.created_at, dt.datetime | None)
    assert_type(batch.request_counts, RequestCounts | None)
    assert_type(batch.metadata, Mapping[str, str] | None)
    assert_type(batch.is_terminal, bool)
    assert_type(batch.succeeded_all, bool)
    assert_type(batch.progress, float)
    assert_type([error.line for error in batch.errors or ()], list[int | None])
    assert_type(batch.request_id, str | None)
    batch.status = BatchStatus.FAILED  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


async def pages(session: BatchSession) -> None:
    paginator = session.batches.list()
    assert_type(await paginator, Page[Batch])
    assert_type(await paginator.collect(max_items=3), list[Batch])
    async for batch in paginator:
        assert_type(batch, Batch)
    async for page in paginator.pages():
        assert_type(page.data, tuple[Batch, ...])
        assert_type(page.has_more, bool | None)
    async for file in session.files.list(purpose="batch", order="asc"):
        assert_type(file, FileObject)
    session.files.list(order="up")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def files(session: BatchSession, source: AsyncIterator[bytes], binary: BinaryIO) -> None:
    assert_type(await session.files.create(Path("a.jsonl"), expires_after=3600), FileObject)
    await session.files.create("a.jsonl")
    await session.files.create(b"{}", filename="a.jsonl")
    await session.files.create(source, filename="a.jsonl")
    await session.files.create(binary)
    assert_type(await session.files.retrieve("f"), FileObject)
    assert_type(await session.files.delete("f"), DeletedFile)
    async with session.files.content("f") as content:
        assert_type(content, FileContent)
        assert_type(content.size, int | None)
        async for chunk in content.iter_chunks():
            assert_type(chunk, bytes)
        async for line in content.iter_lines(max_line_bytes=10):
            assert_type(line, bytes)
        assert_type(await content.read(max_bytes=10), bytes)


async def anything(session: BatchSession) -> None:
    answer = await session.request("GET", "/models", params={"limit": 3}, headers={"x": "y"})
    assert_type(answer, Answer)
    assert_type(answer.status, int)
    assert_type(answer.body, bytes)
    assert_type(answer.json(), Any)


async def pipeline(session: BatchSession, source: RequestSource, prompts: PromptSource, batch: Batch) -> None:
    requests = requests_from(["a"], model="m", response_format=json_schema_format(Batch))
    assert_type(requests, Iterable[BatchRequest])
    assert_type(parse_request(b"{}"), BatchRequest)
    async for prompt in read_prompts(prompts, delimiter=";"):
        assert_type(prompt, str | dict[str, Any])
    written = await write_request_file("a.csv", "a.jsonl", model="m", template=Path("a.txt"), parameters={"n": 1})
    written = await write_request_file([Path("a.csv"), prompts], "a.jsonl", model="m")
    assert_type(written, RequestFile)
    report = await validate_requests(source, endpoint="/v1/responses", strict=False)
    assert_type(report, ValidationReport)
    assert_type(await write_shards(requests, "shards", limits=ShardLimits.of(OPENAI)), list[Shard])
    async for shard in iter_shards("a.jsonl.gz", Path("shards")):
        assert_type(shard, Shard)
    assert_type(await estimate(requests, prices=await read_prices("prices.json")), Estimate)
    results = session.batches.results(batch, inputs=requests, ordered=True, body_type=dict)
    assert_type(results, BatchResults)
    assert_type(results.summary, ResultSummary)
    async for line in to_requests(results, requests, retry_failed=True):
        assert_type(line, bytes)
    assert_type(await write_results(results, "a.csv", parse=Batch), int)
    async with CsvWriter("a.csv", escape_formulas=True) as writer:
        await writer.write_many([])
    async for result in results:
        assert_type(result.parse(Batch), Batch)
    assert_type(Bill.of(results.summary.usage_by_model).cost, Decimal | None)
    assert_type(cost_of({}, "m", PriceTable.from_mapping({})), Decimal | None)
    assert_type(await session.files.download("f", "a.jsonl", compress="gzip"), DownloadedFile)
    assert_type(await session.batches.download(batch, "results"), BatchDownload)
    assert_type(await session.files.upload_parts("a.jsonl", concurrency=2), FileObject)


def emulators() -> None:
    with BackgroundServer(clock=SteppedClock(), models=["m"], faults=Fault.lost_answer()) as server:
        assert_type(server.base_url, str)
        assert_type(server.call(lambda: len(server.store.batches.items)), int)
        assert_type(server.requests, list[RequestRecord])
        server.advance(hours=1)
    BackgroundServer(model="m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    BackgroundServer(models=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def converters() -> None:
    converter = make_converter()
    assert_type(converter, cattrs.Converter)
    configure_converter(converter)


def errors(error: BatchesError) -> None:
    if isinstance(error, APIError):
        assert_type(error.status, int)
        assert_type(error.code, str | None)
        assert_type(error.retry_after, float | None)
    elif isinstance(error, BatchFailedError | WaitTimeoutError):
        assert_type(error.batch, Batch | None)
    elif isinstance(error, DecodeError):
        assert_type(error.details, tuple[str, ...])
    elif isinstance(error, PaginationError):
        assert_type(error.after, str | None)


value_error: type[ValueError] = InputError
timeout_error: type[TimeoutError] = TransportTimeoutError


async def webhooks(session: BatchSession, headers: Mapping[str, str], body: bytes) -> None:
    assert_type(verify_webhook(headers, body, "whsec_", now=1.0), WebhookEvent)
    assert_type(verify_webhook(headers, body, ["a", "b"], now=1, tolerance_s=5), WebhookEvent)
    receiver = WebhookReceiver(session, ["a", "b"], tolerance_s=60)
    WebhookReceiver(session.batches)
    event = await receiver.receive(headers, body)
    assert_type(event.batch_id, str | None)
    assert_type(event.created_at, dt.datetime | None)
    aiohttp.web.Application().router.add_post("/webhook", receiver.handle)
    try:
        verify_webhook(sign_webhook(body, "a", webhook_id="w", timestamp=1), body, "a", now=1)
    except WebhookSignatureError as error:
        assert_type(error, WebhookSignatureError)
    except WaitTimeoutError as error:
        assert_type(error.batches, tuple[Batch, ...])
