"""What a beginner does wrong is answered in words that say what to do instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from support.http_servers import CHAT, KEY, ONCE, QUICK

from openai_batches import (
    APIError,
    Batch,
    BatchSession,
    BatchStatus,
    InputError,
    NotFoundError,
    WebhookReceiver,
    to_requests,
    verify_webhook,
    write_results,
)
from openai_batches.emulator import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from support.http_servers import OpenSession

    from openai_batches.emulator import BatchServer

LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{}]}}\n'


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retry": 3}, r"retry must be a RetryPolicy, such as RetryPolicy\(attempts=3\), not 3"),
        ({"session": "x"}, "session must be an aiohttp.ClientSession, not 'x'"),
        ({"session": aiohttp.ClientSession}, "session must be an aiohttp.ClientSession, not <class"),
        ({"headers": "x"}, "headers must be a mapping of str to str, not str"),
        ({"base_url": ""}, "base_url is empty: leave it out for the service's own address"),
        ({"organization": 5}, "organization must be a str, not int"),
        ({"project": b"p"}, "project must be a str, not bytes"),
    ],
)
def test_a_session_refuses_what_it_cannot_use(options: dict[str, Any], message: str) -> None:
    """A wrong type is found where it is given, not in the middle of the first call."""
    with pytest.raises(InputError, match=message):
        BatchSession(KEY, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"poll": "1"}, "poll must be seconds above 0 or a PollPolicy, not '1'"),
        ({"poll": 0}, "poll must be seconds above 0 or a PollPolicy, not 0"),
        ({"timeout": "5"}, "timeout must be 0 or more seconds, not '5'"),
    ],
)
async def test_waiting_names_its_own_arguments(session: BatchSession, options: dict[str, Any], message: str) -> None:
    """The message speaks of the argument that was written, not of one further in."""
    with pytest.raises(InputError, match=message):
        await session.batches.wait("batch_1", **options)


@pytest.mark.parametrize("most", ["x", 1.5, True])
async def test_a_number_of_items_that_is_none(session: BatchSession, most: Any) -> None:
    with pytest.raises(InputError, match="max_items must be a whole number of 0 or more, or None, not"):
        await session.batches.list().collect(most)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([5], "a writer writes BatchResults, not int"),
        ([{"custom_id": "a"}], "a writer writes BatchResults, not dict"),
        (None, "results are an iterable or an async iterable of BatchResults, not NoneType"),
        (5, "results are an iterable or an async iterable of BatchResults, not int"),
    ],
)
async def test_what_is_no_result_is_not_written(results: Any, message: str, tmp_path: Path) -> None:
    """And no file is left of it."""
    with pytest.raises(InputError, match=message):
        await write_results(results, tmp_path / "results.jsonl")
    assert _names(tmp_path) == []


@pytest.mark.parametrize(
    ("unfinished", "message"),
    [
        (5, "unfinished requests are an iterable or an async iterable of results or custom_ids, not int"),
        ("a", "unfinished requests are an iterable or an async iterable of results or custom_ids, not str"),
        (None, "unfinished requests are an iterable .*, not NoneType"),
        ([5], "an unfinished request is a BatchResult or a custom_id, not int"),
    ],
)
async def test_what_is_no_unfinished_request(unfinished: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _ = [line async for line in to_requests(unfinished, [LINE])]


@pytest.mark.parametrize("secret", [None, 5])
async def test_what_is_no_secret(session: BatchSession, secret: Any) -> None:
    """The environment is read by the receiver only, and only where nothing is said."""
    with pytest.raises(InputError, match=f"a webhook's secret must be a str, or several, not {type(secret).__name__}"):
        verify_webhook({}, b"", secret, now=0)
    wrong: Any = 5
    with pytest.raises(InputError, match="a webhook's secret must be a str, or several, not int"):
        WebhookReceiver(session, wrong)


@pytest.mark.parametrize("wrong", ["session", 5])
def test_what_is_no_session_of_a_receiver(wrong: Any) -> None:
    with pytest.raises(InputError, match="a WebhookReceiver takes a BatchSession, or its batches, not "):
        WebhookReceiver(wrong, "secret")


async def test_a_record_in_place_of_its_id(session: BatchSession) -> None:
    """Whoever passes the record is told to pass its id, and no page of repr is sent or shown."""
    batch: Any = Batch(id="batch_1", status=BatchStatus.VALIDATING)
    with pytest.raises(InputError, match=r"batch_id must be a str, not Batch: pass its \.id"):
        await session.batches.retrieve(batch)
    with pytest.raises(InputError, match=r"input_file_id must be the id of .*, not Batch: pass its \.id"):
        await session.batches.create(input_file_id=batch, endpoint="/v1/responses")
    with pytest.raises(InputError, match="after must be the id of an item, not Batch"):
        session.batches.list(after=batch)


async def test_a_coroutine_in_place_of_its_result(session: BatchSession) -> None:
    """A forgotten await is named."""
    forgotten: Any = session.batches.retrieve("batch_1")
    with pytest.raises(InputError, match="not coroutine: it was not awaited"):
        await session.batches.wait(forgotten)
    forgotten.close()


async def test_a_key_callable_that_is_not_async(server: BatchServer, open_session: OpenSession) -> None:
    """A callable that just returns the key is refused in words."""
    with pytest.raises(InputError, match="api_key must be a str or an async callable"):
        await open_session(server, api_key=lambda: KEY).batches.retrieve("batch_1")


async def test_an_error_notes_what_was_asked(server: BatchServer, open_session: OpenSession) -> None:
    """A base URL that is not quite right shows in the notes of the error."""
    session = open_session(server.base_url.removesuffix("/v1"))
    with pytest.raises(NotFoundError) as caught:
        await session.batches.retrieve("batch_1")
    assert f"asked: GET {session.base_url}/batches/batch_1" in caught.value.__notes__


async def test_an_error_notes_how_often_it_was_tried(server: BatchServer, open_session: OpenSession) -> None:
    """After several attempts the error says so; after one there is nothing to say."""
    server.faults.add(Fault.error_before(503, times=None))
    with pytest.raises(APIError) as caught:
        await open_session(server, retry=QUICK).batches.retrieve("batch_1")
    assert caught.value.__notes__[-1].startswith("after 5 attempts in ")
    with pytest.raises(APIError) as caught:
        await open_session(server, retry=ONCE).batches.retrieve("batch_1")
    assert not any("attempts" in note for note in caught.value.__notes__)


async def test_a_pause_that_is_too_long_is_noted(server: BatchServer, open_session: OpenSession) -> None:
    """A rate limit that is raised at once says why it was not waited for."""
    server.faults.add(Fault.rate_limited(retry_after_s=1000))
    with pytest.raises(APIError) as caught:
        await open_session(server).batches.retrieve("batch_1")
    assert "the service asks to wait 1000 s, max_retry_after_s is 120" in caught.value.__notes__


async def test_a_short_key_does_not_spoil_the_services_words(server: BatchServer, open_session: OpenSession) -> None:
    """What an emulator's user types as a key is no secret, and may be a part of any word."""
    with pytest.raises(NotFoundError, match="No batch found with id 'batch_nope'"):
        await open_session(server, api_key="batch").batches.retrieve("batch_nope")


async def test_content_is_read_once(session: BatchSession) -> None:
    """A second walk over content that is gone is refused, instead of passing for an empty file."""
    file = await session.files.create(b"a\nb\n", purpose="user_data", filename="a.txt")
    batch_file = await session.files.create(b'{"a": 1}\n', filename="a.jsonl")
    assert file.bytes == 4
    content = session.files.content(batch_file.id)
    async with content:
        assert [line async for line in content.iter_lines()] == [b'{"a": 1}']
        with pytest.raises(InputError, match="was read already"):
            [line async for line in content.iter_lines()]
        with pytest.raises(InputError, match="was read already"):
            await content.read()
    with pytest.raises(InputError, match="was opened already"):
        async with content:
            pass  # pragma: no cover - never entered


async def test_results_are_read_once(server: BatchServer, session: BatchSession) -> None:
    """A second walk over results that were read to their end is refused, instead of finding none."""
    file = await session.files.create(LINE)
    batch = await session.batches.create(input_file_id=file.id, endpoint=CHAT)
    await server.settle()
    await server.advance(hours=1)
    results = session.batches.results(await session.batches.wait(batch))
    assert len([result async for result in results]) == 1
    with pytest.raises(InputError, match="were read to their end"):
        [result async for result in results]


async def test_a_record_that_is_out_of_date_is_looked_at_again(server: BatchServer, session: BatchSession) -> None:
    """A batch that has ended since it was looked at gives its results; one that still runs says so."""
    file = await session.files.create(LINE)
    batch = await session.batches.create(input_file_id=file.id, endpoint=CHAT)
    with pytest.raises(InputError, match=r"is (validating|in_queue): its results can be read once it has ended"):
        await anext(session.batches.results(batch))
    await server.advance(hours=1)
    assert len([result async for result in session.batches.results(batch)]) == 1


async def test_inputs_of_another_batch_are_not_sent_again(server: BatchServer, session: BatchSession) -> None:
    """Requests that were never in the batch are not called unfinished, which would be paid for twice."""
    file = await session.files.create(LINE)
    batch = await session.batches.create(input_file_id=file.id, endpoint=CHAT)
    await server.advance(hours=1)
    others = [LINE.replace(b'"a"', b'"b"')]
    with pytest.raises(InputError, match="are they those of another one"):
        [line async for line in to_requests(session.batches.results(batch, inputs=others), others)]


async def test_results_are_not_sent_as_requests() -> None:
    """Whoever gives the output file in place of the input file is told, before it is uploaded."""
    output = b'{"id":"batch_req_1","custom_id":"a","response":{"status_code":200},"error":null}'
    with pytest.raises(InputError, match="this is a result"):
        [line async for line in to_requests(["a"], [output])]


async def test_a_compressed_file_is_not_uploaded(session: BatchSession) -> None:
    """The service reads no compressed files; the message says what does."""
    with pytest.raises(InputError, match="write_shards"):
        await session.files.create(b"x", filename="a.jsonl.gz")


async def test_a_compression_that_is_none_is_known_at_once(session: BatchSession) -> None:
    """Nothing is asked of the service for a download that cannot be written."""
    wrong: Any = "gz"
    with pytest.raises(InputError, match="gz"):
        await session.batches.download("batch_1", "results", compress=wrong)
