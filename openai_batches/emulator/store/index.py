"""Records in the order of their creation, by owner."""

import bisect
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

# How many removed records stay good as cursors.
_REMEMBERED = 100_000


class _Kept(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def scope(self) -> str: ...


T = TypeVar("T", bound=_Kept)


class Place(NamedTuple):
    """Where a record stands, or stood: whose it is, and its number in the order of all that were ever put."""

    scope: str
    number: int


class Index(Generic[T]):
    """Records of many owners in the order of their creation.

    A page costs its own length, however many other records there are, or were. The latest of the removed records are
    remembered by their places.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.items: dict[str, T] = {}
        self.places: dict[str, Place] = {}
        self._removed: dict[str, Place] = {}
        self._rows: dict[str, list[T]] = {}
        self._next = 0

    def put(self, item: T, *, number: int | None = None) -> None:
        """Add `item` as the newest of its owner, under `number` if it is put back as it was."""
        number = self._next if number is None else number
        self._next = max(self._next, number + 1)
        self.places[item.id] = Place(item.scope, number)
        self._rows.setdefault(item.scope, []).append(item)
        self.items[item.id] = item

    def get(self, scope: str, id: str) -> T | None:
        """Return the item if it exists and belongs to `scope`."""
        item = self.items.get(id)
        return item if item is not None and item.scope == scope else None

    def of(self, scope: str) -> tuple[T, ...]:
        """Return all items of `scope`, the oldest first."""
        return tuple(self._rows.get(scope, ()))

    def remove(self, item: T) -> tuple[Place, ...]:
        """Take `item` away; its id stays good as a cursor, so that a walk that deletes as it goes ends.

        Return the place of a record removed long ago whose id stops being a cursor because of this one, if any.
        """
        return self.remember(item.id, self.drop(item))

    def drop(self, item: T) -> Place:
        """Forget `item`, and that it ever was; return where it was."""
        place, row = self.places[item.id], self._rows[item.scope]
        del row[bisect.bisect_left(row, place.number, key=self._number)]
        if not row:
            del self._rows[item.scope]
        del self.places[item.id], self.items[item.id]
        return place

    def remember(self, id: str, place: Place) -> tuple[Place, ...]:
        """Take note of a removed record's place, as `remove` does."""
        self._removed[id] = place
        self._next = max(self._next, place.number + 1)
        return (self._removed.pop(next(iter(self._removed))),) if len(self._removed) > _REMEMBERED else ()

    def knows(self, scope: str, id: str) -> bool:
        """Tell whether `id` is, or not long ago was, an item of `scope`."""
        place = self._cursor(id)
        return place is not None and place.scope == scope

    def page(
        self, scope: str, *, after: str | None, limit: int, newest_first: bool, keep: Callable[[T], bool]
    ) -> tuple[list[T], bool]:
        """Return up to `limit` items behind the item `after`, and whether more follow.

        `after` is known to `scope`; None starts at the top. A limit of zero is an empty page with nothing after it.
        """
        found: list[T] = []
        if limit:
            for item in self._walk(scope, after, newest_first=newest_first):
                if keep(item):
                    if len(found) == limit:
                        return found, True
                    found.append(item)
        return found, False

    def _walk(self, scope: str, after: str | None, *, newest_first: bool) -> Iterator[T]:
        row = self._rows.get(scope, [])
        place = None if after is None else self._cursor(after)
        if newest_first:
            stop = len(row) if place is None else bisect.bisect_left(row, place.number, key=self._number)
            return (row[index] for index in range(stop - 1, -1, -1))
        start = 0 if place is None else bisect.bisect_right(row, place.number, key=self._number)
        return (row[index] for index in range(start, len(row)))

    def _cursor(self, id: str) -> Place | None:
        return self.places.get(id) or self._removed.get(id)

    def _number(self, item: T) -> int:
        return self.places[item.id].number
