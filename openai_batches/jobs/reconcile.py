"""Count what became of each request of an attempt, from both files of its batch.

Two bytes for each request of the shard are in memory, and a block of lines at a time. All of it is for use in a thread.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

from openai_batches.jobs.journal.records import Tally
from openai_batches.jobs.resend import Standing, standing_of
from openai_batches.jobs.result_files import refused_results
from openai_batches.models import TokenCounts
from openai_batches.results.match import BestLines, rank_of
from openai_batches.results.parse import ResultReader
from openai_batches.results.result import Outcome
from openai_batches.results.summary import ResultSummary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openai_batches.jobs.resend import ResendRule
    from openai_batches.jobs.result_files import AttemptFiles
    from openai_batches.results.parse import LineBlock
    from openai_batches.results.result import BatchResult

__all__ = ["Reconciliation", "reconcile"]

# Codes of errors that are told apart in a tally.
_MAX_CODES = 100


@attrs.define(eq=False)
class Reconciliation:
    """What became of the requests of one attempt.

    Attributes:
        tally: the counts.
        resent: the numbers, from 0, of the requests that are sent again.
    """

    tally: Tally
    resent: frozenset[int]


def reconcile(files: AttemptFiles, rule: ResendRule) -> Reconciliation:
    """Return what became of the requests of an attempt, and which of them are sent again."""
    ids = files.ids()
    count = _Count(ids)
    if files.refused is not None:
        count.add_results(refused_results(ids, files.refused))
    for path in files.result_files:
        reader = ResultReader()
        for block in files.blocks(path):
            count.add(reader.decode(block))
    return count.close(rule)


class _Count:
    """The standing of each request, while the lines are read."""

    def __init__(self, ids: list[str]) -> None:
        self._best = BestLines(ids)
        self._standings = bytearray(len(ids))
        self._summary = ResultSummary()
        self._codes: dict[int, str] = {}
        self._doubled = self._foreign = 0

    def add(self, block: LineBlock) -> None:
        """Take the lines of a block."""
        heads = block.successes()
        numbers = None if heads is None else self._best.take_successes(block.ids())
        if heads is None or numbers is None:
            self.add_results(block.results())
            return
        if isinstance(numbers, range):
            self._standings[numbers.start : numbers.stop] = bytes([Standing.SUCCEEDED]) * len(numbers)
        else:
            for number in numbers:
                self._standings[number] = Standing.SUCCEEDED
        self._summary.add_successes(heads)

    def add_results(self, results: Iterable[BatchResult]) -> None:
        """Take what lines say one by one."""
        best = self._best
        successes: list[BatchResult] = []
        for result in results:
            number = best.number_of(result.custom_id)
            if number is None:
                self._foreign += 1
                continue
            self._doubled += best.has_line(number)
            if not best.take(number, rank_of(result.outcome)):
                continue
            self._standings[number] = standing_of(result)
            if result.outcome is Outcome.SUCCEEDED:
                self._codes.pop(number, None)
                successes.append(result)
            else:
                self._codes[number] = (result.error and result.error.code) or ""
        self._summary.add(successes)

    def close(self, rule: ResendRule) -> Reconciliation:
        """Return what was found."""
        totals = {standing: self._standings.count(standing) for standing in Standing}
        again = {standing for standing in Standing if totals[standing] and rule.resends(standing)}
        resent = (
            frozenset(number for number, one in enumerate(self._standings) if one in again) if again else frozenset()
        )
        outcomes = dict.fromkeys((outcome.value for outcome in Outcome), 0)
        for standing in totals.keys() - again:
            outcomes[standing.outcome.value] += totals[standing]
        codes = Counter(code for number, code in self._codes.items() if number not in resent)
        tally = Tally(
            outcomes={outcome: total for outcome, total in outcomes.items() if total},
            resent=len(resent),
            error_codes=dict(codes.most_common(_MAX_CODES)),
            tokens={model: TokenCounts(*counts) for model, counts in self._summary.tokens.items()},
            doubled=self._doubled,
            foreign=self._foreign,
            is_plain=not (self._doubled or self._foreign or totals[Standing.MISSING]),
        )
        return Reconciliation(tally, resent)
