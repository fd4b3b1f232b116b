"""Files and uploads in parts."""

import hashlib
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.asking import MakeRaw, Raw, chat_file, check_error, check_file, check_page, form

from openai_batches.emulator import BatchServer, SteppedClock


async def test_a_file_and_its_end(server: BatchServer, raw: Raw) -> None:
    """An upload is a processed file that can be read, downloaded and deleted; batch input lives 30 days."""
    content = chat_file(3)
    file = await raw.upload(content)
    assert (file["bytes"], file["filename"], file["purpose"]) == (len(content), "in.jsonl", "batch")
    assert file["expires_at"] - file["created_at"] == 2_592_000
    assert file["status"] == "processed"
    assert (await raw("GET", f"/files/{file['id']}"))[1] == file
    assert await raw.content(file["id"]) == content
    assert (await raw("DELETE", f"/files/{file['id']}"))[1] == {"id": file["id"], "object": "file", "deleted": True}
    for method, path in [("GET", ""), ("GET", "/content"), ("DELETE", "")]:
        status, body, _ = await raw(method, f"/files/{file['id']}{path}")
        assert (status, check_error(body)["param"]) == (404, "id")
    assert list(server.store.folder.iterdir()) == []


async def test_expiry(server: BatchServer, raw: Raw) -> None:
    """`expires_after` shortens a life; files of other purposes have none that ends."""
    policy = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    short = await raw.upload(chat_file(1), **policy)
    assert short["expires_at"] == short["created_at"] + 3600
    ever = await raw.upload(b"", purpose="user_data", filename="x")
    assert ever["expires_at"] is None
    await server.advance(hours=1)
    assert (await raw("GET", f"/files/{short['id']}"))[0] == 404
    assert [file["id"] for file in (await raw("GET", "/files"))[1]["data"]] == [ever["id"]]
    for change in ({"expires_after[seconds]": "x"}, {"expires_after[seconds]": "5"}, {"expires_after[anchor]": "now"}):
        data = form(chat_file(1), purpose="batch", **{**policy, **change})
        status, body, _ = await raw("POST", "/files", data=data)
        assert (status, check_error(body)["param"].split(".")[0]) == (400, "expires_after")
    data = form(chat_file(1), purpose="batch", **{"expires_after[seconds]": "3600"})
    assert (await raw("POST", "/files", data=data))[1]["error"]["param"] == "expires_after.anchor"


async def test_listing(server: BatchServer, raw: Raw) -> None:
    """Files are listed by purpose, in both orders, page by page, also while they are deleted."""
    check_page((await raw("GET", "/files"))[1], check_file, ids_are_strings=True)
    made = [(await raw.upload(chat_file(1)))["id"] for _ in range(5)]
    other = (await raw.upload(b"x", purpose="evals", filename="x"))["id"]
    for query, expected, more in [
        ({}, [other, *made[::-1]], False),
        ({"order": "asc", "limit": "2"}, made[:2], True),
        ({"purpose": "batch", "after": made[2]}, made[1::-1], False),
        ({"purpose": "evals", "order": "asc"}, [other], False),
        ({"purpose": "vision"}, [], False),
    ]:
        _, page, _ = await raw("GET", "/files", params=query)
        assert ([file["id"] for file in page["data"]], page["has_more"]) == (expected, more)
    for query, param in [({"limit": "0"}, "limit"), ({"limit": "10001"}, "limit"), ({"order": "up"}, "order")]:
        status, body, _ = await raw("GET", "/files", params=query)
        assert (status, check_error(body)["param"]) == (400, param)
    await raw("DELETE", f"/files/{made[2]}")
    _, page, _ = await raw("GET", "/files", params={"after": made[2], "order": "asc"})
    assert [file["id"] for file in page["data"]] == [made[3], made[4], other]
    status, body, _ = await raw("GET", "/files", params={"after": "file-gone"})
    assert (status, check_error(body)["param"]) == (400, "after")


@pytest.mark.parametrize("purpose", ["assistants", "user_data"])
async def test_what_cannot_be_downloaded(raw: Raw, purpose: Any) -> None:
    """Files of some purposes keep their content to themselves."""
    file = await raw.upload(b"x", purpose=purpose, filename="x")
    status, body, _ = await raw("GET", f"/files/{file['id']}/content")
    assert (status, body["error"]["message"]) == (400, f"Not allowed to download files of purpose: {purpose}")


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=0-0", 206, slice(0, 1)),
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=-99999999", 206, slice(None)),
        ("bytes=5-99999999", 206, slice(5, None)),
        ("bytes=3-2", 200, slice(None)),
        ("bytes=-", 200, slice(None)),
        ("bytes=0-1,3-4", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
        ("bytes=99999999-", 416, None),
        ("bytes=-0", 416, None),
    ],
)
async def test_ranges(raw: Raw, asked: Any, status: Any, expected: Any) -> None:
    """One range of bytes is served; what is no range is ignored, and what lies outside is a 416."""
    content = chat_file(2000)
    file = await raw.upload(content)
    got, body, answer = await raw("GET", f"/files/{file['id']}/content", headers={"Range": asked})
    assert got == status
    if expected is None:
        assert answer.headers["Content-Range"] == f"bytes */{len(content)}"
        check_error(body)
        return
    assert body == content[expected]
    assert int(answer.headers["Content-Length"]) == len(body)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    if status == 206:
        first = range(len(content))[expected].start
        last = range(len(content))[expected].stop - 1
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(content)}"


async def test_if_range(raw: Raw) -> None:
    """A range is served only as long as the strong tag still fits; otherwise the whole file comes."""
    file = await raw.upload(chat_file(5))
    path = f"/files/{file['id']}/content"
    tag = (await raw("GET", path))[2].headers["ETag"]
    assert not tag.startswith("W/")
    for given, status in [(tag, 206), ('"other"', 200), ("Sun, 06 Nov 1994 08:49:37 GMT", 200)]:
        assert (await raw("GET", path, headers={"Range": "bytes=3-", "If-Range": given}))[0] == status


async def test_a_file_too_large(make_raw: MakeRaw) -> None:
    """An upload beyond the limit is read to its end and refused."""
    async with BatchServer(clock=SteppedClock(), max_file_bytes=3_000_000) as server:
        raw = make_raw(server)
        line = chat_file(1)
        await raw.upload(line * (3_000_000 // len(line)))
        status, body, _ = await raw("POST", "/files", data=form(line * 40_000, purpose="batch"))
        assert (status, body["error"]["message"]) == (400, "File is too large.")
        assert len(list(server.store.folder.iterdir())) == 1


async def test_a_download_that_is_left(server: BatchServer, raw: Raw) -> None:
    """A client that goes away in the middle of a download does no harm."""
    file = await raw.upload(chat_file(1) * 200_000)
    headers = {"Authorization": "Bearer sk-alice"}
    async with raw.session.get(f"{server.base_url}/files/{file['id']}/content", headers=headers) as answer:
        await answer.content.readexactly(10)
        answer.close()
    assert (await raw("GET", "/batches"))[0] == 200


UPLOAD = {"filename": "in.jsonl", "purpose": "batch", "mime_type": "application/jsonl"}


def part(data: Any) -> Any:
    made = aiohttp.FormData()
    made.add_field("data", data, filename="upload")
    return made


async def start_upload(raw: Raw, *parts: Any, **changes: Any) -> Any:
    size = sum(map(len, parts))
    status, upload, _ = await raw("POST", "/uploads", json={**UPLOAD, "bytes": size, **changes})
    assert (status, upload["status"], upload["file"]) == (200, "pending", None)
    assert upload["expires_at"] == upload["created_at"] + 3600
    ids = []
    for data in parts:
        status, body, _ = await raw("POST", f"/uploads/{upload['id']}/parts", data=part(data))
        assert (status, body["object"], body["upload_id"]) == (200, "upload.part", upload["id"])
        ids.append(body["id"])
    return upload["id"], ids


async def test_parts_become_a_file(server: BatchServer, raw: Raw) -> None:
    """Parts are joined in the order of the completing call, whatever order they came in."""
    content = chat_file(4)
    upload, ids = await start_upload(raw, content[100:], content[:100])
    md5 = hashlib.md5(content).hexdigest()
    _, body, _ = await raw("POST", f"/uploads/{upload}/complete", json={"part_ids": ids[::-1], "md5": md5})
    assert body["status"] == "completed"
    check_file(body["file"])
    assert await raw.content(body["file"]["id"]) == content
    assert len(list(server.store.folder.iterdir())) == 1
    for verb in ("complete", "cancel"):
        assert (await raw("POST", f"/uploads/{upload}/{verb}", json={"part_ids": ids}))[0] == 400
    assert (await raw("POST", f"/uploads/{upload}/parts", data=part(b"x")))[0] == 400


async def test_an_upload_that_expires_while_it_is_joined(
    server: BatchServer, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It expires, although its parts were all there, and leaves no file."""
    upload, ids = await start_upload(raw, b"{}", b"\n")

    async def take_an_hour(*_: Path) -> None:
        server.clock.move_to(server.clock.now() + 3600)
        server.store.give_up_uploads(server.clock.now())

    monkeypatch.setattr(server.store, "secure", take_an_hour)
    status, body, _ = await raw("POST", f"/uploads/{upload}/complete", json={"part_ids": ids})
    assert (status, "'expired'" in check_error(body)["message"]) == (400, True)
    assert (list(server.store.folder.iterdir()), server.store.files.items) == ([], {})


async def test_uploads_that_do_not_fit(server: BatchServer, raw: Raw) -> None:
    """Wrong sizes, sums, parts and contents are refused and leave the upload pending."""
    upload, ids = await start_upload(raw, b"nonsense")
    path = f"/uploads/{upload}/complete"
    for wanted, param in [
        ({}, "part_ids"),
        ({"part_ids": "x"}, "part_ids"),
        ({"part_ids": ["x"]}, "part_ids"),
        ({"part_ids": [1]}, "part_ids"),
        ({"part_ids": ids * 2}, "part_ids"),
        ({"part_ids": []}, "bytes"),
        ({"part_ids": ids, "md5": "0"}, "md5"),
        ({"part_ids": ids, "md5": 0}, "md5"),
        ({"part_ids": ids}, None),
        ({"part_ids": ids, "x": 1}, "x"),
    ]:
        status, body, _ = await raw("POST", path, json=wanted)
        assert (status, check_error(body)["param"]) == (400, param)
    assert (await raw("POST", f"/uploads/{upload}/parts", data=aiohttp.FormData({"data": "x"})))[0] == 400
    empty = aiohttp.MultipartWriter("form-data")
    assert (await raw("POST", f"/uploads/{upload}/parts", data=empty))[0] == 400
    await server.advance(hours=1)
    status, body, _ = await raw("POST", path, json={"part_ids": ids})
    assert (status, "'expired'" in body["error"]["message"]) == (400, True)
    assert list(server.store.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"bytes": 8 * 1024**3 + 1}, "bytes", "integer_above_max_value"),
        ({"bytes": -1}, "bytes", "integer_below_min_value"),
        ({"bytes": "1"}, "bytes", "invalid_type"),
        ({"purpose": "lunch"}, "purpose", "invalid_value"),
        ({"mime_type": None}, "mime_type", "invalid_type"),
        ({"colour": "red"}, "colour", "unknown_parameter"),
    ],
)
async def test_uploads_that_cannot_be_announced(raw: Raw, changes: Any, param: Any, code: Any) -> None:
    """An upload of more than 8 GB, or of an unknown kind, is refused at its announcement."""
    status, body, _ = await raw("POST", "/uploads", json={**UPLOAD, "bytes": 1, **changes})
    error = check_error(body)
    assert (status, error["param"], error["code"]) == (400, param, code)
    assert (await raw("POST", "/uploads", json={**UPLOAD, "bytes": 8 * 1024**3}))[0] == 200


async def test_a_part_that_is_too_long(server: BatchServer, raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part may have as many bytes as allowed and no more."""
    monkeypatch.setattr("openai_batches.emulator.http.upload_routes._MAX_PART_BYTES", 3)
    upload, _ = await start_upload(raw, b"abc")
    status, body, _ = await raw("POST", f"/uploads/{upload}/parts", data=part(b"abcd"))
    assert (status, check_error(body)["message"]) == (400, "File is too large.")
    assert len(list(server.store.folder.iterdir())) == 1


async def test_a_part_for_an_upload_that_ends_meanwhile(server: BatchServer, raw: Raw) -> None:
    """A part that arrives after the end of its upload is dropped."""
    upload, _ = await start_upload(raw, b"x")

    async def slow() -> Any:
        yield b'--b\r\nContent-Disposition: form-data; name="data"; filename="u"\r\n\r\nabc'
        await raw("POST", f"/uploads/{upload}/cancel")
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert (await raw("POST", f"/uploads/{upload}/parts", data=slow(), headers=headers))[0] == 400
    assert list(server.store.folder.iterdir()) == []
