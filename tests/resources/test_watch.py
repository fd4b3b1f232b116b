"""Several batches as they end, and one batch on its way: `as_completed` and `watch`."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from support.http_servers import CHAT, KEY, chat_lines
from support.polled_service import PolledService, nothing_is_asked, polling, record, seconds, settled
from support.virtual_time import in_virtual_time

from openai_batches import (
    BatchSession,
    BatchStatus,
    InputError,
    InternalServerError,
    NotFoundError,
    PollPolicy,
    WaitTimeoutError,
)
from openai_batches.emulator import BatchServer, Timings
from openai_batches.resources.wait import BatchChanges, CompletedBatches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_batches import Batch, BatchChange


@pytest.fixture
def service() -> PolledService:
    """A service in which nothing is yet."""
    return PolledService()


def completed(service: PolledService, *batches: Batch | str, timeout_s: float | None = None) -> CompletedBatches:
    return CompletedBatches(batches, poller=service.poller(), poll=None, timeout_s=timeout_s)


def changes(
    service: PolledService, batch: Batch | str = "b", *, stall_after_s: float | Mapping[str, float] | None = None
) -> BatchChanges:
    return BatchChanges(batch, poller=service.poller(), poll=None, stall_after_s=stall_after_s)


async def followed(walk: BatchChanges) -> list[tuple[int, str, int | None, bool]]:
    """When, and what, was told."""
    seen = []
    async for change in walk:
        counts = change.batch.request_counts
        seen.append(
            (round(seconds()), change.batch.status.value, counts.completed if counts else None, change.is_stall)
        )
    return seen


class TestAsCompleted:
    """Each batch as it ends."""

    @in_virtual_time
    async def test_in_the_order_of_their_ends(self, service: PolledService) -> None:
        """Those that have ended come at once, the others as they end, and doubles once."""
        late, soon = service.ending("late", 45), service.ending("soon", 15)
        ended = record("ended", "failed")
        ends = [(round(seconds()), one.id) async for one in completed(service, late, "soon", ended, soon, "late")]
        assert ends == [(0, "ended"), (20, "soon"), (50, "late")]
        await nothing_is_asked()

    @in_virtual_time
    async def test_nothing_is_asked_before_the_first_step(self, service: PolledService) -> None:
        """Making the iterator asks nothing, and one over nothing is over at once."""
        walk = completed(service, service.ending("b", 5))
        await asyncio.sleep(100)
        assert (service.asked, polling()) == ([], [])
        assert repr(walk) == "<CompletedBatches of 1 batches>"
        assert [one async for one in completed(service)] == []

    @in_virtual_time
    async def test_a_timeout_names_those_that_go_on(self, service: PolledService) -> None:
        """The time is counted from the first step; what has not ended is in the error, and the walk is over."""
        service.ending("soon", 15)
        for name in "abcd":
            service.ending(name, 1e9)
        walk = completed(service, *"abcd", "soon", timeout_s=25)
        assert (await anext(walk)).id == "soon"
        text = r"4 of 5 batches had not ended after 25 s \(a, b, c, …\); none was cancelled"
        with pytest.raises(WaitTimeoutError, match=text) as caught:
            await anext(walk)
        assert round(seconds()) == 25
        assert [batch.id for batch in caught.value.batches] == list("abcd")
        assert caught.value.batch is caught.value.batches[0]
        with pytest.raises(StopAsyncIteration):
            await anext(walk)
        await nothing_is_asked()

    @in_virtual_time
    async def test_a_timeout_before_anything_was_seen(self, service: PolledService) -> None:
        """Of ids alone nothing is known before the first answer."""
        service.ending("b", 1e9)
        service.latency_s = 10
        with pytest.raises(WaitTimeoutError, match=r"1 of 1 batches had not ended after 5 s \(b\)") as caught:
            await anext(completed(service, "b", timeout_s=5))
        assert (caught.value.batch, caught.value.batches) == (None, ())

    @in_virtual_time
    async def test_an_error_about_one_leaves_the_others(self, service: PolledService) -> None:
        """It is raised in its turn, and the next step waits for the others."""
        walk = completed(service, service.ending("b", 15), "nowhere")
        with pytest.raises(NotFoundError):
            await anext(walk)
        assert [one.id async for one in walk] == ["b"]

    @in_virtual_time
    async def test_leaving_the_loop_ends_the_waiting(self, service: PolledService) -> None:
        """Neither a loop that is left nor one that is closed asks any more."""
        batches = [service.ending("b", 5), service.ending("c", 1e9)]
        async for one in completed(service, *batches):
            assert one.id == "b"
            break
        await nothing_is_asked()
        walk = completed(service, *batches)
        await anext(walk)
        await walk.aclose()
        assert [one async for one in walk] == []
        unused = completed(service, *batches)
        await unused.aclose()
        assert [one async for one in unused] == []
        await nothing_is_asked()

    @in_virtual_time
    async def test_tasks_can_share_a_walk(self, service: PolledService) -> None:
        """Each batch goes to one of them, and at the end all of them stop."""
        walk = completed(service, *(service.ending(f"b{number}", 5 * number) for number in range(10)))

        async def worker() -> list[str]:
            return [one.id async for one in walk]

        taken = await asyncio.gather(*(worker() for _ in range(3)))
        assert sorted(itertools.chain(*taken)) == sorted(service.lives)

    @pytest.mark.parametrize(
        ("batches", "message"),
        [
            ("batch_1", "takes several batches or ids, not one str"),
            (record(), "takes several batches or ids, not one Batch"),
            (5, "takes several batches or ids, not one int"),
            ([b"batch_1"], "batch_id must be a str, not bytes"),
            ([""], "batch_id must not be empty"),
        ],
    )
    def test_what_it_cannot_take(self, batches: Any, message: str) -> None:
        """One batch in place of several, or something else, is refused where it is written."""
        with pytest.raises(InputError, match=message):
            CompletedBatches(batches, poller=PolledService().poller(), poll=None, timeout_s=None)


class TestWatch:
    """One batch on its way."""

    @in_virtual_time
    async def test_the_present_state_then_each_change(self, service: PolledService) -> None:
        """What does not change is not told, and the last change is the end."""
        service.add(
            (-1e9, record("b", "validating", total=0)),
            (15, record("b", "in_progress", 0)),
            (25, record("b", "in_progress", 50)),
            (75, record("b", "finalizing", 100)),
            (85, record("b", "completed", 100)),
        )
        walk = changes(service, record("b", "validating", total=0))
        assert repr(walk) == "<BatchChanges b>"
        assert await followed(walk) == [
            (0, "validating", 0, False),
            (20, "in_progress", 0, False),
            (30, "in_progress", 50, False),
            (80, "finalizing", 100, False),
            (90, "completed", 100, False),
        ]
        await nothing_is_asked()

    @in_virtual_time
    async def test_a_change_knows_what_was_before(self, service: PolledService) -> None:
        """With each change come the batch before it, and how long things were as they were."""
        service.add(
            (-1e9, record(done=5, in_progress=-100)),
            (15, record(done=9, in_progress=-100)),
            (35, record("b", "cancelled", 9, cancelled=33)),
        )
        first, second, third = [change async for change in changes(service)]
        assert first.previous is None
        assert second.previous is first.batch
        assert third.previous is second.batch
        ages = [change.in_status_s for change in (first, second, third)]
        assert ages == pytest.approx([100, 120, 7], abs=0.3)
        assert [one.unchanged_s for one in (first, second, third)] == pytest.approx([0, 20, 20], abs=0.3)

    @in_virtual_time
    async def test_one_that_has_ended_is_one_change(self, service: PolledService) -> None:
        """It is told without asking."""
        ended = record("b", "expired")
        assert [change.batch async for change in changes(service, ended)] == [ended]
        assert service.asked == []

    @in_virtual_time
    async def test_a_stall_is_told_and_told_again(self, service: PolledService) -> None:
        """Once it has lasted so long, and after each further such time; a change begins anew."""
        service.add(
            (-1e9, record(done=1)),
            (105, record(done=2)),
            (145, record("b", "finalizing", 2)),
            (195, record("b", "completed", 2)),
        )
        told: list[BatchChange] = []
        walk = changes(service, stall_after_s=45)
        seen = []
        async for change in walk:
            told.append(change)
            seen.append((round(seconds()), change.batch.status.value, change.is_stall))
        assert seen == [
            (0, "in_progress", False),
            (45, "in_progress", True),
            (90, "in_progress", True),
            (111, "in_progress", False),
            (151, "finalizing", False),
            (196, "finalizing", True),
            (201, "completed", False),
        ]
        stall = told[2]
        assert stall.previous is stall.batch
        assert (stall.unchanged_s, stall.in_status_s) == pytest.approx((90, 90), abs=0.1)

    @in_virtual_time
    async def test_what_has_stalled_already_is_told_at_once(self, service: PolledService) -> None:
        """Where no request has an answer, the stall began with the status, long before the watching."""
        service.add((-1e9, record("b", "validating", total=0, created_s=-5_000)), (25, record("b", "failed")))
        assert await followed(changes(service, stall_after_s=3_600)) == [
            (0, "validating", 0, False),
            (0, "validating", 0, True),
            (30, "failed", 0, False),
        ]

    @in_virtual_time
    async def test_stalls_of_some_statuses_alone(self, service: PolledService) -> None:
        """A mapping says for each status how long is too long; others may take their time."""
        service.add(
            (-1e9, record("b", "validating", total=0)),
            (45, record("b", "in_queue", total=0)),
            (500, record("b", "completed")),
        )
        spans = {BatchStatus.VALIDATING: 20, "in_queue": 300.0}
        assert await followed(changes(service, stall_after_s=spans)) == [
            (0, "validating", 0, False),
            (20, "validating", 0, True),
            (40, "validating", 0, True),
            (50, "in_queue", 0, False),
            (350, "in_queue", 0, True),
            (503, "completed", 0, False),
        ]

    @in_virtual_time
    async def test_an_error_ends_it(self, service: PolledService) -> None:
        """What does not pass is raised, and the walk is over; leaving it ends the watching."""
        walk = changes(service, "nowhere")
        with pytest.raises(NotFoundError):
            await anext(walk)
        assert [change async for change in walk] == []
        service.ending("b", 1e9)
        walk = changes(service)
        await anext(walk)
        await walk.aclose()
        assert [change async for change in walk] == []
        walk = changes(service)
        await anext(walk)
        del walk
        await nothing_is_asked()

    @in_virtual_time
    async def test_a_failed_poll_is_no_change(self, service: PolledService) -> None:
        """A service in trouble delays the news, nothing else."""
        service.ending("b", 25)
        service.fault = lambda _: InternalServerError("oops", status=500) if 5 < seconds() < 35 else None
        assert await followed(changes(service)) == [(0, "in_progress", 0, False), (40, "completed", 100, False)]

    @pytest.mark.parametrize("wrong", [0, -1, "soon", float("nan"), {"validating": 0}])
    def test_a_stall_that_is_none(self, wrong: Any) -> None:
        """A stall takes a time above 0."""
        with pytest.raises(InputError, match="stall_after must be seconds above 0"):
            changes(PolledService(), stall_after_s=wrong)


class TestWithAService:
    """Through a session, with a server."""

    async def test_batches_end_one_after_the_other(self) -> None:
        """A session's batches come as they end, a watch sees the states between, and cancelling is news at once."""
        timings = Timings(validating_s=30, line_s=60, finalizing_s=30)
        async with (
            BatchServer(speed=600, timings=timings) as server,
            BatchSession(KEY, base_url=server.base_url, poll=PollPolicy.every(0.02)) as session,
        ):
            batches = []
            for lines in (2, 1):
                file = await session.files.create(chat_lines(lines), filename="a.jsonl")
                batches.append(await session.batches.create(input_file_id=file.id, endpoint=CHAT))
            cancelled = await session.batches.create(input_file_id=file.id, endpoint=CHAT)
            watching = asyncio.create_task(statuses(session, batches[0]))
            rarely = session.batches.watch(cancelled, poll=3_600)
            assert (await anext(rarely)).previous is None
            stopping = await session.batches.cancel(cancelled.id)
            assert (await anext(rarely)).batch is stopping
            session.batches.wake(cancelled.id)
            session.batches.wake("batch_of_nobody")
            ended = [batch.id async for batch in session.batches.as_completed(batches, timeout=60)]
            assert sorted(ended) == sorted(batch.id for batch in batches)
            seen = await watching
            assert seen[-1] == "completed"
            assert set(seen) <= {"validating", "in_progress", "finalizing", "completed"}
        assert polling() == []

    async def test_a_session_that_closes_while_somebody_waits(self) -> None:
        """Who waits is told, and a session nobody waited in closes as ever; waking is no call to the service."""
        async with BatchServer(speed=0.001) as server:
            session = BatchSession(KEY, base_url=server.base_url)
            session.batches.wake("b")
            file = await session.files.create(chat_lines(1), filename="a.jsonl")
            batch = await session.batches.create(input_file_id=file.id, endpoint=CHAT)
            waiting = asyncio.create_task(session.batches.wait(batch))
            await settled()
            assert len(polling()) == 1
            await session.close()
            with pytest.raises(InputError, match="The session was closed while"):
                await waiting
            assert polling() == []
            with pytest.raises(InputError, match="closed"):
                await session.batches.wait(batch)


async def statuses(session: BatchSession, batch: Batch) -> list[str]:
    return [change.batch.status.value async for change in session.batches.watch(batch, stall_after=1_000)]
