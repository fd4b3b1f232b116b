"""What a batch is created of: a file on this machine that is checked first, or one that is at the service already."""

import asyncio
import contextlib
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import attrs

from openai_batches import (
    BatchesError,
    DecodeError,
    Problem,
    ValidationReport,
    parse_request,
    validate_requests,
    write_shards,
)
from openai_batches._text import as_count
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.sources import STDIN, request_source
from openai_batches.cli.output.terminal import note
from openai_batches.cli.output.texts import cut, one_line, path_text, size_text, words

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import BinaryIO

    from openai_batches import BatchSession, Provider

__all__ = ["RequestFile", "endpoint_at_service", "is_file_id", "request_file"]

_FILE_ID = re.compile(r"file[-_][A-Za-z0-9_-]+", re.ASCII)
_JSONL = ".jsonl"
_NAME = "requests.jsonl"
_SHARDS = "shards"
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_PIECE_BYTES = 1 << 20
_MAX_NAME_CHARS = 60
# What is wrong with a file as one batch, and not with its lines.
_SIZES = frozenset({"file_too_large", "too_many_inputs", "too_many_tasks"})
_MIXTURES = frozenset({"invalid_url", "mismatched_model"})


@attrs.frozen(kw_only=True)
class RequestFile:
    """A file that can be uploaded as it is.

    Attributes:
        path: where it is.
        name: what the service is told it is called.
        endpoint: where its requests go.
    """

    path: Path
    name: str
    endpoint: str


def is_file_id(source: str) -> bool:
    """Return whether a file at the service is meant: it looks like an id, and no file here has that name."""
    return _FILE_ID.fullmatch(source) is not None and not Path(source).exists()


@contextlib.asynccontextmanager
async def request_file(
    source: str, *, provider: "Provider", endpoint: str | None, is_checked: bool
) -> "AsyncGenerator[RequestFile]":
    """Give a request file that makes one batch, whatever it was: packed, from standard input, or with blank lines.

    Args:
        source: a path, or ``-`` for standard input.
        provider: the service, for its limits.
        endpoint: where the requests go; None: what the first one says.
        is_checked: whether what the service would refuse is looked for.

    Raises:
        CommandError: it is no file, or makes more than one batch.
        InvalidRequestsError: the service would refuse it.
        OSError: it cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        room, path = Path(folder), Path(source)
        name = _service_name(path)
        if source == STDIN or await asyncio.to_thread(_is_stream, path):
            path, name = await _kept(source, room / _NAME), _NAME
        await asyncio.to_thread(_check_path, path)
        if not is_checked:
            yield RequestFile(path=path, name=name, endpoint=endpoint or await _first_endpoint(path, source))
            return
        report = await validate_requests(path, endpoint=endpoint, provider=provider)
        _check_report(report, source)
        _tell(report, source)
        is_packed = await asyncio.to_thread(_is_packed, path)
        if report.repairs or is_packed:
            # Shards are written without what the service would stumble over.
            shards = await write_shards(path, room / _SHARDS, endpoint=endpoint, provider=provider)
            path = shards[0].path
        yield RequestFile(path=path, name=name, endpoint=report.endpoints[0])


async def endpoint_at_service(session: "BatchSession", file_id: str) -> str:
    """Return where the first request of a file at the service goes.

    Raises:
        CommandError: the file cannot be read, or its first line is no request.
        NotFoundError: there is no such file.
    """
    advice = "Name the endpoint: --endpoint /v1/chat/completions"
    await session.files.retrieve(file_id)
    try:
        async with session.files.content(file_id) as content:
            async for line in content.iter_lines():
                if line.strip():
                    return parse_request(line).url
    except DecodeError as error:
        raise CommandError(f"The first line of {file_id} is no request: {error}", advice) from error
    except BatchesError as error:
        text = f"{file_id} cannot be read, to see where its requests go: {error}"
        raise CommandError(text, advice, ExitCode.REFUSED) from error
    raise CommandError(f"{file_id} has no request", "Upload a file that has some")


async def _kept(source: str, path: Path) -> Path:
    """Keep what can be read only once in a file: it is read to be checked, and again to be sent."""

    def copy() -> None:
        with (
            request_source(STDIN) if source == STDIN else Path(source).open("rb") as stream,
            path.open("wb") as file,
        ):
            shutil.copyfileobj(cast("BinaryIO", stream), file, _PIECE_BYTES)

    await asyncio.to_thread(copy)
    return path


def _is_stream(path: Path) -> bool:
    """Return whether a path is a pipe, such as a shell makes of `<(...)`."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _service_name(path: Path) -> str:
    """Return what to call a file at the service, which wants ``.jsonl`` at the end."""
    name = path.name
    for packed in (".gz", ".zst"):
        name = name.removesuffix(packed)
    return name if name.endswith(_JSONL) else f"{name}{_JSONL}"


def _check_path(path: Path) -> None:
    if path.is_dir():
        raise CommandError(f"{path} is a folder", "Name a file of requests, one a line")
    if not path.exists():
        advice = "Name a request file, or the id of a file at the service (file-...)"
        raise CommandError(f"There is no file {path}", advice)


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4).startswith(_PACKED)


async def _first_endpoint(path: Path, source: str) -> str:
    def first() -> bytes:
        with path.open("rb") as file:
            return next((line for line in file if line.strip()), b"")

    try:
        return parse_request(await asyncio.to_thread(first)).url
    except DecodeError as error:
        text = f"{_shown(source)}: the first line is no request: {error}"
        raise CommandError(text, "Name the endpoint: --endpoint /v1/chat/completions") from error


def _check_report(report: ValidationReport, source: str) -> None:
    """Raise what is wrong: with what runs and cuts files as advice, where that is all it takes."""
    if report.problems and all(map(_is_of_many, report.problems)):
        first = report.problems[0]
        where = f"line {first.line:,}: " if first.line is not None else ""
        file = "FILE" if source == STDIN else one_line(source)
        raise CommandError(
            f"{_shown(source)} makes more than one batch: {where}{first.message}",
            f"`openai-batches run {file} -o results.jsonl` does it all; `openai-batches split {file}` cuts the file",
        )
    # The copy that is made of a stream has a name that nobody knows.
    named = None if source == STDIN else source
    problems = [attrs.evolve(problem, file=named) for problem in report.problems]
    attrs.evolve(report, problems=tuple(problems)).raise_for_problems()


def _is_of_many(problem: Problem) -> bool:
    """Return whether a problem is none if the requests are sorted into several batches."""
    return problem.code in _SIZES or (problem.code in _MIXTURES and problem.first_line is not None)


def _tell(report: ValidationReport, source: str) -> None:
    models = words(one_line(model) for model in report.models)
    requests = f"{as_count(report.requests, 'request')} for {one_line(report.endpoints[0])}"
    note(f"Checked {_shown(source, is_first=False)}: {requests}, {models}, {size_text(report.bytes)}")


def _shown(source: str, *, is_first: bool = True) -> str:
    """Return what to call the source, at the start of a sentence or within one."""
    if source == STDIN:
        return "Standard input" if is_first else "standard input"
    return cut(path_text(source), _MAX_NAME_CHARS)
