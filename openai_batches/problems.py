"""What is wrong with one line of an input file, or was, and where it stands."""

from __future__ import annotations

import attrs

__all__ = ["Problem", "Repair"]


@attrs.frozen(kw_only=True)
class Problem:
    """Why the service would refuse a request, or the whole input file.

    Codes are the service's own where it has one for this: ``invalid_json_line``, ``missing_required_parameter``,
    ``invalid_type``, ``invalid_method``, ``invalid_url``, ``invalid_request``, ``streaming_unsupported``,
    ``mismatched_model``, ``duplicate_custom_id``, ``empty_file``, ``empty_batch``, ``too_many_tasks``. Ours are
    ``invalid_utf8``, ``invalid_row``, ``invalid_value``, ``file_too_large``, ``line_too_large``, ``request_too_large``
    and ``too_many_inputs``.

    Attributes:
        code: what kind of problem it is.
        message: what to change, in a sentence.
        line: the 1-based line of the file, or the number of the item; None where it is about the whole file.
        column: the 1-based character of the line at which its JSON breaks, or None.
        param: the field, as a dotted path such as ``body.model``, or None.
        custom_id: the request's own id, where it could be read.
        first_line: the line this one contradicts: that of the other request with this id, or of the first model.
        file: the path of the file, or None where the requests did not come from one.
    """

    code: str
    message: str
    line: int | None = None
    column: int | None = None
    param: str | None = None
    custom_id: str | None = None
    first_line: int | None = None
    file: str | None = None

    def __str__(self) -> str:
        where = [self.file] if self.file else []
        if self.line is not None:
            where.append(str(self.line) if self.file else f"line {self.line}")
        if self.column is not None:
            where.append(str(self.column) if self.file else f"column {self.column}")
        place = (":" if self.file else ", ").join(where)
        name = f" (custom_id {self.custom_id!r})" if self.custom_id else ""
        return f"{place}: {self.message}{name}" if place else f"{self.message}{name}"


@attrs.frozen(kw_only=True)
class Repair:
    """What was put right on the way, because it says nothing.

    Attributes:
        code: ``bom`` (a byte order mark before a line), ``crlf`` (a line ended as on Windows), or ``blank_line``.
        count: how many lines.
        first_line: the 1-based number of the first of them.
    """

    code: str
    count: int
    first_line: int
