"""Requests, and files of them."""

from __future__ import annotations

import json
from itertools import cycle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

CHAT = "/v1/chat/completions"


def request(
    custom_id: str, text: str | None = None, *, model: str | None = "gpt-4o-mini", url: str = CHAT, **body: Any
) -> dict[str, Any]:
    """Return a row of a request file, which asks for its own id if no text is given."""
    text = custom_id if text is None else text
    asked = {"messages": [{"role": "user", "content": text}]} if url == CHAT else {"input": text}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": model, **asked, **body}}


def line(custom_id: str, *, text: str = "hi", **fields: Any) -> str:
    """Return such a row as JSON."""
    return json.dumps(request(custom_id, text, **fields))


def request_line(custom_id: str, text: str | None = None, **fields: Any) -> bytes:
    """Return such a row as a line of a file."""
    return json.dumps(request(custom_id, text, **fields)).encode() + b"\n"


def request_lines(*custom_ids: str, **fields: Any) -> bytes:
    """Return the content of a request file."""
    return b"".join(request_line(custom_id, **fields) for custom_id in custom_ids)


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def write_requests(path: Path, requests: int | Iterable[str] = 4, *, models: Sequence[str] = (), **fields: Any) -> Path:
    """Write a request file: r0, r1, ..., or requests of these ids, whose models take turns."""
    custom_ids = [f"r{number}" for number in range(requests)] if isinstance(requests, int) else requests
    turns = [{"model": model, **fields} for model in models] or [fields]
    path.write_bytes(b"".join(request_line(name, **turn) for name, turn in zip(custom_ids, cycle(turns), strict=False)))
    return path
