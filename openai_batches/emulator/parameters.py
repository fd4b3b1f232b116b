"""The checks on what a request asks for: JSON bodies and query strings."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import attrs
import msgspec
from aiohttp import web

from .answers import APIError, missing, out_of_range, unknown, wrong_type, wrong_value
from .rules import ENDPOINTS, FILE_LIFETIME_S

_MIN_LIFETIME_S = 3600
_MAX_METADATA_PAIRS = 16
_MAX_METADATA_KEY = 64
_MAX_METADATA_VALUE = 512
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)


@attrs.frozen(kw_only=True)
class CreateBatch:
    """A checked request for a batch."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None
    output_lifetime_s: int


async def json_object(request: web.Request) -> dict[str, Any]:
    """Return the request's body as a JSON object.

    Raises:
        APIError: It is none.
    """
    data = await request.read()
    if data and request.content_type != "application/json":
        raise APIError(f"The body must be sent as application/json, not as {request.content_type}.", status=415)
    try:
        body = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise APIError("The body of the request could not be parsed as JSON.") from error
    if not isinstance(body, dict):
        raise APIError("The body of the request must be a JSON object.")
    return body


def create_batch(body: Mapping[str, Any]) -> CreateBatch:
    """Check the parameters of a new batch.

    Raises:
        APIError: The first that is missing, unknown or wrong.
    """
    known = ("input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after")
    refuse_unknown(body, known)
    input_file_id = text(body, "input_file_id")
    endpoint = choice(body, "endpoint", ENDPOINTS)
    completion_window = choice(body, "completion_window", ("24h",))
    return CreateBatch(
        input_file_id=input_file_id,
        endpoint=endpoint,
        completion_window=completion_window,
        metadata=metadata(body.get("metadata")),
        output_lifetime_s=lifetime("output_expires_after", body.get("output_expires_after")) or FILE_LIFETIME_S,
    )


def refuse_unknown(body: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse parameters that the endpoint does not have.

    Raises:
        APIError: There is one.
    """
    for name in body:
        if name not in known:
            raise unknown(name)


def text(body: Mapping[str, Any], name: str) -> str:
    """Return the required string `name`.

    Raises:
        APIError: It is missing or no string.
    """
    if name not in body:
        raise missing(name)
    value = body[name]
    if not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    return value


def choice(body: Mapping[str, Any], name: str, supported: tuple[str, ...]) -> str:
    """Return the required string `name`, one of `supported`.

    Raises:
        APIError: It is missing or something else.
    """
    value = text(body, name)
    if value not in supported:
        raise wrong_value(name, value, supported)
    return value


def integer(body: Mapping[str, Any], name: str, *, minimum: int, maximum: int) -> int:
    """Return the required integer `name` within its bounds; `name` may be a dotted path ending in the key.

    Raises:
        APIError: It is missing, no integer or out of bounds.
    """
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
    """Check metadata: at most 16 pairs of strings, keys up to 64 characters and values up to 512.

    Raises:
        APIError: It is something else.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
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


def lifetime(param: str, value: Any) -> int | None:
    """Check an expiry policy and return its seconds, None if it is not given.

    Raises:
        APIError: It is no policy, or its seconds lie outside 3600 to 2592000.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    for name in value:
        if name not in {"anchor", "seconds"}:
            raise unknown(f"{param}.{name}")
    anchor = value.get("anchor")
    if anchor is None:
        raise missing(f"{param}.anchor")
    if anchor != "created_at":
        raise wrong_value(f"{param}.anchor", str(anchor), ("created_at",))
    return integer(value, f"{param}.seconds", minimum=_MIN_LIFETIME_S, maximum=FILE_LIFETIME_S)


def limit(request: web.Request, *, default: int, minimum: int, maximum: int) -> int:
    """Return the page size a listing asks for.

    Raises:
        APIError: It is no integer or out of bounds.
    """
    asked = request.query.get("limit")
    if asked is None:
        return default
    if not _INTEGER.fullmatch(asked):
        raise wrong_type("limit", "an integer", asked)
    return integer({"limit": int(asked)}, "limit", minimum=minimum, maximum=maximum)
