"""How the emulator's tests ask, and what the published schemas demand of the answers."""

import io
import json
from collections.abc import Callable
from typing import Any

import aiohttp

CHAT = "/v1/chat/completions"


def chat_line(custom_id: str, text: str = "hi", **changes: Any) -> dict[str, Any]:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body, **changes}


def jsonl(*records: Any) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def chat_file(count: int) -> bytes:
    return jsonl(*(chat_line(f"r{index}", f"question {index}") for index in range(count)))


def records(content: bytes) -> list[dict[str, Any]]:
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


class Raw:
    """A client that knows nothing: it sends what it is told and shows what comes back."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, key: str) -> None:
        self.session = session
        self.base_url = base_url
        self.key = key

    async def __call__(self, method: str, path: str, **options: Any) -> tuple[int, Any, aiohttp.ClientResponse]:
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        async with self.session.request(method, self.base_url + path, headers=headers, **options) as answer:
            content = await answer.read()
            is_json = answer.content_type == "application/json"
            return answer.status, json.loads(content) if is_json and content else content, answer

    async def upload(self, content: bytes, *, filename: str = "in.jsonl", purpose: str = "batch", **fields: str) -> Any:
        status, body, _ = await self("POST", "/files", data=form(content, filename, purpose=purpose, **fields))
        assert status == 200, body
        check_file(body)
        return body

    async def create(self, file_id: str, *, endpoint: str = CHAT, **more: Any) -> Any:
        wanted = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h", **more}
        status, body, _ = await self("POST", "/batches", json=wanted)
        assert status == 200, body
        check_batch(body)
        return body

    async def batch(self, batch_id: str) -> Any:
        status, body, _ = await self("GET", f"/batches/{batch_id}")
        assert status == 200, body
        check_batch(body)
        return body

    async def content(self, file_id: str) -> bytes:
        status, body, _ = await self("GET", f"/files/{file_id}/content")
        assert status == 200, body
        return body


def form(content: bytes, filename: str = "in.jsonl", **fields: str) -> aiohttp.FormData:
    made = aiohttp.FormData()
    for name, value in fields.items():
        made.add_field(name, value)
    made.add_field("file", io.BytesIO(content), filename=filename, content_type="application/octet-stream")
    return made


MakeRaw = Callable[..., Raw]


TIMES = (
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)
BATCH_STATUSES = [
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]
# The schema of the record forgets `evals`, which the schema of the upload allows.
FILE_PURPOSES = [
    "evals",
    "assistants",
    "assistants_output",
    "batch",
    "batch_output",
    "fine-tune",
    "fine-tune-results",
    "vision",
    "user_data",
]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def check_batch(batch: dict[str, Any]) -> None:
    """What the published schema asks of a Batch, and that every key is there."""
    strings = {"id", "endpoint", "input_file_id", "completion_window"}
    nullable = {"model", "output_file_id", "error_file_id"}
    rest = {"object", "errors", "status", "created_at", "request_counts", "usage", "metadata"}
    assert set(batch) == strings | nullable | rest | set(TIMES)
    assert batch["object"] == "batch"
    assert batch["status"] in BATCH_STATUSES
    assert all(isinstance(batch[name], str) for name in strings)
    assert all(batch[name] is None or isinstance(batch[name], str) for name in nullable)
    assert _is_int(batch["created_at"])
    assert all(batch[name] is None or _is_int(batch[name]) for name in TIMES)
    assert set(batch["request_counts"]) == {"total", "completed", "failed"}
    assert all(map(_is_int, batch["request_counts"].values()))
    usage = batch["usage"]
    assert all(_is_int(usage[name]) for name in ("input_tokens", "output_tokens", "total_tokens"))
    assert _is_int(usage["input_tokens_details"]["cached_tokens"])
    assert _is_int(usage["output_tokens_details"]["reasoning_tokens"])
    metadata = batch["metadata"]
    assert metadata is None or all(isinstance(value, str) for value in metadata.values())
    if batch["errors"] is not None:
        assert batch["errors"]["object"] == "list"
        assert all(set(error) == {"code", "message", "param", "line"} for error in batch["errors"]["data"])


def check_file(file: dict[str, Any]) -> None:
    """What the published schema asks of a File, and that every key is there."""
    assert set(file) == {
        "id",
        "object",
        "bytes",
        "created_at",
        "expires_at",
        "filename",
        "purpose",
        "status",
        "status_details",
    }
    assert file["object"] == "file"
    assert file["purpose"] in FILE_PURPOSES
    assert file["status"] in {"uploaded", "processed", "error"}
    assert all(isinstance(file[name], str) for name in ("id", "filename"))
    assert all(_is_int(file[name]) for name in ("bytes", "created_at"))
    assert file["expires_at"] is None or _is_int(file["expires_at"])


def check_page(page: dict[str, Any], check: Callable[[dict[str, Any]], None], *, ids_are_strings: bool = False) -> None:
    """What the published schemas ask of a listing."""
    assert set(page) == {"object", "data", "first_id", "last_id", "has_more"}
    assert page["object"] == "list"
    assert isinstance(page["has_more"], bool)
    for item in page["data"]:
        check(item)
    if page["data"]:
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
    else:
        empty = "" if ids_are_strings else None
        assert (page["first_id"], page["last_id"]) == (empty, empty)


def check_error(body: Any) -> dict[str, Any]:
    """Every refusal is an error object with all four keys."""
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)
    return error
