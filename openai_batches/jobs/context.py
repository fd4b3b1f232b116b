"""What the steps of a job share: the service, the job's state and settings, its folders, and what the service takes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from aiolimiter import AsyncLimiter

from openai_batches.jobs.admission import Admission
from openai_batches.jobs.cleanup.leftovers import Leftovers
from openai_batches.jobs.plan import requests_folder, results_folder
from openai_batches.jobs.state import JobState
from openai_batches.policies import PollPolicy

if TYPE_CHECKING:
    from openai_batches.providers import Provider
    from openai_batches.resources.batches import Batches
    from openai_batches.resources.files import Files

__all__ = ["JobContext", "Service", "Settings"]

# https://platform.openai.com/docs/guides/batch#rate-limits
_CREATIONS, _CREATIONS_PER_S = 2_000, 3_600
_UPLOADS, _UPLOADS_PER_S = 1_000, 60


class Service(Protocol):
    """A service to work with, such as a :class:`BatchSession`."""

    @property
    def batches(self) -> Batches:
        """The verbs of batches."""
        ...

    @property
    def files(self) -> Files:
        """The verbs of files."""
        ...

    @property
    def base_url(self) -> str:
        """The service's address, without a slash at the end."""
        ...

    @property
    def provider(self) -> Provider:
        """The service, as data."""
        ...

    def now(self) -> float:
        """Return the wall clock's time in Unix seconds."""
        ...


@attrs.frozen(kw_only=True)
class Settings:
    """How a job is carried out; `BatchJob` documents each of these."""

    concurrency: int = 4
    max_open: int | None = None
    max_attempts: int = 3
    fields: Mapping[str, Any] = attrs.field(factory=dict)
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    resend_cancelled: bool = False
    keep_files: bool = False
    poll: PollPolicy | None = None
    stall_after: float | Mapping[str, float] | None = None


@attrs.frozen(kw_only=True)
class JobContext:
    """What the steps of a job share.

    Attributes:
        session: the service.
        state: the job's attempts, in step with its journal.
        settings: how the job is carried out.
        requests: the folder of the requests.
        results: the folder of the results.
        admission: says when a batch may be created.
        leftovers: knows what the job's files are called at the service.
        transfers: how many files may be on their way at once.
        uploads: how many uploads the service takes.
        creations: how many creations the service takes.
    """

    session: Service
    state: JobState
    settings: Settings
    requests: Path
    results: Path
    admission: Admission
    leftovers: Leftovers
    transfers: asyncio.Semaphore
    uploads: AsyncLimiter
    creations: AsyncLimiter

    @classmethod
    def of(cls, session: Service, state: JobState, settings: Settings) -> JobContext:
        """Return the context of a job that is about to run, in the running event loop."""
        return cls(
            session=session,
            state=state,
            settings=settings,
            requests=requests_folder(state.directory, state.job.job_id),
            results=results_folder(state.directory, state.job.job_id),
            admission=Admission(max_open=settings.max_open),
            leftovers=Leftovers(session.files, state.job.job_id),
            transfers=asyncio.Semaphore(settings.concurrency),
            uploads=AsyncLimiter(_UPLOADS, _UPLOADS_PER_S),
            creations=AsyncLimiter(_CREATIONS, _CREATIONS_PER_S),
        )
