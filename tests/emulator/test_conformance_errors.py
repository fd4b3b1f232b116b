"""What is refused, with which status and which error object; and how listings are cut into pages, row by row.

Each row begins with how sure it is: O was seen from the live service, S is in the published schema, T was reported by
a third party, I is inferred, U is unknown and a choice.
"""

from typing import Any

import pytest
from support.asking import CHAT, Raw, chat_file, check_batch, check_error, check_file, check_page, form

from openai_batches.emulator import BatchServer, Fault

JSON = {"Content-Type": "application/json"}
CREATE = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"}
ENDPOINTS = (
    "'/v1/chat/completions', '/v1/completions', '/v1/embeddings', '/v1/images/edits', '/v1/images/generations', "
    "'/v1/moderations', '/v1/responses', and '/v1/videos'"
)


def missing(param: str) -> tuple[str, str, str]:
    return param, "missing_required_parameter", f"Missing required parameter: '{param}'."


def unknown(param: str) -> tuple[str, str, str]:
    return param, "unknown_parameter", f"Unknown parameter: '{param}'."


def wrong_type(param: str, expected: str, got: str) -> tuple[str, str, str]:
    message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    return param, "invalid_type", message


def wrong_value(param: str, got: str, known: str) -> tuple[str, str, str]:
    return param, "invalid_value", f"Invalid value: '{got}'. Supported values are: {known}."


def too_long(param: str, limit: int) -> tuple[str, str, str]:
    message = f"Expected a string with maximum length {limit}, but got a string with length {limit + 1} instead."
    return param, "string_above_max_length", f"Invalid '{param}': string too long. {message}"


def expiry(**policy: Any) -> dict[str, Any]:
    return {"output_expires_after": policy}


ANCHOR, SECONDS = "output_expires_after.anchor", "output_expires_after.seconds"
TOO_MANY = "Expected an object with at most 16 properties, but got an object with 17 properties instead."
TOO_SHORT = "integer below minimum value. Expected a value >= 3600, but got 3599 instead."
REFUSALS = [
    # certainty, changes, param, code, message; None as a value removes the key
    *(("T", {name: None}, *missing(name)) for name in ("input_file_id", "endpoint", "completion_window")),
    ("O", {"endpoint": "/v1/x"}, *wrong_value("endpoint", "/v1/x", ENDPOINTS)),
    ("O", {"completion_window": "48h"}, *wrong_value("completion_window", "48h", "'24h'")),
    ("I", {"input_file_id": 1.5}, *wrong_type("input_file_id", "a string", "a decimal")),
    ("I", {"nonsense": 1}, *unknown("nonsense")),
    ("O", {"metadata": {"tags": []}}, *wrong_type("metadata.tags", "a string", "an array")),
    ("I", {"metadata": "x"}, *wrong_type("metadata", "an object", "a string")),
    ("I", {"metadata": {"k": False}}, *wrong_type("metadata.k", "a string", "a boolean")),
    (
        "I",
        {"metadata": {str(number): "" for number in range(17)}},
        *("metadata", "object_above_max_properties", f"Invalid 'metadata': too many properties. {TOO_MANY}"),
    ),
    ("I", {"metadata": {"k" * 65: ""}}, *too_long("metadata", 64)),
    ("I", {"metadata": {"k": "v" * 513}}, *too_long("metadata.k", 512)),
    ("I", {"output_expires_after": 5}, *wrong_type("output_expires_after", "an object", "an integer")),
    ("I", expiry(seconds=3600), *missing(ANCHOR)),
    ("I", expiry(anchor="now", seconds=3600), *wrong_value(ANCHOR, "now", "'created_at'")),
    ("I", expiry(anchor="created_at"), *missing(SECONDS)),
    ("I", expiry(anchor="created_at", seconds=True), *wrong_type(SECONDS, "an integer", "a boolean")),
    (
        "I",
        expiry(anchor="created_at", seconds=3599),
        *(SECONDS, "integer_below_min_value", f"Invalid '{SECONDS}': {TOO_SHORT}"),
    ),
    ("I", expiry(anchor="created_at", seconds=3600, x=1), *unknown("output_expires_after.x")),
]


@pytest.mark.parametrize(("changes", "param", "code", "message"), [row[1:] for row in REFUSALS])
async def test_create_refuses(server: BatchServer, raw: Raw, changes: Any, param: Any, code: Any, message: Any) -> None:
    """A request for a batch with a wrong parameter is a 400 that names it, and makes no batch."""
    wanted = {name: value for name, value in {**CREATE, **changes}.items() if value is not None}
    status, body, _ = await raw("POST", "/batches", json=wanted)
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    assert (status, body) == (400, {"error": error})
    assert server.store.batches.items == {}


NO_FILE = "No such File object: file-none"
NO_BATCH = "No batch found with id 'batch_none'."
NO_UPLOAD = "No such Upload object: upload_none"
LUNCH = {"data": {"purpose": "lunch", "file": b"{}"}}
PURPOSES = "'assistants', 'batch', 'evals', 'fine-tune', 'user_data', and 'vision'"
TOO_LARGE = {"filename": "a.jsonl", "purpose": "batch", "bytes": 8 * 1024**3 + 1, "mime_type": "text/jsonl"}
TOO_LARGE_MESSAGE = (
    "Invalid 'bytes': integer above maximum value. Expected a value <= 8589934592, but got 8589934593 instead."
)
ANSWERS = [
    # certainty, method, path, options of the request, status, param, code, message
    ("O", "GET", "/batches/batch_none", {}, 404, None, None, NO_BATCH),
    ("O", "POST", "/batches/batch_none/cancel", {}, 404, None, None, NO_BATCH),
    ("O", "GET", "/files/file-none", {}, 404, "id", None, NO_FILE),
    ("O", "GET", "/files/file-none/content", {}, 404, "id", None, NO_FILE),
    ("O", "DELETE", "/files/file-none", {}, 404, "id", None, NO_FILE),
    ("I", "POST", "/uploads/upload_none/complete", {"json": {"part_ids": []}}, 404, "id", None, NO_UPLOAD),
    ("I", "POST", "/uploads/upload_none/cancel", {}, 404, "id", None, NO_UPLOAD),
    ("I", "POST", "/uploads/upload_none/parts", {}, 404, "id", None, NO_UPLOAD),
    ("I", "GET", "/nothing", {}, 404, None, None, "Invalid URL (GET /v1/nothing)"),
    ("I", "POST", "/batches/batch_none", {}, 405, None, None, "Invalid method for URL (POST /v1/batches/batch_none)"),
    ("I", "DELETE", "/batches/batch_none", {}, 405, None, None, None),
    ("I", "PATCH", "/files", {}, 405, None, None, "Invalid method for URL (PATCH /v1/files)"),
    ("I", "GET", "/uploads", {}, 405, None, None, "Invalid method for URL (GET /v1/uploads)"),
    ("U", "GET", "/batches?after=batch_none", {}, 400, "after", None, NO_BATCH),
    ("U", "GET", "/files?after=file-none", {}, 400, "after", None, NO_FILE),
    ("S", "GET", "/files?order=up", {}, 400, *wrong_value("order", "up", "'asc', and 'desc'")),
    ("I", "POST", "/batches", {"data": b"{}"}, 415, None, None, None),
    ("I", "POST", "/batches", {"data": b"{", "headers": JSON}, 400, None, None, None),
    ("I", "POST", "/files", {"json": {}}, 400, None, None, None),
    ("S", "POST", "/files", LUNCH, 400, *wrong_value("purpose", "lunch", PURPOSES)),
    ("I", "POST", "/uploads", {"json": TOO_LARGE}, 400, "bytes", "integer_above_max_value", TOO_LARGE_MESSAGE),
]


@pytest.mark.parametrize(
    ("method", "path", "options", "expected", "param", "code", "message"),
    [row[1:] for row in ANSWERS],
    ids=[f"{row[1]} {row[2]} {row[4]}" for row in ANSWERS],
)
async def test_refusals(
    raw: Raw, method: Any, path: Any, options: Any, expected: Any, param: Any, code: Any, message: Any
) -> None:
    """A refusal has the status of its kind, and an error object with all four keys."""
    if isinstance(options.get("data"), dict):
        fields = options["data"]
        options = {"data": form(fields["file"], purpose=fields["purpose"])}
    status, body, answer = await raw(method, path, **options)
    assert status == expected
    assert set(body) == {"error"}
    error = check_error(body)
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert message in {None, error["message"]}
    assert answer.headers["x-request-id"].startswith("req_")


FAILURES = [
    # certainty, the fault, status, type, code
    ("I", Fault.rate_limited(retry_after_s=1), 429, "requests", "rate_limit_exceeded"),
    ("I", Fault.error_before(500), 500, "server_error", None),
    ("I", Fault.error_before(503), 503, "server_error", None),
]


@pytest.mark.parametrize(("fault", "status", "type_", "code"), [row[1:] for row in FAILURES])
async def test_failures_of_the_service(
    server: BatchServer, raw: Raw, fault: Any, status: Any, type_: Any, code: Any
) -> None:
    """What the service itself gets wrong is an error object too."""
    server.faults.add(fault)
    got, body, _ = await raw("GET", "/batches")
    assert (got, check_error(body)["type"], body["error"]["code"]) == (status, type_, code)


def above(limit: int, got: Any) -> str:
    return f"Invalid 'limit': integer above maximum value. Expected a value <= {limit}, but got {got} instead."


def below(limit: int, got: Any) -> str:
    return f"Invalid 'limit': integer below minimum value. Expected a value >= {limit}, but got {got} instead."


ABOVE, BELOW = "integer_above_max_value", "integer_below_min_value"
NO_INTEGER = "Invalid type for 'limit': expected an integer, but got a string instead."
LIMITS = [
    # certainty, path, limit, status, code, message
    ("O", "/batches", "101", 400, ABOVE, above(100, 101)),
    ("O", "/batches", "-1", 400, BELOW, below(0, -1)),
    ("I", "/batches", "ten", 400, "invalid_type", NO_INTEGER),
    ("I", "/batches", "9" * 5000, 400, "invalid_type", NO_INTEGER),
    ("S", "/batches", "100", 200, None, None),
    ("T", "/batches", "0", 200, None, None),
    ("I", "/files", "0", 400, BELOW, below(1, 0)),
    ("I", "/files", "10001", 400, ABOVE, above(10_000, 10_001)),
    ("S", "/files", "10000", 200, None, None),
    ("S", "/files", "1", 200, None, None),
]


@pytest.mark.parametrize(("path", "limit", "status", "code", "message"), [row[1:] for row in LIMITS])
async def test_limits(raw: Raw, path: Any, limit: Any, status: Any, code: Any, message: Any) -> None:
    """The page size of batches is 0 to 100, that of files 1 to 10,000; zero is an empty page."""
    made = await raw.upload(chat_file(1))
    if path == "/batches":
        made = await raw.create(made["id"])
    got, body, _ = await raw("GET", path, params={"limit": limit})
    assert got == status
    if status == 400:
        assert body["error"] == {"message": message, "type": "invalid_request_error", "param": "limit", "code": code}
    else:
        check_page(body, check_batch if path == "/batches" else check_file, ids_are_strings=path == "/files")
        assert [item["id"] for item in body["data"]] == ([] if limit == "0" else [made["id"]])
        assert body["has_more"] is False


PAGES = [
    # certainty, how many there are, query, the items from the newest on, has_more; `after` counts from the newest
    ("S", 0, {}, [], False),
    ("S", 1, {}, [0], False),
    ("S", 20, {}, range(20), False),
    ("S", 21, {}, range(20), True),
    ("S", 5, {"limit": "5"}, range(5), False),
    ("S", 5, {"limit": "4"}, range(4), True),
    ("S", 5, {"limit": "2", "after": 1}, [2, 3], True),
    ("S", 5, {"limit": "3", "after": 1}, [2, 3, 4], False),
    ("I", 5, {"after": 4}, [], False),
    ("I", 5, {"after": ""}, range(5), False),
    ("I", 5, {"limit": "1", "after": 0}, [1], True),
]


@pytest.mark.parametrize(("count", "query", "expected", "has_more"), [row[1:] for row in PAGES])
async def test_pages_of_batches(
    server: BatchServer, raw: Raw, count: Any, query: Any, expected: Any, has_more: Any
) -> None:
    """A page holds what comes behind its cursor, the newest first, also within the same second."""
    made = [(await raw.create("file-x"))["id"] for _ in range(count)][::-1]
    if isinstance(query.get("after"), int):
        query = {**query, "after": made[query["after"]]}
    _, page, _ = await raw("GET", "/batches", params=query)
    check_page(page, check_batch)
    assert ([item["id"] for item in page["data"]], page["has_more"]) == ([made[index] for index in expected], has_more)


SECRETS = ["", "Basic abc", "Bearer ", "Bearer", "sk-right"]


@pytest.mark.parametrize("header", SECRETS)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/batches"), ("GET", "/batches"), ("GET", "/files/x/content"), ("POST", "/files"), ("POST", "/uploads")],
)
async def test_no_key(raw: Raw, method: Any, path: Any, header: Any) -> None:
    """I: without a key every operation is a 401, whatever else is wrong with the request."""
    status, body, _ = await raw(method, path, headers={"Authorization": header}, data=b"nonsense")
    assert (status, check_error(body)["code"], body["error"]["type"]) == (401, None, "invalid_request_error")
    assert body["error"]["message"].startswith("You didn't provide an API key.")
