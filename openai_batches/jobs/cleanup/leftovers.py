"""Files and batches that one job has left at the service without a record in its journal: found, then used or deleted.

An upload whose answer was lost may have made a file all the same. Its name contains the job and the attempt, so that it
is found by it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import attrs

from openai_batches.errors import ConflictError, NotFoundError
from openai_batches.resources.files import Files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from openai_batches.jobs.journal.records import Attempt
    from openai_batches.models import FileObject
    from openai_batches.resources.batches import Batches

__all__ = ["JOB_NAME", "Leftovers"]

# The pair of a batch's metadata that names its job.
JOB_NAME = "openai_batches_job"

_MARGIN_S = 900.0


@attrs.frozen
class Leftovers:
    """Finds and deletes what one job has left at the service."""

    _files: Files
    _job_id: str

    async def find(self, attempts: Iterable[Attempt]) -> list[tuple[Attempt, FileObject]]:
        """Return the files of those attempts whose upload succeeded although its answer was lost."""
        wanted = {attempt.name_at_service(self._job_id): attempt for attempt in attempts}
        found: dict[str, FileObject] = {}
        async for file in self._own(None):
            attempt = wanted.get(file.filename)
            if attempt is not None and file.bytes == attempt.bytes:
                found[file.filename] = file
        return [(wanted[name], file) for name, file in found.items()]

    async def delete_unknown(self, known: frozenset[str], since_s: float | None) -> int:
        """Delete the job's files that are not among these, and return how many.

        ``since_s`` is when the job uploaded its first file, by the service's clock; None if that is not known.
        """
        spare = [file.id async for file in self._own(since_s) if file.id not in known]
        for file_id in spare:
            with contextlib.suppress(NotFoundError):
                await self._files.delete(file_id)
        return len(spare)

    async def cancel_doubles(self, batches: Batches, known: frozenset[str], since_s: float) -> int:
        """Cancel the job's batches that are not among these, and return how many: they were created late.

        ``since_s`` is when the job created its first batch, by the service's clock.
        """
        spare: list[str] = []
        async for batch in batches.list():
            if batch.created_at is not None and batch.created_at.timestamp() < since_s - _MARGIN_S:
                break
            is_ours = (batch.metadata or {}).get(JOB_NAME) == self._job_id
            if is_ours and batch.id not in known and not batch.is_terminal:
                spare.append(batch.id)
        for batch_id in spare:
            with contextlib.suppress(ConflictError, NotFoundError):
                await batches.cancel(batch_id)
        return len(spare)

    async def _own(self, since_s: float | None) -> AsyncIterator[FileObject]:
        async for file in self._files.list(purpose="batch"):
            if file.filename.startswith(f"{self._job_id}-"):
                yield file
            if (
                since_s is not None
                and file.created_at is not None
                and file.created_at.timestamp() < since_s - _MARGIN_S
            ):
                return
