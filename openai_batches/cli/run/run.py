"""The steps of one call of ``run``: plan, ask, send, wait, write the results, and return the exit code."""

import asyncio
import contextlib
import functools
import os
import sqlite3
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from openai_batches import (
    PRICES,
    BatchesError,
    BatchJob,
    InputError,
    JobError,
    JournalError,
    Ledger,
    NotFoundError,
    estimate,
    read_prices,
    write_report,
)
from openai_batches._text import as_count
from openai_batches._threads import in_thread
from openai_batches.cli.advice import say_resume
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.logs import silence
from openai_batches.cli.options.service import Service, connected, unconnected
from openai_batches.cli.options.sources import request_source, source_name
from openai_batches.cli.output.documents import write_document
from openai_batches.cli.output.signals import stopped_by_signals
from openai_batches.cli.output.terminal import (
    STANDARD_STREAM,
    busy,
    facts,
    note,
    out_is_terminal,
    progress_is_shown,
    say,
    say_facts,
    warn,
)
from openai_batches.cli.output.texts import clean, one_line
from openai_batches.cli.run.display import Frame, shown_live
from openai_batches.cli.run.job_on_disk import has_journal, ledger_document, view_of
from openai_batches.cli.run.messages import EventMessages, resumable, say_summary
from openai_batches.cli.run.notes import JobNotes
from openai_batches.cli.run.places import check_targets, job_place, plan_or_open
from openai_batches.cli.run.plan import DEFAULT_CONFIRM_ABOVE_USD, JobPlan, agreed
from openai_batches.cli.run.progress import JobProgress, Pace
from openai_batches.cli.run.save import Output, stream_results
from openai_batches.jobs.journal.records import Step
from openai_batches.jobs.plan import source_path, was_begun

if TYPE_CHECKING:
    from openai_batches import BatchSession, JobEvent, PriceTable, Provider
    from openai_batches.jobs.journal.sqlite import JournalView

__all__ = ["RunCommand", "leave_report"]

_SHOW_CURSOR = b"\n\x1b[?25h"


@attrs.define(kw_only=True)
class RunCommand:
    """One call of ``run``.

    Attributes:
        source: the requests, as they were typed; None to go on with the job that is there.
        directory: where the job is kept.
        output: where the results go.
        arguments: gives what ``BatchJob`` takes besides.
        is_dry: whether nothing is to be sent.
        is_agreed: whether no confirmation is needed.
        confirm_above: from which cost on somebody is asked; None for the usual one.
        output_tokens: what to take for an answer whose request sets no maximum.
        prices: the file of prices.
        report: where a report of the job goes.
        is_json: whether the ledger goes to standard output.
        is_quiet: whether nothing is said but errors.
        service: the service.
        view: what the journal knew of the job when this began; None where there was none.
        is_begun: whether anything may have been sent.
        is_stopping: whether it was told to stop.
        progress: how far the job is.
        plan: what it is about to do; None for one that goes on.
    """

    source: str | None
    directory: Path
    output: Output
    arguments: "Callable[[Provider], Mapping[str, Any]]"
    is_dry: bool
    is_agreed: bool
    confirm_above: float | None
    output_tokens: int
    prices: Path | None
    report: Path | None
    is_json: bool
    is_quiet: bool
    service: Service
    view: "JournalView | None" = None
    notes: JobNotes = attrs.field(factory=JobNotes)
    is_begun: bool = False
    is_stopping: bool = False
    progress: JobProgress = attrs.field(factory=JobProgress)
    plan: JobPlan | None = None
    _price_table: "PriceTable" = PRICES
    _messages: EventMessages = attrs.field(factory=EventMessages)
    _compare: "Callable[[BatchJob], Awaitable[Ledger]]" = attrs.field(init=False)
    _is_new: bool = True
    _is_planned: bool = False
    _is_under_way: bool = False

    @classmethod
    async def prepared(cls, *, source: str | None, directory: Path | None, **options: Any) -> "RunCommand":
        """Find the job and check that its results can be written, before anything is sent."""
        source, place = job_place(source, directory)
        command = cls(source=source, directory=place, **options)
        command.view = view = await view_of(place)
        if source is None and not has_journal(place):
            raise CommandError(f"There is no job in {place}", "Name the requests: run requests.jsonl --directory DIR")
        command.is_begun = view is not None and was_begun(view.attempts)
        command.notes = notes = await in_thread(JobNotes.read, place)
        command._check_kind()
        await in_thread(
            check_targets, source, command.output, command.report, view=view, notes=notes, is_dry=command.is_dry
        )
        if view is not None:
            command.progress.add_journal(view)
        if command.is_quiet:
            silence()
        if command.prices is not None:
            command._price_table = await read_prices(command.prices)
        return command

    def _check_kind(self) -> None:
        """Refuse to take the emulator's answers for those of a service."""
        if self.is_begun and self.notes.is_local and not self.service.local:
            raise CommandError(
                f"The job in {self.directory} was started with --local, and its answers are the emulator's",
                f"Start another one: --directory DIR, or remove {self.directory}; or continue with --local",
            )

    async def run(self) -> ExitCode:
        """Carry the job to its end; return what the shell is told."""
        with stopped_by_signals(self._on_signal, self._end_at_once) as stopping:
            try:
                return await self._run_job()
            except asyncio.CancelledError:
                if not stopping.has_come:
                    raise
                return self._say_stopped()
            except (BatchesError, CommandError, OSError) as error:
                if not self._can_go_on_after(error):
                    raise
                raise resumable(error) from error
            finally:
                await self._write_report()

    async def _run_job(self) -> ExitCode:
        # What sends nothing needs no key, and leaves no emulator behind.
        entered = unconnected if self.is_dry else connected
        async with entered(self.service) as session, self._open_job(session) as job:
            if self.is_begun:
                await self._open_earlier(job)
            elif not await self._plan_and_confirm(job):
                return ExitCode.DONE if self.is_dry else ExitCode.INTERRUPTED
            return ExitCode.DONE if self.is_dry else await self._finish(job)

    async def _plan_and_confirm(self, job: BatchJob) -> bool:
        """Plan a job, and return whether it is to be sent; else nothing stays of what was planned."""
        try:
            self.plan = await self._make_plan(job)
            self.is_begun = not self.is_dry and await self._is_agreed(self.plan)
        except BaseException:
            # The first error is the one to report.
            with contextlib.suppress(BatchesError, OSError):
                await self._discard_plan(job)
            raise
        if self.is_begun:
            self.notes.is_local = self.service.local
            await in_thread(self.notes.save, self.directory)
        else:
            await self._discard_plan(job)
        return self.is_begun

    async def _discard_plan(self, job: BatchJob) -> None:
        if self._is_planned:
            await job.discard()

    @contextlib.asynccontextmanager
    async def _open_job(self, session: "BatchSession") -> AsyncGenerator[BatchJob]:
        """Give the job, with its source open."""
        arguments = self.arguments(session.provider)
        self._compare = functools.partial(
            plan_or_open,
            view=self.view,
            source=self.source,
            base_url=session.base_url,
            arguments=arguments,
            is_quiet=self.is_quiet,
        )
        opened = (
            request_source(STANDARD_STREAM) if self.source == STANDARD_STREAM else contextlib.nullcontext(self.source)
        )
        with opened as source:
            async with BatchJob(session, source, directory=self.directory, on_event=self._on_event, **arguments) as job:
                yield job

    def _on_event(self, event: "JobEvent") -> None:
        self._is_new = True
        self.progress.add_event(event)
        if not self.is_quiet:
            self._messages.tell(event)

    async def _make_plan(self, job: BatchJob) -> JobPlan:
        name = source_name(self.source) if self.source is not None else str(self.directory)
        with self._busy(f"Checking {clean(name)}"):
            ledger = await self._compare(job)
            # What an earlier call has planned stays.
            self._is_planned = self.view is None
            view = await view_of(self.directory)
            if view is None:
                raise JobError(f"The job in {self.directory} was removed while it was planned")
            found = await estimate(
                source_path(view.job, self.directory),
                assumed_output_tokens=self.output_tokens,
                vocabulary_timeout_s=0 if self.service.local else 5,
                prices=self._price_table,
            )
        size = sum(attempt.bytes for attempt in view.attempts)
        plan = JobPlan(
            source=name,
            ledger=ledger,
            bytes=size,
            estimate=found,
            assumed_tokens=self.output_tokens,
            is_free=self.service.local,
        )
        if self.is_dry or not self.is_quiet:
            self._say_plan(plan)
        return plan

    def _say_plan(self, plan: JobPlan) -> None:
        lines = [*plan.lines()]
        if not self.is_dry:
            lines.append(("job", str(self.directory)))
            lines += [("results", str(self.output.path))] if self.output.path is not None else []
        if self.is_dry and self.is_json:
            write_document(plan.document())
        elif self.is_dry:
            say(facts(plan.source, lines))
        else:
            say_facts(f"Planned {plan.source}", lines)

    async def _is_agreed(self, plan: JobPlan) -> bool:
        if self.is_agreed:
            return True
        limit = DEFAULT_CONFIRM_ABOVE_USD if self.confirm_above is None else self.confirm_above
        is_agreed = await agreed(plan, confirm_above_usd=limit)
        if not is_agreed:
            note("Nothing was sent.")
        return is_agreed

    async def _open_earlier(self, job: BatchJob) -> None:
        """Open a job that was begun earlier."""
        ledger = await self._compare(job)
        if not self.is_dry and (self.is_quiet or (self.view is not None and self.view.is_finished)):
            return
        open_count = sum(shard.step is Step.CREATED for shard in ledger.shards)
        under_way = f", {as_count(open_count, 'batch', 'batches')} under way at the service" if open_count else ""
        left = f"{ledger.unfinished:,} of {as_count(ledger.inputs, 'request')} are left{under_way}"
        note(f"{'Started earlier' if self.is_dry else 'Continuing'}: {self.directory}, {left}")
        if self.is_dry and self.is_json:
            write_document({"directory": str(self.directory), **ledger_document(ledger, self._price_table)})

    async def _finish(self, job: BatchJob) -> ExitCode:
        """Carry the job to its end, and write what came of it."""
        begin, self._is_under_way = time.monotonic(), True
        was_finished = self.view is not None and self.view.is_finished
        is_kept = was_finished and not self.output.force and await in_thread(self.output.is_written, self.notes)
        async with self._displayed(job, begin):
            rows = await stream_results(job, self.output) if self.output.is_stream else None
            ledger = await job.run()
        if rows is None and not is_kept:
            with self._busy(f"Writing {self.output.output}"):
                await self.output.write(job)
            await in_thread(self._note_output)
        if not self.is_quiet:
            if is_kept:
                note(f"The job was finished before, and {self.output.path} is there: --force writes it again")
            self._say_summary(ledger, None if was_finished else time.monotonic() - begin)
        if self.is_json:
            write_document({"directory": str(self.directory), **ledger_document(ledger, self._price_table)})
        return ExitCode.DONE if ledger.succeeded == ledger.inputs else ExitCode.FAILED

    def _note_output(self) -> None:
        if self.output.path is not None:
            self.notes.note_written(self.output.path, format=self.output.kind, is_ordered=self.output.ordered)
            self.notes.save(self.directory)

    def _say_summary(self, ledger: Ledger, lasted_s: float | None) -> None:
        say_summary(
            ledger,
            directory=self.directory,
            out=self.output.path,
            lasted_s=lasted_s,
            prices=self._price_table,
            service=self.service,
            is_streamed=self.output.is_stream,
        )

    @contextlib.contextmanager
    def _busy(self, text: str) -> Generator[None]:
        if self.is_quiet or not progress_is_shown() or _is_typed(self.source):
            yield
            return
        with busy(text):
            yield

    @contextlib.asynccontextmanager
    async def _displayed(self, job: BatchJob, begin: float) -> AsyncGenerator[None]:
        """Draw the job while it runs, where a person watches and reads nothing else on the same screen."""
        if self.is_quiet or not progress_is_shown() or (self.output.is_stream and out_is_terminal()):
            yield
            return
        if self.view is not None and self.view.is_finished:
            yield
            return
        pace = Pace()

        async def picture() -> Frame:
            ledger = await job.summary()
            now = time.monotonic()
            self.progress.update(ledger)
            pace.note(now, self.progress.done)
            cost = ledger.bill(self._price_table).cost
            return Frame(
                progress=self.progress,
                left_s=pace.left_s(now, self.progress.total),
                elapsed_s=now - begin,
                cost=None if cost is None else float(cost),
                expected=None if self.plan is None else self.plan.cost_limit,
                currency=self._price_table.currency,
                is_free=self.service.local,
                is_stopping=self.is_stopping,
            )

        def is_new() -> bool:
            was, self._is_new = self._is_new, False
            return was

        async with shown_live(picture, is_new):
            yield

    def _on_signal(self) -> None:
        self.is_stopping = self._is_new = True
        if not progress_is_shown() and not self.is_quiet and self.is_begun:
            note("Stopping at a point from which the job can continue ...")

    def _say_stopped(self) -> ExitCode:
        """Say how to go on."""
        if not self.is_begun:
            note("Stopped; nothing was sent.")
            return ExitCode.INTERRUPTED
        where = "" if self.service.local else " The batches it has created continue at the service."
        note(f"Stopped; nothing is lost.{where}")
        say_resume()
        return ExitCode.STOPPED

    def _end_at_once(self) -> int:
        """End at once, on a second signal: the journal has all that the next run needs."""
        if self.is_begun:
            say_resume()
        if progress_is_shown():
            with contextlib.suppress(OSError):
                os.write(2, _SHOW_CURSOR)
        return ExitCode.STOPPED if self.is_begun else ExitCode.INTERRUPTED

    def _can_go_on_after(self, error: BatchesError | CommandError | OSError) -> bool:
        """Return whether the same command, later, may end better."""
        is_of_this_call = isinstance(error, CommandError | InputError | JournalError) and not self._is_under_way
        # The disk was full, or the like; or this is the wrong service.
        is_journal_stuck = isinstance(error.__cause__, sqlite3.OperationalError)
        is_elsewhere = isinstance(error, JobError) and isinstance(error.__cause__, NotFoundError)
        return self.is_begun and (is_journal_stuck or not is_of_this_call) and not is_elsewhere

    async def _write_report(self) -> None:
        if self.report is None or self.is_dry:
            return
        writing = asyncio.ensure_future(leave_report(self.directory, self.report, self._price_table))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # A signal that comes now finds all done but this, which takes a moment.
            await writing
            if not self.is_stopping:
                raise


def _is_typed(source: str | None) -> bool:
    """Return whether the requests come from a keyboard: nothing is drawn over what is typed."""
    return source == STANDARD_STREAM and sys.stdin is not None and sys.stdin.isatty()


async def leave_report(directory: Path, path: Path, prices: "PriceTable") -> None:
    """Write a report of whatever there is to report; what became of the requests counts for more than a failure."""
    if await view_of(directory) is None:
        return
    try:
        await write_report(directory, path, prices=prices, overwrite=True)
    except (BatchesError, OSError) as error:
        warn(f"The report could not be written: {one_line(str(error))}")
