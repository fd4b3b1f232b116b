"""A class, a JSON schema or a whole format becomes the parameter that each endpoint has for it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from openai_batches import InputError, json_schema_format
from openai_batches.requests.response_formats import format_parameters

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"]}, "why": {"type": "string"}},
}
STRICT = {
    "type": "object",
    "properties": {"mood": {"enum": ["good", "bad"], "type": "string"}, "why": {"type": "string"}},
    "required": ["mood", "why"],
    "additionalProperties": False,
}


@attrs.frozen
class Review:
    mood: str


def test_a_class_is_asked_for_where_the_endpoint_wants_it() -> None:
    assert format_parameters(Review, endpoint=CHAT) == {"response_format": json_schema_format(Review)}
    made = json_schema_format(Review, endpoint=RESPONSES)
    assert format_parameters(Review, endpoint=RESPONSES) == {"text": {"format": made}}


def test_a_schema_becomes_strict() -> None:
    """Each object is closed and each field required, as the service has it; its title is its name."""
    chat = format_parameters(SCHEMA, endpoint=CHAT, name="my review.v1")["response_format"]
    assert chat["json_schema"] == {"name": "my_review_v1", "strict": True, "schema": STRICT}
    flat = format_parameters({"title": "Review", **SCHEMA}, endpoint=RESPONSES, name="other")["text"]["format"]
    assert flat == {"type": "json_schema", "name": "Review", "strict": True, "schema": STRICT}


@pytest.mark.parametrize(
    "given",
    [
        {"schema": SCHEMA},
        {"schema": SCHEMA, "strict": False, "name": "mine"},
        {"type": "json_schema", "schema": SCHEMA, "name": "mine"},
        {"type": "json_schema", "json_schema": {"schema": SCHEMA, "name": "mine", "description": "d"}},
    ],
)
def test_a_format_that_says_more_than_its_schema_is_taken_at_its_word(given: dict[str, Any]) -> None:
    """Whatever stands around the schema stays as it is; only the place differs between the endpoints."""
    entry = {key: value for key, value in given.get("json_schema", given).items() if key != "type"}
    expected = {"name": "file", **entry}
    chat = format_parameters(given, endpoint=CHAT, name="file")
    assert chat == {"response_format": {"type": "json_schema", "json_schema": expected}}
    flat = format_parameters(given, endpoint=RESPONSES, name="file")
    assert flat == {"text": {"format": {"type": "json_schema", **expected}}}


def test_a_field_called_schema_makes_no_format() -> None:
    """A schema of objects that have a schema of their own is still one."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "schema": {"x": 1}}
    with pytest.raises(InputError, match="it has 'schema'"):
        format_parameters(schema, endpoint=CHAT)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({}, "schema is no class with fields"),
        ({"type": "array"}, "schema is no class with fields"),
        ({"type": "json_schema", "json_schema": 5}, "schema is no class with fields"),
        ({"type": "object"}, "strict mode cannot express schema: it is a mapping of free keys"),
        (
            {"title": "T", "type": "object", "properties": 5},
            "T is no JSON schema: 'int' object has no",
        ),
        ({"type": "object", "properties": {"a": True}}, "schema is no JSON schema"),
        ({"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}}, "schema.a: it is a least length"),
    ],
)
def test_a_schema_that_is_none_is_refused(schema: dict[str, Any], message: str) -> None:
    """Here, rather than by the service, for each request of a batch."""
    with pytest.raises(InputError, match=message):
        format_parameters(schema, endpoint=CHAT)


@pytest.mark.parametrize("schema", [SCHEMA, {"schema": SCHEMA}, Review])
def test_endpoints_without_structured_output_are_refused(schema: Any) -> None:
    with pytest.raises(InputError, match="structured outputs are for /v1/chat/completions and /v1/responses"):
        format_parameters(schema, endpoint="/v1/embeddings")
