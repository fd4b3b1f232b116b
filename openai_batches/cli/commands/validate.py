"""``openai-batches validate``: check request files before they are sent."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from cyclopts import App, Parameter, validators
from rich.text import Text

from openai_batches import make_converter, validate_requests
from openai_batches._text import as_count
from openai_batches.cli.command import command
from openai_batches.cli.errors import ExitCode
from openai_batches.cli.options.selection import endpoint_of
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, provider_of
from openai_batches.cli.options.sources import SourceName, check_read_once, request_source, source_name
from openai_batches.cli.output.documents import write_document
from openai_batches.cli.output.terminal import STANDARD_STREAM, note, say
from openai_batches.cli.output.texts import cut, one_line, path_text, size_text, words

if TYPE_CHECKING:
    from openai_batches import Problem, ValidationReport

__all__ = ["app"]

app: App = command(
    "validate",
    examples="""
openai-batches validate requests.jsonl
openai-batches validate *.jsonl.gz --json
make_requests.py | openai-batches validate -
""",
)

# Problems that do not exist with other limits or in several shards.
_SPLITTABLE = frozenset({"too_many_tasks", "file_too_large", "too_many_inputs", "mismatched_model"})
_REPAIRS = {"bom": "byte order mark", "crlf": "line end as on Windows", "blank_line": "blank line"}
_REPAIRS_MANY = {"crlf": "line ends as on Windows"}
_MODELS_SHOWN = 5
_MODEL_CHARS = 60


@app.default
async def validate(
    *files: SourceName,
    max_problems: Annotated[int, Parameter(metavar="N", validator=validators.Number(gte=1))] = 20,
    endpoint: Annotated[str | None, Parameter(metavar="PATH")] = None,
    any_size: bool = False,
    lax: bool = False,
    json: bool = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Find what the service would refuse in request files. Nothing is sent.

    Each problem is one line: file, line, column, field, and what to change.
    Each file is judged as the input of one batch, by the limits of the service
    (--provider). The exit code is 1 where there are problems.

    Args:
        files: .jsonl files, plain or packed (.gz, .zst); - is standard input.
        max_problems: Problems to show of each file; the others are counted (20).
        endpoint: What the url of each request must be (that of the first).
        any_size: Allow any number of requests, endpoints and models, as `run` and `split` do.
        lax: Leave what is in the bodies to the service.
        json: Write one JSON document.
        service: the service.
    """
    check_read_once(files)
    provider = provider_of(service)
    endpoint = endpoint_of(endpoint, provider)
    reports: dict[str, ValidationReport] = {}
    for name in dict.fromkeys(files):
        with request_source(name) as source:
            report = await validate_requests(
                source,
                endpoint=endpoint,
                provider=provider,
                strict=not lax,
                max_problems=max_problems,
                one_batch=not any_size,
            )
        reports[name] = report = _named(name, report)
        if not json:
            _tell(name, report)
    if json:
        write_document(_document(reports))
    return ExitCode.DONE if all(report.is_valid for report in reports.values()) else ExitCode.FAILED


def _named(name: str, report: "ValidationReport") -> "ValidationReport":
    """Return the report with the problems of what has no path under the name that a person gave it."""
    problems: list[Problem] = []
    for problem in report.problems:
        message = problem.message
        if problem.file is None and problem.code in {"empty_file", "empty_batch"}:
            message = "There is no request."
        problems.append(attrs.evolve(problem, file=source_name(name), message=message))
    return attrs.evolve(report, problems=tuple(problems))


def _tell(name: str, report: "ValidationReport") -> None:
    for problem in report.problems:
        say(_line(problem))
    if report.more_problems:
        say(f"and {as_count(report.more_problems, 'more problem')}: --max-problems shows more")
    found = len(report.problems) + report.more_problems
    verdict = Text(as_count(found, "problem"), "bold red") if found else Text("no problems", "bold green")
    say(Text.assemble((f"{path_text(source_name(name))}: ", "bold"), verdict, f" in {_contents(name, report)}"))
    for repair in report.repairs:
        what = as_count(repair.count, _REPAIRS.get(repair.code, repair.code), _REPAIRS_MANY.get(repair.code))
        note(f"  {what}, from line {repair.first_line:,} on: no problem, `split` and `run` leave them out")
    codes = {problem.code for problem in report.problems}
    if report.problems and codes <= _SPLITTABLE:
        note("  `openai-batches split` and `run` cut it into shards that fit")


def _line(problem: "Problem") -> Text:
    """Return a problem as compilers write theirs, so that editors and terminals find the place."""
    place = [path_text(problem.file or ""), *(str(number) for number in (problem.line, problem.column) if number)]
    text = Text(":".join(place), "bold").append(": ", "not bold")
    if problem.param:
        text.append(f"{one_line(problem.param)}: ", "cyan not bold")
    return text.append(one_line(problem.message), "not bold")


def _contents(name: str, report: "ValidationReport") -> str:
    size = _size(name, report)
    parts = [as_count(report.requests, "request"), "" if size is None else size_text(size)]
    if report.embedding_inputs:
        parts.append(as_count(report.embedding_inputs, "embedding input"))
    models = [cut(model, _MODEL_CHARS) for model in report.models[:_MODELS_SHOWN]]
    if more := len(report.models) - len(models):
        models.append(as_count(more, "more model"))
    return ", ".join(filter(None, [*parts, words(models), words(map(one_line, report.endpoints))]))


def _size(name: str, report: "ValidationReport") -> int | None:
    """Return how large the good requests are, and where there are others, how large the file itself is."""
    if report.is_valid:
        return report.bytes
    # Standard input has no size of its own, and a pipe none that is known.
    return Path(name).stat().st_size if name != STANDARD_STREAM and Path(name).is_file() else None


def _document(reports: "dict[str, ValidationReport]") -> dict[str, Any]:
    converter = make_converter()
    files = [
        {
            "file": source_name(name),
            "is_valid": report.is_valid,
            **converter.unstructure(report),
            "bytes": _size(name, report),
        }
        for name, report in reports.items()
    ]
    return {"is_valid": all(file["is_valid"] for file in files), "files": files}
