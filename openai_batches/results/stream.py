"""The results of a batch as an async iterator: straight from its files, or joined with its inputs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self

from openai_batches._names import public
from openai_batches._threads import begin_in_thread, in_thread
from openai_batches.errors import BatchFailedError, InputError
from openai_batches.models import Batch, BatchStatus
from openai_batches.results.inputs import ids_in_block, iter_ids
from openai_batches.results.join import ResultJoin
from openai_batches.results.parse import ResultReader
from openai_batches.results.result import BatchResult
from openai_batches.results.summary import ResultSummary

if TYPE_CHECKING:
    from types import TracebackType

    from openai_batches.results.inputs import Inputs

__all__ = ["BatchResults", "check_has_results"]

# Blocks are gathered before they go to a thread, which costs the same for any size.
_GATHERED_BYTES = 1 << 20
_SHOWN_ERRORS = 3


@public
class BatchResults(AsyncIterator[BatchResult]):
    """The results of one batch, to be iterated over once.

    After an iteration that ended early, everything is closed when this object is garbage collected. ``async with`` and
    ``aclose()`` close everything at once, and so does the end of the iteration.

    Attributes:
        summary: counts what was read so far.

    Args:
        ended: gives the batch, once it has ended.
        read_file: gives the content of a file by its id, in blocks of whole lines.
        inputs: what to join the results with; None yields them as they stand in the files.
        body_type: the type of the successful answers' bodies; None leaves them plain values.
        ordered: whether to yield them in the order of the inputs, which are the batch's own unless given.
    """

    def __init__(
        self,
        ended: Callable[[], Awaitable[Batch]],
        read_file: Callable[[str], AsyncGenerator[bytes, None]],
        *,
        inputs: Inputs | None = None,
        body_type: Any = None,
        ordered: bool = False,
    ) -> None:
        self.summary: ResultSummary = ResultSummary()
        self._is_closed = False
        if inputs is None and not ordered:
            self._results = _streamed(self.summary, ended, read_file, body_type)
        else:
            self._results = _joined(self.summary, ended, read_file, inputs, body_type, ordered=ordered)

    def __aiter__(self) -> AsyncIterator[BatchResult]:  # noqa: PYI034
        if self._is_over:
            how = (
                "were read to their end" if self.summary.is_complete else "ended early, by an error or by being closed"
            )
            raise InputError(f"These results {how}: ask for them again, by another batches.results(…)")
        # The generator itself: a million steps through a method of ours would cost as much as reading the lines.
        return self._results

    def __anext__(self) -> Awaitable[BatchResult]:
        if self._is_over and not self.summary.is_complete and not self._is_closed:
            raise InputError("These results ended early, by an error or a cancellation: ask for them again")
        return self._results.__anext__()

    @property
    def _is_over(self) -> bool:
        return getattr(self._results, "ag_frame", self) is None

    async def aclose(self) -> None:
        """Stop reading: the connection is released, and temporary files are removed. Closing twice does nothing."""
        self._is_closed = True
        await self._results.aclose()

    async def __aenter__(self) -> Self:
        """Do nothing: the first result is what asks the service."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        await self.aclose()


def _result_files(batch: Batch) -> list[str]:
    return [file_id for file_id in (batch.output_file_id, batch.error_file_id) if file_id]


async def _streamed(
    summary: ResultSummary,
    ended: Callable[[], Awaitable[Batch]],
    read_file: Callable[[str], AsyncGenerator[bytes, None]],
    body_type: Any,
) -> AsyncGenerator[BatchResult, None]:
    batch = summary.batch = await ended()
    for file_id in _result_files(batch):
        reader = ResultReader(body_type=body_type)
        async with aclosing(read_file(file_id)) as blocks:
            async for block in blocks:
                is_large = len(block) > _GATHERED_BYTES
                results = await in_thread(reader.read, block) if is_large else reader.read(block)
                summary.add(results)
                for result in results:
                    yield result
    summary.is_complete = True


async def _joined(
    summary: ResultSummary,
    ended: Callable[[], Awaitable[Batch]],
    read_file: Callable[[str], AsyncGenerator[bytes, None]],
    inputs: Inputs | None,
    body_type: Any,
    *,
    ordered: bool,
) -> AsyncGenerator[BatchResult, None]:
    batch = summary.batch = await ended()
    join = ResultJoin(body_type=body_type, ordered=ordered, summary=summary)
    try:
        ids = _ids_of_batch(batch, read_file) if inputs is None else iter_ids(inputs)
        async with aclosing(ids):
            async for custom_ids in ids:
                await in_thread(join.add_inputs, custom_ids)
        await in_thread(join.check_inputs)
        for file_id in _result_files(batch):
            reader = ResultReader()
            async with aclosing(_gathered(read_file(file_id))) as blocks:
                async for block in blocks:
                    await in_thread(join.add_lines, reader, block)
        while (piece := await in_thread(join.next_piece)) is not None:
            for result in piece:
                yield result
        summary.is_complete = True
    finally:
        if join.is_busy:  # a step that a cancelled task left behind is waited for elsewhere
            begin_in_thread(join.close)
        else:
            join.close()


async def _ids_of_batch(
    batch: Batch, read_file: Callable[[str], AsyncGenerator[bytes, None]]
) -> AsyncGenerator[list[str], None]:
    """Yield the ids in the batch's own input file."""
    if not batch.input_file_id:
        raise InputError(f"Batch {batch.id} does not name its input file: give the inputs whose order is wanted")
    async with aclosing(_gathered(read_file(batch.input_file_id))) as blocks:
        async for block in blocks:
            yield await in_thread(ids_in_block, block)


async def _gathered(blocks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield fewer and larger blocks of the same lines."""
    held: list[bytes] = []
    size = 0
    async with aclosing(blocks):
        async for block in blocks:
            held.append(block)
            size += len(block)
            if size >= _GATHERED_BYTES:
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)


def check_has_results(batch: Batch) -> None:
    """Refuse a batch that has no results: it has not ended, or the service failed it as a whole."""
    if not batch.is_terminal:
        raise InputError(f"Batch {batch.id} is {batch.status}: its results can be read once it has ended")
    if batch.status == BatchStatus.FAILED and not (batch.output_file_id or batch.error_file_id):
        raise BatchFailedError(_why_failed(batch), batch=batch)


def _why_failed(batch: Batch) -> str:
    errors = [str(error) for error in batch.errors or ()]
    shown = "; ".join(errors[:_SHOWN_ERRORS]) or "the service gives no reason"
    more = f"; and {len(errors) - _SHOWN_ERRORS:,} more" if len(errors) > _SHOWN_ERRORS else ""
    return f"Batch {batch.id} failed before any of its requests ran: {shown}{more}"
