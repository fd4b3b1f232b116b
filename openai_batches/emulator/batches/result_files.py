"""The two result files of a batch: how they are written, and read again after a crash."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from openai_batches.emulator.atomic import sync
from openai_batches.emulator.executors.executor import LineAnswer, LineError, Outcome, broken
from openai_batches.emulator.json_values import members
from openai_batches.emulator.store.records import Run, StoredBatch, Usage

# Large enough to make an append cheap, and small enough to need little memory.
_BUFFERED_BYTES = 256 * 1024

_encode = msgspec.json.Encoder().encode


class _Body(msgspec.Struct):
    usage: Any = None


class _Response(msgspec.Struct):
    body: _Body


class _Record(msgspec.Struct):
    """The part of a result line that the counts need."""

    custom_id: str
    response: _Response | None


_decode = msgspec.json.Decoder(_Record).decode


class ResultFiles:
    """Writes a batch's results: successes to one file, all others to another; not to be used by two threads at once.

    Each file is made with its first line. A line is counted, and its usage added, when it has been written. The ids in
    a line follow from the batch and the `custom_id` alone, so that they do not depend on the order of the lines, or on
    what happened in between.
    """

    def __init__(self, batch: StoredBatch, run: Run) -> None:
        self._output = run.output
        self._errors = run.errors
        self._seed = batch.id
        self._prefix = f"batch_req_{batch.created_at & 0xFFFFFFFF:08x}"
        self._counts = batch.counts
        self._usage = batch.usage
        self._clear()

    def write(self, results: Iterable[tuple[str, Outcome]]) -> None:
        """Append the outcomes of the lines with these ids, and hand them to the operating system."""
        for custom_id, outcome in results:
            self.add(custom_id, outcome)
        self.flush()

    def add(self, custom_id: str, outcome: Outcome) -> None:
        """Append one outcome, which is written at the next `flush` at the latest."""
        record = self._record(custom_id, outcome)
        try:
            line = _encode(record)
        except (TypeError, ValueError, OverflowError, RecursionError):
            outcome = broken()
            line = _encode(self._record(custom_id, outcome))
        if isinstance(outcome, LineAnswer) and 200 <= outcome.status < 300:
            target = self._successes
            self._completed += 1
            _add_usage(self._used, outcome.body.get("usage"))
        else:
            target = self._failures
            self._failed += 1
        target += line
        target += b"\n"
        if len(target) > _BUFFERED_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system, then count it."""
        _append(self._output, self._successes)
        _append(self._errors, self._failures)
        self._count()
        self._clear()

    def restore(self) -> Counter[str]:
        """Read the files after a crash, cut off incomplete lines, correct counts and usage, and count lines by id."""
        self._clear()
        counts, usage = self._counts, self._usage
        counts.completed = counts.failed = 0
        usage.input_tokens = usage.cached_tokens = usage.output_tokens = usage.reasoning_tokens = 0
        found: Counter[str] = Counter()
        for path in (self._output, self._errors):
            if path.exists():
                self._read_back(path, found)
        self._count()
        self._clear()
        return found

    def sync(self) -> None:
        """Return when the disk has everything, so that it survives a power failure too."""
        sync(self._output, self._errors)

    def _record(self, custom_id: str, outcome: Outcome) -> dict[str, Any]:
        drawn = hashlib.blake2s(f"{self._seed} {custom_id}".encode(), digest_size=26).hexdigest()
        record: dict[str, Any] = {"id": f"{self._prefix}{drawn[:4]}8190{drawn[4:20]}", "custom_id": custom_id}
        if isinstance(outcome, LineError):
            error = {"code": outcome.code, "message": outcome.message}
            return {**record, "response": None, "error": error}
        request_id = outcome.request_id or drawn[20:]
        response = {"status_code": outcome.status, "request_id": request_id, "body": outcome.body}
        return {**record, "response": response, "error": None}

    def _read_back(self, path: Path, found: Counter[str]) -> None:
        whole_bytes = 0
        with path.open("r+b") as written:
            for raw in written:
                record = _whole(raw)
                if record is None:
                    # A power failure may leave a hole before complete lines; those behind it are executed again.
                    written.truncate(whole_bytes)
                    break
                whole_bytes += len(raw)
                found[record.custom_id] += 1
                if path == self._output:
                    self._completed += 1
                    _add_usage(self._used, record.response and record.response.body.usage)
                else:
                    self._failed += 1
        if not whole_bytes:
            path.unlink()

    def _count(self) -> None:
        """Add what was counted to the batch."""
        self._counts.completed += self._completed
        self._counts.failed += self._failed
        self._usage.input_tokens += self._used.input_tokens
        self._usage.cached_tokens += self._used.cached_tokens
        self._usage.output_tokens += self._used.output_tokens
        self._usage.reasoning_tokens += self._used.reasoning_tokens

    def _clear(self) -> None:
        self._successes, self._failures = bytearray(), bytearray()
        self._completed = self._failed = 0
        self._used = Usage()


def _whole(raw: bytes) -> _Record | None:
    """Return the record of a complete line, or None."""
    if not raw.endswith(b"\n"):
        return None
    try:
        return _decode(raw)
    except msgspec.DecodeError:
        return None


def _append(path: Path, data: bytearray) -> None:
    if data:
        with path.open("ab") as target:
            target.write(data)


def _add_usage(usage: Usage, given: Any) -> None:
    """Add a line's usage, by the names of chat completions or of responses."""
    words = members(given)
    usage.input_tokens += _count(words, "input_tokens", "prompt_tokens")
    usage.output_tokens += _count(words, "output_tokens", "completion_tokens")
    inputs = members(words.get("input_tokens_details") or words.get("prompt_tokens_details"))
    outputs = members(words.get("output_tokens_details") or words.get("completion_tokens_details"))
    usage.cached_tokens += _count(inputs, "cached_tokens")
    usage.reasoning_tokens += _count(outputs, "reasoning_tokens")


def _count(words: dict[str, Any], *names: str) -> int:
    for name in names:
        value = words.get(name)
        if isinstance(value, int):
            return value
    return 0
