"""`estimate` says what requests will cost, and what it does not know."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from support.request_lines import line, write_lines, write_requests

from openai_batches.costs import estimate

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    Cli = Callable[..., Finished]
    Terminal = Callable[..., DrivenTerminal]

PRICES = {
    "as_of": "2026-11-01",
    "models": {"dear": {"input": 10, "output": 40}, "batch-only": {"batch_input": 1, "batch_output": 2}},
}


@pytest.fixture(autouse=True)
def no_vocabularies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts as a process does, and without tiktoken."""
    monkeypatch.setattr(estimate, "_VOCABULARIES", estimate._Vocabularies())
    monkeypatch.setitem(estimate.importlib.sys.modules, "tiktoken", None)  # type: ignore[attr-defined]


@pytest.fixture
def prices() -> Path:
    path = Path("prices.json")
    path.write_text(json.dumps(PRICES), "utf-8")
    return path


def rows(done: Finished) -> list[list[str]]:
    return [text.split() for text in done.out.split("\n\n", maxsplit=1)[0].splitlines()]


class TestTable:
    def test_tokens_and_cost_in_a_batch_and_without(self, cli: Cli, prices: Path) -> None:
        """A batch costs half; the input alone is the least, the longest answers make the most."""
        path = write_requests(Path("a.jsonl"), 1_000, model="dear", max_tokens=1_000, text="hi")
        done = cli("estimate", path, "--prices", prices)
        assert (done.code, done.err) == (0, "")
        assert rows(done) == [
            ["model", "requests", "tokens", "in", "tokens", "out", "in", "a", "batch", "without"],
            ["dear", "1,000", "8,000", "≤", "1,000,000", "≤", "$20.04", "≤", "$40.08"],
        ]
        assert "In a batch: $0.04 for the input, $20.04 at most" in done.out
        assert "Without:    $0.08 for the input, $40.08 at most" in done.out
        assert "estimated by the length of the texts. Prices: of 2026-11-01, in USD." in done.out

    def test_models_have_a_row_each_and_a_sum(self, cli: Cli, prices: Path) -> None:
        """The most requests first."""
        lines = [line("a", model="batch-only"), *(line(f"b{number}", model="dear") for number in range(2))]
        done = cli("estimate", write_lines(Path("a.jsonl"), *lines), "--prices", prices, "--output-tokens", "1000000")
        assert [row[0] for row in rows(done)] == ["model", "dear", "batch-only", "all"]
        assert rows(done)[2][-3:] == ["≤", "$2.00", "?"]
        assert "Without:    $0.00016 for the input, as far as prices are known\n" in done.out

    def test_without_a_maximum_of_output_only_the_least_is_known(self, cli: Cli, prices: Path) -> None:
        """And how to say what to take for it."""
        done = cli("estimate", write_requests(Path("a.jsonl"), 20_000, model="dear", text="hi"), "--prices", prices)
        assert rows(done)[1] == ["dear", "20,000", "160,000", "?", "≥", "$0.80", "≥", "$1.60"]
        assert "$0.80 for the input that is counted, the most is unknown" in done.out
        assert done.err == "20,000 requests set no maximum of output: --output-tokens N sets the number to assume\n"

    def test_a_model_without_a_price_costs_a_question_mark(self, cli: Cli) -> None:
        """Never 0; and it is named, with what to do."""
        lines = [line(f"r{number}", model=f"new-{number}", max_tokens=1) for number in range(7)]
        done = cli("estimate", write_lines(Path("a.jsonl"), *lines, line("x", model=None, max_tokens=1)))
        assert done.code == 0
        assert rows(done)[1] == ["new-0", "1", "8", "≤", "1", "?", "?"]
        assert (
            "warning: there is no price for 'new-0', 'new-1', 'new-2', 'new-3', 'new-4' and others: give one"
            in done.err
        )

    def test_a_request_without_a_model(self, cli: Cli) -> None:
        done = cli("estimate", write_lines(Path("a.jsonl"), line("x", model=None, max_tokens=1)))
        assert rows(done)[1][:2] == ["(no", "model)"]
        assert "there is no price for (no model)" in done.err

    def test_cents_that_are_no_cents(self, cli: Cli) -> None:
        """What is next to nothing is less than something, not 0."""
        path = write_requests(Path("a.jsonl"), 1, max_tokens=1, text="hi")
        assert rows(cli("estimate", path))[1][-2:] == ["<$0.0001", "<$0.0001"]
        assert rows(cli("estimate", write_requests(path, 1, text="hi")))[1][-4:] == [">", "$0", ">", "$0"]

    def test_other_currencies(self, cli: Cli) -> None:
        Path("p.json").write_text(json.dumps({**PRICES, "currency": "EUR"}), "utf-8")
        path = write_requests(Path("a.jsonl"), 1, model="dear", max_tokens=1_000_000, text="hi")
        assert "20.00 EUR at most" in cli("estimate", path, "--prices", "p.json").out

    def test_what_is_not_counted_is_said(self, cli: Cli) -> None:
        """Images are counted as images; a line that is no request makes the exit code 1."""
        parts = [{"type": "image_url", "image_url": {"url": "x"}}]
        path = write_lines(Path("a.jsonl"), line("a", messages=[{"role": "user", "content": parts}]), "{oops}")
        done = cli("estimate", path)
        assert done.code == 1
        assert "warning: 1 image, sound or file is not counted\n" in done.err
        assert (
            "warning: 1 line cannot be read as a request\nopenai-batches validate a.jsonl checks each line\n"
            in done.err
        )

    def test_images_are_not_among_what_it_costs_at_most(self, cli: Cli, prices: Path) -> None:
        """The sum says what it leaves out."""
        parts = [{"type": "image_url", "image_url": {"url": "x"}}]
        request = line("a", model="dear", messages=[{"role": "user", "content": parts}], max_tokens=1_000)
        done = cli("estimate", write_lines(Path("a.jsonl"), request), "--prices", prices)
        assert "In a batch: <$0.0001 for the input, $0.02 at most without media\n" in done.out

    def test_what_was_assumed_is_no_maximum(self, cli: Cli, prices: Path) -> None:
        """The sum says under which condition it holds, and nobody is told to give a number that was given."""
        path = write_requests(Path("a.jsonl"), 1_000, model="dear", text="hi")
        done = cli("estimate", path, "--prices", prices, "--output-tokens", 1_000)
        assert "In a batch: $0.04 for the input, $20.04 if answers have 1,000 tokens\n" in done.out
        assert done.err == ""
        unpriced = cli("estimate", write_requests(path, 1, model="new", text="hi"), "--output-tokens", 1)
        assert unpriced.err == "warning: there is no price for 'new': give one with --prices FILE\n"

    def test_a_maximum_that_is_no_number_is_not_called_none(self, cli: Cli, prices: Path) -> None:
        """What these answers may cost is unknown, whatever is assumed for others."""
        path = write_requests(Path("a.jsonl"), 2, model="dear", max_tokens="many", text="hi")
        for options in ((), ("--output-tokens", 5)):
            done = cli("estimate", path, "--prices", prices, *options)
            assert done.err == "warning: 2 requests set max_tokens, n or the like to no integer\n"
            assert "the most is unknown\n" in done.out

    def test_what_the_service_keeps_has_tokens_that_only_it_knows(self, cli: Cli, prices: Path) -> None:
        """The most is unknown; what is counted is a least."""
        body = {"model": "dear", "prompt": {"id": "pmpt_1"}, "max_output_tokens": 1_000}
        one = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": body}
        done = cli("estimate", write_lines(Path("a.jsonl"), json.dumps(one)), "--prices", prices)
        assert rows(done)[1] == ["dear", "1", "0", "≤", "1,000", "≥", "$0", "≥", "$0"]
        assert "In a batch: $0 for the input that is counted, the most is unknown\n" in done.out
        assert done.err == "warning: 1 prompt or item kept at the service is not counted\n"

    def test_a_number_beyond_all_measure_is_no_broken_line(self, cli: Cli) -> None:
        """Validation lets it pass, so the request is counted, and its cost is unknown."""
        text = line("a", max_tokens=1).replace('"max_tokens": 1', '"max_tokens": 1e400')
        path = write_lines(Path("a.jsonl"), text)
        assert cli("validate", path).code == 0
        done = cli("estimate", path)
        assert done.code == 0
        assert done.err == "warning: 1 request sets max_tokens, n or the like to no integer\n"

    def test_two_requests_on_a_line_are_none(self, cli: Cli) -> None:
        """Validation calls that line broken, and so it is not counted."""
        path = write_lines(Path("a.jsonl"), line("a", max_tokens=1), line("b", max_tokens=1) + line("c", max_tokens=1))
        assert cli("validate", path).code == 1
        done = cli("estimate", path)
        assert (done.code, rows(done)[1][1]) == (1, "1")
        assert "warning: 1 line cannot be read as a request\n" in done.err
        assert "In a batch: <$0.0001 for the input that is counted, the most is unknown\n" in done.out


class TestMethod:
    @pytest.fixture
    def tiktoken(self, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        """A tokenizer that knows a token for each character, and one vocabulary of two."""
        fake: Any = ModuleType("tiktoken")
        fake.encoding_name_for_model = {"gpt-4o-mini": "there", "old": "gone"}.__getitem__
        fake.encode_ordinary = list

        def load(name: str) -> ModuleType:
            if name == "gone":
                raise OSError(name)
            return fake  # type: ignore[no-any-return]

        fake.get_encoding = load
        monkeypatch.setitem(estimate.importlib.sys.modules, "tiktoken", fake)  # type: ignore[attr-defined]
        return fake  # type: ignore[no-any-return]

    @pytest.mark.usefixtures("tiktoken")
    def test_it_is_said_how_tokens_were_counted(self, cli: Cli) -> None:
        """By vocabulary, in part, or by length, which can be asked for."""
        path = write_requests(Path("a.jsonl"), 1, text="hi")
        assert "Tokens: counted with tiktoken. " in cli("estimate", path).out
        assert "Tokens: estimated by the length" in cli("estimate", path, "--approximate").out
        both = write_lines(Path("b.jsonl"), line("a"), line("b", model="old"))
        assert "counted with tiktoken for some models, estimated" in cli("estimate", both).out


class TestSources:
    def test_several_files_have_a_table_each(self, cli: Cli) -> None:
        """And a sum in the end; a file that is named twice is counted once."""
        one, two = (write_requests(Path(name), 10_000, max_tokens=1, text="hi") for name in ("one.jsonl", "two.jsonl"))
        done = cli("estimate", one, two, one)
        assert done.out.endswith(
            "All 2 files, 20,000 requests\n"
            "In a batch: $0.01 for the input, $0.02 at most\n"
            "Without:    $0.02 for the input, $0.04 at most\n"
        )
        assert [text for text in done.out.splitlines() if ".jsonl" in text] == ["one.jsonl", "two.jsonl"]
        both = cli("estimate", one, write_requests(two, 1, model="new", text="hi"))
        assert "In a batch: unknown\nWithout:    unknown\n" in both.out
        assert ", as far as prices are known\n" in both.out.partition("All 2 files")[2]

    def test_standard_input(self, cli: Cli) -> None:
        assert cli("estimate", "-", stdin=line("a", max_tokens=1).encode()).code == 0

    def test_json_is_one_document(self, cli: Cli, prices: Path) -> None:
        """Money is a number there, and what is not known is null."""
        path = write_requests(Path("a.jsonl"), 1_000, model="dear", max_tokens=1_000, text="hi")
        done = cli("estimate", path, "--prices", prices, "--json")
        (found,) = json.loads(done.out)["files"]
        assert (found["file"], found["cost_high"], found["standard_cost_high"]) == ("a.jsonl", 20.04, 40.08)
        assert found["by_model"]["dear"]["requests"] == 1_000
        (unknown,) = json.loads(cli("estimate", write_requests(path, 1, model="new", text="hi"), "--json").out)["files"]
        assert unknown["cost_low"] is None

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            ("", ""),
            ("{oops}\n", ": its only line cannot be read as one"),
            ("{oops}\n" * 3, ": none of its 3 lines can be read as one"),
        ],
    )
    def test_a_file_of_lines_that_are_no_requests_is_not_called_empty(self, cli: Cli, content: str, why: str) -> None:
        """What says why is a command line that can be pasted."""
        Path("a b.jsonl").write_text(content, "utf-8")
        message, advice = cli("estimate", "a b.jsonl").err.splitlines()
        assert message == f"error: There is no request in a b.jsonl{why}"
        assert advice == (
            "advice: openai-batches validate 'a b.jsonl' checks each line"
            if why
            else "advice: Put one on each line, as JSON"
        )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nope.jsonl"], "There is no file nope.jsonl"),
            (["empty.jsonl"], "There is no request in empty.jsonl"),
            (["-", "-"], "Standard input can be read only once"),
            (["a.jsonl", "--prices", "nope.json"], "There is no file nope.json"),
            (["a.jsonl", "--prices", "a.jsonl"], "a price table has as_of"),
            (["a.jsonl", "--output-tokens", "-1"], "--output-tokens cannot be -1"),
            (["a.jsonl", "--bogus"], "Unknown option: --bogus"),
            ([], "is missing"),
        ],
    )
    def test_what_cannot_be_used_is_2(self, cli: Cli, arguments: list[str], message: str) -> None:
        """One line of what, one of what to do; nothing on standard output."""
        write_requests(Path("a.jsonl"), 1, text="hi")
        Path("empty.jsonl").touch()
        done = cli("estimate", *arguments)
        assert (done.code, done.out) == (2, "")
        assert message in done.err.splitlines()[0]


class TestTerminal:
    @pytest.mark.parametrize("columns", [80, 160])
    def test_the_table_is_whole_at_any_width(self, terminal: Terminal, columns: int) -> None:
        """A long name of a model wraps, and no number is cut."""
        model = "ft:gpt-4o-mini-2024-07-18:my-organization::AbCdEfGh"
        lines = [line(f"r{number}", model=model, max_tokens=16_384) for number in range(2_000)]
        write_lines(Path("a.jsonl"), *lines)
        driven = terminal("estimate", "a.jsonl", "--approximate", columns=columns)
        assert driven.finish() == 0
        assert "≤ 32,768,000" in driven.screen
        assert "…" not in driven.screen
        heading, first, *_ = driven.screen.splitlines()
        assert heading.endswith("without")
        assert (model in first) is (columns == 160)
        assert b"\x1b[1m" in driven.raw

    def test_a_pipe_has_no_colours(self, cli: Cli) -> None:
        done = cli("estimate", write_lines(Path("a.jsonl"), line("a", model="\x1b[31mred")))
        assert "\x1b" not in done.out + done.err

    def test_ctrl_c(self, terminal: Terminal) -> None:
        driven = terminal("estimate", "-")
        driven.wait_for("Reading requests from the keyboard")
        driven.interrupt()
        assert driven.finish() == 130
