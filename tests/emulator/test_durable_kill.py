"""A server that is killed while clients are at work."""

import asyncio
import contextlib
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from support.asking import Raw, chat_file, records

ROUNDS = 4
SERVER = """
import asyncio, sys
from openai_batches.emulator import BatchServer, Timings
async def main():
    timings = Timings(validating_s=2, line_s=0.5, finalizing_s=2, cancelling_s=3)
    async with BatchServer(data=sys.argv[1], speed=200, seed=1, timings=timings) as server:
        print(server.base_url, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
UPLOAD = {"filename": "in.jsonl", "purpose": "batch", "mime_type": "application/jsonl"}
OVER = {"completed", "cancelled", "expired", "failed"}


@attrs.define
class Known:
    """What a client was told, and may rely on."""

    files: dict[str, bytes] = attrs.field(factory=dict)
    deleted: set[str] = attrs.field(factory=set)
    doubtful: set[str] = attrs.field(factory=set)
    batches: dict[str, Any] = attrs.field(factory=dict)
    uploads: dict[str, list[str]] = attrs.field(factory=dict)


@contextlib.asynccontextmanager
async def serving(data: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", "-c", SERVER, str(data), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def act(raw: Raw, known: Known, chance: random.Random) -> None:
    """Do one thing, and take note of what was answered; before a deletion is answered, nobody knows."""
    kind = chance.choice(["upload", "upload", "create", "create", "create", "cancel", "delete", "parts", "read"])
    if kind == "upload":
        content = chat_file(chance.randrange(1, 40))
        known.files[(await raw.upload(content))["id"]] = content
    elif kind == "create" and known.files:
        file_id = chance.choice(list(known.files))
        batch = await raw.create(file_id)
        known.batches[batch["id"]] = batch
    elif kind == "cancel" and known.batches:
        batch_id = chance.choice(list(known.batches))
        status, batch, _ = await raw("POST", f"/batches/{batch_id}/cancel")
        if status == 200:
            known.batches[batch_id] = batch
    elif kind == "delete" and len(known.files) > 3:
        file_id = chance.choice(list(known.files))
        del known.files[file_id]
        known.doubtful.add(file_id)
        assert (await raw("DELETE", f"/files/{file_id}"))[0] == 200
        known.doubtful.remove(file_id)
        known.deleted.add(file_id)
    elif kind == "parts":
        await upload_in_parts(raw, known, chance)
    elif known.batches:
        batch = await raw.batch(chance.choice(list(known.batches)))
        known.batches[batch["id"]] = batch


async def upload_in_parts(raw: Raw, known: Known, chance: random.Random) -> None:
    content = chat_file(3)
    status, upload, _ = await raw("POST", "/uploads", json={**UPLOAD, "bytes": len(content)})
    assert status == 200
    parts = known.uploads[upload["id"]] = []
    for data in (content[:100], content[100:]):
        form = aiohttp.FormData()
        form.add_field("data", data, filename="upload")
        parts.append((await raw("POST", f"/uploads/{upload['id']}/parts", data=form))[1]["id"])
    if chance.random() < 0.5:
        await complete(raw, known, upload["id"], parts, content)


async def complete(raw: Raw, known: Known, upload_id: str, parts: list[str], content: bytes) -> None:
    del known.uploads[upload_id]
    status, body, _ = await raw("POST", f"/uploads/{upload_id}/complete", json={"part_ids": parts})
    # Nobody knows whether a call whose answer was lost has done it; and time may have passed.
    assert status == 200 or "status" in body["error"]["message"]
    if status == 200:
        known.files[body["file"]["id"]] = content


async def check(raw: Raw, known: Known) -> None:
    """Everything that was answered holds."""
    listed = {file["id"] for file in (await raw("GET", "/files"))[1]["data"]}
    assert known.files.keys() <= listed
    assert not known.deleted & listed
    for file_id, content in known.files.items():
        assert await raw.content(file_id) == content
    for batch_id, before in known.batches.items():
        batch = await raw.batch(batch_id)
        for name in ("id", "created_at", "input_file_id", "expires_at"):
            assert batch[name] == before[name]
        for name, value in before.items():
            if name.endswith("_at") and value is not None:
                assert batch[name] == value
        for name in ("completed", "failed"):
            assert batch["request_counts"][name] >= before["request_counts"][name]
        if before["status"] in OVER:
            assert batch == before
        known.batches[batch_id] = batch
    known.uploads = {upload_id: parts for upload_id, parts in known.uploads.items() if len(parts) == 2}
    for upload_id, parts in list(known.uploads.items()):
        await complete(raw, known, upload_id, parts, chat_file(3))


async def check_results(raw: Raw, known: Known) -> None:
    """Every line of every batch that began has exactly one result."""
    for batch_id in known.batches:
        while (batch := await raw.batch(batch_id))["status"] not in OVER:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        lines = []
        for name in ("output_file_id", "error_file_id"):
            if batch[name]:
                lines += [line["custom_id"] for line in records(await raw.content(batch[name]))]
        assert sorted(lines) == sorted(f"r{index}" for index in range(batch["request_counts"]["total"]))
        assert batch["status"] != "failed" or batch["input_file_id"] in known.deleted | known.doubtful


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
async def test_what_was_answered_survives_a_kill(tmp_path: Path, seed: Any) -> None:
    """Whenever the server is killed, all that it answered holds for the next one, and every batch comes to its end."""
    chance, known = random.Random(seed), Known()

    async def work(raw: Raw, done: asyncio.Semaphore) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            while True:
                await act(raw, known, chance)
                done.release()

    async with aiohttp.ClientSession() as session:
        for number in range(ROUNDS):
            async with serving(tmp_path) as (process, base_url):
                raw = Raw(session, base_url, "sk-alice")
                await check(raw, known)
                done = asyncio.Semaphore(0)
                workers = [asyncio.create_task(work(raw, done)) for _ in range(3)]
                acts = chance.randrange(3, 30)
                while acts > 0 or len(known.batches) <= number:
                    await done.acquire()
                    acts -= 1
                await asyncio.sleep(chance.uniform(0, 0.02))
                process.kill()
                await process.wait()
                await asyncio.gather(*workers)
        async with serving(tmp_path) as (process, base_url):
            raw = Raw(session, base_url, "sk-alice")
            await check(raw, known)
            await check_results(raw, known)
    assert len(known.batches) >= ROUNDS
