"""The official client and this one see the same, field by field."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any

import attrs
import openai
import pytest
from support.http_servers import CHAT, KEY, chat_line, chat_lines

from openai_batches import Batch, BatchSession, FileObject
from openai_batches.emulator import BatchServer, SteppedClock, Timings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.needs("openai_wire")

OURS_ALONE = {"request_id"}


@pytest.fixture
async def theirs(server: BatchServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=KEY, max_retries=0) as client:
        yield client


def wire(value: Any) -> Any:
    """What one of our records holds, as it stands on the wire."""
    if attrs.has(type(value)):
        names = {field.name for field in attrs.fields(type(value))} - OURS_ALONE
        return {name: wire(getattr(value, name)) for name in sorted(names)}
    if isinstance(value, dt.datetime):
        assert value.tzinfo is not None
        return int(value.timestamp())
    if isinstance(value, tuple | list):
        return [wire(item) for item in value]
    if isinstance(value, dict):
        return {str(name): wire(item) for name, item in value.items()}
    return str(value) if isinstance(value, str) else value


async def agree(session: BatchSession, ours: Batch | FileObject, official: Any, path: str) -> None:
    """Our record, the official client's and the JSON itself say the same in every field that any of them has."""
    raw = (await session.request("GET", path)).json()
    dumped = official.model_dump(mode="json")
    assert wire(ours) == raw
    assert dumped == raw
    assert wire(ours).keys() >= type(official).model_fields.keys()


class TestRecords:
    async def test_a_file(self, session: BatchSession, theirs: openai.AsyncOpenAI) -> None:
        """A file is the same to both, whoever uploaded it."""
        mine = await session.files.create(chat_lines(3), filename="mine.jsonl", expires_after=7_200)
        await agree(session, mine, await theirs.files.retrieve(mine.id), f"/files/{mine.id}")
        other = await theirs.files.create(
            file=("theirs.jsonl", chat_lines(3)),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": 7_200},
        )
        await agree(session, await session.files.retrieve(other.id), other, f"/files/{other.id}")
        assert attrs.evolve(mine, id=other.id, filename=other.filename) == await session.files.retrieve(other.id)

    @pytest.mark.parametrize("end", ["validating", "in_progress", "completed", "failed", "cancelled", "expired"])
    async def test_a_batch_in_every_state(self, end: str) -> None:
        """A batch is the same to both, in every state."""
        async with (
            BatchServer(clock=SteppedClock(), timings=Timings(line_s=8_000)) as server,
            openai.AsyncOpenAI(base_url=server.base_url, api_key=KEY, max_retries=0) as theirs,
            BatchSession(KEY, base_url=server.base_url) as session,
        ):
            lines = b'{"custom_id": 7}\n' if end == "failed" else chat_lines(4 if end == "completed" else 20)
            file = await session.files.create(lines)
            batch = await session.batches.create(input_file_id=file.id, endpoint=CHAT, metadata={"a": "ü"})
            await agree(session, batch, await theirs.batches.retrieve(batch.id), f"/batches/{batch.id}")
            if end != "validating":
                await server.advance(hours=4)
            if end == "cancelled":
                await session.batches.cancel(batch.id)
            if end not in {"validating", "in_progress"}:
                await server.advance(hours=24)
            ours = await session.batches.retrieve(batch.id)
            assert ours.status == end
            await agree(session, ours, await theirs.batches.retrieve(batch.id), f"/batches/{batch.id}")

    async def test_both_clients_create_the_same(self, session: BatchSession, theirs: openai.AsyncOpenAI) -> None:
        """A batch that the official client creates differs from ours in its id and our key alone."""
        file = await session.files.create(chat_lines(3))
        official = await theirs.batches.create(
            input_file_id=file.id,
            endpoint=CHAT,
            completion_window="24h",
            metadata={"a": "b"},
            output_expires_after={"anchor": "created_at", "seconds": 7_200},
        )
        ours = await session.batches.create(
            input_file_id=file.id, endpoint=CHAT, metadata={"a": "b"}, output_expires_after=7_200
        )
        dumped, mine = official.model_dump(mode="json"), wire(ours)
        mine["metadata"].pop("openai_batches_key")
        assert {**mine, "id": None} == {**dumped, "id": None}

    async def test_lists(self, server: BatchServer, session: BatchSession, theirs: openai.AsyncOpenAI) -> None:
        """Lists have the same items in the same order, in pages of one."""
        for number in range(5):
            server.store.new_batch(scope=KEY, now=1_750_000_000 + number, endpoint=CHAT, input_file_id="f")
            await session.files.create(chat_line(f"r{number}"))
        batches = [item.model_dump(mode="json") async for item in theirs.batches.list(limit=1)]
        assert [wire(item) async for item in session.batches.list(limit=1)] == batches
        files = [item.model_dump(mode="json") async for item in theirs.files.list(limit=1, order="asc")]
        assert [wire(item) async for item in session.files.list(limit=1, order="asc")] == files
        assert (len(batches), len(files)) == (5, 5)


async def test_the_official_client_goes_the_whole_way(
    server: BatchServer, session: BatchSession, theirs: openai.AsyncOpenAI
) -> None:
    """The official asyncio client needs no special treatment from the emulator, and reads the bytes that we read."""
    file = await theirs.files.create(file=("in.jsonl", chat_lines(5)), purpose="batch")
    batch = await theirs.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    second = await theirs.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert (await theirs.batches.cancel(second.id)).status == "cancelling"
    await server.advance(hours=1)
    done = await theirs.batches.retrieve(batch.id)
    assert (done.status, [item.id async for item in theirs.batches.list(limit=1)]) == (
        "completed",
        [second.id, batch.id],
    )
    assert done.output_file_id is not None
    content = (await theirs.files.content(done.output_file_id)).content
    async with session.files.content(done.output_file_id) as ours:
        assert await ours.read() == content
    deleted = await theirs.files.delete(file.id)
    assert (deleted.id, deleted.deleted) == (file.id, True)
    with pytest.raises(openai.NotFoundError):
        await theirs.files.retrieve(file.id)


async def test_the_official_blocking_client_goes_the_whole_way(server: BatchServer, session: BatchSession) -> None:
    """So does the official blocking client."""
    loop = asyncio.get_running_loop()

    def main() -> bytes:
        with openai.OpenAI(base_url=server.base_url, api_key=KEY, max_retries=0) as client:
            file = client.files.create(file=("in.jsonl", chat_lines(5)), purpose="batch")
            batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
            second = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
            assert client.batches.cancel(second.id).status == "cancelling"
            asyncio.run_coroutine_threadsafe(server.advance(hours=1), loop).result(20)
            assert [item.id for item in client.batches.list(limit=1)] == [second.id, batch.id]
            done = client.batches.retrieve(batch.id)
            assert done.output_file_id is not None
            content = client.files.content(done.output_file_id).content
            assert client.files.delete(file.id).deleted
            return content

    content = await asyncio.to_thread(main)
    batches = await session.batches.list().collect()
    results = [item async for item in session.batches.results(batches[-1])]
    assert content.count(b"\n") == len(results) == 5
