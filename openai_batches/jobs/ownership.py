"""The ownership of a job's directory: only one job at a time works in it, also within one process."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import attrs

from openai_batches._threads import in_thread
from openai_batches.errors import JournalError
from openai_batches.jobs.journal.sqlite import Journal

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Hold", "hold"]

# How often, and for how long, a job that is being closed is waited for.
_PAUSE_S, _PATIENCE_S = 0.02, 30.0
_HOLDS: dict[str, Hold] = {}


@attrs.define(eq=False)
class Hold:
    """The ownership of a directory by a job of this process.

    Attributes:
        place: the directory, without links.
        is_leaving: whether the job is being closed.
        journal: the directory's journal, open for writing.
    """

    place: str
    is_leaving: bool = False
    journal: Journal = attrs.field(init=False, repr=False)

    def close(self) -> None:
        """Close the journal and give up the directory; this blocks, and doing it twice does nothing."""
        self.journal.close()
        self.forget()

    def forget(self) -> None:
        """Let another job have the directory."""
        if _HOLDS.get(self.place) is self:
            del _HOLDS[self.place]


async def hold(directory: Path) -> Hold:
    """Become the owner of a job's directory, or raise; an owner in this process that is being closed is waited for."""
    mine = Hold(await in_thread(os.path.realpath, directory))
    clock = asyncio.get_running_loop().time
    until = clock() + _PATIENCE_S
    # Jobs of this process are compared here, before the file is locked: a lock says only what other processes do.
    while (other := _HOLDS.setdefault(mine.place, mine)) is not mine:
        if not other.is_leaving or clock() >= until:
            raise JournalError(
                f"Another BatchJob of this process is at work on the job in {directory}: close it first "
                "(an iterator that is left early is closed by contextlib.aclosing)"
            )
        await asyncio.sleep(_PAUSE_S)
    try:
        mine.journal = await _journal(directory, mine)
    except BaseException:
        mine.forget()
        raise
    return mine


async def _journal(directory: Path, mine: Hold) -> Journal:
    """Open a journal in a thread; close it again if this task is cancelled meanwhile, so that its lock is released."""
    opening = asyncio.ensure_future(in_thread(Journal, directory))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        mine.is_leaving = True
        await asyncio.wait([opening])
        if opening.exception() is None:
            await in_thread(opening.result().close)
        raise
