"""The client's core story, told to every service that the emulator plays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from support.http_servers import CHAT, KEY, RawServer, answer, batch_json, chat_line, chat_lines, file_json, json_answer
from support.services import PROVIDERS

import openai_batches
from openai_batches import (
    AZURE,
    DOUBLEWORD,
    GROQ,
    NOVITA,
    OPENAI,
    SILICONFLOW,
    AmbiguousCreateError,
    BadRequestError,
    BatchesWarning,
    BatchSession,
    BatchStatus,
    InputError,
    NotFoundError,
    Outcome,
    PaginationError,
    Provider,
    validate_requests,
)
from openai_batches.emulator import BatchServer, Fault, SteppedClock

if TYPE_CHECKING:
    from support.http_servers import Asked, OpenSession

# The echo refuses what has no message.
REFUSED = b'{"custom_id": "bad", "method": "POST", "url": "%b", "body": {"model": "gpt-4o-mini", "messages": []}}\n'
INPUT = chat_lines(2) + REFUSED % CHAT.encode() + chat_line("r9", "last")


@pytest.fixture(params=sorted(PROVIDERS))
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def ended(server: BatchServer, session: BatchSession, content: bytes = INPUT, **metadata: str) -> Any:
    file = await session.files.create(content)
    batch = await session.batches.create(input_file_id=file.id, endpoint=CHAT, metadata=metadata)
    await server.advance(hours=1)
    return await session.batches.wait(batch)


class TestTheStory:
    async def test_from_the_upload_to_the_last_result(self, service: str, open_session: OpenSession) -> None:
        """Upload, create, list, wait, results in the order of the inputs, delete: the same code for every service."""
        async with BatchServer(clock=SteppedClock(), profile=service) as server:
            session = open_session(server)
            file = await session.files.create(INPUT, filename="story.jsonl")
            assert (await session.files.retrieve(file.id)).bytes == len(INPUT)
            batch = await session.batches.create(input_file_id=file.id, endpoint=CHAT, metadata={"for": "story"})
            assert not batch.is_terminal
            assert batch.progress == 0
            await server.advance(hours=1)
            batch = await session.batches.wait(batch)
            assert batch.status == BatchStatus.COMPLETED
            assert batch.metadata["for"] == "story"
            assert (batch.request_counts.total, batch.request_counts.failed) == (4, 1)
            assert [one.id async for one in session.batches.list()] == [batch.id]

            results = session.batches.results(batch, inputs=INPUT.splitlines(), ordered=True)
            told = [(result.custom_id, result.outcome, result.output_text) async for result in results]
            assert told == [
                ("r0", Outcome.SUCCEEDED, "[echo] question 0"),
                ("r1", Outcome.SUCCEEDED, "[echo] question 1"),
                ("bad", Outcome.FAILED, None),
                ("r9", Outcome.SUCCEEDED, "[echo] last"),
            ]
            assert (await session.files.delete(file.id)).deleted
            with pytest.raises(NotFoundError):
                await session.files.retrieve(file.id)

    async def test_without_inputs(self, service: str, open_session: OpenSession) -> None:
        """Every line is read once, and a failure says why, wherever the service writes it."""
        async with BatchServer(clock=SteppedClock(), profile=service) as server:
            session = open_session(server)
            batch = await ended(server, session)
            results = {result.custom_id: result async for result in session.batches.results(batch)}
        assert results.keys() == {"r0", "r1", "bad", "r9"}
        assert "messages" in results["bad"].error.message
        assert results["r0"].usage.total_tokens > 0
        assert results["r0"].model == "gpt-4o-mini"

    async def test_a_cancelled_batch(self, service: str, open_session: OpenSession) -> None:
        """What had run is there, and what had not says so or is missing."""
        async with BatchServer(clock=SteppedClock(), profile=service) as server:
            session = open_session(server)
            content = chat_lines(400)
            file = await session.files.create(content)
            batch = await session.batches.create(input_file_id=file.id, endpoint=CHAT)
            await server.advance(seconds=10)
            assert (await session.batches.retrieve(batch.id)).status == BatchStatus.IN_PROGRESS
            assert (await session.batches.cancel(batch.id)).status == BatchStatus.CANCELLING
            await server.advance(seconds=10)
            batch = await session.batches.wait(batch.id)
            assert batch.status == BatchStatus.CANCELLED
            lines = content.splitlines()
            outcomes = [result.outcome async for result in session.batches.results(batch, inputs=lines, ordered=True)]
        ran = outcomes.count(Outcome.SUCCEEDED)
        assert 0 < ran < 400
        assert outcomes == [Outcome.SUCCEEDED] * ran + [Outcome.CANCELLED] * (400 - ran)

    async def test_a_batch_that_is_refused(self, service: str, open_session: OpenSession) -> None:
        """The service's reasons stand in the batch, with their lines."""
        async with BatchServer(clock=SteppedClock(), profile=service) as server:
            batch = await ended(server, open_session(server), chat_line("a") + b"nonsense\n")
        assert batch.status == BatchStatus.FAILED
        assert [(error.code, error.line) for error in batch.errors] == [("invalid_json_line", 2)]

    async def test_a_lost_answer_makes_one_batch(self, service: str, open_session: OpenSession) -> None:
        """A batch whose answer was lost is found by its key in every service's list."""
        fault = Fault.lost_answer(method="POST", path=r"/batches$")
        async with BatchServer(clock=SteppedClock(), profile=service, faults=fault) as server:
            session = open_session(server)
            file = await session.files.create(INPUT)
            batch = await session.batches.create(input_file_id=file.id, endpoint=CHAT)
            assert list(server.store.batches.items) == [batch.id]

    async def test_walks_over_long_lists(self, service: str, open_session: OpenSession) -> None:
        """A list is walked to its end, newest first, in pages or in one piece, and from behind an item."""
        async with BatchServer(clock=SteppedClock(), profile=service) as server:
            session = open_session(server)
            file = await session.files.create(INPUT)
            ids = []
            for _ in range(7):
                ids.append((await session.batches.create(input_file_id=file.id, endpoint=CHAT)).id)
                await server.advance(seconds=1)
            newest_first = ids[::-1]
            assert [batch.id async for batch in session.batches.list(limit=3)] == newest_first
            assert [batch.id async for batch in session.batches.list(after=newest_first[2])] == newest_first[3:]
            assert [one.id async for one in session.files.list(after=file.id)] == []


class TestAzure:
    async def test_the_dated_api(self, open_session: OpenSession) -> None:
        """A provider's query stands in every request, after the request's own."""
        dated = attrs.evolve(AZURE, query=(("api-version", "2024-10-21"),))
        async with BatchServer(clock=SteppedClock(), profile="azure") as server:
            base_url = server.base_url.removesuffix("/v1")
            session = open_session(base_url, provider=dated)
            batch = await ended(server, session)
            assert [one.id async for one in session.batches.list(limit=1)] == [batch.id]
            assert {request.query["api-version"] for request in server.requests} == {"2024-10-21"}
            with pytest.raises(NotFoundError, match="Resource not found"):
                await open_session(base_url, provider=AZURE).batches.retrieve(batch.id)

    async def test_a_token_of_entra(self, open_session: OpenSession) -> None:
        """A token goes where everybody's key goes."""
        entra = attrs.evolve(AZURE, auth_header="Authorization", auth_prefix="Bearer ")
        async with BatchServer(clock=SteppedClock(), profile="azure") as server:
            assert (await open_session(server, provider=entra).files.create(INPUT)).id.startswith("file-")

    async def test_how_long_files_live(self, open_session: OpenSession) -> None:
        """Azure's shortest life of a file is 14 days, and its form names the members with dots."""
        async with BatchServer(clock=SteppedClock(), profile="azure") as server:
            session = open_session(server)
            file = await session.files.create(INPUT, expires_after=14 * 86_400)
            assert (file.expires_at - file.created_at).days == 14
            for refused in (session.files.create, session.files.upload_parts):
                with pytest.raises(InputError, match="1,209,600 to 2,592,000 seconds, not 3600"):
                    await refused(INPUT, expires_after=3_600)

    async def test_a_full_quota_is_refused_at_once(self, open_session: OpenSession) -> None:
        """`create` itself says that the enqueued tokens are used up; nothing was made, and the file stays good."""
        async with BatchServer(clock=SteppedClock(), profile="azure", enqueued_token_limit=10) as server:
            session = open_session(server)
            file = await session.files.create(INPUT)
            with pytest.raises(BadRequestError) as caught:
                await session.batches.create(input_file_id=file.id, endpoint=CHAT)
            assert caught.value.code == "token_limit_exceeded"
            assert not server.store.batches.items


class TestPendingFiles:
    async def test_a_file_is_waited_for(self, open_session: OpenSession) -> None:
        """Where new files are pending at first, a batch of one is made as soon as it is not."""

        async def handler(asked: Asked) -> bytes:
            if asked.method == "POST":
                return json_answer(batch_json())
            return json_answer(file_json(status=said.pop(0)))

        said = ["pending", "Pending", "processed"]
        async with RawServer(handler) as server:
            await open_session(server, provider=AZURE).batches.create(input_file_id="file-in", endpoint=CHAT)
            assert server.lines == ["GET /v1/files/file-in"] * 3 + ["POST /v1/batches"]

    async def test_not_for_ever(self, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch) -> None:
        """After five minutes the service is asked all the same, and says itself why not."""

        async def handler(asked: Asked) -> bytes:
            if asked.method == "POST":
                return answer(400, '{"error": {"message": "still pending"}}')
            return json_answer(file_json(status="pending"))

        monkeypatch.setattr("openai_batches.resources.create._PENDING_S", 0.02)
        async with RawServer(handler) as server:
            with pytest.raises(BadRequestError, match="still pending"):
                await open_session(server, provider=AZURE).batches.create(input_file_id="file-in", endpoint=CHAT)

    async def test_a_file_that_is_not_there(self, open_session: OpenSession) -> None:
        """A file that cannot be found is not waited for."""
        async with BatchServer(clock=SteppedClock(), profile="azure") as server:
            batch = await open_session(server).batches.create(input_file_id="file-none", endpoint=CHAT)
            assert batch.status == BatchStatus.VALIDATING


class TestListsInOnePiece:
    async def test_an_item_that_is_not_in_the_list(self, open_session: OpenSession) -> None:
        """What follows an item that is not in the list is not known."""
        async with BatchServer(clock=SteppedClock(), profile="groq") as server:
            with pytest.raises(PaginationError, match="no item 'batch_gone'"):
                await open_session(server).batches.list(after="batch_gone").collect()

    async def test_one_question_is_enough(self, open_session: OpenSession) -> None:
        """The whole list is not asked for twice."""
        async with BatchServer(clock=SteppedClock(), profile="groq") as server:
            session = open_session(server)
            await session.files.create(INPUT)
            assert len(await session.files.list().collect()) == 1
            assert [request.method for request in server.requests] == ["POST", "GET"]

    async def test_a_service_that_learns_to_page(self, open_session: OpenSession) -> None:
        """An answer that says whether there is more is a page like any other."""

        async def handler(asked: Asked) -> bytes:
            if "after=batch_1" in asked.target:
                return json_answer({"data": [batch_json("batch_2")], "has_more": False})
            return json_answer({"data": [batch_json("batch_1")], "has_more": True})

        async with RawServer(handler) as server:
            batches = await open_session(server, provider=GROQ).batches.list().collect()
        assert [batch.id for batch in batches] == ["batch_1", "batch_2"]


class TestMetadataThatIsNotKept:
    async def test_what_is_known_to_drop_it(self, open_session: OpenSession) -> None:
        """Without metadata a batch cannot be found again: after a lost answer there is no second attempt."""
        forgetful = attrs.evolve(OPENAI, keeps_metadata=False)
        fault = Fault.lost_answer(method="POST", path=r"/batches$")
        async with BatchServer(clock=SteppedClock(), faults=fault) as server:
            session = open_session(server, provider=forgetful)
            file = await session.files.create(INPUT)
            with pytest.raises(AmbiguousCreateError, match="the service shows no metadata"):
                await session.batches.create(input_file_id=file.id, endpoint=CHAT)
            assert len(server.store.batches.items) == 1

    async def test_what_turns_out_to_drop_it(self, open_session: OpenSession) -> None:
        """A batch of the same file in a list that shows no metadata may be the one whose answer was lost."""

        async def handler(asked: Asked) -> bytes | None:
            if asked.method == "POST":
                return None
            return json_answer({"data": [batch_json("batch_7"), batch_json("batch_6")], "has_more": False})

        async with RawServer(handler) as server:
            with pytest.raises(AmbiguousCreateError, match="Batch batch_7 may be the one"):
                await open_session(server).batches.create(input_file_id="file-in", endpoint=CHAT)
            assert server.lines.count("POST /v1/batches") == 1

    async def test_a_list_that_shows_it(self, open_session: OpenSession) -> None:
        """Where other batches show theirs, a batch of the same file without any is somebody else's."""

        async def handler(asked: Asked) -> bytes | None:
            if asked.method == "POST":
                return None if len(posts := [line for line in server.lines if "POST" in line]) < 2 else _made(posts)
            data = [batch_json("batch_7"), batch_json("batch_6", metadata={"a": "b"})]
            return json_answer({"data": data, "has_more": False})

        def _made(posts: list[str]) -> bytes:
            return json_answer(batch_json(f"batch_{len(posts)}"))

        async with RawServer(handler) as server:
            batch = await open_session(server).batches.create(input_file_id="file-in", endpoint=CHAT)
        assert batch.id == "batch_2"


class TestProviders:
    def test_they_are_all_shown(self) -> None:
        """Every provider of the module is a name of the package."""
        from openai_batches import providers

        found = {name for name, value in vars(providers).items() if isinstance(value, Provider)}
        assert found == {name for name in providers.__all__ if name.isupper()}
        assert found <= set(openai_batches.__all__)

    @pytest.mark.parametrize("service", [AZURE, SILICONFLOW])
    def test_one_without_an_address_wants_one(self, service: Provider) -> None:
        """Where everybody has another address, there is no default to send a key to."""
        with pytest.raises(InputError, match=f"{service.name} has no address that is everybody's: pass base_url="):
            BatchSession(KEY, provider=service)

    def test_one_without_a_variable_wants_a_key(self) -> None:
        """A variable is named only where one is known."""
        with pytest.raises(InputError, match=r"No API key for SiliconFlow: pass api_key=…$"):
            BatchSession(base_url="https://siliconflow.example/v1", provider=SILICONFLOW)
        with pytest.raises(InputError, match=r"or set the environment variable GROQ_API_KEY$"):
            BatchSession(provider=GROQ)

    async def test_openais_variables_are_openais(
        self, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The organization and the project of the environment are not told to another service."""
        monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
        monkeypatch.setenv("OPENAI_PROJECT_ID", "proj_mine")
        async with BatchServer(clock=SteppedClock(), profile="groq") as server:
            await open_session(server).files.list().collect()
            await open_session(server, provider=OPENAI).files.list()
        theirs, ours = (request.headers for request in server.requests)
        assert "openai-organization" not in theirs
        assert ours["openai-project"] == "proj_mine"

    @pytest.mark.parametrize(
        ("provider", "window", "known"),
        [(GROQ, "8d", "'24h' to '168h'"), (NOVITA, "24h", "'48h'"), (OPENAI, "1 day", "'24h'")],
    )
    async def test_windows_that_are_not_known(
        self, provider: Provider, window: str, known: str, open_session: OpenSession
    ) -> None:
        """A window the service is not known to take is warned of, and sent: the service has the last word."""

        async def handler(asked: Asked) -> bytes:
            return json_answer(batch_json(completion_window=(await asked.json())["completion_window"]))

        async with RawServer(handler) as server:
            session = open_session(server, provider=provider)
            with pytest.warns(BatchesWarning, match=f"is not a window {provider.name} is known to take .{known}"):
                batch = await session.batches.create(input_file_id="f", endpoint=CHAT, completion_window=window)
            assert batch.completion_window == window

    @pytest.mark.parametrize(("provider", "window"), [(GROQ, "7d"), (SILICONFLOW, "336h"), (DOUBLEWORD, "1h")])
    async def test_windows_that_are_known(self, provider: Provider, window: str, open_session: OpenSession) -> None:
        """No word about a window that is known, or where none is."""
        async with RawServer(json_answer(batch_json())) as server:
            session = open_session(server, provider=provider)
            await session.batches.create(input_file_id="f", endpoint=CHAT, completion_window=window)

    async def test_limits_are_the_services(self) -> None:
        """What is too much for one service is not for another."""
        content = chat_lines(5_001)
        assert (await validate_requests(content, provider=AZURE)).is_valid
        report = await validate_requests(content, provider=SILICONFLOW)
        assert [problem.code for problem in report.problems] == ["too_many_tasks"]


async def test_stories_at_the_same_time(open_session: OpenSession) -> None:
    """Servers of different services do not get into each other's way."""

    async def tell(service: str) -> str:
        async with BatchServer(clock=SteppedClock(), profile=service) as server:
            batch = await ended(server, open_session(server))
            return str(batch.status)

    assert set(await asyncio.gather(*map(tell, PROVIDERS))) == {"completed"}


@pytest.mark.parametrize(
    ("provider", "variable"), [(AZURE, "AZURE_OPENAI_ENDPOINT"), (GROQ, "GROQ_BASE_URL")], ids=["azure", "groq"]
)
@pytest.mark.parametrize("end", ["", "/", "/openai/v1", "/openai/v1/"])
def test_the_root_in_a_variable(provider: Provider, variable: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable of the service's own SDK holds the root; the path is added where it is not there."""
    monkeypatch.setenv(variable, f"https://service.example.test{end}")
    assert BatchSession("key", provider=provider).base_url == "https://service.example.test/openai/v1"
    given = BatchSession("key", provider=provider, base_url="https://service.example.test/x")
    assert given.base_url == "https://service.example.test/x"


def test_an_address_that_nobody_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable that would do."""
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
    with pytest.raises(InputError, match="or set the environment variable AZURE_OPENAI_ENDPOINT"):
        BatchSession("key", provider=AZURE)


def test_a_provider_by_its_name() -> None:
    """A provider is a value, not a word."""
    name: Any = "azure"
    with pytest.raises(InputError, match=r"provider must be a Provider, such as openai_batches\.AZURE, not 'azure'"):
        BatchSession("key", provider=name)


def test_numbers_of_a_policy() -> None:
    """What is no number is named, with its field."""
    number: Any = "3"
    for wrong in (number, True):
        with pytest.raises(InputError, match=r"RetryPolicy\.attempts must be a number, not"):
            openai_batches.RetryPolicy(attempts=wrong)
