"""``openai-batches split``: cut a request file into shards."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from cyclopts import App, Parameter, validators

from openai_batches import ShardLimits, make_converter, write_shards
from openai_batches._text import as_count
from openai_batches.cli.command import command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.amounts import Bytes
from openai_batches.cli.options.selection import endpoint_of
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, provider_of
from openai_batches.cli.options.sources import SourceName, request_source, source_name
from openai_batches.cli.output.documents import write_document
from openai_batches.cli.output.terminal import STANDARD_STREAM, note, say, warn
from openai_batches.cli.output.texts import cut, path_text, size_text

if TYPE_CHECKING:
    from collections.abc import Generator

    from openai_batches import Provider, Shard

__all__ = ["app"]

app: App = command(
    "split",
    examples="""
openai-batches split requests.jsonl -d shards
openai-batches split requests.jsonl -d shards --max-requests 10000
for shard in shards/*.jsonl; do openai-batches create "$shard"; done
""",
)

_SHARDS = "shard-*.jsonl"
_GROUPS_SHOWN = 10
_MODEL_CHARS = 40
_Count = Annotated[int | None, Parameter(metavar="N", validator=validators.Number(gte=1))]


@app.default
async def split(
    file: SourceName,
    /,
    *,
    directory: Annotated[Path | None, Parameter(name=["--directory", "-d"], metavar="DIR")] = None,
    max_requests: _Count = None,
    max_bytes: Bytes | None = None,
    max_tokens: _Count = None,
    endpoint: Annotated[str | None, Parameter(metavar="PATH")] = None,
    lax: bool = False,
    json: bool = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Cut requests into shards, files that fit one batch each. Nothing is sent.

    Each file has one endpoint and one model, and is inside every limit of the
    service (--provider) and of yours. All of them are written, or none: where the
    service would refuse a request, none is. The names of the files go to standard
    output, one on each line.

    `run` does all of this and the rest.

    Args:
        file: A .jsonl file, plain or packed (.gz, .zst); - is standard input.
        directory: Where the files go (FILE.shards). It is made if it is not there.
        max_requests: Requests in one file, at most (the limit of the service).
        max_bytes: Size of one file, at most (the limit of the service).
        max_tokens: Tokens in one file, at most, each counted as 4 bytes (any number).
        endpoint: What the url of each request must be (they are sorted by it).
        lax: Leave what is in the bodies to the service.
        json: Write one JSON document.
        service: the service.
    """
    provider = provider_of(service)
    endpoint = endpoint_of(endpoint, provider)
    limits = _limits(provider, max_requests=max_requests, max_bytes=max_bytes, max_tokens=max_tokens)
    with request_source(file) as source, _prepared_folder(_folder(file, directory)) as folder:
        shards = await write_shards(source, folder, endpoint=endpoint, limits=limits, provider=provider, strict=not lax)
    if json:
        converter = make_converter()
        write_document({"shards": [converter.unstructure(shard) for shard in shards]})
        return ExitCode.DONE
    for shard in shards:
        say(path_text(shard.path))
    _sum_up(file, shards)
    return ExitCode.DONE


def _limits(provider: "Provider", *, max_tokens: int | None, **asked: int | None) -> ShardLimits:
    """Return the service's limits, made narrower: a file beyond them would be refused in the end."""
    limits = attrs.evolve(ShardLimits.of(provider), max_tokens=max_tokens)
    for name, number in asked.items():
        most: int = getattr(limits, name)
        if number is not None and number > most:
            warn(f"--{name.replace('_', '-')} is {most:,}, the limit of {provider.name}")
        elif number is not None:
            narrower: dict[str, Any] = {name: number}
            limits = attrs.evolve(limits, **narrower)
    return limits


def _folder(file: str, directory: Path | None) -> Path:
    if directory is not None:
        return directory
    if file == STANDARD_STREAM:
        raise CommandError("No folder was given for the files", "Name a folder with -d DIR")
    return Path(f"{file}.shards")


@contextlib.contextmanager
def _prepared_folder(folder: Path) -> "Generator[Path]":
    """Refuse a folder with shards of others in it, and leave no empty one behind after a failure."""
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"{folder} is a file", "Name a folder with -d DIR")
    if (there := next(folder.glob(_SHARDS), None)) is not None:
        raise CommandError(f"{there} already exists", "Remove the shards in it, or name another folder with -d DIR")
    was_there = folder.exists()
    try:
        yield folder
    except BaseException:
        if not was_there:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _sum_up(file: str, shards: "list[Shard]") -> None:
    requests = sum(shard.requests for shard in shards)
    size = sum(shard.bytes for shard in shards)
    what = f"{as_count(requests, 'request')}, {size_text(size)}, in {as_count(len(shards), 'file')}"
    note(f"{path_text(source_name(file))}: {what}")
    groups: dict[tuple[str, str], list[Shard]] = {}
    for shard in shards:
        groups.setdefault((shard.endpoint, shard.model or ""), []).append(shard)
    for (endpoint, model), members in list(groups.items())[:_GROUPS_SHOWN]:
        count = as_count(sum(shard.requests for shard in members), "request")
        note(f"  {as_count(len(members), 'file')}: {count}, {cut(f'{model} {endpoint}', 2 * _MODEL_CHARS)}")
    if len(groups) > _GROUPS_SHOWN:
        note(f"  and {len(groups) - _GROUPS_SHOWN:,} more endpoints and models")
