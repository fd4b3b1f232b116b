"""Small parts of jobs, for tests of the modules that work on them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from openai_batches import OPENAI, Batch
from openai_batches.http.decode import decode
from openai_batches.jobs.journal.records import Attempt, JobRecord
from openai_batches.jobs.plan import Plan

if TYPE_CHECKING:
    from pathlib import Path

CHAT = "/v1/chat/completions"
JOB_ID = "openai-batches-0123456789ab"


def attempt(shard: int = 1, number: int = 1, **fields: Any) -> Attempt:
    plain = {"endpoint": CHAT, "model": "gpt-4o-mini", "requests": 3, "bytes": 300, "tokens": 75}
    return Attempt(shard=shard, number=number, **{**plain, **fields})


def job_record(**fields: Any) -> JobRecord:
    plain = {
        "job_id": JOB_ID,
        "created_s": 1_774_437_191.25,
        "base_url": "https://api.openai.com/v1",
        "source": "/data/requests.jsonl",
        "source_digest": "00ff",
        "source_bytes": 300,
        "source_mtime_ns": 1_774_437_191_000_000_001,
        "requests": 3,
        "options": {"completion_window": "24h"},
    }
    return JobRecord(**{**plain, **fields})


def batch(batch_id: str = "batch_1", status: str = "in_progress", **fields: Any) -> Batch:
    plain = {
        "id": batch_id,
        "object": "batch",
        "endpoint": CHAT,
        "input_file_id": "file-1",
        "completion_window": "24h",
        "status": status,
        "created_at": 1_774_437_191,
    }
    return decode(json.dumps({**plain, **fields}).encode(), Batch)


def plan(**fields: Any) -> Plan:
    plain = {
        "base_url": "https://api.openai.com/v1",
        "provider": OPENAI,
        "endpoint": None,
        "limits": None,
        "strict": True,
        "options": {"completion_window": "24h"},
        "now_s": 1_774_437_191.0,
    }
    return Plan(**{**plain, **fields})


def modes(folder: Path) -> set[int]:
    """The modes of everything in a folder and its folders."""
    return {path.stat().st_mode & 0o777 for path in folder.rglob("*")}


def success_line(custom_id: str, text: str = "yes") -> bytes:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    body = {"model": "gpt-4o-mini", "choices": [{"message": {"content": text}}], "usage": usage}
    response = {"status_code": 200, "request_id": "req", "body": body}
    return json.dumps({"id": "x", "custom_id": custom_id, "response": response, "error": None}).encode() + b"\n"


def failure_line(custom_id: str, status: int = 400, code: str | None = "bad") -> bytes:
    response = {"status_code": status, "request_id": "req", "body": {"error": {"code": code, "message": "no"}}}
    return json.dumps({"id": "x", "custom_id": custom_id, "response": response, "error": None}).encode() + b"\n"


def unrun_line(custom_id: str, code: str = "batch_expired") -> bytes:
    error = {"code": code, "message": "This request did not run"}
    return json.dumps({"id": "x", "custom_id": custom_id, "response": None, "error": error}).encode() + b"\n"
