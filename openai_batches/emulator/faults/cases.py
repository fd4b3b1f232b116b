"""One request that a fault strikes, and the paths that faults on requests strike by default."""

import asyncio
from collections.abc import Awaitable, Callable

import attrs
from aiohttp import web

from openai_batches.emulator.answers import StreamedAnswer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Where faults on batches and listings strike unless they are told otherwise; some services have other prefixes.
CREATE = r"/batches/?$"
ONE_BATCH = r"/batches/[^/]+$"
BATCHES = r"/batches(/[^/]+(/cancel)?)?/?$"
BATCH_LIST = r"/batches/?$"
LISTS = r"/(batches|files)/?$"
FILES = r"/files/?$"
CONTENT = r"/files/[^/]+/content$"


@attrs.frozen
class Case:
    """One request that a fault strikes; `closing` is set when the server closes, `now` tells its time."""

    request: web.Request
    handler: Handler
    closing: asyncio.Event
    now: Callable[[], float]

    async def act(self) -> web.StreamResponse:
        """Do what was asked."""
        return await self.handler(self.request)

    async def act_and_drop(self) -> None:
        """Do what was asked, and drop the answer."""
        answer = await self.act()
        if isinstance(answer, StreamedAnswer):
            answer.close()
