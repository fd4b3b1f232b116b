"""Lists at the service that are fetched page by page, to their end.

A list ends where the service says so. Servers are known to repeat a cursor, to ignore it, to send pages that overlap,
empty pages in the middle, and ``has_more`` without end. Where a list cannot be followed, an error is raised: items are
neither left out in silence nor asked for endlessly.

Source: https://platform.openai.com/docs/api-reference/batch/list
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import attrs

from openai_batches._names import public
from openai_batches.errors import InputError, PaginationError
from openai_batches.models import answered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator

    from openai_batches.models import Page

__all__ = ["AsyncPaginator", "whole_list"]

# Ids of at least so many items are remembered, to know the ones that come again.
_REMEMBERED_ITEMS = 10_000
# After so many empty pages in a row, each with a new cursor, the list is given up.
_MAX_EMPTY_PAGES = 1_000


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_HasId)


@public
class AsyncPaginator(Generic[T]):
    """A list at the service, fetched page after page while it is read.

    Creating a paginator sends nothing. ``async for`` yields items in the service's order and requests the next page
    only when the last item of the current page has been taken, so that leaving the loop after one item costs one
    request. Each ``async for`` starts again at the first page. ``await paginator`` gives the first page. Nothing is
    held open between two items.

    An item that the service sends again (because pages overlap, or the list changed) is yielded once: the ids of at
    least the last 10,000 items are remembered, and all cursors. If the service says that there are more items but they
    cannot be requested (there is no cursor, the cursor was followed already, or the page has no new items),
    ``PaginationError`` is raised after all earlier items were yielded; its ``after`` is the cursor of the page at
    fault. If the service does not say whether there are more items, the list ends with an empty page, or with one that
    has no new items or no new cursor.

    Args:
        fetch: gives the page that follows a cursor (None: the first page).
        after: the cursor to start behind.
        prefetch: 1 asks for the next page while this one is being read, 0 does not.

    Raises:
        InputError: ``prefetch`` is neither 0 nor 1, or ``after`` is no text.

    Source: https://platform.openai.com/docs/api-reference/batch/list
    """

    def __init__(
        self, fetch: Callable[[str | None], Awaitable[Page[T]]], *, after: str | None = None, prefetch: int = 0
    ) -> None:
        if after is not None and not isinstance(after, str):
            raise InputError(f"after must be the id of an item, not {type(after).__name__}")
        if prefetch not in {0, 1}:
            raise InputError(f"prefetch must be 0 or 1, not {prefetch!r}")
        self._fetch = fetch
        self._after = after
        self._prefetch = bool(prefetch)

    def __repr__(self) -> str:
        return f"<AsyncPaginator after={self._after!r}>"

    def __aiter__(self) -> AsyncIterator[T]:
        """Yield the items, from the first page on."""
        return _Items(_Pages(self._fetch, self._after, ahead=self._prefetch))

    def __await__(self) -> Generator[object, None, Page[T]]:
        """Return the first page."""
        return self._fetch(self._after).__await__()

    def pages(self) -> AsyncIterator[Page[T]]:
        """Return an iterator over the pages, without the items that an earlier page already had.

        Raises:
            PaginationError: while iterating, when the list cannot be followed to its end.
        """
        return _Pages(self._fetch, self._after, ahead=self._prefetch)

    async def collect(self, max_items: int | None = None) -> list[T]:
        """Return the items as a list.

        Args:
            max_items: stop after so many; None takes all, 0 sends nothing.

        Raises:
            InputError: ``max_items`` is below 0, or no whole number.
            PaginationError: the list cannot be followed to its end.
        """
        if max_items is not None and (type(max_items) is not int or max_items < 0):
            raise InputError(f"max_items must be a whole number of 0 or more, or None, not {max_items!r}")
        items: list[T] = []
        if max_items == 0:
            return items
        async for item in self:
            items.append(item)
            if len(items) == max_items:
                break
        return items


def whole_list(page: Page[T], *, after: str | None) -> Page[T]:
    """Return the answer of a service without cursors, which is the whole list, as the one page behind an item."""
    if page.has_more is not None:
        return page
    data = page.data
    if after is not None:
        ids = [item.id for item in data]
        if after not in ids:
            raise PaginationError(f"The list has no item {after!r} to go on behind", after=after)
        data = data[ids.index(after) + 1 :]
    whole = attrs.evolve(page, data=data, has_more=False)
    answered((whole,), page.request_id)
    return whole


class _Items(Generic[T]):
    """One iteration over the items. Unlike a generator, it need not be closed when it is dropped."""

    __slots__ = ("_items", "_lock", "_pages")

    def __init__(self, pages: _Pages[T]) -> None:
        self._pages = pages
        self._items: Iterator[T] = iter(())
        self._lock = asyncio.Lock()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            for item in self._items:
                return item
            async with self._lock:
                # Of several tasks that share this iterator, one fetches, and the others find what it brought.
                for item in self._items:
                    return item
                self._items = iter((await self._pages.next_page()).data)


class _Pages(Generic[T]):
    """One iteration over the pages; it raises an error where the list makes no progress."""

    __slots__ = (
        "__weakref__",
        "_after",
        "_ahead",
        "_empty",
        "_fetch",
        "_followed",
        "_is_over",
        "_lock",
        "_recent",
        "_remembered",
        "_seen",
        "_stalled",
        "_task",
    )

    def __init__(self, fetch: Callable[[str | None], Awaitable[Page[T]]], after: str | None, *, ahead: bool) -> None:
        self._fetch = fetch
        self._after = after
        self._ahead = ahead
        self._followed = set() if after is None else {after}
        self._seen: set[str] = set()
        self._recent: deque[list[str]] = deque()
        self._remembered = 0
        self._empty = 0
        self._is_over = False
        self._stalled: str | None = None
        self._task: asyncio.Task[Page[T]] | None = None
        self._lock = asyncio.Lock()

    def __aiter__(self) -> AsyncIterator[Page[T]]:
        return self

    async def __anext__(self) -> Page[T]:
        async with self._lock:
            return await self.next_page()

    async def next_page(self) -> Page[T]:
        """Return the next page; only one task at a time may call this."""
        if self._stalled is not None:
            raise PaginationError(self._stalled, after=self._after)
        if self._is_over:
            raise StopAsyncIteration
        page = await self._next_answer()
        fresh = self._fresh(page)
        self._step(page, has_news=bool(fresh.data))
        if self._stalled is not None and not fresh.data:
            raise PaginationError(self._stalled, after=self._after)
        if self._ahead and not self._is_over and self._stalled is None:
            self._task = asyncio.ensure_future(_fetched(self._fetch, self._after))
        return fresh

    async def _next_answer(self) -> Page[T]:
        if self._task is None:
            return await self._fetch(self._after)
        # The task is forgotten only after it was awaited, so that __del__ can still cancel it.
        try:
            return await self._task
        finally:
            self._task = None

    def _step(self, page: Page[T], *, has_news: bool) -> None:
        """Decide where this page leads: to its cursor, to the end, or nowhere."""
        cursor = page.last_id or (page.data[-1].id if page.data else None)
        if page.has_more is False:
            self._is_over = True
        elif page.has_more is None:
            # Without has_more, a page that leads nowhere new is the last one.
            self._is_over = not has_news or cursor is None or cursor in self._followed
        elif cursor is None:
            self._stalled = "The list has more, but this page gives no cursor to follow"
        elif cursor in self._followed:
            self._stalled = f"The list has more, but its cursor {cursor!r} was followed before"
        elif page.data and not has_news:
            self._stalled = "The list has more, but this page brings nothing that was not yielded before"
        elif self._empty == _MAX_EMPTY_PAGES:
            self._stalled = f"The list has more, but its last {_MAX_EMPTY_PAGES:,} pages were empty"
        if cursor is not None and not self._is_over and self._stalled is None:
            self._followed.add(cursor)
            self._after = cursor

    def _fresh(self, page: Page[T]) -> Page[T]:
        """Return the page without the items that were yielded before, and remember the others."""
        ids = [item.id for item in page.data]
        self._empty = 0 if ids else self._empty + 1
        seen = self._seen
        known = len(seen)
        seen.update(ids)
        if len(seen) - known != len(ids):
            # The set has the new ids by now: which ones were known before is in the lists of the recent pages.
            before = set().union(*self._recent)
            fresh = {item.id: item for item in reversed(page.data) if item.id not in before}
            ids = list(reversed(fresh))
            request_id = page.request_id
            page = attrs.evolve(page, data=tuple(fresh[item_id] for item_id in ids))
            answered((page,), request_id)
        if ids:
            self._recent.append(ids)
            self._remembered += len(ids)
        while self._remembered > _REMEMBERED_ITEMS and self._remembered - len(self._recent[0]) >= _REMEMBERED_ITEMS:
            oldest = self._recent.popleft()
            self._remembered -= len(oldest)
            seen.difference_update(oldest)
        return page

    def __del__(self) -> None:
        task = self._task
        if task is None:
            return
        if task.done():
            # Its exception is retrieved, so that asyncio does not report that it never was.
            if not task.cancelled():
                task.exception()
        elif not task.get_loop().is_closed():
            task.cancel()


async def _fetched(fetch: Callable[[str | None], Awaitable[Page[T]]], after: str | None) -> Page[T]:
    # The task itself calls fetch: a task that is cancelled before its first step would leave its coroutine unawaited.
    return await fetch(after)
