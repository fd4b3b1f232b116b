"""Connections to clients: how long a silent one is kept, and the answer to bytes that are not HTTP."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from openai_batches.emulator.answers import CLIENT_TIMEOUT_S, APIError, abort

# How long a refused client may go on sending what is not read, so that it receives the answer.
_LINGERING_S = 10.0
# How many clients that connect at once may wait to be accepted.
_BACKLOG = 1024


@contextlib.asynccontextmanager
async def reading(request: web.Request) -> AsyncGenerator[None]:
    """Bound one read of a request's body by the application's `CLIENT_TIMEOUT_S`."""
    try:
        async with asyncio.timeout(request.config_dict[CLIENT_TIMEOUT_S]):
            yield
    except TimeoutError as error:
        raise APIError("The body of the request did not arrive in time.", status=408) from error
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise APIError("The body of the request could not be parsed.") from error


class Connection(web.RequestHandler):
    """One connection, which is closed when its client keeps the server waiting.

    Within `client_timeout_s` real seconds the head of the next request must be there, and an answer be taken.
    """

    __slots__ = ("_client_timeout_s", "_new_request_id", "_open", "_silence")

    def __init__(
        self,
        server: web.Server,
        *,
        client_timeout_s: float,
        new_request_id: Callable[[], str],
        open_transports: "OpenTransports",
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp's own runner passes it on as well
            keepalive_timeout=client_timeout_s,
            lingering_time=min(_LINGERING_S, client_timeout_s),
        )
        self._client_timeout_s = client_timeout_s
        self._new_request_id = new_request_id
        self._open = open_transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the client time for its first request; aiohttp itself bounds the wait for the following ones."""
        super().connection_made(transport)
        self._open.add(self, transport)
        loop = asyncio.get_running_loop()
        self._silence = loop.call_later(self._client_timeout_s, self._close_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the client."""
        super().connection_lost(exc)
        self._open.discard(self)
        self._silence.cancel()

    def _close_if_silent(self) -> None:
        if not self._request_count:
            self.force_close()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer, and give up on a client that does not take it; streams have a timeout of their own."""
        if isinstance(resp, web.HTTPException):
            resp = self._refusal(resp.status, resp.reason)
        if type(resp) is not web.Response:
            return await super().finish_response(request, resp, start_time)
        try:
            async with asyncio.timeout(self._client_timeout_s):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            abort(request)
            return resp, True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer bytes that aiohttp could not read as a request with an error object like any other."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        answer = self._refusal(status, "The request could not be parsed as HTTP.")
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log the emulator's own errors, but no malformed request."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def _refusal(self, status: int, message: str) -> web.Response:
        answer = APIError(message, status=status).to_response()
        answer.headers["x-request-id"] = self._new_request_id()
        return answer


class OpenTransports:
    """The connections that are open, also those that aiohttp forgets while they wait for a client to read."""

    def __init__(self) -> None:
        self._by_connection: dict[Connection, asyncio.Transport] = {}

    def __len__(self) -> int:
        return len(self._by_connection)

    def add(self, connection: Connection, transport: asyncio.BaseTransport) -> None:
        """Note a connection."""
        self._by_connection[connection] = cast("asyncio.Transport", transport)

    def discard(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._by_connection.pop(connection, None)

    async def abort(self) -> None:
        """Abort the connections that are still open, and return when they are closed."""
        while self._by_connection:
            for transport in self._by_connection.values():
                transport.abort()
            await asyncio.sleep(0)


class Site(web.BaseSite):
    """A TCP address on which clients get a `Connection`."""

    def __init__(
        self, runner: web.AppRunner, host: str, port: int, connect: Callable[[web.Server], Connection]
    ) -> None:
        super().__init__(runner)
        self._host, self._port, self._connect = host, port, connect

    @property
    def name(self) -> str:
        """The address as a URL."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen."""
        await super().start()
        connect = functools.partial(self._connect, cast("web.Server", self._runner.server))
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(connect, self._host, self._port, backlog=_BACKLOG)
