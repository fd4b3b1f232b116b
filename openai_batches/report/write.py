"""``write_report``: what a job has come to, as one page of HTML that can be opened, sent and printed."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

from openai_batches._threads import in_thread
from openai_batches.costs.prices import PriceTable
from openai_batches.errors import InputError
from openai_batches.jobs.arguments import check_flags, checked_target, job_directory, shortened
from openai_batches.jobs.journal.sqlite import read_journal
from openai_batches.report.figures import figures_of
from openai_batches.report.page import page_of
from openai_batches.storage.atomic import NewFile, refuse_target

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from openai_batches.jobs.ledger import Ledger

__all__ = ["write_report"]


async def write_report(
    directory: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    prices: PriceTable | None = None,
    overwrite: bool = False,
    now: Callable[[], float] = time.time,
) -> Ledger:
    """Write a report of a job as one HTML page, and return the ledger that it shows.

    The page has the outcomes of all requests, shard by shard and in all, when each batch was in which state, tokens and
    cost by model, and how long batches waited. It loads nothing, runs nothing, and can be read on a phone, in the dark
    and on paper. The job may be running, in this or another process: the page shows one moment of it, and does not
    disturb it. The file is written whole or not at all, and is the user's alone (mode 0600): it has the paths of the
    job, but no request and no answer.

    Args:
        directory: the job's directory.
        path: the file to write.
        prices: the table to look the models up in, instead of the built-in ``PRICES``.
        overwrite: whether a file of that name is replaced; it stays as it is until the new one is whole.
        now: the wall clock in Unix seconds, for tests.

    Raises:
        InputError: an argument cannot be right, or the file exists.
        JournalError: there is no job in the directory, or its journal cannot be read.
        OSError: the file cannot be written.
    """
    job, target = job_directory(None, directory), checked_target(path)
    _check_prices(prices)
    check_flags(overwrite=overwrite)
    return await in_thread(_report, job, target, prices, overwrite=overwrite, now_s=now())


def _check_prices(prices: object) -> None:
    if prices is not None and not isinstance(prices, PriceTable):
        raise InputError(f"prices must be a PriceTable, not {shortened(prices)}")


def _report(directory: Path, target: Path, prices: PriceTable | None, *, overwrite: bool, now_s: float) -> Ledger:
    refuse_target(target, overwrite=overwrite)
    figures = figures_of(read_journal(directory), dt.datetime.fromtimestamp(now_s, dt.UTC), prices)
    page = page_of(figures).encode()
    new = NewFile(target, overwrite=overwrite)
    try:
        new.stream.write(page)
        new.keep()
    finally:
        new.discard()
    return figures.ledger
