"""``openai-batches run``: the options of the command that runs a job; what it does is in ``cli.run``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from cyclopts import App, Group, Parameter, validators

from openai_batches import ShardLimits
from openai_batches.cli.command import command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.amounts import Bytes, Usd
from openai_batches.cli.options.selection import pairs_of
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service, confirm_above_usd
from openai_batches.cli.options.sources import refuse_options
from openai_batches.cli.run.plan import ASSUMED_TOKENS
from openai_batches.cli.run.run import RunCommand
from openai_batches.cli.run.save import DEFAULT_OUTPUT, Output

if TYPE_CHECKING:
    from openai_batches import Provider

__all__ = ["JobOptions", "app"]

app: App = command(
    "run",
    examples="""
openai-batches run requests.jsonl --local -o results.jsonl   # try it
openai-batches run requests.jsonl -o results.csv --ordered
openai-batches run requests.jsonl --dry-run                  # plan, cost
make_requests.py | openai-batches run - --directory today -o - | wc -l
openai-batches run requests.jsonl.job -o results.parquet     # go on
""",
)

_GROUP = Group("Job", sort_key=20)
_AT_LEAST_NONE, _AT_LEAST_ONE = validators.Number(gte=0), validators.Number(gte=1)


@Parameter(name="*", group=_GROUP)
@attrs.frozen(kw_only=True)
class JobOptions:
    """How the job is done."""

    directory: Annotated[
        Path | None,
        Parameter(metavar="DIR", help="The directory of the job (SOURCE with .job behind it)."),
    ] = None
    endpoint: Annotated[
        str | None, Parameter(metavar="PATH", help="What the url of each request must be (any; they are sorted by it).")
    ] = None
    max_requests: Annotated[
        int | None,
        Parameter(metavar="N", validator=_AT_LEAST_ONE, help="Most requests in one shard (what the service allows)."),
    ] = None
    max_bytes: Annotated[Bytes | None, Parameter(help="Largest size of one shard (what the service allows).")] = None
    max_open: Annotated[
        int | None,
        Parameter(metavar="N", validator=_AT_LEAST_ONE, help="Most batches open at once (what the service takes)."),
    ] = None
    concurrency: Annotated[
        int, Parameter(metavar="N", validator=_AT_LEAST_ONE, help="Most uploads and downloads at once (4).")
    ] = 4
    max_attempts: Annotated[
        int,
        Parameter(metavar="N", validator=_AT_LEAST_ONE, help="How often a request is sent, first time included (3)."),
    ] = 3
    metadata: Annotated[
        tuple[str, ...],
        Parameter(metavar="KEY=VALUE", help="A pair for the metadata of each batch; can be repeated, up to 12."),
    ] = ()
    window: Annotated[
        str | None,
        Parameter(
            metavar="WINDOW",
            help="The completion window, as the service writes it (24h, or that of the job).",
        ),
    ] = None
    keep_files: Annotated[bool, Parameter(help="Leave the input files at the service.")] = False
    resend_cancelled: Annotated[
        bool, Parameter(help="Send requests again whose batch was cancelled by somebody else.")
    ] = False

    def arguments(self, provider: "Provider") -> dict[str, Any]:
        """Return what ``BatchJob`` takes of these."""
        return {
            "endpoint": self.endpoint,
            "limits": self._limits(provider),
            "max_open": self.max_open,
            "concurrency": self.concurrency,
            "max_attempts": self.max_attempts,
            "metadata": pairs_of(self.metadata),
            "completion_window": self.window,
            "keep_files": self.keep_files,
            "resend_cancelled": self.resend_cancelled,
        }

    def _limits(self, provider: "Provider") -> ShardLimits | None:
        if self.max_requests is None and self.max_bytes is None:
            return None
        limits = ShardLimits.of(provider)
        return attrs.evolve(
            limits,
            max_requests=self.max_requests or limits.max_requests,
            max_bytes=self.max_bytes or limits.max_bytes,
        )


DEFAULT_JOB = JobOptions()


@app.default
async def run(
    source: Annotated[
        str | None, Parameter(metavar="SOURCE", allow_leading_hyphen=True, validator=refuse_options)
    ] = None,
    /,
    *,
    output: Output = DEFAULT_OUTPUT,
    job: JobOptions = DEFAULT_JOB,
    dry_run: bool = False,
    yes: Annotated[bool, Parameter(name=("--yes", "-y"))] = False,
    confirm_above: Usd | None = None,
    output_tokens: Annotated[int, Parameter(metavar="N", validator=_AT_LEAST_NONE)] = ASSUMED_TOKENS,
    prices: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    report: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    json: bool = False,
    quiet: Annotated[bool, Parameter(name=("--quiet", "-q"))] = False,
    service: Service = DEFAULT_SERVICE,
) -> ExitCode:
    """Run any number of requests and collect their results.

    The requests are checked, cut into shards and sent; the results are waited for and
    collected, and what did not run is sent again. It can be stopped at any time, with
    Ctrl-C or worse: the same command continues where it stopped, and pays nothing
    twice. Before anything is sent it shows what it will cost, and asks if that is much.

    Args:
        source: The requests: a file (.jsonl, also .gz or .zst), - for standard
            input, or the directory of a job to continue.
        output: Where the results go.
        job: How it is done.
        dry_run: Check the requests and say what they will cost; send nothing.
        yes: Do not ask, whatever it costs.
        confirm_above: Ask first if it may cost more dollars than this (OPENAI_BATCHES_CONFIRM_ABOVE_USD, or else 5).
        output_tokens: How many tokens to assume for the longest answer, where a request sets no maximum (1,000).
        prices: A JSON file of prices, instead of the built-in ones.
        report: Write a report of the job to this .html file, at the end and when it is stopped.
        json: Write what became of the requests to standard output, as JSON.
        quiet: Write no messages but errors.
        service: The service.
    """
    if json and output.is_stream:
        raise CommandError("--json and -o - both write to standard output", "Name a file: -o results.jsonl")
    call = await RunCommand.prepared(
        source=source,
        directory=job.directory,
        output=output,
        arguments=job.arguments,
        is_dry=dry_run,
        is_agreed=yes,
        confirm_above=confirm_above if confirm_above is not None else confirm_above_usd(service),
        output_tokens=output_tokens,
        prices=prices,
        report=report,
        is_json=json,
        is_quiet=quiet,
        service=service,
    )
    return await call.run()
