"""Working through a batch's lines: what answers one, and what is written about it."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor as Pool
from pathlib import Path
from typing import Any, Protocol

import attrs
import msgspec

from .answers import error_object
from .store import Counts, Ids, Usage

# Enough lines to make a hop to a worker thread cheap, few enough to keep them out of memory.
_LINES_PER_PIECE = 512
_CONCURRENT_CALLS = 64

_logger = logging.getLogger(__name__)

Answer = tuple[int, dict[str, Any]]


class Executor(Protocol):
    """Answers one request of a batch.

    An executor that also has a plain function `answer` with the same parameters is run through that one,
    in a worker thread.
    """

    async def __call__(self, url: str, body: dict[str, Any], custom_id: str) -> Answer:
        """Return the HTTP status and the JSON body; whatever it raises becomes an answer of status 500."""
        ...


class _Head(msgspec.Struct):
    """The one key that lines which never run still need."""

    custom_id: str


@attrs.define
class _Line:
    custom_id: str
    url: str
    body: dict[str, Any]
    answer: Answer = (0, {})


_decode = msgspec.json.Decoder(dict[str, Any]).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_encode = msgspec.json.Encoder().encode


class Work:
    """The progress of one batch through its input file.

    Args:
        source: The input file; validation has passed it.
        output: Where successes are written; made with the first.
        errors: Where the other lines are written; made with the first.
        batch_id: Seeds the ids of the lines.
        executor: Answers the lines.
        counts: The batch's counts, kept up to date.
        usage: The batch's usage, kept up to date.
        pool: Threads for disk work.
        created_at: Unix seconds for the ids of the lines.
    """

    def __init__(
        self,
        *,
        source: Path,
        output: Path,
        errors: Path,
        batch_id: str,
        executor: Executor,
        counts: Counts,
        usage: Usage,
        pool: Pool,
        created_at: int,
    ) -> None:
        self.source = source
        self.output = output
        self.errors = errors
        self.counts = counts
        self.usage = usage
        self.done: int = 0
        self._ids = Ids(batch_id)
        self._created_at = created_at
        self._executor = executor
        self._pool = pool
        self._offset = 0
        self._has_told = False

    async def run_to(self, goal: int) -> None:
        """Execute lines until `goal` of them are done."""
        answer: Callable[..., Answer] | None = getattr(self._executor, "answer", None)
        while self.done < goal:
            count = min(_LINES_PER_PIECE, goal - self.done)
            if answer is not None:
                await self._in_thread(self._piece, count, answer)
                continue
            lines = await self._in_thread(self._read, count)
            await self._ask(lines)
            await self._in_thread(self._write, lines)

    async def give_up(self, code: str, message: str) -> None:
        """Write every line that has not run to the error file, with this error."""
        await self._in_thread(self._give_up, code, message)

    async def _in_thread(self, function: Callable[..., Any], *args: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

    def _piece(self, count: int, answer: Callable[..., Answer]) -> None:
        lines = self._read(count)
        for line in lines:
            try:
                line.answer = _checked(answer(line.url, line.body, line.custom_id))
            except Exception as error:  # noqa: BLE001 - an executor's failure is the line's answer
                line.answer = self._failed(line, error)
        self._write(lines)

    async def _ask(self, lines: list[_Line]) -> None:
        gate = asyncio.Semaphore(_CONCURRENT_CALLS)

        async def ask(line: _Line) -> None:
            async with gate:
                try:
                    line.answer = _checked(await self._executor(line.url, line.body, line.custom_id))
                except Exception as error:  # noqa: BLE001 - an executor's failure is the line's answer
                    line.answer = self._failed(line, error)

        await asyncio.gather(*map(ask, lines))

    def _failed(self, line: _Line, error: Exception) -> Answer:
        if not self._has_told:
            # Once a batch: the others most often fail alike.
            self._has_told = True
            _logger.error("the executor failed at %s, which is answered with 500", line.custom_id, exc_info=error)
        return _broken()

    def _read(self, count: int) -> list[_Line]:
        lines: list[_Line] = []
        with self.source.open("rb") as source:
            source.seek(self._offset)
            while len(lines) < count:
                raw = source.readline()
                if raw.strip():
                    record = _decode(raw)
                    lines.append(_Line(record["custom_id"], record["url"], record["body"]))
            self._offset = source.tell()
        return lines

    def _write(self, lines: list[_Line]) -> None:
        succeeded, failed = bytearray(), bytearray()
        for line in lines:
            good = self._envelope(line, *line.answer)
            target = succeeded if good else failed
            target += self._text
            target += b"\n"
        _append(self.output, succeeded)
        _append(self.errors, failed)
        self.done += len(lines)

    def _envelope(self, line: _Line, status: int, body: Mapping[str, Any]) -> bool:
        response = {"status_code": status, "request_id": self._ids.hex(32), "body": body}
        record = {"id": self._line_id(), "custom_id": line.custom_id, "response": response, "error": None}
        try:
            self._text = _encode(record)
        except (TypeError, ValueError):
            response["status_code"], response["body"] = status, _ = _broken()
            self._text = _encode(record)
        good = 200 <= status < 300
        if good:
            self.counts.completed += 1
            _add_usage(self.usage, body.get("usage"))
        else:
            self.counts.failed += 1
        return good

    def _line_id(self) -> str:
        return self._ids.timed("batch_req_", self._created_at)

    def _give_up(self, code: str, message: str) -> None:
        error = {"code": code, "message": message}
        with self.source.open("rb") as source, self.errors.open("ab") as target:
            source.seek(self._offset)
            for raw in source:
                if raw.strip():
                    head = _decode_head(raw)
                    record = {"id": self._line_id(), "custom_id": head.custom_id, "response": None, "error": error}
                    target.write(_encode(record) + b"\n")
                    self.counts.failed += 1
                    self.done += 1


def _broken() -> Answer:
    message = "The server had an error while processing your request."
    return 500, {"error": error_object(message, type="server_error")}


def _checked(answer: Any) -> Answer:
    if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], int) and isinstance(answer[1], dict):
        return answer
    raise TypeError(f"an executor returns (status, body), an int and a dict, not {answer!r}")


def _append(path: Path, data: bytearray) -> None:
    if data:
        with path.open("ab") as target:
            target.write(data)


def _add_usage(usage: Usage, given: Any) -> None:
    """Add a line's usage, in the words of chat completions or of responses."""
    if isinstance(given, dict):
        usage.input_tokens += _count(given, "input_tokens", "prompt_tokens")
        usage.output_tokens += _count(given, "output_tokens", "completion_tokens")
        inputs = given.get("input_tokens_details") or given.get("prompt_tokens_details")
        outputs = given.get("output_tokens_details") or given.get("completion_tokens_details")
        usage.cached_tokens += _count(inputs, "cached_tokens")
        usage.reasoning_tokens += _count(outputs, "reasoning_tokens")


def _count(given: Any, *names: str) -> int:
    if isinstance(given, dict):
        for name in names:
            value = given.get(name)
            if isinstance(value, int):
                return value
    return 0
