"""Reading a multipart form, whose file is written to disk as it comes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path

import attrs
from aiohttp import BodyPartReader, MultipartReader, web

from openai_batches.emulator.answers import APIError, unknown
from openai_batches.emulator.http.connections import reading

_MAX_FIELD_BYTES = 64 * 1024
_READ_BYTES = 64 * 1024
_WRITE_BYTES = 1024 * 1024
# What aiohttp raises for bytes that are no form, also assertions, and warnings that are made errors.
_MALFORMED = (
    AssertionError,
    ValueError,
    RuntimeError,
    RuntimeWarning,
    LookupError,
    EOFError,
)


@attrs.define(kw_only=True)
class Form:
    """The fields of a form, and where its file was written."""

    fields: dict[str, str] = attrs.field(factory=dict[str, str])
    path: Path | None = None
    filename: str = "upload"
    size: int = 0

    def discard(self) -> None:
        """Delete the bytes of a form that was refused."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


async def read_form(
    request: web.Request, *, file_field: str, known: Collection[str], new_path: Callable[[], Path], max_bytes: int
) -> Form:
    """Read a form to its end, its parts in any order; `known` are the names of those beside the file.

    A file that is longer than `max_bytes` is read to its end, too, so that the client receives the answer.
    """
    if request.content_type != "multipart/form-data":
        raise APIError("The body of the request must be multipart/form-data.")
    form = Form()
    try:
        reader = await request.multipart()
        while (part := await _next(request, reader)) is not None:
            await _part(request, part, form, file_field, known=known, new_path=new_path, max_bytes=max_bytes)
    except _MALFORMED as error:
        form.discard()
        raise APIError("The body of the request could not be parsed as multipart/form-data.") from error
    except BaseException:
        form.discard()
        raise
    if form.size > max_bytes:
        form.discard()
        raise APIError("File is too large.")
    return form


async def _next(request: web.Request, reader: MultipartReader) -> MultipartReader | BodyPartReader | None:
    async with reading(request):
        return await reader.next()


async def _chunks(request: web.Request, part: BodyPartReader) -> AsyncIterator[bytes]:
    while True:
        async with reading(request):
            chunk = await part.read_chunk(_READ_BYTES)
        if not chunk:
            return
        yield chunk


async def _part(
    request: web.Request,
    part: MultipartReader | BodyPartReader,
    form: Form,
    file_field: str,
    *,
    known: Collection[str],
    new_path: Callable[[], Path],
    max_bytes: int,
) -> None:
    name = part.name if isinstance(part, BodyPartReader) else None
    if not isinstance(part, BodyPartReader) or name is None:
        raise APIError("Each part of the form must have a name and a plain body.")
    if name in form.fields or (name == file_field and form.path is not None):
        raise APIError(f"Duplicate parameter: '{name}'.", param=name, code="duplicate_parameter")
    if name == file_field:
        form.path = new_path()
        # Lone surrogates stand for bytes that are not UTF-8; no JSON answer could carry them.
        form.filename = (part.filename or form.filename).encode(errors="replace").decode()
        await _save(_chunks(request, part), form, form.path, max_bytes)
    elif name in known:
        form.fields[name] = await _text(_chunks(request, part), name)
    else:
        raise unknown(name)


async def _save(chunks: AsyncIterator[bytes], form: Form, path: Path, max_bytes: int) -> None:
    buffer = bytearray()
    with path.open("wb") as target:
        async for chunk in chunks:
            form.size += len(chunk)
            if form.size <= max_bytes:
                buffer += chunk
            if len(buffer) >= _WRITE_BYTES:
                await asyncio.to_thread(target.write, bytes(buffer))
                buffer.clear()
        await asyncio.to_thread(target.write, bytes(buffer))


async def _text(chunks: AsyncIterator[bytes], name: str) -> str:
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > _MAX_FIELD_BYTES:
            raise APIError(f"Invalid '{name}': string too long.", param=name, code="string_above_max_length")
    return data.decode()
