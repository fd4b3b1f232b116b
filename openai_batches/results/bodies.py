"""Read the body of an answer: its text, refusal, usage, embeddings, or a value of the user's own type.

Bodies are read in the shapes of chat completions, responses, completions and embeddings; another shape holds none of
these, which is no error.

Source: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import array
import base64
import functools
import importlib
import json
import struct
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import msgspec

from openai_batches._text import why_no_json
from openai_batches.errors import DecodeError, InputError
from openai_batches.models import TokenCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import cattrs

    from openai_batches.models import BatchUsage

__all__ = [
    "UNREADABLE",
    "BodyHead",
    "choice_count",
    "cut_reason",
    "embedding_vectors",
    "json_value",
    "output_text",
    "read_head",
    "refusal_text",
    "structured",
    "tokens_in",
]

T = TypeVar("T")

# What msgspec raises for bytes that are not JSON: strings in another encoding and deep nesting are Python's errors.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Details(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    # Chat completions, completions and embeddings have the first half, responses the second.
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    input_tokens: int = 0
    input_tokens_details: _Details | None = None
    output_tokens: int = 0
    output_tokens_details: _Details | None = None


class BodyHead(msgspec.Struct, gc=False):
    """What is read of every body at once: the model that answered, the tokens it took, and why there is no answer."""

    model: str | None = None
    usage: _Usage | None = None
    error: Any = None

    def tokens(self) -> BatchUsage | None:
        """Return the usage under the same names for every endpoint, or None where the answer has none."""
        return None if self.usage is None else tokens_in((self.usage,)).usage


def tokens_in(usages: Iterable[_Usage]) -> TokenCounts:
    """Return the sum of usages, whichever endpoint's names they have."""
    read = written = cached = reasoning = 0
    # No function is called for each: there may be a million.
    for usage in usages:
        read += usage.prompt_tokens or usage.input_tokens
        written += usage.completion_tokens or usage.output_tokens
        details = usage.prompt_tokens_details or usage.input_tokens_details
        if details is not None and details.cached_tokens:
            cached += details.cached_tokens
        details = usage.completion_tokens_details or usage.output_tokens_details
        if details is not None and details.reasoning_tokens:
            reasoning += details.reasoning_tokens
    return TokenCounts(read, written, cached, reasoning)


_NO_HEAD = BodyHead()
_head_decoder = msgspec.json.Decoder(BodyHead, strict=False)


def read_head(raw_body: bytes) -> BodyHead:
    """Return the model and the usage in a body; an empty head where they cannot be read."""
    try:
        return _head_decoder.decode(raw_body)
    except UNREADABLE:
        pass
    try:
        return msgspec.convert(_without_nulls(json_value(raw_body)), BodyHead, strict=False)
    except (DecodeError, msgspec.ValidationError):
        return _NO_HEAD


def _without_nulls(body: Any) -> Any:
    """Return a body with the usage alone, without the counts of it that are null."""
    if not isinstance(body, dict):
        return body
    usage = body.get("usage")
    counts = {name: value for name, value in usage.items() if value is not None} if isinstance(usage, dict) else None
    return {"model": body.get("model"), "usage": counts}


def json_value(data: bytes) -> Any:
    """Return what JSON text holds; JSON in a string, as services write that encode twice, is decoded twice.

    Lone surrogates, ``NaN`` and ``Infinity`` are read too, since an answer that holds them was paid for.
    """
    value = _loaded(data)
    if isinstance(value, str):
        try:
            return _loaded(value.encode("utf-8", "surrogatepass"))
        except DecodeError:
            return value
    return value


def _loaded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except UNREADABLE as error:
        refused = error
    try:
        return json.loads(data.decode("utf-8-sig"), strict=False)
    except (ValueError, RecursionError):
        raise DecodeError(f"This is no JSON: {why_no_json(data)}") from refused


def output_text(body: Any) -> str | None:
    """Return the text of an answer (chat, responses or completions), or None where there is none in it."""
    if not isinstance(body, dict):
        return None
    if isinstance(body.get("choices"), list):
        first = _first_choice(body)
        message = first.get("message")
        text = message.get("content") if isinstance(message, dict) else first.get("text")
        return text if isinstance(text, str) else None
    parts = [part["text"] for part in _parts(body) if part.get("type") == "output_text" and _is_text(part.get("text"))]
    return "".join(parts) if parts else None


def refusal_text(body: Any) -> str | None:
    """Return the words in which the model refused to answer, or None where it did not."""
    if not isinstance(body, dict):
        return None
    message = _first_choice(body).get("message")
    refusals = [message.get("refusal")] if isinstance(message, dict) else []
    refusals += [part.get("refusal") for part in _parts(body) if part.get("type") == "refusal"]
    return next((text for text in refusals if isinstance(text, str) and text), None)


def cut_reason(body: Any) -> str | None:
    """Return why the answer ends too early (``length``, ``max_output_tokens``, ``content_filter``), or None."""
    if not isinstance(body, dict):
        return None
    if (reason := _first_choice(body).get("finish_reason")) in {"length", "content_filter"}:
        return str(reason)
    if body.get("status") != "incomplete":
        return None
    details = body.get("incomplete_details")
    named = details.get("reason") if isinstance(details, dict) else None
    return named if isinstance(named, str) else "incomplete"


def choice_count(body: Any) -> int:
    """Return how many choices an answer has; 0 for one that knows no choices."""
    return len(_list(body.get("choices"))) if isinstance(body, dict) else 0


def _first_choice(body: dict[str, Any]) -> dict[str, Any]:
    """Return the choice whose index is 0, wherever it stands; where none says so, the one that stands first."""
    choices = _list(body.get("choices"))
    first = next((choice for choice in choices if isinstance(choice, dict) and choice.get("index", 0) == 0), None)
    first = next(iter(choices), None) if first is None else first
    return first if isinstance(first, dict) else {}


def _parts(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in _list(body.get("output")):
        if isinstance(item, dict):
            yield from (part for part in _list(item.get("content")) if isinstance(part, dict))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


class _Vector(msgspec.Struct, gc=False):
    embedding: msgspec.Raw
    index: int = 0


class _Vectors(msgspec.Struct, gc=False):
    data: list[_Vector]


_vectors_decoder = msgspec.json.Decoder(_Vectors, strict=False)
_floats_decoder = msgspec.json.Decoder(list[float])


def embedding_vectors(raw_body: bytes) -> list[Any]:
    """Return the embeddings in a body, in the order of their index, as float32: numpy arrays, or ``array('f')``.

    An embedding may be written as numbers or as base64.
    """
    try:
        found = _vectors_decoder.decode(raw_body).data
    except UNREADABLE:
        return _vectors_in(raw_body)
    return [_vector(bytes(item.embedding)) for item in sorted(found, key=lambda item: item.index)]


def _vectors_in(raw_body: bytes) -> list[Any]:
    """Return the embeddings of a body that was encoded twice; other bodies have none."""
    body = json_value(raw_body)
    data = body.get("data") if isinstance(body, dict) else None
    found = [item for item in _list(data) if isinstance(item, dict) and item.get("embedding") is not None]
    found.sort(key=lambda item: item["index"] if isinstance(item.get("index"), int) else 0)
    return [_vector(msgspec.json.encode(item["embedding"])) for item in found]


def _vector(raw: bytes) -> Any:
    numpy = _numpy()
    try:
        if raw[:1] != b'"':
            numbers = _floats_decoder.decode(raw)
            return array.array("f", numbers) if numpy is None else numpy.array(numbers, dtype=numpy.float32)
        packed = base64.b64decode(msgspec.json.decode(raw, type=str), validate=True)
        if numpy is not None:
            return numpy.frombuffer(packed, dtype="<f4").astype(numpy.float32)
        return array.array("f", struct.unpack(f"<{len(packed) // 4}f", packed))
    except (*UNREADABLE, ValueError, OverflowError, struct.error) as error:
        raise DecodeError(f"An embedding cannot be read: {error}") from error


@functools.cache
def _numpy() -> Any:
    try:
        return importlib.import_module("numpy")  # it takes long to import, and many do without
    except ImportError:
        return None


def structured(data: bytes, cls: type[T], converter: cattrs.Converter | None = None) -> T:
    """Return the value of a type that JSON text holds.

    A class with ``model_validate_json`` (pydantic) reads it itself. Dataclasses, TypedDicts, msgspec's structs, attrs
    classes and built-in types are read by msgspec; attrs classes with validators or converters, what msgspec does not
    know, and everything if a converter is given, by cattrs.
    """
    if callable(validate := getattr(cls, "model_validate_json", None)):
        try:
            value: T = validate(data)
        except ValueError as error:
            raise _misfit(cls, _pydantic_details(error)) from error
        return value
    if converter is None and (decoder := _decoder_for(cls)) is not None:  # type: ignore[arg-type]  # every class is hashable
        try:
            found: T = decoder.decode(data)
        except _UnknownTypeError:
            return _by_cattrs(data, cls, None)
        except (*UNREADABLE, ValueError) as error:
            raise _misfit(cls, (_why_unreadable(data, error),)) from error
        return found
    return _by_cattrs(data, cls, converter)


def _why_unreadable(data: bytes, error: Exception) -> str:
    # What does not fit the type is the decoder's to say, or the type's own.
    is_json = isinstance(error, msgspec.ValidationError) or not isinstance(error, UNREADABLE)
    return str(error) if is_json else why_no_json(data)


def _by_cattrs(data: bytes, cls: type[T], converter: cattrs.Converter | None) -> T:
    import cattrs  # noqa: PLC0415  # only types that msgspec does not know need it

    if converter is None:
        from cattrs.preconf.json import make_converter  # noqa: PLC0415

        converter = make_converter()
    value = json_value(data)
    try:
        return converter.structure(value, cls)
    except cattrs.StructureHandlerNotFoundError as error:
        raise InputError(f"JSON cannot be read into {getattr(cls, '__name__', cls)}: {error}") from error
    except Exception as error:  # the hooks are the user's, and so is what they raise
        raise _misfit(cls, tuple(cattrs.transform_error(error, format_exception=_description))) from error


def _description(error: BaseException, kind: type | None) -> str:
    """Return cattrs' description of an error, and the error's own text where a validator wrote it."""
    from cattrs.v import format_exception  # noqa: PLC0415

    description: str = format_exception(error, kind)
    return f"{description} ({error})" if description == "invalid value" else description


def _pydantic_details(error: ValueError) -> tuple[str, ...]:
    found = error.errors() if hasattr(error, "errors") else []
    details = tuple(f"{item['msg']} @ ${''.join(f'.{part}' for part in item['loc'])}" for item in found)
    return details or (str(error),)


class _UnknownTypeError(Exception):
    """A type that msgspec does not know, deep within one that it does."""


def _refuse(cls: type, value: object) -> Any:  # noqa: ARG001  # msgspec calls it so
    raise _UnknownTypeError


@functools.lru_cache(maxsize=256)
def _decoder_for(cls: Any) -> msgspec.json.Decoder[Any] | None:
    if attrs.has(cls) and any(field.validator or field.converter for field in attrs.fields(cls)):
        return None
    try:
        return msgspec.json.Decoder(cls, dec_hook=_refuse)
    except TypeError:
        return None


def _misfit(cls: Any, details: tuple[str, ...]) -> DecodeError:
    name = getattr(cls, "__name__", str(cls))
    return DecodeError(f"The text holds no {name}: {'; '.join(details)}", details=details)
