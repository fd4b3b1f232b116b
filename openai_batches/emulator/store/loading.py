"""Taking up what a data folder holds."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec

from openai_batches.emulator.store.database import Database, is_open_elsewhere
from openai_batches.emulator.store.folder import CONTENT_NAME, DataFolderError, Folder, FolderInUseError, Trace
from openai_batches.emulator.store.index import Place, Shelf
from openai_batches.emulator.store.records import Row, StoredBatch, StoredFile, StoredMessage, StoredPart, StoredUpload

DATABASE = "emulator.sqlite3"
# Whatever else lies in a folder of somebody, this does not.
CONTENTS = "emulator.contents"
_TYPES: dict[str, type] = {
    "file": StoredFile,
    "batch": StoredBatch,
    "upload": StoredUpload,
    "part": StoredPart,
    "message": StoredMessage,
}


def load(data: Path, shelves: Iterable[Shelf[Any]]) -> tuple[Database, Folder, Trace]:
    """Fill the shelves with the records in a data folder, and remove contents of which no record speaks.

    Args:
        data: The folder; made if it is not there.
        shelves: Empty ones, one per kind of record.

    Returns:
        The database and the folder of contents, both open for this server alone, and what had to be made for them.

    Raises:
        DataFolderError: The folder is unwritable, in use, damaged, of a newer version, or holds what is not ours where
            ours belongs. It is as it was before.
    """
    trace = Trace()
    try:
        _check_place(data)
        trace.make_folder(data)
        trace.note(data / DATABASE)
        database = Database(data / DATABASE)
        try:
            is_new = not (data / CONTENTS).exists()
            trace.make_folder(data / CONTENTS)
            contents = Folder.kept(data / CONTENTS)
            _fill({shelf.kind: shelf for shelf in shelves}, database, contents)
            known = _paths(shelves)
            _check_presence(contents, known, is_new=is_new)
            contents.sweep(known)
        except BaseException:
            database.close()
            raise
    except BaseException as error:
        # What another server has is its own, though it was not there yet when we looked.
        if not isinstance(error, FolderInUseError):
            trace.remove()
        if isinstance(error, DataFolderError) or not isinstance(error, OSError):
            raise
        raise DataFolderError(f"{data} cannot be used as a data folder: {error}") from error
    return database, contents, trace


def is_served(data: Path) -> bool:
    """Tell whether a server uses a data folder at this moment."""
    return is_open_elsewhere(data / DATABASE)


def _check_presence(contents: Folder, known: Collection[Path], *, is_new: bool) -> None:
    """Refuse records whose contents are elsewhere all together: whoever moved them may bring them back."""
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


def _fill(shelves: dict[str, Shelf[Any]], database: Database, contents: Folder) -> None:
    def hook(expected: type, value: Any) -> Any:
        """Names become paths in the folder, wherever that is now."""
        if expected is not Path or not isinstance(value, str) or not CONTENT_NAME.fullmatch(value):
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
