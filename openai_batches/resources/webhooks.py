"""Webhooks: whether one comes from the service, and a receiver that lets those who wait for a batch know of its end.

The signature is that of Standard Webhooks, as the official SDK checks it: an HMAC-SHA256 over the id, the timestamp and
the raw body.

Source: https://platform.openai.com/docs/guides/webhooks
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hmac
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import msgspec

from openai_batches._arguments import check_seconds
from openai_batches._names import public
from openai_batches._text import why_no_json
from openai_batches.errors import DecodeError, InputError, WebhookSignatureError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from openai_batches.resources.batches import Batches

__all__ = ["WebhookEvent", "WebhookReceiver", "sign_webhook", "verify_webhook"]

_logger = logging.getLogger("openai_batches")
_PREFIX = "whsec_"
_SECRET_ENV = "OPENAI_WEBHOOK_SECRET"  # noqa: S105  # its name, not itself
# An event is a few hundred bytes; a larger body does not come from the service.
_MAX_BYTES = 1024 * 1024
_REMEMBERED = 10_000


@public
@attrs.frozen(kw_only=True)
class WebhookEvent:
    """The event in a webhook whose signature was checked.

    An event may arrive more than once, and out of order. It says that something happened, not what the current state
    is: retrieve the batch to know its state.

    Attributes:
        id: the id of the event.
        type: what happened, e.g. ``batch.completed``. Types this version does not know are passed on.
        created_at: when, or None where the service does not say.
        data: what the event is about; of a batch, only its id.
        webhook_id: the id of the delivery, the same each time it is repeated.
        is_repeated: whether a receiver has had this delivery before.

    Source: https://platform.openai.com/docs/api-reference/webhook-events
    """

    id: str
    type: str
    created_at: dt.datetime | None = None
    data: Mapping[str, Any] = attrs.field(factory=dict[str, Any], hash=False)
    webhook_id: str = ""
    is_repeated: bool = False

    @property
    def batch_id(self) -> str | None:
        """The id of the batch that the event is about, or None."""
        batch_id = self.data.get("id")
        return batch_id if self.type.startswith("batch.") and isinstance(batch_id, str) and batch_id else None


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes | str,
    secret: str | Sequence[str],
    *,
    now: float,
    tolerance_s: float = 300.0,
) -> WebhookEvent:
    """Return the event in a webhook, if it was signed with the secret and is recent enough.

    Args:
        headers: the headers of the request, in any spelling of upper and lower case.
        body: the body exactly as it came: one that was parsed and written again has another signature.
        secret: the secret of the endpoint (``whsec_...``), or several while it is being replaced.
        now: the time, in Unix seconds.
        tolerance_s: how many seconds old a webhook may be, or ahead of ``now``.

    Raises:
        WebhookSignatureError: a header is missing, it is too old or too new, or no signature fits.
        DecodeError: the signature is right, but the body is no event.
        InputError: a secret cannot be one, or the tolerance is below 0.

    Source: https://platform.openai.com/docs/guides/webhooks
    """
    check_seconds(tolerance_s=tolerance_s)
    secrets = _checked_secrets(secret)
    raw = _raw(body)
    webhook_id, timestamp, signature = (_header(headers, name) for name in ("id", "timestamp", "signature"))
    _check_age(timestamp, int(now), tolerance_s)
    given = [_bytes(part.removeprefix("v1,")) for part in signature.split()]
    expected = [_signature(one, webhook_id, timestamp, raw) for one in secrets]
    # All are compared, each in constant time, so that the time it takes tells nothing of how far one fits.
    if not sum(hmac.compare_digest(one, other) for one in expected for other in given):
        raise WebhookSignatureError("No signature of the webhook fits: it is forged, changed, or of another secret")
    return _event(raw, webhook_id)


def sign_webhook(body: bytes | str, secret: str, *, webhook_id: str, timestamp: float) -> dict[str, str]:
    """Return the headers with which the service would send a webhook: for tests of what receives them.

    Args:
        body: the body.
        secret: the secret of the endpoint.
        webhook_id: the id of the delivery.
        timestamp: when it is sent, in Unix seconds.

    Raises:
        InputError: the secret cannot be one.
    """
    raw = _raw(body)
    sent = str(int(timestamp))
    signature = _signature(secret, webhook_id, sent, raw).decode()
    return {"webhook-id": webhook_id, "webhook-timestamp": sent, "webhook-signature": f"v1,{signature}"}


def _checked_secrets(secret: str | Sequence[str]) -> tuple[str, ...]:
    """Return the secrets, of which there is at least one; what is wrong with one is said without showing it."""
    given: Any = secret
    if not isinstance(given, str | Sequence):
        raise InputError(f"a webhook's secret must be a str, or several, not {type(given).__name__}")
    secrets = (secret,) if isinstance(secret, str) else tuple(secret)
    if not secrets:
        raise InputError("a webhook needs at least one secret to be checked with")
    for one in secrets:
        _key(one)
    return secrets


def _raw(body: Any) -> bytes:
    if isinstance(body, str):
        return body.encode()
    if not isinstance(body, bytes | bytearray):
        raise InputError(f"the body of a webhook is taken as it came, before it is parsed: not {type(body).__name__}")
    return bytes(body)


def _key(secret: Any) -> bytes:
    if not isinstance(secret, str):
        raise InputError(f"a webhook's secret must be a str, not {type(secret).__name__}")
    try:
        coded = secret.removeprefix(_PREFIX).strip()
        key = base64.b64decode(coded, validate=True) if secret.startswith(_PREFIX) else secret.encode()
    except (binascii.Error, ValueError):
        raise InputError("the webhook's secret starts with whsec_, but what follows is not base64") from None
    if not key:
        raise InputError("the webhook's secret is empty: anybody could sign with it")
    return key


def _signature(secret: str, webhook_id: str, timestamp: str, body: bytes) -> bytes:
    signed = b".".join((_bytes(webhook_id), _bytes(timestamp), body))
    return base64.b64encode(hmac.digest(_key(secret), signed, "sha256"))


def _bytes(text: str) -> bytes:
    # A header can hold bytes that are no UTF-8, which aiohttp hands on as surrogates.
    return text.encode("utf-8", "surrogateescape")


def _header(headers: Mapping[str, str], name: str) -> str:
    wanted = f"webhook-{name}"
    for given, value in headers.items():
        if given.lower() == wanted:
            return value
    raise WebhookSignatureError(f"The webhook has no header {wanted}")


def _check_age(timestamp: str, now_s: int, tolerance_s: float) -> None:
    try:
        sent_s = int(timestamp)
    except ValueError:
        raise WebhookSignatureError("The timestamp of the webhook is no number of seconds") from None
    if now_s - sent_s > tolerance_s:
        raise WebhookSignatureError(f"The webhook is too old: it was sent {now_s - sent_s:,} s ago")
    if sent_s > now_s + tolerance_s:
        raise WebhookSignatureError(f"The webhook is too new: it was sent {sent_s - now_s:,} s ahead of this clock")


def _event(body: bytes, webhook_id: str) -> WebhookEvent:
    try:
        wire = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"The webhook holds no event: {why_no_json(body)}") from error
    if not isinstance(wire, dict):
        raise DecodeError("The webhook holds no event: it is no JSON object")
    try:
        if lacking := [name for name in ("id", "type") if name not in wire]:
            raise DecodeError(f"The webhook holds no event: it has no {lacking[0]}")
        event_id, kind = wire["id"], wire["type"]
        created = wire.get("created_at")
        data: dict[str, Any] = wire["data"] if isinstance(wire.get("data"), dict) else {}
        created_at = dt.datetime.fromtimestamp(created, dt.UTC) if isinstance(created, int | float) else None
    except (ValueError, OverflowError, OSError) as error:
        raise DecodeError(f"The webhook holds no event: its created_at is no time: {error!s:.200}") from error
    if not isinstance(event_id, str) or not isinstance(kind, str):
        raise DecodeError("The webhook holds no event: its id or its type is no text")
    return WebhookEvent(
        id=event_id,
        type=kind,
        created_at=created_at,
        data=data,
        webhook_id=webhook_id,
    )


class _HasBatches(Protocol):
    @property
    def batches(self) -> Batches: ...


@public
class WebhookReceiver:
    """Checks webhooks, and polls the batches they are about at once, if calls are waiting for them.

    Webhooks only save time: ``wait``, ``as_completed`` and ``watch`` continue to poll, so that a webhook that is lost,
    late, out of order or repeated does no harm.

    Args:
        session: the session in which batches are waited for, or its ``batches``; with None, webhooks are only checked.
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
        from openai_batches.http.client import Secret  # noqa: PLC0415  # who only verifies does without aiohttp

        if secret is None:
            secret = Secret(os.environ.get(_SECRET_ENV, ""))
            if not secret:
                raise InputError(f"No webhook secret: pass secret=…, or set the environment variable {_SECRET_ENV}")
        check_seconds(tolerance_s=tolerance_s)
        self._secrets = tuple(Secret(one) for one in _checked_secrets(secret))
        batches: Any = session if hasattr(session, "wake") else getattr(session, "batches", None)
        if session is not None and not callable(getattr(batches, "wake", None)):
            raise InputError(f"a WebhookReceiver takes a BatchSession, or its batches, not {type(session).__name__}")
        self._batches: Batches | None = batches
        self._tolerance_s = tolerance_s
        self._now = now
        self._known: OrderedDict[str, None] = OrderedDict()

    def __repr__(self) -> str:
        return "<WebhookReceiver>"

    async def receive(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        """Return the event in a webhook; the batch it is about is polled at once, if a call is waiting for it.

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
        from aiohttp import web  # noqa: PLC0415  # likewise

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
