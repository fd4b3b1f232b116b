"""When a job may create its next batch: as many are open as the service has capacity for, learned from its refusals.

A service whose limit of enqueued tokens is reached does not say so when a batch is created: it creates the batch, and
fails it in validation. So only a few batches may be open that have not passed validation, and more after each that has
passed. Once one was refused for lack of capacity, the next one is created only when another batch has ended.

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

__all__ = ["Admission", "is_out_of_capacity", "lacks_capacity", "token_limit"]

_FIRST_WINDOW = 4
# How often in a row a batch may be refused while no other one of the job is open: each time, a batch fails.
_MAX_REFUSED_ALONE = 6
_LIMIT = re.compile(r"limit:\s*([0-9][0-9,._]*)", re.IGNORECASE)
_NO_CAPACITY = frozenset({"token_limit_exceeded"})


def is_out_of_capacity(batch: Batch) -> bool:
    """Return whether the service failed a batch only because too many tokens are enqueued."""
    return any(error.code in _NO_CAPACITY for error in batch.errors or ())


def lacks_capacity(error: APIError) -> bool:
    """Return whether the service refused to create a batch only because too many tokens are enqueued."""
    return error.code in _NO_CAPACITY or any(code in error.message for code in _NO_CAPACITY)


def token_limit(message: str) -> int | None:
    """Return how many tokens may be enqueued, if a message names the limit."""
    found = _LIMIT.search(message)
    digits = re.sub(r"[^0-9]", "", found[1]) if found else ""
    return int(digits) if digits else None


@attrs.define(eq=False)
class _ModelBatches:
    """The batches of one model.

    Attributes:
        window: how many may be unvalidated at once.
        unvalidated: how many are open that have not passed validation yet.
        running: how many have passed it, and have not ended.
        is_full: whether one was refused for lack of capacity.
        slots: while full, how many may be created.
        waiting: how many wait to be created.
        refused_alone: how often in a row one was refused while no other one was open.
    """

    window: int = _FIRST_WINDOW
    unvalidated: int = 0
    running: int = 0
    is_full: bool = False
    slots: int = 0
    waiting: int = 0
    refused_alone: int = 0

    @property
    def has_free_slot(self) -> bool:
        return self.slots > 0 if self.is_full else self.unvalidated < self.window


@attrs.define(eq=False, kw_only=True)
class Admission:
    """Limits how many batches of each model are open, and with ``max_open`` of all models together."""

    _max_open: int | None = None
    _models: dict[str | None, _ModelBatches] = attrs.field(factory=dict, init=False)
    _changed: asyncio.Condition = attrs.field(factory=asyncio.Condition, init=False)
    _is_closed: bool = attrs.field(default=False, init=False)

    async def acquire(self, model: str | None) -> bool:
        """Wait until a batch of this model may be created, and count it as unvalidated; return False if none may be."""
        batches = self._of(model)
        async with self._changed:
            batches.waiting += 1
            try:
                await self._changed.wait_for(
                    lambda: self._is_closed or (batches.has_free_slot and self._may_open_another())
                )
            finally:
                batches.waiting -= 1
            if self._is_closed:
                return False
            batches.unvalidated += 1
            if batches.is_full:
                batches.slots -= 1
            return True

    async def close(self) -> None:
        """Let no more batches be created."""
        async with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def resume(self, model: str | None, *, is_validated: bool) -> None:
        """Count a batch that an earlier run has created."""
        batches = self._of(model)
        batches.running += is_validated
        batches.unvalidated += not is_validated

    async def release(self, model: str | None) -> None:
        """Give back what was acquired: no batch was created."""
        await self._move(model, unvalidated=-1)

    async def mark_validated(self, model: str | None) -> None:
        """Note that a batch has passed validation."""
        batches = self._of(model)
        batches.window *= 2
        batches.refused_alone = 0
        await self._move(model, unvalidated=-1, running=1)

    async def mark_refused(self, model: str | None) -> None:
        """Note that a batch has failed for lack of capacity."""
        batches = self._of(model)
        batches.is_full = True
        batches.refused_alone += batches.unvalidated + batches.running <= 1
        await self._move(model, unvalidated=-1)

    def mark_full(self, model: str | None) -> None:
        """Note that the service lacks capacity and has not created the batch."""
        batches = self._of(model)
        batches.is_full, batches.slots = True, 0
        batches.refused_alone += batches.unvalidated + batches.running <= 1

    async def mark_ended(self, model: str | None, *, was_validated: bool) -> None:
        """Note that a batch has ended, so that another one may be created."""
        await self._move(model, running=-was_validated, unvalidated=-(not was_validated), slots=1)

    async def add_slots(self, model: str | None, slots: int = 1) -> None:
        """Note that the service may have capacity again, for whatever reason."""
        await self._move(model, slots=slots)

    def is_alone(self, model: str | None) -> bool:
        """Return whether the job has no open batch of this model."""
        batches = self._of(model)
        return not (batches.running or batches.unvalidated)

    def is_refused_too_often(self, model: str | None) -> bool:
        """Return whether batches of this model were refused too often while the job had no other one open."""
        return self._of(model).refused_alone >= _MAX_REFUSED_ALONE

    def stuck(self) -> list[str | None]:
        """Return the models whose batches wait although the job has no open batch that could end."""
        return [
            model
            for model, batches in self._models.items()
            if batches.waiting and batches.is_full and not (batches.slots or batches.running or batches.unvalidated)
        ]

    def _of(self, model: str | None) -> _ModelBatches:
        return self._models.setdefault(model, _ModelBatches())

    def _may_open_another(self) -> bool:
        open_batches = sum(batches.unvalidated + batches.running for batches in self._models.values())
        return self._max_open is None or open_batches < self._max_open

    async def _move(self, model: str | None, *, unvalidated: int = 0, running: int = 0, slots: int = 0) -> None:
        batches = self._of(model)
        async with self._changed:
            batches.unvalidated += unvalidated
            batches.running += running
            if batches.is_full:
                batches.slots += slots
            self._changed.notify_all()
