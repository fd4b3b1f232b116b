"""The verbs of batches: ``session.batches``.

Source: https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

from openai_batches._arguments import (
    ExpiresAfter,
    check_file_id,
    check_whole,
    checked_expiry,
    checked_idempotency_key,
    checked_metadata,
)
from openai_batches._names import public
from openai_batches.errors import BatchesWarning, InputError, NotFoundError
from openai_batches.http.wire import Request, query_string, segment
from openai_batches.models import Batch, FileObject, Page
from openai_batches.pagination import AsyncPaginator, whole_list
from openai_batches.policies import PollPolicy, as_poll_policy
from openai_batches.providers import unknown_endpoint, unknown_window
from openai_batches.resources.create import Creator
from openai_batches.resources.downloads import download_batch
from openai_batches.resources.poller import Poller
from openai_batches.resources.wait import BatchChanges, CompletedBatches, wait_for_end
from openai_batches.results.stream import BatchResults, check_has_results
from openai_batches.storage.compression import suffix

if TYPE_CHECKING:
    import datetime as dt
    import os
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from openai_batches.http.retries import Transport
    from openai_batches.providers import Provider
    from openai_batches.resources.downloads import BatchDownload, DownloadProgress
    from openai_batches.resources.files import Files
    from openai_batches.results.inputs import Inputs
    from openai_batches.storage.compression import Compression

__all__ = ["Batches"]

_MAX_LIMIT = 100


@public
class Batches:
    """The batches of the key's project: create, retrieve, list, cancel, wait, read the results."""

    def __init__(
        self, transport: Transport, files: Files, *, provider: Provider, poll: PollPolicy | float | None = None
    ) -> None:
        self._transport = transport
        self._poll = as_poll_policy(poll, PollPolicy())
        self._made_poller: Poller | None = None
        self._files = files
        self._provider = provider
        self._creator = Creator(
            transport=transport,
            list_batches=self.list,
            cancel=self.cancel,
            find_file=self._find_file,
            waits_for_files=provider.has_pending_files,
            keeps_metadata=provider.keeps_metadata,
        )

    async def create(
        self,
        *,
        input_file_id: str,
        endpoint: str,
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        output_expires_after: ExpiresAfter | None = None,
        idempotency_key: str | None = None,
        **extra: Any,
    ) -> Batch:
        """Create a batch, once.

        A key of this library is added to the metadata (``openai_batches_key``), unless all 16 pairs are in use. After a
        failure that leaves open whether the batch exists (a timeout, a cut connection, 5xx, an answer that cannot be
        read), the newest batches are searched for the key. If the batch is found, it is returned; only if it is not
        found is the request sent again. After 429 and refused connections the request is repeated without a search,
        since no batch was created. After "Cannot find file" it is repeated for up to a minute if the file can be
        retrieved, because the service may not find its own new file yet. On services where new files are ``pending`` at
        first (Azure), the file is waited for, for up to five minutes.

        Args:
            input_file_id: the id of an uploaded file of requests.
            endpoint: the path all its requests go to, e.g. ``/v1/chat/completions``. If the service is not known to
                accept it, a warning is given and it is sent.
            completion_window: the time within which the batch has to be completed; OpenAI accepts ``"24h"``. If the
                service is not known to accept it, a warning is given and it is sent.
            metadata: up to 16 pairs (15 with our key) of strings, keys up to 64, values up to 512 characters.
            output_expires_after: when the result files expire: seconds (3,600 to 2,592,000), a timedelta, or the wire's
                mapping; counted from the creation of those files.
            idempotency_key: the key to use instead of a random one, 1 to 512 characters. Note it before you call: after
                a crash ``find`` tells whether the batch exists.
            extra: further fields of the body, for services that accept more.

        Raises:
            InputError: an argument cannot be right; nothing was sent.
            AmbiguousCreateError: it cannot be found out whether the batch exists: the search failed, the metadata is
                full, or the service does not keep metadata.
            APIError: the service said no.
            TransportError: the service cannot be reached.

        Source: https://platform.openai.com/docs/api-reference/batch/create
        """
        check_file_id(input_file_id)
        service = self._provider
        window_warning = unknown_window(completion_window, service.window_hours, service=service.name)
        pairs = checked_metadata(metadata)
        expiry_s = checked_expiry(output_expires_after, name="output_expires_after", range_s=service.expiry_s)
        endpoint_warning = unknown_endpoint(endpoint, service.endpoints, service=service.name)
        for warning in filter(None, (window_warning, endpoint_warning)):
            warnings.warn(warning, BatchesWarning, stacklevel=2)
        fields: dict[str, Any] = {
            "input_file_id": input_file_id,
            "endpoint": endpoint,
            "completion_window": completion_window,
            **extra,
        }
        if expiry_s is not None:
            fields["output_expires_after"] = {"anchor": "created_at", "seconds": expiry_s}
        return await self._creator.create(fields, pairs, key=checked_idempotency_key(idempotency_key))

    async def find(self, idempotency_key: str, *, since: dt.datetime, input_file_id: str | None = None) -> Batch | None:
        """Return the batch that was created with a key, or None if there is none.

        All batches newer than ``since`` are searched, page after page. If several have the key, which can only happen
        if the service carried out an attempt late, the oldest is returned and the others are cancelled.

        Args:
            idempotency_key: the key, as it was given to ``create``.
            since: the earliest time at which the batch may have been created, by the service's clock; pass
                ``created_at`` of its input file.
            input_file_id: the file that only this batch was created from: on a service that shows no metadata, the
                batch is recognised by it.

        Raises:
            InputError: the key cannot be one, or ``since`` has no time zone.
            AmbiguousCreateError: the list could not be read to its end, so that it is not known whether the batch
                exists.
        """
        key = checked_idempotency_key(idempotency_key)
        if key is None or since.tzinfo is None:
            raise InputError("a batch is found by its key and a time with a time zone, such as its file's created_at")
        return await self._creator.find(key, since_s=since.timestamp(), file_id=input_file_id)

    async def retrieve(self, batch_id: str) -> Batch:
        """Return a batch as it is now.

        Raises:
            InputError: this cannot be an id.
            NotFoundError: the service has no such batch, or not for this key.
            APIError: the service said no.
            TransportError: no whole answer came.

        Source: https://platform.openai.com/docs/api-reference/batch/retrieve
        """
        return self._noted(await self._looked_at(batch_id))

    async def cancel(self, batch_id: str) -> Batch:
        """Ask the service to stop a batch; it is ``cancelling`` for up to ten minutes, then ``cancelled``.

        What it had finished is paid for and can be read from its files. A batch that is being cancelled already is
        returned as it is.

        Raises:
            InputError: this cannot be an id.
            ConflictError: the batch has ended otherwise than by being cancelled.
            NotFoundError: the service has no such batch, or not for this key.
            APIError: the service said no.
            TransportError: no whole answer came.

        Source: https://platform.openai.com/docs/api-reference/batch/cancel
        """
        request = Request(method="POST", path=f"{_path(batch_id)}/cancel", returns=Batch)
        return self._noted(await self._transport.send(request))

    def list(self, *, after: str | None = None, limit: int = 100, prefetch: int = 0) -> AsyncPaginator[Batch]:
        """Return the list of batches, newest first, which is fetched while it is read.

        Args:
            after: start behind the batch with this id.
            limit: batches per page, 1 to 100.
            prefetch: 1 asks for the next page while this one is being read.

        Raises:
            InputError: ``limit`` or ``prefetch`` is out of range.

        Source: https://platform.openai.com/docs/api-reference/batch/list
        """
        check_whole(limit=limit, most=_MAX_LIMIT)

        async def fetch(cursor: str | None) -> Page[Batch]:
            path = f"/batches{query_string(after=cursor, limit=limit)}"
            page = await self._transport.send(Request(method="GET", path=path, returns=Page[Batch]))
            return page if self._provider.has_cursors else whole_list(page, after=cursor)

        return AsyncPaginator(fetch, after=after, prefetch=prefetch)

    async def wait(
        self,
        batch: Batch | str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # its error has to carry the batch
        poll: PollPolicy | float | None = None,
    ) -> Batch:
        """Return a batch once it has ended: completed, failed, expired or cancelled.

        New batches are polled often and old ones rarely, from every 5 s to every 5 min; a batch whose end can be
        estimated is polled more often again shortly before it. All waiting calls share the requests: a thousand batches
        take about ten requests a round. A request that fails for a reason that may pass is logged and repeated later.
        The batch itself is never changed, however the waiting ends.

        Args:
            batch: the batch, or its id. One that has ended already is returned without asking.
            timeout: seconds after which to give up; None never does.
            poll: how long to pause between two requests, as a policy or as a fixed number of seconds; without it, the
                session's. If several calls wait for a batch, the shortest pause is used.

        Raises:
            InputError: this cannot be an id, a number is out of range, or the session was closed meanwhile.
            WaitTimeoutError: the time is up; ``batch`` is the batch as it was last seen.
            APIError: the service said no, in a way that does not pass.
            TransportError: the first request had no answer, and only an id is known of the batch.
            DecodeError: five answers in a row made no sense, or the first one where only an id is known of the batch.
        """
        policy = as_poll_policy(poll, self._poll)
        return await wait_for_end(batch, poller=self.poller, poll=policy, timeout_s=timeout)

    def as_completed(
        self, batches: Iterable[Batch | str], *, timeout: float | None = None, poll: PollPolicy | float | None = None
    ) -> CompletedBatches:
        """Return an async iterator that yields each batch when it ends; those that have ended already come first.

        Nothing is sent before the first step. An error about one batch is raised by one step, and a further step
        continues with the others. Leaving the loop ends the waiting, and changes no batch.

        Args:
            batches: batches or their ids; one that is given twice is yielded once.
            timeout: seconds, from the first step, after which to give up; None never does.
            poll: how long to pause between two requests, as for ``wait``.

        Raises:
            InputError: this is no batch, or a number is out of range.
            WaitTimeoutError: while iterating: the time is up; ``batches`` are those that have not ended.
            APIError: while iterating: the service said no, in a way that does not pass.
            TransportError: while iterating: the first request had no answer, and only an id is known of a batch.
        """
        policy = as_poll_policy(poll, self._poll)
        return CompletedBatches(batches, poller=self.poller, poll=policy, timeout_s=timeout)

    def watch(
        self,
        batch: Batch | str,
        *,
        poll: PollPolicy | float | None = None,
        stall_after: float | Mapping[str, float] | None = None,
    ) -> BatchChanges:
        """Return an async iterator over the changes of a batch: its current state, then each change until its end.

        A change is a change of the status or of the counts. An answer that is older than what was already seen is
        ignored. Nothing is sent before the first step. Leaving the loop ends the watching, and does not change the
        batch.

        Args:
            batch: the batch, or its id.
            poll: how long to pause between two requests, as for ``wait``.
            stall_after: seconds without a change after which a ``BatchChange`` with ``is_stall`` is yielded, and again
                each time that the same number of seconds has passed; or a mapping of statuses to seconds, for these
                statuses only.

        Raises:
            InputError: this is no batch, or a number is out of range.
            APIError: while iterating: the service said no, in a way that does not pass.
            TransportError: while iterating: the first request had no answer, and only an id is known of the batch.
        """
        policy = as_poll_policy(poll, self._poll)
        return BatchChanges(batch, poller=self.poller, poll=policy, stall_after_s=stall_after)

    def wake(self, batch_id: str) -> None:
        """Poll a batch at once, if a call is waiting for it, because there is reason to believe that it has changed.

        Args:
            batch_id: its id. A batch that no call is waiting for is not polled.
        """
        if self._made_poller is not None:
            self._made_poller.wake(batch_id)

    @property
    def poller(self) -> Poller:
        """The poller of all waiting calls. ``poller.watch()`` gives one task the updates of thousands of batches."""
        if self._made_poller is None:
            self._made_poller = Poller(
                retrieve=self._looked_at, list_batches=self.list, poll=self._poll, now=self._transport.now
            )
        return self._made_poller

    async def close(self) -> None:
        """End all waiting with an error; the session does so when it is closed."""
        if self._made_poller is not None:
            await self._made_poller.close()

    def results(
        self,
        batch: Batch | str,
        *,
        inputs: Inputs | None = None,
        body_type: Any = None,
        ordered: bool = False,
    ) -> BatchResults:
        """Return an async iterator over the results of a batch that has ended, which say what became of its requests.

        The output file is read first, then the error file, line by line while they arrive. Their order is not the order
        of the requests: join by ``custom_id``. A line that cannot be read is one result of outcome ``invalid``. The
        files of expired and cancelled batches are read too: what they hold was paid for. The connection stays open
        until the last line was taken or the iterator is closed; if it breaks in the meantime, reading resumes where it
        broke, and each result is yielded once. The iterator's ``summary`` counts the results that were read.

        With inputs, both files are first read to their end, onto the disk (an anonymous temporary file as large as
        both together, and its memory does not grow with it). Then each input has exactly one result: ``succeeded``,
        ``failed``, ``expired``, ``cancelled``, ``invalid``, or ``missing`` where no line has its id. Of several lines
        for one input the first success counts, else the first that can be read; the others are counted in the summary
        as doubled. Lines that belong to no input are ``foreign``, or ``invalid`` with a ``custom_id`` of None; ordered,
        they come after all others, and unordered the missing ones do.

        Args:
            batch: the batch, or its id.
            inputs: the requests of the batch: a path, a file, or an iterable or async iterable of requests, lines,
                ``Path`` objects, or custom_ids as str.
            body_type: a type, as for ``result.parse``, that ``result.body`` of a success is given as.
            ordered: yield in the order of the inputs; where none are given, those of the batch's input file, which is
                then read from the service.

        Raises:
            InputError: the batch has not ended yet; two inputs have the same custom_id, or one has none.
            BatchFailedError: the service refused the whole batch; ``batch.errors`` say why.
            APIError: the service said no, e.g. because the files have expired.
            TransportError: a file could not be read to its end, although it was taken up where it was cut.
            DecodeError: a line is longer than 64 MiB.
        """
        return BatchResults(
            functools.partial(self._ended, batch),
            self._line_blocks,
            inputs=inputs,
            body_type=body_type,
            ordered=ordered,
        )

    async def download(
        self,
        batch: Batch | str,
        directory: str | os.PathLike[str],
        *,
        compress: Compression | None = None,
        overwrite: bool = True,
        progress: DownloadProgress | None = None,
    ) -> BatchDownload:
        """Download the result files of a batch that has ended, each completely or not at all, and count their rows.

        They are called ``<batch_id>_output.jsonl`` and ``<batch_id>_error.jsonl``, with ``.gz`` or ``.zst`` appended if
        compressed, and are downloaded one after the other as by ``files.download``. If the rows do not agree with the
        batch's counts, ``agrees`` is False; no error is raised, since the counts are not always right.

        Args:
            batch: the batch, or its id.
            directory: where to put them; it is made if it is not there.
            compress: ``"gzip"`` or ``"zstd"`` compresses them while they are written.
            overwrite: replace files that are there already, once the new ones are whole. The files of a batch that has
                ended do not change.
            progress: called, for each file, with the bytes that are on the disk and the bytes in all.

        Raises:
            InputError: the batch has not ended yet.
            BatchFailedError: the service refused the whole batch; ``batch.errors`` say why.
            FileExistsError: a file is there already, and is not to be overwritten.
            OSError: the folder cannot be written to, or the disk is full.
            APIError: the service said no, e.g. because the files have expired.
            TransportError: a file could not be downloaded completely within the retries; one that was downloaded before
                stays.
        """
        suffix(compress)  # what cannot be compressed is known before anything is asked
        ended = await self._ended(batch)
        return await download_batch(
            self._transport, ended, directory, compress=compress, overwrite=overwrite, progress=progress
        )

    async def _looked_at(self, batch_id: str) -> Batch:
        return await self._transport.send(Request(method="GET", path=_path(batch_id), returns=Batch))

    def _noted(self, batch: Batch) -> Batch:
        """Let those who wait know of a record as well."""
        if self._made_poller is not None:
            self._made_poller.note(batch)
        return batch

    async def _ended(self, batch: Batch | str) -> Batch:
        """Return a batch that has results."""
        if not isinstance(batch, Batch):
            batch = await self.retrieve(batch)
        elif not batch.is_terminal:
            batch = await self.retrieve(batch.id)  # it may have ended since it was looked at
        check_has_results(batch)
        return batch

    async def _line_blocks(self, file_id: str) -> AsyncGenerator[bytes, None]:
        async with self._files.content(file_id) as content:
            async for block in content.iter_line_blocks():
                yield block

    async def _find_file(self, file_id: str) -> FileObject | None:
        try:
            return await self._files.retrieve(file_id)
        except (NotFoundError, InputError):
            return None


def _path(batch_id: str) -> str:
    return f"/batches/{segment(batch_id, name='batch_id')}"
