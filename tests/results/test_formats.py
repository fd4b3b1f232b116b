"""Rows as JSONL, CSV and Parquet: read back with other programs' readers, they are the rows that were written."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import sys
from typing import Any

import pytest
from hypothesis import given, strategies as st

from openai_batches.errors import InputError
from openai_batches.results import formats
from openai_batches.results.formats import CsvFormat, JsonlFormat, ParquetFormat, format_of
from openai_batches.results.rows import Column

COLUMNS = (
    Column("custom_id", str),
    Column("count", int),
    Column("ratio", float),
    Column("flag", bool),
    Column("at", dt.datetime),
    Column("day", dt.date),
    Column("names", str, is_list=True),
    Column("more", object),
    Column("error_message", str),
)
NOON = dt.datetime(2026, 1, 2, 12, 0, 0, 5, tzinfo=dt.UTC)
ROWS: list[list[Any]] = [
    ["r1", 5, 1.5, True, NOON, NOON.date(), ["a", "b"], {"x": [1]}, 'line\nbreak, "quoted", \u2028'],
    [None] * 9,
    ["r3", -(2**63), -0.0, False, NOON, NOON.date(), [], "text", ""],
]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.jsonl", ("jsonl", None)),
        ("a.b.CSV", ("csv", None)),
        ("a.Parquet.GZ", ("parquet", "gzip")),
        ("a.csv.zst", ("csv", "zstd")),
        ("a.gz", (None, "gzip")),
        ("a.xlsx", (None, None)),
        ("jsonl", (None, None)),
        (".csv", (None, None)),
    ],
)
def test_what_a_name_says(name: str, said: tuple[str | None, str | None]) -> None:
    """The format, and behind it the compression, in upper or lower case."""
    assert format_of(name) == said


def jsonl(rows: list[list[Any]], columns: tuple[Column, ...] = COLUMNS) -> bytes:
    stream = io.BytesIO()
    made = JsonlFormat(stream, columns)
    for row in rows:
        made.append([row])
    made.finish()
    made.close()
    return stream.getvalue()


def as_csv(rows: list[list[Any]], columns: tuple[Column, ...] = COLUMNS, **options: bool) -> str:
    stream = io.BytesIO()
    made = CsvFormat(stream, columns, **options)
    made.append(rows)
    made.finish()
    made.close()
    return stream.getvalue().decode()


def parquet(rows: list[list[Any]], columns: tuple[Column, ...] = COLUMNS) -> Any:
    pq = pytest.importorskip("pyarrow.parquet")
    stream = io.BytesIO()
    made = ParquetFormat(stream, columns)
    made.append(rows)
    made.finish()
    made.close()
    return pq.ParquetFile(io.BytesIO(stream.getvalue()))


def test_jsonl_has_an_object_for_each_row() -> None:
    """With every column in it, null where there is nothing, on one line each."""
    lines = jsonl(ROWS).split(b"\n")
    assert lines.pop() == b""
    found = [json.loads(line) for line in lines]
    assert [list(row) for row in found] == [[column.name for column in COLUMNS]] * 3
    assert found[0]["more"] == {"x": [1]}
    assert found[0]["at"] == "2026-01-02T12:00:00.000005Z"
    assert set(found[1].values()) == {None}


@pytest.mark.parametrize(("kind", "start"), [(JsonlFormat, b""), (CsvFormat, b"id\r\n")])
def test_no_rows_are_no_lines(kind: type[JsonlFormat | CsvFormat], start: bytes) -> None:
    """A block in which there happens to be no row leaves no empty line in the file."""
    stream = io.BytesIO()
    made = kind(stream, [Column("id", str)])
    made.append([])
    made.append([["a"]])
    made.append([])
    made.finish()
    assert stream.getvalue().removeprefix(start).count(b"\n") == 1


def test_csv_has_a_line_of_names_and_quotes_what_needs_it() -> None:
    """Line breaks, quotes and commas inside a text are kept; what is no scalar is JSON; null is an empty cell."""
    text = as_csv(ROWS)
    names, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert names == [column.name for column in COLUMNS]
    assert rows[0] == [
        "r1",
        "5",
        "1.5",
        "true",
        "2026-01-02T12:00:00.000005+00:00",
        "2026-01-02",
        '["a","b"]',
        '{"x":[1]}',
        'line\nbreak, "quoted", \u2028',
    ]
    assert rows[1] == [""] * 9
    assert rows[2][3:] == ["false", "2026-01-02T12:00:00.000005+00:00", "2026-01-02", "[]", '"text"', ""]
    assert text.count("\r\n") == 4
    assert as_csv([]) == ",".join(names) + "\r\n"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulas_are_left_alone_unless_asked(text: str) -> None:
    """Data is data; for people's spreadsheets an apostrophe makes a text of what would be run. Numbers stay numbers."""
    columns = (Column("text", str), Column("count", int))
    assert list(csv.reader(io.StringIO(as_csv([[text, -5]], columns), newline="")))[1] == [text, "-5"]
    escaped = as_csv([[text, -5], ["a=b", 1]], columns, escape_formulas=True)
    assert list(csv.reader(io.StringIO(escaped, newline="")))[1:] == [[f"'{text}", "-5"], ["a=b", "1"]]


def test_parquet_columns_are_typed_and_nullable() -> None:
    """Each column has the type of its kind, and what is read is what was written."""
    pa = pytest.importorskip("pyarrow")
    file = parquet(ROWS)
    assert pa.types.is_list(file.schema_arrow.field("names").type)
    assert [(field.name, str(field.type)) for field in file.schema_arrow if field.name != "names"] == [
        ("custom_id", "string"),
        ("count", "int64"),
        ("ratio", "double"),
        ("flag", "bool"),
        ("at", "timestamp[us, tz=UTC]"),
        ("day", "date32[day]"),
        ("more", "string"),
        ("error_message", "string"),
    ]
    assert all(field.nullable for field in file.schema_arrow)
    rows = [list(row.values()) for row in file.read().to_pylist()]
    assert rows[0] == [*ROWS[0][:7], '{"x":[1]}', ROWS[0][8]]
    assert rows[1] == [None] * 9
    assert rows[2] == [*ROWS[2][:7], '"text"', ""]
    assert parquet([]).read().num_rows == 0


def test_a_value_that_does_not_fit_is_null_and_told() -> None:
    """One number too large, or of another kind, costs its own cell, not the file; a message that is there stays."""
    columns = (Column("count", int), Column("names", str, is_list=True), Column("error_message", str))
    found = parquet([[2**63, ["a"], None], [5, [1, "b"], None], [2**63, [], "before"], [7, None, None]], columns)
    rows = [list(row.values()) for row in found.read().to_pylist()]
    assert [row[:2] for row in rows] == [[None, ["a"]], [5, None], [None, []], [7, None]]
    assert rows[0][2] == "count does not fit its column, which is of type int64"
    assert rows[1][2].startswith("names does not fit its column")
    assert [row[2] for row in rows[2:]] == ["before", None]


@pytest.mark.parametrize(("rows", "chars", "groups"), [(4, 10**9, [4, 4, 2]), (100, 40, [4, 4, 2])])
def test_parquet_holds_a_group_of_rows_at_most(
    monkeypatch: pytest.MonkeyPatch, rows: int, chars: int, groups: list[int]
) -> None:
    """A group is written when it has enough rows, or enough text."""
    monkeypatch.setattr(formats, "_GROUP_ROWS", rows)
    monkeypatch.setattr(formats, "_GROUP_CHARS", chars)
    file = parquet([["x" * 10] for _ in range(10)], (Column("text", str),))
    assert [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)] == groups


def test_parquet_without_pyarrow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'openai_batches\[arrow\]'"):
        ParquetFormat(io.BytesIO(), COLUMNS)


TEXTS = st.none() | st.text(st.characters(), max_size=30)
TABLES = st.lists(st.tuples(TEXTS, st.none() | st.integers(-(2**63), 2**63 - 1)).map(list), max_size=10)
TWO = (Column("text", str), Column("count", int))


def readable(text: str | None) -> str | None:
    return None if text is None else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@given(TABLES)
def test_any_text_comes_back(rows: list[list[Any]]) -> None:
    """From each format, with whatever is in it; half a surrogate pair, which no file can hold, as U+FFFD."""
    expected = [[readable(text), count] for text, count in rows]
    lines = jsonl(rows, TWO).split(b"\n")[:-1]
    assert [list(json.loads(line).values()) for line in lines] == expected
    _, *cells = csv.reader(io.StringIO(as_csv(rows, TWO), newline=""), strict=True)
    assert cells == [[text or "", "" if count is None else str(count)] for text, count in expected]
    assert [list(row.values()) for row in parquet(rows, TWO).read().to_pylist()] == expected
