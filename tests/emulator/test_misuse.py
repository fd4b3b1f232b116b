"""What the server says to somebody who sets it up wrongly."""

import functools
import logging
from typing import Any

import pytest
from support.asking import MakeRaw, chat_file

from openai_batches.emulator import (
    ApiKey,
    BatchServer,
    Choices,
    Fault,
    Faults,
    LineAnswer,
    RealClock,
    SteppedClock,
    Timings,
    UpstreamExecutor,
    WebhookEndpoint,
    WebhookRetries,
)
from openai_batches.emulator.__main__ import main

URL = "http://127.0.0.1:9/"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clock": SteppedClock}, r"clock must be a clock, such as SteppedClock\(\)"),
        ({"clock": 5}, "clock must be a clock"),
        ({"timings": Timings}, "timings must be Timings"),
        ({"timings": 5}, "timings must be Timings"),
        ({"api_keys": "abc"}, "api_keys must be a collection"),
    ],
)
def test_wrong_types_are_refused_at_once(options: Any, message: Any) -> None:
    """A class in place of its instance would otherwise fail in the middle of the first request."""
    with pytest.raises(TypeError, match=message):
        BatchServer(**options)


def test_one_fault_needs_no_list() -> None:
    """A single fault may be given as it is."""
    fault = Fault.reset_before()
    assert list(BatchServer(faults=fault).faults) == [fault]


def test_a_faults_method_may_be_in_lower_case() -> None:
    """A method is matched whatever its case; otherwise the fault would never fire, and the test prove nothing."""
    assert Fault.reset_before(method="post").method == "POST"


@pytest.mark.parametrize("status", ["x", 99, 600])
def test_a_fault_answers_with_a_status(status: Any) -> None:
    """What is no HTTP status is refused where it is given."""
    with pytest.raises(ValueError, match="status must be an HTTP status"):
        Fault.error_before(status)


def test_a_port_that_is_out_of_range(capsys: pytest.CaptureFixture[str]) -> None:
    """The program names its argument instead of showing a traceback."""
    with pytest.raises(SystemExit):
        main(["--port", "99999"])
    assert "--port must be 0 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize("returned", [None, (200,), ("200", {}), (200, [])])
async def test_an_executor_that_returns_something_else(
    make_raw: MakeRaw, caplog: pytest.LogCaptureFixture, returned: Any
) -> None:
    """A wrong shape is each line's 500, and told once in the log with what is expected."""

    async def execute(url: Any, body: Any, custom_id: Any) -> Any:
        return returned

    async with BatchServer(clock=SteppedClock(), executor=execute) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(3)))["id"])
        with caplog.at_level(logging.ERROR):
            await server.advance(hours=1)
        batch = await raw.batch(batch["id"])
        assert (batch["status"], batch["request_counts"]["failed"]) == ("completed", 3)
        (told,) = [record for record in caplog.records if "the executor failed" in record.getMessage()]
        assert told.exc_info is not None
        assert "an executor returns (status, body)" in str(told.exc_info[1])


def plain(url: Any, body: Any, custom_id: Any) -> Any:
    return 200, {}


async def answer(url: Any, body: Any, custom_id: Any) -> Any:
    return 200, {}


class Asked:
    async def __call__(self, url: Any, body: Any, custom_id: Any) -> Any:
        return 200, {}


@functools.wraps(answer)
def wrapped(*arguments: Any) -> Any:
    return answer(*arguments)


@pytest.mark.parametrize("executor", [plain, lambda *_: (200, {}), 5, "echo", Asked])
def test_an_executor_that_is_not_async(executor: Any) -> None:
    """A plain function would fail at every line: it is refused where it is given."""
    with pytest.raises(TypeError, match="executor must be an async callable"):
        BatchServer(executor=executor)


@pytest.mark.parametrize("executor", [answer, Asked(), wrapped, functools.partial(answer)])
def test_executors_of_all_kinds(executor: Any) -> None:
    """Whatever is awaited when it is called will do."""
    BatchServer(executor=executor)


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"host": None}, TypeError, "host must be a str"),
        ({"host": ""}, ValueError, "host must not be empty"),
        ({"host": "0.0.0.0"}, ValueError, "host '0.0.0.0' can be reached from outside: give api_keys"),
        ({"host": "example.test"}, ValueError, "can be reached from outside"),
        ({"port": "80"}, TypeError, "port must be a whole number"),
        ({"port": 70_000}, ValueError, "port must be at most 65535"),
        ({"data": ""}, ValueError, "data must be the path of a folder"),
        ({"data": 5}, TypeError, "data must be the path of a folder"),
        ({"data": b"x"}, TypeError, "data must be the path of a folder"),
        ({"faults": 5}, TypeError, "a fault is a Fault, or a text"),
        ({"faults": [5]}, TypeError, "a fault is a Fault, or a text"),
        ({"faults": "lunch"}, ValueError, "unknown kind of fault 'lunch'"),
        ({"choices": {"wrong_purpose": "reject"}}, TypeError, r"choices must be Choices\(...\)"),
        ({"models": "gpt-4o-mini"}, TypeError, "models must be a collection of str, not the one str 'gpt-4o-mini'"),
        ({"models": [5]}, TypeError, "models must be a collection of str"),
        ({"speed": "x"}, TypeError, "speed must be a number"),
        ({"speed": 0}, ValueError, "speed must be above 0"),
        ({"speed": NAN}, ValueError, "speed must be a finite number"),
        ({"speed": INFINITE}, ValueError, "speed must be a finite number"),
        ({"speed": 1e30}, ValueError, "speed must be at most 1e"),
        ({"enqueued_token_limit": "x"}, TypeError, "enqueued_token_limit must be a whole number"),
        ({"enqueued_token_limit": {"m": -1}}, ValueError, r"enqueued_token_limit\['m'\] must be 0 or more"),
        ({"enqueued_token_limit": {5: 1}}, TypeError, "a model of enqueued_token_limit must be a str"),
        ({"max_lines": -1}, ValueError, "max_lines must be 0 or more"),
        ({"max_batches_per_hour": "5"}, TypeError, "max_batches_per_hour must be a whole number"),
        ({"max_bytes": True}, TypeError, "max_bytes must be a whole number"),
        ({"client_timeout_s": 0}, ValueError, "client_timeout_s must be above 0"),
        ({"webhooks": "http://x/"}, TypeError, "webhooks must be WebhookEndpoint"),
        ({"unknown_cursor": "foo"}, ValueError, "^unknown_cursor must be one of restart, empty, error, not 'foo'$"),
        ({"profile": ["azure"]}, ValueError, "profile must be a Profile or one of"),
        ({"api_keys": 5}, TypeError, "api_keys must be a collection of keys, not int"),
        ({"api_keys": ["cl\u00e9"]}, ValueError, "an API key must be of printable ASCII"),
        ({"api_keys": [5]}, TypeError, "an API key must be a str, not int"),
    ],
)
def test_parameters_that_a_server_refuses(options: Any, error: Any, message: str) -> None:
    """What would fail later, or be taken for something else, is refused where it is given, by its name."""
    with pytest.raises(error, match=message):
        BatchServer(**options)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Choices(wrong_purpose="x"), ValueError, "^wrong_purpose must be one of reject, fail_batch, not 'x'$"),
        (lambda: Choices(missing_scope_status=401.0), ValueError, "missing_scope_status must be one of 401, 403"),
        (lambda: Choices(conflict_forbids_retry="no"), TypeError, "conflict_forbids_retry must be True or False"),
        (lambda: Timings(line_s="1"), TypeError, "line_s must be a number, not '1'"),
        (lambda: Timings(line_s=-1), ValueError, "line_s must be 0 or more"),
        (lambda: RealClock(start="x"), TypeError, "start must be a number"),
        (lambda: SteppedClock(start=NAN), ValueError, "start must be a finite number"),
        (lambda: WebhookEndpoint(URL, timestamps="u"), ValueError, "^timestamps must be one of machine, emulated, not"),
        (lambda: WebhookEndpoint(URL, secret=5), TypeError, "secret must be a str or several, not int"),
        (lambda: WebhookEndpoint(URL, secret=[5]), TypeError, "secret must be a collection of str"),
        (lambda: WebhookEndpoint(URL, event_types="batch.completed"), TypeError, "event_types must be a collection"),
        (lambda: WebhookEndpoint(5), TypeError, "url must be a str"),
        (lambda: WebhookRetries(first_s=0), ValueError, "first_s must be above 0"),
        (lambda: UpstreamExecutor("http://x", headers=["a"]), TypeError, "headers must be a mapping"),
        (lambda: UpstreamExecutor("http://x", model=""), ValueError, "model must not be empty"),
        (lambda: UpstreamExecutor("http://x:99999"), ValueError, "a port of 1 to 65535"),
        (lambda: LineAnswer("200", {}), TypeError, "an answer is an int and a dict"),
        (lambda: LineAnswer(200, []), TypeError, "an answer is an int and a dict"),
        (lambda: LineAnswer(99, {}), ValueError, "status must be an HTTP status, not 99"),
        (lambda: ApiKey(""), ValueError, "an API key must not be empty"),
        (lambda: BatchServer(api_keys=[ApiKey(" sk")]), ValueError, "without spaces around it"),
        (Fault, ValueError, "unknown kind of fault ''; there are"),
        (lambda: Fault.parse(5), TypeError, "a fault is a Fault, or a text"),
        (lambda: Fault.lost_answer(foo=1), TypeError, "lost_answer takes no 'foo'; it takes method"),
        (lambda: Fault.lost_answer(times=0), ValueError, "times must be 1 or more, or None"),
        (lambda: Fault.lost_answer(method="FETCH"), ValueError, "method must be one of GET, POST"),
        (lambda: Fault.lost_answer(times="2"), TypeError, "times must be a whole number, not '2'"),
        (lambda: Fault.lost_answer(path=5), TypeError, "path must be a text, not 5"),
        (lambda: Fault.lost_answer(after_n=True), TypeError, "after_n must be a whole number"),
        (lambda: Fault.rate_limited(retry_after_s="x"), TypeError, "retry_after_s must be a number, not 'x'"),
        (lambda: Fault.rate_limited(retry_after_s=NAN), TypeError, "retry_after_s must be a number, not nan"),
        (lambda: Faults.schedule("lunch"), ValueError, "unknown kind of fault 'lunch'"),
        (lambda: Faults.schedule(5), TypeError, "a fault is a Fault, or a text"),
    ],
)
def test_what_cannot_be_made(make: Any, error: Any, message: str) -> None:
    """A sentence that names the parameter comes from the line with the mistake."""
    with pytest.raises(error, match=message):
        make()


def test_faults_as_texts() -> None:
    """Where a fault is wanted, its text will do."""
    text = "lost_answer:times=2"
    server = BatchServer(faults=text)
    server.faults.add("cut_body", Fault.reset_before())
    assert [fault.kind for fault in server.faults] == ["lost_answer", "cut_body", "reset_before"]
    assert [fault.times for fault in BatchServer(faults=[text]).faults] == [2]
    assert [fault.kind for fault in Faults.schedule("lost_answer:probability=0.5", cut_body=0.5)] == [
        "lost_answer",
        "cut_body",
    ]


async def test_a_server_that_listens_everywhere() -> None:
    """With keys it may; and its address is one that a client of this machine can ask."""
    async with BatchServer(host="0.0.0.0", api_keys=["sk-test"]) as server:
        assert server.base_url.startswith("http://127.0.0.1:")
