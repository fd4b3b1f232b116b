"""What outlives a server that was killed, and how each state goes on."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.asking import CHAT, MakeRaw, Raw, chat_file, chat_line, jsonl, records

from openai_batches.emulator import BatchServer, Fault, RealClock, SteppedClock, Timings

START = 1_750_000_000.0
Serve = Callable[..., Any]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts servers with a data folder and stepped clocks, and closes them."""
    async with AsyncExitStack() as stack:

        async def start(data: Path | None = None, **options: Any) -> BatchServer:
            options = {"clock": SteppedClock(), **options}
            return await stack.enter_async_context(BatchServer(data=data or tmp_path / "data", **options))

        yield start


@pytest.fixture
def kill(tmp_path: Path) -> Callable[[BatchServer], Path]:
    """Returns what a server would leave on disk if it died this moment."""
    count = 0

    def copy(server: BatchServer) -> Path:
        nonlocal count
        count += 1
        assert server.store.folder is not None
        return shutil.copytree(server.store.folder.parent, tmp_path / f"killed{count}")

    return copy


async def test_everything_that_was_answered_is_there(serve: Serve, kill: Any, make_raw: MakeRaw) -> None:
    """Files, batches and their listings are after a crash what they were before, and what was deleted stays deleted."""
    raw = make_raw(server := await serve())
    files = [await raw.upload(chat_file(3), filename=f"{name}.jsonl") for name in "abc"]
    done = await raw.create(files[0]["id"], metadata={"job": "ü"})
    await server.advance(hours=1)
    await raw.create(files[1]["id"])
    await raw("DELETE", f"/files/{files[1]['id']}")
    paths = [
        "/batches",
        "/files",
        f"/batches/{done['id']}",
        f"/files/{files[0]['id']}",
        f"/files?after={files[1]['id']}",
    ]
    before = [(await raw("GET", path))[:2] for path in paths]
    output = before[2][1]["output_file_id"]

    raw = make_raw(after := await serve(kill(server)))
    assert [(await raw("GET", path))[:2] for path in paths] == before
    assert await raw.content(output) == server.store.read(output)
    assert await raw.content(files[2]["id"]) == chat_file(3)
    assert (await raw("GET", f"/files/{files[1]['id']}"))[0] == 404
    assert (await make_raw(after, "sk-bob")("GET", "/files"))[1]["data"] == []


async def test_a_change_whose_answer_was_lost_is_durable(serve: Serve, kill: Any, make_raw: MakeRaw) -> None:
    """A fault loses the answer of what was done, not the deed."""
    raw = make_raw(server := await serve(faults=Fault.lost_answer(method="POST", path="batches")))
    file = await raw.upload(chat_file(1))
    with pytest.raises(aiohttp.ClientError):
        await raw.create(file["id"])
    raw = make_raw(await serve(kill(server)))
    assert len((await raw("GET", "/batches"))[1]["data"]) == 1


async def test_a_batch_in_validation(serve: Serve, kill: Any, make_raw: MakeRaw) -> None:
    """Validation begins anew, and ends when it would have ended."""
    raw = make_raw(server := await serve())
    batch = await raw.create((await raw.upload(chat_file(1)))["id"])
    await server.advance(seconds=2)
    await raw.batch(batch["id"])
    raw = make_raw(server := await serve(kill(server)))
    assert server.clock.now() == START + 2
    await server.advance(seconds=0.9)
    assert (await raw.batch(batch["id"]))["status"] == "validating"
    await server.advance(seconds=0.2)
    batch = await raw.batch(batch["id"])
    assert (batch["status"], batch["in_progress_at"]) == ("finalizing", START + 3)


class Counting:
    """An executor that remembers whom it answered."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, url: str, body: Any, custom_id: str) -> Any:
        self.asked.append(custom_id)
        usage = {"prompt_tokens": 2, "completion_tokens": 1}
        return (200, {"usage": usage}) if custom_id != "r1" else (400, {})


async def test_a_batch_in_progress(serve: Serve, kill: Any, make_raw: MakeRaw) -> None:
    """Lines that have a result keep it, counts and usage are right, and the others come when they would have come."""
    executor, timings = Counting(), Timings(line_s=1)
    raw = make_raw(server := await serve(executor=executor, timings=timings))
    batch = await raw.create((await raw.upload(chat_file(10)))["id"])
    await server.advance(seconds=7.5)
    before = await raw.batch(batch["id"])
    assert before["request_counts"] == {"total": 10, "completed": 3, "failed": 1}
    raw = make_raw(server := await serve(kill(server), executor=executor, timings=timings))
    assert await raw.batch(batch["id"]) == before
    await server.advance(seconds=1)
    assert (await raw.batch(batch["id"]))["request_counts"]["completed"] == 4
    await server.advance(hours=1)
    batch = await raw.batch(batch["id"])
    assert (batch["status"], batch["finalizing_at"], batch["usage"]["total_tokens"]) == ("completed", START + 13, 27)
    assert executor.asked == [f"r{index}" for index in range(10)]
    lines = records(await raw.content(batch["output_file_id"]))
    assert sorted(line["custom_id"] for line in lines) == sorted(set(executor.asked) - {"r1"})


async def test_an_incomplete_line_after_a_crash(serve: Serve, kill: Any, make_raw: MakeRaw) -> None:
    """A half-written result is no result: its line is asked again."""
    raw = make_raw(server := await serve(timings=Timings(line_s=1)))
    batch = await raw.create((await raw.upload(chat_file(4)))["id"])
    await server.advance(seconds=5)
    data = kill(server)
    output = server.store.batches.items[batch["id"]].run.output
    torn = data / "emulator.contents" / output.name
    torn.write_bytes(torn.read_bytes()[:-10])
    raw = make_raw(server := await serve(data, timings=Timings(line_s=1)))
    await server.advance(hours=1)
    batch = await raw.batch(batch["id"])
    assert batch["request_counts"] == {"total": 4, "completed": 4, "failed": 0}
    lines = records(await raw.content(batch["output_file_id"]))
    assert [line["custom_id"] for line in lines] == ["r0", "r1", "r2", "r3"]


async def test_a_result_file_that_is_not_there_yet(serve: Serve, kill: Any, make_raw: MakeRaw) -> None:
    """The place where results will be written is not given to somebody else after a restart."""
    raw = make_raw(server := await serve(timings=Timings(line_s=100)))
    batch = await raw.create((await raw.upload(chat_file(2)))["id"])
    await server.advance(seconds=10)
    raw = make_raw(server := await serve(kill(server), timings=Timings(line_s=100)))
    files = [(await raw.upload(chat_file(1)))["id"] for _ in range(3)]
    await server.advance(hours=1)
    batch = await raw.batch(batch["id"])
    assert len(records(await raw.content(batch["output_file_id"]))) == 2
    assert [await raw.content(file_id) for file_id in files] == [chat_file(1)] * 3


async def test_a_batch_that_is_finalizing(serve: Serve, kill: Any, make_raw: MakeRaw) -> None:
    """The files are there when they would have been there."""
    raw = make_raw(server := await serve(timings=Timings(line_s=0, finalizing_s=100)))
    batch = await raw.create((await raw.upload(chat_file(2)))["id"])
    await server.advance(seconds=60)
    before = await raw.batch(batch["id"])
    assert before["status"] == "finalizing"
    raw = make_raw(server := await serve(kill(server), timings=Timings(finalizing_s=100)))
    assert await raw.batch(batch["id"]) == before
    await server.advance(seconds=100)
    batch = await raw.batch(batch["id"])
    assert (batch["status"], batch["completed_at"]) == ("completed", START + 103)
    assert len(records(await raw.content(batch["output_file_id"]))) == 2


@pytest.mark.parametrize("profile", ["openai", "vllm"])
@pytest.mark.parametrize("wait_s", [1, 10])
async def test_a_batch_that_is_cancelling(
    serve: Serve, kill: Any, make_raw: MakeRaw, wait_s: Any, profile: Any
) -> None:
    """What was done before the cancel counts, and the rest is written down as cancelled."""
    options = {"timings": Timings(line_s=1), "profile": profile}
    raw = make_raw(server := await serve(**options))
    file = (await raw("POST", "/files", data=upload(chat_file(4))))[1]
    wanted = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    batch = (await raw("POST", "/batches", json=wanted))[1]
    await server.advance(seconds=5)
    await raw("POST", f"/batches/{batch['id']}/cancel")
    raw = make_raw(server := await serve(kill(server), **{**options, "clock": SteppedClock(start=START + wait_s)}))
    # After ten seconds the end of the cancelling is due at once: either is right then.
    expected = {"cancelling"} if wait_s == 1 else {"cancelling", "cancelled"}
    assert (await raw("GET", f"/batches/{batch['id']}"))[1]["status"] in expected
    await server.advance(seconds=5)
    batch = server.store.batches.items[batch["id"]]
    assert (batch.status, batch.cancelling_at, batch.cancelled_at) == ("cancelled", START + 5, START + 10)
    assert (batch.counts.completed, batch.counts.failed) == (2, 2)


def upload(content: bytes) -> aiohttp.FormData:
    made = aiohttp.FormData({"purpose": "batch"})
    made.add_field("file", content, filename="in.jsonl")
    return made


async def test_a_window_that_closed_between_two_servers(serve: Serve, kill: Any, make_raw: MakeRaw) -> None:
    """Lines that were due before the window closed are done, the others expired."""
    raw = make_raw(server := await serve(timings=Timings(line_s=43_000)))
    batch = await raw.create((await raw.upload(chat_file(3)))["id"])
    await server.advance(hours=1)
    await raw.batch(batch["id"])
    clock = SteppedClock(start=START + 100_000)
    raw = make_raw(server := await serve(kill(server), clock=clock, timings=Timings(line_s=43_000)))
    await server.settle()
    batch = await raw.batch(batch["id"])
    assert (batch["status"], batch["request_counts"]) == ("expired", {"total": 3, "completed": 2, "failed": 1})
    assert records(await raw.content(batch["error_file_id"]))[0]["error"]["code"] == "batch_expired"


@pytest.mark.parametrize("verb", ["cancel", "expire"])
async def test_a_crash_between_the_results_and_their_files(
    serve: Serve, kill: Any, make_raw: MakeRaw, verb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results that already have the service's style are not taken for those that were being written."""
    options = {"timings": Timings(line_s=40_000), "profile": "vllm"}
    raw = make_raw(server := await serve(**options))
    file = (await raw("POST", "/files", data=upload(chat_file(3))))[1]
    wanted = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    batch_id = (await raw("POST", "/batches", json=wanted))[1]["id"]
    await server.advance(hours=12)
    data: list[Path] = []
    real = server.store.secure

    async def secure(*paths: Path) -> None:
        data.append(kill(server))
        await real(*paths)

    monkeypatch.setattr(server.store, "secure", secure)
    if verb == "cancel":
        await raw("POST", f"/batches/{batch_id}/cancel")
    await server.advance(hours=13)
    raw = make_raw(server := await serve(data[0], **options))
    await server.advance(hours=13)
    batch = server.store.batches.items[batch_id]
    completed = 1 if verb == "cancel" else 2
    assert (batch.status, batch.counts.completed, batch.counts.failed) == (
        f"{verb}led"[:9] if verb == "cancel" else "expired",
        completed,
        3 - completed,
    )
    assert len(records(server.store.read(batch.output_file_id))) == 3


async def test_a_source_that_is_gone_fails_its_batch_alone(
    serve: Serve, kill: Any, make_raw: MakeRaw, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch that cannot be taken up fails; the server lives."""
    raw = make_raw(server := await serve(timings=Timings(line_s=1)))
    file = await raw.upload(chat_file(3))
    gone, fine = await raw.create(file["id"]), await raw.create(file["id"])
    await server.advance(seconds=4)
    await raw.batch(gone["id"])
    data = kill(server)
    (data / "emulator.contents" / server.store.batches.items[gone["id"]].run.source.name).unlink()
    (data / "emulator.contents" / server.store.files.items[file["id"]].path.name).unlink()
    raw = make_raw(server := await serve(data, timings=Timings(line_s=1)))
    assert "are gone" in caplog.text
    assert (await raw("GET", f"/files/{file['id']}"))[0] == 404
    await server.advance(hours=1)
    assert (await raw.batch(gone["id"]))["status"] == "failed"
    assert (await raw.batch(fine["id"]))["status"] == "completed"


UPLOAD = {"filename": "in.jsonl", "purpose": "batch", "mime_type": "application/jsonl"}


async def add_part(raw: Raw, upload_id: str, data: bytes) -> Any:
    form = aiohttp.FormData()
    form.add_field("data", data, filename="upload")
    return await raw("POST", f"/uploads/{upload_id}/parts", data=form)


async def test_uploads_and_their_parts(serve: Serve, kill: Any, make_raw: MakeRaw) -> None:
    """An upload goes on with the parts it has; one that has ended stays ended, and its parts are gone."""
    raw = make_raw(server := await serve())
    content = chat_file(4)
    uploads = [(await raw("POST", "/uploads", json={**UPLOAD, "bytes": len(content)}))[1] for _ in range(2)]
    going, ended = (upload["id"] for upload in uploads)
    parts = [(await add_part(raw, going, data))[1]["id"] for data in (content[50:], content[:50])]
    await add_part(raw, ended, content)
    await raw("POST", f"/uploads/{ended}/cancel")

    raw = make_raw(server := await serve(kill(server)))
    assert (await add_part(raw, ended, b"x"))[0] == 400
    assert len(list(server.store.folder.iterdir())) == 2
    status, done, _ = await raw("POST", f"/uploads/{going}/complete", json={"part_ids": parts[::-1]})
    assert (status, done["status"]) == (200, "completed")
    raw = make_raw(server := await serve(kill(server)))
    assert await raw.content(done["file"]["id"]) == content
    assert len(list(server.store.folder.iterdir())) == 1
    status, body, _ = await raw("POST", f"/uploads/{going}/complete", json={"part_ids": parts})
    assert (status, "'completed'" in body["error"]["message"]) == (400, True)


async def test_uploads_are_given_up_and_forgotten(serve: Serve, make_raw: MakeRaw) -> None:
    """An hour after its creation an upload expires, and a day later nobody knows it any more."""
    raw = make_raw(server := await serve())
    upload = (await raw("POST", "/uploads", json={**UPLOAD, "bytes": 1}))[1]
    await add_part(raw, upload["id"], b"x")
    server.store.give_up_uploads(START + 3599)
    assert (await add_part(raw, upload["id"], b"x"))[0] == 200
    server.store.give_up_uploads(START + 3600)
    assert (await add_part(raw, upload["id"], b"x"))[0] == 400
    assert list(server.store.folder.iterdir()) == []
    server.store.give_up_uploads(START + 100_000)
    assert (await add_part(raw, upload["id"], b"x"))[0] == 404


@pytest.mark.parametrize("durable", [True, False])
async def test_an_upload_ends_once(serve: Serve, make_raw: MakeRaw, tmp_path: Path, durable: Any) -> None:
    """Of calls that end one upload at the same time, one succeeds and the others are told."""
    async with BatchServer(clock=SteppedClock(), data=tmp_path / "d" if durable else None) as server:
        raw = make_raw(server)
        for _ in range(4):
            content = chat_file(100)
            upload = (await raw("POST", "/uploads", json={**UPLOAD, "bytes": len(content)}))[1]["id"]
            parts = [(await add_part(raw, upload, data))[1]["id"] for data in (content[:9], content[9:])]
            call = ("POST", f"/uploads/{upload}/complete")
            ends = (
                raw(*call, json={"part_ids": parts}),
                raw("POST", f"/uploads/{upload}/cancel"),
                raw(*call, json={"part_ids": parts}),
            )
            answers = await asyncio.gather(*ends, add_part(raw, upload, b"x"))
            statuses = sorted(status for status, _, _ in answers[:3])
            assert statuses == [200, 400, 400]
            assert answers[3][0] in {200, 400}
        assert len(server.store.parts.items) == 0
        assert len(list(server.store.folder.iterdir())) == len(server.store.files.items)


async def test_no_id_is_used_twice(serve: Serve, kill: Any, make_raw: MakeRaw) -> None:
    """A seed makes the ids of a first run those of every first run, and those of a second run others."""
    ids = []
    data = None
    for run in range(3):
        raw = make_raw(server := await serve(data, seed=5))
        ids.append((await raw.upload(chat_file(1)))["id"])
        data = kill(server)
        if run == 0:
            async with BatchServer(clock=SteppedClock(), seed=5) as other:
                assert (await make_raw(other).upload(chat_file(1)))["id"] == ids[0]
    assert len(set(ids)) == 3
    assert len(list(server.store.folder.iterdir())) == 3


async def test_time_does_not_run_backwards(serve: Serve, kill: Any, make_raw: MakeRaw) -> None:
    """Whatever clock there is, no time that an answer showed comes again."""
    raw = make_raw(server := await serve())
    server.clock.move_to(START + 5000)
    await raw("GET", "/batches")
    server = await serve(kill(server))
    assert server.clock.now() == START + 5000
    server = await serve(kill(server), clock=SteppedClock(start=START + 6000))
    assert server.clock.now() == START + 6000
    raw = make_raw(server := await serve(kill(server), clock=RealClock(speed=1e6, start=START)))
    for _ in range(3):
        shown = server.clock.now()
        assert (await raw("GET", "/batches"))[0] == 200
    server = await serve(kill(server), clock=RealClock(start=START))
    assert server.clock.now() > shown > START + 5000


async def test_the_wall_clock_is_not_stored(serve: Serve, make_raw: MakeRaw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading writes nothing, as time goes on by itself."""
    raw = make_raw(server := await serve(clock=RealClock()))
    await raw("GET", "/batches")
    monkeypatch.setattr(server.store._commits, "_database", None)
    assert (await raw("GET", "/batches"))[0] == 200
    monkeypatch.undo()


class OwnClock:
    """A clock of somebody who knows nothing of data folders."""

    def now(self) -> float:
        return START

    def real_delay(self, when: float) -> float | None:
        return None


async def test_a_clock_of_ones_own(serve: Serve, kill: Any, make_raw: MakeRaw) -> None:
    """A clock that cannot be moved keeps its own time."""
    raw = make_raw(server := await serve(clock=OwnClock()))
    file = await raw.upload(chat_file(1))
    raw = make_raw(await serve(kill(server), clock=OwnClock()))
    assert await raw.content(file["id"]) == chat_file(1)


async def test_no_key_is_on_disk(serve: Serve, make_raw: MakeRaw, tmp_path: Path) -> None:
    """Whose a record is, is told by a digest; and only the owner of the folder may read it."""
    raw = make_raw(server := await serve(), "sk-very-secret")
    await raw.create((await raw.upload(chat_file(1)))["id"])
    await server.advance(hours=1)
    await server.close()
    paths = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert len(paths) == 3
    assert not any(b"very-secret" in path.read_bytes() for path in paths)
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "data", tmp_path / "data" / "emulator.contents")} == {
        0o700
    }


async def test_the_folder_can_move(serve: Serve, make_raw: MakeRaw, tmp_path: Path) -> None:
    """Nothing in it says where it is."""
    raw = make_raw(server := await serve())
    batch = await raw.create((await raw.upload(jsonl(chat_line("a"))))["id"])
    await server.advance(seconds=3)
    await server.close()
    (tmp_path / "data").rename(tmp_path / "moved")
    raw = make_raw(server := await serve(tmp_path / "moved"))
    await server.advance(hours=1)
    batch = await raw.batch(batch["id"])
    assert json.loads(await raw.content(batch["output_file_id"]))["custom_id"] == "a"


async def test_a_cancel_while_results_go_to_disk(
    serve: Serve, make_raw: MakeRaw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that is cancelled in the moment of its completion ends cancelled, once, with all its results."""
    raw = make_raw(server := await serve())
    batch = await raw.create((await raw.upload(chat_file(2)))["id"])
    real = server.store.secure

    async def secure(*paths: Path) -> None:
        server._lifecycle.cancel(server.store.batches.items[batch["id"]])
        await real(*paths)

    monkeypatch.setattr(server.store, "secure", secure)
    await server.advance(hours=1)
    batch = await raw.batch(batch["id"])
    assert (batch["status"], batch["completed_at"], batch["request_counts"]["completed"]) == ("cancelled", None, 2)
    assert len(server.store.files.items) == 2
    assert len(list(server.store.folder.iterdir())) == 2
