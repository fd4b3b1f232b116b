"""Lines of result files, and what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai_batches.results.parse import ResultReader

if TYPE_CHECKING:
    from openai_batches import BatchResult

__all__ = ["read_result"]


def read_result(line: bytes, *, line_number: int, body_type: Any = None) -> BatchResult:
    """Return what one line says that is not blank."""
    (result,) = ResultReader(body_type=body_type).read_numbered([line], [line_number])
    return result
