"""The operations on files."""

import asyncio
import re
from pathlib import Path
from typing import Any

from aiohttp import web

from openai_batches.emulator.answers import APIError, StreamedAnswer, json_response, missing, wrong_value
from openai_batches.emulator.http import parameters
from openai_batches.emulator.http.context import Context
from openai_batches.emulator.http.forms import Form, read_form
from openai_batches.emulator.rules import FILE_LIFETIME_S, PURPOSES, Terms
from openai_batches.emulator.store.records import StoredFile
from openai_batches.emulator.validation import looks_like_batch_input

_MAX_LIMIT = 10_000
_ORDERS = ("asc", "desc")
_EXPIRY_KEYS = {
    "brackets": ("expires_after[anchor]", "expires_after[seconds]"),
    "dots": ("expires_after.anchor", "expires_after.seconds"),
}
_NOT_DOWNLOADABLE = frozenset({"assistants", "user_data"})
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)
_NOT_BATCH_INPUT = "Invalid file format for Batch API. Must be .jsonl"


class FileRoutes:
    """Upload, list, retrieve, download and delete files."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def add_to(self, app: web.Application) -> None:
        """Register the routes."""
        guarded = self._context.guarded
        app.router.add_post("/v1/files", guarded(self.create))
        app.router.add_get("/v1/files", guarded(self.list), allow_head=False)
        app.router.add_get("/v1/files/{id}", guarded(self.retrieve), allow_head=False)
        app.router.add_get("/v1/files/{id}/content", guarded(self.content), allow_head=False)
        app.router.add_delete("/v1/files/{id}", guarded(self.delete))

    async def create(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Take an upload."""
        form = await read_form(
            request,
            file_field="file",
            known=("purpose", *_EXPIRY_KEYS[self._context.rules.terms.form_style]),
            new_path=self._context.store.new_path,
            max_bytes=self._context.rules.max_file_bytes,
        )
        try:
            path, purpose, lifetime_s = _checked(form, self._context.rules.terms)
            await check_content(path, form.filename, purpose)
            await self._context.store.secure(path)
            # Without an `await` from here on, so that uploads at the same time count each other.
            self._context.limits.check_space(scope, form.size)
            self._context.limits.count_upload(self._context.key(request))
        except BaseException:
            form.discard()
            raise
        file = self._context.store.new_file(
            scope=scope,
            path=path,
            filename=form.filename,
            purpose=purpose,
            now=self._context.clock.now(),
            lifetime_s=lifetime_s,
        )
        return json_response(self._context.show(file))

    async def list(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Answer one page."""
        limit = parameters.limit(request, default=_MAX_LIMIT, minimum=1, maximum=_MAX_LIMIT)
        order = request.query.get("order", "desc")
        if order not in _ORDERS:
            raise wrong_value("order", order, _ORDERS)
        purpose = request.query.get("purpose")
        now = self._context.clock.now()

        def keep(file: StoredFile) -> bool:
            alive = file.expires_at is None or file.expires_at > now
            return alive and purpose in {None, file.purpose}

        files = self._context.store.files
        page = self._context.page(
            files, request, scope, limit=limit, missing=_no_file, newest_first=order == "desc", keep=keep
        )
        # The schema of this listing allows no null here, not even for an empty page.
        for name in ("first_id", "last_id"):
            if name in page:
                page[name] = page[name] or ""
        return json_response(page)

    async def retrieve(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Answer one file's record."""
        file = self._file(request, scope)
        self._context.count_retrieval(file)
        return json_response(self._context.show(file))

    async def delete(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Delete a file."""
        file = self._file(request, scope)
        self._context.store.remove_file(file)
        return json_response({"id": file.id, "object": "file", "deleted": True})

    async def content(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Send a file's bytes, or the range of them that is asked for."""
        file = self._file(request, scope)
        if file.purpose in _NOT_DOWNLOADABLE:
            raise APIError(f"Not allowed to download files of purpose: {file.purpose}")
        # Contents never change, so the id tells them apart.
        headers = {"Content-Type": "application/octet-stream", "ETag": f'"{file.id}"', "Accept-Ranges": "bytes"}
        start, length, status = 0, file.bytes, 200
        span = _range(request, headers["ETag"], file.bytes)
        if span is not None:
            start, stop = span
            length, status = stop - start, 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.bytes}"
        return StreamedAnswer(file.path.open("rb"), start=start, length=length, status=status, headers=headers)

    def _file(self, request: web.Request, scope: str) -> StoredFile:
        file_id = request.match_info["id"]
        file = self._context.store.find_file(scope, file_id, self._context.clock.now())
        if file is None:
            raise APIError(_no_file(file_id), status=404, param="id")
        return file


async def check_content(path: Path, filename: str, purpose: str) -> None:
    """Refuse a file that is meant as batch input and does not look like it."""
    if purpose == "batch" and not await asyncio.to_thread(looks_like_batch_input, path, filename):
        raise APIError(_NOT_BATCH_INPUT, extra={"detail": {"message": _NOT_BATCH_INPUT, "code": None}})


def lifetime_of(purpose: str, expires_after: Any, terms: Terms) -> int | None:
    """Return how many seconds a file lives: as asked for, else 30 days for batch input and for ever otherwise."""
    given_s = parameters.lifetime("expires_after", expires_after, terms)
    return given_s or (FILE_LIFETIME_S if purpose == "batch" else None)


def _checked(form: Form, terms: Terms) -> tuple[Path, str, int | None]:
    """Return where the file is, its purpose and its lifetime in seconds."""
    purpose = parameters.choice(form.fields, "purpose", PURPOSES)
    if form.path is None:
        raise missing("file")
    policy: dict[str, Any] = {}
    anchor_key, seconds_key = _EXPIRY_KEYS[terms.form_style]
    if anchor_key in form.fields:
        policy["anchor"] = form.fields[anchor_key]
    if seconds_key in form.fields:
        seconds = form.fields[seconds_key]
        policy["seconds"] = int(seconds) if re.fullmatch(r"-?[0-9]{1,18}", seconds, re.ASCII) else seconds
    return form.path, purpose, lifetime_of(purpose, policy or None, terms)


def _range(request: web.Request, etag: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the byte behind the last; None is the whole file."""
    asked = _RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    if asked is None or asked.group(0) == "bytes=-" or request.headers.get("If-Range", etag) != etag:
        return None
    first, last = asked.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < start:
            return None
    if start >= stop:
        headers = {"Content-Range": f"bytes */{size}"}
        raise APIError("The requested range is not satisfiable.", status=416, headers=headers)
    return start, stop


def _no_file(file_id: str) -> str:
    return f"No such File object: {file_id}"
