"""What the head of an answer says about the bytes of its body: which ones they are, and whether they can be resumed.

Source: https://www.rfc-editor.org/rfc/rfc9110#name-range-requests
"""

from __future__ import annotations

import email.utils
import re
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ContentRange", "content_encoding", "content_range", "strong_validator"]

_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.ASCII | re.IGNORECASE)
# A file that changes twice within a second keeps its date; a minute leaves room for clocks that differ.
_SETTLED_S = 60.0


@attrs.frozen
class ContentRange:
    """The bytes from ``start`` up to, not including, ``stop``, of ``total`` in all."""

    start: int
    stop: int
    total: int


def content_range(headers: Mapping[str, str]) -> ContentRange | None:
    """Return which bytes the body of a 206 holds, or None where that is not said, or makes no sense.

    Args:
        headers: the answer's, looked up in lower case.

    Source: https://www.rfc-editor.org/rfc/rfc9110#name-content-range
    """
    match = _RANGE.fullmatch(headers.get("content-range", "").strip())
    if match is None:
        return None
    first, last, total = map(int, match.groups())
    return ContentRange(first, last + 1, total) if first <= last < total else None


def strong_validator(headers: Mapping[str, str]) -> str | None:
    """Return what tells these bytes from all others this address has had or will have, for ``If-Range``, or None.

    That is an ``ETag`` that is not weak, or, where there is no ``ETag`` at all, a ``Last-Modified`` that lies at least
    a minute before the answer's ``Date``.

    Args:
        headers: the answer's, looked up in lower case.

    Source: https://www.rfc-editor.org/rfc/rfc9110#name-if-range
    """
    etag = headers.get("etag")
    if etag is not None:
        return etag if _ETAG.fullmatch(etag) else None
    modified = headers.get("last-modified", "")
    modified_s, sent_s = _seconds(modified), _seconds(headers.get("date", ""))
    if modified_s is None or sent_s is None or sent_s - modified_s < _SETTLED_S:
        return None
    return modified


def content_encoding(headers: Mapping[str, str]) -> str | None:
    """Return how the body is encoded, in lower case, or None where it is the bytes themselves.

    Args:
        headers: the answer's, looked up in lower case.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    return None if encoding in {"", "identity"} else encoding


def _seconds(date: str) -> float | None:
    try:
        parsed = email.utils.parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return None if parsed.tzinfo is None else parsed.timestamp()
