"""Result files, a block of whole lines at a time."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings, strategies as st
from support.result_lines import read_result

from openai_batches import BatchResult, Outcome
from openai_batches.results import line as line_module
from openai_batches.results.parse import ResultReader
from openai_batches.storage.lines import BlockSplitter


def success(custom_id: Any = "a", **fields: Any) -> dict[str, Any]:
    body = {"model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}, **fields}
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "x", "custom_id": custom_id, "response": response, "error": None}


def failure(custom_id: str = "a") -> dict[str, Any]:
    body = {"error": {"message": "no", "code": "c"}}
    return {"custom_id": custom_id, "response": {"status_code": 400, "request_id": "r", "body": body}, "error": None}


def encoded(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


def read(data: bytes, cuts: list[int], block_bytes: int = 64) -> list[BatchResult]:
    """Return the results in a file that arrives in pieces."""
    splitter = BlockSplitter(max_line_bytes=100_000, block_bytes=block_bytes)
    reader = ResultReader()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    blocks = [block for start, end in pairwise(edges) for block in splitter.feed(data[start:end])]
    assert all(block.endswith(b"\n") for block in blocks)
    blocks += [rest] if (rest := splitter.rest()) else []
    assert b"".join(blocks) == data
    return [result for block in blocks for result in reader.read(block)]


def one_by_one(data: bytes) -> list[BatchResult]:
    """Return the same results, the slow way."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [read_result(line, line_number=n) for n, line in enumerate(lines, 1) if line and not line.isspace()]


texts = st.text(st.sampled_from('a"\\\u2028\u2029\x85\u00e9\U0001f642\ud83d '), max_size=8)
documents = st.one_of(
    texts.map(success),
    texts.map(lambda text: success(text=text)),
    texts.map(failure),
    st.sampled_from([{"custom_id": 5, "response": None}, {"response": {}}, [], None, {"custom_id": "a\n"}]),
)
lines = st.one_of(
    documents.map(encoded),
    documents.map(lambda document: json.dumps(document).encode()),
    documents.map(lambda document: encoded(document)[:-9]),
    st.sampled_from([b"", b" ", b"\t", b"<html>", b"\xff", b"{", b"}", b'{"custom_id": "a",', b'"b": 1}', b'"x"']),
    st.just(encoded(success()) + b" " + encoded(success())),
)
files = st.tuples(
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \n"])), max_size=8),
    st.booleans(),
).map(lambda made: made[0] + b"".join(line + end for line, end in made[1])[: None if made[2] else -1])


@given(data=files, cuts=st.lists(st.integers(0, 5_000), max_size=6), block_bytes=st.sampled_from([1, 64, 100_000]))
@example(data=b'{"custom_id": "a"\n}\n', cuts=[], block_bytes=100)
@example(data=b'{"custom_id": "a"}{"custom_id": "b"}\n', cuts=[], block_bytes=100)
@example(data=b'\n\n{"custom_id": "a"}\n', cuts=[1], block_bytes=100)
@example(data=b'{"custom_id": "a"}{"custom_id": "b"}\n\n', cuts=[], block_bytes=100)
@example(data=b'{"custom_id": "a"}{"custom_id": "b"}\n{"custom_id":\n"a"}\n', cuts=[], block_bytes=100)
@example(data=b'{"custom_id": "a"}\r\n{"custom_id": "b"}\r\n', cuts=[], block_bytes=100)
@settings(deadline=None, max_examples=300)
def test_results_do_not_depend_on_how_they_arrive(data: bytes, cuts: list[int], block_bytes: int) -> None:
    """Wherever the network cuts, with any end of line, the results are those of the lines one by one."""
    assert read(data, cuts, block_bytes) == one_by_one(data)


def test_a_block_of_successes() -> None:
    """The common case: everything about the line is there, the body is what it was."""
    data = encoded(success("a", text="\u2028")) + b"\n" + encoded(success("b")) + b"\n"
    first, second = ResultReader().read(data)
    assert (first.custom_id, first.outcome, first.status_code, first.request_id) == ("a", Outcome.SUCCEEDED, 200, "r")
    assert (first.line_number, second.line_number) == (1, 2)
    assert first.raw_line == data.split(b"\n")[0]
    assert first.body == success("a", text="\u2028")["response"]["body"]
    assert first.usage is not None
    assert (first.model, first.usage.input_tokens, first.usage.output_tokens) == ("m", 3, 4)
    assert type(first) is BatchResult
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        first.error = None  # type: ignore[misc]


def test_each_line_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Successes, failures and what they hold beside the body are read in one go; an odd line is looked at again."""
    decoded: list[bytes] = []
    decoder = line_module._decoder
    monkeypatch.setattr(
        line_module, "_decoder", SimpleNamespace(decode=lambda raw: (decoded.append(raw), decoder.decode(raw))[1])
    )
    monkeypatch.setattr(line_module, "_raw_decoder", None)
    block = b"".join(encoded(document) + b"\n" for document in (success("a"), failure("b"), success("c")))
    reader = ResultReader()
    found = reader.decode(block)
    assert found.successes() is None
    results = found.results()
    assert [result.error and result.error.code for result in results] == [None, "c", None]
    assert decoded == block.splitlines(keepends=True)


@pytest.mark.parametrize("body", [None, ..., [1], "text", 5])
def test_bodies_that_are_no_objects(body: Any) -> None:
    """A success may have any body, or none."""
    document = success()
    document["response"]["body"] = body
    if body is ...:
        del document["response"]["body"]
    (found,) = ResultReader().read(encoded(document))
    assert (found.outcome, found.body) == (Outcome.SUCCEEDED, None if body is ... else body)


def test_one_bad_line_costs_no_other() -> None:
    """A line that cannot be read is one result; those around it are what they are."""
    data = b"\n".join([encoded(success("a")), b"<html>", b"", encoded(success("b"))])
    found = [(result.custom_id, str(result.outcome), result.line_number) for result in ResultReader().read(data)]
    assert found == [("a", "succeeded", 1), (None, "invalid", 2), ("b", "succeeded", 4)]


def test_numbers_go_on_from_block_to_block() -> None:
    """Lines are counted through the file, empty ones too; only its very start can have a byte order mark."""
    reader = ResultReader()
    blocks = [b"\xef\xbb\xbf" + encoded(success()) + b"\n\n", encoded(success()) + b"\n", b"\xef\xbb\xbf<\n"]
    assert [[result.line_number for result in reader.read(block)] for block in blocks] == [[1], [3], [4]]


def test_bodies_of_a_type() -> None:
    """All successes have bodies of the type that was asked for."""
    (found,) = ResultReader(body_type=dict[str, Any]).read(encoded(success()))
    assert found.body["model"] == "m"
    (found,) = ResultReader(body_type=list[int]).read(encoded(success()))
    with pytest.raises(Exception, match="The text holds no list"):
        _ = found.body


def test_lines_from_anywhere() -> None:
    """Lines that were kept are read with the numbers they had."""
    kept = [encoded(success("a")), b"<html>", encoded(failure("b"))]
    reader = ResultReader()
    found = reader.read_numbered(kept, [5, 3, 9])
    assert found == [read_result(line, line_number=number) for line, number in zip(kept, [5, 3, 9], strict=True)]
    assert reader.read_numbered(kept[::2], [1, 2]) == [
        read_result(kept[0], line_number=1),
        read_result(kept[2], line_number=2),
    ]
    assert reader.read_numbered([], []) == []


GOOD = encoded(success("b"))


@pytest.mark.parametrize(
    "line",
    [
        encoded(failure()),
        encoded({**success(), "error": {"code": "c"}}),
        encoded({**success(), "response": None}),
        encoded({**success(), "response": {"status_code": 200, "request_id": "r", "body": None}}),
        b"<html>",
        b"",
        GOOD + GOOD,
        GOOD.replace(b",", b",\n", 1),
        b"\xef\xbb\xbf" + GOOD,
    ],
)
def test_a_block_with_any_other_line_has_to_be_read(line: bytes) -> None:
    """The short way is for blocks of successes alone, each on a line of its own."""
    assert ResultReader().decode(GOOD + b"\n" + line + b"\n" + GOOD + b"\n").successes() is None


@given(st.lists(st.sampled_from([GOOD, encoded(success("a", usage=None)), encoded(failure()), b"{}", b""]), max_size=4))
def test_the_short_way_says_what_the_long_one_says(lines: list[bytes]) -> None:
    block = b"".join(line + b"\n" for line in lines)
    decoded, results = ResultReader().decode(block), ResultReader().read(block)
    is_short = all(result.outcome is Outcome.SUCCEEDED for result in results) and len(results) == len(lines)
    heads = decoded.successes()
    assert (heads is not None) == is_short
    assert decoded.ids() == [result.custom_id for result in results]
    assert decoded.results() == results
    if heads is not None:
        assert heads == [result.head for result in results]
