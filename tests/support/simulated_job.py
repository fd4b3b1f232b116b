"""One job in simulated time, life after life: each ends by itself, by an error, by being stopped, or by being killed.

A life that is killed leaves the disk as it was at that moment, and nothing of it reaches the service any more. What
the threads of a real loop do is done at once here, so that a seed gives the same schedule each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import json
import os
import random
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

from support import virtual_time
from support.simulated_records import DAY_S, HOUR_S, LAG_S, MODELS, START
from support.simulated_service import SimulatedExchange, SimulatedService

from openai_batches import BatchesError, BatchJob, JobPausedError, PollPolicy, RetryPolicy, ShardLimits
from openai_batches.errors import JournalError
from openai_batches.http.retries import Transport
from openai_batches.jobs import ownership as holding_room
from openai_batches.jobs.journal.sqlite import Journal
from openai_batches.jobs.ledger import Ledger
from openai_batches.providers import OPENAI, Provider
from openai_batches.resources.batches import Batches
from openai_batches.resources.files import Files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from openai_batches.jobs.journal.records import Attempt

_DISK = ("PartFile.open", "PartFile.write", "PartFile.keep", "write_requests")
_MAX_LIVES = 200
_PATIENCE_S = 60 * DAY_S


class SimulatedLoop(virtual_time.VirtualTimeLoop):
    """A loop in virtual time, whose threads do at once what they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[str], None] = lambda _: None

    def run_in_executor(self, executor: object, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        inner = func.args[0] if isinstance(func, functools.partial) and func.args else func
        try:
            self.before(getattr(inner, "__qualname__", ""))
            result = func(*args)
        except Exception as error:  # noqa: BLE001  # it is for whoever awaits
            self.call_soon(lambda error=error: future.done() or future.set_exception(error))
        else:
            self.call_soon(lambda: future.done() or future.set_result(result))
        return future


class SimulatedSession:
    """A session with the simulated service, for one life."""

    def __init__(self, exchange: SimulatedExchange, now: Callable[[], float]) -> None:
        transport = Transport(exchange, api_key="key", auth_prefix="", retry=RetryPolicy(), now=now)  # type: ignore[arg-type]
        self.files = Files(transport, provider=OPENAI)
        self.batches = Batches(transport, self.files, provider=OPENAI)
        self.base_url = "https://simulated/v1"
        self.provider: Provider = OPENAI
        self.now = now


class SimulatedJob:
    """One schedule.

    Args:
        seed: decides everything.
        folder: an empty folder.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self.chance = chance = random.Random(seed)  # it is to be repeated
        self.folder = folder
        self.source = folder / "requests.jsonl"
        self.directory = folder / "job"
        self.inputs = [f"r{number}" for number in range(chance.choice((1, 3, chance.randint(2, 60))))]
        per_shard = chance.randint(1, 12)
        self.calm_s = chance.choice((HOUR_S, DAY_S, 5 * DAY_S)) * chance.random()
        self.deadly = chance.choice((0.0, 0.0, 0.002, 0.02))
        self.broken = chance.choice((0.0, 0.0, 0.01))
        self.jumpy = chance.random() < 0.3
        self.options: dict[str, Any] = {
            "limits": ShardLimits(max_requests=per_shard),
            "max_attempts": chance.randint(1, 4),
            "max_open": chance.choice((None, None, 1, 3)),
            "concurrency": chance.randint(1, 4),
            "resend_cancelled": chance.random() < 0.3,
            "poll": PollPolicy(max_delay_s=chance.choice((300.0, 1_800.0))),
        }
        self.service = SimulatedService(
            chance,
            self.elapsed,
            calm_s=self.calm_s,
            largest=per_shard,
            resends_cancelled=self.options["resend_cancelled"],
        )
        self.lives = self.creations = 0
        self.trace: list[str] = []
        self.attempts: dict[tuple[int, int], Attempt] = {}
        self._exchange: SimulatedExchange | None = None
        self._task: asyncio.Task[Any] | None = None
        self._image: Path | None = None
        self._lives_s = 0.0

    def elapsed(self) -> float:
        return virtual_time.now() - 1_000.0

    def wall(self) -> float:
        """A wall clock that is off by hours, another time by others."""
        offset_s = 0.0
        if self.jumpy and not self.service.is_calm():
            offset_s = random.Random(int(self.elapsed() // 1_000)).uniform(-5, 5) * HOUR_S
        return START + self.elapsed() + offset_s

    def tell(self, text: str) -> None:
        self.trace.append(f"{self.elapsed():>10.1f} life {self.lives}: {text}")

    # What befalls a life.

    def step(self) -> None:
        """Pass a point at which a process may be killed."""
        if self._exchange is not None and not self._exchange.is_dead and self.service.happens(self.deadly):
            self.kill()

    def kill(self) -> None:
        assert self._exchange is not None
        assert self._task is not None
        if self._exchange.is_dead or self._task.done():
            return
        self.tell("killed")
        self._exchange.is_dead = True
        self._image = self.folder / "image"
        shutil.rmtree(self._image, ignore_errors=True)
        if self.directory.exists():
            shutil.copytree(self.directory, self._image)
        self._task.get_loop().call_soon(self._task.cancel)

    def before_thread(self, name: str) -> None:
        self.step()
        if name in _DISK and self.service.happens(self.broken):
            self.tell(f"disk is full in {name}")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    def committing(self) -> bool:
        """Return whether a commit fails although the disk has it; raise where it has not."""
        if not self.service.happens(self.broken):
            return False
        self.tell("the journal cannot be written")
        if self.chance.random() < 0.5:
            raise JournalError("disk I/O error, before")
        return True

    # What is right at any time.

    def committed(self, attempts: list[Attempt]) -> None:
        if self._exchange is None or self._exchange.is_dead:
            return
        self.attempts = {(one.shard, one.number): one for one in attempts}
        ledger = Ledger.of(attempts)
        if attempts and (not ledger.balances or ledger.inputs != len(self.inputs)):
            self.service.wrongs.append(f"the ledger does not balance: {ledger}")

    # The lives.

    async def live(self) -> None:
        """Let the job live until it has ended, and check what came of it."""
        self._write_source()
        while not await self._life():
            self.lives += 1
            if self.lives > _MAX_LIVES:
                raise AssertionError(f"the job has not ended after {self.lives} lives")
            if self.elapsed() > self.calm_s + _PATIENCE_S:
                raise AssertionError("the job has not ended long after all faults did")
            await asyncio.sleep(self.chance.choice((0.1, 30.0, HOUR_S)) if self.lives < _MAX_LIVES // 2 else HOUR_S)
        await self._check()

    def _write_source(self) -> None:
        with self.source.open("w", encoding="utf-8") as file:
            for name in self.inputs:
                body = {"model": self.chance.choice(MODELS), "messages": [{"role": "user", "content": name}]}
                line = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
                file.write(json.dumps(line) + "\n")

    async def _life(self) -> bool:
        """Return whether the job has come to its end in this life."""
        self._exchange = exchange = SimulatedExchange(self.service, self.step)
        session = SimulatedSession(exchange, self.wall)
        job = BatchJob(session, self.source, directory=self.directory, on_event=self._heard, **self.options)
        self._task = asyncio.create_task(self._use(job))
        until_s = self._span_s()
        done, _ = await asyncio.wait([self._task], timeout=until_s)
        if not done and until_s >= _PATIENCE_S:
            text = f"the job hangs: {[(one.name, str(one.step)) for one in self.attempts.values()]}"
            self.service.wrongs.append(text)
        if not done and self.chance.random() < 0.5:
            self.kill()
        elif not done:
            self.tell("stopped")
            self._task.cancel()
        is_done = await self._outcome()
        await job.close()
        await session.batches.close()
        if exchange.is_dead:
            shutil.rmtree(self.directory, ignore_errors=True)
            if self._image is not None and self._image.exists():
                self._image.rename(self.directory)
        return is_done and not exchange.is_dead

    def _span_s(self) -> float:
        if self.service.is_calm():
            return _PATIENCE_S
        if self.chance.random() < 0.5:
            return self.calm_s + _PATIENCE_S
        return self.chance.choice((10.0, HOUR_S, DAY_S)) * self.chance.random()

    async def _use(self, job: BatchJob) -> None:
        """Run a job in one of the ways there are."""
        way = self.chance.choice(("run", "results", "events"))
        if way == "run":
            await job.run()
        elif way == "results":
            async with contextlib.aclosing(job.results(ordered=self.chance.random() < 0.5)) as results:
                async for _ in results:
                    pass
        else:
            async with contextlib.aclosing(job.events()) as events:
                async for _ in events:
                    pass

    async def _outcome(self) -> bool:
        assert self._task is not None
        try:
            await self._task
        except asyncio.CancelledError:
            return False
        except (BatchesError, OSError) as error:
            self.tell(f"{type(error).__name__}: {error}")
            if self.service.is_calm() and not self._is_excused(error):
                raise
            return False
        return True

    def _is_excused(self, error: Exception) -> bool:
        """Tell whether what went wrong began before all was calm."""
        return isinstance(error, JobPausedError) or self.elapsed() - self.calm_s < 7 * HOUR_S

    def _heard(self, event: Any) -> None:
        self.tell(str(event))

    # What is right in the end.

    async def _check(self) -> None:
        service = self.service
        self._exchange = None
        ended_s = self.elapsed()
        await asyncio.sleep(2 * HOUR_S)
        service.advance()
        session = SimulatedSession(SimulatedExchange(service, lambda: None), self.wall)
        async with BatchJob(session, self.source, directory=self.directory, **self.options) as job:
            ledger = await job.run()
            ordered = [(one.custom_id, str(one.outcome)) async for one in job.results(ordered=True)]
            results = [(one.custom_id, str(one.outcome)) async for one in job.results()]
        assert ledger.is_complete
        assert ledger.balances
        assert [name for name, _ in ordered] == self.inputs
        assert sorted(results, key=str) == sorted(ordered, key=str)
        told = Counter(outcome for _, outcome in results)
        assert told == {str(name): count for name, count in ledger.outcomes.items() if count}
        outcomes = dict(results)
        lost = [name for name in service.paid if outcomes[name] != "succeeded"]
        assert not lost, f"paid, and lost: {[(name, service.paid[name], outcomes[name]) for name in lost]}"
        assert max(attempt.number for attempt in self.attempts.values()) <= self.options["max_attempts"]
        # What the service still hid when the job looked for it for the last time, nobody could delete.
        files = (file for file in service.files.values() if file.seen_s + LAG_S < ended_s)
        left = [file.id for file in files if not file.is_gone and not file.id.startswith("file-out")]
        assert not left, f"files left at the service: {left}"
        open_ids = [one.id for one in service.batches.values() if one.is_open]
        assert not open_ids, f"batches left open: {open_ids}"
        assert not service.wrongs, service.wrongs
        assert not list(self.directory.rglob("*.part"))
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, f"tasks left behind: {others}"


class _Journal(Journal):
    """A journal whose disk may fail."""

    of: SimulatedJob

    def save(self, *attempts: Attempt) -> None:
        has_failed = self.of.committing()
        super().save(*attempts)
        self.of.committed(self.attempts())
        self.of.step()
        if has_failed:
            raise JournalError("disk I/O error, afterwards")


def live(seed: int, folder: Path) -> SimulatedJob:
    """Let one job live to its end; raise where something is not right."""
    state = random.getstate()
    journal, fsync = holding_room.Journal, os.fsync
    random.seed(seed)
    os.fsync = lambda _: None
    try:
        with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
            job = SimulatedJob.__new__(SimulatedJob)
            holding_room.Journal = type("SimulatedJournal", (_Journal,), {"of": job})  # type: ignore[misc]

            async def main() -> None:
                SimulatedJob.__init__(job, seed, folder)
                loop = asyncio.get_running_loop()
                assert isinstance(loop, SimulatedLoop)
                loop.before = job.before_thread
                await job.live()

            try:
                runner.run(main())
            except BaseException as error:
                error.add_note("\n".join(["the schedule:", *getattr(job, "trace", [])[-60:]]))
                raise
    finally:
        holding_room.Journal, os.fsync = journal, fsync  # type: ignore[misc]
        random.setstate(state)
    return job
