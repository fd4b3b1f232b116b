"""The random choice of a schedule: one throw for each request, which many faults share."""

import random
from collections import Counter, defaultdict

from aiohttp import web


class ScheduledDice:
    """Throws once for each request and each batch, by what they are and not by when they come.

    The throw for the n-th request to a method and route depends on the seed and on n. Ids in a path count by the order
    in which they were first asked for at that route, so that random ids change nothing.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._thrown: dict[int, float] = {}
        self._counts: Counter[str] = Counter()
        self._places: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def roll(self, request: web.Request) -> None:
        """Throw once for a request; its faults then ask `shows`."""
        resource = request.match_info.route.resource
        route = request.path if resource is None else resource.canonical
        name = f"{request.method} {route} {self._place(route, request.match_info.get('id', ''))}"
        self._thrown[id(request)] = self._throw(name, self._counts[name])
        self._counts[name] += 1

    def shows(self, subject: web.Request | str) -> float:
        """Return what was thrown for a request, or is thrown once for a batch by its id: 0 to 1."""
        if isinstance(subject, str):
            return self._throw("batch", self._place("batch", subject))
        return self._thrown[id(subject)]

    def forget(self, request: web.Request) -> None:
        """Forget what was thrown for a request that is over."""
        del self._thrown[id(request)]

    def _place(self, route: str, id: str) -> int:
        places = self._places[route]
        return places.setdefault(id, len(places))

    def _throw(self, name: str, number: int) -> float:
        # A seed that is text gives the same numbers in every process.
        return random.Random(f"{self._seed} {name} {number}").random()
