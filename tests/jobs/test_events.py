"""What a job tells is a sentence for people, and fields for programs."""

from __future__ import annotations

import datetime as dt
import inspect
from typing import TYPE_CHECKING

import attrs
import pytest

from openai_batches import BatchSession, JobEvent, JobEventKind
from openai_batches.jobs.context import Service
from openai_batches.jobs.events import JobEventKind as SameKind
from openai_batches.jobs.journal import records

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai_batches.emulator import BatchServer

AT = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)


def test_an_event_reads_as_its_sentence() -> None:
    event = JobEvent(kind=JobEventKind.UPLOADED, at=AT, message="Shard 3: uploaded as file-1", shard=3, attempt=1)
    assert str(event) == f"{event}" == "Shard 3: uploaded as file-1"
    assert (event.batch, event.delay_s) == (None, None)


def test_an_event_does_not_change() -> None:
    event = JobEvent(kind=JobEventKind.FINISHED, at=AT, message="done")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.message = "not done"  # type: ignore[misc]


def test_kinds_are_plain_words() -> None:
    """They can be compared with a str, and written to a log."""
    assert JobEventKind is SameKind
    assert JobEventKind("paused") == "paused"
    assert all(kind.value == kind.name.lower() for kind in JobEventKind)


def test_steps_are_in_the_order_in_which_they_are_taken() -> None:
    names = ["planned", "uploading", "uploaded", "creating", "created", "ended", "collected", "verified"]
    assert [step.value for step in records.Step] == names


async def test_a_session_is_all_that_a_job_needs_of_a_service(
    server: BatchServer, open_session: Callable[..., BatchSession]
) -> None:
    session: Service = open_session(server)
    needed = {name for name, _ in inspect.getmembers(Service) if not name.startswith("_")}
    assert needed == {"base_url", "batches", "files", "now", "provider"}
    for name in needed:
        assert getattr(session, name) is not None
    assert session.base_url == server.base_url
    assert session.now() > 0
