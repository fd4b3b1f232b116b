"""The requests of a batch that are sent again, as a file."""

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from openai_batches import Outcome, to_requests
from openai_batches._text import as_count
from openai_batches.cli.errors import CommandError
from openai_batches.cli.output.save import STDOUT, opened_output
from openai_batches.cli.output.streams import gathered
from openai_batches.cli.output.terminal import note
from openai_batches.cli.output.texts import path_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from openai_batches import Batch, BatchResult, BatchSession, ResultSummary

__all__ = ["Resending"]

_SETTLED = frozenset({Outcome.SUCCEEDED, Outcome.FOREIGN})


class Resending:
    """Notes which requests are worth another try, and writes them to a file.

    Args:
        path: the file; None writes none.
        takes_all: whether all that did not succeed are; otherwise, those that did not run, or failed for a reason that
            may pass.
    """

    def __init__(self, path: Path | None, *, takes_all: bool) -> None:
        self._path = path
        self._takes_all = takes_all
        self._ids: set[str] = set()
        self._left_out = 0

    @property
    def is_wanted(self) -> bool:
        """Whether there is a file to write."""
        return self._path is not None

    def note(self, results: "Sequence[BatchResult]") -> None:
        """Look at the next results, which are joined with their requests: each request has one."""
        if self._path is None:
            return
        for result in results:
            # A line without an id is no request's: that of which it may have been is among the others.
            if result.outcome in _SETTLED or result.custom_id is None:
                continue
            if self._takes_all or result.never_ran or result.is_retryable:
                self._ids.add(result.custom_id)
            else:
                self._left_out += 1

    async def write(
        self, session: "BatchSession", summary: "ResultSummary", inputs: str | None, *, force: bool
    ) -> None:
        """Write the file, of lines of the inputs as they are.

        Args:
            session: where the requests are taken from, if they are in no file.
            summary: what all results came to.
            inputs: the file of its requests, or None.
            force: whether a file that exists is replaced.

        Raises:
            CommandError: it cannot be written, or these are the requests of another batch.
            InputError: a request is not among the inputs any more.
        """
        if self._path is None or summary.batch is None:
            return
        if summary.is_of_other_inputs:
            raise CommandError(
                f"None of the requests of {inputs} is in batch {summary.batch.id}",
                "Name the file of requests that it was made of: --inputs FILE",
            )
        left_out = f"; {as_count(self._left_out, 'request')} would fail again" if self._left_out else ""
        if not self._ids:
            note(f"There is nothing to send again{left_out}")
            return
        path = None if self._path == STDOUT else self._path
        async with _requests(session, summary.batch, inputs) as source, opened_output(path, force=force) as write:
            lines = to_requests(self._ids, source)
            async with contextlib.aclosing(gathered(lines, weigh=len)) as pieces:
                async for piece in pieces:
                    await write(functools.partial(b"".join, piece))
        where = "" if path is None else f" in {path_text(path)}"
        note(f"{as_count(len(self._ids), 'request')} to send again{where}{left_out}")


@contextlib.asynccontextmanager
async def _requests(
    session: "BatchSession", batch: "Batch", inputs: str | None
) -> "AsyncGenerator[Path | AsyncIterator[bytes]]":
    if inputs is not None:
        yield Path(inputs)
        return
    async with (
        session.files.content(batch.input_file_id) as content,
        contextlib.aclosing(content.iter_lines()) as lines,
    ):
        yield lines
