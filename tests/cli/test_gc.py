"""`gc` deletes what jobs have left behind, and asks first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.leftovers import OLD, at_service, create, planned, upload, verified

from openai_batches.cli.commands import gc as command
from openai_batches.emulator import Fault
from openai_batches.jobs.journal.sqlite import journal_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches import BatchSession
    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]
    Terminal = Callable[..., DrivenTerminal]

pytestmark = pytest.mark.batch_server(**OLD)


def files(server: BackgroundServer) -> set[str]:
    """The ids of the files at the service."""

    async def listed(session: BatchSession) -> set[str]:
        return {file.id async for file in session.files.list()}

    found: set[str] = at_service(server, listed)
    return found


class TestInAPipe:
    def test_nothing_is_deleted_unless_it_is_said(self, cli: Cli, service: BackgroundServer) -> None:
        """What would go is shown, and how to let it go."""
        file = upload(service)
        done = cli("gc")
        assert done.code == 0
        heading, row = done.out.splitlines()
        assert heading.split() == ["file", "name", "size", "age"]
        assert row.split() == [file.id, file.filename, "302", "B", "2d", "ago"]
        assert done.err.endswith(
            "\nNothing was deleted: --yes deletes them, with the folders of all jobs named, or with --without-jobs.\n"
        )
        assert files(service) == {file.id}

    def test_yes_deletes_and_says_what(self, cli: Cli, service: BackgroundServer) -> None:
        """One line for each file, when it is gone; never a file of others."""
        first, second, other = upload(service), upload(service), upload(service, "mine.jsonl")
        done = cli("gc", "-y", "--without-jobs")
        assert done.code == 0
        assert set(done.out.splitlines()) == {f"deleted {file.id}  {file.filename}" for file in (first, second)}
        assert done.err.endswith("\n2 files, 604 B, deleted.\n")
        assert files(service) == {other.id}

    def test_a_dry_run_is_stronger_than_yes(self, cli: Cli, service: BackgroundServer) -> None:
        file = upload(service)
        done = cli("gc", "--yes", "--dry-run")
        assert file.id in done.out
        assert files(service) == {file.id}

    def test_nothing_to_delete(self, cli: Cli, service: BackgroundServer) -> None:
        """The age that was meant is said: files may be too young."""
        file = upload(service)
        done = cli("gc", "--older-than", "3d")
        assert (done.code, done.out) == (
            0,
            "There is nothing to delete: no file older than 3d that jobs have left.\n",
        )
        assert cli("gc", "--older-than", "0", "--yes", "--without-jobs").code == 0
        assert file.id not in files(service)
        assert cli("gc", "--older-than", "0").out == "There is nothing to delete: no file that jobs have left.\n"

    def test_without_a_job_that_is_known_yes_is_not_enough(self, cli: Cli, service: BackgroundServer) -> None:
        """A job elsewhere may be running, and need what would go."""
        file = upload(service)
        done = cli("gc", "--yes")
        assert (done.code, done.out) == (2, "")
        assert "error: No job is named or found here" in done.err
        assert "--without-jobs" in done.err.splitlines()[-1]
        assert files(service) == {file.id}

    def test_where_a_job_is_known_yes_is_what_is_lacking(self, cli: Cli, service: BackgroundServer) -> None:
        needed, spare = upload(service), upload(service)
        planned(Path("a.job"), needed)
        assert cli("gc").err.endswith("\nNothing was deleted: --yes deletes them.\n")
        assert {needed.id, spare.id} <= files(service)

    @pytest.mark.parametrize("name", ["a.job", "today", "."])
    def test_what_jobs_still_need_is_kept(self, cli: Cli, service: BackgroundServer, name: str) -> None:
        """Of the jobs in this folder, whatever they are called, or of the one that this folder is."""
        needed, spare = upload(service), upload(service)
        planned(Path(name), needed)
        done = cli("gc", "--yes")
        assert done.err.startswith(f"Jobs of this folder: {name}.\n")
        assert files(service) == {needed.id}
        assert spare.id in done.out

    def test_results_that_are_on_the_disk(self, cli: Cli, service: BackgroundServer) -> None:
        batch = create(service)
        service.advance(hours=72)
        batch = at_service(service, lambda session: session.batches.retrieve(batch.id))
        verified(Path("a.job"), batch)
        assert batch.error_file_id not in cli("gc").out
        done = cli("gc", "--with-results", "--yes")
        assert f"deleted {batch.error_file_id}" in done.out
        assert batch.error_file_id not in files(service)

    def test_json_is_one_document(self, cli: Cli, service: BackgroundServer) -> None:
        """Of what would go, or with --yes of what has gone."""
        file = upload(service)
        document = json.loads(cli("gc", "--json").out)
        assert [found["id"] for found in document["files"]] == [file.id]
        assert (document["is_dry_run"], document["bytes"]) == (True, 302)
        assert json.loads(cli("gc", "--json", "--yes", "--without-jobs").out)["is_dry_run"] is False
        assert files(service) == set()

    def test_a_failure_half_way_says_what_is_gone(self, cli: Cli, service: BackgroundServer) -> None:
        """Exit code 3; the files that were deleted stand on standard output."""
        first, second = upload(service), upload(service)
        service.faults.add(Fault.error_before(403, method="DELETE", path="/files/", after_n=1))
        done = cli("gc", "--yes", "--without-jobs")
        assert done.code == 3
        (gone,) = done.out.splitlines()
        assert gone.startswith("deleted file-")
        assert "1 file, 302 B, deleted before this:\nerror: 403 " in done.err
        assert len(files(service) & {first.id, second.id}) == 1

    def test_a_journal_that_cannot_be_read_stops_it(self, cli: Cli, service: BackgroundServer) -> None:
        """What it needs is not known."""
        file = upload(service)
        journal_path(planned(Path("a.job"), file)).write_bytes(b"rubbish" * 1_000)
        done = cli("gc", "--yes")
        assert (done.code, done.out) == (2, "")
        assert "Nothing is deleted: " in done.err
        assert files(service) == {file.id}

    def test_the_services_no_is_3(self, cli: Cli, service: BackgroundServer) -> None:
        """In its own words."""
        service.faults.add(Fault.error_before(403, path="/files"))
        done = cli("gc", "--yes", "--without-jobs")
        assert (done.code, done.out) == (3, "")
        assert "error: 403 " in done.err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nowhere"], "There is no job in nowhere"),
            (["--older-than", "soon"], "is not a length of time"),
            (["--bogus"], "Unknown option"),
        ],
    )
    def test_what_cannot_be_done(self, cli: Cli, service: BackgroundServer, arguments: list[str], message: str) -> None:
        """One line of what, one of what to do; nothing on standard output."""
        assert service.base_url
        done = cli("gc", *arguments)
        assert (done.code, done.out) == (2, "")
        assert message in done.err
        assert len(done.err.splitlines()) == 2
        assert "\x1b" not in done.err


class TestAsked:
    """What depends on the answer, without a terminal."""

    @pytest.fixture(autouse=True)
    def person(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(command, "can_ask", lambda: True)

    @pytest.mark.parametrize("is_yes", [True, False])
    def test_the_answer_decides(
        self, cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch, *, is_yes: bool
    ) -> None:
        """And what has come since the question was asked is not deleted without one."""
        file = upload(service)
        asked: list[str] = []

        async def answer(question: str) -> bool:
            asked.append(question)
            await later()
            return is_yes

        async def later() -> None:
            import asyncio

            await asyncio.to_thread(lambda: newer.append(upload(service).id))

        newer: list[str] = []
        monkeypatch.setattr(command, "confirmed", answer)
        done = cli("gc")
        assert done.code == (0 if is_yes else 130)
        assert asked == ["Delete 1 file, 302 B?"]
        assert files(service) == {*newer, *([] if is_yes else [file.id])}
        assert done.err.endswith("1 file, 302 B, deleted.\n" if is_yes else "Nothing was deleted.\n")


class TestTerminal:
    def test_it_shows_and_asks(self, terminal: Terminal, service: BackgroundServer) -> None:
        """Ids are whole; a yes deletes."""
        file = upload(service)
        driven = terminal("gc")
        driven.wait_for("Delete 1 file, 302 B? [y/N]")
        assert file.id in driven.screen
        assert all(len(text) <= 80 for text in driven.screen.splitlines())
        driven.type("y\n")
        assert driven.finish() == 0
        assert "1 file, 302 B, deleted." in driven.screen
        assert files(service) == set()
        assert b"\x1b[1m" in driven.raw

    def test_ctrl_c_is_a_no(self, terminal: Terminal, service: BackgroundServer) -> None:
        file = upload(service)
        driven = terminal("gc")
        driven.wait_for("[y/N]")
        driven.interrupt()
        assert driven.finish() == 130
        assert files(service) == {file.id}
