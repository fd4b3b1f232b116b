"""Whatever asks something of a model becomes one line of a batch's input file, and can be read back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pytest
from hypothesis import given, strategies as st

from openai_batches import DecodeError, InputError
from openai_batches.requests.request import BatchRequest, as_line, encode_request, parse_request, requests_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

CHAT = "/v1/chat/completions"
NAMES = st.text(min_size=1)
BODIES = st.dictionaries(
    st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)
)


@given(NAMES, BODIES, NAMES, NAMES)
def test_a_request_comes_back_as_it_was(custom_id: str, body: dict[str, Any], url: str, method: str) -> None:
    """Encoding and parsing are inverse, and the line is one line."""
    request = BatchRequest(custom_id, body, url, method)
    line = encode_request(request)
    assert b"\n" not in line
    assert list(msgspec.json.decode(line)) == ["custom_id", "method", "url", "body"]
    assert parse_request(line) == request
    assert parse_request(line.decode() + "\r\n") == request


def test_a_request_is_a_value() -> None:
    """Requests of equal fields are equal, and can be in sets although dicts cannot."""
    assert BatchRequest("a", {}, CHAT) == BatchRequest(custom_id="a", body={}, url=CHAT, method="POST")
    assert len({BatchRequest("a", {"n": 1}, CHAT), BatchRequest("a", {"n": 1}, CHAT)}) == 1


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (BatchRequest("", {}, CHAT), "custom_id must be a str that is not empty, not ''"),
        (BatchRequest(7, {}, CHAT), "custom_id must be a str that is not empty, not 7"),  # type: ignore[arg-type]
        (BatchRequest("a", {}, ""), r"url must be .* \(in the request 'a'\)"),
        (BatchRequest("a", {}, CHAT, None), r"method must be .*None \(in the request 'a'\)"),  # type: ignore[arg-type]
        (BatchRequest("a", [1], CHAT), r"the body must be an object, not list \(in the request 'a'\)"),
        (BatchRequest("a", None, CHAT), r"the body must be an object, not None \(in the request 'a'\)"),
        (BatchRequest("a", {"n": [{"x": {1}}]}, CHAT), r"\$\.body\.n\[0\]\.x .* set \(in the request 'a'\)"),
        (BatchRequest("a\ud800", {}, CHAT), r"\$\.custom_id .* half of a character"),
    ],
)
def test_what_no_service_can_read_is_refused(request_: BatchRequest, message: str) -> None:
    """An error names the request it is about."""
    with pytest.raises(InputError, match=message):
        encode_request(request_)


@attrs.frozen
class Body:
    model: str
    n: int | None = None


def test_every_kind_of_item_becomes_a_line() -> None:
    """Requests and mappings are encoded, raw lines pass byte for byte, without their end."""
    request = BatchRequest("ü", Body("m"), CHAT)
    expected = '{"custom_id":"ü","method":"POST","url":"/v1/chat/completions","body":{"model":"m"}}'.encode()
    assert as_line(request) == encode_request(request) == expected
    raw = b'\xef\xbb\xbf  { "custom_id": "\xe2\x80\xa8" }  '
    for end in (b"", b"\n", b"\r\n"):
        assert as_line(raw + end) == as_line(bytearray(raw + end)) == as_line(memoryview(raw + end)) == raw
        assert as_line((raw + end).decode()) == raw
    assert as_line(b"") == as_line("\n") == b""
    assert as_line(b"no JSON at all\r\r\n") == b"no JSON at all\r"


def test_a_mapping_gets_only_what_it_lacks() -> None:
    """A whole line is not checked, and keeps fields of other names; defaults fill its gaps alone."""
    line = {"custom_id": "a", "body": Body("m"), "priority": 1}
    assert as_line(line) == b'{"custom_id":"a","body":{"model":"m"},"priority":1}'
    assert msgspec.json.decode(as_line(line, url=CHAT, method="POST")) == {
        **line, "body": {"model": "m"}, "url": CHAT, "method": "POST",
    }  # fmt: skip
    assert as_line({"url": "u", "method": "PUT"}, url=CHAT, method="POST") == b'{"url":"u","method":"PUT"}'
    assert "url" not in line
    assert as_line({}) == b"{}"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (b'{"custom_id": "a"}\n{"custom_id": "b"}\n', "a raw line must be one line"),
        ("a\nb", "a raw line must be one line"),
        ("\ud800", "cannot be written in UTF-8"),
        (7, "a request is a BatchRequest, a mapping, or a line in bytes or str, not int"),
        (None, "not None"),
        ({"custom_id": "a", "body": {1, 2}}, r"\$\.body .* set \(in the request 'a'\)"),
        ({"custom_id": 1, "body": {1, 2}}, "of the type set$"),
    ],
)
def test_items_that_are_no_request_are_refused(item: Any, message: str) -> None:
    """What is no request is refused in words that say what is one."""
    with pytest.raises(InputError, match=message):
        as_line(item)


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b"", "it is empty"),
        (b"{", "it ends too early"),
        (b'{"custom_id": "\xc3\xa9" "url"', "it is no JSON from byte 20 on"),
        (b"[]", "it holds no object, but an array"),
        (b"1.5", "it holds no object, but a number"),
        (b'{"custom_id": "a", "url": "/v1"}', "$.body is missing"),
        (b'{"custom_id": 1, "url": "/v1", "body": {}}', "$.custom_id must be a string, not a number"),
        (b'{"custom_id": "a", "url": "/v1", "body": []}', "$.body must be an object, not an array"),
        (b'{"custom_id": "a", "url": "/v1", "body": {}, "method": null}', "$.method must be a string, not null"),
        (b'{"custom_id": "a", "url": "/v1", "body": {"a": NaN}}', "it holds NaN, Infinity, a number that is too large"),
        (b'{"a": NaN, "b": ' + b"9" * 5_000 + b"}", "it holds NaN, Infinity, a number that is too large"),
        (b'{"custom_id": "\xff", "url": "/v1", "body": {}}', "byte 16 is not UTF-8"),
        ("a\ud800", "character 2 is one half of a surrogate pair"),
        (b'{"custom_id": "a", "url": "/v1", "body": {"a": ' + b"[" * 100_000, "it is nested too deeply"),
    ],
)
def test_lines_that_hold_no_request_say_why(line: bytes | str, detail: str) -> None:
    """The error has the reason, the field, and the number of the line where it is known."""
    with pytest.raises(DecodeError, match="The line holds no request") as caught:
        parse_request(line)
    assert caught.value.details[0].startswith(detail)
    with pytest.raises(DecodeError, match="Line 12 holds no request") as caught:
        parse_request(line, line_number=12)
    assert caught.value.line_number == 12


def test_only_lines_are_parsed() -> None:
    """A value that is no line is the caller's mistake, not a broken file."""
    with pytest.raises(InputError, match="a line is bytes or str, not dict"):
        parse_request({})  # type: ignore[arg-type]
    assert parse_request(b'{"custom_id":"a","url":"u","body":{},"other":1}') == BatchRequest("a", {}, "u")


def made(prompts: Any, **options: Any) -> list[BatchRequest]:
    return list(requests_from(prompts, **{"model": "m", **options}))


ENDPOINTS = {
    CHAT: {"messages": [{"role": "user", "content": "Hi"}]},
    "/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v4/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/responses": {"input": "Hi"},
    "/v1/embeddings": {"input": "Hi"},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/moderations": {"input": "Hi"},
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_text_goes_where_the_endpoint_looks_for_it(endpoint: str) -> None:
    """Each endpoint gets the text in its own field, the model first, the parameters last, and None not at all."""
    (request,) = made(["Hi"], endpoint=endpoint, user="u", seed=None)
    assert request == BatchRequest("request-0000001", {"model": "m", **ENDPOINTS[endpoint], "user": "u"}, endpoint)
    assert list(request.body) == ["model", *ENDPOINTS[endpoint], "user"]


def test_generated_ids_are_stable_and_fit_everywhere() -> None:
    """Prompts without an id are numbered by their place; the same prompts get the same ids in each iteration."""
    requests = requests_from(["a", ("mine", "b"), (None, "c")], model="m", id_prefix="run.7_")
    ids = [request.custom_id for request in requests]
    assert ids == ["run.7_0000001", "mine", "run.7_0000003"]
    assert [request.custom_id for request in requests] == ids
    (longest,) = made(["a"], id_prefix="x" * 48)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", longest.custom_id)


def test_requests_are_made_one_by_one() -> None:
    """An endless iterable is no trouble: a prompt is asked for when its request is."""

    def endless() -> Iterator[str]:
        while True:
            asked.append(1)
            yield "again"

    asked: list[int] = []
    iterator = iter(requests_from(endless(), model="m"))
    assert not asked
    assert [next(iterator).custom_id for _ in range(2)] == ["request-0000001", "request-0000002"]
    assert len(asked) == 2


async def test_async_prompts_give_async_requests() -> None:
    """An async iterable of prompts gives the same requests, asynchronously."""

    async def prompts() -> AsyncIterator[str]:
        yield "a"
        yield "b"

    assert [request async for request in requests_from(prompts(), model="m")] == made(["a", "b"])


def test_lists_take_the_place_of_a_text() -> None:
    """Messages, input items and rows of tokens pass as they are."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, Body("no message, but an object")]
    assert made([messages])[0].body == {"model": "m", "messages": messages}
    assert made([["a", "b"], [1, 2]], endpoint="/v1/embeddings")[1].body["input"] == [1, 2]
    assert made([[{"role": "user"}]], endpoint="/v1/responses")[0].body["input"] == [{"role": "user"}]


def test_a_system_text_comes_first() -> None:
    """Chat gets a message of its own, responses get instructions."""
    first = {"role": "system", "content": "Be brief"}
    user = {"role": "user", "content": "Hi"}
    assert [request.body["messages"] for request in made(["Hi", [user]], system="Be brief")] == [[first, user]] * 2
    body = made(["Hi"], system="Be brief", endpoint="/v1/responses", instructions=None)[0].body
    assert body == {"model": "m", "input": "Hi", "instructions": "Be brief"}


def test_templates_are_filled() -> None:
    """A mapping fills a template by name, a str fills its only field, whatever that is called."""
    pair = ("de", {"text": "{Hi}", "language": "German", "unused": 1})
    (request,) = made([pair], template="{{Translate}} {text} to {language}")
    assert request.custom_id == "de"
    assert request.body["messages"][0]["content"] == "{Translate} {Hi} to German"
    for template in ("<{}>", "<{0}>", "<{text}>", "<{text:s}>", "<{text[0]}{text[1]}>"):
        assert made(["Hi"], template=template)[0].body["messages"][0]["content"] == "<Hi>"
    with pytest.raises(InputError, match="prompt 1: it is a str, but the template has 2 fields: give a mapping"):
        made(["Hi"], template="{a} {b}")


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        (7, {}, r"prompt 2: it must be a str, a list, a mapping or a pair \(custom_id, prompt\), not int"),
        (None, {}, "prompt 2: it must be .* not None"),
        ([], {}, "prompt 2: the list is empty"),
        (["Hi"], {}, "prompt 2: chat messages are objects with a role and content, not 'Hi'"),
        ({"role": "user"}, {}, "prompt 2: it is a mapping, which needs template="),
        (("a",), {}, r"prompt 2: a tuple must be a pair \(custom_id, prompt\), this one has 1 items"),
        ((7, "a"), {}, "prompt 2: its custom_id must be a str that is not empty, or None, not 7"),
        (("", "a"), {}, "prompt 2: its custom_id must be"),
        (("a", ("b", "c")), {}, "prompt 2: the prompt of a pair is a str, a list or a mapping, not a tuple"),
        ([{"role": "developer"}], {"system": "s"}, "prompt 2: its messages have a system text of their own"),
        ({"x": 1}, {"template": "{text}"}, "prompt 2: the template cannot be filled: it has no 'text'"),
        ({"text": 1}, {"template": "{text.model}"}, "prompt 2: the template cannot be filled: .* attribute 'model'"),
        ({"text": 1}, {"template": "{text:s}"}, "prompt 2: the template cannot be filled: .*format"),
        ({"text": 1}, {"template": "{}"}, "prompt 2: the template cannot be filled"),
        ([{"role": "user"}], {"template": "{text}"}, "prompt 2: a template is filled by a str or a mapping"),
    ],
)
def test_a_wrong_prompt_is_named_by_its_number(prompt: Any, options: dict[str, Any], message: str) -> None:
    """What comes before a wrong prompt is made; the error says which one it is, and what is wrong with it."""
    good = {"text": Body("m")} if options.get("template") == "{text.model}" else "Hi"
    requests = iter(requests_from([good, prompt], model="m", **options))
    assert next(requests).custom_id == "request-0000001"
    with pytest.raises(InputError, match=message):
        next(requests)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": "Hi"}, "prompts must be an iterable of prompts, not str: put a single one in a list"),
        ({"prompts": {"text": "Hi"}}, "not dict"),
        ({"prompts": 7}, "not int"),
        ({"endpoint": "/v1/images/generations"}, "prompts can be put to /v1/chat/completions, .* not to '/v1/images/"),
        ({"endpoint": "/chat/v1/completions"}, "prompts can be put to"),
        ({"endpoint": None}, "prompts can be put to"),
        ({"model": ""}, "model must be a str that is not empty, not ''"),
        ({"id_prefix": "a b"}, r"id_prefix can have at most 48 characters of \[A-Za-z0-9._-\], not 'a b'"),
        ({"id_prefix": "x" * 49}, "id_prefix can have at most 48"),
        ({"system": "s", "endpoint": "/v1/embeddings"}, "/v1/embeddings takes no system text"),
        ({"system": 7}, "system must be a str, not int"),
        ({"system": "s", "endpoint": "/v1/responses", "instructions": "i"}, "instructions is made from"),
        ({"messages": []}, "messages is made from the prompts and system: it cannot be given as a parameter too"),
        ({"stream": True}, "stream cannot be set in a batch"),
        ({"template": "{"}, "template is no format string, .* a brace that is meant as one is doubled"),
        ({"template": "no field {{}}"}, "template has no {field}"),
        ({"template": 7}, "template must be a str, not int"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    """What cannot be right for any prompt is said before the first is asked for."""
    with pytest.raises(InputError, match=message):
        requests_from(**{"prompts": ["Hi"], "model": "m", **options})
