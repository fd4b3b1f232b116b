"""Lines of output and error files: what became of each request."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openai_batches import BatchResult, DecodeError, Outcome, ResultError
from openai_batches.results import read_result


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
        (b'{"custom_id": "request-1", "response": {"status_code": null}}', "request-1"),
        (b'{"custom_id": "request-1", "response": "text"}', "request-1"),
        (b'{"custom_id": "request-1"}{"custom_id": "request-2"}', "request-1"),
        (
            b'{"custom_id": "a", "response": {"status_code": 200, "body": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
            "a",
        ),
        (b'{"custom_id": "request-', None),
        (b'{"custom_id": "\xff", "response": ', None),
        (b'{"custom_id": "\\ud800", "response": ', None),
        (b'{"custom_id": 5, "response": null}', None),
        (b'{"custom_id": null}', None),
        (b'{"response": null}', None),
        (b"<html>", None),
        (b"null", None),
        (b"[]", None),
        (b'"text"', None),
        (b"\xff\xfe", None),
        (b"", None),
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
    assert isinstance(result(data).outcome, Outcome)


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
