"""`jobs`: what the journals on this machine say, without a service, a trace, or a wait."""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.run_stage import LOCAL, ask_often, write_requests

from openai_batches import BatchJob
from openai_batches.cli.commands import jobs as jobs_command
from openai_batches.cli.run import job_on_disk
from openai_batches.emulator import Fault, LineError, ScriptExecutor, SteppedClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]

REFUSING = pytest.mark.batch_server(faults=[Fault.error_before(400, method="POST", path="/v1/batches$")])


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    ask_often(monkeypatch)


def rows_of(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


class TestList:
    def test_none(self, cli: Cli) -> None:
        """An empty folder is no mistake."""
        done = cli("jobs")
        assert (done.code, done.out) == (0, "")
        assert "There are no jobs here" in done.err
        assert cli("jobs", "--json").out == "[]\n"

    @pytest.mark.batch_server(executor=ScriptExecutor({"r1": LineError("content_filter", "no")}))
    def test_each_job_has_a_line(self, cli: Cli, service: BackgroundServer) -> None:
        """Under whatever name, the newest first; a folder inside of a job is none."""
        write_requests(Path("a.jsonl"))
        write_requests(Path("b.jsonl"), 1)
        cli("run", "a.jsonl", "--yes")
        cli("run", "b.jsonl", "--yes", "--directory", "elsewhere")
        head, newest, oldest = rows_of(cli("jobs").out)
        assert head == ["directory", "state", "requests", "succeeded", "failed", "left", "cost", "begun", "source"]
        assert newest[:6] == ["elsewhere", "finished", "1", "1", "0", "0"]
        assert oldest[:6] == ["a.jsonl.job", "finished", "4", "3", "1", "0"]
        assert oldest[-1] == str(Path("a.jsonl").absolute())

    @REFUSING
    def test_the_states_of_a_job(self, cli: Cli, service: BackgroundServer) -> None:
        """One that was stopped, one that runs, one that is being cancelled, one that cannot be read."""
        write_requests(Path("a.jsonl"))
        assert cli("run", "a.jsonl", "--yes").code == 3
        assert rows_of(cli("jobs").out)[1][:6] == ["a.jsonl.job", "stopped", "4", "0", "0", "4"]
        with Path("a.jsonl.job/journal.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert rows_of(cli("jobs").out)[1][1] == "running"
        service.faults.clear()
        assert cli("jobs", "cancel", "a.jsonl.job").code == 0
        assert rows_of(cli("jobs").out)[1][:6] == ["a.jsonl.job", "cancelled", "4", "0", "4", "0"]
        Path("broken").mkdir()
        Path("broken/journal.sqlite").write_text("no journal")
        done = cli("jobs")
        assert rows_of(done.out)[-1] == ["broken", "unreadable"]
        assert "warning: broken/journal.sqlite" in done.err
        told = json.loads(cli("jobs", "--json").out)
        assert dt.datetime.fromisoformat(told[0]["created_at"]).tzinfo is dt.UTC, "as every time that is written"
        assert [job["state"] for job in told] == ["cancelled", "unreadable"]
        assert "journal.sqlite" in told[1]["problem"]
        assert told[0]["shards"][0]["cancelled"] == 4

    def test_folders_and_what_is_below(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder shows its jobs, those of the folders below when asked; a job that is named is itself."""
        write_requests(Path("a.jsonl"), 1)
        assert cli("run", "a.jsonl", "--directory", "deep/er/job", *LOCAL).code == 0
        done = cli("jobs", "deep")
        assert (done.code, done.out) == (0, "")
        assert "and 1 in the folders below: openai-batches jobs deep --recursive" in done.err
        for command in ("doctor", "gc"):
            assert "Name them: 1 in the folders below" in cli(command, *LOCAL).err
        monkeypatch.setattr(job_on_disk, "_MOST_FOLDERS", 0)
        assert "There are no jobs here; " in cli("jobs", "deep").err
        assert rows_of(cli("jobs", "deep", "--recursive").out)[1][0] == "deep/er/job"
        assert rows_of(cli("jobs", "deep/er/job", "deep/er").out)[1][0] == "deep/er/job"
        assert "none is no folder" in cli("jobs", "none").err

    def test_a_folder_that_may_not_be_looked_into(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is skipped: the jobs beside it are shown."""
        write_requests(Path("a.jsonl"), 1)
        cli("run", "a.jsonl", *LOCAL)
        Path("closed").mkdir()
        stat = os.stat

        def refuse(path: Any, *rest: Any, **named: Any) -> os.stat_result:
            if "closed/" in str(path):
                raise PermissionError(13, "Permission denied", path)
            return stat(path, *rest, **named)

        monkeypatch.setattr(os, "stat", refuse)
        assert [row[0] for row in rows_of(cli("jobs", "-r").out)] == ["directory", "a.jsonl.job"]

    @pytest.mark.parametrize("columns", [80, 160])
    def test_in_a_terminal(self, cli: Cli, terminal: Callable[..., DrivenTerminal], columns: int) -> None:
        """Nothing wraps; what is cut is the directory, and where there is room the source is shown, too."""
        write_requests(Path("a.jsonl"))
        long = "a-directory-with-quite-a-long-name"
        cli("run", "a.jsonl", "--directory", long, *LOCAL)
        driven = terminal("jobs", columns=columns)
        assert driven.finish() == 0
        head, row = driven.screen.splitlines()
        assert ("source" in head) == (columns == 160)
        assert "  finished         4          4       0     0    $0  " in row
        assert (long in row) == (columns == 160)
        assert b"\x1b[32mfinished" in driven.raw


class TestShow:
    def test_the_ledger_of_a_job(self, cli: Cli) -> None:
        """All of it, and each batch; the same as JSON; a report on request."""
        write_requests(Path("a.jsonl"))
        cli("run", "a.jsonl", "--max-requests", 3, *LOCAL)
        done = cli("jobs", "show", "a.jsonl.job", "--report", "report.html")
        assert done.code == 0
        assert done.out.startswith("a.jsonl.job: finished\n  source    /")
        assert "  requests  4 succeeded\n" in done.out
        batches = [line.split() for line in done.out.splitlines()[-2:]]
        assert [row[:5] for row in batches] == [
            ["1", "verified", "1", "3/3", "0"],
            ["2", "verified", "1", "1/1", "0"],
        ]
        assert done.err == "The report is in report.html\n"
        assert "<html" in Path("report.html").read_text()
        assert cli("jobs", "show", "a.jsonl.job", "--report", "report.html").code == 0, "an earlier one is replaced"
        Path("report.html").write_text("of somebody else")
        again = cli("jobs", "show", "a.jsonl.job", "--report", "report.html")
        assert (again.code, again.out) == (2, "")
        assert cli("jobs", "show", "a.jsonl.job", "--report", "report.html", "--force").code == 0
        told = json.loads(cli("jobs", "show", "a.jsonl.job", "--json").out)
        assert (told["requests"], len(told["shards"])) == (4, 2)

    def test_of_a_job_whose_requests_came_from_elsewhere(self, cli: Cli) -> None:
        """It is said where they are; a batch that is not there yet has no id."""
        lines = write_requests(Path("a.jsonl")).read_bytes()
        cli("run", "-", "--directory", "kept", *LOCAL, stdin=lines)
        assert "source    none: its requests are in its directory" in cli("jobs", "show", "kept").out
        assert rows_of(cli("jobs").out)[1][-1] == "-"

    @REFUSING
    def test_of_a_job_without_batches(self, cli: Cli, service: BackgroundServer) -> None:
        """What was refused has no id."""
        write_requests(Path("a.jsonl"))
        cli("run", "a.jsonl", "--yes")
        assert cli("jobs", "show", "a.jsonl.job").out.rstrip().endswith("1        0/4       0")

    def test_in_a_terminal(self, cli: Cli, terminal: Callable[..., DrivenTerminal]) -> None:
        """A batch's id is whole at 80 columns."""
        write_requests(Path("a.jsonl"))
        cli("run", "a.jsonl", *LOCAL)
        driven = terminal("jobs", "show", "a.jsonl.job", columns=80)
        assert driven.finish() == 0
        assert driven.screen.splitlines()[-1].split()[-1].startswith("batch_")
        assert "…" not in driven.screen

    def test_what_is_no_job(self, cli: Cli) -> None:
        """Nothing there, or nothing that can be read."""
        assert "There is no job in none" in cli("jobs", "show", "none").err
        Path("broken").mkdir()
        Path("broken/journal.sqlite").write_text("no journal")
        done = cli("jobs", "show", "broken")
        assert (done.code, done.out) == (2, "")
        assert "broken/journal.sqlite" in done.err


@pytest.mark.parametrize("verb", ["show", "cancel"])
def test_each_command_has_examples_of_its_own(cli: Cli, verb: str) -> None:
    """Those of its family would only be in the way."""
    examples = cli("jobs", verb, "--help").out.partition("Examples:")[2].split("\n\n")[1].splitlines()
    assert examples[0] == f"openai-batches jobs {verb} requests.jsonl.job"
    assert not any("--recursive" in line for line in examples)


class TestCancel:
    @pytest.mark.batch_server(clock=SteppedClock())
    def test_ctrl_c_can_be_gone_on_with(
        self, terminal: Callable[..., DrivenTerminal], service: BackgroundServer
    ) -> None:
        """A service may take ten minutes; the job is cancelled, and its batches are on their way to it."""
        write_requests(Path("a.jsonl"))
        running = terminal("run", "a.jsonl", "--yes")
        running.wait_for("validating")
        running.interrupt()
        assert running.finish() == 4
        driven = terminal("jobs", "cancel", "a.jsonl.job")
        driven.wait_for("Cancelling a.jsonl.job")
        while not any(request.path.endswith("/cancel") for request in service.requests):
            driven.wait_for("Cancelling a.jsonl.job")
        driven.interrupt()
        assert driven.finish() == 4
        assert driven.written.endswith(" -m openai_batches.cli jobs cancel a.jsonl.job\n")

    @pytest.mark.batch_server(clock=SteppedClock(), profile="groq")
    def test_a_job_with_a_window_of_its_own(
        self, terminal: Callable[..., DrivenTerminal], cli: Cli, service: BackgroundServer
    ) -> None:
        """Whoever cancels it, or goes on with it, need not know the window."""
        write_requests(Path("a.jsonl"))
        running = terminal("run", "a.jsonl", "--yes", "--window", "7d")
        running.wait_for("validating")
        running.interrupt()
        assert running.finish() == 4
        again = cli("run", "a.jsonl", "--dry-run")
        assert (again.code, "Started earlier" in again.err) == (0, True)
        driven = terminal("jobs", "cancel", "a.jsonl.job")
        while not any(request.path.endswith("/cancel") for request in service.requests):
            driven.wait_for("Cancelling a.jsonl.job")
        driven.interrupt()
        assert driven.finish() == 4

    @REFUSING
    @pytest.mark.usefixtures("service")
    @pytest.mark.parametrize("is_told", [True, False])
    def test_a_signal_ends_it_and_is_not_the_end(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch, is_told: bool
    ) -> None:
        """As with `run`; a cancellation of another origin is none of ours."""

        async def cancel(_: BatchJob) -> None:
            if is_told:
                signal.raise_signal(signal.SIGTERM)
                await asyncio.sleep(60)
            raise asyncio.CancelledError

        write_requests(Path("a.jsonl"))
        cli("run", "a.jsonl", "--yes")
        monkeypatch.setattr(BatchJob, "cancel", cancel)
        before = signal.getsignal(signal.SIGINT)
        try:
            done = cli("jobs", "cancel", "a.jsonl.job")
        finally:
            signal.signal(signal.SIGINT, before)
        assert done.code == (4 if is_told else 130)
        words = "To continue from here:\n  openai-batches jobs cancel a.jsonl.job"
        assert (words in done.err) is is_told

    @REFUSING
    def test_it_is_shown_on_a_terminal(
        self, cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And the end tells what became of the requests."""
        write_requests(Path("a.jsonl"))
        cli("run", "a.jsonl", "--yes")
        service.faults.clear()
        monkeypatch.setattr(jobs_command, "progress_is_shown", lambda: True)
        done = cli("jobs", "cancel", "a.jsonl.job")
        assert done.code == 0
        assert "4 of 4 requests did not succeed" in done.err

    def test_one_that_has_ended(self, cli: Cli) -> None:
        """There is nothing to cancel, which is told without asking the service; what came of it is told again."""
        write_requests(Path("a.jsonl"))
        cli("run", "a.jsonl", *LOCAL)
        done = cli("jobs", "cancel", "a.jsonl.job")
        assert done.code == 0
        assert done.err.startswith(
            "The job in a.jsonl.job has ended: there is nothing to cancel\nDone before: all of 4"
        )

    def test_what_is_no_job(self, cli: Cli) -> None:
        """Exit code 2, and nothing is made."""
        assert cli("jobs", "cancel", "none", *LOCAL).code == 2
        assert not Path("none").exists()
