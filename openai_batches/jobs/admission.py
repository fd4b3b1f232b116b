"""Who may create a batch now: as many at once as the service takes, learned from what it refuses.

A service that has no room for a batch (its limit of enqueued tokens) does not say so when the batch is created: it
creates it, and fails it in validation. So few batches are sent that have not passed validation yet, more with each that
passes; and once one was refused for want of room, the next one goes only when another batch has ended.

Source: https://platform.openai.com/docs/guides/batch#rate-limits
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from openai_batches.errors import APIError
    from openai_batches.models import Batch

__all__ = ["Admission", "has_no_room", "is_out_of_room", "room_limit"]

_FIRST_WINDOW = 4
# How often in a row a service may have no room with no batch of ours open: each time costs a batch that fails.
_MAX_VAIN = 6
_LIMIT = re.compile(r"limit:\s*([0-9][0-9,._]*)", re.IGNORECASE)
_NO_ROOM = frozenset({"token_limit_exceeded"})


def is_out_of_room(batch: Batch) -> bool:
    """Tell whether the service failed a batch only because too many tokens are enqueued."""
    return any(error.code in _NO_ROOM for error in batch.errors or ())


def has_no_room(error: APIError) -> bool:
    """Tell whether the service refused a batch at once only because too many tokens are enqueued."""
    return error.code in _NO_ROOM or any(code in error.message for code in _NO_ROOM)


def room_limit(message: str) -> int | None:
    """Return how many tokens may be enqueued, where a message names the limit."""
    found = _LIMIT.search(message)
    digits = re.sub(r"[^0-9]", "", found[1]) if found else ""
    return int(digits) if digits else None


@attrs.define(eq=False)
class _Lane:
    """The batches of one model.

    Attributes:
        window: how many may be unproven at once.
        unproven: how many were let in that have not passed validation yet.
        running: how many have passed it, and have not ended.
        is_full: whether one was refused for want of room.
        places: while full, how many may be let in.
        waiting: how many wait to be let in.
        vain: how often in a row one was refused that was alone.
    """

    window: int = _FIRST_WINDOW
    unproven: int = 0
    running: int = 0
    is_full: bool = False
    places: int = 0
    waiting: int = 0
    vain: int = 0

    @property
    def has_room(self) -> bool:
        return self.places > 0 if self.is_full else self.unproven < self.window


class Admission:
    """Lets batches in, model by model.

    Args:
        max_open: how many batches may be open at once, all models together; None sets no bound.
    """

    def __init__(self, *, max_open: int | None = None) -> None:
        self._max_open = max_open
        self._lanes: dict[str | None, _Lane] = {}
        self._changed = asyncio.Condition()
        self._is_closed = False

    async def enter(self, model: str | None) -> bool:
        """Return True once a batch of this model may be created, which then counts as unproven; False if none may."""
        lane = self._lane(model)
        async with self._changed:
            lane.waiting += 1
            try:
                await self._changed.wait_for(lambda: self._is_closed or (lane.has_room and self._has_place()))
            finally:
                lane.waiting -= 1
            if self._is_closed:
                return False
            lane.unproven += 1
            if lane.is_full:
                lane.places -= 1
            return True

    async def close(self) -> None:
        """Let nothing more in."""
        async with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def resume(self, model: str | None, *, is_proven: bool) -> None:
        """Count a batch that was created in an earlier life."""
        lane = self._lane(model)
        lane.running += is_proven
        lane.unproven += not is_proven

    async def leave(self, model: str | None) -> None:
        """Take back that a batch was let in: it was not created."""
        await self._move(model, unproven=-1)

    async def prove(self, model: str | None) -> None:
        """Note that a batch has passed validation."""
        lane = self._lane(model)
        lane.window *= 2
        lane.vain = 0
        await self._move(model, unproven=-1, running=1)

    async def refuse(self, model: str | None) -> None:
        """Note that a batch was refused for want of room."""
        lane = self._lane(model)
        lane.is_full = True
        lane.vain += lane.unproven + lane.running <= 1
        await self._move(model, unproven=-1)

    def fill(self, model: str | None) -> None:
        """Note that there is no room, as a service said that has not even created the batch."""
        lane = self._lane(model)
        lane.is_full, lane.places = True, 0
        lane.vain += lane.unproven + lane.running <= 1

    async def end(self, model: str | None, *, was_proven: bool) -> None:
        """Note that a batch has ended, which makes room for another one."""
        await self._move(model, running=-was_proven, unproven=-(not was_proven), places=1)

    async def free(self, model: str | None, places: int = 1) -> None:
        """Note that there may be room for further batches, made by others or for no reason that can be seen."""
        await self._move(model, places=places)

    def is_alone(self, model: str | None) -> bool:
        """Tell whether no batch of ours of this model is open."""
        lane = self._lane(model)
        return not (lane.running or lane.unproven)

    def is_hopeless(self, model: str | None) -> bool:
        """Tell whether batches of this model were refused too often with no other one of ours open."""
        return self._lane(model).vain >= _MAX_VAIN

    def stuck(self) -> list[str | None]:
        """Return the models for which batches wait, without a batch of ours whose end would make room."""
        return [
            model
            for model, lane in self._lanes.items()
            if lane.waiting and lane.is_full and not (lane.places or lane.running or lane.unproven)
        ]

    def _lane(self, model: str | None) -> _Lane:
        return self._lanes.setdefault(model, _Lane())

    def _has_place(self) -> bool:
        open_batches = sum(lane.unproven + lane.running for lane in self._lanes.values())
        return self._max_open is None or open_batches < self._max_open

    async def _move(self, model: str | None, *, unproven: int = 0, running: int = 0, places: int = 0) -> None:
        lane = self._lane(model)
        async with self._changed:
            lane.unproven += unproven
            lane.running += running
            if lane.is_full:
                lane.places += places
            self._changed.notify_all()
