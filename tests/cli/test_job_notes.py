"""What a job's directory knows besides its journal: whose answers it has, and which files hold its results."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.run_stage import LOCAL, ids_in, write_requests

from openai_batches.cli.run.notes import JobNotes

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]

IDS = ["r0", "r1", "r2", "r3"]
JOB = Path("requests.jsonl.job")
RUN = ("run", "requests.jsonl")


@pytest.fixture(autouse=True)
def requests() -> None:
    write_requests(Path("requests.jsonl"))


class TestWritten:
    @pytest.mark.parametrize("is_quiet", [True, False])
    def test_a_foreign_file_is_not_taken_for_the_results(self, cli: Cli, *, is_quiet: bool) -> None:
        """However new it is: a script that goes on would go on with the wrong data."""
        assert cli(*RUN, *LOCAL).code == 0
        Path("out.jsonl").write_text("of another job\n")
        done = cli(*RUN, "-o", "out.jsonl", *(["--quiet"] if is_quiet else []), *LOCAL)
        assert done.code == 2
        assert "error: out.jsonl exists" in done.err
        assert Path("out.jsonl").read_text() == "of another job\n"

    def test_a_file_that_was_changed_since(self, cli: Cli) -> None:
        """It is somebody's work now, and not replaced unless that is said."""
        assert cli(*RUN, "-o", "out.jsonl", *LOCAL).code == 0
        with Path("out.jsonl").open("a") as file:
            file.write("a note\n")
        assert cli(*RUN, "-o", "out.jsonl", *LOCAL).code == 2
        assert cli(*RUN, "-o", "out.jsonl", "--force", *LOCAL).code == 0
        assert sorted(ids_in(Path("out.jsonl").read_text())) == IDS
        assert cli(*RUN, "-o", "out.jsonl", *LOCAL).code == 0

    @pytest.mark.parametrize("other", [("--ordered",), ("--format", "csv")])
    def test_another_order_or_format_is_another_file(self, cli: Cli, other: tuple[str, ...]) -> None:
        """What is there is not what is asked for now."""
        assert cli(*RUN, "-o", "out", "--format", "jsonl", *LOCAL).code == 0
        assert cli(*RUN, "-o", "out", "--format", "jsonl", *LOCAL).code == 0
        wanted = other if "--format" in other else ("--format", "jsonl", *other)
        done = cli(*RUN, "-o", "out", *wanted, *LOCAL)
        assert (done.code, "error: out exists" in done.err) == (2, True)

    def test_a_file_that_comes_to_be_there_while_the_job_runs(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is left alone, now and when the same command is typed again; the results are in the job."""
        from openai_batches import BatchJob

        run, out = BatchJob.run, Path("out.jsonl")

        async def beside(job: BatchJob) -> object:
            await asyncio.to_thread(out.write_text, "of another job\n")
            return await run(job)

        monkeypatch.setattr(BatchJob, "run", beside)
        for message in ("out.jsonl was created meanwhile by another program", "out.jsonl exists"):
            done = cli(*RUN, "-o", "out.jsonl", *LOCAL)
            assert done.code == 2
            assert f"error: {message}" in done.err
            assert "overwrite=True" not in done.err
        assert Path("out.jsonl").read_text() == "of another job\n"
        assert cli("run", JOB, "-o", "mine.jsonl", *LOCAL).code == 0
        assert sorted(ids_in(Path("mine.jsonl").read_text())) == IDS

    def test_notes_that_cannot_be_read_are_no_reason_to_stop(self, cli: Cli) -> None:
        """Nothing is known then: a file that is there is not replaced, and another one is written."""
        assert cli(*RUN, "-o", "out.jsonl", *LOCAL).code == 0
        (JOB / "program.json").write_text("{")
        assert cli(*RUN, "-o", "out.jsonl", *LOCAL).code == 2
        assert cli(*RUN, "-o", "other.jsonl", *LOCAL).code == 0
        assert list(JobNotes.read(JOB).written) == [str(Path("other.jsonl").absolute())]

    def test_a_folder_that_cannot_be_written_is_none_either(self, tmp_path: Path) -> None:
        """The notes are a convenience."""
        notes = JobNotes(is_local=True)
        notes.save(tmp_path / "none")
        assert JobNotes.read(tmp_path / "none") == JobNotes()
        notes.note_written(tmp_path / "gone", format="jsonl", is_ordered=False)
        assert notes.written == {}
        assert not notes.has_written(tmp_path / "gone", format="csv", is_ordered=False)
        odd = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
        odd.write_text("x")
        notes.note_written(odd, format="jsonl", is_ordered=False)
        notes.save(tmp_path)
        assert JobNotes.read(tmp_path).has_written(odd, format="jsonl", is_ordered=False)


class TestLocal:
    def test_the_emulators_answers_are_not_those_of_a_service(self, cli: Cli, service: BackgroundServer) -> None:
        """Also where the service is on this machine, as the emulator is: nothing is sent, and what to do is said."""
        assert cli(*RUN, *LOCAL).code == 0
        done = cli(*RUN, "-o", "out.jsonl", "--yes")
        assert done.code == 2
        assert "was started with --local, and its answers are the emulator's" in done.err
        assert f"advice: Start another one: --directory DIR, or remove {JOB}" in done.err
        assert service.requests == []
        assert not Path("out.jsonl").exists()
        shutil.rmtree(JOB)
        assert cli(*RUN, "--dry-run").code == 0

    def test_they_cost_nothing(self, cli: Cli) -> None:
        """Wherever the job is looked at later."""
        assert cli(*RUN, *LOCAL).code == 0
        head, row = cli("jobs").out.splitlines()
        assert row[: head.index("cost") + len("cost")].endswith("  $0")
        shown = cli("jobs", "show", JOB).out
        assert ", the emulator\n" in shown
        assert "  cost      nothing here; at the service <$0.0001\n" in shown
        assert json.loads(cli("jobs", "show", JOB, "--json").out)["is_local"] is True
