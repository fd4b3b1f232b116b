"""Pipes that nobody reads."""

from __future__ import annotations

import array
import fcntl
import termios
import time


def wait_until_full(pipe: int) -> None:
    """Return when a pipe takes no more, or nearly so."""
    waiting = array.array("i", [0])
    end = time.monotonic() + 60
    while waiting[0] < 50_000 and time.monotonic() < end:
        time.sleep(0.005)
        fcntl.ioctl(pipe, termios.FIONREAD, waiting)
