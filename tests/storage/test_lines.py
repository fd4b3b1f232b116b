r"""Cutting a stream of bytes into lines, at ``\n`` and nowhere else."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import example, given, settings, strategies as st

from openai_batches import DecodeError
from openai_batches.storage.lines import BlockSplitter, LineSplitter

alphabet = st.sampled_from(
    ["\n", "\n\n", "\r\n", "\r", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "a", "é", "🙂", ""]
)
streams = st.lists(alphabet, max_size=30).map(lambda parts: "".join(parts).encode()) | st.binary(max_size=60)


def split(data: bytes, cuts: list[int], *, max_line_bytes: int = 10_000) -> list[bytes]:
    """Return the lines of data that arrives in pieces."""
    splitter = LineSplitter(max_line_bytes=max_line_bytes)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    lines = [line for start, end in pairwise(edges) for line in splitter.feed(data[start:end])]
    return [*lines, splitter.rest()]


@given(data=streams, cuts=st.lists(st.integers(0, 1_000), max_size=12))
@example(data=b"a\r\nb\r\n", cuts=[2])
@example(data="a\u2028b\x85c\nd".encode(), cuts=[2, 3, 6])
@settings(deadline=None)
def test_lines_do_not_depend_on_how_they_arrive(data: bytes, cuts: list[int]) -> None:
    r"""Wherever the network cuts, within characters and line ends too, the lines are those between ``\n`` bytes."""
    assert split(data, cuts) == data.split(b"\n")


@given(st.binary(max_size=20))
def test_one_byte_at_a_time(data: bytes) -> None:
    """The slowest of all networks gives the same lines."""
    assert split(data, list(range(len(data)))) == data.split(b"\n")


def test_what_python_calls_line_ends_is_text() -> None:
    """U+2028, U+0085 and their kin stand unescaped in JSON without ending a line."""
    records = [{"custom_id": str(number), "text": "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"} for number in range(3)]
    data = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    lines = split(data, [])
    assert [json.loads(line, strict=False) for line in lines[:-1]] == records
    assert lines[-1] == b""


def test_a_carriage_return_belongs_to_its_line() -> None:
    r"""``\r\n`` ends a line at its ``\n``: what is before it is white space to JSON."""
    assert split(b'{"a": 1}\r\n{"a": 2}\r\n', [9]) == [b'{"a": 1}\r', b'{"a": 2}\r', b""]


def test_the_last_line_needs_no_end() -> None:
    """A file that does not end with a line end has a last line all the same."""
    splitter = LineSplitter(max_line_bytes=10)
    assert splitter.feed(b"a\nb") == [b"a"]
    assert splitter.feed(b"") == []
    assert splitter.rest() == b"b"


@pytest.mark.parametrize("chunks", [[b"x" * 11], [b"x" * 6, b"x" * 5], [b"\n\nxxx", b"x" * 8]])
def test_a_line_too_long_to_be_held_is_refused(chunks: list[bytes]) -> None:
    """A line that does not end is not collected without end; the error names it."""
    splitter = LineSplitter(max_line_bytes=10)
    for chunk in chunks[:-1]:
        splitter.feed(chunk)
    with pytest.raises(DecodeError, match="longer than 10 bytes") as caught:
        splitter.feed(chunks[-1])
    number = sum(chunk.count(b"\n") for chunk in chunks) + 1
    assert caught.value.line_number == number
    assert f"Line {number} " in str(caught.value)


def test_what_is_held_is_forgotten_with_its_line() -> None:
    """Many lines together may be longer than one may be."""
    splitter = LineSplitter(max_line_bytes=10)
    for _ in range(100):
        assert splitter.feed(b"x" * 6) == []
        assert splitter.feed(b"y" * 4 + b"\n") == [b"x" * 6 + b"y" * 4]
    assert splitter.rest() == b""


# Blocks of lines


def blocks(data: bytes, cuts: list[int], *, block_bytes: int) -> list[bytes]:
    """Return the blocks of data that arrives in pieces."""
    splitter = BlockSplitter(max_line_bytes=10_000, block_bytes=block_bytes)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    found = [block for start, end in pairwise(edges) for block in splitter.feed(data[start:end])]
    return [*found, splitter.rest()]


@given(data=streams, cuts=st.lists(st.integers(0, 1_000), max_size=12), block_bytes=st.integers(1, 40))
@settings(deadline=None)
def test_blocks_are_whole_lines(data: bytes, cuts: list[int], block_bytes: int) -> None:
    r"""Every block but the rest ends with a line, and all together are what arrived."""
    *found, rest = blocks(data, cuts, block_bytes=block_bytes)
    assert b"".join([*found, rest]) == data
    assert all(block.endswith(b"\n") for block in found)
    assert b"\n" not in rest


def test_blocks_are_as_large_as_they_may() -> None:
    """A block holds as many lines as fit, and one that is larger alone."""
    data = b"aa\n" * 5 + b"b" * 20 + b"\n" + b"aa\n" * 2
    assert blocks(data, [], block_bytes=7) == [b"aa\n" * 2, b"aa\n" * 2, b"aa\n", b"b" * 20 + b"\n", b"aa\n" * 2, b""]


@pytest.mark.parametrize("chunks", [[b"x" * 11], [b"x" * 6, b"x" * 5], [b"\n\nxxx", b"x" * 8]])
def test_a_block_does_not_grow_without_end(chunks: list[bytes]) -> None:
    """A line too long to be held is refused here too."""
    splitter = BlockSplitter(max_line_bytes=10)
    for chunk in chunks[:-1]:
        list(splitter.feed(chunk))
    with pytest.raises(DecodeError, match="A line is longer than 10 bytes"):
        list(splitter.feed(chunks[-1]))
