"""Messages about a job on standard error: lines while it runs, and a summary at its end."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from openai_batches import JobEventKind, Outcome
from openai_batches._text import as_count
from openai_batches.cli.advice import command_line, resume_command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.explain import explain
from openai_batches.cli.output.terminal import note, progress_is_shown, say_facts
from openai_batches.cli.output.texts import lasting_text, money_text, no_price, one_line, size_text
from openai_batches.http.failures import can_pass

if TYPE_CHECKING:
    from pathlib import Path

    from openai_batches import BatchesError, Bill, JobEvent, Ledger, PriceTable
    from openai_batches.cli.options.service import Service

__all__ = ["EventMessages", "ledger_lines", "resumable", "say_summary"]

_NEWS = frozenset(
    {
        JobEventKind.REFUSED,
        JobEventKind.POSTPONED,
        JobEventKind.RESENT,
        JobEventKind.STALLED,
        JobEventKind.PAUSED,
        JobEventKind.CANCELLED,
    }
)
# Where the network is down, every shard has the same to say.
_PAUSE_S = 10.0
_MAX_CODES = 8


class EventMessages:
    """Tells of events that a person should know of: of each kind one line in ten seconds, and how many were like it."""

    def __init__(self, say: Callable[[str], None] = note, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._told: dict[JobEventKind, float] = {}
        self._untold: dict[JobEventKind, int] = {}

    def tell(self, event: "JobEvent") -> None:
        """Tell of an event, if it is news."""
        if event.kind not in _NEWS:
            return
        now = self._clock()
        if now - self._told.get(event.kind, -_PAUSE_S) < _PAUSE_S:
            self._untold[event.kind] = self._untold.get(event.kind, 0) + 1
            return
        self._told[event.kind] = now
        untold = self._untold.pop(event.kind, 0)
        more = f" (and {untold:,} more like it)" if untold else ""
        self._say(f"{event.at.astimezone():%H:%M:%S}  {one_line(event.message)}{more}")


def ledger_lines(ledger: "Ledger", prices: "PriceTable", *, is_free: bool) -> "list[tuple[str, str]]":
    """Return what became of the requests of a job: names and texts."""
    outcomes = [f"{count:,} {outcome}" for outcome, count in ledger.outcomes.items() if count]
    if ledger.unfinished:
        outcomes.append(f"{ledger.unfinished:,} unfinished")
    lines: list[tuple[str, str]] = [("requests", ", ".join(outcomes) or "none")]
    codes = sorted(ledger.error_codes.items(), key=lambda item: -item[1])
    texts = [f"{one_line(code) or 'no code'} {count:,}" for code, count in codes[:_MAX_CODES]]
    if texts:
        more = f", and {len(codes) - _MAX_CODES:,} more" if len(codes) > _MAX_CODES else ""
        lines.append(("errors", ", ".join(texts) + more))
    usage = ledger.usage
    lines.append(("tokens", f"{usage.input_tokens:,} in, {usage.output_tokens:,} out"))
    here = "nothing here; at the service " if is_free else ""
    return [*lines, ("cost", f"{here}{_cost(ledger.bill(prices))}")]


def _cost(bill: "Bill") -> str:
    if bill.cost is None:
        return f"unknown: {no_price(bill.unpriced_models)}"
    return money_text(bill.cost, bill.prices.currency)


def say_summary(
    ledger: "Ledger",
    *,
    directory: "Path",
    out: "Path | None",
    lasted_s: float | None,
    prices: "PriceTable",
    service: "Service",
    is_streamed: bool = False,
) -> None:
    """Tell, on standard error, how a job has ended."""
    bad = ledger.inputs - ledger.outcomes[Outcome.SUCCEEDED]
    what = f"all of {as_count(ledger.inputs, 'request')} succeeded"
    if bad:
        what = f"{bad:,} of {as_count(ledger.inputs, 'request')} did not succeed"
    lines = ledger_lines(ledger, prices, is_free=service.local)
    if out is not None:
        lines.append(("results", f"{out} ({size_text(out.stat().st_size)})"))
    elif not is_streamed:
        # They are in the job, and this makes a file of them.
        again = command_line("run", str(directory), "-o", "results.jsonl", service=service)
        lines.append(("results", f"to write them: {again}"))
    lines.append(("job", str(directory)))
    if progress_is_shown():
        note("")
    say_facts(f"Done before: {what}" if lasted_s is None else f"Done in {lasting_text(lasted_s)}: {what}", lines)


def resumable(error: "BatchesError | CommandError | OSError") -> CommandError:
    """Return an error with the command that goes on after it."""
    explanation = explain(error)
    passes = can_pass(error) or can_pass(error.__cause__)
    told = CommandError(explanation.message, explanation.advice, ExitCode.STOPPED if passes else explanation.code)
    for detail in explanation.details:
        told.add_note(f"  {detail}")
    told.add_note(f"To continue once this is fixed:\n  {resume_command()}")
    return told
