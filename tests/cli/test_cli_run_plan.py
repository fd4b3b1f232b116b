"""The plan of `run`, and the question that goes with it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from request_lines import line, write_lines
from rich.console import Console
from run_stage import LOCAL, ask_often, write_requests

from openai_batches.cli import run_plan, terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal of 80 columns in the place of standard error."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system=None, width=80, legacy_windows=False)
    monkeypatch.setattr(terminal, "stderr", lambda: console)
    return file


def test_on_a_terminal_it_is_a_block(cli: Cli, screen: io.StringIO) -> None:
    """Names in one column and facts in the other, none of them behind the edge; a name of others is no command."""
    name = "re\x1b[31mquests.jsonl"
    write_requests(Path(name))
    assert cli("run", name, *LOCAL).code == 0
    lines = [text.rstrip() for text in screen.getvalue().splitlines()]
    assert lines[0] == "Planned re\\x1b[31mquests.jsonl"
    assert lines[1] == "  requests  4 in 1 batch, 696 B"
    assert max(map(len, lines)) <= 80


def test_a_dry_run_on_a_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same block, on standard output."""
    write_requests(Path("requests.jsonl"))
    monkeypatch.setattr(terminal, "out_is_terminal", lambda: True)
    done = cli("run", "requests.jsonl", "--dry-run", *LOCAL)
    assert done.out.splitlines()[1].rstrip() == "  requests  4 in 1 batch, 696 B"


def test_models_endpoints_and_pictures(cli: Cli) -> None:
    """The most frequent kinds, and how many more there are; what has tokens that nobody counts is said."""
    picture: list[Any] = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    lines = [line(f"a{number}", model=f"gpt-4o-mini-{number}") for number in range(5)]
    lines += [line(f"b{number}", max_tokens=5) for number in range(2)]
    lines.append(line("c", messages=[{"role": "user", "content": picture}]))
    write_lines(Path("requests.jsonl"), *lines)
    out = cli("run", "requests.jsonl", "--dry-run", *LOCAL).out
    assert "  requests  8 in 6 batches" in out
    assert "  models    gpt-4o-mini at /v1/chat/completions, 3 requests\n" in out
    assert "            and 2 more\n" in out
    assert "            without 1 image, sound or file\n" in out


@pytest.mark.parametrize(("is_yes", "code"), [(True, 0), (False, 130)])
def test_a_person_is_asked(
    cli: Cli,
    service: BackgroundServer,
    monkeypatch: pytest.MonkeyPatch,
    is_yes: bool,
    code: int,
) -> None:
    """The question says how much it may cost, and for how many requests."""
    asked: list[str] = []

    async def confirmed(question: str) -> bool:
        asked.append(question)
        return is_yes

    write_requests(Path("requests.jsonl"), 1_000, max_tokens=1_000)
    ask_often(monkeypatch)
    monkeypatch.setattr(run_plan, "can_ask", lambda: True)
    monkeypatch.setattr(run_plan, "confirmed", confirmed)
    done = cli("run", "requests.jsonl", "--confirm-above", "0.1", "-o", "out.jsonl")
    assert (done.code, asked) == (code, ["This costs up to $0.30. Send 1,000 requests?"])
    assert Path("out.jsonl").exists() == is_yes
    assert ("Nothing was sent." in done.err) != is_yes
