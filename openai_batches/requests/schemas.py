"""Structured outputs: a class or a JSON schema as the parameters that make the model answer in its form.

Strict mode knows a part of JSON Schema. What a class says beyond it is refused here, by the name of its field, rather
than by the service for each request of a batch.

Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from inspect import get_annotations
from typing import TYPE_CHECKING, Any, cast, get_origin

import msgspec

from openai_batches.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["format_parameters", "json_schema_format"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_RESPONSES = "/responses"
_ENDPOINTS = ("/chat/completions", _RESPONSES)
_ENDPOINT = re.compile(r"(?:/v\d+)?/(chat/completions|responses)")

# The documented limits of one schema.
_MAX_PROPERTIES = 5_000
_MAX_LEVELS = 10
_MAX_ENUM_VALUES = 1_000
_MAX_TEXT_CHARS = 120_000
_LONG_ENUM_VALUES = 250
_MAX_LONG_ENUM_CHARS = 15_000

# What strict mode takes, beside what is handled by name below.
_KEPT = frozenset(
    [
        *("type", "description", "enum", "const", "pattern", "format", "multipleOf", "minItems", "maxItems"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    ]
)
# These do not change what is valid.
_DROPPED = frozenset(
    [
        *("title", "default", "examples", "deprecated", "readOnly", "writeOnly", "discriminator"),
        *("$comment", "$schema", "$defs"),
    ]
)
# These are made from their parts.
_PARTS = frozenset(["$ref", "anyOf", "items", "properties", "required", "additionalProperties"])
_FORMATS = frozenset(["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"])
_WHY_NOT = {
    "prefixItems": "a tuple of fixed places; use a class, or tuple[T, ...]",
    "uniqueItems": "a set; use a list",
    "patternProperties": "names that are patterns; use a list of objects",
    "contentEncoding": "bytes; use a str",
    "minLength": "a least length; use a pattern",
    "maxLength": "a greatest length; use a pattern",
    "allOf": "several schemas at once",
    "oneOf": "exactly one of several schemas",
}
_WITH_FIELDS = (msgspec.inspect.DataclassType, msgspec.inspect.StructType, msgspec.inspect.TypedDictType)
_TYPE_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def json_schema_format(
    cls: Any, *, endpoint: str = "/v1/chat/completions", name: str | None = None, description: str | None = None
) -> dict[str, Any]:
    """Return a class as a strict ``response_format`` (chat) or as the ``format`` of ``text`` (responses).

    Strict mode lets the model leave nothing out and add nothing: each object is closed, and each field is required. A
    field with a default, or one a TypedDict need not have, keeps its type and is always stated by the model; it can be
    null where its type says so, and nowhere else. The schema is msgspec's, or pydantic's own for its models; titles and
    defaults are left out, the descriptions stay. The model writes the fields in the order of the class. Classes may
    contain themselves.

    Args:
        cls: an attrs class, a dataclass, a TypedDict, a msgspec Struct or a pydantic model; or a JSON schema as a dict,
            which is made strict in the same way.
        endpoint: one that takes chat completions or responses; they write the same in two ways.
        name: what to call it, 1 to 64 characters of ``[A-Za-z0-9_-]``; made from the class's name if not given.
        description: what it is for, for the model to know.

    Raises:
        InputError: strict mode cannot express the class, or a field, which is named: mappings of free keys,
            tuples of fixed places, sets, ``Any``, lengths of text, unknown formats; or the schema has more than 5,000
            fields, 10 levels, 1,000 enum values or 120,000 characters of names and values.
    """
    flavour = _ENDPOINT.fullmatch(endpoint) if isinstance(endpoint, str) else None
    if flavour is None:
        raise InputError(f"structured outputs are for /v1/chat/completions and /v1/responses, not for {endpoint!r}")
    cls_name = _name_of(cls)
    if name is None:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", cls_name)[:64]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(f"name must be 1 to 64 characters of [A-Za-z0-9_-], not {name!r}")
    entry: dict[str, Any] = {
        "name": name,
        "strict": True,
        "schema": _strict_mapping(cls, cls_name)
        if isinstance(cls, Mapping)
        else _strict_schema(_schema_of(cls, cls_name), cls_name),
    }
    if description is not None:
        entry["description"] = description
    if flavour[1] == "responses":
        return {"type": "json_schema", **entry}
    return {"type": "json_schema", "json_schema": entry}


def format_parameters(schema: Any, *, endpoint: str, name: str = "answer") -> dict[str, Any]:
    """Return the parameters that ask an endpoint for structured output.

    The schema is a class, as for :func:`json_schema_format`; a JSON schema, which becomes strict; or a mapping that
    says more, as the service has it: with a ``schema`` and ``name``, ``strict`` and ``description`` beside it.
    """
    is_flat = endpoint.endswith(_RESPONSES)
    given = cast("Mapping[str, Any]", schema) if isinstance(schema, Mapping) else {"title": True}
    name = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]
    entry = _entry(given)
    if entry is None:
        made = json_schema_format(schema, endpoint=endpoint, name=None if given.get("title") else name)
    elif not endpoint.endswith(_ENDPOINTS):
        raise InputError(f"structured outputs are for /v1/chat/completions and /v1/responses, not for {endpoint!r}")
    elif is_flat:
        made = {"type": "json_schema", "name": name, **entry}
    else:
        made = {"type": "json_schema", "json_schema": {"name": name, **entry}}
    return {"text": {"format": made}} if is_flat else {"response_format": made}


def _entry(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema with the keys of a format around it, or None where there are none."""
    inner: Any = schema.get("json_schema", schema) if schema.get("type") == "json_schema" else schema
    around: dict[str, Any] = dict(cast("Mapping[str, Any]", inner)) if isinstance(inner, Mapping) else {}
    if not isinstance(around.get("schema"), Mapping) or "properties" in around:
        return None
    return {key: value for key, value in around.items() if (key, value) != ("type", "json_schema")}


def _name_of(cls: Any) -> str:
    if isinstance(cls, Mapping):
        title = cls.get("title")
        return title if isinstance(title, str) and title else "schema"
    return getattr(cls, "__name__", None) or str(cls)


def _schema_of(cls: Any, cls_name: str) -> dict[str, Any]:
    own = getattr(cls, "model_json_schema", None)
    try:
        schema: dict[str, Any] = own() if callable(own) else _in_order(cls)
    # An annotation that cannot be resolved is a NameError; pydantic has errors of its own, below RuntimeError.
    except (TypeError, ValueError, NameError, AttributeError, RuntimeError) as error:
        raise InputError(f"{cls_name} has no JSON schema: {error}") from error
    return schema


def _in_order(cls: Any) -> dict[str, Any]:
    """Return msgspec's schema with the fields in the order of the class, in which the model will write them.

    Left alone, the fields of a TypedDict are sorted by name and those with a default put last, so that a model would
    answer before it had reasoned.
    """
    collected: dict[int, Any] = {}
    _collect(msgspec.inspect.type_info(cls), collected)
    infos = [info for info in collected.values() if isinstance(info, _WITH_FIELDS)]
    (root, *references), definitions = msgspec.json.schema_components(
        [cls, *(info.cls for info in infos)], ref_template="#/$defs/{name}"
    )
    for reference, info in zip(references, infos, strict=True):
        if not (properties := definitions[_target(reference)].get("properties")):
            continue  # a Struct that is written as an array
        bases = reversed((get_origin(info.cls) or info.cls).__mro__)
        places = {name: place for place, name in enumerate(name for base in bases for name in get_annotations(base))}
        order = {field.encode_name: places.get(field.name, len(places)) for field in info.fields}
        # The tag of a Struct is not one of its fields, and comes first.
        ordered = sorted(properties.items(), key=lambda item: order.get(item[0], -1))
        definitions[_target(reference)]["properties"] = dict(ordered)
    return {**root, "$defs": definitions}


def _collect(info: Any, collected: dict[int, Any]) -> None:
    """Note every type within a type, once."""
    if id(info) in collected or not isinstance(info, msgspec.inspect.Type | msgspec.inspect.Field):
        return
    collected[id(info)] = info
    for name in info.__struct_fields__:
        value = getattr(info, name)
        for part in value if isinstance(value, tuple) else (value,):
            _collect(part, collected)


def _strict_schema(schema: dict[str, Any], cls_name: str) -> dict[str, Any]:
    found = schema.get("$defs", {})
    root = found.get(_target(schema), schema)
    if "object" not in _types(root):
        raise InputError(f"{cls_name} is no class with fields: strict mode answers with an object, in a field of one")
    strict = _Strict(found)
    made = strict.made(root, cls_name)
    definitions = _reachable(made, strict.definitions)
    _check_size({"": made, **definitions}, cls_name)
    _check_levels(made, definitions, cls_name)
    return {**made, "$defs": definitions} if definitions else made


def _strict_mapping(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    try:
        return _strict_schema(dict(schema), name)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} is no JSON schema: {error}") from error


def _target(schema: dict[str, Any]) -> str:
    """Return the name of the definition that a schema refers to, or nothing."""
    reference: str = schema.get("$ref", "")
    return reference.removeprefix("#/$defs/")


def _types(schema: dict[str, Any]) -> list[str]:
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else types


def _refused(path: str, reason: str) -> InputError:
    return InputError(f"strict mode cannot express {path}: {reason}")


class _Strict:
    """Makes schemas strict; ``definitions`` are those of the classes that were referred to, by name."""

    def __init__(self, found: dict[str, dict[str, Any]]) -> None:
        self.definitions: dict[str, dict[str, Any]] = {}
        self._found = found

    def made(self, schema: dict[str, Any], path: str) -> dict[str, Any]:
        """Return a schema as strict mode wants it; ``path`` is what messages call it."""
        schema = _merged(schema)
        if target := _target(schema):
            return self._reference(target, schema.get("description"), path)
        made = _checked_keywords(schema, path)
        if "anyOf" in schema:
            made["anyOf"] = [self.made(choice, path) for choice in schema["anyOf"]]
        elif "object" in _types(made):
            if schema.get("additionalProperties", False) is not False or "properties" not in schema:
                raise _refused(path, "it is a mapping of free keys; use a class, or a list of pairs in classes")
            fields = {name: self.made(field, f"{path}.{name}") for name, field in schema["properties"].items()}
            made.update(properties=fields, required=list(fields), additionalProperties=False)
        elif "array" in _types(made):
            made["items"] = self.made(schema.get("items", {}), f"{path}[]")
        elif "type" not in made:
            raise _refused(path, "it says nothing of its type, e.g. as Any does")
        return made

    def _reference(self, target: str, description: str | None, path: str) -> dict[str, Any]:
        if target not in self._found:
            raise _refused(path, f"it refers to {target!r}, which is not there")
        if target not in self.definitions:
            self.definitions[target] = {}  # a class that holds itself meets this, and refers to what comes
            self.definitions[target] = self.made(self._found[target], target)
        if description is not None and (definition := self.definitions[target]):
            # Nothing may stand beside a reference, so that a class with a description of its own is written out.
            return {**definition, "description": description}
        return {"$ref": f"#/$defs/{target}"}


def _merged(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without the two compositions that say the same in other words."""
    if len(schema.get("allOf", ())) == 1:
        schema = {**schema["allOf"][0], **{key: value for key, value in schema.items() if key != "allOf"}}
    if "oneOf" in schema and "discriminator" in schema:
        schema = {**{key: value for key, value in schema.items() if key != "oneOf"}, "anyOf": schema["oneOf"]}
    return schema


def _checked_keywords(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """Return what a schema says beside its parts."""
    made = {}
    for keyword, value in schema.items():
        if keyword in _KEPT:
            made[keyword] = value
        elif keyword not in _DROPPED and keyword not in _PARTS and not keyword.startswith("x-"):
            raise _refused(path, f"it is {_WHY_NOT[keyword]}" if keyword in _WHY_NOT else f"it has {keyword!r}")
    if made.get("format", "date") not in _FORMATS:
        raise _refused(path, f"its format is {made['format']!r}, not one of {', '.join(sorted(_FORMATS))}")
    values = made.get("enum", [made["const"]] if "const" in made else [])
    if values and "type" not in made:
        if strange := [value for value in values if type(value) not in _TYPE_NAMES]:
            raise _refused(path, f"{strange[0]!r} cannot be a value of an enum")
        types = list(dict.fromkeys(_TYPE_NAMES[type(value)] for value in values))
        made["type"] = types[0] if len(types) == 1 else types
    return made


def _children(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from schema.get("properties", {}).values()
    yield from schema.get("anyOf", ())
    if "items" in schema:
        yield schema["items"]


def _reachable(root: dict[str, Any], definitions: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the definitions that are referred to: those that were written out may not be."""
    reached: dict[str, dict[str, Any]] = {}
    waiting = [root]
    while waiting:
        schema = waiting.pop()
        if (target := _target(schema)) and target not in reached:
            reached[target] = definitions[target]
            waiting.append(definitions[target])
        waiting.extend(_children(schema))
    return {name: definition for name, definition in definitions.items() if name in reached}


def _check_size(schemas: dict[str, dict[str, Any]], cls_name: str) -> None:
    properties = enum_values = 0
    chars = sum(map(len, schemas))
    waiting = list(schemas.values())
    while waiting:
        schema = waiting.pop()
        names = schema.get("properties", {})
        values = schema.get("enum", [])
        texts = [value for value in [*values, schema.get("const")] if isinstance(value, str)]
        text_chars = sum(map(len, texts))
        if len(values) > _LONG_ENUM_VALUES and text_chars > _MAX_LONG_ENUM_CHARS:
            raise _refused(
                cls_name, f"an enum of {len(values):,} values has more than {_MAX_LONG_ENUM_CHARS:,} characters"
            )
        properties += len(names)
        enum_values += len(values)
        chars += sum(map(len, names)) + text_chars
        waiting.extend(_children(schema))
    for count, maximum, what in (
        (properties, _MAX_PROPERTIES, "fields"),
        (enum_values, _MAX_ENUM_VALUES, "enum values"),
        (chars, _MAX_TEXT_CHARS, "characters of names and values"),
    ):
        if count > maximum:
            raise _refused(cls_name, f"it has {count:,} {what}, and {maximum:,} are the most")


def _check_levels(root: dict[str, Any], definitions: dict[str, dict[str, Any]], cls_name: str) -> None:
    known: dict[str, int] = {}

    def levels(schema: dict[str, Any]) -> int:
        if target := _target(schema):
            if target not in known:
                known[target] = 0  # a class that holds itself is as deep as its other fields
                known[target] = levels(definitions[target])
            return known[target]
        return max(map(levels, _children(schema)), default=0) + ("properties" in schema)

    if (found := levels(root)) > _MAX_LEVELS:
        raise _refused(cls_name, f"its objects are {found} levels deep, and {_MAX_LEVELS} are the most")
