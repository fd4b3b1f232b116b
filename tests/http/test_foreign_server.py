"""Against a server that other people wrote, with its own ideas of the API."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

import pytest
from llmock.routers import batch as llmock_batches
from llmock.scenarios import Fail
from llmock.testing import LLMockServer
from support.http_servers import CHAT, KEY, RawServer, chat_lines, json_answer

from openai_batches import (
    APIError,
    BadRequestError,
    BatchSession,
    BatchStatus,
    NotFoundError,
    Outcome,
    PaginationError,
    RateLimitError,
    RetryPolicy,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.http_servers import OpenSession

# It leaves the spool files of uploads to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning")


@pytest.fixture(scope="module")
def running() -> Iterator[LLMockServer]:
    """One server for all tests here; its memory is the process's."""
    with LLMockServer() as server:
        yield server
    gc.collect()  # the files that it left open are closed while their warning is still ignored


@pytest.fixture
def foreign(running: LLMockServer, monkeypatch: pytest.MonkeyPatch) -> LLMockServer:
    """The server without a past, and quick."""
    monkeypatch.setattr(llmock_batches, "_BATCH_DELAY", 0.05)
    llmock_batches._batches.clear()
    llmock_batches._files.clear()
    running.state.reset()
    return running


@pytest.fixture
def guest(foreign: LLMockServer, open_session: OpenSession) -> BatchSession:
    return open_session(foreign.base_url(), retry=RetryPolicy(initial_delay_s=0.01))


async def test_the_whole_way(guest: BatchSession) -> None:
    """Upload, create, wait, results, list, cancel and delete all work."""
    file = await guest.files.create(chat_lines(8), filename="in.jsonl")
    assert (file.filename, file.purpose, file.bytes) == ("in.jsonl", "batch", len(chat_lines(8)))
    assert await guest.files.retrieve(file.id) == file
    batch = await guest.batches.create(input_file_id=file.id, endpoint=CHAT, metadata={"a": "b"})
    assert batch.status == BatchStatus.VALIDATING
    assert batch.metadata is not None
    assert batch.metadata["a"] == "b"
    done = await guest.batches.wait(batch, poll=0.03, timeout=60)
    assert done.succeeded_all
    results = [item async for item in guest.batches.results(done)]
    assert [item.custom_id for item in results] == [f"r{number}" for number in range(8)]
    assert all(item.outcome is Outcome.SUCCEEDED and item.output_text for item in results)
    assert [item.id async for item in guest.batches.list()] == [batch.id]
    second = await guest.batches.create(input_file_id=file.id, endpoint=CHAT)
    assert (await guest.batches.cancel(second.id)).status == BatchStatus.CANCELLED
    assert [item async for item in guest.batches.results(second.id)] == []
    assert (await guest.files.delete(file.id)).deleted
    with pytest.raises(NotFoundError):
        await guest.files.retrieve(file.id)


async def test_lines_that_fail(guest: BatchSession) -> None:
    """A line that fails has its reason beside an empty response; a batch of such lines alone has files all the same."""
    bad = b'{"custom_id": "bad", "method": "POST", "url": "/v1/nothing", "body": {}}\n'
    file = await guest.files.create(chat_lines(1) + bad + b"no json\n")
    batch = await guest.batches.create(input_file_id=file.id, endpoint=CHAT)
    done = await guest.batches.wait(batch, poll=0.03, timeout=60)
    results = {item.custom_id: item async for item in guest.batches.results(done)}
    assert results["r0"].outcome is Outcome.SUCCEEDED
    assert results["bad"].outcome is Outcome.FAILED
    assert results["bad"].error is not None
    assert results["bad"].error.code == "unsupported_endpoint"
    assert len(results) == 3
    file = await guest.files.create(bad)
    failed = await guest.batches.wait(await guest.batches.create(input_file_id=file.id, endpoint=CHAT), poll=0.03)
    assert failed.status == BatchStatus.FAILED
    assert [item.outcome async for item in guest.batches.results(failed)] == [Outcome.FAILED]


async def test_no_list_of_files(guest: BatchSession) -> None:
    """A service without a list of files says so, in an error with its status."""
    with pytest.raises(APIError) as caught:
        await guest.files.list()
    assert caught.value.status == 405
    assert "Method Not Allowed" in str(caught.value)


async def test_refusals(guest: BatchSession) -> None:
    """Its refusals are our errors, with its words."""
    with pytest.raises(BadRequestError, match="Input file 'file-nothing' not found"):
        await guest.batches.create(input_file_id="file-nothing", endpoint=CHAT)
    with pytest.raises(NotFoundError, match="Batch 'batch_nothing' not found"):
        await guest.batches.retrieve("batch_nothing")
    file = await guest.files.create(chat_lines(1))
    done = await guest.batches.create(input_file_id=file.id, endpoint=CHAT)
    done = await guest.batches.wait(done, poll=0.03, timeout=60)
    with pytest.raises(BadRequestError, match="already in terminal status"):
        await guest.batches.cancel(done.id)


async def several(guest: BatchSession, count: int) -> list[str]:
    file = await guest.files.create(chat_lines(1))
    made = [await guest.batches.create(input_file_id=file.id, endpoint=CHAT) for _ in range(count)]
    return [batch.id for batch in made]


async def test_pages(guest: BatchSession) -> None:
    """Its pages are followed to the end; that they are not in the order of creation does not matter."""
    ids = await several(guest, 7)
    assert {item.id async for item in guest.batches.list(limit=2)} == set(ids)
    assert len([page async for page in guest.batches.list(limit=2).pages()]) == 4


async def test_an_unknown_cursor_starts_over(guest: BatchSession) -> None:
    """A cursor that the service does not know begins the list again, and is still followed to its end once."""
    ids = await several(guest, 5)
    listed = [item.id async for item in guest.batches.list(after="batch_nothing", limit=2)]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(ids)


async def test_a_page_of_nothing_with_more_to_come(guest: BatchSession) -> None:
    """Asked for pages of nothing it always has more: where no page brings a cursor the walk ends in an error."""
    await several(guest, 2)
    raw = (await guest.request("GET", "/batches", params={"limit": 0})).json()
    assert (raw["data"], raw["has_more"], raw["last_id"]) == ([], True, None)

    async with RawServer(json_answer(raw)) as server, BatchSession(KEY, base_url=server.base_url) as session:
        with pytest.raises(PaginationError, match="gives no cursor"):
            await session.batches.list().collect()
        assert len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_trouble_on_demand(status: int, foreign: LLMockServer, guest: BatchSession) -> None:
    """Its 429 and 503 are waited out for as long as it asks, which is in milliseconds."""
    foreign.state.scenarios.add(Fail(status, retry_after=0.08, times=2))
    begun = time.perf_counter()
    assert [item async for item in guest.batches.list()] == []
    assert 0.16 <= time.perf_counter() - begun < 60  # not 80 seconds each
    assert [record.status for record in foreign.state.journal.records(wait=2)] == [status, status, 200]


async def test_trouble_while_creating(foreign: LLMockServer, guest: BatchSession) -> None:
    """After 429 and 503 a batch is created once, the 503 being searched for first."""
    file = await guest.files.create(chat_lines(1))
    foreign.state.scenarios.add(Fail(429, retry_after=0.02, times=1), Fail(503, retry_after=0.02, times=1))
    batch = await guest.batches.create(input_file_id=file.id, endpoint=CHAT)
    assert list(llmock_batches._batches) == [batch.id]
    methods = [f"{record.method} {record.path}" for record in foreign.state.journal.records(wait=2)][1:]
    assert methods == ["POST /v1/batches"] * 2 + ["GET /v1/batches", "POST /v1/batches", "GET /v1/batches"]


async def test_trouble_without_end(foreign: LLMockServer, guest: BatchSession) -> None:
    """An outage ends in its own error when the attempts are used up."""
    foreign.state.scenarios.add(Fail(429, retry_after=0.001, times=None))
    with pytest.raises(RateLimitError) as caught:
        await guest.batches.list()
    assert caught.value.retry_after == pytest.approx(0.001)
