"""What the server says to whom: framing, keys, listings and bad input."""

import asyncio
import email.utils
import io
import re
import socket
from typing import Any

import aiohttp
import openai
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from support.asking import CHAT, MakeRaw, Raw, chat_file, check_batch, check_error, check_page, form

from openai_batches.emulator import BatchServer, Fault, SteppedClock
from openai_batches.emulator.batches import retention
from openai_batches.emulator.http import batch_routes
from openai_batches.emulator.store.index import Index

JSON = {"Content-Type": "application/json"}


async def test_every_answer_is_framed(server: BatchServer, raw: Raw) -> None:
    """Successes and refusals alike carry a request id, the version and the emulated date."""
    await server.advance(hours=1000)
    for method, path, expected in [
        ("GET", "/batches", 200),
        ("GET", "/batches/none", 404),
        ("GET", "/nothing/here", 404),
        ("PUT", "/batches", 405),
        ("HEAD", "/batches", 405),
        ("POST", "/batches", 400),
    ]:
        status, body, answer = await raw(method, path)
        assert status == expected
        assert re.fullmatch("req_[0-9a-f]{32}", answer.headers["x-request-id"])
        assert answer.headers["openai-version"] == "2020-10-01"
        assert int(answer.headers["openai-processing-ms"]) >= 0
        date = email.utils.parsedate_to_datetime(answer.headers["Date"])
        assert date.timestamp() == server.clock.now()
        if status != 200 and method != "HEAD":
            check_error(body)
        assert server.requests[-1].request_id == answer.headers["x-request-id"]
    assert "Invalid URL (GET /v1/nothing/here)" in str((await raw("GET", "/nothing/here"))[1])
    assert (await raw("PUT", "/batches"))[2].headers["Allow"] == "GET,POST"


async def test_healthz_needs_no_key(server: BatchServer) -> None:
    """A supervisor can ask whether the server lives."""
    url = server.base_url.removesuffix("/v1") + "/healthz"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert (answer.status, (await answer.json())["status"]) == (200, "ok")


async def test_keys(make_raw: MakeRaw) -> None:
    """A missing or foreign key is a 401 that does not repeat the key; the log of requests never holds one."""
    keys = ["sk-right-key-1234"]
    async with BatchServer(api_keys=keys, clock=SteppedClock()) as server:
        assert (await make_raw(server, keys[0])("GET", "/batches"))[0] == 200
        status, body, _ = await make_raw(server, "sk-wrong-key-56789")("GET", "/batches")
        assert (status, check_error(body)["code"]) == (401, "invalid_api_key")
        assert body["error"]["message"].startswith("Incorrect API key provided: sk-wr*********6789. You can")
        _, body, _ = await make_raw(server, "short")("GET", "/batches")
        assert "provided: *****." in body["error"]["message"]
        for header in ("", "Basic abc", "Bearer ", "Bearer"):
            status, body, _ = await make_raw(server)("GET", "/batches", headers={"Authorization": header})
            assert (status, check_error(body)["code"]) == (401, None)
            assert body["error"]["message"].startswith("You didn't provide an API key.")
        assert "key" not in str(server.requests).replace("idempotency-key", "")
        with pytest.raises(openai.AuthenticationError):
            async with openai.AsyncOpenAI(base_url=server.base_url, api_key="sk-wrong") as client:
                await client.batches.list()


async def test_client_request_ids(raw: Raw) -> None:
    """A client's own request id is ASCII of at most 512 characters."""
    for value, expected in [("a" * 512, 200), ("a" * 513, 400), ("é", 400)]:
        assert (await raw("GET", "/batches", headers={"X-Client-Request-Id": value}))[0] == expected


async def test_each_key_sees_its_own(server: BatchServer, make_raw: MakeRaw) -> None:
    """Batches and files of another key do not exist."""
    alice, bob = make_raw(server), make_raw(server, "sk-bob")
    file = await alice.upload(chat_file(1))
    batch = await alice.create(file["id"])
    for path in (f"/batches/{batch['id']}", f"/files/{file['id']}", f"/files/{file['id']}/content"):
        assert (await bob("GET", path))[0] == 404
    assert (await bob("POST", f"/batches/{batch['id']}/cancel"))[0] == 404
    assert (await bob("DELETE", f"/files/{file['id']}"))[0] == 404
    assert (await bob("GET", "/batches"))[1]["data"] == (await bob("GET", "/files"))[1]["data"] == []
    assert (await bob("GET", f"/batches?after={batch['id']}"))[0] == 400
    foreign = await bob.create(file["id"])
    await server.advance(hours=1)
    assert (await bob.batch(foreign["id"]))["errors"]["data"][0]["param"] == "file_id"


async def test_batches_are_listed_newest_first(server: BatchServer, raw: Raw) -> None:
    """Pages follow one another by cursor, without repeats or gaps, though all were made in the same second."""
    file = await raw.upload(chat_file(1))
    made = [(await raw.create(file["id"]))["id"] for _ in range(25)]
    seen, after = [], None
    while True:
        query = {"limit": "10"} | ({"after": after} if after else {})
        _, page, _ = await raw("GET", "/batches", params=query)
        check_page(page, check_batch)
        seen += [batch["id"] for batch in page["data"]]
        if not page["has_more"]:
            break
        after = page["last_id"]
        await raw.create(file["id"])
    assert seen == made[::-1]
    assert len((await raw("GET", "/batches"))[1]["data"]) == 20
    assert server.requests[-1].path == "/v1/batches"


@pytest.mark.parametrize(("choice", "expected"), [("error", None), ("empty", 0), ("restart", 2)])
async def test_an_unknown_cursor(make_raw: MakeRaw, choice: Any, expected: Any) -> None:
    """What a cursor nobody knows does is a choice, since nobody knows what the service does."""
    async with BatchServer(clock=SteppedClock(), unknown_cursor=choice) as server:
        raw = make_raw(server)
        file = await raw.upload(chat_file(1))
        for _ in range(2):
            await raw.create(file["id"])
        status, body, _ = await raw("GET", "/batches?after=batch_gone")
        if expected is None:
            assert (status, check_error(body)["param"]) == (400, "after")
        else:
            assert (status, len(body["data"])) == (200, expected)


async def test_a_page_of_many_costs_a_page(server: BatchServer, raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a page in the middle of 10,000 batches, as few of them are looked at as for the first one."""
    made = [
        server.store.new_batch(scope="sk-alice", now=1_750_000_000, endpoint=CHAT, input_file_id="file-x").id
        for _ in range(10_000)
    ]
    looked_at: list[Any] = []
    is_kept, number = retention.is_kept, Index._number
    monkeypatch.setattr(batch_routes, "is_kept", lambda batch, *rest: looked_at.append(batch) or is_kept(batch, *rest))
    monkeypatch.setattr(Index, "_number", lambda index, batch: looked_at.append(batch) or number(index, batch))
    for index in range(0, 10_000, 1_000):
        looked_at.clear()
        _, page, _ = await raw("GET", "/batches", params={"after": made[index], "limit": "2"})
        assert [batch["id"] for batch in page["data"]] == made[max(0, index - 2) : index][::-1]
        assert len(looked_at) < 20


CREATE = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"}


async def test_metadata_at_its_limits(raw: Raw) -> None:
    """16 pairs with keys of 64 and values of 512 characters are fine, and null is none."""
    metadata = {f"{number:064}": "v" * 512 for number in range(16)}
    assert (await raw.create("file-x", metadata=metadata))["metadata"] == metadata
    assert (await raw.create("file-x", metadata=None, output_expires_after=None))["metadata"] is None


async def test_input_files_that_do_not_fit(make_raw: MakeRaw) -> None:
    """A missing file can be refused at once; a file of another purpose always is."""
    async with BatchServer(clock=SteppedClock(), unknown_input_file="reject") as server:
        raw = make_raw(server)
        status, body, _ = await raw("POST", "/batches", json=CREATE)
        assert (status, body["error"]["param"], body["error"]["code"]) == (400, "file_id", None)
        assert body["error"]["message"].startswith("Cannot find file file-x, or project proj_")
        file = await raw.upload(chat_file(1), purpose="user_data")
        status, body, _ = await raw("POST", "/batches", json={**CREATE, "input_file_id": file["id"]})
        assert (status, check_error(body)["param"]) == (400, "input_file_id")


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a":' * 50_000, b'{"endpoint": NaN}', b'{"metadata":{"a":"\\ud800"}}'],
)
async def test_bodies_that_are_no_json_object(raw: Raw, data: Any) -> None:
    """Whatever is sent instead of a JSON object is a 400."""
    status, body, _ = await raw("POST", "/batches", data=data, headers=JSON)
    assert status == 400
    check_error(body)


async def test_a_body_that_is_not_said_to_be_json(raw: Raw) -> None:
    """Bytes that are JSON, but do not say so, are refused: a client that forgets the header would fail elsewhere."""
    status, body, _ = await raw("POST", "/batches", data=b"{}")
    assert status == 415
    assert "application/json" in check_error(body)["message"]


async def test_a_json_body_has_a_limit(raw: Raw) -> None:
    """A megabyte of parameters is a 413."""
    status, body, _ = await raw("POST", "/batches", data=io.BytesIO(b" " * (1024 * 1024 + 1)), headers=JSON)
    assert status == 413
    check_error(body)


@pytest.mark.parametrize(
    "id", ["..%2F..%2Fetc%2Fpasswd", "%00", "%ff", "a%0d%0aX:%20y", "💥", "'\"", "a" * 4000, "%2e%2e"]
)
async def test_strange_ids(raw: Raw, id: Any) -> None:
    """No id leaves its place in the path, and none breaks an answer."""
    from yarl import URL

    for path in (f"/batches/{id}", f"/files/{id}", f"/files/{id}/content"):
        url = str(URL(raw.base_url + path, encoded="%" in id)).removeprefix(raw.base_url)
        async with raw.session.get(
            URL(raw.base_url + url, encoded=True), headers={"Authorization": "Bearer k"}
        ) as answer:
            assert answer.status == 404
            check_error(await answer.json())


MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}
FULL = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\n\r\n--b--\r\n'
)


@pytest.mark.parametrize(
    ("headers", "data"),
    [
        ({"Content-Type": "multipart/form-data"}, FULL),
        ({"Content-Type": "multipart/form-data; boundary=" + "b" * 80}, FULL),
        ({"Content-Type": "text/plain"}, FULL),
        (MULTIPART, b""),
        (MULTIPART, b"nonsense"),
        (MULTIPART, FULL[:30]),
        (MULTIPART, FULL[:-20]),
        (MULTIPART, FULL.replace(b'name="purpose"', b"nothing")),
        (MULTIPART, FULL.replace(b"\r\n\r\nbatch", b"\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--")),
        (MULTIPART, FULL.replace(b"batch", b"\xff\xfe")),
        (MULTIPART, FULL.replace(b"batch", b"x" * 100_000)),
        (MULTIPART, FULL.replace(b"batch", b"lunch")),
        (MULTIPART, FULL.replace(b'"purpose"', b'"colour"')),
        (MULTIPART, FULL.replace(b'"purpose"', b'"file"')),
        (MULTIPART, FULL[FULL.index(b"--b", 5) :]),
        (MULTIPART, FULL[: FULL.index(b"--b", 5)] + b"--b--\r\n"),
    ],
)
async def test_broken_forms(server: BatchServer, raw: Raw, headers: Any, data: Any) -> None:
    """A form that is cut off, nameless, doubled or of another kind is a 400 and leaves nothing behind."""
    assert (await raw("POST", "/files", headers=MULTIPART, data=FULL))[0] == 200
    status, body, _ = await raw("POST", "/files", headers=headers, data=data)
    assert status == 400
    check_error(body)
    assert len(list(server.store.folder.iterdir())) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(cut=st.integers(0, len(FULL)), noise=st.binary(max_size=30), skip=st.integers(0, 60))
async def test_mutilated_forms_never_crash(raw: Raw, cut: Any, noise: Any, skip: Any) -> None:
    """However a form is damaged, the answer is below 500."""
    data = FULL[:cut] + noise + FULL[cut + skip :]
    status, _, _ = await raw("POST", "/files", headers=MULTIPART, data=data)
    assert status < 500


async def test_an_upload_that_breaks_off(server: BatchServer) -> None:
    """A client that disappears in the middle of an upload leaves nothing behind."""
    server.faults.add(Fault.cut_body())
    host, port = server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = "POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: 999999\r\n"
        connection.sendall(
            f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode() + FULL[:-8] + b"x" * 300_000
        )
        while not list(server.store.folder.iterdir()):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.005)
    while list(server.store.folder.iterdir()):  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.005)
    assert server.store.files.items == {}


async def test_the_order_of_parts_does_not_matter(raw: Raw) -> None:
    """The purpose may come after the file."""
    data = aiohttp.FormData()
    data.add_field("file", chat_file(1), filename="in.jsonl")
    data.add_field("purpose", "batch")
    assert (await raw("POST", "/files", data=data))[0] == 200


@pytest.mark.parametrize(
    "name", ["../../etc/in.jsonl", "ü💥.jsonl", "a b'\".jsonl", "\\..\\x.jsonl", "." * 300 + ".jsonl"]
)
async def test_strange_file_names(server: BatchServer, raw: Raw, name: Any) -> None:
    """A file name is a label: it comes back, and no path is made of it."""
    status, file, _ = await raw("POST", "/files", data=form(chat_file(1), name, purpose="batch"))
    assert status == 200
    assert file["filename"].endswith(".jsonl")
    assert [path.suffix for path in server.store.folder.iterdir()] == [".spool"]


async def test_a_file_name_that_is_no_text(raw: Raw) -> None:
    """Bytes in a file name that are not UTF-8 are replaced."""
    status, file, _ = await raw("POST", "/files", headers=MULTIPART, data=FULL.replace(b"a.jsonl", b"\xff.jsonl"))
    assert (status, file["filename"].endswith(".jsonl")) == (200, True)


async def test_a_bug_inside_is_a_500(
    server: BatchServer, raw: Raw, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the emulator did not foresee is an error object too."""

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(server.store.batches, "get", broken)
    status, body, _ = await raw("GET", "/batches/x")
    assert (status, check_error(body)["type"]) == (500, "server_error")
    assert "ZeroDivisionError" in caplog.text
