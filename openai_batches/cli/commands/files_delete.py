"""``openai-batches files delete``: files that are not needed at the service any more."""

from typing import Annotated

from cyclopts import App, Parameter

from openai_batches import AuthenticationError, BatchesError, NotFoundError
from openai_batches._text import as_count
from openai_batches.cli.command import command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.failures import Failures
from openai_batches.cli.options.batch_ids import BatchId, batch_ids
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.output.questions import can_ask, confirmed
from openai_batches.cli.output.terminal import note, say
from openai_batches.cli.output.texts import one_line, words

__all__ = ["app"]

_MOST_NAMED = 5

app: App = command(
    "delete",
    examples="""\
openai-batches files delete file-abc file-def
openai-batches files list --purpose batch_output \\
    | openai-batches files delete -""",
)


@app.default
async def delete(
    *ids: BatchId,
    yes: Annotated[bool, Parameter(name=("--yes", "-y"))] = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Delete files at the service, for good. A batch that has read its input file already is not touched.

    A person at a terminal is asked first. One file that cannot be deleted does not keep the others; the exit code is
    then 3. A file that is not there counts as one that cannot be deleted.

    Args:
        ids: The files; `-` reads ids from standard input, the first word of each line.
        yes: Do not ask.
        service: the service.
    """
    wanted = await batch_ids(ids)
    what = words(map(one_line, wanted)) if len(wanted) <= _MOST_NAMED else as_count(len(wanted), "file")
    if not yes and can_ask() and not await confirmed(f"Delete {what}?"):
        note("Nothing was deleted.")
        return ExitCode.INTERRUPTED
    failures = Failures()
    async with connected(service) as session:
        for id in wanted:  # noqa: A001  # the wire's own word
            try:
                await session.files.delete(id)
            except AuthenticationError:
                raise
            except NotFoundError as error:
                failures.tell(id, _missing(error))
            except BatchesError as error:
                failures.tell(id, error)
            else:
                say(f"{one_line(id)}  deleted")
    failures.advise()
    return failures.code


def _missing(error: NotFoundError) -> Exception:
    """Return what to say of a file that is not there; an address where no service is has no files at all."""
    if not isinstance(error.body, dict):
        return error
    return CommandError(
        "It is not there: it was deleted before, or belongs to another key",
        "`openai-batches files list` shows the files of this key",
        ExitCode.REFUSED,
    )
