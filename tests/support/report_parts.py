"""Small parts of reports: a reader of pages that is strict about their form, and jobs with a past."""

from __future__ import annotations

import datetime as dt
import random
import re
from collections import Counter
from decimal import Decimal
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import attrs
from support.job_parts import attempt, batch, job_record

from openai_batches import Outcome
from openai_batches.jobs.journal.records import Attempt, Step, Tally
from openai_batches.jobs.journal.sqlite import JournalView
from openai_batches.models import TokenCounts
from openai_batches.report.figures import JobFigures, figures_of
from openai_batches.report.write import page_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from openai_batches import PriceTable

BEGUN_S = 1_774_437_191
NOW = dt.datetime.fromtimestamp(BEGUN_S + 90_000, dt.UTC)
VOID = {"br", "meta"}
MODELS = ("gpt-4o-mini", "gpt-4.1", "my-model:v2")
HOSTILE = (
    '"><script>alert(1)</script><img src=x onerror=alert(2)>',
    "</style></title></head><body onload='x'>",
    "'\" onmouseover=alert(1) style=background:url(//x)",
    "&lt;b&gt; ]]> --> <!--",
    "a\0b\x1b[2J\u202e\u2066\ud800\uffff\n",
)
# Every element that a report is made of: none of them loads, runs or sends anything.
_NAMES = (
    "html head meta title style body header main footer section h1 h2 h3 p span div small b br dl dt dd ul ol li "
    "figure figcaption table thead tbody tfoot tr th td time svg desc path"
)
ELEMENTS = set(_NAMES.split())
_ATTRIBUTE_NAMES = (
    "lang charset http-equiv content name class style id role tabindex scope colspan datetime d viewbox "
    "preserveaspectratio aria-label aria-labelledby aria-hidden"
)
ATTRIBUTES = set(_ATTRIBUTE_NAMES.split())
OUTCOMES = {outcome.value for outcome in Outcome}


@attrs.define(eq=False)
class Element:
    """An element of a page, with the elements and texts in it."""

    name: str
    attributes: dict[str, str]
    inside: list[Element | str] = attrs.field(factory=list)

    def walk(self) -> Iterator[Element]:
        yield self
        for part in self.inside:
            if isinstance(part, Element):
                yield from part.walk()

    def all(self, name: str | None = None, **attributes: str | None) -> list[Element]:
        """All elements within, of a name and with these attributes; None: whatever the value is."""
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [
            element
            for element in self.walk()
            if name in {None, element.name}
            and all(
                key in element.attributes and value in {None, element.attributes[key]} for key, value in wanted.items()
            )
        ]

    def one(self, name: str | None = None, **attributes: str | None) -> Element:
        (found,) = self.all(name, **attributes)
        return found

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.inside)

    @property
    def value(self) -> str:
        return self.attributes["data-value"]

    @property
    def numbers(self) -> dict[str, int]:
        """The counts in the cells of a row, each shown as it is meant."""
        cells = [cell for cell in self.all("td", data_name=None, data_value=None) if cell.value.isdigit()]
        for cell in cells:
            assert cell.text.replace(",", "") == cell.value
        return {cell.attributes["data-name"]: int(cell.value) for cell in cells}


class _Reader(HTMLParser):
    """Builds the tree of a page in which every element is closed where it has to be."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("document", {})
        self.open = [self.root]
        self.declarations: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} is there twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data.replace("\n", " "))

    def handle_decl(self, decl: str) -> None:
        self.declarations.append(decl)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


def read_page(text: str) -> Element:
    """The tree of a page; whatever is not as it should be in its form is an AssertionError."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == [reader.root]
    assert reader.declarations == ["DOCTYPE html"]
    return reader.root


def view_of(attempts: Sequence[Attempt], *, is_finished: bool = True, is_cancelled: bool = False, **job: Any) -> Any:
    firsts = sum(one.requests for one in attempts if one.number == 1)
    return JournalView(
        job=job_record(**{"requests": firsts, **job}),
        attempts=tuple(attempts),
        is_cancelled=is_cancelled,
        is_finished=is_finished,
    )


def shown(view: JournalView, prices: PriceTable | None = None) -> tuple[JobFigures, Element]:
    """The figures of a job, and its page."""
    figures = figures_of(view, NOW, prices)
    return figures, read_page(page_of(figures))


def ended_batch(shard: int, number: int, dice: random.Random) -> tuple[str, Any]:
    """A batch that came to some end, and how."""
    created_s = BEGUN_S + dice.randint(0, 40_000)
    ran_s = created_s + dice.randint(5, 900)
    ended_s = ran_s + dice.randint(60, 30_000)
    status = dice.choices(("completed", "expired", "failed", "cancelled"), (85, 8, 4, 3))[0]
    times: dict[str, Any] = {"created_at": created_s, "in_progress_at": ran_s, f"{status}_at": ended_s}
    if status == "completed":
        times["finalizing_at"] = ended_s - 30
    if status == "cancelled":
        times["cancelling_at"] = ended_s - 30
    if status == "failed":
        del times["in_progress_at"]
        times["errors"] = {"object": "list", "data": [{"code": "invalid_json_line", "message": "no JSON", "line": 7}]}
    return status, batch(f"batch_{shard}_{number}_{dice.getrandbits(64):016x}", status, **times)


def past_attempts(shards: int, *, seed: int = 1, left_open: int = 0) -> list[Attempt]:
    """The attempts of a job, with some of everything that happens; the last shards are not done yet."""
    dice = random.Random(seed)
    attempts: list[Attempt] = []
    for shard in range(1, shards + 1):
        model = dice.choice(MODELS)
        left, number = dice.randint(1, 50), 1
        if shard > shards - left_open:
            open_batch = batch(f"batch_{shard}", created_at=BEGUN_S + 50_000, in_progress_at=BEGUN_S + 50_100)
            attempts.append(attempt(shard, requests=left, model=model, step=Step.CREATED, batch=open_batch))
            continue
        while left:
            status, ended = ended_batch(shard, number, dice)
            succeeded = dice.randint(0, left) if status != "failed" else 0
            resent = left - succeeded if status == "expired" and number < 3 else 0
            rest = left - succeeded - resent
            word = {"completed": dice.choice(("failed", "invalid", "missing"))}.get(status, status)
            outcomes = {name: count for name, count in (("succeeded", succeeded), (word, rest)) if count}
            tally = Tally(
                outcomes=outcomes,
                resent=resent,
                error_codes={dice.choice(("", "bad", "content_filter")): rest} if rest else {},
                tokens={model: TokenCounts(succeeded * 70, succeeded * 21, succeeded * 30, succeeded * 9)}
                if succeeded
                else {},
                doubled=dice.randint(0, 1),
                foreign=dice.randint(0, 1),
            )
            attempts.append(
                attempt(
                    shard,
                    number,
                    requests=left,
                    model=model,
                    step=Step.VERIFIED,
                    batch=ended,
                    tally=tally,
                    refusals=dice.randint(0, 1),
                )
            )
            left, number = resent, number + 1
    return attempts


def figure(page: Element, name: str) -> str:
    return page.one("dd", data_figure=name).value


def rows(page: Element, kind: str) -> dict[str, int]:
    return {row.attributes["data-name"]: row.numbers["count"] for row in page.all("tr", data_kind=kind)}


def check_numbers(figures: JobFigures, page: Element) -> None:
    """Everything that the page counts is what the ledger counts, in every place where it is told."""
    ledger, bill = figures.ledger, figures.bill
    assert int(figure(page, "inputs")) == ledger.inputs
    assert int(figure(page, "succeeded")) == ledger.succeeded
    assert int(figure(page, "unsuccessful")) == ledger.inputs - ledger.succeeded - ledger.unfinished
    assert int(figure(page, "tokens")) == ledger.usage.total_tokens
    assert int(figure(page, "batches")) == sum(len(shard.batch_ids) for shard in ledger.shards)
    assert bool(page.all("dd", data_figure="unfinished")) == (ledger.unfinished > 0)
    there = {outcome.value: count for outcome, count in ledger.outcomes.items() if count}
    assert {name: count for name, count in rows(page, "outcome").items() if count} == {
        **there,
        **({"unfinished": ledger.unfinished} if ledger.unfinished else {}),
    }
    assert rows(page, "error") == {code or "no code": count for code, count in ledger.error_codes.items()}
    assert page.one(id="balance").attributes["data-balances"] == "true"
    for shard, row in zip(ledger.shards, page.all("tr", data_shard=None), strict=True):
        numbers = row.numbers
        assert int(row.attributes["data-shard"]) == shard.shard
        assert numbers["inputs"] == shard.inputs == sum(shard.outcomes.values()) + shard.unfinished
        assert (numbers["unfinished"], numbers["attempts"]) == (shard.unfinished, shard.attempts)
        assert {name: count for name, count in numbers.items() if count and name in OUTCOMES} == shard.outcomes
        words = [row.one("td", data_name=name).text for name in ("step", "model", "endpoint", "batches")]
        assert words == [shard.step.value, shard.model or "not known", shard.endpoint, "".join(shard.batch_ids)]
    total = page.one("tr", id="all-shards").numbers
    assert total["inputs"] == ledger.inputs
    assert {name: count for name, count in total.items() if count and name in OUTCOMES} == there
    for model, one in bill.by_model.items():
        row = page.one("tr", data_model=model or "not named")
        assert row.numbers == {
            "input": one.usage.input_tokens,
            "cached": one.usage.input_tokens_details.cached_tokens,
            "output": one.usage.output_tokens,
            "reasoning": one.usage.output_tokens_details.reasoning_tokens,
            **({"cost": int(one.cost)} if one.cost is not None and str(one.cost).isdigit() else {}),
        }
        assert row.one("td", data_name="cost").value == ("" if one.cost is None else str(one.cost))
    if bill.cost is not None and bill.by_model:
        assert Decimal(figure(page, "cost")) == bill.cost


def check_form(page: Element) -> None:
    """The page is one document that needs nothing, and that a screen reader finds its way through."""
    elements = list(page.walk())[1:]
    assert {element.name for element in elements} <= ELEMENTS
    assert {name for element in elements for name in element.attributes if not name.startswith("data-")} <= ATTRIBUTES
    ids = Counter(element.attributes["id"] for element in elements if "id" in element.attributes)
    assert set(ids.values()) == {1}
    labels = {
        name for element in page.all(aria_labelledby=None) for name in element.attributes["aria-labelledby"].split()
    }
    assert labels <= set(ids)
    assert [len(page.all(name)) for name in ("h1", "title", "main", "style")] == [
        1,
        1 + len(page.all("svg")),
        1,
        1,
    ]
    assert page.one("html").attributes == {"lang": "en"}
    assert all(head.attributes["scope"] in {"col", "row"} for head in page.all("th"))
    assert all(element.attributes.get("aria-label", "x") for element in page.all(role="img"))
    for table in page.all("table"):
        widths = {sum(int(cell.attributes.get("colspan", "1")) for cell in row.inside) for row in table.all("tr")}  # type: ignore[union-attr]
        assert len(widths) == 1
    styles = page.one("style").text + "".join(element.attributes.get("style", "") for element in elements)
    assert not re.search(r"url\(|@import|expression|javascript|//", styles)
