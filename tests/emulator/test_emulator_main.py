"""The emulator as a program, and as a citizen of the package."""

import ast
import asyncio
import json
import os
import signal
import socket
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import openai_batches.emulator
from openai_batches.emulator import BatchServer
from openai_batches.emulator import __main__ as program


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the program believe that it was told to stop as soon as it serves."""

    async def wait(self: asyncio.Event) -> Any:
        return True

    monkeypatch.setattr(asyncio.Event, "wait", wait)


def test_it_says_where_it_is(served: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The program prints what a shell has to export."""
    assert program.main(["--port", "0"]) == 0
    base, key = capsys.readouterr().out.splitlines()
    assert base.startswith("export OPENAI_BASE_URL=http://127.0.0.1:")
    assert base.endswith("/v1")
    assert key == "export OPENAI_API_KEY=sk-emulator"
    assert program.main(["--port", "0", "--host", "localhost", "--api-key", "sk-1", "--api-key", "sk-2"]) == 0
    assert capsys.readouterr().out.endswith("export OPENAI_API_KEY=sk-1\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "can be reached from outside"),
        (["--host", "example.test"], "can be reached from outside"),
        (["--speed", "0"], "must be above zero"),
    ],
)
def test_it_refuses(arguments: Any, message: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The program does not serve the world without a key, nor at no speed."""
    with pytest.raises(SystemExit):
        program.main(arguments)
    assert message in capsys.readouterr().err


def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is taken ends the program with a sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert program.main(["--port", str(taken.getsockname()[1])]) == 1
    assert "address already in use" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_serves_until_a_signal(number: Any, tmp_path: Path) -> None:
    """The program answers over HTTP, and ends cleanly and silently at SIGINT and SIGTERM."""
    arguments = ["-X", "dev", "-W", "error", "-m", "openai_batches.emulator", "--port", "0", "--speed", "1000"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
    )
    line = (await process.stdout.readline()).decode()
    url = line.removeprefix("export OPENAI_BASE_URL=").strip().removesuffix("/v1") + "/healthz"
    body = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())
    assert json.loads(body) == {"status": "ok"}
    process.send_signal(number)
    _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, errors) == (0, b"")
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - a Path may not be walked in a coroutine


async def test_ipv6() -> None:
    """An address with colons is bracketed in the URL."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        async with BatchServer(host="::1") as server:
            assert server.base_url.startswith("http://[::1]:")
    except OSError:
        pytest.skip("no IPv6 loopback")


def test_it_shares_nothing_with_the_client() -> None:
    """No module of the emulator imports anything of the package but the emulator."""
    folder = Path(openai_batches.emulator.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, path
                assert not (node.module or "").startswith("openai_batches"), path
            elif isinstance(node, ast.Import):
                assert all(not name.name.startswith("openai_batches") for name in node.names), path


def test_exports() -> None:
    """What is exported exists, in order."""
    names = openai_batches.emulator.__all__
    assert names == sorted(names)
    assert all(getattr(openai_batches.emulator, name).__doc__ for name in names)
