"""An address at which the service's webhooks arrive, and the queue of those that are genuine."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Generator, Mapping

import msgspec
from aiohttp import web

from openai_batches import BatchSession, TransportError, WebhookEvent, WebhookReceiver
from openai_batches.cli.errors import CommandError
from openai_batches.emulator.webhooks.endpoints import EVENT_TYPES

__all__ = ["Arrivals", "Arrived", "LocalEndpoint", "address_of", "arriving", "listener"]

# More events than this wait for nobody: the service is asked to send further ones again, later.
_MOST_WAITING = 1_000
_BACKLOG = 128
_SHUTDOWN_S = 2.0
_LOOK_S = 5.0
# What listens everywhere is called here.
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # it is told from them, not bound to them


class Arrived(msgspec.Struct, frozen=True):
    """A webhook whose signature was right: its event, and the event as the service wrote it."""

    event: WebhookEvent
    body: bytes


class Arrivals(WebhookReceiver):
    """Keeps what arrives, once each, for whoever takes it from the queue; None in the queue is the end.

    Args:
        secret: the secret of the endpoint.
    """

    def __init__(self, secret: str) -> None:
        super().__init__(None, secret)
        self.queue: asyncio.Queue[Arrived | None] = asyncio.Queue()

    async def receive(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        """Return the event in a webhook, which waits in the queue if it is new."""
        event = await super().receive(headers, body)
        if not event.is_repeated:
            self.queue.put_nowait(Arrived(event, body))
        return event

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a webhook: 503, so that it is sent again, where too many wait."""
        if self.queue.qsize() >= _MOST_WAITING:
            return web.Response(status=503, text="busy")
        return await super().handle(request)


class LocalEndpoint:
    """An endpoint at a local emulator, which calls an address.

    Args:
        session: the session with the emulator.
        id: the endpoint's.
        secret: what the emulator signs with.
    """

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


@contextlib.contextmanager
def listener(host: str, port: int) -> Generator[socket.socket]:
    """Open a socket that listens.

    Raises:
        CommandError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        opened = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        advice = "Choose another port with --port, or let it choose a free one: --port 0"
        raise CommandError(f"Nothing can listen on {host}, port {port}: {reason}", advice) from error
    with opened:
        yield opened


def address_of(opened: socket.socket, path: str) -> str:
    """Return the URL at which a socket is called from this machine."""
    own: tuple[str, int] = opened.getsockname()[:2]
    host, port = _WILDCARDS.get(own[0], own[0]), own[1]
    return f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"


@contextlib.asynccontextmanager
async def arriving(arrivals: Arrivals, opened: socket.socket, path: str) -> AsyncGenerator[None]:
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
