"""Result files, a block of whole lines at a time.

One call of the decoder reads what is the same in every line of a block, and leaves the answers' bodies, which are most
of it, as they stand until they are looked at. A block with a line that the decoder refuses is read line by line.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import msgspec

from openai_batches.results.bodies import UNREADABLE, BodyHead
from openai_batches.results.result import BatchResult, Outcome, ResultDraft, read_result

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ResultReader", "successes_in"]

_SUCCEEDED = Outcome.SUCCEEDED
_OPEN, _CLOSE = b"{}"
_BOM = b"\xef\xbb\xbf"


class _Response(msgspec.Struct, gc=False):
    status_code: int = 0
    request_id: str | None = None
    body: BodyHead | None = None


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    response: _Response | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Line, strict=False)


class ResultReader:
    """Reads the lines of one file, block after block.

    Args:
        body_type: the type of the successful answers' bodies; None leaves them plain values.
    """

    def __init__(self, *, body_type: Any = None) -> None:
        self._body_type = body_type
        self._lines = 0

    def read(self, block: bytes) -> list[BatchResult]:
        r"""Return what the next lines of the file say; empty lines say nothing, and count.

        Args:
            block: whole lines; the last one of the file needs no ``\n``.
        """
        if not self._lines and block.startswith(_BOM):
            block = block[len(_BOM) :]
        results = _read_block(block, itertools.count(self._lines + 1), self._body_type)
        if results is not None:
            self._lines += len(results)
            return results
        results = []
        for line in (block[:-1] if block.endswith(b"\n") else block).split(b"\n"):
            self._lines += 1
            if line and not line.isspace():
                results.append(read_result(line, line_number=self._lines, body_type=self._body_type))
        return results

    def read_numbered(self, lines: list[bytes], numbers: list[int]) -> list[BatchResult]:
        """Return what lines from anywhere in the file say.

        Args:
            lines: the lines, none of them empty.
            numbers: their numbers.
        """
        results = _read_block(b"\n".join(lines), iter(numbers), self._body_type)
        if results is not None:
            return results
        pairs = zip(lines, numbers, strict=True)
        return [read_result(line, line_number=number, body_type=self._body_type) for line, number in pairs]


def _read_block(block: bytes, numbers: Iterator[int], body_type: Any) -> list[BatchResult] | None:
    """Return the results in a block, or None if not each of its lines is one that the fast decoder reads."""
    try:
        lines = _decoder.decode_lines(block)
    except UNREADABLE:
        return None
    if not block.endswith(b"\n"):
        block += b"\n"
    results: list[BatchResult] = []
    append, find, start = results.append, block.find, 0
    for line, number in zip(lines, numbers, strict=False):
        end = find(b"\n", start)
        # The decoder takes two records on a line, a record on two lines, and empty lines; here each has its own.
        if end <= start or block[start] != _OPEN or (block[end - 1] != _CLOSE and block[end - 2 : end] != b"}\r"):
            return None
        raw = block[start:end]
        start = end + 1
        response = line.response
        if response is not None and line.error is None and 200 <= response.status_code < 300:
            status, request_id, head = response.status_code, response.request_id, response.body
            result: Any = ResultDraft(
                line.custom_id, _SUCCEEDED, status, request_id, None, number, None, raw, head, body_type
            )
            result.__class__ = BatchResult  # from here on it is frozen
            append(result)
        else:
            append(read_result(raw, line_number=number, body_type=body_type))
    return results if start == len(block) else None


def successes_in(block: bytes) -> tuple[list[str], list[BodyHead]] | None:
    r"""Return the ids and the heads of the answers in a block where all is well, or None where it has to be read.

    For one who only counts, this is a third cheaper than the results.

    Args:
        block: whole lines, each ended by ``\n``.
    """
    try:
        lines = _decoder.decode_lines(block)
    except UNREADABLE:
        return None
    ids: list[str] = []
    heads: list[BodyHead] = []
    find, start = block.find, 0
    for line in lines:
        end = find(b"\n", start)
        if end <= start or block[start] != _OPEN or block[end - 1] != _CLOSE:
            return None
        start = end + 1
        response = line.response
        if response is None or line.error is not None or not 200 <= response.status_code < 300 or response.body is None:
            return None
        ids.append(line.custom_id)
        heads.append(response.body)
    return (ids, heads) if start == len(block) else None
