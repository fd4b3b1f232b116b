"""What the answers shall look like, as parameters of a request: a class, a JSON schema, or a format that is ready.

Source: https://platform.openai.com/docs/guides/structured-outputs
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from openai_batches.errors import InputError
from openai_batches.requests.schemas import json_schema_format

__all__ = ["format_parameters"]

_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
_RESPONSES = "/responses"
_ENDPOINTS = ("/chat/completions", _RESPONSES)


def format_parameters(schema: Any, *, endpoint: str, name: str = "answer") -> dict[str, Any]:
    """Return the parameters that ask an endpoint for structured output.

    Args:
        schema: a class, as for :func:`json_schema_format`; a JSON schema, which becomes strict; or a mapping that says
            more, as the service has it: with a ``schema`` and ``name``, ``strict`` and ``description`` beside it.
        endpoint: one that takes chat completions or responses; they write the same in two places.
        name: what to call a schema without a title.

    Raises:
        InputError: this is no schema, strict mode cannot express it, or the endpoint has no structured output.
    """
    is_flat = endpoint.endswith(_RESPONSES)
    given = cast("Mapping[str, Any]", schema) if isinstance(schema, Mapping) else {"title": True}
    name = _UNFIT.sub("_", name)[:64]
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
    """Return what stands around a schema, with it, or None where it stands alone."""
    inner: Any = schema.get("json_schema", schema) if schema.get("type") == "json_schema" else schema
    around: dict[str, Any] = dict(cast("Mapping[str, Any]", inner)) if isinstance(inner, Mapping) else {}
    if not isinstance(around.get("schema"), Mapping) or "properties" in around:
        return None
    return {key: value for key, value in around.items() if (key, value) != ("type", "json_schema")}
