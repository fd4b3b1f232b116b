"""Get the status of many batches with few requests: one page of the list shows a hundred of them.

Few batches are retrieved one by one. Many are looked for in the list, newest first, as long as a page of it costs less
than the requests that it saves; the page on which each was found is remembered for the next time. Batches that the list
does not show (behind too many others, or because the list is wrong) are retrieved one by one.

Source: https://platform.openai.com/docs/api-reference/batch/list
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

from openai_batches.errors import AuthenticationError, BatchesError
from openai_batches.http.failures import can_pass

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from openai_batches.models import Batch
    from openai_batches.pagination import AsyncPaginator

    _Tell = Callable[[str, Batch | Exception], bool]

__all__ = ["StatusReader", "worth_listing"]

_logger = logging.getLogger("openai_batches")
# A page costs as much as so many single requests: it is a hundred records, and most may be of other batches.
_PAGE_COST = 10
_CONCURRENCY = 8
# After so many failures that may pass, no more requests are sent in this round.
_MAX_FAILURES = 8


def worth_listing(pages: Mapping[str, float]) -> list[str]:
    """Return the batches that are cheaper to find in the list than to retrieve; those on the first pages, or none.

    ``pages`` says on which page of the list, from 1, each batch is expected; infinity where the list does not show it.
    """
    nearest = sorted(pages, key=pages.__getitem__)
    cheapest, taken = float(len(nearest)), 0
    for count, batch_id in enumerate(nearest, 1):
        cost = pages[batch_id] * _PAGE_COST + len(nearest) - count
        if cost < cheapest:
            cheapest, taken = cost, count
    return nearest[:taken]


class StatusReader:
    """Reads the statuses of batches from the service, with several requests at a time."""

    def __init__(
        self, *, retrieve: Callable[[str], Awaitable[Batch]], list_batches: Callable[[], AsyncPaginator[Batch]]
    ) -> None:
        self._retrieve = retrieve
        self._list_batches = list_batches
        self._pages: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._listing = asyncio.Lock()
        self._places = asyncio.Semaphore(_CONCURRENCY)

    def forget(self, batch_id: str) -> None:
        """Forget on which page of the list a batch was found, and how often retrieving it failed."""
        self._pages.pop(batch_id, None)
        self._failures.pop(batch_id, None)

    async def read(self, batch_ids: Sequence[str], tell: _Tell) -> None:
        """Call ``tell`` once for each of these batches, with its id and either the batch or an error.

        It is also called with each other batch on the pages that are read; it returns whether it has a use for it.
        """
        left = dict.fromkeys(batch_ids)

        def tell_once(batch_id: str, answer: Batch | Exception) -> bool:
            left.pop(batch_id, None)
            return tell(batch_id, answer)

        if listed := worth_listing({batch_id: self._pages.get(batch_id, 1) for batch_id in batch_ids}):
            async with self._listing:
                await self._walk(listed, tell_once)
        await self._ask_each(tuple(left), tell_once)

    async def _walk(self, listed: Sequence[str], tell: _Tell) -> None:
        """Look for batches in the list, as long as that saves requests; nothing is told of those it does not show."""
        missing = dict.fromkeys(listed)
        most = math.ceil(len(listed) / _PAGE_COST)
        number = 0
        found_on: float = math.inf  # where those that stay missing are: nowhere in the list
        try:
            async for page in self._list_batches().pages():
                number += 1
                for batch in page.data:
                    missing.pop(batch.id, None)
                    if tell(batch.id, batch):
                        self._pages[batch.id] = number
                if not missing or number == most:
                    found_on = number + 1
                    break
        except BatchesError as error:
            if can_pass(error) or isinstance(error, AuthenticationError):
                # To retrieve each of them instead would help neither a failing service nor a key that is refused.
                for batch_id in missing:
                    tell(batch_id, error)
                return
            _logger.info("The batches are retrieved one by one, since their list cannot be used: %s", error)
        self._pages.update(dict.fromkeys(missing, found_on))

    async def _ask_each(self, batch_ids: Sequence[str], tell: _Tell) -> None:
        """Retrieve each batch, a few at a time; stop after too many failures."""
        failures: list[Exception] = []
        # Those that failed most often come last, so that they do not keep the others from being retrieved.
        queue = iter(sorted(batch_ids, key=lambda batch_id: self._failures.get(batch_id, 0)))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_CONCURRENCY, len(batch_ids))):
                group.create_task(self._ask_next(queue, failures, tell))

    async def _ask_next(self, queue: Iterator[str], failures: list[Exception], tell: _Tell) -> None:
        for batch_id in queue:
            async with self._places:
                if len(failures) >= _MAX_FAILURES:
                    tell(batch_id, failures[-1])
                    continue
                try:
                    batch = await self._retrieve(batch_id)
                except Exception as error:  # noqa: BLE001  # any error is passed on to those who wait
                    if can_pass(error):
                        failures.append(error)
                        self._failures[batch_id] = self._failures.get(batch_id, 0) + 1
                    elif isinstance(error, AuthenticationError):
                        failures += [error] * _MAX_FAILURES
                    tell(batch_id, error)
                else:
                    self._failures.pop(batch_id, None)
                    tell(batch_id, batch)
