"""What the upstream executor sends, and what it makes of the answers."""

import asyncio
import email.utils
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from support.upstreams import CHAT_ANSWER, LittleUpstream
from support.working import until

from openai_batches.emulator import LineAnswer, LineError, UpstreamExecutor
from openai_batches.emulator.executors.upstream import Reply, to_answer

CHAT = "/v1/chat/completions"
KEY = "sk-test-0123456789abcdef"
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def upstream() -> AsyncIterator[LittleUpstream]:
    async with LittleUpstream() as running:
        yield running


async def ask(upstream: LittleUpstream | str, body: Any = BODY, url: str = CHAT, **options: Any) -> Any:
    base_url = upstream if isinstance(upstream, str) else upstream.base_url
    quick = {"first_pause_s": 0.001, "max_pause_s": 0.002, "patience_s": 5}
    executor = UpstreamExecutor(base_url, **{**quick, **options})
    await executor.start()
    try:
        return await executor(url, body, "r1")
    finally:
        await executor.close()


def refusal(status: int, **headers: str) -> web.Response:
    error = {"message": "not now", "type": "x", "param": None, "code": None}
    return web.json_response({"error": error}, status=status, headers=headers)


async def test_a_line_is_passed_on(upstream: LittleUpstream) -> None:
    """The body goes to the endpoint below the base as it is, the key as a bearer token; the answer comes back whole."""
    answer = await ask(upstream, api_key=KEY, headers={"X-Team": "blue"})
    assert (answer.status, answer.request_id) == (200, "up-1")
    assert answer.body["object"] == "chat.completion"
    ((path, headers, body),) = upstream.requests
    assert (path, body) == (CHAT, BODY)
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["X-Team"] == "blue"
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("base", "url", "path"),
    [
        ("", CHAT, "/v1/chat/completions"),
        ("/", CHAT, "/v1/chat/completions"),
        ("/v1", "/v1/embeddings", "/v1/embeddings"),
        ("/v1/", "/v1/embeddings", "/v1/embeddings"),
        ("/proxy/v1", "/v1/responses", "/proxy/v1/responses"),
        ("/api/paas/v4", CHAT, "/api/paas/v4/chat/completions"),
        ("/openai?api-version=1", "/chat/completions", "/openai/chat/completions?api-version=1"),
    ],
)
async def test_the_base_takes_the_place_of_v1(upstream: LittleUpstream, base: str, url: str, path: str) -> None:
    """The base is what clients of the upstream are given; a bare host stands for its /v1."""
    await ask(f"http://127.0.0.1:{upstream.port}{base}", url=url)
    assert upstream.requests[0][0] == path


@pytest.mark.parametrize(
    "url", ["/v1/../admin", "//other.test/v1", "/v1/chat?x=1", "@other.test/", "/v1/a%2e", "", "/"]
)
async def test_a_url_that_leads_elsewhere(upstream: LittleUpstream, url: str) -> None:
    """Nothing in a line takes its request to another place."""
    status, body = await ask(upstream, url=url)
    assert (status, body["error"]["param"]) == (400, "url")
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("model", "asked", "sent"),
    [
        (None, "gpt-4o-mini", "gpt-4o-mini"),
        ("llama3", "gpt-4o-mini", "llama3"),
        ({"gpt-4o-mini": "llama3"}, "gpt-4o-mini", "llama3"),
        ({"gpt-4o-mini": "llama3"}, "other", "other"),
        ({"gpt-4o-mini": "llama3"}, 5, 5),
    ],
)
async def test_the_model_can_be_another(upstream: LittleUpstream, model: Any, asked: Any, sent: Any) -> None:
    """One name stands for all, or a table for some; the line's own body is left alone."""
    body = {**BODY, "model": asked}
    await ask(upstream, body, model=model)
    assert upstream.requests[0][2]["model"] == sent
    assert body["model"] == asked


@pytest.mark.parametrize("status", [400, 401, 404, 422, 302])
async def test_refusals_are_answers(upstream: LittleUpstream, status: int) -> None:
    """What another try would not mend is the line's answer at once; a redirect is not followed."""
    upstream.script.append(refusal(status, Location="/elsewhere"))
    answer = await ask(upstream)
    assert (answer.status, answer.body["error"]["message"]) == (status, "not now")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("trouble", [429, 500, 502, 503, 504, 408, 409, ConnectionError])
async def test_failures_that_end_are_retried(upstream: LittleUpstream, trouble: Any) -> None:
    """What may be over soon is tried again, and leaves no trace."""
    upstream.script += [ConnectionError if trouble is ConnectionError else refusal(trouble) for _ in range(3)]
    assert (await ask(upstream)).status == 200
    assert len(upstream.requests) == 4


@pytest.mark.parametrize(("trouble", "status"), [(500, 500), (504, 504), (ConnectionError, 503)])
async def test_failures_of_a_line_are_retried_a_few_times(upstream: LittleUpstream, trouble: Any, status: int) -> None:
    """A request that breaks the upstream each time is not sent for ever; its last word is the answer."""
    upstream.script += [ConnectionError if trouble is ConnectionError else refusal(trouble) for _ in range(9)]
    answer = await ask(upstream, attempts=3)
    assert answer.status == status
    assert answer.body["error"]["message"] in {"not now", "The upstream broke the connection."}
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("status", [429, 502, 503])
async def test_retries_end_after_the_patience(upstream: LittleUpstream, status: int) -> None:
    """An upstream that says "not now" is asked again for a stated time, however often that is, but not longer."""
    upstream.script += [refusal(status) for _ in range(1000)]
    started = time.monotonic()
    answer = await ask(upstream, attempts=1, patience_s=1)
    assert answer.status == status
    assert len(upstream.requests) > 3
    assert time.monotonic() - started >= 1


async def test_a_used_up_quota_is_not_retried(upstream: LittleUpstream) -> None:
    """A 429 that says that the money is gone is final."""
    error = {"error": {"message": "pay", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}}
    upstream.script.append(web.json_response(error, status=429))
    assert (await ask(upstream)).body == error
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("headers", "least_s"),
    [({"Retry-After": "0.05"}, 0.05), ({"retry-after-ms": "50"}, 0.05), ({"Retry-After": "soon"}, 0.0)],
)
async def test_the_pause_that_is_asked_for(upstream: LittleUpstream, headers: Any, least_s: float) -> None:
    """The upstream's own wish counts more than the usual pauses."""
    upstream.script.append(refusal(429, **headers))
    started = time.monotonic()
    assert (await ask(upstream)).status == 200
    assert time.monotonic() - started >= least_s


async def test_a_pause_longer_than_the_patience(upstream: LittleUpstream) -> None:
    """Whoever is sent away for an hour tries a last time when patience ends."""
    upstream.script += [refusal(429, **{"Retry-After": "3600"}) for _ in range(9)]
    assert (await ask(upstream, patience_s=0.03)).status == 429
    assert len(upstream.requests) == 2


def test_pauses_in_all_their_forms() -> None:
    """Milliseconds, seconds and dates; what is none of them is no wish."""
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    pauses = {
        given: Reply(429, {"retry-after": given}, b"").pause_s()
        for given in ("7", "1.5", "-1", "inf", "nan", "x", date, "Mon, 01 Jan 2001 00:00:00 GMT")
    }
    assert 95 < (pauses.pop(date) or 0) <= 100
    assert pauses == {
        "7": 7.0,
        "1.5": 1.5,
        "-1": None,
        "inf": None,
        "nan": None,
        "x": None,
        "Mon, 01 Jan 2001 00:00:00 GMT": 0.0,
    }
    assert Reply(429, {"retry-after-ms": "20", "retry-after": "9"}, b"").pause_s() == 0.02
    assert Reply(429, {}, b"").pause_s() is None


async def test_an_upstream_that_is_away_for_a_while(upstream: LittleUpstream, caplog: pytest.LogCaptureFixture) -> None:
    """Lines wait for an upstream that is not there, which is said once; when it is back, they are answered."""
    await upstream.stop()
    with caplog.at_level(logging.WARNING):
        asking = asyncio.create_task(ask(upstream, attempts=1))
        await until(lambda: "cannot be reached" in caplog.text)
        await asyncio.sleep(0.02)
        await upstream.start()
        assert (await asking).status == 200
    assert caplog.text.count("cannot be reached") == 1


async def test_an_upstream_that_stays_away(upstream: LittleUpstream) -> None:
    """In the end a line that reached nobody fails with 503."""
    await upstream.stop()
    answer = await ask(upstream, patience_s=0.02)
    error = {"message": "The upstream could not be reached.", "type": "server_error", "param": None}
    assert (answer.status, answer.body) == (503, {"error": {**error, "code": "upstream_unavailable"}})


async def test_a_request_that_takes_too_long(upstream: LittleUpstream) -> None:
    """A timeout is not tried again: the model has worked once for nothing already."""
    upstream.script.append(lambda _: asyncio.sleep(30))
    with pytest.raises(LineError) as caught:
        await ask(upstream, timeout_s=0.05)
    assert (caught.value.code, caught.value.message) == ("request_timeout", "The request timed out.")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("given", "status", "excerpt"),
    [
        (web.Response(text="<html>\n <h1>Login</h1></html>", content_type="text/html"), 502, "<html> <h1>Login"),
        (web.Response(text="[1]", content_type="application/json"), 502, "[1]"),
        (web.Response(status=204), 502, "is no JSON object"),
        (web.Response(text="gone", status=404), 404, "gone"),
        (web.Response(body=b"\xff" * 5000, status=400), 400, "\N{REPLACEMENT CHARACTER}"),
        (web.Response(text="[" * 200_000, status=400), 400, "[[["),
    ],
)
async def test_bodies_that_are_no_objects(upstream: LittleUpstream, given: Any, status: int, excerpt: str) -> None:
    """A page of HTML or the like is quoted briefly in an error object; as a success it counts as a bad gateway."""
    upstream.script.append(given)
    answer = await ask(upstream)
    assert (answer.status, answer.body["error"]["code"]) == (status, "bad_upstream_answer")
    assert excerpt in answer.body["error"]["message"]
    assert len(answer.body["error"]["message"]) < 300


async def test_a_body_without_end(upstream: LittleUpstream) -> None:
    """An answer is kept in memory up to a bound only, and not asked for again."""

    async def pour(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 65_536)

    upstream.script.append(pour)
    answer = await ask(upstream, max_answer_bytes=100_000)
    assert (answer.status, answer.body["error"]["code"]) == (502, "bad_upstream_answer")
    assert "longer than 100000 bytes" in answer.body["error"]["message"]
    assert len(upstream.requests) == 1


async def test_a_large_request(upstream: LittleUpstream) -> None:
    """Images make requests of megabytes, which are sent whole with each try."""
    upstream.script.append(refusal(500))
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x" * 3_000_000}]}
    assert (await ask(upstream, body)).status == 200
    assert [received for _, _, received in upstream.requests] == [body, body]


async def test_a_large_answer(upstream: LittleUpstream) -> None:
    """Large bodies come through whole."""
    large = {**CHAT_ANSWER, "text": "x" * 300_000}
    upstream.script.append(web.json_response(large))
    assert (await ask(upstream)).body == large


@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize("in_json", [True, False])
async def test_credentials_stay_secret(
    upstream: LittleUpstream, caplog: pytest.LogCaptureFixture, status: int, in_json: Any
) -> None:
    """An upstream that repeats a credential does not bring it into a result; nor is it in a message or a log."""
    words = f'Incorrect API key provided: {KEY}, and cookie a="b c d e" too'
    error = {"error": {"message": words}}
    given = web.json_response(error, status=status) if in_json else web.Response(text=words, status=status)
    upstream.script.append(given)
    headers = {"Cookie": 'a="b c d e"', "X-Team": "provided"}
    with caplog.at_level(logging.DEBUG):
        answer = await ask(upstream, api_key=KEY, headers=headers)
    assert "Incorrect API key provided: ***" in answer.body["error"]["message"]
    assert KEY not in f"{answer}{caplog.text}{UpstreamExecutor(upstream.base_url, api_key=KEY)!r}"
    if status == 401:
        assert "and cookie *** too" in answer.body["error"]["message"]


def test_a_placeholder_is_no_secret() -> None:
    """A key that is a plain word does not disturb good answers."""
    reply = Reply(200, {}, b'{"text": "the box is EMPTY"}')
    assert to_answer(reply, ["EMPTY"]).body == {"text": "the box is EMPTY"}
    assert to_answer(Reply(401, {}, b'{"text": "EMPTY"}'), ["EMPTY"]).body == {"text": "***"}


@pytest.mark.parametrize("given", ["", "a\x00b", "x" * 129])
def test_an_unusable_request_id(given: str) -> None:
    """A request id that no record should show is replaced by our own."""
    assert to_answer(Reply(200, {"x-request-id": given}, b"{}"), []) == LineAnswer(200, {}, None)


async def test_before_its_start() -> None:
    """Whoever uses an executor without a server is told to start it; a close too many does nothing."""
    executor = UpstreamExecutor("http://localhost:1")
    with pytest.raises(RuntimeError, match=r"call start\(\)"):
        await executor(CHAT, {}, "r1")
    await executor.close()
    assert repr(executor) == "UpstreamExecutor('http://localhost:1/v1')"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"base_url": "localhost:8000"}, ValueError, "base_url must be a URL such as"),
        ({"base_url": "http://"}, ValueError, "base_url must be a URL such as"),
        ({"base_url": "http://x:0"}, ValueError, "base_url must be a URL such as"),
        ({"base_url": "http://x:y"}, ValueError, "base_url must be a URL such as .*, with a port"),
        ({"base_url": b"http://x"}, TypeError, "base_url must be a str"),
        ({"base_url": "http://me:secret@x/v1"}, ValueError, "must not carry credentials"),
        ({"base_url": "http://me@x/v1"}, ValueError, "must not carry credentials"),
        ({"model": 5}, TypeError, "model must be a name or a table of names"),
        ({"concurrency": 0}, ValueError, "concurrency must be at least 1, not 0"),
        ({"attempts": "5"}, TypeError, "attempts must be a number"),
        ({"timeout_s": 0}, ValueError, "timeout_s must be at least 0.001"),
        ({"patience_s": float("inf")}, ValueError, "patience_s must be at least 0"),
        ({"first_pause_s": True}, TypeError, "first_pause_s must be a number"),
        ({"api_key": f"{KEY}\n"}, ValueError, "api_key has characters that no header can carry"),
        ({"api_key": 5}, TypeError, "api_key must be a str"),
        ({"headers": {"X-Key": "a\r\nb"}}, ValueError, "X-Key has characters"),
    ],
)
def test_what_is_no_upstream(options: Any, error: Any, message: str) -> None:
    """A parameter that makes no sense is refused where it is given, without showing a credential."""
    with pytest.raises(error, match=message) as caught:
        UpstreamExecutor(**{"base_url": "http://localhost:1", **options})
    assert KEY not in str(caught.value)
    assert "secret" not in str(caught.value)
