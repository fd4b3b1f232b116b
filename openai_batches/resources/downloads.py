"""Download files from the service to the disk: whole, or not at all.

A file is written beside its target and renamed to it once its length is right, so that no truncated file ever has that
name. After a broken connection the download goes on where it stopped, if the service identifies the content by a strong
validator, and otherwise from the start.

Source: https://www.rfc-editor.org/rfc/rfc9110#name-range-requests
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import attrs

from openai_batches._names import public
from openai_batches._threads import in_thread, in_thread_without_fail
from openai_batches.errors import APIError, DecodeError, InputError, TransportError
from openai_batches.http.ranges import Patience, Ranges, content_encoding
from openai_batches.http.wire import Request, segment
from openai_batches.models import BatchStatus, FileObject, RequestCounts
from openai_batches.storage.atomic import PartFile, refuse_existing
from openai_batches.storage.compression import Compression, compressor, suffix

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from openai_batches.http.client import ByteStream
    from openai_batches.http.retries import Transport
    from openai_batches.models import Batch

__all__ = ["BatchDownload", "DownloadProgress", "DownloadedFile", "download", "download_batch"]

# Told how many bytes came, and of how many, or None where that is not known.
DownloadProgress: TypeAlias = "Callable[[int, int | None], object]"

# So much is collected before a thread writes it: a thread for each chunk would cost more.
_BLOCK_BYTES = 1024 * 1024

_logger = logging.getLogger("openai_batches")


@public
@attrs.frozen(kw_only=True)
class DownloadedFile:
    """A file that was brought to the disk, whole; it can be opened like its path.

    Attributes:
        file_id: its id at the service.
        path: where it is.
        bytes: the length of its content, before any compression.
        attempts: how many answers it took.
        rows: its lines that are not blank, where they were counted.
    """

    file_id: str
    path: Path
    bytes: int
    attempts: int = 1
    rows: int | None = None

    def __fspath__(self) -> str:
        """Return the path as a str."""
        return str(self.path)


@public
@attrs.frozen(kw_only=True)
class BatchDownload:
    """The result files of a batch, on the disk.

    Attributes:
        output: the file of the requests that succeeded, or None where the batch has none.
        error: the file of the others, or None.
        rows_output: the lines of ``output``.
        rows_error: the lines of ``error``.
        counts: the batch's ``request_counts``.
        agrees: whether there is a line for each request, and the service counts as many successes, and of a completed
            batch as many failures, as there are lines; None where it does not count. The files are whole either way.
    """

    output: DownloadedFile | None
    error: DownloadedFile | None
    rows_output: int
    rows_error: int
    counts: RequestCounts | None
    agrees: bool | None


async def download(
    transport: Transport,
    file_id: str,
    path: str | os.PathLike[str],
    *,
    compress: Compression | None = None,
    overwrite: bool = False,
    progress: DownloadProgress | None = None,
    counts_rows: bool = False,
) -> DownloadedFile:
    """Bring one file to the disk: see ``Files.download``."""
    target = Path(path)
    if not target.name:
        raise InputError(f"path must name a file, not {str(path)!r}")
    url = f"/files/{segment(file_id, name='file_id')}"
    if suffix(compress):
        compressor(compress)  # type: ignore[arg-type]  # fails now rather than after the first byte
    part = PartFile(target, compression=compress, overwrite=overwrite, counts_rows=counts_rows)
    try:
        await in_thread(part.open)
        size = await _recorded_size(transport, url)
        fetch = _Fetch(transport, f"{url}/content", part, size=size, progress=progress)
        attempts = await fetch.run()
        await in_thread(part.keep)
    finally:
        # A thread may still be writing: it is waited for even if this task is cancelled.
        await in_thread_without_fail(part.discard)
    rows = part.rows if counts_rows else None
    return DownloadedFile(file_id=file_id, path=target, bytes=part.received, attempts=attempts, rows=rows)


async def download_batch(
    transport: Transport,
    batch: Batch,
    directory: str | os.PathLike[str],
    *,
    compress: Compression | None = None,
    overwrite: bool = True,
    progress: DownloadProgress | None = None,
) -> BatchDownload:
    """Bring both result files of a batch to the disk: see ``Batches.download``."""
    folder = Path(directory)
    stem, end = segment(batch.id, name="batch_id"), f".jsonl{suffix(compress)}"
    wanted = [
        (file_id, folder / f"{stem}_{name}{end}")
        for file_id, name in ((batch.output_file_id, "output"), (batch.error_file_id, "error"))
    ]

    def prepare() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for file_id, path in wanted:
            if file_id:
                refuse_existing(path, overwrite=overwrite)

    await in_thread(prepare)
    output, error = [
        await download(
            transport, file_id, path, compress=compress, overwrite=overwrite, progress=progress, counts_rows=True
        )
        if file_id
        else None
        for file_id, path in wanted
    ]
    rows_output, rows_error = (file.rows or 0 if file else 0 for file in (output, error))
    return BatchDownload(
        output=output,
        error=error,
        rows_output=rows_output,
        rows_error=rows_error,
        counts=batch.request_counts,
        agrees=_agrees(batch, rows_output, rows_error),
    )


def _agrees(batch: Batch, rows_output: int, rows_error: int) -> bool | None:
    counts = batch.request_counts
    if counts is None:
        return None
    # What expired or was cancelled has lines in the error file, and may or may not be counted as failed.
    is_failed_right = batch.status != BatchStatus.COMPLETED or rows_error == counts.failed
    return is_failed_right and rows_output == counts.completed and rows_output + rows_error == counts.total


async def _recorded_size(transport: Transport, url: str) -> int | None:
    """Return how long the service's record says that a file is, or None where it does not say."""
    try:
        file = await transport.send(Request(method="GET", path=url, returns=FileObject))
    except (APIError, DecodeError):
        return None  # if anything is wrong, the request for the content says what
    return file.bytes if file.bytes > 0 else None


class _Fetch:
    """The download of one file, over as many answers as it takes; ``size`` is the length it must have, if known."""

    def __init__(
        self, transport: Transport, url: str, part: PartFile, *, size: int | None, progress: DownloadProgress | None
    ) -> None:
        self._transport = transport
        self._url = url
        self._ranges = Ranges(url, is_raw=True)
        self._part = part
        self._size = size
        self._progress = progress
        self._total: int | None = None

    async def run(self) -> int:
        """Return, once all the content is there, how many answers it took."""
        patience = Patience(self._transport)
        while (cut := await self._attempt()) is not None:
            # What cannot be resumed is lost: only bytes that stay, and were not there before, are progress.
            kept = self._part.received if self._ranges.validator else 0
            delay_s = patience.pause_s(cut, kept)
            if delay_s is None:
                length = self._total or self._size or "nobody knows how many"
                cut.add_note(f"{self._part.received:,} bytes of {length} had come; {self._part.target} was not written")
                raise cut
            _logger.info("GET %s: cut after %d bytes, next in %.1f s: %s", self._url, kept, delay_s, cut)
            await asyncio.sleep(delay_s)
        return patience.attempts + 1

    async def _attempt(self) -> TransportError | None:
        """Return None once all bytes are there, or what broke the answer off; the transport retries opening it."""
        offset = self._part.received if self._ranges.validator else 0
        try:
            async with self._transport.stream(self._ranges.request(offset)) as stream:
                try:
                    await self._begin(stream, offset)
                    await self._receive(stream)
                    self._check_end(stream)
                except TransportError as error:
                    return error
        except APIError as error:
            if error.status != 416 or not offset:
                raise
            return self._ranges.distrust("the service has no such range")
        return None

    async def _begin(self, stream: ByteStream, offset: int) -> None:
        """Decide by an answer's head where its bytes belong in the file."""
        if stream.status == 206:
            self._total = self._ranges.go_on(stream, offset, self._total or self._size)
            return
        if stream.status != 200:
            raise TransportError(f"GET {self._url}: {stream.status} is no answer with content", can_pass=False)
        encoding = content_encoding(stream.headers)
        self._total = None if encoding else stream.size
        self._ranges.begin(stream.headers)
        await in_thread(self._part.restart, encoding)
        if encoding or self._is_chunked(stream):
            return
        if self._total is None and self._size is None:
            text = f"GET {self._url}: neither the answer nor the file's record says how long it is"
            raise TransportError(text, can_pass=False)
        if None not in {self._total, self._size} and self._total != self._size:
            raise self._wrong_length(f"the answer announces {self._total:,} bytes")

    async def _receive(self, stream: ByteStream) -> None:
        chunks: list[bytes] = []
        held = 0
        try:
            async for chunk in stream.iter_chunks():
                chunks.append(chunk)
                held += len(chunk)
                if held >= _BLOCK_BYTES:
                    await self._write(chunks)
                    chunks, held = [], 0
        except TransportError:
            await self._write(chunks)
            raise
        await self._write(chunks)

    async def _write(self, chunks: list[bytes]) -> None:
        try:
            await in_thread(self._part.write, chunks)
        except TransportError:
            self._ranges.validator = None
            raise
        most = self._total or self._size
        if most is not None and self._part.received > most:
            raise self._wrong_length(f"{self._part.received:,} bytes came")
        if self._progress is not None:
            self._progress(self._part.received, most)

    def _check_end(self, stream: ByteStream) -> None:
        """Check that an answer that ended without an error brought all of the content."""
        received = self._part.received
        if not self._part.is_expanded:
            raise TransportError(f"GET {self._url}: the answer's encoding ends before its end")
        if self._total is not None and received < self._total:
            raise TransportError(f"GET {self._url}: the answer ended at byte {received:,} of {self._total:,}")
        if self._size is not None and received != self._size:
            if self._total is None and not self._is_chunked(stream):
                # Without a length, a closed connection may be the end of the content or a failure.
                raise TransportError(f"GET {self._url}: the connection ended at byte {received:,} of {self._size:,}")
            raise self._wrong_length(f"{received:,} bytes came")

    def _wrong_length(self, what: str) -> TransportError:
        self._ranges.validator = None
        size = self._total if self._total == self._size or self._size is None else self._size
        return TransportError(f"GET {self._url}: {what}, but the service's record of the file says {size:,}")

    @staticmethod
    def _is_chunked(stream: ByteStream) -> bool:
        return "chunked" in stream.headers.get("transfer-encoding", "").lower()
