"""``openai-batches estimate``: show what request files will cost."""

import shlex
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter, validators
from rich.text import Text

from openai_batches import PRICES, estimate, make_converter, read_prices
from openai_batches._text import as_count
from openai_batches.cli.command import command
from openai_batches.cli.errors import CommandError, ExitCode
from openai_batches.cli.options.service import DEFAULT_SERVICE, Service
from openai_batches.cli.options.sources import SourceName, check_read_once, request_source, source_name
from openai_batches.cli.output.documents import write_document
from openai_batches.cli.output.terminal import note, say, table, warn
from openai_batches.cli.output.texts import (
    NO_MODEL,
    condition,
    costs_of,
    money_text,
    no_price,
    one_line,
    path_text,
    range_text,
    standard_costs_of,
    uncounted,
)

if TYPE_CHECKING:
    from rich.table import Table

    from openai_batches import Estimate, ModelEstimate

__all__ = ["app"]

app: App = command(
    "estimate",
    examples="""
openai-batches estimate requests.jsonl
openai-batches estimate requests.jsonl --output-tokens 300   # for each answer
openai-batches estimate *.jsonl --prices prices.json --json
""",
)


@app.default
async def estimate_(
    *files: SourceName,
    output_tokens: Annotated[int | None, Parameter(metavar="N", validator=validators.Number(gte=0))] = None,
    prices: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    approximate: bool = False,
    json: bool = False,
    service: Service = DEFAULT_SERVICE,  # noqa: ARG001  # every command has these options
) -> ExitCode:
    """Estimate how many tokens requests have, and what they will cost.

    By model: in a batch, and what the same would cost without one. Tokens are
    counted with tiktoken where it is installed, which may fetch the vocabulary of
    a model from the network; else they are estimated by the length of the texts.
    Nothing is sent. What has no known price is shown as ?, never as 0.

    Args:
        files: .jsonl files, plain or packed (.gz, .zst); - is standard input.
        output_tokens: How many tokens to assume for the longest answer, where a request sets no maximum.
        prices: A JSON file of prices per million tokens: {"as_of": "2026-11-01", "models": {"my-model":
            {"input": 0.4, "output": 1.6}}} (a table that comes with the program).
        approximate: Do not use tiktoken: quicker, and without the network.
        json: Write one JSON document.
        service: the service.
    """
    check_read_once(files)
    known = PRICES if prices is None else await read_prices(prices)
    options: dict[str, Any] = {"vocabulary_timeout_s": 0} if approximate else {}
    estimates: dict[str, Estimate] = {}
    for name in dict.fromkeys(files):
        with request_source(name) as source:
            found = await estimate(source, prices=known, assumed_output_tokens=output_tokens, **options)
        if not found.requests:
            raise _empty(name, found.unreadable_lines)
        estimates[name] = found
    if json:
        converter = make_converter()
        write_document(
            {"files": [{"file": source_name(name), **converter.unstructure(one)} for name, one in estimates.items()]}
        )
    else:
        for name, one in estimates.items():
            _tell(name, one, output_tokens, is_single=len(estimates) == 1)
        if len(estimates) > 1:
            _tell_sum(list(estimates.values()), output_tokens)
    return ExitCode.FAILED if any(one.unreadable_lines for one in estimates.values()) else ExitCode.DONE


def _empty(name: str, unreadable: int) -> CommandError:
    """Return what to say of a file without a request."""
    if not unreadable:
        return CommandError(f"There is no request in {source_name(name)}", "Put one on each line, as JSON")
    lines = "its only line cannot" if unreadable == 1 else f"none of its {unreadable:,} lines can"
    return CommandError(f"There is no request in {source_name(name)}: {lines} be read as one", _validate_advice(name))


def _validate_advice(name: str) -> str:
    return f"{shlex.join(['openai-batches', 'validate', name])} checks each line"


def _tell(name: str, found: "Estimate", output_tokens: int | None, *, is_single: bool) -> None:
    if not is_single:
        say(Text(path_text(source_name(name)), "bold"))
    say(_table(found))
    say()
    _tell_costs([found], output_tokens)
    say(f"Tokens: {_method(found)}. Prices: of {found.prices_as_of}, in {one_line(found.currency)}.")
    if not is_single:
        say()
    if found.unpriced_models:
        warn(f"{no_price(found.unpriced_models)}: give one with --prices FILE")
    for text in uncounted(found):
        warn(text)
    if found.unreadable_lines:
        note(_validate_advice(name))
    if found.requests_without_maximum and output_tokens is None:
        requests = as_count(found.requests_without_maximum, "request sets", "requests set")
        note(f"{requests} no maximum of output: --output-tokens N sets the number to assume")


def _tell_sum(estimates: "list[Estimate]", output_tokens: int | None) -> None:
    requests = as_count(sum(one.requests for one in estimates), "request")
    say(Text(f"All {len(estimates):,} files, {requests}", "bold"))
    _tell_costs(estimates, output_tokens)


def _tell_costs(estimates: "list[Estimate]", output_tokens: int | None) -> None:
    currency, most = estimates[0].currency, condition(estimates, output_tokens)
    batch = [costs for one in estimates for costs in costs_of(one)]
    without = [costs for one in estimates for costs in standard_costs_of(one)]
    say(Text.assemble(("In a batch: ", "bold"), range_text(batch, currency, most)))
    say(Text.assemble(("Without:    ", "bold"), range_text(without, currency, most)))


def _table(found: "Estimate") -> "Table":
    made = table("model", "requests>", "tokens in>", "tokens out>", "in a batch>", "without>")
    # A name that is cut could be another model's.
    made.columns[0].no_wrap, made.columns[0].overflow = False, "fold"
    for model, share in sorted(found.by_model.items(), key=lambda item: -item[1].requests):
        made.add_row(Text(one_line(model) or NO_MODEL), *_cells(share, found.currency))
    if len(found.by_model) > 1:
        made.add_row(Text("all"), *_cells(found, found.currency), style="bold")
    return made


def _cells(share: "Estimate | ModelEstimate", currency: str) -> tuple[str, ...]:
    return (
        f"{share.requests:,}",
        f"{share.input_tokens:,}",
        "?" if share.max_output_tokens is None else f"≤ {share.max_output_tokens:,}",
        _bound(share.cost_low, share.cost_high, currency),
        _bound(share.standard_cost_low, share.standard_cost_high, currency),
    )


def _bound(low: Decimal | None, high: Decimal | None, currency: str) -> str:
    if high is not None:
        return f"≤ {money_text(high, currency)}".replace("≤ <", "<")
    if low is None:
        return "?"
    least = money_text(low, currency)
    # What is less than nothing to speak of is more than nothing.
    return f"> {money_text(0, currency)}" if least.startswith("<") else f"≥ {least}"


def _method(found: "Estimate") -> str:
    if found.method == "tiktoken":
        return "counted with tiktoken"
    if any(share.method == "tiktoken" for share in found.by_model.values()):
        return "counted with tiktoken for some models, estimated by the length of the texts for others"
    return "estimated by the length of the texts"
