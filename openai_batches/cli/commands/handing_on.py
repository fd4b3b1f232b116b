"""A person's command for each event: it gets the event on standard input."""

import asyncio
import contextlib
import shlex
import shutil

from openai_batches._text import as_count
from openai_batches.cli.errors import CommandError
from openai_batches.cli.output.terminal import note, warn
from openai_batches.cli.output.texts import one_line

__all__ = ["HandingOn"]

_AT_ONCE = 4
_STDERR = 2


class HandingOn:
    """Runs a command for each event, at most four at a time, and tells of those that fail.

    No shell reads the command or the event. What the command writes goes to standard error.

    Args:
        command: a program and its arguments, quoted as for a shell.

    Raises:
        CommandError: there is no such program.
    """

    def __init__(self, command: str) -> None:
        try:
            self._argv = shlex.split(command)
        except ValueError as error:
            raise CommandError(f"The command {command!r} cannot be read: {error}", "Mend its quotes") from error
        if not self._argv or shutil.which(self._argv[0]) is None:
            name = repr(self._argv[0]) if self._argv else "no name"
            advice = "Give a program and its arguments; for more than one, a script: --exec ./on-event.sh"
            raise CommandError(f"There is no program {name} to be run", advice)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, event: bytes, name: str) -> None:
        """Start the command, as soon as there is room for one more.

        Args:
            event: what it gets.
            name: what the person is told the event by, should it fail.
        """
        await self._slots.acquire()
        task = asyncio.create_task(self._run(event, name))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def finish(self) -> None:
        """Return when no command runs any more; if that is cancelled, they are ended."""
        if not self._tasks:
            return
        note(f"Waiting for {as_count(len(self._tasks), 'command')}; Ctrl-C ends at once")
        try:
            await asyncio.wait(self._tasks)
        except asyncio.CancelledError:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
            raise

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()

    async def _run(self, event: bytes, name: str) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv, stdin=asyncio.subprocess.PIPE, stdout=_STDERR, stderr=_STDERR
            )
        except OSError as error:
            warn(f"{one_line(self._argv[0])} cannot be run for {one_line(name)}: {error.strerror or error}")
            return
        try:
            await process.communicate(event)
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            raise
        if process.returncode:
            warn(f"{one_line(self._argv[0])} ended with {process.returncode} for {one_line(name)}")
