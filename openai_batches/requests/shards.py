"""Cut requests into shards on disk, the input files of batches, in one pass and in little memory.

The requests are checked in the same pass, a block of lines at a time, in a thread.
"""

from __future__ import annotations

from collections import deque
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from openai_batches._threads import in_thread_to_its_end
from openai_batches.errors import InputError
from openai_batches.providers import OPENAI, Provider
from openai_batches.requests.check_block import BlockChecker
from openai_batches.requests.packing import Append, Draft, Finish, Packer, Refuse, Shard, ShardLimits
from openai_batches.requests.validate import (
    MAX_PROBLEMS,
    Inspection,
    checked_endpoint,
    checked_maximum,
    path_of,
    work_through,
)
from openai_batches.storage.atomic import NewFile

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Iterable

    from openai_batches.models import Problem
    from openai_batches.requests.read import RequestSource
    from openai_batches.requests.validate import ValidationReport

__all__ = ["iter_shards", "write_shards"]


async def iter_shards(
    source: RequestSource,
    directory: str | os.PathLike[str],
    *,
    endpoint: str | None = None,
    limits: ShardLimits | None = None,
    provider: Provider = OPENAI,
    strict: bool = True,
    max_problems: int = MAX_PROBLEMS,
    on_report: Callable[[ValidationReport], object] | None = None,
) -> AsyncGenerator[Shard, None]:
    """Check requests and cut them into shards; yield each shard as soon as it is whole.

    A shard is written to a temporary name, flushed to the disk and renamed to ``shard-00001.jsonl`` and so on; only its
    owner can read it. If anything fails, or the generator is closed, neither incomplete shards nor complete ones that
    were not yielded stay behind. Shards that were yielded are kept; problems in later requests, and ids that occur
    twice, are only known at the end. To stop early, close the generator (``contextlib.aclosing``).

    Args:
        source: a path (``.jsonl``, ``.jsonl.gz``, ``.jsonl.zst``), or an iterable or async iterable of requests,
            mappings and raw lines; any number, of any endpoints and models.
        directory: where the shards go; it is made if it is not there.
        endpoint: what the ``url`` of each request must be; None: they are sorted by it.
        limits: what no shard exceeds; None: the provider's.
        provider: the service, for its limits.
        strict: False does not check the contents of the bodies, but leaves them to the service: model, streaming,
            messages, input.
        max_problems: how many problems to name, at least 1; the others are counted.
        on_report: called with a report of all requests before the last shards are yielded, or the problems raised.

    Raises:
        InvalidRequestsError: the service would refuse some of the requests, or there are none; all have been read, and
            no further shard is written.
        InputError: the source is of no known kind or cannot be read to its end, ``endpoint`` is no path, or a shard's
            file is there already.
        OSError: the disk is full, or a file cannot be read or written.
    """
    limits = _checked_limits(limits, provider)
    file = path_of(source)
    checker = BlockChecker(endpoint=checked_endpoint(endpoint, provider), one_batch=False, strict=strict, file=file)
    inspection = Inspection(checker, checked_maximum(max_problems), file)
    writer = _ShardWriter(Path(directory), Packer(limits, file=file), inspection)
    try:
        async with aclosing(work_through(source, limits.max_bytes, writer.feed, lambda: bool(writer.whole))) as steps:
            async for _ in steps:
                while writer.whole:
                    yield writer.whole.popleft()
        report = await in_thread_to_its_end(inspection.report)
        if on_report is not None:
            on_report(report)
        report.raise_for_problems()
        await in_thread_to_its_end(writer.finish)
        while writer.whole:
            yield writer.whole.popleft()
    finally:
        await in_thread_to_its_end(writer.close)


async def write_shards(
    source: RequestSource,
    directory: str | os.PathLike[str],
    *,
    endpoint: str | None = None,
    limits: ShardLimits | None = None,
    provider: Provider = OPENAI,
    strict: bool = True,
    max_problems: int = MAX_PROBLEMS,
    on_report: Callable[[ValidationReport], object] | None = None,
) -> list[Shard]:
    """Check requests and cut them into shards; return all of these, in the order of their numbers.

    This is :func:`iter_shards`, with the same arguments, as one step: either all requests are valid and all shards are
    on disk, or no shard is.

    Raises:
        InvalidRequestsError: the service would refuse some of the requests, or there are none.
        InputError: the source is of no known kind or cannot be read to its end, ``endpoint`` is no path, or a shard's
            file is there already.
        OSError: the disk is full, or a file cannot be read or written.
    """
    shards: list[Shard] = []
    try:
        whole = iter_shards(
            source,
            directory,
            endpoint=endpoint,
            limits=limits,
            provider=provider,
            strict=strict,
            max_problems=max_problems,
            on_report=on_report,
        )
        async with aclosing(whole):
            async for shard in whole:
                shards.append(shard)  # noqa: PERF401  # what came before a failure is removed
    except BaseException:
        await in_thread_to_its_end(_remove, [shard.path for shard in shards])
        raise
    return sorted(shards, key=lambda shard: shard.number)


class _ShardWriter:
    """Writes shards into a directory."""

    def __init__(self, directory: Path, packer: Packer, inspection: Inspection) -> None:
        # Shards that are complete and on disk, until the caller takes them.
        self.whole: deque[Shard] = deque()
        self._directory = directory
        self._packer = packer
        self._inspection = inspection
        self._files: dict[int, NewFile] = {}

    def feed(self, block: bytes) -> None:
        """Put the requests of a block where they belong; after the first problem, only look for more."""
        checked = self._inspection.look_at(block)
        refused: list[Problem] = []
        for group in checked.groups:
            for step in self._packer.place(group):
                if isinstance(step, Refuse):
                    refused.append(step.problem)
                elif not self._inspection.problems and not refused:
                    self._take(step)
        if refused:
            self._inspection.problems.add(refused)
        if self._inspection.problems:
            self._abandon()

    def finish(self) -> None:
        """Finish the shards that are open."""
        for step in self._packer.finish():
            self._take(step)

    def close(self) -> None:
        """Remove what is not whole, or was not taken."""
        self._inspection.close()
        self._abandon()
        _remove(shard.path for shard in self.whole)

    def _take(self, step: Append | Finish) -> None:
        draft = step.draft
        if isinstance(step, Finish):
            self._finish(draft)
            return
        if draft.number not in self._files:
            self._files[draft.number] = self._opened(draft)
        self._files[draft.number].stream.write(step.data)

    def _path(self, draft: Draft) -> Path:
        return self._directory / f"shard-{draft.number:05d}.jsonl"

    def _opened(self, draft: Draft) -> NewFile:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(draft)
        if path.exists():
            raise InputError(f"{path} is there already: shards go into a directory without others")
        return NewFile(path, overwrite=True)

    def _finish(self, draft: Draft) -> None:
        # What cannot be kept for certain is removed with those that nobody took.
        self.whole.append(draft.finished(self._path(draft)))
        self._files[draft.number].keep(is_certain=True)
        del self._files[draft.number]

    def _abandon(self) -> None:
        for file in self._files.values():
            file.discard()
        self._files.clear()


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _checked_limits(limits: ShardLimits | None, provider: Provider) -> ShardLimits:
    if limits is not None and not isinstance(limits, ShardLimits):
        raise InputError(f"limits must be ShardLimits, not {type(limits).__name__}")
    return limits or ShardLimits.of(provider)
