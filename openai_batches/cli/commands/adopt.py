"""``openai-batches adopt``: add batches that already exist to a job."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from openai_batches import BatchJob
from openai_batches._text import as_count
from openai_batches.cli.advice import command_line
from openai_batches.cli.command import command
from openai_batches.cli.errors import ExitCode
from openai_batches.cli.options.selection import BatchId, batch_ids
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.output.terminal import note, say
from openai_batches.cli.output.texts import clean, path_text

__all__ = ["app"]

app: App = command(
    "adopt",
    examples="""
openai-batches adopt batch_abc batch_def --directory rescued
openai-batches run rescued -o results.jsonl
""",
)


@app.default
async def adopt(
    *ids: BatchId,
    directory: Annotated[Path, Parameter(name=("--directory", "-d"), metavar="DIR")],
    window: Annotated[str | None, Parameter(metavar="WINDOW")] = None,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Add batches to a job, whoever created them.

    `run DIR -o OUT` then waits for them, collects their results, and sends again
    what did not run. Their input files are fetched, to know the requests, and are
    left alone at the service.

    Args:
        ids: The batches; - reads ids from standard input, the first word of each line.
        directory: The directory of the job; one that is not there is begun.
        window: The completion window of what is sent again, as the service writes it: 24h (that of the job).
        service: The service.
    """
    wanted = await batch_ids(ids)
    async with (
        connected(service) as session,
        BatchJob(session, directory=directory, completion_window=window) as job,
    ):
        for id in wanted:  # noqa: A001  # the wire's own word
            await job.adopt(id)
            say(clean(id))
        ledger = await job.summary()
    requests = as_count(ledger.inputs, "request")
    note(f"The job in {path_text(directory)} has {requests} in {as_count(len(ledger.shards), 'shard')}.")
    again = command_line("run", str(directory), "-o", "results.jsonl", service=service)
    note(f"To collect the results: {again}")
    return ExitCode.DONE
