"""`openai-batches list`: which batches there are, for people and for programs, once and all the time."""

from __future__ import annotations

import datetime as dt
import json
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.batch_stage import asked, every_state, held, in_terminal, interrupted_when, submit, until
from support.request_lines import request_lines

from openai_batches import Batch, BatchStatus, RequestCounts
from openai_batches.cli.commands.list import ListView
from openai_batches.cli.options.selection import BatchFilter, status_names
from openai_batches.cli.output.batch_table import BatchTable
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
LIST = ("GET", "/v1/batches")
HOSTILE = {"note": "\x1b[31mred\x1b]0;title\x07\nnew line\ttab", "\x1bkey": "v"}


def ids_in(text: str) -> list[str]:
    return re.findall(r"^batch_\w+", text, re.MULTILINE)


def submitted(service: BackgroundServer, count: int) -> list[str]:
    """Batches of an hour each, newest first."""
    made = []
    for _ in range(count):
        made.append(submit(service))
        service.advance(hours=1)
    return made[::-1]


def test_a_pipe_gets_all_columns_and_no_escape_codes(cli: Cli, service: BackgroundServer) -> None:
    """Newest first, a head, whole ids, as wide as it needs to be."""
    ids = every_state(service)
    done = cli("list")
    assert (done.code, done.err) == (0, "")
    head, *rows = done.out.splitlines()
    assert head.split() == ["id", "status", "age", "done", "failed", "model", "endpoint", "took", "created", "window"]
    assert [row.split()[:2] for row in rows] == [[ids[state], state] for state in reversed(ids)]
    assert "\x1b" not in done.out
    by_state = dict(zip(reversed(ids), rows, strict=True))
    assert by_state["in_progress"].split()[3:6] == ["2/8", "gpt-4o", "/v1/chat/completions"]
    assert re.search(r"10h +3/3 +3 +gpt-4o-mini +/v1/chat/completions +1m 40s +20\d\d-", by_state["expired"])


def test_a_list_that_is_empty_is_no_error(cli: Cli, service: BackgroundServer) -> None:
    assert cli("list") == (0, "", "There are no batches\n")
    assert cli("list", "--json") == (0, "[]\n", "There are no batches\n")
    assert cli("list", "--jsonl") == (0, "", "There are no batches\n")
    submit(service)
    assert cli("list", "--model", "gpt-9") == (0, "", "No batches match\n")


def test_a_few_rows_cost_one_small_request(cli: Cli, service: BackgroundServer) -> None:
    """`--limit 5` asks for one page of five, however many there are."""
    ids = submitted(service, 7)
    done = cli("list", "--limit", 5)
    assert ids_in(done.out) == ids[:5]
    (request,) = [request for request in service.requests if request.method == "GET"]
    assert request.query == {"limit": "5"}
    assert done.err == ""


def test_no_page_is_asked_for_behind_what_is_wanted(cli: Cli, service: BackgroundServer) -> None:
    """Filters take pages of a hundred; a page whose last batch is too old is the last one."""
    ids = [submit(service) for _ in range(101)][::-1]
    service.advance(hours=9)
    young = submit(service)
    assert ids_in(cli("list", "--since", "2h").out) == [young]
    assert asked(service, *LIST) == 1
    assert ids_in(cli("list", "--older-than", "2h", "--limit", 100).out) == ids[:100]
    assert asked(service, *LIST) == 3
    assert ids_in(cli("list").out) == [young, *ids]


@pytest.mark.parametrize(
    ("arguments", "states"),
    [
        (["--status", "failed,cancelled", "--status", "expired"], ["cancelled", "expired", "failed"]),
        (["--status", "open"], ["validating", "in_progress", "cancelling", "finalizing"]),
        (["--status", "ended"], ["cancelled", "expired", "failed", "completed"]),
        (["--status", "Ended", "--since", "9h30m"], ["cancelled"]),
        (["--older-than", "9h30m"], ["expired", "failed", "completed"]),
        (["--metadata", "team=search"], ["completed"]),
        (["--metadata", "team=search", "--metadata", "owner=bob"], []),
        (["--model", "gpt-4o"], ["in_progress"]),
        (["--model", "gpt-4?*", "--status", "completed"], ["completed"]),
        (["--endpoint", "chat/completions", "--limit", "1"], ["validating"]),
        (["--endpoint", "/v1/chat/*", "--limit", "1"], ["validating"]),
        (["--endpoint", "embeddings"], []),
    ],
)
def test_filters(cli: Cli, service: BackgroundServer, arguments: list[str], states: list[str]) -> None:
    """What is shown fits all that was asked for."""
    ids = every_state(service)
    done = cli("list", *arguments)
    assert done.code == 0
    assert ids_in(done.out) == [ids[state] for state in states]


def test_the_shell_offers_statuses() -> None:
    assert {"open", "ended", *BatchStatus} == set(status_names(None))


@pytest.mark.parametrize("since", [NOW, None])
def test_a_batch_without_a_time_fits_no_time(since: dt.datetime | None) -> None:
    batch = Batch(id="b", status=BatchStatus.COMPLETED)
    assert BatchFilter(since=since).accepts(batch) == (since is None)
    assert not BatchFilter(since=NOW).is_behind([batch])


def test_a_list_that_is_not_newest_first_is_read_to_its_end() -> None:
    """Nothing is known of what follows a page whose times go up."""
    old, older = (
        Batch(id=str(hours), status=BatchStatus.COMPLETED, created_at=NOW - dt.timedelta(hours=hours))
        for hours in (2, 3)
    )
    wanted = BatchFilter(since=NOW - dt.timedelta(hours=1))
    assert wanted.is_behind([old, older])
    assert not wanted.is_behind([older, old])


def test_json_is_one_document_and_jsonl_a_line_each(cli: Cli, service: BackgroundServer) -> None:
    """In the service's own words, with nothing else on standard output."""
    ids = submitted(service, 3)
    document = json.loads(cli("list", "--json").out)
    assert [batch["id"] for batch in document] == ids
    assert document[0]["request_counts"] == {"completed": 1, "failed": 0, "total": 1}
    assert [json.loads(line) for line in cli("list", "--jsonl", "--limit", 2).out.splitlines()] == document[:2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--status", "done"], "There is no status 'done'"),
        (["--since", "soon"], "'soon' is not a length of time"),
        (["--limit", "-1"], "--limit must be 0 or more"),
        (["--metadata", "team"], "'team' is not a pair of metadata"),
        (["--metadata", "=x"], "'=x' is not a pair of metadata"),
        (["--metadata", "a=1", "--metadata", "a=2"], "'a' is given twice"),
        (["--json", "--jsonl"], "cannot be used together"),
        (["--watch", "--json"], "Leave one of them out"),
        (["--watch"], "standard output is not one"),
        (["--interval", "0"], "--interval must be longer than 0"),
        (["--interval", "5s"], "--interval is only used with --watch"),
    ],
)
def test_a_wrong_call_sends_nothing(cli: Cli, service: BackgroundServer, arguments: list[str], message: str) -> None:
    done = cli("list", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in " ".join(done.err.splitlines())
    assert service.requests == []


def test_foreign_text_cannot_take_hold_of_the_terminal(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Escape sequences in metadata are shown, not obeyed, and a batch stays on its line."""
    submit(service, metadata=HOSTILE)
    done = cli("list", "--show-metadata")
    assert len(done.out.splitlines()) == 2
    assert r"note=\x1b[31mred\x1b]0;title\x07 new line tab \x1bkey=v" in done.out
    with in_terminal(monkeypatch, columns=300):
        shown = cli("list", "--show-metadata").out
    assert "\x07" not in shown
    assert "\x1b[31mred" not in shown


@pytest.mark.parametrize("columns", [80, 160])
def test_a_terminal_shows_whole_ids_and_what_has_room(
    terminal: Terminal, service: BackgroundServer, columns: int
) -> None:
    """At 80 columns the essentials, at 160 more; nothing wraps, statuses have colours."""
    ids = every_state(service)
    driven = terminal("list", columns=columns)
    assert driven.finish() == 0
    head, *rows = driven.screen.splitlines()
    assert [row.split()[0] for row in rows] == list(ids.values())[::-1]
    assert head.split()[:5] == ["id", "status", "age", "done", "failed"]
    assert ("model" in head, "created" in head) == (columns == 160, columns == 160)
    assert b"\x1b[32mcompleted" in driven.raw


def test_metadata_takes_what_room_there_is(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut rather than the id, and the library's own keys are left out."""
    submit(service, metadata={"purpose": "evaluation of the new ranking, second half"})
    with in_terminal(monkeypatch, columns=110):
        head, row = cli("list", "--show-metadata").out.splitlines()
    assert "metadata" in head
    assert "purpose=evaluation" in row
    assert "…" in row
    assert "openai_batches_key" not in row
    with in_terminal(monkeypatch, columns=80):
        assert "metadata" not in cli("list", "--show-metadata").out


def test_an_id_is_never_cut(cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal that is narrower, it goes on in the next line, beside the status."""
    batch_id = submit(service)
    with in_terminal(monkeypatch, columns=40):
        _, first, second = cli("list").out.splitlines()
    assert first.split()[0] + second.strip() == batch_id
    assert "validating" in first


def test_a_terminal_shows_the_newest_thirty(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person is told how to see the others; who gave a number is not."""
    ids = [submit(service) for _ in range(31)][::-1]
    with in_terminal(monkeypatch, columns=120):
        done = cli("list")
        assert ids_in(done.out) == ids[:30]
        assert done.err == "The newest 30 batches; --limit 0 shows all\n"
        assert cli("list", "--limit", 3).err == ""
        assert ids_in(cli("list", "--limit", 0).out) == ids
        assert len(json.loads(cli("list", "--json").out)) == 31
        assert cli("list", "--status", "open").err == "The newest 30 batches; --limit 0 shows all\n"


def test_rows_of_later_pages_stand_under_the_first_ones() -> None:
    """In a pipe columns grow with what comes; on a terminal the first page settles them."""
    small = Batch(id="b1", status=BatchStatus.COMPLETED, model="m")
    large = Batch(
        id="b22222",
        status=BatchStatus("very_long_status"),
        model="m" * 50,
        created_at=NOW,
        request_counts=RequestCounts(total=1_000_000, completed=1_000_000),
    )
    wide, narrow = BatchTable(None), BatchTable(80)
    head, _ = wide.text_of([small], NOW).splitlines()
    (line,) = wide.text_of([large], NOW).splitlines()
    _, second = wide.text_of([large, small], NOW).splitlines()
    assert head.split()[0] == "id"
    assert line.split()[2:4] == ["0s", "1,000,000/1,000,000"]
    assert line.index("mmm") == second.index("m", len("b1  completed")) > head.index("model")
    assert narrow.of([small], NOW).show_header
    assert not narrow.of([large], NOW).show_header
    assert narrow.of([], NOW).columns[5].width == 11
    assert BatchTable(200).of([large], NOW).columns[5].width == 32


def test_watch_is_one_screen_that_is_always_as_it_is_now(terminal: Terminal, service: BackgroundServer) -> None:
    """Changes come by themselves, one request a round; Ctrl-C ends it as it ends `watch`: code 0, the rows stay."""
    batch_id = submit(service)
    driven = terminal("list", "--watch", "--interval", "0.05s")
    driven.wait_for(f"{batch_id}  validating", "every 0s", "1 validating")
    service.advance(minutes=1)
    driven.wait_for(f"{batch_id}  in_progress", "0/1", "1 in_progress")
    service.advance(hours=1)
    driven.wait_for(f"{batch_id}  completed", "1/1")
    driven.interrupt()
    assert driven.finish() == 0
    *_, left = driven.raw.decode().split("\x1b[?1049l")
    assert batch_id in left
    assert {request.path for request in service.requests if request.method == "GET"} == {"/v1/batches"}


def test_a_screen_follows_the_size_of_its_terminal(terminal: Terminal, service: BackgroundServer) -> None:
    """A window that is made wider shows more columns, without a new question."""
    submit(service)
    driven = terminal("list", "--watch", "--interval", "1h")
    assert "endpoint" not in driven.wait_for("1 validating")
    driven.resize(columns=160, rows=20)
    driven.wait_for("endpoint", "/v1/chat/completions")
    driven.interrupt()
    assert driven.finish() == 0
    assert asked(service, *LIST) == 1


def test_watch_survives_what_passes(cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that fails for a while is told of in a line, with the age of what is shown; then it goes on."""
    submit(service)
    service.faults.add(
        Fault.error_before(503, path="/batches$", method="GET", after_n=1, times=3),
        Fault.rate_limited(retry_after_s=500, path="/batches$", method="GET", after_n=1),
        Fault.garbled_json(path="/batches$", method="GET", after_n=2),
    )
    monkeypatch.setenv("OPENAI_BATCHES_DEBUG", "")
    with in_terminal(monkeypatch, columns=120), interrupted_when(lambda: asked(service, *LIST) > 8):
        done = cli("list", "--watch", "--interval", "0.01s")
    assert done.code == 0
    assert "As of 0s ago. " in done.out
    assert "retry" in done.out.lower() or "attempt" in done.out
    assert done.err == ""


def test_watch_ends_with_what_does_not_pass(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is refused, at first or later, is an error as without --watch."""
    with in_terminal(monkeypatch):
        for passed in (0, 2):
            service.faults.clear()
            service.faults.add(Fault.error_before(401, path="/batches$", method="GET", after_n=passed))
            done = cli("list", "--watch", "--interval", "0.01s")
            assert done.code == 3
            assert "401" in done.err


def test_watch_needs_a_terminal_that_can_draw(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_terminal(monkeypatch):
        monkeypatch.setenv("TERM", "dumb")
        assert cli("list", "--watch").code == 2
    assert service.requests == []


def test_ctrl_c_before_the_first_answer_of_a_watch_is_quiet(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.faults.add(Fault.hang_before(method="GET"))
    with in_terminal(monkeypatch), interrupted_when(lambda: bool(service.faults.fired)):
        done = cli("list", "--watch")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_screen_shows_as_many_rows_as_there_is_room_for() -> None:
    """It says how many there are below, and counts all of them by status."""
    batches = [Batch(id=f"b{number}", status=BatchStatus.COMPLETED) for number in range(9)]
    view = ListView(limit=None, interval_s=5, seen_at=NOW)
    view.saw([*batches, Batch(id="odd", status=BatchStatus("paused\x1b"))], NOW)
    text = rendered(view, 80, 8)
    assert text.count("completed\n") + len(re.findall(r"^b\d", text, re.MULTILINE)) >= 5
    assert r"every 5s  9 completed  1 paused\x1b  and 5 rows below" in text
    view.limit = 2
    assert len(re.findall(r"^b\d", rendered(view, 80, 30), re.MULTILINE)) == 2
    view.saw([], NOW)
    assert "No batches match" in rendered(view, 80, 30)
    view.trouble = "503 " + "long " * 40
    assert "As of 1m ago. 503 long" in rendered(view, 80, 30, NOW + dt.timedelta(minutes=1))


@pytest.mark.parametrize("columns", [20, 30, 40, 48, 51, 52, 80])
@pytest.mark.parametrize("rows", [6, 12])
def test_a_narrow_screen_keeps_its_last_line(columns: int, rows: int) -> None:
    """There it says that what is shown is old: ids that go on in the next line do not push it away."""
    view = ListView(limit=None, interval_s=5, seen_at=NOW)
    view.saw([Batch(id=f"batch_{number:032}", status=BatchStatus.COMPLETED) for number in range(9)], NOW)
    view.trouble = "503"
    lines_of_text = rendered(view, columns, rows).splitlines()
    assert lines_of_text[-1].startswith("As of 0s ago")
    one_batch = -(-len(view.batches[0].id) // (columns - len("  in_progress")))
    assert len(lines_of_text) <= max(rows, len(["head", "blank", "footer"]) + one_batch)


def rendered(view: ListView, columns: int, rows: int, now: dt.datetime = NOW) -> str:
    from rich.console import Console

    console = Console(width=columns, color_system=None)
    with console.capture() as capture:
        console.print(view.rendered(now, columns, rows))
    lines_of_text = [line.rstrip() for line in capture.get().splitlines()]
    assert max(map(len, lines_of_text)) <= columns
    return "\n".join(lines_of_text)


def test_ctrl_c_with_nothing_to_go_on_with_is_130(terminal: Terminal, service: BackgroundServer) -> None:
    service.faults.add(Fault.hang_before(method="GET"))
    driven = terminal("list")
    until(lambda: bool(service.faults.fired))
    driven.interrupt()
    assert driven.finish() == 130


def test_rows_come_as_pages_come(service: BackgroundServer) -> None:
    """Who reads a pipe has the first hundred rows while the next page is on its way."""
    ids = [submit(service) for _ in range(101)][::-1]
    service.faults.add(Fault.hang_before(method="GET", after_n=1))
    with subprocess.Popen([sys.executable, "-m", "openai_batches.cli", "list"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        rows = [process.stdout.readline().decode() for _ in range(101)]
        assert [row.split()[0] for row in rows] == ["id", *ids[:100]]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_a_closed_pipe_ends_it_quietly(service: BackgroundServer) -> None:
    """`list | head -1` is no error."""
    submit(service, request_lines("a"))
    with subprocess.Popen(
        [sys.executable, "-m", "openai_batches.cli", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141
