"""What happens when several tasks share one thing, or a service does something late, odd or huge."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import pytest
from support.http_servers import CHAT, RawServer, answer, batch_json, error_answer, json_answer
from support.result_lines import read_result

from openai_batches import (
    AmbiguousCreateError,
    AsyncPaginator,
    BadRequestError,
    Batch,
    BatchStatus,
    FileObject,
    InputError,
    Outcome,
    Page,
    TransportError,
)
from openai_batches.resources.create import KEY_NAME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.http_servers import Asked, OpenSession

    from openai_batches import BatchSession

DONE = Batch(id="batch_1", status=BatchStatus.COMPLETED, output_file_id="file-out")
LINE = b'{"custom_id":"a","response":{"status_code":200,"body":{}},"error":null}\n'


async def fetch(after: str | None) -> Page[FileObject]:
    """Three pages of ten, each after a moment."""
    await asyncio.sleep(0.001)
    start = int(after or -1) + 1
    data = tuple(FileObject(id=str(number)) for number in range(start, start + 10))
    return Page(data=data, has_more=start + 10 < 30)


@pytest.mark.parametrize("prefetch", [0, 1])
async def test_several_tasks_share_a_walk(prefetch: int) -> None:
    """Each item comes to exactly one of them, and none is lost or said to come again."""
    walk = aiter(AsyncPaginator(fetch, prefetch=prefetch))

    async def work() -> list[str]:
        taken = []
        async for item in walk:
            taken.append(item.id)
            await asyncio.sleep(0)
        return taken

    found = await asyncio.gather(*(work() for _ in range(5)))
    assert sorted(int(number) for numbers in found for number in numbers) == list(range(30))


async def test_several_tasks_share_the_pages() -> None:
    """A walk over pages is shared alike."""
    pages = AsyncPaginator(fetch).pages()
    found = await asyncio.gather(*(anext(pages) for _ in range(3)))
    assert [page.data[0].id for page in found] == ["0", "10", "20"]


async def test_one_file_is_uploaded_several_times_at_once(session: BatchSession) -> None:
    """The uploads of one open file do not move each other's position, and leave the file where it stood."""
    content = b"".join(b"%08d\n" % number for number in range(200_000))
    file = io.BytesIO(content)
    file.seek(9)
    uploads = [session.files.create(file, filename="a.txt", purpose="user_data") for _ in range(4)]
    for uploaded in await asyncio.gather(*uploads):
        assert uploaded.bytes == len(content) - 9
    assert file.tell() == 9


class Plain:
    """A file that cannot be referred to weakly."""

    __slots__ = ("_inner",)

    def __init__(self, content: bytes) -> None:
        self._inner = io.BytesIO(content)

    def read(self, count: int = -1) -> bytes:
        return self._inner.read(count)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def seekable(self) -> bool:
        return True


async def test_a_file_of_another_make(session: BatchSession) -> None:
    """Whatever reads, seeks and tells can be uploaded."""
    file: Any = Plain(b'{"a": 1}\n')
    assert (await session.files.create(file, filename="a.jsonl")).bytes == 9


async def test_lines_from_an_async_iterable_cost_no_thread_each(
    session: BatchSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small pieces are gathered before they go to the disk."""
    hops = 0
    real = asyncio.to_thread

    async def counted(*args: Any) -> Any:
        nonlocal hops
        hops += 1
        return await real(*args)

    async def lines() -> AsyncIterator[bytes]:
        for number in range(50_000):
            yield b'{"n":1%05d}\n' % number

    monkeypatch.setattr(asyncio, "to_thread", counted)
    file = await session.files.create(lines(), filename="a.jsonl")
    assert file.bytes == 50_000 * 13
    assert hops < 20


@pytest.mark.parametrize("status", [202, 204, 206])
async def test_content_that_is_not_the_whole_file(status: int, open_session: OpenSession) -> None:
    """Only 200 is the file: nothing, later, or a part nobody asked for do not pass for it."""
    async with RawServer(answer(status, b"" if status == 204 else LINE)) as server:
        session = open_session(server)
        with pytest.raises(TransportError, match=f"answered {status}, which is not the whole content"):
            [result async for result in session.batches.results(DONE)]


async def test_a_refusal_after_an_unclear_answer(open_session: OpenSession) -> None:
    """The first attempt is carried out late, the second is refused: the batch of the first is found and returned."""
    made: list[dict[str, Any]] = []
    posts = 0

    async def handler(asked: Asked) -> bytes:
        nonlocal posts
        if asked.method == "GET":
            return json_answer({"object": "list", "data": made, "has_more": False})
        posts += 1
        metadata = (await asked.json())["metadata"]
        if posts == 1:
            return error_answer(502)
        made.append(batch_json("batch_late", metadata=metadata))
        return error_answer(400, "Billing hard limit has been reached")

    async with RawServer(handler) as server:
        batch = await open_session(server).batches.create(input_file_id="f", endpoint=CHAT)
    assert batch.id == "batch_late"
    assert KEY_NAME in (batch.metadata or {})


async def test_a_refusal_after_an_unclear_answer_that_did_nothing(open_session: OpenSession) -> None:
    """Where the last search finds nothing either, the refusal is raised; where it fails, nobody knows."""
    answers = iter([error_answer(502), error_answer(400)] * 2)
    searches = 0

    async def handler(asked: Asked) -> bytes:
        nonlocal searches
        if asked.method == "POST":
            await asked.body()
            return next(answers)
        searches += 1
        return error_answer(403) if searches == 4 else json_answer({"object": "list", "data": [], "has_more": False})

    async with RawServer(handler) as server:
        session = open_session(server)
        with pytest.raises(BadRequestError):
            await session.batches.create(input_file_id="f", endpoint=CHAT)
        assert searches == 2
        with pytest.raises(AmbiguousCreateError):
            await session.batches.create(input_file_id="f", endpoint=CHAT)


def test_a_huge_broken_line_is_not_searched_to_its_end() -> None:
    """The id of a broken line is looked for where ids stand, so that megabytes of rubbish do not stop everything."""
    rubbish = b"[]," * 30_000
    assert read_result(b'{"custom_id":"a",' + rubbish, line_number=1).custom_id == "a"
    result = read_result(b'{"x":[' + rubbish + b'[]],"custom_id":"a",', line_number=1)
    assert (result.custom_id, result.outcome) == (None, Outcome.INVALID)


async def test_a_large_block_is_read_beside_the_loop(open_session: OpenSession) -> None:
    """A line of megabytes is decoded in a thread, and comes out like any other."""
    large = LINE.replace(b"{}", b'{"pad":"' + b"x" * 3_000_000 + b'"}')

    async with RawServer(answer(200, LINE + large)) as server:
        found = [result async for result in open_session(server).batches.results(DONE)]
    assert [result.outcome for result in found] == [Outcome.SUCCEEDED] * 2
    assert len(found[1].body["pad"]) == 3_000_000


async def test_results_that_broke_off_do_not_look_finished(open_session: OpenSession) -> None:
    """After an error there is no clean end: another step says that they ended early."""
    async with RawServer(answer(204)) as server:
        results = open_session(server).batches.results(DONE)
        with pytest.raises(TransportError):
            await anext(results)
        with pytest.raises(InputError, match="ended early"):
            await anext(results)
        with pytest.raises(InputError, match="ended early"):
            aiter(results)
