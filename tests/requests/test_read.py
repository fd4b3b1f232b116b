"""Requests from wherever they are come as blocks of whole lines, each line as it stood."""

from __future__ import annotations

import asyncio
import gc
import gzip
import io
import os
import sys
import threading
import types
from typing import IO, TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import given, strategies as st

from openai_batches import InputError
from openai_batches.requests.read import blocks_of_path, iter_blocks
from openai_batches.requests.request import BatchRequest, as_line, requests_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

LINES = [b'{"custom_id":"request-%d","text":"%b"}' % (number, b"x" * (number % 97)) for number in range(500)]
DATA = b"".join(line + b"\n" for line in LINES)


async def gathered(source: Any, **options: Any) -> list[bytes]:
    return [block async for block in iter_blocks(source, **options)]


def zstd(data: bytes, level: int = 3) -> bytes:
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)


def skippable(data: bytes) -> bytes:
    return b"\x50\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


def on_disk(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


async def async_lines() -> AsyncIterator[bytes]:
    for line in LINES:
        yield line + b"\n"


class OnlyRead:
    """A file that can do nothing but read."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, 777))


def at_an_offset(folder: Path) -> IO[bytes]:
    file = on_disk(folder, "with head", b"head\n" + DATA).open("rb")
    file.seek(5)
    return file


SOURCES: dict[str, Callable[[Path], Any]] = {
    "path": lambda folder: on_disk(folder, "a.jsonl", DATA),
    "path as text": lambda folder: str(on_disk(folder, "a.jsonl", DATA)),
    "no end": lambda folder: on_disk(folder, "a.jsonl", DATA[:-1]),
    "gzip": lambda folder: on_disk(folder, "a.jsonl.gz", gzip.compress(DATA)),
    "gzip by another name": lambda folder: on_disk(folder, "a.jsonl", gzip.compress(DATA)),
    "gzip in members": lambda folder: on_disk(folder, "a.gz", gzip.compress(DATA[:99]) + gzip.compress(DATA[99:])),
    "gzip with zeros": lambda folder: on_disk(folder, "a.gz", gzip.compress(DATA) + bytes(99_999)),
    "zstd": lambda folder: on_disk(folder, "a.jsonl.zst", zstd(DATA)),
    "zstd by another name": lambda folder: on_disk(folder, "a.jsonl", zstd(DATA)),
    "zstd in frames": lambda folder: on_disk(folder, "a.zst", skippable(b"no") + zstd(DATA[:99]) + zstd(DATA[99:])),
    "bytes": lambda _: DATA,
    "bytearray": lambda _: bytearray(DATA),
    "packed bytes": lambda _: memoryview(gzip.compress(DATA)),
    "BytesIO": lambda _: io.BytesIO(zstd(DATA)),
    "only read": lambda _: OnlyRead(DATA),
    "file at an offset": at_an_offset,
    "lines": lambda _: LINES,
    "lines with ends": lambda _: (line + b"\r\n" for line in LINES),
    "text lines": lambda _: tuple(line.decode() for line in LINES),
    "iterator": lambda _: iter(LINES),
    "async iterable": lambda _: async_lines(),
}


@pytest.mark.parametrize("block_bytes", [1, 100, 4096, 1 << 20])
@pytest.mark.parametrize("kind", SOURCES)
async def test_every_source_gives_the_same_lines(kind: str, block_bytes: int, tmp_path: Path) -> None:
    """Whatever the source and the size of blocks: the same lines in order, whole, each with its end."""
    source = SOURCES[kind](tmp_path)
    blocks = await gathered(source, block_bytes=block_bytes)
    assert b"".join(blocks) == DATA
    assert all(block.endswith(b"\n") for block in blocks)
    assert all(len(block) <= max(block_bytes, 2 * max(map(len, block.split(b"\n")))) for block in blocks)
    assert len(blocks) < 2 * len(DATA) // block_bytes + 2
    if hasattr(source, "closed"):
        assert not source.closed
        source.close()


@given(st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=12), st.integers(1, 40))
def test_lines_pass_byte_for_byte(tmp_path_factory: Any, lines: list[bytes], block_bytes: int) -> None:
    """Blank lines, CRLF, BOM and broken text are not touched here, wherever a block ends."""
    folder = tmp_path_factory.mktemp("lines")
    expected = b"".join(line + b"\n" for line in lines)
    path = on_disk(folder, "a", b"plain:" + expected)
    assert b"".join(blocks_of_path(path, block_bytes)) == (b"plain:" + expected if lines else b"plain:\n")
    for pack in (gzip.compress, zstd):
        path = on_disk(folder, "packed", pack(expected))
        assert b"".join(blocks_of_path(path, block_bytes)) == expected


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
@pytest.mark.parametrize("data", [b"", b"\n", b"a", b"\xef\xbb\xbf{}\r\n\r\n \n", "\u2028\u0085\n".encode()])
async def test_small_and_odd_files(name: str, data: bytes, tmp_path: Path) -> None:
    """Nothing gives no block, and what is odd stays odd."""
    pack = {"gz": gzip.compress, "zst": zstd}.get(name.rpartition(".")[2], bytes)
    expected = [data if data.endswith(b"\n") else data + b"\n"] if data else []
    assert await gathered(on_disk(tmp_path, name, pack(data))) == expected
    assert await gathered(data) == expected
    assert await gathered(on_disk(tmp_path, name, b"")) == []


async def test_every_kind_of_item() -> None:
    """An iterable may mix what a request can be."""
    items = [BatchRequest("a", {"n": 1}, "/v1/x"), {"custom_id": "b"}, b"raw\n", bytearray(b"raw"), "text\r\n", b""]
    expected = b"".join(as_line(item) + b"\n" for item in items)  # type: ignore[arg-type]
    assert b"".join(await gathered(items)) == expected
    assert b"".join(await gathered([])) == b""
    prompts = requests_from(["Hi"] * 3, model="m")
    assert b"".join(await gathered(prompts)) == b"".join(as_line(request) + b"\n" for request in prompts)  # type: ignore[union-attr]


async def test_an_async_iterable_is_encoded_too() -> None:
    """Requests and mappings from an async iterable become lines, and an empty one gives nothing."""

    async def requests() -> AsyncIterator[Any]:
        yield BatchRequest("a", {}, "/v1/x")
        yield {"custom_id": "b"}

    async def nothing() -> AsyncIterator[Any]:
        for item in ():
            yield item

    assert (await gathered(requests()))[0].count(b"\n") == 2
    assert await gathered(nothing()) == []


REFUSED: dict[str, tuple[Any, str]] = {
    "mapping": ({"custom_id": "a"}, "a single request is given in a list"),
    "request": (BatchRequest("a", {}, "/v1/x"), "a single request is given in a list"),
    "number": (7, "requests come from a path, a file, or an iterable, not from int"),
    "text file": (io.StringIO("{}"), "opened in text mode: open it in binary mode"),
    "lines in a str": ('{"custom_id": "a"}', "a str is the path of a file"),
    "more lines in a str": ("a\nb", "a str is the path of a file"),
    "bad item": ([b"{}", 7], "item 2 of the requests: a request is a BatchRequest"),
    "two lines": ([b"{}\n{}\n"], "item 1 of the requests: a raw line must be one line"),
    "unwritable": ([{"custom_id": "a", "body": {1}}], r"item 1 of the requests: .* \(in the request 'a'\)"),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_what_is_no_source_is_refused(kind: str) -> None:
    """The error says what is taken instead, and which item of an iterable it is about."""
    source, message = REFUSED[kind]
    with pytest.raises(InputError, match=message):
        await gathered(source)


async def test_a_path_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file is the interpreter's own error, a folder is an InputError with its name."""
    with pytest.raises(FileNotFoundError):
        await gathered(tmp_path / "nothing.jsonl")
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(InputError, match=r"a\.jsonl' is a folder"):
        await gathered(str(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
async def test_a_cut_or_broken_pack_never_passes_for_whole(name: str, tmp_path: Path) -> None:
    """Wherever a packed file is cut, flipped or continued with something else, the error names the file."""
    packed = gzip.compress(DATA, mtime=0) if name.endswith("gz") else zstd(DATA)
    cuts = {len(packed) - cut for cut in (1, 4, 8, 9)} | set(range(1, len(packed), len(packed) // 20))
    for cut in cuts:
        with pytest.raises(InputError, match=rf"{name}' cannot be unpacked, it is cut or broken: "):
            await gathered(on_disk(tmp_path, name, packed[:cut]))
    for broken in (b"not packed at all\n", packed + b"garbage", packed[:99] + b"\x00\xff" * 9 + packed[117:]):
        with pytest.raises(InputError, match=rf"{name}' cannot be unpacked"):
            await gathered(on_disk(tmp_path, name, broken))
    with pytest.raises(InputError, match="'the file' cannot be unpacked"):
        await gathered(packed[:-5])


async def test_zstd_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has no zstandard reads which extra brings it."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(
        InputError, match=r"a\.zst': zstd needs the package zstandard: pip install 'openai_batches\[zstd\]'"
    ):
        await gathered(on_disk(tmp_path, "a.zst", zstd(DATA)))
    assert await gathered(on_disk(tmp_path, "a.gz", gzip.compress(DATA)))


@pytest.mark.parametrize("kind", ["path", "gzip", "zstd", "bytes", "lines", "async iterable"])
@pytest.mark.parametrize("block_bytes", [10, 1 << 20])
async def test_a_long_line_is_refused_by_its_number(kind: str, block_bytes: int, tmp_path: Path) -> None:
    """A line of the greatest length passes, one byte more is refused, with or without an end, and named."""

    async def later(lines: list[bytes]) -> AsyncIterator[bytes]:
        for line in lines:
            yield line

    def source(lines: list[bytes], end: bytes) -> Any:
        data = b"\n".join(lines) + end
        return {
            "path": lambda: on_disk(tmp_path, "a.jsonl", data),
            "gzip": lambda: on_disk(tmp_path, "a.jsonl", gzip.compress(data)),
            "zstd": lambda: on_disk(tmp_path, "a.jsonl", zstd(data)),
            "bytes": lambda: data,
            "lines": lambda: lines,
            "async iterable": lambda: later(lines),
        }[kind]()

    options = {"block_bytes": block_bytes, "max_line_bytes": 500}
    for end in (b"", b"\n"):
        short = [b"a", b"", b"b" * 30, b"c" * 500]
        assert b"".join(await gathered(source(short, end), **options)) == b"\n".join(short) + b"\n"
        where = r" of '.*a\.jsonl'" if kind in {"path", "gzip", "zstd"} else " of 'the file'" if kind == "bytes" else ""
        with pytest.raises(InputError, match=f"^line 5{where} is longer than 500 bytes"):
            await gathered(source([*short, b"d" * 501, b"e"], end), **options)


async def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    """A line that was too long, and is gone when it shall be named, is still refused."""
    path = on_disk(tmp_path, "a.jsonl", b"short\n" * 10 + b"x" * 100)
    blocks = blocks_of_path(path, 60, max_line_bytes=60)
    assert next(blocks) == b"short\n" * 10
    original = type(path).open

    def open_shortened(self: Path, *args: Any, **options: Any) -> Any:
        os.truncate(self, 60)
        return original(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(path), "open", open_shortened)
        with pytest.raises(InputError, match=r"a line of '.*a\.jsonl' is longer than 60 bytes"):
            next(blocks)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
async def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    """What can be read only once is a source too, and its long line is named without a second look."""
    path = tmp_path / "pipe"
    for data, limit in ((DATA, 1000), (b"a\n" + b"x" * 2000, 1000)):
        os.mkfifo(path)
        writer = threading.Thread(target=_write, args=(path, data))
        writer.start()
        if data is DATA:
            assert b"".join(await gathered(path, max_line_bytes=limit)) == DATA
        else:
            with pytest.raises(InputError, match=r"^line 2 of .*pipe' is longer than 1,000 bytes"):
                await gathered(path, max_line_bytes=limit)
        writer.join()
        path.unlink()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)


async def test_a_generator_may_block() -> None:
    """A generator that waits does not stop the event loop, and is never asked from two threads at once."""

    def slow() -> Iterator[bytes]:
        for number in range(10):
            threads.add(threading.get_ident())
            ticked.clear()
            assert ticked.wait(60)
            yield b"%d" % number

    async def tick() -> None:
        while True:
            ticked.set()
            await asyncio.sleep(0.001)

    threads: set[int] = set()
    ticked = threading.Event()
    ticking = asyncio.create_task(tick())
    assert b"".join(await gathered(slow(), block_bytes=1)) == b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"
    ticking.cancel()
    assert threading.get_ident() not in threads


async def test_an_async_iterable_that_never_waits_shares_the_loop() -> None:
    """Others get their turn within milliseconds even where neither side ever waits."""

    async def busy() -> AsyncIterator[bytes]:
        while not turns:
            yield b"line"

    async def other() -> None:
        turns.append(1)

    turns: list[int] = []
    task = asyncio.create_task(other())
    await gathered(busy())
    assert turns
    await task


async def test_leaving_early_closes_what_was_opened(tmp_path: Path) -> None:
    """A consumer that breaks off leaves no open file and no waiting generator behind."""

    def generator() -> Iterator[bytes]:
        try:
            yield from LINES
        finally:
            closed.append(1)

    closed: list[int] = []
    for source in (generator(), on_disk(tmp_path, "a.jsonl", DATA), on_disk(tmp_path, "a.gz", gzip.compress(DATA))):
        blocks = iter_blocks(source, block_bytes=100)
        assert isinstance(blocks, types.AsyncGeneratorType)
        await anext(blocks)
        await blocks.aclose()
    assert closed == [1]
    gc.collect()  # an open file would be a ResourceWarning, which fails the test


async def test_a_cancelled_reader_leaves_the_step_to_its_thread() -> None:
    """Cancelling does not wait for a generator that blocks; the generator is closed as soon as it comes back."""

    def stuck() -> Iterator[bytes]:
        try:
            started.set()
            assert go_on.wait(10)
            yield b"late"
        finally:
            closed.set()

    started, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    task = asyncio.create_task(gathered(stuck()))
    assert await asyncio.to_thread(started.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not closed.is_set()
    go_on.set()
    assert await asyncio.to_thread(closed.wait, 10)


async def test_an_error_of_the_iterable_is_its_own() -> None:
    """What an iterable raises comes through as it is, after the lines before it in whole blocks."""

    def failing() -> Iterator[bytes]:
        yield b"a" * 10
        yield b"b" * 10
        raise KeyError("mine")

    blocks = iter_blocks(failing(), block_bytes=11)
    assert await anext(blocks) == b"a" * 10 + b"\n"
    with pytest.raises(KeyError, match="mine"):
        await anext(blocks)


def test_memory_is_that_of_a_block(tmp_path: Path) -> None:
    """A file that unpacks to far more than it is, is not unpacked at once."""
    import tracemalloc

    data = b"\n" * 40_000_000
    for name, packed in (("a.gz", gzip.compress(data)), ("a.zst", zstd(data)), ("a", None)):
        path = on_disk(tmp_path, name, data if packed is None else packed)
        tracemalloc.start()
        total = sum(map(len, blocks_of_path(path, 1 << 20)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total == len(data)
        assert peak < 24_000_000, name
