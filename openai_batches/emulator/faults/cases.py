"""One request that a fault befalls, and what all the faults on requests share."""

import asyncio
from collections.abc import Awaitable, Callable

import attrs
from aiohttp import web

from openai_batches.emulator.answers import StreamedAnswer
from openai_batches.emulator.faults.aim import AimedFault

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Where faults on batches and listings strike unless they are told otherwise; dialects put other words before.
CREATE = r"/batches/?$"
ONE_BATCH = r"/batches/[^/]+$"
BATCHES = r"/batches(/[^/]+(/cancel)?)?/?$"
BATCH_LIST = r"/batches/?$"
LISTS = r"/(batches|files)/?$"
FILES = r"/files/?$"
CONTENT = r"/files/[^/]+/content$"


@attrs.frozen
class Case:
    """One request that a fault befalls.

    Args:
        fault: The fault.
        request: What is asked.
        handler: Does what is asked.
        closing: Set when the server closes.
        now: Returns the server's time in Unix seconds.
    """

    fault: AimedFault
    request: web.Request
    handler: Handler
    closing: asyncio.Event
    now: Callable[[], float]

    async def act(self) -> web.StreamResponse:
        """Do what was asked."""
        return await self.handler(self.request)

    async def act_unheard(self) -> None:
        """Do what was asked, and drop the answer."""
        answer = await self.act()
        if isinstance(answer, StreamedAnswer):
            answer.close()
