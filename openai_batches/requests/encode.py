"""Python values as JSON: dicts and records of every kind.

JSON encoders differ in what they make of NaN, sets, bytes or decimals. A request costs money and is answered a day
later, so nothing is guessed here: such values are refused, with the path at which they stand.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from openai_batches.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["check_utf_8", "encode"]

_encoder = msgspec.json.Encoder()
# How Python writes bytes that are no text into a str: the byte 0xe9 is U+DCE9.
_BYTES = range(0xDC80, 0xDD00)


def encode(value: Any, *, path: str = "$") -> bytes:
    """Return a value as JSON in UTF-8, on one line.

    Records are written as :class:`~openai_batches.requests.request.BatchRequest` says of its body. Enum members are
    written as their values, dates, times and UUIDs as text, whole numbers that are keys as text. Errors name the path,
    e.g. ``$.body.messages[0]``, which begins with the given one.
    """
    try:
        return _encoder.encode(value if _is_plain(value) else _plain(value, path))
    except RecursionError:
        raise _unwritable(path, "it is nested too deeply, or holds itself") from None
    except UnicodeEncodeError:
        # The encoder names no path; the slow way raises for the same reason, and names it.
        return _encoder.encode(_plain(value, path))


def check_utf_8(text: str, name: str) -> None:
    """Refuse a text that no file in UTF-8 can hold, such as an argument of a program in another encoding."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ord(text[error.start])
        what = f"the byte 0x{half & 0xFF:02x}" if half in _BYTES else "half of a character"
        message = f"{name} is not valid UTF-8: character {error.start + 1:,} is {what}"
        raise InputError(message) from error


# What is written as it is, at once, when its type is exactly one of these.
_SCALARS = frozenset({str, int, bool, type(None)})
_NAMES = frozenset({str})


def _is_plain(value: Any) -> bool:
    """Return whether a value can be written as it is; most can, and to look costs less than to copy."""
    kind = type(value)
    if kind is dict:
        if not _NAMES.issuperset(map(type, value)):
            return False
        value = value.values()
    elif kind is not list:
        return kind in _SCALARS or (kind is float and math.isfinite(value))
    # A list of scalars, e.g. of tokens, is decided without a step of Python for each.
    return _SCALARS.issuperset(map(type, value)) or all(map(_is_plain, value))


def _plain(value: Any, path: str) -> Any:
    """Return a value as dicts, lists and scalars."""
    for kind, make in _MAKERS:
        if isinstance(value, kind):
            return make(value, path)
    cls = type(value)
    if isinstance(value, type):
        raise _unwritable(path, f"it is the class {value.__name__} itself")
    if callable(getattr(value, "model_dump", None)):
        return _plain(_dumped(value, path), path)
    if attrs.has(cls) or dataclasses.is_dataclass(cls) or issubclass(cls, msgspec.Struct):
        return {name: _plain(item, f"{path}.{name}") for name, item in _fields(value) if item is not None}
    raise _unwritable(path, f"it is of the type {cls.__name__}")


def _unwritable(path: str, reason: str) -> InputError:
    return InputError(f"{path} cannot be written as JSON: {reason}")


def _text(value: str, path: str) -> str:
    value = str.__str__(value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _unwritable(path, f"it holds half of a character, {value[error.start]!r}") from error
    return value


def _float(value: float, path: str) -> float:
    if not math.isfinite(value):
        raise _unwritable(path, f"it is {value!r}")
    return float(value)


def _object(value: Mapping[Any, Any], path: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, item in value.items():
        bare = key.value if isinstance(key, enum.Enum) else key
        # The keys of a logit_bias are ids of tokens: numbers in Python, text in JSON.
        if not isinstance(bare, str | int) or isinstance(bare, bool):
            raise _unwritable(path, f"its key {key!r} is of the type {type(key).__name__}")
        name = _text(str(bare), path)
        if name in made:
            raise _unwritable(path, f"two of its keys are written as {name!r}")
        made[name] = _plain(item, f"{path}.{name}")
    return made


def _array(value: list[Any] | tuple[Any, ...], path: str) -> list[Any]:
    return [_plain(item, f"{path}[{number}]") for number, item in enumerate(value)]


_MAKERS: tuple[tuple[Any, Callable[[Any, str], Any]], ...] = (
    (enum.Enum, lambda value, path: _plain(value.value, path)),
    (str, _text),
    ((bool, type(None), dt.date, dt.time, uuid.UUID), lambda value, _: value),
    (int, lambda value, _: int(value)),
    (float, _float),
    (Mapping, _object),
    ((list, tuple), _array),
)


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of an attrs object, a dataclass or a Struct; those of the first two with a ``_`` are private."""
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        if config.tag_field is not None:
            yield config.tag_field, config.tag
        for info in msgspec.structs.fields(value):
            if (item := getattr(value, info.name)) is not msgspec.UNSET:
                yield info.encode_name, item
        return
    for field in attrs.fields(type(value)) if attrs.has(type(value)) else dataclasses.fields(value):
        if not field.name.startswith("_"):
            yield field.name, getattr(value, field.name)


def _dumped(model: Any, path: str) -> Any:
    try:
        whole = model.model_dump(mode="json", by_alias=True)
        given = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    except (TypeError, ValueError) as error:
        raise _unwritable(path, str(error)) from error
    return _without_default_nulls(whole, given)


def _without_default_nulls(whole: Any, given: Any) -> Any:
    """Return a pydantic dump without the nulls that were not given: those are defaults."""
    if isinstance(whole, dict):
        known: dict[Any, Any] = given if isinstance(given, dict) else {}
        return {
            name: _without_default_nulls(item, known.get(name))
            for name, item in whole.items()
            if item is not None or name in known
        }
    if isinstance(whole, list):
        items = given if isinstance(given, list) and len(given) == len(whole) else [None] * len(whole)
        return [_without_default_nulls(item, known_item) for item, known_item in zip(whole, items, strict=True)]
    return whole
