"""Prompts are read from tables, lines of JSON and lines of text, with the line that each stands on."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import os
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import given, strategies as st

from openai_batches import InputError, InvalidRequestsError, read_prompts, requests_from
from openai_batches.requests.prompts import RowReader

if TYPE_CHECKING:
    from pathlib import Path


async def prompts_of(source: Any, **options: Any) -> list[Any]:
    return [prompt async for prompt in read_prompts(source, **options)]


def rows_of(data: bytes, format: Any, delimiter: str | None = None) -> list[Any]:
    """Return rows with their lines, and problems as texts."""
    rows = RowReader(data, format=format, delimiter=delimiter).rows()
    return [row if isinstance(row, tuple) else str(row) for row in rows]


TABLE = b'id,text\n1,"Hello, ""you"""\n2,"two\r\nlines"\n\n3,c\n'
TABLE_ROWS = [{"id": "1", "text": 'Hello, "you"'}, {"id": "2", "text": "two\r\nlines"}, {"id": "3", "text": "c"}]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", TABLE),
        ("A.CSV", b"\xef\xbb\xbf" + TABLE),
        ("a.tsv", TABLE.replace(b",", b"\t").replace(b"Hello\t", b"Hello,")),
        ("a.csv.gz", gzip.compress(TABLE)),
        ("a.csv.zst", zstandard.compress(TABLE)),
        ("a.csv", TABLE.replace(b"\n", b"\r\n").replace(b"\r\r", b"\r")),
        ("a.csv", TABLE[:-1]),
    ],
    ids=["plain", "mark", "tabs", "gzip", "zstd", "windows", "no end"],
)
async def test_a_table_gives_its_rows_as_fields(name: str, data: bytes, tmp_path: Path) -> None:
    """By suffix and packing, with a byte order mark or without, whatever ends the lines."""
    (tmp_path / name).write_bytes(data)
    assert await prompts_of(tmp_path / name) == TABLE_ROWS
    assert await prompts_of(str(tmp_path / name)) == TABLE_ROWS


async def test_lines_of_json_are_objects_or_texts() -> None:
    data = b'{"a": 1, "b": [null]}\n\n  \r\n"one"\r\n{}\n"caf\\u00e9"'
    assert await prompts_of(data, format="jsonl") == [{"a": 1, "b": [None]}, "one", {}, "café"]


async def test_lines_of_text_are_prompts() -> None:
    """A line separator that is not a line feed is a character of the prompt, spaces are kept, blank lines are not."""
    data = "\ufeffone\r\n\n two \u2028 three \n\t\nfour".encode()
    assert await prompts_of(data, format="text") == ["one", " two \u2028 three ", "four"]


@pytest.mark.parametrize("name", ["a.txt", "a.text.gz"])
async def test_an_open_file_is_read_and_left_open(name: str, tmp_path: Path) -> None:
    """Its name says how it is written, if it has one."""
    (tmp_path / name).write_bytes(gzip.compress(b"one\ntwo\n"))
    with (tmp_path / name).open("rb") as file:
        assert await prompts_of(file) == ["one", "two"]
        assert not file.closed
    assert await prompts_of(io.BytesIO(b"one\n"), format="text") == ["one"]
    assert await prompts_of(io.BytesIO(b""), format="text") == []


async def test_what_is_read_is_what_requests_are_made_from(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(TABLE)
    requests = requests_from(read_prompts(tmp_path / "a.csv"), model="m", template="{id}: {text}")
    assert [request.body["messages"][0]["content"] async for request in requests][2] == "3: c"


def test_rows_know_their_lines() -> None:
    """A row stands on the line where it begins, however many it takes, and blank lines count."""
    assert [line for line, _ in rows_of(TABLE, "csv")] == [2, 3, 6]
    assert rows_of(b"\n\na;b\n\n1;2\n", "csv", ";") == [(5, {"a": "1", "b": "2"})]
    assert rows_of(b"\na\n\nb\n", "text") == [(2, "a"), (4, "b")]


def test_blank_lines_are_counted() -> None:
    for data, kind in ((b"\na\n\n1\n\n", "csv"), (b"\n1\n \n\n", "text"), (b'\n"1"\n\r\n\n', "jsonl")):
        reader = RowReader(data, format=kind, delimiter=None)
        assert len(list(reader.rows())) == 1
        assert reader.blank_lines == 3


GOOD = (4, {"a": "1", "b": "2"})


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"1\n1,2,3\n", ["2: This row has 1 field, the header has 2.", "3: This row has 3 fields", GOOD]),
        (b'"1"x,2\n\n', ["2: This row is no CSV: ',' expected after '\"'.", GOOD]),
        (b"\n1,\xe9s\n", ["3, column 3: This line is not valid UTF-8 (0xe9): save the file in UTF-8.", GOOD]),
        (b'1,"x\xff\n\xff\xff"\n', ["2, column 5: This line is not valid UTF-8", GOOD]),
        (b"1,2\r3,4\n\n", ["2: This row has a carriage return outside of quotes: end the lines with line", GOOD]),
        (b'\n1,"', ["3: A quote that this row opens is never closed."]),
    ],
)
def test_a_broken_row_is_named_and_the_rows_behind_it_are_read(data: bytes, rows: list[Any]) -> None:
    """So that all that is wrong with a file can be named at once."""
    found = rows_of(b"a,b\n" + data + b"1,2\n", "csv")
    assert len(found) == len(rows)
    for row, expected in zip(found, rows, strict=True):
        assert row == expected or row.startswith(f"line {expected}")


@pytest.mark.parametrize("header", [b"a,\xff", b'"a"b'])
def test_without_a_header_no_row_is_read(header: bytes) -> None:
    """The rows behind a header that is broken have no fields."""
    (problem,) = rows_of(header + b"\n1,2\n", "csv")
    assert problem.startswith("line 1")


def test_a_field_without_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quote that is never closed does not take the whole file into memory, and nothing is read behind it."""
    monkeypatch.setattr("openai_batches.requests.prompts._MAX_FIELD_CHARS", 100)
    before = csv.field_size_limit(100)
    try:
        found = rows_of(b'a,b\n1,2\n1,"' + b"x\n" * 100 + b'"\n1,2\n', "csv")
    finally:
        csv.field_size_limit(before)
    assert found[1:] == ["line 3: This row has a field of more than 100 characters: is a quote not closed?"]


def test_a_long_prompt_is_no_mistake() -> None:
    """The csv module's own limit, 128 KiB, is less than models take."""
    assert rows_of(b"a\n" + b"x" * 200_000 + b"\n", "csv") == [(2, {"a": "x" * 200_000})]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'"a"\n{"a":}\n"b"\n', "line 2, column 6: This line is not parseable as valid JSON"),
        (b'"a"\n"\xff"\n"b"\n', "line 2, column 2: This line is not valid UTF-8"),
        (b'"a"\n17\n"b"\n', "line 2: A line must hold an object or a text, but this one holds 17."),
        (b'"a"\n["b"]\n"b"\n', 'line 2: A line must hold an object or a text, but this one holds ["b"].'),
        (
            f'"a"\n["x{"é" * 40}"]\n"b"\n'.encode(),
            f'line 2: A line must hold an object or a text, but this one holds ["x{"é" * 18}.',
        ),
        (b'"a"\n' + b"[" * 100_000 + b'\n"b"\n', "line 2: This line is nested too deeply"),
    ],
)
def test_a_line_that_holds_no_prompt_is_named(data: bytes, message: str) -> None:
    found = rows_of(data, "jsonl")
    assert (found[0], found[2]) == ((1, "a"), (3, "b"))
    assert found[1].startswith(message)


def test_text_in_another_encoding_is_named() -> None:
    assert rows_of(b"a\n\xe9t\xe9\nb\n", "text")[1].startswith("line 2, column 1: This line is not valid UTF-8")


async def test_reading_ends_at_the_first_problem(tmp_path: Path) -> None:
    """With the file, the line, and what came before it."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"a\n1\n2,3\n4\n")
    prompts = read_prompts(path)
    assert await anext(prompts) == {"a": "1"}
    with pytest.raises(InvalidRequestsError, match=r"a\.csv:3: This row has 2 fields, the header has 1") as caught:
        await anext(prompts)
    assert (caught.value.problems[0].file, caught.value.problems[0].line) == (str(path), 3)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (["a"], {}, "prompts are read from a path, bytes or a binary file, not from list"),
        ("a\nb", {}, "a str is the path of a file of prompts: the prompts themselves are given as bytes"),
        ("a.json", {}, "'a.json' does not say by its name how it is written: the format can be csv, jsonl or text"),
        (b"a", {}, "prompts without a name need a format: the format can be csv, jsonl or text"),
        (b"a", {"format": "xml"}, "'xml' is no format of prompts"),
        ("a.csv", {"delimiter": ";;"}, "delimiter must be one character"),
        ("a.csv", {"delimiter": '"'}, "delimiter must be one character"),
        ("a.csv", {"delimiter": 5}, "delimiter must be one character"),
        ("a.txt", {"delimiter": ";"}, "a delimiter is for csv, 'a.txt' is text"),
        (b"a", {"format": "text", "delimiter": ";"}, "a delimiter is for csv, these prompts are text"),
        (b"a,b,a\n", {"format": "csv"}, "the file:1: two fields of the header are called 'a'"),
        ("a\n".encode("utf-16"), {"format": "csv"}, "the file is written in UTF-16: save it in UTF-8"),
        (b"\x1f\x8b\x08", {"format": "csv"}, "cannot be unpacked"),
        (os.curdir, {"format": "csv"}, "is a folder: prompts are read from a file"),
    ],
)
async def test_what_cannot_be_read_as_prompts(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        await prompts_of(source, **options)


@given(
    st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2)),
    st.sampled_from(",;\t"),
)
def test_any_table_is_read_as_it_was_written(rows: list[list[str]], delimiter: str) -> None:
    """Whatever stands in its cells, and each row on the line where it begins."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow("ab")
    lines = []
    for row in rows:
        lines.append(file.getvalue().count("\n") + 1)
        writer.writerow(row)
    expected = [(line, {"a": a, "b": b}) for line, (a, b) in zip(lines, rows, strict=True)]
    assert rows_of(file.getvalue().encode(), "csv", delimiter) == expected


async def test_columns_without_a_name_are_passed_over() -> None:
    """Programs write tables with an index that has none, or with commas at the end."""
    assert await prompts_of(b",a ,,\n0,1,2,3\n", format="csv") == [{"": "3", "a": "1"}]
    assert await prompts_of(b"a,\n1,\n2, \n3,x\n", format="csv") == [{"a": "1"}, {"a": "2"}, {"a": "3", "": "x"}]


async def test_a_file_of_any_size_is_read_in_little_memory(tmp_path: Path) -> None:
    """What is held is a block, and some rows made of it."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,text\n" + (b"1," + b"words " * 500 + b"\n") * 10_000)
    tracemalloc.start()
    try:
        count = 0
        async for _ in read_prompts(path):
            count += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 10_000
    assert peak < path.stat().st_size / 6


async def test_leaving_early_closes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"prompt\n" * 5_000)
    prompts = read_prompts(path)
    assert await anext(prompts) == "prompt"
    await asyncio.wait_for(prompts.aclose(), 60)
