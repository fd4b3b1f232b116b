"""Local checks: what cannot be right is refused before anything is sent, in words that say what to change.

Sources: https://platform.openai.com/docs/api-reference/batch/create,
https://platform.openai.com/docs/api-reference/files/create
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from openai_batches.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

__all__ = [
    "MAX_METADATA_PAIRS",
    "ExpiresAfter",
    "check_file_id",
    "checked_expiry",
    "checked_key",
    "checked_limit",
    "checked_metadata",
    "checked_spans",
    "unknown_endpoint",
    "unknown_window",
]

MAX_METADATA_PAIRS = 16
_MAX_KEY_CHARS = 512
_MAX_METADATA_KEY_CHARS = 64
_MAX_METADATA_VALUE_CHARS = 512
_WINDOW = re.compile(r"([0-9]{1,6})([hd])", re.ASCII)

# Seconds, a timedelta, or the wire's own {"anchor": "created_at", "seconds": ...}.
ExpiresAfter = int | dt.timedelta | Mapping[str, Any]


def checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str] | None:
    """Return a batch's metadata as a dict of its own.

    Args:
        metadata: at most 16 pairs of strings, keys up to 64 and values up to 512 characters.

    Raises:
        InputError: the metadata break one of these limits; the message names the key.
    """
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise InputError(f"metadata must be a mapping of str to str, not {type(metadata).__name__}")
    if len(metadata) > MAX_METADATA_PAIRS:
        raise InputError(f"metadata can have at most {MAX_METADATA_PAIRS} pairs, these are {len(metadata)}")
    for key, value in metadata.items():
        if not isinstance(key, str):
            raise InputError(f"metadata keys must be str, {key!r} is {type(key).__name__}")
        if len(key) > _MAX_METADATA_KEY_CHARS:
            raise InputError(f"metadata keys can have at most {_MAX_METADATA_KEY_CHARS} characters: {key[:80]!r}")
        if not isinstance(value, str):
            raise InputError(f"metadata values must be str, that of {key!r} is {type(value).__name__}")
        if len(value) > _MAX_METADATA_VALUE_CHARS:
            raise InputError(
                f"metadata values can have at most {_MAX_METADATA_VALUE_CHARS} characters, "
                f"that of {key!r} has {len(value):,}"
            )
    return dict(metadata)


def checked_limit(limit: int, *, maximum: int) -> int:
    """Return the size of a page.

    Raises:
        InputError: it is no whole number from 1 to the maximum.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= maximum:
        raise InputError(f"limit must be a whole number from 1 to {maximum:,}, not {limit!r}")
    return limit


def checked_expiry(
    value: ExpiresAfter | None, *, name: str, range_s: tuple[int, int] = (3_600, 2_592_000)
) -> int | None:
    """Return the seconds after its creation at which a file expires.

    Args:
        value: seconds, a timedelta, or ``{"anchor": "created_at", "seconds": …}``.
        name: what to call it in the error.
        range_s: the shortest and the longest life that the service knows, in seconds; an hour to 30 days at OpenAI.

    Raises:
        InputError: the value is something else, or out of range.
    """
    if value is None:
        return None
    seconds: object = value
    if isinstance(value, Mapping):
        if value.keys() != {"anchor", "seconds"} or value["anchor"] != "created_at":
            raise InputError(f'{name} must be {{"anchor": "created_at", "seconds": …}}, not {dict(value)!r}')
        seconds = value["seconds"]
    elif isinstance(value, dt.timedelta):
        seconds = int(value.total_seconds())
    shortest_s, longest_s = range_s
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not shortest_s <= seconds <= longest_s:
        raise InputError(f"{name} must be {shortest_s:,} to {longest_s:,} seconds, not {seconds!r}")
    return seconds


def checked_spans(spans: object) -> float | dict[str, float] | None:
    """Return after how many seconds a batch has stalled: one number, numbers by status, or None for never.

    Raises:
        InputError: it is neither.
    """
    values: list[Any] = list(spans.values()) if isinstance(spans, Mapping) else [] if spans is None else [spans]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise InputError(f"stall_after must be seconds above 0, or a mapping of statuses to them, not {value!r}")
    return dict(spans) if isinstance(spans, Mapping) else values[0] if values else None


def unknown_endpoint(endpoint: str, known: AbstractSet[str], *, service: str) -> str | None:
    """Return a warning about an endpoint the service is not known to take, or None.

    Raises:
        InputError: it is no path at all.
    """
    if not isinstance(endpoint, str) or not endpoint.startswith("/"):
        raise InputError(f"endpoint must be a path such as '/v1/chat/completions', not {endpoint!r}")
    if not known or endpoint in known:
        return None
    return (
        f"{endpoint!r} is not an endpoint {service} is known to batch ({', '.join(sorted(known))}); it is sent as it is"
    )


def unknown_window(window: str, known_hours: tuple[int, int] | None, *, service: str) -> str | None:
    """Return a warning about a completion window the service is not known to take, or None.

    Raises:
        InputError: it is no text.
    """
    if not isinstance(window, str) or not window:
        raise InputError(f"completion_window must be a text such as '24h', not {window!r}")
    if known_hours is None:
        return None
    asked = _WINDOW.fullmatch(window)
    hours = int(asked[1]) * (24 if asked[2] == "d" else 1) if asked else 0
    shortest, longest = known_hours
    if shortest <= hours <= longest:
        return None
    known = f"'{shortest}h'" if shortest == longest else f"'{shortest}h' to '{longest}h'"
    return f"{window!r} is not a window {service} is known to take ({known}); it is sent as it is"


def check_file_id(file_id: object) -> None:
    """Refuse what is no id of an uploaded file.

    Raises:
        InputError: it is none.
    """
    if not isinstance(file_id, str) or not file_id:
        hint = ": pass its .id" if hasattr(file_id, "id") else ""
        given = repr(file_id) if isinstance(file_id, str) else type(file_id).__name__
        raise InputError(f"input_file_id must be the id of an uploaded file, not {given}{hint}")


def checked_key(key: str | None) -> str | None:
    """Return an idempotency key that can travel in the metadata, or None where there is none.

    Raises:
        InputError: it cannot.
    """
    if key is not None and (not isinstance(key, str) or not 1 <= len(key) <= _MAX_KEY_CHARS):
        raise InputError(f"idempotency_key must be a text of 1 to {_MAX_KEY_CHARS} characters, not {key!r:.80}")
    return key
