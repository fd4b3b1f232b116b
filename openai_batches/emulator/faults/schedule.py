"""The random numbers of a schedule: one for each request, which many faults share."""

import random
from collections import Counter, defaultdict

from aiohttp import web


class ScheduledNumbers:
    """Draws a number for each request and each batch, by what they are and not by when they come.

    The number for the n-th request to a method and route depends on the seed and on n. Ids in a path count by the order
    in which they were first asked for at that route, so that random ids change nothing.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn: dict[int, float] = {}
        self._counts: Counter[str] = Counter()
        self._places: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def draw(self, request: web.Request) -> None:
        """Draw the number of a request, which `of` returns to its faults."""
        resource = request.match_info.route.resource
        route = request.path if resource is None else resource.canonical
        name = f"{request.method} {route} {self._place(route, request.match_info.get('id', ''))}"
        self._drawn[id(request)] = self._number(name, self._counts[name])
        self._counts[name] += 1

    def of(self, subject: web.Request | str) -> float:
        """Return what was drawn for a request, or is drawn once for a batch by its id: 0 to 1."""
        if isinstance(subject, str):
            return self._number("batch", self._place("batch", subject))
        return self._drawn[id(subject)]

    def forget(self, request: web.Request) -> None:
        """Forget what was drawn for a request that is over."""
        del self._drawn[id(request)]

    def _place(self, route: str, id: str) -> int:
        places = self._places[route]
        return places.setdefault(id, len(places))

    def _number(self, name: str, number: int) -> float:
        # A seed that is text gives the same numbers in every process.
        return random.Random(f"{self._seed} {name} {number}").random()
