"""`doctor` names what is left behind at the service, and the command that mends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.job_parts import attempt
from support.leftovers import OLD, create, job, planned, upload

from openai_batches import BatchSession
from openai_batches.cli.commands.doctor import name_of
from openai_batches.emulator import Fault
from openai_batches.jobs.journal.records import Step
from openai_batches.jobs.journal.sqlite import journal_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]
    Terminal = Callable[..., DrivenTerminal]

pytestmark = pytest.mark.batch_server(**OLD)


def findings(done: Finished) -> list[str]:
    """The titles of what was found."""
    return [part.splitlines()[0] for part in done.out.split("\n\n")[1:]]


async def test_a_service_at_its_own_address_has_a_name() -> None:
    """At another one, that of somebody else must not be taken for it."""
    async with BatchSession("sk-test") as session:
        assert name_of(session) == "OpenAI"
    async with BatchSession("sk-test", base_url="https://batches.example/v1") as session:
        assert name_of(session) == "https://batches.example/v1"


class TestFindings:
    def test_nothing_left_behind_is_0(self, cli: Cli, service: BackgroundServer) -> None:
        done = cli("doctor")
        assert (done.code, done.out) == (
            0,
            f"At {service.base_url}: 0 batch files, 0 B\nNo problems were found.\n",
        )
        assert "There is no job in this folder" in done.err
        assert service.requests

    def test_leftovers_of_jobs_are_for_gc_and_other_files_for_their_owner(
        self, cli: Cli, service: BackgroundServer
    ) -> None:
        """Each with its size and its age, and the command that deletes it."""
        leftover, other = upload(service), upload(service, "mine.jsonl")
        done = cli("doctor")
        assert done.code == 1
        assert findings(done) == [
            "1 input file (302 B) of jobs that are no longer needed",
            "1 input file (302 B) that no open batch uses, and no job uploaded",
        ]
        rows = [text.split() for text in done.out.splitlines()]
        assert [leftover.id, leftover.filename, "302", "B", "2d", "ago"] in rows
        assert [other.id, "mine.jsonl", "302", "B", "2d", "ago"] in rows
        assert "  → to delete those that are older than a day:\n      openai-batches gc\n" in done.out
        assert f"  → if it is not needed:\n      openai-batches files delete {other.id}\n" in done.out

    def test_open_batches_that_no_job_knows(self, cli: Cli, service: BackgroundServer) -> None:
        batch = create(service)
        service.advance(seconds=60)
        done = cli("doctor", "--stalled-after", "3d")
        assert findings(done) == ["1 open batch that belong to none of these jobs"]
        assert [batch.id, "in_progress", "0", "of", "2", "2d", "ago"] in [
            text.split() for text in done.out.splitlines()
        ]
        assert f"  → to make it part of a job:\n      openai-batches adopt {batch.id} -d DIR\n" in done.out
        assert f"  → to cancel it:\n      openai-batches cancel {batch.id}\n" in done.out

    def test_batches_that_do_not_move(self, cli: Cli, service: BackgroundServer) -> None:
        batch = create(service)
        job(Path("a.job"), attempt(step=Step.CREATED, batch=batch))
        done = cli("doctor", "--stalled-after", "1d")
        assert findings(done) == ["1 open batch whose status has not changed for too long"]
        assert cli("doctor", "--stalled-after", "3d").code == 0

    def test_results_that_are_about_to_be_deleted(self, cli: Cli, service: BackgroundServer) -> None:
        """With the time that is left."""
        create(service, output_expires_after=5 * 86_400)
        service.advance(hours=72)
        done = cli("doctor", "--expiring-within", "30d")
        assert "1 result file (" in done.out
        assert "that the service is about to delete" in done.out
        assert "deleted in " in done.out
        assert "  → to keep it:\n      openai-batches files download file-" in done.out

    def test_journals_that_cannot_be_read(self, cli: Cli, service: BackgroundServer) -> None:
        journal_path(job(Path("a.job"))).write_bytes(b"rubbish" * 1_000)
        done = cli("doctor", "a.job")
        assert done.code == 1
        assert findings(done) == ["1 job with a journal that cannot be read"]
        assert done.out.splitlines()[3].startswith("  a.job  ")
        assert service.requests

    def test_the_first_few_of_each_kind_are_shown(self, cli: Cli, service: BackgroundServer) -> None:
        for number in range(3):
            upload(service, f"{number}.jsonl")
        done = cli("doctor", "--max-items", "2")
        assert "  and 1 more\n  → if it is not needed:\n      openai-batches files delete ID\n" in done.out
        none = cli("doctor", "--max-items", "0")
        assert "  and 3 more\n" in none.out
        assert ".jsonl" not in none.out


class TestJobs:
    def test_the_jobs_of_the_folder_are_looked_at_and_named(self, cli: Cli, service: BackgroundServer) -> None:
        """A folder that is only called like one is none."""
        planned(Path("a.job"), upload(service))
        Path("empty.job").mkdir()
        done = cli("doctor")
        assert (done.code, done.err) == (0, "Jobs of this folder: a.job.\n")

    def test_many_jobs_are_counted(self, cli: Cli, service: BackgroundServer) -> None:
        for number in range(7):
            job(Path(f"{number}.job"))
        assert "Jobs of this folder: 0.job, 1.job, 2.job, 3.job, 4.job and 2 more.\n" in cli("doctor").err
        assert service.requests

    def test_jobs_that_are_named_are_the_only_ones(self, cli: Cli, service: BackgroundServer) -> None:
        planned(Path("a.job"), upload(service))
        job(Path("b"))
        done = cli("doctor", "b")
        assert (done.code, done.err) == (1, "")


class TestOutput:
    def test_commands_name_the_same_service(self, cli: Cli, service: BackgroundServer) -> None:
        """A line that is copied does what it says."""
        upload(service)
        Path("my config.toml").touch()
        done = cli("doctor", "--config", "my config.toml", "--base-url", service.base_url)
        assert f"openai-batches gc --base-url {service.base_url} --config 'my config.toml'\n" in done.out

    def test_commands_for_the_emulator_of_a_folder(self, cli: Cli) -> None:
        arguments = ("--local", "--local-data", "data")
        assert cli("doctor", *arguments).out.startswith("At the emulator: 0 batch files")
        Path("a.jsonl").write_bytes(b'{"custom_id": "a"}\n')
        assert cli("files", "upload", "a.jsonl", *arguments).code == 0
        assert " --local --local-data data\n" in cli("doctor", *arguments).out

    def test_json_is_one_document(self, cli: Cli, service: BackgroundServer) -> None:
        leftover = upload(service)
        other = upload(service, "mine.jsonl")
        needed = upload(service, "needed.jsonl")
        planned(Path("a.job"), needed)
        done = cli("doctor", "--json", "--max-items", "0")
        document = json.loads(done.out)
        assert done.code == 1
        assert {file["id"] for file in document["orphans"]} == {leftover.id, other.id}
        assert (document["leftovers"], document["needed"]) == ([leftover.id], [needed.id])

    def test_the_services_no_is_3(self, cli: Cli, service: BackgroundServer) -> None:
        """In its own words."""
        service.faults.add(Fault.error_before(403, path="/files"))
        done = cli("doctor", "--json")
        assert (done.code, done.out) == (3, "")
        assert "error: 403 " in done.err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nowhere"], "There is no job in nowhere"),
            (["--stalled-after", "soon"], "is not a length of time"),
            (["--max-items", "-1"], "--max-items cannot be -1"),
            (["--bogus"], "Unknown option"),
        ],
    )
    def test_what_cannot_be_done(self, cli: Cli, service: BackgroundServer, arguments: list[str], message: str) -> None:
        """One line of what, one of what to do; nothing on standard output."""
        assert service.base_url
        done = cli("doctor", *arguments)
        assert (done.code, done.out) == (2, "")
        assert message in done.err
        assert len(done.err.splitlines()) == 2

    def test_a_terminal_shows_it_whole(self, terminal: Terminal, service: BackgroundServer) -> None:
        """Ids are never cut: the next command wants them."""
        file, batch = upload(service, "a-name-of-a-file-that-is-longer-than-most.jsonl"), create(service)
        driven = terminal("doctor", rows=40)
        assert driven.finish() == 1
        assert file.id in driven.screen
        assert batch.id in driven.screen
        assert all(len(text) <= 80 for text in driven.screen.splitlines())
        assert f"      openai-batches cancel {batch.id}\n" in driven.screen
        assert b"\x1b[1;33m" in driven.raw

    def test_a_pipe_has_no_colours(self, cli: Cli, service: BackgroundServer) -> None:
        upload(service, "\u202ered.jsonl")
        done = cli("doctor")
        assert "\\u202ered.jsonl" in done.out
        assert "\x1b" not in done.out + done.err

    def test_ctrl_c(self, terminal: Terminal) -> None:
        arguments = ("doctor", "--debug", "--base-url", "http://127.0.0.1:9/v1")
        driven = terminal(*arguments, env={"OPENAI_API_KEY": "sk-test"})
        driven.wait_for("GET /files")
        driven.interrupt()
        assert driven.finish() == 130
