"""One at a time: which job of this process has a directory, and whether it is about to let go of it."""

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
    """A directory in the hands of a job of this process.

    Attributes:
        place: the directory, without links.
        is_leaving: whether the job is being closed.
        journal: the directory's journal, open for writing.
    """

    place: str
    is_leaving: bool = False
    journal: Journal = attrs.field(init=False, repr=False)

    def close(self) -> None:
        """Let go of the directory; this blocks, and doing it twice does nothing."""
        self.journal.close()
        self.forget()

    def forget(self) -> None:
        """Give the directory to the next one."""
        if _HOLDS.get(self.place) is self:
            del _HOLDS[self.place]


async def hold(directory: Path) -> Hold:
    """Take hold of a job's directory; a job of this process that is being closed is waited for.

    Raises:
        JournalError: another process is at work on the job, or another ``BatchJob`` of this one; or the journal cannot
            be used.
    """
    mine = Hold(await in_thread(os.path.realpath, directory))
    clock = asyncio.get_running_loop().time
    until = clock() + _PATIENCE_S
    # Between the jobs of this process it is decided here, before the file is locked: what that says is of others.
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
    """Open a journal in a thread; nobody is left behind with the lock when the one who waits is cancelled."""
    opening = asyncio.ensure_future(in_thread(Journal, directory))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        mine.is_leaving = True
        await asyncio.wait([opening])
        if opening.exception() is None:
            await in_thread(opening.result().close)
        raise
