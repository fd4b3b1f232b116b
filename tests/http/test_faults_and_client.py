"""What a session does with each fault: it gets there, or says what is wrong, and never believes it."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support.fault_showing import shows
from support.http_servers import CHAT, ONCE, chat_lines

from openai_batches import (
    APIError,
    Batch,
    BatchesError,
    BatchFailedError,
    BatchSession,
    BatchStatus,
    DecodeError,
    InternalServerError,
    NotFoundError,
    Outcome,
    PaginationError,
    RateLimitError,
    RetryPolicy,
    TransportError,
    WaitTimeoutError,
)
from openai_batches.emulator import BatchServer, Fault, SteppedClock, Timings, WebhookEndpoint
from openai_batches.resources import create as create_module

if TYPE_CHECKING:
    from pathlib import Path

    from support.http_servers import OpenSession

LINES = 6
IDS = [f"r{number}" for number in range(LINES)]
POST = r"/batches$"


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause for a file that is not seen yet is no subject here."""
    quick = RetryPolicy(attempts=3, initial_delay_s=0.001)
    monkeypatch.setattr(create_module, "_FILE_PATIENCE", quick)


async def begin(session: BatchSession) -> Batch:
    file = await session.files.create(chat_lines(LINES), filename="in.jsonl")
    return await session.batches.create(input_file_id=file.id, endpoint=CHAT)


async def finish(server: BatchServer, session: BatchSession, *faults: Fault) -> Batch:
    """Run a batch to its end; these faults come when it is there."""
    batch = await begin(session)
    server.faults.add(*faults)
    await server.advance(hours=1)
    return await session.batches.wait(batch, poll=0.001)


async def outcomes(session: BatchSession, batch: Batch) -> dict[str | None, Outcome]:
    return {result.custom_id: result.outcome async for result in session.batches.results(batch, inputs=IDS)}


async def many(server: BatchServer, session: BatchSession, count: int = 5) -> list[str]:
    """Make batches; return their ids, newest first."""
    made = [await session.batches.create(input_file_id="file-x", endpoint=CHAT) for _ in range(count)]
    return [batch.id for batch in made][::-1]


async def listed(session: BatchSession) -> list[str]:
    return [batch.id async for batch in session.batches.list(limit=2)]


@shows("lost_answer", "reset_before", "error_before", "error_after", "hang_before", "hang_after", "garbled_json")
@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        (Fault.lost_answer(path=POST, method="POST"), 1),
        (Fault.reset_before(path=POST, method="POST"), 2),
        (Fault.error_before(502, html=True, path=POST, method="POST"), 2),
        (Fault.error_after(500, path=POST, method="POST"), 1),
        (Fault.hang_before(path=POST, method="POST"), 2),
        (Fault.hang_after(path=POST, method="POST"), 1),
        (Fault.garbled_json(path=POST, method="POST"), 1),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
async def test_a_batch_is_created_once(
    server: BatchServer, open_session: OpenSession, fault: Fault, asked: int
) -> None:
    """Whether the service acted or not: one batch is there, and it is the one that is returned."""
    server.faults.add(fault)
    batch = await begin(open_session(server, timeout=2))
    posts = [record for record in server.requests if record.method == "POST" and record.path.endswith("/batches")]
    assert (list(server.store.batches.items), fault.fired, len(posts)) == ([batch.id], 1, asked)


@shows("reset_upload")
async def test_an_upload_that_breaks_is_sent_again(server: BatchServer, session: BatchSession) -> None:
    """The file is there once, and whole."""
    server.faults.add(Fault.reset_upload(times=2))
    file = await session.files.create(chat_lines(500), filename="in.jsonl")
    assert (len(server.store.files.items), server.store.read(file.id)) == (1, chat_lines(500))


@shows("too_large", "insufficient_quota", "token_limit_at_create")
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault.too_large(times=None), 413, None),
        (Fault.too_large(html=True, times=None), 413, None),
        (Fault.insufficient_quota(times=None), 429, "insufficient_quota"),
        (Fault.token_limit_at_create(times=None), 400, "token_limit_exceeded"),
    ],
)
async def test_a_refusal_for_good_is_told_at_once(
    server: BatchServer, session: BatchSession, fault: Fault, status: int, code: str | None
) -> None:
    """What waiting does not help is not tried again, and keeps its status, its code and its words."""
    server.faults.add(fault)
    with pytest.raises(APIError) as caught:
        await begin(session)
    assert (caught.value.status, caught.value.code, fault.fired) == (status, code, 1)
    assert caught.value.message


@shows("rate_limited")
async def test_a_rate_limit_is_waited_out(
    server: BatchServer, session: BatchSession, open_session: OpenSession
) -> None:
    """With and without a pause that the service asks for; a date counts from the session's clock."""
    server.faults.add(Fault.rate_limited(retry_after_ms=2), Fault.rate_limited(times=2))
    assert await session.batches.list() is not None
    server.faults.add(Fault.rate_limited(retry_after_date_s=30))
    with pytest.raises(RateLimitError) as caught:
        await open_session(server, retry=ONCE, now=server.clock.now).batches.list()
    assert (caught.value.retry_after, len(server.faults.fired)) == (30, 4)


@shows("file_not_found_once")
async def test_a_file_that_is_not_seen_yet_is_waited_for(server: BatchServer, session: BatchSession) -> None:
    """The service has the file, so that its refusal is not believed."""
    server.faults.add(Fault.file_not_found_once())
    batch = await begin(session)
    assert list(server.store.batches.items) == [batch.id]


@shows("unseen_batch")
async def test_a_batch_that_is_not_seen_yet_is_waited_for(server: BatchServer, session: BatchSession) -> None:
    """Who asks once hears 404; who waits does not give up."""
    batch = await begin(session)
    server.faults.add(Fault.unseen_batch(times=3))
    with pytest.raises(NotFoundError):
        await session.batches.retrieve(batch.id)
    await server.advance(hours=1)
    assert (await session.batches.wait(batch, poll=0.001)).status == BatchStatus.COMPLETED


@shows("unlisted_batch")
async def test_a_double_of_a_lagging_service_is_cancelled(server: BatchServer, session: BatchSession) -> None:
    """The lost batch was not listed when it was looked for; it is found afterwards, and the second one is cancelled."""
    server.faults.add(Fault.lost_answer(method="POST", path=POST), Fault.unlisted_batch())
    batch = await begin(session)
    await server.advance(hours=1)
    first, second = server.store.batches.items.values()
    assert (batch.id, first.status, second.status) == (first.id, "completed", "cancelled")


async def test_a_double_that_cannot_be_looked_for_is_warned_of(
    server: BatchServer, session: BatchSession, caplog: pytest.LogCaptureFixture
) -> None:
    """The batch is there and is returned, and the log says by which key to look for another one."""
    garbled = Fault.garbled_json(method="GET", path=POST, after_n=1)
    server.faults.add(Fault.reset_before(method="POST", path=POST), garbled)
    batch = await begin(session)
    assert (list(server.store.batches.items), garbled.fired) == ([batch.id], 1)
    assert f"Batch {batch.id} took several attempts, and may have a double" in caplog.text
    assert f"{create_module.KEY_NAME}={(batch.metadata or {})[create_module.KEY_NAME]}" in caplog.text


@shows("cut_body", "truncated", "range_ignored", "wrong_length", "slow_drip")
@pytest.mark.parametrize(
    ("faults", "attempts"),
    [
        ([Fault.cut_body(path="content", after_bytes=100)], 2),
        ([Fault.truncated(path="content", times=2)], 3),
        ([Fault.truncated(path="content", is_chunked=True)], 2),
        ([Fault.cut_body(path="content"), Fault.range_ignored(times=None)], 2),
        ([Fault.wrong_length(path="content", off_by=9)], 2),
        ([Fault.wrong_length(path="content", off_by=-9)], 2),
        ([Fault.slow_drip(path="content", bytes_per_s=100_000, piece_bytes=500)], 1),
    ],
)
async def test_a_download_is_whole_or_not_at_all(
    server: BatchServer, session: BatchSession, tmp_path: Path, faults: list[Fault], attempts: int
) -> None:
    """However the bytes come, those on the disk are the file's own."""
    batch = await finish(server, session, *faults)
    assert batch.output_file_id
    file = await session.files.download(batch.output_file_id, tmp_path / "out.jsonl")
    assert (file.path.read_bytes(), file.attempts) == (server.store.read(batch.output_file_id), attempts)
    assert {fault.fired > 0 for fault in faults} == {True}


async def test_a_download_that_never_comes_whole_leaves_nothing(
    server: BatchServer, session: BatchSession, tmp_path: Path
) -> None:
    """A service that truncates for ever, and knows no ranges, ends in an error and not in half a file."""
    truncated = Fault.truncated(path="content", after_bytes=100, times=None)
    batch = await finish(server, session, truncated, Fault.range_ignored(times=None))
    assert batch.output_file_id
    with pytest.raises(TransportError):
        await session.files.download(batch.output_file_id, tmp_path / "out.jsonl")
    assert not any(os.scandir(tmp_path))


async def test_a_download_goes_on_as_long_as_bytes_come(
    server: BatchServer, session: BatchSession, tmp_path: Path
) -> None:
    """A service that gives a little each time is asked more often than the retries of one failure allow."""
    batch = await finish(server, session, Fault.truncated(path="content", after_bytes=200, times=None))
    assert batch.output_file_id
    file = await session.files.download(batch.output_file_id, tmp_path / "out.jsonl")
    assert file.path.read_bytes() == server.store.read(batch.output_file_id)
    assert file.attempts > 5


async def test_results_that_break_off_are_gone_on_with(server: BatchServer, session: BatchSession) -> None:
    """Each result comes once, whether the service gives the rest of its file or all of it again."""
    batch = await finish(server, session)
    expected = await outcomes(session, batch)
    for others in [], [Fault.range_ignored(times=None)]:
        for fault in [Fault.cut_body(path="content"), Fault.truncated(path="content")]:
            server.faults.clear()
            server.faults.add(fault, *others)
            assert await outcomes(session, batch) == expected
            assert fault.fired == 1


async def test_results_that_never_come_whole_are_an_error(server: BatchServer, session: BatchSession) -> None:
    """A stream of results that ends early does not pass for a short file."""
    truncated = Fault.truncated(path="content", after_bytes=100, times=None)
    batch = await finish(server, session, truncated, Fault.range_ignored(times=None))
    with pytest.raises(TransportError):
        await outcomes(session, batch)


async def test_a_record_that_breaks_off_is_asked_for_again(server: BatchServer, session: BatchSession) -> None:
    """A question without a side effect is repeated; one that cannot be read is told."""
    batch = await begin(session)
    for fault in [Fault.cut_body(), Fault.truncated(), Fault.truncated(is_chunked=True), Fault.wrong_length(off_by=5)]:
        server.faults.add(fault)
        assert (await session.batches.retrieve(batch.id)).id == batch.id
        assert fault.fired == 1
    for fault in [Fault.garbled_json(), Fault.wrong_length(off_by=-5)]:
        server.faults.add(fault)
        with pytest.raises(DecodeError):
            await session.batches.retrieve(batch.id)


async def test_a_wait_survives_answers_that_make_no_sense(server: BatchServer, session: BatchSession) -> None:
    """One is asked again as a failed question; five in a row are the end of the wait, not of the batch."""
    batch = await begin(session)
    await server.advance(hours=1)
    nonsense = [Fault.garbled_json(times=4), Fault.error_before(200, html=True, after_n=5, times=4)]
    server.faults.add(*nonsense, Fault.unknown_status(after_n=4))
    assert (await session.batches.wait(batch, poll=0.001)).status == BatchStatus.COMPLETED
    assert [fault.fired for fault in nonsense] == [4, 4]
    server.faults.clear()
    server.faults.add(Fault.garbled_json(times=None))
    with pytest.raises(DecodeError):
        await session.batches.wait(batch, poll=0.001)


async def test_an_error_page_keeps_its_status(server: BatchServer, open_session: OpenSession) -> None:
    """HTML is no reason to lose the class and the status."""
    server.faults.add(Fault.error_before(503, html=True))
    with pytest.raises(InternalServerError) as caught:
        await open_session(server, retry=ONCE).batches.list()
    assert caught.value.status == 503


@shows("blank_file_ids", "null_counts", "unknown_status")
async def test_odd_records_are_read(server: BatchServer, session: BatchSession) -> None:
    """`""` is no file, null counts are no counts, and an unknown status is not the end."""
    batch = await begin(session)
    everything = [Fault.blank_file_ids(), Fault.null_counts(), Fault.unknown_status("on_hold")]
    server.faults.add(*everything, Fault.null_counts(has_members=True, after_n=1))
    odd = await session.batches.retrieve(batch.id)
    assert (odd.output_file_id, odd.error_file_id, odd.request_counts, odd.status) == (None, None, None, "on_hold")
    assert not odd.is_terminal
    assert (await session.batches.retrieve(batch.id)).progress == 0
    server.faults.add(Fault.unknown_status(times=3), Fault.blank_file_ids(times=None))
    await server.advance(hours=1)
    ended = await session.batches.wait(batch, poll=0.001)
    assert await outcomes(session, ended) == dict.fromkeys(IDS, Outcome.SUCCEEDED)


@shows("lying_counts")
async def test_counts_are_not_believed(server: BatchServer, open_session: OpenSession, tmp_path: Path) -> None:
    """The batch says that all succeeded, and its results say what is true."""

    async def fail(*_: Any) -> tuple[int, dict[str, Any]]:
        return 500, {}

    async with BatchServer(clock=SteppedClock(), executor=fail) as failing:
        session = open_session(failing)
        batch = await finish(failing, session, Fault.lying_counts(times=None))
        assert batch.succeeded_all
        assert await outcomes(session, batch) == dict.fromkeys(IDS, Outcome.FAILED)
        assert (await session.batches.download(batch, tmp_path)).agrees is False


@pytest.mark.needs("cursors")
@shows("empty_page", "stuck_cursor", "always_has_more")
@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Fault.empty_page(has_cursor=False, after_n=1), 2),
        (Fault.stuck_cursor(times=None), 2),
        (Fault.always_has_more(times=None), 5),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
async def test_a_list_without_an_end_is_an_error(
    server: BatchServer, session: BatchSession, fault: Fault, seen: int
) -> None:
    """What came is yielded, and then it is said that the list cannot be followed: no short list, no loop."""
    made = await many(server, session)
    server.faults.add(fault)
    walk = aiter(session.batches.list(limit=2))
    assert [(await anext(walk)).id for _ in range(seen)] == made[:seen]
    with pytest.raises(PaginationError):
        await anext(walk)


@shows("overlapping_pages", "missing_has_more", "missing_page_ids")
@pytest.mark.parametrize(
    "faults",
    [
        [Fault.empty_page(after_n=5)],
        [Fault.overlapping_pages(times=None)],
        [Fault.missing_has_more(times=None)],
        [Fault.missing_page_ids(times=None)],
        [Fault.missing_has_more(times=None), Fault.missing_page_ids(times=None)],
    ],
    ids=str,
)
async def test_a_list_is_whole_all_the_same(server: BatchServer, session: BatchSession, faults: list[Fault]) -> None:
    """Every batch comes, and once."""
    made = await many(server, session)
    server.faults.add(*faults)
    assert await listed(session) == made


@pytest.mark.needs("cursors")
async def test_an_empty_page_in_the_middle_is_passed(server: BatchServer, session: BatchSession) -> None:
    """A page without items that says where to go on does not end the list; what it left out is not known."""
    made = await many(server, session)
    server.faults.add(Fault.empty_page(after_n=1))
    assert await listed(session) == made[:2] + made[4:]


@shows("stuck")
@pytest.mark.parametrize("state", ["validating", "in_progress", "finalizing", "cancelling"])
async def test_a_stuck_batch_is_left_alone(server: BatchServer, session: BatchSession, state: Any) -> None:
    """The waiter gives up in time and says where the batch stands; it has not cancelled it, and can wait again."""
    fault = Fault.stuck(state)
    server.faults.add(fault)
    batch = await begin(session)
    if state == "cancelling":
        await session.batches.cancel(batch.id)
    await server.advance(hours=1)
    with pytest.raises(WaitTimeoutError) as caught:
        await session.batches.wait(batch, timeout=1, poll=0.01)
    assert caught.value.batch is not None
    stored = server.store.batches.items[batch.id]
    assert stored.status == state
    # Some services have other words for it, or capitals.
    assert caught.value.batch.status == server.profile.show(stored)["status"].lower()
    fault.release()
    await server.advance(hours=1)
    ended = await session.batches.wait(batch, poll=0.001)
    assert ended.status == ("cancelled" if state == "cancelling" else "completed")


@shows("file_not_found_in_validation", "token_limit_exceeded", "billing_hard_limit_reached")
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.file_not_found_in_validation(), "Cannot find file"),
        (Fault.token_limit_exceeded(), "Enqueued token limit reached"),
        (Fault.billing_hard_limit_reached(), "Billing hard limit"),
    ],
)
async def test_a_failed_batch_says_why(server: BatchServer, session: BatchSession, fault: Fault, words: str) -> None:
    """The wait ends, and who asks for results hears the service's reason."""
    server.faults.add(fault)
    batch = await finish(server, session)
    assert batch.status == BatchStatus.FAILED
    with pytest.raises(BatchFailedError, match=words):
        await outcomes(session, batch)


@shows("expired_early")
async def test_what_expired_is_told_from_what_ran(open_session: OpenSession) -> None:
    """The results that were paid for are there, the other requests are named as expired."""
    timings = Timings(validating_s=1, line_s=10)
    async with BatchServer(clock=SteppedClock(), timings=timings, faults=Fault.expired_early(for_s=32)) as server:
        session = open_session(server)
        batch = await finish(server, session)
        assert batch.status == BatchStatus.EXPIRED
        told = await outcomes(session, batch)
    assert list(told) == IDS
    assert Counter(told.values()) == {Outcome.SUCCEEDED: 3, Outcome.EXPIRED: 3}


@shows("missing_lines", "unparseable_lines", "status_zero_lines")
@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Fault.missing_lines(lines=2), Outcome.MISSING),
        (Fault.unparseable_lines(lines=2), Outcome.INVALID),
        (Fault.status_zero_lines(lines=2), Outcome.FAILED),
    ],
    ids=str,
)
async def test_each_request_has_an_outcome(
    server: BatchServer, session: BatchSession, fault: Fault, outcome: Outcome
) -> None:
    """Lines that are not there, cannot be read or say nothing are two outcomes, and leave the others alone."""
    batch = await finish(server, session, fault)
    told = await outcomes(session, batch)
    assert sorted(told, key=str) == IDS
    assert Counter(told.values()) == {Outcome.SUCCEEDED: LINES - 2, outcome: 2}


async def test_a_status_of_zero_may_be_tried_again(server: BatchServer, session: BatchSession) -> None:
    """Nothing says that the request itself is at fault."""
    batch = await finish(server, session, Fault.status_zero_lines())
    failed = [result async for result in session.batches.results(batch) if result.outcome is Outcome.FAILED]
    assert [(result.status_code, result.is_retryable) for result in failed] == [(0, True)]


@shows("shuffled_lines", "doubled_lines", "foreign_lines")
async def test_results_are_joined_by_id(server: BatchServer, session: BatchSession) -> None:
    """Whatever the order, each input has one result in its place; the others are counted and named."""
    faults = [Fault.shuffled_lines(), Fault.doubled_lines(lines=2), Fault.foreign_lines(lines=1)]
    batch = await finish(server, session, *faults)
    results = session.batches.results(batch, inputs=IDS, ordered=True)
    told = [(result.custom_id, result.outcome) async for result in results]
    assert told[:LINES] == [(custom_id, Outcome.SUCCEEDED) for custom_id in IDS]
    assert [outcome for _, outcome in told[LINES:]] == [Outcome.FOREIGN]
    assert results.summary.doubled >= 2
    assert results.summary.foreign == 1


@shows("duplicate_webhook", "reordered_webhook", "lost_webhook")
@pytest.mark.parametrize("fault", [Fault.duplicate_webhook(), Fault.reordered_webhook(), Fault.lost_webhook()], ids=str)
async def test_a_waiter_needs_no_webhook(open_session: OpenSession, fault: Fault) -> None:
    """A session asks for itself, whatever becomes of the messages."""
    nobody = WebhookEndpoint("http://127.0.0.1:9/")
    async with BatchServer(clock=SteppedClock(), faults=fault, webhooks=nobody) as server:
        batch = await finish(server, open_session(server))
        assert (batch.status, fault.fired) == (BatchStatus.COMPLETED, 1)


async def test_a_job_comes_through_a_bad_day(server: BatchServer, session: BatchSession) -> None:
    """With every third request failing in one way or another, a batch is created once and read whole."""
    day = server.faults.schedule(
        Fault.rate_limited(retry_after_ms=1, probability=0.1, times=None), seed=5, lost_answer=0.1, error_before=0.1
    )
    server.faults.add(*day)
    for _ in range(5):
        batch = await begin(session)
        await server.advance(hours=1)
        ended = await session.batches.wait(batch, poll=0.001)
        assert await outcomes(session, ended) == dict.fromkeys(IDS, Outcome.SUCCEEDED)
    assert len(server.store.batches.items) == 5
    assert len(server.faults.fired) > 5


ROAD = {
    "lost_answer": 0.06,
    "reset_before": 0.06,
    "error_before": 0.05,
    "error_after": 0.05,
    "rate_limited": 0.05,
    "cut_body": 0.05,
    "truncated": 0.05,
    "garbled_json": 0.03,
    "unseen_batch": 0.02,
    "stuck_cursor": 0.02,
    "overlapping_pages": 0.02,
    "missing_has_more": 0.03,
}


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_on_the_road(server: BatchServer, session: BatchSession, seed: int) -> None:
    """With nearly every other request disturbed: one batch and the right results, or an error of ours."""
    server.faults.add(*server.faults.schedule(seed=seed, **ROAD))
    with contextlib.suppress(BatchesError):
        batch = await begin(session)
        await server.advance(hours=1)
        ended = await session.batches.wait(batch, poll=0.001)
        told = await outcomes(session, ended)
        assert told == dict.fromkeys(IDS, Outcome.SUCCEEDED)
        alive = [made.id for made in server.store.batches.items.values() if made.status != "cancelled"]
        assert alive == [batch.id]
