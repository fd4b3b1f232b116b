"""The executor that passes lines on to a server of an OpenAI-compatible API."""

import asyncio
import email.utils
import io
import logging
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import attrs
import msgspec
from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    TCPConnector,
)

from openai_batches._names import public
from openai_batches.emulator.answers import error_object
from openai_batches.emulator.executors.executor import Answer, LineAnswer, LineError

CONCURRENCY = 8
_MIB = 1024 * 1024
_CONNECT_S = 10.0
# Larger bodies are processed in a thread, so that the event loop goes on.
_BRIEF_BYTES = 128 * 1024
_SECRET_HEADERS = ("auth", "cookie", "key", "secret", "token")

_logger = logging.getLogger(__name__)

# Plain segments only, so that no path leads out of the base or is read differently by a proxy.
_ENDPOINT = re.compile(r"(/[A-Za-z0-9_-]+)+")


# Statuses of a server that cannot answer now, whatever the request is.
_NOT_NOW = frozenset({429, 502, 503})
_EXCERPT_CHARACTERS = 200
_MAX_REQUEST_ID_CHARACTERS = 128
# A short key, such as the placeholder EMPTY, may be a word of an answer.
_MIN_SECRET_BYTES = 4
_MIN_SECRET_BYTES_OF_SUCCESS = 16

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@attrs.frozen
class Reply:
    """What came back: status, headers with lower-case names, and the whole body."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    came: Literal["whole", "broken", "too long", "not at all"] = "whole"

    @classmethod
    def missing(cls, came: Literal["broken", "too long", "not at all"], message: str) -> Self:
        """Return the substitute for a reply that did not come, or not completely."""
        status, code = (502, "bad_upstream_answer") if came == "too long" else (503, "upstream_unavailable")
        body = {"error": error_object(message, type="server_error", code=code)}
        return cls(status, {}, msgspec.json.encode(body), came)

    @property
    def is_refusal_for_now(self) -> bool:
        """Whether the upstream will answer later: it is starting, overloaded, or away behind its proxy."""
        if self.came != "whole":
            return self.came == "not at all"
        return self.status in _NOT_NOW and b'"insufficient_quota"' not in self.content

    @property
    def is_worth_repeating(self) -> bool:
        """Whether another try may end otherwise, although the request itself may be the cause."""
        if self.came != "whole":
            return self.came == "broken"
        return self.status in {408, 409} or self.status >= 500

    def pause_s(self) -> float | None:
        """Return the seconds that the upstream asks to wait, in any of the three forms; None if it does not."""
        asked = _number(self.headers.get("retry-after-ms"))
        if asked is not None:
            return asked / 1000
        given = self.headers.get("retry-after")
        asked = _number(given)
        return _seconds_until(given) if given is not None and asked is None else asked


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _seconds_until(date: str) -> float | None:
    try:
        when = email.utils.parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time())


def to_answer(reply: Reply, secrets: Iterable[str]) -> LineAnswer:
    """Return the line's answer, in which none of `secrets` is shown.

    A body that is no JSON object becomes an error object that quotes its beginning; with a status of success, the
    status becomes 502.
    """
    is_success = 200 <= reply.status < 300
    content = _without(reply.content, secrets, _MIN_SECRET_BYTES_OF_SUCCESS if is_success else _MIN_SECRET_BYTES)
    request_id = _usable(reply.headers.get("x-request-id"))
    try:
        return LineAnswer(reply.status, _decode(content), request_id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        excerpt = content[: 4 * _EXCERPT_CHARACTERS].decode(errors="replace")
    excerpt = " ".join(excerpt.split())[:_EXCERPT_CHARACTERS]
    message = f"The upstream's answer of status {reply.status} is no JSON object: {excerpt}"
    error = error_object(message, type="server_error", code="bad_upstream_answer")
    return LineAnswer(502 if is_success else reply.status, {"error": error}, request_id)


def _without(content: bytes, secrets: Iterable[str], min_bytes: int) -> bytes:
    for secret in secrets:
        for spelling in {secret.encode(), msgspec.json.encode(secret)[1:-1]}:
            if len(spelling) >= min_bytes:
                content = content.replace(spelling, b"***")
    return content


def _usable(request_id: str | None) -> str | None:
    is_usable = request_id and request_id.isprintable() and len(request_id) <= _MAX_REQUEST_ID_CHARACTERS
    return request_id if is_usable else None


@public
class UpstreamExecutor:
    """Answers lines by what a server of an OpenAI-compatible API answers: vLLM, Ollama, llama.cpp, or a remote one.

    Lines go out as fast as `concurrency` allows, whatever `Timings.line_s` says. A request is sent again while the
    upstream says that it cannot answer now (no connection, 429, 502, 503), for `patience_s`; and up to `attempts`
    times after other failures that a second try may mend (other statuses from 500, 408, 409, a broken connection).
    `Retry-After` is kept to. In the end the line goes to the error file with the upstream's last word, or with status
    503 if there was none. A request that takes longer than `timeout_s` is not repeated; its line's error is
    `request_timeout`.

    Args:
        base_url: What clients of the upstream are given, such as `http://localhost:8000/v1`. A bare host will do.
        api_key: Sent as a bearer token. It appears in no result, message or log, even if the upstream repeats it.
        model: The model to ask for in place of the one in the line: one name for all, or a table of names in which
            those that are missing stay.
        headers: Further headers of each request; values of those that look like credentials are kept secret too.
        concurrency: Requests that run at once, over all batches of the server.
        attempts: Most requests for a line whose failures may be its own.
        patience_s: Seconds from the first failure of a line to its last try.
        timeout_s: Longest time of one request, in seconds.
        first_pause_s: Seconds before the second try; they double with each, and chance takes off up to a half.
        max_pause_s: Longest such pause in seconds.
        max_answer_bytes: Longest body; one that is longer becomes status 502.
        trust_env: Use the proxies that the environment names.

    Raises:
        TypeError: A parameter is of the wrong type.
        ValueError: `base_url` is none, carries credentials, or a number is out of its range.
    """

    takes_real_time: bool = True

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        model: str | Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        concurrency: int = CONCURRENCY,
        attempts: int = 5,
        patience_s: float = 300.0,
        timeout_s: float = 600.0,
        first_pause_s: float = 0.5,
        max_pause_s: float = 30.0,
        max_answer_bytes: int = 64 * _MIB,
        trust_env: bool = False,
    ) -> None:
        _check_numbers(concurrency=(concurrency, 1), attempts=(attempts, 1), max_answer_bytes=(max_answer_bytes, 1))
        _check_numbers(patience_s=(patience_s, 0), first_pause_s=(first_pause_s, 0), max_pause_s=(max_pause_s, 0))
        _check_numbers(timeout_s=(timeout_s, 0.001))
        _check_model(model)
        if headers is not None and not isinstance(headers, Mapping):
            raise TypeError(f"headers must be a mapping of str to str, not {type(headers).__name__}")
        self.concurrency: int = concurrency
        self._address = _Address.of(base_url)
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {_sendable('api_key', api_key)}"
        self._headers |= {name: _sendable(name, value) for name, value in (headers or {}).items()}
        self._secrets = frozenset(_secrets(self._headers))
        self._model = model
        self._timeout_s = timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._trust_env = trust_env
        self._limits = _RetryLimits(attempts, patience_s, first_pause_s, max_pause_s)
        self._session: ClientSession | None = None
        self._is_away = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address.shown!r})"

    async def start(self) -> None:
        """Open the session; the server calls this when it starts."""
        self._session = ClientSession(
            connector=TCPConnector(limit=0),
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=self._timeout_s, sock_connect=min(self._timeout_s, _CONNECT_S)),
            trust_env=self._trust_env,
        )

    async def close(self) -> None:
        """Close the session; the server calls this when it closes."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __call__(self, url: str, body: dict[str, Any], custom_id: str) -> Answer:  # noqa: ARG002 - the protocol's
        """Ask the upstream.

        Raises:
            LineError: It took too long.
            RuntimeError: There is no session, before `start` or after `close`.
        """
        address = self._address.join(url)
        if address is None:
            return 400, {"error": error_object(f"Invalid URL (POST {url})", param="url")}
        content = msgspec.json.encode(self._with_model(body))
        attempts_made = _Attempts(self._limits)
        while True:
            reply = await self._ask(address, content)
            pause_s = attempts_made.pause_s(reply)
            if pause_s is None:
                return await self._answer(reply)
            await asyncio.sleep(pause_s)

    def _with_model(self, body: dict[str, Any]) -> dict[str, Any]:
        if self._model is None:
            return body
        if isinstance(self._model, str):
            return {**body, "model": self._model}
        asked = body.get("model")
        wanted = self._model.get(asked) if isinstance(asked, str) else None
        return body if wanted is None else {**body, "model": wanted}

    async def _ask(self, address: str, content: bytes) -> Reply:
        """Send one request; what is no reply at all becomes one of status 503."""
        if self._session is None:
            raise RuntimeError("the executor has no session: call start(), as a server does when it starts")
        try:
            reply = await self._post(self._session, address, content)
        except (ClientConnectorError, ConnectionTimeoutError) as error:
            if not self._is_away:
                self._is_away = True
                _logger.warning("%s cannot be reached (%s); lines wait", self._address.shown, type(error).__name__)
            return Reply.missing("not at all", "The upstream could not be reached.")
        except TimeoutError:
            raise LineError("request_timeout", "The request timed out.") from None
        except (ClientError, OSError):
            return Reply.missing("broken", "The upstream broke the connection.")
        self._is_away = False
        return reply

    async def _post(self, session: ClientSession, address: str, content: bytes) -> Reply:
        # aiohttp writes a large body in pieces only if it is a file.
        data = content if len(content) < _BRIEF_BYTES else io.BytesIO(content)
        # A redirect could change the request's method, or send it to another server.
        async with session.post(address, data=data, headers=self._headers, allow_redirects=False) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > self._max_answer_bytes:
                    longest = f"The upstream's answer is longer than {self._max_answer_bytes} bytes."
                    return Reply.missing("too long", longest)
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, headers, bytes(body))

    async def _answer(self, reply: Reply) -> LineAnswer:
        if len(reply.content) < _BRIEF_BYTES:
            return to_answer(reply, self._secrets)
        return await asyncio.to_thread(to_answer, reply, self._secrets)


@attrs.frozen
class _RetryLimits:
    attempts: int
    patience_s: float
    first_pause_s: float
    max_pause_s: float


class _Attempts:
    """The attempts for one line."""

    def __init__(self, limits: _RetryLimits) -> None:
        self._limits = limits
        self._pause_s = limits.first_pause_s
        self._failures = 0
        self._end: float | None = None

    def pause_s(self, reply: Reply) -> float | None:
        """Return the seconds to wait before the next try, or None if this reply is final."""
        if not reply.is_refusal_for_now:
            self._failures += 1
            if not reply.is_worth_repeating or self._failures >= self._limits.attempts:
                return None
        now = time.monotonic()
        if self._end is None:
            self._end = now + self._limits.patience_s
        if now >= self._end:
            return None
        own_s = self._pause_s * random.uniform(0.5, 1.0)
        self._pause_s = min(2 * self._pause_s, self._limits.max_pause_s)
        asked_s = reply.pause_s()
        # The last try is when the patience ends, not earlier.
        return min(own_s if asked_s is None else asked_s, self._end - now)


@attrs.frozen
class _Address:
    """Where the upstream is: what stands before and behind the path of an endpoint."""

    shown: str
    query: str

    @classmethod
    def of(cls, base_url: object) -> Self:
        """Read what clients of the upstream are given; a bare host stands for its `/v1`."""
        if not isinstance(base_url, str):
            raise TypeError(f"base_url must be a str, not {base_url!r}")
        parts = urlsplit(base_url)
        try:
            is_address = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            is_address = False
        if not is_address:
            raise ValueError("base_url must be a URL such as http://localhost:8000/v1, with a port of 1 to 65535")
        if parts.username is not None or parts.password is not None:
            raise ValueError("base_url must not carry credentials: give an api_key or headers")
        path = parts.path.rstrip("/") or "/v1"
        return cls(f"{parts.scheme}://{parts.netloc}{path}", f"?{parts.query}" if parts.query else "")

    def join(self, url: str) -> str | None:
        """Return the address of an endpoint, whose `/v1` the base replaces, or None if `url` could lead elsewhere."""
        if not _ENDPOINT.fullmatch(url):
            return None
        return f"{self.shown}/{url[1:].removeprefix('v1/')}{self.query}"


def _check_numbers(**numbers: tuple[object, float]) -> None:
    for name, (value, least) in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, not {value!r}")
        if not least <= value < float("inf"):
            raise ValueError(f"{name} must be at least {least}, not {value}")


def _check_model(model: object) -> None:
    if model == "":
        raise ValueError("model must not be empty")
    if model is not None and not isinstance(model, (str, Mapping)):
        raise TypeError(f"model must be a name or a table of names, not {model!r}")


def _sendable(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str")
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"{name} has characters that no header can carry, such as the end of a line")
    return value


def _secrets(headers: Mapping[str, str]) -> Iterator[str]:
    """Return what must not be shown of the headers: values, and the credentials in them without their scheme."""
    for name, value in headers.items():
        if any(word in name.lower() for word in _SECRET_HEADERS):
            yield value
            yield value.rpartition(" ")[2]
