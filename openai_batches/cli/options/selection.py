"""Which batches of the list are meant."""

import datetime as dt
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import attrs

from openai_batches import Batch, BatchStatus
from openai_batches.cli.errors import CommandError

__all__ = ["BatchFilter", "status_names", "statuses_of"]

_ENDED = frozenset(status for status in BatchStatus if status.is_terminal)
_GROUPS = {"ended": _ENDED, "open": frozenset(BatchStatus) - _ENDED}


def status_names(_: object) -> list[str]:
    """Return what the shell offers where a status is asked for."""
    return [*_GROUPS, *BatchStatus]


def statuses_of(names: Iterable[str]) -> frozenset[str]:
    """Return the statuses that are meant by their names, by ``open`` and by ``ended``.

    Args:
        names: names, or several with commas between them.

    Raises:
        CommandError: there is no such status.
    """
    meant: set[str] = set()
    for name in (part.strip().lower() for text in names for part in text.split(",")):
        if name in _GROUPS:
            meant |= _GROUPS[name]
        elif name in list(BatchStatus):
            meant.add(name)
        else:
            raise CommandError(f"There is no status {name!r}", f"Known are {', '.join([*_GROUPS, *BatchStatus])}")
    return frozenset(meant)


@attrs.frozen(kw_only=True)
class BatchFilter:
    """Which batches are meant: those that fit all of it.

    Attributes:
        statuses: their statuses; none: any.
        since: they were made then or later.
        until: they were made then or earlier.
        endpoint: their endpoint, or the end of it, with ``*`` and ``?`` as in file names.
        model: their model, likewise, but whole.
        metadata: pairs that they have.
    """

    statuses: frozenset[str] = frozenset()
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    endpoint: str | None = None
    model: str | None = None
    metadata: Mapping[str, str] = attrs.field(factory=dict[str, str])

    @property
    def is_open(self) -> bool:
        """Whether every batch fits."""
        return self == BatchFilter()

    def accepts(self, batch: Batch) -> bool:
        """Return whether a batch fits."""
        own = batch.metadata or {}
        return (
            (not self.statuses or batch.status in self.statuses)
            and self._is_in_time(batch.created_at)
            and (self.endpoint is None or _fits_end(batch.endpoint, self.endpoint))
            and (self.model is None or fnmatchcase(batch.model or "", self.model))
            and all(own.get(key) == value for key, value in self.metadata.items())
        )

    def is_behind(self, batches: Iterable[Batch]) -> bool:
        """Return whether nothing that fits comes after a page of a list that has its newest batches first."""
        times = [batch.created_at for batch in batches if batch.created_at is not None]
        return self.since is not None and bool(times) and times[0] >= times[-1] and times[-1] < self.since

    def _is_in_time(self, created_at: dt.datetime | None) -> bool:
        if created_at is None:
            return self.since is None and self.until is None
        return (self.since is None or created_at >= self.since) and (self.until is None or created_at <= self.until)


def _fits_end(endpoint: str, pattern: str) -> bool:
    return fnmatchcase(endpoint, pattern) or fnmatchcase(endpoint, f"*/{pattern.lstrip('/')}")
