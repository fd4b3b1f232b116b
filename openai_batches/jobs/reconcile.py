"""What became of each request of an attempt, from both files of its batch; and what of it is sent again.

One shard is at hand at a time: a number for each of its requests, and where their lines are, not the lines themselves.
All of it blocks, and is meant for a thread.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections import Counter
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

from openai_batches.errors import JournalError
from openai_batches.jobs.journal.records import Tally
from openai_batches.models import TokenCounts
from openai_batches.requests.read import blocks_of_path
from openai_batches.results.inputs import ids_in_block
from openai_batches.results.parse import ResultReader, successes_in
from openai_batches.results.result import BatchResult, Outcome, ResultError, missing_result
from openai_batches.results.summary import ResultSummary
from openai_batches.storage.atomic import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from openai_batches.models import Batch

__all__ = [
    "Reconciliation",
    "ResendRule",
    "check_size",
    "custom_ids",
    "reconcile",
    "refused_results",
    "result_blocks",
    "write_requests",
]

_NO_SIZES: MappingProxyType[Path, int] = MappingProxyType({})
# Codes of errors that are told apart in a tally.
_MAX_CODES = 100
# A request's standing in one byte: what the best of its lines says.
_STANDINGS = (
    Outcome.MISSING,
    Outcome.SUCCEEDED,
    Outcome.FAILED,
    Outcome.EXPIRED,
    Outcome.CANCELLED,
    Outcome.INVALID,
)
_MISSING, _SUCCEEDED, _FAILED, _EXPIRED, _CANCELLED, _INVALID = range(6)
_CODES = {outcome: code for code, outcome in enumerate(_STANDINGS)}
# A failure for a reason that may pass.
_RETRYABLE = 6


@attrs.frozen(kw_only=True)
class ResendRule:
    """Which requests are sent again.

    Args:
        is_last: whether this attempt is the last: then none is.
        with_cancelled: whether those that were cancelled before they ran are.
    """

    is_last: bool = False
    with_cancelled: bool = False

    def resends(self, standing: int) -> bool:
        """Tell whether a request of this standing is sent again."""
        if self.is_last:
            return False
        return standing in {_MISSING, _EXPIRED, _RETRYABLE} or (self.with_cancelled and standing == _CANCELLED)


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
        for result in refused_results(ids, batch):
            count.add_one(result)
    for path in result_files:
        reader = ResultReader()
        for block in result_blocks(path, sizes.get(path)):
            if not count.add_successes(block):
                for result in reader.read(block):
                    count.add_one(result)
    return count.close(rule)


class _Count:
    """The standing of each request, while the lines are read."""

    def __init__(self, ids: list[str]) -> None:
        self._ids = ids
        self._next = 0
        self._standings = bytearray(len(ids))
        self._summary = ResultSummary()
        self._codes: dict[int, str] = {}
        self._doubled = self._foreign = 0

    def add_successes(self, block: bytes) -> bool:
        """Take a block of lines if it is one of first successes, as most are; return whether it is."""
        found = successes_in(block)
        if found is None:
            return False
        ids, heads = found
        numbers = self._numbers_of(ids)
        if numbers is None:
            return False
        if isinstance(numbers, range):
            self._standings[numbers.start : numbers.stop] = bytes((_SUCCEEDED,)) * len(numbers)
            self._next = numbers.stop
        else:
            for number in numbers:
                self._standings[number] = _SUCCEEDED
        self._summary.add_successes(heads)
        return True

    def _numbers_of(self, ids: list[str]) -> Sequence[int] | None:
        """Return the numbers of requests if nothing was said about them yet, and each is named once."""
        following = range(self._next, self._next + len(ids))
        # Most services answer in the order of the requests: then nothing has to be looked up.
        if ids == self._ids[following.start : following.stop]:
            return None if any(self._standings[following.start : following.stop]) else following
        numbers = [self._numbers.get(custom_id, -1) for custom_id in ids]
        if -1 in numbers or len(set(numbers)) < len(numbers) or any(map(self._standings.__getitem__, numbers)):
            return None
        return numbers

    @functools.cached_property
    def _numbers(self) -> dict[str | None, int]:
        return {custom_id: number for number, custom_id in enumerate(self._ids)}

    def add_one(self, result: BatchResult) -> None:
        """Take one line: the first success counts, else the first that can be read."""
        number = self._numbers.get(result.custom_id, -1)
        if number < 0:
            self._foreign += 1
            return
        standing = _RETRYABLE if result.is_retryable else _CODES[result.outcome]
        known = self._standings[number]
        if known != _MISSING:
            self._doubled += 1
            if not (known == _INVALID or (standing == _SUCCEEDED and known != _SUCCEEDED)):
                return
        self._standings[number] = standing
        if standing == _SUCCEEDED:
            self._codes.pop(number, None)
            self._summary.add([result])
        else:
            self._codes[number] = (result.error and result.error.code) or ""

    def close(self, rule: ResendRule) -> Reconciliation:
        """Return what was found."""
        again = {standing for standing in range(_RETRYABLE + 1) if rule.resends(standing)}
        resent = frozenset(number for number, standing in enumerate(self._standings) if standing in again)
        totals = Counter(self._standings)
        outcomes = dict.fromkeys(Outcome, 0)
        for standing, total in totals.items():
            if standing not in again:
                outcomes[Outcome.FAILED if standing == _RETRYABLE else _STANDINGS[standing]] += total
        codes = Counter(code for number, code in self._codes.items() if number not in resent)
        missing = totals[_MISSING]
        tally = Tally(
            outcomes={outcome.value: total for outcome, total in outcomes.items() if total},
            resent=len(resent),
            error_codes=dict(codes.most_common(_MAX_CODES)),
            tokens={model: TokenCounts(*counts) for model, counts in self._summary.tokens.items()},
            doubled=self._doubled,
            foreign=self._foreign,
            is_plain=not (self._doubled or self._foreign or missing),
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


def write_requests(source: Path, target: Path, numbers: frozenset[int]) -> int:
    """Write some requests of a file to another one, whole or not at all, and return its size in bytes.

    Args:
        source: the file of the requests.
        target: where they go; what is there is replaced.
        numbers: their numbers, from 0.

    Raises:
        OSError: the disk is full, or a file cannot be read.
    """
    number = size = 0
    with tempfile.NamedTemporaryFile(
        dir=target.parent, prefix=f".{target.name}.", suffix=".part", delete=False
    ) as file:
        try:
            for block in blocks_of_path(source):
                for line in block.split(b"\n"):
                    if not line:
                        continue
                    if number in numbers:
                        size += file.write(line + b"\n")
                    number += 1
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(target)
            sync_folder(target.parent)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return size


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
