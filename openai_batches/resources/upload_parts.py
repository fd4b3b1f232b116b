"""Upload a file in parts, each of which can fail and be sent again alone.

Source: https://platform.openai.com/docs/api-reference/uploads
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import msgspec

from openai_batches._arguments import check_whole
from openai_batches._threads import in_thread
from openai_batches.errors import APIError, BatchesError, DecodeError
from openai_batches.http.failures import Repeat, is_ambiguous
from openai_batches.http.retries import Transport
from openai_batches.http.wire import MultipartBody, Request, segment
from openai_batches.models import FileObject, Upload, UploadPart
from openai_batches.pagination import AsyncPaginator
from openai_batches.resources.uploads import Progress, Source, watched

__all__ = ["PART_BYTES", "PartsUpload", "checked_parts"]

# The largest part the service takes.
PART_BYTES = 64 * 1024 * 1024
_MAX_CONCURRENCY = 64
# How long the cancelling may take; the service drops an upload by itself after an hour.
_CANCEL_S = 10.0
# So many of the newest files are searched for one whose upload was completed, but the answer was lost.
_MAX_FILES_SEEN = 1_000

_logger = logging.getLogger("openai_batches")
# The event loop keeps only weak references to its tasks.
_cancellations: set[asyncio.Task[None]] = set()


def checked_parts(part_bytes: int, concurrency: int) -> None:
    """Refuse numbers that are out of range."""
    check_whole(part_bytes=part_bytes, most=PART_BYTES)
    check_whole(concurrency=concurrency, most=_MAX_CONCURRENCY)


@attrs.frozen(kw_only=True)
class PartsUpload:
    """The upload of one file in parts; ``list_files`` lists the newest files of a purpose."""

    transport: Transport
    list_files: Callable[[str], AsyncPaginator[FileObject]]
    source: Source
    filename: str
    purpose: str
    expiry_s: int | None
    part_bytes: int
    concurrency: int
    progress: Progress | None

    async def send(self) -> FileObject:
        """Send everything and return the file; if that fails, cancel the upload at the service."""
        upload = await self._create()
        try:
            part_ids, md5 = await self._send_parts(upload)
            return await self._complete(upload, part_ids, md5)
        except (Exception, asyncio.CancelledError):
            await self._give_up(upload)
            raise

    async def _create(self) -> Upload:
        fields: dict[str, Any] = {
            "filename": self.filename,
            "purpose": self.purpose,
            "bytes": self.source.size,
            "mime_type": "application/jsonl" if self.filename.endswith(".jsonl") else "application/octet-stream",
        }
        if self.expiry_s is not None:
            fields["expires_after"] = {"anchor": "created_at", "seconds": self.expiry_s}
        # Created twice is harmless: an upload without parts costs nothing and expires in an hour.
        return await self.transport.send(_post("/uploads", Upload, fields))

    async def _send_parts(self, upload: Upload) -> tuple[list[str], str]:
        """Return the ids of the parts in the order of the file, and the md5 of the whole."""
        starts = range(0, self.source.size, self.part_bytes)
        part_ids = [""] * len(starts)
        tally = _Tally(self.source.size, self.progress)
        waiting = iter(enumerate(starts))

        async def send_some() -> None:
            for number, start in waiting:
                stop = min(start + self.part_bytes, self.source.size)
                part_ids[number] = await self._send_part(upload, start, stop, tally)

        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                hashing = group.create_task(self._md5())
                for _ in range(min(self.concurrency, len(starts))):
                    group.create_task(send_some())
        except BaseExceptionGroup as failures:
            failure = failures.exceptions[0]  # raised below, so that it keeps its own cause
        if failure is not None:
            raise failure
        return part_ids, hashing.result()

    async def _send_part(self, upload: Upload, start: int, stop: int, tally: _Tally) -> str:
        def chunks() -> AsyncIterator[bytes]:
            return watched(self.source.chunks(start, stop), stop - start, lambda sent, _: tally.count(start, sent))

        body = MultipartBody(fields=(), field_name="data", filename="part", size=stop - start, chunks=chunks)
        path = f"{_path(upload)}/parts"
        # A part whose answer was lost stays behind unnamed: only those named at the end make the file.
        part = await self.transport.send(Request(method="POST", path=path, returns=UploadPart, body=body))
        return part.id

    async def _md5(self) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        async for chunk in self.source.chunks():
            await in_thread(digest.update, chunk)
        return digest.hexdigest()

    async def _complete(self, upload: Upload, part_ids: list[str], md5: str) -> FileObject:
        path, fields = f"{_path(upload)}/complete", {"part_ids": part_ids, "md5": md5}
        try:
            return _file_of(await self.transport.send(_post(path, Upload, fields, repeat=Repeat.ONLY_UNDONE)))
        except BatchesError as error:
            if not is_ambiguous(error):
                raise
            unclear = error
        try:
            return _file_of(await self.transport.send(_post(path, Upload, fields)))
        except APIError as error:
            if is_ambiguous(error) or not await self._was_completed(upload):
                raise
        return await self._find(upload, unclear)

    async def _was_completed(self, upload: Upload) -> bool:
        """Return whether an upload takes no more calls, as after its completion; one that still does is cancelled."""
        try:
            # Sent once: after a cancel that was lost, another one would be refused too.
            await self.transport.send(_post(f"{_path(upload)}/cancel", Upload, repeat=Repeat.ONLY_UNDONE))
        except BatchesError as error:
            return isinstance(error, APIError) and error.status in {400, 409}
        return False

    async def _find(self, upload: Upload, unclear: BatchesError) -> FileObject:
        """Return the file of an upload whose completion had no answer, if only one file can be it."""
        found: list[FileObject] = []
        seen = 0
        async for file in self.list_files(self.purpose):
            seen += 1
            is_older = upload.created_at and file.created_at and file.created_at < upload.created_at
            if is_older or seen > _MAX_FILES_SEEN:
                break
            if (file.filename, file.bytes) == (self.filename, self.source.size):
                found.append(file)
        if len(found) == 1:
            return found[0]
        unclear.add_note(
            f"Upload {upload.id} takes no more calls, so it was probably completed, but {len(found)} of the newest "
            f"files are named {self.filename!r} and have {self.source.size:,} bytes: which one it is cannot be told"
        )
        raise unclear

    async def _give_up(self, upload: Upload) -> None:
        # This goes on if we are cancelled ourselves; it ends soon by its own timeout.
        cancellation = asyncio.create_task(self._cancel(upload))
        _cancellations.add(cancellation)
        cancellation.add_done_callback(_cancellations.discard)
        await asyncio.shield(cancellation)

    async def _cancel(self, upload: Upload) -> None:
        try:
            async with asyncio.timeout(_CANCEL_S):
                await self.transport.send(_post(f"{_path(upload)}/cancel", Upload))
        except (BatchesError, TimeoutError) as error:
            _logger.info("upload %s could not be cancelled, it will expire: %s", upload.id, error)


class _Tally:
    """Adds up what was sent of all parts; while a part is sent again, the sum that is reported never goes down."""

    def __init__(self, size: int, progress: Progress | None) -> None:
        self._size = size
        self._progress = progress
        self._sent: dict[int, int] = {}
        self._total = 0
        self._reported = -1

    def count(self, part: int, sent: int) -> None:
        self._total += sent - self._sent.get(part, 0)
        self._sent[part] = sent
        if self._progress is not None and self._total > self._reported:
            self._reported = self._total
            self._progress(self._total, self._size)


def _path(upload: Upload) -> str:
    return f"/uploads/{segment(upload.id, name='upload_id')}"


def _post(
    path: str, returns: type[Upload], fields: dict[str, Any] | None = None, *, repeat: Repeat = Repeat.SAFELY
) -> Request[Upload]:
    body = msgspec.json.encode(fields or {})
    return Request(method="POST", path=path, returns=returns, repeat=repeat, body=body)


def _file_of(upload: Upload) -> FileObject:
    if upload.file is None:
        raise DecodeError(f"Upload {upload.id} is {upload.status or 'answered'} without a file")
    return upload.file
