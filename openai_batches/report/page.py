"""The page of a job's report: one HTML document that needs nothing beside itself, and runs nothing.

Pure functions of values: no network, no clock, no disk.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from openai_batches._text import as_count, as_duration, as_moment, as_money, as_share
from openai_batches.report.charts import Axis, area, gantt, histogram, legend, state_legend
from openai_batches.report.markup import Html, bounded, tag
from openai_batches.report.stylesheet import STYLE
from openai_batches.report.tables import bars, error_bars, ledger_table, objection_table, queue_table, token_table
from openai_batches.version import __version__

if TYPE_CHECKING:
    import datetime as dt

    from openai_batches.jobs.ledger import Ledger
    from openai_batches.report.figures import AttemptLine, JobFigures

__all__ = ["page_of"]

# Nothing is loaded from anywhere, nothing is run, and nothing is sent.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_MAX_ROWS = 60
# The table says all there is to say of fewer lengths.
_MIN_DRAWN = 5
_MAX_TITLE, _MAX_FACT = 120, 1_000
_STATE_COLOURS = {"finished": "succeeded", "cancelled": "cancelled", "unfinished": "expired"}
_MEANINGS = {
    "succeeded": "answered without an error",
    "failed": "answered with an error that is final",
    "expired": "did not run before its batch's time was over",
    "cancelled": "did not run because its batch was cancelled",
    "missing": "has no line in either result file",
    "invalid": "has a line that cannot be read",
    "foreign": "belongs to no request",
    "unfinished": "has no outcome yet",
}


def page_of(figures: JobFigures) -> str:
    """Return the report of a job as an HTML document."""
    source = _source(figures)
    ledger = figures.ledger
    title = f"{source}: {ledger.succeeded:,} of {as_count(ledger.inputs, 'request')} succeeded"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="format-detection", content="telephone=no"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    sections = (_overview, _outcomes, _times, _money, _queue, _objections, _shards)
    body = tag(
        "body",
        _header(figures, source),
        tag("main", *(section(figures) for section in sections)),
        _footer(figures),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _source(figures: JobFigures) -> str:
    source = figures.view.job.source
    if source is not None:
        return bounded(PurePath(source).name or source, _MAX_TITLE)
    return "Requests from memory" if figures.view.job.requests else "Adopted batches"


def _section(name: str, heading: str, *inside: str) -> Html:
    head = tag("h2", heading, id=f"{name}-heading")
    return tag("section", head, *inside, id=name, aria_labelledby=f"{name}-heading")


def _time(time: dt.datetime) -> Html:
    return tag("time", as_moment(time), datetime=time.isoformat(timespec="seconds"))


def _header(figures: JobFigures, source: str) -> Html:
    job, state = figures.view.job, figures.state
    window = job.options.get("completion_window")
    facts = [
        ("Source", tag("span", bounded(job.source or "from memory", _MAX_FACT))),
        ("Service", tag("span", bounded(job.base_url, _MAX_FACT))),
        ("Begun", _time(figures.begun)),
        ("Last batch ended", _end(figures)),
        ("Job", tag("span", bounded(job.job_id, _MAX_FACT), class_="id")),
    ]
    if isinstance(window, str):
        facts.append(("Completion window", bounded(window, _MAX_TITLE)))
    return tag(
        "header",
        tag("p", "Batch job report", class_="eyebrow"),
        tag("h1", source),
        tag(
            "p",
            tag("span", class_=f"key c-{_STATE_COLOURS[state]}"),
            state.capitalize(),
            class_="state",
            id="state",
            data_state=state,
        ),
        tag("p", _standing(figures), class_="quiet"),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", fact)) for name, fact in facts), class_="facts"),
    )


def _end(figures: JobFigures) -> str:
    if figures.ended is not None:
        return _time(figures.ended)
    return "not known" if figures.view.is_finished else "not yet"


def _standing(figures: JobFigures) -> str:
    """Say in a sentence where the job stands."""
    ledger, view = figures.ledger, figures.view
    if view.is_cancelled and view.is_finished:
        return "The job was cancelled. What its batches had finished by then is collected."
    if view.is_cancelled:
        return "The job was cancelled, and not all of its batches are collected yet."
    if view.is_finished:
        return "Every request has its outcome, and nothing is left to do."
    if ledger.is_complete:
        return "Every request has its outcome; what is left is to clear away the input files at the service."
    rest = as_count(ledger.unfinished, "request")
    have = "has" if ledger.unfinished == 1 else "have"
    return f"{rest} of {ledger.inputs:,} {have} no outcome yet. If the job is not running, run it again: it goes on."


def _tile(name: str, label: str, value: object, big: str, small: str = "") -> Html:
    shown = [tag("span", big, class_="big"), *([tag("small", small)] if small else [])]
    return tag("div", tag("dt", label), tag("dd", *shown, data_figure=name, data_value=str(value)))


def _overview(figures: JobFigures) -> Html:
    ledger, usage = figures.ledger, figures.bill.usage
    inputs = ledger.inputs
    tiles = [
        _tile("inputs", "Requests", inputs, f"{inputs:,}", f"in {as_count(len(ledger.shards), 'part')}"),
        _tile("succeeded", "Succeeded", ledger.succeeded, f"{ledger.succeeded:,}", as_share(ledger.succeeded, inputs)),
        _tile(
            "unsuccessful",
            "Did not succeed",
            figures.unsuccessful,
            f"{figures.unsuccessful:,}",
            as_share(figures.unsuccessful, inputs),
        ),
    ]
    if ledger.unfinished:
        left = as_share(ledger.unfinished, inputs)
        tiles.append(_tile("unfinished", "No outcome yet", ledger.unfinished, f"{ledger.unfinished:,}", left))
    attempts = len(figures.view.attempts)
    tiles += [
        _cost_tile(figures),
        _tile(
            "tokens",
            "Tokens",
            usage.total_tokens,
            f"{usage.total_tokens:,}",
            f"{usage.input_tokens:,} in, {usage.output_tokens:,} out",
        ),
        _tile("batches", "Batches", figures.batches, f"{figures.batches:,}", as_count(attempts, "attempt")),
        _tile(
            "elapsed_s",
            "Took" if figures.view.is_finished else "So far",
            f"{figures.elapsed_s:.0f}",
            as_duration(figures.elapsed_s),
        ),
    ]
    return _section("overview", "At a glance", tag("dl", *tiles, class_="tiles"), *_stack(ledger))


def _stack(ledger: Ledger) -> tuple[Html, Html]:
    """Return all requests as one bar, and its legend."""
    counts = {**{outcome.value: count for outcome, count in ledger.outcomes.items()}, "unfinished": ledger.unfinished}
    there = [(name, count) for name, count in counts.items() if count]
    drawn = tag(
        "div",
        *(tag("span", class_=f"c-{name}", style=f"flex-grow:{count}") for name, count in there),
        class_="stack",
        role="img",
        aria_label=", ".join(f"{count:,} {name}" for name, count in there) or "no requests",
    )
    return drawn, legend((name, name, f"{count:,}") for name, count in there)


def _cost_tile(figures: JobFigures) -> Html:
    bill = figures.bill
    if not bill.by_model:
        why = "no answer says its tokens" if figures.ledger.succeeded else "no answer is counted yet"
        return _tile("cost", "Cost", "", "not known", why)
    shown = as_money(figures.priced, figures.currency)
    if bill.cost is None:
        return _tile(
            "cost",
            "Cost, as far as known",
            figures.priced,
            shown,
            f"and {as_count(len(bill.unpriced_models), 'model')} without a price",
        )
    return _tile("cost", "Cost", bill.cost, shown, f"prices of {bill.prices.as_of}")


def _outcomes(figures: JobFigures) -> Html:
    ledger = figures.ledger
    counts = [(outcome.value, count) for outcome, count in ledger.outcomes.items()]
    counts.append(("unfinished", ledger.unfinished))
    rows = [(name, _MEANINGS[name], count) for name, count in counts if count or name == "succeeded"]
    told = f"{ledger.inputs:,} = {' + '.join(f'{count:,} {name}' for name, _, count in rows)}"
    verdict = "The ledger balances" if ledger.balances else "The ledger does not balance"
    parts = [
        tag("p", f"{verdict}: {told}.", class_="quiet", id="balance", data_balances=str(ledger.balances).lower()),
        bars("outcome", "Requests by outcome", rows, ledger.inputs),
    ]
    if ledger.error_codes:
        parts += [tag("h3", "Errors"), error_bars(ledger.error_codes)]
    return _section("outcomes", "What became of the requests", *parts)


def _times(figures: JobFigures) -> Html:
    lines = figures.lines
    if not lines:
        return _section("times", "When the batches ran", tag("p", "No batch was created yet.", class_="quiet"))
    axis, drawn = Axis.of(lines), _drawn(lines)
    caption = "Each batch, from its creation to its end, by the part of the requests that it holds"
    axis_note = f"Times count from {as_moment(axis.begin)}; a mark at the end of a line says how its batch ended."
    if len(drawn) < len(lines):
        axis_note += (
            f" The lines are the {len(drawn):,} batches that took longest of {len(lines):,}; "
            f"the other {len(lines) - len(drawn):,} are not drawn as lines, and are in the chart above them."
        )
    if figures.undrawn:
        none = as_count(figures.undrawn, "attempt")
        axis_note += f" {none} {'has' if figures.undrawn == 1 else 'have'} no batch with a time yet, and no line."
    return _section(
        "times",
        "When the batches ran",
        tag("p", axis_note, class_="quiet", data_drawn=len(drawn), data_batches=len(lines)),
        state_legend(lines),
        *([area(lines, axis)] if len(lines) > 1 else []),
        tag(
            "figure",
            tag("figcaption", caption),
            gantt(drawn, axis),
        ),
    )


def _drawn(lines: tuple[AttemptLine, ...]) -> list[AttemptLine]:
    """Return the batches that have room: the longest ones, in the order of the shards."""
    longest = sorted(lines, key=lambda line: -line.seconds)[:_MAX_ROWS]
    return sorted(longest, key=lambda line: (line.shard, line.number))


def _money(figures: JobFigures) -> Html:
    bill = figures.bill
    if not figures.models:
        text = "No answer that was counted so far says how many tokens it took."
        return _section("tokens", "Tokens and cost", tag("p", text, class_="quiet"))
    said = f"As the answers that are counted say, at the prices of {bill.prices.as_of} for a batch."
    notes = [f"{said} Prices change and contracts differ: what the service bills is what counts."]
    if bill.unpriced_models:
        left_out = sum(bill.by_model[model].usage.total_tokens for model in bill.unpriced_models)
        notes.append(
            f"The table of prices has none for {as_count(len(bill.unpriced_models), 'model')}, marked unpriced: "
            f"{as_count(left_out, 'token')} of {bill.usage.total_tokens:,} are not in the cost."
        )
    names = (("fresh", "input"), ("cached", "cached input"), ("written", "output"), ("reasoning", "reasoning"))
    return _section(
        "tokens",
        "Tokens and cost",
        *(tag("p", note, class_="quiet") for note in notes),
        token_table(figures),
        legend((colour, name, "") for colour, name in names),
    )


def _queue(figures: JobFigures) -> Html:
    if not figures.waiting.seconds and not figures.whole.seconds:
        text = "No batch says yet when it ran."
        return _section("queue", "Waiting at the service", tag("p", text, class_="quiet"))
    drawings = [
        histogram(spread, caption)
        for spread, caption in (
            (figures.waiting, "Batches by how long they waited before they ran"),
            (figures.whole, "Batches by how long it was until they were completed"),
        )
        if len(spread.seconds) >= _MIN_DRAWN
    ]
    note = "By the service's own times. Only batches that say both times are counted."
    parts = [tag("p", note, class_="quiet"), queue_table(figures)]
    if drawings:
        parts.append(tag("div", *drawings, class_="pair"))
    return _section("queue", "Waiting at the service", *parts)


def _objections(figures: JobFigures) -> Html:
    if not figures.objections:
        return Html()
    return _section("objections", "What the service objected to", objection_table(figures.objections))


def _shards(figures: JobFigures) -> Html:
    shards = figures.ledger.shards
    notes = ["Each part of the requests goes out as a batch, and what has to be sent again as one more."]
    if doubled := sum(shard.doubled for shard in shards):
        notes.append(f"Left out, because their request has another one: {as_count(doubled, 'line')} of result files.")
    if foreign := sum(shard.foreign for shard in shards):
        notes.append(f"Left out, because they belong to no request: {as_count(foreign, 'line')} of result files.")
    if figures.refusals:
        notes.append(f"The service had no room {as_count(figures.refusals, 'time')}; those batches were created again.")
    return _section(
        "ledger",
        "The ledger, part by part",
        *(tag("p", note, class_="quiet") for note in notes),
        ledger_table(shards),
    )


def _footer(figures: JobFigures) -> Html:
    made = tag("p", f"Made by openai_batches {__version__} on ", _time(figures.now), ". All times are in UTC.")
    return tag("footer", made, id="made", data_now=figures.now.isoformat())
