"""``openai-batches webhook``: receive the service's webhooks."""

import asyncio
import contextlib
import datetime as dt
import os
import signal
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import msgspec
from cyclopts import App, Parameter, validators

from openai_batches import BatchesError, InputError, make_converter
from openai_batches._text import as_count
from openai_batches.cli.command import command
from openai_batches.cli.commands.handing_on import HandingOn
from openai_batches.cli.commands.listening import Arrivals, Arrived, LocalEndpoint, address_of, arriving, listener
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.output.streams import OutputStream, in_background
from openai_batches.cli.output.terminal import note, say, warn
from openai_batches.cli.output.texts import one_line, time_text

if TYPE_CHECKING:
    from openai_batches import Batch, BatchSession

__all__ = ["app"]

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
    hand_on = None if exec is None else HandingOn(exec)
    async with contextlib.AsyncExitStack() as stack:
        opened = stack.enter_context(listener(host, port))
        address = address_of(opened, path)
        session = await stack.enter_async_context(connected(service)) if fetch or service.local else None
        endpoint = None
        if service.local and session is not None:
            endpoint = await stack.enter_async_context(LocalEndpoint.made(session, address))
        arrivals = Arrivals(endpoint.secret) if endpoint is not None else _checked_by(secret_env)
        telling = _Telling(session=session if fetch else None, hand_on=hand_on, is_jsonl=jsonl)
        teller = asyncio.create_task(telling.tell_all(arrivals.queue))
        stack.push_async_callback(_ended, teller)
        async with arriving(arrivals, opened, path):
            await _until_stopped(address, teller, *([endpoint.watch()] if endpoint is not None else []))
        arrivals.queue.put_nowait(None)
        await teller
        if hand_on is not None:
            await hand_on.finish()
    return ExitCode.DONE


@attrs.frozen(kw_only=True)
class _Telling:
    """Tells of events one after the other.

    Attributes:
        session: where their batches are asked about; None does not ask.
        hand_on: what else gets them.
        is_jsonl: whether they are written for programs.
        out: where these read them.
    """

    session: "BatchSession | None"
    hand_on: HandingOn | None
    is_jsonl: bool
    out: OutputStream = attrs.field(factory=OutputStream)

    async def tell_all(self, queue: "asyncio.Queue[Arrived | None]") -> None:
        while (arrived := await queue.get()) is not None:
            await self._tell(arrived)

    async def _tell(self, arrived: Arrived) -> None:
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
            await in_background(lambda: say("  ".join(one_line(word) for word in words if word)))
        if self.hand_on is not None:
            await self.hand_on.start(line + b"\n", event.id)

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


def _checked_by(name: str) -> Arrivals:
    """Return what checks webhooks with the secret in a variable."""
    if secret := os.environ.get(name, "").strip():
        try:
            return Arrivals(secret)
        except InputError as error:
            raise CommandError(f"{name} cannot be used: {error}", "Copy the whole secret of the endpoint") from error
    raise CommandError(
        f"There is no webhook secret: the environment variable {name} is not set",
        f"Set {name} to the secret of the endpoint (whsec_...), or try the same without one: --local",
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
