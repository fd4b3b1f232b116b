"""How much a project may keep, through deletion, expiry, restarts and uploads that come at once."""

import asyncio
import io
from pathlib import Path

import pytest
from support.asking import MakeRaw, Raw, form

from openai_batches.emulator import BatchServer, SteppedClock

EXPIRY = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}


async def try_upload(raw: Raw, content: bytes = b"{}\n") -> int:
    status, _, _ = await raw("POST", "/files", data=form(content, purpose="batch"))
    return status


async def test_expired_files_do_not_count(make_raw: MakeRaw) -> None:
    """What has expired does not count from that very second."""
    async with BatchServer(clock=SteppedClock(), max_project_bytes=7) as server:
        raw = make_raw(server)
        await raw.upload(b"{}\n", **EXPIRY)
        await raw.upload(b"{ }\n")
        await server.advance(seconds=3_599)
        assert await try_upload(raw) == 400
        await server.advance(seconds=1)
        assert await try_upload(raw) == 200
        assert await try_upload(raw) == 400


async def test_bytes_after_a_restart(make_raw: MakeRaw, tmp_path: Path) -> None:
    """A data folder's files count in the next run, too; those whose bytes are gone do not."""
    async with BatchServer(clock=SteppedClock(), data=tmp_path) as server:
        raw = make_raw(server)
        await raw.upload(b"{}\n")
        lost = await raw.upload(b"{ }\n")
        server.store.files.items[lost["id"]].path.unlink()
    async with BatchServer(clock=SteppedClock(), data=tmp_path, max_project_bytes=7) as server:
        assert await try_upload(make_raw(server), b"{  }\n") == 400
        assert await try_upload(make_raw(server), b"{ }\n") == 200
        assert await try_upload(make_raw(server)) == 400


async def test_uploads_at_the_same_time_count_each_other(
    make_raw: MakeRaw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of uploads at the same time, no more are accepted than the limit allows."""
    async with BatchServer(clock=SteppedClock(), data=tmp_path, max_project_bytes=7) as server:
        raw, secure, all_here = make_raw(server), server.store.secure, asyncio.Barrier(4)

        async def secure_together(*paths: Path) -> None:
            await secure(*paths)
            await all_here.wait()

        monkeypatch.setattr(server.store, "secure", secure_together)
        answers = await asyncio.gather(*(try_upload(raw) for _ in range(4)))
        assert sorted(answers) == [200, 200, 400, 400]


async def test_uploads_in_parts_count_when_they_are_complete(make_raw: MakeRaw) -> None:
    """Two files that were within the limit when they were announced may exceed it when they are complete."""
    async with BatchServer(clock=SteppedClock(), max_project_bytes=5) as server:
        raw = make_raw(server)
        wanted = {"filename": "a.jsonl", "purpose": "batch", "bytes": 3, "mime_type": "text/jsonl"}
        announced = [(await raw("POST", "/uploads", json=wanted))[1]["id"] for _ in range(2)]
        statuses = []
        for upload in announced:
            _, part, _ = await raw("POST", f"/uploads/{upload}/parts", data={"data": io.BytesIO(b"{}\n")})
            path = f"/uploads/{upload}/complete"
            statuses.append((await raw("POST", path, json={"part_ids": [part["id"]]}))[0])
        assert statuses == [200, 400]
