"""`split` cuts requests into files that fit a batch each: all of them, or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.request_lines import line, write_lines, write_requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    Cli = Callable[..., Finished]
    Terminal = Callable[..., DrivenTerminal]


def lines_of(*paths: str) -> list[str]:
    return [text for path in paths for text in Path(path).read_text("utf-8").splitlines()]


class TestFiles:
    def test_the_files_are_named_on_standard_output_and_summed_up_beside_it(self, cli: Cli) -> None:
        """So that a loop of the shell can go over them."""
        source = write_requests(Path("a.jsonl"), 1_000)
        done = cli("split", source, "-d", "out", "--max-requests", "400")
        assert done.code == 0
        assert done.out.splitlines() == [f"out/shard-0000{number}.jsonl" for number in (1, 2, 3)]
        assert lines_of(*done.out.split()) == lines_of("a.jsonl")
        first, second = done.err.splitlines()
        assert first.startswith("a.jsonl: 1,000 requests, ")
        assert first.endswith(" in 3 files")
        assert second == "  3 files: 1,000 requests, gpt-4o-mini /v1/chat/completions"

    def test_each_file_has_one_model(self, cli: Cli) -> None:
        """Twelve models are twelve files; the summary names ten."""
        lines = [line(f"r{number}", model=f"m{number % 12}") for number in range(24)]
        done = cli("split", write_lines(Path("a.jsonl"), *lines), "-d", "out")
        assert len(done.out.splitlines()) == 12
        assert "  1 file: 2 requests, m0 /v1/chat/completions\n" in done.err
        assert done.err.endswith("  and 2 more endpoints and models\n")

    def test_without_a_folder_they_go_beside_the_source(self, cli: Cli) -> None:
        assert cli("split", write_requests(Path("a.jsonl"), 1)).out == "a.jsonl.shards/shard-00001.jsonl\n"

    def test_limits_of_size_and_tokens(self, cli: Cli) -> None:
        source = write_requests(Path("a.jsonl"), 100)
        assert len(cli("split", source, "-d", "bytes", "--max-bytes", "5kB").out.splitlines()) == 4
        assert len(cli("split", source, "-d", "tokens", "--max-tokens", "700").out.splitlines()) == 3

    def test_nobodys_limit_is_wider_than_the_services(self, cli: Cli) -> None:
        """The service would refuse such a batch: it is said, and its own limit holds."""
        source = write_requests(Path("a.jsonl"), 5_001)
        options = ("--provider", "siliconflow", "--max-requests", "9000", "--max-bytes", "2GB")
        done = cli("split", source, "-d", "out", *options)
        assert len(done.out.splitlines()) == 2
        assert "warning: --max-requests is 5,000, the limit of SiliconFlow" in done.err
        assert "warning: --max-bytes is 1,000,000,000, the limit of SiliconFlow" in done.err

    def test_standard_input(self, cli: Cli) -> None:
        done = cli("split", "-", "-d", "out", stdin=line("a").encode())
        assert (done.code, done.out) == (0, "out/shard-00001.jsonl\n")
        assert done.err.startswith("<stdin>: 1 request, ")

    def test_json_is_one_document(self, cli: Cli) -> None:
        done = cli("split", write_requests(Path("a.jsonl"), 3), "-d", "out", "--max-requests", "2", "--json")
        first, second = json.loads(done.out)["shards"]
        assert (first["path"], first["requests"], second["requests"]) == ("out/shard-00001.jsonl", 2, 1)
        assert done.err == ""


class TestRefusals:
    def test_requests_the_service_would_refuse_leave_nothing_behind(self, cli: Cli) -> None:
        """Not a file, nor the folder they would have gone to."""
        lines = [*(line(f"r{number}") for number in range(10)), line("r1"), line("x", stream=True)]
        done = cli("split", write_lines(Path("a.jsonl"), *lines), "-d", "out", "--max-requests", "2")
        assert (done.code, done.out) == (2, "")
        error, *problems, advice = done.err.splitlines()
        assert error == "error: 2 problems in the requests"
        assert [problem[:14] for problem in problems] == ["  a.jsonl:11: ", "  a.jsonl:12: "]
        assert advice.startswith("advice: Fix the lines")
        assert not Path("out").exists()

    def test_bodies_can_be_left_to_the_service(self, cli: Cli) -> None:
        source = write_lines(Path("a.jsonl"), line("x", model=None))
        assert cli("split", source, "-d", "out").code == 2
        assert cli("split", source, "-d", "out", "--lax").err.endswith("  1 file: 1 request, /v1/chat/completions\n")

    def test_shards_of_others_are_never_mixed_with(self, cli: Cli) -> None:
        """Before anything is read, and even where the names would not meet."""
        Path("out").mkdir()
        other = write_requests(Path("out/shard-00007.jsonl"), 1)
        done = cli("split", write_requests(Path("a.jsonl"), 1), "-d", "out")
        assert (done.code, done.out) == (2, "")
        assert "out/shard-00007.jsonl already exists" in done.err
        assert list(Path("out").iterdir()) == [other]

    def test_a_folder_that_was_there_stays(self, cli: Cli) -> None:
        Path("out").mkdir()
        Path("out/notes.txt").touch()
        assert cli("split", write_lines(Path("a.jsonl"), "{oops}"), "-d", "out").code == 2
        assert [path.name for path in Path("out").iterdir()] == ["notes.txt"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nope.jsonl"], "There is no file nope.jsonl"),
            (["-"], "No folder was given for the files"),
            (["a.jsonl", "-d", "a.jsonl"], "a.jsonl is a file"),
            (["a.jsonl", "--max-requests", "0"], "--max-requests cannot be 0"),
            (["a.jsonl", "--max-bytes", "0"], "max_bytes must be a whole number of at least 1"),
            (["a.jsonl", "--max-bytes", "many"], "is not a size such as"),
            (["a.jsonl", "--bogus"], "Unknown option"),
            (["a.jsonl", "b.jsonl"], "Too many arguments: b.jsonl"),
            (["--bogus"], "Unknown option: --bogus"),
            ([], "is missing"),
        ],
    )
    def test_what_cannot_be_done_is_2(self, cli: Cli, arguments: list[str], message: str) -> None:
        """One line of what, one of what to do; nothing on standard output, and nothing on the disk."""
        write_requests(Path("a.jsonl"), 1)
        done = cli("split", *arguments)
        assert (done.code, done.out) == (2, "")
        assert message in done.err.splitlines()[0]
        assert [path.name for path in Path().iterdir()] == ["a.jsonl"]


class TestTerminal:
    def test_names_are_whole(self, terminal: Terminal) -> None:
        """They are what the next command is given."""
        folder = "a-folder-with-a-rather-long-name/and-another-one-of-some-length-below-it"
        write_requests(Path("a.jsonl"), 2)
        driven = terminal("split", "a.jsonl", "-d", folder)
        assert driven.finish() == 0
        assert f"{folder}/shard-00001.jsonl" in driven.screen.replace("\n", "")
        assert "1 file: 2 requests, gpt-4o-mini /v1/chat/completions" in driven.screen

    def test_ctrl_c_leaves_nothing_behind(self, terminal: Terminal) -> None:
        """Not even the shards that were whole."""
        driven = terminal("split", "-", "-d", "out", "--max-requests", "1")
        driven.wait_for("Reading requests from the keyboard")
        driven.type(f"{line('a')}\n{line('b')}\n")
        driven.interrupt()
        assert driven.finish() == 130
        assert not Path("out").exists()

    def test_a_pipe_has_no_colours(self, cli: Cli) -> None:
        done = cli("split", write_lines(Path("a.jsonl"), line("a", model="\x1b[31mred")), "-d", "out")
        assert done.code == 0
        assert "\x1b" not in done.out + done.err
