"""A job whose process is killed, at any moment and any number of times, ends as if nothing had happened.

The full matrix, a kill before and after every single commit of the journal and many at random moments, takes minutes:
it is marked ``slow``, and `nox -s crashes` runs it. In every run each kind of commit has its two kills.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from openai_batches import BatchJob, BatchSession, Outcome
from openai_batches.emulator import BatchServer, EchoExecutor, Fault, Timings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")

SHARDS, PER_SHARD = 20, 5
KINDS = ["begin", "uploading", "uploaded", "creating", "created", "ended", "collected", "verified", "tidied", "finish"]
SIDES = ("before", "after")
MOMENTS = 200
KILLED = -9


@attrs.define(eq=False)
class World:
    """The service, a job at it, and the process that carries the job."""

    server: BatchServer
    warden: asyncio.subprocess.Process
    source: Path
    answered: Counter[str]
    kills: int = 0

    async def life(self, **how: Any) -> bool:
        """Carry the job until the process is killed or the job is done; return whether it was killed."""
        asked = {
            "url": self.server.base_url,
            "source": str(self.source),
            "log": f"{self.source}.log",
            "per_shard": PER_SHARD,
        }
        assert self.warden.stdin is not None
        assert self.warden.stdout is not None
        self.warden.stdin.write(json.dumps({**asked, **how}).encode() + b"\n")
        said = json.loads(await self.warden.stdout.readline())
        assert said["status"] in {0, KILLED}
        is_killed = bool(said["status"] == KILLED)
        self.kills += is_killed
        return is_killed

    async def finish(self, chance: random.Random, *, kills: int, within_s: float = 0.5) -> None:
        """Carry the job to its end, through some more kills at random moments."""
        while await self.life(kill_after_s=chance.uniform(0.01, within_s) if kills else None):
            kills -= 1

    def made(self) -> Counter[tuple[int, int]]:
        """How many batches were created for each attempt at each shard."""
        return Counter(
            (int(batch.metadata["openai_batches_shard"]), int(batch.metadata["openai_batches_attempt"]))
            for batch in self.server.store.batches.items.values()
            if batch.metadata
        )

    def left(self) -> list[str]:
        """The input files that are at the service."""
        return [file.filename for file in self.server.store.files.items.values() if file.purpose == "batch"]

    async def check(self) -> None:
        """Compare with a job that nothing happened to."""
        needed = {(shard, 1) for shard in range(1, SHARDS + 1)} | {(shard, 2) for shard in range(1, SHARDS + 1, 4)}
        assert self.made() == Counter(needed), "a batch was created in vain, or not at all"
        assert self.answered == Counter({name: 1 + _fails_once(name) for name in _names()}), "a request ran twice"
        assert self.left() == [], "an input file was left behind"
        results = await self.results()
        assert results == {name: (Outcome.SUCCEEDED, f"[echo] question {name}") for name in _names()}

    async def results(self) -> dict[str | None, tuple[Outcome, str | None]]:
        """The one result of each request, for which the service is not needed any more."""
        self.server.faults.clear()
        asked = len(self.server.requests)
        async with (
            BatchSession("any-key", base_url=self.server.base_url) as session,
            BatchJob(session, self.source) as job,
        ):
            ledger = await job.run()
            given = [(result.custom_id, (result.outcome, result.output_text)) async for result in job.results()]
            in_order = [
                (result.custom_id, (result.outcome, result.output_text)) async for result in job.results(ordered=True)
            ]
        assert (ledger.inputs, ledger.unfinished, ledger.balances) == (SHARDS * PER_SHARD, 0, True)
        assert {name: count for name, count in ledger.outcomes.items() if count} == Counter(
            what for _, (what, _) in given
        )
        assert [name for name, _ in in_order] == _names()
        assert Counter(given) == Counter(in_order)
        assert len(self.server.requests) == asked
        return dict(given)


def _names() -> list[str]:
    return [f"r{number}" for number in range(SHARDS * PER_SHARD)]


def _fails_once(name: str) -> bool:
    """One request of every fourth shard fails at first in a way that passes."""
    return int(name[1:]) % (4 * PER_SHARD) == 2


def _say(figures: str) -> None:
    print(figures)  # noqa: T201  # for who runs the matrix


def _write_source(path: Path) -> None:
    with path.open("w") as file:
        for name in _names():
            body = {"model": "m", "messages": [{"role": "user", "content": f"question {name}"}]}
            line = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")


@pytest.fixture
async def warden() -> AsyncIterator[asyncio.subprocess.Process]:
    """The program that lives the lives."""
    program = str(Path(__file__).parents[1] / "support" / "dying_jobs.py")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, program, stdin=pipe, stdout=pipe)
    yield process
    assert process.stdin is not None
    process.stdin.close()
    await process.wait()


@asynccontextmanager
async def a_world(warden: asyncio.subprocess.Process, folder: Path, seed: int) -> AsyncIterator[World]:
    """A service that loses answers, resets connections and limits rates, and a job that has not begun."""
    answered: Counter[str] = Counter()
    echo = EchoExecutor()

    async def answer(url: str, body: dict[str, Any], custom_id: str) -> tuple[int, dict[str, Any]]:
        answered[custom_id] += 1
        if _fails_once(custom_id) and answered[custom_id] == 1:
            return 500, {"error": {"message": "overloaded", "type": "server_error", "param": None, "code": None}}
        return echo.answer(url, body, custom_id)

    folder.mkdir()  # noqa: ASYNC240  # nobody else runs yet
    source = folder / "requests.jsonl"
    _write_source(source)
    faults = [
        Fault.lost_answer(probability=0.05, times=None, seed=seed),
        Fault.reset_before(probability=0.05, times=None, seed=seed + 1),
        Fault.rate_limited(probability=0.02, times=None, seed=seed + 2, retry_after_s=0.01),
    ]
    timings = Timings(validating_s=0.5, line_s=0.1, finalizing_s=0.5, cancelling_s=0.5)
    async with BatchServer(speed=20, executor=answer, faults=faults, timings=timings, seed=seed) as server:
        yield World(server, warden, source, answered)


class TestAFewKills:
    """What runs each time."""

    async def test_before_and_after_every_kind_of_commit(
        self, warden: asyncio.subprocess.Process, tmp_path: Path
    ) -> None:
        """Wherever a life ends, the next one goes on there: nothing is created twice, lost or left behind."""
        async with a_world(warden, tmp_path / "job", seed=1) as world:
            for kind in KINDS:
                for side in SIDES:
                    assert await world.life(kind=kind, side=side, nth=1), f"no life got {side} {kind}"
            assert not await world.life()
            await world.check()

    async def test_at_random_moments(self, warden: asyncio.subprocess.Process, tmp_path: Path) -> None:
        """A kill can come at any time, also while nothing is being written down."""
        async with a_world(warden, tmp_path / "job", seed=7) as world:
            await world.finish(random.Random(7), kills=15)
            await world.check()

    async def test_while_the_job_is_cancelled(self, warden: asyncio.subprocess.Process, tmp_path: Path) -> None:
        """What was cancelled stays so: nothing more is created, what runs is cancelled, and what it did is kept."""
        async with a_world(warden, tmp_path / "job", seed=11) as world:
            assert await world.life(kind="created", side="before", nth=8)
            made = world.made()
            for kind in ("cancel", "ended", "collected", "verified", "tidied", "finish"):
                for side in SIDES:
                    is_noted = (kind, side) not in {("cancel", "before"), ("cancel", "after")}
                    assert await world.life(is_cancelled=not is_noted, kind=kind, side=side, nth=1), (kind, side)
            assert not await world.life()
            assert world.made() == made == Counter(dict.fromkeys(made, 1))
            assert world.left() == []
            results = await world.results()
        assert {what for what, _ in results.values()} <= {Outcome.SUCCEEDED, Outcome.CANCELLED, Outcome.FAILED}
        assert sum(what == Outcome.CANCELLED for what, _ in results.values()) >= (SHARDS - len(made)) * PER_SHARD


@pytest.mark.exhaustive
@pytest.mark.timeout(3_600)
class TestAllKills:
    """The matrix."""

    async def test_before_and_after_every_commit(self, warden: asyncio.subprocess.Process, tmp_path: Path) -> None:
        """A first life is killed at each of its commits in turn, and later ones at random moments."""
        chance, kills, commits = random.Random(20), 0, 0
        for side in SIDES:
            for nth in range(1, 1_000):
                async with a_world(warden, tmp_path / f"{side}{nth}", seed=nth) as world:
                    is_killed = await world.life(side=side, nth=nth)
                    await world.finish(chance, kills=3 if is_killed else 0)
                    await world.check()
                    kills += world.kills
                if not is_killed:
                    commits = nth - 1
                    break
            assert commits > SHARDS * 8
            _say(f"{side} each of {commits} commits: {kills} kills, none created in vain, none lost, none left")

    async def test_one_commit_a_life(self, warden: asyncio.subprocess.Process, tmp_path: Path) -> None:
        """A job that is killed after each single commit comes to its end all the same."""
        async with a_world(warden, tmp_path / "job", seed=3) as world:
            while await world.life(side="after", nth=1):
                pass
            await world.check()
            _say(f"one commit a life: {world.kills} kills")

    async def test_at_random_moments(self, warden: asyncio.subprocess.Process, tmp_path: Path) -> None:
        """Kills at moments that nobody chose."""
        chance, kills, jobs = random.Random(200), 0, 0
        while kills < MOMENTS:
            async with a_world(warden, tmp_path / f"{jobs}", seed=1_000 + jobs) as world:
                await world.finish(chance, kills=chance.randint(1, 30), within_s=chance.choice([0.1, 0.4, 1.0]))
                await world.check()
                kills, jobs = kills + world.kills, jobs + 1
        _say(f"at random moments: {kills} kills in {jobs} jobs")
