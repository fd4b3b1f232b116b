"""A batch is created once, whatever becomes of the answer."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import attrs
import openai
import pytest
from support import virtual_time
from support.http_servers import (
    CHAT,
    KEY,
    ONCE,
    QUICK,
    RawServer,
    answer,
    batch_json,
    error_answer,
    file_json,
    json_answer,
)
from support.services import emulator

from openai_batches import (
    AmbiguousCreateError,
    AsyncPaginator,
    BadRequestError,
    Batch,
    BatchesError,
    BatchSession,
    BatchStatus,
    FileObject,
    InputError,
    InternalServerError,
    NotFoundError,
    Page,
    RateLimitError,
    RetryPolicy,
    TransportError,
)
from openai_batches.emulator import Fault
from openai_batches.resources.create import KEY_NAME, Creator

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.http_servers import Asked, OpenSession

START = 1_750_000_000


def create(session: BatchSession, **options: Any) -> Any:
    return session.batches.create(input_file_id="file-in", endpoint=CHAT, **options)


class Desk:
    """A service of batches alone; a test says what becomes of its answers, and tampers with its list."""

    def __init__(self, *plan: Callable[[Asked, bytes], Any], now: float = START, oldest_first: bool = False) -> None:
        self.plan = list(plan)
        self.now = now
        self.oldest_first = oldest_first
        self.batches: list[dict[str, Any]] = []
        self.cancelled: list[str] = []

    def add(self, age_s: float = 0, **fields: Any) -> dict[str, Any]:
        # Those that are not ours are of other files, as everybody's are.
        fields.setdefault("input_file_id", "file-in" if "metadata" in fields else "file-other")
        batch = batch_json(f"batch_{len(self.batches)}", created_at=int(self.now - age_s), **fields)
        self.batches.append(batch)
        return batch

    def mine(self) -> list[dict[str, Any]]:
        return [batch for batch in self.batches if KEY_NAME in (batch.get("metadata") or {})]

    async def handle(self, asked: Asked) -> bytes | None:
        if asked.method == "GET":
            return self.page(asked)
        if asked.path.endswith("/cancel"):
            self.cancelled.append(asked.path.split("/")[-2])
            return json_answer(batch_json(self.cancelled[-1], status="cancelling"))
        whole = json_answer(self.add(metadata=(await asked.json())["metadata"]))
        if not self.plan:
            return whole
        said = self.plan.pop(0)(asked, whole)
        return await said if asyncio.iscoroutine(said) else said

    def page(self, asked: Asked) -> bytes:
        query = {name: values[0] for name, values in parse_qs(asked.target.partition("?")[2]).items()}
        row = sorted(self.batches, key=lambda batch: batch["created_at"], reverse=not self.oldest_first)
        start = next((index + 1 for index, batch in enumerate(row) if batch["id"] == query.get("after")), 0)
        data = row[start : start + int(query["limit"])]
        return json_answer({"object": "list", "data": data, "has_more": start + len(data) < len(row)})


def lose(asked: Asked, _: bytes) -> None:
    asked.reset()


def searches(server: RawServer) -> list[str]:
    return [line for line in server.lines if line.startswith("GET /v1/batches")]


async def searches_until_found(desk: Desk, open_session: OpenSession, handler: Any = None) -> int:
    """Create a batch whose answer is lost, see that it is the one that was made, and count the searches for it."""
    async with RawServer(handler or desk.handle) as server:
        batch = await create(open_session(server))
        assert [batch.id] == [made["id"] for made in desk.mine()]
        return len(searches(server))


AFTER_THE_ACT = {
    "the connection is reset": lose,
    "500 in JSON": lambda _asked, _whole: error_answer(500),
    "502 in HTML": lambda _asked, _whole: answer(502, "<html>Bad Gateway</html>", Content_Type="text/html"),
    "408": lambda _asked, _whole: error_answer(408),
    "half of the JSON": lambda asked, whole: asked.writer.write(whole[:-30]),
    "half of the JSON as if it were whole": lambda _asked, whole: answer(200, whole.partition(b"\r\n\r\n")[2][:-30]),
    "an empty answer of success": lambda _asked, _whole: answer(200),
    "silence": lambda _asked, _whole: asyncio.sleep(30),
}


class TestTheAnswerIsLost:
    @pytest.mark.parametrize("what", AFTER_THE_ACT)
    async def test_the_batch_is_found_and_adopted(self, what: str, open_session: OpenSession) -> None:
        """Whatever takes the answer away after the act: one batch exists, and create returns it."""
        desk = Desk(AFTER_THE_ACT[what])
        async with RawServer(desk.handle) as server:
            batch = await create(open_session(server, timeout=2), metadata={"mine": "yes"})
        assert [made["id"] for made in desk.batches] == [batch.id]
        assert not desk.cancelled
        assert batch.metadata == desk.batches[0]["metadata"]
        assert batch.metadata["mine"] == "yes"

    @pytest.mark.parametrize("what", AFTER_THE_ACT)
    async def test_also_with_the_last_attempt(self, what: str, open_session: OpenSession) -> None:
        """The last attempt is searched for too, so that one attempt is enough to create a batch once."""
        desk = Desk(AFTER_THE_ACT[what])
        async with RawServer(desk.handle) as server:
            batch = await create(open_session(server, timeout=2, retry=attrs.evolve(QUICK, attempts=1)))
        assert [made["id"] for made in desk.batches] == [batch.id]

    async def test_the_attempt_that_did_nothing_is_repeated(self, open_session: OpenSession) -> None:
        """Where the search finds nothing, the request is sent again, with the same key."""
        bodies = []

        async def handler(asked: Asked) -> bytes:
            if asked.method == "POST":
                bodies.append(await asked.body())
                return error_answer(500) if len(bodies) < 3 else await desk.handle(asked)
            return desk.page(asked)

        desk = Desk()
        async with RawServer(handler) as server:
            batch = await create(open_session(server))
            # Twice because of the failures, and once to see whether a slow service did an earlier attempt after all.
            assert len(searches(server)) == 3
        assert len(set(bodies)) == 1
        assert [made["id"] for made in desk.batches] == [batch.id]

    async def test_a_service_that_never_succeeds(self, open_session: OpenSession) -> None:
        """When the attempts are used up and no batch exists, the last failure is raised: nothing was created."""

        async def handler(asked: Asked) -> bytes:
            return error_answer(503) if asked.method == "POST" else Desk().page(asked)

        async with RawServer(handler) as server:
            with pytest.raises(InternalServerError):
                await create(open_session(server, retry=attrs.evolve(QUICK, attempts=3)))
            assert server.lines.count("POST /v1/batches") == 3

    async def test_a_late_attempt_is_cancelled(
        self, open_session: OpenSession, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A slow service carries out the first attempt after the second: the double is cancelled, one batch is left."""
        seconds = asyncio.Event()

        async def handler(asked: Asked) -> bytes | None:
            if asked.method == "POST" and not seconds.is_set() and not asked.path.endswith("/cancel"):
                await asked.body()
                if server.lines.count("POST /v1/batches") == 1:
                    await seconds.wait()
                said = await desk.handle(asked)
                seconds.set()
                await asyncio.sleep(0.05)  # the first attempt is carried out before the second is answered
                return said
            return await desk.handle(asked)

        desk = Desk()
        async with RawServer(handler) as server:
            batch = await create(open_session(server, timeout=2))
        assert len(desk.batches) == 2
        assert len(desk.cancelled) == 1
        assert {batch.id, *desk.cancelled} == {made["id"] for made in desk.batches}
        assert [record.levelno for record in caplog.records] == [logging.WARNING]

    async def test_doubles_found_by_the_search(self, open_session: OpenSession) -> None:
        """If the search finds two batches of one key, the older is returned and the younger is cancelled."""

        def twice(asked: Asked, _: bytes) -> None:
            desk.now += 1
            desk.add(metadata=desk.batches[0]["metadata"])
            asked.reset()

        desk = Desk(twice)
        async with RawServer(desk.handle) as server:
            batch = await create(open_session(server))
        assert (batch.id, desk.cancelled) == ("batch_0", ["batch_1"])

    async def test_a_double_that_cannot_be_cancelled(
        self, open_session: OpenSession, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A double that cannot be cancelled is told of in the log; the batch is returned all the same."""

        def twice(asked: Asked, _: bytes) -> None:
            desk.add(age_s=-1, metadata=desk.batches[0]["metadata"])
            asked.reset()

        async def handler(asked: Asked) -> bytes | None:
            return error_answer(409, "over") if asked.path.endswith("/cancel") else await desk.handle(asked)

        desk = Desk(twice)
        async with RawServer(handler) as server:
            assert (await create(open_session(server))).id == "batch_0"
        assert "The double batch_1 could not be cancelled" in caplog.text

    @pytest.mark.parametrize("block", range(10))
    async def test_random_trouble(self, block: int) -> None:
        """Under any mix of faults, on the creation and on the search, one batch exists and create returns it."""
        outcomes = await asyncio.gather(*(troubled_create(10 * block + index) for index in range(10)))
        assert outcomes == [True] * 10

    @pytest.mark.parametrize("losses", [1, 2])
    async def test_the_official_client_makes_doubles(
        self, losses: int, open_session: OpenSession, record_property: Callable[[str, object], None]
    ) -> None:
        """Where the official client repeats the creation and so makes a batch more for each lost answer, ours does not.

        This is why the key exists; should the official client learn better, this test will tell.
        """
        async with emulator(faults=lost_answers(losses)) as server:
            async with openai.AsyncOpenAI(base_url=server.base_url, api_key=KEY, max_retries=2) as client:
                await client.batches.create(input_file_id="file-in", endpoint=CHAT, completion_window="24h")
            theirs = len(server.store.batches.items)
        async with emulator(faults=lost_answers(losses)) as server:
            await create(open_session(server))
            ours = len(server.store.batches.items)
        record_property("batches made by the official client", theirs)
        print(f"{losses} lost answers: the official client makes {theirs} batches, this one {ours}")  # noqa: T201
        assert (theirs, ours) == (losses + 1, 1)


def lost_answers(count: int) -> list[Fault]:
    return [Fault.lost_answer(method="POST", path="/batches$", times=count)]


async def troubled_create(seed: int) -> bool:
    """Create a batch through a random schedule of faults, and tell whether all is as it should be."""
    chances = random.Random(seed)
    kinds: list[Callable[..., Fault]] = [
        lambda **where: Fault.rate_limited(retry_after_ms=chances.choice([None, 1]), **where),
        Fault.reset_before,
        Fault.lost_answer,
        lambda **where: Fault.error_before(chances.choice([500, 502, 503]), html=chances.random() < 0.5, **where),
        lambda **where: Fault.error_after(chances.choice([500, 504]), html=chances.random() < 0.5, **where),
        Fault.hang_after,
        Fault.cut_body,
    ]
    faults = [chances.choice(kinds)(method="POST", path="/batches$") for _ in range(chances.randint(1, 4))]
    faults += [chances.choice(kinds)(method="GET", path="/batches$") for _ in range(chances.randint(0, 4))]
    retry = attrs.evolve(QUICK, attempts=8)
    async with (
        emulator(faults=faults, seed=seed) as server,
        BatchSession(KEY, base_url=server.base_url, timeout=0.25, retry=retry) as session,
    ):
        for _ in range(chances.randint(0, 3)):
            server.store.new_batch(scope=KEY, now=START - 60, endpoint=CHAT, input_file_id="file-other")
        before = set(server.store.batches.items)
        batch = await create(session)
        made = [item for item in server.store.batches.items.values() if item.id not in before]
        return [item.id for item in made if item.status == "validating"] == [batch.id]


class TestTheSearch:
    async def test_it_goes_back_behind_newer_batches(self, open_session: OpenSession) -> None:
        """However many batches others created meanwhile, the search reaches back to the attempt."""

        def crowd(asked: Asked, _: bytes) -> None:
            for _ in range(150):
                desk.now += 1
                desk.add()
            asked.reset()

        desk = Desk(crowd)
        desk.add(age_s=86_400)
        assert await searches_until_found(desk, open_session) == 2

    async def test_it_stops_where_batches_are_older_than_the_attempt(self, open_session: OpenSession) -> None:
        """The search does not read batches of the past: one page is enough where its end is clearly older."""
        desk = Desk()
        for minutes in range(1_000):
            desk.add(age_s=60 * minutes)
        async with RawServer(lambda asked: error_answer(500) if asked.method == "POST" else desk.page(asked)) as server:
            with pytest.raises(InternalServerError):
                await create(open_session(server, retry=ONCE))
            assert searches(server) == ["GET /v1/batches?limit=100"]

    @pytest.mark.parametrize("now", [0, 4_000_000_000])
    async def test_no_clock_has_to_be_right(self, now: float, open_session: OpenSession) -> None:
        """A service whose clock is years off is searched like any other."""
        desk = Desk(lose, now=now + 200)
        for minutes in range(120):
            desk.add(age_s=1 + minutes)
        await searches_until_found(desk, open_session)

    async def test_a_list_that_is_oldest_first(self, open_session: OpenSession) -> None:
        """A list that begins with the oldest batches is read to its end."""
        desk = Desk(lose, oldest_first=True)
        for hours in range(250):
            desk.add(age_s=3_600 * (hours + 1))
        assert await searches_until_found(desk, open_session) == 3

    async def test_a_list_without_times(self, open_session: OpenSession) -> None:
        """Where batches have no times, the list is read to its end."""
        desk = Desk(lose)
        for _ in range(120):
            desk.add()

        async def handler(asked: Asked) -> bytes | None:
            if asked.method == "POST":
                return await desk.handle(asked)
            page = desk.page(asked).partition(b"\r\n\r\n")[2]
            return answer(200, page.replace(b'"created_at": 1750000000', b'"created_at": null'))

        assert await searches_until_found(desk, open_session, handler) == 2

    @pytest.mark.parametrize("trouble", [lambda asked: asked.reset(), lambda _: error_answer(403, "not yours")])
    async def test_a_search_that_fails(self, trouble: Callable[[Asked], Any], open_session: OpenSession) -> None:
        """If the search fails nobody can tell: the error names the key to look for, and how the creation failed."""

        async def handler(asked: Asked) -> bytes | None:
            return trouble(asked) if asked.method == "GET" else await desk.handle(asked)

        desk = Desk(lambda _asked, _whole: error_answer(500, "oops"))
        async with RawServer(handler) as server:
            with pytest.raises(AmbiguousCreateError, match="the search for it failed") as caught:
                await create(open_session(server))
        assert caught.value.idempotency_key == desk.batches[0]["metadata"][KEY_NAME]
        assert isinstance(caught.value.__cause__, InternalServerError)
        assert caught.value.__cause__.message == "oops"
        assert isinstance(caught.value.__context__, BatchesError)
        assert len(desk.batches) == 1

    async def test_a_look_for_doubles_that_fails(self, open_session: OpenSession) -> None:
        """A batch that exists is returned, also when the look for doubles of it fails."""

        async def handler(asked: Asked) -> bytes | None:
            if asked.method == "GET":
                return error_answer(403) if len(server.asked) > 2 else desk.page(asked)
            return error_answer(500) if len(server.asked) == 1 else await desk.handle(asked)

        desk = Desk()
        async with RawServer(handler) as server:
            assert (await create(open_session(server))).id == "batch_0"
            assert len(searches(server)) == 2

    async def test_a_batch_that_is_not_listed_yet(self, open_session: OpenSession) -> None:
        """The batch of a repeated attempt is returned, also when the list does not show it yet."""

        async def handler(asked: Asked) -> bytes | None:
            if asked.method == "GET":
                return json_answer({"object": "list", "data": [], "has_more": False})
            return error_answer(500) if len(server.asked) == 1 else await desk.handle(asked)

        desk = Desk()
        async with RawServer(handler) as server:
            assert (await create(open_session(server))).id == "batch_0"

    async def test_a_copied_key_adopts_nobody(self, open_session: OpenSession) -> None:
        """Metadata copied from an older batch, its key included, do not make that batch the new one."""
        desk = Desk(lambda asked, _: asked.reset())
        old = desk.add(age_s=5, metadata={KEY_NAME: "0123", "shard": "7"})
        async with RawServer(desk.handle) as server:
            batch = await create(open_session(server), metadata=old["metadata"])
        assert batch.id != old["id"]
        assert batch.metadata["shard"] == "7"
        assert batch.metadata[KEY_NAME] != "0123"
        assert len(desk.batches) == 2

    async def test_a_copied_key_takes_no_pair(self, open_session: OpenSession) -> None:
        """A key copied along with 15 pairs makes way for the new one, so that the batch can be found."""
        desk = Desk(lose)
        copied = {KEY_NAME: "0123", **{f"name{number}": "x" for number in range(15)}}
        async with RawServer(desk.handle) as server:
            batch = await create(open_session(server), metadata=copied)
        assert [made["id"] for made in desk.batches] == [batch.id]
        assert len(batch.metadata) == 16


class TestClearAnswers:
    @pytest.mark.parametrize("pairs", [15, 16])
    async def test_metadata_without_a_free_pair_for_the_key(self, pairs: int, open_session: OpenSession) -> None:
        """With all 16 pairs taken there is no key: a lost answer raises, and the request is not sent again."""
        desk = Desk(lose)
        metadata = {f"name{number}": "x" for number in range(pairs)}
        async with RawServer(desk.handle) as server:
            session = open_session(server)
            if pairs == 15:
                assert (await create(session, metadata=metadata)).id == "batch_0"
            else:
                with pytest.raises(AmbiguousCreateError, match="no free pair for a key") as caught:
                    await create(session, metadata=metadata)
                assert caught.value.idempotency_key is None
                assert isinstance(caught.value.__cause__, TransportError)
                assert server.lines == ["POST /v1/batches"]

    async def test_full_metadata_with_a_clear_answer(self, open_session: OpenSession) -> None:
        """With all 16 pairs taken, a clear answer is as good as ever."""
        desk = Desk()
        metadata = {f"name{number}": "x" for number in range(16)}
        async with RawServer(desk.handle) as server:
            assert (await create(open_session(server), metadata=metadata)).metadata == metadata

    @pytest.mark.parametrize("status", [302, 400, 401, 404, 409, 413, 422])
    async def test_a_no_is_a_no(self, status: int, open_session: OpenSession) -> None:
        """An answer that says no is not repeated, and nothing is searched."""
        async with RawServer(error_answer(status)) as server:
            with pytest.raises(BatchesError):
                await create(open_session(server))
            assert server.lines == ["POST /v1/batches"]

    async def test_too_many_requests(self, open_session: OpenSession) -> None:
        """429 is repeated without a search: the service did nothing."""

        async def handler(asked: Asked) -> bytes | None:
            if len(server.asked) < 3:
                return error_answer(429, retry_after_ms="1")
            return await desk.handle(asked)

        desk = Desk()
        async with RawServer(handler) as server:
            await create(open_session(server))
            assert server.lines == ["POST /v1/batches"] * 3

    async def test_a_limit_that_does_not_pass(self, open_session: OpenSession) -> None:
        """429 until the attempts are used up is a RateLimitError: nothing was created, nothing is searched."""
        async with RawServer(error_answer(429)) as server:
            with pytest.raises(RateLimitError):
                await create(open_session(server))
            assert server.lines == ["POST /v1/batches"] * QUICK.attempts

    async def test_a_refused_connection(self, open_session: OpenSession) -> None:
        """A refused connection is repeated, and ends as a TransportError that says that nothing was sent."""
        async with RawServer(Desk().handle) as server:
            gone = server.base_url
        with pytest.raises(TransportError) as caught:
            await create(open_session(gone))
        assert not caught.value.was_sent

    @pytest.mark.parametrize("extra", [{"odd": object()}, {"odd": "\ud800"}])
    async def test_what_is_no_json(self, extra: dict[str, Any], open_session: OpenSession) -> None:
        """Further fields that are no JSON are refused before anything is sent."""
        async with RawServer(Desk().handle) as server:
            with pytest.raises(InputError, match="JSON"):
                await create(open_session(server), **extra)
            assert not server.asked


class TestTheFileIsNotSeenYet:
    """A service may not see its own new file at once."""

    @pytest.mark.parametrize("words", ["Cannot find file file-in, or project …", "No such File object: file-in"])
    async def test_it_is_asked_again_while_the_file_is_there(
        self, words: str, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As long as the file can be retrieved, a service that cannot find it is asked again."""
        monkeypatch.setattr("openai_batches.resources.create._FILE_PATIENCE", QUICK)

        async def handler(asked: Asked) -> bytes | None:
            if asked.method == "GET":
                return json_answer(file_json("file-in"))
            if server.lines.count("POST /v1/batches") < 3:
                return error_answer(400, words)
            return await desk.handle(asked)

        desk = Desk()
        async with RawServer(handler) as server:
            assert (await create(open_session(server))).id == "batch_0"
            assert server.lines == ["POST /v1/batches", "GET /v1/files/file-in"] * 2 + ["POST /v1/batches"]

    async def test_a_file_that_is_not_there(self, open_session: OpenSession) -> None:
        """A file that cannot be retrieved is not there: the refusal is raised at once."""

        async def handler(asked: Asked) -> bytes:
            return error_answer(404 if asked.method == "GET" else 400, "Cannot find file file-in")

        async with RawServer(handler) as server:
            with pytest.raises(BadRequestError):
                await create(open_session(server))
            assert server.lines == ["POST /v1/batches", "GET /v1/files/file-in"]

    async def test_an_id_that_is_none(self, open_session: OpenSession) -> None:
        """An id that no file can have is not looked for."""
        async with RawServer(error_answer(404, "Cannot find file ..")) as server:
            with pytest.raises(NotFoundError):
                await open_session(server).batches.create(input_file_id="..", endpoint=CHAT)
            assert server.lines == ["POST /v1/batches"]

    async def test_without_retries(self, open_session: OpenSession) -> None:
        """Who switched retries off gets the refusal at once."""
        async with RawServer(error_answer(400, "Cannot find file file-in")) as server:
            with pytest.raises(BadRequestError):
                await create(open_session(server, retry=ONCE))
            assert server.lines == ["POST /v1/batches"]

    def test_patience_ends(self) -> None:
        """After a minute, a service that still does not see the file is believed."""

        class Refusing:
            retry = RetryPolicy()
            attempts = 0

            async def send(self, _: object) -> Batch:
                self.attempts += 1
                raise BadRequestError("Cannot find file file-in", status=400)

        async def main() -> float:
            creator = Creator(transport=transport, list_batches=none, cancel=cancel, find_file=exists)  # type: ignore[arg-type]
            begun = virtual_time.now()
            with pytest.raises(BadRequestError):
                await creator.create({"input_file_id": "file-in"}, None)
            return virtual_time.now() - begun

        async def exists(file_id: str) -> FileObject:
            return FileObject(id=file_id)

        async def cancel(_: str) -> Batch:
            return Batch(id="b", status=BatchStatus.CANCELLED)

        def none() -> AsyncPaginator[Batch]:
            async def fetch(_: str | None) -> Page[Batch]:
                return Page(has_more=False)

            return AsyncPaginator(fetch)

        transport = Refusing()
        assert 40 <= virtual_time.run(main()) <= 60
        assert 5 <= transport.attempts <= 15


async def test_a_refusal_of_the_second_attempt_is_not_the_last_word(open_session: OpenSession) -> None:
    """The first attempt may have been carried out late: after the refusal the batch is looked for once more."""

    async def handler(asked: Asked) -> bytes | None:
        if asked.method == "POST":
            made.append(batch_json(f"batch_{len(made)}", metadata=(await asked.json())["metadata"]))
            return None if len(made) == 1 else error_answer(400)
        shown = made[:1] if len(made) > 1 else []
        return json_answer({"object": "list", "data": shown, "has_more": False})

    made: list[dict[str, Any]] = []
    async with RawServer(handler) as server:
        assert (await create(open_session(server))).id == "batch_0"
