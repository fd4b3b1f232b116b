"""Ctrl-C, where it is no mistake but the person's word that it is enough."""

import asyncio
import contextlib
from collections.abc import Generator
from typing import cast

import attrs

__all__ = ["Interruption", "interruptible"]


@attrs.define
class Interruption:
    """Whether Ctrl-C was pressed."""

    has_come: bool = False


@contextlib.contextmanager
def interruptible() -> Generator[Interruption]:
    """End the block at Ctrl-C, and go on behind it; a second Ctrl-C ends the program."""
    interruption = Interruption()
    try:
        yield interruption
    except asyncio.CancelledError:
        cast("asyncio.Task[object]", asyncio.current_task()).uncancel()
        interruption.has_come = True
