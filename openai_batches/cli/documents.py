"""What ``--json`` writes: one document, and nothing else."""

from typing import Any

import msgspec

from openai_batches.cli.terminal import write

__all__ = ["write_document"]

# Amounts of money as numbers, which is how programs that read them want to compare them.
_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=str)


def write_document(document: Any) -> None:
    """Write a JSON document to standard output, indented, in the words of ``make_converter().unstructure``.

    Raises:
        ClosedPipeError: nobody reads it.
        CommandError: it cannot be written.
    """
    write(msgspec.json.format(_encoder.encode(document), indent=2) + b"\n")
