"""`validate` says what the service would refuse, as compilers say what they refuse."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from support.request_lines import line, write_lines, write_requests

from openai_batches import AZURE, OPENAI, SILICONFLOW
from openai_batches.cli.options import sources
from openai_batches.cli.options.selection import endpoint_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches import Provider

    Cli = Callable[..., Finished]
    Terminal = Callable[..., DrivenTerminal]


@pytest.fixture
def bad() -> Path:
    """A file with one problem of each kind that matters here, and lines that only need to be tidied."""
    path = Path("bad.jsonl")
    path.write_text(
        f"{line('a')}\r\n\n{line('a')}\n{{oops}}\n{line('b', stream=True)}\n{line('c', model=None)}\n", "utf-8"
    )
    return path


class TestVerdict:
    def test_a_good_file_is_0_and_one_line_of_what_is_in_it(self, cli: Cli) -> None:
        """Requests, size, models and endpoints, on standard output; nothing else anywhere."""
        path = write_requests(Path("good.jsonl"), 1_000)
        done = cli("validate", path)
        assert (done.code, done.err) == (0, "")
        size = f"{path.stat().st_size / 1_000:.0f} kB"
        assert done.out == f"good.jsonl: no problems in 1,000 requests, {size}, gpt-4o-mini, /v1/chat/completions\n"

    def test_problems_are_1_and_a_line_each_with_the_place(self, cli: Cli, bad: Path) -> None:
        """File, line, column where there is one, field where there is one: editors and terminals find the place."""
        done = cli("validate", bad)
        assert done.code == 1
        starts = ("3: custom_id: ", "4:2: ", "5: body.stream: ", "6: body.model: ", " 4 problems in 5 requests, ")
        texts = done.out.splitlines()
        assert all(text.startswith(f"bad.jsonl:{start}") for text, start in zip(texts, starts, strict=True))

    def test_what_is_tidied_by_the_way_is_no_problem(self, cli: Cli, bad: Path) -> None:
        """Blank lines and line ends of Windows are told of, on standard error."""
        done = cli("validate", bad)
        assert "1 line end as on Windows, from line 1 on: no problem" in done.err
        assert "1 blank line, from line 2 on: no problem" in done.err

    def test_no_more_problems_than_wanted_are_shown_and_the_others_counted(self, cli: Cli, bad: Path) -> None:
        """A file of a million wrong lines does not scroll its own summary away."""
        done = cli("validate", bad, "--max-problems", "1")
        shown, more, summary = done.out.splitlines()
        assert shown.startswith("bad.jsonl:3: ")
        assert more == "and 3 more problems: --max-problems shows more"
        assert "4 problems" in summary

    def test_several_files_have_a_verdict_each(self, cli: Cli, bad: Path) -> None:
        """One that is wrong makes the exit code; ids are compared within a file alone, and a file is read once."""
        good = write_lines(Path("good.jsonl"), line("a"))
        done = cli("validate", good, bad, good)
        assert done.code == 1
        assert [text for text in done.out.splitlines() if "requests, " in text or "1 request, " in text] == [
            done.out.splitlines()[0],
            done.out.splitlines()[-1],
        ]

    def test_an_empty_file_is_a_problem(self, cli: Cli) -> None:
        """The service would fail the batch after minutes."""
        Path("empty.jsonl").touch()
        done = cli("validate", "empty.jsonl")
        problem, summary = done.out.splitlines()
        assert problem.startswith("empty.jsonl: The input file is empty.")
        assert (done.code, summary) == (1, "empty.jsonl: 1 problem in 0 requests, 0 B")

    def test_the_size_of_a_file_with_problems_is_its_own(self, cli: Cli) -> None:
        """And not that of what is good in it; of what has none, none is told."""
        Path("bad.jsonl").write_text("{oops}\n" * 3, "utf-8")
        assert cli("validate", "bad.jsonl").out.splitlines()[-1].endswith("3 problems in 3 requests, 21 B")
        assert cli("validate", "-", stdin=b"{oops}\n").out.splitlines()[-1].endswith("1 problem in 1 request")

    def test_a_name_stays_on_one_line(self, cli: Cli) -> None:
        Path("a\nb.jsonl").write_text("{oops}\n", "utf-8")
        problem, summary = cli("validate", "a\nb.jsonl").out.splitlines()
        assert problem.startswith("a\\nb.jsonl:1:2: ")
        assert summary.startswith("a\\nb.jsonl: 1 problem")

    def test_many_models_are_named_and_counted(self, cli: Cli) -> None:
        """The first five; a file of embeddings counts its inputs."""
        lines = [line(f"r{number}", url="/v1/embeddings", model=f"m{number}", input=["a", "b"]) for number in range(7)]
        done = cli("validate", write_lines(Path("many.jsonl"), *lines), "--any-size")
        assert done.code == 0
        assert "14 embedding inputs, m0, m1, m2, m3, m4 and 2 more models, /v1/embeddings" in done.out


class TestSources:
    def test_standard_input_has_a_name_in_problems(self, cli: Cli) -> None:
        done = cli("validate", "-", stdin=b"{oops}\n")
        assert (done.code, done.out.splitlines()[0][:12]) == (1, "<stdin>:1:2:")

    def test_nothing_on_standard_input(self, cli: Cli) -> None:
        """Nobody is told of generators."""
        assert cli("validate", "-").out.startswith("<stdin>: There is no request.\n")

    def test_packed_files(self, cli: Cli) -> None:
        Path("packed.jsonl.gz").write_bytes(gzip.compress(line("a").encode()))
        assert "no problems in 1 request," in cli("validate", "packed.jsonl.gz").out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nope.jsonl"], "There is no file nope.jsonl"),
            (["."], ". is a folder"),
            (["-", "-"], "Standard input can be read only once"),
            (["--bogus"], "Unknown option: --bogus"),
            (["good.jsonl", "-x"], "Unknown option: -x"),
            ([], "is missing"),
            (["good.jsonl", "--max-problems", "0"], "--max-problems cannot be 0"),
            (["good.jsonl", "--endpoint", "chat"], "There is no endpoint 'chat'"),
            (["good.jsonl", "--provider", "nobody"], "No provider 'nobody' is known"),
            (["broken.gz"], "cannot be unpacked"),
        ],
    )
    def test_what_cannot_be_read_is_2(self, cli: Cli, arguments: list[str], message: str) -> None:
        """One line of what, one of what to do; nothing on standard output."""
        write_requests(Path("good.jsonl"), 1)
        Path("broken.gz").write_bytes(gzip.compress(b"x" * 100)[:20])
        done = cli("validate", *arguments)
        assert (done.code, done.out) == (2, "")
        assert message in done.err.splitlines()[0]
        assert len(done.err.splitlines()) == 2

    @pytest.mark.parametrize("endpoint", ["responses", "/responses", "v1/responses", "/v1/responses"])
    @pytest.mark.parametrize("command", ["validate", "split"])
    def test_an_endpoint_can_be_named_in_short(self, cli: Cli, command: str, endpoint: str) -> None:
        """As in a list of batches."""
        path = write_lines(Path("chat.jsonl"), line("a"))
        done = cli(command, path, "--endpoint", endpoint)
        assert "/v1/responses" in done.out + done.err
        assert done.code in {1, 2}

    @pytest.mark.parametrize(
        ("text", "provider", "endpoint"),
        [
            (None, OPENAI, None),
            ("/v1/new", OPENAI, "/v1/new"),
            ("chat/completions", AZURE, "/chat/completions"),
            ("/v1/chat/completions", AZURE, "/v1/chat/completions"),
            ("embeddings", SILICONFLOW, "/v1/embeddings"),
            ("completions", OPENAI, "/v1/completions"),
            ("chat/completions", attrs.evolve(OPENAI, endpoints={"/v4/chat/completions"}), "/v4/chat/completions"),
        ],
    )
    def test_an_endpoint_is_the_services_own(self, text: str | None, provider: Provider, endpoint: str | None) -> None:
        """One that it is not known to have is taken as it is, if it is a whole path."""
        assert endpoint_of(text, provider) == endpoint

    def test_standard_input_that_is_closed(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """As by `<&-` in a shell."""
        monkeypatch.setattr(sources.sys, "stdin", None)
        with pytest.raises(sources.CommandError, match="Standard input is closed"), sources.request_source("-"):
            pass


class TestOptions:
    def test_the_limits_are_those_of_the_service(self, cli: Cli) -> None:
        """What OpenAI takes in one batch, others may not; and it is said what mends it."""
        path = write_requests(Path("long.jsonl"), 5_001)
        assert cli("validate", path).code == 0
        done = cli("validate", path, "--provider", "siliconflow")
        assert done.code == 1
        assert "There are 5,001 requests, one batch of SiliconFlow can have 5,000." in done.out
        assert "`openai-batches split` and `run` cut it" in done.err
        assert cli("validate", path, "--provider", "siliconflow", "--any-size").code == 0

    def test_an_endpoint_and_bodies_that_are_left_to_the_service(self, cli: Cli) -> None:
        path = write_lines(Path("odd.jsonl"), line("a", model=None))
        assert cli("validate", path, "--lax").code == 0
        assert "odd.jsonl:1: url: " in cli("validate", path, "--lax", "--endpoint", "/v1/responses").out

    def test_json_is_one_document(self, cli: Cli, bad: Path) -> None:
        """In the words of the library, for programs: nothing else is on standard output."""
        good = write_requests(Path("good.jsonl"), 2)
        done = cli("validate", good, bad, "--json")
        document = json.loads(done.out)
        assert (done.code, document["is_valid"]) == (1, False)
        first, second = document["files"]
        assert (first["file"], first["is_valid"], first["requests"]) == ("good.jsonl", True, 2)
        assert [problem["line"] for problem in second["problems"]] == [3, 4, 5, 6]
        assert second["problems"][1]["column"] == 2
        assert second["bytes"] == bad.stat().st_size
        assert json.loads(cli("validate", "-", "--json", stdin=b"{oops}\n").out)["files"][0]["bytes"] is None


class TestTerminal:
    def test_no_terminal_obeys_what_stands_in_a_file(self, cli: Cli) -> None:
        """An id can hold anything, and messages quote it."""
        path = write_lines(Path("evil.jsonl"), line("a", model="\x1b[31mred"), line("b", model="\x1b]0;title\x07"))
        assert "\x1b" not in cli("validate", path).out

    def test_problems_are_whole_and_coloured(self, terminal: Terminal, bad: Path) -> None:
        """They wrap, and are not cut: what is copied from the screen is what was said."""
        driven = terminal("validate", bad)
        assert driven.finish() == 1
        assert b"\x1b[1m" in driven.raw
        text = driven.screen.replace("\n", " ")
        assert "is a duplicate of that on line 1" in text
        assert "bad.jsonl: 4 problems in 5 requests" in text

    def test_a_pipe_has_no_colours(self, cli: Cli, bad: Path) -> None:
        done = cli("validate", bad)
        assert "\x1b" not in done.out + done.err

    def test_a_large_file_shows_how_far_it_is_read(self, terminal: Terminal) -> None:
        """A bar with the size; nothing of it stays."""
        write_requests(Path("large.jsonl"), 21, text="x" * 1_000_000)
        driven = terminal("validate", "large.jsonl")
        assert driven.finish() == 0
        assert b"/21.0 MB" in driven.raw
        assert "large.jsonl: no problems in 21 requests" in driven.screen
        assert "━" not in driven.screen

    def test_ctrl_c_while_someone_types_requests(self, terminal: Terminal) -> None:
        """It does not wait for the end of a line."""
        driven = terminal("validate", "-")
        driven.wait_for("Reading requests from the keyboard")
        driven.interrupt()
        assert driven.finish() == 130
        assert "Interrupted" in driven.screen

    def test_requests_can_be_typed(self, terminal: Terminal) -> None:
        driven = terminal("validate", "-")
        driven.wait_for("Reading requests from the keyboard")
        driven.type("{oops}\n\x04")
        assert driven.finish() == 1
        assert "<stdin>:1:2:" in driven.screen
