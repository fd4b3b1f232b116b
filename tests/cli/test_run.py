"""`run`: from a file of requests to a file of results, agreed to before it costs, and never half."""

from __future__ import annotations

import asyncio
import csv
import fcntl
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.run_stage import LOCAL, ask_often, ids_in, write_requests

from openai_batches import BatchJob, TransportError
from openai_batches.cli.run import run as run_module
from openai_batches.emulator import Fault, LineError, ScriptExecutor, SteppedClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]

IDS = ["r0", "r1", "r2", "r3"]
OUT = Path("out.jsonl")
JOB = Path("requests.jsonl.job")


@pytest.fixture(autouse=True)
def _requests(monkeypatch: pytest.MonkeyPatch) -> None:
    write_requests(Path("requests.jsonl"))
    ask_often(monkeypatch)


class TestTheWholeWay:
    def test_requests_become_results(self, cli: Cli) -> None:
        """Each request has its row; a log gets the plan and the end, each fact on a line, and nothing else."""
        done = cli("run", "requests.jsonl", "-o", OUT, *LOCAL)
        assert (done.code, done.out) == (0, "")
        assert sorted(ids_in(OUT.read_text())) == IDS
        planned, _, finished = done.err.partition("Done in ")
        assert planned.startswith("Planned requests.jsonl\n  requests  4 in 1 shard, 696 B\n")
        assert "  model     gpt-4o-mini at /v1/chat/completions\n" in planned
        assert "  cost      nothing here; at the service <$0.0001" in planned
        assert finished.partition("\n")[0].endswith(": all of 4 requests succeeded")
        assert "  results   out.jsonl (" in finished

    def test_the_same_command_again_only_says_so(self, cli: Cli) -> None:
        """What is finished is not done again, and what is there is left alone; --force writes it again."""
        cli("run", "requests.jsonl", "-o", OUT, *LOCAL)
        was = OUT.stat()
        done = cli("run", "requests.jsonl", "-o", OUT, *LOCAL)
        assert (done.code, OUT.stat().st_ino) == (0, was.st_ino)
        assert "The job was finished before, and out.jsonl is there: --force writes it again" in done.err
        assert "Done before: all of 4 requests succeeded" in done.err
        assert cli("run", "requests.jsonl", "-o", OUT, "--force", "--quiet", *LOCAL).err == ""
        assert sorted(ids_in(OUT.read_text())) == IDS

    def test_a_finished_job_writes_what_is_missing_in_any_form(self, cli: Cli) -> None:
        """Results are on the disk: another file of them costs nothing, and the job's directory is name enough."""
        done = cli("run", "requests.jsonl", *LOCAL)
        assert "  results   to write them: openai-batches run requests.jsonl.job -o results.jsonl --local\n" in done.err
        assert cli("run", JOB, "-o", "out.csv", "--ordered", *LOCAL).code == 0
        with Path("out.csv").open(newline="") as file:
            assert [row["custom_id"] for row in csv.DictReader(file)] == IDS
        assert cli("run", JOB, "-o", "rows", "--format", "jsonl", *LOCAL).code == 0
        assert cli("run", "--directory", JOB, "-o", "out.jsonl.gz", *LOCAL).code == 0
        assert cli("run", "requests.jsonl", "--directory", JOB, "-o", "out.parquet", *LOCAL).code == 0
        assert sorted(ids_in(Path("rows").read_text())) == IDS
        assert Path("out.parquet").read_bytes()[:4] == b"PAR1"

    def test_options_of_the_job_reach_the_service(self, cli: Cli, service: BackgroundServer) -> None:
        """Batches are cut, named and left as it was asked for."""
        options = ("--max-requests", 3, "--max-bytes", "1MB", "--metadata", "team=blue", "--keep-files", "--yes")
        assert cli("run", "requests.jsonl", *options).code == 0
        batches = service.store.batches.items.values()
        assert sorted(batch.metadata["team"] for batch in batches) == ["blue", "blue"]

    def test_standard_input_is_kept_and_gone_on_with(self, cli: Cli) -> None:
        """A pipe can be read once: the job keeps its requests, and needs no source later."""
        lines = Path("requests.jsonl").read_bytes()
        done = cli("run", "-", "--directory", "kept", *LOCAL, stdin=lines)
        assert done.code == 0
        assert "Planned <stdin>" in done.err
        assert cli("run", "kept", "-o", OUT, *LOCAL).code == 0
        assert sorted(ids_in(OUT.read_text())) == IDS

    def test_nothing_but_errors_with_quiet(self, cli: Cli) -> None:
        """For programs that call this one; what the library warns of is no error."""
        assert cli("run", "requests.jsonl", "-o", OUT, "-q", *LOCAL) == (0, "", "")
        for quiet, is_told in (("--quiet", False), ("--yes", True)):
            done = cli("run", "requests.jsonl", "--directory", "other", "--window", "48h", quiet, *LOCAL)
            assert done.code == 3, "the emulator takes 24h alone"
            assert ("warning: '48h' is not a window" in done.err) == is_told


class TestStandardOutput:
    def test_results_as_they_come(self, cli: Cli) -> None:
        """Rows of JSON and nothing else; asked for again, all of them come again."""
        done = cli("run", "requests.jsonl", "-o", "-", *LOCAL)
        assert (done.code, sorted(ids_in(done.out))) == (0, IDS)
        assert "results" not in done.err
        again = cli("run", "requests.jsonl", "-o", "-", "--ordered", "--format", "csv", *LOCAL)
        assert [line.partition(",")[0] for line in again.out.splitlines()] == ["custom_id", *IDS]

    def test_what_became_of_the_requests_as_json(self, cli: Cli) -> None:
        """One document, in which everything adds up."""
        done = cli("run", "requests.jsonl", "-o", OUT, "--json", *LOCAL)
        told = json.loads(done.out)
        assert (told["directory"], told["requests"], told["succeeded"], told["unfinished"]) == (str(JOB), 4, 4, 0)
        assert [shard["step"] for shard in told["shards"]] == ["verified"]


class TestDryRun:
    def test_it_says_what_it_would_cost_and_leaves_nothing(self, cli: Cli) -> None:
        """The plan is what was asked for, and goes to standard output."""
        done = cli("run", "requests.jsonl", "--dry-run", "-o", OUT, *LOCAL)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith("requests.jsonl\n  requests  4 in 1 shard")
        assert not JOB.exists()

    def test_as_json(self, cli: Cli) -> None:
        """The numbers alone."""
        told = json.loads(cli("run", "requests.jsonl", "--dry-run", "--json", *LOCAL).out)
        assert (told["requests"], told["batches"], told["max_output_tokens"]) == (4, 1, 40)
        assert 0 < told["cost_low"] < told["cost_high"]

    def test_of_a_job_that_was_begun(self, cli: Cli) -> None:
        """It says what is left; the job is not touched."""
        cli("run", "requests.jsonl", *LOCAL)
        done = cli("run", "requests.jsonl", "--dry-run", *LOCAL)
        assert (done.code, done.err) == (0, "Started earlier: requests.jsonl.job, 0 of 4 requests are left\n")
        told = json.loads(cli("run", "requests.jsonl", "--dry-run", "--json", *LOCAL).out)
        assert (told["requests"], told["succeeded"], told["unfinished"]) == (4, 4, 0)

    def test_of_a_job_that_was_only_planned(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a killed run has planned is left to it."""

        async def killed(*_: object, **__: object) -> bool:
            raise OSError("killed")

        async def nothing(_: object) -> None:
            await asyncio.sleep(0)

        with monkeypatch.context() as patch:
            patch.setattr(run_module, "agreed", killed)
            patch.setattr("openai_batches.jobs.job.BatchJob.discard", nothing)
            assert cli("run", "requests.jsonl", *LOCAL).code == 2
        assert cli("run", "requests.jsonl", "--dry-run", *LOCAL).code == 0
        assert JOB.exists()
        assert cli("run", "requests.jsonl", "-o", OUT, *LOCAL).code == 0


class TestAgreement:
    def test_above_the_threshold_somebody_is_asked(self, cli: Cli, service: BackgroundServer) -> None:
        """Without a terminal nothing is sent, and nothing stays behind; --yes, or a higher limit, sends it."""
        done = cli("run", "requests.jsonl", "--confirm-above", 0)
        assert done.code == 2
        assert "which is above $0, and there is no terminal to ask on; nothing was sent" in done.err
        assert "advice: Add --yes" in done.err
        assert not JOB.exists()
        assert service.requests == []
        assert cli("run", "requests.jsonl", "--confirm-above", 0, "--yes").code == 0

    def test_the_limit_is_configured(self, cli: Cli, service: BackgroundServer) -> None:
        """In a profile; the flag goes before it."""
        Path("c.toml").write_text("[profiles.strict]\nconfirm_above_usd = 0.0\n")
        configured = ("--config", "c.toml", "--profile", "strict")
        assert cli("run", "requests.jsonl", *configured).code == 2
        assert cli("run", "requests.jsonl", *configured, "--confirm-above", "1").code == 0

    def test_a_price_that_is_not_known_is_asked_about(self, cli: Cli, service: BackgroundServer) -> None:
        """What nobody can estimate is not taken for cheap; a table of prices of one's own helps."""
        write_requests(Path("requests.jsonl"), model="house-model", max_tokens=None)
        done = cli("run", "requests.jsonl")
        assert done.code == 2
        assert "cost      unknown: there is no price for 'house-model'" in done.err
        assert "assuming 1,000 for each answer of 4 requests without a maximum" in done.err
        assert "What this costs is not known, and there is no terminal to ask on" in done.err
        table = {"as_of": "2026-01-01", "models": {"house-model": {"input": 1, "output": 1}}}
        Path("prices.json").write_text(json.dumps(table))
        done = cli("run", "requests.jsonl", "--prices", "prices.json")
        assert done.code == 0
        assert "cost      <$0.0001 for the input, $0.00" in done.err

    def test_prices_in_another_currency(self, cli: Cli, service: BackgroundServer) -> None:
        """They are told in it, and not compared with dollars: somebody is asked."""
        table = {"as_of": "2026-01-01", "currency": "CNY", "models": {"gpt-4o-mini": {"input": 1, "output": 1}}}
        Path("prices.json").write_text(json.dumps(table))
        done = cli("run", "requests.jsonl", "--prices", "prices.json")
        assert done.code == 2
        assert (
            "error: This costs <0.0001 CNY at most, and there is no terminal to ask on; nothing was sent\n" in done.err
        )
        assert done.err.endswith("advice: Add --yes to send it anyway\n")
        done = cli("run", "requests.jsonl", "--prices", "prices.json", "--yes")
        assert done.code == 0
        assert done.err.count("<0.0001 CNY") == 3
        assert "$" not in done.err

    @pytest.mark.batch_server(clock=SteppedClock())
    @pytest.mark.parametrize("answer", ["y", "n"])
    def test_a_person_is_asked(
        self, terminal: Callable[..., DrivenTerminal], service: BackgroundServer, answer: str
    ) -> None:
        """The answer decides; a no leaves nothing behind."""
        driven = terminal("run", "requests.jsonl", "--confirm-above", 0)
        driven.wait_for("Send 4 requests? [y/N]")
        driven.type(f"{answer}\n")
        if answer == "y":
            driven.wait_for("validating")
            driven.interrupt()
        assert driven.finish() == (4 if answer == "y" else 130)
        assert ("Nothing was sent." in driven.screen) == (answer == "n")
        assert JOB.exists() == (answer == "y")


class TestEndsBeforeTheEnd:
    @pytest.mark.batch_server(
        executor=ScriptExecutor({"r1": LineError("content_filter", "no"), "r2": LineError("", "")})
    )
    def test_requests_that_fail(self, cli: Cli, service: BackgroundServer) -> None:
        """Exit code 1, and how many failed of what."""
        done = cli("run", "requests.jsonl", "-o", OUT, "--yes")
        assert done.code == 1
        assert "2 of 4 requests did not succeed" in done.err
        assert "2 succeeded, 2 failed" in done.err
        assert "content_filter 1" in done.err
        assert sorted(ids_in(OUT.read_text())) == IDS

    @pytest.mark.batch_server(faults=[Fault.error_before(400, method="POST", path="/v1/batches$")])
    def test_the_service_says_no(self, cli: Cli, service: BackgroundServer) -> None:
        """Its words, advice, and the command that goes on once that is mended."""
        done = cli("run", "requests.jsonl", "-o", "out file.jsonl", "--yes", "--report", "report.html")
        assert done.code == 3
        assert "error: 400" in done.err
        assert done.err.endswith(
            "To continue once this is fixed:\n"
            "  openai-batches run requests.jsonl -o 'out file.jsonl' --yes --report report.html\n"
        )
        assert "<html" in Path("report.html").read_text()
        service.faults.clear()
        assert cli("run", "requests.jsonl", "-o", "out file.jsonl", "--yes", "--report", "report.html").code == 0

    @pytest.mark.batch_server(faults=[Fault.insufficient_quota(method="POST", path="/v1/batches$")])
    def test_no_quota_is_left(self, cli: Cli, service: BackgroundServer) -> None:
        """Exit code 4: the same command goes on when there is money."""
        done = cli("run", "requests.jsonl", "--yes")
        assert done.code == 4
        assert "No quota is left" in done.err
        assert "advice: Add quota" in done.err
        assert "  openai-batches run requests.jsonl --yes\n" in done.err

    def test_a_network_that_is_down(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """What passes by itself ends with 4 as well, when patience is at its end."""

        async def run(_: BatchJob) -> None:
            await asyncio.sleep(0)
            raise TransportError("The service cannot be reached")

        monkeypatch.setattr(BatchJob, "run", run)
        done = cli("run", "requests.jsonl", *LOCAL)
        assert done.code == 4
        assert "error: The service cannot be reached\nadvice: Check the network" in done.err
        assert "  openai-batches run requests.jsonl --local --local-speed 500\n" in done.err

    def test_a_source_that_has_changed(self, cli: Cli) -> None:
        """Results of other requests are not given out as those of these."""
        cli("run", "requests.jsonl", *LOCAL)
        write_requests(Path("requests.jsonl"), 5)
        done = cli("run", "requests.jsonl", "-o", OUT, *LOCAL)
        assert done.code == 2
        assert "error: requests.jsonl is not what the job in requests.jsonl.job was started with" in done.err
        again = "openai-batches run requests.jsonl.job -o out.jsonl --local --local-speed 500"
        assert f"Continue the job as it is: {again}; or start another one: --directory DIR" in done.err
        assert "To continue" not in done.err

    def test_another_process_is_at_work(self, cli: Cli) -> None:
        """Two would pay twice."""
        cli("run", "requests.jsonl", *LOCAL)
        with Path(JOB, "journal.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = cli("run", "requests.jsonl", *LOCAL)
        assert done.code == 2
        assert "Another process is at work on the job" in done.err
        assert "advice: Wait until the other process is done" in done.err

    def test_requests_that_would_be_refused(self, cli: Cli) -> None:
        """Found before anything is sent, and nothing stays behind."""
        Path("requests.jsonl").write_text('{"custom_id": "a"}\n')
        done = cli("run", "requests.jsonl", *LOCAL)
        assert done.code == 2
        assert "requests.jsonl:1" in done.err
        assert not JOB.exists()

    def test_a_job_that_is_removed_while_it_is_planned(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """Somebody tidies up at the wrong moment: it is said, and nothing is sent."""

        async def gone(_: Path) -> None:
            await asyncio.sleep(0)

        monkeypatch.setattr(run_module, "view_of", gone)
        done = cli("run", "requests.jsonl", *LOCAL)
        assert done.code == 3
        assert "was removed while it was planned" in done.err


class TestReport:
    def test_it_is_written_at_the_end_and_replaced_by_the_next_run(self, cli: Cli) -> None:
        """One page that can be sent; somebody else's file of this name is not replaced."""
        Path("report.html").write_text("mine")
        done = cli("run", "requests.jsonl", "--report", "report.html", *LOCAL)
        assert (done.code, Path("report.html").read_text()) == (2, "mine")
        Path("report.html").unlink()
        for _ in range(2):
            assert cli("run", "requests.jsonl", "--report", "report.html", *LOCAL).code == 0
        assert "<html" in Path("report.html").read_text()
        assert cli("run", "requests.jsonl", "--report", "other.html", "--dry-run", *LOCAL).code == 0
        assert not Path("other.html").exists()

    def test_one_that_cannot_be_written_is_a_warning(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """What became of the requests counts for more."""

        async def full(*_: object, **__: object) -> None:
            await asyncio.sleep(0)
            raise OSError("the disk is full")

        monkeypatch.setattr(run_module, "write_report", full)
        done = cli("run", "requests.jsonl", "--report", "report.html", *LOCAL)
        assert done.code == 0
        assert "warning: The report could not be written: the disk is full" in done.err

    def test_of_nothing_there_is_none(self, cli: Cli) -> None:
        """A job that was refused leaves no report."""
        Path("requests.jsonl").write_text("no\n")
        assert cli("run", "requests.jsonl", "--report", "report.html", *LOCAL).code == 2
        assert not Path("report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "No requests were given"),
        (["none.jsonl"], "There is no file none.jsonl"),
        (["-"], "A job with requests from standard input needs a directory"),
        (["folder"], "folder is a folder, and there is no job in it"),
        (["--directory", "folder"], "There is no job in folder"),
        (["requests.jsonl", "-o", "taken.jsonl"], "taken.jsonl exists"),
        (["requests.jsonl", "-o", "folder", "--format", "csv"], "folder is a folder"),
        (["requests.jsonl", "-o", "none/out.jsonl"], "There is no folder none"),
        (["requests.jsonl", "-o", "out.txt"], "out.txt does not say in which format to write"),
        (["requests.jsonl", "-o", "out.parquet.gz"], "Parquet is already compressed"),
        (["requests.jsonl", "-o", "-", "--format", "parquet"], "Parquet is written to a file"),
        (["requests.jsonl", "-o", "-", "--json"], "--json and -o - both write to standard output"),
        (["requests.jsonl", "--ordered"], "--format, --ordered and --force are only used with OUT"),
        (["requests.jsonl", "--report", "none/x.html"], "There is no folder none"),
        (["requests.jsonl", "--metadata", "blue", "--local"], "'blue' is not a pair of metadata"),
        (["requests.jsonl", "--max-requests", "0"], "--max-requests cannot be 0"),
        (["requests.jsonl", "--confirm-above", "much"], "'much' is not an amount of dollars"),
        (["requests.jsonl"], "There is no key for OpenAI"),
        (["requests.jsonl", "--prices", "none.json"], "There is no file none.json"),
    ],
)
def test_misuse_is_found_before_anything_is_sent(cli: Cli, arguments: list[str], message: str) -> None:
    """Exit code 2, one line of what and one of advice, no job, no file."""
    Path("folder").mkdir()
    Path("taken.jsonl").write_text("mine")
    before = set(Path().iterdir())
    done = cli("run", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert set(Path().iterdir()) - before <= {Path("openai-batches-local")}
    assert Path("taken.jsonl").read_text() == "mine"


def test_a_job_is_named_once(cli: Cli) -> None:
    """A job's directory as the source, and another one, would be two jobs; a source that is gone is not needed."""
    cli("run", "requests.jsonl", *LOCAL)
    assert "is the directory of a job already" in cli("run", JOB, "--directory", "other").err
    Path("requests.jsonl").unlink()
    done = cli("run", "requests.jsonl")
    assert done.code == 2
    assert "advice: Its job continues without it: openai-batches run requests.jsonl.job" in done.err


def test_a_folder_that_cannot_be_written_is_found_first(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after a day, when the results are there."""

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("openai_batches.cli.run.save.tempfile.TemporaryFile", refuse)
    done = cli("run", "requests.jsonl", "-o", OUT, *LOCAL)
    assert done.code == 2
    assert "Nothing can be written in .: Permission denied" in done.err


def test_parquet_needs_a_package(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found first, too."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    done = cli("run", "requests.jsonl", "-o", "out.parquet", *LOCAL)
    assert done.code == 2
    assert "Parquet needs the package pyarrow: pip install 'openai_batches[arrow]'" in done.err


def test_a_report_needs_a_package(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said before anything is sent."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    done = cli("run", "requests.jsonl", "--report", "report.html", *LOCAL)
    assert done.code == 2
    assert "--report needs the package jinja2: pip install 'openai_batches[report]'" in done.err


@pytest.mark.batch_server(faults=[Fault.missing_lines(times=1)])
def test_news_is_told_and_steps_are_not(cli: Cli, service: BackgroundServer) -> None:
    """A log has a line for what a person should know of: here, that a request is sent again."""
    done = cli("run", "requests.jsonl", "--yes")
    assert done.code == 0
    assert len([line for line in done.err.splitlines() if not line.startswith("  ")]) == 3
    assert "1 of 4 requests are sent again" in done.err
