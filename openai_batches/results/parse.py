"""From the lines of a result file to results: each line becomes one :class:`BatchResult`.

A line is decoded once. What is the same in every line is read then; the answers' bodies, which are most of it, stay as
they stand until they are looked at.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs

from openai_batches.errors import DecodeError
from openai_batches.results.bodies import json_value
from openai_batches.results.line import DecodedLine, UnreadableLine, body_in, decode_lines
from openai_batches.results.result import BatchResult, Outcome, ResultDraft, ResultError

if TYPE_CHECKING:
    from openai_batches.results.bodies import BodyHead
    from openai_batches.results.line import LineResponse, ResultLine

__all__ = ["LineBlock", "ResultReader"]

_SUCCEEDED = Outcome.SUCCEEDED
_BY_CODE = {"batch_expired": Outcome.EXPIRED, "batch_cancelled": Outcome.CANCELLED}
_BOM = b"\xef\xbb\xbf"


@attrs.define(eq=False)
class LineBlock:
    r"""Lines of a result file, each decoded once.

    Attributes:
        block: the lines as they stand, each ended by ``\n``.
        lines: what each of them says; None for a blank one.
        numbers: the number of each line in its file.
        body_type: the type of a successful answer's body; None leaves it plain values.
    """

    block: bytes
    lines: list[DecodedLine]
    numbers: Iterable[int]
    body_type: Any = None

    def ids(self) -> list[str | None]:
        """Return the ids of the requests that the lines are about."""
        return [line.custom_id for line in self.lines if line is not None]

    def successes(self) -> list[BodyHead] | None:
        """Return the heads of the answers if each line holds a success, or None: then the results say more."""
        heads: list[BodyHead] = []
        for line in self.lines:
            if line is None or line.response is None or line.error is not None:
                return None
            response = line.response
            if not 200 <= (response.status_code or 0) < 300 or response.body is None:
                return None
            heads.append(response.body)
        return heads

    def results(self) -> list[BatchResult]:
        """Return what the lines say; blank ones say nothing."""
        results: list[BatchResult] = []
        append, body_type = results.append, self.body_type
        # bytes.splitlines would also split at \r, and bytes.split takes four times as long.
        for line, raw, number in zip(self.lines, io.BytesIO(self.block), self.numbers, strict=False):
            if line is None:
                continue
            response = line.response
            # Written out as in ``successes``, since a call for each line would take longer than the comparison.
            if response is None or line.error is not None or not 200 <= (response.status_code or 0) < 300:
                append(_unsuccessful(line, raw[:-1], number))
                continue
            status, request_id, head = response.status_code, response.request_id, response.body
            result: Any = ResultDraft(
                line.custom_id, _SUCCEEDED, status, request_id, None, number, None, raw[:-1], head, body_type
            )
            result.__class__ = BatchResult  # from here on it is frozen
            append(result)
        return results


class ResultReader:
    """Reads the lines of one file, block after block; bodies of successes are of ``body_type``, if it is given."""

    def __init__(self, *, body_type: Any = None) -> None:
        self._body_type = body_type
        self._lines = 0

    def read(self, block: bytes) -> list[BatchResult]:
        r"""Return what the next lines of the file say; blank lines say nothing, and count.

        The lines are whole; the last one of the file needs no ``\n``.
        """
        return self.decode(block).results()

    def decode(self, block: bytes) -> LineBlock:
        """Return the next lines of the file, for a caller that does not need a result of each."""
        if not self._lines and block.startswith(_BOM):
            block = block[len(_BOM) :]
        if block and not block.endswith(b"\n"):
            block += b"\n"
        lines, first = decode_lines(block), self._lines + 1
        self._lines += len(lines)
        return LineBlock(block, lines, itertools.count(first), self._body_type)

    def read_numbered(self, lines: list[bytes], numbers: list[int]) -> list[BatchResult]:
        """Return what lines from anywhere in the file say, none of them blank, given their numbers."""
        block = b"\n".join([*lines, b""])
        return LineBlock(block, decode_lines(block), numbers, self._body_type).results()


def _unsuccessful(line: ResultLine | UnreadableLine, raw: bytes, number: int) -> BatchResult:
    """Return what a line says that holds no success.

    A failed request keeps its reason in ``response.body`` on some services and in ``error`` on others; both are read.
    """
    if isinstance(line, UnreadableLine):
        reason = ResultError(code="invalid_line", message=line.reason)
        return BatchResult(line.custom_id, Outcome.INVALID, None, None, reason, number, b"", raw)
    response = line.response
    reason = _reason(line.error) or _reason_in_response(response, raw)
    outcome = _BY_CODE.get(reason.code or reason.type or "", Outcome.FAILED)
    if response is None:
        return BatchResult(line.custom_id, outcome, None, None, reason, number, b"", raw)
    status, request_id = response.status_code, response.request_id
    return BatchResult(line.custom_id, outcome, status, request_id, reason, number, None, raw, response.body)


def _reason(error: Any) -> ResultError | None:
    if error is None:
        return None
    if not isinstance(error, dict):
        return ResultError(message=str(error))

    def text(name: str) -> str | None:
        value = error.get(name)
        return None if value is None else str(value)

    return ResultError(code=text("code"), message=text("message") or "", type=text("type"), param=text("param"))


def _reason_in_response(response: LineResponse | None, raw: bytes) -> ResultError:
    if response is None:
        return ResultError(message="The line has neither a response nor an error")
    reason = _reason(response.body.error if response.body is not None else _error_in_body(raw))
    if reason is not None:
        return reason
    status = response.status_code
    return ResultError(
        message=f"The request was answered {'without a status' if status is None else f'with status {status}'}"
    )


def _error_in_body(raw: bytes) -> Any:
    """Return the ``error`` in a body that was not read with its line, since it is no object or an unusual one."""
    try:
        body = json_value(body_in(raw) or b"null")
    except DecodeError:
        return None
    return body.get("error") if isinstance(body, dict) else None
