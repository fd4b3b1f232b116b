"""Request files, and jobs of the command line that are over in a moment."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING

from openai_batches import BatchJob, PollPolicy

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CHAT = "/v1/chat/completions"
LOCAL = ("--local", "--local-speed", "500")


def write_requests(path: Path, count: int = 4, *, model: str = "gpt-4o-mini", max_tokens: int | None = 10) -> Path:
    """Write a request file: r0, r1, ..."""
    body: dict[str, object] = {"model": model} if max_tokens is None else {"model": model, "max_tokens": max_tokens}
    path.write_text(
        "".join(
            json.dumps(
                {
                    "custom_id": f"r{number}",
                    "method": "POST",
                    "url": CHAT,
                    "body": {**body, "messages": [{"role": "user", "content": f"say r{number}"}]},
                }
            )
            + "\n"
            for number in range(count)
        )
    )
    return path


def ids_in(text: str) -> list[str]:
    """The ids of some rows of JSON."""
    return [json.loads(line)["custom_id"] for line in text.splitlines()]


def ask_often(monkeypatch: pytest.MonkeyPatch, **options: object) -> None:
    """Let jobs ask the service for their batches all the time, which real ones do every five seconds at first."""
    for module in ("run.run", "commands.jobs"):
        quick = functools.partial(BatchJob, poll=PollPolicy.every(0.01), **options)
        monkeypatch.setattr(f"openai_batches.cli.{module}.BatchJob", quick)
