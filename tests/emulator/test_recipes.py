"""The recipes for tests with the emulator are tests, and pass as they stand; its command lines are understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from openai_batches.emulator.options import PROGRAM, read_options

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text("utf-8")
FILES = dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def test_the_page_has_recipes() -> None:
    """A check that finds none would pass for nothing; and each block of Python on the page is one."""
    assert len(FILES) >= 10
    assert len(FILES) == PAGE.count("```python\n")
    assert len(COMMANDS) >= 3


@pytest.mark.slow
def test_the_recipes_pass(pytester: pytest.Pytester) -> None:
    """All files of the page, in one folder, with pytest-asyncio in auto mode."""
    for name, text in FILES.items():
        path = pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    options = ("--asyncio-mode=auto", "-o", "asyncio_default_fixture_loop_scope=function", "-p", "no:anyio")
    # Global clients of the official SDK, as recipes may have them, are closed by nobody.
    # In a process of its own: what it loads is forgotten afterwards, and the official SDK does not survive that.
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-W", "error", "-W", "ignore::ResourceWarning", *options
    )
    count = sum(len(re.findall(r"^ *(?:async )?def test_", text, re.MULTILINE)) for text in FILES.values())
    result.assert_outcomes(passed=count)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_line_is_understood(command: str) -> None:
    """The program takes the options that the page shows."""
    assert command.startswith(f"{PROGRAM} ")
    assert read_options(shlex.split(command.removeprefix(f"{PROGRAM} "))).server["port"] == 8080
