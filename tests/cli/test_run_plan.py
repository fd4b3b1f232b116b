"""The plan of `run`, and the question that goes with it."""

from __future__ import annotations

import datetime as dt
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from support.request_lines import line, write_lines
from support.run_stage import LOCAL, ask_often, write_requests

from openai_batches import Estimate, Ledger
from openai_batches.cli.output import terminal
from openai_batches.cli.run import plan as plan_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal of 80 columns in the place of standard error."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system=None, width=80, legacy_windows=False)
    monkeypatch.setattr(terminal, "stderr", lambda: console)
    return file


def plan_of(**fields: Any) -> plan_module.JobPlan:
    """A plan of one request that costs a dollar."""
    estimate = Estimate(
        **{
            "requests": 1,
            "input_tokens": 1,
            "max_output_tokens": 1,
            "requests_without_maximum": 0,
            "by_model": {},
            "unpriced_models": (),
            "cost_low": Decimal(0),
            "cost_high": Decimal(1),
            "currency": "USD",
            "prices_as_of": dt.date(2026, 1, 1),
            "method": "tiktoken",
            **fields,
        }
    )
    return plan_module.JobPlan(
        source="x", ledger=Ledger.of([]), bytes=1, estimate=estimate, assumed_tokens=1_000, is_free=False
    )


def test_on_a_terminal_it_is_a_block(cli: Cli, screen: io.StringIO) -> None:
    """Names in one column and facts in the other, none of them behind the edge; a name of others is no command."""
    name = "re\x1b[31mquests.jsonl"
    write_requests(Path(name))
    assert cli("run", name, *LOCAL).code == 0
    # What was drawn while it was checked is wiped away.
    _, _, shown = screen.getvalue().partition("Planned ")
    lines = [text.rstrip() for text in f"Planned {shown}".splitlines()]
    assert lines[0] == "Planned re\\x1b[31mquests.jsonl"
    assert lines[1] == "  requests  4 in 1 shard, 696 B"
    assert max(map(len, lines)) <= 80


def test_a_dry_run_on_a_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same block, on standard output."""
    write_requests(Path("requests.jsonl"))
    monkeypatch.setattr(terminal, "out_is_terminal", lambda: True)
    done = cli("run", "requests.jsonl", "--dry-run", *LOCAL)
    assert done.out.splitlines()[1].rstrip() == "  requests  4 in 1 shard, 696 B"


def test_models_endpoints_and_pictures(cli: Cli) -> None:
    """The most frequent kinds, and how many more there are; what has tokens that nobody counts is said."""
    picture: list[Any] = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    lines = [line(f"a{number}", model=f"gpt-4o-mini-{number}") for number in range(5)]
    lines += [line(f"b{number}", max_tokens=5) for number in range(2)]
    lines.append(line("c", messages=[{"role": "user", "content": picture}]))
    write_lines(Path("requests.jsonl"), *lines)
    out = cli("run", "requests.jsonl", "--dry-run", *LOCAL).out
    assert "  requests  8 in 6 shards" in out
    assert "  models    gpt-4o-mini at /v1/chat/completions, 3 requests\n" in out
    assert "            and 2 more\n" in out
    assert "            1 image, sound or file is not counted\n" in out


@pytest.mark.parametrize(("is_yes", "code"), [(True, 0), (False, 130)])
def test_a_person_is_asked(
    cli: Cli,
    service: BackgroundServer,
    monkeypatch: pytest.MonkeyPatch,
    is_yes: bool,
    code: int,
) -> None:
    """The question says how much it may cost, and for how many requests."""
    asked: list[str] = []

    async def confirmed(question: str) -> bool:
        asked.append(question)
        return is_yes

    write_requests(Path("requests.jsonl"), 1_000, max_tokens=1_000)
    ask_often(monkeypatch)
    monkeypatch.setattr(plan_module, "can_ask", lambda: True)
    monkeypatch.setattr(plan_module, "confirmed", confirmed)
    done = cli("run", "requests.jsonl", "--confirm-above", "0.1", "-o", "out.jsonl")
    assert (done.code, asked) == (code, ["This costs $0.30 at most. Send 1,000 requests?"])
    assert Path("out.jsonl").exists() == is_yes
    assert ("Nothing was sent." in done.err) != is_yes


@pytest.mark.parametrize(
    ("options", "tokens", "question"),
    [
        ((), "1,000", "This costs $0.30 if answers have 1,000 tokens. Send 1,000 requests?"),
        (("--output-tokens", "2000"), "2,000", "This costs $0.60 if answers have 2,000 tokens. Send 1,000 requests?"),
    ],
)
def test_what_is_assumed_is_not_called_the_most(
    cli: Cli,
    service: BackgroundServer,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    tokens: str,
    question: str,
) -> None:
    """Where requests set no maximum, the plan, the question and the error say what is taken for it."""
    asked: list[str] = []

    async def confirmed(question: str) -> bool:
        asked.append(question)
        return False

    write_requests(Path("requests.jsonl"), 1_000, max_tokens=None)
    refused = cli("run", "requests.jsonl", "--confirm-above", "0.1", *options)
    assert refused.code == 2
    assert f" if answers have {tokens} tokens, which is above $0.10, and there is no terminal to ask on" in refused.err
    assert f"            assuming {tokens} for each answer of 1,000 requests without a maximum\n" in refused.err
    assert "at most" not in refused.err
    told = json.loads(cli("run", "requests.jsonl", "--dry-run", "--json", *options).out)
    assert (told["assumed_output_tokens"], told["requests_without_maximum"]) == (int(tokens.replace(",", "")), 1_000)
    monkeypatch.setattr(plan_module, "can_ask", lambda: True)
    monkeypatch.setattr(plan_module, "confirmed", confirmed)
    assert cli("run", "requests.jsonl", "--confirm-above", "0.1", *options).code == 130
    assert asked == [question]
    assert service.requests == []


def test_the_picture_knows_no_most_where_it_was_assumed() -> None:
    """Nothing that was assumed is compared with what is spent."""
    plans = [plan_of(), plan_of(requests_without_maximum=1), plan_of(media_parts=1), plan_of(cost_high=None)]
    assert [plan.cost_limit for plan in plans] == [1.0, None, None, None]


UNKNOWN = {
    "a stored prompt": (
        {"prompt": {"id": "pmpt_1"}, "max_output_tokens": 16_000},
        "tokens    about 0 in, 14,400,000 out at most\n            900 prompts or items kept at the service are not",
    ),
    "no number": (
        {"input": "hello", "max_output_tokens": "many"},
        "tokens    about 1,800 in, unknown out\n            900 requests set max_tokens, n or the like to no integer",
    ),
}


@pytest.mark.parametrize(("fields", "told"), UNKNOWN.values(), ids=UNKNOWN)
def test_a_cost_that_cannot_be_told_is_asked_about(
    cli: Cli, service: BackgroundServer, fields: dict[str, Any], told: str
) -> None:
    """Bodies that nobody foresaw are not taken for cheap: the plan says what is not known, and nothing is sent."""
    body = {"model": "gpt-4o", **fields}
    requests = [
        json.dumps({"custom_id": f"a{number}", "method": "POST", "url": "/v1/responses", "body": body})
        for number in range(900)
    ]
    write_lines(Path("requests.jsonl"), *requests)
    done = cli("run", "requests.jsonl")
    assert done.code == 2
    assert told in done.err
    assert " for the input that is counted, the most is unknown\n" in done.err
    assert "error: What this costs is not known, and there is no terminal to ask on; nothing was sent\n" in done.err
    assert service.requests == []


def test_lines_that_cannot_be_read_make_the_cost_unknown(cli: Cli, service: BackgroundServer) -> None:
    """A number of 5,000 digits is left to the service, which is no reason to say that it costs nothing."""
    text = line("a", max_tokens=1).replace('"max_tokens": 1', '"max_tokens": ' + "1" * 5_000)
    write_lines(Path("requests.jsonl"), text)
    done = cli("run", "requests.jsonl")
    assert done.code == 2
    assert "            1 line cannot be read as a request\n" in done.err
    assert "What this costs is not known" in done.err
    assert json.loads(cli("run", "requests.jsonl", "--dry-run", "--json").out)["cost_high"] is None
    assert service.requests == []


def test_numbers_as_tables_write_them_cost_what_they_are(cli: Cli) -> None:
    """``16000.0`` is 16,000."""
    costs = []
    for maximum in (16_000, 16_000.0, "16000"):
        write_requests(Path("requests.jsonl"), 900, max_tokens=maximum)  # type: ignore[arg-type]
        costs.append(json.loads(cli("run", "requests.jsonl", "--dry-run", "--json", *LOCAL).out)["cost_high"])
    assert costs[0] == costs[1] == costs[2] > 4


def test_a_price_for_some_is_a_part_of_the_cost(cli: Cli) -> None:
    """As `estimate` says it; the models without a price are named, five of them."""
    lines = [line("a", max_tokens=5), *(line(f"b{number}", model=f"m{number}", max_tokens=5) for number in range(7))]
    write_lines(Path("requests.jsonl"), *lines)
    out = cli("run", "requests.jsonl", "--dry-run", *LOCAL).out
    assert "at the service <$0.0001 for the input, as far as prices are known\n" in out
    assert out.endswith("            there is no price for 'm0', 'm1', 'm2', 'm3', 'm4' and others\n")


@pytest.mark.parametrize("fields", [{}, {"max_tokens": 9}, {"max_tokens": "x"}, {"model": "new"}])
def test_the_estimate_says_the_same(cli: Cli, fields: dict[str, Any]) -> None:
    """Both commands tell the cost of a file in the same words."""
    write_lines(Path("requests.jsonl"), line("a", **fields), line("b", max_tokens=5))
    options = ("--output-tokens", "70")
    estimated = cli("estimate", "requests.jsonl", "--approximate", *options).out
    cost = estimated.partition("In a batch: ")[2].partition("\n")[0]
    planned = cli("run", "requests.jsonl", "--dry-run", *options, *LOCAL).out
    assert f"  cost      nothing here; at the service {cost}\n" in planned


def test_json_has_the_prices_that_were_given(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as the summary, in the same currency, when the job ends and when it is looked at again."""
    ask_often(monkeypatch)
    table = {"as_of": "2026-01-01", "currency": "EUR", "models": {"gpt-4o-mini": {"input": 1, "output": 1_000_000}}}
    Path("prices.json").write_text(json.dumps(table))
    write_requests(Path("requests.jsonl"))
    options = ("requests.jsonl", "--prices", "prices.json", "--json")
    done = cli("run", *options, "--yes")
    again = cli("run", *options, "--dry-run")
    for told in (json.loads(done.out), json.loads(again.out)):
        assert told["currency"] == "EUR"
        assert f"cost      {told['cost']:,.2f} EUR\n" in done.err
    assert service.requests
