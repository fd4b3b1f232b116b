"""The output of ``--json`` and ``--jsonl``: one document, or one record of the service on each line."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from openai_batches import make_converter
from openai_batches.cli.output.terminal import flush, out_is_terminal, write

__all__ = ["JsonItems", "as_written", "write_document"]

# Amounts of money as numbers, which is how programs that read them want to compare them.
_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=str)


def write_document(document: Any) -> None:
    """Write a JSON document to standard output, indented, in the words of ``make_converter().unstructure``."""
    write(as_written(msgspec.json.format(_encoder.encode(document), indent=2)) + b"\n")


def as_written(document: bytes) -> bytes:
    """Return JSON as standard output gets it: a terminal obeys characters that JSON can hold as they are."""
    if not out_is_terminal() or (text := document.decode()).isprintable():
        return document
    return "".join(each if each == "\n" or each.isprintable() else json.dumps(each)[1:-1] for each in text).encode()


class JsonItems:
    """Records to standard output."""

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
