"""A file that is sent in parts arrives whole and in order, or the service is told to forget it."""

from __future__ import annotations

import asyncio
import collections
import hashlib
import os
import random
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from support.http_servers import ONCE, QUICK, RawServer, chat_lines, error_answer, file_json, json_answer

from openai_batches import APIError, BadRequestError, BatchSession, DecodeError, InputError, TransportError
from openai_batches.emulator import Fault
from openai_batches.models import Upload, UploadPart

if TYPE_CHECKING:
    from pathlib import Path

    from support.http_servers import Asked, OpenSession

    from openai_batches import FileObject
    from openai_batches.emulator import BatchServer

DATA = chat_lines(2_000)
PART = 10_000
COUNT = -(-len(DATA) // PART)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_bytes(DATA)
    return path


def upload_json(**fields: Any) -> dict[str, Any]:
    wire = {"id": "upload_1", "object": "upload", "bytes": len(DATA), "created_at": 1_750_000_000}
    return {**wire, "filename": "requests.jsonl", "purpose": "batch", "status": "pending", **fields}


def done_json(**fields: Any) -> dict[str, Any]:
    return upload_json(status="completed", file=file_json(bytes=len(DATA), filename="requests.jsonl"), **fields)


@attrs.define
class Desk:
    """A server of one upload; ``say`` gives another answer to a step, if it gives one."""

    say: Callable[[str, int], Any] = lambda *_: None
    files: list[dict[str, Any]] = attrs.field(factory=list)
    steps: list[str] = attrs.field(factory=list)
    parts: dict[str, bytes] = attrs.field(factory=dict)
    completed: dict[str, Any] | None = None
    open_parts: int = 0
    most_parts: int = 0
    reached: dict[str, asyncio.Event] = attrs.field(factory=lambda: collections.defaultdict(asyncio.Event))

    async def __call__(self, asked: Asked) -> bytes | None:
        step = asked.path.rpartition("/")[2]
        self.steps.append(step)
        number = self.steps.count(step)
        self.reached[step].set()
        if step == "parts":
            self.open_parts += 1
            self.most_parts = max(self.most_parts, self.open_parts)
        try:
            body = await asked.body()
            said = self.say(step, number)
            if step == "parts":
                await asyncio.sleep(random.random() / 500)
        finally:
            self.open_parts -= step == "parts"
        if said == "reset":
            asked.reset()
            return None
        if said == "hang":
            await asyncio.sleep(60)
        if said is not None:
            return bytes(said)
        if step == "parts":
            return json_answer({"id": self._keep(body), "object": "upload.part", "upload_id": "upload_1"})
        if step == "complete":
            self.completed = await asked.json()
            return json_answer(done_json())
        if step == "files":
            return json_answer({"object": "list", "data": self.files, "has_more": False})
        return json_answer(upload_json(status="cancelled" if step == "cancel" else "pending"))

    def _keep(self, body: bytes) -> str:
        head, _, rest = body.partition(b"\r\n\r\n")
        assert b'name="data"' in head
        name = f"part_{len(self.parts)}"
        self.parts[name] = rest.rpartition(b"\r\n--")[0]
        return name

    @property
    def joined(self) -> bytes:
        assert self.completed is not None
        return b"".join(self.parts[name] for name in self.completed["part_ids"])


async def send(desk: Desk, path: Path, open_session: OpenSession, **options: Any) -> FileObject:
    retry = options.pop("retry", QUICK)
    async with RawServer(desk) as server:
        return await open_session(server, retry=retry).files.upload_parts(path, part_bytes=PART, **options)


@pytest.mark.parametrize("part_bytes", [5_000, len(DATA) - 1, len(DATA), len(DATA) + 1, 64 * 1024 * 1024])
async def test_a_file_in_parts(part_bytes: int, server: BatchServer, session: BatchSession, path: Path) -> None:
    """The parts make the file, whatever their size; the service checks its length and its md5."""
    file = await session.files.upload_parts(path, part_bytes=part_bytes, concurrency=7, expires_after=1_728_000)
    assert server.store.read(file.id) == DATA
    assert (file.filename, file.purpose, file.bytes) == ("requests.jsonl", "batch", len(DATA))
    assert file.created_at is not None
    assert server.store.files.items[file.id].expires_at == file.created_at.timestamp() + 1_728_000


@pytest.mark.parametrize("make", [lambda path: DATA, lambda path: path.open("rb"), str])
async def test_other_sources(make: Any, server: BatchServer, session: BatchSession, path: Path) -> None:
    """Whatever can be uploaded can be uploaded in parts."""
    given = make(path)
    file = await session.files.upload_parts(given, part_bytes=PART)
    if hasattr(given, "close"):
        given.close()
    assert server.store.read(file.id) == DATA


@pytest.mark.parametrize("concurrency", [1, 3, 64])
async def test_order_and_concurrency(concurrency: int, open_session: OpenSession, path: Path) -> None:
    """So many parts are under way at once and no more, and named in the order of the file, however they arrive."""
    desk = Desk()
    await send(desk, path, open_session, concurrency=concurrency)
    assert desk.joined == DATA
    assert desk.most_parts <= concurrency
    assert desk.completed is not None
    assert desk.completed["md5"] == hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    assert desk.steps == ["uploads", *["parts"] * COUNT, "complete"]


async def test_what_is_announced(open_session: OpenSession, path: Path) -> None:
    """Name, purpose, length and type are announced; a type that is not known is said to be bytes."""
    async with RawServer(Desk()) as server:
        session = open_session(server)
        await session.files.upload_parts(path, part_bytes=PART)
        await session.files.upload_parts(path, part_bytes=PART, purpose="vision", filename="a.png", expires_after=7_200)
        first, second = [await asked.json() for asked in server.asked if asked.path.endswith("/uploads")]
    same = {"bytes": len(DATA)}
    assert first == {"filename": path.name, "purpose": "batch", "mime_type": "application/jsonl", **same}
    assert second == {
        "filename": "a.png",
        "purpose": "vision",
        "mime_type": "application/octet-stream",
        "expires_after": {"anchor": "created_at", "seconds": 7_200},
        **same,
    }


async def test_each_part_is_sent_again_alone(open_session: OpenSession, path: Path) -> None:
    """On a link that loses every third part, those parts are sent again, and no other."""

    def say(step: str, number: int) -> Any:
        if step != "parts" or number % 3:
            return None
        return "reset" if number % 2 else error_answer(503)

    desk = Desk(say)
    await send(desk, path, open_session, retry=attrs.evolve(QUICK, attempts=50))
    assert desk.joined == DATA
    failed = desk.steps.count("parts") // 3
    assert desk.steps.count("parts") == COUNT + failed
    assert len(desk.parts) == COUNT


async def test_a_part_whose_answer_is_lost(server: BatchServer, session: BatchSession, path: Path) -> None:
    """A part that arrived twice is in the file once."""
    server.faults.add(Fault.lost_answer(path="/parts$", times=3))
    file = await session.files.upload_parts(path, part_bytes=PART)
    assert server.store.read(file.id) == DATA


@pytest.mark.parametrize(
    "options",
    [
        {"part_bytes": 0},
        {"part_bytes": 64 * 1024 * 1024 + 1},
        {"part_bytes": 1.5},
        {"part_bytes": True},
        {"concurrency": 0},
        {"concurrency": 65},
        {"expires_after": 1},
        {"filename": "x.txt"},
    ],
)
async def test_wrong_numbers_and_names(options: Any, open_session: OpenSession, path: Path) -> None:
    """What cannot be right is refused, and nothing is sent."""
    async with RawServer(Desk()) as server:
        session = open_session(server)
        with pytest.raises(InputError):
            await session.files.upload_parts(path, **options)
        with pytest.raises(InputError, match="is empty"):
            await session.files.upload_parts(b"")
        assert server.asked == []


async def test_progress_never_goes_back(open_session: OpenSession, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress grows from 0 to the whole, and stands still while a part is sent again."""
    monkeypatch.setattr("openai_batches.resources.uploads._PIECE_BYTES", 1_000)
    told: list[tuple[int, int]] = []
    desk = Desk(lambda step, number: error_answer(500) if step == "parts" and number in {2, 5, 6} else None)
    await send(desk, path, open_session, progress=lambda *now: told.append(now))
    assert [sent for sent, _ in told] == sorted({sent for sent, _ in told})
    assert (told[0], told[-1]) == ((0, len(DATA)), (len(DATA), len(DATA)))
    assert len(told) > COUNT


# When it fails


async def test_a_part_that_is_refused(open_session: OpenSession, path: Path) -> None:
    """The other parts are stopped, the upload is cancelled, and the service's own word is raised."""
    desk = Desk(lambda step, number: error_answer(400, "no such part") if step == "parts" and number == 3 else None)
    with pytest.raises(BadRequestError, match="no such part"):
        await send(desk, path, open_session, concurrency=2)
    assert desk.steps[-1] == "cancel"
    assert desk.steps.count("cancel") == 1
    assert desk.steps.count("parts") < COUNT
    assert "complete" not in desk.steps


async def test_the_cause_of_a_cut_stays(open_session: OpenSession, path: Path) -> None:
    """The error of a part keeps what it was made of."""
    desk = Desk(lambda step, _: "reset" if step == "parts" else None)
    with pytest.raises(TransportError) as caught:
        await send(desk, path, open_session, retry=ONCE)
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_progress_that_fails(open_session: OpenSession, path: Path) -> None:
    """What a progress function raises ends the upload."""

    def fail(*_: Any) -> None:
        raise KeyError("mine")

    desk = Desk()
    with pytest.raises(KeyError, match="mine"):
        await send(desk, path, open_session, progress=fail)
    assert desk.steps[-1] == "cancel"


async def test_a_file_that_shrinks(open_session: OpenSession, path: Path) -> None:
    """A file that becomes shorter on its way is the caller's mistake, and no file at the service."""
    desk = Desk(lambda step, number: os.truncate(path, 100) if (step, number) == ("parts", 2) else None)
    with pytest.raises(InputError, match="became shorter"):
        await send(desk, path, open_session, concurrency=1)
    assert desk.steps[-1] == "cancel"


async def test_a_cancelled_upload(open_session: OpenSession, path: Path) -> None:
    """Cancelling the task cancels the upload at the service, and waits for that."""
    desk = Desk(lambda step, _: "hang" if step == "parts" else None)
    async with RawServer(desk) as server:
        task = asyncio.create_task(open_session(server).files.upload_parts(path, part_bytes=PART))
        await desk.reached["parts"].wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert desk.steps[-1] == "cancel"


async def test_cancelling_twice(open_session: OpenSession, path: Path) -> None:
    """Who does not even want to wait for that cancels once more; the service is told all the same."""
    desk = Desk(lambda step, _: "hang" if step == "parts" else None)
    async with RawServer(desk) as server:
        session = open_session(server)
        task = asyncio.create_task(session.files.upload_parts(path, part_bytes=PART))
        await desk.reached["parts"].wait()
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(60):
            await desk.reached["cancel"].wait()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("said", ["hang", "reset", error_answer(404)])
async def test_a_service_that_does_not_forget(
    said: Any, open_session: OpenSession, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Cancelling is tried for a bounded time, and what it ends in does not hide the failure before."""
    monkeypatch.setattr("openai_batches.resources.upload_parts._CANCEL_S", 0.1)
    caplog.set_level("INFO", "openai_batches")
    desk = Desk(lambda step, _: said if step == "cancel" else error_answer(400, "mine") if step == "parts" else None)
    with pytest.raises(BadRequestError, match="mine"):
        await send(desk, path, open_session)
    assert "upload upload_1 could not be cancelled, it will expire" in caplog.text


async def test_an_upload_that_cannot_be_made(open_session: OpenSession, path: Path) -> None:
    """Without an upload there is nothing to cancel; one whose answer was lost is made again."""
    desk = Desk(lambda *_: error_answer(403))
    with pytest.raises(APIError, match="403"):
        await send(desk, path, open_session)
    assert desk.steps == ["uploads"]
    desk = Desk(lambda step, number: "reset" if (step, number) == ("uploads", 1) else None)
    await send(desk, path, open_session)
    assert desk.steps[:2] == ["uploads"] * 2


# The last step, whose answer can be lost


async def test_a_completion_that_did_nothing(open_session: OpenSession, path: Path) -> None:
    """A completion that had no answer is sent again."""
    for said in ("reset", error_answer(502), json_answer({"id": 1}), json_answer(upload_json(status="completed"))):
        desk = Desk(lambda step, number, said=said: said if (step, number) == ("complete", 1) else None)  # type: ignore[misc]
        assert (await send(desk, path, open_session)).id == "file-1"
        assert desk.steps[-2:] == ["complete"] * 2


async def test_a_completion_whose_answer_is_lost(server: BatchServer, session: BatchSession, path: Path) -> None:
    """Where it was done and cannot be repeated, the file is found, and there is one of it."""
    server.faults.add(Fault.lost_answer(path="/complete$"))
    other = await session.files.create(b"{}\n", filename="requests.jsonl")
    file = await session.files.upload_parts(path, part_bytes=PART)
    assert server.store.read(file.id) == DATA
    assert {found.id for found in await session.files.list().collect()} == {file.id, other.id}


async def test_a_completion_that_is_refused(open_session: OpenSession, path: Path) -> None:
    """A clear no is raised, and the upload cancelled; nothing is looked for."""
    desk = Desk(lambda step, _: error_answer(400, "md5 mismatch") if step == "complete" else None)
    with pytest.raises(BadRequestError, match="md5 mismatch"):
        await send(desk, path, open_session)
    assert desk.steps[-2:] == ["complete", "cancel"]


async def test_a_completion_that_is_refused_at_last(open_session: OpenSession, path: Path) -> None:
    """A no that comes after a lost answer is believed, if the upload can still be cancelled: it was not completed."""
    desk = Desk(
        lambda step, number: (
            ("reset" if number == 1 else error_answer(400, "md5 mismatch")) if step == "complete" else None
        ),
        files=[file_json("file-9", bytes=len(DATA), filename="requests.jsonl")],
    )
    with pytest.raises(BadRequestError, match="md5 mismatch"):
        await send(desk, path, open_session)
    assert "files" not in desk.steps


@pytest.mark.parametrize("said", ["reset", error_answer(500), error_answer(403)])
async def test_a_cancel_that_says_nothing(said: Any, open_session: OpenSession, path: Path) -> None:
    """Where nobody can tell whether it was completed, no file is taken for it."""

    def say(step: str, number: int) -> Any:
        if step == "complete":
            return "reset" if number == 1 else error_answer(400, "no longer pending")
        return said if step == "cancel" else None

    desk = Desk(say, files=[file_json("file-9", bytes=len(DATA), filename="requests.jsonl")])
    with pytest.raises(BadRequestError, match="no longer pending"):
        await send(desk, path, open_session)
    assert "files" not in desk.steps


async def test_a_completion_without_any_answer(open_session: OpenSession, path: Path) -> None:
    """Where no repetition is answered, the failure is raised."""
    desk = Desk(lambda step, _: error_answer(500) if step == "complete" else None)
    with pytest.raises(APIError, match="500"):
        await send(desk, path, open_session)
    desk = Desk(lambda step, _: json_answer(upload_json(status="")) if step == "complete" else None)
    with pytest.raises(DecodeError, match="Upload upload_1 is answered without a file"):
        await send(desk, path, open_session)


SAME = {"bytes": len(DATA), "filename": "requests.jsonl"}
OLD = {"created_at": 1_749_999_999}
FOUND: dict[str, tuple[list[dict[str, Any]], str | None]] = {
    "one": ([file_json("file-1", **SAME)], "file-1"),
    "others too": ([file_json("a", bytes=1), file_json("file-1", **SAME), file_json("b", **SAME, **OLD)], "file-1"),
    "none": ([file_json("a", bytes=1, filename="requests.jsonl"), file_json("b", bytes=len(DATA))], None),
    "two": ([file_json("file-1", **SAME), file_json("file-2", **SAME)], None),
    "older only": ([file_json("file-1", **SAME, **OLD)], None),
    "too far behind": ([*(file_json(f"x{number}") for number in range(9)), file_json("file-1", **SAME)], None),
}


@pytest.mark.parametrize("name", FOUND)
async def test_which_file_it_became(
    name: str, open_session: OpenSession, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is the only one of its name and length that is not older than the upload; nothing is guessed."""
    monkeypatch.setattr("openai_batches.resources.upload_parts._MAX_FILES_SEEN", 5)

    def say(step: str, number: int) -> Any:
        if step == "complete" and number == 1:
            return "reset"
        return error_answer(400, "no longer pending") if step in {"complete", "cancel"} else None

    files, found = FOUND[name]
    desk = Desk(say, files=files)
    if found is not None:
        assert (await send(desk, path, open_session)).id == found
        return
    with pytest.raises(TransportError) as caught:
        await send(desk, path, open_session)
    notes = "\n".join(caught.value.__notes__)
    assert re.search(r"probably completed, but [02] of the newest files are named", notes)


def test_records() -> None:
    """Uploads and parts are values like the other records."""
    assert Upload(id="a") == Upload(id="a")
    assert (Upload(id="a").file, UploadPart(id="a").upload_id) == (None, "")
