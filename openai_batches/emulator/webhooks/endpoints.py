"""Webhooks as values: the receivers, the messages, and what came of each attempt."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs

from openai_batches._names import public
from openai_batches.emulator.checking import field, instance, number, one_of, text, texts, whole
from openai_batches.emulator.rules import SECONDS_PER_DAY

EVENT_TYPES = ("batch.cancelled", "batch.completed", "batch.expired", "batch.failed")

_SECRET_BYTES = 32
_PREFIX = "whsec_"


@public
@attrs.frozen(kw_only=True)
class WebhookRetries:
    """When a message that was not accepted is sent again, in emulated seconds.

    Args:
        first_s: Pause behind the first attempt; each further pause is twice as long.
        longest_s: Longest pause.
        give_up_after_s: No attempt starts later than this after the first.
    """

    first_s: float = field(number, default=5.0, above=0)
    longest_s: float = field(number, default=4 * 3600.0, above=0)
    give_up_after_s: float = field(number, default=3.0 * SECONDS_PER_DAY, least=0)

    def pause_s(self, attempts: int) -> float:
        """Return the pause behind the attempt that was number `attempts`, from 1."""
        # Beyond 2**64 every pause is the longest one, and a float would overflow.
        return min(self.longest_s, self.first_s * 2.0 ** min(attempts - 1, 64))


@public
@attrs.define(eq=False)
class WebhookEndpoint:
    """One receiver of events.

    Args:
        url: Where messages are posted to, http or https; redirects are not followed.
        secret: Signs the messages; several, the newest first, give several signatures. None makes a random one.
        event_types: Events that are sent; all four by default.
        project: Whose batches are told of: a project, or a key that is its own project; None is everybody's.
        timeout_s: Longest time of an attempt, in real seconds.
        max_concurrent: Most attempts at one time; further ones wait.
        timestamps: What the `webhook-timestamp` header says: the machine's time, against which receivers check
            it, or the emulated time.
        retries: When a message is sent again.

    Raises:
        ValueError: The URL, a secret, an event type or a number makes no sense.
    """

    url: str
    secret: str | Sequence[str] | None = attrs.field(default=None, kw_only=True, repr=False)
    event_types: Sequence[str] = attrs.field(default=EVENT_TYPES, kw_only=True)
    project: str | None = attrs.field(default=None, kw_only=True)
    timeout_s: float = field(number, default=10.0, kw_only=True, above=0)
    max_concurrent: int = field(whole, default=8, kw_only=True, least=1)
    timestamps: Literal["machine", "emulated"] = field(one_of, ("machine", "emulated"), default="machine", kw_only=True)
    retries: WebhookRetries = attrs.field(
        factory=WebhookRetries, kw_only=True, validator=attrs.validators.instance_of(WebhookRetries)
    )
    # Secrets with the end of their validity in emulated Unix seconds, the newest first.
    _secrets: list[tuple[str, float]] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        text("url", self.url)
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"url must be an http or https URL, not {self.url!r}")
        texts("event_types", self.event_types)
        for name in self.event_types:
            if name not in EVENT_TYPES:
                raise ValueError(f"unknown event type {name!r}; there are {', '.join(EVENT_TYPES)}")
        if not isinstance(self.secret, str | Sequence | None):
            raise TypeError(f"secret must be a str or several, not {type(self.secret).__name__}")
        given = (self.secret,) if isinstance(self.secret, str) else self.secret
        chosen = tuple(given) if given is not None else (new_secret(),)
        if not chosen:
            raise ValueError("an endpoint needs a secret")
        texts("secret", chosen)
        for secret in chosen:
            signing_key(secret)
        self.secret = chosen[0]
        self._secrets = [(secret, float("inf")) for secret in chosen]

    def secrets_at(self, now: float) -> list[str]:
        """Return the secrets that sign at `now` (emulated Unix seconds), the newest first."""
        self._secrets = [(secret, until) for secret, until in self._secrets if until > now]
        return [secret for secret, _ in self._secrets]

    def rotate_secret(self, secret: str | None = None, *, now: float, keep_old_s: float = 0) -> str:
        """Sign with a new secret, and for a while with the old ones too.

        Args:
            secret: The new secret; None makes a random one.
            now: Emulated Unix seconds.
            keep_old_s: How long the old secrets still sign, in emulated seconds.

        Returns:
            The new secret.

        Raises:
            ValueError: The secret is unusable.
        """
        chosen = new_secret() if secret is None else secret
        signing_key(chosen)
        kept = [(old, min(until, now + keep_old_s)) for old, until in self._secrets]
        self._secrets = [(chosen, float("inf")), *kept]
        self.secret = chosen
        return chosen


@public
@attrs.frozen(kw_only=True)
class WebhookMessage:
    """One event on its way to one endpoint.

    Args:
        webhook_id: The `webhook-id` header, the same in all attempts.
        event_id: Id of the event.
        event_type: Such as `batch.completed`.
        batch_id: What the event is about.
        url: Where it goes.
        body: The exact bytes.
    """

    webhook_id: str
    event_id: str
    event_type: str
    batch_id: str
    url: str
    body: bytes = attrs.field(repr=False)


@public
@attrs.frozen(kw_only=True)
class Delivery:
    """One attempt at delivering a message.

    Args:
        message: What was sent.
        attempt: Its number, from 1.
        time: Emulated Unix seconds of its start.
        status: HTTP status of the answer; None where none came.
        error: Why none came; None otherwise.
    """

    message: WebhookMessage
    attempt: int
    time: float
    status: int | None
    error: str | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the receiver answered with a status of 200 to 299."""
        return self.status is not None and 200 <= self.status <= 299


def endpoints_of(given: Any) -> tuple[WebhookEndpoint, ...]:
    """Return the endpoints that a server is given, one or several."""
    each: tuple[Any, ...] = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    for endpoint in each:
        instance("webhooks", endpoint, WebhookEndpoint, "WebhookEndpoint(...), or several")
    return each


def new_secret() -> str:
    """Return a random signing secret."""
    return secret_of(secrets.token_bytes(_SECRET_BYTES))


def signature_header(message_id: str, timestamp: int, body: bytes, secrets: Iterable[str]) -> str:
    """Return the `webhook-signature` header: one signature for each secret, in their order."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    digests = (hmac.new(signing_key(secret), signed, hashlib.sha256).digest() for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def signing_key(secret: str) -> bytes:
    """Return the key that `secret` stands for: base64 behind `whsec_`, and its own bytes without that prefix."""
    if not secret.startswith(_PREFIX):
        key = secret.encode()
    else:
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raise ValueError("what follows whsec_ in a signing secret must be base64") from None
    if not key:
        raise ValueError("a signing secret must not be empty")
    return key


def secret_of(key: bytes) -> str:
    """Return the secret that stands for `key`."""
    return _PREFIX + base64.b64encode(key).decode()
