"""``openai-batches webhook``: receive the webhooks of the service."""

import asyncio
import contextlib
import datetime as dt
import os
import shlex
import shutil
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import msgspec
from aiohttp import web
from cyclopts import App, Parameter, validators

from openai_batches import (
    BatchesError,
    BatchSession,
    InputError,
    TransportError,
    WebhookEvent,
    WebhookReceiver,
    make_converter,
)
from openai_batches._text import as_count
from openai_batches._threads import in_daemon_thread
from openai_batches.cli.command import command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.output.streams import OutputStream
from openai_batches.cli.output.terminal import note, say, warn
from openai_batches.cli.output.texts import one_line, time_text
from openai_batches.emulator.webhooks.endpoints import EVENT_TYPES

if TYPE_CHECKING:
    from openai_batches import Batch

__all__ = [
    "EventCommand",
    "LocalEndpoint",
    "ReceivedWebhook",
    "WebhookQueue",
    "app",
    "listener",
    "serving_webhooks",
    "url_of",
]

_EXAMPLES = """\
# Try it without a key; `openai-batches run FILE --local` in another terminal:
openai-batches webhook listen --local --port 0

# Behind a proxy or a tunnel that has the address you gave the service:
OPENAI_WEBHOOK_SECRET=... openai-batches webhook listen --port 8000 --fetch

# For each event a command, which gets it as JSON on standard input:
openai-batches webhook listen --exec ./on-event.sh"""
_SECRET_ENV = "OPENAI_WEBHOOK_SECRET"  # noqa: S105  # its name, not itself

app: App = command("webhook", examples=_EXAMPLES, help="Receive the service's webhooks.")
_listen = command("listen", examples=_EXAMPLES)
app.command(_listen, name="listen")
# While more events than this wait, further ones are refused, so that the service sends them again later.
_MOST_WAITING = 1_000
_BACKLOG = 128
_SHUTDOWN_S = 2.0
_LOOK_S = 5.0
# What listens everywhere is called here.
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # it is told from them, not bound to them
_AT_ONCE = 4
_STDERR = 2


class ReceivedWebhook(msgspec.Struct, frozen=True):
    """A webhook whose signature was right: its event, and the event as the service wrote it."""

    event: WebhookEvent
    body: bytes


class WebhookQueue(WebhookReceiver):
    """Keeps what arrives, once each, for whoever takes it from the queue; None in the queue is the end."""

    def __init__(self, secret: str) -> None:
        super().__init__(None, secret)
        self.queue: asyncio.Queue[ReceivedWebhook | None] = asyncio.Queue()

    async def receive(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        """Return the event in a webhook, which waits in the queue if it is new."""
        event = await super().receive(headers, body)
        if not event.is_repeated:
            self.queue.put_nowait(ReceivedWebhook(event, body))
        return event

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a webhook: 503, so that it is sent again, where too many wait."""
        if self.queue.qsize() >= _MOST_WAITING:
            return web.Response(status=503, text="busy")
        return await super().handle(request)


class LocalEndpoint:
    """An endpoint at a local emulator, which calls an address."""

    def __init__(self, session: BatchSession, id: str, secret: str) -> None:
        self._session = session
        self._path = f"/webhook_endpoints/{id}"
        self.secret = secret

    @classmethod
    @contextlib.asynccontextmanager
    async def made(cls, session: BatchSession, url: str) -> AsyncGenerator["LocalEndpoint"]:
        """Make one for as long as it is needed."""
        order = {"name": "openai-batches webhook listen", "url": url, "event_types": list(EVENT_TYPES)}
        answer = await session.request("POST", "/webhook_endpoints", json=order)
        record = answer.json()
        endpoint = cls(session, record["id"], record["signing_secret"])
        try:
            yield endpoint
        finally:
            await endpoint.remove()

    async def remove(self) -> None:
        """Let the emulator forget it, if the emulator is still there."""
        with contextlib.suppress(TransportError):
            await self._session.request("DELETE", self._path)

    async def watch(self) -> None:
        """Look after it until that fails, as it does when the emulator ends."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._session.request("GET", self._path)


class EventCommand:
    """Runs a command for each event, at most four at a time, and tells of those that fail.

    No shell reads the command or the event. What the command writes goes to standard error.
    """

    def __init__(self, command: str) -> None:
        try:
            self._argv = shlex.split(command)
        except ValueError as error:
            raise CommandError(f"The command {command!r} cannot be read: {error}", "Correct the quotes") from error
        if not self._argv or shutil.which(self._argv[0]) is None:
            name = repr(self._argv[0]) if self._argv else "no name"
            advice = "Give a program and its arguments; for more than one, a script: --exec ./on-event.sh"
            raise CommandError(f"There is no program {name} to be run", advice)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, event: bytes, name: str) -> None:
        """Start the command, as soon as fewer than four are running."""
        await self._slots.acquire()
        task = asyncio.create_task(self._run(event, name))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def finish(self) -> None:
        """Return when no command runs any more; if that is cancelled, they are ended."""
        if not self._tasks:
            return
        note(f"Waiting for {as_count(len(self._tasks), 'command')}; Ctrl-C ends at once")
        try:
            await asyncio.wait(self._tasks)
        except asyncio.CancelledError:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
            raise

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()

    async def _run(self, event: bytes, name: str) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv, stdin=asyncio.subprocess.PIPE, stdout=_STDERR, stderr=_STDERR
            )
        except OSError as error:
            warn(f"{one_line(self._argv[0])} cannot be run for {one_line(name)}: {error.strerror or error}")
            return
        try:
            await process.communicate(event)
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            raise
        if process.returncode:
            warn(f"{one_line(self._argv[0])} ended with {process.returncode} for {one_line(name)}")


@_listen.default
async def listen(
    *,
    host: Annotated[str, Parameter(metavar="HOST")] = "127.0.0.1",
    port: Annotated[int, Parameter(metavar="PORT", validator=validators.Number(gte=0, lte=65_535))] = 8000,
    path: Annotated[str, Parameter(metavar="PATH")] = "/webhook",
    secret_env: Annotated[str, Parameter(metavar="VARIABLE")] = _SECRET_ENV,
    fetch: bool = False,
    jsonl: bool = False,
    exec: Annotated[str | None, Parameter(metavar="COMMAND")] = None,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Receive webhooks and tell of each whose signature is right, until Ctrl-C.

    What does not prove where it comes from, or is too old, is refused with a warning; what comes twice is told once.
    With --local, the emulator sends its webhooks here, with a secret of its own.

    Args:
        host: Address to listen on (127.0.0.1).
        port: Port to listen on, 0 for a free one (8000).
        path: Path of the address that the service calls (/webhook).
        secret_env: Variable that holds the secret of the endpoint (OPENAI_WEBHOOK_SECRET).
        fetch: Ask the service about the batch of each event, and tell that too; this takes the key.
        jsonl: Write each event as a line of JSON, with `batch` in it if --fetch is given.
        exec: Run this for each event, which it gets as JSON on standard input; at most four at a time.
        service: the service.
    """
    if not path.startswith("/"):
        raise CommandError(f"--path must begin with a slash, not {path!r}", f"Try --path /{path}")
    command = None if exec is None else EventCommand(exec)
    async with contextlib.AsyncExitStack() as stack:
        opened = stack.enter_context(listener(host, port))
        address = url_of(opened, path)
        session = await stack.enter_async_context(connected(service)) if fetch or service.local else None
        endpoint = None
        if service.local and session is not None:
            endpoint = await stack.enter_async_context(LocalEndpoint.made(session, address))
        arrivals = WebhookQueue(endpoint.secret) if endpoint is not None else _checked_by(secret_env)
        writer = _EventWriter(session=session if fetch else None, command=command, is_jsonl=jsonl)
        teller = asyncio.create_task(writer.tell_all(arrivals.queue))
        stack.push_async_callback(_ended, teller)
        async with serving_webhooks(arrivals, opened, path):
            await _until_stopped(address, teller, *([endpoint.watch()] if endpoint is not None else []))
        arrivals.queue.put_nowait(None)
        await teller
        if command is not None:
            await command.finish()
    return ExitCode.DONE


@attrs.frozen(kw_only=True)
class _EventWriter:
    """Tells of events one after the other.

    Attributes:
        session: where their batches are asked about; None does not ask.
        command: what else gets them.
        is_jsonl: whether they are written for programs.
        out: where these read them.
    """

    session: "BatchSession | None"
    command: EventCommand | None
    is_jsonl: bool
    out: OutputStream = attrs.field(factory=OutputStream)

    async def tell_all(self, queue: "asyncio.Queue[ReceivedWebhook | None]") -> None:
        while (arrived := await queue.get()) is not None:
            await self._tell(arrived)

    async def _tell(self, arrived: ReceivedWebhook) -> None:
        event = arrived.event
        batch = await self._batch(event.batch_id)
        record = msgspec.json.decode(arrived.body)
        if self.session is not None:
            record["batch"] = None if batch is None else make_converter().unstructure(batch)
        line = msgspec.json.encode(record)
        if self.is_jsonl:
            await self.out.write(lambda: line + b"\n")
        else:
            when = time_text(event.created_at or dt.datetime.now(dt.UTC))
            words = [when, event.type, event.batch_id or event.id, _batch_text(batch)]
            # Whoever reads it may be slow; what arrives is answered meanwhile.
            await in_daemon_thread(lambda: say("  ".join(one_line(word) for word in words if word)))
        if self.command is not None:
            await self.command.start(line + b"\n", event.id)

    async def _batch(self, id: str | None) -> "Batch | None":
        """Return what the service says of a batch; that it says nothing is no reason to stop."""
        if self.session is None or id is None:
            return None
        try:
            return await self.session.batches.retrieve(id)
        except BatchesError as error:
            warn(f"{one_line(id)} cannot be looked at: {one_line(str(error))}")
            return None


def _batch_text(batch: "Batch | None") -> str:
    if batch is None:
        return ""
    counts = batch.request_counts
    # A batch that failed as a whole counts nothing.
    if counts is None or not counts.total:
        return str(batch.status)
    failed = f", {counts.failed:,} failed" if counts.failed else ""
    return f"{batch.status}: {counts.completed:,} of {as_count(counts.total, 'request')}{failed}"


def _checked_by(name: str) -> WebhookQueue:
    """Return what checks webhooks with the secret in a variable."""
    if secret := os.environ.get(name, "").strip():
        try:
            return WebhookQueue(secret)
        except InputError as error:
            raise CommandError(f"{name} cannot be used: {error}", "Copy the whole secret of the endpoint") from error
    raise CommandError(
        f"There is no webhook secret: the environment variable {name} is not set",
        f"Set {name} to the secret of the endpoint (whsec_...), or try it without one: --local",
    )


async def _until_stopped(address: str, *ends: Awaitable[None] | Coroutine[Any, Any, None]) -> None:
    """Say where it listens; return at SIGINT or SIGTERM, or when one of these ends.

    A second SIGINT cancels what is still to be done.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = signal.getsignal(signal.SIGINT)
    for number in numbers:
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    note(f"Listening at {address} until Ctrl-C")
    others = [asyncio.ensure_future(end) for end in (*ends, stop.wait())]
    try:
        done, _ = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
    finally:
        for number in numbers:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
        signal.signal(signal.SIGINT, before)
        for task in others[1:]:
            await _ended(task)


async def _ended(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    await asyncio.wait({task})


@contextlib.contextmanager
def listener(host: str, port: int) -> Generator[socket.socket]:
    """Open a socket that listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        opened = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        advice = "Choose another port with --port, or let it choose a free one: --port 0"
        raise CommandError(f"Nothing can listen on {host}, port {port}: {reason}", advice) from error
    with opened:
        yield opened


def url_of(opened: socket.socket, path: str) -> str:
    """Return the URL at which a socket is called from this machine."""
    own: tuple[str, int] = opened.getsockname()[:2]
    host, port = _WILDCARDS.get(own[0], own[0]), own[1]
    return f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"


@contextlib.asynccontextmanager
async def serving_webhooks(arrivals: WebhookQueue, opened: socket.socket, path: str) -> AsyncGenerator[None]:
    """Take in what arrives at a socket meanwhile."""
    app = web.Application()
    app.router.add_post(path, arrivals.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.SockSite(runner, opened).start()
        yield
    finally:
        await runner.cleanup()
