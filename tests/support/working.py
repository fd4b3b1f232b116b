"""What the tests of executors share: works without a server around them, and executors that can be watched."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

from support.asking import chat_line, jsonl

from openai_batches.emulator import EchoExecutor
from openai_batches.emulator.batches.execution import Work
from openai_batches.emulator.executors.executor import ExecutorHandle
from openai_batches.emulator.store.records import Run, StoredBatch
from openai_batches.emulator.threads import Threads


class WorkMaker:
    """Makes works in a folder."""

    def __init__(self, folder: Path, threads: Threads) -> None:
        self.folder = folder
        self.threads = threads

    def run(self, name: str = "batch_1") -> Run:
        """Where the files of a work lie."""
        source, output, errors = (self.folder / f"{name}.{end}" for end in ("in", "out", "err"))
        return Run(source=source, output=output, errors=errors, started=1_750_000_000)

    def work(
        self, executor: Any, name: str = "batch_1", *, lines: int = 10, batch_id: str = "", is_durable: bool = False
    ) -> Work:
        """A work of `lines` lines whose ids begin with the name of their batch."""
        run = self.run(name)
        if not run.source.exists():
            each = (chat_line(f"{name}-{index}", f"question {index}") for index in range(lines))
            run.source.write_bytes(jsonl(*each))
        batch = StoredBatch(
            id=batch_id or name,
            scope="",
            endpoint="",
            input_file_id="",
            completion_window="",
            created_at=1_750_000_000,
            expires_at=0,
        )
        batch.counts.total = lines
        handle = executor if isinstance(executor, ExecutorHandle) else ExecutorHandle(executor)
        return Work(batch, run, executor=handle, threads=self.threads, is_durable=is_durable)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def ids_of(path: Path) -> list[str]:
    return [line["custom_id"] for line in lines_of(path)]


class Watched:
    """An async echo that counts its calls, and waits at a gate if it has one."""

    def __init__(self, *, concurrency: int = 64, pauses: int = 1, gate: asyncio.Event | None = None) -> None:
        self.concurrency = concurrency
        self.asked: list[str] = []
        self.answered: Counter[str] = Counter()
        self.running = 0
        self.most_running = 0
        self._pauses = pauses
        self._gate = gate
        self._echo = EchoExecutor(now=lambda: 1_750_000_000)

    async def __call__(self, url: str, body: dict[str, Any], custom_id: str) -> Any:
        self.asked.append(custom_id)
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            for _ in range(self._pauses):
                await asyncio.sleep(0)
            if self._gate is not None:
                await self._gate.wait()
        finally:
            self.running -= 1
        self.answered[custom_id] += 1
        return self._echo.answer(url, body, custom_id)


async def until(claim: Any) -> None:
    """Return when the claim holds."""
    async with asyncio.timeout(60):
        while not claim():  # noqa: ASYNC110 - a claim is about many things, few of which have events
            await asyncio.sleep(0.001)
