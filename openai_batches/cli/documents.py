"""What ``--json`` writes: one document, and nothing else."""

import json
from typing import Any

import msgspec

from openai_batches.cli.terminal import out_is_terminal, write

__all__ = ["as_written", "write_document"]

# Amounts of money as numbers, which is how programs that read them want to compare them.
_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=str)


def write_document(document: Any) -> None:
    """Write a JSON document to standard output, indented, in the words of ``make_converter().unstructure``.

    Raises:
        ClosedPipeError: nobody reads it.
        CommandError: it cannot be written.
    """
    write(as_written(msgspec.json.format(_encoder.encode(document), indent=2)) + b"\n")


def as_written(document: bytes) -> bytes:
    """Return JSON as standard output gets it: a terminal obeys characters that JSON can hold as they are."""
    if not out_is_terminal() or (text := document.decode()).isprintable():
        return document
    return "".join(each if each == "\n" or each.isprintable() else json.dumps(each)[1:-1] for each in text).encode()
