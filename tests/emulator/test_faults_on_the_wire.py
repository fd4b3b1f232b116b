"""Each fault of requests and answers, as bytes on the wire show it."""

import asyncio
import contextlib
import email.utils
import json
import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from support.asking import CHAT, MakeRaw, Raw, chat_file, check_error, form
from support.fault_showing import shows

from openai_batches.emulator import BatchServer, Fault, RealClock

CREATE = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"}
KEY = {"Authorization": "Bearer sk-alice"}


async def talk(server: BatchServer, method: str, path: str, *, body: bytes = b"", length: int | None = None) -> Any:
    """Say it in bare HTTP; return the head, the bytes behind it, and whether the connection was reset."""
    address = urlsplit(server.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"{method} /v1{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-alice\r\n"
    head += "Content-Type: application/json\r\nConnection: close\r\n"
    head += f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
    received, was_reset = b"", False
    try:
        writer.write(head.encode() + body)
        while chunk := await asyncio.wait_for(reader.read(65536), 60):
            received += chunk
    except ConnectionError:
        was_reset = True
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    said, _, rest = received.partition(b"\r\n\r\n")
    return said.decode(), rest, was_reset


def header(head: str, name: str) -> str | None:
    found = [line.partition(": ")[2] for line in head.split("\r\n") if line.lower().startswith(f"{name}:")]
    return found[0] if found else None


async def batches(server: BatchServer, raw: Raw, count: int) -> list[str]:
    """Make batches; return their ids, newest first."""
    made = [(await raw.create("file-x"))["id"] for _ in range(count)]
    return made[::-1]


async def page(raw: Raw, query: str = "limit=2") -> Any:
    return (await raw("GET", f"/batches?{query}"))[1]


@shows("lost_answer")
async def test_a_lost_answer_comes_after_the_change_and_resets(server: BatchServer) -> None:
    """Not a byte comes back, the connection is reset, and the batch is there."""
    server.faults.add(Fault.lost_answer(method="post", path="/batches$"))
    assert await talk(server, "POST", "/batches", body=json.dumps(CREATE).encode()) == ("", b"", True)
    assert len(server.store.batches.items) == 1


@shows("reset_before")
async def test_a_reset_before_changes_nothing_here(server: BatchServer) -> None:
    """Not a byte comes back, and nothing was done."""
    server.faults.add(Fault.reset_before())
    assert await talk(server, "POST", "/batches", body=json.dumps(CREATE).encode()) == ("", b"", True)
    assert len(server.store.batches.items) == 0


@shows("reset_upload")
@pytest.mark.parametrize("after_bytes", [None, 10, 1_000_000])
async def test_an_upload_is_reset_in_its_middle(server: BatchServer, after_bytes: int | None) -> None:
    """The connection breaks once so many bytes have come, at the latest when all have; no file is made."""
    fault = Fault.reset_upload(after_bytes=after_bytes)
    server.faults.add(fault)
    sent, announced = (b"x" * 600, 600) if after_bytes == 1_000_000 else (b"x" * 600, 1000)
    assert await talk(server, "POST", "/files", body=sent, length=announced) == ("", b"", True)
    assert (fault.fired, len(server.store.files.items)) == (1, 0)


@shows("hang_before", "hang_after")
@pytest.mark.parametrize(("fault", "made"), [(Fault.hang_before, 0), (Fault.hang_after, 1)])
async def test_a_server_that_hangs(server: BatchServer, raw: Raw, fault: Any, made: int) -> None:
    """No answer comes before the client gives up; the act is done, or is not."""
    server.faults.add(fault())
    with pytest.raises(asyncio.TimeoutError):
        await raw("POST", "/batches", json=CREATE, timeout=aiohttp.ClientTimeout(total=2))
    assert len(server.store.batches.items) == made


@shows("error_before", "error_after")
async def test_an_error_before_or_after_the_act(server: BatchServer, raw: Raw) -> None:
    """Both answer alike; the act tells them apart."""
    server.faults.add(Fault.error_before(502), Fault.error_after(504, html=True))
    status, body, _ = await raw("POST", "/batches", json=CREATE)
    assert (status, check_error(body)["type"], len(server.store.batches.items)) == (502, "server_error", 0)
    status, body, answer = await raw("POST", "/batches", json=CREATE)
    assert (status, answer.content_type, len(server.store.batches.items)) == (504, "text/html", 1)
    assert body.startswith(b"<html>")


@shows("too_large")
async def test_an_upload_is_too_large_for_the_proxy(server: BatchServer, raw: Raw) -> None:
    """413, as JSON or as HTML, and no file."""
    server.faults.add(Fault.too_large(), Fault.too_large(html=True))
    status, body, _ = await raw("POST", "/files", data=form(chat_file(1), purpose="batch"))
    assert (status, check_error(body)["type"]) == (413, "invalid_request_error")
    status, body, _ = await raw("POST", "/files", data=form(chat_file(1), purpose="batch"))
    assert (status, body[:6], len(server.store.files.items)) == (413, b"<html>", 0)


@shows("rate_limited")
async def test_a_rate_limit_with_a_date(server: BatchServer, raw: Raw) -> None:
    """The date is so many seconds ahead of the answer's own."""
    server.faults.add(Fault.rate_limited(retry_after_date_s=90), Fault.rate_limited(retry_after_s=1.5))
    status, body, answer = await raw("GET", "/batches")
    ahead = email.utils.parsedate_to_datetime(answer.headers["Retry-After"]) - email.utils.parsedate_to_datetime(
        answer.headers["Date"]
    )
    assert (status, check_error(body)["code"], ahead.total_seconds()) == (429, "rate_limit_exceeded", 90)
    assert (await raw("GET", "/batches"))[2].headers["Retry-After"] == "1.5"


@shows("insufficient_quota")
async def test_the_quota_is_used_up(server: BatchServer, raw: Raw) -> None:
    """429 with type and code of its own, and no word of waiting."""
    server.faults.add(Fault.insufficient_quota())
    status, body, answer = await raw("POST", "/batches", json=CREATE)
    error = check_error(body)
    assert (status, error["type"], error["code"]) == (429, "insufficient_quota", "insufficient_quota")
    assert "Retry-After" not in answer.headers


@shows("file_not_found_once", "token_limit_at_create")
async def test_refusals_at_create(server: BatchServer, raw: Raw) -> None:
    """400 with the service's words, at create alone, and no batch."""
    server.faults.add(Fault.file_not_found_once(), Fault.token_limit_at_create(limit=90_000))
    assert (await raw("GET", "/batches"))[0] == 200
    status, body, _ = await raw("POST", "/batches", json=CREATE)
    assert (status, check_error(body)["message"][:24]) == (400, "Cannot find file file-x,")
    status, body, _ = await raw("POST", "/batches", json=CREATE)
    error = check_error(body)
    assert (status, error["code"]) == (400, "token_limit_exceeded")
    assert "Limit: 90,000 enqueued tokens" in error["message"]
    assert len(server.store.batches.items) == 0


@shows("unseen_batch")
async def test_a_new_batch_is_not_seen_at_first(server: BatchServer, raw: Raw) -> None:
    """The first questions get the 404 of a batch that is not there; listings do not."""
    server.faults.add(Fault.unseen_batch(times=2))
    batch = await raw.create("file-x")
    for _ in range(2):
        status, body, _ = await raw("GET", f"/batches/{batch['id']}")
        assert (status, check_error(body)["message"]) == (404, f"No batch found with id '{batch['id']}'.")
    assert [found["id"] for found in (await page(raw))["data"]] == [batch["id"]]
    assert (await raw.batch(batch["id"]))["id"] == batch["id"]


@shows("cut_body")
async def test_a_body_is_cut_with_a_reset(server: BatchServer, raw: Raw) -> None:
    """The whole length is announced, so many bytes come, then a reset."""
    file = await raw.upload(chat_file(100))
    server.faults.add(Fault.cut_body(path="content", after_bytes=100))
    head, body, was_reset = await talk(server, "GET", f"/files/{file['id']}/content")
    assert (header(head, "content-length"), len(body), was_reset) == (str(file["bytes"]), 100, True)


@shows("truncated")
async def test_a_body_is_truncated_in_good_order(server: BatchServer, raw: Raw) -> None:
    """The connection is closed, not reset, short of its length or without a last chunk."""
    content = chat_file(100)
    file = await raw.upload(content)
    server.faults.add(Fault.truncated(path="content"), Fault.truncated(is_chunked=True, after_bytes=1000))
    head, body, was_reset = await talk(server, "GET", f"/files/{file['id']}/content")
    assert (header(head, "content-length"), len(body), was_reset) == (str(len(content)), len(content) // 2, False)
    head, body, was_reset = await talk(server, "GET", f"/files/{file['id']}/content")
    assert (header(head, "content-length"), header(head, "transfer-encoding")) == (None, "chunked")
    assert body == b"3e8\r\n" + content[:1000] + b"\r\n"
    assert not was_reset


async def test_a_body_is_truncated_for_nobody(server: BatchServer, raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that has gone has no connection to close."""
    server.faults.add(Fault.truncated(times=None))
    monkeypatch.setattr(web.BaseRequest, "transport", None)
    with pytest.raises(aiohttp.ClientError):
        await raw("GET", "/batches")


@shows("slow_drip")
async def test_a_body_drips(make_raw: MakeRaw) -> None:
    """Small pieces, at the rate that is asked for, and all of them."""
    async with BatchServer(clock=RealClock()) as server:
        raw = make_raw(server)
        file = await raw.upload(chat_file(1))
        server.faults.add(Fault.slow_drip(bytes_per_s=5_000, piece_bytes=50, path="content"))
        began, pieces = time.perf_counter(), []
        async with raw.session.get(f"{server.base_url}/files/{file['id']}/content", headers=KEY) as answer:
            pieces = [piece async for piece in answer.content.iter_any()]
        assert b"".join(pieces) == chat_file(1)
        assert len(pieces) > 1
        assert time.perf_counter() - began >= (file["bytes"] // 50 - 1) * 0.01


async def test_a_server_that_closes_does_not_drip_on(make_raw: MakeRaw) -> None:
    """A drip of hours ends with its server."""
    server = await BatchServer(faults=Fault.slow_drip(bytes_per_s=20, piece_bytes=1)).start()
    asked = asyncio.create_task(make_raw(server)("GET", "/batches"))
    while not server.faults.fired:  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.005)
    await asyncio.wait_for(server.close(), 60)
    with pytest.raises(aiohttp.ClientError):
        await asked


@shows("wrong_length")
@pytest.mark.parametrize("off_by", [7, -7])
async def test_a_length_that_is_wrong(server: BatchServer, raw: Raw, off_by: int) -> None:
    """All bytes come, whatever their number was said to be, and then the connection ends."""
    content = chat_file(3)
    file = await raw.upload(content)
    server.faults.add(Fault.wrong_length(off_by=off_by, path="content"))
    head, body, was_reset = await talk(server, "GET", f"/files/{file['id']}/content")
    assert (header(head, "content-length"), body, was_reset) == (str(len(content) + off_by), content, False)


@shows("range_ignored")
async def test_a_range_is_ignored(server: BatchServer, raw: Raw) -> None:
    """Whoever asks for a part gets it all, with 200."""
    file = await raw.upload(chat_file(3))
    server.faults.add(Fault.range_ignored())
    path, headers = f"/files/{file['id']}/content", {"Range": "bytes=5-"}
    status, body, answer = await raw("GET", path, headers=headers)
    assert (status, body, "Content-Range" in answer.headers) == (200, chat_file(3), False)
    assert (await raw("GET", path, headers=headers))[0] == 206


@pytest.mark.parametrize("fault", [Fault.slow_drip, Fault.wrong_length, Fault.truncated, Fault.garbled_json])
async def test_what_is_lost_already_is_not_spoiled(
    server: BatchServer, raw: Raw, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer without a body stays as it is."""

    def lost(*_: Any) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(server.store.batches, "get", lost)
    server.faults.add(fault(times=None))
    with pytest.raises(aiohttp.ClientConnectionError):
        await raw("GET", "/batches/x")


@shows("garbled_json")
async def test_json_that_ends_in_its_middle(server: BatchServer, raw: Raw) -> None:
    """A whole answer of success, whose JSON is not whole; errors are left alone."""
    server.faults.add(Fault.garbled_json(times=2))
    head, body, was_reset = await talk(server, "GET", "/batches")
    assert (head.startswith("HTTP/1.1 200"), header(head, "content-length"), was_reset) == (True, str(len(body)), False)
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    assert check_error((await raw("GET", "/batches/x"))[1])


@shows("blank_file_ids", "lying_counts", "null_counts", "unknown_status")
async def test_records_with_wrong_values(server: BatchServer, raw: Raw) -> None:
    """Faults of records meet in one answer, and touch the batches of a page as well as one alone."""
    (batch_id,) = await batches(server, raw, 1)
    server.store.batches.items[batch_id].counts.total = 9
    server.faults.add(
        Fault.blank_file_ids(times=2), Fault.unknown_status("on_hold", times=2), Fault.lying_counts(times=2)
    )
    for body in [await page(raw), (await raw("GET", f"/batches/{batch_id}"))[1]]:
        batch = body["data"][0] if "data" in body else body
        assert (batch["output_file_id"], batch["error_file_id"], batch["status"]) == ("", "", "on_hold")
        assert batch["request_counts"] == {"total": 9, "completed": 9, "failed": 0}
    server.faults.add(Fault.null_counts(), Fault.null_counts(has_members=True, after_n=1))
    assert (await raw("GET", f"/batches/{batch_id}"))[1]["request_counts"] is None
    counts = (await raw("GET", f"/batches/{batch_id}"))[1]["request_counts"]
    assert counts == {"total": None, "completed": None, "failed": None}
    assert (await raw.batch(batch_id))["request_counts"]["completed"] == 0


@shows("empty_page")
async def test_an_empty_page_that_is_not_the_last(server: BatchServer, raw: Raw) -> None:
    """No items and `has_more`, with a cursor that leads on or without one."""
    _, second, third = await batches(server, raw, 3)
    server.faults.add(Fault.empty_page(), Fault.empty_page(has_cursor=False, after_n=1))
    empty = await page(raw)
    assert (empty["data"], empty["has_more"], empty["last_id"]) == ([], True, second)
    assert [item["id"] for item in (await page(raw, f"after={second}"))["data"]] == []
    empty = await page(raw, f"after={second}")
    assert [item["id"] for item in empty["data"]] == [third]


@shows("stuck_cursor", "overlapping_pages", "always_has_more")
async def test_pages_that_repeat_themselves(server: BatchServer, raw: Raw) -> None:
    """The cursor is ignored; a page begins with the end of the one before; the last page has more."""
    first, second, third = await batches(server, raw, 3)
    server.faults.add(Fault.stuck_cursor())
    assert [item["id"] for item in (await page(raw, f"limit=1&after={second}"))["data"]] == [first]
    server.faults.add(Fault.overlapping_pages(times=None), Fault.always_has_more(times=2))
    assert [item["id"] for item in (await page(raw))["data"]] == [first, second]
    overlap = await page(raw, f"after={second}")
    assert [item["id"] for item in overlap["data"]] == [second, third]
    assert (overlap["first_id"], overlap["has_more"]) == (second, True)
    end = await page(raw, f"after={third}")
    assert ([item["id"] for item in end["data"]], end["has_more"]) == ([third], False)
    assert (await page(raw, f"after={third}"))["data"] == []


@shows("missing_has_more", "missing_page_ids")
async def test_pages_without_cursors_or_ends(server: BatchServer, raw: Raw) -> None:
    """The fields are not null, they are not there; listings of files are struck too."""
    server.faults.add(Fault.missing_has_more(times=2), Fault.missing_page_ids())
    assert set(await page(raw)) == {"object", "data"}
    assert set((await raw("GET", "/files"))[1]) == {"object", "data", "first_id", "last_id"}


@shows("unlisted_batch")
async def test_young_batches_are_not_listed_at_first(server: BatchServer, raw: Raw) -> None:
    """A listing shows what is old enough; a batch that is asked for is there."""
    (old,) = await batches(server, raw, 1)
    await server.advance(seconds=100)
    young, _ = await batches(server, raw, 2)
    server.faults.add(Fault.unlisted_batch(times=3))
    shown = await page(raw, "limit=10")
    assert ([item["id"] for item in shown["data"]], shown["first_id"], shown["last_id"]) == ([old], old, old)
    shown = await page(raw, "limit=1")
    assert (shown["data"], shown["first_id"], shown["last_id"], shown["has_more"]) == ([], None, young, True)
    shown = await page(raw, f"after={old}")
    assert (shown["data"], shown["last_id"]) == ([], None)
    assert (await raw.batch(young))["id"] == young
    assert len((await page(raw, "limit=10"))["data"]) == 3
