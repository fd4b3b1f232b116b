"""Every command in a real terminal, narrow and wide: nothing is wider than it, ids are whole, colours are there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.command_table import leaves
from support.request_lines import request_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    Cli = Callable[..., Finished]
    Terminal = Callable[..., DrivenTerminal]

ROWS = 60


class Shown(NamedTuple):
    """What a command is called with, and what a person sees of it.

    Attributes:
        line: its command line; ID, FILE and IN stand for a batch, a file and requests that are there.
        texts: what is on the screen; ID and FILE stand there whole.
        has_colours: whether any of it is coloured or bold.
        stays: whether it goes on until Ctrl-C.
        typed: what the person answers.
    """

    line: str
    texts: tuple[str, ...]
    has_colours: bool = True
    stays: bool = False
    typed: str = ""


TABLE = {
    "list": Shown("list --local", ("ID", "completed")),
    "show": Shown("show ID --local", ("ID", "completed", "FILE")),
    "create": Shown("create IN --local", ("batch_", "To wait for it"), has_colours=False),
    "wait": Shown("wait ID --local", ("ID", "completed")),
    "cancel": Shown("cancel batch_none --local", ("error: ", "batch_none", "advice: ")),
    "results": Shown("results ID --local --failed", ("2 results", "2 succeeded"), has_colours=False),
    "run": Shown("run IN --local --local-speed 500 -o out.jsonl", ("all of 2 requests succeeded", "out.jsonl")),
    "jobs": Shown("jobs", ("made.job", "finished")),
    "jobs show": Shown("jobs show made.job", ("finished", "made.job")),
    "jobs cancel": Shown("jobs cancel made.job --local", ("all of 2 requests succeeded", "made.job")),
    "adopt": Shown("adopt ID -d adopted --local", ("ID", "adopted"), has_colours=False),
    "requests": Shown("requests IN -m m --format text", ("2 requests",), has_colours=False),
    "validate": Shown("validate IN", ("IN", "no problems")),
    "estimate": Shown("estimate IN --approximate", ("gpt-4o-mini", "In a batch:")),
    "split": Shown("split IN -d shards", ("shards/shard-", "2 requests"), has_colours=False),
    "files list": Shown("files list --local", ("FILE", "batch_output")),
    "files upload": Shown("files upload IN --local", ("Uploaded IN", "file-"), has_colours=False),
    "files download": Shown("files download FILE -o got.jsonl --local", ("got.jsonl",), has_colours=False),
    "files delete": Shown("files delete FILE --local", ("Delete FILE?", "Nothing was deleted"), False, typed="n\n"),
    "doctor": Shown("doctor --local", ("At the emulator", "of jobs that are no longer needed")),
    "gc": Shown("gc --local", ("There is nothing to delete",), has_colours=False),
    "webhook listen": Shown("webhook listen --local --port 0", ("Listening at",), has_colours=False, stays=True),
    "serve": Shown("serve --port 0", ("Serving", "export OPENAI_BASE_URL="), has_colours=False, stays=True),
    "--install-completion": Shown(
        "--install-completion --shell bash -o done.sh", ("Wrote", "done.sh"), has_colours=False
    ),
}


def test_every_command_is_seen_in_a_terminal() -> None:
    """One that comes later is, too."""
    assert set(TABLE) == set(leaves())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place that is filled once."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def words(cli: Cli, made: Path) -> dict[str, str]:
    """A batch that has ended at the emulator of this folder, a job, and a request file."""
    if not (made / "ids").exists():
        Path("in.jsonl").write_bytes(request_lines("a", "b"))
        quick = ("--local", "--local-speed", "500")
        done = cli("run", "in.jsonl", *quick, "--keep-files", "--directory", "made.job", "-o", "made.jsonl")
        assert done.code == 0, done
        batch = cli("list", *quick).out.split("\n")[1].split()[0]
        file = next(line.split()[0] for line in cli("files", "list", *quick).out.split("\n") if "batch_output" in line)
        Path("ids").write_text(f"{batch} {file}")
        shutil.copytree(".", made, dirs_exist_ok=True)
    shutil.copytree(made, ".", dirs_exist_ok=True)
    batch, file = Path("ids").read_text().split()
    return {"ID": batch, "FILE": file, "IN": "in.jsonl"}


def named(text: str, words: dict[str, str]) -> str:
    return re.sub(r"\b(ID|FILE|IN)\b", lambda found: words[found[0]], text)


def styled(seen: DrivenTerminal) -> bool:
    """Whether anything on the screen is coloured or bold."""
    return any(char.fg != "default" or char.bold for row in seen.rows for char in row)


def driven(terminal: Terminal, name: str, words: dict[str, str], **options: object) -> DrivenTerminal:
    """Run a command in a terminal until it has shown what it shows; end it."""
    shown = TABLE[name]
    argv = [words.get(word, word) for word in shown.line.split()]
    seen = terminal(*argv, rows=ROWS, **options)
    if shown.typed:
        seen.wait_for("?")
        seen.type(shown.typed)
    if shown.stays:
        seen.wait_for(*shown.texts)
        seen.interrupt()
    code = seen.finish()
    assert code in ({130} if shown.typed else {0, 1, 3}), seen.screen
    return seen


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("name", TABLE)
def test_what_a_person_sees(terminal: Terminal, words: dict[str, str], name: str, columns: int) -> None:
    """No row of a table goes on in the next line, ids can be copied, and colours tell what is good and bad."""
    seen = driven(terminal, name, words, columns=columns)
    # What a terminal breaks at its edge is whole again for who copies it.
    whole = seen.screen.replace("\n", "")
    missing = [text for text in TABLE[name].texts if named(text, words) not in whole]
    assert missing == [], seen.screen
    assert "Traceback" not in seen.screen
    assert "mistake" not in seen.screen
    assert styled(seen) is TABLE[name].has_colours, seen.screen


@pytest.mark.parametrize("name", [name for name, shown in TABLE.items() if shown.has_colours])
def test_no_colours_where_nobody_wants_any(terminal: Terminal, words: dict[str, str], name: str) -> None:
    """NO_COLOR is honoured by all."""
    seen = driven(terminal, name, words, env={"NO_COLOR": "1"})
    assert {(char.fg, char.bg) for row in seen.rows for char in row} == {("default", "default")}
    assert not re.search(rb"\x1b\[[0-9;]*[1-9][0-9;]*m", seen.raw)


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("name", TABLE)
def test_help_fits(cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, columns: int) -> None:
    """No line of `--help` is wider than the terminal, and every option says what it wants to be told."""
    monkeypatch.setenv("COLUMNS", str(columns))
    done = cli(*name.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= columns
    assert re.findall(r"\b(?:STR|INT|FLOAT|PATH\|NONE)\b", done.out) == []
