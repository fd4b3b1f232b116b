"""``write_report`` fills ``page.html`` with the figures of a job, and writes the page to a file."""

from __future__ import annotations

import datetime as dt
import functools
import importlib.resources
import re
import time
import unicodedata
from typing import TYPE_CHECKING

from openai_batches._arguments import check_flags, shortened
from openai_batches._text import as_count, as_duration, as_moment, as_money, as_share
from openai_batches._threads import in_thread
from openai_batches.costs.prices import PriceTable
from openai_batches.errors import InputError
from openai_batches.jobs.arguments import checked_target, job_directory
from openai_batches.jobs.journal.sqlite import read_journal
from openai_batches.report import charts
from openai_batches.report.figures import figures_of
from openai_batches.storage.atomic import NewFile, refuse_target
from openai_batches.version import __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    import jinja2

    from openai_batches.jobs.ledger import Ledger
    from openai_batches.report.figures import JobFigures

__all__ = ["write_report"]

# A line break beside a tag, a block or a comment of the template, which is no part of the page.
_LINE_BREAK = re.compile(r"(?:(?<=>)|(?<=[%#]}))\s*\n\s*|\s*\n\s*(?=<|{%|{#)")

_MAX_STATE = 40


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
    cost by model, and how long batches waited. It loads nothing and runs no scripts, and it is readable on a phone,
    with a dark colour scheme and on paper. The job may be running, in this or another process: the page shows its state
    at one moment, and writing it does not disturb the job. The file is written whole or not at all, and is the user's
    alone (mode 0600): it has the paths of the job, but no request and no answer. Needs Jinja2:
    ``pip install 'openai_batches[report]'``.

    Args:
        directory: the job's directory.
        path: the file to write.
        prices: the table to look the models up in, instead of the built-in ``PRICES``.
        overwrite: whether a file of that name is replaced; it stays as it is until the new one is whole.
        now: the wall clock in Unix seconds, for tests.

    Raises:
        InputError: an argument cannot be right, the file exists, or Jinja2 is not installed.
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


def page_of(figures: JobFigures) -> str:
    """Return the report of a job as one HTML document, which loads nothing and runs nothing."""
    return f"{_template().render(figures=figures)}\n"


@functools.cache
def _template() -> jinja2.Template:
    """Return the template of the page, which escapes everything that is put into it."""
    try:
        import jinja2  # noqa: PLC0415 - an extra, and only reports need it
    except ImportError as error:
        raise InputError("A report needs the package jinja2: pip install 'openai_batches[report]'") from error
    environment = jinja2.Environment(
        autoescape=True, finalize=_visible, loader=jinja2.FunctionLoader(_source), undefined=jinja2.StrictUndefined
    )
    filters = (as_count, as_duration, as_moment, as_money, as_share)
    environment.filters.update({function.__name__: function for function in filters})
    environment.filters.update(as_number="{:,}".format, as_words=_as_words, bounded=_bounded)
    environment.globals.update(charts=charts, style=_resource("style.css"), version=__version__)
    return environment.get_template("page.html")


def _source(name: str) -> str:
    # As comments, the line breaks still count for the line numbers of errors.
    return _LINE_BREAK.sub(r"{#\g<0>#}", _resource(name))


def _resource(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text("utf-8")


def _bounded(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"


def _as_words(state: str) -> str:
    return _bounded(state.replace("_", " "), _MAX_STATE)


def _visible(value: object) -> object:
    """Write out letters that show nothing or turn the text around, which could make one id look like another."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return "".join(
        letter
        if letter.isprintable() or unicodedata.category(letter) == "Zs"
        else letter.encode("unicode_escape").decode("ascii")
        for letter in value
    )
