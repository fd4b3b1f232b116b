"""The data folder: who may use it, what spoils it, and what happens when it cannot be written."""

import ast
import asyncio
import errno
import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.asking import MakeRaw, chat_file, check_error

import openai_batches.emulator
from openai_batches.emulator import BatchServer, DataFolderError, SteppedClock
from openai_batches.emulator.store.database import Database
from openai_batches.emulator.store.index import Index
from openai_batches.emulator.store.records import Row

ROW = Row("file", 0, "file-1", "me", b"{}")


async def start(data: Any, **options: Any) -> None:
    async with BatchServer(clock=SteppedClock(), data=data, **options):
        pass


def change(data: Path, *statements: str) -> None:
    with closing(sqlite3.connect(data / "emulator.sqlite3", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


async def test_one_server_at_a_time(tmp_path: Path) -> None:
    """A folder belongs to one server, until that ends."""
    async with BatchServer(data=tmp_path):
        with pytest.raises(DataFolderError, match="in use by another server"):
            await start(tmp_path)
    await start(str(tmp_path))


async def test_closing_twice(tmp_path: Path) -> None:
    """A server that was closed has let go of its folder, and a second close does nothing."""
    server = await BatchServer(clock=(clock := SteppedClock()), data=tmp_path).start()
    await server.close()
    clock.move_to(clock.now() + 1)
    await server.close()
    await start(tmp_path)


async def test_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    """A server that was killed leaves no lock behind."""
    code = (
        "import sys, pathlib, time\nfrom openai_batches.emulator.store.database import Database\n"
        "held = Database(pathlib.Path(sys.argv[1]) / 'emulator.sqlite3')\nprint('held', flush=True)\ntime.sleep(60)"
    )
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    await holder.stdout.readline()
    with pytest.raises(DataFolderError, match="in use"):
        await start(tmp_path)
    holder.kill()
    await holder.wait()
    await start(tmp_path)


async def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    """What a newer version wrote is left alone."""
    await start(tmp_path)
    change(tmp_path, "PRAGMA user_version = 2")
    before = (tmp_path / "emulator.sqlite3").read_bytes()
    with pytest.raises(DataFolderError, match=r"newer version \(its format is 2, known are up to 1\)"):
        await start(tmp_path)
    assert (tmp_path / "emulator.sqlite3").read_bytes() == before


async def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """Another program's database is not touched, whatever it is called."""
    change(tmp_path, "CREATE TABLE theirs (x)")
    with pytest.raises(DataFolderError, match="no database of the emulator"):
        await start(tmp_path)


@pytest.mark.parametrize(
    "statements",
    [
        ["UPDATE record SET content = '{'"],
        ["UPDATE record SET content = '{}'"],
        ["UPDATE record SET content = replace(content, '.spool\"', '.spool\\u0000\"')"],
        ['UPDATE record SET content = replace(content, \'"path":"\', \'"path":1,"x":"\')'],
        ["UPDATE record SET kind = 'lunch'"],
        ["DELETE FROM state"],
        ["DROP TABLE record"],
    ],
)
async def test_damaged_records(tmp_path: Path, make_raw: MakeRaw, statements: Any) -> None:
    """A record that makes no sense is an error that says where, and nothing is thrown away."""
    async with BatchServer(clock=SteppedClock(), data=tmp_path) as server:
        await make_raw(server).upload(chat_file(1))
    change(tmp_path, *statements)
    with pytest.raises(DataFolderError, match=r"damaged|cannot be used"):
        await start(tmp_path)
    assert len(os.listdir(tmp_path / "emulator.contents")) == 1  # noqa: PTH208 - a Path may not be walked in a coroutine
    if statements[0].startswith("UPDATE"):
        change(tmp_path, "DELETE FROM record")
        await start(tmp_path)


@pytest.mark.parametrize("place", ["head", "middle"])
async def test_a_damaged_database(tmp_path: Path, make_raw: MakeRaw, place: Any) -> None:
    """A file that is no database any more is an error that says so."""
    async with BatchServer(clock=SteppedClock(), data=tmp_path) as server:
        await make_raw(server).upload(chat_file(1))
    path = tmp_path / "emulator.sqlite3"
    content = path.read_bytes()
    path.write_bytes(b"nonsense" * 200 if place == "head" else content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(DataFolderError, match="damaged"):
        await start(tmp_path)


@pytest.mark.parametrize("place", ["folder", "database", "contents"])
async def test_other_things_where_the_emulators_files_belong(tmp_path: Path, place: Any) -> None:
    """Where a folder or a file cannot be, the error names it."""
    data = tmp_path / "data"
    if place == "folder":
        data.write_bytes(b"")
    elif place == "database":
        (data / "emulator.sqlite3").mkdir(parents=True)
    else:
        data.mkdir()
        (data / "emulator.contents").write_bytes(b"")
    with pytest.raises(DataFolderError, match=r"data.* is not a folder|cannot be used as a data folder: .*data"):
        await start(data)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """Permissions that are missing are named."""
    tmp_path.chmod(0o500)
    with pytest.raises(DataFolderError, match="Permission denied"):
        asyncio.run(start(tmp_path))
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
async def test_a_folder_that_cannot_be_written(tmp_path: Path, number: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says is passed on."""

    def refuse(path: Any, *_: Any) -> Any:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("openai_batches.emulator.store.database.os.open", refuse)
    with pytest.raises(DataFolderError, match=os.strerror(number)):
        await start(tmp_path)


async def test_a_read_only_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that cannot be changed cannot be used."""
    await start(tmp_path)
    real = sqlite3.connect

    def connect(path: Any, **options: Any) -> Any:
        return real(f"file:{path}?mode=ro", uri=True, **options)

    monkeypatch.setattr("openai_batches.emulator.store.database.sqlite3.connect", connect)
    with pytest.raises(DataFolderError, match=r"emulator.sqlite3 cannot be used"):
        await start(tmp_path)


async def test_unknown_contents_are_removed(tmp_path: Path, make_raw: MakeRaw) -> None:
    """Contents that no record speaks of are removed at the start, and what is not ours is not."""
    async with BatchServer(clock=SteppedClock(), data=tmp_path) as server:
        file = await make_raw(server).upload(chat_file(1))
    contents = tmp_path / "emulator.contents"
    for name in ("77.spool", "3.spool.new", "3.spoiled", "notes.txt", "0x7.spool"):
        (contents / name).write_bytes(b"half-wri")
    (contents / "8.spool").mkdir()
    (contents / "7.spool").symlink_to(contents / "notes.txt")
    async with BatchServer(clock=SteppedClock(), data=tmp_path) as server:
        assert set(os.listdir(contents)) == {"1.spool", "7.spool", "8.spool", "notes.txt", "0x7.spool"}  # noqa: PTH208
        assert server.store.new_path().name == "9.spool"
        assert await make_raw(server).content(file["id"]) == chat_file(1)


def everything(folder: Path) -> dict[str, bytes | None]:
    """What lies below a folder: bytes of files, None of folders."""
    paths = folder.rglob("*")
    return {str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in paths}


@pytest.mark.parametrize("mine", ["files", "emulator.contents"])
def test_other_files_in_a_data_folder_stay(tmp_path: Path, mine: str) -> None:
    """A folder that was not the emulator's is served from, or refused, but nothing in it is lost."""
    (tmp_path / mine).mkdir()
    (tmp_path / mine / "1.spool").write_bytes(b"mine")
    before = everything(tmp_path)
    if mine == "files":
        asyncio.run(start(tmp_path))
    else:
        with pytest.raises(DataFolderError, match=r"has contents, but there is no emulator\.sqlite3"):
            asyncio.run(start(tmp_path))
        assert everything(tmp_path) == before
    assert before.items() <= everything(tmp_path).items()


def test_contents_are_not_reached_through_a_link(tmp_path: Path) -> None:
    """A link in the place of the contents is refused, whether there are records or not."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "1.spool").write_bytes(b"mine")
    data = tmp_path / "data"
    asyncio.run(start(data))
    (data / "emulator.contents").rmdir()
    (data / "emulator.contents").symlink_to(tmp_path / "mine")
    for _ in range(2):
        before = everything(tmp_path)
        with pytest.raises(DataFolderError, match=r"emulator\.contents is not a folder of the emulator's own"):
            asyncio.run(start(data))
        assert everything(tmp_path) == before
        (data / "emulator.sqlite3").unlink(missing_ok=True)


@pytest.mark.parametrize("lost", ["emulator.sqlite3", "emulator.contents"])
async def test_one_half_of_a_data_folder(tmp_path: Path, make_raw: MakeRaw, lost: str) -> None:
    """Neither contents without records nor records without contents are thrown away: the other half may come back."""
    async with BatchServer(clock=SteppedClock(), data=tmp_path / "data") as server:
        file = await make_raw(server).upload(chat_file(1))
    (tmp_path / "data" / lost).rename(tmp_path / lost)
    before = everything(tmp_path)
    with pytest.raises(DataFolderError, match=r"there is no emulator.sqlite3|is gone, and with it the contents"):
        await start(tmp_path / "data")
    assert everything(tmp_path).keys() == before.keys()
    (tmp_path / lost).rename(tmp_path / "data" / lost)
    async with BatchServer(clock=SteppedClock(), data=tmp_path / "data") as server:
        assert await make_raw(server).content(file["id"]) == chat_file(1)


async def test_a_start_that_fails_leaves_nothing_on_disk(tmp_path: Path) -> None:
    """Where the server cannot listen, its folder is not made either, and one of before stays."""
    async with BatchServer(data=tmp_path / "kept") as other:
        port = int(other.base_url.rpartition(":")[2].partition("/")[0])
        for data in (tmp_path / "deep" / "data", tmp_path / "kept"):
            with pytest.raises(OSError, match=r"in use"):
                await start(data, port=port)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await start(tmp_path / "kept", port=taken.getsockname()[1])
    assert set(everything(tmp_path)) == {"kept", "kept/emulator.contents", "kept/emulator.sqlite3"}


async def test_contents_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is told at the start, not to whoever uploads first, and nothing is left behind."""

    def refuse(path: Path, *_: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(DataFolderError, match=os.strerror(errno.EROFS)):
        await start(tmp_path / "data")
    assert not everything(tmp_path)


async def test_a_full_database(tmp_path: Path, make_raw: MakeRaw, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be written down is answered with 507; the server lives, and writes it down when it can."""
    async with BatchServer(clock=SteppedClock(), data=tmp_path, seed=1) as server:
        raw = make_raw(server)
        file = await raw.upload(chat_file(1))
        connection = server.store._commits._database._connection
        connection.execute("PRAGMA max_page_count = 1")
        metadata = {str(number): "x" * 500 for number in range(16)}
        wanted = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        for call in (("POST", "/batches"), ("GET", f"/files/{file['id']}/content"), ("GET", "/batches")):
            status, body, _ = await raw(*call, json={**wanted, "metadata": metadata})
            assert (status, check_error(body)["type"]) == (507, "server_error")
        await server.advance(hours=1)
        assert "could not write the state" in caplog.text
        connection.execute("PRAGMA max_page_count = 1000000")
        assert (await raw("GET", "/batches"))[1]["data"][0]["status"] == "completed"
    async with BatchServer(clock=SteppedClock(), data=tmp_path) as server:
        assert (await make_raw(server)("GET", "/batches"))[1]["data"][0]["status"] == "completed"


async def test_a_server_that_cannot_write_ends_all_the_same(
    tmp_path: Path, make_raw: MakeRaw, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be written at the end is said in the log."""
    async with BatchServer(clock=SteppedClock(), data=tmp_path) as server:
        assert (await make_raw(server)("GET", "/batches"))[0] == 200
        server.store._commits._database._connection.execute("PRAGMA query_only = 1")
        server.clock.move_to(server.clock.now() + 1)
        assert (await make_raw(server)("GET", "/batches"))[0] == 500
    assert "the last changes could not be written" in caplog.text
    await start(tmp_path)


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
async def test_a_full_disk(
    tmp_path: Path, make_raw: MakeRaw, durable: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An upload that does not fit on the disk is answered with 507 and leaves nothing."""
    async with BatchServer(clock=SteppedClock(), data=tmp_path / "data" if durable else None) as server:
        raw = make_raw(server)

        def full() -> Path:
            path = server.store.folder / "1.spool"
            path.symlink_to("/dev/full")
            return path

        with monkeypatch.context() as patch:
            patch.setattr(server.store, "new_path", full)
            for content in (b"{}\n", chat_file(20_000)):
                with pytest.raises(AssertionError, match="no space left"):
                    await raw.upload(content)
        assert list(server.store.folder.iterdir()) == []
        await raw.upload(chat_file(1))


async def test_many_changes_share_a_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one transaction is written, the next one collects; whoever waits is answered by the one with his change."""
    async with BatchServer(clock=SteppedClock(), data=tmp_path) as server:
        writes = []
        real = server.store._commits._database.write

        def write(rows: Any, *rest: Any) -> None:
            writes.append(len(rows))
            real(rows, *rest)

        monkeypatch.setattr(server.store._commits._database, "write", write)

        async def create() -> None:
            server.store.new_batch(scope="me", now=0, endpoint="x", input_file_id="y")
            await server.store.commit()

        await asyncio.gather(*(create() for _ in range(10)))
        early = asyncio.create_task(create())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        late = asyncio.create_task(create())
        await asyncio.gather(early, late)
        await server.store.commit()
        assert writes == [10, 1, 1]


async def test_a_commit_goes_on_without_its_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write goes on without the one who waited for it, and a failure is then told to nobody but the next."""
    async with BatchServer(clock=SteppedClock(), data=tmp_path) as server:
        database = server.store._commits._database

        def fail(*_: Any) -> None:
            raise OSError(errno.EIO, "broken")

        with monkeypatch.context() as patch:
            patch.setattr(database, "write", fail)
            server.store.new_batch(scope="me", now=0, endpoint="x", input_file_id="y")
            waiting = asyncio.create_task(server.store.commit())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(OSError, match="broken"):
                await server.store.commit()
        await server.store.commit()


async def test_bytes_go_when_no_record_needs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deleted file's bytes stay until its deletion is on disk; what cannot be deleted waits for the next start."""
    async with BatchServer(clock=SteppedClock(), data=tmp_path) as server:
        store = server.store
        paths = [store.new_path() for _ in range(2)]
        for path in paths:
            path.write_bytes(b"x")
        files = [
            store.new_file(scope="me", path=path, filename="x", purpose="batch", now=0, lifetime_s=None)
            for path in paths
        ]
        await store.commit()
        store.remove_file(files[0])
        assert paths[0].exists()
        await store.commit()
        assert not paths[0].exists()
        paths[1].unlink()
        paths[1].mkdir()
        store.remove_file(files[1])
        await store.commit()
        paths[1].rmdir()


def test_a_database_keeps_all_or_nothing(tmp_path: Path) -> None:
    """A write that fails half-way leaves nothing of it."""
    database = Database(tmp_path / "d")
    try:
        with pytest.raises(OSError, match="Input/output"):
            database.write([ROW, ("file", 1, None, "me", b"")], [], 5.0)
        assert list(database.rows()) == []
        database.write([ROW], [], 5.0)
        assert list(database.rows()) == [ROW]
        database.write([], [("file", 0)], 6.0)
        assert list(database.rows()) == []
    finally:
        database.close()


async def test_cursors_are_forgotten_at_last(
    tmp_path: Path, make_raw: MakeRaw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the latest deleted files stay good as cursors, after a restart too."""
    monkeypatch.setattr("openai_batches.emulator.store.index._REMEMBERED", 2)
    async with BatchServer(clock=SteppedClock(), data=tmp_path) as server:
        raw = make_raw(server)
        files = [(await raw.upload(chat_file(1)))["id"] for _ in range(4)]
        for file_id in files[1:]:
            await raw("DELETE", f"/files/{file_id}")
        statuses = [(await raw("GET", f"/files?after={file_id}"))[0] for file_id in files]
    async with BatchServer(clock=SteppedClock(), data=tmp_path) as server:
        raw = make_raw(server)
        assert [(await raw("GET", f"/files?after={file_id}"))[0] for file_id in files] == statuses
        assert statuses == [200, 400, 200, 200]
        assert (await raw("GET", f"/files?after={files[3]}"))[1]["first_id"] == files[0]


async def test_a_batch_can_be_forgotten(tmp_path: Path, make_raw: MakeRaw) -> None:
    """The record of a batch goes for good, its place in a walk stays."""
    async with BatchServer(clock=SteppedClock(), data=tmp_path) as server:
        raw = make_raw(server)
        file = await raw.upload(chat_file(1))
        made = [(await raw.create(file["id"]))["id"] for _ in range(2)]
        await server.advance(hours=1)
        server.store.remove_batch(server.store.batches.items[made[1]])
        await raw("GET", "/batches")
    async with BatchServer(clock=SteppedClock(), data=tmp_path) as server:
        raw = make_raw(server)
        assert (await raw("GET", f"/batches/{made[1]}"))[0] == 404
        assert [batch["id"] for batch in (await raw("GET", f"/batches?after={made[1]}"))[1]["data"]] == made[:1]


class Thing:
    def __init__(self, number: int) -> None:
        self.id = str(number)
        self.scope = "me"


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("after", [None, 999, 1_000, 1_998, 1_999])
def test_a_page_does_not_walk_over_what_was_deleted(newest_first: Any, after: Any) -> None:
    """What a listing costs does not grow with what was there once."""
    index: Index[Thing] = Index("thing")
    things = [Thing(number) for number in range(2_000)]
    for thing in things:
        index.put(thing)
    for thing in things[1:-1]:
        index.remove(thing)
    looked = []

    def keep(thing: Thing) -> bool:
        looked.append(thing)
        return True

    cursor = None if after is None else str(after)
    items, has_more = index.page("me", after=cursor, limit=1, newest_first=newest_first, keep=keep)
    order = things[::-1] if newest_first else things
    left = order if after is None else order[order.index(things[after]) + 1 :]
    expected = [thing for thing in left if thing in (things[0], things[-1])]
    assert (items, has_more) == (expected[:1], len(expected) > 1)
    assert len(looked) <= 2


def test_only_one_module_knows_sqlite() -> None:
    """The database can be replaced in one place."""
    folder = Path(openai_batches.emulator.__file__).parent
    knowing = {
        path.name
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) and any(name.name == "sqlite3" for name in node.names)
    }
    assert knowing == {"database.py"}


def test_memory_needs_no_sqlite() -> None:
    """A server without a data folder does not even load it."""
    code = """
import asyncio, sys
from openai_batches.emulator import BatchServer
async def main():
    async with BatchServer():
        assert "sqlite3" not in sys.modules
asyncio.run(main())
"""
    # What measures coverage would load it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
