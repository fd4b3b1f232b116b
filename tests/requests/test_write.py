"""A request file is made from prompts: whole, or not at all, with every problem named by file, line and field."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import zstandard

from openai_batches import (
    InputError,
    InvalidRequestsError,
    RequestFile,
    json_schema_format,
    requests_from,
    validate_requests,
    write_request_file,
)
from openai_batches.requests.request import encode_request

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "id,text,language\nkettle,Boils in a minute.,French\nlamp,Arrived broken.,Basque\n"
LACKING = "Without a template, the prompt is a field called 'prompt', 'messages' or 'input', or the only one:"


@attrs.frozen
class Review:
    mood: str


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Any]:
    """Writes the prompts into a file, and the requests into another, whose lines it returns."""

    async def write(prompts: str | bytes, name: str = "prompts.csv", **options: Any) -> list[dict[str, Any]]:
        source = tmp_path / name
        source.write_bytes(prompts.encode() if isinstance(prompts, str) else prompts)
        target = tmp_path / "out" / "requests.jsonl"
        target.parent.mkdir(exist_ok=True)
        written = await write_request_file(source, target, **{"model": "m", **options})
        report = await validate_requests(target)
        report.raise_for_problems()
        assert written == RequestFile(
            path=target, requests=report.requests, bytes=target.stat().st_size, blank_lines=written.blank_lines
        )
        return [json.loads(line) for line in target.read_bytes().splitlines()]

    return write


def unpacked(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


async def problems_of(write: Callable[..., Any], tmp_path: Path, *args: Any, **options: Any) -> list[str]:
    """Return what is wrong with prompts, of which nothing was written."""
    with pytest.raises(InvalidRequestsError) as caught:
        await write(*args, **options)
    assert names(tmp_path / "out") == []
    texts = [str(problem) for problem in caught.value.problems]
    assert "; ".join(texts[:3]) in str(caught.value)
    return [text.replace(f"{tmp_path}/", "") for text in texts]


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def contents(requests: list[dict[str, Any]]) -> list[str]:
    return [request["body"]["messages"][-1]["content"] for request in requests]


async def test_a_table_and_a_template_become_requests(write: Callable[..., Any]) -> None:
    requests = await write(
        TABLE, template="Into {language}: {text}", system="Be brief {really}.", custom_id="id", parameters={"top_p": 1}
    )
    assert requests[1] == {
        "custom_id": "lamp",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief {really}."},
                {"role": "user", "content": "Into Basque: Arrived broken."},
            ],
            "top_p": 1,
        },
    }
    assert [request["custom_id"] for request in requests] == ["kettle", "lamp"]


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions"])
async def test_requests_are_those_that_are_made_from_prompts(write: Callable[..., Any], endpoint: str) -> None:
    """To the byte, although lines are put together from parts."""
    texts = ['"quoted" \\ {braces}', "ünï\u2028cödé \U0001f600", "tab\tand\x01control", "lines"]
    options: dict[str, Any] = {"model": "m", "endpoint": endpoint}
    made = await write("\n".join(map(json.dumps, texts)), "a.jsonl", parameters={"user": "ü"}, **options)
    expected = map(encode_request, requests_from(texts, user="ü", **options))
    assert made == [json.loads(line) for line in expected]


async def test_lines_of_text_are_numbered(write: Callable[..., Any]) -> None:
    """As `requests_from` numbers prompts; blank lines are told and not counted."""
    requests = await write("one\n\n \ntwo\n", "a.txt", template="<{anything}>")
    assert [request["custom_id"] for request in requests] == ["request-0000001", "request-0000002"]
    assert contents(requests) == ["<one>", "<two>"]
    assert contents(await write("one\n", "a.txt", template="<{}>", overwrite=True)) == ["<one>"]


@pytest.mark.parametrize(
    ("row", "content"),
    [
        ('{"prompt": "a", "messages": 1, "x": 2}', "a"),
        ('{"messages": [{"role": "user", "content": "b"}], "x": 2}', "b"),
        ('{"input": "c", "x": 2}', "c"),
        ('{"custom_id": "1", "anything": "d"}', "d"),
        ('"e"', "e"),
    ],
)
async def test_a_row_without_a_template_has_its_prompt_in_a_field(
    write: Callable[..., Any], row: str, content: str
) -> None:
    """One that is called so, or the only one."""
    assert contents(await write(row, "a.jsonl")) == [content]


async def test_values_of_json_fill_a_template(write: Callable[..., Any]) -> None:
    row = json.dumps({"item": {"name": "lamp"}, "price": 2.5, "tags": ["a", "b"], "is_new": True})
    assert contents(await write(row, "a.jsonl", template="{item.name} {price:.2f} {tags} {is_new}")) == [
        'lamp 2.50 ["a","b"] true'
    ]


async def test_numbers_of_a_table_are_written_as_the_template_says(write: Callable[..., Any]) -> None:
    """Every cell of a table is a text: one that is written as a number is one where a number is needed."""
    requests = await write(
        "item,price,number\nlamp,2.5,7\npot,3,12\n", template="{item}: {price:.2f}", custom_id="row-{number:05d}"
    )
    assert contents(requests) == ["lamp: 2.50", "pot: 3.00"]
    assert [request["custom_id"] for request in requests] == ["row-00007", "row-00012"]


async def test_a_column_without_a_name_and_with_nothing_in_it_is_none(write: Callable[..., Any]) -> None:
    """Spreadsheets end the lines of a table with commas."""
    assert contents(await write("text,\na,\nb, \n")) == ["a", "b"]


@pytest.mark.parametrize(
    ("custom_id", "ids"),
    [
        (None, ["request-0000001", "request-0000002"]),
        ("id", ["kettle", "lamp"]),
        ("{language}-{id}", ["French-kettle", "Basque-lamp"]),
        ("row-{number:03d}", ["row-001", "row-002"]),
    ],
)
async def test_ids_are_a_field_or_a_pattern(write: Callable[..., Any], custom_id: str | None, ids: list[str]) -> None:
    requests = await write(TABLE, template="{text}", custom_id=custom_id)
    assert [request["custom_id"] for request in requests] == ids


async def test_a_field_called_custom_id_is_the_id(write: Callable[..., Any]) -> None:
    """Rows of JSON need not all have one; a field called as the row's number is a field all the same."""
    requests = await write('{"custom_id": 17, "p": "a"}\n{"p": "b"}\n"c"\n', "a.jsonl")
    assert [request["custom_id"] for request in requests] == ["17", "request-0000002", "request-0000003"]
    requests = await write('{"number": "x", "prompt": "a"}', "a.jsonl", custom_id="{number}", overwrite=True)
    assert requests[0]["custom_id"] == "x"


async def test_prompts_come_from_bytes_and_open_files(tmp_path: Path) -> None:
    """What is piped in is a file that is open already."""
    for number, source in enumerate([TABLE.encode(), io.BytesIO(gzip.compress(TABLE.encode()))]):
        path = tmp_path / f"{number}.jsonl"
        written = await write_request_file(source, path, model="m", format="csv", template="{text}")
        assert written.requests == 2


@pytest.mark.parametrize(("name", "unpack"), [("a.jsonl.gz", gzip.decompress), ("a.zst", unpacked)])
async def test_a_file_is_packed_as_its_name_says(name: str, unpack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / name
    written = await write_request_file(b"one\ntwo\n", path, model="m", format="text")
    assert written.bytes == len(unpack(path.read_bytes()))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (await validate_requests(path)).requests == 2


async def test_texts_can_stand_in_files_of_their_own(write: Callable[..., Any], tmp_path: Path) -> None:
    """The end of the last line is the editor's, not the author's."""
    (tmp_path / "ask.txt").write_bytes("\ufeffSay\n{text}\n".encode())
    (tmp_path / "system.txt").write_bytes(b"Be brief.\r\n\r\n")
    requests = await write(TABLE, template=tmp_path / "ask.txt", system=tmp_path / "system.txt")
    texts = [message["content"] for message in requests[0]["body"]["messages"]]
    assert texts == ["Be brief.\r\n", "Say\nBoils in a minute."]


async def test_answers_can_have_a_schema(write: Callable[..., Any], tmp_path: Path) -> None:
    """Of a class, or of a file, beside what else is said of their text."""
    schema = {"type": "object", "properties": {"mood": {"type": "string"}}}
    (tmp_path / "Review.json").write_text(json.dumps(schema))
    expected = json_schema_format(Review)
    for given in (Review, tmp_path / "Review.json", str(tmp_path / "Review.json")):
        (request,) = await write("a\n", "a.txt", schema=given, overwrite=True)
        assert request["body"]["response_format"] == expected
    options = {"endpoint": "/v1/responses", "parameters": {"text": {"verbosity": "low"}}, "overwrite": True}
    (request,) = await write("a\n", "a.txt", schema=Review, **options)
    expected = json_schema_format(Review, endpoint="/v1/responses")
    assert request["body"]["text"] == {"verbosity": "low", "format": expected}


async def test_the_first_prompts_can_be_tried_alone(write: Callable[..., Any]) -> None:
    """Whatever stands behind them."""
    assert contents(await write(f"{TABLE}broken\n", template="{text}", limit=1)) == ["Boils in a minute."]


@pytest.mark.parametrize(
    ("prompts", "name", "options", "problems"),
    [
        (
            "id,text\n1,a\n2\n3,\n1,b\n",
            "a.csv",
            {"template": "{text}", "custom_id": "id"},
            [
                "a.csv:3: This row has 1 field, the header has 2.",
                "a.csv:4: The field 'text' is empty. (custom_id '3')",
                "a.csv:5: The id of this row is that of line 2 too. (custom_id '1')",
            ],
        ),
        (
            "id,text\n1,a\n",
            "a.csv",
            {"template": "{txt} {question}", "custom_id": "{ids}-{number}"},
            [
                "a.csv:1: The template asks for 'txt', which the header does not have: did you mean 'text'?",
                "a.csv:1: The template asks for 'question', which the header does not have: there are 'id', 'text'",
                "a.csv:1: The custom_id asks for 'ids', which the header does not have: did you mean 'id'?",
            ],
        ),
        (
            "id;text\n1;a\n",
            "a.csv",
            {"template": "{text}"},
            ["a.csv:1: The template asks for 'text', which the header does not have: it is all one field, is ';' the"],
        ),
        ("id,a,b\n1,2,3\n", "a.csv", {"custom_id": "id"}, [f"a.csv:1: {LACKING} there are 'id', 'a', 'b'."]),
        (
            "text,\na,\nb,x\nc,y\n",
            "a.csv",
            {},
            [f"a.csv:3: {LACKING} there are 'text' and one without a name. So it is in other rows."],
        ),
        (
            "item,price\nlamp,2\npot,n/a\n",
            "a.csv",
            {"template": "{item}: {price:.2f}", "custom_id": "{price:03d}"},
            ["a.csv:3: 'n/a' in the field 'price' is no number, and {price:03d} needs one."],
        ),
        (
            '{"a": 1e400}\n{"a": {"b": 1e400}}\n',
            "a.jsonl",
            {"template": "v={a}"},
            [
                "a.jsonl:1: The field a cannot be written as JSON: it is inf.",
                "a.jsonl:2: The field a.b cannot be written as JSON: it is inf.",
            ],
        ),
        (
            '{"text": "a"}\n{"text": 5\n{"txt": "a"}\n{"text": null}\n7\n',
            "a.jsonl",
            {"template": "{text}"},
            [
                "a.jsonl:2:11: This line is not parseable as valid JSON: ",
                "a.jsonl:3: This row has no 'text'.",
                "a.jsonl:4: The field 'text' is empty.",
                "a.jsonl:5: A line must hold an object or a text, but this one holds 7.",
            ],
        ),
        (
            '{}\n{"prompt": " "}\n{"prompt": []}\n{"prompt": 5}\n{"custom_id": "", "prompt": "a"}\n" "\n',
            "a.jsonl",
            {},
            [
                f"a.jsonl:1: {LACKING} there are none.",
                "a.jsonl:2: The field 'prompt' is empty.",
                "a.jsonl:3: The prompt cannot be sent: the list is empty.",
                "a.jsonl:4: The field 'prompt' must be a text or a list.",
                "a.jsonl:5: The field 'custom_id' is empty.",
                "a.jsonl:6: The field 'prompt' is empty.",
            ],
        ),
        (
            '"text"\n{"a": 1, "b": 2}\n',
            "a.jsonl",
            {"template": "{a} {b}"},
            ["a.jsonl:1: A text fills one place, the template has 2: give an object."],
        ),
        ('{"custom_id": "request-0000002", "p": "a"}\n"b"\n', "a.jsonl", {}, ["a.jsonl:2: The id of this row is that"]),
        ("", "a.csv", {}, ["a.csv: There are no prompts: the file is empty."]),
        ("\n\n", "a.txt", {}, ["a.txt: There are no prompts: the file has only blank lines."]),
        ("a,b\n\n", "a.csv", {}, ["a.csv: There are no prompts: the file has a header, and no rows."]),
        (b"a,\xff\n1,2\n", "a.csv", {"template": "{a}"}, ["a.csv:1:3: This line is not valid UTF-8"]),
    ],
)
async def test_every_problem_is_named_and_nothing_is_written(
    write: Callable[..., Any],
    tmp_path: Path,
    prompts: str | bytes,
    name: str,
    options: dict[str, Any],
    problems: list[str],
) -> None:
    found = await problems_of(write, tmp_path, prompts, name, **options)
    assert len(found) == len(problems)
    for text, expected in zip(found, problems, strict=True):
        assert text.startswith(expected)


async def test_problems_know_their_fields(write: Callable[..., Any]) -> None:
    """For programs, which do not read sentences."""
    with pytest.raises(InvalidRequestsError) as caught:
        await write("id,shop,text\n1,a,\n1,a,b\n", template="{text}", custom_id="{shop}-{id}")
    empty, double = caught.value.problems
    assert (empty.line, empty.param, empty.code) == (2, "text", "invalid_value")
    assert (double.line, double.param, double.code, double.first_line) == (3, "shop, id", "duplicate_custom_id", 2)


async def test_reading_ends_at_a_hundred_problems(write: Callable[..., Any], tmp_path: Path) -> None:
    """A file that is wrong throughout is not read to its end for it."""
    found = await problems_of(write, tmp_path, "prompt,b\n" + "1\n" * 1_000)
    assert len(found) == 100
    with pytest.raises(InvalidRequestsError, match=r"^The first 100 problems in the prompts: .*; and 97 more$"):
        await write("prompt,b\n" + "1\n" * 1_000)
    with pytest.raises(InvalidRequestsError, match=r"^1 problem in the prompts"):
        await write("a,b\n1\n")


async def test_a_problem_far_down_takes_back_what_was_written(write: Callable[..., Any], tmp_path: Path) -> None:
    """And a duplicate is found across any distance, without holding the lines between."""
    rows = "".join(f"{number},{'words ' * 50}\n" for number in range(3_000))
    found = await problems_of(write, tmp_path, f"id,text\n{rows}5,again\n", custom_id="id")
    assert found == ["prompts.csv:3002: The id of this row is that of line 7 too. (custom_id '5')"]


async def test_a_prompt_can_have_any_length(write: Callable[..., Any]) -> None:
    """Up to what a line may have: the service, or the model, says when it is too long."""
    assert contents(await write(f"a\n{'word ' * 60_000}\n")) == ["word " * 60_000]


async def test_an_empty_field_can_be_meant(write: Callable[..., Any]) -> None:
    requests = await write('{"a": null, "b": ""}\n', "a.jsonl", template="<{a}{b}>", allow_empty=True)
    assert contents(requests) == ["<>"]
    assert contents(await write('{"prompt": null}\n', "a.jsonl", allow_empty=True, overwrite=True)) == [""]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": ""}, "model must be a str that is not empty"),
        ({"endpoint": "/v1/images/edits"}, "prompts can be put to"),
        ({"template": "no place"}, r"the template has no \{field\}"),
        ({"template": "{"}, r"the template:1:1: a '\{' stands alone"),
        ({"template": "\udce9 {text}"}, "template is not valid UTF-8: character 1 is the byte 0xe9"),
        ({"template": "{text:9999d}"}, r"the template: \{text:9999d\} asks for more than 1,000 characters"),
        ({"system": "\udce9"}, "system is not valid UTF-8: character 1 is the byte 0xe9"),
        ({"model": "\udce9"}, "model is not valid UTF-8: character 1 is the byte 0xe9"),
        ({"custom_id": "\udce9{number}"}, "custom_id is not valid UTF-8: character 1 is the byte 0xe9"),
        ({"schema": {"title": "T", "type": "object", "properties": {"a": {"enum": ["\ud83d"]}}}}, r"character, .*'$"),
        ({"template": 5}, "template must be a str, or the Path of a file, not int"),
        ({"system": b"x"}, "system must be a str, or the Path of a file, not bytes"),
        ({"custom_id": ""}, "custom_id must be a field, or a pattern"),
        ({"custom_id": "{a"}, "custom_id:1:1: a '{' stands alone"),
        ({"limit": 0}, "limit must be a whole number of at least 1, not 0"),
        ({"limit": True}, "limit must be a whole number of at least 1, not True"),
        ({"parameters": [1]}, "parameters are a mapping of names to values, not list"),
        ({"parameters": {"model": "x"}}, "'model' is no parameter of a body here"),
        ({"parameters": {"messages": []}}, "messages is made from the prompts and system"),
        ({"parameters": {"stream": True}}, "stream cannot be set in a batch"),
        ({"parameters": {"top_p": float("nan")}}, "parameters.top_p cannot be written as JSON: it is nan"),
        ({"schema": Review, "parameters": {"response_format": {}}}, "response_format is made from the schema"),
        (
            {"schema": Review, "endpoint": "/v1/responses", "parameters": {"text": {"format": {}}}},
            "text is made from the schema",
        ),
        ({"schema": Review, "endpoint": "/v1/embeddings"}, "structured outputs are for"),
        ({"format": "text", "template": "{a} {b}"}, "a line of text fills one place, the template has 2"),
    ],
)
async def test_an_argument_that_cannot_be_right_is_refused(
    write: Callable[..., Any], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """Before the prompts are read."""
    with pytest.raises(InputError, match=message):
        await write(TABLE, **options)
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{\n "a": }', r"s\.json:2:7: this is not valid JSON: "),
        (b"[" * 100_000, r"s\.json: this is not valid JSON: it is nested too deeply"),
        (b"[]", r"s\.json: a JSON schema is an object, not list"),
        (b'{"type": "object"}', r"s\.json: strict mode cannot express schema"),
        (b"\xff", r"s\.json is not valid UTF-8: .*, at byte 0"),
    ],
)
async def test_a_file_that_holds_no_schema_is_named(
    write: Callable[..., Any], tmp_path: Path, data: bytes, message: str
) -> None:
    (tmp_path / "s.json").write_bytes(data)
    with pytest.raises(InputError, match=message):
        await write(TABLE, template="{text}", schema=tmp_path / "s.json")


async def test_a_template_in_a_file_is_named_in_its_errors(write: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "ask.txt").write_text("Say\n{text")
    with pytest.raises(InputError, match=r"ask\.txt:2:1: a '\{' stands alone: double it"):
        await write(TABLE, template=tmp_path / "ask.txt")


async def test_a_file_that_is_there_is_kept_unless_told(tmp_path: Path) -> None:
    """And what is replaced stays as it is until the new one is whole."""
    path = tmp_path / "a.jsonl"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"a\.jsonl exists: pass overwrite=True to replace it"):
        await write_request_file(b"one\n", path, model="m", format="text")
    with pytest.raises(InvalidRequestsError):
        await write_request_file(b"", path, model="m", format="text", overwrite=True)
    assert path.read_text() == "mine"
    await write_request_file(b"one\n", str(path), model="m", format="text", overwrite=True)
    assert path.stat().st_size > 4
    with pytest.raises(IsADirectoryError):
        await write_request_file(b"one\n", tmp_path, model="m", format="text", overwrite=True)


async def test_prompts_can_be_replaced_by_their_requests(tmp_path: Path) -> None:
    """They are read to their end before the name changes its owner."""
    path = tmp_path / "a.jsonl"
    path.write_text('"one"\n"two"\n')
    await write_request_file(path, path, model="m", overwrite=True)
    assert (await validate_requests(path)).requests == 2


class Slow(io.BytesIO):
    """A file that says when it is used, and waits to be allowed to."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(data)
        self.is_used = threading.Event()
        self.may_go_on = threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        if size:
            self._wait()
        return super().read(size)

    def write(self, data: Any) -> int:
        self._wait()
        return super().write(data)

    def _wait(self) -> None:
        self.is_used.set()
        self.may_go_on.wait(10)


async def test_two_do_not_write_one_file(tmp_path: Path) -> None:
    """The second is told; the first is not disturbed, and can be cancelled without a trace."""
    slow = Slow(b"one\n")
    path = tmp_path / "a.jsonl"
    first = asyncio.create_task(write_request_file(slow, path, model="m", format="text"))
    await asyncio.to_thread(slow.is_used.wait, 10)
    with pytest.raises(InputError, match=r"a\.jsonl is being written by another process: .*a\.jsonl\.part is in use"):
        await write_request_file(b"two\n", path, model="m", format="text")
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    slow.may_go_on.set()
    assert names(tmp_path) == []


async def test_an_open_file_gets_all_or_nothing() -> None:
    """What reads a pipe cannot tell a file that was cut from one that is whole."""
    stream = io.BytesIO()
    with pytest.raises(InvalidRequestsError):
        await write_request_file(b"a,b\n1,2\n3\n", stream, model="m", format="csv", template="{a}")
    assert stream.getvalue() == b""
    written = await write_request_file(b"one\n\n \ntwo\n", stream, model="m", format="text")
    assert written == RequestFile(path=None, requests=2, bytes=len(stream.getvalue()), blank_lines=2)
    assert (await validate_requests(stream.getvalue())).requests == 2


async def test_a_cancelled_task_does_not_wait_for_a_stream_that_is_not_read() -> None:
    stuck = Slow()
    writing = asyncio.create_task(write_request_file(b"one\n", stuck, model="m", format="text"))
    await asyncio.to_thread(stuck.is_used.wait, 10)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert not stuck.may_go_on.is_set()
    stuck.may_go_on.set()


async def test_what_cannot_be_written_to(tmp_path: Path) -> None:
    wrong: Any = 5
    with pytest.raises(InputError, match="requests are written to a path or an open file, not to int"):
        await write_request_file(b"one\n", wrong, model="m", format="text")
    with pytest.raises(FileNotFoundError):
        await write_request_file(b"one\n", tmp_path / "no" / "a.jsonl", model="m", format="text")
    with pytest.raises(FileNotFoundError):
        await write_request_file(tmp_path / "no.txt", tmp_path / "a.jsonl", model="m")
    with pytest.raises(FileNotFoundError):
        await write_request_file(b"one\n", tmp_path / "a.jsonl", model="m", format="text", template=Path("no.txt"))
    assert names(tmp_path) == []
