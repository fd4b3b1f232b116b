"""How many tokens a line of an input file has: its texts, and what the service adds around them.

The text is counted by a function that is given: a tokenizer's, or :func:`approximate_tokens`. Around it, a message
costs 3 tokens and its role 1, a name 1, and the start of the answer 3. Lists of token numbers are counted exactly.
Tools and formats are counted as their JSON. Images, audio and files are not counted, nor what the service itself keeps
and adds; but their number is told.

Source: https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
"""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any, TypeAlias

import attrs
import msgspec

__all__ = ["RequestTokens", "approximate_tokens", "count_lines"]

CountText: TypeAlias = Callable[[str], int]
# Gives the function that counts the texts of a model.
CounterOf: TypeAlias = Callable[[str], CountText]

_PER_MESSAGE = 4
_PER_NAME = 1
_PER_ANSWER = 3
# These endpoints answer without writing tokens.
_WRITELESS = ("/embeddings", "/moderations")
_BOM = b"\xef\xbb\xbf"
# No other thread runs while lines are decoded, which takes half a millisecond for so many bytes.
_PIECE_BYTES = 256 * 1024
# Longer numbers are no number of tokens.
_MAX_DIGITS = 15
# An image or a sound, in a body of an unknown form.
_DATA = re.compile('"data:[^"]*"')
_REFERENCE = '"type":"item_reference"'


def approximate_tokens(text: str) -> int:
    """Return about how many tokens a text has, without a tokenizer.

    A character counts by its length in UTF-8: 1 byte (ASCII) 1/4 of a token, 2 bytes (Greek, Cyrillic, Hebrew, Arabic,
    accented letters) 2/5, 3 bytes (Chinese, Japanese, Korean, Indic scripts) 7/10, 4 bytes (emoji) 3/2; the sum is
    rounded up. With the vocabulary of today's models (o200k) this comes to 0.8 to 1.4 times the true number for prose
    in most languages and for code, to 0.7 times for dense JSON, and to up to 2 times for Russian, Hindi and Thai.
    Models before gpt-4o and the embedding models need up to 3 times as many tokens for texts that are not in Latin
    script.
    """
    if text.isascii():
        return (len(text) + 3) // 4
    chars = len(text)
    one = len(text.encode("ascii", "ignore"))
    four = len(text.encode("utf-16-le", "surrogatepass")) // 2 - chars
    # What is left has two bytes or three, and the length in UTF-8 says how many of which.
    three = len(text.encode("utf-8", "surrogatepass")) - one - 4 * four - 2 * (chars - one - four)
    two = chars - one - three - four
    return -(-(5 * one + 8 * two + 14 * three + 30 * four) // 20)


@attrs.define
class RequestTokens:
    """What the requests of one model ask for, added up; the fields mean what those of a :class:`ModelEstimate` do."""

    requests: int = 0
    input_tokens: int = 0
    # Of the requests that state a maximum.
    max_output_tokens: int = 0
    requests_without_maximum: int = 0
    answers_without_maximum: int = 0
    requests_with_unknown_maximum: int = 0
    media_parts: int = 0
    stored_parts: int = 0


# Structs, for there is one tree of these for each request: msgspec makes them in half the time of attrs classes.
class _Part(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None


class _Message(msgspec.Struct, gc=False):
    role: str | None = None
    content: str | list[_Part] | None = None
    name: str | None = None
    type: str | None = None
    arguments: str | None = None
    output: str | list[_Part] | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()


class _Body(msgspec.Struct, gc=False):
    model: str | None = None
    messages: list[_Message] | None = None
    input: str | list[str | int | list[int] | _Message] | None = None
    prompt: str | list[str | int | list[int]] | dict[str, Any] | None = None
    instructions: str | None = None
    suffix: str | None = None
    # Numbers are also written as 16000.0 and "16000".
    max_completion_tokens: Any = None
    max_tokens: Any = None
    max_output_tokens: Any = None
    n: Any = None
    best_of: Any = None
    previous_response_id: Any = None
    conversation: Any = None
    tools: msgspec.Raw = msgspec.Raw()
    functions: msgspec.Raw = msgspec.Raw()
    response_format: msgspec.Raw = msgspec.Raw()
    text: msgspec.Raw = msgspec.Raw()


class _Line(msgspec.Struct, gc=False):
    body: _Body
    url: str = ""


class _AnyBody(msgspec.Struct):
    body: dict[str, Any]
    url: str = ""


# What an odd body is asked for besides its text.
_ASKED = (
    *("max_completion_tokens", "max_tokens", "max_output_tokens", "n", "best_of"),
    *("prompt", "previous_response_id", "conversation"),
)

# Numbers beyond a float are JSON all the same.
_decoder = msgspec.json.Decoder(_Line, float_hook=float)
_any_decoder = msgspec.json.Decoder(_AnyBody, float_hook=float)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def count_lines(
    block: bytes,
    by_model: dict[str, RequestTokens],
    counter: CounterOf,
    *,
    endpoint: str | None = None,
) -> int:
    """Add the requests of a block of lines to the sums of their models, and return how many could not be read.

    A request that names no model is under ``""``; one that names no endpoint goes to the given one.
    """
    block = block.removeprefix(_BOM)
    unreadable = start = 0
    while start < len(block):
        end = block.find(b"\n", start + _PIECE_BYTES) + 1 or len(block)
        unreadable += _count_piece(block[start:end], by_model, counter, endpoint or "")
        start = end
    return unreadable


def _count_piece(piece: bytes, by_model: dict[str, RequestTokens], counter: CounterOf, endpoint: str) -> int:
    try:
        lines = _decoder.decode_lines(piece)
    except _UNREADABLE:
        return _count_one_by_one(piece, by_model, counter, endpoint)
    # The decoder also takes two requests on a line, and one on two. Nothing counts lines as fast as a file does.
    if len(lines) != len(BytesIO(piece).readlines()):
        return _count_one_by_one(piece, by_model, counter, endpoint)
    for line in lines:
        _add(line.body, line.url or endpoint, by_model, counter)
    return 0


def _count_one_by_one(piece: bytes, by_model: dict[str, RequestTokens], counter: CounterOf, endpoint: str) -> int:
    unreadable = 0
    for text in filter(None, map(bytes.strip, piece.split(b"\n"))):
        try:
            line = _decoder.decode(text)
        except _UNREADABLE:
            unreadable += not _add_odd(text, by_model, counter, endpoint)
        else:
            _add(line.body, line.url or endpoint, by_model, counter)
    return unreadable


def _add(body: _Body, url: str, by_model: dict[str, RequestTokens], counter: CounterOf) -> None:
    model = body.model or ""
    if (sums := by_model.get(model)) is None:
        sums = by_model[model] = RequestTokens()
    count = counter(model)
    if body.messages is not None:
        tokens = _PER_ANSWER
        for message in body.messages:
            tokens += _message_tokens(message, count, sums)
    else:
        tokens = _prompt_tokens(body, count, sums)
    for raw in (body.tools, body.functions, body.response_format, body.text):
        if raw:
            tokens += _raw_tokens(raw, count)
    _note(body, url, tokens, sums)


def _note(body: _Body, url: str, tokens: int, sums: RequestTokens) -> None:
    sums.requests += 1
    sums.input_tokens += tokens
    if isinstance(body.prompt, dict) or body.previous_response_id is not None or body.conversation is not None:
        sums.stored_parts += 1
    if url.endswith(_WRITELESS):
        return
    answers = 1
    try:
        limit = _limit(body)
        if body.n is not None or body.best_of is not None:
            answers = max(1, *(_number(value) for value in (body.n, body.best_of) if value is not None))
    except ValueError:
        sums.requests_with_unknown_maximum += 1
        return
    if limit is None:
        sums.requests_without_maximum += 1
        sums.answers_without_maximum += answers
    else:
        sums.max_output_tokens += limit * answers


def _limit(body: _Body) -> int | None:
    """Return how many tokens an answer can have, the largest number that is stated; None where there is no maximum."""
    limit, is_limited = None, True
    for value in (body.max_completion_tokens, body.max_output_tokens, body.max_tokens):
        if value is not None:
            # Most are ints: a call for each would be slow.
            number: int = value if type(value) is int else _number(value)
            is_limited = is_limited and number >= 0
            limit = number if limit is None or number > limit else limit
    return limit if is_limited else None


def _number(value: object) -> int:
    """Return the whole number that a field holds, also as ``16000.0`` and ``"16000"``; ValueError for anything else."""
    # True is an int to Python.
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _MAX_DIGITS:
        return int(value)
    raise ValueError


def _prompt_tokens(body: _Body, count: CountText, sums: RequestTokens) -> int:
    tokens = 0
    for given in (body.input, body.prompt):
        if isinstance(given, dict):
            tokens += _variables_tokens(given.get("variables"), count, sums)
        elif given is not None:
            tokens += _given_tokens(given, count, sums)
    for text in (body.instructions, body.suffix):
        if text is not None:
            tokens += count(text) + _PER_MESSAGE
    return tokens


def _variables_tokens(variables: Any, count: CountText, sums: RequestTokens) -> int:
    """Return the tokens of what is put into a prompt that the service keeps."""
    tokens = 0
    for value in variables.values() if isinstance(variables, dict) else ():
        text = value.get("text") if isinstance(value, dict) else value
        if isinstance(text, str):
            tokens += count(text)
        else:
            sums.media_parts += 1
    return tokens


def _message_tokens(message: _Message, count: CountText, sums: RequestTokens) -> int:
    tokens = _PER_MESSAGE
    if isinstance(content := message.content, str):
        tokens += count(content)
    elif content is not None:
        tokens += _parts_tokens(content, count, sums)
    if message.name is not None:
        tokens += _PER_NAME + count(message.name)
    if message.type is not None:
        tokens += _call_tokens(message, count, sums)
    if message.tool_calls:
        tokens += _raw_tokens(message.tool_calls, count)
    return tokens


def _call_tokens(message: _Message, count: CountText, sums: RequestTokens) -> int:
    sums.stored_parts += message.type == "item_reference"
    tokens = 0 if message.arguments is None else count(message.arguments)
    if isinstance(message.output, str):
        tokens += count(message.output)
    elif message.output is not None:
        tokens += _parts_tokens(message.output, count, sums)
    return tokens


def _parts_tokens(parts: list[_Part], count: CountText, sums: RequestTokens) -> int:
    tokens = 0
    for part in parts:
        text = part.text if part.text is not None else part.refusal
        if text is None:
            sums.media_parts += 1
        else:
            tokens += count(text)
    return tokens


def _given_tokens(given: str | list[Any], count: CountText, sums: RequestTokens) -> int:
    if isinstance(given, str):
        return count(given)
    tokens = 0
    has_messages = False
    for item in given:
        if isinstance(item, str):
            tokens += count(item)
        elif isinstance(item, int):
            tokens += 1
        elif isinstance(item, list):
            tokens += len(item)
        else:
            has_messages = True
            tokens += _message_tokens(item, count, sums)
    return tokens + _PER_ANSWER * has_messages


def _raw_tokens(raw: msgspec.Raw, count: CountText) -> int:
    data = bytes(raw)
    return 0 if data == b"null" else count(data.decode(errors="replace"))


def _add_odd(line: bytes, by_model: dict[str, RequestTokens], counter: CounterOf, endpoint: str) -> bool:
    """Count a request of an unknown form as the JSON of its body; False where the line is no request at all."""
    try:
        odd = _any_decoder.decode(line)
        text = msgspec.json.encode(odd.body).decode()
    except _UNREADABLE:
        return False
    named = odd.body.get("model")
    model = named if isinstance(named, str) else ""
    sums = by_model.setdefault(model, RequestTokens())
    text, media = _DATA.subn('""', text)
    sums.media_parts += media
    sums.stored_parts += text.count(_REFERENCE)
    asked: dict[str, Any] = {name: odd.body.get(name) for name in _ASKED}
    _note(_Body(**asked), odd.url or endpoint, counter(model)(text), sums)
    return True
