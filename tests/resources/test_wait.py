"""Waiting for a batch: how often it is asked about, when it is over, and what is no end."""

from __future__ import annotations

import asyncio
import datetime as dt
from itertools import pairwise
from typing import TYPE_CHECKING

import attrs
import pytest
from support import virtual_time
from support.virtual_time import in_virtual_time

from openai_batches import (
    APIError,
    AsyncPaginator,
    AuthenticationError,
    Batch,
    BatchesError,
    BatchStatus,
    ConflictError,
    InputError,
    InternalServerError,
    NotFoundError,
    PollPolicy,
    RateLimitError,
    TransportError,
    WaitTimeoutError,
)
from openai_batches.resources.poller import Poller
from openai_batches.resources.wait import wait_for_end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

START = 1_750_000_000
RUNNING = Batch(id="b", status=BatchStatus.IN_PROGRESS, created_at=dt.datetime.fromtimestamp(START, dt.UTC))
DONE = attrs.evolve(RUNNING, status=BatchStatus.COMPLETED)
STEADY = PollPolicy.every(10)


class Service:
    """Answers questions about one batch as it is told, and notes when they were asked."""

    def __init__(self, *answers: Batch | Exception) -> None:
        self.answers = list(answers)
        self.times: list[float] = []

    async def retrieve(self, batch_id: str) -> Batch:
        assert batch_id == "b"
        self.times.append(round(virtual_time.now() - 1_000, 3))
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(said, Exception):
            raise said
        return said

    def wait(
        self, batch: Batch | str, *, poll: PollPolicy = STEADY, timeout_s: float | None = None, age_s: float = 0
    ) -> Batch:
        """Wait in virtual time, in which the wall clock runs too."""
        return virtual_time.run(waiting(self.retrieve, batch, poll=poll, timeout_s=timeout_s, age_s=age_s))


async def waiting(
    retrieve: Callable[[str], Awaitable[Batch]],
    batch: Batch | str,
    *,
    poll: PollPolicy = STEADY,
    timeout_s: float | None = None,
    age_s: float = 0,
) -> Batch:
    """Wait with a poller of its own; nothing of it is left afterwards."""

    def now() -> float:
        return START + age_s + virtual_time.now() - 1_000

    poller = Poller(retrieve=retrieve, list_batches=no_list, poll=PollPolicy(), now=now)
    try:
        return await wait_for_end(batch, poller=poller, poll=poll, timeout_s=timeout_s)
    finally:
        await asyncio.sleep(0.001)
        assert [task for task in asyncio.all_tasks() if "poller" in task.get_name()] == []


def no_list() -> AsyncPaginator[Batch]:
    raise AssertionError("a few batches are not looked for in the list")


@pytest.mark.parametrize("batch", [RUNNING, "b"])
def test_the_batch_is_returned_when_it_has_ended(batch: Batch | str) -> None:
    """A batch and its id are both waited for, until an answer says that it has ended."""
    service = Service(RUNNING, RUNNING, DONE)
    assert service.wait(batch) is DONE
    assert service.times == [0, 10, 20]


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled", "Completed"])
def test_one_that_has_ended_is_not_asked_about(status: str) -> None:
    """A batch that has ended is returned as it is."""
    ended = attrs.evolve(RUNNING, status=BatchStatus(status))
    service = Service(RUNNING)
    assert service.wait(ended) is ended
    assert service.times == []


@pytest.mark.parametrize("status", ["validating", "finalizing", "cancelling", "in_queue", "pausing"])
def test_what_is_no_end(status: str) -> None:
    """Statuses on the way, and those that nobody knows yet, are waited through."""
    service = Service(attrs.evolve(RUNNING, status=BatchStatus(status)), DONE)
    assert service.wait("b") is DONE
    assert len(service.times) == 2


def test_young_batches_are_asked_about_often_and_old_ones_rarely() -> None:
    """The pause grows with the age of the batch, from its floor to its ceiling."""
    policy = PollPolicy(min_delay_s=5, max_delay_s=60, share_of_age=0.1, jitter=0)
    service = Service(*[RUNNING] * 60, DONE)
    service.wait("b", poll=policy)
    pauses = [later - earlier for earlier, later in pairwise(service.times)]
    assert pauses[:9] == [5.0] * 9
    assert pauses == sorted(pauses)
    assert pauses[-1] == 60


def test_an_old_batch_is_known_by_its_own_time() -> None:
    """The age is the batch's, not the waiter's; one without a time counts as new."""
    policy = PollPolicy(min_delay_s=5, max_delay_s=3_600, share_of_age=0.1, jitter=0)
    service = Service(RUNNING, DONE)
    service.wait("b", poll=policy, age_s=6_000)
    assert service.times == [0, 600]
    service = Service(attrs.evolve(RUNNING, created_at=None), DONE)
    service.wait("b", poll=policy, age_s=6_000)
    assert service.times == [0, 5]


@pytest.mark.parametrize("batch", [RUNNING, "b"])
def test_a_waiter_that_gives_up(batch: Batch | str) -> None:
    """The timeout ends the waiting alone: its error has the batch as it was last seen."""
    service = Service(RUNNING)
    with pytest.raises(WaitTimeoutError, match=r"Batch b was last seen in_progress after 25 s; it was not") as caught:
        service.wait(batch, timeout_s=25)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.batch is RUNNING
    assert service.times == [0, 10, 20]


def test_a_waiter_that_gives_up_before_the_first_answer() -> None:
    """Where nothing was seen, the error says so."""

    async def never(_: str) -> Batch:
        await asyncio.sleep(1_000)
        return RUNNING

    def wait(batch: Batch | str) -> None:
        virtual_time.run(waiting(never, batch, timeout_s=5))

    with pytest.raises(WaitTimeoutError, match="Batch b was not seen yet after 5 s") as caught:
        wait("b")
    assert caught.value.batch is None
    with pytest.raises(WaitTimeoutError, match="last seen in_progress") as caught:
        wait(RUNNING)
    assert caught.value.batch is RUNNING


def test_no_time_at_all() -> None:
    """A timeout of 0 s returns what has ended already, and gives up on the rest."""
    assert Service(RUNNING).wait(DONE, timeout_s=0) is DONE
    with pytest.raises(WaitTimeoutError):
        Service(RUNNING).wait(RUNNING, timeout_s=0)


@pytest.mark.parametrize("wrong", [-1, float("nan")])
def test_a_timeout_that_is_none(wrong: float) -> None:
    """A timeout is 0 or more seconds."""
    with pytest.raises(InputError, match="timeout must be 0 or more"):
        Service(RUNNING).wait("b", timeout_s=wrong)


def test_a_timeout_within_a_question_is_the_questions() -> None:
    """A TimeoutError that is not the waiter's is not taken for it."""

    async def broken(_: str) -> Batch:
        raise TimeoutError("of something else")

    with pytest.raises(TimeoutError, match="of something else") as caught:
        virtual_time.run(waiting(broken, "b", timeout_s=50))
    assert not isinstance(caught.value, WaitTimeoutError)


@pytest.mark.parametrize(
    "error",
    [
        TransportError("cut"),
        InternalServerError("oops", status=503),
        RateLimitError("slow down", status=429),
        BatchesError("anything"),
    ],
)
def test_the_first_question_has_to_be_answered(error: Exception) -> None:
    """A first question that fails is the caller's to know: the id may be wrong, or the key."""
    service = Service(error)
    with pytest.raises(type(error)):
        service.wait("b")
    assert len(service.times) == 1


@pytest.mark.parametrize(
    "error",
    [
        TransportError("cut"),
        InternalServerError("oops", status=503),
        RateLimitError("slow down", status=429),
        InternalServerError("oops", status=500),
        APIError("too slow", status=408),
    ],
)
def test_a_failed_question_is_not_a_failed_batch(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A later question that fails in passing is told of in the log, and asked again."""
    service = Service(RUNNING, error, error, DONE)
    assert service.wait("b") is DONE
    assert service.times == [0, 10, 20, 30]
    assert caplog.text.count("Batch b could not be looked at, it was last seen in_progress") == 2


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("revoked", status=401),
        ConflictError("odd", status=409),
        TransportError("certificate", can_pass=False),
        BatchesError("anything"),
    ],
)
def test_what_does_not_pass_ends_the_waiting(error: Exception) -> None:
    """A later question that fails for good is raised."""
    service = Service(RUNNING, error, DONE)
    with pytest.raises(type(error)):
        service.wait("b")
    assert len(service.times) == 2


def test_a_batch_that_readers_do_not_see_yet() -> None:
    """A batch that was just created may be unknown to its service for a minute, and not for longer."""
    unseen = NotFoundError("No batch", status=404)
    assert Service(unseen, unseen, RUNNING, DONE).wait(RUNNING) is DONE
    service = Service(unseen)
    with pytest.raises(NotFoundError):
        service.wait(RUNNING)
    assert service.times == [0, 10, 20, 30, 40, 50, 60]


def test_an_id_that_nobody_knows() -> None:
    """An id alone was not just created here: if the service does not know it, that is raised at once."""
    service = Service(NotFoundError("No batch", status=404))
    with pytest.raises(NotFoundError):
        service.wait("b")
    assert len(service.times) == 1


@in_virtual_time
async def test_waiting_is_cancelled_like_anything_else() -> None:
    """Cancelling the waiter is not a timeout."""
    service = Service(RUNNING)
    task = asyncio.create_task(waiting(service.retrieve, "b", timeout_s=1_000))
    await asyncio.sleep(35)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(100)
    assert service.times == [0, 10, 20, 30]
