"""``openai-batches files delete``: files that are not needed at the service any more."""

from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from openai_batches import AuthenticationError, BatchesError, NotFoundError
from openai_batches.cli.asking import can_ask, confirmed
from openai_batches.cli.batch_ids import BatchId, batch_ids
from openai_batches.cli.commanding import command
from openai_batches.cli.connecting import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.endings import ExitCode
from openai_batches.cli.explaining import explain
from openai_batches.cli.terminal import note, say
from openai_batches.cli.texts import clean, one_line, words
from openai_batches.wording import as_count

__all__ = ["app"]

_MOST_NAMED = 5

app = command(
    "delete",
    examples="""\
openai-batches files delete file-abc file-def
openai-batches files list --purpose batch_output | openai-batches files delete -""",
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
        return ExitCode.DONE
    worst = ExitCode.DONE
    async with connected(service) as session:
        for id in wanted:  # noqa: A001  # the wire's own word
            try:
                await session.files.delete(id)
            except AuthenticationError:
                raise
            except NotFoundError:
                _complain(f"{id} is not there: it was deleted before, or belongs to another key")
                worst = max(worst, ExitCode.REFUSED)
            except BatchesError as error:
                explanation = explain(error)
                _complain(f"{id} was not deleted: {explanation.message}")
                worst = max(worst, explanation.code)
            else:
                say(f"{one_line(id)}  deleted")
    return worst


def _complain(text: str) -> None:
    note(Text.assemble(("error: ", "bold red"), clean(text)))
