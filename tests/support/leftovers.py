"""What jobs and people leave behind at a service, for tests of the commands that look for it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from support.job_parts import JOB_ID, attempt, job_record
from support.request_lines import CHAT, line

from openai_batches import BatchSession
from openai_batches.emulator import SteppedClock, Timings
from openai_batches.jobs.journal.records import Step
from openai_batches.jobs.journal.sqlite import Journal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from openai_batches import Batch, FileObject
    from openai_batches.emulator import BackgroundServer
    from openai_batches.jobs.journal.records import Attempt

DAY_S = 86_400.0
# All that is made at the service is two days old, and moves only when it is told to.
OLD: dict[str, Any] = {
    "clock": SteppedClock(start=time.time() - 2 * DAY_S),
    "timings": Timings(validating_s=60, line_s=DAY_S),
}
LINES = f"{line('a')}\n{line('b')}\n".encode()


def at_service(server: BackgroundServer, work: Callable[[BatchSession], Awaitable[Any]]) -> Any:
    """Do something with a session of its own."""

    async def run() -> Any:
        async with BatchSession(server.api_key, base_url=server.base_url, trust_env=False) as session:
            return await work(session)

    return asyncio.run(run())


def upload(server: BackgroundServer, name: str = f"{JOB_ID}-shard-00001.jsonl") -> FileObject:
    file: FileObject = at_service(server, lambda session: session.files.create(LINES, filename=name))
    return file


def create(server: BackgroundServer, name: str = "mine.jsonl", **options: Any) -> Batch:
    file = upload(server, name)
    batch: Batch = at_service(
        server, lambda session: session.batches.create(input_file_id=file.id, endpoint=CHAT, **options)
    )
    return batch


def job(directory: Path, *attempts: Attempt, **fields: Any) -> Path:
    """Write the journal of a job."""
    journal = Journal(directory)
    journal.begin(job_record(**fields), list(attempts))
    journal.close()
    return directory


def planned(directory: Path, file: FileObject, **fields: Any) -> Path:
    """Write the journal of a job that still needs a file."""
    return job(directory, attempt(step=Step.UPLOADED, file_id=file.id), **fields)


def verified(directory: Path, batch: Batch) -> Path:
    """Write the journal of a job that has the results of a batch on the disk."""
    return job(directory, attempt(step=Step.VERIFIED, batch=batch))
