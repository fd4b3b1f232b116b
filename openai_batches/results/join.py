"""Join the results of a batch with its inputs on disk, so that only a small part of them is in memory.

The lines of both files go to an anonymous temporary file as they come. Ids are spread by their hash over buckets, on
disk too; bucket by bucket, inputs and lines with the same id (compared as text) are matched. The matches are spread
over buckets once more, by their place in the wanted order, and read back in that order.
"""

from __future__ import annotations

import tempfile
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import msgspec

from openai_batches.errors import InputError
from openai_batches.results.match import BestLines, rank_of
from openai_batches.results.parse import ResultReader
from openai_batches.results.result import Outcome, missing_result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai_batches.results.result import BatchResult
    from openai_batches.results.summary import ResultSummary

__all__ = ["ResultJoin"]

_BUCKETS = 256
# Items of all buckets of one spill that wait in memory.
_WAITING = 32_768
_PIECE_BYTES = 256 * 1024
_PIECE_ITEMS = 1_024

_Input: TypeAlias = tuple[bytes, int]  # id, number of the input
_Found: TypeAlias = tuple[bytes, int, int, int, int]  # id, rank, offset, length, number of the line
_Placed: TypeAlias = tuple[int, int, int, int, bool, bytes]  # place, offset, length, number, is foreign, id if missing


class _Spool:
    """Bytes in an anonymous temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # close() closes it
        self.size = 0

    def append(self, data: bytes) -> int:
        """Write at the end, and return the offset of what was written."""
        offset = self.size
        self._file.seek(offset)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.size += len(data)
        return offset

    def read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)

    def close(self) -> None:
        self._file.close()


class _Spill:
    """Items spread over buckets in a temporary file; each bucket gives them back in the order they came in."""

    def __init__(self, item_type: Any, buckets: int = _BUCKETS) -> None:
        self._spool = _Spool()
        self._waiting: list[list[Any]] = [[] for _ in range(buckets)]
        self._count = 0
        self._chunks: list[list[tuple[int, int]]] = [[] for _ in range(buckets)]
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(list[item_type])

    def add(self, bucket: int, item: Any) -> None:
        self._waiting[bucket].append(item)
        self._count += 1
        if self._count >= _WAITING:
            self.flush()

    def flush(self) -> None:
        for items, chunks in zip(self._waiting, self._chunks, strict=True):
            if items:
                data = self._encoder.encode(items)
                chunks.append((self._spool.append(data), len(data)))
                items.clear()
        self._count = 0

    def take(self, bucket: int) -> Iterator[Any]:
        for offset, length in self._chunks[bucket]:
            yield from self._decoder.decode(self._spool.read(offset, length))
        yield from self._waiting[bucket]

    def close(self) -> None:
        self._spool.close()


class ResultJoin:
    """Inputs and the lines of result files on their way to one result for each input; for use in threads.

    The steps come in this order: all inputs, ``check_inputs``, all lines, then ``next_piece`` until it gives None.
    ``ordered`` results come in the order of the inputs, those without an input after them; others come in the order of
    the files, the missing ones after them.
    """

    def __init__(self, *, body_type: Any, ordered: bool, summary: ResultSummary) -> None:
        self._reader = ResultReader(body_type=body_type)
        self._ordered = ordered
        self._summary = summary
        self._lock = threading.Lock()
        self._is_closed = False
        self._inputs = 0
        self._lines = _Spool()
        self._by_id = _Spill(_Input)
        # The last bucket is for lines whose id could not be rescued.
        self._found = _Spill(_Found, _BUCKETS + 1)
        self._by_input = _Spill(_Placed)
        self._by_line = _Spill(_Placed)
        self._pieces: Iterator[list[BatchResult]] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a thread runs one of the steps."""
        return self._lock.locked()

    def close(self) -> None:
        """Remove the temporary files, once a step that still runs in a thread has ended."""
        self._is_closed = True
        with self._lock:
            for part in (self._lines, self._by_id, self._found, self._by_input, self._by_line):
                part.close()

    def add_inputs(self, custom_ids: list[str]) -> None:
        """Take the next inputs."""
        with self._lock:
            add = self._by_id.add
            for number, custom_id in enumerate(custom_ids, self._inputs):
                key = _key(custom_id)
                add(hash(key) % _BUCKETS, (key, number))
            self._inputs += len(custom_ids)

    def check_inputs(self) -> None:
        """Refuse inputs two of which have the same id: their results could not be told apart."""
        with self._lock:
            self._summary.inputs = self._inputs
            for bucket in range(_BUCKETS):
                seen: dict[bytes, int] = {}
                for key, number in self._by_id.take(bucket):
                    first = seen.setdefault(key, number)
                    if first != number:
                        where = f"inputs {first + 1:,} and {number + 1:,}"
                        raise InputError(f"{where} have the same custom_id {_id(key)!r}: results cannot be told apart")

    def add_lines(self, reader: ResultReader, block: bytes) -> None:
        """Take the next lines of a file."""
        with self._lock:
            results = reader.read(block)
            offset = self._lines.append(b"".join(result.raw_line for result in results))
            add = self._found.add
            for result in results:
                custom_id, length = result.custom_id, len(result.raw_line)
                key = b"" if custom_id is None else _key(custom_id)
                bucket = _BUCKETS if custom_id is None else hash(key) % _BUCKETS
                add(bucket, (key, rank_of(result.outcome), offset, length, result.line_number))
                offset += length

    def next_piece(self) -> list[BatchResult] | None:
        """Return the next results, or None after the last."""
        with self._lock:
            if self._pieces is None:
                self._pieces = self._read_back()
            piece = next(self._pieces, None)
            if piece is not None:
                self._summary.add(piece)
            return piece

    def _read_back(self) -> Iterator[list[BatchResult]]:
        for key, _, offset, length, number in self._found.take(_BUCKETS):
            self._by_line.add(self._line_bucket(offset), (offset, offset, length, number, False, key))
        for bucket in range(_BUCKETS):
            if self._is_closed:
                return
            self._match(bucket)
        for spill in (self._by_input, self._by_line) if self._ordered else (self._by_line, self._by_input):
            for bucket in range(_BUCKETS):
                yield from self._pieces_of(sorted(spill.take(bucket)))

    def _match(self, bucket: int) -> None:
        """Bring the inputs and the lines of one bucket together."""
        inputs: list[_Input] = list(self._by_id.take(bucket))
        best = BestLines([key for key, _ in inputs])
        chosen: dict[int, _Found] = {}
        for found in self._found.take(bucket):
            key, rank, offset, length, line_number = found
            place = best.number_of(key)
            if place is None:
                self._by_line.add(self._line_bucket(offset), (offset, offset, length, line_number, True, b""))
                continue
            if best.has_line(place):
                self._summary.add_doubled(_id(key))
            if best.take(place, rank):
                chosen[place] = found
        for place, (key, number) in enumerate(inputs):
            if place not in chosen:
                self._by_input.add(self._input_bucket(number), (number, 0, 0, 0, False, key))
                continue
            _, _, offset, length, line_number = chosen[place]
            if self._ordered:
                self._by_input.add(self._input_bucket(number), (number, offset, length, line_number, False, b""))
            else:
                self._by_line.add(self._line_bucket(offset), (offset, offset, length, line_number, False, b""))

    def _input_bucket(self, number: int) -> int:
        return number * _BUCKETS // self._inputs

    def _line_bucket(self, offset: int) -> int:
        return offset * _BUCKETS // self._lines.size

    def _pieces_of(self, placed: list[_Placed]) -> Iterator[list[BatchResult]]:
        size = 0
        piece: list[_Placed] = []
        for item in placed:
            piece.append(item)
            size += item[2]
            if size >= _PIECE_BYTES or len(piece) >= _PIECE_ITEMS:
                yield self._results(piece)
                piece, size = [], 0
        if piece:
            yield self._results(piece)

    def _results(self, piece: list[_Placed]) -> list[BatchResult]:
        present = [item for item in piece if item[2]]
        lines = [self._lines.read(offset, length) for _, offset, length, _, _, _ in present]
        found = iter(self._reader.read_numbered(lines, [item[3] for item in present]))
        results = []
        for item in piece:
            if not item[2]:
                results.append(missing_result(_id(item[5])))
                continue
            result = next(found)
            results.append(attrs.evolve(result, outcome=Outcome.FOREIGN) if item[4] else result)
        return results


def _key(custom_id: str) -> bytes:
    # An id may hold a lone surrogate, which strict JSON refuses.
    return custom_id.encode("utf-8", "surrogatepass")


def _id(key: bytes) -> str:
    return key.decode("utf-8", "surrogatepass")
