"""The life of a batch as spans: in order, without gaps, whatever a service says or leaves out."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st
from support.job_parts import batch

from openai_batches.resources.progress import Span, ended_at, spans_of

BEGUN_S = 1_774_437_000
NOW = dt.datetime.fromtimestamp(BEGUN_S + 1_000, dt.UTC)


def spans(status: str, **times_s: int | None) -> list[tuple[str, float, float]]:
    """The spans of a batch, in seconds since it was created."""
    fields = {name: None if time_s is None else BEGUN_S + time_s for name, time_s in times_s.items()}
    found = spans_of(batch(status=status, **{"created_at": BEGUN_S, **fields}), NOW)
    return [(span.state, span.begin.timestamp() - BEGUN_S, span.end.timestamp() - BEGUN_S) for span in found]


def test_a_completed_batch_went_through_all_states() -> None:
    assert spans("completed", in_progress_at=20, finalizing_at=500, completed_at=560) == [
        ("validating", 0, 20),
        ("in_progress", 20, 500),
        ("finalizing", 500, 560),
        ("completed", 560, 560),
    ]


@pytest.mark.parametrize(
    ("status", "times_s", "expected"),
    [
        ("validating", {}, [("validating", 0, 1_000)]),
        ("in_progress", {"in_progress_at": 20}, [("validating", 0, 20), ("in_progress", 20, 1_000)]),
        ("failed", {"failed_at": 7}, [("validating", 0, 7), ("failed", 7, 7)]),
        (
            "expired",
            {"in_progress_at": 20, "expired_at": 900},
            [("validating", 0, 20), ("in_progress", 20, 900), ("expired", 900, 900)],
        ),
        (
            "cancelled",
            {"in_progress_at": 20, "cancelling_at": 30, "cancelled_at": 40},
            [("validating", 0, 20), ("in_progress", 20, 30), ("cancelling", 30, 40), ("cancelled", 40, 40)],
        ),
        (
            "cancelled",
            {"cancelling_at": 30, "finalizing_at": 35, "cancelled_at": 40},
            [("in_progress", 0, 30), ("cancelling", 30, 35), ("finalizing", 35, 40), ("cancelled", 40, 40)],
        ),
    ],
)
def test_every_way_through_a_life_is_told_in_order(status: str, times_s: dict[str, int], expected: Any) -> None:
    assert spans(status, **times_s) == expected


@pytest.mark.parametrize(
    ("status", "times_s", "expected"),
    [
        # It has run since it was made, as far as anybody knows.
        ("in_progress", {}, [("in_progress", 0, 1_000)]),
        ("completed", {"completed_at": 50}, [("in_progress", 0, 50), ("completed", 50, 50)]),
        ("finalizing", {}, [("in_progress", 0, 0), ("finalizing", 0, 1_000)]),
        ("completed", {}, [("in_progress", 0, 0), ("completed", 0, 0)]),
        # A state of next year begins where the last one that is known did.
        ("paused", {"in_progress_at": 9}, [("validating", 0, 9), ("in_progress", 9, 9), ("paused", 9, 1_000)]),
        # A state that comes later than the one it is in has not come.
        (
            "in_progress",
            {"in_progress_at": 9, "finalizing_at": 90},
            [("validating", 0, 9), ("in_progress", 9, 1_000)],
        ),
        # The end has another name than the status.
        ("expired", {"completed_at": 50}, [("validating", 0, 50), ("expired", 50, 50)]),
        # An end that is said of a batch that goes on is none.
        ("validating", {"completed_at": 50}, [("validating", 0, 1_000)]),
        ("in_progress", {"created_at": None, "in_progress_at": 9}, [("in_progress", 9, 1_000)]),
        ("completed", {"created_at": None, "completed_at": 9}, [("completed", 9, 9)]),
        # So do services that write a 0.
        ("completed", {"in_progress_at": -BEGUN_S, "completed_at": 9}, [("in_progress", 0, 9), ("completed", 9, 9)]),
        ("in_progress", {"created_at": -BEGUN_S, "in_progress_at": 9}, [("in_progress", 9, 1_000)]),
        ("failed", {"created_at": None}, []),
        ("in_progress", {"created_at": None}, []),
    ],
)
def test_what_a_service_leaves_out_is_passed_over(status: str, times_s: dict[str, int | None], expected: Any) -> None:
    assert spans(status, **times_s) == expected


@pytest.mark.parametrize(
    ("status", "times_s", "expected"),
    [
        (
            "completed",
            {"in_progress_at": 0, "finalizing_at": 0, "completed_at": 0},
            [("validating", 0, 0), ("in_progress", 0, 0), ("finalizing", 0, 0), ("completed", 0, 0)],
        ),
        (
            "completed",
            {"in_progress_at": -5, "finalizing_at": 90, "completed_at": 60},
            [("validating", 0, 0), ("in_progress", 0, 60), ("finalizing", 60, 60), ("completed", 60, 60)],
        ),
        ("completed", {"completed_at": -60}, [("in_progress", 0, 0), ("completed", 0, 0)]),
        (
            "completed",
            {"created_at": None, "in_progress_at": 70, "completed_at": 60},
            [("in_progress", 60, 60), ("completed", 60, 60)],
        ),
        # The service's clock is ahead of ours.
        ("in_progress", {"in_progress_at": 5_000}, [("validating", 0, 5_000), ("in_progress", 5_000, 5_000)]),
    ],
)
def test_times_that_run_backwards_give_no_span_of_less_than_nothing(
    status: str, times_s: dict[str, int | None], expected: Any
) -> None:
    assert spans(status, **times_s) == expected


@given(
    status=st.sampled_from(
        ["validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled", "odd"]
    ),
    times_s=st.fixed_dictionaries(
        {
            f"{name}_at": st.none() | st.integers(-2_000, 2_000)
            for name in (
                "created",
                "in_progress",
                "finalizing",
                "completed",
                "failed",
                "expired",
                "cancelling",
                "cancelled",
            )
        }
    ),
)
def test_spans_follow_on_each_other_whatever_the_times_are(status: str, times_s: dict[str, int | None]) -> None:
    found = spans(status, **times_s)
    assert all(begin <= end for _, begin, end in found)
    assert all(one[2] == following[1] for one, following in pairwise(found))
    assert not found or found[-1][0] == status
    assert len({state for state, _, _ in found}) == len(found)


def test_a_span_knows_its_length() -> None:
    assert Span("in_progress", NOW, NOW + dt.timedelta(minutes=2)).seconds == 120.0


@pytest.mark.parametrize(
    ("status", "times", "expected_s"),
    [
        ("completed", {"completed_at": BEGUN_S + 3, "expired_at": BEGUN_S + 9}, BEGUN_S + 3),
        ("completed", {"expired_at": BEGUN_S + 9, "failed_at": BEGUN_S + 8}, BEGUN_S + 9),
        ("completed", {}, None),
        ("in_progress", {"completed_at": BEGUN_S + 3}, None),
    ],
)
def test_the_end_is_the_time_of_the_status_or_else_the_latest_end(
    status: str, times: dict[str, int], expected_s: int | None
) -> None:
    found = ended_at(batch(status=status, **times))
    assert (None if found is None else found.timestamp()) == expected_s
