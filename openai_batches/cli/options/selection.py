"""Options that select batches and requests: ids, statuses, ages, metadata pairs, models and endpoints."""

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, BinaryIO, cast

import attrs
from cyclopts import Parameter

from openai_batches import OPENAI, Batch, BatchStatus
from openai_batches._threads import in_thread
from openai_batches.cli.errors import CommandError, UnknownOptionError
from openai_batches.cli.options.sources import request_source
from openai_batches.cli.output.terminal import STANDARD_STREAM

if TYPE_CHECKING:
    from openai_batches import Provider

__all__ = ["BatchFilter", "BatchId", "batch_ids", "endpoint_of", "pairs_of", "status_names", "statuses_of"]

_ENDED = frozenset(status for status in BatchStatus if status.is_terminal)
_GROUPS = {"ended": _ENDED, "open": frozenset(BatchStatus) - _ENDED}
# What `list` writes above its ids.
_HEAD = b"id"
_PIECE_BYTES = 65_536
_VERSION = re.compile(r"^/v[0-9]+(?=/)")


def status_names(_: object) -> list[str]:
    """Return what the shell offers where a status is asked for."""
    return [*_GROUPS, *BatchStatus]


def statuses_of(names: Iterable[str]) -> frozenset[str]:
    """Return the statuses that are meant by their names, by ``open`` and by ``ended``."""
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


def _check(_: object, given: str) -> None:
    if given.startswith("-") and given != STANDARD_STREAM:
        raise UnknownOptionError(given)


# Annotation of a command's `*ids`: "-" is no option.
BatchId = Annotated[str, Parameter(metavar="ID", required=True, allow_leading_hyphen=True, validator=_check)]


async def batch_ids(given: Sequence[str]) -> list[str]:
    """Return ids, each once; ``-`` stands for the first words of the lines of standard input."""
    ids: dict[str, None] = {}
    for each in given:
        ids.update(dict.fromkeys(await in_thread(_read) if each == STANDARD_STREAM else [each]))
    if not ids:
        raise CommandError("There is no id on standard input", "Give one id a line")
    return list(ids)


def _read() -> list[str]:
    with request_source(STANDARD_STREAM) as source:
        file = cast("BinaryIO", source)
        text = b"".join(iter(lambda: file.read(_PIECE_BYTES), b""))
    words = [line.split()[0] for line in text.splitlines() if line.strip()]
    return [word.decode("utf-8", "replace") for word in words if word != _HEAD]


def endpoint_of(text: str | None, provider: "Provider") -> str | None:
    """Return the whole path of an endpoint that may be named without ``/v1``, or without a slash in front."""
    known = provider.endpoints or OPENAI.endpoints
    if text is None or text in known:
        return text
    path = f"/{text.lstrip('/')}"
    # The one without a version goes before the one with it, where a service has both.
    for whole in sorted(known, key=len):
        if path in {whole, _VERSION.sub("", whole)}:
            return whole
    if text.startswith("/"):
        return text
    shown = ", ".join(sorted({_VERSION.sub("", whole).lstrip("/") for whole in known}))
    raise CommandError(f"There is no endpoint {text!r}", f"Known are {shown}; write any other in full: /v1/{text}")


def pairs_of(texts: Iterable[str]) -> dict[str, str]:
    """Return ``key=value`` texts as a dict; the value may have further ``=`` in it, or be empty."""
    pairs: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise CommandError(f"{text!r} is not a pair of metadata", "Write --metadata key=value")
        if key in pairs:
            raise CommandError(f"The metadata key {key!r} is given twice", "Give each key once")
        pairs[key] = value
    return pairs
