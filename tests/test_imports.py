"""Importing is quiet, quick and in any order."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "openai_batches"


def _find_modules() -> list[str]:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    home = Path(spec.origin).parent
    paths = (path.relative_to(home.parent).with_suffix("") for path in home.rglob("*.py"))
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


MODULES = _find_modules()


# A process started from one thread reads the environment while pytest, in another, writes the name of the test to it,
# which can end in EFAULT: it is given a copy of its own.
ENVIRONMENT = dict(os.environ)


def _run(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter that forgives no warning and sees installed packages only."""
    command = [sys.executable, "-I", "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=ENVIRONMENT)


@pytest.fixture(scope="module")
def imported_alone() -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """The outcome of importing each module first, several interpreters at a time."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {module: pool.submit(_run, f"import {module}") for module in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_imports_alone(
    module: str, imported_alone: dict[str, Future[subprocess.CompletedProcess[str]]]
) -> None:
    """Without a warning, without a word, whichever module is the first one."""
    done = imported_alone[module].result()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_package_loads_no_porch_and_no_comparison() -> None:
    """Who sends batches pays neither for the emulator, nor for the command line, nor for the official SDK."""
    done = _run(f"import sys, {PACKAGE}; print(*sys.modules, sep='\\n')")
    assert done.returncode == 0, done.stderr
    assert {f"{PACKAGE}.emulator", f"{PACKAGE}.cli", "openai"}.isdisjoint(done.stdout.split())


def test_a_session_loads_no_engine_room() -> None:
    """Who runs no job pays for none: neither its rooms nor SQLite are loaded before the first one is asked for."""
    rooms = {"jobs", "runner", "journal", "planning", "launching", "finishing", "harvesting", "walking", "doctoring"}
    code = f"import sys, {PACKAGE}; {PACKAGE}.BatchSession('k'); print(*sys.modules, sep='\\n'); {PACKAGE}.BatchJob"
    done = _run(code)
    assert done.returncode == 0, done.stderr
    assert {"sqlite3", *(f"{PACKAGE}.{room}" for room in rooms)}.isdisjoint(done.stdout.split())
