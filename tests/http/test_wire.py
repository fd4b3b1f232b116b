"""The API's conversation as values: paths, answers, errors, and when a call may be repeated."""

from __future__ import annotations

import email.utils
import json
import re
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings, strategies as st
from multidict import CIMultiDict

from openai_batches import (
    APIError,
    AuthenticationError,
    BadRequestError,
    Batch,
    ConflictError,
    DecodeError,
    InputError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from openai_batches.http.wire import (
    MAX_ID_CHARS,
    Answer,
    Request,
    clean_path,
    error_from,
    query_string,
    read,
    segment,
)

NOW = 1_700_000_000.0


def refusal(status: int = 400, body: bytes | str = b"", **headers: str) -> APIError:
    data = body.encode() if isinstance(body, str) else body
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return error_from(Answer(status=status, headers=named, body=data), now=NOW)


# Ids as path segments


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("batch_abc-123", "batch_abc-123"),
        ("../files", "..%2Ffiles"),
        ("a/../../b", "a%2F..%2F..%2Fb"),
        ("%2e%2e", "%252e%252e"),
        ("..%2f..", "..%252f.."),
        ("a?limit=1", "a%3Flimit%3D1"),
        ("a#b", "a%23b"),
        ("a b", "a%20b"),
        ("a\\b", "a%5Cb"),
        ("...", "..."),
        ("é", "%C3%A9"),
        ("a\u2028b", "a%E2%80%A8b"),
        ("bGl0ZWxsbV9w==", "bGl0ZWxsbV9w%3D%3D"),
        ("x" * MAX_ID_CHARS, "x" * MAX_ID_CHARS),
    ],
)
def test_an_id_is_quoted_into_one_segment(value: str, quoted: str) -> None:
    """Whatever stands in an id, the path has as many segments as it was meant to have."""
    assert segment(value, name="batch_id") == quoted


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "..",
        "a\nb",
        "a\r\nHost: evil",
        "a\0",
        "\x7f",
        "a\x85b",
        "x" * 10_000,
        "a\ud800",
        None,
        5,
        b"batch_1",
        [],
    ],
)
def test_what_cannot_be_an_id_is_refused(value: Any) -> None:
    """Nothing is sent for an id that could only do harm; the error says which argument it was, and stays short."""
    with pytest.raises(InputError, match="batch_id") as caught:
        segment(value, name="batch_id")
    assert len(str(caught.value)) < 200


@given(st.text(st.characters(), max_size=40))
@example("\ud800")
@example("..")
@settings(deadline=None)
def test_a_quoted_segment_is_one_segment_and_reads_back(value: str) -> None:
    """No id breaks out of its segment, and the service sees the id it was given."""
    try:
        quoted = segment(value, name="id")
    except InputError:
        return
    assert not re.search(r"[/?#\\\s\x00-\x1f\x7f-\x9f]", quoted)
    assert quoted.isascii()
    assert quoted not in {"", ".", ".."}
    assert unquote(quoted, errors="strict") == value


# Callers' own paths


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("/files", "/files"),
        ("files", "/files"),
        ("/files/a%20b?x=1&y=a/b", "/files/a%20b?x=1&y=a/b"),
        ("/proxy?to=http://elsewhere/../x", "/proxy?to=http://elsewhere/../x"),
        ("/files/a..b/...", "/files/a..b/..."),
        ("", "/"),
        ("?limit=1", "/?limit=1"),
    ],
)
def test_a_path_below_the_base_url_is_taken(path: str, clean: str) -> None:
    """A path that stays below the base URL is sent as it was written."""
    assert clean_path(path) == clean


@pytest.mark.parametrize(
    "path",
    [
        "http://elsewhere/v1/files",
        "//elsewhere/v1/files",
        "/files/http://elsewhere",
        "\\\\elsewhere\\files",
        "/..\\files",
        "/../files",
        "..",
        "/files/..",
        "/files/./a",
        "/%2e%2e/files",
        "/%2E%2E/files",
        "/.%2e/files",
        "/%2E./files",
        "/files/%2e%2e%2fadmin",
        "/files/..%2Fadmin",
        "/files%2f..",
        "/files%5c..%5cadmin",
        "/files#fragment",
        "/files a",
        "/files\ta",
        "/files\r\nHost: evil",
        "/files\0",
        "/files\u2028",
        "/é",
        "/\ud800",
    ],
)
def test_a_path_that_could_lead_elsewhere_is_refused(path: str) -> None:
    """The key goes nowhere but to the service, and nowhere but below its base URL."""
    with pytest.raises(InputError, match="path"):
        clean_path(path)


def test_a_query_holds_what_is_given() -> None:
    """None is left out, everything else is quoted."""
    assert query_string(after=None, limit=None) == ""
    assert query_string(after="a/b&c=d é", limit=5) == "?after=a%2Fb%26c%3Dd+%C3%A9&limit=5"


def test_a_query_that_is_no_text_is_refused() -> None:
    """A lone surrogate cannot be sent to anybody."""
    with pytest.raises(InputError, match="query"):
        query_string(after="\ud800")


# Answers


def test_a_request_without_its_query_is_what_messages_show() -> None:
    """Cursors and parameters stay out of messages and logs."""
    assert Request(method="GET", path="/batches?after=x", returns=Batch).bare == "/batches"


def test_an_answer_shows_neither_headers_nor_body() -> None:
    """What a service sent may be private: the repr of an answer says how it went, no more."""
    answer = Answer(status=200, headers=CIMultiDict({"X-Request-ID": "req_1", "Set-Cookie": "c=1"}), body=b'{"a": [1]}')
    assert repr(answer) == "Answer(status=200)"
    assert answer.request_id == "req_1"
    assert answer.json() == {"a": [1]}


def test_an_answer_that_is_no_json_says_so() -> None:
    """``json()`` raises the library's own error."""
    with pytest.raises(DecodeError, match="no JSON"):
        Answer(status=200, headers={}, body=b"<html>").json()


def test_a_record_that_cannot_be_read_is_traced_to_its_request() -> None:
    """The error notes which request it was, and the id to quote to the service."""
    request = Request(method="GET", path="/batches/b", returns=Batch)
    with pytest.raises(DecodeError) as caught:
        read(request, Answer(status=200, headers={"x-request-id": "req_1"}, body=b"{}"))
    assert caught.value.__notes__ == ["GET /batches/b answered 200, request id: req_1"]


def test_what_is_no_record_of_ours_is_returned_as_it_is() -> None:
    """A request for plain values gets plain values."""
    request: Request[Any] = Request(method="GET", path="/x", returns=dict[str, int])
    assert read(request, Answer(status=200, headers={"x-request-id": "req_1"}, body=b'{"a": 1}')) == {"a": 1}


# Errors


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (300, APIError),
        (304, APIError),
        (400, BadRequestError),
        (401, AuthenticationError),
        (402, APIError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (405, APIError),
        (408, APIError),
        (409, ConflictError),
        (413, APIError),
        (422, UnprocessableEntityError),
        (425, APIError),
        (429, RateLimitError),
        (499, APIError),
        (500, InternalServerError),
        (502, InternalServerError),
        (503, InternalServerError),
        (529, InternalServerError),
        (599, InternalServerError),
    ],
)
@pytest.mark.parametrize("body", ["", "<html>", '{"error": {"message": "m"}}'])
def test_the_class_of_an_error_follows_its_status(status: int, cls: type[APIError], body: str) -> None:
    """Whatever the body is, the status alone decides what can be caught."""
    error = refusal(status, body)
    assert type(error) is cls
    assert error.status == status


def test_a_documented_error_is_taken_apart() -> None:
    """Message, type, param, code and request id are attributes, and the text shows what helps."""
    inner = {
        "message": "Invalid value: '/v1/x'.",
        "type": "invalid_request_error",
        "param": "endpoint",
        "code": "invalid_value",
    }
    error = refusal(400, json.dumps({"error": inner}), X_Request_Id="req_1", Retry_After="3", X_Should_Retry="true")
    assert (error.message, error.type, error.param, error.code) == tuple(inner.values())
    assert (error.request_id, error.retry_after, error.should_retry) == ("req_1", 3.0, True)
    assert error.body == inner
    assert str(error) == "400 Invalid value: '/v1/x'. (code: invalid_value, param: endpoint, request id: req_1)"


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ('{"error": "no such thing"}', "no such thing", None),
        ('{"error": {"message": "m", "code": 404}}', "m", "404"),
        ('{"error": {"message": "m", "code": ""}}', "m", None),
        ('{"error": {"code": "invalidPayload", "message": "Invalid purpose."}}', "Invalid purpose.", "invalidPayload"),
        ('[{"error": {"message": "m", "code": "c"}}]', "m", "c"),
        ('{"message": "m", "code": "c"}', "m", "c"),
        ('{"detail": "m"}', "m", None),
        ('{"error": {"message": "m"}, "detail": {"message": "other"}}', "m", None),
        ('{"detail": [{"loc": ["body"], "msg": "m"}]}', '{"detail": [{"loc": ["body"], "msg": "m"}]}', None),
        ('{"error": null}', '{"error": null}', None),
        ('{"error": []}', '{"error": []}', None),
        ('{"error": {"message": {"text": "m"}}}', '{"error": {"message": {"text": "m"}}}', None),
        ('{"error": {"message": ""}}', '{"error": {"message": ""}}', None),
        ("[]", "[]", None),
        ("[1]", "[1]", None),
        ("5", "5", None),
        ('"text"', '"text"', None),
        ("", "the answer has no body", None),
        ("  \n ", "the answer has no body", None),
        ("<html>\n  <h1>502 Bad\n Gateway</h1>", "a web page, not an answer of the API: 502 Bad Gateway", None),
        ("<!DOCTYPE html><title >\nSign in</title>", "a web page, not an answer of the API: Sign in", None),
        ("<p>nothing", "a web page, not an answer of the API", None),
        ('{"error": {"message": "cu', '{"error": {"message": "cu', None),
    ],
)
def test_an_error_in_any_shape_has_a_message(body: str, message: str, code: str | None) -> None:
    """What the service said is shown, where it can be found; else how its answer begins."""
    error = refusal(400, body)
    assert (error.message, error.code) == (message, code)


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe\x00", b'{"error": "\xff"}', b"[" * 60_000, b'{"error":' * 10_000, b"<p>" * 50_000],
    ids=["bytes", "not-utf8", "deep-lists", "deep-objects", "long"],
)
def test_an_error_survives_any_body(body: bytes) -> None:
    """A body that cannot be read costs the message, never the error; the message stays short."""
    error = refusal(503, body)
    assert type(error) is InternalServerError
    assert 0 < len(error.message) <= 300


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "5"}, 5.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": " 7 "}, 7.0),
        ({"Retry-After-Ms": "1500"}, 1.5),
        ({"Retry-After-Ms": "20", "Retry-After": "5"}, 0.02),
        ({"Retry-After-Ms": "soon", "Retry-After": "5"}, 5.0),
        ({"Retry-After-Ms": "-1", "Retry-After": "5"}, 5.0),
        ({"Retry-After-Ms": "inf"}, None),
        ({"Retry-After": email.utils.formatdate(NOW + 60, usegmt=True)}, 60.0),
        ({"Retry-After": email.utils.formatdate(NOW - 60, usegmt=True)}, 0.0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "-inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "1e999"}, None),
        ({"Retry-After": "Wed, 99 Foo 2015 99:99:99 GMT"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 +99999999999999999999"}, None),
        ({"Retry-After": "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"}, None),
    ],
)
def test_the_pause_a_service_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    """Milliseconds before seconds before dates; what is no pause at all is None, whatever stands there."""
    answer = Answer(status=429, headers=CIMultiDict(headers), body=b"")
    assert error_from(answer, now=NOW).retry_after == seconds


@given(
    st.text(max_size=60)
    | st.builds(
        "{}, {} {} {} {}:{}:{} {}".format,
        st.sampled_from(["Wed", "", "x"]),
        st.integers(-1, 99),
        st.sampled_from(["Oct", "Foo", "Feb"]),
        st.integers(0, 10**20),
        *([st.integers(-1, 99)] * 3),
        st.sampled_from(["GMT", "-0000", "+2400", "-9999", "+99999999", "EST", ""]),
    )
)
@settings(deadline=None)
def test_no_header_of_a_pause_breaks_an_error(value: str) -> None:
    """Whatever a service writes there, the pause is a finite number of seconds, or None."""
    pause = refusal(503, Retry_After=value, Retry_After_Ms=value[:5]).retry_after
    assert pause is None or 0 <= pause < float("inf")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", True), ("false", False), ("True", True), ("FALSE", False), ("", None), ("1", None), ("maybe", None)],
)
def test_what_a_service_says_about_retrying(value: str, expected: Any) -> None:
    """``x-should-retry`` is a claim, or nothing."""
    assert refusal(503, X_Should_Retry=value).should_retry is expected
