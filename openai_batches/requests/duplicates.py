"""Find ids that occur twice among any number of them, in little memory.

In memory is one 64-bit hash for each id, 8 MB a million; from a million on, they go to an anonymous temporary file. At
the end the hashes are divided into buckets that are small enough to make a set of each in turn. Two ids may share a
hash: those of a hash that occurs twice are compared themselves, which are in another temporary file, with their lines.
"""

from __future__ import annotations

import tempfile
from array import array
from collections import Counter
from itertools import compress
from typing import IO, TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["DuplicateFinder"]

# Hashes in memory before they are written to the file, and in a bucket: sets of these sizes take some 20 MB.
_HELD = 1 << 20
_BUCKET = 1 << 17
_MAX_PARTS = 256
# Ids of small files never touch the disk.
_SPOOLED_BYTES = 1 << 20
# Hashes whose ids are compared; the others are counted.
_MAX_SUSPECTS = 1 << 17


class DuplicateFinder:
    """Takes ids, and tells when all are there which of them occur twice.

    Close it: it has temporary files. If more than ``max_suspects`` hashes occur twice, the others are only counted.
    """

    def __init__(self, *, held: int = _HELD, bucket: int = _BUCKET, max_suspects: int = _MAX_SUSPECTS) -> None:
        self._held = held
        self._bucket = bucket
        self._max_suspects = max_suspects
        self._hashes = array("q")
        self._count = 0
        self._spilled: IO[bytes] | None = None
        # One record a line: the numbers of the lines, or the first where they follow each other, and the ids.
        self._ids: IO[bytes] = tempfile.SpooledTemporaryFile(_SPOOLED_BYTES)  # noqa: SIM115  # closed in close

    def close(self) -> None:
        """Remove the temporary files."""
        self._ids.close()
        if self._spilled is not None:
            self._spilled.close()

    def add(self, custom_ids: Sequence[str], lines: Sequence[int]) -> None:
        """Take ids and the numbers of their lines, in order."""
        if not custom_ids:
            return
        self._count += len(custom_ids)
        self._hashes.extend(map(hash, custom_ids))
        place = lines[0] if isinstance(lines, range) else lines
        self._ids.write(msgspec.json.encode((place, custom_ids)) + b"\n")
        if len(self._hashes) >= self._held:
            if self._spilled is None:
                self._spilled = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close
            self._hashes.tofile(self._spilled)
            self._hashes = array("q")

    def find(self, maximum: int) -> tuple[list[tuple[str, int, int]], int]:
        """Return the first duplicates (id, line, line on which it was first), and how many more there are."""
        suspects, unseen = self._suspects()
        found: list[tuple[str, int, int]] = []
        more = unseen
        first_lines: dict[str, int] = {}
        self._ids.seek(0)
        for record in self._ids if suspects else ():
            place, custom_ids = _record_decoder.decode(record)
            if suspects.isdisjoint(map(hash, custom_ids)):
                continue
            lines = range(place, place + len(custom_ids)) if isinstance(place, int) else place
            for custom_id, line in zip(custom_ids, lines, strict=True):
                if hash(custom_id) not in suspects:
                    continue
                first = first_lines.setdefault(custom_id, line)
                if first != line:
                    if len(found) < maximum:
                        found.append((custom_id, line, first))
                    else:
                        more += 1
        return found, more

    def _suspects(self) -> tuple[set[int], int]:
        """Return hashes that occur more than once, and how often others do that there are too many of."""
        suspects: set[int] = set()
        unseen = 0
        for hashes in self._parts():
            for bucket in _divided(hashes, _parts_for(len(hashes), self._bucket), 0):
                repeated = _repeated(bucket)
                # Else the next bucket would be made while this one is still in memory.
                del bucket
                for value, count in repeated.items():
                    if len(suspects) < self._max_suspects:
                        suspects.add(value)
                    else:
                        unseen += count - 1
        return suspects, unseen

    def _parts(self) -> Iterator[array[int]]:
        """Yield all hashes, those that are equal in the same part."""
        if self._spilled is None:
            yield self._hashes
            return
        self._hashes.tofile(self._spilled)
        parts = _parts_for(self._count, self._held)
        files = [tempfile.TemporaryFile() for _ in range(parts)]  # noqa: SIM115  # closed below
        try:
            for hashes in _read(self._spilled, self._held):
                for file, bucket in zip(files, _divided(hashes, parts, 1), strict=True):
                    array("q", bucket).tofile(file)
            for file in files:
                for hashes in _read(file, self._count):
                    yield hashes
        finally:
            for file in files:
                file.close()


_record_decoder = msgspec.json.Decoder(tuple[int | list[int], list[str]])


def _parts_for(count: int, size: int) -> int:
    """Return how many parts, a power of two, `count` hashes make that are about as large as `size`."""
    return min(1 << (count // size).bit_length(), _MAX_PARTS)


def _repeated(hashes: list[int]) -> dict[int, int]:
    """Return the hashes that occur more than once, and how often."""
    if len(set(hashes)) == len(hashes):
        return {}
    return {value: count for value, count in Counter(hashes).items() if count > 1}


def _divided(hashes: array[int], parts: int, byte: int) -> Iterator[list[int]]:
    """Yield the hashes in parts, chosen by one of their bytes; all of it runs in C."""
    if parts == 1:
        yield hashes.tolist()
        return
    chosen = memoryview(hashes).cast("B")[byte :: hashes.itemsize].tobytes()
    for part in range(parts):
        table = bytes(value % parts == part for value in range(256))
        yield list(compress(hashes, chosen.translate(table)))


def _read(file: IO[bytes], count: int) -> Iterator[array[int]]:
    file.seek(0)
    while piece := file.read(count * 8):
        hashes = array("q")
        hashes.frombytes(piece)
        yield hashes
