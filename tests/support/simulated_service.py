"""A service in simulated time, behind the door to the network: what it does, loses and breaks, one seed decides.

Everything above that door is the library's own: retries, the search for a batch that may exist, polling, downloads.
The service is a heap of things that will happen; it does them whenever it is asked, and so leaves no timer behind.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from support.simulated_records import (
    DAY_S,
    ENDED,
    HOUR_S,
    LAG_S,
    LATE_S,
    SEARCH_S,
    START,
    ResultFiles,
    SimulatedBatch,
    SimulatedFile,
    SimulatedStream,
    Weather,
    around,
    no,
    ok,
)

from openai_batches.errors import TransportError
from openai_batches.http.wire import MultipartBody

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from openai_batches.http.wire import Request


class SimulatedService:
    """The service, and what it knows of what was paid for.

    Args:
        chance: decides everything.
        now: the service's own time, in seconds since the beginning.
        calm_s: from when on nothing goes wrong any more.
        largest: the requests of the largest shard.
        resends_cancelled: whether what was cancelled is to be sent again.
    """

    def __init__(
        self,
        chance: random.Random,
        now: Callable[[], float],
        *,
        calm_s: float,
        largest: int,
        resends_cancelled: bool,
    ) -> None:
        self.chance = chance
        self.now = now
        self.calm_s = calm_s
        self.weather = Weather.of(chance, calm_s, largest)
        self.files: dict[str, SimulatedFile] = {}
        self.batches: dict[str, SimulatedBatch] = {}
        self.paid: dict[str, str] = {}
        self.final: dict[str, str] = {}
        self.resends_cancelled = resends_cancelled
        self.wrongs: list[str] = []
        self.asked = 0
        self._ids = itertools.count(1)
        self._todo: list[tuple[float, int, Callable[[], None]]] = []

    def is_calm(self) -> bool:
        return self.now() >= self.calm_s

    def happens(self, likelihood: float) -> bool:
        return not self.is_calm() and self.chance.random() < likelihood

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._todo, (self.now() + delay_s, next(self._ids), act))

    def advance(self) -> None:
        """Do what is due, in its order, each thing at its own time."""
        end, now = self.now(), self.now
        try:
            while self._todo and self._todo[0][0] <= end:
                at_s, _, act = heapq.heappop(self._todo)
                self.now = lambda at_s=at_s: at_s  # type: ignore[misc]
                act()
        finally:
            self.now = now

    def is_in(self, spells: list[tuple[float, float]]) -> bool:
        return any(start <= self.now() < end for start, end in spells)

    # What can be asked.

    def answer(self, request: Request[Any], upload: bytes, *, is_late: bool = False) -> SimulatedStream:
        """Return the answer to a request that has arrived."""
        self.asked += 1
        self.advance()
        path, _, query = request.path.partition("?")
        parts = path.strip("/").split("/")
        handlers: dict[tuple[str, str, int], Callable[[], SimulatedStream]] = {
            ("POST", "files", 1): lambda: self._upload(request, upload),
            ("GET", "files", 1): lambda: self._list(self._visible_files(), query),
            ("GET", "files", 2): lambda: self._file(parts[1]),
            ("GET", "files", 3): lambda: self._content(parts[1]),
            ("DELETE", "files", 2): lambda: self._delete(parts[1]),
            ("POST", "batches", 1): lambda: self._create(upload, is_late=is_late),
            ("GET", "batches", 1): lambda: self._list(self._visible_batches(), query),
            ("GET", "batches", 2): lambda: self._retrieve(parts[1]),
            ("POST", "batches", 3): lambda: self._cancel(parts[1]),
        }
        return handlers[request.method, parts[0], len(parts)]()

    def _list(self, records: list[dict[str, Any]], query: str) -> SimulatedStream:
        asked = dict(parse_qsl(query))
        ids = [record["id"] for record in records]
        first = ids.index(asked["after"]) + 1 if asked.get("after") in ids else 0
        page = records[first : first + int(asked["limit"])]
        has_more = first + len(page) < len(records)
        return ok({"object": "list", "data": page, "has_more": has_more, "last_id": page[-1]["id"] if page else None})

    def _visible_files(self) -> list[dict[str, Any]]:
        now_s = self.now()
        files = [file for file in self.files.values() if not file.is_gone and file.seen_s <= now_s]
        return [file.record() for file in reversed(files) if not file.id.startswith("file-out")]

    def _visible_batches(self) -> list[dict[str, Any]]:
        lag_s = self.chance.uniform(0, LAG_S) if self.happens(self.weather.stale) else 0.0
        now_s = self.now()
        return [batch.at(now_s - lag_s) for batch in reversed(self.batches.values()) if batch.seen_s <= now_s]

    def _seen_s(self, likelihood: float) -> float:
        return self.now() + (self.chance.uniform(0, LAG_S) if self.happens(likelihood) else 0.0)

    def _upload(self, request: Request[Any], content: bytes) -> SimulatedStream:
        body = request.body
        assert isinstance(body, MultipartBody)
        file = self._new_file(f"file-{next(self._ids)}", body.filename, content)
        if self.happens(self.weather.vanish):
            self.later(self.chance.uniform(0, HOUR_S), lambda: setattr(file, "is_gone", True))
        return ok(file.record())

    def _new_file(self, file_id: str, name: str, content: bytes) -> SimulatedFile:
        file = SimulatedFile(
            id=file_id,
            name=name,
            content=content,
            created_s=START + self.now(),
            seen_s=self._seen_s(self.weather.stale),
        )
        self.files[file.id] = file
        return file

    def _file(self, file_id: str) -> SimulatedStream:
        file = self.files[file_id]
        return no(404, f"No such File object: {file_id}") if file.is_gone else ok(file.record())

    def _content(self, file_id: str) -> SimulatedStream:
        content = self.files[file_id].content
        cut = self.chance.randrange(len(content)) if content and self.happens(self.weather.lost) else None
        return SimulatedStream(200, content, headers={"content-length": str(len(content))}, cut=cut)

    def _delete(self, file_id: str) -> SimulatedStream:
        file = self.files[file_id]
        if file.is_gone:
            return no(404, f"No such File object: {file_id}")
        file.is_gone = True
        return ok({"id": file_id, "object": "file", "deleted": True})

    def _retrieve(self, batch_id: str) -> SimulatedStream:
        batch = self.batches[batch_id]
        if batch.seen_s > self.now():
            return no(404, f"No batch found with id '{batch_id}'.")
        lag_s = self.chance.uniform(0, LAG_S) if self.happens(self.weather.stale) else 0.0
        return ok(batch.at(self.now() - lag_s))

    def _cancel(self, batch_id: str) -> SimulatedStream:
        batch = self.batches[batch_id]
        if batch.status in ENDED - {"cancelled"}:
            return no(409, f"Cannot cancel a batch with status '{batch.status}'.")
        self._begin_cancelling(batch)
        return ok(batch.record)

    def _begin_cancelling(self, batch: SimulatedBatch) -> None:
        if batch.status in {"validating", "in_progress"}:
            self._set(batch, "cancelling", cancelling_at=self._unix())
            self.later(self.chance.uniform(1, 600), lambda: self._end(batch, "cancelled"))

    # The life of a batch.

    def _create(self, content: bytes, *, is_late: bool) -> SimulatedStream:
        body = json.loads(content)
        file = self.files[body["input_file_id"]]
        unseen = f"Cannot find file {file.id}, or project proj_1 does not have access to it."
        if self.is_in(self.weather.droughts):
            return no(429, "You exceeded your current quota.", code="insufficient_quota", kind="insufficient_quota")
        if (file.is_gone and self.chance.random() < 0.5) or self.happens(self.weather.unseen / 2):
            return no(400, unseen)
        lines = [json.loads(line) for line in file.content.splitlines()]
        if self.weather.fail_fast and not self._has_room(str(lines[0]["body"]["model"]), len(lines)):
            return no(400, "Enqueued token limit reached.", code="token_limit_exceeded")
        batch = SimulatedBatch(
            id=f"batch_{next(self._ids)}",
            body=body,
            created_s=self.now(),
            seen_s=self._seen_s(self.weather.stale),
            lines=lines,
            is_late=is_late,
        )
        self._check_creation(batch)
        self.batches[batch.id] = batch
        self._set(batch, "validating", expires_at=self._unix(DAY_S))
        self.later(around(self.chance, 2, 600), lambda: self._validate(batch, file, unseen))
        return ok(batch.record)

    def _check_creation(self, batch: SimulatedBatch) -> None:
        earlier = [one for one in self.batches.values() if one.name == batch.name and not one.is_wanted_again]
        for one in earlier:
            # What was carried out late, or was hidden when it was looked for, nobody could know of.
            is_hidden = one.created_s < one.seen_s and batch.created_s < one.seen_s + SEARCH_S
            if not (batch.is_late or one.is_late or is_hidden):
                self.wrongs.append(f"{batch.id} was created although {one.id} is there ({one.status}): {batch.name}")
            batch.is_late = True

    def _has_room(self, model: str, wanted: int) -> bool:
        others = self.weather.crowd * self.weather.capacity * self.chance.random() if not self.is_calm() else 0
        ours = sum(
            len(one.lines) for one in self.batches.values() if one.status == "in_progress" and one.model == model
        )
        return ours + wanted + others <= self.weather.capacity

    def _validate(self, batch: SimulatedBatch, file: SimulatedFile, unseen: str) -> None:
        if batch.status != "validating":
            return
        if file.is_gone or self.happens(self.weather.unseen / 2):
            self._fail(batch, "unseen", {"code": "invalid_request", "message": unseen, "param": "file_id"})
        elif self.is_in(self.weather.droughts):
            code = self.chance.choice(("insufficient_quota", "billing_hard_limit_reached"))
            self._fail(batch, code, {"code": code, "message": "You exceeded your current quota."})
        elif not self._has_room(batch.model, len(batch.lines)):
            text = f"Enqueued token limit reached. Limit: {self.weather.capacity * 1_000:,} enqueued tokens."
            self._fail(batch, "token_limit_exceeded", {"code": "token_limit_exceeded", "message": text})
        elif self.happens(self.weather.dirt):
            number = self.chance.randint(1, len(batch.lines))
            self.final[batch.lines[number - 1]["custom_id"]] = batch.id
            self._fail(batch, "line", {"code": "invalid_request", "message": "This line is bad.", "line": number})
        else:
            self._run(batch)

    def _run(self, batch: SimulatedBatch) -> None:
        for line in batch.lines:
            name = line["custom_id"]
            if name in self.final and not (batch.is_late or self.batches[self.final[name]].is_late):
                self.wrongs.append(
                    f"{name} was sent again in {batch.id}: {self.final[name]} had said what became of it"
                )
        self._set(batch, "in_progress", in_progress_at=self._unix(), total=len(batch.lines))
        takes_s = around(self.chance, 5, 23 * HOUR_S)
        if self.happens(0.15):
            self.later(DAY_S - 700, lambda: self._end(batch, "expired"))
            return
        if self.happens(self.weather.cancelled):
            self.later(takes_s * self.chance.random(), lambda: self._begin_cancelling(batch))
        self.later(takes_s / 2, lambda: self._progress(batch))
        self.later(takes_s, lambda: self._finalize(batch))

    def _progress(self, batch: SimulatedBatch) -> None:
        if batch.status == "in_progress":
            self._set(batch, "in_progress", done=len(batch.lines) // 2)

    def _finalize(self, batch: SimulatedBatch) -> None:
        if batch.status == "in_progress":
            self._set(batch, "finalizing", finalizing_at=self._unix(), done=len(batch.lines))
            self.later(around(self.chance, 1, HOUR_S / 2), lambda: self._end(batch, "completed"))

    def _fail(self, batch: SimulatedBatch, why: str, error: dict[str, Any]) -> None:
        batch.why = why
        self._set(batch, "failed", failed_at=self._unix(), errors={"object": "list", "data": [error]})

    def _end(self, batch: SimulatedBatch, status: str) -> None:
        """Write the result files: all of them, or, of a batch that did not come to its end, some."""
        if not batch.is_open:
            return
        ran = batch.record.get("in_progress_at") is not None
        unrun = {"completed": 0.0, "expired": 0.5, "cancelled": 0.5}[status] if ran else 1.0
        output, error = ResultFiles(self, batch).written(status, unrun)
        ids = {}
        for name, lines in (("output", output), ("error", error)):
            if lines:
                file = self._new_file(f"file-out-{batch.id}-{name}", name, b"\n".join(lines) + b"\n")
                ids[f"{name}_file_id"] = file.id
        self._set(batch, status, **{f"{status}_at": self._unix()}, **ids)

    def _unix(self, after_s: float = 0.0) -> int:
        return int(START + self.now() + after_s)

    def _set(self, batch: SimulatedBatch, status: str, *, total: int = 0, done: int = 0, **fields: Any) -> None:
        before = (
            batch.states[-1][1]
            if batch.states
            else {
                "id": batch.id,
                "object": "batch",
                "endpoint": batch.body["endpoint"],
                "input_file_id": batch.body["input_file_id"],
                "completion_window": "24h",
                "metadata": batch.body["metadata"],
                "created_at": self._unix(),
                "request_counts": {"total": 0, "completed": 0, "failed": 0},
            }
        )
        counts = dict(before["request_counts"])
        counts["total"], counts["completed"] = max(counts["total"], total), max(counts["completed"], done)
        batch.states.append((self.now(), {**before, "status": status, "request_counts": counts, **fields}))


class SimulatedExchange:
    """The door to the service of one life of a process; ``kill`` shuts it for ever.

    Args:
        service: the service.
        step: called before and after each request has its effect; it may end this life.
    """

    def __init__(self, service: SimulatedService, step: Callable[[], None]) -> None:
        self._service = service
        self._step = step
        self.is_dead = False
        self.is_closed = False

    async def open(self, request: Request[Any], credentials: str) -> SimulatedStream:  # as the real one
        """Return the answer to a request, or what happens in its place."""
        service, weather, chance = self._service, self._service.weather, self._service.chance
        self._step()
        await self._pass(around(chance, 0.01, 5))
        body = request.body
        upload = b"".join([part async for part in body.chunks()]) if isinstance(body, MultipartBody) else body or b""
        if service.is_in(weather.outages) or service.happens(weather.refused):
            if chance.random() < 0.5:
                raise TransportError("refused", was_sent=False)
            return no(503, "The service is down.", kind="server_error")
        if service.happens(weather.busy):
            return no(429, "Slow down.", kind="requests", retry_after=str(chance.randint(1, 200)))
        lost = service.happens(weather.lost)
        if lost and chance.random() < weather.late:
            delay_s = chance.uniform(0, LATE_S)
            is_create = request.path == "/batches"
            service.later(delay_s, lambda: self._late(request, upload, is_create=is_create))
            raise TransportError("silence")
        if lost and chance.random() < 0.5:
            raise TransportError("lost on its way there")
        answer = service.answer(request, upload)
        self._step()
        await self._pass(around(chance, 0.01, 5))
        if lost:
            if chance.random() < 0.5:
                return no(500, "The answer was lost.", kind="server_error")
            raise TransportError("lost on its way back")
        return answer

    def _late(self, request: Request[Any], upload: bytes, *, is_create: bool) -> None:
        self._service.answer(request, upload, is_late=is_create)

    async def _pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self.is_dead:
            await asyncio.Event().wait()
