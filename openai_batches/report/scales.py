"""Lengths of time on a scale: round steps for an axis, bins for a histogram, and levels over time for an area.

Pure functions of values: no network, no clock.
"""

from __future__ import annotations

import bisect
import math
from itertools import accumulate
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Bin", "bins_of", "levels_of", "step_of"]

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
_STEPS_S: tuple[float, ...] = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(minutes * _MINUTE_S for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR_S for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY_S for days in (1, 2, 5, 10, 20, 50, 100)),
)
# From how long a length on, how exactly it is told.
_FINEST = ((_DAY_S, _HOUR_S), (_HOUR_S, _MINUTE_S), (10, 1))


@attrs.frozen
class Bin:
    """How many lengths are between two.

    Attributes:
        begin_s: from this one on.
        end_s: up to this one, which is in the next bin, if there is one.
        count: how many.
    """

    begin_s: float
    end_s: float
    count: int


def step_of(length_s: float, max_steps: int) -> float:
    """Return the smallest round step of which at most so many go into a length."""
    wanted = length_s / max_steps
    place = bisect.bisect_left(_STEPS_S, wanted)
    if place < len(_STEPS_S):
        return _STEPS_S[place]
    return math.ceil(wanted / _STEPS_S[-1]) * _STEPS_S[-1]


def bins_of(seconds: Sequence[float], max_bins: int) -> tuple[Bin, ...]:
    """Return a histogram of lengths, from the bin of the shortest to that of the longest.

    Args:
        seconds: the lengths, at least one, the shortest one first.
        max_bins: how many bins there are at most, at least 2.
    """
    # No bin is narrower than what the words for its edges tell apart.
    finest_s = next((step_s for least_s, step_s in _FINEST if seconds[-1] >= least_s), _STEPS_S[0])
    step_s = max(step_of(seconds[-1] - seconds[0], max_bins - 1), finest_s)
    first = math.floor(seconds[0] / step_s)
    counts = [0] * (math.floor(seconds[-1] / step_s) - first + 1)
    for length_s in seconds:
        counts[math.floor(length_s / step_s) - first] += 1
    return tuple(
        Bin((first + place) * step_s, (first + place + 1) * step_s, count) for place, count in enumerate(counts)
    )


def levels_of(spans: Iterable[tuple[float, float]], width: int) -> list[float]:
    """Return how many spans there are at once, on average in each of so many equal parts of the whole.

    Args:
        spans: where each begins and ends; 0 is the beginning of the whole, 1 its end.
        width: how many parts.
    """
    within = [0.0] * (width + 1)
    after = [0.0] * (width + 2)
    for span in spans:
        for edge, change in zip(span, (1.0, -1.0), strict=True):
            place = min(int(edge * width), width)
            within[place] += change * (place + 1 - edge * width)
            after[place + 1] += change
    return [max(level + part, 0.0) for level, part in zip(accumulate(after), within, strict=False)][:width]
