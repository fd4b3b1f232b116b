"""Wait for batches to end, asking young ones often and old ones rarely."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

import attrs

from openai_batches.errors import (
    APIError,
    BatchesError,
    DecodeError,
    InputError,
    NotFoundError,
    TransportError,
    WaitTimeoutError,
)
from openai_batches.models import Batch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from openai_batches.policy import PollPolicy

__all__ = ["wait_for_end"]

_logger = logging.getLogger("openai_batches")
# A service may not show a batch to readers at once after it was created.
_UNSEEN_S = 60.0
# A page of a proxy may stand in for an answer now and then, but not every time.
_MAX_UNREADABLE = 5


@attrs.define
class _Patience:
    """What a waiter puts up with: until when the batch may not be there yet, and how many answers made no sense."""

    unseen_until: float
    unreadable: int = 0


async def wait_for_end(
    batch: Batch | str,
    *,
    retrieve: Callable[[str], Awaitable[Batch]],
    poll: PollPolicy,
    timeout_s: float | None,
    now: Callable[[], float],
) -> Batch:
    """Return the batch once it has ended.

    Args:
        batch: the batch, or its id.
        retrieve: asks for a batch.
        poll: how long to pause between two questions.
        timeout_s: seconds after which to give up; None never does.
        now: the wall clock in Unix seconds, for the age of the batch.

    Raises:
        InputError: the timeout is no number of seconds.
        WaitTimeoutError: the batch goes on, the waiter gave up.
        BatchesError: the first question failed, or a later one in a way that does not pass.
    """
    if timeout_s is not None and (not isinstance(timeout_s, int | float) or not timeout_s >= 0):
        raise InputError(f"timeout must be 0 or more seconds, not {timeout_s!r}")
    last = batch if isinstance(batch, Batch) else None
    patience = _Patience(asyncio.get_running_loop().time() + _UNSEEN_S)
    try:
        async with asyncio.timeout(timeout_s) as scope:
            while last is None or not last.is_terminal:
                last = await _asked(batch, last, retrieve, patience)
                if not last.is_terminal:
                    created_s = last.created_at.timestamp() if last.created_at else now()
                    await asyncio.sleep(poll.delay_s(age_s=now() - created_s, chance=random.random()))
    except TimeoutError:
        if not scope.expired():
            raise
        seen = f"was last seen {last.status}" if last else "was not seen yet"
        batch_id = batch.id if isinstance(batch, Batch) else batch
        text = f"Batch {batch_id} {seen} after {timeout_s:g} s; it was not cancelled"
        raise WaitTimeoutError(text, batch=last) from None
    return last


async def _asked(
    batch: Batch | str, last: Batch | None, retrieve: Callable[[str], Awaitable[Batch]], patience: _Patience
) -> Batch:
    """Return the batch as it is now; a question that fails in passing leaves it as it was last seen."""
    if last is None:
        return await retrieve(batch.id if isinstance(batch, Batch) else batch)
    try:
        seen = await retrieve(last.id)
    except BatchesError as error:
        if not _passes(error, patience):
            raise
        _logger.warning("Batch %s could not be looked at, it was last seen %s: %s", last.id, last.status, error)
        return last
    patience.unreadable = 0
    return seen


def _passes(error: BatchesError, patience: _Patience) -> bool:
    """Return whether a later question may be answered: a failed poll is not a failed batch."""
    if isinstance(error, NotFoundError):
        return asyncio.get_running_loop().time() < patience.unseen_until
    if isinstance(error, DecodeError):
        patience.unreadable += 1
        return patience.unreadable < _MAX_UNREADABLE
    if isinstance(error, TransportError):
        return error.can_pass
    return isinstance(error, APIError) and (error.status in {408, 429} or error.status >= 500)
