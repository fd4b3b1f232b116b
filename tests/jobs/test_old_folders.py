"""Folders of jobs that an earlier version made can be opened, read and shown."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from openai_batches import BatchJob, BatchSession, Outcome, write_report
from openai_batches.jobs.journal.sqlite import read_journal

if TYPE_CHECKING:
    from openai_batches import Ledger

# Two jobs of six requests, of two models, in shards of two: one whose end was reached, one that was killed when its
# first batches had been created.
_SAMPLE = Path(__file__).parents[1] / "samples" / "jobs.zip"
_IDS = [f"r-{number}" for number in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with zipfile.ZipFile(_SAMPLE) as sample:
        sample.extractall(tmp_path)
    return tmp_path


async def _ledger_and_ids(directory: Path) -> tuple[Ledger, list[str | None]]:
    async with (
        BatchSession("sk-test", base_url="http://127.0.0.1:18431/v1") as session,
        BatchJob(session, directory=directory) as job,
    ):
        ids = [result.custom_id async for result in job.results(ordered=True)]
        return await job.summary(), ids


async def test_a_finished_job_gives_its_results(folder: Path) -> None:
    """They are on the disk: nothing is sent."""
    ledger, ids = await _ledger_and_ids(folder / "finished")
    assert sorted(filter(None, ids)) == _IDS
    assert ledger.outcomes[Outcome.SUCCEEDED] == len(_IDS)
    tokens = {model: bill.usage.total_tokens for model, bill in ledger.bill().by_model.items()}
    assert tokens == {"gpt-4.1": 33, "gpt-4o": 33}


def test_an_open_job_is_known(folder: Path) -> None:
    """Its attempts are read as they were written."""
    attempts = read_journal(folder / "open").attempts
    assert [attempt.shard for attempt in attempts] == [1, 2, 3, 4]
    assert all(attempt.batch is not None and attempt.batch.metadata for attempt in attempts)


@pytest.mark.parametrize("name", ["finished", "open"])
async def test_both_are_shown(folder: Path, name: str) -> None:
    """The report reads the same journal."""
    await write_report(folder / name, folder / "report.html")
    assert "gpt-4.1" in (folder / "report.html").read_text("utf-8")
