"""As many batches at once as the service takes, learned from what it refuses; and nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, strategies as st
from support import virtual_time
from support.job_parts import batch
from support.request_lines import write_requests

from openai_batches import BatchJob, PollPolicy, ShardLimits
from openai_batches.emulator import BatchServer
from openai_batches.jobs.admission import Admission, is_out_of_capacity, token_limit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from openai_batches import Batch, BatchSession


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Crowd:
    """Batches that want to be let in."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.tasks: list[asyncio.Task[bool]] = []

    async def come(self, count: int, model: str | None = "a") -> int:
        self.tasks += [asyncio.ensure_future(self.admission.acquire(model)) for _ in range(count)]
        return await self.let_in()

    async def let_in(self) -> int:
        """Return how many were let in so far."""
        await settle()
        return sum(task.done() and not task.cancelled() and task.result() for task in self.tasks)

    async def leave(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def crowd(**options: Any) -> Any:
    one = Crowd(Admission(**options))
    try:
        yield one
    finally:
        await one.leave()


class TestWindow:
    async def test_few_batches_are_sent_before_the_first_has_passed_validation(self) -> None:
        async with crowd() as them:
            assert await them.come(100) == 4

    async def test_more_are_sent_with_each_that_passes(self) -> None:
        async with crowd() as them:
            await them.come(100)
            await them.admission.mark_validated("a")
            assert await them.let_in() == 1 + 8
            await them.admission.mark_validated("a")
            assert await them.let_in() == 2 + 16

    async def test_one_that_was_not_created_gives_its_slot_to_another(self) -> None:
        async with crowd() as them:
            await them.come(5)
            await them.admission.release("a")
            assert await them.let_in() == 5

    async def test_one_that_ended_before_it_passed_gives_its_slot_back_too(self) -> None:
        """A batch may be cancelled, or found invalid, in validation."""
        async with crowd() as them:
            await them.come(5)
            await them.admission.mark_ended("a", was_validated=False)
            assert await them.let_in() == 5

    async def test_models_do_not_wait_for_each_other(self) -> None:
        async with crowd() as them:
            assert await them.come(9, "a") == 4
            assert await them.come(9, "b") == 8
            assert await them.come(9, None) == 12

    async def test_batches_of_an_earlier_life_count(self) -> None:
        async with crowd(max_open=6) as them:
            for is_validated in (True, True, False, False, False):
                them.admission.resume("a", is_validated=is_validated)
            assert await them.come(9) == 1, "one is left in the window"
            assert not them.admission.is_alone("a")
            assert await them.come(9, "b") == 1, "six are open"
            await them.admission.mark_ended("a", was_validated=True)
            assert await them.let_in() == 2


class TestFull:
    async def test_after_a_refusal_each_end_lets_one_in(self) -> None:
        async with crowd() as them:
            await them.come(100)
            for _ in range(3):
                await them.admission.mark_validated("a")
            inside = await them.let_in()
            await them.admission.mark_refused("a")
            assert await them.let_in() == inside
            await them.admission.mark_ended("a", was_validated=True)
            assert await them.let_in() == inside + 1
            await them.admission.mark_validated("a")
            assert await them.let_in() == inside + 1, "what passes frees no slot"

    async def test_a_place_is_kept_for_who_comes_later(self) -> None:
        async with crowd() as them:
            await them.come(3)
            await them.admission.mark_refused("a")
            await them.admission.mark_ended("a", was_validated=False)
            assert await them.come(5) == 4

    async def test_a_service_that_says_so_at_once_is_full_as_well(self) -> None:
        async with crowd() as them:
            assert await them.come(1) == 1
            them.admission.mark_full("a")
            await them.admission.release("a")
            assert await them.come(2) == 1
            assert await them.come(2, "b") == 3

    async def test_where_no_batch_of_ours_is_open_the_model_is_stuck(self) -> None:
        async with crowd() as them:
            await them.come(5)
            assert them.admission.stuck() == []
            for _ in range(3):
                await them.admission.mark_refused("a")
            assert them.admission.stuck() == [], "one is open yet"
            assert not them.admission.is_alone("a")
            await them.admission.mark_refused("a")
            assert them.admission.is_alone("a")
            assert them.admission.stuck() == ["a"]
            await them.admission.add_slots("a")
            assert await them.let_in() == 5
            assert them.admission.stuck() == []

    async def test_more_places_may_be_freed_at_once(self) -> None:
        async with crowd() as them:
            await them.come(9)
            for _ in range(4):
                await them.admission.mark_refused("a")
            await them.admission.add_slots("a", 3)
            assert await them.let_in() == 7

    async def test_slots_count_only_where_the_service_is_full(self) -> None:
        async with crowd() as them:
            await them.admission.add_slots("a", 100)
            assert await them.come(9) == 4

    async def test_one_that_gives_up_waiting_takes_no_place(self) -> None:
        async with crowd() as them:
            await them.come(5)
            waiting = next(task for task in them.tasks if not task.done())
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await them.admission.mark_refused("a")
            assert them.admission.stuck() == []
            await them.admission.add_slots("a")
            assert await them.come(1) == 5


class TestBounds:
    async def test_no_more_are_open_than_is_wanted_all_models_together(self) -> None:
        async with crowd(max_open=3) as them:
            assert await them.come(4, "a") == 3
            assert await them.come(4, "b") == 3
            await them.admission.mark_ended("a", was_validated=False)
            assert await them.let_in() == 4
            assert them.admission.stuck() == []

    async def test_when_it_is_closed_nobody_is_let_in(self) -> None:
        async with crowd() as them:
            assert await them.come(6) == 4
            await them.admission.close()
            assert await them.let_in() == 4
            assert all(task.done() for task in them.tasks)
            assert await them.come(1) == 4


@attrs.define
class Service:
    """Has capacity for some batches, and says so only when it has looked at them."""

    capacity: int
    running: int = 0
    refused: int = 0
    ended: int = 0
    created: int = 0
    most: int = 0
    is_open: int = 0
    most_open: int = 0
    unvalidated: int = 0


async def one_batch(admission: Admission, service: Service, validation_s: float, run_s: float) -> None:
    while await admission.acquire("a"):
        service.created += 1
        service.is_open += 1
        service.most_open = max(service.most_open, service.is_open)
        await asyncio.sleep(validation_s)
        if service.running >= service.capacity:
            if not service.refused:
                service.unvalidated = service.is_open - service.running
            service.refused += 1
            service.is_open -= 1
            await admission.mark_refused("a")
            continue
        service.running += 1
        service.most = max(service.most, service.running)
        await admission.mark_validated("a")
        await asyncio.sleep(run_s)
        service.running -= 1
        service.ended += 1
        service.is_open -= 1
        await admission.mark_ended("a", was_validated=True)
        return


async def probe(admission: Admission) -> int:
    freed = 0
    try:
        while True:
            await asyncio.sleep(15)
            for model in admission.stuck():
                freed += 1
                await admission.add_slots(model)
    except asyncio.CancelledError:
        return freed


times = st.floats(0.1, 500)


@given(
    capacity=st.integers(1, 12),
    batches=st.lists(st.tuples(times, times), min_size=1, max_size=40),
    others=st.lists(st.tuples(times, st.sampled_from([-1, 1, 2])), max_size=4),
    max_open=st.none() | st.integers(1, 10),
)
def test_a_service_with_little_capacity_is_not_flooded(
    capacity: int, batches: list[tuple[float, float]], others: list[tuple[float, int]], max_open: int | None
) -> None:
    """Each refusal after the first ones has a place behind it that was freed; and every batch gets its turn.

    The first ones were let in before anybody knew how much capacity there is. Other users take some and give it back.
    """
    service = Service(capacity)

    async def disturb() -> None:
        for after_s, change in others:
            await asyncio.sleep(after_s)
            service.capacity = max(service.capacity + change, 1)

    async def main() -> int:
        admission = Admission(max_open=max_open)
        prober, disturber = asyncio.ensure_future(probe(admission)), asyncio.ensure_future(disturb())
        await asyncio.wait_for(
            asyncio.gather(*(one_batch(admission, service, *plan) for plan in batches)), 100_000 * len(batches)
        )
        assert admission.is_alone("a")
        prober.cancel()
        freed = await prober
        await disturber
        return freed

    freed = virtual_time.run(main())
    assert service.ended == len(batches)
    assert service.created == service.ended + service.refused
    assert service.refused <= service.unvalidated + service.ended + freed
    assert max_open is None or service.most_open <= max_open


@given(capacity=st.integers(1, 20), count=st.integers(1, 60))
def test_with_equal_batches_only_those_are_refused_that_went_before_it_was_known(capacity: int, count: int) -> None:
    """From the first refusal on, one goes for each that has ended, and there is capacity for it."""
    service = Service(capacity)

    async def main() -> int:
        admission = Admission()
        prober = asyncio.ensure_future(probe(admission))
        await asyncio.gather(*(one_batch(admission, service, 3, 100) for _ in range(count)))
        prober.cancel()
        return await prober

    freed = virtual_time.run(main())
    assert freed == 0
    assert service.most == min(capacity, count), "all the capacity was used"
    # Never more were under way unvalidated than had been proven, doubled so often, and the first four.
    assert service.refused <= max(0, min(count, 4 * 2**capacity) - capacity)
    if count <= capacity:
        assert service.refused == 0


def test_a_thousand_batches_that_wait_cost_little() -> None:
    service = Service(5)

    async def main() -> None:
        admission = Admission()
        await asyncio.gather(*(one_batch(admission, service, 3, 100) for _ in range(1_000)))

    virtual_time.run(main())
    assert (service.ended, service.most) == (1_000, 5)


async def test_batches_that_run_from_the_start_give_their_slot_back(
    open_session: Callable[..., BatchSession], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some services have looked at the requests before they answer: nothing is left to be proven."""
    source = write_requests(tmp_path / "source.jsonl", map(str, range(12)))
    async with BatchServer(speed=1_000) as server:
        session = open_session(server)
        create = session.batches.create

        async def looked_at(**options: Any) -> Batch:
            batch = await create(**options)
            while batch.status == "validating":
                batch = await session.batches.retrieve(batch.id)
            return batch

        monkeypatch.setattr(session.batches, "create", looked_at)
        limits, poll = ShardLimits(max_requests=1), PollPolicy(min_delay_s=0.01, max_delay_s=0.02)
        async with BatchJob(session, source, limits=limits, poll=poll) as job:
            ledger = await asyncio.wait_for(job.run(), 60)
        assert (ledger.succeeded, len(ledger.shards)) == (12, 12)


class TestWords:
    """What services say when there is no capacity, or no quota."""

    @pytest.mark.parametrize(
        ("message", "limit"),
        [
            ("Enqueued token limit reached for gpt-4o in organization org-1. Limit: 90,000 enqueued tokens.", 90_000),
            ("Limit: 2,000,000. Please try again once some have completed.", 2_000_000),
            ("the limit:1_000.", 1_000),
            ("No limits are named", None),
            ("", None),
        ],
    )
    def test_the_limit_is_read_from_the_message(self, message: str, limit: int | None) -> None:
        assert token_limit(message) == limit

    @pytest.mark.parametrize(
        ("code", "is_out"), [("token_limit_exceeded", True), ("invalid_url", False), (None, False)]
    )
    def test_a_batch_was_refused_for_lack_of_capacity(self, code: str | None, is_out: bool) -> None:
        errors = {"object": "list", "data": [{"code": "other", "message": "x"}, {"code": code, "message": "x"}]}
        assert is_out_of_capacity(batch(status="failed", errors=errors)) is is_out
        assert not is_out_of_capacity(batch(status="failed"))
