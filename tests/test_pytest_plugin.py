"""The pytest plugin works under every runner of coroutines, leaves nothing behind, and costs those nothing who pass."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["pytester"]

LINE = (
    'LINE = b\'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", '
    '"body": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}}\\n\'\n'
)
WAY = """
async def way(session, server):
    file = await session.files.create(LINE, filename="in.jsonl")
    batch = await session.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions")
    batch = await session.batches.wait(batch, poll=0.01)
    return [result.output_text async for result in session.batches.results(batch)]
"""
HEAD = f"import asyncio, os, pytest\n{LINE}{WAY}"
# What a fixture or a loop forgets is told when it is collected.
FORGOTTEN = """
import gc
import pytest

@pytest.fixture(autouse=True)
def _nothing_forgotten():
    yield
    gc.collect()

sessions = []

@pytest.fixture(autouse=True)
def _sessions(request):
    if "batch_session" in request.fixturenames:
        sessions.append(request.getfixturevalue("batch_session"))

def pytest_sessionfinish():
    gc.collect()
    if any(session._exchange._session for session in sessions):
        raise RuntimeError("a session has an open connection pool")
"""
STRICT = ("-W", "error", "-p", "no:cacheprovider", "--strict-markers")
NO_ASYNCIO = ("-p", "no:asyncio", "-p", "no:anyio")
ASYNCIO = ("-p", "no:anyio", "-o", "asyncio_default_fixture_loop_scope=function")


@pytest.fixture(autouse=True)
def _own_root(tmp_path: Path) -> None:
    """The tests inside have a folder of their own for their root, wherever temporary folders are."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n", "utf-8")


@pytest.fixture(autouse=True)
def _pytesters_root(request: pytest.FixtureRequest) -> None:
    if "pytester" in request.fixturenames:
        request.getfixturevalue("pytester").makeini("[pytest]\n")


def run(pytester: pytest.Pytester, source: str, *options: str, conftest: str = FORGOTTEN) -> pytest.RunResult:
    """Run tests of their own, in which every warning is an error."""
    pytester.makeconftest(conftest)
    pytester.makepyfile(HEAD + source)
    return pytester.runpytest_inprocess(*STRICT, *options)


def passed(result: pytest.RunResult, count: int) -> None:
    """All of them passed, and nothing was told when pytest ended."""
    result.assert_outcomes(passed=count)
    assert result.ret == 0
    assert "RuntimeError" not in result.stderr.str()


class TestRunners:
    @pytest.mark.parametrize("mode", ["auto", "strict"])
    def test_pytest_asyncio(self, pytester: pytest.Pytester, mode: str) -> None:
        """Both modes, loops of every scope, fixtures that are coroutines; in auto mode a test needs no mark."""
        source = """
import pytest_asyncio

@pytest_asyncio.fixture
async def file(batch_session):
    made = await batch_session.files.create(LINE)
    yield made
    await batch_session.files.delete(made.id)

@pytest.mark.asyncio
async def test_a_fixture_shares_the_loop(file, batch_session):
    assert (await batch_session.files.retrieve(file.id)).id == file.id
"""
        for scope in ("function", "module", "session"):
            source += f"""
@pytest.mark.asyncio(loop_scope="{scope}")
@pytest.mark.parametrize("number", range(3))
async def test_a_batch_{scope}(batch_session, batch_server, number):
    assert await way(batch_session, batch_server) == ["[echo] Hi"]

@pytest.mark.asyncio(loop_scope="{scope}")
async def test_no_call_{scope}(batch_session):
    assert not batch_session.closed
"""
        if mode == "auto":
            source += """
async def test_without_a_mark(batch_session, batch_server):
    assert await way(batch_session, batch_server) == ["[echo] Hi"]
"""
        passed(run(pytester, source, *ASYNCIO, f"--asyncio-mode={mode}"), 14 if mode == "auto" else 13)

    def test_anyio(self, pytester: pytest.Pytester) -> None:
        """The session works under anyio's plugin, with and without a fixture that keeps anyio's loop."""
        source = """
pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.fixture
async def other():
    yield 1

@pytest.mark.parametrize("number", range(2))
async def test_a_batch(batch_session, batch_server, number):
    assert await way(batch_session, batch_server) == ["[echo] Hi"]

@pytest.mark.parametrize("number", range(2))
async def test_a_batch_in_a_loop_that_is_kept(batch_session, batch_server, other, number):
    assert await way(batch_session, batch_server) == ["[echo] Hi"]
"""
        passed(run(pytester, source, "-p", "no:asyncio"), 4)

    def test_without_a_plugin_for_coroutines(self, pytester: pytest.Pytester) -> None:
        """A blocking test may run the session itself, a loop that outlives it closes the session; unittest works."""
        source = """
import threading, unittest

def test_a_loop_of_the_tests_own(batch_session, batch_server):
    assert asyncio.run(way(batch_session, batch_server)) == ["[echo] Hi"]
    assert batch_session.closed

def test_a_loop_that_stays_open(batch_session, batch_server):
    with asyncio.Runner() as runner:
        pass
    loop = asyncio.new_event_loop()
    loop.run_until_complete(way(batch_session, batch_server))
    LOOPS.append(loop)

LOOPS = []

def test_and_is_closed_later():
    LOOPS.pop().close()

@pytest.fixture(scope="module")
def loop():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()

def test_a_loop_that_goes_on_in_another_thread(loop, batch_session, batch_server):
    work = asyncio.run_coroutine_threadsafe(way(batch_session, batch_server), loop)
    assert work.result(10) == ["[echo] Hi"]

class TestBatches(unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def _take(self, batch_server, batch_session):
        self.server, self.session = batch_server, batch_session

    async def test_a_batch(self):
        self.assertEqual(await way(self.session, self.server), ["[echo] Hi"])
"""
        passed(run(pytester, source, *NO_ASYNCIO), 5)

    @pytest.mark.slow
    def test_in_parallel(self, pytester: pytest.Pytester) -> None:
        """Each process of pytest-xdist has servers of its own."""
        source = """
@pytest.mark.parametrize("number", range(6))
def test_a_batch(batch_session, batch_server, number):
    assert os.environ["PYTEST_XDIST_WORKER"]
    assert asyncio.run(way(batch_session, batch_server)) == ["[echo] Hi"]
    assert len(batch_server.store.batches.items) == 1
"""
        passed(run(pytester, source, "-n", "2", *NO_ASYNCIO), 6)


class TestOptions:
    def test_the_nearest_mark_wins(self, pytester: pytest.Pytester) -> None:
        """Marks of module, class and test add up, stronger than the fixture of options."""
        source = """
from openai_batches.emulator import SteppedClock, Timings

pytestmark = pytest.mark.batch_server(api_keys=["sk-test-module"], clock=SteppedClock())

@pytest.fixture
def batch_server_options(tmp_path):
    return {"api_keys": ["sk-test-weak"], "seed": 1}

def test_module(batch_server):
    assert batch_server.api_key == "sk-test-module"
    batch_server.advance(hours=1)

@pytest.mark.batch_server(api_keys=["sk-test-class"])
class TestClass:
    def test_class(self, batch_server):
        assert batch_server.api_key == "sk-test-class"

    @pytest.mark.batch_server(api_keys=["sk-test-own"])
    def test_own(self, batch_server, batch_session):
        assert batch_server.api_key == "sk-test-own"
        assert asyncio.run(batch_session.files.list().collect()) == []
"""
        passed(run(pytester, source, *NO_ASYNCIO), 3)

    def test_no_test_sees_the_clock_or_the_faults_of_another(self, pytester: pytest.Pytester) -> None:
        """What a mark names is made once, and is as new for each of its tests."""
        source = """
from openai_batches.emulator import Fault, SteppedClock

@pytest.mark.batch_server(clock=SteppedClock(start=1000), faults=[Fault.error_before(503)])
@pytest.mark.parametrize("number", range(2))
def test_twice(batch_server, batch_session, number):
    assert batch_server.clock.now() == 1000
    batch_server.advance(hours=1)
    assert asyncio.run(batch_session.files.list().collect()) == []
    assert [fault.fired for fault in batch_server.faults] == [1]
    assert [asked.status for asked in batch_server.requests] == [503, 200]
"""
        passed(run(pytester, source, *NO_ASYNCIO), 2)

    def test_a_mark_that_is_wrong(self, pytester: pytest.Pytester) -> None:
        """The test fails at its start, and says why."""
        source = "@pytest.mark.batch_server({})\ndef test_{}(batch_server): pass\n"
        result = run(pytester, source.format("1", "a") + source.format("model='m'", "b"), *NO_ASYNCIO, "--tb=short")
        result.assert_outcomes(errors=2)
        first, _, second = result.stdout.str().partition("ERROR at setup of test_b")
        assert "takes keyword arguments only" in first
        assert "model" in second

    def test_it_tells_of_itself(self, pytester: pytest.Pytester) -> None:
        """The mark and the fixtures are in pytest's own help."""
        marks = pytester.runpytest_inprocess("--markers", *NO_ASYNCIO).stdout.str()
        fixtures = pytester.runpytest_inprocess("--fixtures", *NO_ASYNCIO).stdout.str()
        assert "@pytest.mark.batch_server(**options): parameters of the test's batch_server" in marks
        for name in ("batch_environment", "batch_server", "batch_server_options", "batch_session"):
            assert f"{name} -- " in fixtures

    def test_it_can_be_left_out(self, pytester: pytest.Pytester) -> None:
        """Under its name, as every plugin."""
        result = pytester.runpytest_inprocess("--markers", "-p", "no:openai_batches", *NO_ASYNCIO)
        assert "batch_server" not in result.stdout.str()


class TestEnvironment:
    def test_clients_talk_to_the_emulator(self, pytester: pytest.Pytester) -> None:
        """Code that builds its own client needs no change: ours, and the official ones, blocking and not."""
        source = """
import openai
from openai_batches import AZURE, GROQ, BatchSession

async def ours():
    async with BatchSession() as session:
        return await way(session, None)

async def theirs():
    async with openai.AsyncOpenAI() as client:
        return await client.files.list()

def test_ours(batch_environment):
    assert asyncio.run(ours()) == ["[echo] Hi"]

@pytest.mark.usefixtures("batch_environment")
def test_official(batch_server):
    with openai.OpenAI() as client:
        file = client.files.create(file=("in.jsonl", LINE), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        batch_server.settle()
        batch = client.batches.retrieve(batch.id)
        assert batch.status == "completed"
        assert b"[echo] Hi" in client.files.content(batch.output_file_id).content
    assert len(asyncio.run(theirs()).data) == 2

# Of another service, its own variables are set, for its own clients; the session knows its ways.

async def lists(provider):
    async with BatchSession(provider=provider) as session:
        return await session.batches.list().collect()

@pytest.mark.batch_server(profile="azure", api_keys=["sk-test-azure"])
def test_azure(batch_environment, batch_session):
    assert asyncio.run(lists(AZURE)) == []
    assert asyncio.run(batch_session.batches.list().collect()) == []
    with openai.AzureOpenAI(api_version="2024-10-21") as client:
        assert client.files.list().data == []

@pytest.mark.batch_server(profile="groq")
def test_groq(batch_environment):
    assert asyncio.run(lists(GROQ)) == []

@pytest.mark.batch_server(profile="vllm")
def test_vllm(batch_environment, batch_session):
    assert asyncio.run(batch_session.batches.list().collect()) == []
"""
        passed(run(pytester, source, *NO_ASYNCIO), 5)

    def test_no_session_leaves_the_machine(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whichever service a test plays, and whatever the developer has keys of, no session leads to the real one."""
        for name in ("GROQ_API_KEY", "AZURE_OPENAI_API_KEY", "DASHSCOPE_API_KEY", "OPENAI_API_KEY"):
            monkeypatch.setenv(name, "sk-test-developers")
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://developers.example.test")
        source = """
from openai_batches import BatchSession, InputError, Provider, providers

PROVIDERS = [each for each in vars(providers).values() if isinstance(each, Provider)]
PROFILES = ["openai", "azure", "groq", "siliconflow", "vllm", "ogx"]
MARKED = [pytest.param(name, marks=pytest.mark.batch_server(profile=name)) for name in PROFILES]

@pytest.mark.parametrize("profile", MARKED)
def test_sessions(batch_environment, profile):
    assert len(PROVIDERS) > 10
    assert batch_environment.server.profile.name == profile
    root = batch_environment.base_url.partition("/v1")[0].removesuffix("/openai")
    for provider in PROVIDERS:
        try:
            session = BatchSession(provider=provider)
        except InputError:
            assert provider.name.split()[0].lower() != profile or not provider.api_key_env
        else:
            assert session.base_url.startswith(root), provider.name
"""
        passed(run(pytester, source, *NO_ASYNCIO), 6)

    def test_what_was_there_comes_back(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing of the developer's environment reaches the emulator, and all of it is there again afterwards."""
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test-developers")
        monkeypatch.setenv("OPENAI_ORG_ID", "org-developers")
        monkeypatch.setenv("OPENAI_PROJECT_ID", "proj_developers")
        monkeypatch.setenv("NO_PROXY", "example.test")
        monkeypatch.delenv("no_proxy", raising=False)
        source = """
NAMES = ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "NO_PROXY", "no_proxy", "OPENAI_BASE_URL")
BEFORE = {name: os.environ.get(name) for name in NAMES}

def test_inside(batch_environment):
    assert {name: os.environ.get(name) for name in NAMES} == {
        "OPENAI_API_KEY": "sk-emulator",
        "OPENAI_ORG_ID": None,
        "OPENAI_PROJECT_ID": None,
        "NO_PROXY": "example.test,127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "OPENAI_BASE_URL": batch_environment.base_url,
    }

def test_outside():
    assert {name: os.environ.get(name) for name in NAMES} == BEFORE
    assert BEFORE["OPENAI_ORG_ID"] == "org-developers"
"""
        passed(run(pytester, source, *NO_ASYNCIO), 2)


def test_who_does_not_use_it_does_not_pay(tmp_path: Path) -> None:
    """A pytest that has the plugin loads neither aiohttp nor the rest of the package."""
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_nothing_is_loaded():\n"
        "    assert 'openai_batches.pytest_plugin' in sys.modules\n"
        "    names = {name for name in sys.modules if name.startswith('openai_batches.')}\n"
        "    lists_of_names = {'_moved', '_names', 'jobs', 'requests', 'results'}\n"
        "    assert names <= {f'openai_batches.{name}' for name in lists_of_names | {'version', 'pytest_plugin'}}\n"
        "    assert not {'aiohttp', 'attrs', 'cattrs', 'msgspec'} & set(sys.modules)\n",
        "utf-8",
    )
    # Other plugins may load what is looked for.
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "openai_batches", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stdout
