"""Every error is one line of what happened and one of what to do; none of them shows a key."""

from __future__ import annotations

import asyncio
import builtins
import importlib
import json
import os
import sqlite3
import sys
import threading
import warnings
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

import openai_batches
import openai_batches.cli
from openai_batches import (
    AmbiguousCreateError,
    APIError,
    AuthenticationError,
    BatchesError,
    BatchFailedError,
    InputError,
    InvalidRequestsError,
    JobError,
    JobStoppedError,
    JournalError,
    NotFoundError,
    Problem,
    RateLimitError,
    RequestFailedError,
    TransportError,
    WaitTimeoutError,
    make_converter,
)
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.explain import explain
from openai_batches.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    Cli = Callable[..., Finished]

KEY = "sk-test-very-secret-0123456789"
PUBLIC = [
    kind
    for name in openai_batches.__all__
    if isinstance(kind := getattr(openai_batches, name), type) and issubclass(kind, BatchesError)
]


def _subclasses(kind: type[BatchesError]) -> Iterator[type[BatchesError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _subclasses(each)


def _caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


class TestTable:
    def test_the_walk_finds_them(self) -> None:
        """A check that finds none would pass for nothing."""
        assert len(PUBLIC) > 20
        ours = {kind for kind in _subclasses(BatchesError) if kind.__module__.split(".")[0] == "openai_batches"}
        assert set(PUBLIC) <= ours

    @pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
    def test_every_error_has_a_line_advice_and_a_code(self, kind: type[BatchesError]) -> None:
        """Of whatever class: one line of what happened, one of what to do, and a code that means something."""
        explanation = explain(kind("it happened \x1b[31m\nto somebody"))
        assert "happened" in explanation.message
        assert explanation.message.isprintable()
        assert explanation.advice
        assert explanation.advice.isprintable()
        assert explanation.code in {ExitCode.FAILED, ExitCode.MISUSED, ExitCode.REFUSED, ExitCode.STOPPED}
        assert explain(kind()).message

    @pytest.mark.parametrize(
        ("error", "code", "advice"),
        [
            (InputError("x"), 2, "Fix this"),
            (_caused(InputError("x"), EOFError()), 2, "Compress or download the file again"),
            (_caused(InputError("x"), zlib.error()), 2, "Compress or download the file again"),
            (_caused(JournalError("x"), BlockingIOError()), 2, "Wait until the other process is done"),
            (_caused(JournalError("x"), sqlite3.OperationalError("disk is full")), 2, "Free space on the disk"),
            (_caused(JobError("x"), NotFoundError("y", status=404)), 3, "that the job was started with"),
            (AuthenticationError("x", status=401), 3, "Check the key"),
            (NotFoundError("x", status=404), 3, "Check the id"),
            (RateLimitError("x", status=429), 3, "Wait a moment"),
            (RateLimitError("x", status=429, retry_after=500.0), 3, "Try again in 8m 20s"),
            (APIError("x", status=413, body="<html>"), 3, "a smaller --max-bytes"),
            (APIError("x", status=400, code="token_limit_exceeded"), 3, "when some of your batches have ended"),
            (RateLimitError("x", status=429, code="insufficient_quota"), 3, "Add credit"),
            (TransportError("x"), 3, "--base-url"),
            (AmbiguousCreateError("x"), 3, "before you create it again"),
            (WaitTimeoutError("x"), 4, "wait again"),
            (JobStoppedError("x"), 4, "same command"),
            (RequestFailedError("x"), 1, "--failed"),
            (JournalError("x"), 2, "another directory"),
            (FileNotFoundError(2, "No such file or directory", "in.jsonl"), 2, "Check the path"),
            (CommandError("x", "do y", ExitCode.STOPPED), 4, "do y"),
            (KeyboardInterrupt(), 130, ""),
            (asyncio.CancelledError(), 130, ""),
            (ZeroDivisionError("x"), 70, "report it"),
            (ExceptionGroup("several", [ExceptionGroup("more", [NotFoundError("x", status=404)])]), 3, "Check the id"),
        ],
    )
    def test_the_code_and_the_advice(self, error: BaseException, code: int, advice: str) -> None:
        """What a shell script and a person have to tell apart."""
        explanation = explain(error)
        assert explanation.code == code
        assert advice in explanation.advice

    def test_a_file_is_named(self) -> None:
        """The system's own words, and the file they are about; without either, what there is."""
        assert explain(FileNotFoundError(2, "No such file or directory", "a\nb")).message == "There is no file a\\nb"
        assert explain(OSError(28, "No space left on device")).message == "No space left on device"
        assert explain(OSError("odd")).message == "odd"

    def test_what_is_about_no_line_has_other_advice(self) -> None:
        """Nobody looks for lines that are not named."""
        empty = Problem(code="empty_file", message="The file is empty.")
        large = Problem(code="file_too_large", message="The file is too large.")
        assert explain(InvalidRequestsError("x", problems=(empty,))).advice == "Give a file that has requests"
        assert explain(InvalidRequestsError("x", problems=(large, empty))).advice == "Fix this, and try again"

    def test_what_is_not_installed_is_installed(self) -> None:
        error = InputError("Parquet needs the package pyarrow: pip install 'openai_batches[arrow]'")
        error.__cause__ = ImportError("pyarrow")
        assert explain(error).advice == "Install it, and try again"

    def test_problems_have_lines_of_their_own(self) -> None:
        """Twenty at most, and how many more there are."""
        problems = tuple(Problem(code="x", message=f"bad {number}", line=number) for number in range(1, 26))
        explanation = explain(
            InvalidRequestsError("in.jsonl has problems:\nline 1", problems=problems, more_problems=5)
        )
        assert "\n" not in explanation.message
        assert len(explanation.details) == 21
        assert "bad 1" in explanation.details[0]
        assert explanation.details[-1] == "and 10 more"
        assert explain(InvalidRequestsError("", problems=problems[:1])).details == (str(problems[0]),)

    def test_a_batch_that_failed_names_its_lines(self) -> None:
        """As far as the service names any."""
        errors = [{"line": 3, "message": "no model"}, {"message": "too\nlarge"}, {}]
        record = {"id": "b", "object": "batch", "endpoint": "/v1/x", "status": "failed", "created_at": 1}
        batch = make_converter().structure({**record, "errors": {"data": errors}}, openai_batches.Batch)
        assert explain(BatchFailedError("x", batch=batch)).details[:2] == ("line 3: no model", "too large")
        assert (
            explain(BatchFailedError("x", batch=make_converter().structure(record, openai_batches.Batch))).details == ()
        )


@contextmanager
def _answering(status: int, make_body: Callable[[dict[str, str]], bytes]) -> Iterator[str]:
    """Serve one answer to whatever is asked; the body may hold what was sent."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = make_body(dict(self.headers))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


class TestKeys:
    @pytest.mark.parametrize("status", [200, 400, 401, 404])
    @pytest.mark.parametrize("debug", [[], ["--debug"]])
    def test_a_service_that_repeats_the_key(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch, status: int, debug: list[str]
    ) -> None:
        """An error that quotes the key is masked before it becomes one: no line and no traceback has it."""
        monkeypatch.setenv("OPENAI_API_KEY", KEY)

        def body(headers: dict[str, str]) -> bytes:
            text = f"You sent {headers['Authorization']}."
            return json.dumps({"error": {"message": text, "code": text}} if status > 200 else [text]).encode()

        with _answering(status, body) as url:
            done = cli("cancel", "batch_1", "--base-url", url, *debug)
        assert done.code == 3
        assert "error: " in done.err
        assert KEY not in done.out + done.err

    @pytest.mark.parametrize(
        "arguments", [["--debug"], ["--debug", "--base-url", "nonsense"], ["--debug", "--profile", "x"]]
    )
    def test_no_command_shows_it(self, cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
        """Not with --debug either."""
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
        monkeypatch.setattr("openai_batches.policies.RetryPolicy.delay_s", lambda *_, **__: None)
        done = cli("cancel", "batch_1", *arguments)
        assert done.code in {2, 3}
        assert KEY not in done.out + done.err

    def test_a_key_that_cannot_be_one(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is wrong with it is said without showing it."""
        monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\x07é")
        done = cli("cancel", "batch_1", "--debug")
        assert done.code == 2
        assert KEY not in done.err


class TestServiceDown:
    def test_a_person_sees_each_retry_and_can_end_it(self, terminal: Callable[..., DrivenTerminal]) -> None:
        """A refused connection is tried again some seconds long: a line says so at once, and Ctrl-C ends it at once."""
        env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
        driven = terminal("cancel", "batch_1", env=env)
        driven.wait_for("attempt 1 failed, next in")
        driven.interrupt()
        assert driven.finish() == 130
        assert "error: Interrupted" in driven.screen
        assert KEY not in driven.screen

    def test_how_it_ends(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a pipe there are two lines in all."""
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setattr("openai_batches.policies.RetryPolicy.delay_s", lambda *_, **__: None)
        done = cli("cancel", "batch_1", "--base-url", "http://127.0.0.1:1/v1")
        assert (done.code, done.out) == (3, "")
        first, second = done.err.splitlines()
        assert first.startswith("error: ")
        assert "--base-url" in second


def test_debug_shows_where_it_happened(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of the program's own has a code of its own, and --debug, or a variable, shows the traceback."""

    async def fail(*_: object) -> Any:
        raise ZeroDivisionError("odd")

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("openai_batches.resources.batches.Batches.cancel", fail)
    done = cli("cancel", "batch_1")
    assert done.code == 70
    assert "ZeroDivisionError: odd" in done.err
    assert "Traceback" not in done.err
    monkeypatch.setenv("OPENAI_BATCHES_DEBUG", "1")
    assert "Traceback" in cli("cancel", "batch_1").err


class TestTheProgramItself:
    @pytest.mark.parametrize(("given", "code"), [(5, 5), (None, 0), ("odd", 2)])
    def test_an_end_from_within(self, cli: Cli, monkeypatch: pytest.MonkeyPatch, given: Any, code: int) -> None:
        """Whoever ends the program decides on its code."""

        async def leave(*_: object) -> Any:
            raise SystemExit(given)

        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setattr("openai_batches.session.BatchSession.__aenter__", leave)
        assert cli("cancel", "batch_1").code == code

    def test_warnings_are_lines(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """In the program's own style, without the line of code that Python shows."""

        async def enter(*_: object) -> Any:
            warnings.warn("look again", openai_batches.BatchesWarning, stacklevel=1)
            raise CommandError("it ended")

        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setattr("openai_batches.session.BatchSession.__aenter__", enter)
        assert cli("cancel", "batch_1").err == "warning: look again\nerror: it ended\n"

    def test_problems_are_lines(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """Below what happened, and above the advice."""

        async def enter(*_: object) -> Any:
            raise InvalidRequestsError("bad", problems=(Problem(code="x", message="worse", line=1),))

        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setattr("openai_batches.session.BatchSession.__aenter__", enter)
        _, problem, advice = cli("cancel", "batch_1").err.splitlines()
        assert "worse" in problem
        assert advice.startswith("advice: ")

    def test_without_standard_output(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        """It is said on standard error."""
        monkeypatch.setattr(sys, "stdout", None)
        assert run(["--version"]) == 2
        assert capfd.readouterr().err.startswith("error: Standard output is closed")


class TestTheEntrance:
    @pytest.fixture
    def entrance(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
        """What is called before anything else is loaded."""
        monkeypatch.setattr(openai_batches, "cli", openai_batches.cli)
        monkeypatch.delitem(sys.modules, "openai_batches.cli")
        entrance: Callable[[], int] = importlib.import_module("openai_batches.cli").main
        return entrance

    def test_it_runs_the_program(
        self, entrance: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """With the process's own arguments."""
        monkeypatch.setattr(sys, "argv", ["openai-batches", "--version"])
        assert entrance() == 0
        assert capfd.readouterr().out == f"{openai_batches.__version__}\n"

    def test_what_is_lacking(
        self, entrance: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The extra is named; what lacks for another reason is a mistake of the program's."""
        monkeypatch.delitem(sys.modules, "openai_batches.cli.main")
        monkeypatch.setitem(sys.modules, "rich.text", None)
        assert entrance() == 2
        assert "needs rich, which is not installed" in capfd.readouterr().err
        monkeypatch.setitem(sys.modules, "openai_batches.cli.main", None)
        with pytest.raises(ModuleNotFoundError):
            entrance()

    def test_an_interrupt_while_it_is_loaded(
        self, entrance: Callable[[], int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing but the code tells of a Ctrl-C in the first moments."""
        real = builtins.__import__

        def load(name: str, *rest: Any, **named: Any) -> Any:
            if name == "openai_batches.cli.main":
                raise KeyboardInterrupt
            return real(name, *rest, **named)

        monkeypatch.setattr(builtins, "__import__", load)
        assert entrance() == 130


def test_without_the_extra(program: Callable[..., Finished], tmp_path: Any) -> None:
    """Who has not installed it is told how, in two lines."""
    for name in ("cyclopts", "rich"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(f"import sys\nsys.modules[{name!r}] = None\n", "utf-8")
        done = program("--help", env={"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"})
        assert (done.code, done.out) == (2, "")
        first, second = done.err.splitlines()
        assert first == f"error: openai-batches needs {name}, which is not installed"
        assert second == "advice: Install the extra: pip install 'openai_batches[cli]'"
