"""Whatever is uploaded becomes bytes of known length that can be sent again."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.http_servers import QUICK, RawServer, error_answer, file_json, json_answer

from openai_batches import InputError
from openai_batches.resources.uploads import open_source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from support.http_servers import Asked, OpenSession

DATA = b"".join(b"%06d\n" % number for number in range(100_000))


def path_source(tmp_path: Path) -> Path:
    path = tmp_path / "from disk.jsonl"
    path.write_bytes(DATA)
    return path


def offset_source(tmp_path: Path) -> Any:
    file = (tmp_path / "with head.jsonl").open("w+b")
    file.write(b"head of 19 bytes...")
    start = file.tell()
    file.write(DATA)
    file.seek(start)
    return file


def pipe_source(_: Path) -> Any:
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(DATA)

    threading.Thread(target=write, daemon=True).start()
    return os.fdopen(reader, "rb")


def iterable_source(_: Path) -> Any:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), 99_999):
            yield DATA[start : start + 99_999]
            await asyncio.sleep(0)

    return pieces()


SOURCES: dict[str, tuple[Callable[[Path], Any], str | None]] = {
    "path": (path_source, "from disk.jsonl"),
    "path as text": (lambda folder: str(path_source(folder)), "from disk.jsonl"),
    "bytes": (lambda _: DATA, None),
    "bytearray": (lambda _: bytearray(DATA), None),
    "memoryview": (lambda _: memoryview(DATA), None),
    "BytesIO": (lambda _: io.BytesIO(DATA), None),
    "file at an offset": (offset_source, "with head.jsonl"),
    "pipe": (pipe_source, None),
    "async iterable": (iterable_source, None),
}


@pytest.mark.parametrize("kind", SOURCES)
async def test_every_kind_is_read_whole_and_again(kind: str, tmp_path: Path) -> None:
    """Every kind of source knows its length before it is read, and gives the same bytes as often as it is asked."""
    make, filename = SOURCES[kind]
    given = make(tmp_path)
    async with open_source(given) as source:
        assert (source.size, source.filename) == (len(DATA), filename)
        for _ in range(2):
            assert b"".join([piece async for piece in source.chunks()]) == DATA
        half_read = source.chunks()
        await anext(half_read)
        assert b"".join([piece async for piece in source.chunks()]) == DATA
    if hasattr(given, "closed"):
        assert not given.closed
        given.close()


@pytest.mark.parametrize("kind", SOURCES)
async def test_every_kind_survives_a_failed_attempt(kind: str, tmp_path: Path, open_session: OpenSession) -> None:
    """An upload that fails is sent again, whole, from every kind of source."""

    async def handler(asked: Asked) -> bytes:
        bodies.append(await asked.body())
        return error_answer(503) if len(bodies) == 1 else json_answer(file_json())

    bodies: list[bytes] = []
    make, filename = SOURCES[kind]
    given = make(tmp_path)
    async with RawServer(handler) as server:
        await open_session(server).files.create(given)
    if hasattr(given, "close"):
        given.close()
    assert len(bodies) == 2
    assert all(DATA in body for body in bodies)
    assert f'filename="{filename or "requests.jsonl"}"'.encode() in bodies[0]


async def test_text_mode_is_refused(tmp_path: Path) -> None:
    """A file opened in text mode is refused with the words that help."""
    with path_source(tmp_path).open() as file, pytest.raises(InputError, match="open it in binary mode"):
        async with open_source(file):  # type: ignore[arg-type]
            pass
    with pytest.raises(InputError, match="open it in binary mode"):
        async with open_source(io.StringIO("x")):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize("wrong", [7, None, ["a"], {"a": 1}, object()])
async def test_what_cannot_be_uploaded(wrong: Any) -> None:
    """What is no source is refused, naming what it is."""
    with pytest.raises(InputError, match=f"not {type(wrong).__name__}"):
        async with open_source(wrong):
            pass


async def test_an_async_iterable_of_text() -> None:
    """An async iterable has to give bytes."""

    async def pieces() -> AsyncIterator[Any]:
        yield b"a"
        yield "b"

    with pytest.raises(InputError, match="it gave str"):
        async with open_source(pieces()):
            pass


@pytest.mark.parametrize("missing", [Path("/nowhere/at/all.jsonl"), "/nowhere/at/all.jsonl", Path("/")])
async def test_a_file_that_cannot_be_read(missing: Any) -> None:
    """A file that is not there, or is none, raises what Python raises."""
    with pytest.raises(OSError, match=r"No such file|Is a directory"):
        async with open_source(missing):
            pass


async def test_a_file_that_shrinks(tmp_path: Path) -> None:
    """A file that became shorter is an error that counts what is missing, never a short upload."""
    path = path_source(tmp_path)
    async with open_source(path) as source:
        os.truncate(path, 300_000)
        with pytest.raises(InputError, match="became shorter while it was sent: 400,000 of 700,000 bytes"):
            async for _ in source.chunks():
                pass


async def test_a_file_that_shrinks_on_its_way(tmp_path: Path, open_session: OpenSession) -> None:
    """The same in the middle of an upload: the mistake is told, and the service never sees a whole body."""

    async def handler(asked: Asked) -> None:
        os.truncate(path, 1_000)
        await asked.body()
        whole.append(asked)

    whole: list[Asked] = []
    path = tmp_path / "in.jsonl"
    path.write_bytes(DATA * 20)
    async with RawServer(handler) as server:
        with pytest.raises(InputError, match="became shorter"):
            await open_session(server, retry=QUICK).files.create(path)
        assert len(server.asked) == 1
    assert not whole


async def test_a_file_that_grows(tmp_path: Path) -> None:
    """A file that grows is sent as long as it was when it was opened."""
    path = path_source(tmp_path)
    async with open_source(path) as source:
        with path.open("ab") as file:
            file.write(b"more")
        assert b"".join([piece async for piece in source.chunks()]) == DATA


async def test_two_readers_of_one_file(tmp_path: Path) -> None:
    """A read that an aborted attempt left behind does not disturb the next attempt."""
    async with open_source(path_source(tmp_path)) as source:

        async def whole() -> bytes:
            return b"".join([piece async for piece in source.chunks()])

        assert await asyncio.gather(*(whole() for _ in range(8))) == [DATA] * 8


@pytest.mark.parametrize("size", [0, 1, 999, 1_000, 1_001, 2_000])
async def test_lengths_around_a_piece(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost or doubled where pieces meet."""
    monkeypatch.setattr("openai_batches.resources.uploads._PIECE_BYTES", 1_000)
    for given in (DATA[:size], io.BytesIO(DATA[:size])):
        async with open_source(given) as source:
            assert b"".join([piece async for piece in source.chunks()]) == DATA[:size]
