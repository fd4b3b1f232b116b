"""The emulator as a program, and as a citizen of the package."""

import asyncio
import contextlib
import errno
import io
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import openai
import pytest
from support.asking import MakeRaw, chat_file

import openai_batches.emulator
from openai_batches import __version__
from openai_batches.emulator import (
    BatchServer,
    SteppedClock,
    Timings,
    UpstreamExecutor,
    __main__ as program,
    options as options_module,
)
from openai_batches.emulator.http import health


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let the program believe that it was told to stop as soon as it serves, and remember what it served."""
    given: list[dict[str, Any]] = []

    class Remembered(BatchServer):
        def __init__(self, **options: Any) -> None:
            given.append(options)
            super().__init__(**options)

    async def wait(self: asyncio.Event) -> Any:
        return True

    monkeypatch.setattr(asyncio.Event, "wait", wait)
    monkeypatch.setattr(program, "BatchServer", Remembered)
    return given


class TestOptions:
    def test_it_says_where_it_is(self, served: Any, capsys: pytest.CaptureFixture[str]) -> None:
        """The program prints what a shell has to export."""
        assert program.main(["--port", "0"]) == 0
        base, key = capsys.readouterr().out.splitlines()
        assert base.startswith("export OPENAI_BASE_URL=http://127.0.0.1:")
        assert base.endswith("/v1")
        assert key == "export OPENAI_API_KEY=sk-emulator"
        assert program.main(["--port", "0", "--host", "localhost", "--api-key", "sk-1", "--api-key", "sk 2"]) == 0
        assert capsys.readouterr().out.endswith("export OPENAI_API_KEY=sk-1\n")
        assert [options["api_keys"] for options in served] == [None, ["sk-1", "sk 2"]]

    def test_a_key_in_a_variable_is_not_shown(
        self, served: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The shell is told where the key is, not what it is."""
        monkeypatch.setenv("FIRST_KEY", "sk-test-1")
        monkeypatch.setenv("SECOND_KEY", "sk-test-2")
        assert program.main(["--port", "0", "--api-key-env", "FIRST_KEY", "--api-key-env", "SECOND_KEY"]) == 0
        assert capsys.readouterr().out.endswith('export OPENAI_API_KEY="$FIRST_KEY"\n')
        assert served[0]["api_keys"] == ["sk-test-1", "sk-test-2"]

    def test_what_the_server_is_told(self, served: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Options become parameters."""
        arguments = ["--port", "0", "--profile", "azure", "--speed", "60", "--data", str(tmp_path / "data")]
        arguments += ["--fault", "rate_limited:retry_after_s=2,times=none", "--fault", "cut_body"]
        assert program.main(arguments) == 0
        assert "/openai/v1\n" in capsys.readouterr().out
        (options,) = served
        assert (options["profile"], options["speed"], options["data"]) == ("azure", 60, str(tmp_path / "data"))
        assert [(fault.kind, fault.times) for fault in options["faults"]] == [("rate_limited", None), ("cut_body", 1)]
        assert (options["executor"], options["webhooks"]) == (None, ())
        assert (tmp_path / "data").is_dir()

    @pytest.mark.parametrize(
        ("models", "table"),
        [
            ([], None),
            (["qwen"], "qwen"),
            (["gpt-4o=qwen"], {"gpt-4o": "qwen"}),
            (["gpt-4o=qwen", "o3=llama=8b"], {"gpt-4o": "qwen", "o3": "llama=8b"}),
        ],
    )
    def test_an_upstream(self, served: Any, monkeypatch: pytest.MonkeyPatch, models: list[str], table: Any) -> None:
        """Lines are answered by another server, with a key that no command line shows."""
        monkeypatch.setenv("UPSTREAM_KEY", "sk-test-upstream")
        asked: list[Any] = []

        class Upstream(UpstreamExecutor):
            def __init__(self, base_url: str, **given: Any) -> None:
                asked.append((base_url, given))
                super().__init__(base_url, **given)

        monkeypatch.setattr(options_module, "UpstreamExecutor", Upstream)
        arguments = ["--port", "0", "--upstream", "http://127.0.0.1:9/v1", "--upstream-key-env", "UPSTREAM_KEY"]
        arguments += ["--upstream-concurrency", "3", *(f"--upstream-model={model}" for model in models)]
        assert program.main(arguments) == 0
        expected = {"concurrency": 3, "api_key": "sk-test-upstream"}
        assert asked == [("http://127.0.0.1:9/v1", expected if table is None else {**expected, "model": table})]
        assert isinstance(served[0]["executor"], Upstream)

    def test_a_webhook(self, served: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """A secret comes from a variable, or is made and shown, since the receiver needs it."""
        monkeypatch.setenv("HOOK_SECRET", "whsec_" + "ab" * 16)
        arguments = ["--port", "0", "--webhook", "http://127.0.0.1:9/hook"]
        assert program.main(arguments) == 0
        made = served[0]["webhooks"][0].secret
        assert capsys.readouterr().out.endswith(f"export OPENAI_WEBHOOK_SECRET={shlex.quote(made)}\n")
        assert program.main([*arguments, "--webhook-secret-env", "HOOK_SECRET"]) == 0
        assert capsys.readouterr().out.endswith('export OPENAI_WEBHOOK_SECRET="$HOOK_SECRET"\n')
        assert served[1]["webhooks"][0].secret == os.environ["HOOK_SECRET"]

    @pytest.mark.parametrize(
        ("option", "words"),
        [
            ("--help", ["--data DIR", "examples:", "--fault rate_limited:retry_after_s=2"]),
            ("--list-faults", ["lost_answer: ", "rate_limited: ", "    retry_after_s, "]),
            ("--list-profiles", ["openai\n", "azure\n"]),
            ("--version", [f"{__version__}\n"]),
        ],
    )
    def test_options_that_print_and_end(
        self, option: str, words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Who asks gets an answer and no server."""
        with pytest.raises(SystemExit) as ended:
            program.main([option])
        told = capsys.readouterr().out
        assert ended.value.code == 0
        assert [word for word in words if word not in told] == []

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--host", "0.0.0.0"], "can be reached from outside: give an --api-key-env"),
            (["--host", "example.test"], "can be reached from outside"),
            (["--speed", "0"], "--speed: the speed must be above 0"),
            (["--speed", "inf"], "--speed: the speed must be a finite number"),
            (["--speed", "1e30"], "--speed: the speed must be at most 1e"),
            (["--data", ""], "--data must not be empty"),
            (["--api-key", ""], "--api-key: an API key must not be empty"),
            (["--api-key", "cl\u00e9"], "--api-key: an API key must be of printable ASCII"),
            (["--upstream", "http://x:99999"], "--upstream: base_url must be a URL"),
            (["--upstream", "http://x/v1", "--upstream-model", "a="], "--upstream-model: several models are given"),
            (
                ["--upstream", "http://x/v1", "--upstream-model=a=b", "--upstream-model=a=c"],
                "--upstream-model: 'a' is given twice",
            ),
            (["--port", "70000"], "--port must be 0 to 65535"),
            (["--profile", "nobody"], "nobody"),
            (["--fault", "nothing"], "unknown kind of fault 'nothing'"),
            (["--fault", "cut_body:times=often"], "cut_body:times=often"),
            (["--api-key-env", "NOWHERE_KEY"], "--api-key-env: the variable NOWHERE_KEY is not set"),
            (["--upstream", "nonsense://x"], "--upstream: base_url must be a URL"),
            (["--upstream", "http://x/v1", "--upstream-concurrency", "0"], "concurrency"),
            (["--upstream", "http://x/v1", "--upstream-key-env", "NOWHERE_KEY"], "NOWHERE_KEY is not set"),
            (
                ["--upstream", "http://x/v1", "--upstream-model", "a", "--upstream-model", "b=c"],
                "--upstream-model: several models are given as FROM=TO",
            ),
            (["--upstream-model", "a"], "--upstream-model needs --upstream"),
            (["--webhook-secret-env", "HOME"], "--webhook-secret-env needs --webhook"),
            (["--webhook", "nonsense"], "url must be an http or https URL"),
        ],
    )
    def test_it_refuses(self, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
        """What cannot be is told in a sentence, with status 2, before anything is served."""
        with pytest.raises(SystemExit) as ended:
            program.main(arguments)
        told = capsys.readouterr()
        assert (ended.value.code, told.out) == (2, "")
        assert message in told.err.splitlines()[-1]

    @pytest.mark.parametrize(("profile", "path"), [("azure", "AZURE_OPENAI_ENDPOINT"), ("groq", "GROQ_BASE_URL")])
    def test_a_services_own_variables(
        self, served: Any, capsys: pytest.CaptureFixture[str], profile: str, path: str
    ) -> None:
        """The service's own SDK finds the server, too: it wants the root."""
        assert program.main(["--port", "0", "--profile", profile]) == 0
        lines = capsys.readouterr().out.splitlines()
        base = lines[0].removeprefix("export OPENAI_BASE_URL=")
        key = path.replace("ENDPOINT", "API_KEY").replace("BASE_URL", "API_KEY")
        assert lines[1:] == [
            "export OPENAI_API_KEY=sk-emulator",
            f"export {path}={base.removesuffix('/openai/v1')}",
            f"export {key}=sk-emulator",
        ]

    @pytest.mark.parametrize("broken", ["closed", "full"])
    @pytest.mark.parametrize("arguments", [["--port", "0"], ["--version"]])
    def test_a_request_without_a_receiver(
        self, arguments: list[str], broken: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A standard output that is closed or full ends the program with a sentence."""

        class Full(io.StringIO):
            def flush(self) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(sys, "stdout", None if broken == "closed" else Full())
        try:
            status = program.main(arguments)
        except SystemExit as ended:
            status = ended.code
        assert status == 1
        told = "is closed" if broken == "closed" else f"cannot be written: {os.strerror(errno.ENOSPC)}"
        assert capsys.readouterr().err == f"python -m openai_batches.emulator: standard output {told}\n"

    def test_an_interrupt_before_it_serves(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C is no error to be explained."""

        def interrupted(argv: Any) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr(program, "read_options", interrupted)
        assert program.main([]) == 130

    def test_a_server_with_unusable_parameters(self, capsys: pytest.CaptureFixture[str]) -> None:
        """What only the server knows to be wrong is told likewise."""
        assert program.main(["--host", "", "--api-key", "sk-test"]) == 2
        assert capsys.readouterr().err == "python -m openai_batches.emulator: host must not be empty\n"

    def test_an_empty_variable(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """A variable that is set to nothing is another mistake than one that is not set."""
        monkeypatch.setenv("EMPTY_KEY", "")
        with pytest.raises(SystemExit):
            program.main(["--api-key-env", "EMPTY_KEY"])
        assert "the variable EMPTY_KEY is empty" in capsys.readouterr().err

    def test_a_port_in_use(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A port that is taken ends the program with a sentence."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            assert program.main(["--port", str(taken.getsockname()[1])]) == 1
        told = capsys.readouterr().err
        assert "address already in use" in told
        assert "--port chooses another" in told

    def test_a_data_folder_that_is_no_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """So does a data folder that cannot be used."""
        (tmp_path / "file").write_text("", "utf-8")
        assert program.main(["--port", "0", "--data", str(tmp_path / "file")]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line == f"python -m openai_batches.emulator: {tmp_path / 'file'} is not a folder"

    def test_where_the_loop_cannot_watch_signals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C ends the program without a traceback there, too."""

        def run(coroutine: Any) -> None:
            coroutine.close()
            raise KeyboardInterrupt

        monkeypatch.setattr(asyncio, "run", run)
        assert program.main(["--port", "0"]) == 0


class Program:
    """The program in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, base_url: str) -> None:
        self.process = process
        self.base_url = base_url

    @classmethod
    async def run(cls, *arguments: str, **environment: str) -> Self:
        command = [sys.executable, "-W", "error", "-m", "openai_batches.emulator", "--port", "0"]
        process = await asyncio.create_subprocess_exec(
            *command,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **environment},
        )
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        return cls(process, line.removeprefix("export OPENAI_BASE_URL=").strip())

    @property
    def place(self) -> tuple[str, int]:
        host, port = self.base_url.split("/")[2].split(":")
        return host, int(port)

    async def end(self, number: int) -> tuple[int | None, bytes]:
        self.process.send_signal(number)
        _, errors = await asyncio.wait_for(self.process.communicate(), 60)
        return self.process.returncode, errors


async def _given_up(host: str, port: int) -> None:
    """Return when nobody listens there any more, without a connection: one that comes at the last moment is lost."""
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((host, port))
                return
        await asyncio.sleep(0.01)


class TestProgram:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    async def test_it_serves_until_a_signal(self, number: int, tmp_path: Path) -> None:
        """The program answers over HTTP, and ends cleanly and silently at SIGINT and SIGTERM."""
        running = await Program.run("--speed", "1000", TMPDIR=str(tmp_path))
        url = running.base_url.removesuffix("/v1") + "/healthz"
        body = json.loads(await asyncio.to_thread(lambda: urllib.request.urlopen(url).read()))
        assert (body["status"], body["batches"]["in_progress"]) == ("ok", 0)
        assert await running.end(number) == (0, b"")
        assert os.listdir(tmp_path) == []  # noqa: PTH208 - a Path may not be walked in a coroutine

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
    @pytest.mark.parametrize("redirect", [">&-", ">/dev/full", "| true"])
    def test_an_output_that_takes_nothing(self, redirect: str) -> None:
        """There is one sentence on standard error, and no word of the interpreter's."""
        wait = "sleep 1; " if redirect == "| true" else ""
        command = f"({wait}exec {sys.executable} -m openai_batches.emulator --port 0) {redirect}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
        (line,) = done.stderr.splitlines()
        assert line.startswith("python -m openai_batches.emulator: standard output ")

    def test_an_interrupt_while_it_is_loaded(self) -> None:
        """Nothing but the status tells of a Ctrl-C in the first moments."""
        code = (
            "import runpy, sys, builtins\nreal = builtins.__import__\n"
            "def load(name, *rest, **named):\n    if name.endswith('.options'):\n        raise KeyboardInterrupt\n"
            "    return real(name, *rest, **named)\nbuiltins.__import__ = load\n"
            "runpy.run_module('openai_batches.emulator', run_name='__main__', alter_sys=True)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "")

    async def test_an_answer_that_is_on_its_way_arrives(self, tmp_path: Path) -> None:
        """A download that began before the signal is not cut."""
        size = 16 * 1024 * 1024
        running = await Program.run(TMPDIR=str(tmp_path))
        async with openai.AsyncOpenAI(base_url=running.base_url, api_key="sk-test", max_retries=0) as client:
            file = await client.files.create(file=("big", b"x" * size), purpose="evals")
        reader, writer = await asyncio.open_connection(*running.place)
        head = f"GET /v1/files/{file.id}/content HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer sk-test\r\n\r\n"
        writer.write(head.encode())
        await reader.readuntil(b"\r\n\r\n")
        running.process.send_signal(signal.SIGTERM)
        await _given_up(*running.place)
        assert len(await reader.readexactly(size)) == size
        _, errors = await asyncio.wait_for(running.process.communicate(), 60)
        assert (running.process.returncode, errors) == (0, b"")
        writer.close()
        await writer.wait_closed()

    async def test_data_outlives_it(self, tmp_path: Path) -> None:
        """What was uploaded to one run is there in the next."""
        for expected in (0, 1):
            running = await Program.run("--data", str(tmp_path), "--api-key", "sk-test")
            async with openai.AsyncOpenAI(base_url=running.base_url, api_key="sk-test", max_retries=0) as client:
                assert len((await client.files.list()).data) == expected
                await client.files.create(file=("in.jsonl", chat_file(1)), purpose="batch")
            assert await running.end(signal.SIGTERM) == (0, b"")


async def test_health(make_raw: MakeRaw) -> None:
    """Whoever looks after the server sees its version, and how many batches are in which state."""
    async with BatchServer(clock=SteppedClock(), timings=Timings(line_s=3600)) as server:
        raw = make_raw(server)
        file = await raw.upload(chat_file(3))
        for _ in range(2):
            await raw.create(file["id"])
        await server.advance(hours=1)
        await raw.create(file["id"])
        url = server.base_url.removesuffix("/v1") + "/healthz"
        async with raw.session.get(url) as answer:
            told = await answer.json()
    counts = {"validating": 1, "in_progress": 2, "finalizing": 0, "cancelling": 0}
    assert told == {"status": "ok", "version": __version__, "batches": counts}


def test_the_version_of_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the package that was never installed is no illness."""

    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert health.package_version.__wrapped__() == "unknown"


async def test_ipv6() -> None:
    """An address with colons is bracketed in the URL."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    try:
        async with BatchServer(host="::1") as server:
            assert server.base_url.startswith("http://[::1]:")
    except OSError:
        pytest.skip("no IPv6 loopback")


def test_exports() -> None:
    """What is exported exists, in order."""
    names = openai_batches.emulator.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), name))
    assert [name for name in names if not name.isupper() and not getattr(openai_batches.emulator, name).__doc__] == []
