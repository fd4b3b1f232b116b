"""What Python code writes down as a request becomes the JSON it means, or an error that names the place."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import types
import uuid
from typing import Any, NamedTuple, TypedDict

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given, strategies as st

from openai_batches import InputError
from openai_batches.requests.encode import encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Role(enum.StrEnum):
    USER = "user"


class Level(enum.IntEnum):
    HIGH = 3


class Text(str):
    __slots__ = ()


class Pair(NamedTuple):
    a: int
    b: int


@attrs.define
class Message:
    role: str
    content: str | None = None
    name: str | None = None


@dataclasses.dataclass
class Chat:
    model: str
    messages: list[Message]
    temperature: float | None = None
    seed: int = 7
    _note: str = "not for the wire"


@attrs.frozen
class Slotted:
    model: str
    _private: int = 1


class Params(TypedDict):
    model: str
    stop: str | None


class Tool(msgspec.Struct, tag="function", rename="camel"):
    tool_name: str
    strict_mode: bool | None = None
    call_id: str | msgspec.UnsetType = msgspec.UNSET


class Plain(msgspec.Struct):
    x: int


class Content(pydantic.BaseModel):
    text: str | None = None
    kind: str = "text"


class PydanticChat(pydantic.BaseModel):
    model: str
    max_tokens: int | None = pydantic.Field(default=None, alias="maxTokens")
    stop: str | None = None
    temperature: float = 0.5
    parts: list[Content] = []
    first: Content | None = None
    other: Content = Content()


def written(value: Any) -> Any:
    return msgspec.json.decode(encode(value))


@given(JSON)
def test_json_values_come_back_as_they_were(value: Any) -> None:
    """What JSON is made of is written as it is, on one line."""
    encoded = encode(value)
    assert b"\n" not in encoded
    assert msgspec.json.decode(encoded) == value


@given(JSON)
def test_both_ways_write_the_same(value: Any) -> None:
    """A value is written the same whether or not something beside it needs a closer look."""
    assert encode([value, Role.USER]) == b"[" + encode(value) + b',"user"]'


VALUES: dict[str, tuple[Any, Any]] = {
    "attrs": (Message("user", "Hi"), {"role": "user", "content": "Hi"}),
    "attrs in a dict": ({"messages": [Message("user")]}, {"messages": [{"role": "user"}]}),
    "private attrs": (Slotted("m"), {"model": "m"}),
    "dataclass": (
        Chat("m", [Message("user", "Hi")]),
        {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "seed": 7},
    ),
    "TypedDict": (Params(model="m", stop=None), {"model": "m", "stop": None}),
    "Struct": (Tool("f"), {"type": "function", "toolName": "f"}),
    "Struct with all": (
        Tool("f", strict_mode=True, call_id="c"),
        {"type": "function", "toolName": "f", "strictMode": True, "callId": "c"},
    ),
    "bare Struct": (Plain(1), {"x": 1}),
    "pydantic": (
        PydanticChat(model="m", stop=None),
        {"model": "m", "stop": None, "temperature": 0.5, "parts": [], "other": {"kind": "text"}},
    ),
    "pydantic within": (
        {"body": PydanticChat(model="m", maxTokens=3, parts=[Content(text=None), Content()], first=Content())},
        {
            "body": {
                "model": "m",
                "maxTokens": 3,
                "temperature": 0.5,
                "parts": [{"text": None, "kind": "text"}, {"kind": "text"}],
                "first": {"kind": "text"},
                "other": {"kind": "text"},
            }
        },
    ),
    "enums": ({"role": Role.USER, "level": Level.HIGH, Role.USER: 1}, {"role": "user", "level": 3, "user": 1}),
    "str subclass": ([Text("a"), {Text("k"): 1}], ["a", {"k": 1}]),
    "tuples": ((1, (2, Pair(3, 4))), [1, [2, [3, 4]]]),
    "mappings": (types.MappingProxyType({"a": types.MappingProxyType({})}), {"a": {}}),
    "keys that are numbers": ({"logit_bias": {50256: -100}}, {"logit_bias": {"50256": -100}}),
    "times": (
        [dt.date(2026, 1, 2), dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.time(1, 2)],
        ["2026-01-02", "2026-01-02T00:00:00Z", "01:02:00"],
    ),
    "uuid": (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "scalars beside a record": ([Plain(1), True, None, 1, 1.5, "a"], [{"x": 1}, True, None, 1, 1.5, "a"]),
}
VALUES["enums"] = ({"level": Level.HIGH, Role.USER: Role.USER}, {"level": 3, "user": "user"})


@pytest.mark.parametrize("kind", VALUES)
def test_every_kind_of_record_is_written_as_it_is_meant(kind: str) -> None:
    """None in a record is left out, None in a dict or given to a pydantic model is null, other defaults are sent."""
    value, expected = VALUES[kind]
    assert written(value) == expected


class Broken:
    def model_dump(self, **_: Any) -> Any:
        raise ValueError("no dump today")


REFUSED: dict[str, tuple[Any, str]] = {
    "NaN": ({"temperature": math.nan}, r"\$\.temperature cannot be written as JSON: it is nan"),
    "infinity in a record": ([Chat("m", [], temperature=math.inf)], r"\$\[0\]\.temperature .* it is inf"),
    "NaN in a model": (PydanticChat(model="m", temperature=math.nan), r"\$\.temperature .* it is nan"),
    "set": ({"stop": {"a"}}, r"\$\.stop .* of the type set"),
    "bytes": ({"input": [b"a"]}, r"\$\.input\[0\] .* of the type bytes"),
    "decimal": ({"top_p": decimal.Decimal(1)}, r"\$\.top_p .* of the type Decimal"),
    "object": ({"a": {"b": object()}}, r"\$\.a\.b .* of the type object"),
    "class": ({"response_format": Chat}, r"\$\.response_format .* it is the class Chat itself"),
    "model class": (PydanticChat, r"\$ .* it is the class PydanticChat itself"),
    "model that cannot": ([Broken()], r"\$\[0\] .* no dump today"),
    "key": ({"a": {None: 1}}, r"\$\.a .* its key None is of the type NoneType"),
    "bool key": ({True: 1}, r"\$ .* its key True is of the type bool"),
    "double key": ({"a": {1: 0, "1": 0}}, r"\$\.a .* two of its keys are written as '1'"),
    "half a character": ({"a": ["\ud800"]}, r"\$\.a\[0\] .* half of a character, '\\ud800'"),
    "half a character in a key": ({"a": {"\udfff": 1}}, r"\$\.a .* half of a character"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_meant_is_refused_with_its_place(kind: str) -> None:
    """Nothing is guessed: what JSON has no words for is an InputError with the path."""
    value, message = REFUSED[kind]
    with pytest.raises(InputError, match=message):
        encode(value)


def test_what_holds_itself_is_refused() -> None:
    """A cycle, or nesting without an end in sight, is an error of the input, not of the interpreter."""
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for value in (cycle, deep, {"a": Role.USER, "b": cycle}):
        with pytest.raises(InputError, match=r"\$\.body cannot .* nested too deeply"):
            encode(value, path="$.body")
    while deep:  # taken apart by hand: the interpreter would do it by recursion
        deep = deep[0]


def test_lists_a_serializer_makes_are_kept_whole() -> None:
    """A model whose own serializer makes another list for what was given loses none of its items."""

    class Odd(pydantic.BaseModel):
        a: int | None = None

        def model_dump(self, *, exclude_unset: bool = False, **_: Any) -> Any:  # type: ignore[override]
            return [1] if exclude_unset else [1, {"a": None, "b": 2}]

    assert written(Odd()) == [1, {"b": 2}]
