"""``openai-batches requests``: write a request file from prompts and a template."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from cyclopts import App, Parameter, validators

from openai_batches import InputError, InvalidRequestsError, write_request_file
from openai_batches._text import as_count
from openai_batches.cli.command import command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.selection import endpoint_of
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, provider_of
from openai_batches.cli.options.sources import SourceName, opened_sources, source_name
from openai_batches.cli.output.save import STDOUT, OutputName, check_apart, refuse_file
from openai_batches.cli.output.streams import OutputStream
from openai_batches.cli.output.terminal import STANDARD_STREAM, note, warn
from openai_batches.cli.output.texts import one_line, path_text, size_text

if TYPE_CHECKING:
    from openai_batches import Problem, PromptSource, Provider, RequestFile

__all__ = ["app"]

app: App = command(
    "requests",
    examples="""
openai-batches requests questions.txt -m gpt-4o-mini -o requests.jsonl
openai-batches requests reviews.csv -m gpt-4o-mini -t 'Sum up: {text}'
openai-batches requests reviews.csv -m gpt-4o-mini --template-file ask.txt \\
    --id order --schema answer.json -p temperature=0 -o requests.jsonl
zcat texts.gz | openai-batches requests - --format text \\
    -m text-embedding-3-small --endpoint /v1/embeddings > requests.jsonl
openai-batches requests prompts/*.csv -m gpt-4o-mini -t 'Sum up: {text}' \\
    --id 'row-{number:05d}' -o requests.jsonl
""",
)

_PIECE_BYTES = 1 << 18
# What no endpoint takes a text for.
_NO_TEXTS = frozenset(
    [
        "dimensions",
        "frequency_penalty",
        "logprobs",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "seed",
        "store",
        "temperature",
        "top_logprobs",
        "top_p",
    ]
)
# What a name says that requests are not.
_OTHER_FORMATS = frozenset(
    [".bz2", ".csv", ".html", ".parquet", ".tab", ".text", ".tsv", ".txt", ".xlsx", ".xz", ".zip"],
)
_PACKED = frozenset({".gz", ".zst"})
# What rows and templates disagree about.
_UNFIT = frozenset({"invalid_type", "missing_required_parameter"})
_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}


@app.default
async def requests(
    *files: SourceName,
    model: Annotated[str, Parameter(name=["--model", "-m"], metavar="NAME")],
    template: Annotated[
        str | None, Parameter(name=["--template", "-t"], metavar="TEXT", allow_leading_hyphen=True)
    ] = None,
    template_file: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    system: Annotated[str | None, Parameter(metavar="TEXT", allow_leading_hyphen=True)] = None,
    system_file: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    endpoint: Annotated[str, Parameter(metavar="PATH")] = "/v1/chat/completions",
    id: Annotated[str | None, Parameter(metavar="FIELD")] = None,
    schema: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    param: Annotated[Sequence[str], Parameter(name=["--param", "-p"], metavar="NAME=VALUE")] = (),
    body: Annotated[str | None, Parameter(metavar="JSON")] = None,
    output: OutputName = None,
    format: Literal["csv", "jsonl", "text"] | None = None,
    delimiter: Annotated[str | None, Parameter(metavar="CHAR", allow_leading_hyphen=True)] = None,
    limit: Annotated[int | None, Parameter(metavar="N", validator=validators.Number(gte=1))] = None,
    allow_empty: bool = False,
    force: bool = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Make a request file from prompts. Nothing is sent.

    Prompts are the rows of a table (.csv, .tsv; its first row names the fields), objects or texts in JSON, one on each
    line (.jsonl), or lines of text (.txt); packed or not (.gz, .zst). All of them become requests, or nothing is
    written, and every problem is named by file, line and field.

    Args:
        files: Files of prompts, read one after the other, each once; - is standard input.
        model: The model that all requests go to.
        template: The text of each prompt, with {field} where a field goes; a line of text goes into the only place.
            {price:.2f} says how a number is written. A brace that is meant as one is doubled. Without a template, a row
            has its prompt in the field "prompt", "messages" or "input", or in its only field.
        template_file: A file that holds the template.
        system: What the model is told before each prompt, as it stands.
        system_file: A file that holds it.
        endpoint: The endpoint (/v1/chat/completions); /v1/responses, /v1/embeddings, /v1/completions and
            /v1/moderations take prompts, too.
        id: The field that holds each custom_id, or a pattern of fields such as '{shop}-{item}'; {number} counts the
            rows of all files from 1, as in 'row-{number:05d}' (a field called custom_id, or else request-0000001 and
            so on).
        schema: A file with the JSON schema of the answers.
        param: A further field of each body, such as temperature=0; its value is JSON, or else text. It can be given
            several times.
        body: Further fields of each body, as one JSON object.
        output: Write to this .jsonl file, whole or not at all; .gz or .zst behind its name packs it (standard output).
        format: How the prompts of all files are written (as the name of each says).
        delimiter: What stands between the fields of CSV: one character, or the word tab (a comma; in .tsv a tab).
        limit: Take the first prompts only.
        allow_empty: Let fields of the prompt be empty.
        force: Replace a file that exists.
        service: the service.
    """
    names = list(dict.fromkeys(files)) if files.count(STANDARD_STREAM) < 2 else list(files)
    texts = {"--template-file": template_file, "--system-file": system_file, "--schema": schema}
    for name in names:
        check_apart(reads={"FILE": name, **texts}, writes={"-o": output})
    if not model:
        raise CommandError("The model has no name", "Name it: -m NAME")
    provider = provider_of(service)
    options: dict[str, Any] = {
        "model": model,
        "template": _text(template, template_file, "template"),
        "system": _text(system, system_file, "system"),
        "endpoint": endpoint_of(endpoint, provider),
        "custom_id": id,
        "schema": schema,
        "parameters": _parameters(param, body),
        "format": format,
        "delimiter": _DELIMITERS.get(delimiter or "", delimiter),
        "limit": limit,
        "allow_empty": allow_empty,
    }
    path = _checked_output(output, force=force)
    with opened_sources(names, of="prompts") as sources:
        written = await _written(sources, path, force=force, **options)
    _tell(names, path, written, provider)
    return ExitCode.DONE


def _text(text: str | None, path: Path | None, name: str) -> str | Path | None:
    if text is not None and path is not None:
        raise CommandError(f"--{name} and --{name}-file cannot be used together", "Give one of them")
    return text if path is None else path


def _parameters(pairs: Sequence[str], body: str | None) -> dict[str, Any]:
    """Return the further fields of the bodies."""
    given: Any = {} if body is None else _json(body, None)
    if not isinstance(given, dict):
        raise CommandError("--body is not a JSON object", """Write it as --body '{"temperature": 0}'""")
    parameters = cast("dict[str, Any]", given)
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise CommandError(f"{pair!r} is not a field with a value", "Write -p NAME=VALUE, such as -p temperature=0")
        if name in parameters:
            raise CommandError(f"The field {name!r} is given twice", "Give each field once")
        parameters[name] = _json(value, value)
        if name in _NO_TEXTS and isinstance(parameters[name], str):
            warn(f"{name} is a number, or true or false, and is sent as a text: {one_line(value)!r}")
    return parameters


def _json(text: str, otherwise: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise


def _checked_output(path: Path | None, *, force: bool) -> Path | None:
    """Return the file to write, or None for standard output."""
    if path is None or path == STDOUT:
        return None
    suffix = (Path(path.stem) if path.suffix.lower() in _PACKED else path).suffix.lower()
    if suffix in _OTHER_FORMATS:
        raise CommandError(
            f"{path} ends in {suffix}, but requests are written as lines of JSON", "Use a name that ends in .jsonl"
        )
    refuse_file(path, force=force)
    return path


async def _written(
    prompts: "Sequence[PromptSource]", output: Path | None, *, force: bool, **options: Any
) -> "RequestFile":
    """Write the requests into a file, or to standard output once they are whole."""
    if output is not None:
        return await _made(prompts, output, overwrite=force, **options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.jsonl"
        written = await _made(prompts, path, **options)
        stream = OutputStream()
        with path.open("rb") as file:
            for _ in range(0, written.bytes, _PIECE_BYTES):
                await stream.write(lambda: file.read(_PIECE_BYTES))
    return written


async def _made(*arguments: Any, **options: Any) -> "RequestFile":
    try:
        return await write_request_file(*arguments, **options)
    except InvalidRequestsError as error:
        raise _explained(error, _advice(error.problems, **options)) from error
    except InputError as error:
        raise CommandError(str(error), "See `openai-batches requests --help`") from error


def _explained(error: InvalidRequestsError, advice: str) -> CommandError:
    # A command that ends well does not load what explains errors.
    from openai_batches.cli.explain import explain  # noqa: PLC0415

    told = explain(error)
    return CommandError(told.message, advice or told.advice, details=told.details)


def _advice(problems: "Sequence[Problem]", *, template: object, custom_id: object, **_: object) -> str:
    """Return what to do where rows are not to blame, or not alone; nothing where they are."""
    asked = {problem.param for problem in problems if problem.code in _UNFIT} - {None}
    if template is None and "prompt" in asked:
        return "Give a template with -t, such as -t 'Sum up: {text}'"
    asking = [name for name, text in (("the template", template), ("--id", custom_id)) if text is not None]
    return f"Fix the lines that are named, or {' or '.join(asking)}, and try again" if asked and asking else ""


def _tell(names: Sequence[str], output: Path | None, written: "RequestFile", provider: "Provider") -> None:
    of = path_text(source_name(names[0])) if len(names) == 1 else as_count(len(names), "file")
    what = f"{as_count(written.requests, 'request')}, {size_text(written.bytes)}"
    where = "" if output is None else f", in {path_text(output)}"
    note(f"{of}: {what}{where}")
    if written.blank_lines:
        note(f"  {as_count(written.blank_lines, 'blank line')} skipped")
    if written.requests > provider.max_requests:
        note(f"  one batch takes at most {provider.max_requests:,}: `run` and `split` cut it into shards")
