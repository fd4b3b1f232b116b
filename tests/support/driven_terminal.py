"""A program in a pseudo-terminal, whose screen can be read and whose keys can be pressed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING

import pyte

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pyte.screens import Char

_PATIENCE_S = 60.0
_READ = 65_536
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class DrivenTerminal:
    """A program that believes a person is there.

    Args:
        command: the program and its arguments.
        columns: the width of the screen.
        rows: its height.
        env: the program's environment.
        cwd: the folder it runs in.
    """

    def __init__(
        self, command: Sequence[str], *, columns: int, rows: int, env: Mapping[str, str], cwd: Path | None = None
    ) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            # Only the terminal that controls a process sends it Ctrl-C.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # nothing else runs yet
        )
        os.close(slave)

    @property
    def screen(self) -> str:
        """What the person sees, without what is blank behind and below."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    @property
    def written(self) -> str:
        """What the program wrote, in lines as long as it wrote them, however narrow the screen is."""
        return _CONTROL.sub("", self.raw.decode()).replace("\r", "")

    @property
    def rows(self) -> list[list[Char]]:
        """The screen's characters with their colours, line by line."""
        buffer = self._screen.buffer
        return [[buffer[row][column] for column in range(self._screen.columns)] for row in range(self._screen.lines)]

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def resize(self, *, columns: int, rows: int) -> None:
        """Make the window larger or smaller."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen.resize(rows, columns)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.type("\x03")

    def wait_for(self, *texts: str) -> str:
        """Return the screen once all these texts are on it.

        Raises:
            AssertionError: they do not come; the message shows the screen.
        """
        end = time.monotonic() + _PATIENCE_S
        while not all(text in self.screen for text in texts):
            if not self._read(end):
                raise AssertionError(f"{texts} is not on the screen:\n{self.screen}")
        return self.screen

    def look(self, seconds: float) -> None:
        """Take what the program writes within some time."""
        self._read(time.monotonic() + seconds)

    def finish(self) -> int:
        """Return the exit code, once the program has ended."""
        end = time.monotonic() + _PATIENCE_S
        while self._read(end):
            pass
        return self._process.wait(_PATIENCE_S)

    def kill(self, number: signal.Signals) -> None:
        """Send the program a signal."""
        self._process.send_signal(number)

    def close(self) -> None:
        """End the program, if it has not ended."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._master)

    def _read(self, end: float) -> bool:
        """Take what the program has written; return False when it has ended, or the patience has."""
        ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return False
        data = b""
        with contextlib.suppress(OSError):  # Linux says so when the program has ended
            data = os.read(self._master, _READ)
        self.raw += data
        self._stream.feed(data)
        return bool(data)
