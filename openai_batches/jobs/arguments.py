"""Checks of a job's arguments: wrong ones are refused by their names, before anything begins."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openai_batches._arguments import (
    MAX_METADATA_PAIRS,
    check_flags,
    check_seconds,
    check_whole,
    checked_metadata,
    checked_spans,
    shortened,
)
from openai_batches.errors import InputError
from openai_batches.models import BatchStatus
from openai_batches.policies import PollPolicy, as_poll_policy
from openai_batches.requests.packing import ShardLimits

if TYPE_CHECKING:
    from openai_batches.requests.read import RequestSource

__all__ = [
    "check_directories",
    "check_job",
    "checked_pairs",
    "checked_source",
    "checked_target",
    "job_directory",
]

# What file systems take for a name, in bytes.
_MAX_NAME = 255
# What each path names, unless it is a folder.
_KINDS = {"source": "file (text of requests is given as bytes)", "path": "file"}
_SESSION = ("base_url", "batches", "files", "now", "provider")
# The pairs that a job adds to a batch's metadata: the key, the job, the shard and the attempt.
_OWN_PAIRS = 4


def check_job(
    settings: Any, *, session: object, limits: object, strict: object, patience_s: object, told: object
) -> None:
    """Refuse arguments with which a job cannot be carried out."""
    if not all(hasattr(session, name) for name in _SESSION):
        raise InputError(f"session must be a BatchSession, not {shortened(session)}")
    if limits is not None and not isinstance(limits, ShardLimits):
        raise InputError(f"limits must be a ShardLimits, not {shortened(limits)}")
    check_whole(concurrency=settings.concurrency, max_attempts=settings.max_attempts)
    if settings.max_open is not None:
        check_whole(max_open=settings.max_open)
    check_flags(strict=strict, resend_cancelled=settings.resend_cancelled, keep_files=settings.keep_files)
    check_seconds(patience_s=patience_s)
    as_poll_policy(settings.poll, PollPolicy())
    _check_spans(settings.stall_after)
    _check_callback(told)


def checked_pairs(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return the user's metadata of each batch; refuse more pairs than the job leaves free."""
    pairs = checked_metadata(metadata) or {}
    if len(pairs) > MAX_METADATA_PAIRS - _OWN_PAIRS:
        raise InputError(f"metadata can have {MAX_METADATA_PAIRS - _OWN_PAIRS} pairs in a job, not {len(pairs)}")
    return pairs


def _check_spans(stall_after: object) -> None:
    """Refuse what is neither seconds nor seconds by status."""
    spans = checked_spans(stall_after)
    known = [status.value for status in BatchStatus]
    for status in spans if isinstance(spans, dict) else ():
        if status not in known:
            raise InputError(f"stall_after names a status {status!r}, batches have {', '.join(known)}")


def _check_callback(on_event: object) -> None:
    """Refuse what cannot be called, and what would have to be awaited."""
    if on_event is None:
        return
    if not callable(on_event):
        raise InputError(f"on_event must be a function that takes an event, not {on_event!r}")
    if inspect.iscoroutinefunction(on_event) or inspect.iscoroutinefunction(type(on_event).__call__):
        raise InputError("on_event is called and not awaited: give a plain function, or take the events from events()")


def check_directories(directories: object) -> None:
    """Refuse what is neither a path nor paths."""
    if isinstance(directories, str | os.PathLike):
        _check_path("directories", directories)
    elif not isinstance(directories, Iterable) or isinstance(directories, bytes):
        raise InputError(f"directories must be a path or an iterable of paths, not {directories!r}")
    elif isinstance(directories, list | tuple | set | frozenset):
        for path in directories:
            _check_path("directories", path)


def checked_source(source: str | os.PathLike[str]) -> Path:
    """Return the path of a source; text that cannot be one is refused, and a name that no journal can hold."""
    path = _check_path("source", source)
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise InputError(f"source must have a name in UTF-8, not {shortened(source)}: rename it") from None
    return path


def checked_target(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that is to be written; what cannot be one is refused."""
    return _check_path("path", path)


def job_directory(source: RequestSource | None, directory: str | os.PathLike[str] | None) -> Path:
    """Return the directory of a job: beside its source, if none is given."""
    if directory is not None:
        return _check_path("directory", directory)
    if isinstance(source, str | os.PathLike):
        return Path(f"{_check_path('source', source)}.job")
    raise InputError("directory says where the job is kept: only a job whose source is a path can do without one")


def _check_path(name: str, path: object) -> Path:
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    is_path = isinstance(text, str) and bool(text) and "\0" not in text
    if not isinstance(text, str) or not is_path or any(len(os.fsencode(part)) > _MAX_NAME for part in Path(text).parts):
        raise InputError(f"{name} must be the path of a {_KINDS.get(name, 'folder')}, not {shortened(path)}")
    return Path(text)
