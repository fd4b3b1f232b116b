"""The table of batches, with as many columns as fit into the terminal."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

import attrs
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from openai_batches import Batch
from openai_batches.cli.output.batch_cells import (
    age_cell,
    counts_cell,
    failed_cell,
    metadata_cell,
    status_cell,
    took_cell,
)
from openai_batches.cli.output.terminal import table
from openai_batches.cli.output.texts import one_line, time_text

__all__ = ["BatchTable"]

_GAP = 2
# A name that is longer is cut, where a person looks.
_WIDEST_NAME = 32
_NAMES = frozenset({"model", "endpoint"})
_METADATA = "metadata"


@attrs.frozen
class _Column:
    """A column; of those that have no space, the ones with the highest rank are left out.

    Attributes:
        name: its head; one that ends with ``>`` has its cells at the right.
        rank: how soon it is left out; 0 never is.
        narrowest: how wide it is at least, so that later rows fit as well.
        cell: what is in it.
    """

    name: str
    rank: int
    narrowest: int
    cell: Callable[[Batch, dt.datetime], str | Text]


_COLUMNS = (
    _Column("id", 0, 0, lambda batch, _: one_line(batch.id)),
    _Column("status", 0, 11, lambda batch, _: status_cell(batch)),
    _Column("age>", 1, 3, age_cell),
    _Column("done>", 2, 13, lambda batch, _: counts_cell(batch)),
    _Column("failed>", 3, 6, lambda batch, _: failed_cell(batch)),
    _Column("model", 5, 11, lambda batch, _: one_line(batch.model or "")),
    _Column("endpoint", 6, 8, lambda batch, _: one_line(batch.endpoint)),
    _Column("took>", 7, 7, lambda batch, _: took_cell(batch)),
    _Column("created", 8, 19, lambda batch, _: time_text(batch.created_at)),
    _Column("window>", 9, 6, lambda batch, _: one_line(batch.completion_window)),
    _Column(_METADATA, 4, 8, lambda batch, _: metadata_cell(batch)),
)


class BatchTable:
    """Tables of batches that stand under each other as one."""

    def __init__(self, width: int | None, *, shows_metadata: bool = False) -> None:
        self._width = width
        self._known = tuple(column for column in _COLUMNS if shows_metadata or column.name != _METADATA)
        self._widths = {column.name: column.narrowest for column in self._known}
        self._columns: tuple[_Column, ...] = ()

    def of(self, batches: Sequence[Batch], now: dt.datetime) -> Table:
        """Return the table of the next batches, for a terminal; the first one has the names of the columns."""
        is_first, rows = self._laid_out(batches, now)
        made = table(*(column.name for column in self._columns))
        made.show_header = is_first
        for column, drawn in zip(self._columns, made.columns, strict=True):
            drawn.width = self._widths[column.name]
        # An id is never cut: on a terminal that is narrower, it goes on in the next line.
        first, second = made.columns[:2]
        has_room = self._width is None or sum((first.width or 0, _GAP, second.width or 0)) <= self._width
        first.min_width = first.width if has_room else None
        first.width, first.no_wrap, first.overflow = None, False, "fold"
        for row in rows:
            made.add_row(*(row[column.name] for column in self._columns))
        return made

    def lines_each(self, batches: Sequence[Batch], now: dt.datetime) -> int:
        """Return how many lines each of these batches takes: an id that does not fit continues in the next one."""
        if self._width is None:
            return 1
        id_width, status_width = (
            max((_length(column.cell(batch, now)) for batch in batches), default=0) for column in self._known[:2]
        )
        space = self._width - _GAP - max(status_width, self._known[1].narrowest)
        return max(1, -(-id_width // max(1, space)))

    def text_of(self, batches: Sequence[Batch], now: dt.datetime) -> str:
        """Return the lines of the next batches, for a pipe, which takes a twentieth of the time."""
        is_first, rows = self._laid_out(batches, now)
        head = self._line({column.name: column.name.rstrip(">") for column in self._columns}) if is_first else ""
        return head + "".join(map(self._line, rows))

    def _line(self, row: Mapping[str, str | Text]) -> str:
        cells: list[str] = []
        for column in self._columns:
            cell = str(row[column.name])
            blank = " " * (self._widths[column.name] - cell_len(cell))
            cells.append(blank + cell if column.name.endswith(">") else cell + blank)
        return f"{(' ' * _GAP).join(cells).rstrip()}\n"

    def _laid_out(self, batches: Sequence[Batch], now: dt.datetime) -> tuple[bool, list[dict[str, str | Text]]]:
        """Return whether these are the first batches, and what is in their cells."""
        rows = [{column.name: column.cell(batch, now) for column in self._known} for batch in batches]
        is_first = not self._columns
        # On a terminal, the first rows decide which columns fit.
        if is_first or self._width is None:
            self._widen(rows)
        if is_first:
            self._columns = self._known if self._width is None else self._fitting(self._width)
        return is_first, rows

    def _widen(self, cells: Sequence[dict[str, str | Text]]) -> None:
        """Make the columns as wide as what is in them."""
        for name, width in self._widths.items():
            widest = max((_length(row[name]) for row in cells), default=0)
            if self._width is not None and name in _NAMES:
                widest = min(widest, _WIDEST_NAME)
            self._widths[name] = max(width, widest)

    def _fitting(self, width: int) -> tuple[_Column, ...]:
        """Return the columns that fit into a terminal, the most important ones first."""
        taken: set[str] = set()
        left = width + _GAP
        for column in sorted(self._known, key=lambda column: column.rank):
            if column.name == _METADATA:
                # It takes what is left, and is cut.
                self._widths[_METADATA] = min(self._widths[_METADATA], max(left - _GAP, column.narrowest))
            needed = self._widths[column.name] + _GAP
            if not column.rank or needed <= left:
                taken.add(column.name)
                left -= needed
        return tuple(column for column in self._known if column.name in taken)


def _length(cell: str | Text) -> int:
    return cell_len(cell) if isinstance(cell, str) else cell.cell_len
