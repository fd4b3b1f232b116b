"""`adopt`: a batch that somebody created elsewhere is carried to its end like one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.batch_stage import submit
from support.run_stage import ask_often, ids_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    ask_often(monkeypatch)


def test_batches_become_a_job_and_are_collected(cli: Cli, service: BackgroundServer) -> None:
    """`run DIR -o OUT` does the rest; adopting twice changes nothing."""
    first, second = submit(service, 2), submit(service, 2)
    done = cli("adopt", first, "--directory", "rescued", "--base-url", service.base_url)
    assert done.code == 0
    assert done.out == f"{first}\n"
    assert "The job in rescued has 2 requests in 1 shard." in done.err
    assert f"openai-batches run rescued -o results.jsonl --base-url {service.base_url}\n" in done.err
    assert cli("adopt", first, "-d", "rescued").code == 0
    done = cli("run", "rescued", "-o", "out.jsonl", "--yes")
    assert done.code == 0
    assert len(ids_in(Path("out.jsonl").read_text())) == 2
    assert second != first


def test_ids_can_come_from_another_command(cli: Cli, service: BackgroundServer) -> None:
    """As `list` writes them, to whatever takes several ids."""
    submit(service, 2)
    done = cli("adopt", "-", "-d", "rescued", stdin=cli("list").out.encode())
    assert (done.code, len(done.out.splitlines())) == (0, 1)
    assert "2 requests in 1 shard" in done.err


def test_ids_that_the_job_has_already_are_refused(cli: Cli, service: BackgroundServer) -> None:
    """Nobody could tell the results apart; what was adopted before stays so."""
    first, second = submit(service, 2), submit(service, 2)
    done = cli("adopt", first, second, "--directory", "rescued")
    assert (done.code, done.out) == (2, f"{first}\n")
    assert "Adopt it into a job of its own" in done.err


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ([], "ID is missing", 2),
        (["batch_1"], "--directory", 2),
        (["batch_1", "--directory", "rescued"], "No batch found with id 'batch_1'", 3),
    ],
)
def test_misuse(cli: Cli, service: BackgroundServer, arguments: list[str], message: str, code: int) -> None:
    """Two lines, and no job is left behind."""
    done = cli("adopt", *arguments)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert not Path("rescued").exists()


def test_in_a_terminal(terminal: Callable[..., DrivenTerminal], service: BackgroundServer) -> None:
    """The command to go on with is said, as the program was called."""
    driven = terminal("adopt", submit(service), "--directory", "rescued")
    assert driven.finish() == 0
    assert "To collect the results:" in driven.screen
    assert driven.written.endswith(" -m openai_batches.cli run rescued -o results.jsonl\n")
