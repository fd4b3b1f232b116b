"""Receive webhooks, so that those who wait for a batch know of its end at once.

Source: https://platform.openai.com/docs/guides/webhooks
"""

from __future__ import annotations

import logging
import os
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from aiohttp import web

from openai_batches.errors import DecodeError, InputError, WebhookSignatureError
from openai_batches.http.client import Secret
from openai_batches.resources.batches import Batches
from openai_batches.resources.webhooks import WebhookEvent, checked_secrets, verify_webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["WebhookReceiver"]

_logger = logging.getLogger("openai_batches")
_SECRET_ENV = "OPENAI_WEBHOOK_SECRET"  # noqa: S105  # its name, not itself
# An event is a few hundred bytes; whoever sends more than this is somebody else.
_MAX_BYTES = 1024 * 1024
_REMEMBERED = 10_000


class _HasBatches(Protocol):
    @property
    def batches(self) -> Batches: ...


class WebhookReceiver:
    """Checks webhooks, and has the batches they are about looked at, for whoever waits for them.

    Webhooks only save time: ``wait``, ``as_completed`` and ``watch`` go on asking now and then, so that one that is
    lost, late or out of order does no harm, and neither does one that comes twice.

    Args:
        session: the session in which batches are waited for, or its ``batches``; None only checks, and wakes nobody.
        secret: the secret of the endpoint (``whsec_...``), or several while it is being replaced. Without one,
            ``OPENAI_WEBHOOK_SECRET`` is read.
        tolerance_s: how many seconds old a webhook may be, or ahead of our clock.
        now: the wall clock in Unix seconds, for tests.

    Raises:
        InputError: there is no secret, or an argument cannot be right.
    """

    def __init__(
        self,
        session: _HasBatches | Batches | None,
        secret: str | Sequence[str] | None = None,
        *,
        tolerance_s: float = 300.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        if secret is None:
            secret = Secret(os.environ.get(_SECRET_ENV, ""))
            if not secret:
                raise InputError(f"No webhook secret: pass secret=…, or set the environment variable {_SECRET_ENV}")
        if not isinstance(tolerance_s, int | float) or not tolerance_s >= 0:
            raise InputError(f"tolerance_s must be 0 or more seconds, not {tolerance_s!r}")
        self._secrets = tuple(Secret(one) for one in checked_secrets(secret))
        batches: Any = session if isinstance(session, Batches) else getattr(session, "batches", None)
        if session is not None and not callable(getattr(batches, "wake", None)):
            raise InputError(f"a WebhookReceiver takes a BatchSession, or its batches, not {type(session).__name__}")
        self._batches: Batches | None = batches
        self._tolerance_s = tolerance_s
        self._now = now
        self._known: OrderedDict[str, None] = OrderedDict()

    def __repr__(self) -> str:
        return "<WebhookReceiver>"

    async def receive(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        """Return the event in a webhook; the batch it is about is asked about at once, if somebody waits for it.

        For any web framework: answer with a status of 200 if this returns, and with 400 if it raises.

        Args:
            headers: the headers of the request.
            body: its body, exactly as it came.

        Raises:
            WebhookSignatureError: it does not prove that it comes from the service.
            DecodeError: the signature is right, but the body is no event.
        """
        event = verify_webhook(headers, body, self._secrets, now=self._now(), tolerance_s=self._tolerance_s)
        if event.webhook_id in self._known:
            return attrs.evolve(event, is_repeated=True)
        self._known[event.webhook_id] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        if event.batch_id is not None and self._batches is not None:
            self._batches.wake(event.batch_id)
        return event

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a webhook, as a handler of ``aiohttp.web``: ``app.router.add_post("/webhook", receiver.handle)``.

        The answer is 200, 400 where the webhook does not prove where it comes from, or 413 where it is larger than
        1 MiB, of which no more is read.

        Args:
            request: the request.
        """
        body = bytearray()
        async for block in request.content.iter_any():
            body += block
            if len(body) > _MAX_BYTES:
                _logger.warning("A webhook was refused: it is larger than %d bytes", _MAX_BYTES)
                return web.Response(status=413, text="too large")
        try:
            await self.receive(request.headers, bytes(body))
        except (WebhookSignatureError, DecodeError) as error:
            _logger.warning("A webhook was refused: %s", error)
            return web.Response(status=400, text="refused")
        return web.Response(text="ok")
