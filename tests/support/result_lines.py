"""Lines of result files, and what they say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from openai_batches.results.parse import ResultReader

if TYPE_CHECKING:
    from openai_batches import BatchResult

__all__ = ["read_result", "result", "result_line"]


def result_line(
    custom_id: str | None = "a",
    status: int | None = 200,
    *,
    code: str | None = None,
    error: Any = None,
    body: Any = ...,
    **fields: Any,
) -> bytes:
    """Return a line of a result file: an answer with a status, whose body has these fields, or an error, or both."""
    content = fields if body is ... else body
    response = None if status is None else {"status_code": status, "request_id": "r", "body": content}
    error = {"code": code, "message": "m"} if code else error
    return json.dumps({"id": "x", "custom_id": custom_id, "response": response, "error": error}).encode() + b"\n"


def result(custom_id: str | None = "a", status: int | None = 200, **fields: Any) -> BatchResult:
    """Return what such a line says."""
    return read_result(result_line(custom_id, status, **fields), line_number=1)


def read_result(line: bytes, *, line_number: int, body_type: Any = None) -> BatchResult:
    """Return what one line says that is not blank."""
    (result,) = ResultReader(body_type=body_type).read_numbered([line], [line_number])
    return result
