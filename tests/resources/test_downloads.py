"""Downloads end whole, right and under their name, or not at all and with a reason, whatever happens on the way."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import os
import random
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import zstandard
from support.file_depot import DATA, NOW_DATE, OLD_DATE, OTHER, ROW, WAYS, Depot, opened
from support.http_servers import ONCE, QUICK, Asked, RawServer, answer, batch_json, error_answer, file_json, json_answer

from openai_batches import (
    Batch,
    BatchFailedError,
    BatchSession,
    BatchStatus,
    InputError,
    NotFoundError,
    RequestCounts,
    TransportError,
)
from openai_batches.storage import atomic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from support.http_servers import OpenSession

    from openai_batches import DownloadedFile, RetryPolicy
    from openai_batches.emulator import BatchServer

    Fetch = Callable[..., Awaitable[DownloadedFile]]
    Fail = Callable[..., Awaitable[BaseException]]


def names_in(folder: Path) -> list[str]:
    return sorted(found.name for found in folder.iterdir())


@pytest.fixture
def fetch(open_session: OpenSession, tmp_path: Path) -> Callable[..., Awaitable[DownloadedFile]]:
    """Downloads what a server gives, and sees to it that it is whole and right."""

    async def fetch(server: Any, expected: bytes = DATA, **options: Any) -> DownloadedFile:
        async with opened(server, open_session) as session:
            file = await session.files.download("f", tmp_path / "out.jsonl", **options)
        assert (file.bytes, file.path.read_bytes()) == (len(expected), expected)
        return file

    return fetch


@pytest.fixture
def fail(open_session: OpenSession, tmp_path: Path) -> Callable[..., Awaitable[BaseException]]:
    """Downloads what cannot be downloaded, sees to it that nothing is left, and returns the error."""

    async def fail(
        server: Any,
        kind: type[BaseException] = TransportError,
        match: str | None = None,
        retry: Any = QUICK,
        **options: Any,
    ) -> BaseException:
        async with opened(server, open_session, retry=retry) as session:
            with pytest.raises(kind, match=match) as caught:
                await session.files.download("f", tmp_path / "out.jsonl", **options)
        assert names_in(tmp_path) == []
        return caught.value

    return fail


async def test_one_cut_anywhere(open_session: OpenSession, tmp_path: Path) -> None:
    """A download that is cut once, anywhere, is whole and right in the end, however the server resumes or does not."""
    random_ = random.Random(3)
    names = list(WAYS)
    for number in range(60):
        way = WAYS[names[number % len(names)]]
        position = random_.randrange(len(DATA) if "encoding" not in way else 20_000)
        depot = Depot(**way, cuts=[position])
        path = tmp_path / f"{number}.jsonl"
        async with opened(depot, open_session) as session:
            file = await session.files.download("f", path)
        assert path.read_bytes() in {DATA, OTHER} if "before" in way else path.read_bytes() == DATA, (way, position)
        assert (file.bytes, file.attempts) == (len(DATA), len(depot.asked))
        assert depot.cuts == []
        if "encoding" in way:
            assert set(depot.spans) == {None}, "the bytes of an encoding are not the bytes of the file"
    assert len(names_in(path.parent)) == 60


@pytest.mark.parametrize("way", WAYS)
async def test_many_cuts_in_one_download(way: str, fetch: Fetch, fail: Fail) -> None:
    """A file cut again and again is whole and right, or not there, and the error says where it ended."""
    random_ = random.Random(way)
    depot = Depot(**WAYS[way], cuts=[random_.randrange(1, 2_000) for _ in range(25)])
    if way.startswith("ranges"):
        assert (await fetch(depot)).attempts == len(depot.asked) == 26
    else:
        error = await fail(depot, match="GET /files/f/content")
        assert "out.jsonl was not written" in "".join(error.__notes__)


async def test_a_flaky_link_with_two_hundred_cuts(fetch: Fetch) -> None:
    """As long as attempts bring bytes that stay, a download comes to its end, and goes back for none of them."""
    random_ = random.Random(7)
    positions = sorted(random_.sample(range(1, len(DATA)), 200))
    depot = Depot(cuts=[stop - start for start, stop in zip([0, *positions], positions, strict=False)])
    assert (await fetch(depot)).attempts == 201
    starts = [int(span[6:-1]) for span in depot.spans if span]
    assert starts == sorted(starts)
    assert len(set(starts)) > 150
    # A cut that came before any byte leaves nothing to go on from.
    assert {asked.headers["If-Range"] for asked in depot.asked if "Range" in asked.headers} == {'"v1"'}
    assert {asked.headers["Accept-Encoding"] for asked in depot.asked} == {"identity"}


async def test_the_attempts_are_bounded(fail: Fail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that gives byte after byte is given up in the end."""
    monkeypatch.setattr("openai_batches.http.ranges._MAX_ATTEMPTS", 20)
    depot = Depot(cuts=[1] * 1_000)
    error = await fail(depot, retry=attrs.evolve(QUICK, attempts=50))
    assert len(depot.asked) == 20
    assert f" bytes of {len(DATA)} had come; {tmp_path}/out.jsonl was not written" in "".join(error.__notes__)


@pytest.mark.parametrize(("retry", "attempts"), [(QUICK, 5), (ONCE, 1)])
async def test_no_progress_is_given_up(retry: RetryPolicy, attempts: int, fail: Fail) -> None:
    """Attempts that bring nothing new count as any failed attempts do; without retries the first cut is the last."""
    depot = Depot(cuts=[1_000] + [0] * 50)
    await fail(depot, retry=retry)
    assert len(depot.asked) == attempts
    depot = Depot(cuts=list(range(1_000, 20_000, 1_000)), etag=None)
    await fail(depot, retry=retry)
    assert len(depot.asked) == attempts, "what cannot be resumed is no progress"


# Lengths that lie


@pytest.mark.parametrize("etag", ['"v1"', None])
@pytest.mark.parametrize(
    ("error", "recorded"),
    # Shorter than nobody knows is whole, by all that can be known.
    [(-1, -1), (-len(DATA) + 1, -1), (1, -1), (1_000_000, -1), (1, None), (1_000_000, None)],
)
async def test_a_wrong_content_length(error: int, etag: str | None, recorded: int | None, fail: Fail) -> None:
    """A length that is not that of the file is found out by the record, or by the end that does not come."""
    told = str(await fail(Depot(error=error, etag=etag, recorded=recorded)))
    if recorded == -1:
        assert f"announces {len(DATA) + error:,} bytes, but the service's record of the file says {len(DATA):,}" in told


@pytest.mark.parametrize(
    ("framing", "recorded", "text"),
    [
        ("chunked", len(DATA) + 1, f"{len(DATA):,} bytes came, but the service's record of the file says"),
        ("chunked", len(DATA) - 1, f"{len(DATA):,} bytes came, but the service's record of the file says"),
        ("close", len(DATA) + 1, f"the connection ended at byte {len(DATA):,} of {len(DATA) + 1:,}"),
        ("close", len(DATA) - 1, f"{len(DATA):,} bytes came, but the service's record of the file says"),
        ("close", None, "neither the answer nor the file's record says how long it is"),
        ("close", 0, "neither the answer nor the file's record says how long it is"),
    ],
)
async def test_without_an_announced_length(framing: str, recorded: int | None, text: str, fail: Fail) -> None:
    """The record's length counts where the answer has none; where nobody knows the length, nothing passes for whole."""
    await fail(Depot(framing=framing, recorded=recorded), match=text)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("recorded", [0, None])
async def test_a_record_that_says_nothing(recorded: int | None, framing: str, fetch: Fetch) -> None:
    """A service that keeps no lengths, or no records at all, can still be downloaded from."""
    await fetch(Depot(recorded=recorded, framing=framing))


async def test_an_empty_file(fetch: Fetch) -> None:
    """Nothing at all can be whole too."""
    await fetch(Depot(data=b""), expected=b"")


# Servers with ideas of their own about ranges


def says(head: str, body: bytes) -> bytes:
    return f"HTTP/1.1 206 Partial\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


WRONG_RANGES = {
    "none": says("", DATA[1_000:]),
    "another start": says(f"Content-Range: bytes 999-{len(DATA) - 1}/{len(DATA)}\r\n", DATA[999:]),
    "another total": says(f"Content-Range: bytes 1000-{len(DATA)}/{len(DATA) + 1}\r\n", DATA[999:]),
    "unknown total": says(f"Content-Range: bytes 1000-{len(DATA) - 1}/*\r\n", DATA[1_000:]),
    "another length": says(f"Content-Range: bytes 1000-{len(DATA) - 2}/{len(DATA)}\r\n", DATA[1_000:]),
    "another etag": says(f'ETag: "v2"\r\nContent-Range: bytes 1000-{len(DATA) - 1}/{len(DATA)}\r\n', OTHER[1_000:]),
    "no longer strong": says(
        f'ETag: W/"v1"\r\nContent-Range: bytes 1000-{len(DATA) - 1}/{len(DATA)}\r\n', OTHER[1_000:]
    ),
    "encoded": says(
        f"Content-Encoding: gzip\r\nContent-Range: bytes 1000-{len(DATA) - 1}/{len(DATA)}\r\n", DATA[1_000:]
    ),
    "multipart": says("Content-Type: multipart/byteranges; boundary=b\r\n", b"--b\r\n" + DATA[1_000:]),
    "416": error_answer(416),
}


def on_ranges(answer_to: Callable[[int], bytes], **options: Any) -> Depot:
    """A server that answers a question for a range, from a byte on, in a way of its own."""

    def before(_: Depot, asked: Asked) -> bytes | None:
        return answer_to(int(asked.headers["Range"][6:-1])) if "Range" in asked.headers else None

    return Depot(before=before, **options)


@pytest.mark.parametrize("name", WRONG_RANGES)
async def test_a_wrong_range_is_not_used(name: str, fetch: Fetch) -> None:
    """An answer that does not go on where the last one was cut is thrown away, and no range is asked for again."""
    depot = on_ranges(lambda _: WRONG_RANGES[name], cuts=[1_000, 2_000], pause_s=0.05)
    await fetch(depot)
    assert depot.spans == [None, "bytes=1000-", None, None]


async def test_another_date(fetch: Fetch) -> None:
    """What was resumed by its date has to have that date."""
    head = f"Last-Modified: {NOW_DATE}\r\nContent-Range: bytes 1000-{len(DATA) - 1}/{len(DATA)}\r\n"
    await fetch(on_ranges(lambda _: says(head, OTHER[1_000:]), etag=None, modified=OLD_DATE, cuts=[1_000]))


async def test_ranges_in_small_portions(fetch: Fetch) -> None:
    """A server that gives less of a range than it could is asked for the next one."""

    def portion(start: int) -> bytes:
        stop = min(start + 10_000, len(DATA))
        return says(f"Content-Range: bytes {start}-{stop - 1}/{len(DATA)}\r\n", DATA[start:stop])

    await fetch(on_ranges(portion, cuts=[5_000]))


async def test_more_than_the_range(fetch: Fetch) -> None:
    """A range that goes on behind the end of the file is not used."""
    body = DATA[1_000:] + b"more"
    head = f"HTTP/1.1 206 P\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 1000-{len(DATA) - 1}/{len(DATA)}"
    said = b"%s\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (head.encode(), len(body), body)
    await fetch(on_ranges(lambda _: said, cuts=[1_000]))


@pytest.mark.parametrize("said", [answer(204), answer(201, DATA), WRONG_RANGES["another start"], answer(416)])
async def test_an_answer_that_is_no_file(said: bytes, fail: Fail) -> None:
    """Another status than 200 is no file, a part that nobody asked for neither."""
    await fail(Depot(before=lambda *_: said), Exception, r"no answer with content|another range|416")


async def test_a_file_that_is_not_there(fail: Fail) -> None:
    """The service's no is raised as it is."""
    await fail(Depot(recorded=None, before=lambda *_: error_answer(404)), NotFoundError)


async def test_a_store_elsewhere(fetch: Fetch) -> None:
    """A redirect to another origin gets the range, and not the key."""
    depot = Depot(cuts=[1_000], pause_s=0.05)
    async with RawServer(depot) as store:
        there = answer(302, Location=f"http://localhost:{store.port}/content")
        await fetch(Depot(before=lambda *_: there))
    assert depot.spans == [None, "bytes=1000-"]
    assert all("Authorization" not in asked.headers for asked in depot.asked)
    assert all(asked.headers["Accept-Encoding"] == "identity" for asked in depot.asked)


# Encodings nobody asked for


@pytest.mark.parametrize("position", [0, 5, 17, 1_000, -9, -8, -1])
async def test_a_cut_encoding_never_passes_for_whole(position: int, fail: Fail) -> None:
    """A gzip body that is cut but well framed is an error, even where nobody knows the file's length."""
    said = answer(200, gzip.compress(DATA)[:position], Content_Encoding="gzip", ETag='"v1"')
    await fail(Depot(recorded=None, before=lambda *_: said), match="encoding ends before its end")


async def test_a_damaged_encoding(fail: Fail) -> None:
    """So is one with a byte that is wrong."""
    body = bytearray(gzip.compress(DATA))
    body[5_000] ^= 255
    said = answer(200, bytes(body), Content_Encoding="gzip")
    await fail(Depot(recorded=None, before=lambda *_: said), match=r"gzip encoding is damaged|before its end")


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("X-GZip", lambda data: gzip.compress(data[:9_000]) + gzip.compress(data[9_000:])),
        ("deflate", zlib.compress),
        ("identity", bytes),
    ],
)
async def test_encodings_that_can_be_read(encoding: str, encode: Callable[[bytes], bytes], fetch: Fetch) -> None:
    """An encoding is taken off, although identity was asked for."""
    said = answer(200, encode(DATA), Content_Encoding=encoding)
    await fetch(Depot(before=lambda *_: said))


async def test_an_encoding_that_cannot_be_read(fail: Fail) -> None:
    """Another one is named in the error, which comes at once."""
    depot = Depot(before=lambda *_: answer(200, DATA, Content_Encoding="br"))
    await fail(depot, match="an encoding that was not asked for: br")
    assert len(depot.asked) == 1


# On the disk


async def test_the_defects_of_others(fail: Fail, open_session: OpenSession, tmp_path: Path) -> None:
    """No truncated file is left in place, and nothing is ever appended to what an earlier process left behind."""
    path = tmp_path / "out.jsonl"
    await fail(Depot(cuts=[5_000] * 9, etag=None))
    (tmp_path / "out.jsonl.part").write_bytes(DATA[:7_000])
    async with opened(Depot(cuts=[5_000]), open_session) as session:
        await session.files.download("f", path)
        assert path.read_bytes() == DATA
        path.write_bytes(DATA[:7_000])
        await session.files.download("f", path, overwrite=True)
    assert path.read_bytes() == DATA
    assert names_in(path.parent) == ["out.jsonl"]


async def test_a_process_that_is_killed(tmp_path: Path) -> None:
    """A process that dies in the middle leaves no file under the final name, and its part does not disturb the next."""
    script = (
        "import asyncio, sys\n"
        "from openai_batches import BatchSession\n"
        "async def main():\n"
        "    async with BatchSession('sk-x', base_url=sys.argv[1]) as session:\n"
        "        await session.files.download('f', sys.argv[2], progress=lambda *_: print('some', flush=True))\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "out.jsonl"
    data = DATA * 60
    silent = asyncio.Event()

    async def handler(asked: Asked) -> bytes | None:
        if asked.path.endswith("/content"):
            asked.writer.write(answer(200, data)[:-9])
            await asked.writer.drain()
            await silent.wait()
        return json_answer(file_json(bytes=len(data)))

    async with RawServer(handler) as server:
        command = [sys.executable, "-c", script, server.base_url, str(path)]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"some\n"
        process.kill()
        await process.communicate()
        assert names_in(path.parent) == ["out.jsonl.part"]
        silent.set()
    async with RawServer(Depot()) as server, BatchSession("sk-x", base_url=server.base_url) as session:
        await session.files.download("f", path)
    assert path.read_bytes() == DATA
    assert names_in(path.parent) == ["out.jsonl"]


async def test_a_target_that_is_there(open_session: OpenSession, tmp_path: Path) -> None:
    """A file that is there is not touched, and nothing sent, unless it may be overwritten; then once all is whole."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"mine")
    depot = Depot(cuts=[100] * 50, etag=None)
    async with opened(depot, open_session) as session:
        with pytest.raises(FileExistsError):
            await session.files.download("f", path)
        assert depot.asked == []
        with pytest.raises(TransportError):
            await session.files.download("f", path, overwrite=True)
        assert path.read_bytes() == b"mine"
        depot.cuts.clear()
        file = await session.files.download("f", path, overwrite=True)
        assert path.read_bytes() == DATA
        with pytest.raises(IsADirectoryError):
            await session.files.download("f", tmp_path, overwrite=True)
    with open(file, "rb") as opened_:  # noqa: ASYNC230, PTH123
        assert opened_.read(10) == DATA[:10]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_target_that_appears(open_session: OpenSession, tmp_path: Path) -> None:
    """A file that appears during the download is not overwritten either."""
    path = tmp_path / "out.jsonl"
    async with opened(Depot(), open_session) as session:
        with pytest.raises(FileExistsError):
            await session.files.download("f", path, progress=lambda *_: path.write_bytes(b"mine"))
    assert path.read_bytes() == b"mine"
    assert names_in(path.parent) == ["out.jsonl"]


async def test_two_downloads_of_one_target(open_session: OpenSession, tmp_path: Path) -> None:
    """The second one is refused while the first one runs, which ends undisturbed."""
    path = tmp_path / "out.jsonl"
    gate, come = asyncio.Event(), asyncio.Event()

    async def handler(asked: Asked) -> bytes | None:
        if asked.path.endswith("/content"):
            come.set()
            await gate.wait()
        return await Depot()(asked)

    async with opened(handler, open_session) as session:
        first = asyncio.create_task(session.files.download("f", path))
        await come.wait()
        with pytest.raises(FileExistsError, match="another process is writing it"):
            await session.files.download("f", path)
        gate.set()
        await first
    assert path.read_bytes() == DATA
    assert names_in(path.parent) == ["out.jsonl"]


@pytest.mark.parametrize("place", ["nowhere/out.jsonl", "file/out.jsonl"])
async def test_a_folder_that_cannot_be_written_to(place: str, open_session: OpenSession, tmp_path: Path) -> None:
    """What the system says of the folder is raised before anything is sent."""
    (tmp_path / "file").touch()
    depot = Depot()
    async with opened(depot, open_session) as session:
        with pytest.raises(OSError, match=r"No such file|Not a directory"):
            await session.files.download("f", tmp_path / place)
    assert depot.asked == []


@pytest.mark.parametrize("path", ["", "/", "."])
async def test_a_path_without_a_name(path: str, open_session: OpenSession) -> None:
    """A download needs a name."""
    async with opened(Depot(), open_session) as session:
        with pytest.raises(InputError, match="path must name a file"):
            await session.files.download("f", path)
        with pytest.raises(InputError, match="file_id"):
            await session.files.download("", "x")


@pytest.mark.parametrize("compress", [None, "gzip"])
async def test_a_full_disk(compress: Any, fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full is what the error says, and nothing is left on it."""
    written = atomic._write_all

    def write_all(file: Any, data: bytes) -> None:
        if file.tell() + len(data) > 10_000:
            written(file, data[: 10_000 - file.tell()])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(file, data)

    monkeypatch.setattr(atomic, "_write_all", write_all)
    error = await fail(Depot(), OSError, r"No space left on device: .*out\.jsonl\.part", compress=compress)
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC


async def test_a_sync_that_fails(fetch: Fetch, fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    """What did not get safely to the disk does not get the name; whether the folder can be synced does not matter."""
    failing = [True, False]

    def fsync(_: int) -> None:
        if failing.pop(0):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    await fail(Depot(), OSError, r"Input/output error: .*\.part")
    failing[:] = [False, True]
    await fetch(Depot())


async def test_a_cancelled_download(open_session: OpenSession, tmp_path: Path) -> None:
    """A download that is cancelled leaves nothing behind, whenever that happens."""
    for delay_s in (0, 0.002, 0.005, 0.01, 0.03):
        depot = Depot(data=DATA * 40, cuts=[10_000] * 1_000)
        async with opened(depot, open_session) as session:
            task = asyncio.create_task(session.files.download("f", tmp_path / "out.jsonl"))
            await asyncio.sleep(delay_s)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert names_in(tmp_path) == []


async def test_a_progress_that_fails(fail: Fail) -> None:
    """What a progress function raises ends the download."""

    def progress(*_: Any) -> None:
        raise KeyError("mine")

    await fail(Depot(), KeyError, "mine", progress=progress)


async def test_progress(open_session: OpenSession, tmp_path: Path) -> None:
    """Progress tells what is there and what there is in all, again from the start where the download starts again."""
    told: list[tuple[int, int | None]] = []
    data = DATA * 60
    async with opened(Depot(data=data, cuts=[2_000_000], etag=None), open_session) as session:
        await session.files.download("f", tmp_path / "out", progress=lambda *now: told.append(now))
    numbers = [there for there, _ in told]
    restart = numbers.index(2_000_000) + 1
    assert numbers[:restart] == sorted(numbers[:restart])
    assert numbers[restart] < 2_000_000
    assert numbers[restart:] == sorted(numbers[restart:])
    assert numbers[-1] == len(data)
    assert {total for _, total in told} == {len(data)}
    told.clear()
    async with opened(Depot(framing="chunked", recorded=None), open_session) as session:
        await session.files.download("f", tmp_path / "out2", progress=lambda *now: told.append(now))
    assert told == [(len(DATA), None)]


# Compressed on the disk


@pytest.mark.parametrize("way", ["ranges", "no validator", "range ignored", "gzip", "changing etag"])
@pytest.mark.parametrize("compress", ["gzip", "zstd"])
async def test_compressed_and_cut(compress: Any, way: str, open_session: OpenSession, tmp_path: Path) -> None:
    """A file that is compressed on its way to the disk holds the right content, resumed or started again."""
    path = tmp_path / "out"
    async with opened(Depot(**WAYS[way], cuts=[4_321, 3_000]), open_session) as session:
        file = await session.files.download("f", path, compress=compress)
    disk = path.read_bytes()
    content = (
        gzip.decompress(disk) if compress == "gzip" else zstandard.ZstdDecompressor().decompressobj().decompress(disk)
    )
    assert content in {DATA, OTHER}
    assert file.bytes == len(DATA) > len(disk)


async def test_unknown_compressions(open_session: OpenSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compression nobody knows, or whose library is not there, is refused before anything is sent."""
    depot = Depot()
    async with opened(depot, open_session) as session:
        with pytest.raises(InputError, match="compress must be 'gzip', 'zstd' or None, not 'xz'"):
            await session.files.download("f", tmp_path / "out", compress="xz")
        monkeypatch.setitem(sys.modules, "zstandard", None)
        with pytest.raises(InputError, match=r"pip install 'openai_batches\[zstd\]'"):
            await session.files.download("f", tmp_path / "out", compress="zstd")
    assert depot.asked == []
    assert names_in(tmp_path) == []


# Batches


def ended(**fields: Any) -> Batch:
    known = {"id": "batch_1", "status": BatchStatus.COMPLETED, "output_file_id": "out", "error_file_id": "err"}
    return Batch(**{**known, **fields})


async def test_both_files_of_a_batch(server: BatchServer, session: BatchSession, tmp_path: Path) -> None:
    """Both result files of a batch are on the disk under its name, and agree with its counts."""
    bodies = [{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"q{number}"}]} for number in range(5)]
    lines = [
        {"custom_id": f"r{i}", "method": "POST", "url": "/v1/chat/completions", "body": b} for i, b in enumerate(bodies)
    ]
    file = await session.files.create("".join(json.dumps(line) + "\n" for line in lines).encode())
    batch = await session.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions")
    with pytest.raises(InputError, match="once it has ended"):
        await session.batches.download(batch.id, tmp_path)
    await server.advance(hours=25)
    found = await session.batches.download(batch.id, tmp_path / "a" / "b")
    assert found.agrees
    assert found.output is not None
    assert found.output.path == tmp_path / "a" / "b" / f"{batch.id}_output.jsonl"
    assert (found.rows_output, found.rows_error) == (5, 0)
    assert (found.error is None) == ((await session.batches.retrieve(batch.id)).error_file_id is None)
    assert found.counts == RequestCounts(total=5, completed=5)
    assert len(found.output.path.read_bytes().splitlines()) == 5


async def two_files(asked: Asked) -> bytes:
    texts = {"out": b'{"a": 1}\n\n \r\n{"b": 2}\n' + ROW % (1, b"x" * 2_000_000) + b'{"c": 3}', "err": b"{}\n"}
    file_id = asked.path.split("/")[3]
    if asked.path.endswith("/content"):
        return answer(200, texts[file_id], ETag=f'"{file_id}"')
    return json_answer(file_json(file_id, bytes=len(texts[file_id])))


@pytest.mark.parametrize(
    ("status", "counts", "agrees"),
    [
        ("completed", (5, 4, 1), True),
        ("completed", (5, 4, 0), False),
        ("completed", (5, 5, 0), False),
        ("completed", (6, 4, 1), False),
        ("expired", (5, 4, 0), True),
        ("cancelled", (6, 4, 0), False),
        ("cancelled", None, None),
    ],
)
async def test_rows_and_counts(
    status: str, counts: tuple[int, int, int] | None, agrees: bool | None, open_session: OpenSession, tmp_path: Path
) -> None:
    """Counts that do not agree with the rows are told, no error; a blank line is no row, a last one needs no end."""
    names = ("total", "completed", "failed")
    batch = ended(
        status=BatchStatus(status),
        request_counts=counts and RequestCounts(**dict(zip(names, counts, strict=True))),
    )
    async with opened(two_files, open_session) as session:
        found = await session.batches.download(batch, tmp_path)
        assert (found.rows_output, found.rows_error, found.agrees) == (4, 1, agrees)
        assert found.counts == batch.request_counts
        again = await session.batches.download(batch, tmp_path, compress="gzip")
        assert again.agrees == agrees
        with pytest.raises(FileExistsError):
            await session.batches.download(batch, tmp_path, overwrite=False)
        await session.batches.download(batch, tmp_path)
    names = (f"batch_1_{name}.jsonl{end}" for name in ("error", "output") for end in ("", ".gz"))
    assert names_in(tmp_path) == list(names)


async def test_batches_without_files(open_session: OpenSession, tmp_path: Path) -> None:
    """A batch that failed in validation has no files, which is an error; one whose files are absent has no rows."""
    async with opened(two_files, open_session) as session:
        failed = ended(status=BatchStatus.FAILED, output_file_id=None, error_file_id=None)
        with pytest.raises(BatchFailedError):
            await session.batches.download(failed, tmp_path)
        none = await session.batches.download(ended(output_file_id=None, error_file_id=None), tmp_path)
        assert (none.output, none.error, none.rows_output, none.agrees) == (None, None, 0, None)
        odd = await session.batches.download(ended(id="../../x", output_file_id=None), tmp_path)
        assert odd.error is not None
        assert odd.error.path.parent == tmp_path
    assert batch_json()["id"] == "batch_1"
