"""`openai-batches show`: all that is known of a batch, once or until it has ended."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from support.batch_stage import asked, every_state, held, in_terminal, interrupted_when, submit, until

from openai_batches import (
    Batch,
    BatchError,
    BatchErrors,
    BatchStatus,
    BatchUsage,
    InputTokensDetails,
    OutputTokensDetails,
    RequestCounts,
)
from openai_batches.cli.output.batch_cells import progress_bar
from openai_batches.cli.output.batch_page import batch_page
from openai_batches.emulator import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]
    Terminal = Callable[..., DrivenTerminal]

pytestmark = pytest.mark.batch_server(**held())

NOW = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)
QUICK = ("--interval", "0.02s")


def page(batch: Batch, width: int = 80) -> str:
    """A batch's page as text, none of whose lines is longer than the terminal."""
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(batch_page(batch, NOW, width))
    lines = [line.rstrip() for line in capture.get().splitlines()]
    assert max(map(len, lines)) <= width
    return "\n".join(lines)


def ago(**spans: float) -> dt.datetime:
    return NOW - dt.timedelta(**spans)


def completed(**fields: object) -> Batch:
    times = {
        "created_at": ago(hours=3),
        "in_progress_at": ago(hours=2, minutes=59),
        "finalizing_at": ago(hours=1),
        "completed_at": ago(minutes=55),
        "expires_at": ago(hours=-21),
    }
    values = {"id": "batch_1", "status": BatchStatus.COMPLETED, "endpoint": "/v1/responses", **times, **fields}
    return Batch(**values)  # type: ignore[arg-type]


def test_a_page_has_all_that_is_known_in_groups(cli: Cli, service: BackgroundServer) -> None:
    """In a pipe, without escape codes and with nothing cut."""
    ids = every_state(service)
    done = cli("show", ids["completed"])
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    assert done.out.splitlines()[0] == f"{ids['completed']}  completed"
    groups = re.findall(r"^[A-Z].*$", done.out, re.MULTILINE)
    assert groups == ["Batch", "Requests", "Times", "States", "Files", "Usage", "Metadata"]
    assert "  3/3 done, 100%\n" in done.out
    assert re.search(r"^  validating   1m  █+$", done.out, re.MULTILINE)
    assert re.search(r"^  in_progress  3m +█+$", done.out, re.MULTILINE)
    assert re.search(r"^  output  file-\w+$", done.out, re.MULTILINE)
    assert re.search(r"^  team +search$", done.out, re.MULTILINE)


def test_errors_have_their_lines(cli: Cli, service: BackgroundServer) -> None:
    """Why a batch failed is said with the line of the file, the code and the field."""
    ids = every_state(service)
    out = cli("show", ids["failed"]).out
    assert re.search(r"^  line 2  The custom_id 'a' for this request is a duplicate", out, re.MULTILINE)
    assert "(duplicate_custom_id, custom_id)" in out
    assert re.search(r"^  line 4  .*\(invalid_json_line\)$", out, re.MULTILINE)
    assert "Usage" not in out


def test_cost_is_that_of_the_tokens() -> None:
    """By the prices that are known, in a batch; with what was cached and what was reasoned."""
    usage = BatchUsage(
        input_tokens=2_000_000,
        input_tokens_details=InputTokensDetails(cached_tokens=1_000),
        output_tokens=1_000_000,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=10),
        total_tokens=3_000_000,
    )
    text = page(completed(model="gpt-4o-mini", usage=usage))
    assert "  input   2,000,000 tokens (1,000 cached)\n" in text
    assert "  output  1,000,000 tokens (10 of reasoning)\n" in text
    assert re.search(r"^  cost    \$0\.4\d \(prices of 20\d\d-\d\d-\d\d\)$", text, re.MULTILINE)
    assert "no price is known for llama" in page(completed(model="llama", usage=usage))
    assert "no price is known for a batch without a model" in page(completed(usage=usage))


def test_times_have_ages_and_an_end_that_lies_ahead() -> None:
    """When a batch expires is of interest while it goes on, and only then."""
    running = completed(status=BatchStatus.IN_PROGRESS, finalizing_at=None, completed_at=None)
    counts = RequestCounts(total=2_000, completed=990, failed=10)
    text = page(Batch(**{field: getattr(running, field) for field in fields_of(running)} | {"request_counts": counts}))
    assert "in 21h" in text
    assert "3h ago" in text
    assert "1,000/2,000 done, 50%, 10 failed, ~2h left" in text
    assert "expires" not in page(completed())


def fields_of(batch: Batch) -> list[str]:
    import attrs

    return [field.name for field in attrs.fields(type(batch))]


@pytest.mark.parametrize("width", [30, 80, 160])
def test_nothing_is_lost_where_a_line_is_too_long(width: int) -> None:
    """Long values go on in the next line, broken at a blank where there is one."""
    message = "This is what is wrong with it " * 9 + "x" * 200
    errors = BatchErrors(data=(BatchError(message=message, line=1_000_000), BatchError(code="odd")))
    text = page(completed(errors=errors, metadata={"k" * 64: "v" * 512, "lines": "one\ntwo", "empty": ""}), width)
    flat = re.sub(r"\s+", "", text)
    assert re.sub(r"\s+", "", message) in flat
    assert "v" * 512 in flat
    assert "k" * 64 in flat
    assert "line 1,000,000" in text
    assert "no reason given" in text


def test_many_errors_are_counted() -> None:
    errors = BatchErrors(data=tuple(BatchError(message=f"wrong {number}", line=number) for number in range(25)))
    text = page(completed(status=BatchStatus.FAILED, errors=errors))
    assert "wrong 19" in text
    assert "wrong 20" not in text
    assert "and 5 more: --json has all of them" in text


def test_foreign_text_cannot_take_hold_of_the_terminal(cli: Cli, service: BackgroundServer) -> None:
    batch_id = submit(service, metadata={"\x1b]0;t\x07": "\x1b[2J\r\nover"})
    out = cli("show", batch_id).out
    assert r"\x1b]0;t\x07" in out
    assert r"\x1b[2J\r" in out
    assert "\x1b" not in out
    assert "\r" not in out


def test_a_batch_of_which_little_is_known_has_a_page() -> None:
    """A service that leaves everything out, or says odd things, is no reason to fail."""
    assert page(Batch(id="b", status=BatchStatus("paused\x1b"))) == "b  paused\\x1b"
    odd = Batch(id="b", status=BatchStatus("paused"), created_at=NOW, request_counts=RequestCounts(total=0, failed=2))
    assert "States" not in page(odd)
    lying = completed(request_counts=RequestCounts(total=10, completed=9, failed=99))
    assert "108/10 done, 100%, 99 failed" in page(lying)


def test_one_failed_request_of_many_is_seen_in_the_bar() -> None:
    text = page(completed(request_counts=RequestCounts(total=100_000, completed=99_999, failed=1)))
    assert text.count("▒") == 1
    text = page(completed(status=BatchStatus.IN_PROGRESS, request_counts=RequestCounts(total=1_000, completed=999)))
    assert text.count("░") == 1
    assert progress_bar(completed(), 10).plain == ""


def test_several_batches_stand_under_each_other(cli: Cli, service: BackgroundServer) -> None:
    """One that is not there does not keep the others from being shown; the code says so."""
    ids = every_state(service)
    done = cli("show", ids["completed"], "batch_unknown", ids["failed"])
    assert done.code == 3
    assert done.out.index(ids["completed"]) < done.out.index(ids["failed"])
    assert "error: batch_unknown: 404" in done.err
    assert cli("show", "batch_unknown").out == ""


def test_json_is_the_services_own_words(cli: Cli, service: BackgroundServer) -> None:
    """An object for one batch, a list for several, nothing where there is none."""
    ids = every_state(service)
    one = json.loads(cli("show", ids["completed"], "--json").out)
    assert (one["id"], one["request_counts"]["total"]) == (ids["completed"], 3)
    both = json.loads(cli("show", "-", "--json", stdin=f"{ids['completed']}\n{ids['failed']}\n".encode()).out)
    assert both[0] == one
    assert both[1]["errors"]["data"][0]["line"] == 2
    gone = cli("show", "batch_unknown", "--json")
    assert (gone.code, gone.out) == (3, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "is missing"),
        (["b", "--bogus"], "Unknown option: --bogus"),
        (["b", "--watch"], "standard output is not one"),
        (["b", "--watch", "--json"], "Leave one of them out"),
        (["b", "--interval", "0"], "--interval must be longer than 0"),
        (["b", "--interval", "5s"], "--interval is only used with --watch"),
    ],
)
def test_a_wrong_call_sends_nothing(cli: Cli, service: BackgroundServer, arguments: list[str], message: str) -> None:
    done = cli("show", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in " ".join(done.err.splitlines())
    assert service.requests == []


@pytest.mark.parametrize("columns", [80, 160])
def test_a_terminal_shows_it_in_colour(terminal: Terminal, service: BackgroundServer, columns: int) -> None:
    ids = every_state(service)
    driven = terminal("show", ids["cancelled"], columns=columns, rows=60)
    assert driven.finish() == 0
    assert f"{ids['cancelled']}  cancelled" in driven.screen
    assert "3/3 done, 100%, 2 failed" in driven.screen
    assert b"\x1b[35mcancelled" in driven.raw
    assert re.search(r"^  cancelling   1m +█+$", driven.screen, re.MULTILINE)


def test_watch_follows_a_batch_to_its_end(terminal: Terminal, service: BackgroundServer) -> None:
    """The screen changes with the batch; the page stays on the terminal in the end."""
    batch_id = submit(service, 2)
    driven = terminal("show", batch_id, "--watch", *QUICK, rows=50)
    driven.wait_for(f"{batch_id}  validating")
    service.advance(minutes=2)
    driven.wait_for("in_progress", "1/2 done, 50%")
    service.advance(hours=1)
    assert driven.finish() == 0
    *_, left = driven.raw.decode().split("\x1b[?1049l")
    assert "2/2 done, 100%" in left


def test_watch_shows_what_goes_wrong_meanwhile(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that fails in passing is a line on the screen; Ctrl-C ends it as it ends `watch`, with code 0."""
    batch_id = submit(service)
    path = f"/v1/batches/{batch_id}"
    service.faults.add(Fault.garbled_json(method="GET", path="/batches/", after_n=2))
    with in_terminal(monkeypatch), interrupted_when(lambda: asked(service, "GET", path) > 5):
        done = cli("show", batch_id, "--watch", *QUICK)
    assert (done.code, done.err) == (0, "")
    assert "could not be looked at" in done.out


def test_a_batch_that_cannot_be_seen_any_more_does_not_end_the_watch(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is followed to its end; what became of the first is told then, as without --watch."""
    gone, followed = submit(service), submit(service)
    service.faults.add(Fault.error_before(403, method="GET", path=f"/batches/{gone}$", after_n=1, times=None))

    def end() -> bool:
        if asked(service, "GET", f"/v1/batches/{followed}") > 3 and asked(service, "GET", f"/v1/batches/{gone}") > 1:
            service.advance(hours=1)
        return False

    with in_terminal(monkeypatch), interrupted_when(end):
        done = cli("show", gone, followed, "--watch", *QUICK)
    assert done.code == 3
    assert "1/1 done, 100%" in done.out
    assert f"{gone}: 403 " in done.err


def test_watch_of_what_has_ended_is_a_look(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = every_state(service)
    with in_terminal(monkeypatch, columns=100):
        done = cli("show", ids["completed"], "--watch")
    assert done.code == 0
    assert "\x1b[?1049h" not in done.out


def test_watch_ends_by_itself_when_the_batch_has_ended(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = submit(service)

    def end() -> bool:
        if asked(service, "GET", f"/v1/batches/{batch_id}") > 2:
            service.advance(hours=1)
        return False

    with in_terminal(monkeypatch), interrupted_when(end):
        done = cli("show", batch_id, "--watch", *QUICK)
    assert (done.code, done.err) == (0, "")
    assert "1/1 done, 100%" in done.out


def test_watch_asks_no_more_often_than_a_session_does(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an interval of the person's own, an old batch is asked about once in minutes."""
    batch_id = submit(service)
    with in_terminal(monkeypatch), interrupted_when(lambda: asked(service, "GET", f"/v1/batches/{batch_id}") > 1):
        done = cli("show", batch_id, "--watch")
    assert (done.code, done.err) == (0, "")


def test_ctrl_c_without_watch_is_130(terminal: Terminal, service: BackgroundServer) -> None:
    service.faults.add(Fault.hang_before(method="GET"))
    driven = terminal("show", "batch_1")
    until(lambda: bool(service.faults.fired))
    driven.interrupt()
    assert driven.finish() == 130
