"""Signatures of webhook messages: pure functions of the message and the secrets."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

_PREFIX = "whsec_"


def signature_header(message_id: str, timestamp: int, body: bytes, secrets: Iterable[str]) -> str:
    """Return the `webhook-signature` header: one signature for each secret, in their order.

    Args:
        message_id: The `webhook-id` header.
        timestamp: The `webhook-timestamp` header, Unix seconds.
        body: The message's exact bytes.
        secrets: Signing secrets, as for `signing_key`.

    Raises:
        ValueError: A secret is unusable.
    """
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    digests = (hmac.new(signing_key(secret), signed, hashlib.sha256).digest() for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def signing_key(secret: str) -> bytes:
    """Return the key that `secret` stands for: base64 behind `whsec_`, and its own bytes without that prefix.

    Raises:
        ValueError: It is empty, or what follows `whsec_` is no base64.
    """
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
