"""Request files for tests of the commands that read them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

CHAT = "/v1/chat/completions"


def line(custom_id: str, *, model: str | None = "gpt-4o-mini", url: str = CHAT, text: str = "hi", **body: Any) -> str:
    whole = {"model": model, "messages": [{"role": "user", "content": text}], **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": whole})


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def write_requests(path: Path, count: int, **fields: Any) -> Path:
    return write_lines(path, *(line(f"r{number}", **fields) for number in range(count)))
