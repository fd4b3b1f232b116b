"""Check one line of an input file by itself, slowly and exactly.

This is for lines that ``check_block`` cannot check at once. Messages and codes are the service's own, where it has
them.

Source: https://platform.openai.com/docs/guides/batch#1-prepare-your-batch-file
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import attrs
import msgspec

from openai_batches.models import Problem

__all__ = ["CheckedLine", "check_line", "count_inputs", "is_embedding", "needed_fields", "parsed", "shown"]

# One of these is what an endpoint works on; services put other prefixes before the same endpoints.
_NEEDED = (
    ("/chat/completions", ("messages",)),
    ("/completions", ("prompt",)),
    ("/embeddings", ("input",)),
    ("/images/edits", ("prompt",)),
    ("/images/generations", ("prompt",)),
    ("/moderations", ("input",)),
    # A prompt that is kept at the service stands in for the input.
    ("/responses", ("input", "prompt")),
    ("/videos", ("prompt",)),
)
_KINDS = {
    bool: "a boolean",
    dict: "an object",
    float: "a decimal",
    int: "an integer",
    list: "an array",
    str: "a string",
}
_PLACE = re.compile(r"\(byte (\d+)\)")
# Numbers beyond a float are correct JSON: the service decides about them.
_decoder = msgspec.json.Decoder(Any, float_hook=float)
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@attrs.define
class CheckedLine:
    """What a line of this number says, and what is wrong with it; what it does not say is None or empty."""

    line: int
    file: str | None = None
    custom_id: str | None = None
    url: str = ""
    model: str | None = None
    # How many inputs it asks the embeddings of; 0 for other endpoints.
    inputs: int = 0
    problems: list[Problem] = attrs.Factory(list)

    def add_problem(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        column: int | None = None,
        first_line: int | None = None,
    ) -> None:
        """Note a problem of this line."""
        problem = Problem(
            code=code,
            message=message,
            line=self.line,
            column=column,
            param=param,
            custom_id=self.custom_id,
            first_line=first_line,
            file=self.file,
        )
        self.problems.append(problem)


def check_line(
    line: bytes, number: int, *, max_line_bytes: int | None = None, strict: bool = True, file: str | None = None
) -> CheckedLine:
    """Return what a line says and what is wrong with it; without ``strict``, its body is left to the service."""
    checked = CheckedLine(number, file)
    value = parsed(checked, line)
    if isinstance(value, dict):
        _check_request(checked, value, strict=strict)
    elif not checked.problems:
        checked.add_problem(
            "invalid_type", f"A line must hold an object, a request, but this one holds {_kind(value)}."
        )
    if max_line_bytes is not None and len(line) >= max_line_bytes:
        message = f"This line has {len(line) + 1:,} bytes with its end, the whole file can have {max_line_bytes:,}."
        checked.add_problem("line_too_large", message)
    return checked


def _check_request(checked: CheckedLine, value: dict[str, Any], *, strict: bool) -> None:
    # The id comes first: it names the other problems.
    checked.custom_id = _text(checked, value, "custom_id")
    method = _text(checked, value, "method")
    if method not in {None, "POST"}:
        checked.add_problem("invalid_method", f"The method must be 'POST', not {shown(method)}.", param="method")
    checked.url = _text(checked, value, "url") or ""
    body = value.get("body")
    if body is None:
        checked.add_problem("missing_required_parameter", "Missing required parameter: 'body'.", param="body")
    elif not isinstance(body, dict):
        checked.add_problem(
            "invalid_type", f"Invalid type for 'body': expected an object, but got {_kind(body)} instead.", param="body"
        )
    else:
        _check_body(checked, body, strict=strict)


def parsed(checked: CheckedLine, line: bytes) -> Any:
    """Return the value that a line holds; if it is no JSON, that is noted, and the value is None."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        hint = ", it looks like UTF-16" if line.startswith(_UTF_16) else ""
        checked.add_problem(
            "invalid_utf8",
            f"This line is not valid UTF-8: {error.reason}, 0x{line[error.start]:02x}{hint}.",
            column=_column(line, error.start),
        )
        return None
    try:
        return _decoder.decode(line)
    except RecursionError:
        checked.add_problem("invalid_json_line", "This line is nested too deeply to be parsed.")
    except msgspec.DecodeError as error:
        reason, column = _break(line, str(error))
        checked.add_problem("invalid_json_line", f"This line is not parseable as valid JSON: {reason}.", column=column)
    return None


def _break(line: bytes, message: str) -> tuple[str, int | None]:
    """Return why and in which column a line is no JSON, given what the decoder said."""
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        # Its column is exact in every case.
        return error.msg, error.colno
    except (RecursionError, ValueError):
        reason = message
    else:
        reason = "NaN, Infinity and one half of a surrogate pair (\\ud800) are no JSON"
    place = _PLACE.search(message)
    return reason, _column(line, int(place[1])) if place else None


def _column(line: bytes, offset: int) -> int:
    return len(line[:offset].decode(errors="replace")) + 1


def _check_body(checked: CheckedLine, body: dict[str, Any], *, strict: bool) -> None:
    model = body.get("model")
    if isinstance(model, str) and model:
        checked.model = model
    elif strict and model is not None and not isinstance(model, str):
        checked.add_problem(
            "invalid_type",
            f"Invalid type for 'body.model': expected a string, but got {_kind(model)} instead.",
            param="body.model",
        )
    elif strict:
        checked.add_problem("invalid_request", "Model parameter is required.", param="body.model")
    if is_embedding(checked.url):
        checked.inputs = count_inputs(body.get("input"))
    if not strict:
        return
    if body.get("stream") is True:
        checked.add_problem(
            "streaming_unsupported", "Streaming is not supported in the Batch API.", param="body.stream"
        )
    needed = needed_fields(checked.url)
    if needed and all(body.get(name) is None for name in needed):
        checked.add_problem("invalid_request", f"{needed[0].title()} parameter is required.", param=f"body.{needed[0]}")


def _text(checked: CheckedLine, request: dict[str, Any], name: str) -> str | None:
    value = request.get(name)
    if value is None:
        checked.add_problem("missing_required_parameter", f"Missing required parameter: '{name}'.", param=name)
    elif not isinstance(value, str):
        checked.add_problem(
            "invalid_type",
            f"Invalid type for '{name}': expected a string, but got {_kind(value)} instead.",
            param=name,
        )
    elif not value:
        checked.add_problem("invalid_value", f"Invalid value for '{name}': it must not be empty.", param=name)
    else:
        return value
    return None


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "null")


def shown(text: object) -> str:
    """Return a value from a file as it can stand in a message: quoted, and not longer than a line."""
    whole = repr(text)
    return whole if len(whole) <= 80 else f"{whole[:77]}..."


@functools.lru_cache(maxsize=256)
def needed_fields(url: str) -> tuple[str, ...]:
    """Return the fields of the body of which an endpoint needs one; none for an endpoint that is not known."""
    return next((fields for ending, fields in _NEEDED if url.endswith(ending)), ())


def is_embedding(url: str) -> bool:
    """Return whether the endpoint counts inputs rather than requests."""
    return url.endswith("/embeddings")


def count_inputs(value: Any) -> int:
    """Return how many inputs the ``input`` of an embedding request has: an array of token ids is one."""
    if not isinstance(value, list) or not value or isinstance(value[0], int):
        return 1
    return len(value)
