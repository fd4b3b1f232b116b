"""Faults of listings: pages that are empty, repeat themselves, or do not say how to go on."""

import datetime as dt
from typing import Any, Self, Unpack

import attrs
from aiohttp import web

from openai_batches.emulator.faults.aim import AimedFault, Where
from openai_batches.emulator.faults.cases import BATCH_LIST, LISTS, Case
from openai_batches.emulator.faults.kinds import field, kind
from openai_batches.emulator.faults.records import changed


@attrs.frozen(kw_only=True)
class _Empty:
    """Whether an empty page says where the list goes on."""

    has_cursor: bool = field()


@attrs.frozen(kw_only=True)
class _Age:
    """Emulated seconds for which a listing does not show a new batch."""

    younger_than_s: float = field(least=0)


@attrs.frozen
class _LastItems:
    """The last item of each page that was shown, by the cursor behind it."""

    by_cursor: dict[str, list[Any]] = attrs.field(factory=dict[str, list[Any]], init=False)


async def _empty_page(case: Case, page_end: _Empty) -> web.StreamResponse:
    def empty(page: dict[str, Any]) -> None:
        page |= {"data": [], "has_more": True}
        if not page_end.has_cursor:
            page |= {"first_id": None, "last_id": None}

    return await changed(case, empty)


async def _stuck_cursor(case: Case) -> web.StreamResponse:
    url = case.request.rel_url
    kept = [(name, value) for name, value in url.query.items() if name != "after"]
    return await case.handler(case.request.clone(rel_url=url.with_query(kept)))


async def _overlapping_pages(case: Case, last_items: _LastItems) -> web.StreamResponse:
    def overlap(page: dict[str, Any]) -> None:
        seen = last_items.by_cursor
        page["data"] = seen.pop(case.request.query.get("after", ""), []) + page["data"]
        # What comes in one piece has no page that another one could overlap.
        if page["data"] and "last_id" in page:
            page["first_id"] = page["data"][0]["id"]
            seen[page["last_id"]] = page["data"][-1:]

    return await changed(case, overlap)


async def _always_has_more(case: Case) -> web.StreamResponse:
    return await changed(case, lambda page: page.update(has_more=True))


async def _missing_has_more(case: Case) -> web.StreamResponse:
    return await changed(case, lambda page: page.pop("has_more", None))


async def _missing_page_ids(case: Case) -> web.StreamResponse:
    def forget(page: dict[str, Any]) -> None:
        page.pop("first_id", None)
        page.pop("last_id", None)

    return await changed(case, forget)


async def _unlisted_batch(case: Case, age: _Age) -> web.StreamResponse:
    newest = case.now() - age.younger_than_s

    def hide(page: dict[str, Any]) -> None:
        shown = [batch for batch in page["data"] if not _is_after(batch.get("created_at"), newest)]
        page["data"] = shown
        if "has_more" not in page:
            return
        page["first_id"] = shown[0]["id"] if shown else None
        if shown or not page["has_more"]:
            page["last_id"] = shown[-1]["id"] if shown else None

    return await changed(case, hide)


def _is_after(created_at: Any, moment: float) -> bool:
    """Compare a time in seconds, or one that a service writes as text."""
    if isinstance(created_at, str):
        created_at = dt.datetime.fromisoformat(created_at).timestamp()
    return isinstance(created_at, int | float) and created_at > moment


class PageFaults(AimedFault):
    """Names the faults of listings."""

    __slots__ = ()

    @classmethod
    @kind(_empty_page, _Empty, subject="answer", method="GET", path=LISTS)
    def empty_page(cls, *, has_cursor: bool = True, **where: Unpack[Where]) -> Self:
        """Withhold a page's items and say that there are more, with the cursor behind them or without one."""
        return cls("empty_page", has_cursor=has_cursor, **where)

    @classmethod
    @kind(_stuck_cursor, subject="answer", method="GET", path=LISTS)
    def stuck_cursor(cls, **where: Unpack[Where]) -> Self:
        """Ignore `after`: every page is the first."""
        return cls("stuck_cursor", **where)

    @classmethod
    @kind(_overlapping_pages, _LastItems, subject="answer", method="GET", path=LISTS)
    def overlapping_pages(cls, **where: Unpack[Where]) -> Self:
        """Begin a page with the last item of the page before, if that one was struck too."""
        return cls("overlapping_pages", **where)

    @classmethod
    @kind(_always_has_more, subject="answer", method="GET", path=LISTS)
    def always_has_more(cls, **where: Unpack[Where]) -> Self:
        """Say `has_more` on the last page too."""
        return cls("always_has_more", **where)

    @classmethod
    @kind(_missing_has_more, subject="answer", method="GET", path=LISTS)
    def missing_has_more(cls, **where: Unpack[Where]) -> Self:
        """Leave `has_more` out."""
        return cls("missing_has_more", **where)

    @classmethod
    @kind(_missing_page_ids, subject="answer", method="GET", path=LISTS)
    def missing_page_ids(cls, **where: Unpack[Where]) -> Self:
        """Leave `first_id` and `last_id` out."""
        return cls("missing_page_ids", **where)

    @classmethod
    @kind(_unlisted_batch, _Age, subject="answer", method="GET", path=BATCH_LIST)
    def unlisted_batch(cls, *, younger_than_s: float = 60.0, **where: Unpack[Where]) -> Self:
        """Leave young batches out of the listing, as a service does whose readers lag behind."""
        return cls("unlisted_batch", younger_than_s=younger_than_s, **where)
