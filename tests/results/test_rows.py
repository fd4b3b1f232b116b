"""Results as rows: which columns there are, of which kind, and what stands in them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import uuid
from typing import Annotated, Any, Literal, Optional, TypedDict, Union

import attrs
import msgspec
import pytest
from hypothesis import given, strategies as st
from support.result_lines import read_result

from openai_batches.errors import InputError
from openai_batches.results.result import BatchResult, Outcome
from openai_batches.results.rows import Column, RowMaker, as_cell, as_json

NAMES = ["custom_id", "outcome", "status_code", "text", "input_tokens", "output_tokens", "error_code", "error_message"]


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"


@attrs.frozen
class Point:
    x: int
    y: int = 0


@dataclasses.dataclass
class DataPoint:
    x: int
    y: int = 0


class StructPoint(msgspec.Struct):
    x: int
    y: int = 0


class DictPoint(TypedDict, total=False):
    x: int
    y: int


@attrs.frozen
class Everything:
    flag: bool
    whole: int
    number: float
    text: str
    at: dt.datetime
    day: dt.date
    amount: decimal.Decimal
    key: uuid.UUID
    colour: Colour
    level: Level
    mixed: Mixed
    word: Literal["a", "b"]
    odd: Literal["a", 1]
    maybe: int | None
    also: Optional[int]  # noqa: UP045  # an older spelling of the same
    either: Union[int, str, None]  # noqa: UP007
    noted: Annotated[int | None, "a note"]
    names: list[str]
    numbers: tuple[float, ...]
    days: frozenset[dt.date] | None
    pair: tuple[int, str]
    points: list[Point]
    bare: list  # type: ignore[type-arg]
    point: Point
    more: dict[str, int]
    anything: Any
    raw: bytes


KINDS = {
    "flag": bool,
    "whole": int,
    "number": float,
    "text": str,
    "at": dt.datetime,
    "day": dt.date,
    "amount": str,
    "key": str,
    "colour": str,
    "level": int,
    "mixed": object,
    "word": str,
    "odd": object,
    "maybe": int,
    "also": int,
    "either": object,
    "noted": int,
    "names": [str],
    "numbers": [float],
    "days": [dt.date],
    "pair": object,
    "points": object,
    "bare": object,
    "point": object,
    "more": object,
    "anything": object,
    "raw": object,
}


def chat(text: str, *, custom_id: str = "r1", usage: Any = None, finish_reason: str = "stop") -> BatchResult:
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}
    body = {"model": "a", "choices": [choice], "usage": usage or {"prompt_tokens": 3, "completion_tokens": 5}}
    line = {"custom_id": custom_id, "response": {"status_code": 200, "request_id": "q", "body": body}, "error": None}
    return read_result(msgspec.json.encode(line), line_number=1)


FAILED = read_result(
    b'{"custom_id": "r2", "response": {"status_code": 400, "body": {"error": {"code": "bad", "message": "No."}}}}',
    line_number=2,
)
EXPIRED = read_result(
    b'{"custom_id": "r3", "response": null, "error": {"code": "batch_expired", "message": "Too late."}}', line_number=3
)


def named(maker: RowMaker, result: BatchResult) -> dict[str, Any]:
    return dict(zip([column.name for column in maker.columns], maker.row(result), strict=True))


def test_each_result_is_a_row() -> None:
    """Every outcome has its row; what a result does not have is None."""
    maker = RowMaker()
    assert [column.name for column in maker.columns] == NAMES
    assert maker.row(chat("Hi")) == ["r1", "succeeded", 200, "Hi", 3, 5, None, None]
    assert maker.row(FAILED) == ["r2", "failed", 400, None, None, None, "bad", "No."]
    assert maker.row(EXPIRED) == ["r3", "expired", None, None, None, None, "batch_expired", "Too late."]
    invalid = named(maker, read_result(b"{no", line_number=4))
    assert (invalid["custom_id"], invalid["outcome"], invalid["error_code"]) == (None, "invalid", "invalid_line")
    missing = BatchResult(custom_id="r5", outcome=Outcome.MISSING)
    assert maker.row(missing) == ["r5", "missing", None, None, None, None, None, None]


@pytest.mark.parametrize("cls", [Point, DataPoint, StructPoint, DictPoint])
def test_a_parsed_type_has_a_column_for_each_field(cls: type[Any]) -> None:
    """Whatever kind of record it is; defaults fill what the text leaves out."""
    maker = RowMaker(cls, prefix="p_")
    assert [column.name for column in maker.columns] == [*NAMES[:4], "p_x", "p_y", *NAMES[4:]]
    assert maker.columns[4] == Column("p_x", int)
    row = named(maker, chat('{"x": 7}'))
    assert (row["p_x"], row["p_y"]) == (7, None if cls is DictPoint else 0)
    assert (row["outcome"], row["text"], row["error_code"]) == ("succeeded", '{"x": 7}', None)


def test_pydantic_models_are_parsed_too() -> None:
    """By their own validation, nested ones included."""
    pydantic = pytest.importorskip("pydantic")
    inner = pydantic.create_model("Inner", z=(int, ...))
    model = pydantic.create_model("Model", x=(int, ...), inner=(inner, ...), names=(list[Annotated[str, "a note"]], []))
    maker = RowMaker(model)
    row = named(maker, chat('{"x": 7, "inner": {"z": 8}}'))
    assert row["x"] == 7
    inner_column = maker.columns[5]
    assert inner_column == Column("inner", object)
    assert as_cell(row["inner"], inner_column) == '{"z":8}'
    assert maker.columns[6] == Column("names", str, is_list=True)


@pytest.mark.parametrize("text", ["no JSON", '{"x": "seven"}', "[]"])
def test_a_text_that_cannot_be_parsed_is_told_in_its_row(text: str) -> None:
    """It stays a success of the service, its text is kept, its fields are None, and the error says why."""
    row = named(RowMaker(Point), chat(text))
    assert (row["outcome"], row["text"], row["x"], row["y"]) == ("succeeded", text, None, None)
    assert row["error_code"] == "parse_error"
    assert row["error_message"]


def test_refusals_and_cut_answers_are_told_too() -> None:
    """A refusal and an answer that its limit cut have no fields, and say so."""
    cut = named(RowMaker(Point), chat('{"x": 7', finish_reason="length"))
    assert (cut["error_code"], cut["x"]) == ("parse_error", None)
    assert "length" in cut["error_message"]


def test_what_did_not_succeed_is_not_parsed() -> None:
    """Its own error stays."""
    row = named(RowMaker(Point), FAILED)
    assert (row["error_code"], row["error_message"], row["x"]) == ("bad", "No.", None)


USAGES: list[tuple[Any, list[int | None]]] = [
    ({"prompt_tokens": 3, "completion_tokens": 5}, [3, 5]),
    ({"prompt_tokens": 3}, [3, 0]),
    ({"prompt_tokens": 3, "completion_tokens": None}, [3, 0]),
    ({"input_tokens": 3, "output_tokens": 5}, [3, 5]),
    (None, [None, None]),
]


@pytest.mark.parametrize(("usage", "tokens"), USAGES)
@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"choices": [{"message": {"content": "Hi"}}]}, "Hi"),
        ({"choices": [{"message": {"content": "Hi"}}, {"message": {"content": "Ho"}}]}, "Hi"),
        ({"choices": [{"index": 1, "message": {"content": "Ho"}}, {"index": 0, "message": {"content": "Hi"}}]}, "Hi"),
        ({"choices": [{"index": 2, "message": {"content": "Hi"}}, {"index": 1, "message": {"content": "Ho"}}]}, "Hi"),
        ({"choices": [{"index": 1, "text": "Ho"}, {"index": 0, "text": "Hi"}]}, "Hi"),
        ({"choices": [{"message": {"content": None}}]}, None),
        ({"choices": []}, None),
        ({"choices": [{"text": "Hi"}]}, "Hi"),
        ({"output": [{"content": [{"type": "output_text", "text": "Hi"}]}]}, "Hi"),
        ({"data": [{"embedding": [1.5]}]}, None),
    ],
)
def test_every_endpoints_text_and_tokens_are_there(body: Any, text: str | None, usage: Any, tokens: list[Any]) -> None:
    """The quick way and the whole one say the same; a body that is JSON text is read as what it holds."""
    body = {**body, "usage": usage}
    for sent in (body, msgspec.json.encode(body).decode()):
        line = {"custom_id": "r1", "response": {"status_code": 200, "body": sent}, "error": None}
        quick, whole = (
            named(maker, read_result(msgspec.json.encode(line), line_number=1))
            for maker in (RowMaker(), RowMaker(Point))
        )
        assert [quick[name] for name in ("text", "input_tokens", "output_tokens")] == [text, *tokens]
        assert [whole[name] for name in ("text", "input_tokens", "output_tokens")] == [text, *tokens]


def test_names_do_not_meet() -> None:
    """A field with the name of another column is refused at once, and a prefix helps."""
    with pytest.raises(InputError, match="'text' is already a column"):
        RowMaker(Everything)
    assert len(RowMaker(Everything, prefix="_").columns) == len(NAMES) + len(KINDS)


@pytest.mark.parametrize("cls", [int, dict, list[Point], Colour, "Point"])
def test_a_type_without_fields_is_refused(cls: Any) -> None:
    """Columns are made of fields."""
    with pytest.raises(InputError, match="are parsed into"):
        RowMaker(cls)


def test_columns_have_the_kind_of_their_field() -> None:
    """Optional or annotated or not; enums and literals have that of their values; the rest is JSON."""
    columns = {column.name: column for column in RowMaker(Everything, prefix="_").columns}
    found = {name: [c.kind] if (c := columns[f"_{name}"]).is_list else c.kind for name in KINDS}
    assert found == KINDS


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (None, object, None),
        (None, str, None),
        ("a", str, "a"),
        ("a", object, '"a"'),
        (5, int, 5),
        (True, bool, True),
        (1.5, float, 1.5),
        (Colour.RED, str, "red"),
        (Level.HIGH, int, 2),
        (decimal.Decimal("1.10"), str, "1.10"),
        (uuid.UUID(int=5), str, "00000000-0000-0000-0000-000000000005"),
        (dt.date(2026, 1, 2), dt.date, dt.date(2026, 1, 2)),
        (Point(1, 2), object, '{"x":1,"y":2}'),
        ({"a": [1]}, object, '{"a":[1]}'),
        (object, object, "\"<class 'object'>\""),
        ("half \ud83d pair", str, "half \ufffd pair"),
        ({"half \ud83d": 2**70}, object, '{"half \ufffd":1180591620717411303424}'),
        ([float("nan"), 2**70], object, "[null,1180591620717411303424]"),
    ],
)
def test_a_cell_is_what_its_column_can_hold(value: Any, kind: type, expected: Any) -> None:
    """Scalars as they are, enums as their values, the rest as JSON text that every reader takes."""
    assert as_cell(value, Column("a", kind)) == expected


def test_cells_of_lists() -> None:
    """Lists of scalars stay lists, of what their column holds."""
    assert as_cell((Colour.RED, "b"), Column("a", str, is_list=True)) == ["red", "b"]
    assert as_cell(frozenset({dt.date(2026, 1, 2)}), Column("a", dt.date, is_list=True)) == [dt.date(2026, 1, 2)]
    assert as_cell(["\udc00"], Column("a", str, is_list=True)) == ["\ufffd"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_json_says_what_was_there(value: Any) -> None:
    """Any value of JSON, numbers of any size and half surrogate pairs included, is written and can be read."""
    written = as_json(value)
    back = json.loads(written)
    if b"\xef\xbf\xbd" not in written:
        assert back == value
