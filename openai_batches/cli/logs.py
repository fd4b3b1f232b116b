"""The library's warnings and log records, written to standard error."""

import contextvars
import logging
import warnings

from openai_batches.cli.output.terminal import note, progress_is_shown, warn

__all__ = ["relay", "silence"]

_is_silenced = contextvars.ContextVar("_is_silenced", default=False)


def relay(*, is_debugging: bool) -> None:
    """Let the library's warnings and log lines reach the person."""
    warnings.showwarning = lambda message, *_, **__: _tell(str(message))
    logger = logging.getLogger("openai_batches")
    # Retries are shown on a terminal, but do not fill a log file.
    level = logging.INFO if progress_is_shown() else logging.WARNING
    logger.setLevel(logging.DEBUG if is_debugging else level)
    logger.handlers = [_Handler()]
    logger.propagate = False


def silence() -> None:
    """Silence them for this command, which writes only errors."""
    _is_silenced.set(True)


def _tell(text: str) -> None:
    if not _is_silenced.get():
        warn(text)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            _tell(record.getMessage())
        elif not _is_silenced.get():
            note(f"{record.levelname.lower()}: {record.getMessage()}")
