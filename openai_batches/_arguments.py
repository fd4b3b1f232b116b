"""Checks of arguments that several modules take: what cannot be right is refused before anything is sent.

Sources: https://platform.openai.com/docs/api-reference/batch/create,
https://platform.openai.com/docs/api-reference/files/create
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from openai_batches.errors import InputError

__all__ = [
    "MAX_METADATA_PAIRS",
    "ExpiresAfter",
    "check_file_id",
    "check_flags",
    "check_seconds",
    "check_whole",
    "checked_expiry",
    "checked_idempotency_key",
    "checked_metadata",
    "checked_spans",
    "shortened",
]

MAX_METADATA_PAIRS = 16
_MAX_KEY_CHARS = 512
_MAX_METADATA_KEY_CHARS = 64
_MAX_METADATA_VALUE_CHARS = 512
_MAX_SHOWN = 80

# Seconds, a timedelta, or the wire's own {"anchor": "created_at", "seconds": ...}.
ExpiresAfter = int | dt.timedelta | Mapping[str, Any]


def checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str] | None:
    """Return a batch's metadata as a dict of its own; those that the service would refuse are refused by their key."""
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


def check_whole(*, most: int | None = None, **numbers: object) -> None:
    """Refuse what is no whole number from 1 on, each by its name."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= (most or value):
            wanted = "of at least 1" if most is None else f"from 1 to {most:,}"
            raise InputError(f"{name} must be a whole number {wanted}, not {value!r}")


def check_seconds(**numbers: object) -> None:
    """Refuse what is no number of seconds, 0 or more."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise InputError(f"{name} must be 0 or more seconds, not {value!r}")


def check_flags(**flags: object) -> None:
    """Refuse what is neither True nor False: other values that count as true are rarely what was meant."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise InputError(f"{name} must be True or False, not {value!r}")


def shortened(value: object) -> str:
    """Return how a value looks, in at most 80 characters."""
    looks = repr(value)
    return looks if len(looks) <= _MAX_SHOWN else f"{looks[: _MAX_SHOWN - 1]}…"


def checked_expiry(
    value: ExpiresAfter | None, *, name: str, range_s: tuple[int, int] = (3_600, 2_592_000)
) -> int | None:
    """Return the seconds after its creation at which a file expires, which must lie in the range of the service."""
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
    """Return after how many seconds a batch has stalled: one number, numbers by status, or None for never."""
    values: list[Any] = list(spans.values()) if isinstance(spans, Mapping) else [] if spans is None else [spans]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise InputError(f"stall_after must be seconds above 0, or a mapping of statuses to them, not {value!r}")
    return dict(spans) if isinstance(spans, Mapping) else values[0] if values else None


def check_file_id(file_id: object) -> None:
    """Refuse what is no id of an uploaded file."""
    if not isinstance(file_id, str) or not file_id:
        hint = ": pass its .id" if hasattr(file_id, "id") else ""
        given = repr(file_id) if isinstance(file_id, str) else type(file_id).__name__
        raise InputError(f"input_file_id must be the id of an uploaded file, not {given}{hint}")


def checked_idempotency_key(key: str | None) -> str | None:
    """Return an idempotency key that can travel in the metadata, or None where there is none."""
    if key is not None and (not isinstance(key, str) or not 1 <= len(key) <= _MAX_KEY_CHARS):
        raise InputError(f"idempotency_key must be a text of 1 to {_MAX_KEY_CHARS} characters, not {key!r:.80}")
    return key
