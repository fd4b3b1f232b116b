"""A receiver of webhooks for the emulator's tests."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """An HTTP server that remembers what it was sent and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.answering: Answering | None = None
        self.url = ""

    @property
    def events(self) -> list[Any]:
        return [json.loads(body) for _, body in self.got]

    async def receive(self, request: web.Request) -> web.StreamResponse:
        self.got.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        if self.answering is not None:
            return await self.answering(request)
        status = self.statuses.pop(0) if self.statuses else 204
        return web.Response(status=status, headers={"Location": "/elsewhere"} if 300 <= status < 400 else {})
