"""No command writes over what it reads, whatever is forced, and however the file is called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.request_lines import write_requests

from openai_batches.cli.errors import CommandError
from openai_batches.cli.output.save import check_apart

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]


@pytest.fixture
def here() -> Path:
    """Requests, prompts, and links to each."""
    write_requests(Path("u.jsonl"), 2)
    Path("p.txt").write_text("one\ntwo\n", "utf-8")
    Path("t.txt").write_text("Say {text}", "utf-8")
    Path("link.jsonl").symlink_to("u.jsonl")
    Path("link.txt").symlink_to("p.txt")
    os.link("u.jsonl", "hard.jsonl")
    return Path()


@pytest.mark.parametrize(
    "arguments",
    [
        ["results", "batch_1", "--inputs", "u.jsonl", "--ordered", "-o", "u.jsonl"],
        ["results", "batch_1", "--inputs", "u.jsonl", "--ordered", "-o", "./../work/u.jsonl"],
        ["results", "batch_1", "--inputs", "u.jsonl", "--ordered", "-o", "link.jsonl"],
        ["results", "batch_1", "--inputs", "link.jsonl", "--ordered", "-o", "u.jsonl"],
        ["results", "batch_1", "--inputs", "u.jsonl", "--ordered", "-o", "hard.jsonl"],
        ["results", "batch_1", "--inputs", "u.jsonl", "--resend", "u.jsonl"],
        ["results", "batch_1", "--resend", "a.jsonl", "-o", "./a.jsonl"],
        ["requests", "p.txt", "-m", "m", "-o", "p.txt"],
        ["requests", "p.txt", "-m", "m", "-o", "link.txt"],
        ["requests", "p.txt", "-m", "m", "--template-file", "t.txt", "-o", "t.txt"],
        ["requests", "p.txt", "-m", "m", "--system-file", "t.txt", "-o", "t.txt"],
        ["requests", "p.txt", "-m", "m", "--schema", "t.txt", "-o", "t.txt"],
    ],
)
@pytest.mark.parametrize("forced", [[], ["--force"]])
def test_what_is_read_is_not_written_over(
    cli: Cli, here: Path, service: BackgroundServer, arguments: list[str], forced: list[str]
) -> None:
    """The advice does not name --force either, and nothing is asked of the service."""
    before = {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()}
    done = cli(*arguments, *forced)
    assert (done.code, done.out) == (2, "")
    assert "are the same file: " in done.err
    assert "--force" not in done.err
    assert {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()} == before
    assert service.requests == []


def test_what_is_read_twice_or_is_a_stream_clashes_with_nothing() -> None:
    check_apart(reads={"a": "x", "b": "x", "c": "-", "d": None}, writes={"e": Path("-"), "f": "-", "g": None, "h": "y"})
    with pytest.raises(CommandError, match="a and h are the same file: x"):
        check_apart(reads={"a": "x"}, writes={"h": Path("x")})
