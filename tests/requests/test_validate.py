"""What the service would refuse in an input file is found before it is sent, line by line."""

from __future__ import annotations

import itertools
import json
import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from openai_batches import OPENAI, InputError
from openai_batches.errors import InvalidRequestsError
from openai_batches.models import Problem, Repair
from openai_batches.requests.check_block import BlockChecker, CheckedBlock
from openai_batches.requests.check_line import CheckedLine, check_line, count_inputs
from openai_batches.requests.validate import ProblemList, ValidationReport, report_of, whole_file_problems

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
MESSAGES = [{"role": "user", "content": "Hi"}]


def request(number: int = 1, *, url: str = CHAT, **changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "custom_id": f"r-{number}",
        "method": "POST",
        "url": url,
        "body": {"model": "m", "messages": MESSAGES},
    }
    whole.update(changes)
    return {name: value for name, value in whole.items() if value is not ...}


def body(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {"model": "m", "messages": MESSAGES, **changes}
    return {name: value for name, value in whole.items() if value is not ...}


def block(*lines: Any) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


def check(*blocks: bytes, **options: Any) -> tuple[list[CheckedBlock], ValidationReport]:
    checker = BlockChecker(**options)
    checked = [checker.check(part) for part in blocks]
    problems = ProblemList(100)
    for part in checked:
        problems.add(part.problems)
    return checked, report_of(checker, problems)


def problems_of(*lines: Any, **options: Any) -> list[Problem]:
    return list(check(block(*lines), **options)[1].problems)


def named(problems: list[Problem]) -> list[tuple[str, int | None, str | None]]:
    return [(problem.code, problem.line, problem.param) for problem in problems]


def test_good_requests_are_counted_and_kept_as_they_are() -> None:
    """Of a file without problems, the report says what is in it, and not a byte is changed."""
    data = block(request(1), request(2))
    (first, second), report = check(data, block(request(3)))
    assert report == ValidationReport(
        requests=3, bytes=len(data) + len(block(request(3))), models=("m",), endpoints=(CHAT,)
    )
    assert report.is_valid
    report.raise_for_problems()
    assert [group.data for group in first.groups] == [data]
    assert first.custom_ids == ["r-1", "r-2"]
    assert list(second.lines) == [3]


def test_every_letter_is_welcome() -> None:
    """UTF-8 is passed on as it is, line separators of Unicode included, which end no line."""
    text = "é “ 中 😀 \u2028 \x85"
    lines = [request(1), json.dumps(request(2, body=body(user=text)), ensure_ascii=False).encode(), request(3)]
    (checked,), report = check(block(*lines))
    assert report.is_valid
    assert [group.data for group in checked.groups] == [block(*lines)]
    assert list(checked.groups[0].lines) == [1, 2, 3]


BAD_LINES: list[tuple[Any, str, str | None, str]] = [
    (request(custom_id=...), "missing_required_parameter", "custom_id", "Missing required parameter: 'custom_id'."),
    (request(custom_id=None), "missing_required_parameter", "custom_id", "Missing required parameter: 'custom_id'."),
    (request(custom_id=""), "invalid_value", "custom_id", "must not be empty"),
    (request(custom_id=7), "invalid_type", "custom_id", "expected a string, but got an integer instead"),
    (request(method=...), "missing_required_parameter", "method", "'method'"),
    (request(method="GET"), "invalid_method", "method", "must be 'POST', not 'GET'"),
    (request(url=...), "missing_required_parameter", "url", "'url'"),
    (request(url="https://api.openai.com" + CHAT), "invalid_url", "url", "must be a path"),
    (request(url="/v1/" + "x" * 100), "invalid_url", "url", "does not match the batch endpoint: '/v1/xxx"),
    (request(body=...), "missing_required_parameter", "body", "'body'"),
    (request(body=[1]), "invalid_type", "body", "expected an object, but got an array instead"),
    (request(body=body(model=...)), "invalid_request", "body.model", "Model parameter is required."),
    (request(body=body(model="")), "invalid_request", "body.model", "Model parameter is required."),
    (request(body=body(model=1.5)), "invalid_type", "body.model", "expected a string, but got a decimal instead"),
    (request(body=body(model="other")), "mismatched_model", "body.model", "began with 'm' on line 1"),
    (request(body=body(stream=True)), "streaming_unsupported", "body.stream", "Streaming is not supported"),
    (request(body=body(messages=...)), "invalid_request", "body.messages", "Messages parameter is required."),
    (request(body=body(messages=None)), "invalid_request", "body.messages", "Messages parameter is required."),
    (b"[1]", "invalid_type", None, "must hold an object, a request, but this one holds an array"),
    (b"null", "invalid_type", None, "this one holds null"),
    (b"true", "invalid_type", None, "this one holds a boolean"),
    (b'"\\ud800"', "invalid_json_line", None, "not parseable as valid JSON"),
    (b"[" * 100_000, "invalid_json_line", None, "nested too deeply"),
]


@pytest.mark.parametrize(("line", "code", "param", "words"), BAD_LINES)
def test_each_kind_of_problem_is_named_with_its_line_and_field(
    line: Any, code: str, param: str | None, words: str
) -> None:
    """Codes are the service's own; good lines around a bad one are still good."""
    (checked,), report = check(block(request(1), line, request(3)), file="in.jsonl")
    assert named(list(report.problems)) == [(code, 2, param)]
    assert words in report.problems[0].message
    assert report.problems[0].file == "in.jsonl"
    assert [list(group.lines) for group in checked.groups] == [[1, 3]]
    assert report.requests == 3


def test_everything_wrong_with_a_line_is_said_at_once() -> None:
    """Four missing fields are four problems, as the service has it."""
    assert named(problems_of({}, endpoint=CHAT)) == [
        ("missing_required_parameter", 1, name) for name in ("custom_id", "method", "url", "body")
    ]


def test_problems_name_the_request() -> None:
    """The id helps where line numbers do not; the first line that is contradicted is named too."""
    found = problems_of(request(1), request(2, url="/v1/responses", body=body(model="n", input="x")))
    assert [(problem.custom_id, problem.first_line) for problem in found] == [("r-2", 1), ("r-2", 1)]
    assert str(found[0]).startswith("line 2: The URL provided for this request does not match the batch endpoint: ")
    assert str(found[0]).endswith("(custom_id 'r-2')")


@pytest.mark.parametrize(
    ("line", "code", "column"),
    [
        (b'{"a": tru}', "invalid_json_line", 7),
        ('{"é": "ü" 1}'.encode(), "invalid_json_line", 11),
        (b'{"a": 1', "invalid_json_line", 8),
        (b"{'a': 1}", "invalid_json_line", 2),
        (b'{"a": "\\ud800"}', "invalid_json_line", None),
        (b'{"a": ' + b"9" * 5_000 + b"}", "invalid_json_line", None),
        ('{"é": "'.encode() + b'\xff"}', "invalid_utf8", 8),
        (b"\xff\xfe{\x00}\x00", "invalid_utf8", 1),
    ],
)
def test_the_column_is_where_the_line_breaks(line: bytes, code: str, column: int | None) -> None:
    """It counts characters, from 1, as editors do."""
    (problem,) = problems_of(request(1), line)
    assert (problem.code, problem.line, problem.column) == (code, 2, column)
    assert ("UTF-16" in problem.message) == line.startswith(b"\xff\xfe")


@pytest.mark.parametrize(
    ("line", "column"), [(b'{"a": "\\ud800", "bbbbbbbbbb": 1}', 14), (b'{"a": NaN}', 7), (b'{"a": Infinity}', 7)]
)
def test_what_python_takes_for_json_is_refused(line: bytes, column: int) -> None:
    """Its own parser finds nothing there, so that the column is named only if the decoder's message has it."""
    (problem,) = problems_of(request(1), line)
    assert (problem.code, problem.line) == ("invalid_json_line", 2)
    assert problem.column in {None, column}
    assert problem.message.endswith(": NaN, Infinity and one half of a surrogate pair (\\ud800) are no JSON.")


@pytest.mark.parametrize(
    "text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"], ids=["no", "cut", "surrogate", "beyond"]
)
def test_bytes_that_are_no_utf8_are_found_in_strings_that_are_not_decoded(text: bytes) -> None:
    """The content of messages is never decoded, and yet it is sent."""
    line = block(request(1)).replace(b'"Hi"', b'"' + text + b'"').strip()
    assert named(problems_of(line)) == [("invalid_utf8", 1, None)]


@pytest.mark.parametrize(
    ("url", "missing"),
    [
        (CHAT, "messages"),
        ("/chat/completions", "messages"),
        ("/v1/completions", "prompt"),
        (EMBEDDINGS, "input"),
        ("/v1/moderations", "input"),
        ("/v1/responses", "input"),
        ("/v1/images/generations", "prompt"),
        ("/v1/images/edits", "prompt"),
        ("/v1/videos", "prompt"),
        ("/v1/something/new", None),
    ],
)
def test_each_endpoint_has_something_to_work_on(url: str, missing: str | None) -> None:
    """Chat needs messages, embeddings input and so on; of an endpoint that is not known, nothing is asked."""
    found = problems_of(request(url=url, body={"model": "m"}))
    assert named(found) == ([("invalid_request", 1, f"body.{missing}")] if missing else [])
    if missing:
        assert problems_of(request(url=url, body={"model": "m", missing: "x"})) == []


def test_a_kept_prompt_stands_in_for_the_input_of_a_response() -> None:
    """The Responses API takes a reference to a prompt instead of an input."""
    url = "/v1/responses"
    good = [request(1, url=url, body={"model": "m", "prompt": {"id": "p"}}), request(2, url=url, body=body(input="Hi"))]
    assert problems_of(*good) == []
    assert problems_of(request(url=url, body={"model": "m", "input": None, "prompt": {"id": "p"}})) == []


def test_lax_checks_leave_bodies_to_the_service() -> None:
    """With strict=False a body can be any object; the other fields are checked all the same."""
    lines = [
        request(1, body={}),
        request(2, body={"model": 7, "stream": True}),
        request(3, body={"model": "a"}),
        request(4, body={"model": "b"}),
    ]
    assert problems_of(*lines, strict=False) == []
    assert check(block(*lines), strict=False)[1].models == ("a", "b")
    assert named(problems_of(request(1, body=7, method="GET"), strict=False)) == [
        ("invalid_method", 1, "method"),
        ("invalid_type", 1, "body"),
    ]


def test_the_endpoint_of_the_batch_is_what_was_asked_for() -> None:
    """If the endpoint is given, the first line has no say in it; then no line contradicts another."""
    (problem,) = problems_of(request(1), endpoint="/v1/responses")
    assert (problem.code, problem.first_line) == ("invalid_url", None)
    (problem,) = problems_of(request(1), endpoint="/v1/responses", one_batch=False)
    assert problem.code == "invalid_url"


def test_many_batches_have_many_endpoints_and_models() -> None:
    """With one_batch=False the requests are sorted by both, each in its order."""
    lines = [
        request(1),
        request(2, body=body(model="n")),
        request(3),
        request(4, url=EMBEDDINGS, body={"model": "e", "input": "x"}),
        request(5, body=body(model="n")),
    ]
    (checked,), report = check(block(*lines), one_batch=False)
    assert {(group.endpoint, group.model): list(group.lines) for group in checked.groups} == {
        (CHAT, "m"): [1, 3],
        (CHAT, "n"): [2, 5],
        (EMBEDDINGS, "e"): [4],
    }
    assert checked.groups[0].data == block(lines[0], lines[2])
    assert checked.custom_ids == [f"r-{number}" for number in range(1, 6)]
    assert (report.models, report.endpoints) == (("m", "n", "e"), (CHAT, EMBEDDINGS))


def test_one_bad_group_of_several_is_found() -> None:
    """A block that is sorted is checked group by group."""
    found = problems_of(request(1), request(2, body=body(model="n", messages=...)), one_batch=False)
    assert named(found) == [("invalid_request", 2, "body.messages")]
    found = problems_of(request(1), request(2, body=body(messages=None)), one_batch=False)
    assert named(found) == [("invalid_request", 2, "body.messages")]
    assert named(problems_of(request(1, url="v1"), one_batch=False)) == [("invalid_url", 1, "url")]


def test_what_says_nothing_is_repaired_and_reported() -> None:
    """Byte order marks, line ends as on Windows and blank lines are no reason to refuse a batch."""
    good = [json.dumps(request(number)).encode() for number in range(1, 5)]
    bom = b"\xef\xbb\xbf"
    data = bom + good[0] + b"\r\n\r\n" + good[1] + b"\n \t\n" + bom + good[2] + b"\n" + good[3] + b"\r\n"
    (checked,), report = check(data)
    assert report.is_valid
    assert report.repairs == (
        Repair(code="crlf", count=3, first_line=1),
        Repair(code="bom", count=2, first_line=1),
        Repair(code="blank_line", count=2, first_line=2),
    )
    assert checked.groups[0].data == b"".join(line + b"\n" for line in good)
    assert list(checked.lines) == list(checked.groups[0].lines) == [1, 3, 5, 6]
    assert report.bytes == len(checked.groups[0].data)
    assert report.requests == 4


def test_a_carriage_return_inside_a_line_is_only_a_space() -> None:
    """JSON takes it for white space; it ends no line."""
    data = block(request(1)).replace(b", ", b",\r ")
    (checked,), report = check(data)
    assert (report.is_valid, report.repairs, checked.groups[0].data) == (True, (), data)


def test_line_numbers_go_on_after_every_kind_of_block() -> None:
    """Blocks that are checked line by line and blocks that are not count the same."""
    blocks = [block(request(1), request(2)), block(request(3), b""), block(request(5)), block(b"{")]
    checked, report = check(*blocks)
    assert [list(part.lines) for part in checked] == [[1, 2], [3], [5], []]
    assert [problem.line for problem in report.problems] == [6]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        # Two requests on one line and one on two lines: as many lines as requests, and yet wrong.
        (
            json.dumps(request(1))
            + " "
            + json.dumps(request(2))
            + "\n"
            + json.dumps(request(3), indent=0)[:-2]
            + "}\n",
            3,
        ),
        (json.dumps(request(1)) + json.dumps(request(2)) + "\n", 1),
        (json.dumps(request(1), indent=1) + "\n", 0),
    ],
    ids=["balanced", "two on one line", "one on many lines"],
)
def test_each_request_has_a_line_of_its_own(data: str, lines: int) -> None:
    """What the decoder takes for a stream of requests is still no file of one request a line."""
    found = check(data.encode())[1].problems
    assert found
    assert {problem.code for problem in found} <= {"invalid_json_line", "invalid_type"}
    assert found[0].line == 1


@pytest.mark.parametrize(("data", "code"), [(b"", "empty_file"), (b"\n \n", "empty_batch")])
def test_no_request_at_all_is_a_problem(data: bytes, code: str) -> None:
    """An empty file is one, a file of blank lines is, and what is no file may be a generator that was read before."""
    _, report = check(*filter(None, [data]), file="in.jsonl")
    assert named(list(report.problems)) == [(code, None, None)]
    assert str(report.problems[0]).startswith("in.jsonl: The input file ")
    _, report = check(*filter(None, [data]))
    assert named(list(report.problems)) == [(code, None, None)]
    assert str(report.problems[0]).endswith("can be read only once.")


def test_a_line_larger_than_a_file_is_named() -> None:
    """The limit counts the line's end."""
    line = json.dumps(request(1)).encode()
    assert problems_of(line, max_line_bytes=len(line) + 1) == []
    (problem,) = problems_of(line, max_line_bytes=len(line))
    assert (problem.code, problem.line, problem.custom_id) == ("line_too_large", 1, "r-1")


def test_limits_of_one_batch_are_checked_at_the_end() -> None:
    """Too many requests, bytes or inputs are problems of the file, not of a line."""
    checker = BlockChecker()
    checker.check(block(*[request(n, url=EMBEDDINGS, body={"model": "m", "input": ["a", "b"]}) for n in range(3)]))
    assert whole_file_problems(checker, OPENAI) == []
    small = attrs.evolve(OPENAI, max_requests=2, max_bytes=10, max_embedding_inputs=5)
    found = whole_file_problems(checker, small)
    assert named(found) == [(code, None, None) for code in ("too_many_tasks", "file_too_large", "too_many_inputs")]
    assert found[0].message == "There are 3 requests, one batch of OpenAI can have 2."


@pytest.mark.parametrize(
    ("value", "inputs"),
    [("text", 1), (["a", "b", "c"], 3), ([1, 2, 3], 1), ([[1, 2], [3]], 2), ([], 1), (None, 1), ({"a": 1}, 1)],
)
def test_inputs_are_counted_not_requests(value: Any, inputs: int) -> None:
    """An array of texts is as many inputs; an array of token ids is one."""
    assert count_inputs(value) == inputs
    line = request(url=EMBEDDINGS, body={"model": "m", "input": value})
    (checked,), report = check(block(line), strict=False)
    assert [list(group.inputs or ()) for group in checked.groups] == [[inputs]]
    assert report.embedding_inputs == inputs


def test_numbers_beyond_every_float_are_left_to_the_service() -> None:
    """They are JSON, whichever way a line is read."""
    line = json.dumps(request(url=EMBEDDINGS, body={"model": "m", "input": "x"})).encode()
    for number in (b"1e999", b"-1e-999", b"9" * 400):
        huge = line.replace(b'"x"', b"[" + number + b"]")
        assert problems_of(huge) == []
        assert problems_of(huge, b"") == []


def test_only_the_first_problems_are_kept_and_the_others_counted() -> None:
    """A file of a million mistakes does not fill the memory with them; their order is that of the lines."""
    problems = ProblemList(3)
    assert not problems
    problems.add([Problem(code="a", message="m", line=line) for line in (5, 9)])
    problems.add([Problem(code="b", message="m")], more=2)
    problems.add([Problem(code="c", message="m", line=line) for line in (1, 7)])
    assert [problem.line for problem in problems.kept] == [1, 5, 7]
    assert problems.more == 4


def test_all_problems_are_raised_together() -> None:
    """The error names the first three, has all that were kept, and survives a queue."""
    kept = tuple(Problem(code="a", message=f"No {line}.", line=line, file="in.jsonl") for line in range(1, 5))
    report = ValidationReport(requests=9, problems=kept, more_problems=1)
    with pytest.raises(
        InvalidRequestsError, match=r"5 problems in the requests: in\.jsonl:1: No 1\.; .*; and 2 more"
    ) as e:
        report.raise_for_problems()
    assert (e.value.problems, e.value.more_problems) == (kept, 1)
    assert isinstance(e.value, InputError)
    assert vars(pickle.loads(pickle.dumps(e.value))) == vars(e.value)
    with pytest.raises(InvalidRequestsError, match=r"^1 problem in the requests: in\.jsonl:1: No 1\.$"):
        attrs.evolve(report, problems=kept[:1], more_problems=0).raise_for_problems()


def test_a_problem_says_where_it_is() -> None:
    """As compilers do, file:line:column: editors jump there."""
    problem = Problem(code="c", message="Bad.", file="a.jsonl", line=3, column=9, custom_id="r")
    assert str(problem) == "a.jsonl:3:9: Bad. (custom_id 'r')"
    assert str(attrs.evolve(problem, file=None)) == "line 3, column 9: Bad. (custom_id 'r')"
    assert str(Problem(code="c", message="Bad.")) == "Bad."
    assert isinstance(check_line(b"{}", 1), CheckedLine)


odd = st.sampled_from([
    b"", b" ", b"{", b"[]", b"1", b'{"custom_id": "x"}', b"\xef\xbb\xbf", b"\xff", b"{} {}", b'"\xe2\x80\xa8"', b"\r",
])  # fmt: skip
texts = st.text(max_size=4)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
urls = st.sampled_from([CHAT, CHAT, EMBEDDINGS, "/v1/responses", "/v1/new", "v1"])
bodies = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["m", "m", "n", "", 7, None]),
        "stream": st.sampled_from([False, True, None, 1]),
        "messages": values,
        "input": values,
        "prompt": values,
        "other": values,
    },
)
likely = st.builds(request, st.integers(0, 99), url=urls, body=bodies | st.just(body(input=["a", "b"])))
unlikely = st.fixed_dictionaries({}, optional={"custom_id": values, "method": values, "url": values, "body": values})
lines = st.one_of(
    likely.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")),
    likely.map(lambda value: json.dumps(value).encode()),
    unlikely.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")),
    odd,
)


def found_in(checked: list[CheckedBlock], report: ValidationReport) -> Any:
    """Everything that was found, in an order that does not depend on how the lines came in blocks."""
    found: dict[Any, Any] = {}
    for part in checked:
        for group in part.groups:
            data, numbers, inputs = found.setdefault((group.endpoint, group.model), (bytearray(), [], []))
            data += group.data
            numbers += group.lines
            inputs += group.inputs or ()
    ids = [pair for part in checked for pair in zip(part.custom_ids, part.lines, strict=True)]
    return found, ids, report.problems, report.requests, report.bytes, report.embedding_inputs


@given(st.lists(lines, max_size=8), st.lists(st.integers(0, 8), max_size=3), st.booleans(), st.booleans())
def test_fast_and_slow_agree(texts: list[bytes], cuts: list[int], one_batch: bool, strict: bool) -> None:
    """The result is the same whatever lines share a block, and whether they are read at once or one by one."""
    options: dict[str, Any] = {"one_batch": one_batch, "strict": strict}
    places = [0, *sorted(min(cut, len(texts)) for cut in cuts), len(texts)]
    blocks = [block(*texts[begin:end]) for begin, end in itertools.pairwise(places)]
    fast = found_in(*check(*filter(None, blocks), **options))
    single = found_in(*check(*(block(text) for text in texts), **options))
    checker = BlockChecker(**options)
    checker._read_at_once = lambda *_: None  # type: ignore[method-assign]
    checked = [checker.check(part) for part in blocks if part]
    problems = ProblemList(100)
    problems.add(problem for part in checked for problem in part.problems)
    slow = found_in(checked, report_of(checker, problems))
    assert fast == slow
    assert single == slow
