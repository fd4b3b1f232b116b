"""Send requests, repeat attempts that failed, and log each of them.

One attempt is made by :mod:`openai_batches.http.client`; :mod:`openai_batches.http.failures` decides what is repeated.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from openai_batches.errors import APIError, BatchesError, DecodeError, InputError, TransportError
from openai_batches.http import wire
from openai_batches.http.client import Secret, checked_key
from openai_batches.http.failures import may_repeat
from openai_batches.http.wire import Answer, Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from openai_batches.http.client import ApiKey, ByteStream, Exchange
    from openai_batches.policies import RetryPolicy

__all__ = ["Transport"]

T = TypeVar("T")
R = TypeVar("R")

_logger = logging.getLogger("openai_batches")
_MAX_ERROR_BYTES = 64 * 1024
_MIN_SECRET_CHARS = 12


class Transport:
    """Sends requests to one service; a key that is a callable is called for each attempt."""

    def __init__(
        self,
        exchange: Exchange,
        *,
        api_key: ApiKey,
        auth_prefix: str,
        retry: RetryPolicy,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.now = now
        self.retry = retry
        self._exchange = exchange
        self._api_key = api_key
        self._auth_prefix = auth_prefix
        self._fixed = self._credentials(api_key) if isinstance(api_key, str) else None

    async def send(self, request: Request[T]) -> T:
        """Return the record in the answer to a request, repeated as ``Request.repeat`` allows."""
        return await self._persistently(request, self._record_once)

    async def answer(self, request: Request[Any]) -> Answer:
        """Return the answer to a request as it came, repeated as ``Request.repeat`` allows."""
        answer, _ = await self._persistently(request, self._answer_once)
        return answer

    @asynccontextmanager
    async def stream(self, request: Request[Any]) -> AsyncIterator[ByteStream]:
        """Open the answer to a request, to be read as it comes; only opening it is repeated."""
        stream, _ = await self._persistently(request, self._stream_once)
        try:
            yield stream
        finally:
            stream.close()

    async def _persistently(self, request: Request[Any], attempt: Callable[[Request[Any], int], Awaitable[R]]) -> R:
        """Make an attempt, and others after it as long as ``Request.repeat`` and the policy allow."""
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        first_failure_s: float | None = None
        number = 0
        while True:
            number += 1
            try:
                return await attempt(request, number)
            except BatchesError as error:
                if first_failure_s is None:
                    first_failure_s = loop.time()
                delay_s = self.pause_s(error, attempt=number, elapsed_s=loop.time() - first_failure_s)
                if delay_s is None or not may_repeat(request.repeat, error):
                    if number > 1:
                        error.add_note(f"after {number} attempts in {loop.time() - begun_s:.1f} s")
                    raise
                line = "%s %s: attempt %d failed, next in %.1f s: %s"
                _logger.info(line, request.method, request.bare, number, delay_s, error)
            await asyncio.sleep(delay_s)

    def pause_s(self, error: BatchesError, *, attempt: int, elapsed_s: float) -> float | None:
        """Return the pause before another attempt, by the policy or as the service asks, or None to stop."""
        asked_s = error.retry_after if isinstance(error, APIError) else None
        return self.retry.delay_s(attempt, elapsed_s=elapsed_s, retry_after_s=asked_s, chance=random.random())

    async def _record_once(self, request: Request[T], number: int) -> T:
        answer, key = await self._answer_once(request, number)
        try:
            return wire.read(request, answer)
        except DecodeError:
            if key.encode() not in answer.body:
                raise
        # The error quotes what cannot be read. The body is read once more with the key replaced, so as not to show it.
        return wire.read(request, attrs.evolve(answer, body=_without(key, answer.body)))

    async def _answer_once(self, request: Request[Any], number: int) -> tuple[Answer, Secret]:
        stream, key = await self._stream_once(request, number)
        try:
            body = await stream.read(request.max_bytes)
        finally:
            stream.close()
        if body is None:
            text = f"{request.method} {request.bare}: the answer is larger than {request.max_bytes:,} bytes"
            raise TransportError(text, can_pass=False)
        return Answer(status=stream.status, headers=stream.headers, body=body), key

    async def _stream_once(self, request: Request[Any], number: int) -> tuple[ByteStream, Secret]:
        """Return the open answer of one attempt, if it is one of success, and the key it was asked with."""
        begun = time.perf_counter()
        stream: ByteStream | None = None
        key, credentials = self._fixed or self._credentials(await _new_key(self._api_key))
        try:
            stream = await self._exchange.open(request, credentials)
            if stream.status >= 300:
                raise await self._refusal(stream, key)
        finally:
            if _logger.isEnabledFor(logging.DEBUG):
                took_ms = (time.perf_counter() - begun) * 1e3
                status, request_id = (stream.status, stream.request_id) if stream else ("no answer", None)
                line = "%s %s: %s, attempt %d, %.0f ms, request id %s"
                _logger.debug(line, request.method, request.bare, status, number, took_ms, request_id)
        return stream, key

    def _credentials(self, api_key: str) -> tuple[Secret, Secret]:
        key = checked_key(api_key)
        return key, Secret(self._auth_prefix + key)

    async def _refusal(self, stream: ByteStream, key: Secret) -> APIError:
        try:
            body, _ = await stream.read_start(_MAX_ERROR_BYTES)
        except TransportError:
            body = b""  # the status is an answer, even where its body is not
        finally:
            stream.close()
        body = _without(key, body)
        error = wire.error_from(Answer(status=stream.status, headers=stream.headers, body=body), now=self.now())
        error.add_note(f"asked: {stream.asked}")
        if error.retry_after is not None and error.retry_after > self.retry.max_retry_after_s:
            allowed_s = self.retry.max_retry_after_s
            error.add_note(f"the service asks to wait {error.retry_after:g} s, max_retry_after_s is {allowed_s:g}")
        return error


async def _new_key(api_key: ApiKey) -> str:
    key = api_key if isinstance(api_key, str) else api_key()
    if not inspect.isawaitable(key):
        raise InputError("api_key must be a str or an async callable, this one returns without being awaited")
    return await key


def _without(key: Secret, body: bytes) -> bytes:
    """Return a body without the key, which a server may have sent back and which errors must not show."""
    # Real keys are long; replacing a short one, such as that of a test, would garble the service's message.
    return body.replace(key.encode(), b"[secret]") if len(key) >= _MIN_SECRET_CHARS else body
