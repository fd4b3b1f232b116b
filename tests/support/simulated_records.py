"""What a simulated service consists of: its files, batches and answers, its result files, and its weather."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
from multidict import CIMultiDict

from openai_batches.errors import TransportError

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

    from support.simulated_service import SimulatedService

START = 1_750_000_000.0
DAY_S = 86_400.0
HOUR_S = 3_600.0
# How late a request may be carried out whose answer was lost, and how long a reader may be shown an older state.
LATE_S = 60.0
LAG_S = 60.0
# How long before it arrives a request may have been decided on: a busy service may have turned it away at first.
SEARCH_S = 300.0
MODELS = ("model-a", "model-b")
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_AGAIN = frozenset({"token_limit_exceeded", "insufficient_quota", "billing_hard_limit_reached", "unseen"})


@attrs.define(eq=False, kw_only=True)
class SimulatedFile:
    """A file: ``seen_s`` is since when every reader is shown it."""

    id: str
    name: str
    content: bytes
    created_s: float
    seen_s: float
    is_gone: bool = False

    def record(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": int(self.created_s),
            "filename": self.name,
            "purpose": "batch",
        }


@attrs.define(eq=False, kw_only=True)
class SimulatedBatch:
    """A batch; ``states`` are its record as it was from each time on."""

    id: str
    body: dict[str, Any]
    created_s: float
    seen_s: float
    lines: list[dict[str, Any]]
    is_late: bool
    states: list[tuple[float, dict[str, Any]]] = attrs.field(factory=list)
    why: str | None = None
    ended_s: float | None = None

    @property
    def name(self) -> tuple[str, str, str]:
        pairs = self.body["metadata"]
        return tuple(pairs[f"openai_batches_{name}"] for name in ("job", "shard", "attempt"))  # type: ignore[return-value]

    @property
    def model(self) -> str:
        return str(self.lines[0]["body"]["model"]) if self.lines else ""

    @property
    def record(self) -> dict[str, Any]:
        return self.states[-1][1]

    @property
    def status(self) -> str:
        return str(self.record["status"])

    @property
    def is_open(self) -> bool:
        return self.status not in ENDED

    @property
    def is_wanted_again(self) -> bool:
        """Whether the service itself failed it for a reason for which it is to be created again."""
        return self.why in _AGAIN

    def at(self, time_s: float) -> dict[str, Any]:
        return next((record for since_s, record in reversed(self.states) if since_s <= time_s), self.states[0][1])


class SimulatedStream:
    """The open answer to one request."""

    def __init__(
        self, status: int, body: bytes, *, headers: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.status = status
        self.headers = CIMultiDict(headers or {})
        self.size = len(body)
        self.request_id = None
        self.asked = "the simulated service"
        self._body, self._cut = body, cut

    async def iter_chunks(self) -> AsyncIterator[bytes]:
        yield self._body[: self._cut]
        if self._cut is not None:
            raise TransportError("cut in the middle of an answer")

    async def read(self, max_bytes: int) -> bytes | None:
        body, is_whole = await self.read_start(max_bytes)
        return body if is_whole else None

    async def read_start(self, max_bytes: int) -> tuple[bytes, bool]:
        body = b"".join([chunk async for chunk in self.iter_chunks()])
        return body[:max_bytes], len(body) <= max_bytes

    def close(self) -> None:
        """There is nothing to give back."""


@attrs.define(eq=False, kw_only=True)
class Weather:
    """What kinds of trouble a schedule has: a chance for each, and spells from one time to another."""

    lost: float
    refused: float
    busy: float
    stale: float
    unseen: float
    late: float
    dirt: float
    cancelled: float
    vanish: float
    fail_fast: bool
    outages: list[tuple[float, float]]
    droughts: list[tuple[float, float]]
    capacity: int
    crowd: float

    @classmethod
    def of(cls, chance: random.Random, until_s: float, largest: int) -> Weather:
        def some(most: float) -> float:
            return chance.choice((0.0, chance.uniform(0, most)))

        def spells(most: int, longest_s: float) -> list[tuple[float, float]]:
            starts = [chance.uniform(0, until_s) for _ in range(chance.choice((0, 0, chance.randint(1, most))))]
            return [(start, min(start + chance.uniform(60, longest_s), until_s)) for start in starts]

        return cls(
            lost=some(0.15),
            refused=some(0.15),
            busy=some(0.2),
            stale=some(0.3),
            unseen=some(0.2),
            late=some(0.3),
            dirt=some(0.1),
            cancelled=some(0.1),
            vanish=some(0.05),
            fail_fast=chance.random() < 0.3,
            outages=spells(4, 10 * HOUR_S),
            droughts=spells(2, DAY_S),
            capacity=largest * chance.choice((1, 2, 3, 1_000)),
            crowd=some(1.0),
        )


class ResultFiles:
    """The lines of the result files of a batch, with what may be wrong with them."""

    def __init__(self, service: SimulatedService, batch: SimulatedBatch) -> None:
        self._service = service
        self._batch = batch
        self._output: list[bytes] = []
        self._error: list[bytes] = []

    def written(self, status: str, unrun: float) -> tuple[list[bytes], list[bytes]]:
        """Return the lines of both files."""
        chance = self._service.chance
        code = {"completed": "", "expired": "batch_expired", "cancelled": "batch_cancelled"}[status]
        for line in self._batch.lines:
            name = line["custom_id"]
            if chance.random() < unrun:
                if not self._service.happens(self._service.weather.dirt):
                    self._error.append(_line(name, None, {"code": code, "message": "This request did not run."}))
                    if status == "cancelled" and not self._service.resends_cancelled:
                        self._told(self._service.final, name)
            else:
                self._answer(name)
        chance.shuffle(self._output)
        chance.shuffle(self._error)
        return self._output, self._error

    def _answer(self, name: str) -> None:
        service = self._service
        status = service.chance.choice((400, 429, 500, 503, 408)) if service.happens(0.15) else 200
        line = _line(name, {"status_code": status, "request_id": "r", "body": _body(status)}, None)
        lines = self._output if status == 200 else self._error
        dirt = service.chance.choice(("missing", "doubled", "foreign", "unreadable", "both"))
        if not service.happens(service.weather.dirt):
            dirt = ""
        if dirt == "missing":
            return
        if dirt == "unreadable":
            lines.append(line[: len(line) // 2])
            self._told(service.final, name)  # its id can be read
            return
        lines.append(line)
        if dirt == "doubled":
            lines.append(line)
        if dirt == "foreign":
            lines.append(_line("nobody's", {"status_code": 200, "request_id": "r", "body": {}}, None))
        if dirt == "both":
            self._error.append(_line(name, {"status_code": 400, "request_id": "r", "body": _body(400)}, None))
        if status == 200:
            self._told(service.paid, name)
        if status in {200, 400}:
            self._told(service.final, name)

    def _told(self, told: dict[str, str], name: str) -> None:
        """Note what these files say, unless nobody will read them: those of a double."""
        if not self._batch.is_late:
            told.setdefault(name, self._batch.id)


def _body(status: int) -> dict[str, Any]:
    if status == 200:
        return {"id": "answer", "model": "model-a", "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}
    kind = "invalid_request_error" if status == 400 else "server_error"
    return {"error": {"message": "This request failed.", "type": kind, "param": None, "code": None}}


def _line(name: str, response: dict[str, Any] | None, error: dict[str, Any] | None) -> bytes:
    return json.dumps({"id": f"r-{name}", "custom_id": name, "response": response, "error": error}).encode()


def around(chance: random.Random, least: float, most: float) -> float:
    """Return a time between two, short ones as likely as long ones."""
    return float(least * (most / least) ** chance.random())


def ok(record: dict[str, Any]) -> SimulatedStream:
    return SimulatedStream(200, json.dumps(record).encode())


def no(
    status: int, message: str, *, code: str | None = None, kind: str = "invalid_request_error", **headers: str
) -> SimulatedStream:
    error = {"message": message, "type": kind, "param": None, "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return SimulatedStream(status, json.dumps({"error": error}).encode(), headers=named)
