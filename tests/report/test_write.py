"""``write_report``: one page, whole or not at all, from a job that is done, that runs, or that has not begun to."""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.job_parts import attempt, job_record
from support.job_service import open_shop, stopped_shop
from support.report_parts import check_form, check_numbers, past_attempts, read_page

import openai_batches
from openai_batches import InputError, JournalError, Outcome, PriceTable, write_report
from openai_batches.emulator import Fault, ScriptExecutor
from openai_batches.jobs.journal.sqlite import Journal, read_journal
from openai_batches.report import write
from openai_batches.report.figures import figures_of


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The directory of a job with a past."""
    journal = Journal(tmp_path / "job")
    journal.begin(job_record(source="/data/requests.jsonl"), past_attempts(20))
    journal.finish()
    journal.close()
    return journal.directory


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def moment(time_s: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(time_s, dt.UTC)


class TestJobs:
    async def test_the_report_of_a_finished_job(self, tmp_path: Path) -> None:
        """What succeeded, what failed and what expired and was sent again: all of it as the job's own ledger has it."""
        script = ScriptExecutor({"r3": (400, {"error": {"message": "no", "code": "bad"}})})
        expiring = Fault.expired_early(for_s=1.0)
        async with open_shop(tmp_path, requests=12, executor=script, faults=expiring) as shop, shop.job() as job:
            ledger = await job.run()
            assert ledger.outcomes[Outcome.FAILED] == 1
            assert sum(shard.attempts for shard in ledger.shards) > len(ledger.shards)
            path = tmp_path / "report.html"
            now_s = shop.server.clock.now()
            assert await write_report(job.directory, path, now=lambda: now_s) == ledger
        page = read_page(path.read_text("utf-8"))
        view = read_journal(tmp_path / "requests.jsonl.job")
        figures = figures_of(view, moment(now_s))
        check_form(page)
        check_numbers(figures, page)
        assert page.one(id="state").attributes["data-state"] == "finished"
        assert page.one("tr", data_kind="error", data_name="bad").numbers["count"] == 1
        assert path.stat().st_mode & 0o777 == 0o600

    async def test_a_job_that_runs_is_shown_as_far_as_it_has_come(self, tmp_path: Path) -> None:
        """The page can be made again and again while the job goes on, which does not notice."""
        path = tmp_path / "report.html"
        async with stopped_shop(tmp_path, requests=8) as shop, shop.job() as job:
            running = asyncio.create_task(job.run())
            await shop.until(lambda: shop.kinds()["created"] == 2)
            early = await write_report(job.directory, path, now=shop.server.clock.now)
            assert (early.inputs, early.unfinished) == (8, 8)
            page = read_page(path.read_text("utf-8"))
            assert page.one(id="state").attributes["data-state"] == "unfinished"
            assert {row.attributes["data-state"] for row in page.all("li", data_attempt=None)} == {"validating"}
            driving = asyncio.create_task(shop.drive())
            ledger = await running
            driving.cancel()
            late = await write_report(job.directory, path, overwrite=True, now=shop.server.clock.now)
        assert late == ledger
        assert (late.succeeded, late.unfinished) == (8, 0)

    async def test_a_cancelled_job(self, tmp_path: Path) -> None:
        async with stopped_shop(tmp_path, requests=5) as shop, shop.job() as job:
            running = asyncio.create_task(job.run())
            await shop.until(lambda: shop.kinds()["created"] == 1)
            driving = asyncio.create_task(shop.drive())
            ledger = await job.cancel()
            await running
            driving.cancel()
            assert await write_report(job.directory, tmp_path / "report.html", now=shop.server.clock.now) == ledger
        page = read_page((tmp_path / "report.html").read_text("utf-8"))
        assert page.one(id="state").attributes["data-state"] == "cancelled"

    async def test_a_job_whose_creator_is_gone_in_the_middle(self, directory: Path, tmp_path: Path) -> None:
        """Another process has the journal open: it is read beside it, and left as it is."""
        journal = Journal(directory)
        journal.reopen()
        before = names(directory)
        ledger = await write_report(directory, tmp_path / "report.html")
        assert ledger.inputs == sum(one.requests for one in journal.attempts() if one.number == 1)
        assert names(directory) == before
        journal.save(attempt(99))
        journal.close()

    async def test_the_job_is_not_touched(self, directory: Path, tmp_path: Path) -> None:
        before = contents(directory)
        await write_report(str(directory), str(tmp_path / "report.html"))
        assert contents(directory) == before

    async def test_the_clock_on_the_wall_is_the_one_that_counts(self, directory: Path, tmp_path: Path) -> None:
        begun_s = int(time.time())
        await write_report(directory, tmp_path / "report.html")
        page = read_page((tmp_path / "report.html").read_text("utf-8"))
        assert moment(begun_s).isoformat() <= page.one(id="made").attributes["data-now"]

    async def test_prices_of_the_users_own(self, directory: Path, tmp_path: Path) -> None:
        prices = PriceTable.from_mapping({"as_of": "2027-01-02", "currency": "EUR", "models": {}})
        await write_report(directory, tmp_path / "report.html", prices=prices)
        page = read_page((tmp_path / "report.html").read_text("utf-8"))
        assert page.one("dd", data_figure="cost").text == "0 EURand 3 models without a price"


class TestJinja:
    async def test_without_jinja2_the_extra_is_named_and_nothing_is_written(
        self, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "jinja2", None)
        write._template.cache_clear()
        with pytest.raises(InputError, match=r"jinja2: pip install 'openai_batches\[report\]'"):
            await write_report(directory, tmp_path / "report.html")
        assert names(tmp_path) == {"job"}

    def test_the_templates_are_read_from_a_zip_file_too(self, directory: Path, tmp_path: Path) -> None:
        folder = Path(openai_batches.__file__).parent
        with zipfile.ZipFile(tmp_path / "package.zip", "w") as archive:
            for path in folder.rglob("*"):
                if path.suffix in {".py", ".html", ".css", ".json"}:
                    archive.write(path, path.relative_to(folder.parent))
        code = (
            f"import sys, asyncio; sys.path.insert(0, {str(tmp_path / 'package.zip')!r}); import openai_batches;"
            "assert 'package.zip' in openai_batches.__file__;"
            f"asyncio.run(openai_batches.write_report({str(directory)!r}, {str(tmp_path / 'report.html')!r}))"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
        assert read_page((tmp_path / "report.html").read_text("utf-8")).one("main")


class TestFiles:
    async def test_a_file_that_is_there_is_kept_unless_its_owner_says_otherwise(
        self, directory: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "report.html"
        path.write_text("mine")
        with pytest.raises(InputError, match=r"report.html exists: pass overwrite=True"):
            await write_report(directory, path)
        assert path.read_text() == "mine"
        await write_report(directory, path, overwrite=True)
        assert path.read_text().startswith("<!DOCTYPE html>")
        assert names(tmp_path) == {"job", "report.html"}

    async def test_a_file_that_came_meanwhile_is_kept_too(
        self, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "report.html"
        make = write.page_of

        def late(figures: Any) -> str:
            path.write_text("mine")
            return make(figures)

        monkeypatch.setattr(write, "page_of", late)
        with pytest.raises(InputError, match="exists"):
            await write_report(directory, path)
        assert path.read_text() == "mine"
        assert names(tmp_path) == {"job", "report.html"}

    async def test_a_full_disk_leaves_what_was_there(
        self, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "report.html"
        path.write_text("mine")

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                await write_report(directory, path, overwrite=True)
        assert path.read_text() == "mine"
        assert names(tmp_path) == {"job", "report.html"}

    async def test_a_directory_is_no_file_and_a_folder_that_is_missing_is_not_made(
        self, directory: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match="is a directory"):
            await write_report(directory, tmp_path, overwrite=True)
        with pytest.raises(FileNotFoundError):
            await write_report(directory, tmp_path / "missing" / "report.html")
        assert names(tmp_path) == {"job"}

    async def test_where_there_is_no_job_there_is_no_report(self, tmp_path: Path) -> None:
        with pytest.raises(JournalError, match="There is no job in "):
            await write_report(tmp_path / "nowhere", tmp_path / "report.html")
        assert names(tmp_path) == set()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"directory": 3}, "directory must be the path of a folder"),
            ({"path": None}, "path must be the path of a file, not None"),
            ({"path": b"report.html"}, "path must be the path of a file"),
            ({"path": "a\0b"}, "path must be the path of a file"),
            ({"prices": {"gpt": 1}}, "prices must be a PriceTable, not {'gpt': 1}"),
            ({"overwrite": "yes"}, "overwrite must be True or False"),
        ],
    )
    async def test_arguments_that_cannot_be_right_are_refused(
        self, directory: Path, tmp_path: Path, options: dict[str, Any], message: str
    ) -> None:
        given: dict[str, Any] = {"directory": directory, "path": tmp_path / "report.html", **options}
        with pytest.raises(InputError, match=message):
            await write_report(**given)
        assert names(tmp_path) == {"job"}
