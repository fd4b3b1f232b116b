"""The terminal that is typed at, read without waiting."""

import os

__all__ = ["opened_keyboard"]


def opened_keyboard(terminal: int) -> int:
    """Return a description of our own of a terminal, which does not wait; the shell's stays as it was.

    Ctrl-C throws away what was typed, also between the moment it is there and the moment it is read: whoever waited
    then would not hear of it.

    Raises:
        OSError: it has no name here, as in some containers.
    """
    return os.open(os.ttyname(terminal), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
