"""One attempt of one request, through aiohttp.

No other module imports aiohttp's client. Redirects are followed here rather than by aiohttp, because only we know which
headers carry the key; a body is built anew for each attempt, because aiohttp would send a used one as empty.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from openai_batches.errors import InputError, TransportError, TransportTimeoutError
from openai_batches.http.multipart import frame
from openai_batches.http.wire import MultipartBody, Request

__all__ = ["ApiKey", "ByteStream", "Exchange", "Secret", "checked_key", "client_timeout"]

ApiKey = str | Callable[[], Awaitable[str]]

# Seconds without any byte are limited, not the whole: a large file on a slow link is no error.
_CONNECT_S = 15.0
_SILENCE_S = 120.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 10
# The headers that another origin gets: none of them is secret.
_HARMLESS = ("User-Agent", "Accept-Encoding", "Range", "If-Range")


class Secret(str):
    """A text whose ``repr`` does not show it, since tracebacks may show local variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[secret]'"


class ByteStream:
    """The body of one answer, read as it comes.

    ``status``, ``headers`` and ``request_id`` are the answer's; ``size`` is the number of bytes it announced, or None.
    """

    def __init__(self, response: aiohttp.ClientResponse, request: Request[Any]) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        # A body that is decoded has another length than what is read here.
        is_decoded = "Content-Encoding" in response.headers and not request.is_raw
        self.size: int | None = None if is_decoded else response.content_length
        self.request_id: str | None = response.headers.get("x-request-id")
        self._response = response
        self._request = request

    @property
    def asked(self) -> str:
        """What this answers: the method and the address, without its query."""
        return f"{self._request.method} {self._response.url.with_query(None)}"

    async def iter_chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they arrive, in pieces of no particular size."""
        read = self._response.content.readany
        try:
            while chunk := await read():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise transport_error(error, self._request.method, self._request.path) from error

    async def read(self, max_bytes: int) -> bytes | None:
        """Return the whole body, or None if it is larger than ``max_bytes``."""
        size = self.size
        if size is not None and size <= max_bytes:
            # The usual case, without a list of pieces.
            try:
                return await self._response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise transport_error(error, self._request.method, self._request.path) from error
        body, is_whole = await self.read_start(max_bytes)
        return body if is_whole else None

    async def read_start(self, max_bytes: int) -> tuple[bytes, bool]:
        """Return at most ``max_bytes`` from the start of the body, and whether that was all of it."""
        parts: list[bytes] = []
        left = max_bytes
        async for chunk in self.iter_chunks():
            parts.append(chunk)
            left -= len(chunk)
            if left < 0:
                break
        return b"".join(parts)[:max_bytes], left >= 0

    def close(self) -> None:
        """Give the connection back, or close it where the body was not read to its end."""
        self._response.close()


class Exchange:
    """Sends a request once, to one service. A session that was given is borrowed: it is used, and never closed."""

    def __init__(
        self,
        *,
        base_url: str,
        query: str,
        auth_header: str,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        session: aiohttp.ClientSession | None,
        session_options: Mapping[str, Any],
        trust_env: bool,
    ) -> None:
        if session is not None and not isinstance(session, aiohttp.ClientSession):
            raise InputError(f"session must be an aiohttp.ClientSession, not {session!r}")
        self._base_url = base_url
        self._query = query
        self._origin = URL(base_url).origin()
        self._auth_header = auth_header
        self._headers = CIMultiDict(headers)
        self._timeout = timeout
        self._session = session
        self._is_owner = session is None
        self._session_options = dict(session_options)
        self._trust_env = trust_env and self._is_owner
        self._loop: asyncio.AbstractEventLoop | None = None
        self._proxies: dict[tuple[str, str], str | None] = {}
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    async def close(self) -> None:
        """Close our own session; a borrowed one is left open. Closing twice does nothing."""
        self._is_closed = True
        if self._is_owner and self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def open(self, request: Request[Any], credentials: Secret) -> ByteStream:
        """Send a request once and return its open answer, whatever its status.

        Redirects are followed: with the credentials within the origin, without them to another one, and there only
        where nothing but an address is sent.
        """
        session = self._open_session()
        address = self._base_url + request.path
        if self._query:
            address += ("&" if "?" in request.path else "?") + self._query
        url = URL(address, encoded=True)
        headers = self._headers.copy()
        if isinstance(request.body, bytes):
            headers["Content-Type"] = "application/json"
        if request.headers:
            headers.update(request.headers)
        headers["X-Client-Request-Id"] = secrets.token_hex(16)
        headers[self._auth_header] = credentials
        method = request.method
        for _ in range(_MAX_REDIRECTS):
            response = await self._exchange(session, method, url, headers, request)
            location = response.headers.get("Location") if response.status in _REDIRECTS else None
            if location is None:
                return ByteStream(response, request)
            response.close()
            url = _target(url, location, request)
            if url.origin() != self._origin:
                self._leave(session, url, request)
                headers = CIMultiDict({name: headers[name] for name in _HARMLESS if name in headers})
            elif method not in {"GET", "HEAD"} and response.status not in {307, 308}:
                raise _redirect_error(request, url, "a redirect that changes the method is not followed")
        raise _redirect_error(request, url, f"more than {_MAX_REDIRECTS} redirects")

    def _leave(self, session: aiohttp.ClientSession, url: URL, request: Request[Any]) -> None:
        """Refuse a redirect to another origin that would take something secret along."""
        if request.method not in {"GET", "HEAD"}:
            raise _redirect_error(request, url, "what is sent does not follow a redirect to another origin")
        if self._origin.scheme == "https" and url.scheme != "https":
            raise _redirect_error(request, url, "a redirect from https to http is not followed")
        credentials = (self._auth_header, "Authorization", "Proxy-Authorization", "Cookie")
        if session.auth is not None or any(name in session.headers for name in credentials):
            raise _redirect_error(request, url, "the borrowed session would send its own credentials along")

    async def _exchange(
        self, session: aiohttp.ClientSession, method: str, url: URL, headers: Mapping[str, str], request: Request[Any]
    ) -> aiohttp.ClientResponse:
        options: dict[str, Any] = {"timeout": self._timeout, "allow_redirects": False, "raise_for_status": False}
        if self._trust_env and (proxy := self._proxy_for(url)):
            options["proxy"] = proxy
        if request.is_raw:
            options["auto_decompress"] = False
        failure: list[Exception] = []
        try:
            if isinstance(request.body, MultipartBody):
                return await _upload(session, method, url, headers, request.body, options, failure)
            return await session.request(method, url, headers=headers, data=request.body, **options)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if failure:
                raise failure[0] from None
            raise transport_error(error, method, request.path) from error
        except ValueError as error:
            # aiohttp raises it for headers, proxies and credentials that cannot be sent.
            raise InputError(f"{method} {request.bare} cannot be sent: {error}") from error

    def _proxy_for(self, url: URL) -> str | None:
        # Reading the environment takes longer than the rest of a request, and aiohttp would read it for each one.
        place = (url.scheme, url.host or "")
        if place not in self._proxies:
            proxies = getproxies()
            proxy = proxies.get(url.scheme) or proxies.get("all")
            self._proxies[place] = _checked_proxy(proxy, place[1]) if proxy and not proxy_bypass(place[1]) else None
        return self._proxies[place]

    def _open_session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._is_closed:
            raise InputError("The session is closed")
        if not self._is_owner and self._session is not None and self._session.closed:
            raise InputError("The borrowed session is closed")
        if self._session is None:
            # The API does not use the cookies that proxies before it set.
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), **self._session_options)
            self._loop = loop
        elif self._loop is not None and self._loop is not loop:
            raise InputError("The session was opened in another event loop: use one BatchSession for each loop")
        return self._session


def client_timeout(timeout: float | aiohttp.ClientTimeout | None) -> aiohttp.ClientTimeout:
    """Return aiohttp's timeouts: its own object, or seconds without any byte, None for 120 s.

    With a number, connecting is limited to 15 s (or to that number, if less), and the whole is not limited.
    """
    if isinstance(timeout, aiohttp.ClientTimeout):
        return timeout
    silence_s = _SILENCE_S if timeout is None else timeout
    if isinstance(silence_s, bool) or not isinstance(silence_s, int | float) or not silence_s > 0:
        raise InputError(f"timeout must be seconds above 0 or an aiohttp.ClientTimeout, not {timeout!r}")
    return aiohttp.ClientTimeout(total=None, sock_connect=min(_CONNECT_S, silence_s), sock_read=silence_s)


def checked_key(key: object) -> Secret:
    """Return a key without the white space around it; an error does not show it."""
    if not isinstance(key, str):
        raise InputError(f"The API key must be a str, not {type(key).__name__}")
    key = Secret(key.strip())
    if not key:
        raise InputError("The API key is empty")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError("The API key has characters that no key has (white space, control or non-ASCII characters)")
    return key


def transport_error(error: BaseException, method: str, path: str) -> TransportError:
    """Return our exception for one of aiohttp or of the system; it does not show the query of the path."""
    text = str(error).replace(" ssl:default", "") or type(error).__name__  # it says so of plain http as well
    if isinstance(error, aiohttp.ClientResponseError):
        text = f"{error.status} {error.message}"  # its own text has the whole URL
    elif isinstance(error, aiohttp.ClientPayloadError):
        text = "the answer broke off"  # its own text looks like an answer of the service
    message = f"{method} {path.partition('?')[0]}: {text}"
    if isinstance(error, TimeoutError):
        return TransportTimeoutError(message, was_sent=not isinstance(error, aiohttp.ConnectionTimeoutError))
    unsent = (aiohttp.ClientConnectorError, aiohttp.ClientConnectorCertificateError, aiohttp.ClientHttpProxyError)
    permanent = (
        aiohttp.ClientSSLError,
        aiohttp.ServerFingerprintMismatch,
        aiohttp.InvalidURL,
        aiohttp.NonHttpUrlClientError,
    )
    return TransportError(
        message,
        was_sent=not isinstance(error, (*unsent, *permanent)),
        can_pass=not isinstance(error, permanent),
    )


async def _upload(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    body: MultipartBody,
    options: dict[str, Any],
    failure: list[Exception],
) -> aiohttp.ClientResponse:
    """Send a form with its file; the timeout counts from the last byte that was written, and then until the answer.

    An error of the file is put into ``failure``, since aiohttp hides it in an error of the connection.
    """
    framed = frame(
        body.fields, field_name=body.field_name, filename=body.filename, boundary=f"batches-{secrets.token_hex(16)}"
    )
    length = len(framed.head) + body.size + len(framed.tail)
    loop = asyncio.get_running_loop()
    silence_s = options["timeout"].sock_read
    is_answered = False

    async def chunks() -> AsyncIterator[bytes]:
        def alive() -> None:
            # An answer that comes early (413) ends the scope while the rest is still being written.
            if silence_s is not None and not is_answered:
                scope.reschedule(loop.time() + silence_s)

        alive()
        yield framed.head
        try:
            async for chunk in body.chunks():
                alive()
                yield chunk
        except Exception as error:
            failure.append(error)
            raise
        yield framed.tail
        if not is_answered:
            scope.reschedule(None)  # from here on aiohttp's own read timeout counts

    sent = {**headers, "Content-Type": framed.content_type, "Content-Length": str(length)}
    async with asyncio.timeout(None) as scope:
        response = await session.request(method, url, headers=sent, data=chunks(), **options)
        is_answered = True
    return response


def _target(url: URL, location: str, request: Request[Any]) -> URL:
    try:
        target = url.join(URL(location, encoded=True))
        target.origin()
        _ = target.port  # a port that is out of range is only noticed here
    except ValueError:
        raise _redirect_error(request, url, "it was redirected to something that is no address") from None
    return target.with_fragment(None)


def _redirect_error(request: Request[Any], url: URL, why: str) -> TransportError:
    where = f"{url.scheme}://{url.host}" if url.is_absolute() else "nowhere"
    return TransportError(f"{request.method} {request.bare}: {why} (to {where})", was_sent=False, can_pass=False)


def _checked_proxy(proxy: str, host: str) -> str:
    """Return the address of a proxy that the environment names, if aiohttp can speak to it."""
    scheme, mark, _ = proxy.partition("://")
    if not mark:
        return f"http://{proxy}"
    if scheme.lower() not in {"http", "https"}:
        raise InputError(
            f"The environment names a {scheme} proxy for {host}, and only http proxies are spoken to: "
            "name another, exempt the host in NO_PROXY, pass a connector, or set trust_env=False"
        )
    return proxy
