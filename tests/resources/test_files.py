"""The verbs of files, against a server of the API."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import os
from typing import TYPE_CHECKING, Any

import pytest
from support.http_servers import KEY, ONCE, RawServer, answer, chat_line, chat_lines, file_json, json_answer

from openai_batches import BadRequestError, BatchSession, InputError, NotFoundError, TransportError

if TYPE_CHECKING:
    from pathlib import Path

    from support.http_servers import Asked, OpenSession

    from openai_batches import FileContent
    from openai_batches.emulator import BatchServer


class TestCreate:
    async def test_a_path(self, server: BatchServer, session: BatchSession, tmp_path: Path) -> None:
        """A path is uploaded under its own name, for a batch."""
        path = tmp_path / "my requests.jsonl"
        path.write_bytes(chat_lines(3))
        file = await session.files.create(path)
        assert (file.filename, file.purpose, file.bytes) == ("my requests.jsonl", "batch", path.stat().st_size)
        assert server.store.read(file.id) == path.read_bytes()

    async def test_another_name_and_purpose(self, session: BatchSession) -> None:
        """Name and purpose can be given; a file for something else than a batch may be named as it likes."""
        assert (await session.files.create(chat_line("a"), filename="x.jsonl")).filename == "x.jsonl"
        assert (await session.files.create(b"anything", purpose="user_data")).filename == "upload"
        assert (await session.files.create(b"x", purpose="vision", filename="a.png")).purpose == "vision"

    @pytest.mark.parametrize(
        ("name", "sent"),
        [
            ('a"b.jsonl', b'filename="a%22b.jsonl"'),
            ("a\r\nb.jsonl", b'filename="a%0D%0Ab.jsonl"'),
            ("größe 日本.jsonl", 'filename="größe 日本.jsonl"'.encode()),
        ],
    )
    async def test_a_name_cannot_break_the_form(self, name: str, sent: bytes, open_session: OpenSession) -> None:
        """Quotes and line breaks in a name are escaped as browsers do, everything else is UTF-8."""

        async def handler(asked: Asked) -> bytes:
            assert sent in await asked.body()
            return json_answer(file_json())

        async with RawServer(handler) as server:
            await open_session(server).files.create(b"{}\n", filename=name)

    async def test_a_name_arrives(self, server: BatchServer, session: BatchSession) -> None:
        """A name in any script arrives as it is."""
        assert (await session.files.create(chat_line("a"), filename="größe 日本.jsonl")).filename == "größe 日本.jsonl"

    @pytest.mark.parametrize(
        "expiry", [1_728_000, dt.timedelta(days=20), {"anchor": "created_at", "seconds": 1_728_000}]
    )
    async def test_an_expiry(self, expiry: Any, server: BatchServer, session: BatchSession) -> None:
        """A file may expire some time after its upload."""
        file = await session.files.create(chat_line("a"), expires_after=expiry)
        assert file.created_at is not None
        # Some services keep to it without saying so.
        assert file.expires_at in {None, file.created_at + dt.timedelta(days=20)}
        assert server.store.files.items[file.id].expires_at == file.created_at.timestamp() + 1_728_000

    @pytest.mark.parametrize(
        ("given", "options", "words"),
        [
            (b"", {}, "is empty"),
            (b"{}", {"filename": "requests.json"}, r"named \*\.jsonl"),
            (b"{}", {"expires_after": 10}, "expires_after must be"),
            (7, {}, "not int"),
        ],
    )
    async def test_what_is_refused_before_it_is_sent(
        self, given: Any, options: Any, words: str, server: BatchServer, session: BatchSession
    ) -> None:
        """An upload that the service would refuse is refused here."""
        with pytest.raises(InputError, match=words):
            await session.files.create(given, **options)
        assert not server.requests

    async def test_an_empty_file_and_a_wrong_name_on_disk(
        self, server: BatchServer, session: BatchSession, tmp_path: Path
    ) -> None:
        """A path is held to the same."""
        (tmp_path / "empty.jsonl").touch()
        (tmp_path / "requests.txt").write_bytes(b"{}\n")
        with pytest.raises(InputError, match=r"'empty\.jsonl' is empty"):
            await session.files.create(tmp_path / "empty.jsonl")
        with pytest.raises(InputError, match=r"not 'requests\.txt': give another filename="):
            await session.files.create(tmp_path / "requests.txt")
        assert (await session.files.create(tmp_path / "requests.txt", filename="r.jsonl")).bytes == 3
        assert len(server.requests) == 1

    async def test_what_the_service_refuses(self, session: BatchSession) -> None:
        """What only the service sees is its error."""
        with pytest.raises(BadRequestError, match="Invalid file format for Batch API"):
            await session.files.create(b"no json\n")


class TestOthers:
    async def test_retrieve_list_and_delete(self, session: BatchSession) -> None:
        """Files are found by id and in lists, in both directions and by purpose, until they are deleted."""
        first, second, third = [await session.files.create(chat_line(name)) for name in "abc"]
        other = await session.files.create(b"x", purpose="user_data")
        assert await session.files.retrieve(second.id) == second
        assert [file.id async for file in session.files.list()] == [other.id, third.id, second.id, first.id]
        listed = session.files.list(purpose="batch", order="asc", limit=1, prefetch=1)
        assert [file async for file in listed] == [first, second, third]
        assert await session.files.list(after=second.id).collect() == [first]
        gone = await session.files.delete(first.id)
        assert (gone.id, gone.deleted) == (first.id, True)
        with pytest.raises(NotFoundError):
            await session.files.retrieve(first.id)

    @pytest.mark.parametrize("options", [{"limit": 0}, {"limit": 10_001}, {"order": "newest"}, {"prefetch": 2}])
    def test_lists_check_what_they_are_given(self, options: Any) -> None:
        """What no list takes is refused when it is asked for."""
        with pytest.raises(InputError):
            BatchSession(KEY).files.list(**options)


async def read_whole(content: FileContent, way: str) -> None:
    if way == "read":
        await content.read()
    else:
        async for _ in getattr(content, way)():
            pass


class TestContent:
    async def test_three_ways_to_read(self, session: BatchSession) -> None:
        """Content is read whole, in pieces or in lines, and knows its size."""
        data = chat_lines(500)
        file = await session.files.create(data)
        async with session.files.content(file.id) as content:
            assert content.size == len(data)
            assert await content.read() == data
        async with session.files.content(file.id) as content:
            assert b"".join([chunk async for chunk in content.iter_chunks()]) == data
        async with session.files.content(file.id) as content:
            assert [line async for line in content.iter_lines()] == data.splitlines()

    async def test_lines_end_at_line_feeds_alone(self, open_session: OpenSession) -> None:
        """Other separators, which may stand in JSON, end no line; the last line needs no end."""
        lines = ['{"a": "\u2028 \u2029 \x85 \x0b \x0c \x1c"}'.encode(), b"", b"{}\r", b"last"]

        async def handler(_: Asked) -> bytes:
            return answer(200, b"\n".join(lines))

        async with RawServer(handler) as server, open_session(server).files.content("f") as content:
            assert [line async for line in content.iter_lines()] == lines

    async def test_outside_of_its_block(self, session: BatchSession) -> None:
        """Content is read within its block, not before and not after."""
        file = await session.files.create(chat_line("a"))
        content = session.files.content(file.id)
        with pytest.raises(InputError, match="async with session"):
            await content.read()
        with pytest.raises(InputError, match="async with session"):
            content.iter_chunks()
        with pytest.raises(InputError, match="async with session"):
            await anext(content.iter_lines())
        async with content:
            pass
        with pytest.raises(InputError, match="async with session"):
            await content.read()

    async def test_too_large_to_be_held(self, session: BatchSession) -> None:
        """What is larger than max_bytes is not read into memory, and the error says what to do."""
        file = await session.files.create(chat_lines(10))
        async with session.files.content(file.id) as content:
            with pytest.raises(TransportError, match=r"larger than max_bytes=100: raise it, or .* iter_lines"):
                await content.read(max_bytes=100)
        async with session.files.content(file.id) as content:
            assert len(await content.read(max_bytes=file.bytes)) == file.bytes

    @pytest.mark.parametrize("way", ["read", "iter_chunks", "iter_lines"])
    async def test_cut_content_never_passes_for_whole(self, way: str, open_session: OpenSession) -> None:
        """Content that ends before its announced length raises, however it is read."""

        async def handler(asked: Asked) -> None:
            asked.writer.write(answer(200, b"line\n" * 10_000)[:-7])
            await asked.writer.drain()

        async with RawServer(handler) as server, open_session(server).files.content("f") as content:
            with pytest.raises(TransportError, match="GET /files/f/content"):
                await read_whole(content, way)

    async def test_cut_content_of_unknown_length(self, open_session: OpenSession) -> None:
        """The same where the length was not announced."""

        async def handler(asked: Asked) -> None:
            asked.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nline\n\r\n")
            await asked.writer.drain()

        async with RawServer(handler) as server, open_session(server).files.content("f") as content:
            assert content.size is None
            with pytest.raises(TransportError):
                await content.read()

    async def test_leaving_early_is_clean(self, open_session: OpenSession) -> None:
        """Leaving the block before the end closes the connection, and the next call gets another."""

        async def handler(asked: Asked) -> bytes | None:
            if not asked.path.endswith("/content"):
                return json_answer(file_json())
            asked.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"line\n" * 100)
            await asked.writer.drain()
            await asyncio.sleep(30)
            return None

        async with RawServer(handler) as server:
            session = open_session(server)
            async with session.files.content("f") as content:
                async for line in content.iter_lines():
                    assert line == b"line"
                    break
            async with session.files.content("f") as content:
                pass
            with pytest.raises(RuntimeError, match="mine"):
                async with session.files.content("f") as content:
                    raise RuntimeError("mine")
            await session.files.retrieve("f")
            assert server.connections == 4
        gc.collect()  # a connection that was left open would be warned of here

    async def test_only_opening_is_retried(self, open_session: OpenSession) -> None:
        """Opening is retried like every GET; the error of a file that is not there is raised by entering."""
        async with RawServer(lambda _: answer(503) if len(server.asked) < 3 else answer(200, b"x")) as server:
            async with open_session(server).files.content("f") as content:
                assert await content.read() == b"x"
            assert len(server.asked) == 3

    async def test_a_file_that_is_not_there(self, session: BatchSession) -> None:
        """Entering the block raises the service's error."""
        with pytest.raises(NotFoundError):
            async with session.files.content("file-nothing"):
                pass

    async def test_nothing_is_asked_before_the_block(self, open_session: OpenSession) -> None:
        """Asking for content sends nothing."""
        async with RawServer(lambda _: asyncio.sleep(0, answer(200))) as server:
            open_session(server, retry=ONCE).files.content("f")
            await asyncio.sleep(0.01)
            assert not server.asked


async def test_a_name_that_cannot_be_sent_is_refused(session: BatchSession, tmp_path: Path) -> None:
    """It is told before anything is sent, and another name will do."""
    path = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    path.write_bytes(chat_line("a"))
    with pytest.raises(InputError, match=r"names in UTF-8, not 'caf.*: give another filename="):
        await session.files.create(path)
    assert (await session.files.create(path, filename="cafe.jsonl")).filename == "cafe.jsonl"
