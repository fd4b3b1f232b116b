"""Hostile requests: names, forms, JSON, queries and keys that make no sense are a 4xx, and leave nothing behind."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.asking import CHAT, Raw, check_error
from support.hostile import FILE_PART, FORM, JSON, KEY, send, unharmed

from openai_batches.emulator import BatchServer

MAYBE = 1


@pytest.fixture
async def server(caplog: pytest.LogCaptureFixture) -> AsyncIterator[BatchServer]:
    async with unharmed(caplog) as running:
        yield running


NAMES = [
    ("../../etc/passwd.jsonl", "../../etc/passwd.jsonl"),
    ("/etc/passwd.jsonl", None),
    ("C:\\\\in.jsonl", None),
    ("a\x01\x1f\x7f.jsonl", MAYBE),
    ("a\tb.jsonl", None),
    ("\ud800.jsonl", "???.jsonl"),
    ("\u202egnp.jsonl", "\u202egnp.jsonl"),
    ("." * 7_000 + ".jsonl", None),
    ("n" * 100_000 + ".jsonl", 400),
    ("a\x00b.jsonl", 400),
    ("a\r\nX: y.jsonl", 400),
]


@pytest.mark.parametrize(("name", "expected"), NAMES, ids=[ascii(row[0])[:30] for row in NAMES])
async def test_hostile_file_names(server: BatchServer, name: Any, expected: Any) -> None:
    """A file name is a label, whatever it says: it comes back as JSON, or the form is refused."""
    label = name.encode("utf-8", "surrogatepass")
    body = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    body += FILE_PART.replace(b"a.jsonl", label) + b"{}\n\r\n--b--\r\n"
    ((status, _, answer),) = await send(server, FORM + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    shown = json.loads(answer)
    if expected == 400 or (expected == MAYBE and status == 400):
        assert status == 400
        check_error(shown)
    else:
        assert status == 200, shown
        assert expected in {None, MAYBE, shown["filename"]}
        assert [path.suffix for path in server.store.folder.iterdir()] == [".spool"]


def file_part(header: bytes) -> bytes:
    return FILE_PART.replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n\r\n") + b"{}\r\n--b--\r\n"


FORMS = [
    ("thousands of parts", b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nx\r\n' * 5_000),
    ("thousands of unnamed parts", b"--b\r\n\r\n\r\n" * 5_000),
    ("a part with a long head", b"--b\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"),
    ("a part with many heads", b"--b\r\n" + b"X: y\r\n" * 50_000 + b"\r\n"),
    ("a part in a part", b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n" * 500),
    ("a part in itself", b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 500),
    ("another boundary", b'--c\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--c--\r\n'),
    ("no boundary", b"x" * 200_000),
    ("an end before the start", b"--b--\r\n" + FILE_PART),
    ("a length in the part", file_part(b"Content-Length: 99999999999")),
    ("a negative length in the part", file_part(b"Content-Length: -1")),
    ("an odd length in the part", file_part(b"Content-Length: x")),
    ("an encoded part", file_part(b"Content-Transfer-Encoding: what")),
]


@pytest.mark.parametrize("body", [row[1] for row in FORMS], ids=[row[0] for row in FORMS])
@pytest.mark.parametrize("path", ["/files", "/uploads"])
async def test_hostile_forms(server: BatchServer, body: Any, path: Any) -> None:
    """A form that is none is refused, or its connection reset while it goes on; no file stays."""
    head = FORM
    if path == "/uploads":
        wanted = json.dumps({"filename": "a.jsonl", "purpose": "batch", "bytes": 5, "mime_type": "text/jsonl"}).encode()
        sent = JSON.replace(b"/batches", b"/uploads") + b"Content-Length: %d\r\n\r\n" % len(wanted) + wanted
        upload = json.loads((await send(server, sent))[0][2])["id"]
        head = FORM.replace(b"/v1/files", f"/v1/uploads/{upload}/parts".encode())
    answers = await send(server, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    for status, _, answer in answers:
        assert status == 400
        check_error(json.loads(answer))


BOMBS = [
    b"[" * 500_000,
    b'{"a":' * 100_000,
    b'{"metadata":' * 5_000 + b"{}" + b"}" * 5_000,
    b'{"bytes": ' + b"9" * 900_000 + b"}",
    b'{"bytes": 1e999}',
    b'{"bytes": -1e999}',
    b'{"bytes": 1e308}',
    b'{"bytes": NaN}',
    b'{"bytes": 18446744073709551616}',
    b'{"a": "\\ud800"}',
    b'{"\\u0000": "\\u0000"}',
    b"\xef\xbb\xbf{}",
    '{"endpoint": "x"}'.encode("utf-16"),
    b'{"endpoint": "\xff"}',
    b'{"input_file_id": "a", "input_file_id": 5}',
    b"{" + b",".join(b'"k%d":1' % number for number in range(60_000)) + b"}",
    b"{} {}",
    b"{}" + b" " * 900_000,
    b'"' + b"x" * 900_000 + b'"',
]


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
async def test_json_bombs(server: BatchServer, raw: Raw, bomb: Any) -> None:
    """Deep, huge, doubled and foreign JSON is a 400 wherever JSON is taken."""
    wanted = {"filename": "a.jsonl", "purpose": "batch", "bytes": 5, "mime_type": "text/jsonl"}
    upload = (await raw("POST", "/uploads", json=wanted))[1]["id"]
    for path in ("/batches", "/uploads", f"/uploads/{upload}/complete"):
        status, body, _ = await raw("POST", path, data=bomb, headers={"Content-Type": "application/json"})
        assert status == 400
        check_error(body)
    await raw.session.close()


VALUES: list[Any] = [None, True, 0, -1, 2**63, 1.5, "", "x", "\x00", "é" * 600, [], [None], [[]], {}, {"a": None}]
GOOD: dict[str, dict[str, Any]] = {
    "/batches": {
        "input_file_id": "file-x",
        "endpoint": CHAT,
        "completion_window": "24h",
        "metadata": {"a": "b"},
        "output_expires_after": {"anchor": "created_at", "seconds": 3600},
    },
    "/uploads": {
        "filename": "a.jsonl",
        "purpose": "batch",
        "bytes": 5,
        "mime_type": "text/jsonl",
        "expires_after": {"anchor": "created_at", "seconds": 3600},
    },
    "/uploads/ID/complete": {"part_ids": [], "md5": "0" * 32},
}


@pytest.mark.parametrize("path", GOOD)
async def test_wrong_types_everywhere(server: BatchServer, raw: Raw, path: Any) -> None:
    """Each parameter, and each member of one, takes every JSON value that does not belong there as a 400."""
    good = GOOD[path]
    upload = (await raw("POST", "/uploads", json=GOOD["/uploads"]))[1]["id"]
    for name, right in good.items():
        inner = [{**right, key: value} for key in right for value in VALUES] if isinstance(right, dict) else []
        for value in [*VALUES, *inner, ["part_x", 5]]:
            status, body, _ = await raw("POST", path.replace("ID", upload), json={**good, name: value})
            assert status in {200, 400}, (name, value)
            if status == 400:
                check_error(body)
    await raw.session.close()


QUERIES = [
    "limit=%00",
    "limit=%EF%BC%91",
    "limit=1e1",
    "limit=%2B1",
    "limit=%201",
    "limit=0x1",
    "limit=",
    "limit=1&limit=x",
    "limit=" + "1" * 4_000,
    "after=" + "x" * 7_000,
    "after=%FF%FE",
    "after=..%2F..",
    "after=a&after=b",
    "order=%00",
    "&&&=&=",
    "limit[]=5",
    "%",
]


@pytest.mark.parametrize("query", QUERIES, ids=[query[:20] for query in QUERIES])
@pytest.mark.parametrize("path", ["/batches", "/files"])
async def test_hostile_queries(server: BatchServer, query: Any, path: Any) -> None:
    """A query string that says nothing useful is a 400, or is not looked at."""
    answers = await send(server, f"GET /v1{path}?{query} HTTP/1.1\r\n".encode() + KEY + b"\r\n")
    (status, _, body) = answers[0]
    assert status in {200, 400}
    if status == 400:
        check_error(json.loads(body))


async def test_hostile_keys(server: BatchServer) -> None:
    """A key is any text; one that is none is refused, and no header of a request breaks the answer."""
    for value, expected in [
        (b"Bearer " + b"k" * 5_000, 200),
        (b"Bearer \xff\xfe", 200),
        (b"Bearer ../../x", 200),
        (b"Bearer", 401),
        (b"\xff", 401),
    ]:
        sent = b"GET /v1/batches HTTP/1.1\r\nHost: x\r\nAuthorization: " + value + b"\r\n\r\n"
        assert [answer[0] for answer in await send(server, sent)] == [expected]
