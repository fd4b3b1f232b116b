"""Uploads in parts, which become one file."""

import asyncio
import functools
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import msgspec
from aiohttp import web

from openai_batches.emulator.answers import APIError, json_response, missing, out_of_range, wrong_type, wrong_value
from openai_batches.emulator.http import parameters
from openai_batches.emulator.http.context import Context
from openai_batches.emulator.http.file_routes import check_content, lifetime_of
from openai_batches.emulator.http.forms import read_form
from openai_batches.emulator.rules import PURPOSES
from openai_batches.emulator.store.records import StoredPart, StoredUpload

_MAX_UPLOAD_BYTES = 8 * 1024**3
_MAX_PART_BYTES = 64 * 1024**2
_COPY_BYTES = 1024 * 1024


class UploadRoutes:
    """Create, fill, complete and cancel uploads."""

    def __init__(self, context: Context) -> None:
        self._context = context
        # While the parts are joined, no other request may end the upload.
        self._ends: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def add_to(self, app: web.Application) -> None:
        """Register the routes."""
        guarded = self._context.guarded
        app.router.add_post("/v1/uploads", guarded(self.create))
        app.router.add_post("/v1/uploads/{id}/parts", guarded(self.add_part))
        app.router.add_post("/v1/uploads/{id}/complete", guarded(self.complete))
        app.router.add_post("/v1/uploads/{id}/cancel", guarded(self.cancel))

    async def create(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Announce a file that will come in parts."""
        body = await parameters.json_object(request)
        parameters.refuse_unknown(body, ("filename", "purpose", "bytes", "mime_type", "expires_after"))
        filename = parameters.text(body, "filename")
        purpose = parameters.choice(body, "purpose", PURPOSES)
        size = parameters.integer(body, "bytes", minimum=0, maximum=_MAX_UPLOAD_BYTES)
        parameters.text(body, "mime_type")
        lifetime_s = lifetime_of(purpose, body.get("expires_after"), self._context.rules.terms)
        self._context.limits.check_space(scope, size)
        self._context.limits.count_upload(self._context.key(request))
        upload = self._context.store.new_upload(
            scope=scope,
            now=self._context.clock.now(),
            size=size,
            filename=filename,
            purpose=purpose,
            lifetime_s=lifetime_s,
        )
        return json_response(upload.to_wire())

    async def add_part(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Take one part; parts may come at the same time."""
        store = self._context.store
        self._pending(request, scope)
        form = await read_form(request, file_field="data", known=(), new_path=store.new_path, max_bytes=_MAX_PART_BYTES)
        if form.path is None:
            raise missing("data")
        try:
            await store.secure(form.path)
            part = store.new_part(self._pending(request, scope), form.path, self._context.clock.now())
        except BaseException:
            form.discard()
            raise
        return json_response(part.to_wire())

    async def complete(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Join the parts in the order given into a file."""
        body = await parameters.json_object(request)
        parameters.refuse_unknown(body, ("part_ids", "md5"))
        async with self._ending(request):
            upload = self._pending(request, scope)
            parts = _chosen({part.id: part for part in self._context.store.parts.of(upload.id)}, body)
            size = sum(part.bytes for part in parts)
            if size != upload.bytes:
                raise out_of_range("bytes", size, minimum=upload.bytes, maximum=upload.bytes)
            self._context.limits.check_space(scope, size)
            target = await self._joined(upload, parts, _declared_md5(body))
            file = self._context.store.new_file(
                scope=scope,
                path=target,
                filename=upload.filename,
                purpose=upload.purpose,
                now=self._context.clock.now(),
                lifetime_s=upload.lifetime_s,
            )
            self._context.store.end_upload(upload, "completed")
        return json_response(upload.to_wire(self._context.show(file)))

    async def cancel(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Cancel an upload."""
        async with self._ending(request):
            upload = self._pending(request, scope)
            self._context.store.end_upload(upload, "cancelled")
        return json_response(upload.to_wire())

    def _ending(self, request: web.Request) -> asyncio.Lock:
        return self._ends.setdefault(request.match_info["id"], asyncio.Lock())

    async def _joined(self, upload: StoredUpload, parts: Sequence[StoredPart], md5: str | None) -> Path:
        """Join and check the parts, and return the path of the result, which is on disk."""
        store = self._context.store
        is_one = len(parts) == 1
        target = store.link(parts[0].path) if is_one else store.new_path()
        try:
            if not is_one:
                await asyncio.to_thread(_join, [part.path for part in parts], target)
            if md5 is not None:
                _check_md5(await asyncio.to_thread(_md5, target), md5)
            await check_content(target, upload.filename, upload.purpose)
            await store.secure(target)
            # It may have expired meanwhile.
            self._check_pending(upload)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return target

    def _pending(self, request: web.Request, scope: str) -> StoredUpload:
        upload_id = request.match_info["id"]
        upload = self._context.store.uploads.get(scope, upload_id)
        if upload is None:
            raise APIError(f"No such Upload object: {upload_id}", status=404, param="id")
        self._check_pending(upload)
        return upload

    def _check_pending(self, upload: StoredUpload) -> None:
        if upload.expires_at <= self._context.clock.now():
            self._context.store.end_upload(upload, "expired")
        if upload.status != "pending":
            raise APIError(f"The upload '{upload.id}' has the status '{upload.status}' and takes no more calls.")


def _chosen(parts: dict[str, StoredPart], body: dict[str, Any]) -> list[StoredPart]:
    if "part_ids" not in body:
        raise missing("part_ids")
    try:
        ids = msgspec.convert(body["part_ids"], list[str])
    except msgspec.ValidationError as error:
        raise wrong_type("part_ids", "an array of strings", body["part_ids"]) from error
    for part_id in ids:
        if part_id not in parts:
            raise wrong_value("part_ids", part_id, tuple(parts) or ("none",))
    if len(set(ids)) < len(ids):
        raise APIError("Invalid 'part_ids': a part may stand there once only.", param="part_ids", code="invalid_value")
    return [parts[part_id] for part_id in ids]


def _declared_md5(body: dict[str, Any]) -> str | None:
    declared = body.get("md5")
    if declared is not None and not isinstance(declared, str):
        raise wrong_type("md5", "a string", declared)
    return declared


def _join(paths: Sequence[Path], target: Path) -> None:
    with target.open("wb") as joined:
        for path in paths:
            with path.open("rb") as part:
                shutil.copyfileobj(part, joined, _COPY_BYTES)


def _md5(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, functools.partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def _check_md5(md5: str, declared: str) -> None:
    if declared.lower() != md5:
        raise APIError(f"The md5 of the parts is '{md5}', which is not the declared one.", param="md5")
