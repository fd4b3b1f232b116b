"""``openai-batches wait``: wait until batches have ended."""

from cyclopts import App

from openai_batches.cli.advice import command_line
from openai_batches.cli.command import command
from openai_batches.cli.commands._follow import BatchWaiter
from openai_batches.cli.errors import ExitCode
from openai_batches.cli.explain import Failures
from openai_batches.cli.options.amounts import Seconds, check_times
from openai_batches.cli.options.selection import BatchId, batch_ids
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.output.signals import interruptible
from openai_batches.cli.output.terminal import note

__all__ = ["app"]

app: App = command(
    "wait",
    examples="""\
openai-batches wait batch_abc batch_def --timeout 2h
openai-batches wait "$ID" && openai-batches results "$ID" > results.jsonl
openai-batches list --status open | openai-batches wait -""",
)


@app.default
async def wait(
    *ids: BatchId,
    timeout: Seconds | None = None,  # noqa: ASYNC109  # the person's own limit, with an exit code of its own
    interval: Seconds | None = None,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Wait until batches have ended, and write the id and the status of each as it does.

    The exit code is 0 when all of them completed and no request failed, 1 when some did not or have failed requests,
    and 4 when the time was up or Ctrl-C was pressed. The batches themselves are not touched.

    Args:
        ids: The batches; - reads ids from standard input, the first word of each line.
        timeout: How long to wait (without end): 2h.
        interval: How often to ask (5s for young batches, up to 5m for old ones).
        service: the service.
    """
    check_times(interval=interval, timeout=timeout)
    wanted = await batch_ids(ids)
    async with connected(service) as session:
        following = BatchWaiter(session=session, failures=Failures(), poll_s=interval)
        with interruptible() as interruption:
            is_in_time = await following.follow(wanted, timeout_s=timeout)
        if interruption.has_come:
            again = command_line("wait", *following.open, service=service)
            note(f"The batches continue to run. To wait for them again: {again}")
            return ExitCode.STOPPED
    following.failures.advise()
    return following.code(has_time_left=is_in_time)
