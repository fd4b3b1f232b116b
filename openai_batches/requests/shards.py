"""Read requests from anywhere, check them, and cut them into shards on disk, in one pass and in little memory.

A block of lines is at most a megabyte or so; what is held besides is 8 bytes for each ``custom_id``, up to a million of
them (see ``duplicates``). All work goes to a thread, block by block.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import deque
from contextlib import aclosing, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, ParamSpec, TypeVar, cast

from openai_batches._arguments import unknown_endpoint
from openai_batches.errors import InputError
from openai_batches.problems import Problem
from openai_batches.providers import OPENAI, Provider
from openai_batches.requests.check_line import shown
from openai_batches.requests.duplicates import DuplicateFinder
from openai_batches.requests.findings import ProblemList, ValidationReport
from openai_batches.requests.packing import Append, Draft, Finish, Packer, Refuse, Shard, ShardLimits
from openai_batches.requests.read import RequestSource, blocks_of_path, iter_blocks
from openai_batches.requests.validate import RequestChecker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

    from openai_batches.requests.validate import Checked

__all__ = ["iter_shards", "validate_requests", "write_shards"]

P = ParamSpec("P")
T = TypeVar("T")

MAX_PROBLEMS = 100
# How long a thread works before it looks whether anyone still wants it to.
_WHILE_S = 0.05
# What the reader refuses to hold, unless a file may be larger than that.
_MAX_LINE_BYTES = 64 << 20


async def validate_requests(
    source: RequestSource,
    *,
    endpoint: str | None = None,
    provider: Provider = OPENAI,
    strict: bool = True,
    max_problems: int = MAX_PROBLEMS,
    one_batch: bool = True,
) -> ValidationReport:
    """Return what the service would refuse in some requests, line by line, and what there is in them.

    Nothing is sent. The requests are read once, as a stream. Byte order marks, line ends as on Windows and blank lines
    are reported as repairs, not as problems: :func:`write_shards` leaves them out.

    Args:
        source: a path (``.jsonl``, ``.jsonl.gz``, ``.jsonl.zst``), or an iterable or async iterable of requests,
            mappings and raw lines.
        endpoint: what the ``url`` of each request must be; None: what that of the first is.
        provider: the service, for its limits.
        strict: False leaves what is in the bodies to the service: model, streaming, messages, input.
        max_problems: how many problems to name, at least 1; the others are counted.
        one_batch: False judges requests for :func:`write_shards`: there may be any number of them, of several endpoints
            and models.

    Raises:
        InputError: the source is none, cannot be read to its end, or ``endpoint`` is no path.
        OSError: the file cannot be read.
    """
    file = _path_of(source)
    checker = RequestChecker(
        endpoint=_checked_endpoint(endpoint, provider),
        one_batch=one_batch,
        strict=strict,
        max_line_bytes=provider.max_bytes,
        file=file,
    )
    inspection = _Inspection(checker, _checked_maximum(max_problems), file)
    try:
        async with aclosing(_work_through(source, provider.max_bytes, inspection.look_at)) as steps:
            async for _ in steps:
                pass
        return await _in_thread(inspection.report, provider if one_batch else None)
    finally:
        await _in_thread(inspection.close)


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
    owner can read it. If anything fails, or you leave, no half-written shard stays behind, and no whole one that was
    not yielded. Those that were are yours: problems further down, and an id that occurs in two places, are only known
    in the end. To leave early, close the generator (``contextlib.aclosing``).

    Args:
        source: a path (``.jsonl``, ``.jsonl.gz``, ``.jsonl.zst``), or an iterable or async iterable of requests,
            mappings and raw lines; any number, of any endpoints and models.
        directory: where the shards go; it is made if it is not there.
        endpoint: what the ``url`` of each request must be; None: they are sorted by it.
        limits: what no shard exceeds; None: the provider's.
        provider: the service, for its limits.
        strict: False leaves what is in the bodies to the service: model, streaming, messages, input.
        max_problems: how many problems to name, at least 1; the others are counted.
        on_report: called with a report of all requests before the last shards are yielded, or the problems raised.

    Raises:
        InvalidRequestsError: the service would refuse some of the requests, or there are none; all have been read, and
            no further shard is written.
        InputError: the source is none, cannot be read to its end, ``endpoint`` is no path, or a shard's file is there
            already.
        OSError: the disk is full, or a file cannot be read or written.
    """
    limits = _checked_limits(limits, provider)
    file = _path_of(source)
    checker = RequestChecker(endpoint=_checked_endpoint(endpoint, provider), one_batch=False, strict=strict, file=file)
    inspection = _Inspection(checker, _checked_maximum(max_problems), file)
    writer = _ShardWriter(Path(directory), Packer(limits, file=file), inspection)
    try:
        async with aclosing(_work_through(source, limits.max_bytes, writer.feed, lambda: bool(writer.whole))) as steps:
            async for _ in steps:
                while writer.whole:
                    yield writer.whole.popleft()
        report = await _in_thread(inspection.report)
        if on_report is not None:
            on_report(report)
        report.raise_for_problems()
        await _in_thread(writer.finish)
        while writer.whole:
            yield writer.whole.popleft()
    finally:
        await _in_thread(writer.close)


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

    This is :func:`iter_shards`, whose arguments it has, as one step: either all requests are right and all shards are
    on disk, or none is.

    Raises:
        InvalidRequestsError: the service would refuse some of the requests, or there are none.
        InputError: the source is none, cannot be read to its end, ``endpoint`` is no path, or a shard's file is there
            already.
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
        await _in_thread(_remove, [shard.path for shard in shards])
        raise
    return sorted(shards, key=lambda shard: shard.number)


class _Inspection:
    """What is known about the requests seen so far."""

    def __init__(self, checker: RequestChecker, max_problems: int, file: str | None) -> None:
        self.problems = ProblemList(max_problems)
        self._checker = checker
        self._file = file
        self._duplicates = DuplicateFinder()

    def look_at(self, block: bytes) -> Checked:
        """Check a block; its problems are noted."""
        checked = self._checker.check(block)
        self._duplicates.add(checked.custom_ids, checked.lines)
        if checked.problems:
            self.problems.add(checked.problems)
        return checked

    def report(self, provider: Provider | None = None) -> ValidationReport:
        """Return the report of all that was seen; with a provider, as the input file of one of its batches."""
        found, more = self._duplicates.find(self.problems.maximum)
        duplicates = [
            Problem(
                code="duplicate_custom_id",
                message=(
                    f"The custom_id {shown(custom_id)} for this request is a duplicate of that on line {first}. "
                    "The custom_id parameter must be unique for each request."
                ),
                line=line,
                param="custom_id",
                custom_id=custom_id,
                first_line=first,
                file=self._file,
            )
            for custom_id, line, first in found
        ]
        self.problems.add(duplicates, more=more)
        if provider is not None:
            self.problems.add(self._checker.whole_file_problems(provider))
        return self._checker.report(self.problems)

    def close(self) -> None:
        """Remove what is on disk."""
        self._duplicates.close()


class _ShardWriter:
    """Writes shards into a directory.

    Attributes:
        whole: shards that are on disk as a whole, until someone takes them out of here.
    """

    def __init__(self, directory: Path, packer: Packer, inspection: _Inspection) -> None:
        self.whole: deque[Shard] = deque()
        self._directory = directory
        self._packer = packer
        self._inspection = inspection
        self._files: dict[int, IO[bytes]] = {}

    def feed(self, block: bytes) -> None:
        """Put the requests of a block where they belong; after the first problem, only look for more."""
        checked = self._inspection.look_at(block)
        refused: list[Problem] = []
        for rows in checked.rows:
            for step in self._packer.place(rows):
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
        self._files[draft.number].write(step.data)

    def _path(self, draft: Draft) -> Path:
        return self._directory / f"shard-{draft.number:05d}.jsonl"

    def _opened(self, draft: Draft) -> IO[bytes]:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(draft)
        if path.exists():
            raise InputError(f"{path} is there already: shards go into a directory without others")
        # Its mode is 0600, and its name nobody else's.
        return tempfile.NamedTemporaryFile(  # closed in _finish or _abandon
            dir=self._directory, prefix=f".{path.name}.", suffix=".part", delete=False
        )

    def _finish(self, draft: Draft) -> None:
        file = self._files[draft.number]
        file.flush()
        os.fsync(file.fileno())
        file.close()
        path = self._path(draft)
        Path(file.name).replace(path)
        del self._files[draft.number]
        self.whole.append(draft.finished(path))
        _flush_directory(self._directory)

    def _abandon(self) -> None:
        for file in self._files.values():
            with suppress(OSError):
                file.close()
            _remove([Path(file.name)])
        self._files.clear()


def _flush_directory(directory: Path) -> None:
    """Make a rename outlast a crash, where directories can be opened."""
    if not hasattr(os, "O_DIRECTORY"):  # pragma: no cover  # Windows
        return
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _path_of(source: RequestSource) -> str | None:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else None


def _checked_limits(limits: ShardLimits | None, provider: Provider) -> ShardLimits:
    if limits is not None and not isinstance(limits, ShardLimits):
        raise InputError(f"limits must be ShardLimits, not {type(limits).__name__}")
    return limits or ShardLimits.of(provider)


def _checked_endpoint(endpoint: str | None, provider: Provider) -> str | None:
    if endpoint is not None:
        unknown_endpoint(endpoint, provider.endpoints, service=provider.name)
    return endpoint


def _checked_maximum(max_problems: int) -> int:
    if isinstance(max_problems, bool) or not isinstance(max_problems, int) or max_problems < 1:
        raise InputError(f"max_problems must be a whole number of at least 1, not {max_problems!r}")
    return max_problems


async def _work_through(
    source: RequestSource, max_bytes: int, work: Callable[[bytes], object], is_due: Callable[[], bool] = lambda: False
) -> AsyncGenerator[None, None]:
    """Do some work for each block of a source, in a thread; yield now and then, and whenever something is due."""
    max_line_bytes = max(max_bytes, _MAX_LINE_BYTES)
    if isinstance(source, str | os.PathLike) and await _in_thread(os.path.isfile, source):
        # To go to a thread and come back takes a third as long as a block does: a file is worked through from within.
        from_path = blocks_of_path(source, max_line_bytes=max_line_bytes)
        try:
            while await _in_thread(_work_for_a_while, from_path, work, is_due):
                yield
        finally:
            await _in_thread(from_path.close)
        return
    blocks = cast("AsyncGenerator[bytes, None]", iter_blocks(source, max_line_bytes=max_line_bytes))
    async with aclosing(blocks):
        async for block in blocks:
            await _in_thread(work, block)
            yield


def _work_for_a_while(blocks: Iterator[bytes], work: Callable[[bytes], object], is_due: Callable[[], bool]) -> bool:
    """Return whether there may be more to do."""
    end = time.monotonic() + _WHILE_S
    for block in blocks:
        work(block)
        if is_due() or time.monotonic() > end:
            return True
    return False


async def _in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread; a cancelled caller waits for its end, so that nothing runs on behind its back."""
    task = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Its exception is looked at, so that it is not reported as lost.
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise
