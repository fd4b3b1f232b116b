"""Lines of output and error files: what became of each request."""

from __future__ import annotations

import array
import base64
import dataclasses
import json
import pickle
import re
import struct
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypedDict

import attrs
import cattrs
import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from support.result_lines import read_result

from openai_batches import (
    BatchResult,
    BatchUsage,
    DecodeError,
    InputError,
    InputTokensDetails,
    Outcome,
    OutputTokensDetails,
    ResultError,
)
from openai_batches.errors import IncompleteOutputError, RefusalError, RequestFailedError
from openai_batches.results import bodies
from openai_batches.results.parse import ResultReader
from openai_batches.results.result import missing_result

if TYPE_CHECKING:
    from collections.abc import Iterator


def line(**fields: Any) -> bytes:
    document = {"id": "batch_req_1", "custom_id": "request-1", "response": None, "error": None, **fields}
    return json.dumps({name: value for name, value in document.items() if value is not ...}).encode()


def response(status_code: Any = 200, body: Any = None, **fields: Any) -> dict[str, Any]:
    return {"status_code": status_code, "request_id": "req_1", "body": body, **fields}


def result(*args: bytes, **fields: Any) -> BatchResult:
    return read_result(*args or (line(**fields),), line_number=7)


NOT_FOUND = {"message": "The model `x` does not exist.", "type": "invalid_request_error", "param": None, "code": "c"}
CHAT = {"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}]}


# Success


def test_a_success_is_an_error_of_null_and_a_status_of_2xx() -> None:
    """The documented line of an output file."""
    found = result(response=response(200, CHAT))
    assert found == BatchResult(
        custom_id="request-1",
        outcome=Outcome.SUCCEEDED,
        status_code=200,
        request_id="req_1",
        error=None,
        line_number=7,
        raw_body=json.dumps(CHAT).encode(),
    )
    assert found.body == CHAT


@pytest.mark.parametrize("status_code", [200, 201, 204, 299, "200", 200.0])
def test_every_2xx_is_a_success(status_code: Any) -> None:
    """Success is a range, however the number is written."""
    assert result(response=response(status_code)).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("missing", ["id", "error"])
def test_a_success_needs_neither_an_id_nor_an_error_field(missing: str) -> None:
    """Some services leave out the line's own id, or an error that is null."""
    assert result(response=response(200, CHAT), **{missing: ...}).outcome is Outcome.SUCCEEDED


def test_unknown_fields_do_no_harm() -> None:
    """A newer service may say more."""
    found = result(response=response(200, CHAT, latency_ms=5), cost={"usd": 1})
    assert (found.outcome, found.body) == (Outcome.SUCCEEDED, CHAT)


@pytest.mark.parametrize("body", [CHAT, {"a": "\u2028 \u0085 é"}, [1, 2], 5, True])
def test_a_body_may_be_json_text(body: Any) -> None:
    """A body that was encoded twice is decoded twice."""
    assert result(response=response(200, json.dumps(body))).body == body
    assert result(response=response(200, body)).body == body


@pytest.mark.parametrize(
    "body", ["upstream error", "<html>502</html>", "", "[" * 100_000], ids=["text", "html", "", "deep"]
)
@pytest.mark.parametrize("status_code", [200, 502])
def test_a_body_may_be_plain_text(body: str, status_code: int) -> None:
    """Text that is no JSON is the body itself, and asking for the answer's text does not fail."""
    found = result(response=response(status_code, body))
    assert found.body == body
    assert found.output_text is None


@pytest.mark.parametrize(
    "fields", [{"response": None}, {"response": response(200, None)}, {"response": {"status_code": 200}}]
)
def test_a_body_that_is_not_there_is_none(fields: dict[str, Any]) -> None:
    """No response, null, and no field are all no body."""
    found = result(**fields)
    assert (found.raw_body, found.body, found.output_text) == (b"", None, None)


def test_a_body_that_is_no_json_names_its_line() -> None:
    """A broken body is found when it is looked at, and costs no other line."""
    found = result(b'{"custom_id": "a", "response": {"status_code": 200, "body": {"x": "\xff"}}}')
    assert (found.custom_id, found.outcome) == ("a", Outcome.SUCCEEDED)
    with pytest.raises(DecodeError, match="line 7") as caught:
        _ = found.body
    assert caught.value.line_number == 7


def test_a_body_nested_beyond_reason_is_refused() -> None:
    """Nesting that no parser follows is a DecodeError like any other body that cannot be read."""
    found = BatchResult(custom_id="a", outcome=Outcome.SUCCEEDED, raw_body=b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(DecodeError):
        _ = found.body


def test_a_body_is_decoded_once() -> None:
    """Looking twice gives the same value, and leaves the result equal to one that was not looked at."""
    found = result(response=response(200, CHAT))
    assert found.body is found.body
    assert found == result(response=response(200, CHAT))
    assert hash(found) == hash(result(response=response(200, CHAT)))
    assert "choices" not in repr(found)


def test_a_result_survives_pickle() -> None:
    """Results go to other processes, looked at or not."""
    found = result(response=response(404, {"error": NOT_FOUND}))
    assert pickle.loads(pickle.dumps(found)) == found
    assert found.body == {"error": NOT_FOUND}
    assert pickle.loads(pickle.dumps(found)).body == {"error": NOT_FOUND}


# Failure


def test_an_http_failure_has_its_reason_in_the_body() -> None:
    """``error`` is null in the documented line of an error file; what went wrong stands in the response."""
    found = result(response=response(404, {"error": NOT_FOUND}))
    assert found.outcome is Outcome.FAILED
    assert (found.status_code, found.request_id) == (404, "req_1")
    assert found.error == ResultError(code="c", message=NOT_FOUND["message"], type="invalid_request_error")
    assert found.body == {"error": NOT_FOUND}
    assert found.output_text is None


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("batch_expired", Outcome.EXPIRED),
        ("batch_cancelled", Outcome.CANCELLED),
        ("request_timeout", Outcome.FAILED),
        ("anything", Outcome.FAILED),
        (None, Outcome.FAILED),
        (400, Outcome.FAILED),
    ],
)
@pytest.mark.parametrize("responses", [{"response": None}, {"response": ...}, {"response": response(0, None)}])
def test_a_request_that_never_ran(code: Any, outcome: Outcome, responses: dict[str, Any]) -> None:
    """Without a response the error's code says what became of the request."""
    found = result(error={"code": code, "message": "not executed"}, **responses)
    assert found.outcome is outcome
    assert found.error == ResultError(code=None if code is None else str(code), message="not executed")
    assert found.status_code == (0 if responses["response"] not in (None, ...) else None)


@pytest.mark.parametrize("status_code", [0, 100, 199, 300, 400, 500, -1])
def test_a_status_outside_2xx_is_a_failure(status_code: int) -> None:
    """A request without a reason still has one: its status."""
    found = result(response=response(status_code))
    assert found.outcome is Outcome.FAILED
    assert found.error == ResultError(message=f"The request was answered with status {status_code}")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("Bad request", ResultError(message="Bad request")),
        (
            {"object": "error", "message": "m", "type": "BadRequestError", "param": None, "code": 400},
            ResultError(code="400", message="m", type="BadRequestError"),
        ),
        (
            {"message": "m", "type": "server_error", "param": "x"},
            ResultError(message="m", type="server_error", param="x"),
        ),
        ({}, ResultError()),
        (["m"], ResultError(message="['m']")),
    ],
)
@pytest.mark.parametrize("status_code", [200, 400])
def test_an_error_of_its_own_is_a_failure_whatever_the_status(
    error: Any, expected: ResultError, status_code: int
) -> None:
    """Services that put the reason into ``error`` (an object, or a text) are read too."""
    found = result(response=response(status_code, None), error=error)
    assert (found.outcome, found.error) == (Outcome.FAILED, expected)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": "m"}, "m"),
        (json.dumps({"error": NOT_FOUND}), NOT_FOUND["message"]),
        ({"error": None}, "The request was answered with status 500"),
        ({"detail": "m"}, "The request was answered with status 500"),
        ([], "The request was answered with status 500"),
        ("<html>", "The request was answered with status 500"),
        ("[" * 100_000, "The request was answered with status 500"),
    ],
    ids=["text", "json-text", "null", "no-error", "list", "html", "deep"],
)
def test_a_reason_is_looked_for_in_any_body(body: Any, expected: str) -> None:
    """A body in another shape than documented costs the reason, not the result."""
    found = result(response=response(500, body))
    assert found.error is not None
    assert (found.outcome, found.error.message) == (Outcome.FAILED, expected)


def test_a_reason_in_bytes_that_are_no_utf8_is_not_found() -> None:
    """A failed request with a broken body is still that failed request."""
    found = result(b'{"custom_id": "a", "response": {"status_code": 500, "body": {"error": "\xff"}}}')
    assert (found.custom_id, found.outcome, found.status_code) == ("a", Outcome.FAILED, 500)


# Lines that cannot be read


@pytest.mark.parametrize(
    ("data", "custom_id"),
    [
        (b'{"id": "x", "custom_id": "request-1", "response": {"status_c', "request-1"),
        (b'{"custom_id" :\t"quoted \\"id\\" \\u00e9", "response": ', 'quoted "id" é'),
        ('{"custom_id": "é", "resp'.encode(), "é"),
        (b'{"custom_id": "request-1", "response": "text"}', "request-1"),
        (b'{"custom_id": "request-1"}{"custom_id": "request-2"}', "request-1"),
        (
            b'{"custom_id": "a", "response": {"status_code": 200, "body": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
            "a",
        ),
        (b'{"custom_id": "request-', None),
        (b'{"custom_id": "\xff", "response": ', None),
        (b'{"custom_id": "\\ud800", "response": ', None),
        (b'{"custom_id": true, "response": null}', None),
        (b'{"custom_id": 5, "response": ', "5"),
        (b'{"custom_id": 57', None),
        (b'{"custom_id": 57, "response": [', "57"),
        (b'{"response": {"body": {"custom_id": "inner"}}, "custom_id": "outer", "error": nul', "outer"),
        (b'{"custom_id": "outer", "response": {"body": {"custom_id": "inner"', "outer"),
        (b'{"response": {"body": {"custom_id": "inner", "text": "\\"custom_id\\": \\"x\\""', None),
        (b'{"metadata": {"custom_id": "inner"}, "text": "}", "custom_id": "outer", "response": {', "outer"),
        (b'{"custom_id", "a"', None),
        (b'{"custom_id": null}', None),
        (b'{"response": null}', None),
        (b"<html>", None),
        (b"null", None),
        (b"[]", None),
        (b'"text"', None),
        (b"\xff\xfe", None),
    ],
)
def test_a_line_that_cannot_be_read_is_one_invalid_result(data: bytes, custom_id: str | None) -> None:
    """One broken line never costs the file, and its custom_id is rescued where it can be."""
    found = result(data)
    assert (found.outcome, found.custom_id, found.line_number) == (Outcome.INVALID, custom_id, 7)
    assert found.error is not None
    assert found.error.code == "invalid_line"
    assert found.error.message.startswith("The line cannot be read: ")
    assert (found.status_code, found.body, found.output_text) == (None, None, None)


@given(st.binary(max_size=80) | st.binary(max_size=40).map(lambda data: b'{"custom_id": "a", "response": ' + data))
@settings(deadline=None)
def test_no_line_raises(data: bytes) -> None:
    """Whatever stands in a line, it is a result."""
    assert all(isinstance(found.outcome, Outcome) for found in ResultReader().read(data))


json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "message", "content", "output", "text", "error", "type"]), inner)
    ),
    max_leaves=12,
)


@given(json_value, st.sampled_from([200, 500]), json_value)
@settings(deadline=None, max_examples=200)
def test_no_body_breaks_a_result(body: Any, status_code: int, error: Any) -> None:
    """Body, text and reason of any line of JSON can be asked for without fear."""
    found = result(response=response(status_code, body), error=error)
    assert found.output_text is None or isinstance(found.output_text, str)
    assert (found.error is None) == (found.outcome is Outcome.SUCCEEDED)
    if not isinstance(body, str):
        assert found.body == body


# The answer's text


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (CHAT, "Hi"),
        (json.dumps(CHAT), "Hi"),
        ({"choices": [{"message": {"content": None, "refusal": "no"}}]}, None),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "Hi"}]}}]}, None),
        ({"choices": []}, None),
        ({"choices": ["Hi"]}, None),
        ({"choices": None}, None),
        ({"object": "text_completion", "choices": [{"text": "Hi", "index": 0}]}, "Hi"),
        ({"choices": [{"text": "Ho", "index": 1}, {"text": "Hi", "index": 0}]}, "Hi"),
        ({"choices": [{"text": "Hi", "index": 2}, {"text": "Ho", "index": 1}]}, "Hi"),
        (
            {
                "object": "response",
                "output": [
                    {"type": "reasoning", "summary": []},
                    {
                        "type": "message",
                        "content": [
                            {"type": "output_text", "text": "Hi, "},
                            {"type": "refusal", "refusal": "no"},
                            {"type": "output_text", "text": "you"},
                        ],
                    },
                    {"type": "message", "content": [{"type": "output_text", "text": "."}]},
                ],
            },
            "Hi, you.",
        ),
        ({"output": [{"type": "message", "content": [{"type": "output_text", "text": None}]}]}, None),
        ({"output": [{"type": "message", "content": "Hi"}, "Hi", {"content": ["Hi", 5]}, {"content": 5}]}, None),
        ({"output": []}, None),
        ({"output": None}, None),
        ({"output": 5}, None),
        ({"output": {"text": "Hi"}}, None),
        ({"object": "list", "data": [{"embedding": [0.1]}]}, None),
        ([], None),
        (5, None),
        ("Hi", None),
        (None, None),
    ],
)
def test_the_text_of_an_answer(body: Any, expected: str | None) -> None:
    """Chat, responses and completions have a text; nothing else has, and asking for it is no error."""
    assert result(response=response(200, body)).output_text == expected


def test_a_failed_answer_has_no_text() -> None:
    """What a failed request says is its error, not its output."""
    assert result(response=response(500, CHAT)).output_text is None
    assert result(response=response(200, CHAT), error="no").output_text is None


# Lines in other shapes than documented


@pytest.mark.parametrize(("custom_id", "expected"), [(5, "5"), (1.5, "1.5"), (2**70, str(2**70))])
def test_an_id_may_be_a_number(custom_id: Any, expected: str) -> None:
    """An id that some service made a number of is the text it was."""
    found = result(custom_id=custom_id, response=response(200, CHAT))
    assert (found.custom_id, found.outcome, found.body) == (expected, Outcome.SUCCEEDED, CHAT)


@pytest.mark.parametrize("status_code", [None, "none", True, [], 1e400])
def test_a_status_that_is_none(status_code: Any) -> None:
    """A response without a status is no success, says so, and its body is kept."""
    found = result(response=response(status_code, CHAT))
    assert (found.outcome, found.status_code, found.body) == (Outcome.FAILED, None, CHAT)
    assert found.error == ResultError(message="The request was answered without a status")


def test_neither_response_nor_error() -> None:
    """A line that says nothing is a failure that says that."""
    for found in (result(response=None), result(custom_id=7, response=None)):
        assert (found.outcome, found.status_code) == (Outcome.FAILED, None)
        assert found.error == ResultError(message="The line has neither a response nor an error")
        assert not found.is_retryable


def test_a_response_may_be_json_text() -> None:
    """A response that was encoded twice is decoded twice."""
    found = result(response=json.dumps(response(200, CHAT)))
    assert (found.outcome, found.body, found.request_id) == (Outcome.SUCCEEDED, CHAT, "req_1")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", '"\\ud83d"', '"tab\there"'])
def test_what_strict_json_refuses_was_paid_for(value: str) -> None:
    """Numbers that are none, half of an emoji and raw control characters cost neither the line nor the body."""
    body = f'{{"x": {value}, "y": [1]}}'
    found = result(f'{{"custom_id": "a", "response": {{"status_code": 200, "body": {body}}}, "error": null}}'.encode())
    assert (found.custom_id, found.outcome) == ("a", Outcome.SUCCEEDED)
    assert found.body["y"] == [1]
    assert repr(found.body["x"]) == repr(json.loads(value, strict=False))


def test_a_byte_order_mark_is_no_part_of_the_line() -> None:
    """A mark that some editor left before the line costs nothing."""
    found = result(b"\xef\xbb\xbf" + line(response=response(200, CHAT)))
    assert (found.custom_id, found.outcome, found.body) == ("request-1", Outcome.SUCCEEDED, CHAT)


def test_half_an_emoji_in_an_id() -> None:
    """Ids are kept as they are, also where they are no text that UTF-8 can write."""
    data = b'{"custom_id": "\\ud83d", "response": {"status_code": 200, "body": {}}}'
    assert result(data).custom_id == "\ud83d"


def test_the_line_is_kept() -> None:
    """What cannot be read can be looked at."""
    found = result(b"<html>")
    assert found.raw_line == b"<html>"
    assert result(line(response=None)).raw_line == line(response=None)
    assert b"html" not in repr(found).encode().replace(b"The line", b"").partition(b"line_number")[2]


# Failures, and what to do about them


@pytest.mark.parametrize(
    ("fields", "is_retryable"),
    [
        *(({"response": response(status)}, True) for status in (0, 408, 409, 429, 500, 503)),
        *(({"response": response(status)}, False) for status in (200, 400, 401, 404, 422)),
        ({"response": response(429, {"error": {"code": "insufficient_quota", "message": "no"}})}, False),
        ({"response": response(429, {"error": {"type": "insufficient_quota", "message": "no"}})}, False),
        ({"response": None, "error": {"code": "request_timeout", "message": "m"}}, True),
        ({"response": None, "error": {"type": "server_error", "message": "m"}}, True),
        ({"response": None, "error": {"code": "batch_expired", "message": "m"}}, False),
        ({"response": None, "error": "m"}, False),
    ],
)
def test_what_may_pass(fields: dict[str, Any], is_retryable: bool) -> None:
    """Failures that say nothing about the request itself may be sent again; a quota does not come back by asking."""
    assert result(**fields).is_retryable is is_retryable


def test_what_never_ran() -> None:
    """Expired, cancelled and missing requests were not carried out; all others were, or may have been."""
    errors = [{"code": code} for code in ("batch_expired", "batch_cancelled", "other")]
    found = [result(response=None, error=error).never_ran for error in errors]
    assert found == [True, True, False]
    assert missing_result("a").never_ran
    assert not result(response=response(200)).never_ran


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (result(response=response(404, {"error": NOT_FOUND})), r"'request-1' failed with status 404: The model `x`"),
        (result(response=None, error={"code": "batch_expired", "message": "late"}), "expired before it ran: late"),
        (result(response=None, error={"code": "batch_cancelled", "message": "c"}), "was cancelled before it ran: c"),
        (result(b"<html>"), "None has a result that cannot be read: The line cannot be read"),
        (missing_result("a"), "'a' is missing from the results: Neither file"),
        (attrs.evolve(result(response=response(200)), outcome=Outcome.FOREIGN), "is not among the inputs with status"),
    ],
)
def test_raise_for_outcome(found: BatchResult, words: str) -> None:
    """Whatever is no success raises, in words that say what happened, and carries the result, through pickle too."""
    with pytest.raises(RequestFailedError, match=words) as caught:
        found.raise_for_outcome()
    assert caught.value.result is found
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.result) == (str(caught.value), found)
    with pytest.raises(RequestFailedError):
        found.parse(dict)


def test_a_success_raises_nothing() -> None:
    """Asking after a success is no error."""
    result(response=response(200, CHAT)).raise_for_outcome()


# The tokens


CHAT_USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
RESPONSE_USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 15,
}


def tokens(read: int, written: int, cached: int = 0, reasoned: int = 0) -> BatchUsage:
    return BatchUsage(
        input_tokens=read,
        output_tokens=written,
        total_tokens=read + written,
        input_tokens_details=InputTokensDetails(cached_tokens=cached),
        output_tokens_details=OutputTokensDetails(reasoning_tokens=reasoned),
    )


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (CHAT_USAGE, tokens(10, 5, 4, 3)),
        (RESPONSE_USAGE, tokens(10, 5, 4, 3)),
        ({"prompt_tokens": 8, "total_tokens": 8}, tokens(8, 0)),
        ({"prompt_tokens": 8, "completion_tokens": 2, "prompt_tokens_details": None}, tokens(8, 2)),
        ({"prompt_tokens": 8, "completion_tokens": None}, tokens(8, 0)),
        ({"input_tokens": 8, "input_tokens_details": {"cached_tokens": None}}, tokens(8, 0)),
        ({}, tokens(0, 0)),
        (None, None),
        ("text", None),
        ({"prompt_tokens": "many"}, None),
    ],
)
@pytest.mark.parametrize("twice", [False, True])
def test_usage_has_the_same_names_for_every_endpoint(usage: Any, expected: BatchUsage | None, twice: bool) -> None:
    """Chat, responses, completions and embeddings count the same things under different names."""
    body: Any = {"model": "m", "usage": usage}
    found = result(response=response(200, json.dumps(body) if twice else body))
    assert found.usage == expected
    if expected is not None:
        assert found.model == "m"


@pytest.mark.parametrize("body", [None, [], "text", 5, {"model": 5}])
def test_no_usage(body: Any) -> None:
    """A body in another shape has no usage, and asking is no error."""
    found = result(response=response(200, body))
    assert (found.usage, found.model) == (None, None)


# Embeddings


def vectors(*embeddings: Any, **fields: Any) -> dict[str, Any]:
    data = [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(embeddings)]
    return {"object": "list", "data": data[::-1], "model": "e", **fields}


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


@pytest.fixture
def _no_numpy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "numpy", None)
    bodies._numpy.cache_clear()
    yield
    bodies._numpy.cache_clear()


@pytest.mark.usefixtures("_no_numpy")
@pytest.mark.parametrize("twice", [False, True])
def test_embeddings_are_arrays_of_float32(twice: bool) -> None:
    """Numbers and base64 give the same, in the order of the inputs, whatever the order of the answer."""
    body: Any = vectors([0.5, -1.25], packed(0.25, 3.0), [1])
    found = result(response=response(200, json.dumps(body) if twice else body))
    expected = [array.array("f", numbers) for numbers in ([0.5, -1.25], [0.25, 3.0], [1.0])]
    assert found.embeddings == expected
    assert found.embedding == expected[0]
    assert found.embeddings is found.embeddings


@pytest.mark.usefixtures("_no_numpy")
@pytest.mark.parametrize("body", [CHAT, None, [], "text", {"data": []}, {"data": [{"object": "x"}]}, {"data": 5}])
def test_no_embeddings(body: Any) -> None:
    """An answer without embeddings has none, and asking is no error; nor has a failed one any."""
    found = result(response=response(200, body))
    assert (found.embedding, found.embeddings) == (None, [])
    assert result(response=response(500, vectors([1.0]))).embedding is None


@pytest.mark.usefixtures("_no_numpy")
@pytest.mark.parametrize("value", ["no base64!", "AAA=", {"x": 1}, ["a"], True, [1e400]])
def test_an_embedding_that_cannot_be_read(value: Any) -> None:
    """It is named with its line and its id."""
    with pytest.raises(DecodeError, match=r"An embedding cannot be read: .* line 7 \('request-1'\)"):
        _ = result(response=response(200, vectors(value))).embedding


def test_embeddings_are_numpys_where_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers and base64 become what numpy makes of them, as its float32."""

    class Made(list[float]):
        def astype(self, kind: str) -> Made:
            assert kind == "float32"
            return self

    def frombuffer(data: bytes, dtype: str) -> Made:
        assert dtype == "<f4"
        return Made(struct.unpack("<2f", data))

    def make(numbers: list[float], dtype: str) -> Made:
        assert dtype == "float32"
        return Made(numbers)

    numpy = SimpleNamespace(float32="float32", frombuffer=frombuffer, array=make)
    monkeypatch.setattr(bodies, "_numpy", lambda: numpy)
    found = result(response=response(200, vectors([0.5, 1.0], packed(0.25, 3.0)))).embeddings
    assert found == [[0.5, 1.0], [0.25, 3.0]]
    assert {type(item) for item in found} == {Made}


def test_numpy_itself() -> None:
    """With the real one, too."""
    numpy = pytest.importorskip("numpy")
    bodies._numpy.cache_clear()
    found = result(response=response(200, vectors([0.5, 1.0], packed(0.25, 3.0)))).embeddings
    assert [(item.dtype, item.tolist()) for item in found] == [
        (numpy.float32, [0.5, 1.0]),
        (numpy.float32, [0.25, 3.0]),
    ]
    found[1][0] = 1.0  # and can be written to


# Structured outputs


@attrs.frozen
class Point:
    x: int
    y: list[float] = attrs.Factory(list)


@attrs.frozen
class Other:
    z: int


@attrs.frozen
class Checked:
    x: int = attrs.field(validator=attrs.validators.gt(0))


@dataclasses.dataclass
class Plain:
    x: int


class Typed(TypedDict):
    x: int


class Packed(msgspec.Struct):
    x: int


class Strange:
    def __init__(self, x: int) -> None:
        self.x = x


def answered(text: str | None, **message: Any) -> BatchResult:
    choice = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
    return result(response=response(200, {"choices": [choice]}))


@pytest.mark.parametrize(
    ("cls", "expected"),
    [(Point, Point(1)), (Checked, Checked(1)), (Plain, Plain(1)), (Typed, {"x": 1}), (Packed, Packed(1)), (dict, None)],
)
def test_parsing_into_a_type(cls: Any, expected: Any) -> None:
    """The text of the answer becomes a value of the type, whatever kind of type it is."""
    assert answered('{"x": 1}').parse(cls) == ({"x": 1} if expected is None else expected)


def test_parsing_into_pydantic() -> None:
    """A pydantic model reads the text itself, and its error is ours."""
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Model", x=(int, ...))
    assert answered('{"x": 1}').parse(model).x == 1
    with pytest.raises(DecodeError, match=r"The text holds no Model: .* @ \$\.x"):
        answered('{"x": "a"}').parse(model)


def test_parsing_into_one_of_several_types() -> None:
    """What msgspec cannot tell apart, cattrs may."""
    assert answered('{"z": 1}').parse(Point | Other) == Other(1)  # type: ignore[arg-type]


def test_parsing_by_a_converter_of_ones_own() -> None:
    """Hooks reach types that no library knows; without them the type is the caller's mistake."""
    converter = cattrs.Converter()
    converter.register_structure_hook(Strange, lambda value, _: Strange(value["x"]))
    assert answered('{"x": 1}').parse(Strange, converter=converter).x == 1
    with pytest.raises(InputError, match="JSON cannot be read into Strange"):
        answered('{"x": 1}').parse(Strange)


@pytest.mark.parametrize(
    ("text", "cls", "detail"),
    [
        ('{"x": "a"}', Point, r"\$\.x"),
        ('{"x": 1, "y": [1, "b"]}', Point, r"\$\.y\[1\]"),
        ('{"x": "a"}', list[Point], ""),
        ('{"x": 1', Point, "it ends too early"),
        ("Sure! Here it is", Point, "it is no JSON from byte 1 on"),
        ('{"x": 0}', Checked, "x"),
        ('{"x": "a"}', Checked, r"@ \$\.x"),
    ],
)
def test_text_that_does_not_fit(text: str, cls: Any, detail: str) -> None:
    """The error names the path in the text, the line and the id."""
    with pytest.raises(DecodeError, match=r"line 7 \('request-1'\)") as caught:
        answered(text).parse(cls)
    assert caught.value.line_number == 7
    (found,) = caught.value.details
    assert re.search(detail, found)


def test_text_that_is_no_json_for_a_converter() -> None:
    """What cattrs shall structure has to be JSON first."""
    with pytest.raises(DecodeError, match="This is no JSON"):
        answered("no").parse(Checked)


REFUSALS = [
    {"choices": [{"message": {"content": None, "refusal": "I cannot"}, "finish_reason": "stop"}]},
    {"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "I cannot"}]}], "status": "completed"},
]


@pytest.mark.parametrize("body", REFUSALS)
def test_a_refusal_has_its_own_error(body: Any) -> None:
    """A model that refuses answers with words, not with JSON: the error carries them, through pickle too."""
    found = result(response=response(200, body))
    assert found.refusal == "I cannot"
    with pytest.raises(RefusalError, match="refused to answer 'request-1': I cannot") as caught:
        found.parse(Point)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.refusal, copy.line_number, str(copy)) == ("I cannot", 7, str(caught.value))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"choices": [{"message": {"content": '{"x": 1'}, "finish_reason": "length"}]}, "length"),
        ({"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}, "content_filter"),
        ({"choices": [{"text": '{"x"', "finish_reason": "length"}]}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "max_output_tokens"),
        ({"status": "incomplete", "incomplete_details": None}, "incomplete"),
        ({"status": "incomplete", "incomplete_details": {"reason": None}}, "incomplete"),
    ],
)
def test_a_cut_answer_has_its_own_error(body: Any, reason: str) -> None:
    """An answer that reached its limit is not whole, which is another thing than being wrong."""
    found = result(response=response(200, body))
    with pytest.raises(IncompleteOutputError, match=rf"not whole \({reason}\)") as caught:
        found.parse(Point)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.reason, copy.line_number, str(copy)) == (reason, 7, str(caught.value))


@pytest.mark.parametrize("body", [None, [], {"choices": []}, {"choices": [5]}, vectors([1.0])])
def test_no_text_to_parse(body: Any) -> None:
    """An answer without text says so."""
    found = result(response=response(200, body))
    assert found.refusal is None
    with pytest.raises(DecodeError, match="The answer to 'request-1' has no text"):
        found.parse(Point)


def test_no_words_of_refusal() -> None:
    """An empty refusal is none, and a body that is no JSON has neither text nor refusal."""
    assert answered("{}", refusal="").refusal is None
    broken = result(b'{"custom_id": "a", "response": {"status_code": 200, "body": {"x": "\xff"}}}')
    assert (broken.refusal, broken.output_text, broken.usage) == (None, None, None)


# Bodies of a type


@attrs.frozen
class Completion:
    object: str
    choices: list[dict[str, Any]]


@pytest.mark.parametrize("body", [CHAT, json.dumps(CHAT)], ids=["once", "twice"])
def test_a_body_of_a_type(body: Any) -> None:
    """With body_type the body of a success is of that type, and its text is still found."""
    found = read_result(line(response=response(200, body)), line_number=1, body_type=Completion)
    assert found.body == Completion(CHAT["object"], CHAT["choices"])
    assert found.output_text == "Hi"
    assert found.body is found.body


def test_a_body_of_another_type() -> None:
    """A body that does not fit names the path; the body of a failure is what it is."""
    found = read_result(line(response=response(200, {"object": 5})), line_number=1, body_type=Completion)
    with pytest.raises(DecodeError, match=r"holds no Completion: .*\$\.object.* line 1"):
        _ = found.body
    failed = read_result(line(response=response(404, {"error": NOT_FOUND})), line_number=1, body_type=Completion)
    assert failed.body == {"error": NOT_FOUND}
    assert read_result(line(response=response(200)), line_number=1, body_type=Completion).body is None


def test_a_result_is_frozen() -> None:
    """Results are values: they do not change, and can be copied with a change."""
    found = result(response=response(200, CHAT))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        found.custom_id = "x"  # type: ignore[misc]
    assert attrs.evolve(found, custom_id="x").body == CHAT
    assert found != "text"
    assert isinstance(found, BatchResult)
