"""The requests of a batch that are sent again, as a file."""

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from openai_batches import Outcome, to_requests
from openai_batches.cli.saving import STDOUT, opened_output
from openai_batches.cli.streaming import gathered
from openai_batches.cli.terminal import note
from openai_batches.cli.texts import path_text
from openai_batches.wording import as_count

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from openai_batches import Batch, BatchResult, BatchSession

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

    def note(self, results: "Sequence[BatchResult]") -> None:
        """Look at the next results."""
        if self._path is None:
            return
        for result in results:
            if result.outcome in _SETTLED:
                continue
            if result.custom_id is not None and (self._takes_all or result.never_ran or result.is_retryable):
                self._ids.add(result.custom_id)
            else:
                self._left_out += 1

    async def write(self, session: "BatchSession", batch: "Batch", inputs: str | None, *, force: bool) -> None:
        """Write the file, of lines of the inputs as they are.

        Args:
            session: where the requests are taken from, if they are in no file.
            batch: the batch.
            inputs: the file of its requests, or None.
            force: whether a file that exists is replaced.

        Raises:
            CommandError: it cannot be written.
            InputError: a request is not among the inputs.
        """
        if self._path is None:
            return
        left_out = f"; {as_count(self._left_out, 'request')} would fail again" if self._left_out else ""
        if not self._ids:
            note(f"There is nothing to send again{left_out}")
            return
        path = None if self._path == STDOUT else self._path
        async with _requests(session, batch, inputs) as source, opened_output(path, force=force) as write:
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
