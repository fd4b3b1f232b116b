"""The ids of batches that a person names, or that another command hands on."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, BinaryIO, cast

from cyclopts import Parameter

from openai_batches.cli.errors import CommandError, UnknownOptionError
from openai_batches.cli.options.sources import STDIN, request_source

__all__ = ["BatchId", "batch_ids"]

# What `list` writes above its ids.
_HEAD = b"id"
_PIECE_BYTES = 65_536


def _check(_: object, given: str) -> None:
    if given.startswith("-") and given != STDIN:
        raise UnknownOptionError(given)


# Annotation of a command's `*ids`: "-" is no option.
BatchId = Annotated[str, Parameter(metavar="ID", required=True, allow_leading_hyphen=True, validator=_check)]


async def batch_ids(given: Sequence[str]) -> list[str]:
    """Return ids, each once; ``-`` stands for the first words of the lines of standard input.

    Raises:
        CommandError: there is no id.
    """
    ids: dict[str, None] = {}
    for each in given:
        ids.update(dict.fromkeys(await asyncio.to_thread(_read) if each == STDIN else [each]))
    if not ids:
        raise CommandError("There is no id on standard input", "Give one id a line")
    return list(ids)


def _read() -> list[str]:
    with request_source(STDIN) as source:
        file = cast("BinaryIO", source)
        text = b"".join(iter(lambda: file.read(_PIECE_BYTES), b""))
    words = [line.split()[0] for line in text.splitlines() if line.strip()]
    return [word.decode("utf-8", "replace") for word in words if word != _HEAD]
