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


# Lists as documented


async def test_a_list_is_followed_page_after_page(lists: ListServer) -> None:
    """The cursor of a page leads to the next, and has_more false ends the list without another request."""
    lists.serve({None: lists.page("ab", True), "b": lists.page("cd", True), "d": lists.page("e", False)})
    assert await walk(lists.list()) == ("abcde", None)
    assert lists.cursors == [None, "b", "d"]


async def test_one_page_is_one_request(lists: ListServer) -> None:
    """A list that fits on one page costs one request."""
    lists.serve({None: lists.page("ab", False)})
    assert await walk(lists.list()) == ("ab", None)
    assert lists.cursors == [None]


async def test_an_empty_list_is_empty(lists: ListServer) -> None:
    """Nothing to list is no error."""
    lists.serve({None: lists.page("", False)})
    assert await walk(lists.list()) == ("", None)
    assert lists.cursors == [None]


async def test_a_list_may_end_with_a_full_page(lists: ListServer) -> None:
    """A number of items that is a multiple of the page size ends with the page that says so."""
    lists.serve({None: lists.page("ab", True), "b": lists.page("cd", False)})
    assert await walk(lists.list(limit=2)) == ("abcd", None)
    assert lists.cursors == [None, "b"]


async def test_a_list_may_end_with_an_empty_page(lists: ListServer) -> None:
    """A service that finds out only afterwards that there is no more sends an empty last page."""
    lists.serve({None: lists.page("ab", True), "b": lists.page("", False)})
    assert await walk(lists.list()) == ("ab", None)


async def test_the_page_size_is_sent_with_every_request(lists: ListServer) -> None:
    """``limit`` is the size of each page, not of the list."""
    lists.serve({None: lists.page("a", True), "a": lists.page("b", False)})
    await walk(lists.list(limit=7))
    assert [query["limit"] for query in lists.queries] == ["7", "7"]


async def test_after_resumes_behind_an_item(lists: ListServer) -> None:
    """A walk that was left can be taken up behind its last item."""
    lists.serve({"b": lists.page("cd", True), "d": lists.page("e", False)})
    assert await walk(lists.list(after="b")) == ("cde", None)


async def test_a_cursor_is_quoted(lists: ListServer) -> None:
    """Whatever a service uses as a cursor comes back to it unchanged."""
    cursor = "a/b?c=d&e#f g%20é\u2028"
    lists.serve({None: lists.page("a", True, last_id=cursor), cursor: lists.page("b", False)})
    assert await walk(lists.list()) == ("ab", None)


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


@pytest.mark.parametrize("turns", [0, 1, 5, 50])
async def test_leaving_a_list_that_prefetches_leaves_nothing(lists: ListServer, turns: int) -> None:
    """A walk left early takes its prefetched page along: no task, no warning, no forgotten coroutine."""
    lists.serve({None: lists.page("ab", True), "b": lists.page("cd", True), "d": lists.page("e", False)})
    loop = asyncio.get_running_loop()
    complaints: list[Any] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async for _item in lists.list(prefetch=1):
            for _ in range(turns):
                await asyncio.sleep(0)
            break
        gc.collect()
        await asyncio.sleep(0.02)
        gc.collect()
    assert (caught, complaints) == ([], [])
    assert no_open_connection(lists)


def no_open_connection(lists: ListServer) -> bool:
    return not lists.session._exchange._session.connector._acquired


# Servers that leave something out


async def test_without_has_more_an_empty_page_ends_the_list(lists: ListServer) -> None:
    """A service that never says has_more has said everything when nothing comes any more."""
    lists.serve({None: lists.page("ab", ...), "b": lists.page("c", ...), "c": lists.page("", ...)})
    assert await walk(lists.list()) == ("abc", None)
    assert lists.cursors == [None, "b", "c"]


async def test_without_has_more_a_page_that_leads_nowhere_new_ends_the_list(lists: ListServer) -> None:
    """A service that has neither has_more nor cursors sends the same list again, which is read once."""
    lists.answer = lambda after: {"object": "list", "data": [lists.record("a"), lists.record("b")]}
    assert await walk(lists.list()) == ("ab", None)
    assert lists.cursors == [None, "b"]


@pytest.mark.parametrize("last_id", [None, ..., ""])
async def test_without_last_id_the_last_item_is_the_cursor(lists: ListServer, last_id: Any) -> None:
    """The id of a page's last item leads on where the page names no cursor."""
    lists.serve({None: lists.page("ab", True, last_id=last_id), "b": lists.page("c", False, last_id=last_id)})
    assert await walk(lists.list()) == ("abc", None)


async def test_last_id_comes_before_the_last_item(lists: ListServer) -> None:
    """A cursor that is no item's id is followed as it is."""
    lists.serve({None: lists.page("ab", True, last_id="token-2"), "token-2": lists.page("c", False)})
    assert await walk(lists.list()) == ("abc", None)


async def test_an_empty_page_in_the_middle_is_followed(lists: ListServer) -> None:
    """A page without items but with a cursor is passed through, not taken for the end."""
    lists.serve(
        {
            None: lists.page("ab", True),
            "b": lists.page("", True, last_id="x"),
            "x": lists.page("", True, last_id="y"),
            "y": lists.page("c", False),
        }
    )
    assert await walk(lists.list()) == ("abc", None)
    assert lists.cursors == [None, "b", "x", "y"]


async def test_an_empty_page_without_a_cursor_is_an_error(lists: ListServer) -> None:
    """More is announced and no way leads there: the list is not cut short in silence."""
    lists.serve({None: lists.page("ab", True), "b": lists.page("", True)})
    ids, error = await walk(lists.list())
    assert ids == "ab"
    assert isinstance(error, PaginationError)
    assert error.after == "b"
    assert "no cursor" in str(error)


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


async def test_a_cursor_that_does_not_advance_is_an_error(lists: ListServer) -> None:
    """A page that leads to itself is yielded, then named."""
    lists.serve({None: lists.page("ab", True), "b": lists.page("cd", True, last_id="b")})
    ids, error = await walk(lists.list())
    assert ids == "abcd"
    assert isinstance(error, PaginationError)
    assert error.after == "b"
    assert lists.cursors == [None, "b"]


async def test_a_cycle_is_an_error(lists: ListServer) -> None:
    """Any cursor that was followed before is recognised, not just the last one."""
    lists.serve({None: lists.page("a", True), "a": lists.page("b", True), "b": lists.page("c", True, last_id="a")})
    ids, error = await walk(lists.list())
    assert ids == "abc"
    assert isinstance(error, PaginationError)
    assert "'a'" in str(error)
    assert lists.cursors == [None, "a", "b"]


async def test_a_cycle_to_the_start_cursor_is_an_error(lists: ListServer) -> None:
    """The cursor a walk began with counts as followed."""
    lists.serve({"z": lists.page("a", True), "a": lists.page("b", True, last_id="z")})
    ids, error = await walk(lists.list(after="z"))
    assert ids == "ab"
    assert isinstance(error, PaginationError)


async def test_a_service_that_ignores_after_is_an_error(lists: ListServer) -> None:
    """The same page for ever is yielded once and asked for twice."""
    lists.answer = lambda after: lists.page("ab", True)
    ids, error = await walk(lists.list())
    assert ids == "ab"
    assert isinstance(error, PaginationError)
    assert error.after == "b"
    assert lists.cursors == [None, "b"]


async def test_the_same_items_with_ever_new_cursors_are_an_error(lists: ListServer) -> None:
    """A page of nothing new that announces more is a stall, however new its cursor."""
    numbers = iter(range(1_000))
    lists.answer = lambda after: lists.page("ab", True, last_id=f"cursor-{next(numbers)}")
    ids, error = await walk(lists.list())
    assert ids == "ab"
    assert isinstance(error, PaginationError)
    assert "nothing that was not yielded" in str(error)
    assert len(lists.queries) == 2


async def test_empty_pages_for_ever_are_an_error(lists: ListServer) -> None:
    """Ever-new cursors with nothing behind them end after a bounded number of requests."""
    numbers = iter(range(10_000))
    lists.answer = lambda after: lists.page("", True, last_id=f"cursor-{next(numbers)}")
    ids, error = await walk(lists.list())
    assert ids == ""
    assert isinstance(error, PaginationError)
    assert "empty" in str(error)
    assert len(lists.queries) <= 1_001


async def test_an_unknown_cursor_that_restarts_at_the_top_is_an_error(lists: ListServer) -> None:
    """A service that forgot a cursor and begins again does not make the list endless, nor its items come twice."""
    pages = {None: lists.page("ab", True), "b": lists.page("cd", True)}
    lists.answer = lambda after: pages.get(after, pages[None])
    ids, error = await walk(lists.list())
    assert ids == "abcd"
    assert isinstance(error, PaginationError)
    assert error.after == "d"
    assert lists.cursors == [None, "b", "d"]


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


async def test_pages_that_overlap_give_each_item_once(lists: ListServer) -> None:
    """An item on two pages is one item."""
    lists.serve({None: lists.page("abc", True), "c": lists.page("bcd", True), "d": lists.page("cde", False)})
    assert await walk(lists.list()) == ("abcde", None)


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


async def test_a_last_page_of_nothing_new_ends_the_list(lists: ListServer) -> None:
    """Nothing new on the page that says it is the last is an end like any other."""
    lists.serve({None: lists.page("ab", True), "b": lists.page("ab", False)})
    assert await walk(lists.list()) == ("ab", None)


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
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    complaints: list[Any] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
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
