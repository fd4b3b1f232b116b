"""Names are shown as they are: brackets in them are no markup, and none is lost or stops the program."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.request_lines import request_line, write_requests

from openai_batches import cli as program
from openai_batches.cli.commands import jobs as jobs_command
from openai_batches.emulator import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]
    Terminal = Callable[..., DrivenTerminal]


@pytest.mark.parametrize("name", ["x[/b].jsonl", "data[train].jsonl"])
def test_an_upload(terminal: Terminal, service: BackgroundServer, name: str) -> None:
    """Its progress names the file, all of it."""
    Path("a.jsonl").write_bytes(request_line("a"))
    driven = terminal("files", "upload", "a.jsonl", "--name", name, columns=120)
    assert driven.finish() == 0
    assert f"Uploading {name} " in driven.written


@pytest.mark.usefixtures("service")
def test_a_download(cli: Cli, terminal: Terminal) -> None:
    """Whatever it is called here."""
    Path("a.jsonl").write_bytes(request_line("a"))
    file_id = cli("files", "upload", "a.jsonl").out.strip()
    driven = terminal("files", "download", file_id, "-o", "a[b].jsonl", columns=120)
    assert driven.finish() == 0
    assert "Downloading a[b].jsonl " in driven.written


def test_a_large_file_that_is_read(terminal: Terminal) -> None:
    write_requests(Path("data[train].jsonl"), 21, text="x" * 1_000_000)
    driven = terminal("validate", "data[train].jsonl", columns=120)
    assert driven.finish() == 0
    assert "data[train].jsonl ━" in driven.written


def test_a_job_that_is_cancelled(cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words beside the spinner are text, too."""
    name = "x[/b].job"
    service.faults.add(Fault.error_before(400, method="POST", path=r"/batches$", times=None))
    write_requests(Path("a.jsonl"), 1)
    Path(name).parent.mkdir()
    cli("run", "a.jsonl", "--yes", "--directory", name)
    service.faults.clear()
    monkeypatch.setattr(jobs_command, "progress_is_shown", lambda: True)
    assert cli("jobs", "cancel", name).code == 0


def test_no_column_reads_markup_in_a_name() -> None:
    """Columns do so by themselves, and nothing is seen of it until somebody has such a name."""
    columns = [
        node
        for path in Path(program.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "TextColumn"
    ]
    named = [column for column in columns if "task." in ast.unparse(column)]
    assert len(named) >= 4
    assert all("markup=False" in ast.unparse(column) for column in named)
