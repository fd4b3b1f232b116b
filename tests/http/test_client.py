"""One attempt through the door to the network: connections, uploads, proxies, redirects, and what can break."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import socket
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey, RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from support.http_servers import (
    AUTHORITY,
    CHAT,
    KEY,
    ONCE,
    QUICK,
    RawServer,
    answer,
    batch_json,
    error_answer,
    file_json,
    json_answer,
)
from yarl import URL

from openai_batches import APIError, BatchSession, InputError, NotFoundError, TransportError, TransportTimeoutError
from openai_batches.http.client import client_timeout, transport_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from support.http_servers import Asked, OpenSession


async def one_batch(_: Asked) -> bytes:
    return json_answer(batch_json())


class TestConnections:
    async def test_one_connection_serves_calls_in_a_row(self, open_session: OpenSession) -> None:
        """Calls one after the other share a connection, after refusals too."""

        async def handler(asked: Asked) -> bytes:
            return error_answer(404) if asked.path.endswith("/nothing") else await one_batch(asked)

        async with RawServer(handler) as server:
            session = open_session(server)
            for _ in range(3):
                await session.batches.retrieve("b")
                with pytest.raises(NotFoundError):
                    await session.batches.retrieve("nothing")
            assert (len(server.asked), server.connections) == (6, 1)

    async def test_encoded_answers(self, open_session: OpenSession) -> None:
        """A compressed answer is read like any other."""

        async def handler(_: Asked) -> bytes:
            return answer(200, gzip.compress(b'{"id": "b", "status": "completed"}'), Content_Encoding="gzip")

        async with RawServer(handler) as server:
            assert (await open_session(server).batches.retrieve("b")).is_terminal

    async def test_chunked_answers(self, open_session: OpenSession) -> None:
        """An answer of unknown length is read to its end."""

        async def handler(asked: Asked) -> None:
            asked.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in (b'{"id": "b", ', b'"status": "completed"}'):
                asked.writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await asyncio.sleep(0.01)
            asked.writer.write(b"0\r\n\r\n")
            await asked.writer.drain()

        async with RawServer(handler) as server:
            assert (await open_session(server).batches.retrieve("b")).id == "b"

    async def test_silence_is_bounded(self, open_session: OpenSession) -> None:
        """A service that says nothing is given up after the timeout, with an error that is a TimeoutError too."""
        async with RawServer(lambda _: asyncio.sleep(30)) as server:
            session = open_session(server, retry=ONCE, timeout=1)
            with pytest.raises(TransportTimeoutError) as caught:
                await session.batches.retrieve("b")
            assert isinstance(caught.value, TimeoutError)
            assert caught.value.was_sent

    async def test_size_is_not_bounded(self, open_session: OpenSession) -> None:
        """An answer may take longer than the timeout, as long as it does not fall silent."""

        async def handler(asked: Asked) -> None:
            whole = json_answer(batch_json())
            for start in range(0, len(whole), 10):
                asked.writer.write(whole[start : start + 10])
                await asyncio.sleep(0.1)

        async with RawServer(handler) as server:
            session = open_session(server, retry=ONCE, timeout=2)
            begun = asyncio.get_running_loop().time()
            assert (await session.batches.retrieve("b")).id == "batch_1"
            assert asyncio.get_running_loop().time() - begun > 2

    async def test_an_own_session_is_opened_on_first_use_and_closed(self) -> None:
        """A session of our own appears with the first call and is closed with us; closing twice does nothing."""
        async with RawServer(one_batch) as server:
            session = BatchSession(KEY, base_url=server.base_url)
            assert session._exchange._session is None
            await session.batches.retrieve("b")
            inner = session._exchange._session
            assert inner is not None
            await session.close()
            assert inner.closed
            await session.close()
            with pytest.raises(InputError, match="closed"):
                await session.batches.retrieve("b")

    async def test_a_borrowed_session_is_never_closed(self) -> None:
        """A session that was passed is used as it is, and left open."""

        async def count(_session: object, _context: object, params: aiohttp.TraceRequestStartParams) -> None:
            seen.append(params.method)

        seen: list[str] = []
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(count)
        async with aiohttp.ClientSession(trace_configs=[trace]) as borrowed, RawServer(one_batch) as server:
            async with BatchSession(KEY, base_url=server.base_url, session=borrowed) as session:
                await session.batches.retrieve("b")
            assert session.closed
            assert not borrowed.closed
            assert seen == ["GET"]
            with pytest.raises(InputError, match="closed"):
                await session.batches.retrieve("b")

    async def test_a_closed_borrowed_session(self) -> None:
        """A borrowed session that its owner closed gives an error of ours."""
        async with aiohttp.ClientSession() as borrowed:
            pass
        session = BatchSession(KEY, base_url="http://127.0.0.1:9", session=borrowed, retry=ONCE)
        with pytest.raises((InputError, TransportError), match="closed"):
            await session.batches.retrieve("b")

    def test_another_loop_is_refused(self) -> None:
        """A session belongs to the loop of its first call; another loop gets an error that says so."""

        async def use() -> None:
            async with RawServer(one_batch) as server:
                session._exchange._base_url = server.base_url
                await session.batches.retrieve("b")

        session = BatchSession(KEY, base_url="http://127.0.0.1:9")
        with asyncio.Runner() as first:
            first.run(use())
            with asyncio.Runner() as second, pytest.raises(InputError, match="another event loop"):
                second.run(use())
            first.run(session.close())

    async def test_what_is_passed_on_to_an_own_session(self, open_session: OpenSession) -> None:
        """Connector, traces and middlewares of an own session are aiohttp's."""

        async def middleware(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
            seen.append(request.method)
            return await handler(request)

        seen: list[str] = []
        connector = aiohttp.TCPConnector(limit=1)
        async with RawServer(one_batch) as server:
            session = open_session(server, connector=connector, middlewares=[middleware])
            await session.batches.retrieve("b")
            await session.close()
        assert seen == ["GET"]
        assert connector.closed


class TestTls:
    async def test_an_untrusted_certificate_is_not_retried(self, open_session: OpenSession) -> None:
        """A certificate that does not fit will not fit the next time either, and nothing was sent."""
        async with RawServer(one_batch, tls=True) as server:
            with pytest.raises(TransportError) as caught:
                await open_session(server).batches.create(input_file_id="f", endpoint=CHAT)
            assert isinstance(caught.value.__cause__, aiohttp.ClientConnectorCertificateError)
            assert (caught.value.was_sent, caught.value.can_pass) == (False, False)
            assert not server.asked

    async def test_a_certificate_that_is_trusted(self, open_session: OpenSession) -> None:
        """TLS is aiohttp's: a connector with a context of its own reaches a service with a private certificate."""
        context = ssl.create_default_context()
        AUTHORITY.configure_trust(context)
        async with RawServer(one_batch, tls=True) as server:
            session = open_session(server, connector=aiohttp.TCPConnector(ssl=context))
            assert (await session.batches.retrieve("b")).id == "batch_1"

    async def test_a_fingerprint_that_differs(self, open_session: OpenSession) -> None:
        """A pinned certificate that is another one is as final as one that does not fit."""
        connector = aiohttp.TCPConnector(ssl=aiohttp.Fingerprint(b"0" * 32))
        async with RawServer(one_batch, tls=True) as server:
            with pytest.raises(TransportError) as caught:
                await open_session(server, connector=connector).batches.create(input_file_id="f", endpoint=CHAT)
            assert (caught.value.was_sent, caught.value.can_pass) == (False, False)
            assert not server.asked


MEGABYTE = b"x" * 1024 * 1024


async def many_megabytes(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield MEGABYTE


class TestUploads:
    async def test_the_body_is_built_anew_for_each_attempt(self, open_session: OpenSession, tmp_path: Path) -> None:
        """An attempt that breaks in the middle is repeated from the first byte on, whole."""

        async def handler(asked: Asked) -> bytes | None:
            if len(server.asked) == 1:
                await asked.reader.readexactly(100_000)
                return asked.reset()
            if len(server.asked) == 2:
                await asked.body()
                return error_answer(500)
            bodies.append(await asked.body())
            return json_answer(file_json())

        bodies: list[bytes] = []
        path = tmp_path / "in.jsonl"
        path.write_bytes(b"".join(b"%07d\n" % number for number in range(500_000)))
        async with RawServer(handler) as server:
            await open_session(server).files.create(path)
            assert len(server.asked) == 3
            assert len({asked.headers["Content-Length"] for asked in server.asked}) == 1
        assert path.read_bytes() in bodies[0]

    async def test_a_stalled_upload_is_bounded(self, open_session: OpenSession) -> None:
        """A service that stops reading an upload is given up after the timeout."""
        async with RawServer(lambda _: asyncio.sleep(30)) as server:
            session = open_session(server, retry=ONCE, timeout=0.2)
            async with asyncio.timeout(60):
                with pytest.raises(TransportTimeoutError):
                    await session.files.create(MEGABYTE * 30)

    async def test_a_stall_in_an_upload_without_a_read_timeout(self, open_session: OpenSession) -> None:
        """Who sets no read timeout bounds no silence: an upload may then stall as long as it likes."""

        async def handler(asked: Asked) -> bytes:
            await asyncio.sleep(0.3)
            await asked.body()
            return json_answer(file_json())

        async with RawServer(handler) as server:
            session = open_session(server, retry=ONCE, timeout=aiohttp.ClientTimeout(total=60))
            await session.files.create(MEGABYTE * 12)

    async def test_a_slow_upload_is_no_stall(self, open_session: OpenSession) -> None:
        """An upload may take longer than the timeout, as long as it moves."""

        async def handler(asked: Asked) -> bytes:
            left = int(asked.headers["Content-Length"])
            while left > 0:
                left -= len(await asked.reader.read(2_000_000))
                await asyncio.sleep(0.04)
            asked._body = b""
            return json_answer(file_json())

        async with RawServer(handler) as server:
            session = open_session(server, retry=ONCE, timeout=2)
            begun = asyncio.get_running_loop().time()
            await session.files.create(MEGABYTE * 16)
            assert asyncio.get_running_loop().time() - begun > 2

    @pytest.mark.parametrize("reads_on", ["nothing", "some", "all"])
    async def test_an_early_no(self, reads_on: str, open_session: OpenSession) -> None:
        """A service that refuses an upload before it has all of it is heard, with its reason."""

        async def handler(asked: Asked) -> None:
            said = error_answer(413, "File is too large.")
            head, _, body = said.partition(b"\r\n\r\n")
            asked.writer.write(head + b"\r\n\r\n")
            await asked.writer.drain()
            if reads_on == "all":
                await asked.body()
            for _ in range(20 if reads_on == "some" else 0):
                await asked.reader.read(100_000)
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)
            asked.writer.write(body)
            await asked.writer.drain()
            await asyncio.sleep(0.2)

        async with RawServer(handler) as server:
            with pytest.raises(APIError, match=r"File is too large\.") as caught:
                await open_session(server).files.create(MEGABYTE * 20)
            assert (caught.value.status, len(server.asked)) == (413, 1)

    async def test_a_source_that_breaks(self, open_session: OpenSession) -> None:
        """What goes wrong with the file is raised as it is: no failure of the network, and not repeated."""

        async def handler(asked: Asked) -> bytes:
            await asked.body()
            return json_answer(file_json())

        class Disk:
            offset = 0

            def seekable(self) -> bool:
                return True

            def tell(self) -> int:
                return 0

            def seek(self, offset: int, whence: int = 0) -> int:
                self.offset = offset
                return 5_000_000 if whence else offset

            def read(self, size: int) -> bytes:
                if self.offset > 1_000_000:
                    raise OSError(5, "Input/output error")
                return bytes(size)

        async with RawServer(handler) as server:
            with pytest.raises(OSError, match="Input/output error") as caught:
                await open_session(server).files.create(Disk())  # type: ignore[arg-type]
            assert not isinstance(caught.value, aiohttp.ClientError)
            assert len(server.asked) == 1

    async def test_a_cancelled_upload(self, open_session: OpenSession) -> None:
        """Cancelling an upload ends it, and leaves nothing behind."""
        async with RawServer(lambda _: asyncio.sleep(30)) as server:
            task = asyncio.create_task(open_session(server).files.create(MEGABYTE * 20))
            await server.was_asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


class TestProxies:
    """The proxy variables are honoured, as every other program of the machine does."""

    @pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
    async def test_a_proxy_is_used(
        self, variable: str, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The request goes to the proxy, with the whole address, and with the key."""
        async with RawServer(one_batch) as proxy, RawServer(one_batch) as server:
            monkeypatch.setenv(variable, proxy.origin)
            await open_session(server).batches.retrieve("b")
            assert proxy.lines == [f"GET {server.base_url}/batches/b"]
            assert not server.asked

    @pytest.mark.parametrize("exempt", ["127.0.0.1", "*", "example.org, 127.0.0.1"])
    async def test_a_host_without_proxy(
        self, exempt: str, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """NO_PROXY names the hosts that are reached directly."""
        async with RawServer(one_batch) as proxy, RawServer(one_batch) as server:
            monkeypatch.setenv("HTTP_PROXY", proxy.origin)
            monkeypatch.setenv("NO_PROXY", exempt)
            await open_session(server).batches.retrieve("b")
            assert (len(proxy.asked), len(server.asked)) == (0, 1)

    async def test_the_environment_can_be_left_alone(
        self, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """trust_env=False, and a borrowed session, look at no variable."""
        async with RawServer(one_batch) as proxy, RawServer(one_batch) as server, aiohttp.ClientSession() as borrowed:
            monkeypatch.setenv("HTTP_PROXY", proxy.origin)
            await open_session(server, trust_env=False).batches.retrieve("b")
            await open_session(server, session=borrowed).batches.retrieve("b")
            assert (len(proxy.asked), len(server.asked)) == (0, 2)

    async def test_a_proxy_of_ones_own(self, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy that is passed is used instead of those of the environment."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        async with RawServer(one_batch) as proxy, RawServer(one_batch) as server:
            await open_session(server, proxy=proxy.origin).batches.retrieve("b")
            assert len(proxy.asked) == 1

    async def test_a_dead_proxy(self, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy that cannot be reached is a TransportError, and nothing was sent."""
        async with RawServer(one_batch) as proxy, RawServer(one_batch) as server:
            monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@127.0.0.1:{proxy.port + 0}")
            await proxy.__aexit__()
            with pytest.raises(TransportError) as caught:
                await open_session(server, retry=ONCE).batches.retrieve("b")
        assert not caught.value.was_sent
        assert "secret" not in str(caught.value)

    async def test_a_proxy_that_says_no(self, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy that opens no tunnel is a TransportError, and nothing was sent to the service."""
        async with RawServer(answer(407, "Who are you?")) as proxy, RawServer(one_batch, tls=True) as server:
            monkeypatch.setenv("HTTPS_PROXY", proxy.origin)
            with pytest.raises(TransportError, match="407") as caught:
                await open_session(server, retry=ONCE).batches.retrieve("b")
            assert proxy.lines == [f"CONNECT 127.0.0.1:{server.port}"]
        assert not caught.value.was_sent
        assert KEY not in repr(caught.value.__cause__)

    @pytest.mark.parametrize("scheme", ["socks5", "SOCKS5h"])
    async def test_a_proxy_that_cannot_be_spoken_to(
        self, scheme: str, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A proxy of a kind that aiohttp does not speak is refused in words, without its password."""
        async with RawServer(one_batch) as server:
            monkeypatch.setenv("ALL_PROXY", f"{scheme}://me:secret@127.0.0.1:9")
            with pytest.raises(InputError, match=f"a {scheme} proxy for 127") as caught:
                await open_session(server).batches.retrieve("b")
            assert not server.asked
        assert "secret" not in str(caught.value)

    async def test_a_proxy_without_a_scheme(self, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy that is named by host and port alone is an http proxy, as it is for other programs."""
        async with RawServer(one_batch) as proxy, RawServer(one_batch) as server:
            monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.port}")
            await open_session(server).batches.retrieve("b")
            assert len(proxy.asked) == 1

    async def test_netrc_stays_out_of_it(
        self, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A netrc with credentials for the host neither replaces the key nor breaks the request."""
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password else\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        async with RawServer(one_batch) as server:
            await open_session(server).batches.retrieve("b")
            assert server.asked[0].headers.getall("Authorization") == [f"Bearer {KEY}"]


def client_errors() -> list[type[aiohttp.ClientError]]:
    """All exceptions of aiohttp's client; tests may have made others below them."""

    def walk(cls: type[Any]) -> Iterator[type[Any]]:
        yield cls
        for child in cls.__subclasses__():
            yield from walk(child)

    found = {cls for cls in walk(aiohttp.ClientError) if cls.__module__.startswith("aiohttp.")}
    return sorted(found, key=lambda cls: cls.__name__)


def built(cls: type[aiohttp.ClientError]) -> aiohttp.ClientError:
    """An instance of any of aiohttp's exceptions, whatever its class wants to know."""
    url = URL("http://host.invalid/v1/batches?after=private")
    headers = CIMultiDictProxy(CIMultiDict({"Authorization": "Bearer private"}))
    known: dict[str, Any] = {
        "request_info": RequestInfo(url, "GET", headers, url),
        "history": (),
        "connection_key": ConnectionKey("host.invalid", 80, False, True, None, None, None),
        "os_error": OSError(111, "Connection refused"),
        "certificate_error": ssl.SSLCertVerificationError(1, "certificate verify failed"),
        "path": "/run/socket",
        "expected": b"1",
        "got": b"2",
        "host": "host.invalid",
        "port": 80,
        "url": url.with_query(None),
    }
    constructor: Any = cls.__init__
    if not inspect.isfunction(constructor):
        return cls("broken")
    parameters = list(inspect.signature(constructor).parameters.values())[1:]
    needed = [item for item in parameters if item.kind is item.POSITIONAL_OR_KEYWORD and item.default is item.empty]
    return cls(*(known[item.name] for item in needed))


class TestErrorsOfTheNetwork:
    @pytest.mark.parametrize("cls", client_errors(), ids=lambda cls: cls.__name__)
    def test_every_error_of_aiohttp_has_one_of_ours(self, cls: type[aiohttp.ClientError]) -> None:
        """Each of aiohttp's exceptions becomes a TransportError that says what failed, without the query."""
        error = built(cls)
        ours = transport_error(error, "GET", "/batches?after=private")
        assert isinstance(ours, TransportError)
        assert isinstance(ours, TimeoutError) == isinstance(error, TimeoutError)
        assert str(ours).startswith("GET /batches: ")
        assert len(str(ours)) > len("GET /batches: ")
        assert "private" not in str(ours)

    def test_only_what_is_certainly_unsent_is_called_so(self) -> None:
        """Nothing was sent where no connection came about; everywhere else it may have been."""
        unsent = {cls.__name__ for cls in client_errors() if not transport_error(built(cls), "GET", "/").was_sent}
        assert unsent == {
            "ClientConnectorCertificateError",
            "ClientConnectorDNSError",
            "ClientConnectorError",
            "ClientConnectorSSLError",
            "ClientHttpProxyError",
            "ClientProxyConnectionError",
            "ClientSSLError",
            "ConnectionTimeoutError",
            "InvalidURL",
            "InvalidUrlClientError",
            "InvalidUrlRedirectClientError",
            "NonHttpUrlClientError",
            "NonHttpUrlRedirectClientError",
            "ServerFingerprintMismatch",
            "UnixClientConnectorError",
        }

    def test_what_would_come_again_is_called_so(self) -> None:
        """Certificates and addresses that do not fit will not fit the next time."""
        final = {cls.__name__ for cls in client_errors() if not transport_error(built(cls), "GET", "/").can_pass}
        assert final == {
            "ClientConnectorCertificateError",
            "ClientConnectorSSLError",
            "ClientSSLError",
            "InvalidURL",
            "InvalidUrlClientError",
            "InvalidUrlRedirectClientError",
            "NonHttpUrlClientError",
            "NonHttpUrlRedirectClientError",
            "ServerFingerprintMismatch",
        }

    @pytest.mark.parametrize(
        ("error", "kind"), [(TimeoutError(), TransportTimeoutError), (OSError(104, "reset"), TransportError)]
    )
    def test_errors_of_the_operating_system(self, error: Exception, kind: type[TransportError]) -> None:
        """What the operating system says becomes ours too."""
        assert type(transport_error(error, "GET", "/x")) is kind

    async def test_who_is_not_there_is_named_alone(self, open_session: OpenSession) -> None:
        """Nothing is said of TLS where none was asked for."""
        with pytest.raises(TransportError, match=r"^GET /batches/b: .*127\.0\.0\.1:9 ") as caught:
            await open_session("http://127.0.0.1:9", retry=ONCE).batches.retrieve("b")
        assert "ssl" not in str(caught.value)

    async def test_a_name_that_does_not_resolve(self, open_session: OpenSession) -> None:
        """An unknown host is a TransportError that names it, and nothing was sent."""

        class NoResolver(aiohttp.abc.AbstractResolver):
            async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> Any:
                raise OSError(None, "Name or service not known")

            async def close(self) -> None:
                pass

        connector = aiohttp.TCPConnector(resolver=NoResolver())
        session = open_session("https://nobody.invalid/v1", connector=connector, retry=ONCE)
        with pytest.raises(TransportError, match=r"nobody\.invalid") as caught:
            await session.batches.retrieve("b")
        assert not caught.value.was_sent

    async def test_a_connection_that_does_not_come_about(self, open_session: OpenSession) -> None:
        """A connection that takes too long is a timeout after which nothing was sent."""

        class SlowResolver(aiohttp.abc.AbstractResolver):
            async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> Any:
                await asyncio.sleep(30)

            async def close(self) -> None:
                pass

        timeout = aiohttp.ClientTimeout(connect=0.05)
        connector = aiohttp.TCPConnector(resolver=SlowResolver())
        session = open_session("https://slow.invalid/v1", connector=connector, timeout=timeout, retry=ONCE)
        with pytest.raises(TransportTimeoutError) as caught:
            await session.batches.retrieve("b")
        assert not caught.value.was_sent


class TestTimeouts:
    def test_without_a_word_silence_is_bounded_and_size_is_not(self) -> None:
        """The default bounds connecting and silence, never the whole."""
        timeout = client_timeout(None)
        assert (timeout.total, timeout.sock_connect, timeout.sock_read) == (None, 15, 120)

    @pytest.mark.parametrize(("seconds", "connect"), [(3, 3), (0.5, 0.5), (600, 15)])
    def test_a_number_is_seconds_of_silence(self, seconds: float, connect: float) -> None:
        """A number bounds the silence, and connecting where it is shorter than its own bound."""
        timeout = client_timeout(seconds)
        assert (timeout.total, timeout.sock_connect, timeout.sock_read) == (None, connect, seconds)

    def test_an_object_of_aiohttp_is_taken_as_it_is(self) -> None:
        """Who brings aiohttp's own object gets exactly that."""
        timeout = aiohttp.ClientTimeout(total=5)
        assert client_timeout(timeout) is timeout

    @pytest.mark.parametrize("wrong", [0, -1, float("nan"), True, "10"])
    def test_what_is_no_timeout(self, wrong: Any) -> None:
        """A timeout is a number above 0."""
        with pytest.raises(InputError, match="timeout must be seconds"):
            client_timeout(wrong)


class TestRedirects:
    async def test_within_the_service_a_redirect_is_followed_with_all_that_belongs_to_it(
        self, open_session: OpenSession
    ) -> None:
        """Within one origin a redirect keeps key, headers, method and body."""

        async def handler(asked: Asked) -> bytes:
            bodies.append(await asked.body())
            if not asked.path.startswith("/v2"):
                return answer(307, Location="/v2/files#top")
            return json_answer(file_json())

        bodies: list[bytes] = []
        async with RawServer(handler) as server:
            await open_session(server, organization="org-1").files.create(b"{}\n")
            assert server.lines == ["POST /v1/files", "POST /v2/files"]
            last = server.asked[-1].headers
            assert (last["Authorization"], last["OpenAI-Organization"]) == (f"Bearer {KEY}", "org-1")
        assert all(b"{}\n" in body for body in bodies)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_every_redirect_of_a_get(self, status: int, open_session: OpenSession) -> None:
        """A GET follows every kind of redirect."""

        async def handler(asked: Asked) -> bytes:
            return answer(status, Location="../elsewhere") if asked.path == "/v1/batches/b" else await one_batch(asked)

        async with RawServer(handler) as server:
            await open_session(server).batches.retrieve("b")
            assert server.lines[-1] == "GET /v1/elsewhere"

    @pytest.mark.parametrize("status", [301, 302, 303])
    async def test_a_redirect_that_changes_the_method(self, status: int, open_session: OpenSession) -> None:
        """A POST never becomes a GET on its way."""
        async with RawServer(lambda _: answer(status, Location="/elsewhere")) as server:
            with pytest.raises(TransportError, match="changes the method"):
                await open_session(server).batches.cancel("b")
            assert len(server.asked) == 1

    async def test_a_redirect_in_a_circle(self, open_session: OpenSession) -> None:
        """Redirects end after ten."""
        async with RawServer(answer(302, Location="/v1/again")) as server:
            with pytest.raises(TransportError, match="more than 10 redirects"):
                await open_session(server).batches.retrieve("b")
            assert len(server.asked) == 10

    @pytest.mark.parametrize("location", ["http://[", "mailto:somebody", "http://host:notaport/"])
    async def test_a_redirect_to_nowhere(self, location: str, open_session: OpenSession) -> None:
        """A redirect to something that is no address is an error that does not pass."""
        async with RawServer(answer(302, Location=location)) as server:
            with pytest.raises(TransportError) as caught:
                await open_session(server).batches.retrieve("b")
            assert not caught.value.can_pass
            assert len(server.asked) == 1

    async def test_a_redirect_without_a_target(self, open_session: OpenSession) -> None:
        """A redirect that leads nowhere is an answer like any other that is no success."""
        async with RawServer(answer(304)) as server:
            with pytest.raises(APIError) as caught:
                await open_session(server, retry=QUICK).batches.retrieve("b")
            assert caught.value.status == 304
