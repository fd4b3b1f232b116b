"""A job's ledger: what became of every request, shard by shard and in all; it balances at any time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

from openai_batches._names import public
from openai_batches.jobs.journal.records import Step
from openai_batches.models import TokenCounts
from openai_batches.results.result import Outcome
from openai_batches.results.summary import TokenSums

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from openai_batches.jobs.journal.records import Attempt

__all__ = ["Ledger", "ShardLedger"]


@public
@attrs.frozen(kw_only=True)
class ShardLedger:
    """What became of the requests of one shard.

    Attributes:
        shard: its number, from 1.
        endpoint: where its requests go.
        model: the model of its requests, if known.
        inputs: its requests.
        outcomes: how many of them ended in each outcome.
        unfinished: how many have no outcome yet.
        attempts: how many batches were made for it, or are about to be.
        step: how far the last attempt has come.
        batch_ids: its batches, the first one first.
        doubled: lines that were left out because their request has another one.
        foreign: lines that belong to none of its requests.
    """

    shard: int
    endpoint: str
    model: str | None
    inputs: int
    outcomes: dict[Outcome, int]
    unfinished: int
    attempts: int
    step: Step
    batch_ids: tuple[str, ...]
    doubled: int = 0
    foreign: int = 0

    @property
    def balances(self) -> bool:
        """Whether every request is accounted for once."""
        return self.inputs == sum(self.outcomes.values()) + self.unfinished

    @classmethod
    def of(cls, attempts: Sequence[Attempt]) -> ShardLedger:
        """Return the ledger of a shard, given all its attempts, the first one first."""
        first, last = attempts[0], attempts[-1]
        tallies = [attempt.tally for attempt in attempts if attempt.tally is not None]
        outcomes = dict.fromkeys(Outcome, 0)
        for tally in tallies:
            for name, count in tally.outcomes.items():
                outcomes[Outcome(name)] += count
        return cls(
            shard=first.shard,
            endpoint=first.endpoint,
            model=first.model,
            inputs=first.requests,
            outcomes={outcome: count for outcome, count in outcomes.items() if count},
            unfinished=0 if last.tally is not None else last.requests,
            attempts=len(attempts),
            step=last.step,
            batch_ids=tuple(attempt.batch.id for attempt in attempts if attempt.batch is not None),
            doubled=sum(tally.doubled for tally in tallies),
            foreign=sum(tally.foreign for tally in tallies),
        )


@public
@attrs.frozen(kw_only=True)
class Ledger(TokenSums):
    """What became of the requests of a job.

    Attributes:
        shards: the ledger of each shard, in the order of their numbers.
        error_codes: how many of the requests that did not succeed ended with each code (``""``: no code).
    """

    shards: tuple[ShardLedger, ...]
    error_codes: dict[str, int]
    _tokens: dict[str, TokenCounts] = attrs.field(factory=dict[str, TokenCounts], alias="tokens", repr=False)

    @classmethod
    def of(cls, attempts: Iterable[Attempt]) -> Ledger:
        """Return the ledger of a job, given all its attempts."""
        by_shard: dict[int, list[Attempt]] = {}
        codes: Counter[str] = Counter()
        tokens: dict[str, TokenCounts] = {}
        for attempt in sorted(attempts, key=lambda attempt: (attempt.shard, attempt.number)):
            by_shard.setdefault(attempt.shard, []).append(attempt)
            if attempt.tally is not None:
                codes.update(attempt.tally.error_codes)
                for model, counts in attempt.tally.tokens.items():
                    tokens[model] = tokens.get(model, TokenCounts()).plus(counts)
        shards = tuple(map(ShardLedger.of, by_shard.values()))
        return cls(shards=shards, error_codes=dict(codes), tokens=tokens)

    @property
    def inputs(self) -> int:
        """The number of requests."""
        return sum(shard.inputs for shard in self.shards)

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """How many requests ended in each outcome; 0 for an outcome that no request has."""
        return {outcome: sum(shard.outcomes.get(outcome, 0) for shard in self.shards) for outcome in Outcome}

    @property
    def succeeded(self) -> int:
        """How many requests succeeded."""
        return self.outcomes[Outcome.SUCCEEDED]

    @property
    def failed(self) -> int:
        """How many requests were answered with an error that is final."""
        return self.outcomes[Outcome.FAILED]

    @property
    def expired(self) -> int:
        """How many requests did not run before their batch's time was over, at their last attempt."""
        return self.outcomes[Outcome.EXPIRED]

    @property
    def cancelled(self) -> int:
        """How many requests did not run because their batch was cancelled."""
        return self.outcomes[Outcome.CANCELLED]

    @property
    def missing(self) -> int:
        """How many requests have no line in either result file of their last attempt."""
        return self.outcomes[Outcome.MISSING]

    @property
    def invalid(self) -> int:
        """How many requests have a line that cannot be read."""
        return self.outcomes[Outcome.INVALID]

    @property
    def unfinished(self) -> int:
        """How many requests have no outcome yet."""
        return sum(shard.unfinished for shard in self.shards)

    @property
    def is_complete(self) -> bool:
        """Whether every request has its outcome."""
        return self.unfinished == 0

    @property
    def balances(self) -> bool:
        """Whether every request of every shard is accounted for once."""
        return all(shard.balances for shard in self.shards)
