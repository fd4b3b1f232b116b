"""Taking up what a data folder holds."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from .database import Database
from .folder import DataFolderError, Folder
from .records import Row, StoredBatch, StoredFile, StoredMessage, StoredPart, StoredUpload
from .shelves import Place, Shelf

_DATABASE = "emulator.sqlite3"
_CONTENTS = "files"
_NAME = re.compile(r"[0-9]{1,18}\.spool", re.ASCII)
_TYPES: dict[str, type] = {
    "file": StoredFile,
    "batch": StoredBatch,
    "upload": StoredUpload,
    "part": StoredPart,
    "message": StoredMessage,
}


def load(data: Path, shelves: Iterable[Shelf[Any]]) -> tuple[Database, Folder]:
    """Fill the shelves with the records in a data folder, and remove contents of which no record speaks.

    Args:
        data: The folder; made if it is not there.
        shelves: Empty ones, one per kind of record.

    Returns:
        The database and the folder of contents, both open for this server alone.

    Raises:
        DataFolderError: The folder is unwritable, in use, damaged or of a newer version.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = Database(data / _DATABASE)
        try:
            contents = Folder.kept(data / _CONTENTS)
            _fill({shelf.kind: shelf for shelf in shelves}, database, contents)
            contents.sweep(_paths(shelves))
        except BaseException:
            database.close()
            raise
    except DataFolderError:
        raise
    except OSError as error:
        raise DataFolderError(f"{data} cannot be used as a data folder: {error}") from error
    return database, contents


def _fill(shelves: dict[str, Shelf[Any]], database: Database, contents: Folder) -> None:
    def hook(expected: type, value: Any) -> Any:
        """Names become paths in the folder, wherever that is now."""
        if expected is not Path or not isinstance(value, str) or not _NAME.fullmatch(value):
            raise ValueError("no name of contents")
        return contents.path / value

    decode: dict[str, Callable[[bytes], Any]] = {
        kind: msgspec.json.Decoder(_TYPES[kind], dec_hook=hook).decode for kind in shelves
    }
    for row in database.rows():
        try:
            _put(shelves[row.kind], row, decode[row.kind])
        except (KeyError, ValueError) as error:
            raise DataFolderError(f"{contents.path.parent} is damaged: the record of {row.id!r} ({error!r})") from error


def _put(shelf: Shelf[Any], row: Row, decode: Callable[[bytes], Any]) -> None:
    if row.content is None:
        shelf.remember(row.id, Place(row.scope, row.number))
    else:
        shelf.put(decode(row.content), number=row.number)


def _paths(shelves: Iterable[Shelf[Any]]) -> set[Path]:
    """Return where the bytes lie of which the records speak."""
    paths: set[Path] = set()
    for record in (record for shelf in shelves for record in shelf.items.values()):
        if isinstance(record, StoredFile | StoredPart):
            paths.add(record.path)
        elif isinstance(record, StoredBatch) and record.run is not None:
            paths |= {record.run.source, record.run.output, record.run.errors}
    return paths
