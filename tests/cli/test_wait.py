"""`openai-batches wait`: until batches have ended, with a word for each and an exit code for all."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from support.batch_stage import ask, asked, every_state, held, in_terminal, interrupted_when, submit

from openai_batches.cli.commands import _follow as follow_module
from openai_batches.cli.commands._follow import BatchWaiter
from openai_batches.cli.explain import Failures
from openai_batches.cli.options.service import Service
from openai_batches.cli.output import live
from openai_batches.emulator import Fault, RealClock, ScriptExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches import BatchSession
    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]
    Terminal = Callable[..., DrivenTerminal]

pytestmark = pytest.mark.batch_server(**held())

QUICK = ("--interval", "0.02s")
REFUSED = (400, {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}})
RUNNING = pytest.mark.batch_server(clock=RealClock(speed=36_000))


@RUNNING
def test_each_batch_is_told_when_it_ends(cli: Cli, service: BackgroundServer) -> None:
    """In a pipe: id, tab, status, and nothing else; the code is 0 when all went well."""
    ids = [submit(service), submit(service)]
    done = cli("wait", *ids, ids[0], *QUICK)
    assert (done.code, done.err) == (0, "")
    assert sorted(done.out.splitlines()) == sorted(f"{batch_id}\tcompleted" for batch_id in ids)


@pytest.mark.parametrize("state", ["failed", "expired", "cancelled"])
def test_what_did_not_go_well_is_code_1(cli: Cli, service: BackgroundServer, state: str) -> None:
    ids = every_state(service)
    done = cli("wait", ids["completed"], ids[state])
    assert (done.code, done.err) == (1, "")
    assert f"{ids[state]}\t{state}\n" in done.out


@pytest.mark.batch_server(clock=RealClock(speed=36_000), executor=ScriptExecutor({"r0": REFUSED}))
def test_failed_requests_are_code_1_although_the_batch_completed(cli: Cli, service: BackgroundServer) -> None:
    batch_id = submit(service, 2)
    done = cli("wait", batch_id, *QUICK)
    assert (done.code, done.out) == (1, f"{batch_id}\tcompleted\n")


def test_a_timeout_is_code_4_and_touches_nothing(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has ended by then is told; the same command goes on."""
    ids = every_state(service)
    limits: list[asyncio.Timeout] = []
    taken: list[str] = []
    take = BatchWaiter._take

    def timeout(seconds: float) -> asyncio.Timeout:
        assert seconds == 1
        limits.append(asyncio.timeout(None))
        return limits[0]

    def take_and_end(self: BatchWaiter, drawing: Any, batch_id: str, said: Any) -> None:
        take(self, drawing, batch_id, said)
        taken.append(batch_id)
        if len(taken) == 3:
            limits[0].reschedule(0)

    # The second is over when each has been asked about once, however long that takes.
    monkeypatch.setattr(follow_module, "asyncio", SimpleNamespace(timeout=timeout))
    monkeypatch.setattr(BatchWaiter, "_take", take_and_end)
    done = cli("wait", ids["completed"], ids["in_progress"], ids["validating"], "--timeout", "1s")
    assert done.code == 4
    assert done.out == f"{ids['completed']}\tcompleted\n"
    assert done.err == "2 batches have not ended after 1s, and nothing was cancelled\n"
    assert not any(
        request.path.endswith("/cancel") and ids["validating"] in request.path for request in service.requests
    )


def test_an_unknown_id_does_not_keep_the_others_from_being_waited_for(cli: Cli, service: BackgroundServer) -> None:
    ids = every_state(service)
    done = cli("wait", "batch_unknown", ids["completed"])
    assert done.code == 3
    assert done.out == f"{ids['completed']}\tcompleted\n"
    assert "error: batch_unknown: 404" in done.err
    assert "advice: Check the id" in done.err


def test_a_question_that_fails_in_passing_is_asked_again(cli: Cli, service: BackgroundServer) -> None:
    """Once something is known of the batch, the wait outlasts what passes."""
    batch_id = submit(service)
    path = f"/v1/batches/{batch_id}"
    service.faults.add(Fault.garbled_json(method="GET", path="/batches/", after_n=1))

    def end() -> bool:
        if asked(service, "GET", path) < 3:
            return False
        service.advance(hours=1)
        return False

    with interrupted_when(end):
        done = cli("wait", batch_id, *QUICK)
    assert (done.code, done.out) == (0, f"{batch_id}\tcompleted\n")
    assert "could not be looked at" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "is missing"),
        (["-"], "There is no id on standard input"),
        (["b", "--bogus"], "Unknown option: --bogus"),
        (["b", "--timeout", "long"], "'long' is not a length of time"),
        (["b", "--timeout", "0"], "--timeout must be longer than 0"),
    ],
)
def test_a_wrong_call_sends_nothing(cli: Cli, service: BackgroundServer, arguments: list[str], message: str) -> None:
    done = cli("wait", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in " ".join(done.err.splitlines())
    assert service.requests == []


def test_ids_come_from_what_list_writes(cli: Cli, service: BackgroundServer) -> None:
    """`list --status ended | wait -` waits for all of them."""
    ids = every_state(service)
    listed = cli("list", "--status", "ended").out
    done = cli("wait", "-", stdin=listed.encode())
    assert done.code == 1
    assert len(done.out.splitlines()) == 4
    assert ids["failed"] in done.out


def test_a_terminal_shows_a_line_for_each_batch(terminal: Terminal, service: BackgroundServer) -> None:
    """Those that go on below, with bars; those that have ended above, and they stay."""
    ids = every_state(service)
    driven = terminal("wait", *ids.values(), *QUICK)
    screen = driven.wait_for(f"{ids['in_progress']}  in_progress", f"{ids['validating']}  validating", "██░░")
    shown = screen.splitlines()
    assert [line.split()[:2] for line in shown[:4]] == [
        [ids[state], state] for state in ("completed", "failed", "expired", "cancelled")
    ]
    assert f"{ids['expired']}  expired  3 of 3 failed" in screen
    assert len(shown) == len(ids)
    service.faults.clear()
    service.advance(hours=10)
    assert driven.finish() == 1
    assert [line.split()[0] for line in driven.screen.splitlines()[4:]] != []
    assert sorted(line.split()[0] for line in driven.screen.splitlines()) == sorted(ids.values())
    assert b"\x1b[32mcompleted" in driven.raw


def test_ctrl_c_leaves_the_batches_and_says_how_to_go_on(terminal: Terminal, service: BackgroundServer) -> None:
    """The same command goes on: code 4."""
    batch_id = submit(service)
    driven = terminal("wait", batch_id, columns=160)
    driven.wait_for(f"{batch_id}  validating")
    driven.interrupt()
    assert driven.finish() == 4
    assert "To wait for them again:" in driven.screen
    assert driven.written.endswith(f" -m openai_batches.cli wait {batch_id}\n")


def test_the_advice_names_the_service_that_was_meant() -> None:
    """A command line that is advised means the same service, and stands in quotes where a shell needs them."""
    from openai_batches.cli.advice import command_line

    assert command_line("wait", "b", service=Service()) == "openai-batches wait b"
    service = Service(profile="my work", base_url="http://127.0.0.1/v1")
    assert (
        command_line("wait", "b", service=service)
        == "openai-batches wait b --profile 'my work' --base-url http://127.0.0.1/v1"
    )
    local = Service(local=True, local_data=Path("my data"))
    assert command_line("wait", "b", service=local) == "openai-batches wait b --local --local-data 'my data'"


def test_many_batches_do_not_fill_more_than_the_screen(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has no room is counted."""
    ids = [submit(service) for _ in range(9)]
    with in_terminal(monkeypatch, columns=80, rows=6):
        done = cli("wait", *ids, "--timeout", "0.2s")
    assert done.code == 4
    assert "and 6 more batches" in done.err
    assert done.out == ""


def rounds(service: BackgroundServer, batch_id: str) -> Callable[[], bool]:
    """Whether a batch was asked about so often that the first answers have been drawn."""
    return lambda: asked(service, "GET", f"/v1/batches/{batch_id}") > 5


def test_a_batch_that_ends_is_written_beside_what_is_drawn(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output gets whole lines, whatever is drawn on standard error."""
    ids = every_state(service)
    monkeypatch.setattr(live, "_MOMENT_S", 0)
    with in_terminal(monkeypatch, columns=100), interrupted_when(rounds(service, ids["in_progress"])):
        done = cli("wait", ids["completed"], ids["expired"], ids["in_progress"], ids["finalizing"], *QUICK)
    assert done.code == 4
    first, second = sorted(done.out.splitlines(), key=lambda line: "expired" in line)
    assert ids["completed"] in first
    assert "3 of 3 failed" in second
    assert "~" in done.err
    assert "░" in done.err


def test_a_narrow_terminal_shows_no_bar(cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no room is left out, and the line stays one."""
    ids = every_state(service)
    monkeypatch.setattr(live, "_MOMENT_S", 0)
    with in_terminal(monkeypatch, columns=72), interrupted_when(rounds(service, ids["in_progress"])):
        done = cli("wait", ids["in_progress"], *QUICK)
    assert "2/8" in done.err
    assert "░" not in done.err


def test_what_happens_in_one_moment_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand batches that end together cost one picture, not a thousand."""
    monkeypatch.setattr(live, "_MOMENT_S", 3_600)
    drawn: list[int] = []

    def render() -> str:
        drawn.append(1)
        return "x"

    picture = live.Drawing(render, Console(file=io.StringIO(), force_terminal=True), is_screen=False)
    for _ in range(100):
        with picture.aside():
            pass
        picture.refresh_soon()
    picture.stop()
    assert len(drawn) == 1


def test_ctrl_c_in_this_process(cli: Cli, service: BackgroundServer) -> None:
    batch_id = submit(service)
    with interrupted_when(lambda: asked(service, "GET", f"/v1/batches/{batch_id}") > 0):
        done = cli("wait", batch_id)
    assert done.code == 4
    assert done.err == f"The batches continue to run. To wait for them again: openai-batches wait {batch_id}\n"


def test_a_batch_that_is_known_is_not_asked_about(service: BackgroundServer) -> None:
    """What has ended already is told at once."""
    ids = every_state(service)
    said: list[str] = []

    async def follow(session: BatchSession) -> int:
        batch = await session.batches.retrieve(ids["completed"])
        before = len(service.requests)
        following = BatchWaiter(session=session, failures=Failures(), on_end=lambda ended: said.append(ended.id))
        assert await following.follow([batch])
        assert len(service.requests) == before
        return following.code(has_time_left=True)

    assert ask(service, follow) == 0
    assert said == [ids["completed"]]
