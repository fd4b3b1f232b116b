"""The official Python package finds everything where it looks for it, in both of its clients."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from support.asking import CHAT, chat_file, records

from openai_batches.emulator import BackgroundServer, BatchServer, Fault, SteppedClock, Timings

HOUR = {"anchor": "created_at", "seconds": 3600}


class Client:
    """One of the official clients, whose calls are awaited here whichever it is; the blocking one runs in a thread."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def __call__(self, call: Callable[[Any], Any]) -> Any:
        if isinstance(self.client, openai.AsyncOpenAI):
            return await call(self.client)
        return await asyncio.to_thread(call, self.client)

    async def all(self, call: Callable[[Any], Any]) -> list[Any]:
        if isinstance(self.client, openai.AsyncOpenAI):
            return [item async for item in call(self.client)]
        return await asyncio.to_thread(lambda: list(call(self.client)))


OpenClient = Callable[..., Client]


@pytest.fixture(params=["async", "sync"])
async def open_client(request: pytest.FixtureRequest, server: BatchServer) -> AsyncIterator[OpenClient]:
    """Opens clients of either kind."""
    opened: list[Client] = []

    def make(**options: Any) -> Client:
        kind = openai.AsyncOpenAI if request.param == "async" else openai.OpenAI
        chosen = {"base_url": server.base_url, "api_key": "sk-alice", "max_retries": 0, **options}
        opened.append(Client(kind(**chosen)))
        return opened[-1]

    yield make
    for ask in opened:
        closing: Any = ask.client.close()
        if isinstance(closing, Awaitable):
            await closing


@pytest.fixture
def ask(open_client: OpenClient) -> Client:
    return open_client()


async def test_files_from_everything(ask: Client, tmp_path: Path) -> None:
    """A path, an open file, bytes with a name and a named stream arrive under their names, byte for byte."""
    content = chat_file(20)
    path = tmp_path / "in.jsonl"
    path.write_bytes(content)
    named = io.BytesIO(content)
    named.name = "stream.jsonl"
    with path.open("rb") as opened:
        for source, name in [
            (path, "in.jsonl"),
            (opened, "in.jsonl"),
            (("given.jsonl", content), "given.jsonl"),
            (("given.jsonl", io.BytesIO(content), "application/jsonl"), "given.jsonl"),
            (named, "stream.jsonl"),
        ]:
            file = await ask(lambda client, given=source: client.files.create(file=given, purpose="batch"))
            assert (file.filename, file.bytes, file.purpose, file.status) == (name, len(content), "batch", "processed")
            assert file.expires_at == file.created_at + 30 * 86_400
            assert (await ask(lambda client, given=file.id: client.files.content(given))).content == content
    with pytest.raises(openai.BadRequestError, match=r"Must be \.jsonl") as caught:
        await ask(lambda client: client.files.create(file=content, purpose="batch"))
    assert caught.value.status_code == 400


async def test_a_file_and_all_its_verbs(server: BatchServer, ask: Client, tmp_path: Path) -> None:
    """Expiry, retrieval, both ways to read, deletion, and what comes after it."""
    content = chat_file(3000)
    file = await ask(lambda client: client.files.create(file=("a.jsonl", content), purpose="batch", expires_after=HOUR))
    assert file.expires_at == file.created_at + 3600
    assert await ask(lambda client: client.files.retrieve(file.id)) == file
    read = await ask(lambda client: client.files.content(file.id))
    assert read.text == content.decode()
    target = tmp_path / "copy.jsonl"
    if isinstance(ask.client, openai.AsyncOpenAI):
        async with ask.client.files.with_streaming_response.content(file.id) as streamed:
            await streamed.stream_to_file(target)
    else:

        def stream() -> None:
            with ask.client.files.with_streaming_response.content(file.id) as streamed:
                streamed.stream_to_file(target)

        await asyncio.to_thread(stream)
    assert await asyncio.to_thread(target.read_bytes) == content
    deleted = await ask(lambda client: client.files.delete(file.id))
    assert (deleted.id, deleted.object, deleted.deleted) == (file.id, "file", True)
    for verb in ("retrieve", "content", "delete"):
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            await ask(lambda client, name=verb: getattr(client.files, name)(file.id))
    short = await ask(
        lambda client: client.files.create(file=("a.jsonl", content), purpose="batch", expires_after=HOUR)
    )
    await server.advance(hours=1)
    with pytest.raises(openai.NotFoundError):
        await ask(lambda client: client.files.retrieve(short.id))


async def test_pages_turn_by_themselves(server: BatchServer, ask: Client) -> None:
    """Walks over more than three pages of files and of batches hold each item once, in order."""
    files = []
    for number in range(8):
        name = (f"{number}.jsonl", chat_file(1))
        files.append((await ask(lambda client, given=name: client.files.create(file=given, purpose="batch"))).id)
        await server.advance(seconds=1)
    assert [file.id for file in await ask.all(lambda client: client.files.list(limit=2))] == files[::-1]
    assert [file.id for file in await ask.all(lambda client: client.files.list(limit=3, order="asc"))] == files
    assert await ask.all(lambda client: client.files.list(purpose="vision")) == []
    made = []
    for file_id in files:
        wanted = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
        made.append((await ask(lambda client, given=wanted: client.batches.create(**given))).id)
    assert [batch.id for batch in await ask.all(lambda client: client.batches.list(limit=2))] == made[::-1]
    assert [item.id for item in await ask.all(lambda client: client.batches.list(after=made[3]))] == made[2::-1]
    page: Any = await ask(lambda client: client.batches.list(limit=3))
    assert (page.has_more, page.data[0].id, page.data[-1].id) == (True, made[-1], made[-3])
    assert page.has_next_page()


async def test_a_batch_and_all_its_verbs(server: BatchServer, ask: Client) -> None:
    """Creation with everything, retrieval, the files at its end, and the cancels of its siblings."""
    file = await ask(lambda client: client.files.create(file=("a.jsonl", chat_file(3)), purpose="batch"))
    wanted = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}
    batch = await ask(lambda client: client.batches.create(**wanted, metadata={"job": "ü"}, output_expires_after=HOUR))
    assert (batch.status, batch.metadata, batch.errors, batch.model) == ("validating", {"job": "ü"}, None, None)
    other = await ask(lambda client: client.batches.create(**wanted))
    assert (await ask(lambda client: client.batches.cancel(other.id))).status == "cancelling"
    assert (await ask(lambda client: client.batches.cancel(other.id))).cancelling_at is not None
    await server.advance(minutes=10)
    done = await ask(lambda client: client.batches.retrieve(batch.id))
    assert (done.status, done.request_counts.completed, done.model) == ("completed", 3, "gpt-4o-mini")
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens > 0
    output = await ask(lambda client: client.files.retrieve(done.output_file_id))
    assert (output.purpose, output.expires_at) == ("batch_output", done.completed_at + 3600)
    content = await ask(lambda client: client.files.content(done.output_file_id))
    assert [line["custom_id"] for line in records(content.content)] == ["r0", "r1", "r2"]
    gone = await ask(lambda client: client.batches.retrieve(other.id))
    assert (gone.status, gone.output_file_id, gone.error_file_id) == ("cancelled", None, None)
    bad = await ask(lambda client: client.batches.create(**{**wanted, "input_file_id": "file-none"}))
    await server.advance(minutes=1)
    failed = await ask(lambda client: client.batches.retrieve(bad.id))
    assert (failed.status, failed.errors.data[0].code, failed.errors.data[0].line) == (
        "failed",
        "invalid_request",
        None,
    )


async def test_uploads(ask: Client, tmp_path: Path) -> None:
    """A file in parts, from memory and from disk, with its sum; parts in another order; and a cancel."""
    content = chat_file(60)
    path = tmp_path / "in.jsonl"
    path.write_bytes(content)
    common = {"mime_type": "application/jsonl", "purpose": "batch", "part_size": 1_000}
    named = {"file": content, "filename": "m.jsonl", "bytes": len(content)}
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    for source in (named, {**named, "md5": md5}, {"file": path}):
        upload = await ask(lambda client, given=source: client.uploads.upload_file_chunked(**given, **common))
        assert (upload.status, upload.file.bytes, upload.file.purpose) == ("completed", len(content), "batch")
        assert (await ask(lambda client, given=upload.file.id: client.files.content(given))).content == content
    with pytest.raises(openai.BadRequestError, match="md5"):
        await ask(lambda client: client.uploads.upload_file_chunked(**named, **common, md5="0" * 32))
    wanted = {"bytes": 4, "filename": "x.jsonl", "mime_type": "text/jsonl", "purpose": "user_data"}
    upload = await ask(lambda client: client.uploads.create(**wanted))
    assert upload.expires_at == upload.created_at + 3600
    ids = [
        (await ask(lambda client, given=part: client.uploads.parts.create(upload.id, data=given))).id
        for part in (b"cd", b"ab")
    ]
    done = await ask(lambda client: client.uploads.complete(upload.id, part_ids=ids[::-1]))
    assert (done.status, done.file.filename, done.file.bytes) == ("completed", "x.jsonl", 4)
    with pytest.raises(openai.BadRequestError, match="completed"):
        await ask(lambda client: client.uploads.parts.create(upload.id, data=b"x"))
    pending = await ask(lambda client: client.uploads.create(**wanted))
    assert (await ask(lambda client: client.uploads.cancel(pending.id))).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="cancelled"):
        await ask(lambda client: client.uploads.complete(pending.id, part_ids=[]))


ERRORS: list[tuple[str, Any, type[openai.APIStatusError]]] = [
    ("a wrong key", lambda client: client.with_options(api_key="sk-wrong").batches.list(), openai.AuthenticationError),
    ("nothing there", lambda client: client.batches.retrieve("batch_none"), openai.NotFoundError),
    ("a wrong page size", lambda client: client.batches.list(limit=101), openai.BadRequestError),
    ("an id of another kind", lambda client: client.files.content("batch_none"), openai.NotFoundError),
]


@pytest.mark.parametrize(("call", "expected"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
async def test_errors_of_requests(open_client: OpenClient, call: Any, expected: Any) -> None:
    """Refusals are raised as the class of their status, with the parts of the error object and the request id."""
    async with BatchServer(clock=SteppedClock(), api_keys=["sk-alice"]) as server:
        ask = open_client(base_url=server.base_url)
        with pytest.raises(expected) as caught:
            await ask(call)
        error = caught.value
        assert error.type == "invalid_request_error"
        assert set(error.body) == {"message", "type", "param", "code"}
        assert error.request_id == server.requests[-1].request_id


STATUSES = [
    (400, openai.BadRequestError),
    (401, openai.AuthenticationError),
    (403, openai.PermissionDeniedError),
    (404, openai.NotFoundError),
    (408, openai.APIStatusError),
    (409, openai.ConflictError),
    (422, openai.UnprocessableEntityError),
    (429, openai.RateLimitError),
    (500, openai.InternalServerError),
    (503, openai.InternalServerError),
]


@pytest.mark.parametrize(("status", "expected"), STATUSES)
async def test_a_class_for_each_status(server: BatchServer, ask: Client, status: Any, expected: Any) -> None:
    """Whatever status the emulator is told to answer with, the client knows it."""
    server.faults.add(Fault.error_before(status))
    with pytest.raises(expected) as caught:
        await ask(lambda client: client.batches.list())
    assert (caught.value.status_code, caught.value.request_id) == (status, server.requests[-1].request_id)


RETRIES: list[tuple[str, Fault, int]] = [
    ("429 and a wait in milliseconds", Fault.rate_limited(retry_after_ms=2, times=2), 3),
    ("a lost connection", Fault.reset_before(times=1), 2),
    ("an answer that is lost", Fault.lost_answer(times=1), 2),
    ("500", Fault.error_before(500, times=1), 2),
    ("HTML of a proxy", Fault.error_before(502, html=True, times=1), 2),
    ("no end of it", Fault.rate_limited(retry_after_ms=1, times=None), 3),
    ("a wait that is too long", Fault.rate_limited(retry_after_s=121, times=1), 1),
    ("a refusal", Fault.error_before(400, times=1), 1),
]


@pytest.mark.parametrize("row", RETRIES, ids=[row[0] for row in RETRIES])
async def test_retries(server: BatchServer, open_client: OpenClient, monkeypatch: pytest.MonkeyPatch, row: Any) -> None:
    """The client tries again as often as its own rules say, counts its attempts, and gets there if it can."""
    what, fault, attempts = row
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.001)
    fault.fired = 0
    server.faults.add(fault)
    ask = open_client(max_retries=2)
    try:
        assert list((await ask(lambda client: client.batches.list())).data) == []
        is_served = True
    except openai.APIError:
        is_served = False
    assert is_served is (what not in {"no end of it", "a wait that is too long", "a refusal"})
    counts = [record.headers["x-stainless-retry-count"] for record in server.requests]
    assert counts == [str(number) for number in range(attempts)]


async def test_raw_responses(server: BatchServer, ask: Client) -> None:
    """The raw answer shows status, headers and request id, and is parsed on demand; parsed objects carry the id too."""
    answer = await ask(lambda client: client.batches.with_raw_response.list())
    assert (answer.status_code, answer.request_id) == (200, server.requests[-1].request_id)
    assert answer.headers["openai-version"] == "2020-10-01"
    assert int(answer.headers["openai-processing-ms"]) >= 0
    assert answer.parse().data == []
    file = await ask(lambda client: client.files.create(file=("a.jsonl", chat_file(1)), purpose="batch"))
    assert file._request_id == server.requests[-1].request_id


@pytest.mark.parametrize("end", ["completed", "failed", "expired"])
async def test_what_is_over_cannot_be_cancelled(open_client: OpenClient, end: Any) -> None:
    """A cancel that comes too late is a conflict, in the words of the service."""
    content = b"{}\n" if end == "failed" else chat_file(1)
    timings = Timings(line_s=1_000_000 if end == "expired" else 0)
    async with BatchServer(clock=SteppedClock(), timings=timings) as server:
        ask = open_client(base_url=server.base_url)
        file = await ask(lambda client: client.files.create(file=("a.jsonl", content), purpose="batch"))
        wanted = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}
        batch = await ask(lambda client: client.batches.create(**wanted))
        await server.advance(hours=25)
        with pytest.raises(openai.ConflictError, match=f"Cannot cancel a batch with status '{end}'"):
            await ask(lambda client: client.batches.cancel(batch.id))


@pytest.mark.parametrize("address", ["azure_endpoint", "base_url"])
def test_the_client_for_azure(address: str) -> None:
    """It finds its way with the root of the resource and with the whole address, and gives a file a life."""
    with BackgroundServer(profile="azure", speed=1_000) as server:
        url = server.base_url.removesuffix("/openai/v1") if address == "azure_endpoint" else server.base_url
        given: Any = {address: url}
        with openai.AzureOpenAI(**given, api_key=server.api_key, api_version="2024-10-21", max_retries=0) as client:
            life = {"expires_after.anchor": "created_at", "expires_after.seconds": 1_209_600}
            file = client.files.create(file=("in.jsonl", chat_file(1)), purpose="batch", extra_body=life)
            assert file.expires_at is not None
            assert client.files.retrieve(file.id).id == file.id
            assert client.batches.list().data == []
