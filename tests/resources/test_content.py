"""Content that is read as it comes survives connections that break, and nothing of it is doubled, lost or mixed."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from support.file_depot import DATA, WAYS, Depot, opened
from support.http_servers import ONCE, QUICK, Asked, RawServer, answer, error_answer

from openai_batches import InternalServerError, TransportError

if TYPE_CHECKING:
    from support.http_servers import OpenSession

    from openai_batches import BatchSession

SAME = {name: way for name, way in WAYS.items() if "before" not in way}


async def read(session: BatchSession, way: str) -> bytes:
    async with session.files.content("f") as content:
        if way == "read":
            return await content.read()
        if way == "iter_lines":
            return b"".join([line + b"\n" async for line in content.iter_lines()])
        return b"".join([piece async for piece in getattr(content, way)()])


@pytest.mark.parametrize("way", [name for name, way in SAME.items() if way.get("framing") != "close"])
@pytest.mark.parametrize("how", ["read", "iter_chunks", "iter_line_blocks", "iter_lines"])
async def test_content_that_is_cut_is_whole_all_the_same(how: str, way: str, open_session: OpenSession) -> None:
    """Every byte once, however it is read, and whether the service can go on in the middle or not."""
    random_ = random.Random(f"{how} {way}")
    positions = [0, 1, *(random_.randrange(10_000) for _ in range(4))]
    for position in positions:
        depot = Depot(**SAME[way], cuts=[position])
        async with opened(depot, open_session) as session:
            assert await read(session, how) == DATA, position
        assert len(depot.asked) == 2
        if "encoding" in SAME[way]:
            assert set(depot.spans) == {None}, "the bytes of an encoding are not the bytes of the file"


async def test_it_goes_back_for_nothing(open_session: OpenSession) -> None:
    """Where the service names its bytes, each answer begins where the one before it ended."""
    depot = Depot(cuts=[10_000, 5_000, 20_000])
    async with opened(depot, open_session) as session:
        assert await read(session, "iter_chunks") == DATA
    assert depot.spans[0] is None
    starts = [int(span[6:-1]) for span in depot.spans if span]
    assert starts == sorted(set(starts))
    assert len(starts) == 3
    assert {asked.headers["If-Range"] for asked in depot.asked[1:]} == {'"v1"'}


async def test_a_link_that_breaks_all_the_time(open_session: OpenSession) -> None:
    """As long as each answer gets further than the one before, there is no end to the patience."""
    for way, cuts in (("ranges", [1_500] * 30), ("no validator", list(range(1_500, 45_000, 1_500)))):
        depot = Depot(**WAYS[way], cuts=list(cuts))
        async with opened(depot, open_session) as session:
            assert await read(session, "iter_chunks") == DATA
        assert len(depot.asked) == len(cuts) + 1


async def test_no_progress_is_given_up(open_session: OpenSession) -> None:
    """An answer that gets no further is a failed attempt as any; without retries the first cut is the last."""
    for way in ("ranges", "no validator"):
        for retry, attempts in ((QUICK, 5), (ONCE, 1)):
            depot = Depot(**WAYS[way], cuts=[1_000] + ([0] if way == "ranges" else [1_000]) * 50)
            async with opened(depot, open_session, retry=retry) as session:
                with pytest.raises(TransportError) as caught:
                    await read(session, "iter_lines")
            assert len(depot.asked) == attempts
            assert "bytes of file f had been read" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("way", ["changing etag", "changing etag, If-Range ignored"])
async def test_a_file_that_changes_is_not_mixed_with_itself(way: str, open_session: OpenSession) -> None:
    """What was given out belongs to another file: that is an error, and no guess."""
    depot = Depot(**WAYS[way], cuts=[10_000])
    async with opened(depot, open_session) as session:
        with pytest.raises(TransportError, match="File f is not the same any more"):
            await read(session, "iter_chunks")


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("length", [5_000, len(DATA) - 1, len(DATA) + 1])
async def test_a_file_of_another_length_is_another_file(framing: str, length: int, open_session: OpenSession) -> None:
    """Also where nothing else tells them apart."""

    def before(depot: Depot, _: Asked) -> None:
        if len(depot.asked) == 2:
            depot.data = (DATA + b"x")[:length]

    depot = Depot(etag=None, framing=framing, before=before, cuts=[10_000])
    async with opened(depot, open_session) as session:
        if framing == "chunked" and length > 10_000:
            return  # a length that was never announced is not missed
        with pytest.raises(
            TransportError, match=r"not the same any more|ends at byte 5,000, and 10,000 were read before"
        ):
            await read(session, "iter_chunks")


async def test_a_service_that_says_no_when_asked_again(open_session: OpenSession) -> None:
    """Its own error is raised, after the retries of any question."""

    def before(depot: Depot, _: Asked) -> bytes | None:
        return error_answer(500) if len(depot.asked) > 1 else None

    depot = Depot(before=before, cuts=[10_000])
    async with opened(depot, open_session) as session:
        with pytest.raises(InternalServerError):
            await read(session, "iter_chunks")
    assert len(depot.asked) == 1 + QUICK.attempts


@pytest.mark.parametrize("status", [204, 206])
async def test_an_answer_without_the_content(status: int, open_session: OpenSession) -> None:
    """At first and later, only the content is the content."""
    for number in (1, 2):

        def before(depot: Depot, _: Asked, number: int = number) -> bytes | None:
            return answer(status, b"" if status == 204 else b"x") if len(depot.asked) == number else None

        depot = Depot(before=before, etag=None, cuts=[10_000])
        async with opened(depot, open_session) as session:
            if number == 2 and status == 206:
                assert await read(session, "read") == DATA, "a range nobody asked for is not taken, and not trusted"
                continue
            with pytest.raises(TransportError, match=rf"answered {status}, which is not the whole"):
                await read(session, "read")


async def test_a_service_that_takes_back_its_ranges(open_session: OpenSession) -> None:
    """A 416 for bytes that are there is no reason to lose the others."""

    def before(depot: Depot, asked: Asked) -> bytes | None:
        return answer(416) if "Range" in asked.headers else None

    depot = Depot(before=before, cuts=[10_000])
    async with opened(depot, open_session) as session:
        assert await read(session, "iter_chunks") == DATA
    assert [span is not None for span in depot.spans] == [False, True, False]


async def test_a_range_that_ends_early_is_gone_on_from(open_session: OpenSession) -> None:
    """An answer may hold less than was asked for, and say so."""

    async def handler(asked: Asked) -> bytes | None:
        span = asked.headers.get("Range")
        if span is None:
            asked.writer.write(b'HTTP/1.1 200 OK\r\nETag: "v"\r\nContent-Length: 30\r\n\r\n' + b"x" * 10)
            await asked.writer.drain()
            await asyncio.sleep(0.01)
            return None
        start = int(span[6:-1])
        head = f'ETag: "v"\r\nContent-Range: bytes {start}-{start + 9}/30\r\nContent-Length: 10\r\n\r\n'
        return f"HTTP/1.1 206 Partial\r\n{head}".encode() + b"x" * 10

    async with RawServer(handler) as server:
        assert await read(open_session(server), "iter_chunks") == b"x" * 30
        assert len(server.asked) == 3


async def test_who_has_left_is_not_served(open_session: OpenSession) -> None:
    """An iterator that outlives its block ends in an error, and asks for nothing more."""
    depot = Depot(data=DATA * 100)
    async with opened(depot, open_session) as session:
        async with session.files.content("f") as content:
            chunks = content.iter_chunks()
            await anext(chunks)
        with pytest.raises(TransportError):
            assert [chunk async for chunk in chunks] == []
        assert len(depot.asked) == 1
