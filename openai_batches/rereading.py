"""The content of a file as it comes, past connections that break: it is asked for again, and goes on where it was."""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

from openai_batches.errors import TransportError
from openai_batches.lines import BlockSplitter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from openai_batches.files import FileContent, Files

__all__ = ["iter_bytes", "iter_line_blocks"]

_MAX_LINE_BYTES = 64 * 1024 * 1024

_logger = logging.getLogger("openai_batches")


async def iter_bytes(files: Files, file_id: str) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a file as they arrive; nothing of it is kept, here or on the disk.

    When the connection breaks, as it does where a reader pauses for long, the file is asked for anew and what was
    yielded already is passed over, as long as each answer gets further than the one before it.

    Raises:
        InputError: this cannot be an id.
        APIError: the service said no.
        TransportError: an answer was cut before it came further, or the file is not the same any more.
    """
    done = 0
    size: int | None = None
    while True:
        before, passed = done, 0
        try:
            async with files.content(file_id) as content:
                size = _checked_size(content, size if before else content.size, file_id)
                async for chunk in content.iter_chunks():
                    passed += len(chunk)
                    if passed > done:
                        fresh = chunk[len(chunk) - (passed - done) :]
                        done = passed
                        yield fresh
        except TransportError as error:
            if done == before or not error.can_pass:
                raise
            _logger.info("File %s: cut after %d bytes, asked for again: %s", file_id, done, error)
        else:
            return


def _checked_size(content: FileContent, size: int | None, file_id: str) -> int | None:
    if content.size != size:
        raise TransportError(f"File {file_id} is not as long as it was before", can_pass=False)
    return size


async def iter_line_blocks(files: Files, file_id: str) -> AsyncGenerator[bytes, None]:
    r"""Yield the same in blocks of whole lines, each with its ``\n``; the last needs none.

    Raises:
        DecodeError: a line is longer than 64 MiB.
        TransportError: as for ``iter_bytes``.
    """
    splitter = BlockSplitter(max_line_bytes=_MAX_LINE_BYTES)
    async with aclosing(iter_bytes(files, file_id)) as chunks:
        async for chunk in chunks:
            for block in splitter.feed(chunk):
                yield block
    if rest := splitter.rest():
        yield rest
