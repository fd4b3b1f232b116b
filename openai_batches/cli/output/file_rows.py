"""Table rows for files at the service."""

import datetime as dt
import time
from typing import TYPE_CHECKING

from openai_batches.cli.output.terminal import out_is_terminal, stdout
from openai_batches.cli.output.texts import age_text, cut, one_line, size_text

if TYPE_CHECKING:
    from openai_batches import FileObject

__all__ = ["file_row", "now"]

# What the other columns take: an id is never cut, for the next command wants it.
_OTHERS_CHARS = 60
_LEAST_CHARS = 16


def now() -> dt.datetime:
    """Return this moment."""
    return dt.datetime.fromtimestamp(time.time(), dt.UTC)


def file_row(file: "FileObject", *, when: str | None = None) -> tuple[str, str, str, str]:
    """Return a file's id, name, size and age; the name is cut where it does not fit into the terminal."""
    name = one_line(file.filename)
    if out_is_terminal():
        name = cut(name, max(_LEAST_CHARS, stdout().width - _OTHERS_CHARS))
    return one_line(file.id), name, size_text(file.bytes), age_text(file.created_at, now()) if when is None else when
