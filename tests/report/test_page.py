"""The page of a job's report says what the ledger and the bill say, to whoever reads it, whatever anybody wrote."""

from __future__ import annotations

import datetime as dt
import re
import statistics
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given, settings, strategies as st
from support.job_parts import attempt, batch
from support.report_parts import (
    BEGUN_S,
    HOSTILE,
    MODELS,
    NOW,
    Element,
    check_form,
    check_numbers,
    figure,
    past_attempts,
    read_page,
    rows,
    shown,
    view_of,
)

from openai_batches import PRICES, Outcome, PriceTable
from openai_batches.jobs.journal.records import Tally
from openai_batches.models import TokenCounts
from openai_batches.report.figures import figures_of
from openai_batches.report.write import page_of


def test_a_page_says_what_it_is_of_and_loads_nothing() -> None:
    """The policy stands before anything that it could be asked about, and allows the style in the page alone."""
    _, page = shown(view_of(past_attempts(3), source="/data/monday/requests.jsonl"))
    check_form(page)
    head = page.one("head")
    assert [part.attributes for part in head.inside[:3] if isinstance(part, Element)] == [
        {"charset": "utf-8"},
        {
            "http-equiv": "Content-Security-Policy",
            "content": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
        },
        {"name": "viewport", "content": "width=device-width, initial-scale=1"},
    ]
    assert page.one("h1").text == "requests.jsonl"
    assert "/data/monday/requests.jsonl" in page.one("header").text
    assert "https://api.openai.com/v1" in page.one("header").text
    assert page.one("header").all("time")[0].attributes["datetime"] == "2026-03-25T11:13:11+00:00"
    assert page.one(id="made").one("time").attributes["datetime"] == NOW.isoformat()


@given(shards=st.integers(1, 12), seed=st.integers(0, 10**6), left_open=st.integers(0, 3), is_finished=st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_number_is_that_of_the_ledger_and_the_bill(
    shards: int, seed: int, left_open: int, is_finished: bool
) -> None:
    attempts = past_attempts(shards, seed=seed, left_open=left_open)
    figures, page = shown(view_of(attempts, is_finished=is_finished))
    check_form(page)
    check_numbers(figures, page)
    assert len(page.all("li", data_attempt=None)) == min(len(attempts), 60)
    objections = [one for one in attempts if one.batch is not None and one.batch.errors]
    assert len(page.all("tr", data_objection=None)) == len(objections)


class TestStates:
    @pytest.mark.parametrize(
        ("marks", "left_open", "state", "sentence"),
        [
            ({"is_finished": True}, 0, "finished", "Every request has its outcome, and nothing is left to do."),
            ({"is_finished": False}, 1, "unfinished", "have no outcome yet. If the job is not running, run it again"),
            ({"is_finished": False}, 0, "unfinished", "what is left is to clear away the input files"),
            ({"is_finished": True, "is_cancelled": True}, 0, "cancelled", "had finished by then is collected"),
            ({"is_finished": False, "is_cancelled": True}, 1, "cancelled", "not all of its batches are collected yet"),
        ],
    )
    def test_where_a_job_stands_is_told_in_a_word_and_a_sentence(
        self, marks: dict[str, bool], left_open: int, state: str, sentence: str
    ) -> None:
        _, page = shown(view_of(past_attempts(4, left_open=left_open), **marks))
        assert page.one(id="state").attributes["data-state"] == state
        assert page.one(id="state").text == state.capitalize()
        assert sentence in page.one("header").text

    def test_one_request_that_is_left_is_one(self) -> None:
        _, page = shown(view_of([attempt(requests=1)], is_finished=False))
        assert "1 request of 1 has no outcome yet." in page.one("header").text

    def test_a_job_takes_until_its_last_batch_has_ended_or_until_now(self) -> None:
        done = attempt(batch=batch(status="completed", completed_at=BEGUN_S + 3_600), tally=Tally(outcomes={}))
        assert figure(shown(view_of([done], created_s=BEGUN_S))[1], "elapsed_s") == "3600"
        assert figure(shown(view_of([done], created_s=BEGUN_S, is_finished=False))[1], "elapsed_s") == "90000"
        assert figure(shown(view_of([done], created_s=BEGUN_S + 9_999))[1], "elapsed_s") == "0"
        untold = attrs.evolve(done, batch=batch(status="completed"))
        _, page = shown(view_of([untold], created_s=BEGUN_S))
        assert figure(page, "elapsed_s") == "0"
        assert "not known" in page.one("header").text

    def test_a_job_that_has_sent_nothing_has_a_page_all_the_same(self) -> None:
        _, page = shown(view_of([attempt(1), attempt(2)], is_finished=False, source=None, options={}))
        check_form(page)
        assert page.one("h1").text == "Requests from memory"
        assert "No batch was created yet." in page.one("section", id="times").text
        assert "how many tokens" in page.one("section", id="tokens").text
        assert "No batch says yet" in page.one("section", id="queue").text
        assert page.one("dd", data_figure="cost").text == "not knownno answer is counted yet"
        assert page.all("section", id="objections") == []
        assert "Completion window" not in page.one("header").text

    def test_a_job_of_adopted_batches_and_one_without_any(self) -> None:
        _, page = shown(view_of([], source=None))
        check_form(page)
        assert page.one("h1").text == "Adopted batches"
        assert page.one(class_="stack").attributes["aria-label"] == "no requests"


class TestMoney:
    def test_what_has_no_price_is_named_and_not_in_the_sum(self) -> None:
        """A sum that leaves something out says so, how much it is, and is never called the cost."""
        done = attempt(
            requests=2,
            tally=Tally(
                outcomes={"succeeded": 2}, tokens={"gpt-4o": TokenCounts(10**6, 0, 0, 0), "x": TokenCounts(5, 6, 0, 0)}
            ),
        )
        figures, page = shown(view_of([done]))
        check_numbers(figures, page)
        assert figures.bill.cost is None
        assert page.one("dd", data_figure="cost").text == "$1.25and 1 model without a price"
        total = page.one("tr", id="all-models").one("td", data_name="cost")
        assert Decimal(figure(page, "cost")) == Decimal(total.value) == Decimal("1.25")
        assert total.text == "$1.25 + unpriced"
        assert page.one("tr", data_model="x").one("td", data_name="cost").text == "unpriced"
        assert "none for 1 model, marked unpriced: 11 tokens of 1,000,011" in page.one("section", id="tokens").text

    def test_prices_may_be_the_users_own(self) -> None:
        done = attempt(
            requests=1,
            tally=Tally(outcomes={"succeeded": 1}, tokens={"": TokenCounts(), "x": TokenCounts(10**6, 10**6, 0, 0)}),
        )
        prices = PriceTable.from_mapping(
            {"as_of": "2027-01-02", "currency": "EUR", "models": {"x": {"input": 2, "output": 4}}}
        )
        figures, page = shown(view_of([done]), prices)
        check_numbers(figures, page)
        assert page.one("tr", data_model="x").one("td", data_name="cost").text == "3.00 EUR"
        assert "prices of 2027-01-02" in page.one("section", id="tokens").text
        assert page.one("tr", data_model="not named").one("td", data_name="cost").text == "unpriced"

    def test_answers_that_say_no_tokens_cost_nobody_knows_what(self) -> None:
        done = attempt(requests=1, tally=Tally(outcomes={"succeeded": 1}))
        _, page = shown(view_of([done]))
        assert page.one("dd", data_figure="cost").text == "not knownno answer says its tokens"

    def test_of_very_many_models_the_dearest_have_a_row(self) -> None:
        prices = PRICES.with_models({f"m{number}": {"input": number + 1} for number in range(50)})
        tokens = {f"m{number}": [10**6, 0, 0, 0] for number in range(50)}
        done = attempt(requests=1, tally=Tally(outcomes={"succeeded": 1}, tokens=tokens))
        figures, page = shown(view_of([done]), prices)
        named = [row.attributes["data-model"] for row in page.all("tr", data_model=None)]
        assert named == [f"m{number}" for number in range(49, 9, -1)]
        assert "10 other models, in the sum alone" in page.one("section", id="tokens").text
        assert page.one("tr", id="all-models").one("td", data_name="cost").value == str(figures.bill.cost)
        check_form(page)


def test_of_very_many_codes_the_most_frequent_have_a_row() -> None:
    codes = {f"code_{number}": number + 1 for number in range(30)}
    done = attempt(
        requests=sum(codes.values()), tally=Tally(outcomes={"failed": sum(codes.values())}, error_codes=codes)
    )
    _, page = shown(view_of([done]))
    found = rows(page, "error")
    assert list(found) == [*(f"code_{number}" for number in range(29, 9, -1)), "10 other codes"]
    assert sum(found.values()) == sum(codes.values())


class TestTimes:
    def test_a_batch_is_a_line_of_its_states(self) -> None:
        life = batch(
            status="completed",
            in_progress_at=1_774_437_191 + 100,
            finalizing_at=1_774_437_191 + 900,
            completed_at=1_774_437_191 + 1_000,
        )
        _, page = shown(view_of([attempt(3, 2, batch=life)]))
        row = page.one("li", data_shard="3", data_attempt="2", data_state="completed")
        assert row.text == "Shard 3, attempt 2completed, 16 min 40 s"
        line = row.one("span", class_="line")
        assert (
            line.attributes["aria-label"]
            == "validating 1 min 40 s, in progress 13 min 20 s, finalizing 1 min 40 s, completed"
        )
        assert [(part.attributes["class"], part.attributes["style"]) for part in line.all("span")[1:]] == [
            ("c-validating", "left:0.000%;width:10.000%"),
            ("c-in_progress", "left:10.000%;width:80.000%"),
            ("c-finalizing", "left:90.000%;width:10.000%"),
            ("end e-completed", "left:100.000%"),
        ]
        # One batch alone needs no drawing of how many there were at once.
        assert page.all("svg") == []
        assert [tick.text for tick in page.one(class_="axis").all("span")] == ["0", "5 min", "10 min", "15 min"]

    def test_open_batches_are_an_area_over_time(self) -> None:
        lives = [
            batch(f"b{number}", "completed", in_progress_at=BEGUN_S + 1, completed_at=BEGUN_S + 1_000)
            for number in range(3)
        ]
        late = batch("late", "completed", created_at=BEGUN_S + 1_000, completed_at=BEGUN_S + 2_000)
        attempts = [attempt(number + 1, batch=life) for number, life in enumerate([*lives, late])]
        _, page = shown(view_of(attempts))
        drawing = page.one("svg")
        assert drawing.one("title").text == "Open batches over time"
        assert drawing.one("desc").text.endswith("by state, in 33 min 20 s: up to 3 batches at once.")
        paths = {path.attributes["class"]: path.attributes["d"] for path in drawing.all("path")}
        assert set(paths) == {"c-validating", "c-in_progress"}
        assert all(re.fullmatch(r"M[-\d. ]+(L[-\d. e]+)+Z", path) for path in paths.values())

    def test_a_state_nobody_knows_is_drawn_as_another_one(self) -> None:
        odd = [attempt(shard, batch=batch(f"b{shard}", "on_a_break")) for shard in (1, 2)]
        _, page = shown(view_of(odd))
        assert "other" in page.one("section", id="times").one("ul", class_="legend").text
        assert page.one("li", data_shard="1").one(class_="c-other")
        assert page.one("path", class_="c-other")
        assert "on a break" in page.one("li", data_shard="1").text

    def test_batches_that_lived_for_no_time_at_all(self) -> None:
        at_once = [attempt(shard, batch=batch(f"b{shard}", "failed", failed_at=1_774_437_191)) for shard in (1, 2)]
        _, page = shown(view_of(at_once))
        check_form(page)
        assert page.one("desc").text.endswith("up to 1 batch at once.")

    def test_only_batches_that_have_ended_leave_no_area(self) -> None:
        ended = [
            attempt(shard, batch=batch(f"b{shard}", "completed", created_at=None, completed_at=BEGUN_S))
            for shard in (1, 2)
        ]
        _, page = shown(view_of(ended))
        assert page.all("path") == []
        check_form(page)

    def test_what_has_no_time_is_said_not_to_be_drawn(self) -> None:
        untimed = batch("b2", "completed", created_at=None)
        attempts = [attempt(1, batch=batch("b1")), attempt(2, batch=untimed), attempt(3)]
        _, page = shown(view_of(attempts))
        assert "2 attempts have no batch with a time yet" in page.one("section", id="times").text
        _, page = shown(view_of(attempts[:2]))
        assert "1 attempt has no batch with a time yet" in page.one("section", id="times").text


class TestWords:
    def test_the_cost_stands_beside_the_model(self) -> None:
        """On a narrow screen each number has its name beside it, and none is out of sight."""
        _, page = shown(view_of(past_attempts(2, seed=1)))
        cells = page.one("tr", id="all-models").all("td")
        assert [cell.attributes["data-label"] for cell in cells] == [
            "Cost",
            "Input",
            "of it cached",
            "Output",
            "of it reasoning",
        ]
        heads = page.one("section", id="tokens").one("thead").all("th")
        assert [head.text for head in heads][1:] == [cell.attributes["data-label"] for cell in cells]
        spread = page.all("tr", data_spread=None)[0]
        heads = page.one("section", id="queue").one("thead").all("th")
        assert [head.text for head in heads][1:] == [cell.attributes["data-label"] for cell in spread.all("td")]

    def test_a_shard_is_called_so_everywhere_and_explained_where_it_is_counted(self) -> None:
        _, page = shown(view_of(past_attempts(3, seed=1)))
        assert not re.search(r"\bparts?\b", page.one("body").text.lower())
        assert "A shard is one batch's worth of requests." in page.one("section", id="ledger").text


class TestQueue:
    def test_how_long_batches_waited_is_counted_over_all_that_say_so(self) -> None:
        waits = (5, 7, 7, 30, 31, 32, 33, 34, 200, 9_000)
        lives = [
            batch(
                f"b{place}", "completed", in_progress_at=1_774_437_191 + wait, completed_at=1_774_437_191 + wait + 600
            )
            for place, wait in enumerate(waits)
        ]
        lives += [batch("odd", "completed", created_at=None), batch("running", in_progress_at=1_774_437_191 - 5)]
        _, page = shown(view_of([attempt(shard, batch=life) for shard, life in enumerate(lives, 1)]))
        told = {
            row.attributes["data-spread"]: [cell.value for cell in row.all("td", data_value=None)]
            for row in page.all("tr", data_spread=None)
        }
        # The one that runs began to before it was made, which is at once.
        waited = sorted((0, *waits))
        assert told["waiting"] == ["11", "0", f"{statistics.median(waited):g}", "200", "9000"]
        assert told["running"] == ["10", "600", "600", "600", "600"]
        assert told["whole"] == ["10", "605", "631.5", "800", "9600"]
        drawings = page.all("figure", class_="histogram")
        assert [
            sum(int(one.attributes["data-count"]) for one in drawing.all(data_count=None)) for drawing in drawings
        ] == [
            11,
            10,
        ]
        assert "0 s to " in drawings[0].one(role="img").attributes["aria-label"]

    def test_batches_that_run_have_only_waited(self) -> None:
        running = batch("b", in_progress_at=1_774_437_191 + 60)
        _, page = shown(view_of([attempt(batch=running)], is_finished=False))
        assert [row.attributes["data-spread"] for row in page.all("tr", data_spread=None)] == ["waiting"]
        assert page.all("figure", class_="histogram") == []

    @pytest.mark.parametrize(("batches", "drawings"), [(4, 0), (5, 2)])
    def test_a_few_batches_are_told_in_a_table_and_not_drawn(self, batches: int, drawings: int) -> None:
        """One batch alone would be one block as large as the page."""
        lives = [
            batch(f"b{place}", "completed", in_progress_at=1_774_437_191 + place, completed_at=1_774_437_191 + 600)
            for place in range(batches)
        ]
        _, page = shown(view_of([attempt(shard, batch=life) for shard, life in enumerate(lives, 1)]))
        assert len(page.all("figure", class_="histogram")) == drawings
        assert len(page.all("div", class_="pair")) == (1 if drawings else 0)
        assert page.one("tr", data_spread="whole").one("td", data_name="count").value == str(batches)


class TestMany:
    def test_thousands_of_shards_stay_readable_and_nothing_is_left_out_of_the_sums(self) -> None:
        """Shards that did not go smoothly have their row, the rest is one; the longest batches have their line."""
        smooth = [
            attempt(
                shard,
                requests=10,
                batch=batch(
                    f"batch_{shard:032d}",
                    "completed",
                    in_progress_at=BEGUN_S + shard,
                    completed_at=BEGUN_S + 900 + shard,
                ),
                tally=Tally(outcomes={"succeeded": 10}, tokens={"gpt-4o": TokenCounts(9, 9, 0, 0)}),
            )
            for shard in range(201, 2_001)
        ]
        attempts = [*past_attempts(200), *smooth]
        figures, _ = shown(view_of(attempts))
        text = page_of(figures)
        page = read_page(text)
        assert len(text.encode()) < 2_000_000
        check_form(page)
        own = page.all("tr", data_shard=None)
        assert len(own) == 1_000
        numbers = [int(row.attributes["data-shard"]) for row in own]
        assert numbers == sorted(numbers)
        troubled = {
            shard.shard
            for shard in figures.ledger.shards
            if shard.attempts > 1 or set(shard.outcomes) != {Outcome.SUCCEEDED}
        }
        assert troubled <= set(numbers)
        others, total = page.one("tr", id="others").numbers, page.one("tr", id="all-shards").numbers
        assert total["inputs"] == figures.ledger.inputs
        assert {name: others[name] + sum(row.numbers[name] for row in own) for name in total} == total
        assert "1,000 of 2,000 shards have a row of their own" in page.one("section", id="ledger").text
        note = page.one("p", data_drawn="60")
        assert note.attributes["data-batches"] == str(len(attempts))
        assert f"the 60 batches that took longest of {len(attempts):,}" in note.text
        drawn = page.all("li", data_attempt=None)
        assert len(drawn) == 60
        longest = sorted(figures.lines, key=lambda line: -line.seconds)[:60]
        assert {(row.attributes["data-shard"], row.attributes["data-attempt"]) for row in drawn} == {
            (str(line.shard), str(line.number)) for line in longest
        }

    def test_of_very_many_objections_the_first_are_shown(self) -> None:
        errors = {"object": "list", "data": [{"message": f"no. {line}", "line": line} for line in range(1, 100)]}
        failed = batch("b", "failed", failed_at=BEGUN_S, errors=errors)
        _, page = shown(view_of([attempt(batch=failed)]))
        assert len(page.all("tr", data_objection=None)) == 50
        section = page.one("section", id="objections").text
        assert "These are the first 50 of 99." in section
        assert "line 50: no. 50" in section
        assert "no code" in section
        check_form(page)

    def test_what_was_left_out_or_refused_is_told(self) -> None:
        tally = Tally(outcomes={"succeeded": 3}, doubled=2, foreign=1)
        _, page = shown(view_of([attempt(tally=tally, refusals=4)]))
        section = page.one("section", id="ledger").text
        assert "because their request has another one: 2 lines of result files." in section
        assert "because they belong to no request: 1 line of result files." in section
        assert "The service had no room 4 times" in section


class TestHostility:
    @staticmethod
    def _view(text: str) -> Any:
        """A job in which everything that comes from outside is this text."""
        errors = {"object": "list", "data": [{"code": "c", "message": "m", "line": 1}]}
        odd = attrs.evolve(batch("b", "failed", failed_at=BEGUN_S, errors=errors), id=text, endpoint=text, model=text)
        assert odd.errors is not None
        assert odd.errors.data is not None
        odd = attrs.evolve(
            odd,
            errors=attrs.evolve(
                odd.errors, data=tuple(attrs.evolve(one, code=text, message=text) for one in odd.errors.data)
            ),
        )
        tally = Tally(
            outcomes={"succeeded": 1, "failed": 2}, error_codes={text: 2}, tokens={text: TokenCounts(1, 2, 0, 0)}
        )
        running = attrs.evolve(batch("b2"), status=type(batch().status)(text))
        return view_of(
            [attempt(1, batch=odd, model=text, endpoint=text, tally=tally), attempt(2, batch=running)],
            source=f"/data/{text.replace('/', '')}",
            base_url=text,
            job_id=text,
            options={"completion_window": text},
        )

    @pytest.mark.parametrize("text", HOSTILE)
    def test_what_anybody_wrote_is_text_and_nothing_else(self, text: str) -> None:
        prices = PriceTable(as_of=dt.date(2026, 1, 1), models={}, currency=text)
        figures = figures_of(self._view(text), NOW, prices)
        written = page_of(figures)
        page = read_page(written)
        check_form(page)
        assert len(page.all("style")) == 1
        assert [letter for letter in written.encode().decode() if not letter.isprintable() and letter != "\n"] == []
        if text.isprintable():
            cells = [cell.text for cell in page.all("td")]
            assert cells.count(text) >= 5
            assert page.one("tr", data_model=text).one("th").text == text
            assert text in page.one("header").text
        else:
            assert "a\\x00b\\x1b[2J\\u202e\\u2066\\ud800\\uffff\\n" in page.one("header").text

    @given(text=st.text(st.characters(), max_size=40))
    @settings(max_examples=40, deadline=None)
    def test_any_text_stays_one_text_in_a_cell_and_in_an_attribute(self, text: str) -> None:
        """The name of a model is in a cell and in an attribute of its row."""
        _, page = shown(self._view(f"x{text}"))
        check_form(page)
        row = page.all("tr", data_model=None)[0]
        head = row.one("th")
        assert [element.name for element in head.walk() if element.attributes.get("aria-hidden") != "true"] == [
            "th",
            *["span"] * len(head.all("span")),
        ]
        assert head.text == row.attributes["data-model"]
        assert all(letter.isprintable() or letter.isspace() for letter in head.text)
        if text.isprintable():
            assert head.text == f"x{text}"

    def test_letters_that_show_nothing_or_turn_the_text_around_are_written_out(self) -> None:
        """A right-to-left mark in an id could make one batch look like another; a NUL is no HTML at all."""
        _, page = shown(self._view("a\0\x1b[31m\u202eb\n\ud800 \xfc \u6f22\xa0\u5b57"))
        named = page.all("tr", data_model=None)[0].attributes["data-model"]
        assert named == "a\\x00\\x1b[31m\\u202eb\\n\\ud800 \xfc \u6f22\xa0\u5b57"
        assert named in {cell.text for cell in page.all("td", class_="id")}

    def test_texts_without_end_are_cut(self) -> None:
        """A text that is too long ends in three dots, and one that just fits does not."""
        assert len(page_of(figures_of(self._view("<" * 100_000), NOW))) < 100_000
        for length, shown_text in ((120, "a" * 120), (121, f"{'a' * 119}\u2026")):
            _, page = shown(self._view("a" * length))
            assert page.all("tr", data_model=None)[0].attributes["data-model"] == shown_text

    def test_a_source_without_a_name_has_its_path(self) -> None:
        _, page = shown(view_of(past_attempts(1), source="/"))
        assert page.one("h1").text == "/"


def test_the_models_of_these_jobs_are_partly_priced() -> None:
    """Else half of what is checked here would be checked for nothing."""
    assert {PRICES.find(model) is None for model in MODELS} == {True, False}
