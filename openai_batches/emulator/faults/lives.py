"""Faults of batches' lives: states that do not end, and batches that fail in validation."""

from typing import Literal, Self, Unpack

from openai_batches.emulator.faults.aim import AimedFault, Where
from openai_batches.emulator.faults.kinds import kind
from openai_batches.emulator.store.records import StoredBatch
from openai_batches.emulator.validation import Verdict, not_found, token_limit_reached


def _held_until(fault: AimedFault, batch: StoredBatch, now: float) -> float | None:
    """Return until when a batch stays as it is, for ever until it is released; None does not hold it."""
    if batch.status != fault.state or fault.is_released:
        return None
    if batch.id not in fault.memory:
        fault.memory[batch.id] = now if fault.befalls_batch(batch) else None
    since = fault.memory[batch.id]
    if since is None:
        return None
    until: float = float("inf") if fault.for_s is None else since + fault.for_s
    return until if now < until else None


def _file_not_found(_: AimedFault, batch: StoredBatch, verdict: Verdict) -> None:
    verdict.errors.clear()
    verdict.refuse("invalid_request", not_found(batch.input_file_id, batch.organization), param="file_id")


def _token_limit_exceeded(fault: AimedFault, batch: StoredBatch, verdict: Verdict) -> None:
    verdict.refuse("token_limit_exceeded", token_limit_reached(verdict.model, fault.limit, batch.organization))


def _billing_hard_limit_reached(_: AimedFault, __: StoredBatch, verdict: Verdict) -> None:
    verdict.refuse("billing_hard_limit_reached", "Billing hard limit has been reached.")


def _expired_early(fault: AimedFault, batch: StoredBatch) -> None:
    batch.expires_at = batch.created_at + int(fault.for_s or 0)


class LifeFaults(AimedFault):
    """Names the faults of lives."""

    __slots__ = ()

    @classmethod
    @kind(_held_until, befalls="state")
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
    @kind(_file_not_found, befalls="verdict")
    def file_not_found_in_validation(cls, **where: Unpack[Where]) -> Self:
        """Fail a batch in validation because its input file is supposedly not there."""
        return cls("file_not_found_in_validation", **where)

    @classmethod
    @kind(_token_limit_exceeded, befalls="verdict")
    def token_limit_exceeded(cls, *, limit: int = 2_000_000, **where: Unpack[Where]) -> Self:
        """Fail a batch in validation because of enqueued tokens that others are said to take."""
        return cls("token_limit_exceeded", limit=limit, **where)

    @classmethod
    @kind(_billing_hard_limit_reached, befalls="verdict")
    def billing_hard_limit_reached(cls, **where: Unpack[Where]) -> Self:
        """Fail a batch in validation because the money is spent."""
        return cls("billing_hard_limit_reached", **where)

    @classmethod
    @kind(_expired_early, befalls="birth")
    def expired_early(cls, *, for_s: float = 60.0, **where: Unpack[Where]) -> Self:
        """Let a batch expire so many emulated seconds after its creation, in the middle of its work."""
        return cls("expired_early", for_s=for_s, **where)

    def release(self) -> None:
        """Let go of the batches that are stuck, and hold no others."""
        self.is_released = True
        held = list(self.held.values())
        self.held.clear()
        for go_on in held:
            go_on()
