"""The lines of output and error files, byte by byte, and which file holds which.

Each row begins with how sure it is: O was seen from the live service, D is documented, I is inferred,
U is unknown and a choice.
"""

import json
from typing import Any

import pytest
from support.asking import MakeRaw, Raw, chat_file, chat_line, jsonl, records

from openai_batches.emulator import BatchServer, SteppedClock, Timings

NOT_FOUND = {
    "error": {"message": "The model `x` does not exist.", "type": "invalid_request_error", "param": None, "code": "x"}
}
ANSWERS = [
    # certainty, what, (status, body), whether it goes to the output file
    ("D", "a success", (200, {"id": "chatcmpl-1", "choices": []}), True),
    ("I", "another success", (201, {}), True),
    ("I", "the last success", (299, {"a": None}), True),
    ("I", "a redirect", (300, {}), False),
    ("O", "a refusal", (404, NOT_FOUND), False),
    (
        "O",
        "a refusal of the input",
        (400, {"error": {"message": "m", "type": "t", "param": "messages", "code": "c"}}),
        False,
    ),
    ("I", "a rate limit", (429, {"error": {"message": "m"}}), False),
    ("I", "a failure of the service", (500, {"error": {"message": "m"}}), False),
    ("I", "signs of all alphabets", (200, {"text": "ü \u2028 💥 \x00 \n"}), True),
    ("I", "an empty body", (200, {}), True),
    ("I", "numbers of all sizes", (200, {"n": [0, -1, 2**63, 1.5, 1e-300]}), True),
]


@pytest.mark.parametrize(("answer", "is_good"), [row[2:] for row in ANSWERS], ids=[row[1] for row in ANSWERS])
async def test_an_executed_line(make_raw: MakeRaw, answer: Any, is_good: Any) -> None:
    """O: a line has four keys; of a refused one `error` is null too, and the endpoint's error is in the body."""

    async def execute(url: Any, body: Any, custom_id: Any) -> Any:
        return answer

    async with BatchServer(clock=SteppedClock(), executor=execute) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(1)))["id"])
        await server.advance(hours=1)
        batch = await raw.batch(batch["id"])
        counts = {"total": 1, "completed": int(is_good), "failed": int(not is_good)}
        assert (batch["status"], batch["request_counts"]) == ("completed", counts)
        present, absent = ("output_file_id", "error_file_id") if is_good else ("error_file_id", "output_file_id")
        assert batch[absent] is None
        content = await raw.content(batch[present])
        (line,) = records(content)
        assert list(line) == ["id", "custom_id", "response", "error"]
        assert list(line["response"]) == ["status_code", "request_id", "body"]
        assert (line["custom_id"], line["error"]) == ("r0", None)
        assert (line["response"]["status_code"], line["response"]["body"]) == answer
        assert content.count(b"\n") == 1


ENDS = [
    # certainty, status, code, message
    (
        "D",
        "expired",
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    ("U", "cancelled", "batch_cancelled", "This request could not be executed because the batch was cancelled."),
]


@pytest.mark.parametrize(("status", "code", "message"), [row[1:] for row in ENDS], ids=[row[1] for row in ENDS])
@pytest.mark.parametrize("done", [0, 3, 5])
async def test_lines_that_were_not_executed(make_raw: MakeRaw, status: Any, code: Any, message: Any, done: Any) -> None:
    """D: of a line that never ran `response` is null and `error` has a code and a message; what is done is kept."""

    async def execute(url: Any, body: Any, custom_id: Any) -> Any:
        return (404, NOT_FOUND) if custom_id == "r1" else (200, {})

    line_s = 86_400 / (done + 0.5)
    async with BatchServer(clock=SteppedClock(), executor=execute, timings=Timings(line_s=line_s)) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(6)))["id"])
        await server.advance(seconds=86_000)
        if status == "cancelled":
            await raw("POST", f"/batches/{batch['id']}/cancel")
        await server.advance(hours=1)
        batch = await raw.batch(batch["id"])
        assert batch["status"] == status
        failed = 1 if done else 0
        good = done - failed
        assert batch["request_counts"] == {"total": 6, "completed": good, "failed": 6 - good}
        assert (batch["output_file_id"] is None) is (good == 0)
        output = records(await raw.content(batch["output_file_id"])) if good else []
        errors = records(await raw.content(batch["error_file_id"]))
        assert sorted(line["custom_id"] for line in output + errors) == [f"r{number}" for number in range(6)]
        lost = [line for line in errors if line["response"] is None]
        assert len(lost) == 6 - done
        for line in lost:
            assert list(line) == ["id", "custom_id", "response", "error"]
            assert list(line["error"].items()) == [("code", code), ("message", message)]
            assert line["id"].startswith("batch_req_")
        assert [line["response"]["status_code"] for line in errors if line["response"]] == [404] * failed


FILES = [
    # certainty, what, the answer of each line, the names of the files
    ("O", "only successes", [200, 200], ["output"]),
    ("O", "only failures", [500, 400], ["error"]),
    ("D", "both", [200, 400, 200], ["output", "error"]),
]


@pytest.mark.parametrize(("statuses", "names"), [row[2:] for row in FILES], ids=[row[1] for row in FILES])
async def test_the_files_of_a_batch(make_raw: MakeRaw, statuses: Any, names: Any) -> None:
    """A file exists where it has lines: of purpose `batch_output`, named after its batch, gone after 30 days."""

    async def execute(url: Any, body: Any, custom_id: Any) -> Any:
        return statuses[int(custom_id.removeprefix("r"))], {}

    async with BatchServer(clock=SteppedClock(), executor=execute) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(len(statuses))))["id"])
        await server.advance(hours=1)
        batch = await raw.batch(batch["id"])
        assert [name for name in ("output", "error") if batch[f"{name}_file_id"]] == names
        for name in names:
            record = (await raw("GET", f"/files/{batch[f'{name}_file_id']}"))[1]
            assert (record["purpose"], record["filename"]) == ("batch_output", f"{batch['id']}_{name}.jsonl")
            assert record["created_at"] == batch["completed_at"]
            assert record["expires_at"] == record["created_at"] + 30 * 86_400
            content = await raw.content(record["id"])
            assert record["bytes"] == len(content)
            assert all(json.loads(line) for line in content.splitlines())
        assert (await raw("DELETE", f"/files/{batch[f'{names[0]}_file_id']}"))[0] == 200
        assert (await raw.batch(batch["id"])) == batch
        assert (await raw("GET", f"/files/{batch[f'{names[0]}_file_id']}/content"))[0] == 404


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/embeddings", {"input": ["x"] * 2_049}),
        ("/v1/completions", {"prompt": ["x"] * 2_049}),
        ("/v1/moderations", {"input": ["x"] * 2_049}),
    ],
)
async def test_a_line_of_too_many_inputs(server: BatchServer, raw: Raw, endpoint: Any, body: Any) -> None:
    """I: one request has at most 2,048 inputs, so that no line makes an answer without end."""
    lines = [
        {"custom_id": name, "method": "POST", "url": endpoint, "body": {"model": "m", **given}}
        for name, given in [("many", body), ("fair", {key: value[:5] for key, value in body.items()})]
    ]
    batch = await raw.create((await raw.upload(jsonl(*lines)))["id"], endpoint=endpoint)
    await server.advance(hours=1)
    batch = await raw.batch(batch["id"])
    (good,) = records(await raw.content(batch["output_file_id"]))
    (bad,) = records(await raw.content(batch["error_file_id"]))
    assert (good["custom_id"], bad["custom_id"], bad["response"]["status_code"]) == ("fair", "many", 400)
    error = bad["response"]["body"]["error"]
    assert error["param"] == next(iter(body))
    assert error["message"].endswith("maximum length 2048, but got an array with length 2049 instead.")


async def test_a_line_of_too_many_long_choices(server: BatchServer, raw: Raw) -> None:
    """I: the choices of one request have an end too, while one choice may be as long as its question."""
    long = chat_line("many", "x" * 1_000_000)
    long["body"]["n"] = 128
    content = jsonl(chat_line("one", "x" * 1_000_000), long)
    batch = await raw.create((await raw.upload(content))["id"])
    await server.advance(hours=1)
    batch = await raw.batch(batch["id"])
    assert batch["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    (bad,) = records(await raw.content(batch["error_file_id"]))
    assert (bad["custom_id"], bad["response"]["body"]["error"]["param"]) == ("many", "n")
