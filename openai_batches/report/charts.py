"""What the charts of a report are drawn from: places on an axis of time, outlines of areas, and bins of histograms.

Pure functions of values: no network, no clock, no disk. The elements are written in ``page.html``.
"""

from __future__ import annotations

import bisect
import datetime as dt
import math
from itertools import accumulate
from typing import TYPE_CHECKING

import attrs

from openai_batches._text import as_duration
from openai_batches.models import BatchStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from openai_batches.report.figures import AttemptLine

__all__ = ["ENDS", "STATES", "Axis", "Bin", "bins_of", "drawn_state", "layers", "levels_of", "most_at_once", "step_of"]

# The states that last, in the order in which areas lie upon each other, and those that are drawn as a mark.
STATES = ("validating", "in_progress", "finalizing", "cancelling", "other")
ENDS = tuple(status.value for status in BatchStatus if status.is_terminal)
_MAX_TICKS, _MAX_BINS = 5, 12
# The text of a tick that is closer to the right end than this is written to its left.
_LAST_TICK = 0.93
_AREA_WIDTH, _AREA_HEIGHT = 160, 100

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_STEPS_S: tuple[float, ...] = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(minutes * _MINUTE_S for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR_S for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY_S for days in (1, 2, 5, 10, 20, 50, 100)),
)
# From how long a duration on, how exactly ``as_duration`` writes it.
_FINEST = ((_DAY_S, _HOUR_S), (_HOUR_S, _MINUTE_S), (10, 1))


@attrs.frozen
class Axis:
    """A length of time, more than 0, that is drawn from left to right, with a tick after each step."""

    begin: dt.datetime
    length_s: float
    step_s: float

    @classmethod
    def of(cls, lines: Sequence[AttemptLine]) -> Axis:
        """Return the axis from the first beginning to the last end of some lines, at least one."""
        begin = min(line.spans[0].begin for line in lines)
        end = max(line.spans[-1].end for line in lines)
        length_s = max((end - begin).total_seconds(), 1.0)
        return cls(begin, length_s, step_of(length_s, _MAX_TICKS))

    def percent(self, time: dt.datetime) -> float:
        """Return where a time is, from 0 at the left to 100 at the right."""
        return 100 * (time - self.begin).total_seconds() / self.length_s

    @property
    def ticks(self) -> list[tuple[str, float, bool]]:
        """The text of each tick, its place in percent, and whether the text is written to the left of it."""
        times_s = [number * self.step_s for number in range(int(self.length_s / self.step_s) + 1)]
        places = [(time_s, time_s / self.length_s) for time_s in times_s]
        return [(as_duration(time_s) if time_s else "0", 100 * at, at > _LAST_TICK) for time_s, at in places]


def drawn_state(state: str) -> str:
    """Return the state whose colour a lasting state is drawn in."""
    return state if state in STATES else "other"


def most_at_once(lines: Iterable[AttemptLine]) -> int:
    """Return how many batches were open at the same time at most."""
    changes = [
        (time, change) for line in lines for time, change in ((line.spans[-1].end, -1), (line.spans[0].begin, 1))
    ]
    # At one time, ends sort before beginnings: a batch that ends when another one begins was not open beside it.
    return max(1, *accumulate(change for _, change in sorted(changes)))


def layers(lines: Iterable[AttemptLine], axis: Axis) -> Iterable[tuple[str, str]]:
    """Return for each state the outline of its area, an SVG path 160 wide and 100 high, one upon the other."""
    by_state: dict[str, list[tuple[float, float]]] = {state: [] for state in STATES}
    for line in lines:
        for span in line.spans:
            if span.state not in ENDS:
                edges = (axis.percent(span.begin) / 100, axis.percent(span.end) / 100)
                by_state[drawn_state(span.state)].append(edges)
    levels = {state: levels_of(spans, _AREA_WIDTH) for state, spans in by_state.items() if spans}
    peak = max((sum(column) for column in zip(*levels.values(), strict=True)), default=0.0) or 1.0
    lower = [0.0] * _AREA_WIDTH
    for state, heights in levels.items():
        upper = [low + height for low, height in zip(lower, heights, strict=True)]
        yield state, _outline(lower, upper, peak)
        lower = upper


def _outline(lower: list[float], upper: list[float], peak: float) -> str:
    """Return the path around what is between two lines of steps: to the right above, and back below."""
    scale = 0.96 * _AREA_HEIGHT / peak

    def step(level: float, begin: int, end: int) -> str:
        height = f"{_AREA_HEIGHT - scale * level:.4g}"
        return f"L{begin} {height}L{end} {height}"

    there = "".join(step(level, place, place + 1) for place, level in enumerate(upper))
    back = "".join(step(lower[place], place + 1, place) for place in reversed(range(len(lower))))
    return f"M{there[1:]}{back}Z"


def levels_of(spans: Iterable[tuple[float, float]], width: int) -> list[float]:
    """Return how many spans there are at once, on average in each of ``width`` equal sections of the whole.

    A span is where it begins and ends; 0 is the beginning of the whole, 1 its end.
    """
    within = [0.0] * (width + 1)
    after = [0.0] * (width + 2)
    for span in spans:
        for edge, change in zip(span, (1.0, -1.0), strict=True):
            place = min(int(edge * width), width)
            within[place] += change * (place + 1 - edge * width)
            after[place + 1] += change
    return [max(level + part, 0.0) for level, part in zip(accumulate(after), within, strict=False)][:width]


def step_of(length_s: float, max_steps: int) -> float:
    """Return the smallest round step of which at most ``max_steps`` go into a length."""
    wanted = length_s / max_steps
    place = bisect.bisect_left(_STEPS_S, wanted)
    if place < len(_STEPS_S):
        return _STEPS_S[place]
    return math.ceil(wanted / _STEPS_S[-1]) * _STEPS_S[-1]


@attrs.frozen
class Bin:
    """How many durations are at least ``begin_s`` and below ``end_s``."""

    begin_s: float
    end_s: float
    count: int


def bins_of(seconds: Sequence[float], max_bins: int = _MAX_BINS) -> tuple[Bin, ...]:
    """Return a histogram of durations, at least one and ascending, in at most ``max_bins`` (2 or more) bins."""
    # A narrower bin would have the same text at both of its edges.
    finest_s = next((step_s for least_s, step_s in _FINEST if seconds[-1] >= least_s), _STEPS_S[0])
    step_s = max(step_of(seconds[-1] - seconds[0], max_bins - 1), finest_s)
    first = math.floor(seconds[0] / step_s)
    counts = [0] * (math.floor(seconds[-1] / step_s) - first + 1)
    for length_s in seconds:
        counts[math.floor(length_s / step_s) - first] += 1
    return tuple(
        Bin((first + place) * step_s, (first + place + 1) * step_s, count) for place, count in enumerate(counts)
    )
