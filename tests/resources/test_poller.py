"""The one poller behind all who wait: what it asks, how often, whom it tells, and what it leaves behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, strategies as st
from support import virtual_time
from support.polled_service import LATENCY_S, PolledService, nothing_is_asked, polling, record, seconds
from support.virtual_time import in_virtual_time

from openai_batches import (
    AuthenticationError,
    Batch,
    BatchesError,
    DecodeError,
    InputError,
    InternalServerError,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    PollPolicy,
    TransportError,
)
from openai_batches.resources.wait import wait_for_end

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from openai_batches.resources.poller import Poller
    from openai_batches.resources.progress import BatchUpdate

ADAPTIVE = PollPolicy(jitter=0)
DOWN = InternalServerError("down", status=503)


@pytest.fixture
def service() -> PolledService:
    """A service in which nothing is yet."""
    return PolledService()


@pytest.fixture
def poller(service: PolledService) -> Poller:
    """Asks that service as it does where nothing else is said."""
    return service.poller()


def waiter(
    poller: Poller, batch: Batch | str, *, timeout_s: float | None = None, poll: PollPolicy | None = None
) -> Coroutine[Any, Any, Batch]:
    return wait_for_end(batch, poller=poller, poll=poll, timeout_s=timeout_s)


class TestRounds:
    """How many requests it takes."""

    @in_virtual_time
    async def test_a_thousand_batches_take_eleven_requests_a_round(self, service: PolledService) -> None:
        """Many batches are looked for in the list, a hundred a page, and each is told of within one interval."""
        batches = [service.ending(f"b{number}", 5 + number / 25) for number in range(1_000)]
        poller = service.poller(PollPolicy(min_delay_s=10, max_delay_s=10, jitter=0.1))
        ends: dict[str, float] = {}

        async def one(batch: Batch) -> None:
            ended = await waiter(poller, batch)
            ends[ended.id] = seconds()

        await asyncio.gather(*map(one, batches))
        assert all(0 <= ends[f"b{number}"] - (5 + number / 25) <= 10.6 for number in range(1_000))
        assert max(service.per_round()) <= 11
        assert len(service.asked) < 60
        assert polling() == []

    @in_virtual_time
    async def test_few_batches_are_asked_about_one_by_one(self, service: PolledService, poller: Poller) -> None:
        """A page of the list is dearer than ten questions."""
        await asyncio.gather(*(waiter(poller, service.ending(f"b{number}", 12)) for number in range(10)))
        assert service.questions() == {f"b{number}": 3 for number in range(10)}
        assert service.most_flying <= 8

    @in_virtual_time
    async def test_one_batch_with_many_waiters_is_asked_about_once(
        self, service: PolledService, poller: Poller
    ) -> None:
        """A thousand who wait for one batch are told by the same answers."""
        batch = service.ending("b", 25)
        ended = await asyncio.gather(*(waiter(poller, batch if number % 2 else "b") for number in range(1_000)))
        assert {one.status for one in ended} == {"completed"}
        assert service.questions() == {"b": 4}

    @in_virtual_time
    async def test_times_that_lie_close_together_are_one_round(self, service: PolledService) -> None:
        """Batches that were begun at slightly different times are soon asked about together."""
        poller = service.poller(PollPolicy(min_delay_s=10, max_delay_s=10, jitter=0.1))
        waiting = []
        for number in range(200):
            waiting.append(asyncio.create_task(waiter(poller, service.ending(f"b{number}", 100))))
            await asyncio.sleep(0.01)
        await asyncio.gather(*waiting)
        later = Counter(int(at_s) for at_s, _ in service.asked if at_s > 15)
        assert max(later.values()) <= 3

    @in_virtual_time
    async def test_batches_hidden_behind_too_many_others(self, service: PolledService, poller: Poller) -> None:
        """Paging stops when it gets dearer than asking one by one, and is not tried in vain again and again."""
        ours = [service.ending(f"b{number}", 35) for number in range(20)]
        for number in range(2_000):
            service.ending(f"foreign{number}", 1e9)
        await asyncio.gather(*(waiter(poller, batch) for batch in ours))
        asked = service.questions()
        assert {asked[batch.id] for batch in ours} == {5}
        assert sum(asked.values()) - 100 == 2

    @in_virtual_time
    async def test_where_batches_are_in_the_list_is_learnt(self, service: PolledService) -> None:
        """Old batches behind many newer ones of ours are found with them, and asked about alone when due alone."""
        old = [service.ending(f"old{number}", 95) for number in range(15)]
        new = [service.ending(f"new{number}", 95) for number in range(385)]
        poller = service.poller(PollPolicy.every(30))
        eager = [waiter(poller, batch, poll=PollPolicy.every(5)) for batch in old]
        await asyncio.gather(*eager, *(waiter(poller, batch) for batch in new))
        in_rounds = Counter(int(at_s) for at_s, _ in service.asked)
        assert set(in_rounds.values()) <= {4, 15}
        assert in_rounds[0] == 4

    @in_virtual_time
    async def test_a_list_that_lags_behind_takes_nothing_back(self, service: PolledService, poller: Poller) -> None:
        """What the list shows of an earlier state is no news, and an end that it does not show yet is found in time."""
        service.list_lag_s = 25
        lives = [(-1e9, 0), (10, 10), (20, 20), (30, 30), (40, 40)]
        for number in range(20):
            name = f"b{number}"
            service.add(*((at_s, record(name, done=done)) for at_s, done in lives), (50, record(name, "expired", 40)))
        watch = poller.watch()
        for name in service.lives:
            watch.add(name)
        seen: dict[str, list[Batch]] = {}
        await asyncio.sleep(33)
        poller.wake("b3")
        while watch:
            update = await watch.next_update()
            seen.setdefault(update.batch_id, []).append(update.batch)
        counts = [batch.request_counts.completed for batch in seen["b3"] if batch.request_counts]
        assert counts == sorted(counts)
        assert counts.count(30) == 1
        assert all(batches[-1].status == "expired" for batches in seen.values())


class TestPace:
    """How often a batch is asked about."""

    @in_virtual_time
    async def test_the_end_is_foreseen_from_the_counts(self, service: PolledService) -> None:
        """An old batch that makes progress is asked about more often as its end comes near."""
        begun = {"created_s": -36_000.0, "in_progress": -36_000.0}
        lives = [(second * 10.0, record(done=second, total=500, **begun)) for second in range(500)]
        service.add((-1e9, record(total=500, **begun)), *lives, (5_000, record("b", "completed", 500)))
        await waiter(service.poller(ADAPTIVE), "b")
        times = [at_s for at_s, _ in service.asked]
        pauses = [round(later - earlier - LATENCY_S, 3) for earlier, later in pairwise(times)]
        assert max(pauses) == 300
        assert pauses[-1] <= 15
        assert seconds() - 5_000 <= 15
        assert len(times) < 60

    @in_virtual_time
    async def test_the_last_request_that_never_ends(self, service: PolledService) -> None:
        """A batch that stands still just before its end is asked about ever less."""
        service.add(
            (-1e9, record(done=500, total=1_000, in_progress=0)),
            (60, record(done=999, total=1_000, in_progress=0)),
            (36_000, record("b", "completed", 1_000)),
        )
        await waiter(service.poller(ADAPTIVE), "b")
        assert len(service.asked) < 300
        late = [at_s for at_s, _ in service.asked if at_s > 30_000]
        assert min(later - earlier for earlier, later in pairwise(late)) > 30

    @pytest.mark.parametrize("status", ["finalizing", "cancelling", "in_progress"])
    @in_virtual_time
    async def test_an_ending_is_looked_at_closely(self, status: str, service: PolledService) -> None:
        """Batches that are finalizing, cancelling or fully answered are asked about as often as young ones."""
        old = {"created_s": -80_000.0, "in_progress": -80_000.0}
        ending = record("b", status, 100, **old, **({} if status == "in_progress" else {status: 0.0}))
        service.add((-1e9, ending), (60, record("b", "cancelled", 100)))
        await waiter(service.poller(ADAPTIVE), "b")
        assert [at_s for at_s, _ in service.asked] == pytest.approx([5.05 * number for number in range(13)], abs=0.2)

    @in_virtual_time
    async def test_a_long_ending_is_asked_about_less(self, service: PolledService) -> None:
        """The closer look relaxes with the time that the ending takes."""
        old = {"created_s": -80_000.0}
        service.add(
            (-1e9, record(**old)),
            (1, record("b", "finalizing", 100, **old)),
            (20_000, record("b", "completed", 100)),
        )
        await waiter(service.poller(ADAPTIVE), "b")
        assert len(service.asked) < 170

    @in_virtual_time
    async def test_the_most_eager_waiter_decides(self, service: PolledService) -> None:
        """One who joins with a shorter interval speeds it up for as long as he waits."""
        service.ending("b", 205)
        poller = service.poller(PollPolicy.every(100))
        patient = asyncio.create_task(waiter(poller, "b"))
        await asyncio.sleep(20)
        with pytest.raises(TimeoutError):
            await waiter(poller, "b", timeout_s=35, poll=PollPolicy.every(10))
        await patient
        assert [round(at_s) for at_s, _ in service.asked] == [0, 20, 30, 40, 50, 60, 160, 260]

    @in_virtual_time
    async def test_one_who_joins_soon_after_a_question_is_told_its_answer(
        self, service: PolledService, poller: Poller
    ) -> None:
        """The present state that is known is not asked for again."""
        service.ending("b", 5)
        first, second = poller.watch(), poller.watch()
        first.add("b")
        await asyncio.sleep(3)
        second.add("b")
        second.add("b")
        assert (await second.next_update()).batch.status == "in_progress"
        assert (await second.next_update()).batch.status == "completed"
        assert (len(first), len(second)) == (1, 0)
        assert [(await first.next_update()).is_last for _ in range(2)] == [False, True]
        assert not first
        assert len(service.asked) == 2


class TestWake:
    """Being told from outside that there is something to see."""

    @in_virtual_time
    async def test_a_batch_is_asked_about_at_once(self, service: PolledService) -> None:
        """A wake does not wait for the interval; nobody's batch is not asked about."""
        service.ending("b", 20)
        poller = service.poller(PollPolicy.every(300))
        waiting = asyncio.create_task(waiter(poller, "b"))
        await asyncio.sleep(21)
        poller.wake("nobody's")
        poller.wake("b")
        await waiting
        assert seconds() == pytest.approx(21.05)
        poller.wake("b")
        await asyncio.sleep(1_000)
        assert service.questions() == {"b": 2}

    @in_virtual_time
    async def test_a_wake_during_a_question_asks_again(self, service: PolledService) -> None:
        """The answer under way may be older than what the wake is about."""
        service.ending("b", 1_000)
        poller = service.poller(PollPolicy.every(300))
        waiting = asyncio.create_task(waiter(poller, "b"))
        await asyncio.sleep(0.02)
        service.ending("b", seconds() + 0.04)  # after the answer under way
        poller.wake("b")
        await waiting
        assert [at_s for at_s, _ in service.asked] == [0, 0.05]

    @in_virtual_time
    async def test_a_wake_that_comes_before_the_end_can_be_seen(self, service: PolledService) -> None:
        """After a wake the batch is asked about as often as a young one, in case readers are behind."""
        service.ending("b", 112, created_s=-86_400)
        poller = service.poller(ADAPTIVE)
        waiting = asyncio.create_task(waiter(poller, "b"))
        await asyncio.sleep(100)
        poller.wake("b")
        await waiting
        assert seconds() < 118

    @in_virtual_time
    async def test_a_wake_during_a_walk_through_the_list(self, service: PolledService) -> None:
        """Also one of many that are looked for in the list is asked about again, alone."""
        batches = [service.ending(f"b{number}", 1_000) for number in range(300)]
        poller = service.poller(PollPolicy.every(300))
        watch = poller.watch(only_ends=True)
        for batch in batches:
            watch.add(batch)
        await asyncio.sleep(0.12)
        poller.wake("b299")
        await asyncio.sleep(1)
        assert service.questions()["b299"] == 1
        assert len(service.asked) == 4
        watch.close()

    @in_virtual_time
    async def test_what_another_call_shows_is_news_too(self, service: PolledService, poller: Poller) -> None:
        """A record that came otherwise is told of at once, unless it is older or nobody waits."""
        service.ending("b", 1e9)
        poller.note(record("nobody's"))
        watch = poller.watch()
        watch.add("b")
        poller.note(record())
        assert (await watch.next_update()).previous is None
        await asyncio.sleep(1)
        poller.note(record(done=0))
        poller.note(record("b", "validating"))
        cancelling = record("b", "cancelling", 3)
        poller.note(cancelling)
        assert (await watch.next_update()).batch is cancelling
        cancelled = attrs.evolve(record("b", "cancelled", 3))
        other = poller.watch()
        other.add(cancelled)
        assert (await other.next_update()).batch is cancelled
        assert (await watch.next_update()).batch is cancelled
        assert not watch
        await nothing_is_asked()


class TestFailures:
    """A failed question is not a failed batch."""

    @in_virtual_time
    async def test_a_list_that_fails_in_passing(
        self, caplog: pytest.LogCaptureFixture, service: PolledService, poller: Poller
    ) -> None:
        """Its batches are asked about at their next time, not one by one; the log has one line for all of them."""
        batches = [service.ending(f"b{number}", 15) for number in range(50)]
        service.fault = lambda _: DOWN if seconds() < 25 else None
        await asyncio.gather(*(waiter(poller, batch) for batch in batches))
        assert service.questions() == {"list after None": 4}
        assert caplog.text.count("could not be looked at") == 3

    @pytest.mark.parametrize(
        "error", [PaginationError("lies"), NotFoundError("no list", status=404), DecodeError("no page")]
    )
    @in_virtual_time
    async def test_a_list_that_is_of_no_use(self, error: Exception, service: PolledService, poller: Poller) -> None:
        """Where the list cannot be followed, the batches are asked about one by one, this time and later."""
        batches = [service.ending(f"b{number}", 15) for number in range(50)]
        service.fault = lambda question: error if question.startswith("list") else None
        await asyncio.gather(*(waiter(poller, batch) for batch in batches))
        assert service.questions() == {"list after None": 1} | {f"b{number}": 3 for number in range(50)}

    @in_virtual_time
    async def test_a_list_that_shows_nothing(self) -> None:
        """Batches that are not in a whole list are not looked for in it again."""
        service = PolledService()
        batches = [service.ending(f"b{number}", 15) for number in range(50)]
        shown = PolledService()
        poller = service.poller()
        poller._reader._list_batches = shown.list_batches
        await asyncio.gather(*(waiter(poller, batch) for batch in batches))
        assert len(shown.asked) == 1
        assert len(service.asked) == 150

    @pytest.mark.parametrize("question", ["list", "b"])
    @in_virtual_time
    async def test_a_key_that_is_refused(self, question: str, service: PolledService, poller: Poller) -> None:
        """A refused key ends all waiting, without asking for every batch."""
        refused = AuthenticationError("revoked", status=401)
        service.fault = lambda asked: refused if asked.startswith(question) else PaginationError("of no use")
        batches = [service.ending(f"b{number}", 15) for number in range(100)]
        ends = await asyncio.gather(*(waiter(poller, batch) for batch in batches), return_exceptions=True)
        assert set(ends) == {refused}
        assert len(service.asked) <= 9
        await nothing_is_asked()

    @in_virtual_time
    async def test_what_is_forbidden_for_one_batch(self, service: PolledService, poller: Poller) -> None:
        """An error about one batch ends its waiters alone, all of them."""
        forbidden = PermissionDeniedError("no", status=403)
        service.fault = lambda question: forbidden if question == "b1" and seconds() > 10 else None
        batches = [service.ending(f"b{number % 3}", 25) for number in range(6)]
        ends = await asyncio.gather(*(waiter(poller, batch) for batch in batches), return_exceptions=True)
        assert [getattr(end, "status", None) for end in ends] == ["completed", 403, "completed"] * 2

    @in_virtual_time
    async def test_a_service_that_is_down_is_not_asked_about_all(self, service: PolledService, poller: Poller) -> None:
        """After a few failures the others are left for the next time, in which those that failed come last."""
        service.fault = lambda question: DOWN if question != "b99" or seconds() < 5 else None
        poller._reader._pages = dict.fromkeys((f"b{number}" for number in range(100)), float("inf"))
        watch = poller.watch(only_ends=True)
        for number in range(100):
            watch.add(service.ending(f"b{number}", 0 if number == 99 else 1e9))
        assert (await watch.next_update()).batch_id == "b99"
        assert max(service.per_round()) <= 15  # eight failed, and seven were under way
        assert seconds() < 10 * 100 / 8 + 10
        watch.close()
        assert (poller._reader._pages, poller._reader._failures) == ({}, {})

    @in_virtual_time
    async def test_a_mistake_in_a_question_reaches_those_who_wait(self, service: PolledService, poller: Poller) -> None:
        """Whatever is raised, nobody waits for ever: not even a failure of the list that nobody thought of."""
        mistake = ZeroDivisionError("oops")
        service.fault = lambda _: mistake
        batches = [service.ending(f"b{number}", 15) for number in range(50)]
        ends = await asyncio.gather(*(waiter(poller, batch) for batch in batches), return_exceptions=True)
        assert set(ends) == {mistake}
        with pytest.raises(ZeroDivisionError):
            await waiter(poller, "b1")

    @in_virtual_time
    async def test_a_mistake_in_the_middle_of_a_list(self, service: PolledService, poller: Poller) -> None:
        """It ends the waiting for those that were still to come, not for those that were seen."""
        service.fault = lambda question: ZeroDivisionError("oops") if "after b" in question else None
        batches = [service.ending(f"b{number}", 0) for number in range(200)]
        ends = await asyncio.gather(*(waiter(poller, batch) for batch in batches), return_exceptions=True)
        assert sum(isinstance(end, ZeroDivisionError) for end in ends) == 100
        assert [getattr(end, "status", None) for end in ends[100:]] == ["completed"] * 100

    @in_virtual_time
    async def test_a_poller_that_is_broken_off_says_so(self, service: PolledService, poller: Poller) -> None:
        """If the task behind the waiting is cancelled from outside, or dies, the waiters know; others begin anew."""
        batch = service.ending("b", 15)
        waiting = asyncio.create_task(waiter(poller, batch))
        await asyncio.sleep(1)
        polling()[0].cancel()
        with pytest.raises(BatchesError, match=r"broken off, the batch was not cancelled: cancelled"):
            await waiting
        waiting = asyncio.create_task(waiter(poller, batch))
        await asyncio.sleep(1)
        poller._open["b"].due_s = "soon"  # type: ignore[assignment]
        poller._alarm.set()
        with pytest.raises(BatchesError, match="broken off"):
            await waiting
        assert (await waiter(poller, batch)).status == "completed"


class TestComingAndGoing:
    """Nobody is forgotten, nothing is left."""

    @in_virtual_time
    async def test_a_waiter_that_goes_is_gone_alone(self, service: PolledService, poller: Poller) -> None:
        """A timeout or a cancellation ends one waiter; the other one is told as if nothing had been."""
        batch = service.ending("b", 45)
        stays = asyncio.create_task(waiter(poller, batch))
        goes = asyncio.create_task(waiter(poller, batch))
        with pytest.raises(TimeoutError):
            await waiter(poller, batch, timeout_s=12)
        goes.cancel()
        assert (await stays).status == "completed"
        assert [round(at_s) for at_s, _ in service.asked] == [0, 10, 20, 30, 40, 50]
        await nothing_is_asked()

    @in_virtual_time
    async def test_the_last_one_to_go_ends_a_question_under_way(self, service: PolledService, poller: Poller) -> None:
        """Nothing runs for nobody, and a newcomer in the same moment is served by a new task."""
        service.ending("b", 0)
        first = poller.watch()
        first.add("b")
        await asyncio.sleep(0.02)
        first.close()
        first.close()
        second = poller.watch()
        second.add("b")
        assert len(polling()) == 2
        assert (await second.next_update()).batch.status == "completed"
        await nothing_is_asked()
        assert service.flying == 0

    @in_virtual_time
    async def test_a_batch_let_go_and_taken_up_again_during_a_round(
        self, service: PolledService, poller: Poller
    ) -> None:
        """An answer to a question asked for somebody who left is still an answer, an error is not."""
        service.fault = lambda question: DOWN if question == "bad" and seconds() < 0.06 else None
        watch, other = poller.watch(), poller.watch()
        for name in ("good", "bad", "stays", "gone"):
            service.ending(name, 15)
            watch.add(name)
        other.add("stays")
        await asyncio.sleep(0.02)
        watch.close()
        other.add("good")
        other.add("bad")
        told = [await other.next_update() for _ in range(6)]
        assert Counter((update.batch_id, update.batch.status.value) for update in told) == {
            (name, status): 1 for name in ("good", "bad", "stays") for status in ("in_progress", "completed")
        }

    @in_virtual_time
    async def test_an_answer_for_somebody_who_left_is_not_that_of_the_next(
        self, service: PolledService, poller: Poller
    ) -> None:
        """While a newcomer's own question is under way, an older answer neither ends it nor has it asked twice."""
        service.ending("b", 1e9)
        service.ending("stays", 1e9)
        stays, goes, comes = poller.watch(), poller.watch(), poller.watch()
        stays.add("stays")
        goes.add("b")
        await asyncio.sleep(0.02)
        goes.close()
        comes.add("b")
        await asyncio.sleep(0.01)
        poller.wake("b")
        await asyncio.sleep(1)
        assert [at_s for at_s, question in service.asked if question == "b"] == [0, 0.02, 0.07]
        stays.close()
        comes.close()

    @in_virtual_time
    async def test_closing_tells_all_who_wait(self, service: PolledService, poller: Poller) -> None:
        """A closed session ends the waiting with words, leaves nothing running, and lets nobody begin."""
        batch = service.ending("b", 1e9)
        waiting = [asyncio.create_task(waiter(poller, batch)) for _ in range(3)]
        await asyncio.sleep(10.02)
        await poller.close()
        assert polling() == []
        for one in waiting:
            with pytest.raises(InputError, match="session was closed while the batch was waited for"):
                await one
        with pytest.raises(InputError, match="The session is closed"):
            await waiter(poller, "b")
        ended = record("b", "failed")
        watch = poller.watch()
        watch.add(ended)
        assert (await watch.next_update()).batch is ended
        await poller.close()

    def test_a_watch_dropped_after_its_loop(self) -> None:
        """A watch that is closed when the event loop is gone makes no noise."""
        service = PolledService()
        service.ending("b", 1e9)

        async def main() -> Any:
            poller = service.poller()
            watch = poller.watch()
            watch.add("b")
            await asyncio.sleep(15)
            task = poller._task
            assert task is not None
            task.remove_done_callback(poller._stopped)
            return watch

        virtual_time.run(main()).close()


@given(data=st.data())
def test_every_end_is_told_in_time_whatever_comes_and_goes(data: st.DataObject) -> None:
    """Waiters come and go, questions take long and fail, wakes come at any time: each end is told to each who stays."""
    number = data.draw(st.integers(1, 30), label="batches")
    ends = [data.draw(st.floats(0, 200), label="end") for _ in range(number)]
    moves = data.draw(
        st.lists(
            st.tuples(
                st.floats(0, 8), st.sampled_from(["join", "leave", "wake", "slow", "fail"]), st.integers(0, number - 1)
            ),
            max_size=40,
        ),
        label="moves",
    )

    async def main() -> None:
        service = PolledService()
        for index, end in enumerate(ends):
            service.ending(f"b{index}", end)
        poller = service.poller(PollPolicy.every(10))
        told: list[tuple[str, float, float]] = []

        async def stay(index: int) -> None:
            joined_s = seconds()
            ended = await waiter(poller, service.lives[f"b{index}"][0][1])
            told.append((ended.id, max(joined_s, ends[index]), seconds()))

        stayers = [asyncio.create_task(stay(index)) for index in range(0, number, 2)]
        leavers: list[asyncio.Task[Batch]] = []
        failing_until_s = 0.0
        service.fault = lambda _: TransportError("cut") if seconds() < failing_until_s else None
        for pause_s, move, index in moves:
            await asyncio.sleep(pause_s)
            if move == "join":
                stayers.append(asyncio.create_task(stay(index)))
            elif move == "leave":
                leavers.append(asyncio.create_task(waiter(poller, service.lives[f"b{index}"][0][1])))
            elif move == "wake":
                poller.wake(f"b{index}")
            elif move == "slow":
                service.latency_s = 0.05 if service.latency_s > 1 else 3.0
            else:
                failing_until_s = seconds() + 5
            if move == "wake" and leavers:
                leavers.pop().cancel()
        await asyncio.gather(*stayers)
        for leaver in leavers:
            leaver.cancel()
        await asyncio.gather(*leavers, return_exceptions=True)
        # An interval, a question in vain and one that began too early, each as slow as it gets, on few places.
        worst_s = max((told_s - end_s for _, end_s, told_s in told), default=0)
        slowest_s = 3.0 if any(move == "slow" for _, move, _ in moves) else 0.05
        failing_s = sum(5 + 10 for _, move, _ in moves if move == "fail")
        assert worst_s <= 10 + 2 * slowest_s * (1 + number / 8) + failing_s + 10 * (slowest_s > 1) + 0.1
        await nothing_is_asked()
        assert service.flying == 0

    virtual_time.run(main())


def test_an_update_is_a_batch_or_an_error() -> None:
    """BatchUpdate holds the batch or raises what came in its place."""

    async def main() -> BatchUpdate:
        service = PolledService()
        watch = service.poller().watch()
        watch.add("nowhere")
        assert "nowhere" in watch
        assert watch.seen("nowhere") is None
        update = await watch.next_update()
        assert "nowhere" not in watch
        return update

    update = virtual_time.run(main())
    assert update.is_last
    with pytest.raises(NotFoundError):
        _ = update.batch
