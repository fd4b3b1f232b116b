"""A small server of an OpenAI-compatible API, for executors to ask."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CHAT_ANSWER = {"id": "chatcmpl-1", "object": "chat.completion", "choices": []}


class LittleUpstream:
    """Answers every request with what is next in `script`, and then with `CHAT_ANSWER`; counts by the last message.

    An entry is an answer, an exception that breaks the connection, or a coroutine function of the request.
    """

    def __init__(self, *, delay_s: float = 0.0) -> None:
        self.script: deque[Any] = deque()
        self.asked: Counter[str] = Counter()
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.running = 0
        self.most_running = 0
        self.port = 0
        self._delay_s = delay_s
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append((request.path_qs, dict(request.headers), body))
        if body.get("messages"):
            self.asked[body["messages"][-1]["content"]] += 1
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            return await self._say(request, self.script.popleft() if self.script else None)
        finally:
            self.running -= 1

    async def _say(
        self, request: web.Request, entry: web.Response | type | Callable[..., Awaitable[Any]] | None
    ) -> Any:
        await asyncio.sleep(self._delay_s)
        if entry is None:
            usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
            return web.json_response({**CHAT_ANSWER, "usage": usage}, headers={"x-request-id": "up-1"})
        if entry is ConnectionError:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return await entry(request) if callable(entry) else entry
