"""Write a request file from files of prompts: completely, or not at all.

The rows are read, filled in and encoded in a thread, a block at a time.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import attrs

from openai_batches._arguments import check_whole
from openai_batches._names import public
from openai_batches._threads import in_thread, in_threads
from openai_batches.errors import InputError
from openai_batches.requests.build import Composer, LineMaker, id_template
from openai_batches.requests.encode import check_utf_8, encode
from openai_batches.requests.prompts import PromptFormat, PromptSource, RowReader
from openai_batches.requests.schemas import format_parameters
from openai_batches.requests.templates import Template
from openai_batches.storage.atomic import PartFile
from openai_batches.storage.compression import compression_of

__all__ = ["RequestFile", "write_request_file"]

_Text: TypeAlias = "str | os.PathLike[str] | None"

_SPOOLED_BYTES = 1 << 20
# These are arguments of requests_from: as parameters of a body they would repeat them, or mean nothing.
_ARGUMENTS = ("model", "endpoint", "system", "template", "id_prefix", "prompts")


@public
@attrs.frozen(kw_only=True)
class RequestFile:
    """A request file that was written.

    Attributes:
        path: where it is; None where it went into an open file.
        requests: how many requests are in it.
        bytes: how large they are, before they are packed.
        blank_lines: how many blank lines among the prompts were passed over.
    """

    path: Path | None
    requests: int
    bytes: int
    blank_lines: int


async def write_request_file(
    prompts: PromptSource | Iterable[PromptSource],
    path: str | os.PathLike[str] | BinaryIO,
    *,
    model: str,
    template: _Text = None,
    system: _Text = None,
    endpoint: str = "/v1/chat/completions",
    custom_id: str | None = None,
    schema: Any = None,
    parameters: Mapping[str, Any] | None = None,
    format: PromptFormat | None = None,
    delimiter: str | None = None,
    limit: int | None = None,
    allow_empty: bool = False,
    overwrite: bool = False,
) -> RequestFile:
    """Write a request for each prompt of a file, or of several, one after the other; return how many there are.

    The file gets its name when every prompt has become a request and all is on the disk; its owner alone can read it.
    Nothing is written to an open file before that: the requests are first written to a temporary file. Only one block
    is held in memory, and 8 bytes for each ``custom_id`` of your own, for at most a million of them.

    Without a template, a row holds its prompt in the field ``prompt``, in one called as endpoints call it
    (``messages``, ``input``), or in its only field. A row that has a field ``custom_id`` has its id there; others are
    numbered, ``request-0000001`` onwards, through all files.

    Args:
        prompts: a path, the bytes of a file, or a file opened in binary mode: see :func:`read_prompts`; or an iterable
            of these.
        path: the file to write, packed if it ends in ``.gz`` or ``.zst``; or a file opened in binary mode.
        model: the model that all of them go to.
        template: the text of each prompt, with places for fields (``"Translate {text} to {language}"``); a line of text
            fills its only place. ``{author.name}`` is a member of an object; ``{price:.2f}`` says how a number is
            formatted, also if the number is given as text, as in CSV; a value that is not text is written as JSON. A
            str is the template itself, a ``Path`` the file that holds it. A literal brace is doubled.
        system: what the model is told before each prompt; a str or a ``Path``, as it stands, without places.
        endpoint: one that takes chat, responses, embeddings, completions or moderations.
        custom_id: the field that holds each request's id, or a pattern of fields, such as ``"{shop}-{item}"``;
            ``{number}`` is the number of the row, from 1, through all files, unless they have a field of that name.
        schema: what the answers must look like: a class, a JSON schema as a dict, or the path of a file with one.
        parameters: everything else that goes into each body, e.g. ``{"temperature": 0}``; None is left out.
        format: ``"csv"``, ``"jsonl"`` or ``"text"``; what the name of each file says if not given.
        delimiter: what stands between the fields of CSV.
        limit: how many prompts to take, from the first one on; None: all.
        allow_empty: whether a field of the prompt may be empty.
        overwrite: whether a file of that name is replaced; it stays as it is until the new one is whole.

    Raises:
        InvalidRequestsError: a row cannot be read, lacks a field, or has the id of another; or a file has no prompts.
            ``problems`` name file, line and field.
        InputError: an argument cannot be right, or the file to write exists.
        OSError: a file cannot be read or written.
    """
    readers = tuple(RowReader(source, format=format, delimiter=delimiter) for source in _sources(prompts))
    ids = id_template(custom_id)
    maker = await in_thread(_maker, model, endpoint, system, parameters, schema)
    filled = await in_thread(_template, template, {reader.format for reader in readers})
    composer = Composer(readers, maker, template=filled, ids=ids, limit=_checked_limit(limit), allow_empty=allow_empty)
    output = _output(path, overwrite=overwrite)
    try:
        await in_thread(output.open)
        async with aclosing(in_threads(composer.blocks())) as blocks:
            async for block in blocks:
                await in_thread(output.write, block)
        await in_thread(output.keep)
    finally:
        await in_thread(output.discard)
    blank_lines = sum(reader.blank_lines for reader in readers)
    return RequestFile(path=output.path, requests=composer.requests, bytes=output.size, blank_lines=blank_lines)


def _sources(prompts: PromptSource | Iterable[PromptSource]) -> list[PromptSource]:
    is_one = isinstance(prompts, str | bytes | bytearray | memoryview) or hasattr(prompts, "read")
    if is_one or not isinstance(prompts, Iterable):
        return [cast("PromptSource", prompts)]
    if not (sources := list(cast("Iterable[PromptSource]", prompts))):
        raise InputError("there is no file of prompts: the list is empty")
    return sources


def _maker(model: str, endpoint: str, system: _Text, parameters: Mapping[str, Any] | None, schema: Any) -> LineMaker:
    given = _checked_mapping(parameters)
    if own := [name for name in _ARGUMENTS if name in given]:
        raise InputError(f"{own[0]!r} is no parameter of a body here: it is made from the arguments")
    encode(given, path="parameters")
    check_utf_8(str(model), "model")
    if schema is not None:
        given = _with_schema(given, schema, endpoint)
    return LineMaker(model=model, endpoint=endpoint, system=_text(system, "system"), **given)


def _checked_limit(limit: int | None) -> int | None:
    if limit is not None:
        check_whole(limit=limit)
    return limit


def _checked_mapping(parameters: object) -> dict[str, Any]:
    if isinstance(parameters, Mapping):
        return dict(cast("Mapping[str, Any]", parameters))
    if parameters is not None:
        raise InputError(f"parameters are a mapping of names to values, not {type(parameters).__name__}")
    return {}


def _with_schema(given: dict[str, Any], schema: Any, endpoint: str) -> dict[str, Any]:
    if isinstance(schema, str | os.PathLike):
        made = _format_of_file(Path(cast("str", schema)), endpoint)
    else:
        made = format_parameters(schema, endpoint=endpoint)
    for name, value in made.items():
        before = given.get(name)
        known = _checked_mapping(before) if name == "text" else {}
        if known.keys() & value.keys() or (before is not None and name != "text"):
            raise InputError(f"{name} is made from the schema: it cannot be given as a parameter too")
        given[name] = {**known, **value}
    return given


def _format_of_file(path: Path, endpoint: str) -> dict[str, Any]:
    text = _read(path)
    try:
        schema = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        where = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "it is nested too deeply"
        raise InputError(f"{path}{where}: this is not valid JSON: {reason}") from error
    if not isinstance(schema, dict):
        raise InputError(f"{path}: a JSON schema is an object, not {type(schema).__name__}")
    try:
        return format_parameters(schema, endpoint=endpoint, name=path.stem)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _template(template: _Text, formats: Collection[PromptFormat]) -> Template | None:
    text = _text(template, "template")
    if text is None:
        return None
    made = Template(text, name=str(template) if isinstance(template, os.PathLike) else "the template")
    if "text" in formats and len(made.fields) > 1:
        raise InputError(f"a line of text fills one place, the template has {len(made.fields)}: give csv or jsonl")
    return made


def _text(value: object, name: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        check_utf_8(value, name)
        return value
    if not isinstance(value, os.PathLike):
        raise InputError(f"{name} must be a str, or the Path of a file, not {type(value).__name__}")
    # Editors end the last line of a file; this line end is not part of the text.
    return _read(Path(cast("os.PathLike[str]", value))).removesuffix("\n").removesuffix("\r")


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid UTF-8: {error.reason}, at byte {error.start:,}") from error


def _output(path: str | os.PathLike[str] | BinaryIO, *, overwrite: bool) -> _TargetFile | _TargetStream:
    if isinstance(path, str | os.PathLike):
        return _TargetFile(Path(path), overwrite=overwrite)
    if not callable(getattr(path, "write", None)):
        raise InputError(f"requests are written to a path or an open file, not to {type(path).__name__}")
    return _TargetStream(path)


class _TargetFile:
    """A file that gets its name when it is complete."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        self._part = PartFile(path, compression=compression_of(path.name), overwrite=overwrite)

    @property
    def size(self) -> int:
        return self._part.received

    def open(self) -> None:
        try:
            self._part.open()
        except FileExistsError as error:
            if error.filename == str(self.path):
                raise InputError(f"{self.path} exists: pass overwrite=True to replace it") from error
            raise InputError(f"{self.path} is being written by another process: {error.filename} is in use") from error
        self._part.restart(None)

    def write(self, block: bytes) -> None:
        self._part.write([block])

    def keep(self) -> None:
        self._part.keep()

    def discard(self) -> None:
        self._part.discard()


class _TargetStream:
    """An open file, which gets everything in the end."""

    path = None

    def __init__(self, stream: BinaryIO) -> None:
        self.size = 0
        self._stream = stream
        self._held = tempfile.SpooledTemporaryFile(_SPOOLED_BYTES)  # noqa: SIM115  # closed in discard

    def open(self) -> None:
        """Do nothing: it is open."""

    def write(self, block: bytes) -> None:
        self._held.write(block)
        self.size += len(block)

    def keep(self) -> None:
        self._held.seek(0)
        shutil.copyfileobj(self._held, self._stream)
        self._stream.flush()

    def discard(self) -> None:
        # A thread that still writes finds it closed, and is not waited for: the stream's reader may never read on.
        self._held.close()
