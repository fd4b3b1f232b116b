"""Hostile connections: whatever comes over one, the answer is a 4xx or the end of it, and nothing stays behind."""

import asyncio
import contextlib
import gzip
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.asking import CHAT, MakeRaw, Raw, chat_file, check_error, form
from support.hostile import FILE_PART, FORM, GET, JSON, KEY, LATER_S, connect, gone, send, unharmed

from openai_batches.emulator import BatchServer, SteppedClock

SOON_S = 0.05
# Enough for a busy machine to read a head.
BRIEFLY_S = 0.2
CLOSED, MAYBE = 0, 1


@pytest.fixture
def patience() -> float:
    """Overridden by the tests of what takes too long."""
    return LATER_S


@pytest.fixture
async def server(caplog: pytest.LogCaptureFixture, patience: float) -> AsyncIterator[BatchServer]:
    async with unharmed(caplog, patience) as running:
        yield running


NO_HTTP = [
    # what, bytes, status of the answer; MAYBE where older releases of aiohttp let it pass
    ("nothing", b"", CLOSED),
    ("half a head", b"GET /v1/batches HT", CLOSED),
    ("a head without its end", GET, CLOSED),
    ("binary", b"\x00\x01\x02\x03\r\n\r\n", 400),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("another protocol", b"SSH-2.0-OpenSSH_9.0\r\n\r\n", 400),
    ("a future version", b"GET / HTTP/9.9\r\n\r\n", 400),
    ("bare newlines", GET.replace(b"\r\n", b"\n") + b"\n", 400),
    ("a NUL in a header", GET + b"X: \x00\r\n\r\n", 400),
    ("a header without a colon", GET + b"nonsense\r\n\r\n", 400),
    ("a space before the colon", GET + b"Content-Length : 5\r\n\r\n", 400),
    ("thousands of headers", GET + b"".join(b"X-%d: y\r\n" % number for number in range(5_000)) + b"\r\n", MAYBE),
    ("a long header", GET + b"X: " + b"y" * 9_000 + b"\r\n\r\n", 400),
    ("a long path", b"GET /v1/batches/" + b"y" * 9_000 + b" HTTP/1.1\r\n" + KEY + b"\r\n", 400),
    ("two lengths", JSON + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n{}", 400),
    ("a length below zero", JSON + b"Content-Length: -4\r\n\r\n{}", 400),
    ("a length that is none", JSON + b"Content-Length: x\r\n\r\n{}", 400),
    ("a length and chunks", JSON + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    ("chunks of no size", JSON + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n", 400),
]


@pytest.mark.parametrize(
    ("patience", "sent", "status"),
    [(SOON_S if row[2] == CLOSED else LATER_S, *row[1:]) for row in NO_HTTP],
    ids=[row[0] for row in NO_HTTP],
)
async def test_what_is_no_http(server: BatchServer, sent: Any, status: Any) -> None:
    """Bytes that are no request are an error object with a request id, or the connection closes in time."""
    answers = await send(server, sent)
    if status == CLOSED:
        assert answers == []
        return
    if status == MAYBE and answers[0][0] == 200:
        return
    assert [answer[0] for answer in answers] == [400]
    check_error(json.loads(answers[0][2]))
    assert answers[0][1]["x-request-id"].startswith("req_")


async def test_a_header_of_a_megabyte(server: BatchServer) -> None:
    """A head that never ends is cut off instead of being kept."""
    reader, writer = await connect(server)
    writer.write(GET + b"X: ")
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 100_000_000:
            writer.write(b"y" * 65_536)
            await writer.drain()
            sent += 65_536
    assert sent < 10_000_000
    writer.close()
    await asyncio.wait({asyncio.ensure_future(reader.read())})


BODIES = [
    # (what, pieces, statuses of the answers; 408 stands for 400 too where the pieces arrive as one)
    ("an announced 10 GB form", (FORM + b"Content-Length: 10000000000\r\n\r\n", FILE_PART, b"{}\n"), [408]),
    ("an announced 10 GB form of one field", (FORM + b"Content-Length: 10000000000\r\n\r\n--b\r\nContent-",), [408]),
    ("an announced 10 GB of JSON", (JSON + b"Content-Length: 10000000000\r\n\r\n{",), [408]),
    ("a chunk longer than it says", (JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\n{}XX\r\n0\r\n\r\n"), [408]),
    ("a chunk of 2**70 bytes", (JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"400000000000000000\r\n{}"), [408]),
    ("chunks without an end", (JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\n{}\r\n"), [408]),
    ("gzip that is none", (JSON + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",), [400]),
    ("gzip that is none, as a form", (FORM + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",), [400]),
    ("an upgrade", (GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",), [200]),
    ("a body where none belongs", (GET + b"Content-Length: 9\r\n\r\nnonsense!",), [200]),
    ("another origin's URL", (b"GET http://other/v1/nothing HTTP/1.1\r\n" + KEY + b"\r\n",), [404]),
    ("a proxy's method", (b"CONNECT x:443 HTTP/1.1\r\n" + KEY + b"\r\n",), [404]),
    ("no path at all", (b"OPTIONS * HTTP/1.1\r\n" + KEY + b"\r\n",), [404]),
    ("pipelined requests", ((GET + b"\r\n") * 5,), [200] * 5),
    ("an expectation", (JSON + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"{}"), [100, 400]),
    ("an expectation of something else", (JSON + b"Expect: gold\r\nContent-Length: 2\r\n\r\n", b"{}"), [417]),
    ("a length of zero", (FORM + b"Content-Length: 0\r\n\r\n",), [400]),
    ("a version without keep-alive", (GET.replace(b"1.1", b"1.0") + b"\r\n",), [200]),
]


@pytest.mark.parametrize(
    ("patience", "pieces", "statuses"),
    [(BRIEFLY_S if 408 in row[2] else LATER_S, *row[1:]) for row in BODIES],
    ids=[row[0] for row in BODIES],
)
async def test_bodies_that_are_not_as_announced(server: BatchServer, pieces: Any, statuses: Any) -> None:
    """A body that does not come, or is not what its head says, is refused in time and leaves no file."""
    answers = await send(server, *pieces, most=len(statuses))
    got = [answer[0] for answer in answers]
    assert got == statuses or (b"chunked" in pieces[0] and got == [400])
    for status, headers, body in answers:
        if status != 100:
            assert headers["x-request-id"].startswith("req_")
        if status >= 400:
            check_error(json.loads(body))


async def test_garbage_behind_a_request(server: BatchServer) -> None:
    """What follows a request on its connection and is none ends the connection."""
    assert (await send(server, GET + b"\r\n", b"GARBAGE\x00\r\n\r\n", most=3))[-1][0] == 400


async def test_a_compressed_body_of_zeros(server: BatchServer) -> None:
    """A body that grows when it is unpacked meets the same limit as a plain one."""
    packed = gzip.compress(bytes(20_000_000))
    head = JSON + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    assert [answer[0] for answer in await send(server, head + packed)] == [413]


async def test_a_client_that_leaves_at_once(server: BatchServer) -> None:
    """Connections that are reset, half closed or dropped in any phase leave nothing."""
    for sent in (b"", b"GET", GET + b"\r\n", FORM + b"Content-Length: 999999\r\n\r\n" + FILE_PART + b"x" * 70_000):
        for is_half in (True, False):
            _, writer = await connect(server)
            writer.write(sent)
            await writer.drain()
            if is_half:
                writer.write_eof()
            else:
                writer.transport.abort()
            await asyncio.sleep(0.005)
            writer.close()


SLOW = [
    b"GET /v1/batches HTTP/1.1\r\nX-Slow: ",
    JSON + b'Content-Length: 100000\r\n\r\n{"endpoint": "',
    FORM + b"Content-Length: 100000\r\n\r\n--b\r\nContent-Disposition: form-data; na",
    FORM + b'Content-Length: 100000\r\n\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nba',
    FORM + b"Content-Length: 100000\r\n\r\n" + FILE_PART + b"{}",
]


@pytest.mark.parametrize("patience", [BRIEFLY_S])
async def test_five_hundred_slow_clients(server: BatchServer, raw: Raw) -> None:
    """Clients that stop in the middle of a head or a body are closed in time; a healthy one is served meanwhile."""

    async def crawl(number: int) -> bytes:
        reader, writer = await connect(server)
        writer.write(SLOW[number % len(SLOW)])
        try:
            async with asyncio.timeout(60):
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async with asyncio.TaskGroup() as group:
        crawling = [group.create_task(crawl(number)) for number in range(500)]
        await asyncio.sleep(0.03)
        served = 0
        while not all(task.done() for task in crawling):
            async with asyncio.timeout(60):
                assert (await raw("GET", "/batches"))[0] == 200
            served += 1
    assert served > 1
    heads = [task.result().split(b"\r\n")[0] for task in crawling]
    assert set(heads[:: len(SLOW)]) == {b""}
    assert set(heads) <= {b"", b"HTTP/1.1 408 Request Timeout"}
    assert b"HTTP/1.1 408 Request Timeout" in heads
    await raw.session.close()


@pytest.mark.parametrize("patience", [BRIEFLY_S])
async def test_a_client_that_takes_nothing(server: BatchServer, raw: Raw) -> None:
    """A download or a page that its client does not read is dropped in time."""
    file = await raw.upload(chat_file(1) * 100_000)
    for number in range(3_000):
        wide = {"metadata": {"number": f"{number}"}, "input_file_id": "x" * 500}
        server.store.new_batch(scope="sk-alice", now=1, endpoint=CHAT, **wide)
    for path in (f"/v1/files/{file['id']}/content", "/v1/batches?limit=100"):
        requests = len(server.requests)
        host, _, port = server.base_url.removeprefix("http://").removesuffix("/v1").rpartition(":")
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((host, int(port)))
            client.sendall((f"GET {path} HTTP/1.1\r\n".encode() + KEY + b"\r\n") * 100)
            await raw.session.close()
            async with asyncio.timeout(60):
                while len(server.requests) < requests + 1:  # noqa: ASYNC110 - the server tells nobody
                    await asyncio.sleep(0.005)
            await gone(server)


async def test_a_file_that_was_cut_on_disk(server: BatchServer, raw: Raw) -> None:
    """A file shorter than its record ends the connection; it neither hangs nor passes as whole."""
    file = await raw.upload(chat_file(5))
    server.store.files.items[file["id"]].path.write_bytes(b"{")
    answers = await send(server, f"GET /v1/files/{file['id']}/content HTTP/1.1\r\n".encode() + KEY + b"\r\n")
    assert answers == []
    await raw.session.close()


async def test_patience_is_real_time_above_zero() -> None:
    """A patience of nothing would close every connection."""
    with pytest.raises(ValueError, match="client_timeout_s"):
        BatchServer(client_timeout_s=0)
    async with BatchServer(port=0) as server:
        assert server._runner is not None
        assert [site.name for site in server._runner.sites] == ["http://127.0.0.1:0"]


@pytest.mark.parametrize("patience", [BRIEFLY_S])
async def test_an_upload_that_stops(server: BatchServer, make_raw: MakeRaw) -> None:
    """An upload that stops halfway is a 408, its bytes are gone, and a retry of it succeeds."""
    raw = make_raw(server)

    async def stop() -> Any:
        yield FILE_PART
        yield b"x" * 300_000
        await asyncio.sleep(10)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    status, body, _ = await raw("POST", "/files", data=stop(), headers=headers)
    assert (status, check_error(body)["type"]) == (408, "invalid_request_error")
    assert list(server.store.folder.iterdir()) == []
    assert (await raw("POST", "/files", data=form(chat_file(1), purpose="batch")))[0] == 200
    await raw.session.close()


async def test_what_goes_wrong_while_an_answer_is_sent(
    make_raw: MakeRaw, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that breaks inside is a 500 and is told in the log, unlike what a client sends."""

    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("openai_batches.emulator.http.app._answer", broken)
    async with BatchServer(clock=SteppedClock()) as server:
        raw = make_raw(server)
        assert (await raw("GET", "/batches"))[0] == 500
    assert "ZeroDivisionError" in caplog.text
