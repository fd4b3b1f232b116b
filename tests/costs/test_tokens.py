"""The tokens of requests: their texts, what goes around them, and what cannot be counted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from openai_batches.costs.tokens import RequestTokens, approximate_tokens, count_lines

CHAT = "/v1/chat/completions"


def line(body: dict[str, Any], url: str | None = CHAT) -> bytes:
    named = {} if url is None else {"url": url}
    return msgspec.json.encode({"custom_id": "1", "method": "POST", **named, "body": body}) + b"\n"


def counted(*lines: bytes, endpoint: str | None = None) -> dict[str, RequestTokens]:
    """With one token for each character, so that sums show what was counted."""
    sums_by_model: dict[str, RequestTokens] = {}
    assert count_lines(b"".join(lines), sums_by_model, lambda model: len, endpoint=endpoint) == 0
    return sums_by_model


def tokens(body: dict[str, Any], url: str = CHAT) -> int:
    (sums,) = counted(line(body, url)).values()
    assert sums.requests == 1
    return sums.input_tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("a", 1),
        ("abcd", 1),
        ("abcde", 2),
        ("привет", 3),
        ("наука" * 20, 40),
        ("结果" * 50, 70),
        ("😀" * 10, 15),
        ("abcd" * 10 + "é" * 10 + "字" * 10 + "😀" * 10, 10 + 4 + 7 + 15),
        ("\ud83d" * 10, 7),
    ],
)
def test_the_approximation_is_what_it_says(text: str, expected: int) -> None:
    """1/4 of a token per ASCII character, 2/5, 7/10 and 3/2 for those of two, three and four bytes, rounded up."""
    assert approximate_tokens(text) == expected


@given(st.text(), st.text())
def test_the_approximation_grows_with_the_text(one: str, two: str) -> None:
    """More text is never fewer tokens, and cutting a text costs at most one token of rounding."""
    whole = approximate_tokens(one + two)
    assert max(approximate_tokens(one), approximate_tokens(two)) <= whole
    assert (
        approximate_tokens(one) + approximate_tokens(two) - 1
        <= whole
        <= approximate_tokens(one) + (approximate_tokens(two))
    )


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_approximation_stays_within_the_length_in_bytes(text: str) -> None:
    """Between a sixth of a token and half a token for each byte of UTF-8."""
    size = len(text.encode())
    assert size / 6 <= approximate_tokens(text) <= size / 2 + 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": []}, 3),
        ({"messages": [{"role": "user", "content": "12345"}]}, 3 + 4 + 5),
        ({"messages": [{"role": "user", "content": "12345", "name": "bob"}]}, 3 + 4 + 5 + 1 + 3),
        ({"messages": [{"role": "user", "content": None}]}, 3 + 4),
        ({"messages": [{"role": "system", "content": "1"}, {"role": "user", "content": "2"}]}, 3 + 5 + 5),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "12345"}]}]}, 3 + 4 + 5),
        ({"messages": [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}]}, 3 + 4 + 2),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": [1]}]}, 3 + 4 + 3),
        ({"messages": [{"role": "assistant", "content": "", "tool_calls": None}]}, 3 + 4),
        ({"messages": [], "tools": [{}], "functions": None, "response_format": {}}, 3 + 4 + 2),
        ({"prompt": "12345"}, 5),
        ({"prompt": ["123", "45"], "suffix": "67"}, 5 + 2 + 4),
        ({"prompt": [1, 2, 3]}, 3),
        ({"input": "12345"}, 5),
        ({"input": ["123", "45"]}, 5),
        ({"input": [[1, 2], [3]]}, 3),
        ({"input": "12", "instructions": "345"}, 5 + 4),
        ({"input": [{"role": "user", "content": "12345"}], "text": {}}, 3 + 4 + 5 + 2),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "123"}]}]}, 3 + 4 + 3),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, 3 + 4 + 1 + 1 + 2),
        ({"input": [{"type": "function_call_output", "output": "12345"}]}, 3 + 4 + 5),
        ({"input": [{"type": "function_call_output", "output": [{"type": "input_text", "text": "1"}]}]}, 3 + 4 + 1),
        ({"model": "a"}, 0),
    ],
)
def test_everything_that_is_read_by_a_model_is_counted(body: dict[str, Any], expected: int) -> None:
    """Texts wherever they stand, 4 tokens around a message, 1 for a name, 3 before the answer; token lists exactly."""
    assert tokens(body) == expected


def test_media_is_told_and_not_counted() -> None:
    """The base64 of an image is no text: counted as one, it would cost a hundred times too much."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}
    content = [{"type": "text", "text": "12"}, image, image]
    (sums,) = counted(line({"messages": [{"role": "user", "content": content}]})).values()
    assert (sums.input_tokens, sums.media_parts) == (3 + 4 + 2, 2)


@pytest.mark.parametrize(
    ("body", "url", "most", "answers_without"),
    [
        ({"max_tokens": 10}, CHAT, 10, 0),
        ({"max_completion_tokens": 20, "max_tokens": 10}, CHAT, 20, 0),
        ({"max_tokens": 10, "n": 3}, CHAT, 30, 0),
        ({"max_output_tokens": 7}, "/v1/responses", 7, 0),
        ({"max_tokens": 10, "best_of": 4, "n": 2}, "/v1/completions", 40, 0),
        ({"n": 3}, CHAT, 0, 3),
        ({}, CHAT, 0, 1),
        ({"max_tokens": None, "n": None}, CHAT, 0, 1),
        ({"max_tokens": -1}, CHAT, 0, 1),
        ({"max_tokens": 10, "max_completion_tokens": -1}, CHAT, 0, 1),
        ({"input": "a"}, "/v1/embeddings", 0, 0),
        ({"input": "a"}, "/openai/v1/embeddings", 0, 0),
        ({"input": "a"}, "/v1/moderations", 0, 0),
    ],
)
def test_the_most_output_is_what_requests_allow(
    body: dict[str, Any], url: str, most: int, answers_without: int
) -> None:
    """Each answer may have the stated maximum; where none is stated, that is told; embeddings write nothing."""
    (sums,) = counted(line(body, url)).values()
    assert (sums.max_output_tokens, sums.answers_without_maximum) == (most, answers_without)
    assert sums.requests_without_maximum == bool(answers_without)


def test_the_endpoint_of_lines_that_name_none() -> None:
    """A line's own url wins over the endpoint given for all."""
    assert counted(line({}, None), endpoint="/v1/embeddings")[""].requests_without_maximum == 0
    assert counted(line({}, None))[""].requests_without_maximum == 1
    assert counted(line({}, CHAT), endpoint="/v1/embeddings")[""].requests_without_maximum == 1
    odd = line({"n": "3"}, None)
    assert counted(odd, endpoint="/v1/embeddings")[""].requests_without_maximum == 0


def test_models_are_counted_apart() -> None:
    """Each model with the function that counts for it; a request without one is under the empty name."""
    sums_by_model: dict[str, RequestTokens] = {}
    lines = [line({"model": model, "prompt": "12345"}) for model in ("a", "b", "a", None)]
    counter = {"a": len, "b": lambda text: 100, "": lambda text: 7}
    assert count_lines(b"".join(lines), sums_by_model, counter.__getitem__) == 0
    assert {model: (sums.requests, sums.input_tokens) for model, sums in sums_by_model.items()} == {
        "a": (2, 10),
        "b": (1, 100),
        "": (1, 7),
    }


def test_odd_lines_do_not_stop_the_count() -> None:
    """A body of another shape is counted as its JSON, under its model; what is no request is told.

    A maximum that is there and cannot be read is not taken for none.
    """
    good = line({"model": "a", "prompt": "12345"})
    odd = line({"model": "a", "messages": 5, "max_tokens": "ten"})
    nameless = line({"model": 5})
    sums_by_model: dict[str, RequestTokens] = {}
    block = b"".join(
        [b"\xef\xbb\xbf", good, b"{no\n", b"\r\n", odd, b"[]\n", b'{"url": "/x"}\n', b"\xff\n", nameless, good]
    )
    assert count_lines(block, sums_by_model, lambda model: len) == 4
    assert sums_by_model["a"].requests == 3
    assert sums_by_model["a"].input_tokens == 5 + len('{"model":"a","messages":5,"max_tokens":"ten"}') + 5
    assert (sums_by_model["a"].requests_without_maximum, sums_by_model["a"].requests_with_unknown_maximum) == (2, 1)
    assert sums_by_model[""].requests == 1


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"max_tokens": 16000.0}, 16_000),
        ({"max_tokens": "16000"}, 16_000),
        ({"max_completion_tokens": 100, "n": 4.0}, 400),
        ({"max_tokens": 10, "best_of": "3"}, 30),
        ({"max_tokens": 10, "max_completion_tokens": 5}, 10),
    ],
)
@pytest.mark.parametrize("odd", [{}, {"messages": [{"role": "user", "content": "a", "name": 5}]}])
def test_numbers_are_read_however_they_are_written(fields: dict[str, Any], most: int, odd: dict[str, Any]) -> None:
    """As decimals, as pandas writes a column with a gap, or as text; in a body of any shape. The largest one counts."""
    (sums,) = counted(line({**fields, **odd})).values()
    assert (sums.max_output_tokens, sums.requests_without_maximum) == (most, 0)
    assert sums.requests_with_unknown_maximum == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 16000.5},
        {"max_tokens": "many"},
        {"max_tokens": "-1"},
        {"max_tokens": "9" * 5_000},
        {"max_tokens": True},
        {"max_tokens": [10]},
        {"max_tokens": 10, "max_output_tokens": ""},
        {"max_tokens": "many", "max_completion_tokens": -1},
        {"max_tokens": 10, "n": "two"},
        {"n": {}},
    ],
)
@pytest.mark.parametrize("odd", [{}, {"instructions": [{"role": "user", "content": "a"}]}])
def test_a_number_that_cannot_be_read_is_not_known(fields: dict[str, Any], odd: dict[str, Any]) -> None:
    """It is told apart from no maximum: a maximum may be assumed for those, but not for these."""
    (sums,) = counted(line({**fields, **odd})).values()
    assert sums.requests_with_unknown_maximum == 1
    assert (sums.max_output_tokens, sums.requests_without_maximum, sums.answers_without_maximum) == (0, 0, 0)
    (writeless,) = counted(line({**fields, **odd}, "/v1/embeddings")).values()
    assert writeless.requests_with_unknown_maximum == 0


def test_a_number_beyond_a_float_is_no_broken_line() -> None:
    """JSON knows no largest number, and validation finds nothing wrong: it is a request, its maximum is not known."""
    sums_by_model: dict[str, RequestTokens] = {}
    lines = b'{"body": {"model": "a", "max_tokens": 1e400}}\n{"body": {"model": "a", "n": -1e400, "messages": 5}}\n'
    assert count_lines(lines, sums_by_model, lambda model: len) == 0
    assert (sums_by_model["a"].requests, sums_by_model["a"].requests_with_unknown_maximum) == (2, 2)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"prompt": {"id": "pmpt_1"}}, (0, 1, 0)),
        ({"prompt": {"id": "pmpt_1", "variables": None}}, (0, 1, 0)),
        ({"prompt": {"id": "pmpt_1", "variables": {"a": "123", "b": {"type": "input_text", "text": "45"}}}}, (5, 1, 0)),
        ({"prompt": {"id": "pmpt_1", "variables": {"a": {"type": "input_image", "image_url": "x"}}}}, (0, 1, 1)),
        ({"input": "123", "previous_response_id": "resp_1"}, (3, 1, 0)),
        ({"input": "123", "conversation": {"id": "conv_1"}}, (3, 1, 0)),
        ({"input": [{"type": "item_reference", "id": "msg_1"}] * 2}, (3 + 8, 2, 0)),
    ],
)
def test_what_the_service_keeps_is_told_and_not_counted(body: dict[str, Any], expected: tuple[int, int, int]) -> None:
    """A prompt or an answer that is named by its id has tokens that only the service knows; variables are counted."""
    stated = {**body, "max_output_tokens": 16_000}
    (sums,) = counted(line(stated, "/v1/responses")).values()
    assert (sums.input_tokens, sums.stored_parts, sums.media_parts) == expected
    assert (sums.max_output_tokens, sums.requests_without_maximum) == (16_000, 0)


def test_what_the_service_keeps_is_told_of_odd_bodies_too() -> None:
    """And an image in one of them is an image, not a text of a million characters."""
    body = {"model": "a", "prompt": {"id": "p"}, "instructions": [{"image_url": "data:image/png;base64,AAAA"}]}
    (sums,) = counted(line(body, "/v1/responses")).values()
    assert (sums.stored_parts, sums.media_parts) == (1, 1)
    assert sums.input_tokens == len(msgspec.json.encode(body)) - len("data:image/png;base64,AAAA")
    referring = {"input": [{"type": "item_reference", "id": "msg_1"}, {"type": "message", "name": 5}]}
    assert counted(line(referring, "/v1/responses"))[""].stored_parts == 1


@pytest.mark.parametrize(
    ("block", "unreadable"),
    [
        (b'{"body": {}} {"body": {}}\n', 1),
        (b'{"body":\n{}}\n', 2),
        (b'{"body": {}}\n\n{"body": {}}', 0),
        (b'{"body": {}}', 0),
    ],
)
def test_a_request_is_a_line(block: bytes, unreadable: int) -> None:
    """Two on one line are no request to the service, and neither is one on two."""
    assert count_lines(block, {}, lambda model: len) == unreadable


def test_depth_is_no_danger() -> None:
    """Nesting that no decoder follows makes a line unreadable, not the program stop."""
    deep = b'{"body": {"tools": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}\n"
    sums_by_model: dict[str, RequestTokens] = {}
    assert count_lines(deep + line({"prompt": "1"}), sums_by_model, lambda model: len) == 1
    assert sums_by_model[""].requests == 1


BODIES = st.fixed_dictionaries(
    {"model": st.sampled_from(["a", "b"])},
    optional={
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.just("user"), "content": st.text(max_size=20)}), max_size=3
        ),
        "max_tokens": st.integers(1, 100) | st.text(max_size=2),
        "n": st.none() | st.integers(1, 3),
    },
)


@given(st.lists(BODIES, max_size=8), st.data())
def test_the_cut_into_blocks_makes_no_difference(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    """However lines are grouped into blocks, odd ones among them or not, the sums are the same."""
    lines = [line(body) for body in bodies]
    whole = counted(*lines)
    cut = data.draw(st.integers(0, len(lines)))
    parts: dict[str, RequestTokens] = {}
    for part in (lines[:cut], lines[cut:]):
        count_lines(b"".join(part), parts, lambda model: len)
    assert parts == whole
