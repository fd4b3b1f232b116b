"""Tell whether a webhook comes from the service: (headers, body, secret, time) to a verified event.

The signature is that of Standard Webhooks, as the official SDK checks it: an HMAC-SHA256 over the id, the timestamp and
the raw body.

Source: https://platform.openai.com/docs/guides/webhooks
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec

from openai_batches.errors import DecodeError, InputError, WebhookSignatureError

__all__ = ["WebhookEvent", "checked_secrets", "sign_webhook", "verify_webhook"]

_PREFIX = "whsec_"


@attrs.frozen(kw_only=True)
class WebhookEvent:
    """What a webhook told, after its signature was checked.

    It may come more than once, and before or after others that are older. It says that something happened, not how
    things are now: look at the batch itself.

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
    """Return the event in a webhook, if it was signed with the secret, and lately.

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
    if not isinstance(tolerance_s, int | float) or not tolerance_s >= 0:
        raise InputError(f"tolerance_s must be 0 or more seconds, not {tolerance_s!r}")
    secrets = checked_secrets(secret)
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


def checked_secrets(secret: str | Sequence[str]) -> tuple[str, ...]:
    """Return the secrets, of which there is at least one; what is wrong with one is said without showing it.

    Raises:
        InputError: there is none, or one cannot be one.
    """
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
        wire = msgspec.json.decode(body, type=dict[str, Any])
        if lacking := [name for name in ("id", "type") if name not in wire]:
            raise DecodeError(f"The webhook holds no event: it has no {lacking[0]}")
        event_id, kind = wire["id"], wire["type"]
        created = wire.get("created_at")
        data: dict[str, Any] = wire["data"] if isinstance(wire.get("data"), dict) else {}
        created_at = dt.datetime.fromtimestamp(created, dt.UTC) if isinstance(created, int | float) else None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError(f"The webhook holds no event: {error!s:.200}") from error
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
