"""The records of other services: what OpenAI's record becomes there.

Every function takes the record as OpenAI shows it, as a dict of its own, and returns it as the service does.
"""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from openai_batches.emulator.json_values import members

Record = dict[str, Any]
Shape = Callable[[Record], Record]

_DAY_S = 86_400
_FILE_IDS = ("output_file_id", "error_file_id")
_WAITING = frozenset({"validating", "failed"})
# Azure's codes for those of OpenAI.
_AZURE_CODES = {
    "invalid_method": "invalid_request",
    "invalid_type": "invalid_request",
    "invalid_url": "url_mismatch",
    "mismatched_model": "model_mismatch",
    "missing_required_parameter": "invalid_request",
    "streaming_unsupported": "invalid_request",
}


def azure_batch(record: Record) -> Record:
    """Write times as text, statuses with a capital, absent files as "" and counts that are not known as null."""
    if not record["request_counts"]["total"]:
        record["request_counts"] = dict.fromkeys(record["request_counts"])
    errors: Record = record["errors"] or {"data": ()}
    for error in errors["data"]:
        error["code"] = _AZURE_CODES.get(error["code"], error["code"])
    for name in _FILE_IDS:
        record[name] = record[name] or ""
    # The window is shown, although nothing happens when it is over.
    record["expires_at"] = record["created_at"] + _DAY_S
    return _with_times_as_text(record)


def azure_file(record: Record) -> Record:
    """Write times as text."""
    return _with_times_as_text(record, capitalize=False)


def azure_line(line: Record) -> Record:
    """Leave out the line's id, and add the results of the content filters."""
    line.pop("id", None)
    body = members(members(line["response"]).get("body"))
    if "choices" in body:
        for choice in body["choices"]:
            choice.setdefault("content_filter_results", {})
        body.setdefault("prompt_filter_results", [{"prompt_index": 0, "content_filter_results": {}}])
    return line


def azure_refusal(body: Record) -> Record:
    """Shorten the error of an unknown purpose."""
    if body["error"]["param"] == "purpose" and body["error"]["code"] == "invalid_value":
        return {"error": {"code": "invalidPayload", "message": "Invalid value for purpose."}}
    return body


def _with_times_as_text(record: Record, *, capitalize: bool = True) -> Record:
    for name, value in record.items():
        if name.endswith("_at") and value is not None:
            record[name] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(value))
    if capitalize:
        record["status"] = record["status"].capitalize()
    return record


def groq_batch(record: Record) -> Record:
    """Leave out the model and the usage."""
    del record["model"], record["usage"]
    return record


def groq_file(record: Record) -> Record:
    """Leave out the status and when the file expires."""
    del record["status"], record["status_details"], record["expires_at"]
    return record


def siliconflow_batch(record: Record) -> Record:
    """Call the first status `in_queue`, and count nothing before the batch runs."""
    if record["status"] in _WAITING or not record["request_counts"]["total"]:
        record["request_counts"] = None
    if record["status"] == "validating":
        record["status"] = "in_queue"
    return record


def vllm_line(line: Record) -> Record:
    """Give the line vLLM's ids, and a failure no body but its reason beside the response, as an object or as text."""
    if not line["id"].startswith("vllm-"):
        line["id"] = f"vllm-{_uuid_of(line['id'])}"
    response = line["response"]
    if response is None:
        return line
    if not response["request_id"].startswith("vllm-batch-"):
        response["request_id"] = f"vllm-batch-{_uuid_of(response['request_id'])}"
    if line["error"] is None and not 200 <= response["status_code"] < 300:
        error = _error_in(response["body"])
        response["body"] = None
        # Errors of the request are objects; errors of the engine are only text.
        line["error"] = {"object": "error", **error} if response["status_code"] < 500 else error["message"]
    return line


def ogx_batch(record: Record) -> Record:
    """Show no finalizing, and leave out the times of the start and of expiry."""
    if record["status"] == "finalizing":
        record["status"] = "in_progress"
    for name in ("in_progress_at", "finalizing_at", "expires_at", "expired_at"):
        record[name] = None
    return record


def ogx_line(line: Record) -> Record:
    """Write a success's body as JSON text, and of a failure the error alone."""
    response = line.get("response")
    if response is not None and 200 <= response["status_code"] < 300:
        if not isinstance(response["body"], str):
            response["body"] = json.dumps(response["body"])
        return line
    error = line["error"] if response is None else _error_in(response["body"])
    kind = error.get("type") or error.get("code")
    return {"id": line["id"], "custom_id": line["custom_id"], "error": {"type": kind, "message": error["message"]}}


def _error_in(body: Any) -> Record:
    """Return the error of a refused request, with a message and a type in any case."""
    given = members(members(body).get("error"))
    return {"type": "server_error", **given, "message": given.get("message") or "The request failed."}


def _uuid_of(text: str) -> uuid.UUID:
    """Return the same UUID for the same text."""
    return uuid.uuid5(uuid.NAMESPACE_OID, text)
