"""Answers by a script: a table, a function, and what is neither."""

import asyncio
import functools
from typing import Any

import pytest
from support.asking import CHAT, MakeRaw, chat_file, chat_line, jsonl, records

from openai_batches.emulator import BatchServer, LineAnswer, LineError, ScriptExecutor, SteppedClock

CHAT_BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


async def answers(executor: Any, make_raw: MakeRaw, content: bytes, **options: Any) -> dict[str, Any]:
    """The records of a batch by custom_id."""
    async with BatchServer(clock=SteppedClock(), executor=executor) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(content))["id"], **options)
        await server.advance(hours=1)
        batch = await raw.batch(batch["id"])
        files = [batch["output_file_id"], batch["error_file_id"]]
        lines = [line for file in files if file for line in records(await raw.content(file))]
        return {line["custom_id"]: line for line in lines}


async def test_a_table_of_every_kind_of_answer(make_raw: MakeRaw) -> None:
    """A text, a body, a pair, an answer and exceptions; a line that the table does not know is echoed."""
    table = {
        "r0": "Paris",
        "r1": {"choices": []},
        "r2": (404, {"error": {"message": "gone"}}),
        "r3": LineAnswer(200, {"choices": [1]}, "req-1"),
        "r4": TimeoutError(),
        "r5": TimeoutError,
        "r6": LineError("custom", "As it were."),
        "r7": ValueError("broken"),
        "unasked": "x",
    }
    found = await answers(ScriptExecutor(table), make_raw, chat_file(9))
    choice = found["r0"]["response"]["body"]["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Paris", "stop")
    assert found["r1"]["response"]["body"] == {"choices": []}
    assert found["r2"]["response"]["status_code"] == 404
    assert found["r3"]["response"] == {"status_code": 200, "request_id": "req-1", "body": {"choices": [1]}}
    assert found["r4"]["error"] == found["r5"]["error"]
    assert (found["r4"]["response"], found["r4"]["error"]["code"]) == (None, "request_timeout")
    assert found["r6"]["error"] == {"code": "custom", "message": "As it were."}
    assert found["r7"]["response"]["status_code"] == 500
    assert found["r8"]["response"]["body"]["choices"][0]["message"]["content"] == "[echo] question 8"


@pytest.mark.parametrize(
    ("url", "body", "where"),
    [
        (CHAT, CHAT_BODY, ("choices", 0, "message", "content")),
        ("/chat/completions", CHAT_BODY, ("choices", 0, "message", "content")),
        ("/v1/completions", {"prompt": "x"}, ("choices", 0, "text")),
        ("/v1/responses", {"input": "x"}, ("output", 0, "content", 0, "text")),
    ],
)
async def test_a_text_takes_the_endpoints_shape(url: Any, body: Any, where: Any) -> None:
    """A str is said in the shape of the endpoint, and counted in its usage."""
    executor = ScriptExecutor({"a": "A scripted answer"}, now=lambda: 7)
    status, answer = await executor(url, body, "a")
    assert status == 200
    assert answer["usage"]["total_tokens"] > 4
    for step in where:
        answer = answer[step]
    assert answer == "A scripted answer"


async def test_a_text_for_an_endpoint_without_texts() -> None:
    """There is no embedding that says something."""
    with pytest.raises(TypeError, match="/v1/embeddings does not answer with text"):
        await ScriptExecutor({"a": "x"})("/v1/embeddings", {"input": "x"}, "a")


async def test_a_text_for_a_line_that_cannot_be_answered() -> None:
    """A request that the endpoint would refuse is refused, whatever the script says."""
    status, _ = await ScriptExecutor({"a": "x"})(CHAT, {}, "a")
    assert status == 400


async def test_the_default_of_a_script(make_raw: MakeRaw) -> None:
    """Lines that the script does not know get what `default` says."""
    found = await answers(
        ScriptExecutor({"r0": "x"}, default=(404, {"error": {"message": "not in the script"}})), make_raw, chat_file(2)
    )
    assert found["r0"]["response"]["status_code"] == 200
    assert found["r1"]["response"]["status_code"] == 404
    with pytest.raises(LookupError):
        await ScriptExecutor({}, default=LookupError)(CHAT, {}, "a")


class Calls:
    async def __call__(self, url: str, body: dict[str, Any], custom_id: str) -> Any:
        await asyncio.sleep(0)
        return custom_id


def _plain(url: str, body: dict[str, Any], custom_id: str) -> Any:
    return None if custom_id == "r1" else f"{custom_id}, {body['model']}, {url}"


async def _async(suffix: str, url: str, body: dict[str, Any], custom_id: str) -> Any:
    await asyncio.sleep(0)
    return custom_id + suffix


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (_plain, [f"r0, gpt-4o-mini, {CHAT}", "[echo] question 1"]),
        (functools.partial(_async, "!"), ["r0!", "r1!"]),
        (Calls(), ["r0", "r1"]),
    ],
)
async def test_a_function(make_raw: MakeRaw, function: Any, said: Any) -> None:
    """A function, plain or async, is asked about each line; None leaves the line to the default."""
    found = await answers(ScriptExecutor(function), make_raw, chat_file(2))
    texts = [found[name]["response"]["body"]["choices"][0]["message"]["content"] for name in ("r0", "r1")]
    assert texts == said


async def test_only_what_waits_is_asked_in_the_loop() -> None:
    """Tables and plain functions run in threads, where they may take their time."""
    assert ScriptExecutor({}).answer is not None
    assert ScriptExecutor(_plain).answer is not None
    assert ScriptExecutor(Calls()).answer is None
    assert await ScriptExecutor(_plain)(CHAT, CHAT_BODY, "r1") == await ScriptExecutor({})(CHAT, CHAT_BODY, "r1")


async def test_a_function_that_forgot_to_be_async() -> None:
    """A plain function that returns a coroutine is told what is missing, and nothing is left waiting."""
    with pytest.raises(TypeError, match="define it with `async def`"):
        await ScriptExecutor(lambda url, body, custom_id: Calls()(custom_id, body, url))(CHAT, {}, "a")


async def test_a_function_that_says_nonsense(make_raw: MakeRaw) -> None:
    """What is no answer becomes the line's 500."""
    found = await answers(ScriptExecutor(lambda *_: 5), make_raw, jsonl(chat_line("a")))
    assert found["a"]["response"]["status_code"] == 500


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        (5, {}, "script must be a table from custom_id to answer, or a function, not 5"),
        (Calls, {}, "script must be a table"),
        ([("a", "b")], {}, "script must be a table"),
        ({"a": 5}, {}, "the answer to 'a' must be a text, a body, a pair of status and body, or an exception, not 5"),
        ({"a": None}, {}, "the answer to 'a' must be"),
        ({"a": (200,)}, {}, "the answer to 'a' must be"),
        ({"a": ("200", {})}, {}, "the answer to 'a' must be"),
        ({"a": (99, {})}, {}, "the answer to 'a' must be"),
        ({"a": (200, "text")}, {}, "the answer to 'a' must be"),
        ({"a": KeyboardInterrupt}, {}, "the answer to 'a' must be"),
        ({"a": int}, {}, "the answer to 'a' must be"),
        ({5: "x"}, {}, "the keys of a script are custom_ids, not 5"),
        ({}, {"default": 5}, "default must be"),
    ],
)
def test_what_is_no_script(script: Any, options: Any, message: str) -> None:
    """Nonsense is refused where it is given, with the line that it is about."""
    with pytest.raises(TypeError, match=message):
        ScriptExecutor(script, **options)


def test_a_table_is_copied() -> None:
    """Changing the table later does not slip past the checks."""
    table: dict[str, Any] = {}
    executor = ScriptExecutor(table)
    table["a"] = 5
    assert executor._table == {}
