"""Records of the service as JSON, in its own words: as lines, or as one document that is written as they come."""

from collections.abc import Iterable
from typing import Any

import msgspec

from openai_batches import make_converter
from openai_batches.cli.documents import as_written
from openai_batches.cli.terminal import flush, write

__all__ = ["JsonItems"]


class JsonItems:
    """Records to standard output.

    Args:
        is_document: whether they are one JSON document, a list; otherwise each is a line.
    """

    def __init__(self, *, is_document: bool) -> None:
        self._is_document = is_document
        self._count = 0
        self._converter = make_converter()

    def write(self, records: Iterable[Any]) -> None:
        """Write the next records."""
        for record in records:
            if self._is_document:
                write(b",\n" if self._count else b"[\n")
            write(as_written(msgspec.json.encode(self._converter.unstructure(record))))
            if not self._is_document:
                write(b"\n")
            self._count += 1
        flush()

    def end(self) -> None:
        """Write the end of the document."""
        if self._is_document:
            write(b"\n]\n" if self._count else b"[]\n")
