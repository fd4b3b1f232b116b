"""Read results from the files that a job has downloaded, a piece at a time; all of it is for use in a thread."""

from __future__ import annotations

import array
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from openai_batches.errors import JournalError
from openai_batches.models import Batch
from openai_batches.requests.read import blocks_of_path
from openai_batches.results.inputs import ids_in_block
from openai_batches.results.match import BestLines, rank_of
from openai_batches.results.parse import ResultReader
from openai_batches.results.result import BatchResult, Outcome, ResultError, missing_result

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from io import FileIO


__all__ = ["AttemptFiles", "attempt_results", "check_size", "custom_ids", "refused_results", "shard_results"]

_PIECE_ITEMS = 1_024
# The results of a block are in memory together: in a larger one each takes longer, for want of the processor's caches.
_BLOCK_BYTES = 256 * 1024
_NOWHERE = -1


def check_size(path: Path, size: int | None) -> None:
    """Refuse a file of a job that has not the size that the journal knows, if it knows one."""
    now = size if size is None else path.stat().st_size
    if now != size:
        raise JournalError(
            f"{path}, which the job needs, was changed on the disk: it has {now:,} bytes, and had {size:,}. Put a copy "
            "of it in its place; a result file can be downloaded again by batches.download, while the service has it"
        )


def custom_ids(path: Path, size: int | None = None) -> list[str]:
    """Return the ids of the requests in a file, in their order; the file must have the size that is known of it."""
    ids: list[str] = []
    try:
        check_size(path, size)
        for block in blocks_of_path(path):
            ids += ids_in_block(block)
    except (OSError, ValueError) as error:
        raise JournalError(f"{path}, which the job needs, cannot be read: {error}") from error
    return ids


@attrs.frozen(kw_only=True)
class AttemptFiles:
    """The files that tell what became of the requests of one attempt.

    Attributes:
        requests: its requests.
        result_files: its output file, then its error file, those of them that there are.
        resent: the requests of the next attempt, which are those sent again; None where there is none.
        is_plain: whether each line of the files is the only one of a request of this attempt, and none lacks its line.
        lacks_lines: whether the files would be plain if no request lacked its line.
        refused: the batch, where the service failed it as a whole.
        was_sent: whether there was a batch at all.
        sizes: what the sizes of these files must be, where the journal knows it.
    """

    requests: Path
    result_files: tuple[Path, ...] = ()
    resent: Path | None = None
    is_plain: bool = True
    lacks_lines: bool = False
    refused: Batch | None = None
    was_sent: bool = True
    sizes: Mapping[Path, int] = attrs.field(factory=dict[Path, int])

    def ids(self) -> list[str]:
        """Return the ids of its requests."""
        return custom_ids(self.requests, self.sizes.get(self.requests))

    def blocks(self, path: Path) -> Iterator[bytes]:
        """Yield one of its result files in blocks of whole lines."""
        try:
            check_size(path, self.sizes.get(path))
            yield from blocks_of_path(path, _BLOCK_BYTES)
        except OSError as error:
            raise JournalError(f"{path}, which the job needs, cannot be read: {error}") from error


def attempt_results(files: AttemptFiles, body_type: object = None) -> Generator[list[BatchResult], None, None]:
    """Yield the result of each request that an attempt settled, in the order of its files where they allow it."""
    if files.is_plain and files.refused is None:
        pieces: Iterator[list[BatchResult]] = chain.from_iterable(_results_of(files, body_type))
    elif files.lacks_lines and files.result_files:
        pieces = _with_missing(files.ids(), chain.from_iterable(_results_of(files, body_type)))
    else:
        pieces = shard_results([files], body_type)
    yield from _without(_resent(files), pieces)


def _results_of(files: AttemptFiles, body_type: object) -> list[Iterator[list[BatchResult]]]:
    """Return the results in each of an attempt's files."""
    return [_file_results(files.blocks(path), body_type) for path in files.result_files]


def _file_results(blocks: Iterator[bytes], body_type: object) -> Iterator[list[BatchResult]]:
    reader = ResultReader(body_type=body_type)
    for block in blocks:
        yield reader.read(block)


def _with_missing(ids: list[str], pieces: Iterator[list[BatchResult]]) -> Iterator[list[BatchResult]]:
    """Yield results as they come, and after them those of the requests that had no line."""
    found: set[str | None] = set()
    for piece in pieces:
        found.update(result.custom_id for result in piece)
        yield piece
    missing = [custom_id for custom_id in ids if custom_id not in found]
    for start in range(0, len(missing), _PIECE_ITEMS):
        yield list(map(missing_result, missing[start : start + _PIECE_ITEMS]))


def _resent(files: AttemptFiles) -> frozenset[str]:
    path = files.resent
    return frozenset() if path is None else frozenset(custom_ids(path, files.sizes.get(path)))


def _without(resent: frozenset[str], pieces: Iterator[list[BatchResult]]) -> Iterator[list[BatchResult]]:
    for piece in pieces:
        kept = [result for result in piece if result.custom_id not in resent] if resent else piece
        if kept:
            yield kept


def shard_results(
    attempts: Sequence[AttemptFiles], body_type: object = None
) -> Generator[list[BatchResult], None, None]:
    """Yield the one result of each request of a shard, in the order of its requests, given all attempts at it."""
    ids = attempts[0].ids()
    done = 0
    if all(files.is_plain and files.refused is None for files in attempts):
        readers = [
            _FileReader(_without(resent, pieces))
            for files, resent in zip(attempts, map(_resent, attempts), strict=True)
            for pieces in _results_of(files, body_type)
        ]
        for piece in _merged(ids, readers):
            done += len(piece)
            yield piece
    if done < len(ids):
        places = _Places(ids)
        for files in attempts:
            if files is not attempts[0]:
                places.begin_again(files.ids())
            places.add(files)
        yield from places.results(body_type, done)


class _FileReader:
    """The results of a file, of which the next ones may be those that are wanted next."""

    def __init__(self, pieces: Iterator[list[BatchResult]]) -> None:
        self._pieces = pieces
        self._results: list[BatchResult] = []
        self._ids: list[str | None] = []

    def take(self, ids: list[str], first: int) -> list[BatchResult]:
        """Return the next results, as far as they are those of these ids, from the first one on."""
        if not self._results:
            self._results = next(self._pieces, self._results)
            self._ids = [result.custom_id for result in self._results]
        wanted = ids[first : first + len(self._ids)]
        if self._ids == wanted:
            taken, self._results, self._ids = self._results, [], []
            return taken
        pairs = zip(self._ids, wanted, strict=False)
        count = next((number for number, (one, other) in enumerate(pairs) if one != other), len(wanted))
        taken = self._results[:count]
        del self._results[:count], self._ids[:count]
        return taken


def _merged(ids: list[str], readers: list[_FileReader]) -> Iterator[list[BatchResult]]:
    """Yield results in the order of some ids; end where no file goes on with the next of them."""
    done = 0
    piece: list[BatchResult] = []
    while done < len(ids):
        taken = next(filter(None, (reader.take(ids, done) for reader in readers)), None)
        if taken is None:
            break
        done += len(taken)
        piece += taken
        if len(piece) >= _PIECE_ITEMS:
            yield piece
            piece = []
    if piece:
        yield piece


class _Places:
    """Where the line is that tells what became of each request of a shard."""

    def __init__(self, ids: list[str]) -> None:
        self._ids = ids
        self._best = BestLines(ids)
        self._paths: list[Path] = []
        self._refused: dict[int, BatchResult] = {}
        # Which requests the attempt at hand has; a line about another one is foreign.
        self._own = bytearray([True]) * len(ids)
        self._files = array.array("l", [_NOWHERE]) * len(ids)
        self._offsets, self._lengths, self._lines = (array.array("q", [0]) * len(ids) for _ in range(3))

    def begin_again(self, ids: list[str]) -> None:
        """Take no account of what was said about requests that were sent again: from here on it is about these."""
        self._own = bytearray(len(self._ids))
        for custom_id in ids:
            number = self._best.numbers[custom_id]
            self._own[number] = True
            self._best.forget(number)
            self._files[number] = _NOWHERE
            self._refused.pop(number, None)

    def add(self, files: AttemptFiles) -> None:
        """Take what the files of an attempt say."""
        if files.refused is not None or not files.was_sent:
            ids = files.ids()
            refused = map(_unsent, ids) if files.refused is None else refused_results(ids, files.refused)
            self._refused.update((self._best.numbers[result.custom_id], result) for result in refused)
        for path in files.result_files:
            reader, offset = ResultReader(), 0
            self._paths.append(path)
            for block in files.blocks(path):
                end = 0
                for result in reader.read(block):
                    # Blank lines, of which there is no result, may lie between two.
                    is_next = block.startswith(result.raw_line, end)
                    start = end if is_next else block.index(result.raw_line, end)
                    end = start + len(result.raw_line) + 1
                    self._take(result, offset + start)
                offset += len(block)

    def _take(self, result: BatchResult, offset: int) -> None:
        number = self._best.number_of(result.custom_id)
        if number is not None and self._own[number] and self._best.take(number, rank_of(result.outcome)):
            self._files[number] = len(self._paths) - 1
            self._offsets[number], self._lengths[number] = offset, len(result.raw_line)
            self._lines[number] = result.line_number

    def results(self, body_type: object, first: int) -> Iterator[list[BatchResult]]:
        """Yield the results, in the order of the requests, from one of them on."""
        reader = ResultReader(body_type=body_type)
        with ExitStack() as stack:
            try:
                files = [stack.enter_context(path.open("rb", buffering=0)) for path in self._paths]
            except OSError as error:
                raise JournalError(
                    f"{error.filename}, which the job needs, cannot be read: {error.strerror}"
                ) from error
            for start in range(first, len(self._ids), _PIECE_ITEMS):
                yield self._piece(range(start, min(start + _PIECE_ITEMS, len(self._ids))), files, reader)

    def _piece(self, numbers: range, files: Sequence[FileIO], reader: ResultReader) -> list[BatchResult]:
        told = [number for number in numbers if self._files[number] != _NOWHERE]
        lines: list[bytes] = []
        for number in told:
            file = files[self._files[number]]
            file.seek(self._offsets[number])
            lines.append(file.read(self._lengths[number]))
        read = iter(reader.read_numbered(lines, [self._lines[number] for number in told]) if told else ())
        return [
            next(read)
            if self._files[number] != _NOWHERE
            else self._refused.get(number) or missing_result(self._ids[number])
            for number in numbers
        ]


def refused_results(ids: list[str], batch: Batch) -> Iterator[BatchResult]:
    """Yield the results of a batch that was refused as a whole.

    Where the service names lines, the requests on these lines failed, and the others never ran; else all failed.
    """
    by_line = {error.line: error for error in batch.errors or () if error.line is not None}
    whole = next(iter(batch.errors or ()), None)
    for number, custom_id in enumerate(ids, 1):
        error = by_line.get(number) if by_line else whole
        if error is None and by_line:
            yield missing_result(custom_id)
            continue
        code, message = (error.code, error.message) if error is not None else (None, "The service gives no reason")
        reason = ResultError(code=code or "batch_failed", message=message or "The batch failed")
        yield BatchResult(custom_id, Outcome.FAILED, None, None, reason)


def _unsent(custom_id: str) -> BatchResult:
    reason = ResultError(code="batch_cancelled", message="The job was cancelled before this request was sent")
    return BatchResult(custom_id, Outcome.CANCELLED, None, None, reason)
