"""The exit codes, and the errors that carry a message and advice for the user."""

import enum
from collections.abc import Sequence

__all__ = ["ClosedPipeError", "CommandError", "ExitCode", "UnknownOptionError"]


class ExitCode(enum.IntEnum):
    """What a shell is told."""

    DONE = 0  # all of it was done
    FAILED = 1  # it was done, and some requests did not succeed, or problems were found
    MISUSED = 2  # it cannot be done as it was asked: arguments, configuration, local files
    REFUSED = 3  # the service or the network said no
    STOPPED = 4  # it was stopped before the end; the same command goes on
    BROKEN = 70  # a mistake in this program
    INTERRUPTED = 130  # Ctrl-C or a "no", with nothing to go on with
    UNREAD = 141  # the reader of the output has gone


class CommandError(Exception):
    """A command cannot be carried out."""

    def __init__(
        self,
        message: str,
        advice: str = "",
        code: ExitCode = ExitCode.MISUSED,
        *,
        details: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.advice = advice
        self.code = code
        self.details: tuple[str, ...] = tuple(details)


class UnknownOptionError(CommandError):
    """What was typed where a file or an id stands looks like an option, and the command has none of that name."""

    def __init__(self, option: str, advice: str = "") -> None:
        super().__init__(f"Unknown option: {option}", advice)
        self.option = option


class ClosedPipeError(Exception):
    """The reader of standard output has gone: the program ends, and that is not an error."""
