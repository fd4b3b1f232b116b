"""The executor that needs no model: it answers with what it was asked, in the shapes of the real endpoints."""

import base64
import hashlib
import math
import time
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from openai_batches._names import public
from openai_batches.emulator.answers import error_object, kind
from openai_batches.emulator.executors.executor import Answer
from openai_batches.emulator.json_values import is_array, is_object, members

_BYTES_PER_TOKEN = 4
_DIMENSIONS = {"text-embedding-3-large": 3072}
_DEFAULT_DIMENSIONS = 1536
_MAX_DIMENSIONS = 4096
_MAX_CHOICES = 128
_MAX_INPUTS = 2048
_MAX_TEXT = 64 * 1024 * 1024
_TEXT_ENDPOINTS = ("/chat/completions", "/completions", "/responses")
# The depth at which schemas that refer to themselves end.
_MAX_DEPTH = 12
# Keys of a schema that refer to other schemas.
_REFERENCES = ("$ref", "anyOf", "oneOf", "allOf")
_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


class _RefusedError(Exception):
    """A request that the endpoint would answer with status 400."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.answer: Answer = 400, {"error": error_object(message, param=param, code="invalid_type")}


@public
class EchoExecutor:
    """Answers requests deterministically: the same request always gets the same answer.

    Texts are `[echo] ` and the last thing the user said; embeddings are unit vectors drawn from the input's hash;
    moderations flag nothing; a JSON schema is answered with its smallest instance. Usage counts a token per four
    characters. Endpoints without an echo and unusable parameters are answered with status 400.

    Args:
        now: Returns the Unix seconds to put in `created`; the wall clock by default.
    """

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._endpoints: dict[str, Callable[[dict[str, Any], str, str, str | None], dict[str, Any]]] = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._completion,
            "/v1/embeddings": self._embeddings,
            "/v1/moderations": self._moderation,
            "/v1/responses": self._response,
        }

    async def __call__(self, url: str, body: dict[str, Any], custom_id: str) -> Answer:
        """Answer one request."""
        return self.answer(url, body, custom_id)

    def answer(self, url: str, body: dict[str, Any], custom_id: str) -> Answer:
        """Answer one request; safe to call from any thread."""
        return self._answer(url, body, custom_id, None)

    def say(self, text: str, url: str, body: dict[str, Any], custom_id: str) -> Answer:
        """Answer one request with this text in place of the echo.

        Raises:
            TypeError: The endpoint does not answer with text.
        """
        if not url.endswith(_TEXT_ENDPOINTS):
            raise TypeError(f"{url} does not answer with text; give the body of its answer")
        return self._answer(url, body, custom_id, text)

    def _answer(self, url: str, body: dict[str, Any], custom_id: str, said: str | None) -> Answer:
        # Some services leave /v1 out.
        endpoint = self._endpoints.get(url) or self._endpoints.get(f"/v1{url}")
        if endpoint is None:
            return 400, {"error": error_object(f"The echo does not answer '{url}'.", param="url")}
        try:
            model = body.get("model")
            return 200, endpoint(body, model if isinstance(model, str) else "echo", _digest(url, custom_id), said)
        except _RefusedError as refused:
            return refused.answer

    def _chat(self, body: dict[str, Any], model: str, digest: str, said: str | None) -> dict[str, Any]:
        messages = body.get("messages")
        if not is_array(messages) or not messages:
            raise _wrong("messages", "a non-empty array", messages)
        text = said
        if text is None:
            text = _formatted(_last_user_text(messages), body.get("response_format"), nested="json_schema")
        count = _integer(body, "n", default=1, maximum=_MAX_CHOICES)
        if count > 1 and count * len(text) > _MAX_TEXT:
            raise _RefusedError(f"Invalid 'n': the choices would have more than {_MAX_TEXT} characters.", "n")
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        choice = {"message": message, "logprobs": None, "finish_reason": "stop"}
        return {
            "id": f"chatcmpl-{digest}",
            "object": "chat.completion",
            "created": int(self._now()),
            "model": model,
            "choices": [{"index": index, **choice} for index in range(count)],
            "usage": _chat_usage(_tokens(messages), count * _tokens(text)),
            "service_tier": "default",
            "system_fingerprint": None,
        }

    def _completion(self, body: dict[str, Any], model: str, digest: str, said: str | None) -> dict[str, Any]:
        prompts = _inputs(body, "prompt")
        texts = [f"[echo] {_text_of(prompt)}" if said is None else said for prompt in prompts]
        choice = {"logprobs": None, "finish_reason": "stop"}
        return {
            "id": f"cmpl-{digest}",
            "object": "text_completion",
            "created": int(self._now()),
            "model": model,
            "choices": [{"index": index, "text": text, **choice} for index, text in enumerate(texts)],
            "usage": _chat_usage(sum(map(_tokens, prompts)), sum(map(_tokens, texts))),
        }

    def _response(self, body: dict[str, Any], model: str, digest: str, said: str | None) -> dict[str, Any]:
        given = body.get("input", "")
        if not isinstance(given, str) and not is_array(given):
            raise _wrong("input", "a string or an array", given)
        options = body.get("text")
        form = members(options).get("format")
        text = said
        if text is None:
            text = _formatted(given if isinstance(given, str) else _last_user_text(given), form)
        content: dict[str, Any] = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        message = {"id": f"msg_{digest}", "type": "message", "status": "completed", "role": "assistant"}
        used, made = _tokens(given), _tokens(text)
        return {
            "id": f"resp_{digest}",
            "object": "response",
            "created_at": int(self._now()),
            "status": "completed",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "metadata": body.get("metadata") or {},
            "model": model,
            "output": [{**message, "content": [content]}],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": False,
            "temperature": body.get("temperature", 1.0),
            "text": {"format": form or {"type": "text"}},
            "tool_choice": body.get("tool_choice", "auto"),
            "tools": body.get("tools") or [],
            "top_p": body.get("top_p", 1.0),
            "truncation": "disabled",
            "usage": {
                "input_tokens": used,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": made,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": used + made,
            },
        }

    def _embeddings(self, body: dict[str, Any], model: str, _digest: str, _said: str | None) -> dict[str, Any]:
        inputs = _inputs(body, "input")
        default = _DIMENSIONS.get(model, _DEFAULT_DIMENSIONS)
        dimensions = _integer(body, "dimensions", default=default, maximum=_MAX_DIMENSIONS)
        as_text = body.get("encoding_format") == "base64"
        vectors = [_unit_vector(_text_of(item), dimensions) for item in inputs]
        used = sum(map(_tokens, inputs))
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _base64(vector) if as_text else vector}
                for index, vector in enumerate(vectors)
            ],
            "model": model,
            "usage": {"prompt_tokens": used, "total_tokens": used},
        }

    def _moderation(self, body: dict[str, Any], model: str, digest: str, _said: str | None) -> dict[str, Any]:
        inputs = _inputs(body, "input")
        if all(is_object(item) for item in inputs):
            inputs = [inputs]
        result = {
            "flagged": False,
            "categories": dict.fromkeys(_CATEGORIES, False),
            "category_scores": dict.fromkeys(_CATEGORIES, 0.0),
            "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
        }
        return {"id": f"modr-{digest}", "model": model, "results": [result] * len(inputs)}


def _digest(url: str, custom_id: str) -> str:
    return hashlib.blake2s(f"{url} {custom_id}".encode(), digest_size=12).hexdigest()


def _wrong(param: str, expected: str, got: Any) -> _RefusedError:
    return _RefusedError(f"Invalid type for '{param}': expected {expected}, but got {kind(got)} instead.", param)


def _integer(body: dict[str, Any], name: str, *, default: int, maximum: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or not 1 <= value <= maximum:
        raise _wrong(name, f"an integer from 1 to {maximum}", value)
    return value


def _inputs(body: dict[str, Any], name: str) -> list[Any]:
    """Return the inputs one by one: strings, or lists of tokens."""
    value = body.get(name)
    if isinstance(value, str):
        return [value]
    if not is_array(value) or not value:
        raise _wrong(name, "a string or a non-empty array", value)
    if all(isinstance(item, int) for item in value):
        return [value]
    if len(value) > _MAX_INPUTS:
        message = (
            f"Invalid '{name}': array too long. Expected an array with maximum length {_MAX_INPUTS}, "
            f"but got an array with length {len(value)} instead."
        )
        raise _RefusedError(message, name)
    return value


def _last_user_text(messages: list[Any]) -> str:
    for message in reversed(messages):
        if is_object(message) and message.get("role") == "user":
            return _text_of(message.get("content"))
    return _text_of(messages[-1].get("content")) if messages and is_object(messages[-1]) else ""


def _text_of(content: Any) -> str:
    """Return a content's text; of a list of parts, those that have one."""
    if isinstance(content, str):
        return content
    if is_array(content):
        parts = (part.get("text") if is_object(part) else str(part) for part in content)
        return " ".join(part for part in parts if isinstance(part, str))
    return ""


def _formatted(asked: str, form: Any, *, nested: str | None = None) -> str:
    """Return the echo of `asked` in the response format `form`; chat completions nest the schema once more."""
    text = f"[echo] {asked}"
    form = members(form)
    wanted = form.get("type")
    if wanted == "json_object":
        return msgspec.json.encode({"echo": text}).decode()
    if wanted == "json_schema":
        holder = form.get(nested) if nested else form
        schema = members(holder).get("schema")
        return msgspec.json.encode(instance(schema, text=text)).decode()
    return text


def _tokens(content: Any) -> int:
    size = len(content) if isinstance(content, str) else len(msgspec.json.encode(content))
    return max(1, size // _BYTES_PER_TOKEN)


def _chat_usage(used: int, made: int) -> dict[str, Any]:
    return {
        "prompt_tokens": used,
        "completion_tokens": made,
        "total_tokens": used + made,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _unit_vector(text: str, dimensions: int) -> list[float]:
    drawn = hashlib.shake_128(text.encode()).digest(dimensions)
    length = math.sqrt(sum((byte - 127.5) ** 2 for byte in drawn))
    table = [(byte - 127.5) / length for byte in range(256)]
    return [table[byte] for byte in drawn]


def _base64(vector: list[float]) -> str:
    packed = array("f", vector)
    return base64.b64encode(packed.tobytes()).decode()


def instance(schema: Any, *, text: str = "[echo]") -> Any:
    """Return a minimal instance of `schema`; every string in it that is free to choose is `text`."""
    root = members(schema)
    return _value(root, root, text, 0)


def _value(schema: Any, root: Mapping[str, Any], text: str, depth: int) -> Any:
    if not is_object(schema) or depth > _MAX_DEPTH:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if any(schema.get(word) for word in _REFERENCES):
        return _value(_inner(schema, root), root, text, depth + 1)
    return _typed(schema, root, text, depth)


def _inner(schema: dict[str, Any], root: Mapping[str, Any]) -> Any:
    """Return the schema that this one stands for."""
    if schema.get("$ref"):
        return _resolve(schema["$ref"], root)
    for word in ("anyOf", "oneOf"):
        if schema.get(word):
            return _simplest(schema[word])
    return _merged(schema["allOf"])


def _typed(schema: dict[str, Any], root: Mapping[str, Any], text: str, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if is_array(kind):
        kind = kind[0] if kind else "null"
    if kind == "object":
        properties = schema.get("properties", {})
        wanted = [name for name in properties if name in schema.get("required", properties)]
        return {name: _value(properties[name], root, text, depth + 1) for name in wanted}
    if kind == "array":
        return [_value(schema.get("items"), root, text, depth + 1) for _ in range(schema.get("minItems", 0))]
    if kind in {"integer", "number"}:
        return _number(schema)
    if kind == "string":
        return text[: schema.get("maxLength", len(text))].ljust(schema.get("minLength", 0), ".")
    return False if kind == "boolean" else None


def _number(schema: Mapping[str, Any]) -> Any:
    if "exclusiveMinimum" in schema:
        return schema["exclusiveMinimum"] + 1
    return schema.get("minimum", min(0, schema.get("maximum", 0)))


def _resolve(reference: Any, root: Mapping[str, Any]) -> Any:
    """Follow a reference within the schema itself."""
    found: Any = root
    for name in str(reference).removeprefix("#").strip("/").split("/"):
        if name:
            found = members(found).get(name)
    return found


def _simplest(choices: list[Any]) -> Any:
    """Prefer null: it is the smallest, and it ends recursion."""
    for choice in choices:
        if is_object(choice) and choice.get("type") == "null":
            return choice
    return choices[0]


def _merged(parts: list[Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for part in parts:
        merged |= part
        properties |= part.get("properties", {})
    return {**merged, "properties": properties} if properties else merged
