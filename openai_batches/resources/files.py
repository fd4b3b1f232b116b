"""The verbs of files: ``session.files``.

Source: https://platform.openai.com/docs/api-reference/files
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from openai_batches._arguments import ExpiresAfter, check_whole, checked_expiry
from openai_batches._names import public
from openai_batches.errors import InputError
from openai_batches.http.failures import Repeat
from openai_batches.http.wire import MultipartBody, Request, query_string, segment
from openai_batches.models import DeletedFile, FileObject, Page
from openai_batches.pagination import AsyncPaginator, whole_list
from openai_batches.resources.content import FileContent
from openai_batches.resources.downloads import download
from openai_batches.resources.upload_parts import PART_BYTES, PartsUpload, checked_parts
from openai_batches.resources.uploads import open_source, watched

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator

    from openai_batches.http.retries import Transport
    from openai_batches.providers import Provider
    from openai_batches.resources.downloads import DownloadedFile, DownloadProgress
    from openai_batches.resources.uploads import Progress, Source, Uploadable
    from openai_batches.storage.compression import Compression

__all__ = ["Files"]

_MAX_LIMIT = 10_000


@public
class Files:
    """The files of the key's project: upload, retrieve, list, read, delete."""

    def __init__(self, transport: Transport, *, provider: Provider) -> None:
        self._transport = transport
        self._provider = provider

    async def create(
        self,
        file: Uploadable,
        *,
        purpose: str = "batch",
        filename: str | None = None,
        expires_after: ExpiresAfter | None = None,
        progress: Progress | None = None,
    ) -> FileObject:
        """Upload a file.

        It is read from disk piece by piece while it is sent, never held whole, and read anew for each attempt. What can
        be read only once (a pipe, an async iterable) is written to an anonymous temporary file first. An upload is
        repeated after any failure that can pass; one whose answer was lost may leave a second copy at the service.

        Args:
            file: a path, bytes, a file opened in binary mode, or an async iterable of bytes.
            purpose: what the file is for.
            filename: the name of the file at the service; that of the path if not given. For a batch it has to end in
                ``.jsonl``.
            expires_after: seconds (3,600 to 2,592,000), a timedelta, or the wire's mapping; counted from the upload.
            progress: a quick plain function, called in the event loop with the bytes sent and the bytes in all: with 0
                at the start of each attempt, then after each piece. What it raises ends the upload.

        Raises:
            InputError: the file is empty, in text mode or misnamed for a batch, or a number is out of range.
            OSError: the file cannot be read.
            APIError: the service said no.
            TransportError: no whole answer came.

        Source: https://platform.openai.com/docs/api-reference/files/create
        """
        fields = [("purpose", purpose)]
        if (expiry_s := self._checked_expiry(expires_after)) is not None:
            key = "expires_after.{}" if self._provider.form_keys == "dots" else "expires_after[{}]"
            fields += [(key.format("anchor"), "created_at"), (key.format("seconds"), str(expiry_s))]
        async with open_source(file) as source:
            name = _checked_name(source, filename, purpose)

            def chunks() -> AsyncIterator[bytes]:
                return source.chunks() if progress is None else watched(source.chunks(), source.size, progress)

            body = MultipartBody(
                fields=tuple(fields), field_name="file", filename=name, size=source.size, chunks=chunks
            )
            return await self._transport.send(Request(method="POST", path="/files", returns=FileObject, body=body))

    async def upload_parts(
        self,
        file: Uploadable,
        *,
        purpose: str = "batch",
        filename: str | None = None,
        part_bytes: int = PART_BYTES,
        concurrency: int = 4,
        expires_after: ExpiresAfter | None = None,
        progress: Progress | None = None,
    ) -> FileObject:
        """Upload a file in parts, several at once; a part that fails is sent again by itself; for unreliable links.

        Only pieces of it are held in memory. It is read twice: the service compares the md5 of the whole with what
        came. An upload that fails or is cancelled is cancelled at the service too, which takes at most 10 s; the
        service removes it after an hour in any case. If the answer to the last step is lost and repeating the step is
        refused, the file is searched for among the newest ones by its name and length.

        Args:
            file: a path, bytes, a file opened in binary mode, or an async iterable of bytes.
            purpose: what the file is for.
            filename: the name of the file at the service; that of the path if not given. For a batch it has to end in
                ``.jsonl``.
            part_bytes: bytes of each part but the last, 1 to 67,108,864 (64 MiB).
            concurrency: how many parts are sent at once, 1 to 64.
            expires_after: seconds (3,600 to 2,592,000), a timedelta, or the wire's mapping; counted from the upload.
            progress: a quick plain function, called in the event loop with the bytes sent and the bytes in all. The
                first number never goes down: while a part is sent again it stands still. What it raises ends the
                upload.

        Raises:
            InputError: the file is empty, in text mode or misnamed for a batch, or a number is out of range.
            OSError: the file cannot be read.
            APIError: the service said no.
            TransportError: no whole answer came.
            DecodeError: an answer cannot be read.

        Source: https://platform.openai.com/docs/api-reference/uploads
        """
        checked_parts(part_bytes, concurrency)
        expiry_s = self._checked_expiry(expires_after)
        async with open_source(file) as source:
            upload = PartsUpload(
                transport=self._transport,
                list_files=lambda purpose: self.list(purpose=purpose, order="desc", limit=100),
                source=source,
                filename=_checked_name(source, filename, purpose),
                purpose=purpose,
                expiry_s=expiry_s,
                part_bytes=part_bytes,
                concurrency=concurrency,
                progress=progress,
            )
            return await upload.send()

    def _checked_expiry(self, expires_after: ExpiresAfter | None) -> int | None:
        return checked_expiry(expires_after, name="expires_after", range_s=self._provider.expiry_s)

    async def retrieve(self, file_id: str) -> FileObject:
        """Return what the service knows of a file.

        Raises:
            InputError: this cannot be an id.
            NotFoundError: the service has no such file, or not for this key.
            APIError: the service said no.
            TransportError: no whole answer came.
        """
        return await self._transport.send(Request(method="GET", path=_path(file_id), returns=FileObject))

    async def delete(self, file_id: str) -> DeletedFile:
        """Delete a file; a batch that has read it already is not touched.

        It is repeated after any failure that can pass, so that a lost answer can end in ``NotFoundError``.

        Raises:
            InputError: this cannot be an id.
            NotFoundError: the service has no such file, or not for this key.
            APIError: the service said no.
            TransportError: no whole answer came.
        """
        request = Request(
            method="DELETE", path=_path(file_id), returns=DeletedFile, repeat=Repeat.SAFELY_ALSO_CONFLICTS
        )
        return await self._transport.send(request)

    def list(
        self,
        *,
        purpose: str | None = None,
        order: Literal["asc", "desc"] | None = None,
        after: str | None = None,
        limit: int = 1_000,
        prefetch: int = 0,
    ) -> AsyncPaginator[FileObject]:
        """Return the list of files, which is fetched while it is read.

        Args:
            purpose: only files of this purpose.
            order: by the time of creation; the service's default is ``"desc"``, newest first.
            after: start behind the file with this id.
            limit: files per page, 1 to 10,000.
            prefetch: 1 asks for the next page while this one is being read.

        Raises:
            InputError: ``limit``, ``order`` or ``prefetch`` is out of range.

        Source: https://platform.openai.com/docs/api-reference/files/list
        """
        check_whole(limit=limit, most=_MAX_LIMIT)
        if order not in {None, "asc", "desc"}:
            raise InputError(f"order must be 'asc' or 'desc', not {order!r}")

        async def fetch(cursor: str | None) -> Page[FileObject]:
            query = query_string(purpose=purpose, order=order, after=cursor, limit=limit)
            page = await self._transport.send(Request(method="GET", path=f"/files{query}", returns=Page[FileObject]))
            return page if self._provider.has_cursors else whole_list(page, after=cursor)

        return AsyncPaginator(fetch, after=after, prefetch=prefetch)

    async def download(
        self,
        file_id: str,
        path: str | os.PathLike[str],
        *,
        compress: Compression | None = None,
        overwrite: bool = False,
        progress: DownloadProgress | None = None,
    ) -> DownloadedFile:
        """Download a file's content to the disk, completely or not at all.

        It is written to ``<path>.part``, readable by its owner alone, and is renamed to ``path`` once its length is
        what the answer announced and what the service's record of the file says, and it is safely on the disk. After
        any failure, nothing is left under either name; a ``.part`` that a crashed process left is overwritten.

        After a broken connection, the download resumes where it stopped, if the service sends a strong validator (an
        ``ETag``, or a date that is old enough), otherwise from the start. Bytes that are kept reset the count of failed
        attempts, so that a long download over an unreliable connection is completed; there are at most 1,000 attempts.
        Without retries (``RetryPolicy(attempts=1)``) the first cut is an error.

        Args:
            file_id: the id of the file.
            path: the name of the downloaded file; nothing is appended to it.
            compress: ``"gzip"`` or ``"zstd"`` (the extra ``[zstd]``) compresses it while it is written.
            overwrite: replace a file that is there already, once the new one is whole.
            progress: a quick plain function, called in the event loop with the bytes that are there and the bytes in
                all, or None where these are not known. The first number goes down when a download starts again. What
                it raises ends the download.

        Returns:
            What was downloaded, and how; it can be opened like its path.

        Raises:
            InputError: this cannot be an id or a path, or the compression is not there.
            FileExistsError: the file is there already, or another download of it is running.
            OSError: the folder cannot be written to, or the disk is full.
            NotFoundError: the service has no such file, or not for this key.
            APIError: the service said no.
            TransportError: the content could not be downloaded completely within the retries.
        """
        return await download(self._transport, file_id, path, compress=compress, overwrite=overwrite, progress=progress)

    def content(self, file_id: str) -> FileContent:
        """Return a file's content, which is requested when ``async with`` is entered.

        Raises:
            InputError: this cannot be an id.
        """
        path = f"{_path(file_id)}/content"
        return FileContent(self._transport, path, file_id=file_id)


def _checked_name(source: Source, filename: str | None, purpose: str) -> str:
    """Return the name under which something is uploaded; raise if it is empty, or named as no batch's file can be."""
    name = filename or source.filename or ("requests.jsonl" if purpose == "batch" else "upload")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"the service takes names in UTF-8, not {name!r}: give another filename=") from None
    if purpose == "batch" and not name.endswith(".jsonl"):
        if name.endswith((".gz", ".zst")):
            raise InputError(f"the service reads no compressed files: write_shards({name!r}, …) unpacks it")
        raise InputError(f"the file of a batch has to be named *.jsonl, not {name!r}: give another filename=")
    if not source.size:
        raise InputError(f"{name!r} is empty")
    return name


def _path(file_id: str) -> str:
    return f"/files/{segment(file_id, name='file_id')}"
