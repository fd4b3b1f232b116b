"""``openai-batches create``: a batch from a request file, once."""

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import App, Parameter

from openai_batches import AmbiguousCreateError, APIError, Batch, BatchesError, InputError
from openai_batches._arguments import MAX_METADATA_PAIRS, checked_key, checked_metadata
from openai_batches.cli.advice import command_line, command_of_file
from openai_batches.cli.command import command
from openai_batches.cli.commands._follow import Following, status_line
from openai_batches.cli.commands.create_input import RequestFile, endpoint_at_service, is_file_id, request_file
from openai_batches.cli.commands.transferring import transfer_shown
from openai_batches.cli.errors import ClosedPipeError, CommandError, ExitCode
from openai_batches.cli.failures import Failures
from openai_batches.cli.options.amounts import Seconds, check_interval, checked_life
from openai_batches.cli.options.endpoints import endpoint_of
from openai_batches.cli.options.pairs import pairs_of
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, connected, provider_of
from openai_batches.cli.options.sources import SourceName
from openai_batches.cli.output.interrupting import interruptible
from openai_batches.cli.output.terminal import check_output, note, say
from openai_batches.cli.output.texts import one_line, size_text
from openai_batches.jobs.admission import has_no_room

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_batches import BatchSession

__all__ = ["app"]

# A batch of an older call with the same key is not looked for.
_KEY_DAYS = 7
_MAY_PASS = frozenset({408, 429})

app: App = command(
    "create",
    examples="""\
ID=$(openai-batches create requests.jsonl)
openai-batches create requests.jsonl --metadata team=search --wait
openai-batches create file-abc123 --endpoint /v1/embeddings
zcat old.jsonl.gz | openai-batches create -""",
)


@attrs.frozen(kw_only=True)
class _Order:
    """What is asked for, but for the file; checked, so that nothing is uploaded in vain."""

    window: str
    metadata: "Mapping[str, str] | None"
    expiry_s: int | None
    key: str | None
    interval_s: float | None


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
        window: Within which time the service is to be done, as the service writes it (24h).
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
        key=checked_key(idempotency_key),
        interval_s=interval,
    )
    # The id of what is paid for goes there.
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
        raise CommandError(f"{text}: by one more it is found again, should the answer be lost", "Leave some pairs out")
    return checked_metadata(pairs) or None


async def _found(session: "BatchSession", order: _Order) -> Batch | None:
    """Return the batch that has the person's own key already."""
    if order.key is None:
        return None
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=_KEY_DAYS)
    batch = await session.batches.find(order.key, since=since)
    if batch is not None:
        note(f"A batch with this key is there already, {batch.status}; nothing was created")
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
            # Whoever does not know whether there is a batch is not to create another.
            is_in_doubt = isinstance(error, AmbiguousCreateError)
            stays = ": there may be a batch of it" if is_in_doubt else f". To use it: {again}; to delete it: {gone}"
            note(f"The file {one_line(uploaded.id)} stays at the service{stays}")
        raise


def _is_refusal(error: BatchesError) -> bool:
    """Return whether a batch of this file is of no use: it was refused, and trying again would not help."""
    if not isinstance(error, APIError):
        return isinstance(error, InputError)
    return 400 <= error.status < 500 and error.status not in _MAY_PASS and not has_no_room(error)


async def _delete(session: "BatchSession", file_id: str, service: Service) -> None:
    try:
        await session.files.delete(file_id)
    except BatchesError:
        gone = command_line("files", "delete", file_id, service=service)
        note(f"The file {one_line(file_id)} could not be deleted again; to delete it: {gone}")
    else:
        note(f"The file {one_line(file_id)} was deleted again")


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
    note("The batch is being created: the answer is waited for, so that you know its id (Ctrl-C again does not wait)")
    batch = await task
    _say_id(batch)
    raise CommandError(
        "Interrupted; the batch was created all the same, and goes on",
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
    following = Following(session=session, failures=Failures(), on_end=_note_end, poll_s=order.interval_s)
    with interruptible() as interruption:
        await following.follow([batch])
    if interruption.has_come:
        note(f"The batch goes on. To wait for it: {command_line('wait', batch.id, service=service)}")
        # Without a key of the person's own, the same command would create another batch.
        return ExitCode.STOPPED if order.key is not None else ExitCode.INTERRUPTED
    following.failures.advise()
    return following.code(has_time_left=True)


def _say_id(batch: Batch) -> None:
    try:
        say(one_line(batch.id))
    except (ClosedPipeError, CommandError):
        # Who paid for it has to know it all the same.
        note(f"The batch {one_line(batch.id)} was created, and goes on")
        raise


def _note_end(batch: Batch) -> None:
    note(status_line(batch))
