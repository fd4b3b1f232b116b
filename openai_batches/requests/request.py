"""One request, and how values of Python, prompts among them, become requests and lines of an input file.

Source: https://platform.openai.com/docs/guides/batch#1-prepare-your-batch-file
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, overload

import attrs
import msgspec

from openai_batches._names import public
from openai_batches._text import why_no_json
from openai_batches.errors import DecodeError, InputError
from openai_batches.requests.encode import encode
from openai_batches.requests.templates import FormatString

__all__ = ["BatchRequest", "Prompt", "RequestItem", "as_line", "encode_request", "parse_request", "requests_from"]


@public
@attrs.frozen
class BatchRequest:
    """One request of a batch: its body, its endpoint and its id.

    The body is a dict, a TypedDict, an attrs class, a dataclass, a msgspec Struct or a pydantic model, and so is
    everything inside it. A dict is sent as it stands, a None in it as null. A field of an attrs class, a dataclass or a
    Struct that is None is left out, at every depth: null is a value, which some services refuse, and a class cannot say
    "not given" in any other way. Where null is meant, use a dict. A pydantic model knows what it was given: a None that
    was given is sent as null, one that is only a default is left out. All other defaults are sent.

    Args:
        custom_id: the request's own id, unique in its batch; every service takes 64 characters of ``[A-Za-z0-9._-]``.
        body: the parameters of the endpoint.
        url: the endpoint's path, e.g. ``/v1/chat/completions``; the same for all requests of a batch.
        method: the HTTP method; services know ``POST`` alone.

    Source: https://platform.openai.com/docs/api-reference/batch/request-input
    """

    custom_id: str
    body: Any = attrs.field(hash=False)
    url: str
    method: str = "POST"


# One request, ready or as a whole line of the input file: in Python values, in bytes, as text.
RequestItem: TypeAlias = "BatchRequest | Mapping[str, Any] | bytes | bytearray | memoryview | str"
# What is asked: text, chat messages or another list the endpoint takes, a template's fields, or (custom_id, prompt).
Prompt: TypeAlias = "str | Mapping[str, Any] | Sequence[Any] | tuple[str | None, Any]"


def encode_request(request: BatchRequest) -> bytes:
    r"""Return a request as one line of JSON, without its ``\n``; errors name its ``custom_id`` and the path in it."""
    custom_id, url, method = request.custom_id, request.url, request.method
    for name, value in (("custom_id", custom_id), ("url", url), ("method", method)):
        if not isinstance(value, str) or not value:
            raise InputError(f"{name} must be a str that is not empty, not {value!r}{_whose(custom_id)}")
    try:
        head = encode({"custom_id": custom_id, "method": method, "url": url})
        body = encode(request.body, path="$.body")
    except InputError as error:
        raise InputError(f"{error}{_whose(custom_id)}") from error.__cause__
    if not body.startswith(b"{"):
        raise InputError(f"the body must be an object, not {_kind(request.body)}{_whose(custom_id)}")
    return b'%b,"body":%b}' % (head[:-1], body)


def as_line(item: RequestItem, *, url: str | None = None, method: str | None = None) -> bytes:
    r"""Return one request as a line of the input file, without its ``\n``.

    Bytes and text are raw lines: they pass as they are, but for their end. A mapping is a whole line (``custom_id``,
    ``method``, ``url``, ``body``); it gets the ``url`` and ``method`` that it lacks, and nothing else of it is checked.
    """
    if isinstance(item, BatchRequest):
        return encode_request(item)
    if isinstance(item, str):
        try:
            return _one_line(item.encode())
        except UnicodeEncodeError as error:
            raise InputError(f"the line cannot be written in UTF-8: {error}") from error
    if isinstance(item, bytes | bytearray | memoryview):
        return _one_line(bytes(item))
    if not isinstance(item, Mapping):
        raise InputError(f"a request is a BatchRequest, a mapping, or a line in bytes or str, not {_kind(item)}")
    line = dict(item)
    for name, default in (("method", method), ("url", url)):
        if default is not None:
            line.setdefault(name, default)
    try:
        encoded = encode(line)
    except InputError as error:
        raise InputError(f"{error}{_whose(line.get('custom_id'))}") from error.__cause__
    return encoded


def parse_request(line: bytes | str, *, line_number: int | None = None) -> BatchRequest:
    """Return the request that a line of an input file holds; a missing ``method`` is ``POST``.

    Args:
        line: the line, with or without its end; fields of other names are ignored.
        line_number: the 1-based line of the file, for the error.

    Raises:
        DecodeError: the line is not JSON, or holds no request; ``details`` name the field.
        InputError: this is neither bytes nor text.
    """
    if not isinstance(line, bytes | bytearray | memoryview | str):
        raise InputError(f"a line is bytes or str, not {_kind(line)}")
    try:
        parsed = _line_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        where = "The line" if line_number is None else f"Line {line_number}"
        detail = _why_no_request(line)
        raise DecodeError(f"{where} holds no request: {detail}", details=(detail,), line_number=line_number) from error
    return BatchRequest(parsed.custom_id, parsed.body, parsed.url, parsed.method)


def _why_no_request(line: bytes | str) -> str:
    """Return in our own words what is wrong with a line that could not be decoded."""
    try:
        data = line.encode() if isinstance(line, str) else bytes(line)
    except UnicodeEncodeError as error:
        return f"character {error.start + 1:,} is one half of a surrogate pair"
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return why_no_json(data)
    if not isinstance(value, dict):
        return f"it holds no object, but {_JSON_KINDS.get(type(value), 'a number')}"
    wrong = [name for name, kind in _KINDS.items() if name in value and not isinstance(value[name], kind)]
    if wrong:
        kind = "an object" if wrong[0] == "body" else "a string"
        return f"$.{wrong[0]} must be {kind}, not {_JSON_KINDS.get(type(value[wrong[0]]), 'a number')}"
    return f"$.{next(name for name in _KINDS if name not in value)} is missing"


_KINDS = {"custom_id": str, "url": str, "body": dict, "method": str}
_JSON_KINDS = {bool: "a boolean", dict: "an object", list: "an array", str: "a string", type(None): "null"}


@attrs.define(kw_only=True)
class _Line:
    custom_id: str
    url: str
    body: dict[str, Any]
    method: str = "POST"


_line_decoder = msgspec.json.Decoder(_Line)


def _one_line(line: bytes) -> bytes:
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    if b"\n" in line:
        raise InputError(f"a raw line must be one line, this is more: {line[:80]!r}")
    return line


def _whose(custom_id: object) -> str:
    return f" (in the request {custom_id!r})" if isinstance(custom_id, str) and custom_id else ""


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


# Where each endpoint takes what is asked, below the version in its path, and where it takes a system text.
_PROMPT_FIELDS = {
    "/chat/completions": "messages",
    "/responses": "input",
    "/embeddings": "input",
    "/completions": "prompt",
    "/moderations": "input",
}
_SYSTEM_FIELDS = {"/chat/completions": None, "/responses": "instructions"}
_SYSTEM_ROLES = frozenset({"system", "developer"})
_VERSION = re.compile(r"^/v\d+(?=/)")
_ID_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,48}")
_ID_DIGITS = 7


@overload
def requests_from(
    prompts: AsyncIterable[Prompt],
    *,
    model: str,
    endpoint: str = ...,
    system: str | None = ...,
    template: str | None = ...,
    id_prefix: str = ...,
    **parameters: Any,
) -> AsyncIterable[BatchRequest]: ...


@overload
def requests_from(
    prompts: Iterable[Prompt],
    *,
    model: str,
    endpoint: str = ...,
    system: str | None = ...,
    template: str | None = ...,
    id_prefix: str = ...,
    **parameters: Any,
) -> Iterable[BatchRequest]: ...


def requests_from(
    prompts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    model: str,
    endpoint: str = "/v1/chat/completions",
    system: str | None = None,
    template: str | None = None,
    id_prefix: str = "request-",
    **parameters: Any,
) -> Iterable[BatchRequest] | AsyncIterable[BatchRequest]:
    """Return bare prompts as requests, made one by one as they are asked for.

    Each prompt is a str; a list that the endpoint takes in its place (chat messages, input items, tokens); a mapping of
    the template's fields; or a pair ``(custom_id, prompt)`` of an id of your own and one of these. Prompts without an
    id get one from their place, ``request-0000001`` onwards: the same prompts get the same ids again. Nothing is held,
    and what is returned can be iterated as often as the prompts themselves.

    Args:
        prompts: an iterable or async iterable of prompts.
        model: the model that all of them go to.
        endpoint: one that takes chat, responses, embeddings, completions or moderations.
        system: what the model is told before each prompt, for chat and responses.
        template: a format string, e.g. ``"Translate {text} to {language}"``; a str fills its only field. A literal
            brace is doubled.
        id_prefix: what generated ids start with, at most 48 characters of ``[A-Za-z0-9._-]``.
        parameters: everything else that goes into each body, e.g. ``temperature=0``; None is left out.

    Raises:
        InputError: an argument cannot be right; or, while iterating, a prompt, whose number is in the message.
    """
    if isinstance(prompts, str | bytes | Mapping) or not isinstance(prompts, Iterable | AsyncIterable):
        raise InputError(f"prompts must be an iterable of prompts, not {_kind(prompts)}: put a single one in a list")
    maker = _maker(model, endpoint, system, template, id_prefix, parameters)
    return _AsyncRequests(prompts, maker) if isinstance(prompts, AsyncIterable) else _Requests(prompts, maker)


def _maker(
    model: str, endpoint: str, system: str | None, template: str | None, id_prefix: str, parameters: dict[str, Any]
) -> _Maker:
    kind = _VERSION.sub("", endpoint) if isinstance(endpoint, str) else ""
    if kind not in _PROMPT_FIELDS:
        known = ", ".join(f"/v1{known}" for known in _PROMPT_FIELDS)
        raise InputError(f"prompts can be put to {known}, not to {endpoint!r}")
    if not isinstance(model, str) or not model:
        raise InputError(f"model must be a str that is not empty, not {model!r}")
    if not isinstance(id_prefix, str) or not _ID_PREFIX.fullmatch(id_prefix):
        raise InputError(f"id_prefix can have at most 48 characters of [A-Za-z0-9._-], not {id_prefix!r}")
    if system is not None and not isinstance(system, str):
        raise InputError(f"system must be a str, not {_kind(system)}")
    if system is not None and kind not in _SYSTEM_FIELDS:
        raise InputError(f"{endpoint} takes no system text")
    given = {name: value for name, value in parameters.items() if value is not None}
    field = _PROMPT_FIELDS[kind]
    taken = {field} | ({_SYSTEM_FIELDS[kind]} if system is not None else set())
    if twice := sorted(str(name) for name in taken & given.keys()):
        raise InputError(f"{twice[0]} is made from the prompts and system: it cannot be given as a parameter too")
    if given.get("stream"):
        raise InputError("stream cannot be set in a batch")
    if instructions := _SYSTEM_FIELDS.get(kind) if system is not None else None:
        given = {instructions: system, **given}
    chat_system = system if kind == "/chat/completions" else None
    if template is not None and not isinstance(template, str):
        raise InputError(f"template must be a str, not {_kind(template)}")
    filled = None if template is None else FormatString(template)
    return _Maker(endpoint, {"model": model}, field, given, chat_system, filled, id_prefix)


@attrs.frozen
class _Maker:
    """Makes requests of prompts, which are the same but for their ids and prompts."""

    endpoint: str
    head: dict[str, Any]
    field: str
    parameters: dict[str, Any]
    chat_system: str | None
    template: FormatString | None
    id_prefix: str

    def request(self, number: int, prompt: Any) -> BatchRequest:
        """Return the request of the prompt of this number, counted from 1."""
        custom_id = None
        try:
            if isinstance(prompt, tuple):
                custom_id, prompt = _pair(prompt)
            value = self._value(prompt)
        except InputError as error:
            raise InputError(f"prompt {number}: {error}") from error.__cause__
        if custom_id is None:
            custom_id = f"{self.id_prefix}{number:0{_ID_DIGITS}d}"
        return BatchRequest(custom_id, {**self.head, self.field: value, **self.parameters}, self.endpoint)

    def _value(self, prompt: Any) -> Any:
        if isinstance(prompt, Mapping) or (isinstance(prompt, str) and self.template is not None):
            prompt = self._filled(prompt)
        elif isinstance(prompt, list):
            if not prompt:
                raise InputError("the list is empty")
            if self.template is not None:
                raise InputError("a template is filled by a str or a mapping, not by a list")
        elif not isinstance(prompt, str):
            raise InputError(f"it must be a str, a list, a mapping or a pair (custom_id, prompt), not {_kind(prompt)}")
        return self._messages(prompt) if self.field == "messages" else prompt

    def _filled(self, values: str | Mapping[str, Any]) -> str:
        if self.template is None:
            raise InputError("it is a mapping, which needs template=; a single chat message belongs in a list")
        return self.template.fill(values)

    def _messages(self, prompt: str | list[Any]) -> list[Any]:
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        if wrong := [message for message in messages if isinstance(message, str | int | float | list | tuple)]:
            raise InputError(f"chat messages are objects with a role and content, not {wrong[0]!r:.40}")
        if self.chat_system is None:
            return messages
        if any(isinstance(message, Mapping) and message.get("role") in _SYSTEM_ROLES for message in messages):
            raise InputError("its messages have a system text of their own, and another is given")
        return [{"role": "system", "content": self.chat_system}, *messages]


def _pair(pair: tuple[Any, ...]) -> tuple[str | None, Any]:
    if len(pair) != 2:
        raise InputError(f"a tuple must be a pair (custom_id, prompt), this one has {len(pair)} items")
    custom_id, prompt = pair
    if custom_id is not None and (not isinstance(custom_id, str) or not custom_id):
        raise InputError(f"its custom_id must be a str that is not empty, or None, not {custom_id!r}")
    if isinstance(prompt, tuple):
        raise InputError("the prompt of a pair is a str, a list or a mapping, not a tuple")
    return custom_id, prompt


@attrs.frozen
class _Requests(Iterable[BatchRequest]):
    prompts: Iterable[Prompt]
    maker: _Maker

    def __iter__(self) -> Iterator[BatchRequest]:
        for number, prompt in enumerate(self.prompts, 1):
            yield self.maker.request(number, prompt)


@attrs.frozen
class _AsyncRequests(AsyncIterable[BatchRequest]):
    prompts: AsyncIterable[Prompt]
    maker: _Maker

    async def __aiter__(self) -> AsyncIterator[BatchRequest]:
        number = 0
        async for prompt in self.prompts:
            number += 1
            yield self.maker.request(number, prompt)
