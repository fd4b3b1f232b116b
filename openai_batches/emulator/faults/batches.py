"""Faults in the life of a batch: states that do not end, validation that fails, and early expiry."""

from collections.abc import Callable
from typing import Literal, Self, Unpack

import attrs

from openai_batches.emulator.faults.aim import AimedFault, Where
from openai_batches.emulator.faults.kinds import field, kind
from openai_batches.emulator.store.records import StoredBatch
from openai_batches.emulator.validation import Verdict, not_found, token_limit_reached

STATES = ("validating", "in_progress", "finalizing", "cancelling")


@attrs.define(kw_only=True)
class Stuck:
    """The state in which batches are stuck, and for how many emulated seconds; None is until they are released.

    `since` has the moment from which each batch is stuck, or None for one that is not; `held` what lets one go on.
    """

    state: str = field(known=STATES)
    for_s: float | None = field(least=0)
    is_released: bool = attrs.field(default=False, init=False)
    since: dict[str, float | None] = attrs.field(factory=dict[str, float | None], init=False)
    held: dict[str, Callable[[], None]] = attrs.field(factory=dict[str, Callable[[], None]], init=False)


@attrs.frozen(kw_only=True)
class _Limit:
    """Enqueued tokens that the service says it allows."""

    limit: int = field(least=0)


@attrs.frozen(kw_only=True)
class _Lifetime:
    """For how many emulated seconds a batch has time."""

    for_s: float = field(least=0)


def _held_until(batch: StoredBatch, now: float, strikes: Callable[[StoredBatch], bool], stuck: Stuck) -> float | None:
    """Return until when a batch stays as it is, infinity until it is released; None does not hold it."""
    if batch.status != stuck.state or stuck.is_released:
        return None
    if batch.id not in stuck.since:
        stuck.since[batch.id] = now if strikes(batch) else None
    since = stuck.since[batch.id]
    if since is None:
        return None
    until = float("inf") if stuck.for_s is None else since + stuck.for_s
    return until if now < until else None


def _file_not_found(batch: StoredBatch, verdict: Verdict) -> None:
    verdict.errors.clear()
    verdict.refuse("invalid_request", not_found(batch.input_file_id, batch.organization), param="file_id")


def _token_limit_exceeded(batch: StoredBatch, verdict: Verdict, allowed: _Limit) -> None:
    verdict.refuse("token_limit_exceeded", token_limit_reached(verdict.model, allowed.limit, batch.organization))


def _billing_hard_limit_reached(_: StoredBatch, verdict: Verdict) -> None:
    verdict.refuse("billing_hard_limit_reached", "Billing hard limit has been reached.")


def _expired_early(batch: StoredBatch, lifetime: _Lifetime) -> None:
    batch.expires_at = batch.created_at + int(lifetime.for_s)


class BatchFaults(AimedFault):
    """Names the faults in the life of a batch."""

    __slots__ = ()

    @classmethod
    @kind(_held_until, Stuck, subject="state")
    def stuck(
        cls,
        state: Literal["validating", "in_progress", "finalizing", "cancelling"] = "in_progress",
        *,
        for_s: float | None = None,
        **where: Unpack[Where],
    ) -> Self:
        """Leave a batch in `state` for so many emulated seconds, or until `release` is called.

        It still expires, and can still be cancelled where its state allows that.
        """
        return cls("stuck", state=state, for_s=for_s, **where)

    @classmethod
    @kind(_file_not_found, subject="validation")
    def file_not_found_in_validation(cls, **where: Unpack[Where]) -> Self:
        """Fail a batch in validation because its input file is supposedly not there."""
        return cls("file_not_found_in_validation", **where)

    @classmethod
    @kind(_token_limit_exceeded, _Limit, subject="validation")
    def token_limit_exceeded(cls, *, limit: int = 2_000_000, **where: Unpack[Where]) -> Self:
        """Fail a batch in validation because of enqueued tokens that others are said to take."""
        return cls("token_limit_exceeded", limit=limit, **where)

    @classmethod
    @kind(_billing_hard_limit_reached, subject="validation")
    def billing_hard_limit_reached(cls, **where: Unpack[Where]) -> Self:
        """Fail a batch in validation because the money is spent."""
        return cls("billing_hard_limit_reached", **where)

    @classmethod
    @kind(_expired_early, _Lifetime, subject="creation")
    def expired_early(cls, *, for_s: float = 60.0, **where: Unpack[Where]) -> Self:
        """Let a batch expire so many emulated seconds after its creation, in the middle of its work."""
        return cls("expired_early", for_s=for_s, **where)

    def release(self) -> None:
        """Let go of the batches that are stuck, and hold no others."""
        if isinstance(stuck := self.parameters, Stuck):
            stuck.is_released = True
            held = list(stuck.held.values())
            stuck.held.clear()
            for go_on in held:
                go_on()
