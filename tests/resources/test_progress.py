"""What the records of a batch tell about its progress."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, strategies as st
from support.polled_service import START, record, when

from openai_batches import Batch, BatchStatus, RequestCounts
from openai_batches.resources.progress import answered_count, entered_at, has_changed, is_ending, is_older, remaining_s

LIFE = ["validating", "in_progress", "finalizing", "cancelling", "completed"]
records = st.builds(record, status=st.sampled_from([*LIFE, "failed", "in_queue"]), done=st.integers(0, 3))


@pytest.mark.parametrize("earlier", range(len(LIFE)))
@pytest.mark.parametrize("later", range(len(LIFE)))
def test_a_status_of_earlier_in_life_is_older(earlier: int, later: int) -> None:
    """Whatever the counts say, an earlier status is an older record."""
    assert is_older(record(status=LIFE[earlier], done=9), record(status=LIFE[later], done=9)) == (earlier < later)
    assert is_older(record(status=LIFE[earlier], done=9), record(status=LIFE[later], done=1)) == (earlier < later)


def test_fewer_answers_are_older() -> None:
    """Within a status the counts decide, where both records have them; failures are answers too."""
    seen = record(done=5)
    assert is_older(record(done=4), seen)
    assert not is_older(record(done=5), seen)
    assert not is_older(attrs.evolve(seen, request_counts=RequestCounts(total=100, failed=6)), seen)
    assert not is_older(attrs.evolve(seen, request_counts=None), seen)
    assert not is_older(seen, attrs.evolve(seen, request_counts=None))


def test_a_status_nobody_knows_is_new() -> None:
    """It has no place in the order; but what has ended stays ended."""
    unknown = record(status="pausing")
    assert not is_older(unknown, record(status="cancelling"))
    assert not is_older(record(status="validating"), unknown)
    assert is_older(unknown, record(status="completed"))


@given(one=records, other=records)
def test_of_two_records_at_most_one_is_older(one: Batch, other: Batch) -> None:
    """A record is not older than itself, and two are not older than each other."""
    assert not is_older(one, one)
    assert not (is_older(one, other) and is_older(other, one))


def test_a_change_is_one_of_status_or_counts() -> None:
    """What else a service sends along is none."""
    seen = record(done=5)
    assert not has_changed(attrs.evolve(seen, expires_at=when(9), metadata={"a": "b"}), seen)
    assert has_changed(record(done=6), seen)
    assert has_changed(record(status="finalizing", done=5), seen)


@pytest.mark.parametrize("status", list(BatchStatus))
def test_when_a_batch_entered_its_status(status: BatchStatus) -> None:
    """Each status has its time; validating begins with the batch, and one nobody knows has none."""
    name = "created" if status is BatchStatus.VALIDATING else status.value
    batch = attrs.evolve(record(status=status, created_s=1), **{f"{name}_at": when(7)})
    assert entered_at(batch) == when(7)
    assert entered_at(record(status="in_queue")) is None


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (record(status="finalizing"), True),
        (record(status="cancelling"), True),
        (record(done=100), True),
        (record(done=99), False),
        (record(total=0), False),
        (attrs.evolve(record(), request_counts=None), False),
    ],
)
def test_an_end_that_is_near(batch: Batch, expected: bool) -> None:
    """Files that are written, a batch that is cancelled, and one without a request left are about to end."""
    assert is_ending(batch) == expected


@pytest.mark.parametrize(
    ("batch", "earlier", "expected"),
    [
        (record(done=20, in_progress=0), None, 400),  # 20 in 100 s
        (record(done=20, in_progress=0), (START + 90.0, 10), 80),  # the last 10 in 10 s
        (record(done=90, in_progress=0), (START + 50.0, 89), 100 / 9),  # slower of late
        (record(done=20), (START + 90.0, 10), 80),
        (record(done=20), (START + 100.0, 10), None),  # no time has passed
        (record(done=20), None, None),
        (record(done=0, in_progress=0), None, None),
        (record(done=101, in_progress=0), None, 0),
        (record(status="finalizing", done=20, in_progress=0), None, None),
        (attrs.evolve(record(in_progress=0), request_counts=None), None, None),
    ],
)
def test_when_the_last_answer_may_come(batch: Batch, earlier: tuple[float, int] | None, expected: float | None) -> None:
    """The faster of two speeds says when, and without any speed nothing can be said."""
    assert remaining_s(batch, now_s=START + 100, earlier=earlier) == (expected and pytest.approx(expected))


def test_how_many_are_answered() -> None:
    """Failures are answers; without counts nobody knows."""
    assert answered_count(attrs.evolve(record(), request_counts=RequestCounts(total=9, completed=2, failed=3))) == 5
    assert answered_count(attrs.evolve(record(), request_counts=None)) is None
