"""The verbs of batches, against a server of the API."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from support.http_servers import CHAT, KEY, RawServer, answer, batch_json, chat_lines, json_answer
from support.result_lines import result_line
from support.services import emulator

from openai_batches import (
    OPENAI,
    Batch,
    BatchesWarning,
    BatchFailedError,
    BatchSession,
    BatchStatus,
    ConflictError,
    InputError,
    NotFoundError,
    Outcome,
    PollPolicy,
    TransportError,
    WaitTimeoutError,
)
from openai_batches.emulator import BatchServer, Fault, SteppedClock, Timings
from openai_batches.resources.create import KEY_NAME

if TYPE_CHECKING:
    from support.http_servers import Asked, OpenSession


async def started(session: BatchSession, lines: bytes | int = 3, **options: Any) -> Batch:
    """A batch of these lines that has just been created."""
    file = await session.files.create(chat_lines(lines) if isinstance(lines, int) else lines)
    return await session.batches.create(input_file_id=file.id, endpoint=CHAT, **options)


class TestCreate:
    async def test_the_body_is_the_documented_one(self, open_session: OpenSession) -> None:
        """The body has the documented fields, a key in the metadata, and what is passed on."""

        async def handler(asked: Asked) -> bytes:
            bodies.append(await asked.json())
            return json_answer(batch_json())

        bodies: list[dict[str, Any]] = []
        async with RawServer(handler) as server:
            session = open_session(server)
            await session.batches.create(input_file_id="file-in", endpoint=CHAT)
            with pytest.warns(BatchesWarning, match="'7d' is not a window OpenAI is known to take"):
                await session.batches.create(
                    input_file_id="file-in",
                    endpoint=CHAT,
                    completion_window="7d",
                    metadata={"a": "b"},
                    output_expires_after=dt.timedelta(days=1),
                    priority="low",
                )
        (key,) = bodies[0].pop("metadata").values()
        assert len(key) == 32
        assert bodies[0] == {"input_file_id": "file-in", "endpoint": CHAT, "completion_window": "24h"}
        assert bodies[1].pop("metadata").keys() == {"a", KEY_NAME}
        assert bodies[1] == {
            "input_file_id": "file-in",
            "endpoint": CHAT,
            "completion_window": "7d",
            "output_expires_after": {"anchor": "created_at", "seconds": 86_400},
            "priority": "low",
        }

    @pytest.mark.parametrize(
        "wrong",
        [
            {"input_file_id": ""},
            {"input_file_id": None},
            {"completion_window": ""},
            {"completion_window": 24},
            {"endpoint": "chat"},
            {"metadata": {"a": 1}},
            {"metadata": {str(number): "x" for number in range(17)}},
            {"output_expires_after": 1},
        ],
    )
    async def test_what_is_refused_before_it_is_sent(
        self, wrong: dict[str, Any], server: BatchServer, session: BatchSession
    ) -> None:
        """What cannot be right is refused in words, and nothing is sent."""
        with pytest.raises(InputError, match=next(iter(wrong))):
            await session.batches.create(**{"input_file_id": "file-in", "endpoint": CHAT, **wrong})
        assert not server.requests

    async def test_an_endpoint_that_is_not_known(self, open_session: OpenSession) -> None:
        """An endpoint that the service is not known to take is warned of where it was written, and sent."""
        async with RawServer(lambda _: asyncio.sleep(0, json_answer(batch_json()))) as server:
            with pytest.warns(BatchesWarning, match="'/v1/new' is not an endpoint OpenAI is known to batch") as caught:
                await open_session(server).batches.create(input_file_id="f", endpoint="/v1/new")
            anything = attrs.evolve(OPENAI, endpoints=frozenset())
            await open_session(server, provider=anything).batches.create(input_file_id="f", endpoint="/v1/new")
            assert len(server.asked) == 2
        assert caught[0].filename == __file__


class TestTheWholeWay:
    async def test_from_the_file_to_the_results(self, server: BatchServer, session: BatchSession) -> None:
        """A batch is created, seen, listed, waited for and read."""
        batch = await started(session, 20, metadata={"mine": "yes"})
        assert batch.status in {"validating", "in_queue"}
        assert await session.batches.retrieve(batch.id) == batch
        assert [listed.id async for listed in session.batches.list()] == [batch.id]
        waiting = asyncio.create_task(session.batches.wait(batch, timeout=60, poll=0.02))
        await server.advance(hours=1)
        done = await waiting
        assert done.succeeded_all
        assert done.metadata is not None
        assert done.metadata["mine"] == "yes"
        results = [result async for result in session.batches.results(done)]
        assert sorted(str(result.custom_id) for result in results) == sorted(f"r{number}" for number in range(20))
        assert {result.outcome for result in results} == {Outcome.SUCCEEDED}
        assert all(str(result.output_text).startswith("[echo] question") for result in results)
        assert [result.line_number for result in results] == list(range(1, 21))
        by_id = [result.custom_id async for result in session.batches.results(batch.id)]
        assert by_id == [result.custom_id for result in results]

    async def test_waiting_by_id(self, server: BatchServer, session: BatchSession) -> None:
        """An id is enough to wait; the waiter's timeout carries the batch and does not touch it."""
        batch = await started(session)
        with pytest.raises(WaitTimeoutError) as caught:
            await session.batches.wait(batch.id, timeout=1, poll=PollPolicy.every(0.05))
        assert caught.value.batch == batch
        await server.advance(hours=1)
        assert (await session.batches.wait(batch.id)).status == BatchStatus.COMPLETED
        assert not [record for record in server.requests if record.path.endswith("/cancel")]

    async def test_a_question_that_fails_on_the_way(self, open_session: OpenSession) -> None:
        """A service that is out of order for a while does not end the waiting."""
        clock = SteppedClock()
        faults = [Fault.error_before(503, method="GET", path="/batches/", after_n=1, times=12)]
        async with emulator(clock=clock, faults=faults) as server:
            session = open_session(server)
            batch = await started(session)
            waiting = asyncio.create_task(session.batches.wait(batch, timeout=60, poll=0.01))
            await server.advance(hours=1)
            assert (await waiting).status == BatchStatus.COMPLETED

    async def test_cancelling(self, server: BatchServer, session: BatchSession) -> None:
        """Cancelling turns a batch, leaves what it had finished, and cannot be done to one that has ended."""
        batch = await started(session, 1_000)
        await server.advance(seconds=3 + 20)
        assert (await session.batches.cancel(batch.id)).status == BatchStatus.CANCELLING
        assert (await session.batches.cancel(batch.id)).status == BatchStatus.CANCELLING
        await server.advance(hours=1)
        ended = await session.batches.wait(batch)
        assert ended.status == BatchStatus.CANCELLED
        outcomes = [result.outcome async for result in session.batches.results(ended)]
        assert len(outcomes) == 1_000
        assert set(outcomes) == {Outcome.SUCCEEDED, Outcome.CANCELLED}
        done = await started(session)
        await server.advance(hours=1)
        with pytest.raises(ConflictError):
            await session.batches.cancel(done.id)

    @pytest.mark.needs("expiry")
    async def test_expiring(self, open_session: OpenSession) -> None:
        """The files of an expired batch are read like those of any other."""
        async with emulator(timings=Timings(line_s=3_000)) as server:
            session = open_session(server)
            batch = await started(session, 40)
            await server.advance(hours=25)
            ended = await session.batches.wait(batch)
            assert ended.status == BatchStatus.EXPIRED
            outcomes = [result.outcome async for result in session.batches.results(ended)]
        assert (outcomes.count(Outcome.SUCCEEDED), outcomes.count(Outcome.EXPIRED)) == (28, 12)

    async def test_failing(self, server: BatchServer, session: BatchSession) -> None:
        """A batch that failed validation has no results: the error says why, line by line."""
        batch = await started(session, b'{"custom_id": "a"}\n' * 3)
        await server.advance(hours=1)
        ended = await session.batches.wait(batch)
        assert ended.status == BatchStatus.FAILED
        with pytest.raises(
            BatchFailedError, match=r"failed before any of its requests ran: line 1: .*; and \d+ more"
        ) as caught:
            await anext(session.batches.results(ended))
        assert caught.value.batch is ended
        assert ended.errors is not None
        assert {error.line for error in ended.errors} == {1, 2, 3}

    async def test_failing_without_a_reason(self, session: BatchSession) -> None:
        """Where the service says nothing, the error says that."""
        batch = Batch(id="b", status=BatchStatus.FAILED)
        with pytest.raises(BatchFailedError, match=r"the service gives no reason$"):
            await anext(session.batches.results(batch))

    async def test_running(self, session: BatchSession) -> None:
        """A batch that has not ended has no results yet."""
        batch = await started(session)
        for given in (batch, batch.id):
            with pytest.raises(
                InputError, match=r"is (validating|in_queue): its results can be read once it has ended"
            ):
                await anext(session.batches.results(given))

    async def test_a_batch_that_is_not_there(self, session: BatchSession) -> None:
        """Unknown ids are the service's error."""
        for verb in (session.batches.retrieve, session.batches.cancel, session.batches.wait):
            with pytest.raises(NotFoundError):
                await verb("batch_nothing")
        with pytest.raises(NotFoundError):
            await anext(session.batches.results("batch_nothing"))

    async def test_lists(self, server: BatchServer, session: BatchSession) -> None:
        """Lists are followed to their end, from a cursor on, newest first."""
        for number in range(25):
            server.store.new_batch(scope=KEY, now=1_750_000_000 + number, endpoint=CHAT, input_file_id="f")
        ids = [batch.id async for batch in session.batches.list(limit=10)]
        assert ids == list(server.store.batches.items)[::-1]
        assert [batch.id async for batch in session.batches.list(after=ids[19], limit=3, prefetch=1)] == ids[20:]

    @pytest.mark.needs("cursors")
    async def test_lists_come_page_by_page(self, server: BatchServer, session: BatchSession) -> None:
        """A page has as many batches as are asked for."""
        for number in range(25):
            server.store.new_batch(scope=KEY, now=1_750_000_000 + number, endpoint=CHAT, input_file_id="f")
        assert len(await session.batches.list(limit=10).collect()) == 25
        assert [(record.query.get("limit"), record.status) for record in server.requests] == [("10", 200)] * 3

    @pytest.mark.parametrize("options", [{"limit": 0}, {"limit": 101}, {"limit": True}, {"prefetch": -1}])
    def test_lists_check_what_they_are_given(self, options: Any) -> None:
        """What no list takes is refused when it is asked for."""
        with pytest.raises(InputError):
            BatchSession(KEY).batches.list(**options)


class TestResults:
    """What the files hold, from a server that says it as the test wants."""

    @staticmethod
    def server(**files: bytes) -> RawServer:
        return RawServer(lambda asked: answer(200, files[asked.path.split("/")[3]]))

    async def test_both_files_in_every_state(self, open_session: OpenSession) -> None:
        """In every terminal state both files are read, the output first; a failed batch's too, where it has some."""
        async with self.server(out=result_line("a"), err=result_line("b", 400)) as server:
            for status in ("completed", "expired", "cancelled", "failed"):
                batch = Batch(id="b", status=BatchStatus(status), output_file_id="out", error_file_id="err")
                found = [(item.custom_id, item.outcome) async for item in open_session(server).batches.results(batch)]
                assert found == [("a", Outcome.SUCCEEDED), ("b", Outcome.FAILED)]

    async def test_no_files_at_all(self, open_session: OpenSession) -> None:
        """A batch that ended without files has no results."""
        async with self.server() as server:
            batch = Batch(id="b", status=BatchStatus.CANCELLED, output_file_id="")
            assert [item async for item in open_session(server).batches.results(batch)] == []

    async def test_lines_that_cannot_be_read(self, open_session: OpenSession) -> None:
        """An unreadable line is one result and no end; empty lines are none, and count as lines."""
        content = (
            result_line("a") + b"\n   \r\n" + b'{"custom_id": "b", "resp\n' + b"[1]\n\xff\xfe\n" + result_line("c")
        )
        async with self.server(out=content) as server:
            batch = Batch(id="b", status=BatchStatus.COMPLETED, output_file_id="out")
            found = [item async for item in open_session(server).batches.results(batch)]
        outcomes = [(item.custom_id, str(item.outcome), item.line_number) for item in found]
        invalid = [("b", "invalid", 4), (None, "invalid", 5), (None, "invalid", 6)]
        assert outcomes == [("a", "succeeded", 1), *invalid, ("c", "succeeded", 7)]

    async def test_a_file_that_is_cut(self, open_session: OpenSession) -> None:
        """A file that ends early raises after what came before it was yielded."""

        async def handler(asked: Asked) -> None:
            asked.writer.write(answer(200, result_line("a") * 3)[:-20])
            await asked.writer.drain()

        async with RawServer(handler) as server:
            batch = Batch(id="b", status=BatchStatus.COMPLETED, output_file_id="out")
            results = open_session(server).batches.results(batch)
            seen = [(await anext(results)).custom_id, (await anext(results)).custom_id]
            with pytest.raises(TransportError):
                await anext(results)
        assert seen == ["a", "a"]

    async def test_leaving_early_leaves_nothing_behind(self, open_session: OpenSession) -> None:
        """Who breaks out of the loop gets no warning, and the connection is not left open for ever."""
        async with self.server(out=result_line("a") * 200_000) as server:
            session = open_session(server)
            batch = Batch(id="b", status=BatchStatus.COMPLETED, output_file_id="out")
            for _ in range(3):
                async for item in session.batches.results(batch):
                    assert item.custom_id == "a"
                    break
                gc.collect()
                await asyncio.sleep(0.01)
            connector = session._exchange._session.connector  # type: ignore[union-attr]
            assert not connector._acquired  # type: ignore[union-attr]
