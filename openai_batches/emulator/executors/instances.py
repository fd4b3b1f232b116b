"""The smallest JSON value that fits a JSON schema, for answers that have to follow one."""

from collections.abc import Mapping
from typing import Any

from openai_batches.emulator.json_values import is_array, is_object, members

# Schemas that refer to themselves end here.
_MAX_DEPTH = 12
# The words of a schema that say: see there instead.
_STAND_INS = ("$ref", "anyOf", "oneOf", "allOf")


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
    if any(schema.get(word) for word in _STAND_INS):
        return _value(_inner(schema, root), root, text, depth + 1)
    return _typed(schema, root, text, depth)


def _inner(schema: dict[str, Any], root: Mapping[str, Any]) -> Any:
    """Return the schema that this one stands for."""
    if schema.get("$ref"):
        return _resolve(schema["$ref"], root)
    for word in ("anyOf", "oneOf"):
        if schema.get(word):
            return _plainest(schema[word])
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


def _plainest(choices: list[Any]) -> Any:
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
