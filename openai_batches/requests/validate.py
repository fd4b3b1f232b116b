"""Find what the service would refuse in requests, before a byte of them is sent, and report it.

The requests are read once, block by block, in a thread; what is held is 8 bytes for each ``custom_id``, up to a million
of them, and the first problems.
"""

from __future__ import annotations

import os
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import attrs

from openai_batches._arguments import check_whole
from openai_batches._names import public
from openai_batches._threads import in_thread_to_its_end
from openai_batches.errors import InvalidRequestsError
from openai_batches.models import Problem, Repair
from openai_batches.providers import OPENAI, Provider, unknown_endpoint
from openai_batches.requests.check_block import BlockChecker
from openai_batches.requests.check_line import shown
from openai_batches.requests.duplicates import DuplicateFinder
from openai_batches.requests.read import MAX_LINE_BYTES, RequestSource, blocks_of_path, iter_blocks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

    from openai_batches.requests.check_block import CheckedBlock

__all__ = [
    "MAX_PROBLEMS",
    "Inspection",
    "ValidationReport",
    "checked_endpoint",
    "checked_maximum",
    "path_of",
    "validate_requests",
    "work_through",
]


MAX_PROBLEMS = 100
_SHOWN_PROBLEMS = 3
# How long a thread works before it lets the caller cancel it or take what is ready.
_WHILE_S = 0.05


@public
@attrs.frozen(kw_only=True)
class ValidationReport:
    """What is in the requests that were looked at, and what is wrong with them.

    Attributes:
        requests: how many requests there are, good and bad; blank lines are not counted.
        bytes: how large the good ones are as lines of a file, after repairs.
        models: the models of the good ones, in the order in which they appear.
        endpoints: the endpoints of the good ones, likewise.
        embedding_inputs: how many inputs the embedding requests among them have together.
        problems: what is wrong, in the order of the lines; what is about the whole file comes last.
        more_problems: how many more there are than ``problems`` holds.
        repairs: what was repaired: byte order marks, line ends, blank lines.
    """

    requests: int = 0
    bytes: int = 0
    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    embedding_inputs: int = 0
    problems: tuple[Problem, ...] = ()
    more_problems: int = 0
    repairs: tuple[Repair, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def raise_for_problems(self) -> None:
        """Raise what is wrong, if anything is.

        Raises:
            InvalidRequestsError: there are problems; it has all that the report has.
        """
        if self.is_valid:
            return
        count = len(self.problems) + self.more_problems
        named = [str(problem) for problem in self.problems[:_SHOWN_PROBLEMS]]
        if count > _SHOWN_PROBLEMS:
            named.append(f"and {count - _SHOWN_PROBLEMS:,} more")
        raise InvalidRequestsError(
            f"{count:,} problem{'s' if count > 1 else ''} in the requests: {'; '.join(named)}",
            problems=self.problems,
            more_problems=self.more_problems,
        )


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
        strict: False does not check the contents of the bodies, but leaves them to the service: model, streaming,
            messages, input.
        max_problems: how many problems to name, at least 1; the others are counted.
        one_batch: False checks requests for :func:`write_shards`: there may be any number of them, of several endpoints
            and models.

    Raises:
        InputError: the source is of no known kind or cannot be read to its end, or ``endpoint`` is no path.
        OSError: the file cannot be read.
    """
    file = path_of(source)
    checker = BlockChecker(
        endpoint=checked_endpoint(endpoint, provider),
        one_batch=one_batch,
        strict=strict,
        max_line_bytes=provider.max_bytes,
        file=file,
    )
    inspection = Inspection(checker, checked_maximum(max_problems), file)
    try:
        async with aclosing(work_through(source, provider.max_bytes, inspection.look_at)) as steps:
            async for _ in steps:
                pass
        return await in_thread_to_its_end(inspection.report, provider if one_batch else None)
    finally:
        await in_thread_to_its_end(inspection.close)


class Inspection:
    """What is known about the requests seen so far."""

    def __init__(self, checker: BlockChecker, max_problems: int, file: str | None) -> None:
        self.problems: ProblemList = ProblemList(max_problems)
        self._checker = checker
        self._file = file
        self._duplicates = DuplicateFinder()

    def look_at(self, block: bytes) -> CheckedBlock:
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
            self.problems.add(whole_file_problems(self._checker, provider))
        return report_of(self._checker, self.problems)

    def close(self) -> None:
        """Remove what is on disk."""
        self._duplicates.close()


class ProblemList:
    """The first problems of a file, as many as ``maximum`` says, and the number of the others."""

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.kept: list[Problem] = []
        self.more: int = 0

    def __bool__(self) -> bool:
        return bool(self.kept)

    def add(self, problems: Iterable[Problem], *, more: int = 0) -> None:
        """Add problems, which may stand anywhere among those that are there, and the number of some others."""
        self.kept = sorted((*self.kept, *problems), key=_by_line)
        self.more += max(len(self.kept) - self.maximum, 0) + more
        del self.kept[self.maximum :]


def _by_line(problem: Problem) -> tuple[bool, int]:
    return problem.line is None, problem.line or 0


def report_of(checker: BlockChecker, problems: ProblemList) -> ValidationReport:
    """Return what a checker found in all blocks, with these problems."""
    if not checker.requests:
        blank = "has only blank lines" if checker.lines else "is empty"
        message = f"The input file {blank}. Please ensure that the batch contains at least one request."
        if checker.file is None:
            message = "The source gave no request. A generator or an open file can be read only once."
        code = "empty_batch" if checker.lines else "empty_file"
        problems.add([Problem(code=code, message=message, file=checker.file)])
    return ValidationReport(
        requests=checker.requests,
        bytes=checker.bytes,
        models=tuple(checker.models),
        endpoints=tuple(checker.endpoints),
        embedding_inputs=checker.inputs,
        problems=tuple(problems.kept),
        more_problems=problems.more,
        repairs=tuple(checker.repairs.values()),
    )


def whole_file_problems(checker: BlockChecker, provider: Provider) -> list[Problem]:
    """Return what is wrong with the file as the input of one batch, whose lines may all be right."""
    found = []
    for code, what, have, maximum in (
        ("too_many_tasks", "requests", checker.requests, provider.max_requests),
        ("file_too_large", "bytes", checker.bytes, provider.max_bytes),
        ("too_many_inputs", "embedding inputs", checker.inputs, provider.max_embedding_inputs),
    ):
        if have > maximum:
            message = f"There are {have:,} {what}, one batch of {provider.name} can have {maximum:,}."
            found.append(Problem(code=code, message=message, file=checker.file))
    return found


def path_of(source: RequestSource) -> str | None:
    """Return the path of a source to name in problems."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else None


def checked_endpoint(endpoint: str | None, provider: Provider) -> str | None:
    """Return the endpoint that all requests must have, which must be a path."""
    if endpoint is not None:
        unknown_endpoint(endpoint, provider.endpoints, service=provider.name)
    return endpoint


def checked_maximum(max_problems: int) -> int:
    """Return how many problems are named."""
    check_whole(max_problems=max_problems)
    return max_problems


async def work_through(
    source: RequestSource, max_bytes: int, work: Callable[[bytes], object], is_due: Callable[[], bool] = lambda: False
) -> AsyncGenerator[None, None]:
    """Do some work for each block of a source, in a thread; yield now and then, and whenever something is due."""
    max_line_bytes = max(max_bytes, MAX_LINE_BYTES)
    if isinstance(source, str | os.PathLike) and await in_thread_to_its_end(os.path.isfile, source):
        # To go to a thread and come back takes a third as long as a block does: a file is worked through from within.
        from_path = blocks_of_path(source, max_line_bytes=max_line_bytes)
        try:
            while await in_thread_to_its_end(_work_for_a_while, from_path, work, is_due):
                yield
        finally:
            await in_thread_to_its_end(from_path.close)
        return
    blocks = cast("AsyncGenerator[bytes, None]", iter_blocks(source, max_line_bytes=max_line_bytes))
    async with aclosing(blocks):
        async for block in blocks:
            await in_thread_to_its_end(work, block)
            yield


def _work_for_a_while(blocks: Iterator[bytes], work: Callable[[bytes], object], is_due: Callable[[], bool]) -> bool:
    """Return whether there may be more to do."""
    end = time.monotonic() + _WHILE_S
    for block in blocks:
        work(block)
        if is_due() or time.monotonic() > end:
            return True
    return False
