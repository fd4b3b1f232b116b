"""Attempts: what is repeated, after which pauses, and when it is enough."""

from __future__ import annotations

import asyncio
import email.utils
import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from support import virtual_time
from support.http_servers import KEY, ONCE, QUICK, RawServer, answer, batch_json, error_answer, file_json, json_answer

from openai_batches import (
    APIError,
    BatchesError,
    BatchSession,
    ConflictError,
    DecodeError,
    InputError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
    RetryPolicy,
    TransportError,
)
from openai_batches.http.retries import Transport
from openai_batches.http.wire import Repeat, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.http_servers import Asked, OpenSession

VERBS: dict[str, Callable[[BatchSession], Awaitable[object]]] = {
    "retrieve": lambda session: session.batches.retrieve("batch_1"),
    "list": lambda session: session.batches.list(),
    "cancel": lambda session: session.batches.cancel("batch_1"),
    "upload": lambda session: session.files.create(b"{}\n"),
    "delete": lambda session: session.files.delete("file-1"),
    "any GET": lambda session: session.request("get", "/x"),
    "any PUT": lambda session: session.request("PUT", "x", json={}),
    "any POST": lambda session: session.request("POST", "/x", json={"a": 1}),
    "any repeatable POST": lambda session: session.request("POST", "/x", json={}, repeatable=True),
}
PASSING = {408, 429, 500, 502, 503, 529}
REPEATED = dict.fromkeys(VERBS, PASSING) | {"delete": PASSING | {409}, "any POST": {429}}


async def succeed(asked: Asked) -> bytes:
    """The answer that every verb here can read."""
    if asked.path == "/v1/batches":
        return json_answer({"object": "list", "data": [], "has_more": False})
    return json_answer(file_json(deleted=True) if "/files" in asked.path else batch_json())


class TestByVerb:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 422, 425, 429, 500, 502, 503, 529])
    @pytest.mark.parametrize("verb", VERBS)
    async def test_a_verb_is_repeated_after_the_statuses_that_pass_for_it(
        self, verb: str, status: int, open_session: OpenSession
    ) -> None:
        """Each verb is repeated after the statuses that can pass for it, and after no others."""

        async def handler(asked: Asked) -> bytes:
            return error_answer(status) if len(server.asked) < 3 else await succeed(asked)

        async with RawServer(handler) as server:
            session = open_session(server)
            if status in REPEATED[verb]:
                await VERBS[verb](session)
                assert len(server.asked) == 3
            else:
                with pytest.raises(APIError) as caught:
                    await VERBS[verb](session)
                assert caught.value.status == status
                assert len(server.asked) == 1
            assert len(set(server.lines)) == 1

    @pytest.mark.parametrize("verb", VERBS)
    async def test_a_broken_connection(self, verb: str, open_session: OpenSession) -> None:
        """After a broken connection a call is repeated, unless it may have been done, and twice would do harm."""

        async def handler(asked: Asked) -> bytes | None:
            if len(server.asked) < 3:
                return asked.reset()
            return await succeed(asked)

        async with RawServer(handler) as server:
            if verb == "any POST":
                with pytest.raises(TransportError):
                    await VERBS[verb](open_session(server))
                assert len(server.asked) == 1
            else:
                await VERBS[verb](open_session(server))
                assert len(server.asked) == 3

    async def test_a_refused_connection_repeats_every_verb(self, open_session: OpenSession) -> None:
        """Where nothing was sent, nothing was done: a refused connection is repeated for every verb."""
        async with RawServer(succeed) as server:
            gone = server.base_url
        with pytest.raises(TransportError) as caught:
            await open_session(gone, retry=QUICK).request("POST", "/x", json={})
        assert not caught.value.was_sent
        assert caught.value.can_pass

    async def test_the_last_failure_is_what_the_caller_sees(self, open_session: OpenSession) -> None:
        """When the attempts are used up, the failure of the last one is raised."""
        async with RawServer(lambda _: error_answer(500 + len(server.asked))) as server:
            with pytest.raises(InternalServerError) as caught:
                await open_session(server).batches.retrieve("b")
        assert caught.value.status == 505

    async def test_one_attempt_switches_retries_off(self, open_session: OpenSession) -> None:
        """A policy of one attempt never repeats."""
        async with RawServer(error_answer(503)) as server:
            with pytest.raises(InternalServerError):
                await open_session(server, retry=ONCE).batches.retrieve("b")
            assert len(server.asked) == 1

    async def test_a_cut_answer_is_asked_for_again(self, open_session: OpenSession) -> None:
        """Half of an answer is none: the request is repeated, and the half is never read as a whole."""

        async def handler(asked: Asked) -> bytes | None:
            whole = json_answer(batch_json())
            if len(server.asked) > 1:
                return whole
            asked.writer.write(whole[:-20])
            return await asked.writer.drain()

        async with RawServer(handler) as server:
            batch = await open_session(server).batches.retrieve("batch_1")
            assert (batch.id, len(server.asked)) == ("batch_1", 2)

    async def test_an_answer_that_is_no_http(self, open_session: OpenSession) -> None:
        """Something that does not speak HTTP gives a TransportError without the address's query."""
        async with RawServer(b"SSH-2.0-OpenSSH_9.6\r\n\r\n") as server:
            with pytest.raises(TransportError, match="GET /x: ") as caught:
                await open_session(server, retry=ONCE).request("GET", "/x", params={"after": "private"})
        assert "private" not in str(caught.value)

    async def test_an_unreadable_answer_of_success_is_not_repeated(self, open_session: OpenSession) -> None:
        """An answer of success that holds no record raises DecodeError with a note of where it came from."""
        async with RawServer(answer(200, "<html>", x_request_id="req_7")) as server:
            with pytest.raises(DecodeError) as caught:
                await open_session(server).batches.retrieve("b")
            assert len(server.asked) == 1
        assert "req_7" in caught.value.__notes__[0]


@attrs.define
class Stream:
    """An answer without a network."""

    status: int
    headers: dict[str, str]
    body: bytes
    size: int | None = None
    request_id: str | None = None
    closed: int = 0
    asked: str = "GET http://127.0.0.1/v1/batches"

    async def read(self, max_bytes: int) -> bytes:
        return self.body

    async def read_start(self, max_bytes: int) -> tuple[bytes, bool]:
        return self.body[:max_bytes], True

    def close(self) -> None:
        self.closed += 1


class Script:
    """In place of an exchange: fails as it is told, and notes when it was asked."""

    def __init__(self, *events: Exception | Stream) -> None:
        self.events = list(events)
        self.times: list[float] = []
        self.credentials: list[str] = []

    async def open(self, request: Request[Any], credentials: str) -> Stream:
        self.times.append(virtual_time.now() - 1_000)
        self.credentials.append(str(credentials))
        event = self.events.pop(0) if self.events else Stream(200, {}, b"{}")
        if isinstance(event, Exception):
            raise event
        return event

    def carry(self, *, retry: RetryPolicy, repeat: Repeat = Repeat.SAFELY, now: float = 0.0) -> list[float]:
        """Send one request in virtual time, and return the times of its attempts."""
        transport = Transport(self, api_key="k", auth_prefix="Bearer ", retry=retry, now=lambda: now)  # type: ignore[arg-type]
        virtual_time.run(transport.answer(Request(method="GET", path="/x", returns=object, repeat=repeat)))
        return [round(time, 6) for time in self.times]


def failed(status: int = 503, body: str = "", **headers: str) -> Stream:
    return Stream(status, {name.replace("_", "-"): value for name, value in headers.items()}, body.encode())


QUOTA = '{"error": {"message": "pay", "%s": "insufficient_quota"}}'
STEADY = RetryPolicy(attempts=9, budget_s=10_000, initial_delay_s=1, max_delay_s=16, jitter=0, max_retry_after_s=3_600)


class TestPauses:
    def test_pauses_double_up_to_their_ceiling(self) -> None:
        """Without a word from the service, pauses double up to their ceiling."""
        script = Script(*[failed() for _ in range(7)])
        assert script.carry(retry=STEADY) == [0, 1, 3, 7, 15, 31, 47, 63]

    def test_jitter_takes_off_a_share(self) -> None:
        """Jitter shortens a pause by at most its share."""
        script = Script(*[failed() for _ in range(4)])
        times = script.carry(retry=attrs.evolve(STEADY, jitter=0.5))
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert all(whole / 2 <= pause <= whole for pause, whole in zip(pauses, (1, 2, 4, 8), strict=True))

    @pytest.mark.parametrize(
        ("headers", "pause"),
        [
            ({"retry_after": "7"}, 7),
            ({"retry_after": "0.25"}, 0.25),
            ({"retry_after_ms": "40"}, 0.04),
            ({"retry_after_ms": "40", "retry_after": "7"}, 0.04),
            ({"retry_after": email.utils.formatdate(1_000_090, usegmt=True)}, 90),
            ({"retry_after": email.utils.formatdate(999_000, usegmt=True)}, 1),
            ({"retry_after": "0"}, 1),
            ({"retry_after": "soon"}, 1),
            ({"retry_after": "-5"}, 1),
            ({"retry_after": "3600"}, 3600),
        ],
    )
    def test_a_pause_the_service_asks_for_is_kept(self, headers: dict[str, str], pause: float) -> None:
        """Seconds, milliseconds and dates are kept exactly; nothing, nonsense and the past leave our own pause."""
        script = Script(failed(429, **headers), failed(503, **headers))
        assert script.carry(retry=attrs.evolve(STEADY, max_delay_s=1), now=1_000_000) == [0, pause, 2 * pause]

    def test_too_long_a_pause_is_an_error_at_once(self) -> None:
        """A service that asks for a longer pause than allowed gets none: the error comes at once."""
        script = Script(failed(429, retry_after="3601"))
        with pytest.raises(RateLimitError) as caught:
            script.carry(retry=STEADY)
        assert (caught.value.retry_after, len(script.times)) == (3601, 1)

    def test_the_budget_ends_the_attempts(self) -> None:
        """No attempt starts after the budget, and none is waited for in vain."""
        script = Script(*[failed() for _ in range(20)])
        with pytest.raises(InternalServerError):
            script.carry(retry=attrs.evolve(STEADY, attempts=100, budget_s=20))
        assert [round(time) for time in script.times] == [0, 1, 3, 7, 15]

    def test_pauses_of_nothing(self) -> None:
        """Pauses of 0 s are pauses: the attempts follow each other."""
        script = Script(failed(), TransportError("cut"), failed())
        assert script.carry(retry=attrs.evolve(STEADY, initial_delay_s=0)) == [0, 0, 0, 0]

    def test_the_service_may_ask_for_another_try(self) -> None:
        """``x-should-retry: true`` repeats what would not be repeated."""
        assert len(Script(failed(400, x_should_retry="true")).carry(retry=STEADY)) == 2

    @pytest.mark.parametrize(
        ("failures", "raised", "repeat"),
        [
            pytest.param([failed(429, QUOTA % "code")], RateLimitError, Repeat.SAFELY, id="a quota by its code"),
            pytest.param([failed(429, QUOTA % "type")], RateLimitError, Repeat.SAFELY, id="a quota by its type"),
            pytest.param(
                [failed(503, x_should_retry="false")], InternalServerError, Repeat.SAFELY, id="the service forbids it"
            ),
            pytest.param(
                [failed(500, x_should_retry="true")],
                InternalServerError,
                Repeat.ONLY_UNDONE,
                id="the service asks for a second creation",
            ),
            pytest.param(
                [TransportError("certificate", can_pass=False)], TransportError, Repeat.SAFELY, id="it cannot pass"
            ),
            pytest.param([failed(), RuntimeError("a bug")], RuntimeError, Repeat.SAFELY, id="no error of this library"),
        ],
    )
    def test_what_ends_the_attempts(
        self, failures: list[Exception | Stream], raised: type[Exception], repeat: Repeat
    ) -> None:
        """The last of these failures is raised as it is, and nothing is sent after it."""
        script = Script(*failures)
        with pytest.raises(raised) as caught:
            script.carry(retry=STEADY, repeat=repeat)
        assert len(script.times) == len(failures)
        assert isinstance(failures[-1], Stream) or caught.value is failures[-1]

    def test_every_stream_is_closed(self) -> None:
        """Answers are given back, whether they are read or refused."""
        streams = [failed(), failed(429), Stream(200, {}, b"{}")]
        Script(*streams).carry(retry=STEADY)
        assert all(stream.closed for stream in streams)


class TestAroundAttempts:
    async def test_a_key_may_be_fetched_for_each_attempt(self, open_session: OpenSession) -> None:
        """An async callable gives the key of each attempt, so that a token that rotates is always the newest."""
        tokens = iter(["sk-first", " sk-second\n"])

        async def token() -> str:
            await asyncio.sleep(0)
            return next(tokens)

        async def handler(asked: Asked) -> bytes:
            return error_answer(503) if len(server.asked) == 1 else await succeed(asked)

        async with RawServer(handler) as server:
            await open_session(server, api_key=token).batches.retrieve("b")
            keys = [asked.headers["Authorization"] for asked in server.asked]
        assert keys == ["Bearer sk-first", "Bearer sk-second"]

    async def test_a_callable_that_gives_no_key(self, open_session: OpenSession) -> None:
        """What a callable gives is checked like any key, before anything is sent."""

        async def nothing() -> str:
            return None  # type: ignore[return-value]

        async with RawServer(succeed) as server:
            with pytest.raises(InputError, match="must be a str, not NoneType"):
                await open_session(server, api_key=nothing).batches.retrieve("b")
            assert not server.asked

    async def test_every_attempt_names_itself(self, open_session: OpenSession) -> None:
        """Each attempt carries the library's name and an id of its own."""

        async def handler(asked: Asked) -> bytes:
            return error_answer(500) if len(server.asked) == 1 else await succeed(asked)

        async with RawServer(handler) as server:
            await open_session(server).batches.retrieve("b")
            ids = {asked.headers["X-Client-Request-Id"] for asked in server.asked}
            agents = {asked.headers["User-Agent"] for asked in server.asked}
        assert len(ids) == 2
        assert all(len(request_id) == 32 for request_id in ids)
        assert agents.pop().startswith("openai_batches/")

    async def test_records_know_their_answer(self, open_session: OpenSession) -> None:
        """Records carry the request id of the answer they came with, those in a page too."""

        async def handler(asked: Asked) -> bytes:
            page = {"object": "list", "data": [batch_json()], "has_more": False}
            return json_answer(page if asked.path == "/v1/batches" else batch_json(), x_request_id="req_42")

        async with RawServer(handler) as server:
            session = open_session(server)
            page = await session.batches.list()
            assert (await session.batches.retrieve("b")).request_id == "req_42"
        assert (page.request_id, page.data[0].request_id) == ("req_42", "req_42")

    async def test_errors_know_their_answer(self, open_session: OpenSession) -> None:
        """An error has the service's words, and the id to ask the service about."""
        async with RawServer(error_answer(404, "No batch", code="gone", x_request_id="req_9")) as server:
            with pytest.raises(NotFoundError) as caught:
                await open_session(server).batches.retrieve("b")
        error = caught.value
        assert (error.message, error.code, error.type, error.request_id) == ("No batch", "gone", "some_error", "req_9")
        assert str(error) == "404 No batch (code: gone, request id: req_9)"

    async def test_an_error_whose_body_is_cut_keeps_its_status(self, open_session: OpenSession) -> None:
        """The status is an answer, even where its body is not."""

        async def handler(asked: Asked) -> None:
            asked.writer.write(error_answer(409)[:-10])
            await asked.writer.drain()

        async with RawServer(handler) as server:
            with pytest.raises(ConflictError, match="409 the answer has no body"):
                await open_session(server).batches.cancel("b")

    async def test_each_attempt_is_one_line_in_the_log(
        self, open_session: OpenSession, caplog: pytest.LogCaptureFixture
    ) -> None:
        """DEBUG has a line for each attempt, INFO one before each repetition, with the path but not the query."""
        # aiohttp itself sends a GET once more over a new connection, unseen, before it gives up.
        caplog.set_level(logging.DEBUG, "openai_batches")

        async def handler(asked: Asked) -> bytes | None:
            if len(server.asked) == 1:
                return error_answer(503, x_request_id="req_1")
            return asked.reset() if len(server.asked) < 4 else await succeed(asked)

        async with RawServer(handler) as server:
            await open_session(server).batches.list(after="private")
        lines = [(record.levelname, record.getMessage()) for record in caplog.records]
        assert [level for level, _ in lines] == ["DEBUG", "INFO", "DEBUG", "INFO", "DEBUG"]
        assert lines[0][1].startswith("GET /batches: 503, attempt 1, ")
        assert lines[0][1].endswith("request id req_1")
        assert lines[1][1].startswith("GET /batches: attempt 1 failed, next in 0.0 s")
        assert lines[2][1].startswith("GET /batches: no answer, attempt 2, ")
        assert lines[4][1].startswith("GET /batches: 200, attempt 3, ")
        assert "private" not in caplog.text

    async def test_a_cancelled_call_stops(self, open_session: OpenSession) -> None:
        """Cancelling a call ends it at once, in an attempt as well as between two."""

        async def handler(_: Asked) -> None:
            await asyncio.sleep(60)

        async with RawServer(handler) as server:
            task = asyncio.create_task(open_session(server).batches.retrieve("b"))  # type: ignore[arg-type]
            await server.was_asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(server.asked) == 1

    def test_all_failures_have_one_root(self) -> None:
        """Who catches BatchesError catches what the network does."""
        assert issubclass(TransportError, BatchesError)
        assert issubclass(APIError, BatchesError)
        assert KEY not in repr(BatchesError())
