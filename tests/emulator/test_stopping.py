"""Batches that are stopped on their way: what is left of their lines, and that nothing keeps them from their end."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.asking import MakeRaw, chat_file, records

from openai_batches.emulator import BatchServer, EchoExecutor, Fault, SteppedClock, Timings
from openai_batches.emulator.batches import lifecycle


class Hanging:
    """Answers the first lines, and no others, for as long as it is asked to."""

    def __init__(self, answered: int) -> None:
        self.asked = 0
        self.cancelled = 0
        self.hangs = asyncio.Event()
        self._answered = answered
        self._echo = EchoExecutor()

    async def __call__(self, url: str, body: dict[str, Any], custom_id: str) -> Any:
        self.asked += 1
        if self.asked > self._answered:
            self.hangs.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled += 1
        return self._echo.answer(url, body, custom_id)


@pytest.mark.parametrize(("ending", "code"), [("cancelled", "batch_cancelled"), ("expired", "batch_expired")])
async def test_lines_that_hang_do_not_keep_a_batch(
    make_raw: MakeRaw, monkeypatch: pytest.MonkeyPatch, ending: str, code: str
) -> None:
    """A batch whose lines do not move any more when it is to end is ended without them."""
    monkeypatch.setattr(lifecycle, "_STALLED_S", 0.05)
    faults = Fault.expired_early(for_s=60) if ending == "expired" else ()
    executor = Hanging(3)
    timings = Timings(line_s=1)
    async with BatchServer(clock=SteppedClock(), executor=executor, faults=faults, timings=timings) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(5)))["id"])
        walk = asyncio.create_task(server.advance(minutes=5))
        await executor.hangs.wait()
        if ending == "cancelled":
            await raw("POST", f"/batches/{batch['id']}/cancel")
        # The line that hangs keeps the clock where it is: it is moved over it, as a running clock would be.
        server.clock.move_to(server.clock.now() + 120)
        server._schedule._fire()
        async with asyncio.timeout(60):
            await walk
        done = await raw.batch(batch["id"])
        assert (done["status"], done["request_counts"]) == (ending, {"total": 5, "completed": 3, "failed": 2})
        left = records(await raw.content(done["error_file_id"]))
        assert [line["error"]["code"] for line in left] == [code] * 2
        assert executor.cancelled == 1


async def test_lines_that_move_are_waited_for(make_raw: MakeRaw, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the lines take together that were due before a cancel, all of them are there."""
    monkeypatch.setattr(lifecycle, "_STALLED_S", 0.1)

    class Slow(EchoExecutor):
        answer = None
        concurrency = 1

        async def __call__(self, url: str, body: dict[str, Any], custom_id: str) -> Any:
            await asyncio.sleep(0.02)
            return EchoExecutor.answer(self, url, body, custom_id)

    async with BatchServer(clock=SteppedClock(), executor=Slow(), timings=Timings(line_s=0.1)) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(30)))["id"])
        await server.advance(seconds=3.05)
        server.clock.move_to(server.clock.now() + 1.5)
        await raw("POST", f"/batches/{batch['id']}/cancel")
        await server.advance(minutes=1)
        done = await raw.batch(batch["id"])
        assert (done["status"], done["request_counts"]) == ("cancelled", {"total": 30, "completed": 15, "failed": 15})


@pytest.mark.parametrize(("line_s", "lines"), [(86_400.0002, 3), (86_410.0, 2)])
async def test_lines_of_a_day_each(make_raw: MakeRaw, line_s: float, lines: int) -> None:
    """A millisecond of rounding is forgiven when lines are counted that were due, however long each takes."""
    faults, timings = Fault.expired_early(for_s=3 * 86_400), Timings(validating_s=0, line_s=line_s)
    async with BatchServer(clock=SteppedClock(), faults=faults, timings=timings) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(5)))["id"])
        await server.advance(hours=80)
        assert (await raw.batch(batch["id"]))["request_counts"]["completed"] == lines


async def test_results_are_spoiled_once(make_raw: MakeRaw, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is cancelled while its files are written does not have them written, and spoiled, again."""
    async with BatchServer(clock=SteppedClock(), faults=Fault.doubled_lines(times=None)) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(3)))["id"])
        secure = server.store.secure

        async def cancel_meanwhile(*paths: Path) -> None:
            await raw("POST", f"/batches/{batch['id']}/cancel")
            await secure(*paths)

        monkeypatch.setattr(server.store, "secure", cancel_meanwhile)
        await server.advance(minutes=5)
        done = await raw.batch(batch["id"])
        assert done["status"] == "cancelled"
        assert len(records(await raw.content(done["output_file_id"]))) == 3 + 1


async def test_settling_waits_for_what_is_not_held_any_more(make_raw: MakeRaw) -> None:
    """A batch that was stuck and is cancelled is on its way again, which `settle` waits for."""
    timings = Timings(validating_s=0, line_s=0, cancelling_s=60)
    async with BatchServer(speed=600, faults=Fault.stuck("in_progress"), timings=timings) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(3)))["id"])
        await server.settle()
        assert (await raw.batch(batch["id"]))["status"] == "in_progress"
        await raw("POST", f"/batches/{batch['id']}/cancel")
        await server.settle()
        assert (await raw.batch(batch["id"]))["status"] == "cancelled"
