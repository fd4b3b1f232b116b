"""Which of several lines for one request counts: the first success, else the first line that can be read."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from openai_batches.results.result import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BestLines", "rank_of"]

# The best line for a request is the first with the lowest rank.
_BEST, _READABLE, _UNREADABLE, _NO_LINE = range(4)
_RANKS = {Outcome.SUCCEEDED: _BEST, Outcome.INVALID: _UNREADABLE}


def rank_of(outcome: Outcome) -> int:
    """Return the rank of a line that says so; the lowest is the best."""
    return _RANKS.get(outcome, _READABLE)


class BestLines:
    """The rank of the best line so far for each of some requests, which are numbered from 0 and have different ids.

    One byte is kept for each.
    """

    def __init__(self, ids: Sequence[object]) -> None:
        self._ids = ids
        self._ranks = bytearray([_NO_LINE]) * len(ids)
        self._next = 0

    @functools.cached_property
    def numbers(self) -> dict[object, int]:
        """Id → number of its request."""
        return {custom_id: number for number, custom_id in enumerate(self._ids)}

    def number_of(self, custom_id: object) -> int | None:
        """Return the number of a request; None for an id that none of them has."""
        return self.numbers.get(custom_id)

    def has_line(self, number: int) -> bool:
        """Tell whether a request has a line already."""
        return self._ranks[number] != _NO_LINE

    def take(self, number: int, rank: int) -> bool:
        """Take the next line for a request, and tell whether it is the best so far."""
        is_better = rank < self._ranks[number]
        if is_better:
            self._ranks[number] = rank
        return is_better

    def take_successes(self, ids: Sequence[object]) -> Sequence[int] | None:
        """Take a success for each of some requests and return their numbers.

        None: nothing was taken, since one of these ids is no request's, stands here twice or has a line already.
        """
        numbers = self._following(ids)
        if numbers is not None:
            if any(rank != _NO_LINE for rank in self._ranks[numbers.start : numbers.stop]):
                return None
            self._ranks[numbers.start : numbers.stop] = bytes([_BEST]) * len(numbers)
            self._next = numbers.stop
            return numbers
        found = [self.numbers.get(custom_id, -1) for custom_id in ids]
        if -1 in found or len(set(found)) < len(found) or any(map(self.has_line, found)):
            return None
        for number in found:
            self._ranks[number] = _BEST
        return found

    def _following(self, ids: Sequence[object]) -> range | None:
        """Return the numbers of the next requests if these are their ids: then nothing has to be looked up.

        Most services answer in the order of the requests.
        """
        numbers = range(self._next, self._next + len(ids))
        return numbers if ids == self._ids[numbers.start : numbers.stop] else None

    def forget(self, number: int) -> None:
        """Take no account of the lines so far for a request."""
        self._ranks[number] = _NO_LINE
