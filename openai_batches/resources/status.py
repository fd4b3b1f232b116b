"""Ask for the status of many batches with few requests: a page of the list shows a hundred of them at once.

Few batches are asked about one by one. Many are looked for in the list, newest first, as long as a page of it is
cheaper than the questions it saves; on which page each was found is remembered for the next time. Batches the list
does not show (hidden behind too many others, or because the list lies) are asked about one by one.

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
# A page of the list is as dear as so many questions: a hundred records, most of which may be somebody else's.
_PAGE_COST = 10
_CONCURRENCY = 8
# After so many questions that failed in passing, the service is left alone until the next time.
_MAX_FAILURES = 8


def worth_listing(pages: Mapping[str, float]) -> list[str]:
    """Return the batches that are cheaper to find in the list than to ask about; those on the first pages, or none.

    Args:
        pages: on which page of the list, from 1, each batch is expected; infinity where the list does not show it.
    """
    nearest = sorted(pages, key=pages.__getitem__)
    cheapest, taken = float(len(nearest)), 0
    for count, batch_id in enumerate(nearest, 1):
        cost = pages[batch_id] * _PAGE_COST + len(nearest) - count
        if cost < cheapest:
            cheapest, taken = cost, count
    return nearest[:taken]


class StatusReader:
    """Asks the service how batches are, several questions at a time.

    Args:
        retrieve: asks for one batch.
        list_batches: gives a new walk over the batches, newest first.
    """

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
        """Forget on which page of the list a batch was found, and how often it could not be asked about."""
        self._pages.pop(batch_id, None)
        self._failures.pop(batch_id, None)

    async def read(self, batch_ids: Sequence[str], tell: _Tell) -> None:
        """Ask about batches, and tell of each as it is known.

        Args:
            batch_ids: the batches.
            tell: is given the id and the batch, or the error that came in its place, once for each; also any other
                batch that the list happens to show. It returns whether it has a use for that batch.
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
        """Look for batches in the list, as long as that pays; those that it does not show are not told of."""
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
                # Asking for each of them in its place would not help a service in trouble, or a key that is refused.
                for batch_id in missing:
                    tell(batch_id, error)
                return
            _logger.info("The batches are asked about one by one, since their list is of no use: %s", error)
        self._pages.update(dict.fromkeys(missing, found_on))

    async def _ask_each(self, batch_ids: Sequence[str], tell: _Tell) -> None:
        """Ask about each batch, a few at a time; a service in trouble is not asked about all of them."""
        failures: list[Exception] = []
        # Those that failed most often come last, so that they do not keep the others from being asked about.
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
                except Exception as error:  # noqa: BLE001  # whatever it is, it is for those who wait
                    if can_pass(error):
                        failures.append(error)
                        self._failures[batch_id] = self._failures.get(batch_id, 0) + 1
                    elif isinstance(error, AuthenticationError):
                        failures += [error] * _MAX_FAILURES
                    tell(batch_id, error)
                else:
                    self._failures.pop(batch_id, None)
                    tell(batch_id, batch)
