"""``--local``: an emulator with its data in a folder, shared by the commands that run at the same time."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from openai_batches import BatchSession, PollPolicy, RetryPolicy, TransportError
from openai_batches._threads import in_thread
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.output.terminal import note
from openai_batches.emulator import BatchServer, DataFolderError, Timings
from openai_batches.emulator.keys import ANY_KEY
from openai_batches.emulator.store.folder import FolderInUseError
from openai_batches.emulator.store.loading import is_served
from openai_batches.storage.atomic import write_file

__all__ = ["announced", "local_session", "local_timings", "unusable"]

_ADDRESS = "emulator.address"
_POLL_S = 0.2
_USUAL_SPEED = 1.0
# At these lengths a person can watch, and stop, what happens.
_VALIDATING_S, _LINE_S, _FINALIZING_S, _CANCELLING_S = 1.0, 0.05, 1.0, 2.0
_GREETING_TIMEOUT_S = 2.0
# An emulator that begins or ends has the folder, and no address, for about this long.
_CHANGE_S = 5.0
_PAUSE_S = 0.05
# An emulator that has ended does not come back, so a lost connection is not retried for long.
_RETRY = RetryPolicy(initial_delay_s=0.1)
_OTHER_FOLDER = "Name another one with --local-data"


@contextlib.asynccontextmanager
async def local_session(data: Path, *, speed: float | None = None) -> AsyncGenerator[BatchSession]:
    """Open a session with the emulator of a folder: with the one that runs, or with one that is started for this.

    One that was started for this stays until no other command uses it any more.
    """
    if speed is not None and not speed > 0:
        raise CommandError(f"--local-speed must be more than 0, not {speed:g}", "1 is the usual speed, 100 is fast")
    async with contextlib.AsyncExitStack() as stack:
        address = await _running(data)
        is_guest = address is not None
        if address is None:
            address, is_guest = await _started_or_running(stack, data, speed or _USUAL_SPEED)
        if is_guest and speed is not None:
            note("The emulator of this folder is already running: --local-speed is ignored")
        session = await stack.enter_async_context(
            BatchSession(ANY_KEY, base_url=address, retry=_RETRY, poll=PollPolicy.every(_POLL_S), trust_env=False)
        )
        try:
            yield session
        except TransportError as error:
            if not is_guest or await _running(data) == address:
                raise
            raise CommandError(
                "The emulator has ended: it belonged to another command, which was stopped",
                f"Try again: its data is kept in {data}",
                ExitCode.REFUSED,
            ) from error


def local_timings(speed: float = _USUAL_SPEED) -> Timings:
    """Return how long the states of a batch last, so many times faster than usual."""
    return Timings(
        validating_s=_VALIDATING_S / speed,
        line_s=_LINE_S / speed,
        finalizing_s=_FINALIZING_S / speed,
        cancelling_s=_CANCELLING_S / speed,
    )


@contextlib.contextmanager
def announced(data: Path, address: str) -> Generator[None]:
    """Let commands that come meanwhile know where the emulator of a folder is."""
    path = data / _ADDRESS
    try:
        write_file(path, address.encode())
        yield
    finally:
        path.unlink(missing_ok=True)


def unusable(data: Path, error: OSError) -> CommandError:
    """Return what to say of a folder that cannot be used."""
    reason = error if isinstance(error, DataFolderError) else f"{data}: {error.strerror or error}"
    return CommandError(f"The emulator's folder cannot be used: {reason}", _OTHER_FOLDER)


async def _started_or_running(stack: contextlib.AsyncExitStack, data: Path, speed: float) -> tuple[str, bool]:
    """Return an address, and whether the emulator there is another command's."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + _CHANGE_S
    while True:
        try:
            return await _started(stack, data, speed), False
        except FolderInUseError as error:
            # Another command was quicker by a moment, or is about to end.
            if (address := await _running(data)) is not None:
                return address, True
            if loop.time() > end_s:
                raise unusable(data, error) from error
        except OSError as error:
            raise unusable(data, error) from error
        await asyncio.sleep(_PAUSE_S)


async def _started(stack: contextlib.AsyncExitStack, data: Path, speed: float) -> str:
    server = await stack.enter_async_context(_served(data, speed))
    stack.enter_context(announced(data, server.base_url))

    async def stay(kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is None or issubclass(kind, Exception):
            await _outlasted(server)

    stack.push_async_exit(stay)
    return server.base_url


@contextlib.asynccontextmanager
async def _served(data: Path, speed: float) -> AsyncGenerator[BatchServer]:
    """Serve a folder; one that was made for nothing is removed."""
    is_new, is_empty = not data.exists(), False  # noqa: ASYNC240  # a moment; two that begin at once stay in step
    try:
        async with BatchServer(data=data, timings=local_timings(speed)) as server:
            try:
                yield server
            finally:
                is_empty = not (server.store.batches.items or server.store.files.items)
    finally:
        if is_new and is_empty:
            await in_thread(_remove_empty, data)


def _remove_empty(data: Path) -> None:
    # Whatever else came to lie there stays, and the folder with it.
    with contextlib.suppress(OSError):
        for path in data.glob("emulator.*"):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
        data.rmdir()


async def _outlasted(server: BatchServer) -> None:
    """Return when no other command uses the emulator, or the person does not want to wait for that."""
    # Our own connection has just been closed, and the server sees it in a moment.
    await asyncio.sleep(_PAUSE_S if server.connection_count else 0)
    if not server.connection_count:
        return
    note("Other commands use the emulator of this command: it runs until they are done, or until Ctrl-C")
    with contextlib.suppress(asyncio.CancelledError):
        while server.connection_count:  # noqa: ASYNC110  # the server has no event for it
            await asyncio.sleep(_PAUSE_S)


async def _running(data: Path) -> str | None:
    """Return the address of the emulator that serves the folder, if one does."""
    try:
        address = await in_thread((data / _ADDRESS).read_text, "utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    # What an emulator left behind that was killed may be somebody else's address by now.
    return address if await in_thread(is_served, data) and await _listens(address) else None


async def _listens(address: str) -> bool:
    # No request: an emulator that is there to fail may fail this one as well.
    try:
        place = urlsplit(address)
        async with asyncio.timeout(_GREETING_TIMEOUT_S):
            _, writer = await asyncio.open_connection(place.hostname, place.port)
    except (OSError, ValueError):
        return False
    writer.close()
    return True
