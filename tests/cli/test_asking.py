"""Questions can be left at any time, whatever was typed before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.run_stage import write_requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal

    from openai_batches.emulator import BackgroundServer

    Terminal = Callable[..., DrivenTerminal]

QUESTION = "[y/N]"


@pytest.fixture
def asked(terminal: Terminal, service: BackgroundServer) -> Callable[..., DrivenTerminal]:
    """A `run` that has asked whether to send."""

    def start(**env: str) -> DrivenTerminal:
        write_requests(Path("requests.jsonl"))
        driven = terminal("run", "requests.jsonl", "--confirm-above", 0, env=env)
        driven.wait_for(QUESTION)
        return driven

    return start


@pytest.mark.parametrize("typed", ["y\x04", "\x04\x04", "yes please"])
def test_ctrl_c_is_heard_whatever_was_typed_before(
    asked: Callable[..., DrivenTerminal], service: BackgroundServer, typed: str
) -> None:
    """Also behind Ctrl-D, which hands on what was typed without ending the line: nothing is sent."""
    driven = asked()
    driven.type(typed)
    driven.look(0.1)
    driven.interrupt()
    assert driven.finish() == 130
    assert not any(request.path.endswith("/batches") for request in service.requests if request.method == "POST")


@pytest.mark.parametrize(
    ("typed", "is_sent"), [("y\x04\n", True), ("\x04", False), ("y\x04\x04", False), ("ja\n", False)]
)
def test_a_line_may_come_in_pieces(
    asked: Callable[..., DrivenTerminal], service: BackgroundServer, typed: str, *, is_sent: bool
) -> None:
    """An answer is what stands before the end of the line; an end without an answer is a no."""
    driven = asked()
    driven.type(typed)
    if not is_sent:
        assert driven.finish() == 130
        assert "Nothing was sent." in driven.screen
        return
    while not any(request.path.endswith("/batches") for request in service.requests if request.method == "POST"):
        driven.look(0.05)
    driven.interrupt()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_an_answer_that_cannot_be_read_is_a_no(asked: Callable[..., DrivenTerminal], encoding: str) -> None:
    """Whatever the keyboard's encoding, and the program's."""
    driven = asked(PYTHONIOENCODING=f"{encoding}:strict")
    driven.type("ü\n")
    assert driven.finish() == 130
    assert "Nothing was sent." in driven.screen
