"""Lists over real HTTP, by servers that keep to the documents and by servers that do not."""

from __future__ import annotations

import asyncio
import gc
import json
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import pytest
from aiohttp import web

from openai_batches import BatchSession, DecodeError, InternalServerError, PaginationError, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from openai_batches import AsyncPaginator


class ListServer:
    """A server whose every answer to a list call is what a test says, and a session that asks it.

    ``answer`` is given the query's ``after`` and returns the JSON value, or a whole response.
    """

    def __init__(self, resource: str) -> None:
        self.resource = resource
        self.answer: Callable[[str | None], Any] = lambda after: page([])
        self.queries: list[dict[str, str]] = []
        self.session: BatchSession | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get(f"/v1/{self.resource}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.session = BatchSession(
            "key", base_url=f"http://127.0.0.1:{port}/v1", retry=RetryPolicy(attempts=1), trust_env=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        value = self.answer(request.query.get("after"))
        if callable(value):
            return await value(request)
        return value if isinstance(value, web.StreamResponse) else web.json_response(value)

    def list(self, **options: Any) -> AsyncPaginator[Any]:
        return getattr(self.session, self.resource).list(**options)

    def serve(self, pages: dict[str | None, Any]) -> None:
        """Answer each cursor with its page; a cursor that was never given is a bug of the client."""
        self.answer = lambda after: pages[after]

    def serve_pages(self, pages: dict[str | None, tuple[Any, ...]]) -> None:
        """Answer with pages that are written as the ids on them, ``has_more``, and their cursor if it is another."""
        self.serve(
            {
                after: self.page(ids, has_more, **({"last_id": last_id[0]} if last_id else {}))
                for after, (ids, has_more, *last_id) in pages.items()
            }
        )

    @property
    def cursors(self) -> list[str | None]:
        return [query.get("after") for query in self.queries]

    def record(self, item_id: str, **fields: Any) -> dict[str, Any]:
        if self.resource == "files":
            return {"id": item_id, "object": "file", "bytes": 1, "created_at": 1, "purpose": "batch", **fields}
        return {"id": item_id, "object": "batch", "status": "completed", "created_at": 1, **fields}

    def page(self, ids: str, has_more: Any = None, **fields: Any) -> dict[str, Any]:
        """Return the documented page of these ids (one letter each), changed as told; ``...`` removes a field."""
        return page([self.record(item_id) for item_id in ids], has_more, **fields)


def page(data: list[Any], has_more: Any = False, **fields: Any) -> dict[str, Any]:
    ids = [item["id"] for item in data if isinstance(item, dict)]
    first_id, last_id = (ids[0], ids[-1]) if ids else (None, None)
    whole = {"object": "list", "data": data, "first_id": first_id, "last_id": last_id, "has_more": has_more, **fields}
    return {name: value for name, value in whole.items() if value is not ...}


@pytest.fixture(params=["batches", "files"])
async def lists(request: pytest.FixtureRequest) -> AsyncIterator[ListServer]:
    async with ListServer(request.param) as server:
        yield server


async def walk(paginator: AsyncPaginator[Any]) -> tuple[str, Exception | None]:
    """Return the ids that were yielded, and how the walk ended."""
    ids = ""
    try:
        async with asyncio.timeout(60):
            async for item in paginator:
                ids += item.id
    except PaginationError as error:
        return ids, error
    return ids, None


# Lists that are followed to their end. A page is the ids on it, what it says of more, and its cursor if that is
# not the last id; the cursors that were asked for are those of all pages, each once and in this order.

ODD_CURSOR = "a/b?c=d&e#f g%20é\u2028"
FOLLOWED: dict[str, dict[str | None, tuple[Any, ...]]] = {
    # Lists as documented
    "page after page": {None: ("ab", True), "b": ("cd", True), "d": ("e", False)},
    "one page is one request": {None: ("ab", False)},
    "an empty list is no error": {None: ("", False)},
    "the last page is full": {None: ("ab", True), "b": ("cd", False)},
    "a service finds out only afterwards that there is no more": {None: ("ab", True), "b": ("", False)},
    "a cursor comes back as it was": {None: ("a", True, ODD_CURSOR), ODD_CURSOR: ("b", False)},
    # Lists that leave something out
    "without has_more an empty page is the end": {None: ("ab", ...), "b": ("c", ...), "c": ("", ...)},
    "last_id is null, and the last item the cursor": {None: ("ab", True, None), "b": ("c", False, None)},
    "last_id is absent": {None: ("ab", True, ...), "b": ("c", False, ...)},
    "last_id is empty": {None: ("ab", True, ""), "b": ("c", False, "")},
    "last_id comes before the last item": {None: ("ab", True, "token-2"), "token-2": ("c", False)},
    "an empty page with a cursor is not the end": {
        None: ("ab", True),
        "b": ("", True, "x"),
        "x": ("", True, "y"),
        "y": ("c", False),
    },
    # Lists that move
    "an item on two pages is one item": {None: ("abc", True), "c": ("bcd", True), "d": ("cde", False)},
    "nothing new on the last page is an end": {None: ("ab", True), "b": ("ab", False)},
}


@pytest.mark.parametrize("case", FOLLOWED)
async def test_a_list_is_followed_to_its_end(lists: ListServer, case: str) -> None:
    """Each item comes once and in order, each page is asked for once, and the end costs no further request."""
    pages = FOLLOWED[case]
    lists.serve_pages(pages)
    assert await walk(lists.list()) == (
        "".join(sorted({item_id for ids, *_ in pages.values() for item_id in ids})),
        None,
    )
    assert lists.cursors == list(pages)


async def test_limit_and_after(lists: ListServer) -> None:
    """``limit`` is the size of each page, not of the list; ``after`` takes a walk up behind an item."""
    lists.serve_pages({"b": ("cd", True), "d": ("e", False)})
    assert await walk(lists.list(limit=7, after="b")) == ("cde", None)
    assert [query["limit"] for query in lists.queries] == ["7", "7"]
    assert lists.cursors == ["b", "d"]


# The paginator's doors


async def test_breaking_after_one_item_costs_one_request(lists: ListServer) -> None:
    """The next page is asked for only when the last item of this one was taken."""
    lists.serve({None: lists.page("abc", True)})
    async for item in lists.list():
        assert item.id == "a"
        break
    assert lists.cursors == [None]


async def test_building_a_list_sends_nothing(lists: ListServer) -> None:
    """A paginator is a plan, not a request."""
    lists.list()
    await asyncio.sleep(0)
    assert lists.queries == []


async def test_iterating_twice_starts_afresh(lists: ListServer) -> None:
    """Each ``async for`` over the same paginator is a walk of its own."""
    lists.serve({None: lists.page("ab", True), "b": lists.page("c", False)})
    paginator = lists.list()
    assert await walk(paginator) == await walk(paginator) == ("abc", None)
    assert lists.cursors == [None, "b"] * 2


async def test_two_walks_do_not_disturb_each_other(lists: ListServer) -> None:
    """Two loops over one paginator at the same time each see the whole list."""
    lists.serve({None: lists.page("ab", True), "b": lists.page("c", False)})
    paginator = lists.list()
    assert await asyncio.gather(walk(paginator), walk(paginator)) == [("abc", None)] * 2


async def test_awaiting_a_list_gives_its_first_page(lists: ListServer) -> None:
    """``await`` is for those who page by hand."""
    lists.serve({None: lists.page("ab", True), "b": lists.page("c", False)})
    first = await lists.list()
    assert ([item.id for item in first.data], first.has_more, first.last_id) == (["a", "b"], True, "b")
    second = await lists.list(after=first.last_id)
    assert ([item.id for item in second.data], second.has_more) == (["c"], False)


async def test_collect_takes_so_many_and_no_more(lists: ListServer) -> None:
    """``collect(max_items)`` sends no request for items it does not return."""
    lists.serve({None: lists.page("ab", True), "b": lists.page("c", False)})
    assert [item.id for item in await lists.list().collect()] == ["a", "b", "c"]
    lists.queries.clear()
    assert [item.id for item in await lists.list().collect(2)] == ["a", "b"]
    assert lists.cursors == [None]
    assert await lists.list().collect(0) == []
    assert lists.cursors == [None]


async def test_pages_are_the_answers_themselves(lists: ListServer) -> None:
    """``pages()`` gives each answer with its cursor, its request id among them."""
    answers = {None: lists.page("ab", True), "b": lists.page("c", False)}
    lists.answer = lambda after: web.json_response(answers[after], headers={"x-request-id": f"req-{after}"})
    pages = [page async for page in lists.list().pages()]
    assert [(len(page.data), page.has_more, page.last_id) for page in pages] == [(2, True, "b"), (1, False, "c")]
    assert [page.request_id for page in pages] == ["req-None", "req-b"]
    assert [item.request_id for page in pages for item in page.data] == ["req-None", "req-None", "req-b"]


async def test_prefetch_asks_for_the_next_page_early(lists: ListServer) -> None:
    """With ``prefetch=1`` the next page is on its way while this one is being read."""
    asked = asyncio.Event()

    def answer(after: str | None) -> Any:
        if after:
            asked.set()
        return lists.page("ab", True) if after is None else lists.page("c", False)

    lists.answer = answer
    ids = ""
    async for item in lists.list(prefetch=1):
        if not ids:
            await asyncio.wait_for(asked.wait(), 60)
        ids += item.id
    assert ids == "abc"
    assert lists.cursors == [None, "b"]


async def test_leaving_a_list_that_prefetches_leaves_nothing(lists: ListServer) -> None:
    """A walk left early takes its prefetched page along: no task, no warning, no forgotten coroutine."""
    lists.serve({None: lists.page("ab", True), "b": lists.page("cd", True), "d": lists.page("e", False)})
    complaints = complaints_of_the_loop()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for turns in (0, 1, 5, 50):
            async for _item in lists.list(prefetch=1):
                for _ in range(turns):
                    await asyncio.sleep(0)
                break
        gc.collect()
        await asyncio.sleep(0.02)
        gc.collect()
    assert (caught, complaints) == ([], [])
    assert no_open_connection(lists)


def complaints_of_the_loop() -> list[Any]:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    return complaints


def no_open_connection(lists: ListServer) -> bool:
    return not lists.session._exchange._session.connector._acquired


# Servers that leave something out


async def test_without_has_more_a_page_that_leads_nowhere_new_ends_the_list(lists: ListServer) -> None:
    """A service that has neither has_more nor cursors sends the same list again, which is read once."""
    lists.answer = lambda after: {"object": "list", "data": [lists.record("a"), lists.record("b")]}
    assert await walk(lists.list()) == ("ab", None)
    assert lists.cursors == [None, "b"]


@pytest.mark.parametrize("pages", [1, 2])
async def test_a_bare_array_is_a_list(lists: ListServer, pages: int) -> None:
    """Services that answer with an array have one page, or take the last item as a cursor."""
    answers = {None: "ab", "b": "cd" if pages == 2 else "", "d": ""}
    lists.answer = lambda after: [lists.record(item_id) for item_id in answers[after]]
    assert await walk(lists.list()) == ("abcd" if pages == 2 else "ab", None)


@pytest.mark.parametrize("has_more", [False, ...])
async def test_null_for_data_is_an_empty_page(lists: ListServer, has_more: Any) -> None:
    """An empty list is null in some languages."""
    lists.serve({None: {"object": "list", "data": None} | ({} if has_more is ... else {"has_more": has_more})})
    assert await walk(lists.list()) == ("", None)


async def test_records_as_json_text_are_read(lists: ListServer) -> None:
    """A service that stores its records as text hands them out as text."""
    data = [json.dumps(lists.record("a", metadata={"k": "v"})), lists.record("b")]
    lists.serve({None: page(data, True), "b": page([json.dumps(lists.record("c"))], False)})
    assert await walk(lists.list()) == ("abc", None)


async def test_has_more_as_text_or_number_is_understood(lists: ListServer) -> None:
    """What a service means by "true" or 1 does not depend on the rest of its page."""
    lists.serve(
        {
            None: page([json.dumps(lists.record("a")), lists.record("b")], "true"),
            "b": page([lists.record("c")], 1),
            "c": page([json.dumps(lists.record("d"))], "false", last_id="nowhere"),
        }
    )
    assert await walk(lists.list()) == ("abcd", None)


# Servers that go in circles


# The cursor that a walk begins with, the pages, the ids that are yielded, the cursor of the error, words of it.
STALLED: dict[str, tuple[dict[str | None, tuple[Any, ...]], str, str | None, str]] = {
    "more is announced and no way leads there": ({None: ("ab", True), "b": ("", True)}, "ab", "b", "no cursor"),
    "a page that leads to itself": ({None: ("ab", True), "b": ("cd", True, "b")}, "abcd", "b", ""),
    "a cycle": ({None: ("a", True), "a": ("b", True), "b": ("c", True, "a")}, "abc", None, "'a'"),
    "a cycle to where the walk began": ({"z": ("a", True), "a": ("b", True, "z")}, "ab", None, ""),
    "a service that ignores after": ({None: ("ab", True), "b": ("ab", True)}, "ab", "b", ""),
    "a service that forgot a cursor and restarts": (
        {None: ("ab", True), "b": ("cd", True), "d": ("ab", True)},
        "abcd",
        "d",
        "",
    ),
}


@pytest.mark.parametrize("case", STALLED)
async def test_a_list_that_goes_in_circles_is_an_error(lists: ListServer, case: str) -> None:
    """What is new is yielded, then the walk ends in an error, and no page is asked for twice."""
    pages, yielded, after, words = STALLED[case]
    lists.serve_pages(pages)
    ids, error = await walk(lists.list(after=next(iter(pages))))
    assert ids == yielded
    assert isinstance(error, PaginationError)
    assert after is None or error.after == after
    assert words in str(error)
    assert lists.cursors == list(pages)


@pytest.mark.parametrize(("ids", "words", "most"), [("ab", "nothing that was not yielded", 2), ("", "empty", 1_001)])
async def test_ever_new_cursors_with_nothing_new_are_an_error(
    lists: ListServer, ids: str, words: str, most: int
) -> None:
    """Pages of nothing new, or of nothing, that announce more end after a bounded number of requests."""
    numbers = iter(range(10_000))
    lists.answer = lambda after: lists.page(ids, True, last_id=f"cursor-{next(numbers)}")
    yielded, error = await walk(lists.list())
    assert yielded == ids
    assert isinstance(error, PaginationError)
    assert words in str(error)
    assert len(lists.queries) == most if ids else len(lists.queries) <= most


async def test_a_restart_at_a_top_that_has_moved_is_an_error(lists: ListServer) -> None:
    """The items that are new at the top are yielded, and the walk still ends."""
    whole = "abcdef"
    state = {"top": whole}

    def answer(after: str | None) -> Any:
        top = state["top"]
        start = top.find(after) + 1 if after and after != "d" else 0
        if after == "d":
            state["top"] = top = "N" + whole
        return lists.page(top[start : start + 2], True)

    lists.answer = answer
    ids, error = await walk(lists.list())
    assert ids == "abcdN"
    assert isinstance(error, PaginationError)


async def test_an_error_of_the_list_is_raised_again(lists: ListServer) -> None:
    """A walk that stalled does not look finished to the one who asks again, and sends nothing more."""
    lists.answer = lambda after: lists.page("ab", True)
    items = aiter(lists.list())
    assert [(await anext(items)).id, (await anext(items)).id] == ["a", "b"]
    for _ in range(2):
        with pytest.raises(PaginationError):
            await anext(items)
    assert len(lists.queries) == 2


# Lists that move


async def test_an_item_twice_on_a_page_comes_once(lists: ListServer) -> None:
    """The first of two items with one id is the one that is yielded, in its place."""
    records = [lists.record(item_id, filename=name, model=name) for item_id, name in zip("abab", "1234", strict=True)]
    lists.serve({None: page(records, True), "b": lists.page("c", False)})
    items = await lists.list().collect()
    assert [item.id for item in items] == ["a", "b", "c"]
    assert [getattr(item, "model", None) or item.filename for item in items[:2]] == ["1", "2"]


async def test_an_item_that_changed_between_pages_comes_once(lists: ListServer) -> None:
    """What an item became after it was yielded is not news of the list."""
    lists.serve(
        {
            None: page([lists.record("a", status="in_progress")], True),
            "a": page([lists.record("a", status="completed"), lists.record("b")], False),
        }
    )
    items = await lists.list().collect()
    assert items[0].status == "in_progress"
    assert [item.id for item in items] == ["a", "b"]


async def test_pages_hold_only_what_is_new(lists: ListServer) -> None:
    """``pages()`` leaves out what an earlier page had, and keeps the page's cursor and request id."""
    answers = {None: lists.page("ab", True), "b": lists.page("bc", False)}
    lists.answer = lambda after: web.json_response(answers[after], headers={"x-request-id": f"req-{after}"})
    pages = [page async for page in lists.list().pages()]
    assert [[item.id for item in page.data] for page in pages] == [["a", "b"], ["c"]]
    assert (pages[1].last_id, pages[1].first_id, pages[1].has_more) == ("c", "b", False)
    assert pages[1].request_id == "req-b"


# Errors on the way


@pytest.mark.parametrize("prefetch", [0, 1])
async def test_an_error_in_the_middle_comes_after_the_items_before_it(lists: ListServer, prefetch: int) -> None:
    """Nothing that arrived is lost, and the same iterator goes on where it failed."""
    failures = iter([web.Response(status=500, text="oops"), web.Response(text="<html>")])

    def answer(after: str | None) -> Any:
        if after is None:
            return lists.page("ab", True)
        return next(failures, lists.page("cd", False))

    lists.answer = answer
    items = aiter(lists.list(prefetch=prefetch))
    assert [(await anext(items)).id, (await anext(items)).id] == ["a", "b"]
    with pytest.raises(InternalServerError):
        await anext(items)
    with pytest.raises(DecodeError, match="no JSON"):
        await anext(items)
    assert [item.id async for item in items] == ["c", "d"]
    assert lists.cursors == [None, "b", "b", "b"]


@pytest.mark.parametrize("prefetch", [0, 1])
async def test_a_walk_that_ended_stays_ended(lists: ListServer, prefetch: int) -> None:
    """Asking behind the end sends nothing."""
    lists.serve({None: lists.page("a", False)})
    items = aiter(lists.list(prefetch=prefetch))
    await anext(items)
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(items)
    assert lists.cursors == [None]


@pytest.mark.parametrize("prefetch", [0, 1])
async def test_cancelling_in_the_middle_of_a_page_leaks_nothing(lists: ListServer, prefetch: int) -> None:
    """A task cancelled while half a page has arrived leaves no connection, no task and no warning behind."""
    half_sent = asyncio.Event()

    async def stall(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "100000"})
        await response.prepare(request)
        await response.write(b'{"object": "list", "data": [')
        half_sent.set()
        await asyncio.sleep(30)
        return response

    lists.serve({None: lists.page("ab", True), "b": stall})
    asyncio.get_running_loop().set_debug(True)
    complaints = complaints_of_the_loop()
    ids: list[str] = []

    async def read() -> None:
        async for item in lists.list(prefetch=prefetch):
            ids.append(item.id)  # noqa: PERF401  # what came before the cancellation counts

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = asyncio.all_tasks()
        task = asyncio.create_task(read())
        await asyncio.wait_for(half_sent.wait(), 60)
        await asyncio.sleep(0.01)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert no_open_connection(lists)
        del task
        gc.collect()
        await asyncio.sleep(0.01)
        gc.collect()
        ours = {task for task in asyncio.all_tasks() - before if "openai_batches" in repr(task)}
    assert (ids, ours, complaints, [str(warning.message) for warning in caught]) == (["a", "b"], set(), [], [])
    lists.serve({None: lists.page("x", False)})
    assert await walk(lists.list()) == ("x", None)
