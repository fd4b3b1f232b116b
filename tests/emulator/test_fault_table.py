"""Every kind of fault is shown on the wire, shown with the client, and described as it is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from openai_batches.emulator.faults.kinds import KINDS

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "emulator-faults.md"
CLIENT = ["test_faults_and_client.py"]
WIRE = ["test_faults.py", "test_faults_of_batches.py", "test_faults_on_the_wire.py"]


def shown(*paths: Path) -> set[str]:
    """The kinds that the tests in these files say they show."""
    return {
        argument.value
        for path in paths
        for function in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name.startswith("test_")
        for call in function.decorator_list
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "shows"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }


def test_each_kind_is_shown_on_the_wire() -> None:
    """A test with a plain client says what it is to meet the fault."""
    assert shown(*(next(TESTS.rglob(name)) for name in WIRE)) == set(KINDS)


def test_each_kind_is_shown_with_the_client() -> None:
    """A test with a session says what the fault does to its users."""
    assert shown(*(next(TESTS.rglob(name)) for name in CLIENT)) == set(KINDS)


def rows() -> dict[str, list[str]]:
    """The page's table of faults: name, parameters, what happens, what the session does."""
    found = {}
    for line in PAGE.read_text("utf-8").partition("## All faults")[2].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 4 and cells[0].startswith("`"):
            found[cells[0].strip("`")] = cells[1:]
    return found


def test_the_page_names_every_kind() -> None:
    """No fault is missing there, and none is there that does not exist."""
    assert sorted(rows()) == sorted(KINDS)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_page_says_what_the_registry_says(name: str) -> None:
    """Parameters with their defaults, the one sentence, and a word on the session."""
    parameters, sentence, session = rows()[name]
    about = KINDS[name]
    assert re.findall(r"`(\w+)=", parameters) == list(about.parameters)
    written = [_written(value) for value in about.parameters.values()]
    assert re.findall(r"=([^`]*)`", parameters) == written
    assert (sentence, bool(session)) == (about.sentence, True)


def _written(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
