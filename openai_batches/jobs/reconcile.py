"""What became of each request of an attempt, from both files of its batch.

One shard is at hand at a time: a number for each of its requests, and where their lines are, not the lines themselves.
All of it blocks, and is meant for a thread.
"""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

from openai_batches.errors import JournalError
from openai_batches.jobs.journal.records import Tally
from openai_batches.jobs.resend import Standing, standing_of
from openai_batches.models import TokenCounts
from openai_batches.requests.read import blocks_of_path
from openai_batches.results.inputs import ids_in_block
from openai_batches.results.match import BestLines, rank_of
from openai_batches.results.parse import ResultReader
from openai_batches.results.result import BatchResult, Outcome, ResultError, missing_result
from openai_batches.results.summary import ResultSummary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from openai_batches.jobs.resend import ResendRule
    from openai_batches.models import Batch
    from openai_batches.results.parse import LineBlock

__all__ = ["Reconciliation", "check_size", "custom_ids", "reconcile", "refused_results", "result_blocks"]

_NO_SIZES: MappingProxyType[Path, int] = MappingProxyType({})
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


def check_size(path: Path, size: int | None) -> None:
    """Refuse a file of a job that has not the size that the journal knows, if it knows one.

    Raises:
        JournalError: it has another one.
        OSError: it is not there any more.
    """
    now = size if size is None else path.stat().st_size
    if now != size:
        raise JournalError(
            f"{path}, which the job needs, was changed on the disk: it has {now:,} bytes, and had {size:,}. Put a copy "
            "of it in its place; a result file can be downloaded again by batches.download, while the service has it"
        )


def custom_ids(path: Path, size: int | None = None) -> list[str]:
    """Return the ids of the requests in a file, in their order.

    Args:
        path: the file.
        size: what its size must be; None: anything.

    Raises:
        JournalError: the file is not there any more, or is not what was written.
    """
    ids: list[str] = []
    try:
        check_size(path, size)
        for block in blocks_of_path(path):
            ids += ids_in_block(block)
    except (OSError, ValueError) as error:
        raise JournalError(f"{path}, which the job needs, cannot be read: {error}") from error
    return ids


def reconcile(
    requests: Path,
    result_files: list[Path],
    rule: ResendRule,
    *,
    batch: Batch | None = None,
    sizes: Mapping[Path, int] = _NO_SIZES,
) -> Reconciliation:
    """Return what became of the requests of an attempt.

    Args:
        requests: the file of the requests.
        result_files: the output file, then the error file, those of them that there are.
        rule: which requests are sent again.
        batch: the batch, where the service failed it as a whole: then there are no files.
        sizes: what the files' sizes must be, where that is known.

    Raises:
        JournalError: a file is not there any more, cannot be read, or was changed.
    """
    ids = custom_ids(requests, sizes.get(requests))
    count = _Count(ids)
    if batch is not None:
        count.add_results(refused_results(ids, batch))
    for path in result_files:
        reader = ResultReader()
        for block in result_blocks(path, sizes.get(path)):
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
        again = set(filter(rule.resends, Standing))
        resent = frozenset(number for number, standing in enumerate(self._standings) if standing in again)
        totals = {Standing(number): total for number, total in Counter(self._standings).items()}
        outcomes: Counter[str] = Counter()
        for standing, total in totals.items():
            if standing not in again:
                outcomes[standing.outcome.value] += total
        codes = Counter(code for number, code in self._codes.items() if number not in resent)
        tally = Tally(
            outcomes={outcome.value: outcomes[outcome.value] for outcome in Outcome if outcomes[outcome.value]},
            resent=len(resent),
            error_codes=dict(codes.most_common(_MAX_CODES)),
            tokens={model: TokenCounts(*counts) for model, counts in self._summary.tokens.items()},
            doubled=self._doubled,
            foreign=self._foreign,
            is_plain=not (self._doubled or self._foreign or Standing.MISSING in totals),
        )
        return Reconciliation(tally, resent)


def refused_results(ids: list[str], batch: Batch) -> Iterator[BatchResult]:
    """Yield the results of a batch that was refused as a whole.

    Where the service names lines, the requests on these lines failed, and the others never ran; else all failed.
    """
    by_line = {error.line: error for error in batch.errors or () if error.line is not None}
    whole = next(iter(batch.errors or ()), None)
    for number, custom_id in enumerate(ids, 1):
        error = by_line.get(number) if by_line else whole
        if error is None and by_line:
            yield missing_result(custom_id)
            continue
        code, message = (error.code, error.message) if error is not None else (None, "The service gives no reason")
        reason = ResultError(code=code or "batch_failed", message=message or "The batch failed")
        yield BatchResult(custom_id, Outcome.FAILED, None, None, reason)


def result_blocks(path: Path, size: int | None = None) -> Iterator[bytes]:
    """Yield a downloaded file in blocks of whole lines.

    Args:
        path: the file.
        size: what its size must be; None: anything.

    Raises:
        JournalError: it is not there any more, cannot be read, or was changed.
    """
    try:
        check_size(path, size)
        yield from blocks_of_path(path)
    except OSError as error:
        raise JournalError(f"{path}, which the job needs, cannot be read: {error}") from error
