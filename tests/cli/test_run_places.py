"""`run` spoils no file that is there: not its requests, not another's report, not results of another job."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.run_stage import LOCAL, ask_often, ids_in, write_requests

from openai_batches import (
    Batch,
    BatchError,
    BatchErrors,
    BatchFailedError,
    BatchJob,
    BatchStatus,
    JobError,
    JournalError,
    TransportError,
)
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.output import terminal as terminal_module
from openai_batches.cli.output.streams import OutputStream
from openai_batches.cli.run import run as run_module
from openai_batches.cli.run.save import Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]

JOB = Path("requests.jsonl.job")
IDS = ["r0", "r1", "r2", "r3"]


@pytest.fixture(autouse=True)
def _requests(monkeypatch: pytest.MonkeyPatch) -> None:
    write_requests(Path("requests.jsonl"))
    ask_often(monkeypatch)


class TestFilesThatAreThere:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("-o", "./requests.jsonl", "--force"), "SOURCE and OUT are the same file"),
            (("-o", "link.jsonl", "--force"), "SOURCE and OUT are the same file"),
            (("--report", "requests.jsonl", "-o", "x.jsonl", "--force"), "SOURCE and the report are the same file"),
            (("--report", "x.jsonl", "-o", "x.jsonl"), "OUT and the report are the same file"),
        ],
    )
    def test_one_file_is_not_two(self, cli: Cli, arguments: tuple[str, ...], told: str) -> None:
        """Requests are not written over, whatever is forced; nothing is sent before that is seen."""
        Path("link.jsonl").symlink_to("requests.jsonl")
        before = Path("requests.jsonl").read_bytes()
        done = cli("run", "requests.jsonl", *arguments, *LOCAL)
        assert done.code == 2
        assert told in done.err
        assert Path("requests.jsonl").read_bytes() == before
        assert not JOB.exists()

    def test_a_report_replaces_those_of_its_own_job_alone(self, cli: Cli) -> None:
        """A file of the same name is somebody's, though the job was there before."""
        assert cli("run", "requests.jsonl", *LOCAL).code == 0
        Path("mine.html").write_text("mine")
        done = cli("run", "requests.jsonl", "--report", "mine.html", *LOCAL)
        assert (done.code, Path("mine.html").read_text()) == (2, "mine")
        assert "mine.html exists" in done.err
        for _ in range(2):
            assert cli("run", "requests.jsonl", "--report", "ours.html", *LOCAL).code == 0

    def test_a_file_older_than_the_job_is_not_taken_for_its_results(self, cli: Cli) -> None:
        """Results of last week are not those of today."""
        Path("out.jsonl").write_text("old")
        os.utime("out.jsonl", (1, 1))
        assert cli("run", "requests.jsonl", *LOCAL).code == 0
        done = cli("run", "requests.jsonl", "-o", "out.jsonl", "-q", *LOCAL)
        assert done.code == 2
        assert "out.jsonl exists" in done.err
        assert cli("run", "requests.jsonl", "-o", "out.jsonl", "--force", *LOCAL).code == 0
        assert sorted(ids_in(Path("out.jsonl").read_text())) == IDS

    def test_what_can_be_read_once_is_no_source(self, cli: Cli) -> None:
        """A job looks at its source again; the way that works is named."""
        os.mkfifo("pipe")
        done = cli("run", "pipe", "--directory", "job", *LOCAL)
        assert done.code == 2
        assert "error: pipe is not a regular file\nadvice: Send it to standard input: run -" in done.err


class TestTakenBack:
    @pytest.fixture
    def failing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def estimate(*_: object, **__: object) -> None:
            await asyncio.sleep(0)
            raise JobError("no estimate")

        monkeypatch.setattr(run_module, "estimate", estimate)

    @pytest.mark.usefixtures("failing")
    @pytest.mark.parametrize("options", [["--dry-run"], []])
    def test_a_plan_that_comes_to_nothing(self, cli: Cli, options: list[str]) -> None:
        """A dry run leaves nothing behind, and so does a run that does not come to its first request."""
        done = cli("run", "requests.jsonl", *options, *LOCAL)
        assert done.code == 3
        assert "error: no estimate" in done.err
        assert not JOB.exists()

    @pytest.mark.usefixtures("failing")
    def test_what_went_wrong_first_is_told(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not that the rest could not be tidied away."""

        async def discard(_: BatchJob) -> None:
            await asyncio.sleep(0)
            raise JournalError("no journal")

        monkeypatch.setattr(BatchJob, "discard", discard)
        assert "error: no estimate" in cli("run", "requests.jsonl", *LOCAL).err

    def test_a_no_leaves_what_an_earlier_run_has_planned(
        self, cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may hold requests that came through a pipe, and are nowhere else."""

        async def nothing(_: object) -> None:
            await asyncio.sleep(0)

        lines = Path("requests.jsonl").read_bytes()
        with monkeypatch.context() as patch:
            # As if it had been killed at the question.
            patch.setattr(BatchJob, "discard", nothing)
            assert cli("run", "-", "--directory", "kept", "--confirm-above", 0, stdin=lines).code == 2
        assert cli("run", "kept", "--confirm-above", 0).code == 2
        assert cli("run", "kept", "--yes").code == 0


class TestEnds:
    def test_an_output_that_takes_no_more(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is paid for is not lost: the command that goes on is told."""

        async def write(*_: object) -> None:
            await asyncio.sleep(0)
            raise CommandError("Standard output cannot be written: No space left on device", "Make room")

        monkeypatch.setattr(OutputStream, "write", write)
        done = cli("run", "requests.jsonl", "-o", "-", *LOCAL)
        assert done.code == 2
        assert "To continue once this is fixed:\n  openai-batches run requests.jsonl -o - --local" in done.err

    def test_an_emulator_that_ends(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """The network was to blame for it, which passes."""

        async def run(_: BatchJob) -> None:
            await asyncio.sleep(0)
            raise CommandError("The emulator has ended", "Try again", ExitCode.REFUSED) from TransportError("gone")

        monkeypatch.setattr(BatchJob, "run", run)
        done = cli("run", "requests.jsonl", *LOCAL)
        assert done.code == 4
        assert "To continue" in done.err

    def test_what_the_service_objects_to(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each line of it is told, and then how to go on."""

        async def run(_: BatchJob) -> None:
            await asyncio.sleep(0)
            errors = BatchErrors(data=(BatchError(code="x", message="no such model", line=3),))
            raise BatchFailedError(
                "The batch failed", batch=Batch(id="batch_1", status=BatchStatus.FAILED, errors=errors)
            )

        monkeypatch.setattr(BatchJob, "run", run)
        told = cli("run", "requests.jsonl", *LOCAL).err
        assert "\n  line 3: no such model\nTo continue" in told

    def test_a_terminal_that_hangs_up_is_told_nothing(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """Under nohup the job goes on all the same."""

        class Gone:
            is_terminal, is_dumb_terminal = True, True

            def print(self, *_: object, **__: object) -> None:
                raise OSError(5, "Input/output error")

        monkeypatch.setattr(terminal_module, "stderr", Gone)
        assert cli("run", "requests.jsonl", "-o", "out.jsonl", *LOCAL).code == 0
        assert sorted(ids_in(Path("out.jsonl").read_text())) == IDS

    def test_a_mistake_in_the_command_is_not_gone_on_with(self, cli: Cli) -> None:
        """The same command would not do."""
        cli("run", "requests.jsonl", *LOCAL)
        done = cli("run", "requests.jsonl", "--metadata", "blue", *LOCAL)
        assert done.code == 2
        assert "To continue" not in done.err

    @pytest.mark.parametrize("is_a_signal", [True, False])
    def test_a_signal_while_the_report_is_written(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch, is_a_signal: bool
    ) -> None:
        """All else is done: the report is finished, and the exit code is that of the work."""

        async def write(*_: object, **__: object) -> None:
            if is_a_signal:
                signal.raise_signal(signal.SIGTERM)
            else:
                waiting[0].cancel()
            await asyncio.sleep(0.01)
            Path("report.html").write_text("whole")  # noqa: ASYNC240

        reported = run_module.RunCommand._write_report

        waiting: list[asyncio.Task[object]] = []

        async def report(command: run_module.RunCommand) -> None:
            task = asyncio.current_task()
            assert task is not None
            waiting.append(task)
            await reported(command)

        monkeypatch.setattr(run_module.RunCommand, "_write_report", report)
        monkeypatch.setattr(run_module, "write_report", write)
        before = signal.getsignal(signal.SIGINT)
        try:
            done = cli("run", "requests.jsonl", "-o", "out.jsonl", "--report", "report.html", *LOCAL)
        finally:
            signal.signal(signal.SIGINT, before)
        assert done.code == (0 if is_a_signal else 130)
        assert Path("report.html").read_text() == "whole"

    def test_a_signal_while_the_results_are_written(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing half-written stays, and the same command writes them."""

        async def write(*_: object) -> int:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(60)
            return 0

        before = signal.getsignal(signal.SIGINT)
        try:
            with monkeypatch.context() as patch:
                patch.setattr(Output, "write", write)
                done = cli("run", "requests.jsonl", "-o", "out.jsonl", *LOCAL)
        finally:
            signal.signal(signal.SIGINT, before)
        assert done.code == 4
        assert sorted(Path().iterdir()) == [Path("openai-batches-local"), Path("requests.jsonl"), JOB]
        assert cli("run", "requests.jsonl", "-o", "out.jsonl", *LOCAL).code == 0
        assert sorted(ids_in(Path("out.jsonl").read_text())) == IDS


class TestAdvice:
    def test_it_means_the_same_service(self, cli: Cli) -> None:
        """Pasted into a shell, it finds the job and its batches again, wherever these are."""
        Path("my requests.jsonl").write_bytes(Path("requests.jsonl").read_bytes())
        done = cli("run", "my requests.jsonl", "--local-data", "other data", *LOCAL)
        advised = re.search(r"to write them: (openai-batches .*)", done.err)
        assert advised
        words = shlex.split(advised[1])[1:]
        assert words[1:4] == ["my requests.jsonl.job", "-o", "results.jsonl"]
        assert words[4:] == ["--local", "--local-data", "other data"]
        assert cli(*words).code == 0
        Path("my requests.jsonl").unlink()
        done = cli("run", "my requests.jsonl", *LOCAL)
        assert (
            "Its job continues without it: openai-batches run 'my requests.jsonl.job' --local --local-speed 500\n"
            in done.err
        )

    def test_a_program_that_is_not_on_the_path(self, tmp_path: Path) -> None:
        """It is called by its path again."""
        program = tmp_path / "bin" / "openai-batches"
        program.parent.mkdir()
        code = f"import sys; sys.argv[0] = {str(program)!r}; from openai_batches.cli import main; sys.exit(main())"
        # The kernel takes no interpreter whose path has a blank.
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$@"\n', "utf-8")
        program.chmod(0o755)
        command = [str(program), "run", "requests.jsonl", "--local", "--local-speed", "0.01"]
        environment = {**os.environ, "PATH": "/usr/bin:/bin"}
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
            assert process.stderr is not None
            told = process.stderr.readline()
            process.send_signal(signal.SIGINT)
            told += process.stderr.read()
        assert told.decode().endswith(f"  {shlex.join(command)}\n")
