"""The shape of a line in a result file: as the API documents it, and as some services write it otherwise.

Some services write numbers for ids, nothing for a status, JSON as text, or JSON that strict decoders refuse. Such a
line may hold an answer that was paid for, so it is read as far as it can be.
"""

from __future__ import annotations

import io
import json
import re
from typing import Any, TypeAlias

import msgspec

from openai_batches._text import why_no_json
from openai_batches.results.bodies import UNREADABLE, BodyHead

__all__ = [
    "DecodedLine",
    "LineResponse",
    "ResultLine",
    "UnreadableLine",
    "body_in",
    "chat_answer",
    "decode_lines",
    "id_text",
]


class LineResponse(msgspec.Struct, gc=False):
    """The answer in a line; ``body`` is None, too, where only a closer look at the body says what is in it."""

    status_code: int | None = 0
    request_id: str | None = None
    body: BodyHead | None = None


class ResultLine(msgspec.Struct, gc=False):
    """What is read of every line: all but the answer's body, which is most of it and left until it is looked at."""

    custom_id: str
    response: LineResponse | None = None
    error: Any = None


class UnreadableLine(msgspec.Struct, gc=False):
    """A line that is no result; ``custom_id`` is the request's if it could be rescued."""

    custom_id: str | None
    reason: str
    response: None = None
    error: None = None


# msgspec takes no factory for a Raw.
_NO_BODY = msgspec.Raw()


class _RawResponse(msgspec.Struct, gc=False):
    status_code: int | None = 0
    request_id: str | None = None
    body: msgspec.Raw = _NO_BODY


class _RawLine(msgspec.Struct, gc=False):
    custom_id: str
    response: _RawResponse | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(ResultLine, strict=False)
_raw_decoder = msgspec.json.Decoder(_RawLine, strict=False)

DecodedLine: TypeAlias = ResultLine | UnreadableLine | None


def decode_lines(block: bytes) -> list[DecodedLine]:
    r"""Return what each line of a block says, None for a blank one; only an unusual line is decoded more than once.

    The lines are whole, and each is ended by ``\n``.
    """
    lines: list[DecodedLine] = []
    stream = io.BytesIO(block)
    decoding = map(_decoder.decode, stream)
    while True:
        try:
            lines.extend(decoding)
        except UNREADABLE:
            # The lines before are in the list, and the next round goes on after the one that was refused.
            end = stream.tell()
            lines.append(_decode_unusual(block[block.rfind(b"\n", 0, end - 1) + 1 : end]))
        else:
            return lines


def _decode_unusual(raw: bytes) -> DecodedLine:
    """Return what a line says that the decoder for usual lines refuses."""
    if raw.isspace():
        return None
    try:
        line = _raw_decoder.decode(raw)
    except UNREADABLE as error:
        if (found := _decode_tolerantly(raw)) is not None:
            return found
        why = str(error) if isinstance(error, msgspec.ValidationError) else why_no_json(raw)
        return UnreadableLine(_rescued_id(raw), f"The line cannot be read: {why}")
    response = line.response
    if response is None:
        return ResultLine(line.custom_id, None, line.error)
    return ResultLine(line.custom_id, LineResponse(response.status_code, response.request_id), line.error)


def body_in(raw: bytes) -> bytes:
    """Return the answer's body in a line, as JSON; empty where there is none."""
    try:
        response = _raw_decoder.decode(raw).response
    except UNREADABLE:
        document = _load_tolerantly(raw)
        answer = None if document is None else document["response"]
        body = None if answer is None else answer.get("body")
        return b"" if body is None else json.dumps(body).encode()
    body = b"" if response is None else bytes(response.body)
    return b"" if body == b"null" else body


# Strings (the last one may not end) and brackets: all it takes to know how deep a string stands.
_TOKENS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\]]', re.DOTALL)
_VALUE = re.compile(rb'\s*+:\s*+("[^"\\]*+(?:\\.[^"\\]*+)*+"|-?[0-9][0-9.eE+-]*+(?=\s*+[,}]))', re.DOTALL)
# An id stands at the start of its line; looking through all of a huge one would take seconds.
_SEARCHED_BYTES = 64 * 1024


def _rescued_id(raw: bytes) -> str | None:
    """Return the custom_id of a broken line, if it can be told from one that an answer's body holds."""
    depth = 0
    for token in _TOKENS.finditer(raw, 0, _SEARCHED_BYTES):
        text = token[0]
        if text in b"{[":
            depth += 1
        elif text in b"}]":
            depth -= 1
        elif depth == 1 and text == b'"custom_id"' and (value := _VALUE.match(raw, token.end())):
            try:
                return id_text(msgspec.json.decode(value[1]))
            except UNREADABLE:
                return None
    return None


def id_text(value: Any) -> str | None:
    """Return an id as text, since some services give numbers back as numbers; None if it cannot be one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value)


def _load_tolerantly(raw: bytes) -> dict[str, Any] | None:
    """Return the document in a line that is not quite as it should be, or None where it cannot be read at all."""
    try:
        document = json.loads(raw.decode("utf-8-sig"), strict=False)
        response = document.get("response")
        response = json.loads(response, strict=False) if isinstance(response, str) else response
        custom_id = id_text(document["custom_id"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if custom_id is None or not (response is None or isinstance(response, dict)):
        return None
    return {"custom_id": custom_id, "response": response, "error": document.get("error")}


def _decode_tolerantly(raw: bytes) -> ResultLine | None:
    document = _load_tolerantly(raw)
    if document is None:
        return None
    response = document["response"]
    if response is None:
        return ResultLine(document["custom_id"], None, document["error"])
    status, request_id = response.get("status_code"), response.get("request_id")
    try:
        status_code = None if isinstance(status, bool) or status is None else int(status)
    except (ValueError, TypeError, OverflowError):
        status_code = None
    answer = LineResponse(status_code, None if request_id is None else str(request_id))
    return ResultLine(document["custom_id"], answer, document["error"])


class _ChatMessage(msgspec.Struct, gc=False):
    content: str | None = None


class _ChatChoice(msgspec.Struct, gc=False):
    message: _ChatMessage
    index: int = 0


class _ChatUsage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int = 0


class _ChatBody(msgspec.Struct, gc=False):
    choices: list[_ChatChoice]
    usage: _ChatUsage


class _ChatResponse(msgspec.Struct, gc=False):
    body: _ChatBody


class _ChatLine(msgspec.Struct, gc=False):
    response: _ChatResponse


_chat_decoder = msgspec.json.Decoder(_ChatLine)


def chat_answer(raw: bytes) -> tuple[str | None, int, int, int] | None:
    """Return text, input tokens, output tokens and number of choices of a chat completion; None for other answers.

    Most answers are chat completions, and this builds nothing of the rest of their bodies.
    """
    try:
        body = _chat_decoder.decode(raw).response.body
    except UNREADABLE:
        return None
    choices = body.choices
    first = choices[0] if choices else None
    if len(choices) > 1:
        first = next((choice for choice in choices if not choice.index), first)
    text = None if first is None else first.message.content
    return text, body.usage.prompt_tokens, body.usage.completion_tokens, len(choices)
