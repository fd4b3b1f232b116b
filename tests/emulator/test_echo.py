"""What the echo says, checked against the official package's own models."""

import array
import base64
import json
import math
from typing import Any

import pytest
from openai.types import Completion, CreateEmbeddingResponse, ModerationCreateResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from support.asking import Raw, jsonl, records

from openai_batches.emulator import BatchServer, EchoExecutor

ECHO = EchoExecutor(now=lambda: 1_750_000_000.0)
USER = {"role": "user", "content": "hello"}


async def ask(url: Any, **body: Any) -> Any:
    return await ECHO(url, {"model": "m", **body}, "custom")


async def test_chat() -> None:
    """A chat answers with the user's last text, as often as asked."""
    parts = [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "?"}]
    messages = [USER, {"role": "user", "content": parts}, {"role": "assistant", "content": "no"}]
    status, body = await ask("/v1/chat/completions", messages=messages, n=2)
    chat = ChatCompletion.model_validate(body)
    assert status == 200
    assert [choice.message.content for choice in chat.choices] == ["[echo] what ?"] * 2
    assert chat.usage.total_tokens == chat.usage.prompt_tokens + chat.usage.completion_tokens
    assert (chat.created, chat.model) == (1_750_000_000, "m")


@pytest.mark.parametrize(
    ("messages", "text"),
    [([{"role": "system", "content": "be"}], "be"), (["x"], ""), ([{"role": "user", "content": None}], "")],
)
async def test_chats_without_a_user(messages: Any, text: Any) -> None:
    """Where no user speaks, the last message is echoed."""
    _, body = await ask("/v1/chat/completions", messages=messages, model=None)
    assert (body["choices"][0]["message"]["content"], body["model"]) == (f"[echo] {text}", "echo")


async def test_json_formats() -> None:
    """A JSON format is answered with JSON, a schema with an instance of it."""
    _, body = await ask("/v1/chat/completions", messages=[USER], response_format={"type": "json_object"})
    assert json.loads(body["choices"][0]["message"]["content"]) == {"echo": "[echo] hello"}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string"}}}
    _, body = await ask("/v1/chat/completions", messages=[USER], response_format=form)
    assert json.loads(body["choices"][0]["message"]["content"]) == "[echo] hello"
    form = {"type": "json_schema", "name": "x", "schema": {"type": "object", "properties": {"a": {"type": "number"}}}}
    _, body = await ask("/v1/responses", input="hello", text={"format": form})
    assert json.loads(Response.model_validate(body).output_text) == {"a": 0}
    _, body = await ask("/v1/chat/completions", messages=[USER], response_format={"type": "json_schema"})
    assert json.loads(body["choices"][0]["message"]["content"]) == "[echo] hello"


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {}}, "required": ["a"]}, {"a": False}),
        ({"properties": {"a": {"const": 5}}}, {"a": 5}),
        ({"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2}, ["x", "x"]),
        ({"type": "array"}, []),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "number", "exclusiveMinimum": 1}, 2),
        ({"type": "string", "maxLength": 3}, "[ec"),
        ({"type": "string", "minLength": 14}, "[echo] hello.."),
        ({"type": ["null", "string"]}, None),
        ({"type": []}, None),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None),
        ({"oneOf": [{"type": "boolean"}, {"type": "string"}]}, False),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({"allOf": [{"type": "integer"}, {"minimum": 4}]}, 4),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"const": 1}}}, 1),
        ({"$ref": "#/$defs/a/b/c", "$defs": {"a": {"b": 5}}}, None),
        ([], "[echo] hello"),
    ],
)
async def test_instances(schema: Any, instance: Any) -> None:
    """The smallest value that fits a schema."""
    form = {"type": "json_schema", "schema": schema}
    _, body = await ask("/v1/responses", input="hello", text={"format": form})
    assert json.loads(body["output"][0]["content"][0]["text"]) == instance


async def test_endless_schemas_end() -> None:
    """A schema that needs itself is cut off."""
    form = {"type": "json_schema", "schema": {"$ref": "#"}}
    _, body = await ask("/v1/responses", input="x", text={"format": form})
    assert body["output"][0]["content"][0]["text"] == "null"


@pytest.mark.parametrize(("given", "text"), [("hello", "hello"), ([USER], "hello"), ([], ""), (None, None)])
async def test_responses(given: Any, text: Any) -> None:
    """Responses take a text or a list of items; anything else is a 400."""
    status, body = await ask("/v1/responses", input=given)
    if text is None:
        assert (status, body["error"]["param"]) == (400, "input")
    else:
        response = Response.model_validate(body)
        assert response.output_text == f"[echo] {text}"
        assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


@pytest.mark.parametrize(("prompt", "texts"), [("a", ["[echo] a"]), (["a", "b"], ["[echo] a", "[echo] b"])])
async def test_completions(prompt: Any, texts: Any) -> None:
    """Each prompt has its completion; a prompt may be a list of tokens."""
    _, body = await ask("/v1/completions", prompt=prompt)
    assert [choice.text for choice in Completion.model_validate(body).choices] == texts
    _, body = await ask("/v1/completions", prompt=[1, 2])
    assert body["choices"][0]["text"] == "[echo] 1 2"


async def test_embeddings() -> None:
    """Vectors are of length one, as long as asked, equal for equal texts, and the same as base64."""
    status, body = await ask("/v1/embeddings", input=["a", "b", "a"], dimensions=8)
    first, second, third = (item.embedding for item in CreateEmbeddingResponse.model_validate(body).data)
    assert (status, len(first), first == third, first == second) == (200, 8, True, False)
    assert math.isclose(math.hypot(*first), 1.0)
    _, packed = await ask("/v1/embeddings", input="a", dimensions=8, encoding_format="base64")
    assert list(array.array("f", base64.b64decode(packed["data"][0]["embedding"]))) == pytest.approx(first)
    for model, length in [("text-embedding-3-small", 1536), ("text-embedding-3-large", 3072)]:
        _, body = await ask("/v1/embeddings", input="a", model=model)
        assert len(body["data"][0]["embedding"]) == length


@pytest.mark.parametrize(("given", "count"), [("a", 1), (["a", "b"], 2), ([{"type": "text", "text": "a"}] * 2, 1)])
async def test_moderations(given: Any, count: Any) -> None:
    """Nothing is flagged; several parts of one input are one result."""
    _, body = await ask("/v1/moderations", input=given)
    results = ModerationCreateResponse.model_validate(body).results
    assert [result.flagged for result in results] == [False] * count


@pytest.mark.parametrize(
    ("url", "body", "param"),
    [
        ("/v1/videos", {}, "url"),
        ("/v1/chat/completions", {"messages": []}, "messages"),
        ("/v1/chat/completions", {"messages": [USER], "n": 0}, "n"),
        ("/v1/chat/completions", {"messages": [USER], "n": "2"}, "n"),
        ("/v1/completions", {}, "prompt"),
        ("/v1/embeddings", {"input": []}, "input"),
        ("/v1/embeddings", {"input": "x", "dimensions": 10_000}, "dimensions"),
    ],
)
async def test_what_cannot_be_echoed(url: Any, body: Any, param: Any) -> None:
    """An endpoint without an echo, or an unusable parameter, is a 400 with an error object."""
    status, answer = await ask(url, **body)
    assert (status, answer["error"]["param"]) == (400, param)
    assert set(answer["error"]) == {"message", "type", "param", "code"}


async def test_a_batch_of_embeddings(server: BatchServer, raw: Raw) -> None:
    """A batch counts usage also where there are no output tokens, or none at all."""
    for url, more, tokens in [("/v1/embeddings", {"dimensions": 4}, 3), ("/v1/moderations", {}, 0)]:
        body = {"model": "m", "input": "x" * 12, **more}
        line = {"custom_id": "a", "method": "POST", "url": url, "body": body}
        batch = await raw.create((await raw.upload(jsonl(line)))["id"], endpoint=url)
        await server.advance(hours=1)
        batch = await raw.batch(batch["id"])
        assert batch["usage"]["total_tokens"] == tokens
        assert records(await raw.content(batch["output_file_id"]))[0]["response"]["status_code"] == 200
