"""The tables of a report: outcomes and errors with their bars, tokens and cost, waiting, objections, and the ledger.

Pure functions of values: no network, no clock, no disk.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from openai_batches._text import as_count, as_duration, as_money, as_share
from openai_batches.report.charts import bar
from openai_batches.report.markup import Html, bounded, tag
from openai_batches.results.result import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from openai_batches.costs.bill import ModelBill
    from openai_batches.jobs.ledger import ShardLedger
    from openai_batches.models import BatchUsage
    from openai_batches.report.figures import JobFigures, Objection, Spread

__all__ = ["bars", "error_bars", "ledger_table", "objection_table", "queue_table", "token_table"]

_MAX_CODES, _MAX_MODELS, _MAX_OBJECTIONS, _MAX_SHARDS = 20, 40, 50, 1_000
_MAX_NAME, _MAX_TEXT = 120, 400
_NO_CODE = "no code"
# What a person looks for first is beside the name, and seen on a narrow screen too.
_TOKEN_HEADS = ("Cost", "Input", "of it cached", "Output", "of it reasoning")
_SPREAD_HEADS = ("Batches", "Shortest", "Median", "9 of 10 within", "Longest")


def _cell(name: str, number: int, *, label: str | None = None) -> Html:
    """Return a number; the label stands before it where there is no room for a line of heads."""
    kind = "n" if number else "n nil"
    return tag("td", f"{number:,}", class_=kind, data_name=name, data_value=number, data_label=label)


def _head(*names: str, numbers: Iterable[str] = ()) -> Html:
    right = set(numbers)
    cells = (tag("th", name, scope="col", class_="n" if name in right else None) for name in names)
    return tag("thead", tag("tr", *cells))


def _scrolling(label: str, table: Html, *, is_tall: bool = False) -> Html:
    """Return a table in a box of its own, which scrolls where there is no room, by keyboard too."""
    name = "scroll tall" if is_tall else "scroll"
    return tag("div", table, class_=name, role="region", aria_label=label, tabindex=0)


def bars(kind: str, label: str, rows: Sequence[tuple[str, str, int]], whole: int) -> Html:
    """Return a table of counts, each with a bar.

    Args:
        kind: what is counted; each row says its name in ``data-kind``.
        label: the table in words.
        rows: name, explanation and count.
        whole: the number that shares are of.
    """
    most = max((count for *_, count in rows), default=0) or 1
    body: list[Html] = []
    for name, meaning, count in rows:
        colour = f"c-{name}" if kind == "outcome" else "plain"
        key = [tag("span", class_=f"key {colour}")] if kind == "outcome" else []
        words = [tag("small", meaning)] if meaning else []
        head = tag("th", *key, name, *words, bar([(colour, count)], count / most), scope="row")
        share = tag("td", as_share(count, whole), class_="n")
        body.append(tag("tr", head, _cell("count", count), share, data_kind=kind, data_name=name))
    columns = _head(kind.capitalize(), "Requests", "Share", numbers=("Requests", "Share"))
    return _scrolling(label, tag("table", columns, tag("tbody", *body), class_="bars"))


def error_bars(codes: Mapping[str, int]) -> Html:
    """Return a table of the codes that requests failed with, the most frequent ones first."""
    ordered = Counter(codes).most_common()
    rows = [(bounded(code or _NO_CODE, _MAX_NAME), "", count) for code, count in ordered[:_MAX_CODES]]
    if rest := ordered[_MAX_CODES:]:
        rows.append((as_count(len(rest), "other code"), "", sum(count for _, count in rest)))
    return bars("error", "Requests by code of error", rows, sum(codes.values()))


def token_table(figures: JobFigures) -> Html:
    """Return a table of tokens and cost by model, with a row for all of them."""
    models, bill = figures.models, figures.bill
    most = max((model.usage.total_tokens for _, model in models), default=0) or 1
    currency = figures.currency
    rows = [_model_row(name or "not named", model, most, currency) for name, model in models[:_MAX_MODELS]]
    if len(models) > _MAX_MODELS:
        names = as_count(len(models) - _MAX_MODELS, "other model")
        rows.append(tag("tr", tag("th", f"{names}, in the sum alone", scope="row"), tag("td", colspan=5)))
    total = tag(
        "tr",
        tag("th", "All models", scope="row"),
        tag(
            "td",
            as_money(figures.priced, currency),
            *([] if bill.cost is not None else [tag("small", " + unpriced")]),
            class_="n",
            data_name="cost",
            data_value=str(figures.priced),
            data_label=_TOKEN_HEADS[0],
        ),
        *_token_cells(bill.usage),
        id="all-models",
    )
    head = _head("Model", *_TOKEN_HEADS, numbers=_TOKEN_HEADS)
    table = tag("table", head, tag("tbody", *rows), tag("tfoot", total), class_="bars models stacks")
    return _scrolling("Tokens and cost by model", table)


def _model_row(name: str, model: ModelBill, most: int, currency: str) -> Html:
    usage = model.usage
    cached, reasoning = usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens
    parts = [
        ("c-fresh", max(usage.input_tokens - cached, 0)),
        ("c-cached", cached),
        ("c-written", max(usage.output_tokens - reasoning, 0)),
        ("c-reasoning", reasoning),
    ]
    cost = "unpriced" if model.cost is None else as_money(model.cost, currency)
    value = "" if model.cost is None else str(model.cost)
    return tag(
        "tr",
        tag("th", bounded(name, _MAX_NAME), bar(parts, usage.total_tokens / most), scope="row"),
        tag("td", cost, class_="n", data_name="cost", data_value=value, data_label=_TOKEN_HEADS[0]),
        *_token_cells(usage),
        data_model=bounded(name, _MAX_NAME),
    )


def _token_cells(usage: BatchUsage) -> list[Html]:
    numbers = {
        "input": usage.input_tokens,
        "cached": usage.input_tokens_details.cached_tokens,
        "output": usage.output_tokens,
        "reasoning": usage.output_tokens_details.reasoning_tokens,
    }
    labels = _TOKEN_HEADS[1:]
    return [_cell(name, number, label=label) for (name, number), label in zip(numbers.items(), labels, strict=True)]


def queue_table(figures: JobFigures) -> Html:
    """Return a table of how long batches waited and ran."""
    spreads = (
        ("waiting", "Created until it ran", figures.waiting),
        ("running", "Ran until completed", figures.running),
        ("whole", "Created until completed", figures.whole),
    )
    body = tag("tbody", *(_spread_row(*spread) for spread in spreads if spread[-1].seconds))
    return _scrolling(
        "How long batches waited and ran",
        tag("table", _head("How long", *_SPREAD_HEADS, numbers=_SPREAD_HEADS), body, class_="even stacks"),
    )


def _spread_row(name: str, label: str, spread: Spread) -> Html:
    lengths = {"min": spread.seconds[0], "median": spread.median_s, "p90": spread.p90_s, "max": spread.seconds[-1]}
    cells = [
        tag("td", as_duration(length_s), class_="n", data_name=key, data_value=f"{length_s:g}", data_label=head)
        for (key, length_s), head in zip(lengths.items(), _SPREAD_HEADS[1:], strict=True)
    ]
    count = _cell("count", len(spread.seconds), label=_SPREAD_HEADS[0])
    return tag("tr", tag("th", label, scope="row"), count, *cells, data_spread=name)


def objection_table(objections: Sequence[Objection]) -> Html:
    """Return a table of what the service found wrong with batches."""
    rows = [
        tag(
            "tr",
            tag("th", f"{one.shard:,}", scope="row"),
            tag("td", f"{one.number:,}", class_="n"),
            tag("td", bounded(one.batch_id, _MAX_NAME), class_="id"),
            tag("td", bounded(one.code or _NO_CODE, _MAX_NAME)),
            tag("td", bounded(one.text, _MAX_TEXT)),
            data_objection=one.shard,
        )
        for one in objections[:_MAX_OBJECTIONS]
    ]
    head = _head("Part", "Attempt", "Batch", "Code", "What it said", numbers=("Attempt",))
    table = tag("table", head, tag("tbody", *rows))
    shown = _scrolling("What the service objected to", table, is_tall=True)
    if len(objections) <= _MAX_OBJECTIONS:
        return shown
    note = f"These are the first {_MAX_OBJECTIONS} of {len(objections):,}."
    return tag("div", tag("p", note, class_="quiet"), shown)


def ledger_table(shards: Sequence[ShardLedger]) -> Html:
    """Return the ledger by shard. Of very many shards, those without a hitch are one row together."""
    outcomes = [
        outcome
        for outcome in Outcome
        if outcome is Outcome.SUCCEEDED or any(shard.outcomes.get(outcome) for shard in shards)
    ]
    shown = _shown(shards)
    rows = [_shard_row(shard, outcomes) for shard in shown]
    numbers = ("Requests", *(outcome.value.capitalize() for outcome in outcomes), "Unfinished", "Attempts")
    head = _head("Part", *numbers, "Step", "Model", "Endpoint", "Batches", numbers=numbers)
    if len(shown) < len(shards):
        numbers_shown = {shard.shard for shard in shown}
        rest = [shard for shard in shards if shard.shard not in numbers_shown]
        rows.append(_sum_row(as_count(len(rest), "other part"), rest, outcomes, name="others"))
    total = _sum_row("All parts", shards, outcomes, name="all-shards")
    table = tag("table", head, tag("tbody", *rows), tag("tfoot", total), class_="wide")
    drawn = _scrolling("What became of the requests of each part", table, is_tall=True)
    if len(shown) == len(shards):
        return drawn
    note = (
        f"{len(shown):,} of {len(shards):,} parts have a row of their own, those first that did not go smoothly; "
        "the others are one row together, and in the sums."
    )
    return tag("div", tag("p", note, class_="quiet"), drawn)


def _shown(shards: Sequence[ShardLedger]) -> list[ShardLedger]:
    def is_smooth(shard: ShardLedger) -> bool:
        return shard.attempts == 1 and shard.outcomes.get(Outcome.SUCCEEDED, 0) == shard.inputs

    return sorted(sorted(shards, key=is_smooth)[:_MAX_SHARDS], key=lambda shard: shard.shard)


def _shard_row(shard: ShardLedger, outcomes: Sequence[Outcome]) -> Html:
    ids = [part for batch_id in shard.batch_ids for part in (tag("br"), bounded(batch_id, _MAX_NAME))]
    return tag(
        "tr",
        tag("th", f"{shard.shard:,}", scope="row"),
        *_numbers([shard], outcomes),
        tag("td", shard.step.value, data_name="step"),
        tag("td", bounded(shard.model or "not known", _MAX_NAME), data_name="model"),
        tag("td", bounded(shard.endpoint, _MAX_NAME), data_name="endpoint"),
        tag("td", *ids[1:], class_="id", data_name="batches"),
        data_shard=shard.shard,
    )


def _sum_row(label: str, shards: Sequence[ShardLedger], outcomes: Sequence[Outcome], *, name: str) -> Html:
    return tag("tr", tag("th", label, scope="row"), *_numbers(shards, outcomes), tag("td", colspan=4), id=name)


def _numbers(shards: Sequence[ShardLedger], outcomes: Sequence[Outcome]) -> list[Html]:
    return [
        _cell("inputs", sum(shard.inputs for shard in shards)),
        *(_cell(outcome.value, sum(shard.outcomes.get(outcome, 0) for shard in shards)) for outcome in outcomes),
        _cell("unfinished", sum(shard.unfinished for shard in shards)),
        _cell("attempts", sum(shard.attempts for shard in shards)),
    ]
