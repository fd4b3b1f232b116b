"""Decode the bytes of an answer into records, also where a service deviates from the documentation.

msgspec decodes what is as documented, without making dicts first. What it refuses is parsed, brought into the
documented shape, and structured by cattrs. Both give equal records for every documented answer.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

import attrs
import msgspec

from openai_batches._text import why_no_json
from openai_batches.errors import DecodeError
from openai_batches.models import (
    Batch,
    BatchError,
    BatchErrors,
    BatchStatus,
    BatchUsage,
    DeletedFile,
    FileObject,
    InputTokensDetails,
    OutputTokensDetails,
    Page,
    RequestCounts,
    Upload,
    UploadPart,
)

if TYPE_CHECKING:
    import cattrs

__all__ = ["configure_converter", "decode", "make_converter"]

T = TypeVar("T")

_RECORDS = (
    Batch,
    BatchError,
    BatchErrors,
    BatchUsage,
    DeletedFile,
    FileObject,
    InputTokensDetails,
    OutputTokensDetails,
    RequestCounts,
    Upload,
    UploadPart,
)
# Fields that hold records or maps, which some services send as JSON text, as "" or as [].
_NESTED = frozenset({"errors", "metadata", "request_counts", "usage"})
# What msgspec raises for bytes that are not JSON, for strings in another encoding, and for deep nesting.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# Unix times above this are milliseconds: in seconds they would lie after the year 5000.
_LATEST_S = 1e11


def make_converter() -> cattrs.Converter:
    """Return a new cattrs converter that structures the API's records, also in the variants that services send.

    It is msgspec's preconfigured converter, so that ``dumps`` and ``loads`` speak JSON, and it is yours: hooks you
    add change no other converter.
    """
    from cattrs.preconf.msgspec import make_converter as make  # noqa: PLC0415  # only what msgspec refuses needs cattrs

    converter = make()
    configure_converter(converter)
    return converter


def configure_converter(converter: cattrs.Converter) -> None:
    """Teach a converter of your own the API's records.

    Args:
        converter: any cattrs converter; hooks for the record classes, their statuses and their times are registered.
    """
    from cattrs.gen import make_dict_structure_fn  # noqa: PLC0415

    def record_hook(cls: type[Any]) -> Callable[[Any, Any], Any]:
        structure = make_dict_structure_fn(cls, converter)
        tidy = functools.partial(_tidied, cls)

        def hook(value: Any, _: Any) -> Any:
            return structure(tidy(value), cls)

        return hook

    converter.register_structure_hook(dt.datetime, lambda value, _: _time(value))
    converter.register_structure_hook(BatchStatus, lambda value, _: _status(value))
    # Made on first use, so that hooks a user registers later count inside the records too.
    converter.register_structure_hook_factory(lambda cls: cls in _RECORDS, record_hook)
    converter.register_structure_hook_func(_is_page, lambda value, cls: _page(converter, value, cls))


def decode(data: bytes, cls: type[T]) -> T:
    """Return the record that an answer's body holds; ``details`` of a DecodeError name the fields that are wrong."""
    try:
        decoder: msgspec.json.Decoder[T] = _decoder(cls)  # type: ignore[arg-type]  # every class is hashable
        record = decoder.decode(data)
    except _UNREADABLE:
        return _decode_tolerantly(data, cls)
    return record


def _decode_tolerantly(data: bytes, cls: type[T]) -> T:
    try:
        value = msgspec.json.decode(data)
    except _UNREADABLE as error:
        raise DecodeError(f"The answer is no JSON: {why_no_json(data)}; it starts with {data[:200]!r}") from error
    return _structured(value, cls)


@functools.cache
def _decoder(cls: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cls, strict=False)


@functools.cache
def _converter() -> cattrs.Converter:
    return make_converter()


def _structured(value: Any, cls: type[T]) -> T:
    from cattrs import BaseValidationError, transform_error  # noqa: PLC0415

    try:
        return _converter().structure(value, cls)
    except BaseValidationError as error:
        details = tuple(transform_error(error))
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        details = (f"{error} @ $",)
    raise DecodeError(f"The answer holds no {_name(cls)}: {'; '.join(details[:5])}", details=details)


def _is_page(cls: Any) -> bool:
    origin: object = get_origin(cls)
    return origin is Page


def _name(cls: Any) -> str:
    return f"Page[{get_args(cls)[0].__name__}]" if _is_page(cls) else str(cls.__name__)


def _page(converter: cattrs.Converter, value: Any, cls: Any) -> Page[Any]:
    value = _parsed(value)
    if isinstance(value, list):
        value = {"data": value}  # a bare array is a list without cursors
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a list object with data, got {_kind(value)}")
    # An empty list may be null or left out, but an object that is no list at all is not an empty one.
    data = value.get("data", None if value.get("object") == "list" else value)
    if not isinstance(data, list | None):
        raise TypeError("expected a list object with data, got an object without")
    items: Any = tuple[get_args(cls)[0], ...]  # type: ignore[misc]  # the class is known at run time alone
    return Page(
        data=converter.structure(data or (), items),
        has_more=_flag(value.get("has_more")),
        first_id=_text(value.get("first_id")),
        last_id=_text(value.get("last_id")),
        object=_text(value.get("object")) or "list",
    )


def _parsed(value: Any) -> Any:
    """Return what JSON text within JSON holds; anything else as it is."""
    if isinstance(value, str):
        try:
            return msgspec.json.decode(value)
        except _UNREADABLE:
            return value
    return value


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _flag(value: Any) -> bool | None:
    try:
        # Read as the fast path reads it: "true" and 1 are true.
        flag: bool | None = msgspec.convert(value, bool | None, strict=False)
    except msgspec.ValidationError:
        return None
    return flag


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _tidied(cls: type[Any], value: Any) -> dict[str, Any]:
    """Return a record's fields in their documented shape."""
    value = _parsed(value)
    if cls is BatchErrors and not isinstance(value, Mapping):
        value = {"data": value if isinstance(value, list) else [value]}
    if cls is BatchError and not isinstance(value, Mapping):
        value = {"message": str(value)}
    if not isinstance(value, Mapping):
        raise TypeError(f"expected an object, got {_kind(value)}")
    texts = _text_fields(cls)  # type: ignore[arg-type]  # every class is hashable
    tidy: dict[str, Any] = {}
    for field in attrs.fields(cls):
        item = value.get(field.name)
        if field.name in _NESTED:
            item = _parsed(item)
        if item in ("", []) and (field.name in _NESTED or field.name.endswith(("_at", "_file_id"))):
            item = None
        elif isinstance(item, list | Mapping) and field.name in texts:
            # cattrs would turn it into a text.
            raise TypeError(f"expected text in {field.name}, got {_kind(item)}")
        # A null where the schema wants a value means that the service has none: the default says so.
        if item is not None:
            tidy[field.name] = item
    if isinstance(tidy.get("metadata"), Mapping):
        tidy["metadata"] = {str(key): _as_text(item) for key, item in tidy["metadata"].items() if item is not None}
    return tidy


@functools.cache
def _text_fields(cls: type[Any]) -> frozenset[str]:
    hints = get_type_hints(cls)
    return frozenset(name for name, hint in hints.items() if hint is str or str in get_args(hint))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _status(value: Any) -> BatchStatus:
    if not isinstance(value, str):
        raise TypeError(f"expected a status, got {_kind(value)}")
    return BatchStatus(value)


def _time(value: Any) -> dt.datetime:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = dt.datetime.fromisoformat(value)
    if isinstance(value, dt.datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a time, got {_kind(value)}")
    return dt.datetime.fromtimestamp(value / 1000 if value > _LATEST_S else value, tz=dt.UTC)
