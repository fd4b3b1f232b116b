"""The wire's records as values: what they compute, and that they are values."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from openai_batches import (
    Answer,
    Batch,
    BatchError,
    BatchErrors,
    BatchStatus,
    BatchUsage,
    DeletedFile,
    FileObject,
    InputTokensDetails,
    OutputTokensDetails,
    Page,
    RequestCounts,
)
from openai_batches.http.wire import Request, read

TERMINAL = {"failed", "completed", "expired", "cancelled"}
BATCH = Batch(
    id="batch_1",
    status=BatchStatus("in_queue"),
    errors=BatchErrors(data=(BatchError(message="m"),)),
    created_at=dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    request_counts=RequestCounts(total=1),
    usage=BatchUsage(input_tokens_details=InputTokensDetails(), output_tokens_details=OutputTokensDetails()),
    metadata={"a": "b"},
)
RECORDS = [BATCH, FileObject(id="file-1", bytes=5), DeletedFile(id="file-1"), Page(data=(BATCH,), has_more=True)]


# Statuses


@pytest.mark.parametrize("status", list(BatchStatus))
def test_four_statuses_are_terminal(status: BatchStatus) -> None:
    """A batch has ended when it is failed, completed, expired or cancelled, and only then."""
    assert status.is_terminal == (status.value in TERMINAL)
    assert Batch(id="a", status=status).is_terminal == (status.value in TERMINAL)


@pytest.mark.parametrize("status", list(BatchStatus))
def test_capitals_do_not_matter_for_known_statuses(status: BatchStatus) -> None:
    """A status is the same member however a service spells it."""
    assert BatchStatus(status.upper()) is BatchStatus(status.title()) is status
    assert status == status.value == str(status)


@given(st.text())
def test_an_unknown_status_is_the_services_text(text: str) -> None:
    """Any text is a status; one this version does not know is kept as it is and is never terminal."""
    status = BatchStatus(text)
    assert isinstance(status, BatchStatus)
    if text.lower() in list(BatchStatus):
        return
    assert (status, str(status), status.value, status.name) == (text, text, text, text)
    assert status == BatchStatus(text)
    assert hash(status) == hash(text)
    assert not status.is_terminal
    assert text in repr(status)
    assert status not in list(BatchStatus)


@pytest.mark.parametrize("value", [None, 5, b"completed", ["completed"]])
def test_a_status_is_a_text(value: Any) -> None:
    """What is no text is no status."""
    with pytest.raises(ValueError, match="BatchStatus"):
        BatchStatus(value)


@pytest.mark.parametrize("status", [BatchStatus.COMPLETED, BatchStatus("in_queue")])
def test_a_status_survives_copies(status: BatchStatus) -> None:
    """Known and unknown statuses go to other processes and come back equal."""
    for other in (pickle.loads(pickle.dumps(status)), copy.copy(status), copy.deepcopy(status)):
        assert other == status
        assert isinstance(other, BatchStatus)
        assert other.is_terminal == status.is_terminal


# Batches


@pytest.mark.parametrize(
    ("status", "counts", "expected"),
    [
        ("completed", (3, 3, 0), True),
        ("completed", (3, 2, 1), False),
        ("completed", (3, 2, 0), False),
        ("completed", (3, 3, 1), False),
        ("completed", (0, 0, 0), False),
        ("completed", None, False),
        ("in_progress", (3, 3, 0), False),
        ("expired", (3, 3, 0), False),
    ],
)
def test_a_batch_succeeded_when_all_its_requests_did(status: str, counts: Any, expected: bool) -> None:
    """Completed says that the batch ended by itself, not that anything in it went well."""
    names = ("total", "completed", "failed")
    given_counts = counts and RequestCounts(**dict(zip(names, counts, strict=True)))
    assert Batch(id="a", status=BatchStatus(status), request_counts=given_counts).succeeded_all is expected


@pytest.mark.parametrize(
    ("status", "counts", "expected"),
    [
        ("completed", None, 1.0),
        ("completed", RequestCounts(total=4, completed=1), 1.0),
        ("validating", None, 0.0),
        ("validating", RequestCounts(), 0.0),
        ("in_progress", RequestCounts(total=4, completed=1), 0.25),
        ("in_progress", RequestCounts(total=4, completed=1, failed=1), 0.5),
        ("in_progress", RequestCounts(total=4, completed=4, failed=4), 1.0),
        ("in_progress", RequestCounts(total=4, completed=-4), 0.0),
        ("in_progress", RequestCounts(total=-4, completed=1), 0.0),
        ("expired", RequestCounts(total=4, completed=3), 0.75),
    ],
)
def test_progress_is_a_share(status: str, counts: RequestCounts | None, expected: float) -> None:
    """Requests with an answer over all requests, from 0 to 1 whatever the service counts."""
    assert Batch(id="a", status=BatchStatus(status), request_counts=counts).progress == expected


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BatchError(code="c", message="m", param="p", line=3), "line 3: m"),
        (BatchError(code="c", line=0), "line 0: c"),
        (BatchError(message="m"), "m"),
        (BatchError(), "no reason given"),
    ],
)
def test_the_text_of_a_batch_error(error: BatchError, text: str) -> None:
    """What is wrong, and where."""
    assert str(error) == text


def test_errors_are_a_collection() -> None:
    """The errors of a batch can be counted, looped over, and asked whether there are any."""
    errors = BatchErrors(data=(BatchError(line=1), BatchError(line=2)))
    assert [error.line for error in errors] == [1, 2]
    assert len(errors) == 2
    assert list(BatchErrors()) == []
    assert not BatchErrors()


# Records as values


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_records_are_values(record: Any) -> None:
    """Records are equal by what they say, hashable, unchangeable, and survive copies."""
    for other in (pickle.loads(pickle.dumps(record)), copy.copy(record), copy.deepcopy(record), attrs.evolve(record)):
        assert other == record
        assert hash(other) == hash(record)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record.object = "other"
    with pytest.raises((attrs.exceptions.FrozenInstanceError, AttributeError)):
        record.anything = 1


@pytest.mark.parametrize("cls", [Batch, FileObject, DeletedFile, Page[Batch]])
def test_the_request_id_is_neither_compared_nor_shown(cls: Any) -> None:
    """The same batch in two answers is the same batch."""
    body = b'{"id": "a", "status": "completed", "data": []}'
    request = Request(method="GET", path="/x", returns=cls)
    one, other, none = (
        read(request, Answer(status=200, headers=headers, body=body))
        for headers in ({"x-request-id": "req_1"}, {"x-request-id": "req_2"}, {})
    )
    assert (one.request_id, other.request_id, none.request_id) == ("req_1", "req_2", None)
    assert one == other == none
    assert hash(one) == hash(other) == hash(none)
    assert repr(one) == repr(other) == repr(none)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_made_by_hand_came_with_no_answer(record: Any) -> None:
    """Without an answer there is no request id."""
    assert record.request_id is None
