"""Importing is quiet, quick and in any order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import openai_batches

# A child process imports each module first, in a child of its own that inherits what they have in common: loading it
# once for all is what makes this quick. It prints the modules that could not be imported without a word.
_EACH_ALONE = """
import importlib, json, os, sys
import aiohttp, aiohttp.web, attrs, cattrs, cattrs.preconf.msgspec, cyclopts, msgspec, pytest, rich.console
failed = {}
for name in json.loads(sys.argv[1]):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(write, 1)
        os.dup2(write, 2)
        try:
            importlib.import_module(name)
            code = 0
        except BaseException as error:
            os.write(write, repr(error).encode())
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    os.close(write)
    with open(read, "rb") as words:
        said = words.read()
    _, status = os.waitpid(child, 0)
    if said or status:
        failed[name] = said.decode()
print(json.dumps(failed))
"""


def _run(code: str, *arguments: str) -> str:
    """Run code in a fresh interpreter that forgives no warning and sees installed packages only."""
    command = [sys.executable, "-I", "-W", "error", "-c", code, *arguments]
    # A process started from one thread reads the environment while pytest, in another, writes the name of the test to
    # it, which can end in EFAULT: it is given a copy of its own. What measures coverage would load modules.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _loaded(code: str) -> set[str]:
    """The modules that are loaded after some code."""
    return set(_run(f"import sys\n{code}\nprint(*sys.modules, sep='\\n')").split())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process has to be forked for each module")
def test_every_module_imports_alone() -> None:
    """Without a warning, without a word, whichever module is the first one."""
    folder = Path(openai_batches.__file__).parent
    paths = [path.relative_to(folder.parent).with_suffix("") for path in folder.rglob("*.py")]
    modules = sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)
    assert len(modules) > 100
    assert json.loads(_run(_EACH_ALONE, json.dumps(modules))) == {}


def test_the_package_loads_what_is_asked_for() -> None:
    """Who sends batches pays neither for the emulator, nor for the command line, nor for the official SDK."""
    loaded = _loaded("import openai_batches; openai_batches.BatchSession('k')")
    assert "openai_batches.session" in loaded
    assert {"openai_batches.emulator", "openai_batches.cli", "openai"}.isdisjoint(loaded)


def test_a_session_loads_no_jobs() -> None:
    """Who runs no job pays for none: neither its modules nor SQLite are loaded before the first one is asked for."""
    before = _loaded("import openai_batches; openai_batches.BatchSession('k')")
    after = _loaded("import openai_batches; openai_batches.BatchJob")
    jobs = {name for name in after if name.startswith("openai_batches.jobs.")}
    assert {"openai_batches.jobs.job", "openai_batches.jobs.journal.sqlite"} <= jobs
    assert {"sqlite3", *jobs}.isdisjoint(before)
