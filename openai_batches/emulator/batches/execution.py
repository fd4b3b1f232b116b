"""Working through a batch's lines: which one is next, who answers it, and when its answer is written."""

import asyncio
import functools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import msgspec

from openai_batches.emulator.batches.result_files import ResultFiles
from openai_batches.emulator.executors.executor import ExecutorHandle, LineError, Outcome, broken, checked
from openai_batches.emulator.store.records import Run, StoredBatch
from openai_batches.emulator.threads import Threads

# Enough lines to make a call in a worker thread worth its cost, and few enough to need little memory.
_LINES_PER_PIECE = 512
_BYTES_PER_PIECE = 1024 * 1024
# A longer call in a thread would delay other batches, and the writing of answers.
_PIECE_S = 0.05
# How much is read ahead for one batch; there may be hundreds of them.
_LINES_AHEAD = 32
_BYTES_AHEAD = 128 * 1024

_logger = logging.getLogger(__name__)


class _Head(msgspec.Struct):
    """The one key that is needed of lines that are never executed."""

    custom_id: str


@attrs.define
class _Line:
    custom_id: str
    url: str
    body: dict[str, Any]


_decode = msgspec.json.Decoder(dict[str, Any]).decode
_decode_head = msgspec.json.Decoder(_Head).decode


class _Source:
    """The lines of an input file that have no result yet, in their order."""

    def __init__(self, path: Path, endpoint: str) -> None:
        self.path = path
        self._endpoint = endpoint
        self.skipped: Counter[str] = Counter()
        self._ready: deque[_Line] = deque()
        self._offset = 0

    def next(self) -> _Line | None:
        """Return the next line, or None if more have to be read first."""
        return self._ready.popleft() if self._ready else None

    def put_back(self, line: _Line) -> None:
        """Let a line be the next again."""
        self._ready.appendleft(line)

    def read(self, max_lines: int, max_bytes: int) -> None:
        """Read at least one more line."""
        with self.path.open("rb") as source:
            start = source.seek(self._offset)
            # Lines that have a result are skipped in one call, however many there are.
            while not self._ready or (len(self._ready) < max_lines and source.tell() - start < max_bytes):
                raw = source.readline()
                if not raw:
                    break
                if raw.strip():
                    self._add(_decode(raw))
            self._offset = source.tell()
        if not self._ready:
            raise EOFError(f"{self.path} has fewer lines than it had")

    def rest(self) -> Iterator[str]:
        """Return the ids of all lines that `next` has not returned."""
        while self._ready:
            yield self._ready.popleft().custom_id
        with self.path.open("rb") as source:
            source.seek(self._offset)
            for raw in source:
                if raw.strip():
                    custom_id = _decode_head(raw).custom_id
                    if not self._is_skipped(custom_id):
                        yield custom_id

    def _add(self, record: dict[str, Any]) -> None:
        custom_id = record["custom_id"]
        if not self._is_skipped(custom_id):
            self._ready.append(_Line(custom_id, record.get("url", self._endpoint), record["body"]))

    def _is_skipped(self, custom_id: str) -> bool:
        """Tell whether a line has a result; of lines with one id, as many are skipped as there are results."""
        if custom_id not in self.skipped:
            return False
        self.skipped[custom_id] -= 1
        if not self.skipped[custom_id]:
            del self.skipped[custom_id]
        return True


class Work:
    """The progress of one batch, whose input file validation has passed, through its lines.

    Results are written as they come, so that `restore` can go on after a crash: a line whose answer was written is
    not asked again. Of an executor with a plain `answer`, they have the order of the input. If the work is durable,
    the results survive a power failure, too, once all are there.
    """

    def __init__(
        self, batch: StoredBatch, run: Run, *, executor: ExecutorHandle, threads: Threads, is_durable: bool = False
    ) -> None:
        self.run = run
        self.done: int = 0
        self.is_stopped: bool = False
        self.takes_real_time: bool = executor.takes_real_time
        self._counts = batch.counts
        self._executor = executor
        self._threads = threads
        self._is_durable = is_durable
        self._lines = _Source(run.source, batch.endpoint)
        self._results = ResultFiles(batch, run)
        self._has_logged = False
        self._calls: set[asyncio.Task[Outcome]] = set()
        self._slot: asyncio.Future[bool] | None = None
        self._open = 0
        self._answered: list[tuple[str, Outcome]] = []
        self._writer: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def restore(self) -> None:
        """Take over what was written before a crash; lines that have a result are not asked again."""
        self._lines.skipped = await self._threads.run(self._results.restore)
        self.done = self._lines.skipped.total()
        if self._is_durable:
            await self._threads.run(self._results.sync)

    async def run_to(self, goal: int) -> None:
        """Execute lines until `goal` of them are done, or the work is stopped."""
        plain = self._executor.plain
        if plain is None:
            await self._stream(goal)
        while plain is not None and self.done < goal and not self.is_stopped:
            await self._threads.run(self._piece, goal, plain)
        if self._is_durable and self.done == self._counts.total:
            await self._threads.run(self._results.sync)

    def stop(self) -> None:
        """Start no further line; calls that are under way go on."""
        self.is_stopped = True
        if self._slot is not None and not self._slot.done():
            self._slot.set_result(False)

    def interrupt(self) -> None:
        """Start no further line, and cancel the calls that are under way."""
        self.stop()
        for call in self._calls:
            call.cancel()

    async def interrupt_if_stalled(self, after_s: float) -> None:
        """Watch the work, and interrupt it once no line was done for `after_s` real seconds."""
        done_before = -1
        while done_before != self.done:
            done_before = self.done
            await asyncio.sleep(after_s)
        self.interrupt()

    async def give_up(self, code: str, message: str) -> None:
        """Write every line that has no result to the error file, with this error."""
        await self._threads.run(self._give_up, LineError(code, message))

    def _piece(self, goal: int, plain: Callable[..., Any]) -> None:
        """Execute some lines, in a thread."""
        end = time.monotonic() + _PIECE_S
        line = self._lines.next()
        if line is None:
            self._lines.read(min(_LINES_PER_PIECE, goal - self.done), _BYTES_PER_PIECE)
            line = self._lines.next()
        while line is not None:
            self._results.add(line.custom_id, self._answer_now(line, plain))
            self.done += 1
            is_enough = self.done >= goal or self.is_stopped or time.monotonic() >= end
            line = None if is_enough else self._lines.next()
        self._results.flush()

    def _answer_now(self, line: _Line, plain: Callable[..., Any]) -> Outcome:
        try:
            return checked(plain(line.url, line.body, line.custom_id))
        except Exception as error:  # noqa: BLE001 - an executor's failure is the line's answer
            return self._failed(line, error)

    async def _stream(self, goal: int) -> None:
        """Have lines answered at once, as many as the limit allows, and return when all answers are written."""
        try:
            while self.done + self._open < goal and not self.is_stopped:
                line = await self._next_line()
                if not await self._acquire_slot():
                    self._lines.put_back(line)
                    break
                self._open += 1
                call = asyncio.create_task(self._call(line))
                self._calls.add(call)
                call.add_done_callback(functools.partial(self._take_answer, line))
            while self._calls:
                await asyncio.wait(self._calls)
        finally:
            await self._end_calls()
        if self._failure is not None:
            raise self._failure

    async def _next_line(self) -> _Line:
        while (line := self._lines.next()) is None:
            await self._threads.run(self._lines.read, _LINES_AHEAD, _BYTES_AHEAD)
        return line

    async def _acquire_slot(self) -> bool:
        """Wait for a slot, or until the work is stopped; return whether there is one."""
        slot = self._slot = self._executor.limit.acquire()
        try:
            has_slot = await slot
        except asyncio.CancelledError:
            if not slot.cancelled() and slot.result():
                self._executor.limit.release()
            raise
        if has_slot and self.is_stopped:
            self._executor.limit.release()
        return has_slot and not self.is_stopped

    async def _call(self, line: _Line) -> Outcome:
        task = asyncio.current_task()
        try:
            return await self._executor.answer(line.url, line.body, line.custom_id)
        except asyncio.CancelledError as error:
            if task is None or task.cancelling():
                raise
            return self._failed(line, error)
        except Exception as error:  # noqa: BLE001 - an executor's failure is the line's answer
            return self._failed(line, error)

    def _take_answer(self, line: _Line, call: asyncio.Task[Outcome]) -> None:
        """Pass the answer on to be written; its slot is released when it is."""
        self._calls.discard(call)
        if call.cancelled():
            self._lines.put_back(line)
            self._open -= 1
            self._executor.limit.release()
            return
        self._answered.append((line.custom_id, call.result()))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Write the answers that are there, and those that arrive meanwhile."""
        while self._answered:
            group, self._answered = self._answered, []
            try:
                await self._threads.run(self._results.write, group)
                self.done += len(group)
            except Exception as error:  # noqa: BLE001 - raised by `_stream`
                self._failure = error
                self.interrupt()
            self._open -= len(group)
            for _ in group:
                self._executor.limit.release()
        self._writer = None

    async def _end_calls(self) -> None:
        """Cancel the calls that still run, and wait until every answer is written."""
        for call in self._calls:
            call.cancel()
        while self._calls:
            await asyncio.wait(self._calls)
        while self._writer is not None:
            await asyncio.wait([self._writer])

    def _failed(self, line: _Line, error: BaseException) -> Outcome:
        if isinstance(error, LineError):
            return error
        if isinstance(error, TimeoutError):
            return LineError("request_timeout", "The request timed out.")
        if not self._has_logged:
            # Once for each batch, since further failures are mostly the same.
            self._has_logged = True
            _logger.error("the executor failed at %s, which is answered with 500", line.custom_id, exc_info=error)
        return broken()

    def _give_up(self, error: LineError) -> None:
        for custom_id in self._lines.rest():
            self._results.add(custom_id, error)
            self.done += 1
        self._results.flush()
        if self._is_durable:
            self._results.sync()
