"""`--local`: an emulator with its data in a folder, shared by the commands that run at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from openai_batches import BatchSession, NotFoundError, TransportError
from openai_batches.cli.errors import CommandError
from openai_batches.cli.options import local
from openai_batches.cli.options.local import announced, local_session
from openai_batches.emulator import BackgroundServer
from openai_batches.emulator.store.loading import is_served

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    Cli = Callable[..., Finished]

LINE = b'{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}\n'
DATA = Path("data")


async def made_in(session: BatchSession) -> str:
    """Return the id of a new batch."""
    file = await session.files.create(LINE)
    return (await session.batches.create(input_file_id=file.id, endpoint="/v1/embeddings")).id


async def test_it_starts_and_keeps_its_data() -> None:
    """What one command made, the next one finds; in between nothing runs."""
    async with local_session(DATA, speed=1_000) as session:
        made = await made_in(session)
        assert is_served(DATA)
    assert not is_served(DATA)
    assert not (DATA / "emulator.address").exists()
    async with local_session(DATA, speed=1_000) as session:
        assert (await session.batches.wait(made)).status == "completed"


async def test_two_at_once_share_one() -> None:
    """The second finds the first one's emulator, and sees the same batches."""
    async with local_session(DATA, speed=1_000) as first:
        made = await made_in(first)
        async with local_session(DATA, speed=1) as second:
            assert (await second.batches.retrieve(made)).id == made


async def test_two_that_begin_in_the_same_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them starts the emulator, the other waits until that is there."""
    monkeypatch.setattr(local, "_PAUSE_S", 0.01)
    both = asyncio.Barrier(2)

    async def run() -> str:
        async with local_session(DATA, speed=1_000) as session:
            made = await made_in(session)
            await both.wait()
            return made

    assert len(set(await asyncio.gather(run(), run()))) == 2


async def test_an_address_that_was_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the port of an emulator that was killed is not taken for it; an address that is none does no harm."""
    DATA.mkdir()  # noqa: ASYNC240
    with BackgroundServer() as stranger:
        for address in (stranger.base_url.encode(), b"http://127.0.0.1:1/v1", b"\xff", b"http://[", b""):
            (DATA / "emulator.address").write_bytes(address)
            async with local_session(DATA, speed=1_000) as session:
                await session.batches.list()
        assert stranger.requests == []


async def test_a_folder_in_use_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's server has it, and does not say where: that is told after a while, and what helps."""
    monkeypatch.setattr(local, "_CHANGE_S", 0.0)
    with BackgroundServer(data=DATA), socket.socket() as deaf:
        # Nobody else can have the port meanwhile, and nobody listens.
        deaf.bind(("127.0.0.1", 0))
        (DATA / "emulator.address").write_text(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1", "utf-8")
        with pytest.raises(CommandError, match="data is in use by another server") as caught:
            async with local_session(DATA, speed=1):
                pass
        assert "--local-data" in caught.value.advice


async def test_one_that_is_about_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another command has the folder, and will say in a moment where its emulator is: it is waited for."""
    waited = asyncio.Event()
    sleep = asyncio.sleep

    async def told(seconds: float) -> None:
        waited.set()
        await sleep(0)

    monkeypatch.setattr(local.asyncio, "sleep", told)
    with BackgroundServer(data=DATA) as server:

        async def announce() -> None:
            await waited.wait()
            stack.enter_context(announced(DATA, server.base_url))

        with contextlib.ExitStack() as stack:
            task = asyncio.create_task(announce())
            async with local_session(DATA, speed=1) as session:
                await session.batches.list()
            await task
        assert [record.path for record in server.requests] == ["/v1/batches"]


@pytest.mark.parametrize("kind", ["file", "foreign"])
def test_a_folder_that_cannot_be_used(cli: Cli, kind: str) -> None:
    """It is named with the reason, in two lines, at once."""
    if kind == "file":
        DATA.write_text("", "utf-8")
    else:
        DATA.mkdir()
        (DATA / "emulator.sqlite3").write_text("not a database, but long enough to be taken for one" * 9, "utf-8")
    done = cli("cancel", "batch_1", "--local", "--local-data", DATA)
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert "The emulator's folder cannot be used" in first
    assert "data" in first
    assert "--local-data" in second


async def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own reason, and the folder; nothing that was half written stays."""

    def replace(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(CommandError, match="data: No space left on device"):
        async with local_session(DATA, speed=1):
            pass
    assert not DATA.exists()  # noqa: ASYNC240


async def test_a_speed_where_an_emulator_runs(capfd: pytest.CaptureFixture[str]) -> None:
    """It works at its own, whatever another command asks for, and that is said."""
    async with local_session(DATA, speed=1_000):
        async with local_session(DATA):
            assert capfd.readouterr().err == ""
        async with local_session(DATA, speed=5):
            told = capfd.readouterr().err
    assert told == "The emulator of this folder is already running: --local-speed is ignored\n"


@pytest.mark.parametrize("speed", ["0", "-1", "nan"])
def test_a_speed_that_is_none(cli: Cli, speed: str) -> None:
    """A person is told before anything is started."""
    done = cli("cancel", "batch_1", "--local", f"--local-speed={speed}")
    assert done.code == 2
    assert "--local-speed must be more than 0" in done.err


async def test_who_started_it_stays_while_others_use_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that brought the emulator ends after those that use it, and says why it is still there."""
    monkeypatch.setattr(local, "_PAUSE_S", 0.01)
    began, ended = asyncio.Event(), asyncio.Event()

    async def guest() -> None:
        async with local_session(DATA, speed=1_000) as session:
            await session.batches.list()
            began.set()
            while "Other commands use" not in (told := capfd.readouterr().err):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert told.endswith("until Ctrl-C\n")
            assert not ended.is_set()
            await session.batches.list()

    async with local_session(DATA, speed=1_000) as host:
        await host.batches.list()
        task = asyncio.create_task(guest())
        await began.wait()
    ended.set()
    await task
    assert not is_served(DATA)


async def test_who_is_tired_of_waiting_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the emulator, and the others are told what happened; who had done their own work has done it."""
    monkeypatch.setattr(local, "_PAUSE_S", 0.01)
    told = asyncio.Event()
    monkeypatch.setattr(local, "note", lambda _: told.set())

    async def host(began: asyncio.Event, over: asyncio.Event) -> str:
        async with local_session(DATA, speed=1_000):
            began.set()
            await over.wait()
        return "done"

    began, over = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(host(began, over))
    await began.wait()
    with pytest.raises(CommandError, match="The emulator has ended: it belonged to another") as caught:  # noqa: PT012
        async with local_session(DATA) as session:
            await session.batches.list()
            over.set()
            await told.wait()
            task.cancel()
            assert await task == "done"
            monkeypatch.setattr("openai_batches.policies.RetryPolicy.delay_s", lambda *_, **__: None)
            await session.batches.list()
    assert "Try again" in caught.value.advice


async def test_who_is_interrupted_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a command ends its emulator with it."""

    async def host(began: asyncio.Event) -> None:
        async with local_session(DATA, speed=1_000):
            began.set()
            await asyncio.Event().wait()

    began = asyncio.Event()
    task = asyncio.create_task(host(began))
    await began.wait()
    with contextlib.suppress(CommandError):
        async with local_session(DATA, speed=1) as session:
            await session.batches.list()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_other_troubles_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the emulator answers, and what goes wrong while it is there, is told as with any service."""
    with pytest.raises(NotFoundError):
        async with local_session(DATA, speed=1) as session:
            await session.batches.retrieve("batch_1")
    with pytest.raises(TransportError, match="mine"):
        async with local_session(DATA, speed=1), local_session(DATA, speed=1):
            raise TransportError("mine")


def test_the_end_of_one_in_a_terminal(terminal: Callable[..., DrivenTerminal]) -> None:
    """A person sees that the command has done its work and still serves another one."""
    listening = terminal("webhook", "listen", "--local", "--port", "0", columns=100)
    listening.wait_for("Listening at")
    address = Path("openai-batches-local", "emulator.address").read_text("utf-8")
    place = address.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((place[0], int(place[1]))):
        listening.interrupt()
        listening.wait_for("Other commands use the emulator of this command")
        listening.interrupt()
        assert listening.finish() == 0
