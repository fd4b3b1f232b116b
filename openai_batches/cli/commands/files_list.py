"""``openai-batches files list``: which files there are, and how long they stay."""

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.text import Text

from openai_batches._text import as_count
from openai_batches.cli.command import command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected
from openai_batches.cli.output.documents import JsonItems
from openai_batches.cli.output.terminal import note, out_is_terminal, say, stdout
from openai_batches.cli.output.texts import cut, lasting_text, one_line, size_text

if TYPE_CHECKING:
    from openai_batches import FileObject

__all__ = ["app"]

_NAMES = ("id", "size", "age", "left", "purpose", "name")
_NUMBERS = frozenset({"size", "age", "left"})
# What later pages may need, where the first one does not.
_WIDTHS = (27, 7, 3, 4, 12)
_PAGE = 1_000

app: App = command(
    "list",
    examples="""\
openai-batches files list
openai-batches files list --purpose batch_output --limit 20
openai-batches files list --jsonl | jq -r 'select(.bytes > 1e8).id'""",
)


@app.default
async def list_files(
    *,
    purpose: Annotated[str | None, Parameter(metavar="PURPOSE")] = None,
    limit: Annotated[int | None, Parameter(metavar="N", validator=Number(gte=0))] = None,
    json: bool = False,
    jsonl: bool = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """List files, newest first, with their sizes, their ages, and the time that is left before they expire.

    They are shown as they come, page after page. How many there are, and their size in all, is said at the end.

    Args:
        purpose: Only files of this purpose, such as batch or batch_output.
        limit: How many to show (all); 0 is all.
        json: One JSON document: a list of the service's records.
        jsonl: The service's records, one on each line.
        service: the service.
    """
    if json and jsonl:
        raise CommandError("--json and --jsonl are two ways to write the same", "Choose one of them")
    limit = limit or None
    shown = JsonItems(is_document=json) if json or jsonl else _Rows(dt.datetime.now(dt.UTC))
    count = size = 0
    async with connected(service) as session:
        page_size = min(limit or _PAGE, _PAGE)
        async for page in session.files.list(purpose=purpose, limit=page_size).pages():
            files = page.data if limit is None else page.data[: limit - count]
            count += len(files)
            size += sum(file.bytes for file in files)
            shown.write(files)
            if count == limit:
                break
    shown.end()
    if not (json or jsonl):
        note(f"{as_count(count, 'file')}, {size_text(size)}")
    return ExitCode.DONE


class _Rows:
    """Rows of a table that has no end yet: the first ones say how wide it is."""

    def __init__(self, now: dt.datetime) -> None:
        self._now = now
        self._widths: list[int] = []

    def write(self, files: "Sequence[FileObject]") -> None:
        """Show the next files."""
        rows = [self._cells(file) for file in files]
        if not rows:
            return
        if not self._widths:
            self._widths = [
                max(least, *map(len, column))
                for least, column in zip(_WIDTHS, zip(*rows, _NAMES, strict=True), strict=False)
            ]
            say(Text(self._line(_NAMES), "bold"))
        say(Text("\n".join(map(self._line, rows))))

    def end(self) -> None:
        """Do nothing: a table has no end."""

    def _cells(self, file: "FileObject") -> tuple[str, ...]:
        age = "" if file.created_at is None else _length((self._now - file.created_at).total_seconds())
        left = "" if file.expires_at is None else _length((file.expires_at - self._now).total_seconds())
        return one_line(file.id), size_text(file.bytes), age, left, one_line(file.purpose), one_line(file.filename)

    def _line(self, cells: Sequence[str]) -> str:
        """Return a row; the name at its end takes what is left of the line."""
        padded = [
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(_NAMES, cells, self._widths, strict=False)
        ]
        name = cells[-1]
        if out_is_terminal():
            name = cut(name, max(stdout().width - sum(self._widths) - 2 * len(padded), 1))
        return "  ".join([*padded, name]).rstrip()


def _length(seconds: float) -> str:
    """Return a length of time in one unit, which is enough to find a file by."""
    return lasting_text(seconds).partition(" ")[0]
