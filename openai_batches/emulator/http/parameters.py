"""The checks on what a request asks for: JSON bodies and query strings."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import attrs
import msgspec
from aiohttp import web

from openai_batches.emulator.answers import APIError, missing, out_of_range, unknown, wrong_type, wrong_value
from openai_batches.emulator.http.connections import reading
from openai_batches.emulator.json_values import is_object
from openai_batches.emulator.rules import Terms

_MAX_METADATA_PAIRS = 16
_MAX_METADATA_KEY = 64
_MAX_METADATA_VALUE = 512
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_WINDOW = re.compile(r"([0-9]{1,6})([hd])", re.ASCII)


@attrs.frozen(kw_only=True)
class CreateBatch:
    """A checked request for a batch."""

    input_file_id: str
    endpoint: str
    completion_window: str
    window_s: int
    metadata: dict[str, str] | None
    output_lifetime_s: int


async def json_object(request: web.Request) -> dict[str, Any]:
    """Return the request's body as a JSON object."""
    async with reading(request):
        data = await request.read()
    if data and request.content_type != "application/json":
        raise APIError(f"The body must be sent as application/json, not as {request.content_type}.", status=415)
    try:
        body = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise APIError("The body of the request could not be parsed as JSON.") from error
    if not is_object(body):
        raise APIError("The body of the request must be a JSON object.")
    return body


def create_batch(body: Mapping[str, Any], terms: Terms) -> CreateBatch:
    """Check the parameters of a new batch against what the service takes."""
    known = ("input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after")
    refuse_unknown(body, known + terms.create_fields)
    input_file_id = text(body, "input_file_id")
    endpoint = choice(body, "endpoint", terms.endpoints)
    window_s = window(body, terms)
    return CreateBatch(
        input_file_id=input_file_id,
        endpoint=endpoint,
        completion_window=body["completion_window"],
        window_s=window_s,
        metadata=metadata(body.get("metadata")),
        output_lifetime_s=lifetime("output_expires_after", body.get("output_expires_after"), terms)
        or terms.lifetime_s[1],
    )


def window(body: Mapping[str, Any], terms: Terms) -> int:
    """Return the seconds of the completion window."""
    shortest, longest = terms.window_hours
    if shortest == longest:
        return 3600 * int(choice(body, "completion_window", (f"{shortest}h",))[:-1])
    value = text(body, "completion_window")
    asked = _WINDOW.fullmatch(value)
    hours = int(asked[1]) * (24 if asked[2] == "d" else 1) if asked else 0
    if not shortest <= hours <= longest:
        message = f"Invalid value: '{value}'. Supported values are windows from '{shortest}h' to '{longest}h'."
        raise APIError(message, param="completion_window", code="invalid_value")
    return 3600 * hours


def refuse_unknown(body: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse parameters that the endpoint does not have."""
    for name in body:
        if name not in known:
            raise unknown(name)


def text(body: Mapping[str, Any], name: str) -> str:
    """Return the required string `name`."""
    if name not in body:
        raise missing(name)
    value = body[name]
    if not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    return value


def choice(body: Mapping[str, Any], name: str, supported: tuple[str, ...]) -> str:
    """Return the required string `name`, one of `supported`."""
    value = text(body, name)
    if value not in supported:
        raise wrong_value(name, value, supported)
    return value


def integer(body: Mapping[str, Any], name: str, *, minimum: int, maximum: int) -> int:
    """Return the required integer `name` within its bounds; `name` may be a dotted path ending in the key."""
    key = name.rpartition(".")[2]
    if key not in body:
        raise missing(name)
    value = body[key]
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(name, "an integer", value)
    if not minimum <= value <= maximum:
        raise out_of_range(name, value, minimum=minimum, maximum=maximum)
    return value


def metadata(value: Any) -> dict[str, str] | None:
    """Check metadata: at most 16 pairs of strings, keys up to 64 characters and values up to 512."""
    if value is None:
        return None
    if not is_object(value):
        raise wrong_type("metadata", "an object", value)
    if len(value) > _MAX_METADATA_PAIRS:
        message = (
            f"Invalid 'metadata': too many properties. Expected an object with at most {_MAX_METADATA_PAIRS} "
            f"properties, but got an object with {len(value)} properties instead."
        )
        raise APIError(message, param="metadata", code="object_above_max_properties")
    for key, item in value.items():
        _short("metadata", key, _MAX_METADATA_KEY)
        if not isinstance(item, str):
            raise wrong_type(f"metadata.{key}", "a string", item)
        _short(f"metadata.{key}", item, _MAX_METADATA_VALUE)
    return value


def _short(param: str, value: str, maximum: int) -> None:
    if len(value) > maximum:
        message = (
            f"Invalid '{param}': string too long. Expected a string with maximum length {maximum}, "
            f"but got a string with length {len(value)} instead."
        )
        raise APIError(message, param=param, code="string_above_max_length")


def lifetime(param: str, value: Any, terms: Terms) -> int | None:
    """Check an expiry policy and return its seconds, None if it is not given."""
    if value is None:
        return None
    if not is_object(value):
        raise wrong_type(param, "an object", value)
    for name in value:
        if name not in {"anchor", "seconds"}:
            raise unknown(f"{param}.{name}")
    anchor = value.get("anchor")
    if anchor is None:
        raise missing(f"{param}.anchor")
    if anchor != "created_at":
        raise wrong_value(f"{param}.anchor", str(anchor), ("created_at",))
    shortest, longest = terms.lifetime_s
    return integer(value, f"{param}.seconds", minimum=shortest, maximum=longest)


def limit(request: web.Request, *, default: int, minimum: int, maximum: int) -> int:
    """Return the page size a listing asks for."""
    asked = request.query.get("limit")
    if asked is None:
        return default
    if not _INTEGER.fullmatch(asked):
        raise wrong_type("limit", "an integer", asked)
    return integer({"limit": int(asked)}, "limit", minimum=minimum, maximum=maximum)
