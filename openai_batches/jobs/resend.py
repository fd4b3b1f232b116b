"""Which requests of an attempt are sent again, and the file of those for the next attempt."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

from openai_batches.requests.read import blocks_of_path
from openai_batches.results.result import Outcome
from openai_batches.storage.atomic import NewFile

if TYPE_CHECKING:
    from pathlib import Path

    from openai_batches.results.result import BatchResult

__all__ = ["ResendRule", "Standing", "standing_of", "write_requests"]


class Standing(enum.IntEnum):
    """What the best line for a request says, as a number that fits into one byte."""

    MISSING = 0
    SUCCEEDED = 1
    FAILED = 2
    EXPIRED = 3
    CANCELLED = 4
    INVALID = 5
    # It failed for a reason that may pass.
    RETRYABLE = 6

    @property
    def outcome(self) -> Outcome:
        """The outcome of a request that is not sent again."""
        return Outcome.FAILED if self is Standing.RETRYABLE else Outcome[self.name]


_STANDINGS = {standing.outcome: standing for standing in Standing if standing is not Standing.RETRYABLE}


def standing_of(result: BatchResult) -> Standing:
    """Return what a result says about its request."""
    return Standing.RETRYABLE if result.is_retryable else _STANDINGS[result.outcome]


@attrs.frozen(kw_only=True)
class ResendRule:
    """Which requests are sent again: none after the last attempt, and cancelled ones only if that is wanted."""

    is_last: bool = False
    with_cancelled: bool = False

    def resends(self, standing: Standing) -> bool:
        """Tell whether a request of this standing is sent again."""
        if self.is_last:
            return False
        if standing is Standing.CANCELLED:
            return self.with_cancelled
        return standing in {Standing.MISSING, Standing.EXPIRED, Standing.RETRYABLE}


def write_requests(source: Path, target: Path, numbers: frozenset[int]) -> int:
    """Write the requests of some numbers (from 0) to a file, whole or not at all, and return its size in bytes."""
    number = size = 0
    new = NewFile(target, overwrite=True)
    try:
        for block in blocks_of_path(source):
            for line in block.split(b"\n"):
                if not line:
                    continue
                if number in numbers:
                    size += new.stream.write(line + b"\n")
                number += 1
        new.keep()
    finally:
        new.discard()
    return size
