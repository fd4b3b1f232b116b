"""``openai-batches cancel``: cancel batches."""

import asyncio
from typing import TYPE_CHECKING

from cyclopts import App

from openai_batches import Batch, BatchesError
from openai_batches.cli.advice import command_line
from openai_batches.cli.command import command
from openai_batches.cli.commands._follow import BatchWaiter, say_status
from openai_batches.cli.errors import ExitCode
from openai_batches.cli.explain import Failures
from openai_batches.cli.options.amounts import Seconds, check_interval
from openai_batches.cli.options.selection import BatchId, batch_ids
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.output.signals import interruptible
from openai_batches.cli.output.terminal import note

if TYPE_CHECKING:
    from openai_batches import BatchSession

__all__ = ["app"]

_AT_ONCE = 8

app: App = command(
    "cancel",
    examples="""\
openai-batches cancel batch_abc batch_def
openai-batches list --status open | openai-batches cancel - --wait""",
)


@app.default
async def cancel(
    *ids: BatchId,
    wait: bool = False,
    interval: Seconds | None = None,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Cancel batches: what has run is kept, and can be had with `results` once they have ended.

    The service takes up to ten minutes. A batch that cannot be cancelled does not keep the others from it.

    Args:
        ids: The batches; - reads ids from standard input, the first word of each line.
        wait: Wait until they have ended, and write each as it does.
        interval: How often to ask while waiting (5s for young batches, up to 5m for old ones).
        service: the service.
    """
    check_interval(interval, option="--wait", is_given=wait)
    wanted = await batch_ids(ids)
    failures = Failures()
    async with connected(service) as session:
        cancelled = await _cancelled(session, wanted, failures, is_said=not wait)
        if wait:
            following = BatchWaiter(session=session, failures=failures, poll_s=interval)
            with interruptible() as interruption:
                await following.follow(cancelled)
            if interruption.has_come:
                again = command_line("wait", *following.open, service=service)
                note(f"The batches are still being cancelled. To wait for them: {again}")
                return ExitCode.STOPPED
    failures.advise()
    return failures.code


async def _cancelled(session: "BatchSession", ids: list[str], failures: Failures, *, is_said: bool) -> list[Batch]:
    """Cancel batches, a few at a time; tell of each in the order in which they were given."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def attempt(batch_id: str) -> Batch | BatchesError:
        async with places:
            try:
                return await session.batches.cancel(batch_id)
            except BatchesError as error:
                return error

    cancelled: list[Batch] = []
    attempts = {batch_id: asyncio.ensure_future(attempt(batch_id)) for batch_id in ids}
    try:
        for batch_id, task in attempts.items():
            said = await task
            if isinstance(said, BatchesError):
                failures.tell(batch_id, said)
                continue
            cancelled.append(said)
            if is_said:
                say_status(said)
    except asyncio.CancelledError:
        for task in attempts.values():
            task.cancel()
        raise
    finally:
        # All of them are cancelled, even if the output cannot be written.
        await asyncio.wait(attempts.values())
    return cancelled
