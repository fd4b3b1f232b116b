"""What validation says about an input file, row by row.

Each row names how sure the sentence is: O was seen from the live service, T was reported by a third party,
A is Azure's, I is inferred.
"""

from typing import Any

import pytest
from asking import CHAT, MakeRaw, Raw, chat_file, chat_line, jsonl

from openai_batches.emulator import BatchServer, SteppedClock

GOOD = chat_line("good")


def without(key: Any) -> Any:
    return {name: value for name, value in chat_line("x").items() if name != key}


def with_body(**changes: Any) -> Any:
    body = {**chat_line("x")["body"], **changes}
    return chat_line("x", body={name: value for name, value in body.items() if value is not None})


ROWS = [
    # (certainty, endpoint, second line, code, param, message)
    ("O", CHAT, b"{broken", "invalid_json_line", None, "This line is not parseable as valid JSON."),
    ("I", CHAT, b"[1]", "invalid_json_line", None, "This line is not parseable as valid JSON."),
    ("I", CHAT, b"\xff", "invalid_json_line", None, "This line is not parseable as valid JSON."),
    ("I", CHAT, b"[" * 100_000, "invalid_json_line", None, "This line is not parseable as valid JSON."),
    *(
        ("O", CHAT, without(key), "missing_required_parameter", key, f"Missing required parameter: '{key}'.")
        for key in ("custom_id", "method", "url", "body")
    ),
    (
        "O",
        CHAT,
        chat_line("x", url="/v1/embeddings"),
        "invalid_url",
        "url",
        "The URL provided for this request does not match the batch endpoint.",
    ),
    (
        "O",
        CHAT,
        with_body(model="unheard-of"),
        "model_not_found",
        "body.model",
        "The provided model 'unheard-of' is not supported by the Batch API.",
    ),
    (
        "O",
        CHAT,
        with_body(stream=True),
        "streaming_unsupported",
        "body.stream",
        "Chat Completions: Streaming is not supported in the Batch API.",
    ),
    ("O", CHAT, with_body(model=None), "invalid_request", "body.model", "Model parameter is required."),
    ("O", CHAT, with_body(messages=None), "invalid_request", "body.messages", "Messages parameter is required."),
    (
        "T",
        CHAT,
        with_body(model="other"),
        "mismatched_model",
        "body.model",
        (
            "The model 'other' for this request does not match the rest of the batch. "
            "Each batch must contain requests for a single model."
        ),
    ),
    (
        "T",
        CHAT,
        GOOD,
        "duplicate_custom_id",
        "custom_id",
        (
            "The custom_id 'good' for this request is a duplicate of another request. "
            "The custom_id parameter must be unique for each request in a batch."
        ),
    ),
    (
        "I",
        CHAT,
        chat_line(7),
        "invalid_type",
        "custom_id",
        "Invalid type for 'custom_id': expected a string, but got an integer instead.",
    ),
    (
        "I",
        CHAT,
        chat_line("x", method="GET"),
        "invalid_method",
        "method",
        "The method of a request in a batch must be 'POST'.",
    ),
    (
        "I",
        CHAT,
        chat_line("x", body=[]),
        "invalid_type",
        "body",
        "Invalid type for 'body': expected an object, but got an array instead.",
    ),
]


@pytest.mark.parametrize(("certainty", "endpoint", "line", "code", "param", "message"), ROWS)
async def test_a_bad_line_fails_the_batch(
    make_raw: MakeRaw, certainty: Any, endpoint: Any, line: Any, code: Any, param: Any, message: Any
) -> None:
    """One bad line makes the batch failed, with its number, its cause and no files."""
    models = ("gpt-4o-mini", "other")
    async with BatchServer(clock=SteppedClock(), models=models) as server:
        raw = make_raw(server)
        second = line + b"\n" if isinstance(line, bytes) else jsonl(line)
        batch = await raw.create((await raw.upload(jsonl(GOOD) + second))["id"], endpoint=endpoint)
        await server.advance(minutes=1)
        batch = await raw.batch(batch["id"])
        expected = {"code": code, "message": message, "param": param, "line": 2}
        assert batch["errors"] == {"object": "list", "data": [expected]}
        assert (batch["status"], batch["failed_at"]) == ("failed", batch["created_at"] + 3)
        assert (batch["output_file_id"], batch["error_file_id"], batch["in_progress_at"]) == (None, None, None)
        assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}


async def test_errors_come_together_in_line_order(server: BatchServer, raw: Raw) -> None:
    """All faults of all lines are reported at once (O: four missing fields were four entries)."""
    content = jsonl({}, GOOD) + b"\n" + b"nonsense\n" + jsonl({"custom_id": "y", "body": {}})
    batch = await raw.create((await raw.upload(content))["id"])
    await server.advance(minutes=1)
    errors = (await raw.batch(batch["id"]))["errors"]["data"]
    assert [(error["line"], error["param"]) for error in errors] == [
        (1, "custom_id"),
        (1, "method"),
        (1, "url"),
        (1, "body"),
        (4, None),
        (5, "method"),
        (5, "url"),
        (5, "body.model"),
        (5, "body.messages"),
    ]


@pytest.mark.parametrize(
    ("options", "content", "code", "message"),
    [
        # O: the sentence; its code is not known.
        (
            {"max_bytes": 100},
            chat_file(1),
            "invalid_request",
            "The batch input file is larger than the 100 maximum for the gpt-4o-mini model",
        ),
        # A: the code; the sentence is ours.
        ({"max_lines": 2}, chat_file(3), "too_many_tasks", "The batch input file has 3 requests. The maximum is 2."),
    ],
)
async def test_a_file_beyond_the_limits_fails_the_batch(
    make_raw: MakeRaw, options: Any, content: Any, code: Any, message: Any
) -> None:
    """Size and number of lines are limits of the whole file, so the error names no line."""
    async with BatchServer(clock=SteppedClock(), **options) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(content))["id"])
        await server.advance(minutes=1)
        errors = (await raw.batch(batch["id"]))["errors"]["data"]
        assert errors == [{"code": code, "message": message, "param": None, "line": None}]


async def test_a_file_without_requests_fails_the_batch(server: BatchServer, raw: Raw) -> None:
    """A: an input file that holds nothing by the time it is read is empty."""
    file = await raw.upload(chat_file(1))
    server.store.files.items[file["id"]].path.write_bytes(b"\n \n")
    batch = await raw.create(file["id"])
    await server.advance(minutes=1)
    errors = (await raw.batch(batch["id"]))["errors"]["data"]
    assert [error["code"] for error in errors] == ["empty_file"]


async def test_embedding_inputs_are_counted(server: BatchServer, raw: Raw) -> None:
    """At most 50,000 embedding inputs per batch; a list of token numbers is one input."""

    def line(custom_id: Any, given: Any) -> Any:
        body = {"model": "text-embedding-3-small", "input": given}
        return {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body}

    many = jsonl(line("a", ["x"] * 50_000), line("b", [1, 2, 3]))
    fair = jsonl(line("a", ["x"] * 49_999), line("b", "y"))
    endpoint = "/v1/embeddings"
    first = await raw.create((await raw.upload(many))["id"], endpoint=endpoint)
    second = await raw.create((await raw.upload(fair))["id"], endpoint=endpoint)
    await server.advance(seconds=3)
    errors = (await raw.batch(first["id"]))["errors"]["data"]
    assert [error["message"] for error in errors] == ["The batch has 50001 embedding inputs. The maximum is 50000."]
    assert (await raw.batch(second["id"]))["status"] == "in_progress"


@pytest.mark.parametrize(
    ("filename", "content"),
    [("in.txt", chat_file(1)), ("in.jsonl", b""), ("in.jsonl", b"nonsense\n" + chat_file(1)), ("upload", b"{}")],
)
async def test_the_glance_at_upload(server: BatchServer, raw: Raw, filename: Any, content: Any) -> None:
    """O: not .jsonl, empty, or a first line that is no JSON: refused at once, with a second `detail` key."""
    from asking import form

    status, body, _ = await raw("POST", "/files", data=form(content, filename, purpose="batch"))
    message = "Invalid file format for Batch API. Must be .jsonl"
    assert status == 400
    assert body == {
        "error": {"message": message, "type": "invalid_request_error", "param": None, "code": None},
        "detail": {"message": message, "code": None},
    }
    assert list(server.store.folder.iterdir()) == []
