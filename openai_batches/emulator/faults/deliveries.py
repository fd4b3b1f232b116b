"""Faults of webhooks: events that come twice, late, out of order or not at all."""

from typing import Self, Unpack

from openai_batches.emulator.faults.aim import AimedFault, Where
from openai_batches.emulator.faults.kinds import kind

# When each copy of an event is sent, in emulated seconds from now.
Delays = tuple[float, ...]


def _duplicate_webhook(fault: AimedFault) -> Delays:
    return tuple(number * fault.delay_s for number in range(fault.copies))


def _late_webhook(fault: AimedFault) -> Delays:
    return (fault.delay_s,)


def _lost_webhook(_: AimedFault) -> Delays:
    return ()


class DeliveryFaults(AimedFault):
    """Names the faults of webhooks."""

    __slots__ = ()

    @classmethod
    @kind(_duplicate_webhook, befalls="delivery")
    def duplicate_webhook(cls, *, copies: int = 2, delay_s: float = 0.0, **where: Unpack[Where]) -> Self:
        """Deliver an event so many times, `delay_s` emulated seconds apart."""
        return cls("duplicate_webhook", copies=copies, delay_s=delay_s, **where)

    @classmethod
    @kind(_late_webhook, befalls="delivery")
    def reordered_webhook(cls, *, delay_s: float = 60.0, **where: Unpack[Where]) -> Self:
        """Deliver an event late by `delay_s` emulated seconds, so that younger ones overtake it."""
        return cls("reordered_webhook", delay_s=delay_s, **where)

    @classmethod
    @kind(_lost_webhook, befalls="delivery")
    def lost_webhook(cls, **where: Unpack[Where]) -> Self:
        """Never deliver an event."""
        return cls("lost_webhook", **where)
