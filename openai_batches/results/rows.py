"""Results as rows of a table: which columns there are, of which kind, and what stands in them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import types
import typing
import uuid
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import attrs
import msgspec

from openai_batches.errors import BatchesError, InputError
from openai_batches.results.line import chat_answer
from openai_batches.results.result import Outcome

if TYPE_CHECKING:
    from openai_batches.results.result import BatchResult

__all__ = ["Column", "RowMaker", "as_cell", "as_json", "whole_text"]

PARSE_ERROR = "parse_error"


@attrs.frozen
class Column:
    """A column of the table.

    Attributes:
        name: its name.
        kind: bool, int, float, str, datetime or date; object for anything else, which is written as JSON.
        is_list: whether its cells are lists of that kind.
    """

    name: str
    kind: type
    is_list: bool = False


_BEFORE = (Column("custom_id", str), Column("outcome", str), Column("status_code", int), Column("text", str))
_AFTER = (
    Column("input_tokens", int),
    Column("output_tokens", int),
    Column("error_code", str),
    Column("error_message", str),
)


class RowMaker:
    """Makes a row of each result.

    The columns are ``custom_id, outcome, status_code, text``, one for each field of the type to parse into, and
    ``input_tokens, output_tokens, error_code, error_message``. What a result does not have is None. The fields of a
    result that did not succeed are None; so are those of one whose text does not hold such a value, and its
    ``error_code`` is then ``parse_error``.

    Attributes:
        columns: the columns, in order.
        textless: how many answers had no text.
        partial: how many answers had several choices, of which only the first, that of index 0, is in its row.
    """

    def __init__(self, parse: type[Any] | None = None, *, prefix: str = "") -> None:
        fields = {} if parse is None else _fields(parse)
        parsed = tuple(Column(f"{prefix}{name}", *_kind(hint)) for name, hint in fields.items())
        taken = {column.name for column in (*_BEFORE, *_AFTER)}
        for column in parsed:
            if column.name in taken:
                raise InputError(f"{column.name!r} is already a column: give the parsed ones a prefix, e.g. 'parsed_'")
        self.columns: tuple[Column, ...] = (*_BEFORE, *parsed, *_AFTER)
        self.textless: int = 0
        self.partial: int = 0
        self._parse = parse
        self._names = tuple(fields)

    def row(self, result: BatchResult) -> list[Any]:
        """Return a result's values, in the order of the columns."""
        code = message = None
        values: list[Any] = [None] * len(self._names)
        if result.error is not None:
            code, message = result.error.code, result.error.message
        if self._parse is not None and result.outcome is Outcome.SUCCEEDED:
            try:
                values = self._values(result.parse(self._parse))
            except BatchesError as error:
                code, message = PARSE_ERROR, str(error)
        # A text that was parsed has decoded the whole body anyway.
        text, tokens_in, tokens_out, choices = _answer(result) if self._names else _answer_quickly(result)
        self.textless += text is None and result.outcome is Outcome.SUCCEEDED
        self.partial += choices > 1
        before = (result.custom_id, result.outcome.value, result.status_code, text)
        return [*before, *values, tokens_in, tokens_out, code, message]

    def _values(self, parsed: Any) -> list[Any]:
        if isinstance(parsed, dict):
            return [parsed.get(name) for name in self._names]
        return [getattr(parsed, name) for name in self._names]


# The text of a result, its input and output tokens, and how many choices it has.
_Answer: TypeAlias = tuple[str | None, int | None, int | None, int]


def _answer(result: BatchResult) -> _Answer:
    """Return what stands in a row about an answer."""
    usage, choices = result.usage, result.choice_count
    if usage is None:
        return result.output_text, None, None, choices
    return result.output_text, usage.input_tokens, usage.output_tokens, choices


def _answer_quickly(result: BatchResult) -> _Answer:
    """Return the same; for chat completions, which most are, without building the rest of their bodies."""
    if result.outcome is not Outcome.SUCCEEDED:
        return _answer(result)
    return chat_answer(result.raw_line) or _answer(result)


def _fields(cls: Any) -> dict[str, Any]:
    """Return the fields of a record type: name → type."""
    if attrs.has(cls):
        names = [field.name for field in attrs.fields(cls)]
    elif dataclasses.is_dataclass(cls):
        names = [field.name for field in dataclasses.fields(cls)]
    elif typing.is_typeddict(cls) or (isinstance(cls, type) and issubclass(cls, msgspec.Struct)):
        return get_type_hints(cls)
    elif isinstance(model := getattr(cls, "model_fields", None), dict):
        return {name: field.annotation for name, field in model.items()}
    else:
        kinds = "an attrs class, dataclass, TypedDict, msgspec Struct or pydantic model"
        raise InputError(f"results are parsed into {kinds}, not {cls!r}")
    hints = get_type_hints(cls)
    return {name: hints[name] for name in names}


_KINDS: tuple[tuple[type, type], ...] = (
    (bool, bool),
    (int, int),
    (float, float),
    (str, str),
    (dt.datetime, dt.datetime),
    (dt.date, dt.date),
    (decimal.Decimal, str),
    (uuid.UUID, str),
)


def _kind(hint: Any) -> tuple[type, bool]:
    hint = _bare(hint)
    if get_origin(hint) in (list, tuple, set, frozenset):
        items = [item for item in get_args(hint) if item is not ...]
        kind = _scalar(_bare(items[0])) if len(items) == 1 else object
        return kind, kind is not object
    return _scalar(hint), False


def _bare(hint: Any) -> Any:
    """Return a type without ``Annotated`` and without ``| None``: every column may be empty."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif get_origin(hint) in (Union, types.UnionType):
            members = [member for member in get_args(hint) if member is not types.NoneType]
            if len(members) != 1:
                return object
            hint = members[0]
        else:
            return hint


def _scalar(hint: Any) -> type:
    if get_origin(hint) is Literal:
        return _shared({type(value) for value in get_args(hint)})
    if not isinstance(hint, type):
        return object
    if issubclass(hint, enum.Enum):
        return _shared({type(member.value) for member in hint})
    return next((kind for base, kind in _KINDS if issubclass(hint, base)), object)


def _shared(found: set[type]) -> type:
    return found.pop() if len(found) == 1 and found <= {bool, int, float, str} else object


def _as_builtin(value: Any) -> Any:
    """Return what JSON can be made of, for the kind of record that msgspec does not know: a pydantic model."""
    if callable(dump := getattr(value, "model_dump", None)):
        return dump(mode="json")
    return str(value)


_encoder = msgspec.json.Encoder(enc_hook=_as_builtin)
_PLAIN = frozenset({int, float, bool, dt.datetime, dt.date})


def as_json(value: Any) -> bytes:
    """Return a value as JSON: records of every kind, enums, times and numbers included."""
    try:
        return _encoder.encode(value)
    except (UnicodeEncodeError, OverflowError):
        # Half a surrogate pair, or more than 64 bits: models write both, and the encoder takes neither.
        plain = _encodable(msgspec.to_builtins(value, enc_hook=_as_builtin))
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()


def as_cell(value: Any, column: Column) -> Any:
    """Return a value as what can stand in a column: a scalar, a list of scalars, or JSON text; None stays None."""
    if value is None:
        return None
    if column.kind is object:
        return as_json(value).decode()
    if (kind := type(value)) is str:
        return whole_text(value)
    if kind in _PLAIN:
        return value
    return _encodable(msgspec.to_builtins(value, builtin_types=(dt.datetime, dt.date), enc_hook=_as_builtin))


def whole_text(text: str) -> str:
    """Return a text that can be written in UTF-8: U+FFFD stands for half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(name): _encodable(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
