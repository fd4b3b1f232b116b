"""Loading what a data folder holds."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec

from openai_batches.emulator.store.database import Database, is_open_elsewhere
from openai_batches.emulator.store.folder import CONTENT_NAME, CreatedPaths, DataFolderError, Folder, FolderInUseError
from openai_batches.emulator.store.index import Index, Place
from openai_batches.emulator.store.records import Row, StoredBatch, StoredFile, StoredMessage, StoredPart, StoredUpload

DATABASE = "emulator.sqlite3"
# A name that no other program uses.
CONTENTS = "emulator.contents"
_TYPES: dict[str, type] = {
    "file": StoredFile,
    "batch": StoredBatch,
    "upload": StoredUpload,
    "part": StoredPart,
    "message": StoredMessage,
}


def load(data: Path, indexes: Iterable[Index[Any]]) -> tuple[Database, Folder, CreatedPaths]:
    """Fill the empty indexes with the records in a data folder, and remove contents that no record names.

    Return the database and the folder of contents, both open for this server alone, and the paths that had to be made.
    After a `DataFolderError` the folder is as it was before.
    """
    created = CreatedPaths()
    try:
        _check_place(data)
        created.make_folder(data)
        created.note(data / DATABASE)
        database = Database(data / DATABASE)
        try:
            is_new = not (data / CONTENTS).exists()
            created.make_folder(data / CONTENTS)
            contents = Folder.kept(data / CONTENTS)
            _fill({index.kind: index for index in indexes}, database, contents)
            known = _paths(indexes)
            _check_presence(contents, known, is_new=is_new)
            contents.sweep(known)
        except BaseException:
            database.close()
            raise
    except BaseException as error:
        # A server that was faster owns what was made.
        if not isinstance(error, FolderInUseError):
            created.remove()
        if isinstance(error, DataFolderError) or not isinstance(error, OSError):
            raise
        raise DataFolderError(f"{data} cannot be used as a data folder: {error}") from error
    return database, contents, created


def is_served(data: Path) -> bool:
    """Tell whether a server uses a data folder at this moment."""
    return is_open_elsewhere(data / DATABASE)


def _check_presence(contents: Folder, known: Collection[Path], *, is_new: bool) -> None:
    """Refuse a database whose contents are all missing: they may have been moved, and may come back."""
    if known and is_new:
        raise DataFolderError(f"{contents.path} is gone, and with it the contents of which {DATABASE} speaks")


def _check_place(data: Path) -> None:
    """Refuse a folder in which something else is where the emulator's own things belong."""
    database, contents = data / DATABASE, data / CONTENTS
    if data.exists() and not data.is_dir():
        raise DataFolderError(f"{data} is not a folder")
    if contents.is_symlink() or (contents.exists() and not contents.is_dir()):
        raise DataFolderError(f"{contents} is not a folder of the emulator's own")
    has_records = database.exists() and database.stat().st_size > 0
    if not has_records and contents.exists() and any(contents.iterdir()):
        raise DataFolderError(f"{contents} has contents, but there is no {DATABASE} that speaks of them")


def _fill(indexes: dict[str, Index[Any]], database: Database, contents: Folder) -> None:
    def hook(expected: type, value: Any) -> Any:
        """Names become paths in the folder, wherever that is now."""
        if expected is not Path or not isinstance(value, str) or not CONTENT_NAME.fullmatch(value):
            raise ValueError("no name of contents")
        return contents.path / value

    decode: dict[str, Callable[[bytes], Any]] = {
        kind: msgspec.json.Decoder(_TYPES[kind], dec_hook=hook).decode for kind in indexes
    }
    for row in database.rows():
        try:
            _put(indexes[row.kind], row, decode[row.kind])
        except (KeyError, ValueError) as error:
            raise DataFolderError(f"{contents.path.parent} is damaged: the record of {row.id!r} ({error!r})") from error


def _put(index: Index[Any], row: Row, decode: Callable[[bytes], Any]) -> None:
    if row.content is None:
        index.remember(row.id, Place(row.scope, row.number))
    else:
        index.put(decode(row.content), number=row.number)


def _paths(indexes: Iterable[Index[Any]]) -> set[Path]:
    """Return the paths that the records contain."""
    paths: set[Path] = set()
    for record in (record for index in indexes for record in index.items.values()):
        if isinstance(record, StoredFile | StoredPart):
            paths.add(record.path)
        elif isinstance(record, StoredBatch) and record.run is not None:
            paths |= {record.run.source, record.run.output, record.run.errors}
    return paths
