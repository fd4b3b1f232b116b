"""`openai-batches cancel`: each of several is asked for, whatever becomes of the others."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest
from support.batch_stage import ask, asked, cancel, held, interrupted_when, submit

from openai_batches.cli.errors import CommandError
from openai_batches.cli.explain import Failures
from openai_batches.cli.main import run
from openai_batches.emulator import Fault, RealClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]
    Terminal = Callable[..., DrivenTerminal]

pytestmark = pytest.mark.batch_server(**held())


def status(service: BackgroundServer, batch_id: str) -> str:
    return str(ask(service, lambda session: session.batches.retrieve(batch_id)).status)


def test_each_batch_is_cancelled_and_told_on_a_line(cli: Cli, service: BackgroundServer) -> None:
    """In a pipe: id, tab, status, in the order of the command line, without escape codes."""
    ids = [submit(service), submit(service)]
    done = cli("cancel", *ids, ids[0])
    assert (done.code, done.err) == (0, "")
    assert done.out == "".join(f"{batch_id}\tcancelling\n" for batch_id in ids)
    assert [status(service, batch_id) for batch_id in ids] == ["cancelling", "cancelling"]


def test_an_unknown_id_does_not_keep_the_others_from_being_cancelled(cli: Cli, service: BackgroundServer) -> None:
    """The exit code is the worst of all, and each failure has its line; advice is given once."""
    ids = [submit(service), submit(service)]
    done = cli("cancel", ids[0], "batch_unknown", "batch_other", ids[1])
    assert done.code == 3
    assert done.out == "".join(f"{batch_id}\tcancelling\n" for batch_id in ids)
    first, second, third = done.err.splitlines()
    assert first.startswith("error: batch_unknown: 404 No batch found")
    assert second.startswith("error: batch_other: 404")
    assert third.startswith("advice: Check the id")


def test_a_batch_that_has_ended_is_the_services_no(cli: Cli, service: BackgroundServer) -> None:
    """What cannot be cancelled any more is said, with the service's own words."""
    ended = submit(service)
    service.advance(hours=1)
    done = cli("cancel", ended)
    assert (done.code, done.out) == (3, "")
    assert f"error: {ended}: " in done.err


def test_an_id_that_cannot_be_one_is_a_mistake_of_the_person(cli: Cli, service: BackgroundServer) -> None:
    """Exit code 2 where nothing could be asked, and the good id is cancelled all the same."""
    good = submit(service)
    done = cli("cancel", good, "batch\x1b[31m")
    assert done.code == 2
    assert done.out == f"{good}\tcancelling\n"
    assert "\x1b" not in done.err


def test_ids_come_from_standard_input_too(cli: Cli, service: BackgroundServer) -> None:
    """What `list` writes can be handed on as it is: head, blank lines and further columns are skipped."""
    ids = [submit(service), submit(service)]
    text = f"id   status\n{ids[0]}  validating  1h\n\n{ids[1]}\n"
    done = cli("cancel", "-", stdin=text.encode())
    assert (done.code, done.err) == (0, "")
    assert re.findall(r"batch_\w+", done.out) == ids


@pytest.mark.batch_server(clock=RealClock(speed=3600))
def test_wait_tells_of_the_end(cli: Cli, service: BackgroundServer) -> None:
    """With --wait the line comes when the batch has ended; what was wished has come true, and the code is 0."""
    service.faults.add(Fault.stuck("in_progress"))
    batch_id = submit(service)
    done = cli("cancel", batch_id, "--wait", "--interval", "0.02")
    assert (done.code, done.out, done.err) == (0, f"{batch_id}\tcancelled\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-"], "There is no id on standard input"),
        (["batch_1", "--wiat"], "Unknown option: --wiat"),
        (["batch_1", "--wait", "--interval", "0s"], "--interval must be longer than 0"),
        (["batch_1", "--interval", "5s"], "--interval is only used with --wait"),
        ([], "is missing"),
    ],
)
def test_a_wrong_call_sends_nothing(cli: Cli, service: BackgroundServer, arguments: list[str], message: str) -> None:
    done = cli("cancel", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err.splitlines()[0]
    assert service.requests == []


def test_a_terminal_shows_whole_ids_in_colour(terminal: Terminal, service: BackgroundServer) -> None:
    batch_id = submit(service)
    driven = terminal("cancel", batch_id)
    assert driven.finish() == 0
    assert driven.screen == f"{batch_id}  cancelling"
    assert b"\x1b[35mcancelling" in driven.raw


def test_ctrl_c_while_waiting_can_be_gone_on_from(terminal: Terminal, service: BackgroundServer) -> None:
    """The batches are being cancelled all the same; exit code 4, and the command that waits on."""
    batch_id = submit(service)
    driven = terminal("cancel", batch_id, "--wait", columns=160)
    driven.wait_for(f"{batch_id}  cancelling")
    driven.interrupt()
    assert driven.finish() == 4
    assert "To wait for them:" in driven.screen
    assert driven.written.endswith(f" -m openai_batches.cli wait {batch_id}\n")


def test_a_batch_that_is_being_cancelled_can_be_cancelled_again(cli: Cli, service: BackgroundServer) -> None:
    batch_id = submit(service)
    cancel(service, batch_id)
    done = cli("cancel", batch_id)
    assert (done.code, done.out) == (0, f"{batch_id}\tcancelling\n")


def test_ctrl_c_in_this_process(cli: Cli, service: BackgroundServer) -> None:
    """Waiting ends; the service cancels on."""
    batch_id = submit(service)
    with interrupted_when(lambda: asked(service, "GET", f"/v1/batches/{batch_id}") > 0):
        done = cli("cancel", batch_id, "--wait")
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("The batches are still being cancelled. To wait for them: openai-batches wait batch_")


def test_a_failure_that_nothing_can_be_done_about_has_no_advice(capsys: pytest.CaptureFixture[str]) -> None:
    failures = Failures()
    failures.tell("batch_1", CommandError("it is odd"))
    failures.advise()
    assert failures.code == 2
    assert capsys.readouterr().err == "error: batch_1: it is odd\n"


def test_all_are_cancelled_though_nobody_reads_of_it(
    service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first line ends the program, and not what it was to do."""
    ids = [submit(service) for _ in range(3)]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert run(["cancel", *ids]) == 141
    assert {status(service, batch_id) for batch_id in ids} <= {"cancelling", "cancelled"}
