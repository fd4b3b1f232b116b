"""The paginator by itself, over pages that were never on a network."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import warnings
from typing import Any, Self

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from openai_batches import AsyncPaginator, InputError, Page, PaginationError


@attrs.frozen
class Item:
    id: str


def ids_page(first: int, stop: int, **fields: Any) -> Page[Item]:
    return Page(data=tuple(Item(str(number)) for number in range(first, stop)), **fields)


def counting(total: int, *, size: int = 100) -> Any:
    """Return a fetch over the items 0 … total - 1, as a service that keeps to the documents gives them."""

    async def fetch(after: str | None) -> Page[Item]:
        first = 0 if after is None else int(after) + 1
        stop = min(first + size, total)
        return ids_page(first, stop, has_more=stop < total)

    return fetch


@pytest.mark.parametrize("prefetch", [2, -1, None, "1", 0.5])
def test_prefetch_is_0_or_1(prefetch: Any) -> None:
    """More than one page ahead is not offered, and not silently taken for one."""
    with pytest.raises(InputError, match="prefetch"):
        AsyncPaginator(counting(1), prefetch=prefetch)


def test_a_paginator_shows_where_it_starts() -> None:
    """The repr names the cursor."""
    assert repr(AsyncPaginator(counting(1), after="x")) == "<AsyncPaginator after='x'>"


async def test_collect_takes_no_negative_number() -> None:
    """A number of items below 0 is the caller's mistake."""
    with pytest.raises(InputError, match="max_items"):
        await AsyncPaginator(counting(1)).collect(-1)


async def test_items_and_pages_are_their_own_iterators() -> None:
    """A walk can be handed on and continued."""
    paginator = AsyncPaginator(counting(3, size=2))
    for walk in (aiter(paginator), paginator.pages()):
        assert aiter(walk) is walk
    items = aiter(paginator)
    assert (await anext(items)).id == "0"
    assert [item.id async for item in items] == ["1", "2"]


@given(total=st.integers(0, 60), size=st.integers(1, 12), prefetch=st.sampled_from([0, 1]))
@settings(deadline=None, max_examples=60)
def test_every_item_comes_once_and_in_order(total: int, size: int, prefetch: int) -> None:
    """Whatever the page size, a list is what the service has, and costs as many requests as it has pages."""
    calls = 0
    fetch = counting(total, size=size)

    async def counted(after: str | None) -> Page[Item]:
        nonlocal calls
        calls += 1
        return await fetch(after)

    items = asyncio.run(AsyncPaginator(counted, prefetch=prefetch).collect())
    assert [item.id for item in items] == [str(number) for number in range(total)]
    assert calls == max(1, -(-total // size))


@given(data=st.data())
@settings(deadline=None, max_examples=200)
def test_no_list_is_endless_and_no_item_comes_twice(data: st.DataObject) -> None:
    """A service may answer each cursor with anything: the walk ends, in bounded steps, without a repetition."""
    names = st.sampled_from("abcdef")
    answers = data.draw(
        st.dictionaries(
            st.none() | names,
            st.builds(
                Page[Item],
                data=st.lists(names.map(Item), max_size=3).map(tuple),
                has_more=st.sampled_from([True, False, None]),
                last_id=st.none() | names,
            ),
        )
    )
    calls = 0

    async def fetch(after: str | None) -> Page[Item]:
        nonlocal calls
        calls += 1
        return answers.get(after) or Page(data=(), has_more=True)

    async def walk() -> list[str]:
        seen: list[str] = []
        try:
            async for item in AsyncPaginator(fetch, prefetch=data.draw(st.sampled_from([0, 1]))):
                seen.append(item.id)  # noqa: PERF401  # what came before an error counts
        except PaginationError:
            pass
        return seen

    seen = asyncio.run(walk())
    assert len(seen) == len(set(seen))
    assert calls <= 8


async def test_a_hundred_thousand_batches_need_no_more_memory_than_ten_thousand() -> None:
    """What a walk remembers is bounded: items are not kept, and their ids only over a window."""
    grown = 0
    base = 0
    count = 0
    tracemalloc.start()
    try:
        async for _item in AsyncPaginator(counting(100_000)):
            count += 1
            if count == 20_000:
                base = tracemalloc.get_traced_memory()[0]
            elif count % 10_000 == 0 and base:
                grown = max(grown, tracemalloc.get_traced_memory()[0] - base)
    finally:
        tracemalloc.stop()
    assert count == 100_000
    assert grown < 2_000_000  # 80,000 items, or their ids alone, would be several times as much


@pytest.mark.parametrize("size", [1, 7, 100, 9_999, 10_000, 25_000])
async def test_at_least_ten_thousand_ids_are_remembered(size: int) -> None:
    """An item that comes again 10,000 items later is still known, whatever the page size."""
    fetch = counting(30_000, size=size)
    walk = AsyncPaginator(fetch).pages()
    last = -1
    while last < 24_999:
        last = int((await anext(walk)).data[-1].id)
    assert {str(number) for number in range(last - 9_999, last + 1)} <= walk._seen
    assert len(walk._seen) == walk._remembered <= 10_000 + size


@pytest.mark.parametrize("prefetch", [0, 1])
async def test_an_item_that_comes_back_within_the_window_is_not_yielded(prefetch: int) -> None:
    """The first item of all, sent again behind 10,000 items, is left out."""

    async def fetch(after: str | None) -> Page[Item]:
        first = 0 if after is None else int(after) + 1
        page = ids_page(first, first + 100, has_more=first < 9_900)
        return page if page.has_more else attrs.evolve(page, data=(Item("0"), *page.data[:-1]))

    items = await AsyncPaginator(fetch, prefetch=prefetch).collect()
    assert [item.id for item in items] == [str(number) for number in range(9_999)]


async def test_empty_pages_are_counted_in_a_row() -> None:
    """Many empty pages in all are no stall, if there is something between them."""

    async def fetch(after: str | None) -> Page[Item]:
        number = 0 if after is None else int(after) + 1
        data = (Item(str(number)),) if number % 900 == 0 else ()
        return Page(data=data, has_more=number < 4_000, last_id=str(number))

    assert len(await AsyncPaginator(fetch).collect()) == 5


# What a walk with prefetch leaves behind


class Complaints:
    """Collects what Python says behind one's back: warnings, and the event loop's complaints."""

    def __enter__(self) -> Self:
        self.heard: list[Any] = []
        self._catcher = warnings.catch_warnings(record=True)
        self._caught = self._catcher.__enter__()
        warnings.simplefilter("always")
        return self

    def __exit__(self, *_: object) -> None:
        gc.collect()
        self.heard += [str(warning.message) for warning in self._caught]
        self._catcher.__exit__(None, None, None)

    def listen(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.heard.append(context["message"]))


@pytest.mark.parametrize("ending", ["page", "error", "cancelled", "never"])
def test_a_dropped_walk_takes_its_prefetched_page_along(ending: str) -> None:
    """However far the page ahead has come, and whatever became of it, dropping the walk is silent."""

    async def fetch(after: str | None) -> Page[Item]:
        if after is None:
            return ids_page(0, 2, has_more=True)
        await asyncio.sleep(0)
        if ending == "error":
            raise OSError("nobody waits for this")
        if ending == "cancelled":
            raise asyncio.CancelledError
        await asyncio.sleep(0 if ending == "page" else 30)
        return ids_page(2, 4, has_more=False)

    async def main() -> None:
        complaints.listen()
        for turns in (0, 1, 3, 10):
            async for _item in AsyncPaginator(fetch, prefetch=1):
                for _ in range(turns):
                    await asyncio.sleep(0)
                break
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with Complaints() as complaints:
        asyncio.run(main())
    assert complaints.heard == []


def test_a_walk_may_be_dropped_after_its_loop() -> None:
    """A walk that outlives its event loop says nothing when it goes."""

    async def fetch(after: str | None) -> Page[Item]:
        if after is not None:
            await asyncio.sleep(30)
        return ids_page(0, 2, has_more=True)

    async def main() -> Any:
        complaints.listen()
        items = aiter(AsyncPaginator(fetch, prefetch=1))
        await anext(items)
        await asyncio.sleep(0)
        return items

    with Complaints() as complaints:
        items = asyncio.run(main())
        del items
    assert complaints.heard == []


def test_a_walk_dropped_after_a_loop_that_was_closed_over_it_does_not_fail() -> None:
    """Nothing is sent to a closed event loop, which would refuse it with an error from nowhere."""

    async def fetch(after: str | None) -> Page[Item]:
        if after is not None:
            await asyncio.sleep(30)
        return ids_page(0, 2, has_more=True)

    async def first() -> Any:
        complaints.listen()
        items = aiter(AsyncPaginator(fetch, prefetch=1))
        await anext(items)
        await asyncio.sleep(0)
        return items

    with Complaints() as complaints:
        loop = asyncio.new_event_loop()
        items = loop.run_until_complete(first())
        loop.close()
        del items
        gc.collect()
    # asyncio's own word for a loop that was closed over its tasks.
    assert set(complaints.heard) <= {"Task was destroyed but it is pending!"}


async def test_cancelling_the_reader_cancels_the_page_ahead() -> None:
    """A reader that is cancelled while it waits for the page ahead leaves no request running, and can go on."""
    cancelled = 0
    is_slow = True

    async def fetch(after: str | None) -> Page[Item]:
        nonlocal cancelled
        if after is None:
            return ids_page(0, 1, has_more=True)
        try:
            await asyncio.sleep(30 if is_slow else 0)
        except asyncio.CancelledError:
            cancelled += 1
            raise
        return ids_page(1, 2, has_more=False)

    items = aiter(AsyncPaginator(fetch, prefetch=1))
    await anext(items)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(items), 0.01)
    assert cancelled == 1
    is_slow = False
    assert [item.id async for item in items] == ["1"]


async def test_prefetch_goes_one_page_ahead_and_no_further() -> None:
    """While the first page is read, the second is fetched, the third is not."""
    asked: list[str | None] = []
    fetch = counting(10, size=2)

    async def counted(after: str | None) -> Page[Item]:
        asked.append(after)
        return await fetch(after)

    items = aiter(AsyncPaginator(counted, prefetch=1))
    await anext(items)
    for _ in range(10):
        await asyncio.sleep(0)
    assert asked == [None, "1"]
    assert len([item async for item in items]) == 9
    assert asked == [None, "1", "3", "5", "7"]
