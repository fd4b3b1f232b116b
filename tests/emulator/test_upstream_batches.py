"""Batches that are answered by an upstream: pace, bounds, the ends of a batch, and crashes."""

import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from llmock.scenarios import Fail
from llmock.testing import LLMockServer
from support.asking import MakeRaw, Raw, chat_file, chat_line, jsonl, records
from support.upstreams import LittleUpstream
from support.working import until

from openai_batches.emulator import BatchServer, SteppedClock, Timings, UpstreamExecutor

CHILD = Path(__file__).parents[1] / "support" / "durable_server.py"


@pytest.fixture
async def upstream() -> AsyncIterator[LittleUpstream]:
    async with LittleUpstream() as running:
        yield running


def emulator(upstream: LittleUpstream, *, clock: Any = None, **options: Any) -> BatchServer:
    executor = UpstreamExecutor(upstream.base_url, first_pause_s=0.001, **options)
    return BatchServer(clock=clock or SteppedClock(), executor=executor, timings=Timings(line_s=1000))


async def test_lines_do_not_wait_for_the_emulated_clock(upstream: LittleUpstream, make_raw: MakeRaw) -> None:
    """A batch runs as fast as its upstream, whatever the timings say of a line."""
    async with emulator(upstream) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(300)))["id"])
        await server.advance(seconds=10)
        batch = await raw.batch(batch["id"])
        assert batch["status"] == "completed"
        assert batch["request_counts"] == {"total": 300, "completed": 300, "failed": 0}
        assert batch["usage"]["total_tokens"] == 1500
        lines = records(await raw.content(batch["output_file_id"]))
        assert {line["response"]["request_id"] for line in lines} == {"up-1"}
    assert set(upstream.asked.values()) == {1}


async def test_many_batches_share_the_bound(upstream: LittleUpstream, make_raw: MakeRaw) -> None:
    """All batches of a server together keep to the executor's concurrency."""
    async with emulator(upstream, concurrency=3) as server:
        raw = make_raw(server)
        file = await raw.upload(chat_file(5))
        batches = [await raw.create(file["id"]) for _ in range(20)]
        await server.advance(minutes=1)
        assert {(await raw.batch(batch["id"]))["status"] for batch in batches} == {"completed"}
    assert upstream.most_running == 3
    assert set(upstream.asked.values()) == {20}


async def test_failures_are_in_the_error_file(upstream: LittleUpstream, make_raw: MakeRaw) -> None:
    """Refusals keep their response; a request that took too long has none, and the error says why."""
    upstream.script += [lambda _: asyncio.sleep(30), lambda _: asyncio.sleep(30)]
    async with emulator(upstream, timeout_s=0.1) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(4)))["id"])
        await server.advance(minutes=1)
        batch = await raw.batch(batch["id"])
        assert batch["request_counts"] == {"total": 4, "completed": 2, "failed": 2}
        lines = records(await raw.content(batch["error_file_id"]))
        assert [(line["response"], line["error"]["code"]) for line in lines] == [(None, "request_timeout")] * 2


async def test_a_model_server_that_other_people_wrote(make_raw: MakeRaw) -> None:
    """Refusals that pass leave no trace, one that does not is in the error file, and all others are answered."""
    with LLMockServer() as foreign:
        foreign.state.scenarios.add(
            Fail(429, retry_after=0.01, times=3), Fail(503, times=3), Fail(500, times=2), Fail(400, message="too long")
        )
        executor = UpstreamExecutor(foreign.base_url(), api_key="sk-test", first_pause_s=0.01)
        async with BatchServer(clock=SteppedClock(), executor=executor) as server:
            raw = make_raw(server)
            batch = await raw.create((await raw.upload(chat_file(40)))["id"])
            await server.advance(minutes=1)
            batch = await raw.batch(batch["id"])
            assert batch["request_counts"] == {"total": 40, "completed": 39, "failed": 1}
            (refused,) = records(await raw.content(batch["error_file_id"]))
            assert (refused["response"]["status_code"], refused["error"]) == (400, None)
            assert refused["response"]["body"]["error"]["message"] == "too long"
            lines = records(await raw.content(batch["output_file_id"]))
            assert all(line["response"]["body"]["choices"][0]["message"]["content"] for line in lines)
            total = sum(line["response"]["body"]["usage"]["total_tokens"] for line in lines)
            assert batch["usage"]["total_tokens"] == total > 0


async def _started(server: BatchServer, raw: Raw, upstream: LittleUpstream) -> tuple[str, asyncio.Task[None]]:
    batch = await raw.create((await raw.upload(chat_file(20)))["id"])
    walking = asyncio.create_task(server.advance(seconds=3))
    await until(lambda: upstream.running == 4)
    return batch["id"], walking


async def _turn_the_clock(server: BatchServer, seconds: float, walking: asyncio.Task[None]) -> None:
    """Let time pass while requests are under way, for which a walk through time would wait."""
    server.clock.move_to(server.clock.now() + seconds)
    server._schedule._fire()
    with pytest.raises(ValueError, match="backwards"):
        await walking


@pytest.mark.parametrize("ends_in_time", [True, False])
async def test_cancelling_while_the_upstream_works(
    upstream: LittleUpstream, make_raw: MakeRaw, ends_in_time: Any
) -> None:
    """No request starts after a cancel; those under way may end until the batch is cancelled, and are cut then."""
    gate = asyncio.Event()

    async def answer(_: Any) -> Any:
        await gate.wait()
        return await upstream._say(_, None)

    upstream.script += [answer] * 4
    async with emulator(upstream, concurrency=4) as server:
        raw = make_raw(server)
        batch_id, walking = await _started(server, raw, upstream)
        assert (await raw("POST", f"/batches/{batch_id}/cancel"))[1]["status"] == "cancelling"
        if ends_in_time:
            gate.set()
            await walking
            await server.advance(seconds=5)
        else:
            await _turn_the_clock(server, 5, walking)
        batch = await raw.batch(batch_id)
        completed = 4 if ends_in_time else 0
        assert batch["status"] == "cancelled"
        assert batch["request_counts"] == {"total": 20, "completed": completed, "failed": 20 - completed}
        lines = records(await raw.content(batch["error_file_id"]))
        assert {line["error"]["code"] for line in lines} == {"batch_cancelled"}
        assert len({line["custom_id"] for line in lines}) == 20 - completed
    assert len(upstream.requests) == 4


async def test_expiring_while_the_upstream_works(upstream: LittleUpstream, make_raw: MakeRaw) -> None:
    """When the window closes, requests under way are cut, and their lines have expired with the others."""
    upstream.script += [lambda _: asyncio.sleep(30)] * 4
    async with emulator(upstream, concurrency=4) as server:
        raw = make_raw(server)
        batch_id, walking = await _started(server, raw, upstream)
        await _turn_the_clock(server, 86_400, walking)
        batch = await raw.batch(batch_id)
        assert (batch["status"], batch["request_counts"]["failed"]) == ("expired", 20)
        lines = records(await raw.content(batch["error_file_id"]))
        assert Counter(line["error"]["code"] for line in lines) == {"batch_expired": 20}


async def test_closing_while_the_upstream_works(upstream: LittleUpstream, make_raw: MakeRaw) -> None:
    """A server that closes does not wait for its upstream, and leaves no request behind."""
    upstream.script += [lambda _: asyncio.sleep(30)] * 4
    async with emulator(upstream, concurrency=4) as server:
        _, walking = await _started(server, make_raw(server), upstream)
    await walking
    await until(lambda: upstream.running == 0)


class Child:
    """The emulator in a process of its own."""

    def __init__(self, folder: Path, upstream: str, concurrency: int) -> None:
        self._arguments = [str(folder), "PORT", upstream, str(concurrency)]
        self._process: asyncio.subprocess.Process | None = None
        self.base_url = ""

    async def start(self) -> None:
        # The same port again, so that clients find it after a crash.
        self._arguments[1] = self.base_url.rpartition(":")[2].partition("/")[0] or "0"
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, str(CHILD), *self._arguments, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.base_url = (await self._process.stdout.readline()).decode().strip()
        assert self.base_url

    async def kill(self) -> None:
        """End it as a power switch does."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@pytest.mark.slow
async def test_killed_twice_in_the_middle(
    upstream: LittleUpstream, make_raw: Callable[..., Raw], tmp_path: Path
) -> None:
    """Each of 2,000 lines is answered exactly once, and a kill repeats no more requests than run at once."""
    lines, concurrency = 2000, 8
    upstream._delay_s = 0.001
    content = jsonl(*(chat_line(f"r{index}", f"question {index}") for index in range(lines)))
    child = Child(tmp_path, upstream.base_url, concurrency)
    await child.start()
    try:
        raw = make_raw(child)
        batch = await raw.create((await raw.upload(content))["id"])
        for share in (lines // 3, 2 * lines // 3):
            await until(lambda share=share: len(upstream.asked) >= share)
            await child.kill()
            await until(lambda: upstream.running == 0)
            await child.start()
        end = time.monotonic() + 60
        while (batch := await raw.batch(batch["id"]))["status"] != "completed":
            assert time.monotonic() < end, batch
            await asyncio.sleep(0.02)
        answered = Counter(line["custom_id"] for line in records(await raw.content(batch["output_file_id"])))
    finally:
        await child.kill()
    assert answered == Counter(f"r{index}" for index in range(lines))
    assert batch["request_counts"] == {"total": lines, "completed": lines, "failed": 0}
    assert batch["usage"]["total_tokens"] == 5 * lines
    assert len(upstream.asked) == lines
    assert upstream.asked.total() - lines <= 2 * concurrency
    assert upstream.most_running <= concurrency
