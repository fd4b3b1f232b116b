"""One batch on a page: everything that is known of it, in groups."""

import datetime as dt
from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from openai_batches import Batch, Bill
from openai_batches._text import as_count
from openai_batches.cli.output.batch_cells import (
    counts_cell,
    failed_count,
    left_cell,
    progress_bar,
    status_cell,
    status_style,
)
from openai_batches.cli.output.texts import age_text, clean, lasting_text, money_text, one_line, time_text
from openai_batches.resources.progress import Span, spans_of

__all__ = ["batch_page"]

_INDENT = 2
# Wider bars say no more.
_WIDEST_BAR = 72
_NARROWEST_BAR = 8
_MOST_ERRORS = 20
_TIMES = (
    ("created", "created_at"),
    ("in progress", "in_progress_at"),
    ("finalizing", "finalizing_at"),
    ("cancelling", "cancelling_at"),
    ("completed", "completed_at"),
    ("failed", "failed_at"),
    ("expired", "expired_at"),
    ("cancelled", "cancelled_at"),
    ("expires", "expires_at"),
)

_Row = tuple[str, Text]


def batch_page(batch: Batch, now: dt.datetime, width: int) -> Group:
    """Return all that is known of a batch, for so many columns; what is longer goes on in the next line."""
    groups = (
        ("Batch", _about(batch)),
        ("Requests", _requests(batch, now, width)),
        ("Times", _times(batch, now)),
        ("States", _states(batch, now, width)),
        ("Files", _files(batch)),
        ("Usage", _usage(batch)),
        ("Metadata", [(clean(key), Text(clean(value))) for key, value in (batch.metadata or {}).items()]),
        ("Errors", _errors(batch)),
    )
    parts: list[RenderableType] = [Text.assemble((one_line(batch.id), "bold"), "  ", status_cell(batch))]
    for title, rows in groups:
        if rows:
            parts += [Text(), Text(title, "bold"), *_aligned(rows, width)]
    return Group(*parts)


def _aligned(rows: list[_Row], width: int) -> Iterable[Text]:
    """Yield the lines of a group: names in one column, and what they mean beside them."""
    indent = " " * _INDENT
    column = min(max(cell_len(name) for name, _ in rows), width // 3)
    for name, value in rows:
        label = Text(f"{indent}{name}{' ' * (column - cell_len(name))}" if column else indent.rstrip())
        space = max(width - _INDENT - column - _INDENT, _NARROWEST_BAR)
        first, *rest = _wrapped(value, space) or [Text()]
        yield Text.assemble(label, indent, first)
        for line in rest:
            yield Text.assemble(" " * (_INDENT + column), indent, line)


def _wrapped(text: Text, width: int) -> list[Text]:
    """Return a text in pieces of at most so many columns, of which nothing is lost."""
    lines: list[Text] = []
    for line in text.split("\n", allow_blank=True):
        rest = line
        while rest.cell_len > width:
            # The last blank in the line is where it is best broken.
            cut = rest.plain.rfind(" ", 1, width) + 1 or width
            head, rest = rest.divide([cut])
            lines.append(head)
        lines.append(rest)
    return lines


def _about(batch: Batch) -> list[_Row]:
    fields = (("endpoint", batch.endpoint), ("model", batch.model), ("window", batch.completion_window))
    return [(name, Text(one_line(value))) for name, value in fields if value]


def _requests(batch: Batch, now: dt.datetime, width: int) -> list[_Row]:
    if not (counts := counts_cell(batch)):
        return []
    words = [f"{counts} done", f"{batch.progress:.0%}"]
    text = Text(", ".join(words))
    if failed := failed_count(batch):
        text.append(", ").append(f"{failed:,} failed", "red")
    if left := left_cell(batch, now):
        text.append(f", {left} left")
    return [("", progress_bar(batch, min(width - 2 * _INDENT, _WIDEST_BAR))), ("", text)]


def _times(batch: Batch, now: dt.datetime) -> list[_Row]:
    rows: list[_Row] = []
    for name, field in _TIMES:
        time: dt.datetime | None = getattr(batch, field)
        # When it would have expired is of no interest once it has ended.
        if time is not None and not (field == "expires_at" and batch.is_terminal):
            rows.append((name, Text.assemble(time_text(time), "  ", (age_text(time, now), "bright_black"))))
    return rows


def _states(batch: Batch, now: dt.datetime, width: int) -> list[_Row]:
    spans = spans_of(batch, now)
    total_s = (spans[-1].end - spans[0].begin).total_seconds() if spans else 0.0
    if total_s <= 0:
        return []
    spans = tuple(span for span in spans if span.seconds > 0)
    lengths = [lasting_text(span.seconds) for span in spans]
    longest = max(map(len, lengths))
    taken = 3 * _INDENT + max(cell_len(span.state) for span in spans) + longest
    space = min(max(width - taken, _NARROWEST_BAR), _WIDEST_BAR)
    return [
        (
            one_line(span.state),
            Text.assemble(length.rjust(longest), "  ", _bar(span, spans[0].begin, total_s, space)),
        )
        for span, length in zip(spans, lengths, strict=True)
    ]


def _bar(span: Span, begin: dt.datetime, total_s: float, space: int) -> Text:
    """Return a span as a bar that stands where it was in the batch's life; the shortest one is seen, too."""
    start = min(int((span.begin - begin).total_seconds() / total_s * space), space - 1)
    stop = max(round((span.end - begin).total_seconds() / total_s * space), start + 1)
    return Text.assemble(" " * start, ("█" * (stop - start), status_style(span.state)))


def _files(batch: Batch) -> list[_Row]:
    fields = (("input", batch.input_file_id), ("output", batch.output_file_id), ("error", batch.error_file_id))
    return [(name, Text(one_line(value))) for name, value in fields if value]


def _usage(batch: Batch) -> list[_Row]:
    usage = batch.usage
    if usage is None or not usage.total_tokens:
        return []
    cached, reasoning = usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens
    bill = Bill()
    bill.add_usage(usage, batch.model or "", requests=None)
    cost = bill.cost
    money = (
        f"{money_text(cost)} (prices of {bill.prices.as_of})"
        if cost is not None
        else f"no price is known for {one_line(batch.model or 'a batch without a model')}"
    )
    return [
        ("input", Text(f"{as_count(usage.input_tokens, 'token')}{f' ({cached:,} cached)' if cached else ''}")),
        (
            "output",
            Text(f"{as_count(usage.output_tokens, 'token')}{f' ({reasoning:,} of reasoning)' if reasoning else ''}"),
        ),
        ("cost", Text(money)),
    ]


def _errors(batch: Batch) -> list[_Row]:
    errors = list(batch.errors or ())
    rows: list[_Row] = []
    for error in errors[:_MOST_ERRORS]:
        place = f"line {error.line:,}" if error.line is not None else "file"
        notes = [one_line(each) for each in (error.code, error.param) if each]
        text = Text(one_line(error.message or "no reason given"), "red")
        rows.append((place, text.append(f" ({', '.join(notes)})" if notes else "", "bright_black")))
    if more := len(errors) - len(rows):
        rows.append(("", Text(f"and {more:,} more: --json has all of them")))
    return rows
