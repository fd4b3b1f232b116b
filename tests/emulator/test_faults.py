"""Each fault as a client sees it on the wire."""

import asyncio
from typing import Any

import aiohttp
import openai
import pytest
from support.asking import MakeRaw, Raw, chat_file, check_error

from openai_batches.emulator import BatchServer, Fault

CREATE = {"input_file_id": "file-x", "endpoint": "/v1/chat/completions", "completion_window": "24h"}


async def test_a_lost_answer_comes_after_the_change(server: BatchServer, raw: Raw) -> None:
    """The batch is made, and the connection is reset without an answer."""
    server.faults.add(Fault.lost_answer(method="POST"))
    with pytest.raises(aiohttp.ClientConnectionError):
        await raw("POST", "/batches", json=CREATE)
    assert len(server.store.batches.items) == 1
    assert [record.status for record in server.requests] == [None]
    assert (await raw("POST", "/batches", json=CREATE))[0] == 200


async def test_a_reset_before_changes_nothing(server: BatchServer, raw: Raw) -> None:
    """The connection is reset and nothing is made."""
    server.faults.add(Fault.reset_before(times=2))
    for _ in range(2):
        with pytest.raises(aiohttp.ClientConnectionError):
            async with aiohttp.ClientSession() as session, session.post(f"{server.base_url}/batches", json=CREATE):
                pass
    assert server.store.batches.items == {}


@pytest.mark.parametrize(("html", "status"), [(False, 500), (True, 503)])
async def test_errors_before_and_after(server: BatchServer, raw: Raw, html: Any, status: Any) -> None:
    """An error may come before the act or in spite of it, as JSON or as a proxy's page."""
    server.faults.add(Fault.error_before(status, html=html), Fault.error_after(status, html=html))
    for made in (0, 1):
        got, body, answer = await raw("POST", "/batches", json=CREATE)
        assert (got, len(server.store.batches.items)) == (status, made)
        assert answer.headers["x-request-id"].startswith("req_")
        assert body.startswith(b"<html>") if html else check_error(body)["type"] == "server_error"


async def test_hanging_ends_with_the_client(server: BatchServer, raw: Raw) -> None:
    """The act is done and the answer never comes; the client's timeout ends it."""
    server.faults.add(Fault.hang_after())
    with pytest.raises(asyncio.TimeoutError):
        await raw("POST", "/batches", json=CREATE, timeout=aiohttp.ClientTimeout(total=2))
    assert len(server.store.batches.items) == 1


async def test_hanging_ends_with_the_server(make_raw: MakeRaw) -> None:
    """A server that closes does not wait for those whom it keeps waiting."""
    server = await BatchServer(faults=[Fault.hang_after()]).start()
    waiting = asyncio.create_task(make_raw(server)("GET", "/batches"))
    while not server.requests:  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.005)
    await asyncio.wait_for(server.close(), 60)
    with pytest.raises(aiohttp.ClientConnectionError):
        await waiting


@pytest.mark.parametrize(
    ("given", "headers"),
    [
        ({}, {}),
        ({"retry_after_s": 2}, {"Retry-After": "2"}),
        ({"retry_after_ms": 20, "retry_after_s": 0.5}, {"retry-after-ms": "20", "Retry-After": "0.5"}),
    ],
)
async def test_rate_limits(server: BatchServer, raw: Raw, given: Any, headers: Any) -> None:
    """A 429 comes with the waiting headers that were asked for, and with no others."""
    server.faults.add(Fault.rate_limited(**given))
    status, body, answer = await raw("GET", "/batches")
    assert (status, check_error(body)["code"]) == (429, "rate_limit_exceeded")
    assert {name: answer.headers[name] for name in ("Retry-After", "retry-after-ms") if name in answer.headers} == (
        headers
    )


async def test_the_official_client_waits_out_a_rate_limit(server: BatchServer) -> None:
    """The official package repeats after 429 and arrives."""
    server.faults.add(Fault.rate_limited(retry_after_ms=5, times=2))
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="sk-a") as client:
        assert (await client.batches.list()).data == []
    assert [record.headers["x-stainless-retry-count"] for record in server.requests] == ["0", "1", "2"]


async def test_a_file_is_not_found_once(server: BatchServer, raw: Raw) -> None:
    """The first create does not find its file, the second does; what is no JSON is not found either."""
    server.faults.add(Fault.file_not_found_once(times=2))
    assert (await raw("POST", "/batches", data=b"nonsense"))[0] == 400
    file = await raw.upload(chat_file(1))
    status, body, _ = await raw("POST", "/batches", json={**CREATE, "input_file_id": file["id"]})
    error = check_error(body)
    assert (status, error["param"], error["code"]) == (400, "file_id", None)
    assert error["message"].startswith(f"Cannot find file {file['id']}, or organization ")
    await raw.create(file["id"])


async def test_a_body_is_cut(server: BatchServer, raw: Raw) -> None:
    """The head announces everything, half of it comes, then the connection is reset."""
    file = await raw.upload(chat_file(100))
    for path, length in [(f"/files/{file['id']}/content", file["bytes"]), ("/batches", None), ("/nothing", None)]:
        server.faults.add(Fault.cut_body(path=f"{path}$"))
        headers = {"Authorization": "Bearer sk-alice"}
        async with raw.session.get(server.base_url + path, headers=headers) as answer:
            announced = int(answer.headers["Content-Length"])
            assert length in {None, announced}
            received = bytearray()
            with pytest.raises(aiohttp.ClientError):  # noqa: PT012 - what came before the break counts
                async for chunk in answer.content.iter_any():
                    received += chunk
            assert len(received) == announced // 2


async def test_a_reset_connection_is_not_cut(server: BatchServer, raw: Raw) -> None:
    """An answer that is already broken stays as it is, and an unread file is closed."""
    file = await raw.upload(chat_file(1))
    server.faults.add(Fault.lost_answer(path="content", times=2), Fault.error_after(502, path="content"))
    # Twice, since aiohttp's client repeats a GET by itself.
    with pytest.raises(aiohttp.ClientConnectionError):
        await raw("GET", f"/files/{file['id']}/content")
    assert (await raw("GET", f"/files/{file['id']}/content"))[0] == 502


async def test_a_reset_connection_has_no_body(server: BatchServer, raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is lost already is not cut."""

    def lost(*_: Any) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(server.store.batches, "get", lost)
    server.faults.add(Fault.cut_body(times=None))
    with pytest.raises(aiohttp.ClientConnectionError):
        await raw("GET", "/batches/x")


async def test_selection(server: BatchServer, raw: Raw) -> None:
    """Faults are chosen by method, path, number and chance, and can be taken away."""
    fault = Fault.error_before(method="GET", path=r"^/v1/batches$", after_n=1, times=2)
    server.faults.add(fault)
    statuses = [(await raw("GET", path))[0] for path in ["/files", *["/batches"] * 5]]
    assert statuses == [200, 200, 500, 500, 200, 200]
    assert (fault.fired, list(server.faults), len(server.faults)) == (2, [fault], 1)
    server.faults.clear()
    server.faults.add(Fault("error_before", probability=0.5, seed=3, times=None))
    statuses = [(await raw("GET", "/batches"))[0] for _ in range(40)]
    assert 8 < statuses.count(500) < 32
    server.faults.clear()
    assert len(server.faults) == 0
    assert (await raw("GET", "/batches"))[0] == 200


def test_a_fault_that_does_not_exist() -> None:
    """A wrong kind or pattern is refused where it is written."""
    with pytest.raises(ValueError, match=r"there are always_has_more, .*cut_body, "):
        Fault("gremlins")
    with pytest.raises(ValueError, match="no regular expression"):
        Fault.lost_answer(path="(")
