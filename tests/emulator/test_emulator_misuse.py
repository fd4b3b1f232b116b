"""What the server says to somebody who sets it up wrongly."""

import logging
from typing import Any

import pytest
from asking import MakeRaw, chat_file

from openai_batches.emulator import BatchServer, Fault, SteppedClock, Timings
from openai_batches.emulator.__main__ import main


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


def test_a_faults_method_may_be_small() -> None:
    """A method is matched whatever its case; otherwise the fault would never fire, and the test prove nothing."""
    assert Fault.reset_before(method="post").method == "POST"


@pytest.mark.parametrize("status", ["x", 99, 600])
def test_a_fault_answers_with_a_status(status: Any) -> None:
    """What is no HTTP status is refused where it is given."""
    with pytest.raises(ValueError, match="status must be an HTTP status"):
        Fault.error_before(status)


def test_a_port_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
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


async def test_an_executor_that_is_not_async(make_raw: MakeRaw, caplog: pytest.LogCaptureFixture) -> None:
    """A plain function is not awaited silently: the log says what is wrong."""
    plain: Any = lambda url, body, custom_id: (200, {})  # noqa: E731  # the very thing a beginner writes
    async with BatchServer(clock=SteppedClock(), executor=plain) as server:
        raw = make_raw(server)
        await raw.create((await raw.upload(chat_file(1)))["id"])
        with caplog.at_level(logging.ERROR):
            await server.advance(hours=1)
    assert "the executor failed" in caplog.text
