"""What is said about an input file, at its upload and in validation, row by row.

Each row begins with how sure it is: O was seen from the live service, D is documented, S is in the published schema,
T was reported by a third party, A is Azure's, I is inferred, U is unknown and a choice.
"""

import json
from typing import Any

import pytest
from support.asking import CHAT, MakeRaw, Raw, chat_file, chat_line, form, jsonl, records

from openai_batches.emulator import BatchServer, Choices, SteppedClock

GOOD = chat_line("good")


def without(key: Any) -> Any:
    return {name: value for name, value in chat_line("x").items() if name != key}


def with_body(**changes: Any) -> Any:
    body = {**chat_line("x")["body"], **changes}
    return chat_line("x", body={name: value for name, value in body.items() if value is not None})


def at(url: Any, **changes: Any) -> Any:
    """A line for any endpoint; None removes a key of the body."""
    body = {"model": "gpt-4o-mini", "messages": [], "prompt": "x", "input": "x", **changes}
    return chat_line("x", url=url, body={name: value for name, value in body.items() if value is not None})


NOT_JSON = ("invalid_json_line", None, "This line is not parseable as valid JSON.")
NO_MODEL = ("invalid_request", "body.model", "Model parameter is required.")
OTHER_URL = "The URL provided for this request does not match the batch endpoint."
UNKNOWN_MODEL = "The provided model 'unheard-of' is not supported by the Batch API."
OTHER_MODEL = (
    "The model 'other' for this request does not match the rest of the batch. "
    "Each batch must contain requests for a single model."
)
DUPLICATE = (
    "The custom_id 'good' for this request is a duplicate of another request. "
    "The custom_id parameter must be unique for each request in a batch."
)
NO_STRING = "Invalid type for 'custom_id': expected a string, but got an integer instead."
NO_POST = "The method of a request in a batch must be 'POST'."
NO_OBJECT = "Invalid type for 'body': expected an object, but got an array instead."


def streamed(title: str) -> tuple[str, str, str]:
    return "streaming_unsupported", "body.stream", f"{title}: Streaming is not supported in the Batch API."


def required(name: str) -> tuple[str, str, str]:
    return "invalid_request", f"body.{name}", f"{name.capitalize()} parameter is required."


ROWS = [
    # (certainty, endpoint, second line, code, param, message)
    ("O", CHAT, b"{broken", *NOT_JSON),
    ("I", CHAT, b"[1]", *NOT_JSON),
    ("I", CHAT, b"\xff", *NOT_JSON),
    ("I", CHAT, b"[" * 100_000, *NOT_JSON),
    *(
        ("O", CHAT, without(key), "missing_required_parameter", key, f"Missing required parameter: '{key}'.")
        for key in ("custom_id", "method", "url", "body")
    ),
    ("O", CHAT, chat_line("x", url="/v1/embeddings"), "invalid_url", "url", OTHER_URL),
    ("O", CHAT, with_body(model="unheard-of"), "model_not_found", "body.model", UNKNOWN_MODEL),
    ("O", CHAT, with_body(stream=True), *streamed("Chat Completions")),
    ("O", CHAT, with_body(model=None), *NO_MODEL),
    ("O", CHAT, with_body(messages=None), *required("messages")),
    ("T", CHAT, with_body(model="other"), "mismatched_model", "body.model", OTHER_MODEL),
    ("T", CHAT, GOOD, "duplicate_custom_id", "custom_id", DUPLICATE),
    ("I", CHAT, chat_line(7), "invalid_type", "custom_id", NO_STRING),
    ("I", CHAT, chat_line("x", method="GET"), "invalid_method", "method", NO_POST),
    ("I", CHAT, with_body(model=7), *NO_MODEL),
    ("I", CHAT, with_body(model=""), *NO_MODEL),
    ("I", "/v1/completions", at("/v1/completions", prompt=None), *required("prompt")),
    ("I", "/v1/embeddings", at("/v1/embeddings", input=None), *required("input")),
    ("I", "/v1/moderations", at("/v1/moderations", input=None), *required("input")),
    ("I", "/v1/responses", at("/v1/responses", stream=True), *streamed("Responses")),
    ("I", "/v1/completions", at("/v1/completions", stream=True), *streamed("Completions")),
    ("I", CHAT, chat_line("x", body=[]), "invalid_type", "body", NO_OBJECT),
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
        good = GOOD if endpoint == CHAT else {**at(endpoint), "custom_id": "good"}
        batch = await raw.create((await raw.upload(jsonl(good) + second))["id"], endpoint=endpoint)
        await server.advance(minutes=1)
        batch = await raw.batch(batch["id"])
        expected = {"code": code, "message": message, "param": param, "line": 2}
        assert batch["errors"] == {"object": "list", "data": [expected]}
        assert (batch["status"], batch["failed_at"]) == ("failed", batch["created_at"] + 3)
        assert (batch["output_file_id"], batch["error_file_id"], batch["in_progress_at"]) == (None, None, None)
        assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}


TOGETHER = [
    # (certainty, what, lines, the errors as (line, code, param))
    (
        "O",
        "four missing fields are four errors",
        [b"{}"],
        [(1, "missing_required_parameter", name) for name in ("custom_id", "method", "url", "body")],
    ),
    (
        "O",
        "errors of several lines come in the order of the lines",
        [
            b"{}",
            jsonl(chat_line("a")),
            b"nonsense",
            jsonl(chat_line("b", url="/v1/x", body={"model": "gpt-4o-mini", "stream": True})),
        ],
        [
            *((1, "missing_required_parameter", name) for name in ("custom_id", "method", "url", "body")),
            (3, "invalid_json_line", None),
            (4, "invalid_url", "url"),
            (4, "invalid_request", "body.messages"),
            (4, "streaming_unsupported", "body.stream"),
        ],
    ),
    (
        "U",
        "blank lines are no requests, and count as lines",
        [jsonl(chat_line("a")), b"", b"  \t", b"nonsense"],
        [(4, "invalid_json_line", None)],
    ),
    (
        "I",
        "each repetition of a custom_id is an error, its first use is none",
        [jsonl(chat_line("a")), jsonl(chat_line("a")), jsonl(chat_line("b")), jsonl(chat_line("a"))],
        [(2, "duplicate_custom_id", "custom_id"), (4, "duplicate_custom_id", "custom_id")],
    ),
    (
        "I",
        "the first model is the batch's",
        [jsonl(chat_line("a")), *(jsonl(with_body(model="m") | {"custom_id": name}) for name in ("b", "c"))],
        [(2, "mismatched_model", "body.model"), (3, "mismatched_model", "body.model")],
    ),
    (
        "U",
        "a thousand bad lines are a thousand errors",
        [jsonl(chat_line("a")), *([b"nonsense"] * 1000)],
        [(number, "invalid_json_line", None) for number in range(2, 1002)],
    ),
]


@pytest.mark.parametrize(("lines", "expected"), [row[2:] for row in TOGETHER], ids=[row[1] for row in TOGETHER])
async def test_all_errors_of_a_file_come_at_once(server: BatchServer, raw: Raw, lines: Any, expected: Any) -> None:
    """Every fault of every line is in the batch, in the order of the lines."""
    content = b"\n".join(line.rstrip(b"\n") for line in lines)
    batch = await raw.create((await raw.upload(content))["id"])
    await server.advance(minutes=1)
    errors = (await raw.batch(batch["id"]))["errors"]["data"]
    assert [(error["line"], error["code"], error["param"]) for error in errors] == expected


@pytest.mark.parametrize("limit", [None, 5])
async def test_the_number_of_errors_is_bounded(make_raw: MakeRaw, limit: Any) -> None:
    """U: lines beyond the limit of lines are counted and not judged, so that no file fills the memory with errors."""
    async with BatchServer(clock=SteppedClock(), max_lines=3, choices=Choices(max_batch_errors=limit)) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(b"{}\n" * 1000))["id"])
        await server.advance(minutes=1)
        errors = (await raw.batch(batch["id"]))["errors"]["data"]
        if limit is None:
            assert [error["line"] for error in errors] == [*[1] * 4, *[2] * 4, *[3] * 4, None]
            assert errors[-1]["message"] == "The batch input file has 1000 requests. The maximum is 3."
        else:
            assert [error["line"] for error in errors] == [1, 1, 1, 1, 2]


FINE = [
    # certainty, what, content
    ("I", "no newline at the end", jsonl(GOOD).rstrip(b"\n")),
    ("I", "newlines of Windows", jsonl(GOOD).replace(b"\n", b"\r\n")),
    ("U", "blank lines", jsonl(GOOD) + b"\n\n \n"),
    ("U", "an empty custom_id", jsonl(chat_line(""))),
    ("U", "a custom_id of any length", jsonl(chat_line("x" * 5_000))),
    ("U", "a custom_id of any signs", jsonl(chat_line("\u2028 / ü \x00"))),
    ("I", "stream that is not true", jsonl(with_body(stream=False))),
    ("I", "keys that nobody knows", jsonl(chat_line("x", note=1))),
]


@pytest.mark.parametrize("content", [row[2] for row in FINE], ids=[row[1] for row in FINE])
async def test_what_passes(server: BatchServer, raw: Raw, content: Any) -> None:
    """What no rule forbids runs, and comes back under its own custom_id."""
    batch = await raw.create((await raw.upload(content))["id"])
    await server.advance(hours=1)
    batch = await raw.batch(batch["id"])
    assert (batch["status"], batch["errors"]) == ("completed", None)
    (line,) = records(await raw.content(batch["output_file_id"]))
    assert line["custom_id"] == json.loads(content.strip())["custom_id"]


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


NOT_JSONL = "Invalid file format for Batch API. Must be .jsonl"
UPLOADS = [
    # (certainty, what, file name, content, message of the refusal or None)
    ("O", "another extension", "in.txt", chat_file(1), NOT_JSONL),
    ("O", "no extension", "upload", b"{}", NOT_JSONL),
    ("O", "an empty file", "in.jsonl", b"", NOT_JSONL),
    ("O", "a first line that is no JSON", "in.jsonl", b"nonsense\n" + chat_file(1), NOT_JSONL),
    ("I", "a first line that is blank", "in.jsonl", b"\n" + chat_file(1), NOT_JSONL),
    ("A", "a byte order mark", "in.jsonl", b"\xef\xbb\xbf" + chat_file(1), NOT_JSONL),
    ("I", "UTF-16", "in.jsonl", chat_file(1).decode().encode("utf-16"), NOT_JSONL),
    ("O", "a later line that is no JSON", "in.jsonl", chat_file(1) + b"nonsense\n", None),
    ("O", "lines without their keys", "in.jsonl", b"{}\n{}\n", None),
    ("I", "a first line that is another JSON value", "in.jsonl", b"5\n", None),
    ("O", "more than the limit of uploads", "in.jsonl", chat_file(100), "File is too large."),
]


@pytest.mark.parametrize(
    ("filename", "content", "message"), [row[2:] for row in UPLOADS], ids=[row[1] for row in UPLOADS]
)
async def test_the_check_at_upload(make_raw: MakeRaw, filename: Any, content: Any, message: Any) -> None:
    """O: what does not look like batch input is refused at once, with a second `detail` key, and nothing is kept."""
    async with BatchServer(clock=SteppedClock(), max_file_bytes=10_000) as server:
        status, body, _ = await make_raw(server)("POST", "/files", data=form(content, filename, purpose="batch"))
        if message is None:
            assert status == 200
            assert body["status"] == "processed"
            return
        assert status == 400
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        detail = {"detail": {"message": message, "code": None}} if message == NOT_JSONL else {}
        assert body == {"error": error, **detail}
        assert list(server.store.folder.iterdir()) == []
