"""Uploads in parts, which become one file."""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from aiohttp import web

from . import parameters
from .answers import APIError, json_response, missing, out_of_range, wrong_type, wrong_value
from .desk import Desk
from .file_routes import check_content, lifetime_of
from .forms import read_form
from .rules import PURPOSES
from .store import StoredFile

_MAX_UPLOAD_BYTES = 8 * 1024**3
_MAX_PART_BYTES = 64 * 1024**2
_LIFETIME_S = 3600
_COPY_BYTES = 1024 * 1024


@attrs.define(kw_only=True)
class _Upload:
    id: str
    scope: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    lifetime_s: int | None
    status: str = "pending"
    parts: dict[str, Path] = attrs.field(factory=dict)
    file: StoredFile | None = None

    def to_wire(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "upload",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": self.status,
            "expires_at": self.created_at + _LIFETIME_S,
            "file": None if self.file is None else self.file.to_wire(),
        }

    def end(self, status: str) -> None:
        self.status = status
        for path in self.parts.values():
            path.unlink(missing_ok=True)
        self.parts.clear()


class UploadRoutes:
    """Create, fill, complete and cancel uploads at one desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._uploads: dict[str, _Upload] = {}

    def add_to(self, app: web.Application) -> None:
        """Register the routes."""
        guarded = self._desk.guarded
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
        now = self._desk.clock.now()
        upload = _Upload(
            id=self._desk.store.ids.timed("upload_", now),
            scope=scope,
            bytes=size,
            created_at=int(now),
            filename=filename,
            purpose=purpose,
            lifetime_s=lifetime_of(purpose, body.get("expires_after")),
        )
        self._uploads[upload.id] = upload
        return json_response(upload.to_wire())

    async def add_part(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Take one part; parts may come at the same time."""
        upload = self._pending(request, scope)
        new_path = self._desk.store.new_path
        form = await read_form(request, file_field="data", known=(), new_path=new_path, max_bytes=_MAX_PART_BYTES)
        if form.path is None:
            raise missing("data")
        try:
            self._pending(request, scope)
        except APIError:
            form.discard()
            raise
        now = self._desk.clock.now()
        part_id = self._desk.store.ids.timed("part_", now)
        upload.parts[part_id] = form.path
        return json_response({"id": part_id, "object": "upload.part", "created_at": int(now), "upload_id": upload.id})

    async def complete(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Join the parts in the order given into a file."""
        upload = self._pending(request, scope)
        body = await parameters.json_object(request)
        parameters.refuse_unknown(body, ("part_ids", "md5"))
        paths = _chosen(upload, body)
        target = self._desk.store.new_path()
        size, md5 = await asyncio.to_thread(_join, paths, target)
        try:
            _check_sum(upload, size, md5, body.get("md5"))
            await check_content(target, upload.filename, upload.purpose)
            self._pending(request, scope)
        except APIError:
            target.unlink()
            raise
        upload.file = self._desk.store.new_file(
            scope=scope,
            path=target,
            filename=upload.filename,
            purpose=upload.purpose,
            now=self._desk.clock.now(),
            lifetime_s=upload.lifetime_s,
        )
        upload.end("completed")
        return json_response(upload.to_wire())

    async def cancel(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Give up an upload."""
        upload = self._pending(request, scope)
        upload.end("cancelled")
        return json_response(upload.to_wire())

    def _pending(self, request: web.Request, scope: str) -> _Upload:
        upload_id = request.match_info["id"]
        upload = self._uploads.get(upload_id)
        if upload is None or upload.scope != scope:
            raise APIError(f"No such Upload object: {upload_id}", status=404, param="id")
        if upload.status == "pending" and upload.created_at + _LIFETIME_S <= self._desk.clock.now():
            upload.end("expired")
        if upload.status != "pending":
            raise APIError(f"The upload '{upload_id}' has the status '{upload.status}' and takes no more calls.")
        return upload


def _chosen(upload: _Upload, body: dict[str, Any]) -> list[Path]:
    if "part_ids" not in body:
        raise missing("part_ids")
    ids = body["part_ids"]
    if not isinstance(ids, list):
        raise wrong_type("part_ids", "an array of strings", ids)
    for part_id in ids:
        if not isinstance(part_id, str) or part_id not in upload.parts:
            raise wrong_value("part_ids", str(part_id), tuple(upload.parts) or ("none",))
    return [upload.parts[part_id] for part_id in ids]


def _join(paths: Sequence[Path], target: Path) -> tuple[int, str]:
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with target.open("wb") as joined:
        for path in paths:
            with path.open("rb") as part:
                while chunk := part.read(_COPY_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                    joined.write(chunk)
    return size, digest.hexdigest()


def _check_sum(upload: _Upload, size: int, md5: str, declared: Any) -> None:
    if size != upload.bytes:
        raise out_of_range("bytes", size, minimum=upload.bytes, maximum=upload.bytes)
    if declared is not None and str(declared).lower() != md5:
        raise APIError(f"The md5 of the parts is '{md5}', which is not the declared one.", param="md5")
