"""The drawings of a report, as HTML that needs no script: bars, a chart of batches over time, histograms.

Pure functions of values: no network, no clock, no disk.
"""

from __future__ import annotations

import datetime as dt
from itertools import accumulate
from typing import TYPE_CHECKING

import attrs

from openai_batches._text import as_count, as_duration
from openai_batches.models import BatchStatus
from openai_batches.report.markup import Html, bounded, tag
from openai_batches.report.scales import bins_of, levels_of, step_of
from openai_batches.report.stylesheet import STATE_COLOURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from openai_batches.report.figures import AttemptLine, Spread
    from openai_batches.resources.progress import Span

__all__ = ["Axis", "area", "bar", "gantt", "histogram", "legend", "state_legend"]

_OTHER = "other"
_STATES = tuple(STATE_COLOURS)
_ENDS = tuple(status.value for status in BatchStatus if status.is_terminal)
_MAX_TICKS, _MAX_BINS, _MAX_STATE = 5, 12, 40
_AREA_WIDTH, _AREA_HEIGHT = 160, 100
# A tick this close to the end has no room for its words.
_ROOM = 0.93


@attrs.frozen
class Axis:
    """A length of time that is drawn from left to right.

    Attributes:
        begin: its left end.
        length_s: how long it is; more than 0.
        step_s: from one tick to the next.
    """

    begin: dt.datetime
    length_s: float
    step_s: float

    @classmethod
    def of(cls, lines: Sequence[AttemptLine]) -> Axis:
        """Return the axis on which all of these, at least one, have room."""
        begin = min(line.spans[0].begin for line in lines)
        end = max(line.spans[-1].end for line in lines)
        length_s = max((end - begin).total_seconds(), 1.0)
        return cls(begin, length_s, step_of(length_s, _MAX_TICKS))

    def place(self, time: dt.datetime) -> float:
        """Return where a time is, from 0 at the left to 1 at the right."""
        return (time - self.begin).total_seconds() / self.length_s

    @property
    def style(self) -> str:
        """The distance of its lines."""
        return f"--step:{100 * self.step_s / self.length_s:.4f}%"

    def drawn(self) -> Html:
        """Return its ticks in words."""
        ticks = [tag("span", "0", style="left:0%")]
        for number in range(1, int(self.length_s / self.step_s) + 1):
            place = number * self.step_s / self.length_s
            last = "last" if place > _ROOM else None
            ticks.append(tag("span", as_duration(number * self.step_s), class_=last, style=f"left:{100 * place:.2f}%"))
        return tag("div", *ticks, class_="axis", aria_hidden="true")


def legend(entries: Iterable[tuple[str, str, str]]) -> Html:
    """Return a legend: for each entry the class of its colour, its name, and what stands behind it."""
    return tag(
        "ul",
        *(
            tag("li", tag("span", class_=f"key c-{colour}"), name, *([tag("b", value)] if value else []))
            for colour, name, value in entries
        ),
        class_="legend",
    )


def bar(parts: Iterable[tuple[str, float]], share: float) -> Html:
    """Return a bar of some parts, each a colour and a weight, which is as long as its share of the whole width."""
    spans = [tag("span", class_=colour, style=f"flex-grow:{weight:g}") for colour, weight in parts if weight]
    return tag("div", *spans, class_="bar", style=f"width:{100 * share:.2f}%", aria_hidden="true") if spans else Html()


def state_legend(lines: Iterable[AttemptLine]) -> Html:
    """Return the legend of the states that are drawn: those that last as areas, and the ends as marks."""
    seen = {span.state for line in lines for span in line.spans}
    lasting = [state for state in _STATES if state in seen]
    if any(state not in _STATES and state not in _ENDS for state in seen):
        lasting.append(_OTHER)
    entries = [tag("li", tag("span", class_=f"key c-{state}"), state.replace("_", " ")) for state in lasting]
    entries += [tag("li", tag("span", class_=f"mark e-{end}"), end) for end in _ENDS if end in seen]
    return tag("ul", *entries, class_="legend")


def area(lines: Sequence[AttemptLine], axis: Axis) -> Html:
    """Return a drawing of how many batches were in each state, over time."""
    words = f"up to {as_count(_most_at_once(lines), 'batch', 'batches')} at once"
    drawing = tag(
        "svg",
        tag("title", "Open batches over time", id="area-title"),
        tag("desc", f"How many batches were open, by state, in {as_duration(axis.length_s)}: {words}.", id="area-desc"),
        *_layers(lines, axis),
        viewBox=f"0 0 {_AREA_WIDTH} {_AREA_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_labelledby="area-title area-desc",
    )
    plot = tag("div", drawing, class_="plot", style=axis.style)
    return tag("figure", tag("figcaption", f"Open batches by state, {words}"), plot, axis.drawn())


def _most_at_once(lines: Iterable[AttemptLine]) -> int:
    changes = [
        (time, change) for line in lines for time, change in ((line.spans[-1].end, -1), (line.spans[0].begin, 1))
    ]
    # One that ends when another begins was not open beside it.
    return max(1, *accumulate(change for _, change in sorted(changes)))


def _layers(lines: Iterable[AttemptLine], axis: Axis) -> Iterable[Html]:
    """Return an area for each state, one upon the other."""
    by_state: dict[str, list[tuple[float, float]]] = {state: [] for state in _STATES}
    for line in lines:
        for span in line.spans:
            if span.state not in _ENDS:
                by_state[_drawn_state(span)].append((axis.place(span.begin), axis.place(span.end)))
    levels = {state: levels_of(spans, _AREA_WIDTH) for state, spans in by_state.items() if spans}
    peak = max((sum(column) for column in zip(*levels.values(), strict=True)), default=0.0) or 1.0
    floor = [0.0] * _AREA_WIDTH
    for state, heights in levels.items():
        ceiling = [low + height for low, height in zip(floor, heights, strict=True)]
        yield tag("path", class_=f"c-{state}", d=_outline(floor, ceiling, peak))
        floor = ceiling


def _outline(floor: list[float], ceiling: list[float], peak: float) -> str:
    """Return the path around what is between two lines of steps: there above, and back below."""
    scale = 0.96 * _AREA_HEIGHT / peak

    def step(level: float, begin: int, end: int) -> str:
        height = f"{_AREA_HEIGHT - scale * level:.4g}"
        return f"L{begin} {height}L{end} {height}"

    there = "".join(step(level, place, place + 1) for place, level in enumerate(ceiling))
    back = "".join(step(floor[place], place + 1, place) for place in reversed(range(len(floor))))
    return f"M{there[1:]}{back}Z"


def gantt(lines: Sequence[AttemptLine], axis: Axis) -> Html:
    """Return a row for each batch, with the states it went through one behind the other."""
    rows = tag("ol", *(_row(line, axis) for line in lines), class_="rows")
    under = tag("div", tag("span", class_="side"), axis.drawn(), class_="under")
    return tag("div", rows, under, class_="gantt", style=axis.style)


def _row(line: AttemptLine, axis: Axis) -> Html:
    last = line.spans[-1].state
    words = _worded(last)
    again = tag("small", f", attempt {line.number}") if line.number > 1 else Html()
    return tag(
        "li",
        tag("span", f"Part {line.shard:,}", again, class_="who"),
        tag(
            "span",
            *(_piece(span, axis) for span in line.spans if span.state not in _ENDS),
            *([tag("span", class_=f"end e-{last}", style=_left(line.spans[-1], axis))] if last in _ENDS else []),
            class_="line",
            role="img",
            aria_label=", ".join(_told(span) for span in line.spans),
        ),
        tag("span", f"{words}, {as_duration(line.seconds)}", class_="what"),
        data_shard=line.shard,
        data_attempt=line.number,
        data_state=words,
    )


def _piece(span: Span, axis: Axis) -> Html:
    width = axis.place(span.end) - axis.place(span.begin)
    style = f"{_left(span, axis)};width:{100 * width:.3f}%"
    return tag("span", class_=f"c-{_drawn_state(span)}", style=style)


def _left(span: Span, axis: Axis) -> str:
    return f"left:{100 * axis.place(span.begin):.3f}%"


def _told(span: Span) -> str:
    state = _worded(span.state)
    return state if span.state in _ENDS else f"{state} {as_duration(span.seconds)}"


def _worded(state: str) -> str:
    return bounded(state.replace("_", " "), _MAX_STATE)


def _drawn_state(span: Span) -> str:
    return span.state if span.state in STATE_COLOURS else _OTHER


def histogram(spread: Spread, caption: str) -> Html:
    """Return a small histogram of lengths of time, at least one."""
    bins = bins_of(spread.seconds, _MAX_BINS)
    most = max(bin_.count for bin_ in bins)
    told = ", ".join(
        f"{as_duration(bin_.begin_s)} to {as_duration(bin_.end_s)}: {bin_.count:,}" for bin_ in bins if bin_.count
    )
    columns = [
        tag(
            "span",
            *([tag("b", f"{bin_.count:,}")] if bin_.count else []),
            class_=None if bin_.count else "none",
            style=f"height:{100 * bin_.count / most:.1f}%",
            data_count=bin_.count,
        )
        for bin_ in bins
    ]
    ends = (as_duration(bins[0].begin_s), as_duration(bins[-1].end_s))
    return tag(
        "figure",
        tag("figcaption", caption),
        tag("div", *columns, class_="columns", role="img", aria_label=told),
        tag("div", *(tag("span", end) for end in ends), class_="ends", aria_hidden="true"),
        class_="histogram",
    )
