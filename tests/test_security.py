"""What must not leak, must not break out, and must not fill the memory."""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
import ssl
import traceback
import tracemalloc
import warnings
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
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

from openai_batches import (
    OPENAI,
    APIError,
    AuthenticationError,
    BatchesError,
    BatchesWarning,
    BatchSession,
    DecodeError,
    InputError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.http_servers import Asked, OpenSession

MEGABYTE = 1024 * 1024


async def any_record(asked: Asked) -> bytes:
    return json_answer(file_json(deleted=True) if "/files" in asked.path else batch_json())


class TestIds:
    """An id is one segment of a path, whatever is in it."""

    @pytest.mark.parametrize(
        ("hostile", "segment"),
        [
            ("../files/x", "..%2Ffiles%2Fx"),
            ("a/b", "a%2Fb"),
            ("x?y=1", "x%3Fy%3D1"),
            ("x#y", "x%23y"),
            ("%2e%2e", "%252e%252e"),
            ("..%2f..", "..%252f.."),
            ("...", "..."),
            ("a b", "a%20b"),
            ("//host/x", "%2F%2Fhost%2Fx"),
            ("http://host/x", "http%3A%2F%2Fhost%2Fx"),
            ("x\\y", "x%5Cy"),
            ("x;y", "x%3By"),
            ("café", "caf%C3%A9"),
            ("x" * 1024, "x" * 1024),
        ],
    )
    async def test_a_hostile_id_stays_in_its_segment(
        self, hostile: str, segment: str, open_session: OpenSession
    ) -> None:
        """No id changes the path around it, on any verb."""
        async with RawServer(any_record) as server:
            session = open_session(server)
            await session.batches.retrieve(hostile)
            await session.batches.cancel(hostile)
            await session.files.retrieve(hostile)
            await session.files.delete(hostile)
            async with session.files.content(hostile) as content:
                await content.read()
            assert server.lines == [
                f"GET /v1/batches/{segment}",
                f"POST /v1/batches/{segment}/cancel",
                f"GET /v1/files/{segment}",
                f"DELETE /v1/files/{segment}",
                f"GET /v1/files/{segment}/content",
            ]

    @pytest.mark.parametrize(
        "hostile", ["", ".", "..", "x" * 10_240, "a\nb", "a\r\nHost: b", "a\0", "\x7f", "\x85", "\ud800", 7, None, b"x"]
    )
    async def test_what_cannot_be_an_id_is_refused(self, hostile: Any, open_session: OpenSession) -> None:
        """What cannot be an id is refused by every verb before anything is sent."""
        async with RawServer(any_record) as server:
            session = open_session(server)
            for verb in (
                session.batches.retrieve,
                session.batches.cancel,
                session.batches.wait,
                session.files.retrieve,
                session.files.delete,
            ):
                with pytest.raises(InputError, match=r"_id must|cannot be an id"):
                    await verb(hostile)
            with pytest.raises(InputError):
                session.files.content(hostile)
            assert not server.asked

    async def test_a_hostile_cursor_stays_in_its_parameter(self, open_session: OpenSession) -> None:
        """A cursor, be it the caller's or the service's, is one parameter."""

        async def handler(asked: Asked) -> bytes:
            has_more = len(server.asked) == 1
            page = {"object": "list", "data": [batch_json(f"b{len(server.asked)}")], "has_more": has_more}
            return json_answer({**page, "last_id": "x&limit=1#/../é\r\n"})

        async with RawServer(handler) as server:
            await open_session(server).batches.list(after="a&limit=9 b/c?d").collect()
            assert server.lines == [
                "GET /v1/batches?after=a%26limit%3D9+b%2Fc%3Fd&limit=100",
                "GET /v1/batches?after=x%26limit%3D1%23%2F..%2F%C3%A9%0D%0A&limit=100",
            ]

    @pytest.mark.parametrize(
        "path",
        [
            "http://evil.invalid/x",
            "//evil.invalid/x",
            "/../admin",
            "/a/%2E%2e/b",
            "/a/./b",
            "/x#y",
            "/a b",
            "/a\r\nHost: b",
            "/\\evil.invalid",
            "/é",
        ],
    )
    async def test_a_path_cannot_leave_the_service(self, path: str, open_session: OpenSession) -> None:
        """The way out of the model, session.request, reaches paths below the base URL alone."""
        async with RawServer(any_record) as server:
            with pytest.raises(InputError, match="path must"):
                await open_session(server).request("GET", path)
            assert not server.asked

    @pytest.mark.parametrize(
        "headers", [{"X-Bad": "a\r\nHost: b"}, {"X-Bad": "a\0"}, {"X-\n": "a"}, {"X-Ü": "a"}, {"X-N": 1}, {2: "a"}]
    )
    async def test_headers_cannot_break_out(self, headers: Any, open_session: OpenSession) -> None:
        """Headers that would end early are refused, for the session and for a request."""
        with pytest.raises(InputError, match="header"):
            BatchSession(KEY, headers=headers)
        async with RawServer(any_record) as server:
            with pytest.raises(InputError, match="header"):
                await open_session(server).request("GET", "/x", headers=headers)
            assert not server.asked


SECRETS = {"organization": "org-private", "project": "proj-private", "headers": {"X-Tenant": "tenant-private"}}


class TestRedirects:
    """What is secret stays with the origin it was meant for."""

    async def test_a_get_goes_to_another_origin_without_what_is_secret(self, open_session: OpenSession) -> None:
        """A download may be redirected to another origin; neither key nor any header of ours goes along."""

        async def handler(_: Asked) -> bytes:
            return answer(302, Location=f"{other.origin}/blob?signature=1")

        async with RawServer(answer(200, b"line\n")) as other, RawServer(handler) as server:
            async with open_session(server, **SECRETS).files.content("file-1") as content:
                assert await content.read() == b"line\n"
            assert other.lines == ["GET /blob?signature=1"]
            sent = {name.lower() for name in other.asked[0].headers}
            assert sent <= {"host", "user-agent", "accept", "accept-encoding"}
            assert "private" not in str(other.asked[0].headers)
            assert KEY not in str(other.asked[0].headers)

    async def test_the_way_back_does_not_bring_the_key_back(self, open_session: OpenSession) -> None:
        """Once a chain of redirects has left the origin, the key is gone for good."""

        async def elsewhere(_: Asked) -> bytes:
            return answer(302, Location=f"{server.origin}/v1/back")

        async def handler(asked: Asked) -> bytes:
            return json_answer(batch_json()) if asked.path == "/v1/back" else answer(302, Location=other.origin)

        async with RawServer(elsewhere) as other, RawServer(handler) as server:
            await open_session(server, retry=ONCE).batches.retrieve("b")
            assert KEY not in str(server.asked[-1].headers)
            assert KEY not in str(other.asked[-1].headers)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_what_is_sent_never_follows(self, status: int, open_session: OpenSession) -> None:
        """A body, or a verb that does something, is never sent to another origin."""

        async def handler(_: Asked) -> bytes:
            return answer(status, Location=f"{other.base_url}/files")

        async with RawServer(any_record) as other, RawServer(handler) as server:
            session = open_session(server)
            for verb in (
                lambda: session.files.create(b"{}\n"),
                lambda: session.batches.create(input_file_id="f", endpoint=CHAT),
                lambda: session.batches.cancel("b"),
                lambda: session.files.delete("f"),
            ):
                with pytest.raises(TransportError, match="does not follow a redirect to another origin"):
                    await verb()
            assert not other.asked
            assert len(server.asked) == 4

    async def test_from_https_to_http_is_refused(self, open_session: OpenSession) -> None:
        """Who asked over https is not answered over http."""

        async def handler(_: Asked) -> bytes:
            return answer(302, Location=plain.base_url)

        context = ssl.create_default_context()
        AUTHORITY.configure_trust(context)
        async with RawServer(any_record) as plain, RawServer(handler, tls=True) as server:
            session = open_session(server, connector=aiohttp.TCPConnector(ssl=context))
            with pytest.raises(TransportError, match="from https to http"):
                await session.batches.retrieve("b")
            assert not plain.asked

    @pytest.mark.parametrize("kind", ["api-key", "authorization", "cookie", "auth"])
    async def test_credentials_of_a_borrowed_session_stay_too(self, kind: str, open_session: OpenSession) -> None:
        """A borrowed session that would send credentials of its own is not taken to another origin."""

        async def handler(_: Asked) -> bytes:
            return answer(302, Location=other.base_url)

        provider = attrs.evolve(OPENAI, auth_header="api-key", auth_prefix="")
        async with RawServer(any_record) as other, RawServer(handler) as server, borrowed(kind) as theirs:
            with pytest.raises(TransportError, match="would send its own credentials"):
                await open_session(server, session=theirs, provider=provider).batches.retrieve("b")
            assert not other.asked
            assert server.asked[0].headers.getall("api-key") == [KEY]

    async def test_two_kinds_of_credentials(self, open_session: OpenSession) -> None:
        """A borrowed session whose own credentials want the key's header is refused before anything is sent."""
        async with RawServer(any_record) as server, borrowed("auth") as theirs:
            with pytest.raises(InputError, match="cannot be sent") as caught:
                await open_session(server, session=theirs).batches.retrieve("b")
            assert not server.asked
        assert not [text for text in shown(caught.value) if KEY in text]


def borrowed(kind: str) -> aiohttp.ClientSession:
    """Somebody's session, with credentials of its own."""
    if kind != "auth":
        return aiohttp.ClientSession(headers={kind: "private"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # aiohttp's, of an option that it still has
        return aiohttp.ClientSession(auth=aiohttp.BasicAuth("somebody", "private"))


def shown(error: BaseException) -> Iterator[str]:
    """All the ways in which an exception, and what caused it, come to somebody's eyes."""
    chain: BaseException | None = error
    while chain is not None:
        yield from (str(chain), repr(chain), repr(chain.args), repr(vars(chain)))
        chain = chain.__cause__ or chain.__context__
    yield "".join(traceback.format_exception(error))
    yield "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def said(asked: Asked) -> str:
    """The key as it was sent, which careless services repeat."""
    return asked.headers["Authorization"]


TROUBLE: dict[str, Any] = {
    "in an error": lambda asked: error_answer(401, f"Incorrect API key: {said(asked)}", code="invalid_api_key"),
    "in HTML": lambda asked: answer(502, f"<pre>{said(asked)}</pre>"),
    "in gzip": lambda asked: answer(500, gzip.compress(str(asked.headers).encode()), Content_Encoding="gzip"),
    "in success": lambda asked: answer(200, f"<html>{said(asked)}</html>"),
    "in a record": lambda asked: json_answer(
        {"id": "x", "status": "completed", "created_at": said(asked), "expires_at": said(asked)}
    ),
    "no HTTP": b"HTTP/9 nonsense\r\n\r\n",
    "a cut connection": lambda asked: asked.reset(),
    "silence": lambda _: asyncio.sleep(30),
    "redirects in a circle": answer(302, Location="/v1/x"),
}


class TestTheKey:
    """The key is shown nowhere."""

    @pytest.mark.parametrize("trouble", TROUBLE)
    async def test_in_no_error(self, trouble: str, open_session: OpenSession, caplog: pytest.LogCaptureFixture) -> None:
        """No message, repr, cause, traceback, local variable or log line shows it, whatever goes wrong."""
        caplog.set_level(logging.DEBUG)
        caplog.clear()
        async with RawServer(TROUBLE[trouble]) as server:
            session = open_session(server, timeout=0.1, retry=attrs.evolve(QUICK, attempts=2))
            for verb in (
                lambda: session.batches.retrieve("b"),
                lambda: session.batches.create(input_file_id="f", endpoint=CHAT),
                lambda: session.files.create(b"{}\n"),
            ):
                with pytest.raises(BatchesError) as caught:
                    await verb()
                assert not [text for text in shown(caught.value) if KEY in text]
        assert KEY not in caplog.text
        assert not [record for record in caplog.records if KEY in repr(vars(record))]

    async def test_in_no_error_of_a_connection(self, open_session: OpenSession) -> None:
        """A refused connection, a certificate that does not fit and a proxy that says no do not show it either."""
        async with RawServer(any_record) as server:
            gone = server.base_url
        with pytest.raises(TransportError) as caught:
            await open_session(gone, retry=ONCE).batches.retrieve("b")
        assert not [text for text in shown(caught.value) if KEY in text]
        async with RawServer(any_record, tls=True) as server:
            with pytest.raises(TransportError) as caught:
                await open_session(server, retry=ONCE).batches.retrieve("b")
        assert not [text for text in shown(caught.value) if KEY in text]

    async def test_in_no_repr(self, open_session: OpenSession) -> None:
        """Neither the session nor anything within it shows it."""

        def parts(value: Any, depth: int = 0) -> Iterator[str]:
            yield repr(value)
            if depth < 4 and type(value).__module__.startswith("openai_batches"):
                for part in getattr(value, "__dict__", {}).values():
                    yield from parts(part, depth + 1)

        async with RawServer(any_record) as server:
            session = open_session(server)
            batch = await session.batches.retrieve("b")
            seen = [*parts(session), *parts(batch), *parts(session.files.content("f")), *parts(session.batches.list())]
            assert repr(session) == f"<BatchSession {server.base_url}>"
            await session.close()
            assert repr(session) == f"<BatchSession {server.base_url} (closed)>"
        assert len(seen) > 20
        assert not [text for text in seen if KEY in text]

    @pytest.mark.parametrize("around", ["{}\nX: y", "{0} {0}", "{}é", "{}\x00", "\x00{}", "{0}\u2028{0}", "", "  \n"])
    def test_a_key_that_is_none_is_refused_unseen(self, around: str) -> None:
        """A key that cannot stand in a header is refused, and what it was is not said."""
        with pytest.raises(InputError, match="API key") as caught:
            BatchSession(around.format(KEY))
        assert not [text for text in shown(caught.value) if KEY in text]

    def test_an_argument_that_is_wrong_does_not_show_the_key_beside_it(self) -> None:
        """A mistake in another argument does not bring the key into a traceback."""
        for wrong in ({"base_url": "nonsense"}, {"timeout": -1}, {"headers": {"A": "\n"}}):
            with pytest.raises(InputError) as caught:
                BatchSession(KEY, **wrong)  # type: ignore[arg-type]
            assert not [text for text in shown(caught.value) if KEY in text]

    @pytest.mark.parametrize("padded", [f" {KEY}\n", f"{KEY}\r\n", f"\t{KEY}"])
    async def test_white_space_around_a_key_is_no_part_of_it(self, padded: str, open_session: OpenSession) -> None:
        """The end of the line that a key was read from is taken off."""
        async with RawServer(any_record) as server:
            await open_session(server, api_key=padded).batches.retrieve("b")
            assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"

    async def test_a_header_of_another_name(self, open_session: OpenSession) -> None:
        """A service that wants the key in another header gets it there, and as carefully."""
        provider = attrs.evolve(OPENAI, auth_header="api-key", auth_prefix="")

        async with RawServer(lambda asked: error_answer(401, f"Bad {asked.headers['api-key']}")) as server:
            with pytest.raises(AuthenticationError, match=r"Bad \[secret\]") as caught:
                await open_session(server, provider=provider).batches.retrieve("b")
            assert server.asked[0].headers["api-key"] == KEY
            assert "Authorization" not in server.asked[0].headers
        assert not [text for text in shown(caught.value) if KEY in text]


class TestTheWayThere:
    """A key travels encrypted, or somebody is told."""

    def test_plain_http_warns_once_naming_the_host(self) -> None:
        """A key over plain http to another machine is warned of once, where the session is made."""
        with pytest.warns(BatchesWarning, match=r"unencrypted to api\.example\.org") as caught:
            BatchSession(KEY, base_url="http://api.example.org/v1")
        assert len(caught) == 1
        assert caught[0].filename == __file__

    @pytest.mark.parametrize(
        "base_url",
        [
            "http://localhost:1/v1",
            "http://LOCALHOST:1/v1",
            "http://dev.localhost/v1",
            "http://127.0.0.1/v1",
            "http://127.8.9.10/v1",
            "http://[::1]:8080/v1",
            "https://api.example.org/v1",
        ],
    )
    def test_loopback_and_https_do_not(self, base_url: str) -> None:
        """What stays on this machine, and what is encrypted, is allowed, also with require_tls."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            BatchSession(KEY, base_url=base_url)
            BatchSession(KEY, base_url=base_url, require_tls=True)

    @pytest.mark.parametrize(
        "base_url",
        ["http://api.example.org/v1", "http://10.0.0.1", "http://localhost.example.org", "http://[2001:db8::1]/"],
    )
    def test_require_tls_refuses_it(self, base_url: str) -> None:
        """With require_tls, plain http to another machine is an error."""
        with pytest.raises(InputError, match="require_tls is set"):
            BatchSession(KEY, base_url=base_url, require_tls=True)

    @pytest.mark.parametrize(
        "base_url",
        [
            "nonsense",
            "api.openai.com/v1",
            "ftp://host/v1",
            "https://",
            "https:///v1",
            "//host/v1",
            "https://host:port/v1",
            "https://[::1/v1",
            "file:///etc/passwd",
        ],
    )
    def test_what_is_no_address(self, base_url: str) -> None:
        """A base_url that is no address of a service is refused in words."""
        with pytest.raises(InputError, match="base_url must be an address"):
            BatchSession(KEY, base_url=base_url)

    @pytest.mark.parametrize(
        "base_url", ["https://me:hunter2@host/v1", "https://hunter2@host/v1", "https://:hunter2@host/"]
    )
    def test_credentials_in_the_address_are_refused_unseen(self, base_url: str) -> None:
        """Credentials in base_url are refused, and not repeated."""
        with pytest.raises(InputError, match="user name or a password") as caught:
            BatchSession(KEY, base_url=base_url)
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize("base_url", ["https://host/v1?api-version=1", "https://host/v1#top"])
    def test_a_query_or_a_fragment_is_refused(self, base_url: str) -> None:
        """Paths are appended to base_url, so that nothing may stand behind its path."""
        with pytest.raises(InputError, match="query or a fragment"):
            BatchSession(KEY, base_url=base_url)


class TestMemory:
    """What a service sends without end does not fill the memory."""

    @pytest.mark.parametrize("status", [400, 200])
    @pytest.mark.parametrize("announced", [True, False])
    async def test_endless_answers(self, status: int, announced: bool, open_session: OpenSession) -> None:
        """Of an answer of 10 GB, be it an error or a success, no more is read than may be held."""
        sent = 0

        async def handler(asked: Asked) -> None:
            nonlocal sent
            length = f"Content-Length: {10**10}" if announced else "Connection: close"
            asked.writer.write(f"HTTP/1.1 {status} Whatever\r\n{length}\r\n\r\n".encode())
            piece = b"x" * 65_536
            while sent < 200 * MEGABYTE:
                asked.writer.write(piece)
                await asked.writer.drain()
                sent += len(piece)

        async with RawServer(handler) as server:
            session = open_session(server)
            tracemalloc.start()
            try:
                with pytest.raises(APIError if status == 400 else TransportError) as caught:
                    await session.request("GET", "/x", max_bytes=MEGABYTE)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert len(server.asked) == 1
        assert sent < 40 * MEGABYTE
        assert peak < 16 * MEGABYTE
        if isinstance(caught.value, APIError):
            assert len(caught.value.body) == 65_536
            assert len(str(caught.value)) < 1_000
        else:
            assert "larger than 1,048,576 bytes" in str(caught.value)

    async def test_a_bomb(self, open_session: OpenSession) -> None:
        """What is counted is what is held: a small answer that unpacks to a large one is refused."""
        async with RawServer(answer(200, gzip.compress(bytes(50 * MEGABYTE)), Content_Encoding="gzip")) as server:
            with pytest.raises(TransportError, match="larger than"):
                await open_session(server, retry=ONCE).request("GET", "/x", max_bytes=MEGABYTE)

    async def test_an_answer_of_just_the_right_size(self, open_session: OpenSession) -> None:
        """The bound itself is allowed."""

        async def handler(asked: Asked) -> bytes:
            body = bytes(1_000)
            return (
                answer(200, gzip.compress(body), Content_Encoding="gzip") if "gzip" in asked.path else answer(200, body)
            )

        async with RawServer(handler) as server:
            session = open_session(server)
            for path in ("/plain", "/gzip"):
                assert len((await session.request("GET", path, max_bytes=1_000)).body) == 1_000
                with pytest.raises(TransportError, match="larger than 999 bytes"):
                    await session.request("GET", path, max_bytes=999)

    async def test_a_line_without_end(self, open_session: OpenSession) -> None:
        """A line that does not end is refused rather than held."""

        async def handler(_: Asked) -> bytes:
            return answer(200, b"short\n" + b"x" * 3 * MEGABYTE)

        async with RawServer(handler) as server, open_session(server).files.content("f") as content:
            lines = content.iter_lines(max_line_bytes=MEGABYTE)
            assert await anext(lines) == b"short"
            with pytest.raises(DecodeError, match="Line 2 is longer than"):
                await anext(lines)

    async def test_an_upload_is_not_held(self, open_session: OpenSession, tmp_path: Any) -> None:
        """30 MB go from the disk to the service without being in memory."""

        async def handler(asked: Asked) -> bytes:
            left = int(asked.headers["Content-Length"])
            while left:
                left -= len(await asked.reader.read(65_536))
            asked._body = b""
            return json_answer(file_json())

        path = tmp_path / "large.jsonl"
        with path.open("wb") as file:
            for _ in range(30):
                file.write(b"y" * MEGABYTE)
        async with RawServer(handler) as server:
            session = open_session(server)
            await session.files.create(io.BytesIO(b"warm up\n"))
            tracemalloc.start()
            try:
                await session.files.create(path)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert peak < 6 * MEGABYTE
