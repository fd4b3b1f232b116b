"""The session: where its settings come from, and the way to what is not modelled."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
from support.http_servers import KEY, RawServer, answer, batch_json, error_answer, json_answer

from openai_batches import OPENAI, BatchSession, DecodeError, InputError, InternalServerError

if TYPE_CHECKING:
    from support.http_servers import Asked, OpenSession


async def one_batch(_: Asked) -> bytes:
    return json_answer(batch_json())


class TestSettings:
    def test_without_a_key(self) -> None:
        """Without a key there is no session, and the error says where one can come from."""
        with pytest.raises(InputError, match=r"No API key for OpenAI: pass api_key=…, or set .* OPENAI_API_KEY"):
            BatchSession()

    @pytest.mark.parametrize("empty", ["", "   "])
    def test_an_empty_variable(self, empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable that holds nothing is no key."""
        monkeypatch.setenv("OPENAI_API_KEY", empty)
        with pytest.raises(InputError, match="API key"):
            BatchSession()

    async def test_everything_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Key, address, organization and project are read from the variables the official client reads."""
        async with RawServer(one_batch) as server:
            monkeypatch.setenv("OPENAI_API_KEY", KEY)
            monkeypatch.setenv("OPENAI_BASE_URL", f"{server.base_url}/")
            monkeypatch.setenv("OPENAI_ORG_ID", "org-env")
            monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-env")
            async with BatchSession() as session:
                assert session.base_url == server.base_url
                await session.batches.retrieve("b")
            headers = server.asked[0].headers
        assert headers["Authorization"] == f"Bearer {KEY}"
        assert (headers["OpenAI-Organization"], headers["OpenAI-Project"]) == ("org-env", "proj-env")

    async def test_arguments_go_before_the_environment(
        self, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is passed wins over the environment."""
        for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
            monkeypatch.setenv(name, "from-the-environment")
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
        async with RawServer(one_batch) as server:
            await open_session(server, organization="org-1", project="proj-1").batches.retrieve("b")
            assert "from-the-environment" not in str(server.asked[0].headers)

    async def test_nothing_is_sent_that_was_not_set(self, open_session: OpenSession) -> None:
        """Without organization and project there are no such headers."""
        async with RawServer(one_batch) as server:
            await open_session(server).batches.retrieve("b")
            names = {name.lower() for name in server.asked[0].headers}
        assert names == {"host", "accept", "accept-encoding", "user-agent", "authorization", "x-client-request-id"}

    async def test_headers_of_ones_own(self, open_session: OpenSession) -> None:
        """Headers for every request replace ours, whatever their case."""
        async with RawServer(one_batch) as server:
            given = {"user-agent": "mine/1", "X-Tenant": "7"}
            await open_session(server, headers=given, organization="org").batches.retrieve("b")
            headers = server.asked[0].headers
        assert headers.getall("User-Agent") == ["mine/1"]
        assert (headers["X-Tenant"], headers["OpenAI-Organization"]) == ("7", "org")

    @pytest.mark.parametrize("name", ["Authorization", "authorization"])
    def test_the_key_does_not_come_as_a_header(self, name: str) -> None:
        """The header of the key is the session's."""
        with pytest.raises(InputError, match="pass it as api_key"):
            BatchSession(KEY, headers={name: "Bearer x"})

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ("https://host/v1", "https://host/v1"),
            (" https://host/v1/\n", "https://host/v1"),
            ("HTTPS://HOST:8443//", "https://host:8443"),
            ("https://host", "https://host"),
        ],
    )
    def test_addresses(self, given: str, kept: str) -> None:
        """An address is kept without the slash at its end."""
        assert BatchSession(KEY, base_url=given).base_url == kept

    def test_an_empty_address_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A variable that is set to nothing is not set."""
        monkeypatch.setenv("OPENAI_BASE_URL", "")
        assert BatchSession(KEY).base_url == "https://api.openai.com/v1"

    def test_the_address_of_the_service(self) -> None:
        """Without a word, the address is the service's."""
        assert BatchSession(KEY).base_url == "https://api.openai.com/v1"
        elsewhere = attrs.evolve(OPENAI, base_url="https://other.example.org/openai/v1")
        assert BatchSession(KEY, provider=elsewhere).base_url == "https://other.example.org/openai/v1"

    @pytest.mark.parametrize("option", ["connector", "proxy", "trace_configs", "middlewares"])
    async def test_a_borrowed_session_connects_as_it_likes(self, option: str) -> None:
        """What only a session of our own can be told is refused beside a borrowed one."""
        async with aiohttp.ClientSession() as theirs:
            with pytest.raises(InputError, match=f"{option} cannot be set on a borrowed session"):
                BatchSession(KEY, session=theirs, **{option: object()})  # type: ignore[arg-type]

    @pytest.mark.parametrize("timeout", [0, -1, "10"])
    def test_timeouts(self, timeout: Any) -> None:
        """A timeout that is none is refused."""
        with pytest.raises(InputError, match="timeout"):
            BatchSession(KEY, timeout=timeout)

    def test_making_one_needs_no_loop(self) -> None:
        """A session can be made anywhere, and left unused without a warning."""
        code = "from openai_batches import BatchSession; BatchSession('k'); print('made')"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-X", "dev", "-c", code],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.stdout, done.stderr) == ("made\n", "")

    async def test_as_a_context(self) -> None:
        """The block closes the session, after an error too."""
        session = BatchSession(KEY)
        with pytest.raises(RuntimeError):
            async with session as entered:
                raise RuntimeError(entered)
        assert entered is session
        assert session.closed

    async def test_many_calls_at_once(self, open_session: OpenSession) -> None:
        """Calls may run side by side in one session."""
        async with RawServer(one_batch) as server:
            session = open_session(server)
            batches = await asyncio.gather(*(session.batches.retrieve(f"b{number}") for number in range(50)))
            assert len(batches) == len(server.asked) == 50
            assert len({asked.headers["X-Client-Request-Id"] for asked in server.asked}) == 50


class TestRequest:
    """session.request: for what is not modelled."""

    async def test_an_answer_as_it_came(self, open_session: OpenSession) -> None:
        """The answer has status, headers, body, JSON and request id."""
        async with RawServer(json_answer({"models": [1]}, 201, x_request_id="req_5", X_Odd="yes")) as server:
            said = await open_session(server).request("GET", "models")
        assert (said.status, said.json(), said.request_id) == (201, {"models": [1]}, "req_5")
        assert (said.headers["x-odd"], said.body) == ("yes", b'{"models": [1]}')
        assert "models" not in repr(said)

    async def test_an_answer_that_is_no_json(self, open_session: OpenSession) -> None:
        """Bodies that are no JSON are there as bytes."""
        async with RawServer(lambda _: asyncio.sleep(0, answer(200, b"\xff"))) as server:
            said = await open_session(server).request("GET", "/x")
        assert said.body == b"\xff"
        with pytest.raises(DecodeError):
            said.json()

    async def test_what_is_sent(self, open_session: OpenSession) -> None:
        """Method, path, query, body and headers are sent as they are given."""

        async def handler(asked: Asked) -> bytes:
            bodies.append(await asked.body())
            return answer(200, b"{}")

        bodies: list[bytes] = []
        async with RawServer(handler) as server:
            session = open_session(server)
            await session.request("post", "/a/b?x=1", params={"y": "2 3", "z": 4}, json={"ü": 1}, headers={"X-A": "1"})
            await session.request("GET", "a%2Fb", params={"y": 1})
            await session.request("GET", "/plain", params={})
            assert server.lines == ["POST /v1/a/b?x=1&y=2+3&z=4", "GET /v1/a%2Fb?y=1", "GET /v1/plain"]
            assert server.asked[0].headers["X-A"] == "1"
            assert "X-A" not in server.asked[1].headers
        assert bodies == ['{"ü":1}'.encode(), b"", b""]

    async def test_a_body_says_what_it_is(self, open_session: OpenSession) -> None:
        """A JSON body is announced as JSON, there and on the verbs that have one."""
        async with RawServer(one_batch) as server:
            session = open_session(server)
            await session.request("POST", "/x", json={"a": 1})
            await session.batches.create(input_file_id="f", endpoint="/v1/chat/completions")
            for asked in server.asked:
                assert asked.headers.getall("Content-Type") == ["application/json"]
            await session.request("POST", "/x", json={}, headers={"content-type": "application/merge-patch+json"})
            assert server.asked[-1].headers.getall("Content-Type") == ["application/merge-patch+json"]

    async def test_no_body(self, open_session: OpenSession) -> None:
        """A POST without a body says that it has none."""
        async with RawServer(one_batch) as server:
            await open_session(server).batches.cancel("b")
            assert server.asked[0].headers["Content-Length"] == "0"

    async def test_no_json(self, open_session: OpenSession) -> None:
        """A body that is no JSON is refused before anything is sent."""
        async with RawServer(one_batch) as server:
            with pytest.raises(InputError, match="the body cannot be written as JSON"):
                await open_session(server).request("POST", "/x", json=object())
            assert not server.asked

    async def test_repeatable_by_word(self, open_session: OpenSession) -> None:
        """Whether a request may be repeated can be said; without a word its method tells."""
        async with RawServer(error_answer(500)) as server:
            session = open_session(server)
            for method, repeatable, attempts in (
                ("POST", True, 5),
                ("GET", False, 1),
                ("POST", None, 1),
                ("GET", None, 5),
            ):
                server.asked.clear()
                with pytest.raises(InternalServerError):
                    await session.request(method, "/x", repeatable=repeatable)
                assert len(server.asked) == attempts
