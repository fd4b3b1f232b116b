"""``openai-batches create``: check and upload a request file, and create one batch of it."""

import asyncio
import contextlib
import datetime as dt
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import attrs
from cyclopts import App, Parameter

from openai_batches import (
    AmbiguousCreateError,
    APIError,
    Batch,
    BatchesError,
    DecodeError,
    InputError,
    Problem,
    ValidationReport,
    parse_request,
    validate_requests,
    write_shards,
)
from openai_batches._arguments import MAX_METADATA_PAIRS, checked_idempotency_key, checked_metadata
from openai_batches._text import as_count
from openai_batches._threads import in_thread
from openai_batches.cli.advice import command_line, command_of_file
from openai_batches.cli.command import command
from openai_batches.cli.commands._follow import BatchWaiter, status_line
from openai_batches.cli.errors import ClosedPipeError, CommandError, ExitCode
from openai_batches.cli.explain import Failures
from openai_batches.cli.options.amounts import Seconds, check_interval, checked_life
from openai_batches.cli.options.selection import endpoint_of, pairs_of
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected, provider_of
from openai_batches.cli.options.sources import SourceName, request_source
from openai_batches.cli.output.live import transfer_shown
from openai_batches.cli.output.signals import interruptible
from openai_batches.cli.output.terminal import STANDARD_STREAM, check_output, note, say
from openai_batches.cli.output.texts import cut, one_line, path_text, size_text, words
from openai_batches.http.failures import is_refusal
from openai_batches.jobs.admission import lacks_capacity

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from typing import BinaryIO

    from openai_batches import BatchSession, Provider

__all__ = ["RequestFile", "app", "endpoint_at_service", "is_file_id", "request_file"]

# A batch of an older call with the same key is not looked for.
_KEY_DAYS = 7

app: App = command(
    "create",
    examples="""\
ID=$(openai-batches create requests.jsonl)
openai-batches create requests.jsonl --metadata team=search --wait
openai-batches create file-abc123 --endpoint /v1/embeddings
zcat old.jsonl.gz | openai-batches create -""",
)
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
class _Order:
    """What the options ask for, checked before the file is uploaded."""

    window: str
    metadata: "Mapping[str, str] | None"
    expiry_s: int | None
    key: str | None
    interval_s: float | None


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


@app.default
async def create(
    source: Annotated[SourceName, Parameter(metavar="FILE|FILE_ID")],
    /,
    *,
    endpoint: Annotated[str | None, Parameter(metavar="PATH")] = None,
    metadata: Annotated[tuple[str, ...], Parameter(metavar="KEY=VALUE")] = (),
    window: Annotated[str, Parameter(metavar="WINDOW")] = "24h",
    output_expires_after: Seconds | None = None,
    idempotency_key: Annotated[str | None, Parameter(metavar="KEY")] = None,
    no_validate: bool = False,
    wait: bool = False,
    interval: Seconds | None = None,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Create a batch, once, and write its id to standard output.

    A file is checked before it is uploaded. Where the batch is refused, the uploaded file is deleted again. If the
    answer of the service is lost, the batch is looked for before it is sent again, so that there are never two.

    Args:
        source: A request file, plain or packed (.gz, .zst); - for standard input; or the id of a file at the service.
        endpoint: Where all requests go (what the first one says).
        metadata: A pair to give the batch; up to 15 of them.
        window: The completion window, as the service writes it (24h).
        output_expires_after: When the service deletes the results, from their creation on: 1h to 30d (it decides).
        idempotency_key: A name of yours for this very batch: if a batch of the last 7 days has it, that one is meant.
        no_validate: Send the file as it is.
        wait: Wait until the batch has ended, as `wait` does.
        interval: How often to ask while waiting (5s for a young batch, up to 5m for an old one).
        service: the service.
    """
    check_interval(interval, option="--wait", is_given=wait)
    provider = provider_of(service)
    endpoint = endpoint_of(endpoint, provider)
    order = _Order(
        window=window,
        metadata=_checked_pairs(metadata),
        expiry_s=checked_life(output_expires_after, option="--output-expires-after", range_s=provider.expiry_s),
        key=checked_idempotency_key(idempotency_key),
        interval_s=interval,
    )
    # The id of the batch is written there, so it is checked before anything is created.
    check_output()
    async with connected(service) as session:
        batch = await _found(session, order)
        if batch is None and is_file_id(source):
            url = endpoint or await endpoint_at_service(session, source)
            batch = await _created(session, order, source, url, service)
        elif batch is None:
            is_checked = not no_validate
            async with request_file(source, provider=provider, endpoint=endpoint, is_checked=is_checked) as file:
                batch = await _uploaded(session, order, file, source, service)
        return await _handed_over(session, batch, order, service=service, is_waiting=wait)


def _checked_pairs(texts: tuple[str, ...]) -> "Mapping[str, str] | None":
    pairs = pairs_of(texts)
    if len(pairs) >= MAX_METADATA_PAIRS:
        text = f"A batch takes {MAX_METADATA_PAIRS - 1} pairs of yours, and these are {len(pairs)}"
        raise CommandError(
            f"{text}: one more is needed to find the batch if the answer is lost", "Leave some pairs out"
        )
    return checked_metadata(pairs) or None


async def _found(session: "BatchSession", order: _Order) -> Batch | None:
    """Return the batch that has the person's own key already."""
    if order.key is None:
        return None
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=_KEY_DAYS)
    batch = await session.batches.find(order.key, since=since)
    if batch is not None:
        note(f"A batch with this key already exists, {batch.status}; nothing was created")
    return batch


async def _uploaded(session: "BatchSession", order: _Order, file: RequestFile, source: str, service: Service) -> Batch:
    """Upload a file and create its batch; leave no file behind that is of no use."""
    with transfer_shown(f"Uploading {one_line(file.name)}") as progress:
        uploaded = await session.files.create(file.path, filename=file.name, progress=progress)
    note(f"Uploaded {one_line(file.name)} as {one_line(uploaded.id)}, {size_text(uploaded.bytes)}")
    try:
        return await _created(session, order, uploaded.id, file.endpoint, service)
    except BatchesError as error:
        if _is_refusal(error):
            await _delete(session, uploaded.id, service)
        else:
            again = command_of_file(source, uploaded.id, endpoint=file.endpoint)
            gone = command_line("files", "delete", uploaded.id, service=service)
            # While it is unknown whether there is a batch, no second one is suggested.
            is_in_doubt = isinstance(error, AmbiguousCreateError)
            stays = ": there may be a batch of it" if is_in_doubt else f". To use it: {again}; to delete it: {gone}"
            note(f"The file {one_line(uploaded.id)} stays at the service{stays}")
        raise


def _is_refusal(error: BatchesError) -> bool:
    """Return whether a batch of this file is of no use: it was refused, and trying again would not help."""
    if not isinstance(error, APIError):
        return isinstance(error, InputError)
    return is_refusal(error) and not lacks_capacity(error)


async def _delete(session: "BatchSession", file_id: str, service: Service) -> None:
    try:
        await session.files.delete(file_id)
    except BatchesError:
        gone = command_line("files", "delete", file_id, service=service)
        note(f"The file {one_line(file_id)} could not be deleted; to delete it: {gone}")
    else:
        note(f"The file {one_line(file_id)} was deleted")


async def _created(session: "BatchSession", order: _Order, file_id: str, endpoint: str, service: Service) -> Batch:
    """Create the batch; Ctrl-C does not leave it open whether it exists."""
    task = asyncio.ensure_future(
        session.batches.create(
            input_file_id=file_id,
            endpoint=endpoint,
            completion_window=order.window,
            metadata=order.metadata,
            output_expires_after=order.expiry_s,
            idempotency_key=order.key,
        )
    )
    with interruptible():
        return await asyncio.shield(task)
    note("The batch is being created: waiting for its id (press Ctrl-C again to stop waiting)")
    batch = await task
    _say_id(batch)
    raise CommandError(
        "Interrupted; the batch was created and continues to run",
        f"To cancel it: {command_line('cancel', batch.id, service=service)}",
        ExitCode.INTERRUPTED,
    )


async def _handed_over(
    session: "BatchSession", batch: Batch, order: _Order, *, service: Service, is_waiting: bool
) -> ExitCode:
    """Write the id, and wait for the batch if that is wanted."""
    _say_id(batch)
    if not is_waiting:
        note(f"To wait for it: {command_line('wait', batch.id, service=service)}")
        return ExitCode.DONE
    following = BatchWaiter(session=session, failures=Failures(), on_end=_note_end, poll_s=order.interval_s)
    with interruptible() as interruption:
        await following.follow([batch])
    if interruption.has_come:
        note(f"The batch continues to run. To wait for it: {command_line('wait', batch.id, service=service)}")
        # Without a key of the person's own, the same command would create another batch.
        return ExitCode.STOPPED if order.key is not None else ExitCode.INTERRUPTED
    following.failures.advise()
    return following.code(has_time_left=True)


def _say_id(batch: Batch) -> None:
    try:
        say(one_line(batch.id))
    except (ClosedPipeError, CommandError):
        # The batch costs money, so its id is written to standard error instead.
        note(f"The batch {one_line(batch.id)} was created and continues to run")
        raise


def _note_end(batch: Batch) -> None:
    note(status_line(batch))


def is_file_id(source: str) -> bool:
    """Return whether a file at the service is meant: it looks like an id, and no file here has that name."""
    return _FILE_ID.fullmatch(source) is not None and not Path(source).exists()


@contextlib.asynccontextmanager
async def request_file(
    source: str, *, provider: "Provider", endpoint: str | None, is_checked: bool
) -> "AsyncGenerator[RequestFile]":
    """Give a request file that makes one batch, whatever it was: packed, from standard input, or with blank lines."""
    with tempfile.TemporaryDirectory() as folder:
        temporary, path = Path(folder), Path(source)
        name = _service_name(path)
        if source == STANDARD_STREAM or await in_thread(_is_stream, path):
            path, name = await _kept(source, temporary / _NAME), _NAME
        await in_thread(_check_path, path)
        if not is_checked:
            yield RequestFile(path=path, name=name, endpoint=endpoint or await _first_endpoint(path, source))
            return
        report = await validate_requests(path, endpoint=endpoint, provider=provider)
        _check_report(report, source)
        _tell(report, source)
        is_packed = await in_thread(_is_packed, path)
        if report.repairs or is_packed:
            # Shards are written without what the service would stumble over.
            shards = await write_shards(path, temporary / _SHARDS, endpoint=endpoint, provider=provider)
            path = shards[0].path
        yield RequestFile(path=path, name=name, endpoint=report.endpoints[0])


async def endpoint_at_service(session: "BatchSession", file_id: str) -> str:
    """Return where the first request of a file at the service goes."""
    advice = "Name the endpoint: --endpoint /v1/chat/completions"
    await session.files.retrieve(file_id)
    try:
        async with session.files.content(file_id) as content:
            async for line in content.iter_lines():
                if line.strip():
                    return parse_request(line).url
    except DecodeError as error:
        raise CommandError(f"The first line of {file_id} is not a request: {error}", advice) from error
    except BatchesError as error:
        text = f"{file_id} cannot be read, to see where its requests go: {error}"
        raise CommandError(text, advice, ExitCode.REFUSED) from error
    raise CommandError(f"{file_id} has no requestsss", "Upload a file that has requests")


async def _kept(source: str, path: Path) -> Path:
    """Keep what can be read only once in a file: it is read to be checked, and again to be sent."""

    def copy() -> None:
        with (
            request_source(STANDARD_STREAM) if source == STANDARD_STREAM else Path(source).open("rb") as stream,
            path.open("wb") as file,
        ):
            shutil.copyfileobj(cast("BinaryIO", stream), file, _PIECE_BYTES)

    await in_thread(copy)
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
        return parse_request(await in_thread(first)).url
    except DecodeError as error:
        text = f"{_shown(source)}: the first line is not a request: {error}"
        raise CommandError(text, "Name the endpoint: --endpoint /v1/chat/completions") from error


def _check_report(report: ValidationReport, source: str) -> None:
    """Raise what is wrong: with what runs and cuts files as advice, where that is all it takes."""
    if report.problems and all(map(_is_of_many, report.problems)):
        first = report.problems[0]
        where = f"line {first.line:,}: " if first.line is not None else ""
        file = "FILE" if source == STANDARD_STREAM else one_line(source)
        raise CommandError(
            f"{_shown(source)} makes more than one batch: {where}{first.message}",
            f"`openai-batches run {file} -o results.jsonl` sends it in shards; `openai-batches split {file}` cuts it",
        )
    # The copy of a stream has a temporary name, which would mean nothing to the user.
    named = None if source == STANDARD_STREAM else source
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
    if source == STANDARD_STREAM:
        return "Standard input" if is_first else "standard input"
    return cut(path_text(source), _MAX_NAME_CHARS)
