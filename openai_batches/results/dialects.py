"""Lines of result files that are not as documented, read as far as they can be.

Some services write numbers for ids, nothing for a status, JSON as text, or JSON that strict decoders refuse. Such a
line may hold an answer that was paid for.
"""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import msgspec

from openai_batches.results.bodies import UNREADABLE

__all__ = ["TolerantLine", "TolerantResponse", "id_text", "read_tolerantly", "rescued_id"]


@attrs.frozen
class TolerantResponse:
    """The response in a line; ``body`` is JSON, empty where there is none."""

    status_code: int | None
    request_id: str | None
    body: bytes


@attrs.frozen
class TolerantLine:
    """A line of a result file."""

    custom_id: str
    response: TolerantResponse | None
    error: Any


# Strings (the last one may not end) and brackets: all it takes to know how deep a string stands.
_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\]]', re.DOTALL)
_VALUE = re.compile(rb'\s*+:\s*+("[^"\\]*+(?:\\.[^"\\]*+)*+"|-?[0-9][0-9.eE+-]*+(?=\s*+[,}]))', re.DOTALL)


# An id stands at the start of its line; looking through all of a huge one would take seconds.
_SEARCHED_BYTES = 64 * 1024


def rescued_id(line: bytes) -> str | None:
    """Return the custom_id of a broken line, if it can be told from one that an answer's body holds."""
    depth = 0
    for token in _TOKENS.finditer(line, 0, _SEARCHED_BYTES):
        text = token[0]
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        elif depth == 1 and text == b'"custom_id"' and (value := _VALUE.match(line, token.end())):
            try:
                return id_text(msgspec.json.decode(value[1]))
            except UNREADABLE:
                return None
    return None


def id_text(value: Any) -> str | None:
    """Return an id as text: some services give numbers back as numbers."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value)


def read_tolerantly(line: bytes) -> TolerantLine | None:
    """Return what a line says that is not quite as it should be, or None where it cannot be read at all."""
    try:
        document = json.loads(line.decode("utf-8-sig"), strict=False)
        response = document.get("response")
        response = json.loads(response, strict=False) if isinstance(response, str) else response
        custom_id = id_text(document["custom_id"])
        if custom_id is None or not (response is None or isinstance(response, dict)):
            return None
        return TolerantLine(custom_id, _response_in(response), document.get("error"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _response_in(response: dict[str, Any] | None) -> TolerantResponse | None:
    if response is None:
        return None
    status = response.get("status_code")
    try:
        status_code = None if isinstance(status, bool) or status is None else int(status)
    except (ValueError, TypeError, OverflowError):
        status_code = None
    request_id = response.get("request_id")
    body = response.get("body")
    return TolerantResponse(
        status_code,
        None if request_id is None else str(request_id),
        b"" if body is None else json.dumps(body).encode(),
    )
