"""Bytes become the same records on the fast path and on the tolerant one."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import attrs
import cattrs
import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from openai_batches import (
    Batch,
    BatchError,
    BatchStatus,
    BatchUsage,
    DecodeError,
    DeletedFile,
    FileObject,
    Page,
    RequestCounts,
    configure_converter,
    make_converter,
)
from openai_batches.http import decode as decode_module, wire
from openai_batches.http.decode import decode

MARCH = dt.datetime(2024, 3, 26, 16, 45, 33, tzinfo=dt.UTC)  # 1711471533


def batch(**fields: Any) -> Batch:
    """Return the batch that a minimal answer with these fields holds."""
    document = {"id": "batch_1", "status": "in_progress", **fields}
    return decode(json.dumps(document).encode(), Batch)


# Documented answers

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
number = st.integers(0, 2**53)
time = st.integers(0, 10**11)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


def documents(cls: type, required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Documents with every required field, any of the optional ones, in any order, and unknown fields."""
    known = {field.name for field in attrs.fields(cls)}
    unknown = st.dictionaries(text.filter(lambda name: name not in known), json_value, max_size=2)
    told = st.fixed_dictionaries(required, optional=optional)
    return st.tuples(told, unknown).flatmap(
        lambda pair: st.permutations(list((pair[1] | pair[0]).items())).map(dict),
    )


input_details = documents(BatchUsage, {"cached_tokens": number}, {})
output_details = documents(BatchUsage, {"reasoning_tokens": number}, {})
usages = documents(
    BatchUsage,
    {
        "input_tokens": number,
        "input_tokens_details": input_details,
        "output_tokens": number,
        "output_tokens_details": output_details,
        "total_tokens": number,
    },
    {},
)
batch_errors = documents(
    BatchError, {}, {"code": text, "message": text, "param": st.none() | text, "line": st.none() | number}
)
errors = st.fixed_dictionaries({}, optional={"object": st.just("list"), "data": st.lists(batch_errors, max_size=3)})
counts = documents(RequestCounts, {"total": number, "completed": number, "failed": number}, {})
batches = documents(
    Batch,
    {
        "id": text,
        "object": st.just("batch"),
        "endpoint": text,
        "input_file_id": text,
        "completion_window": text,
        "status": st.sampled_from([status.value for status in BatchStatus]),
        "created_at": time,
    },
    {
        "model": st.none() | text,
        "errors": st.none() | errors,
        "output_file_id": st.none() | text.filter(bool),
        "error_file_id": st.none() | text.filter(bool),
        "request_counts": counts,
        "usage": st.none() | usages,
        "metadata": st.none() | st.dictionaries(text, text, max_size=16),
        **{
            f"{moment}_at": st.none() | time
            for moment in (
                "in_progress",
                "expires",
                "finalizing",
                "completed",
                "failed",
                "expired",
                "cancelling",
                "cancelled",
            )
        },
    },
)
files = documents(
    FileObject,
    {"id": text, "object": st.just("file"), "bytes": number, "created_at": time, "filename": text, "purpose": text},
    {
        "status": st.sampled_from(["uploaded", "processed", "error"]),
        "status_details": st.none() | text,
        "expires_at": st.none() | time,
    },
)
deleted = documents(DeletedFile, {"id": text, "object": st.just("file"), "deleted": st.booleans()}, {})


def pages(items: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return documents(
        Page,
        {"object": st.just("list"), "data": st.lists(items, max_size=3), "has_more": st.booleans()},
        {"first_id": st.none() | text, "last_id": st.none() | text},
    )


@given(
    st.one_of(
        st.tuples(st.just(Batch), batches),
        st.tuples(st.just(FileObject), files),
        st.tuples(st.just(DeletedFile), deleted),
        st.tuples(st.just(Page[Batch]), pages(batches)),
        st.tuples(st.just(Page[FileObject]), pages(files)),
    )
)
@settings(deadline=None, max_examples=300)
def test_both_paths_give_equal_records_for_every_documented_answer(case: tuple[Any, dict[str, Any]]) -> None:
    """Fast or tolerant is a matter of speed alone, down to the type of each field."""
    cls, document = case
    data = json.dumps(document).encode()
    fast = decode_module._decoder(cls).decode(data)
    tolerant = decode_module._decode_tolerantly(data, cls)
    own = make_converter().structure(msgspec.json.decode(data), cls)
    assert fast == tolerant == own == decode(data, cls)
    assert repr(fast) == repr(tolerant) == repr(own)


@given(batches)
@settings(deadline=None, max_examples=50)
def test_records_survive_a_converter_both_ways(document: dict[str, Any]) -> None:
    """What a converter took apart it puts together again, as JSON and as Python values."""
    record = decode(json.dumps(document).encode(), Batch)
    converter = make_converter()
    assert converter.loads(converter.dumps(record), Batch) == record
    assert converter.structure(converter.unstructure(record), Batch) == record


# Dialects


@pytest.mark.parametrize("value", [1711471533, 1711471533.0, "1711471533", 1711471533000, "1711471533000"])
def test_a_number_is_unix_time_in_seconds_or_milliseconds(value: Any) -> None:
    """A time is an aware datetime, whichever unit or JSON type a service writes it in."""
    created_at = batch(created_at=value).created_at
    assert created_at == MARCH
    assert created_at.tzinfo is dt.UTC


@pytest.mark.parametrize(
    "value",
    [
        "2024-03-26T16:45:33Z",
        "2024-03-26T16:45:33+00:00",
        "2024-03-26T17:45:33+01:00",
        "2024-03-26T16:45:33.000Z",
        "2024-03-26 16:45:33",
        "2024-03-26T16:45:33",
        "2024-03-26T16:45:33.000000",
    ],
)
def test_text_is_an_iso_time_and_a_naive_one_is_utc(value: str) -> None:
    """RFC 3339 as some services write it; without an offset it is UTC."""
    created_at = batch(created_at=value).created_at
    assert created_at == MARCH
    assert created_at.utcoffset() is not None


@pytest.mark.parametrize("value", [None, "", []])
def test_no_time_is_none(value: Any) -> None:
    """Null, empty text and an empty list all say that there was no such moment."""
    assert batch(completed_at=value).completed_at is None


@pytest.mark.parametrize("value", ["Completed", "COMPLETED", "completed"])
def test_a_status_in_capitals_is_the_same_status(value: str) -> None:
    """Services spell a status as they like."""
    assert batch(status=value).status is BatchStatus.COMPLETED
    assert batch(status=value, metadata={"n": 1}).is_terminal


@pytest.mark.parametrize("value", ["in_queue", "SUCCESS", "", "paused at 3 %"])
@pytest.mark.parametrize("more", [{}, {"metadata": {"n": 1}}])
def test_an_unknown_status_is_kept_and_never_terminal(value: str, more: dict[str, Any]) -> None:
    """A status of tomorrow is the service's own word, and a waiter goes on waiting."""
    record = batch(status=value, **more)
    assert record.status == value
    assert isinstance(record.status, BatchStatus)
    assert not record.is_terminal


@pytest.mark.parametrize("value", ["", None])
@pytest.mark.parametrize("more", [{}, {"metadata": {"n": 1}}])
def test_an_empty_file_id_is_no_file(value: Any, more: dict[str, Any]) -> None:
    """Some services write "" where they have no file."""
    record = batch(output_file_id=value, error_file_id=value, **more)
    assert (record.output_file_id, record.error_file_id) == (None, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ([], None),
        ({"total": None, "completed": None, "failed": None}, RequestCounts()),
        ({"total": 3, "completed": None}, RequestCounts(total=3)),
        ({}, RequestCounts()),
        ('{"total": 3, "completed": 1, "failed": 2}', RequestCounts(total=3, completed=1, failed=2)),
        ({"total": "3"}, RequestCounts(total=3)),
    ],
)
def test_counts_that_are_missing_count_nothing(value: Any, expected: Any) -> None:
    """Null counts are no counts, and a null member counts 0."""
    assert batch(request_counts=value).request_counts == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ([], None),
        ("null", None),
        ({"object": "list", "data": [{"code": "c", "line": 1}]}, [BatchError(code="c", line=1)]),
        ({"object": "list", "data": None}, []),
        ({"object": "list", "data": ["no", "none"]}, [BatchError(message="no"), BatchError(message="none")]),
        ([{"code": "c", "message": "m"}], [BatchError(code="c", message="m")]),
        (["no", "none"], [BatchError(message="no"), BatchError(message="none")]),
        ("no", [BatchError(message="no")]),
        ('["no"]', [BatchError(message="no")]),
        ('[{"message": "no"}]', [BatchError(message="no")]),
        ('"no"', [BatchError(message="no")]),
    ],
)
def test_errors_are_read_in_every_shape(value: Any, expected: Any) -> None:
    """A list object, a list, texts, one text: each is what went wrong with the batch."""
    found = batch(errors=value).errors
    assert (found if found is None else list(found)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ([], None),
        ({}, {}),
        ({"a": "b"}, {"a": "b"}),
        ('{"a": "b"}', {"a": "b"}),
        (
            {"int": 1, "float": 1.5, "bool": True, "null": None, "list": [1, "x"], "map": {"b": None}},
            {"int": "1", "float": "1.5", "bool": "true", "list": '[1,"x"]', "map": '{"b":null}'},
        ),
    ],
)
def test_metadata_become_text(value: Any, expected: Any) -> None:
    """Values that a service stored as something else are written as JSON; a null pair is no pair."""
    assert batch(metadata=value).metadata == expected


def test_usage_may_be_text_or_partial() -> None:
    """Counts of tokens are read as far as they are there."""
    assert batch(usage='{"input_tokens": 5}').usage == BatchUsage(input_tokens=5)
    assert batch(usage={"total_tokens": 5, "input_tokens_details": None}).usage == BatchUsage(total_tokens=5)
    assert batch(usage="").usage is None


def test_a_batch_needs_nothing_but_an_id_and_a_status() -> None:
    """What a service leaves out is empty, not an error."""
    assert batch() == Batch(id="batch_1", status=BatchStatus.IN_PROGRESS)
    required = dict.fromkeys(("endpoint", "input_file_id", "completion_window", "created_at", "object"))
    assert batch(**required) == batch()


def test_a_whole_answer_may_be_json_text() -> None:
    """A record that is delivered as text holding JSON is read like the record."""
    document = json.dumps({"id": "batch_1", "status": "Completed", "created_at": 1711471533})
    assert decode(json.dumps(document).encode(), Batch) == decode(document.encode(), Batch)
    listed = json.dumps({"data": [document], "has_more": False})
    assert decode(json.dumps(listed).encode(), Page[Batch]).data[0].created_at == MARCH


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], Page(data=())),
        ({"data": None}, Page(data=())),
        ({"object": "list"}, Page(data=())),
        ({"object": "list", "has_more": False}, Page(data=(), has_more=False)),
        ({"data": []}, Page(data=())),
        ({"object": None, "data": [], "has_more": None, "last_id": None}, Page(data=())),
        ({"data": [], "first_id": 1, "last_id": 2, "object": 3}, Page(data=())),
        ([{"id": "a", "bytes": None}], Page(data=(FileObject(id="a"),))),
        ({"data": [{"id": "a"}], "has_more": True}, Page(data=(FileObject(id="a"),), has_more=True)),
    ],
)
def test_lists_in_every_shape(document: Any, expected: Page[FileObject]) -> None:
    """A bare array is a list without cursors, null is an empty one."""
    assert decode(json.dumps(document).encode(), Page[FileObject]) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, True), (False, False), ("true", True), ("False", False), (1, True), (0, False), (None, None)],
)
@pytest.mark.parametrize("data", [[], None])
def test_has_more_means_the_same_on_both_paths(value: Any, expected: Any, data: Any) -> None:
    """Whether a list goes on does not depend on how its other fields are written."""
    assert decode(json.dumps({"data": data, "has_more": value}).encode(), Page[Batch]).has_more is expected


@pytest.mark.parametrize("value", ["perhaps", [], {}, 2])
def test_has_more_that_says_nothing_is_none(value: Any) -> None:
    """A word that is neither yes nor no leaves the matter open."""
    assert decode(json.dumps({"data": [], "has_more": value}).encode(), Page[Batch]).has_more is None


# Refusals


@pytest.mark.parametrize(
    ("document", "cls", "path"),
    [
        ({"id": "a"}, Batch, "$.status"),
        ({"status": "failed"}, Batch, "$.id"),
        ({"id": "a", "status": None}, Batch, "$.status"),
        ({"id": "a", "status": 5}, Batch, "$.status"),
        ({"id": "a", "status": "x", "created_at": "yesterday"}, Batch, "$.created_at"),
        ({"id": "a", "status": "x", "created_at": True}, Batch, "$.created_at"),
        ({"id": "a", "status": "x", "created_at": 1e300}, Batch, "$.created_at"),
        ({"id": "a", "status": "x", "created_at": "nan"}, Batch, "$.created_at"),
        ({"id": "a", "status": "x", "created_at": {"seconds": 1}}, Batch, "$.created_at"),
        ({"id": "a", "status": "x", "request_counts": {"total": "many"}}, Batch, "$.request_counts.total"),
        ({"id": "a", "status": "x", "request_counts": [1, 2, 3]}, Batch, "$.request_counts"),
        ({"id": "a", "status": "x", "metadata": ["a"]}, Batch, "$.metadata"),
        ({"id": "a", "bytes": "many"}, FileObject, "$.bytes"),
        ({"id": "a", "bytes": [1]}, FileObject, "$.bytes"),
        ({"deleted": True}, DeletedFile, "$.id"),
        ({"data": [{"id": "a", "status": "x"}, {"id": "b"}]}, Page[Batch], "[1].status"),
        (None, Batch, "$"),
        (5, Batch, "$"),
        ("text", Batch, "$"),
        ([], Batch, "$"),
        (None, Page[Batch], "$"),
        (5, Page[Batch], "$"),
        ({}, Page[Batch], "$"),
        ({"message": "a proxy speaks"}, Page[Batch], "$"),
        ({"object": "batch", "has_more": True}, Page[Batch], "$"),
        ({"data": {"id": "a"}}, Page[Batch], "$"),
        ({"data": "text"}, Page[Batch], "$"),
    ],
)
def test_what_is_no_record_is_refused_with_the_path_of_the_field(document: Any, cls: Any, path: str) -> None:
    """The error names the record and each field, so that a report of it says all that is needed."""
    with pytest.raises(DecodeError) as caught:
        decode(json.dumps(document).encode(), cls)
    assert any(path in detail for detail in caught.value.details), caught.value.details
    assert caught.value.line_number is None
    assert ("Page[Batch]" if cls == Page[Batch] else cls.__name__) in str(caught.value)


@pytest.mark.parametrize("value", [["a"], {"a": 1}])
@pytest.mark.parametrize("field", ["id", "endpoint", "output_file_id", "model"])
def test_no_text_is_made_of_what_is_none(field: str, value: Any) -> None:
    """A list or an object where a text belongs is refused, not written down as Python would print it."""
    with pytest.raises(DecodeError, match=f"expected text in {field}"):
        batch(**{field: value})


def test_every_problem_is_named() -> None:
    """Several bad fields are several details."""
    with pytest.raises(DecodeError) as caught:
        batch(created_at="yesterday", request_counts={"total": "many"})
    assert len(caught.value.details) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>502</html>",
        b'{"id": "batch_1", "sta',
        b'{"id": "\xff", "status": "x"}',
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"id": "a", "status": "x", "unknown": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=["empty", "html", "cut", "not-utf8", "utf16", "deep", "deep-unknown"],
)
@pytest.mark.parametrize("cls", [Batch, FileObject, Page[Batch], Any])
def test_what_is_no_json_is_refused(data: bytes, cls: Any) -> None:
    """Whatever arrives in place of JSON becomes a DecodeError and nothing else; it shows how the answer begins."""
    with pytest.raises(DecodeError, match="no JSON") as caught:
        decode(data, cls)
    assert len(str(caught.value)) < 600


def test_json_text_nested_beyond_reason_is_refused() -> None:
    """Text within an answer that nests without end does no harm either."""
    with pytest.raises(DecodeError):
        decode(json.dumps("[" * 100_000).encode(), Batch)


@given(st.binary(max_size=60) | json_value.map(lambda value: json.dumps(value).encode()))
@settings(deadline=None)
def test_no_answer_raises_anything_but_a_decode_error(data: bytes) -> None:
    """Any bytes are a record, or a DecodeError."""
    for cls in (Batch, FileObject, DeletedFile, Page[Batch]):
        try:
            assert isinstance(decode(data, cls), Page if cls == Page[Batch] else cls)
        except DecodeError as error:
            assert str(error)  # noqa: PT017  # whether it is raised is the service's matter


# The id of an answer


@pytest.mark.parametrize("headers", [{}, {"x-request-id": "req-header"}])
@pytest.mark.parametrize("claim", ["req-body", 5, None])
@pytest.mark.parametrize("more", [{}, {"metadata": {"n": 1}}])
def test_a_request_id_in_a_body_never_lands_in_the_record(
    headers: dict[str, str], claim: Any, more: dict[str, Any]
) -> None:
    """``request_id`` is the header's, on both paths, and None where there was no header."""
    document = {"id": "a", "status": "x", "request_id": claim, **more}
    for cls, body in ((Batch, document), (Page[Batch], {"data": [document], "request_id": claim})):
        request = wire.Request(method="GET", path="/x", returns=cls)
        answer = wire.Answer(status=200, headers=headers, body=json.dumps(body).encode())
        record = wire.read(request, answer)
        expected = headers.get("x-request-id")
        assert record.request_id == expected
        assert [item.request_id for item in getattr(record, "data", ())] in ([], [expected])


# Users' own converters


@pytest.mark.parametrize("options", [{}, {"forbid_extra_keys": True}, {"detailed_validation": False}])
def test_a_converter_of_ones_own_learns_the_records(options: dict[str, Any]) -> None:
    """``configure_converter`` teaches any cattrs converter every dialect, whatever it is like otherwise."""

    @attrs.frozen
    class Job:
        name: str
        batch: Batch
        file: FileObject | None = None

    converter = cattrs.Converter(**options)
    configure_converter(converter)
    document = {
        "id": "a",
        "status": "Completed",
        "created_at": "1711471533",
        "errors": ["no"],
        "unknown": 1,
        "request_id": "req",
    }
    job = converter.structure({"name": "n", "batch": document}, Job)
    assert (job.batch.status, job.batch.created_at) == (BatchStatus.COMPLETED, MARCH)
    assert job.batch.errors is not None
    assert [str(error) for error in job.batch.errors] == ["no"]
    assert job.batch.request_id is None
    assert converter.structure([document], Page[Batch]).data == (job.batch,)


def test_a_new_converter_is_nobody_elses() -> None:
    """Hooks that a user adds to a converter from ``make_converter`` change neither ours nor the next one."""
    mine = make_converter()
    mine.register_structure_hook(BatchStatus, lambda value, _: BatchStatus.FAILED)
    assert mine.structure({"id": "a", "status": "completed"}, Batch).status is BatchStatus.FAILED
    assert make_converter().structure({"id": "a", "status": "completed"}, Batch).status is BatchStatus.COMPLETED
    assert batch(status="completed", metadata={"n": 1}).status is BatchStatus.COMPLETED


@pytest.mark.parametrize("moment", [MARCH, MARCH.replace(tzinfo=None)])
def test_a_converter_takes_times_that_are_times_already(moment: dt.datetime) -> None:
    """Values that another parser made (YAML, a database) go through; a naive one is UTC."""
    assert make_converter().structure({"id": "a", "status": "x", "created_at": moment}, Batch).created_at == MARCH
