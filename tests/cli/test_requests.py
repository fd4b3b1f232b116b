"""`openai-batches requests`: prompts in, a request file out, or a word on each line that stands in the way."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    Cli = Callable[..., Finished]

TABLE = "order,text,language\nk1,Boils in a minute.,French\nk2,ReceivedWebhook broken.,Basque\n"


@pytest.fixture
def table() -> Path:
    """A table of prompts in the working folder."""
    path = Path("reviews.csv")
    path.write_text(TABLE, "utf-8")
    return path


def requests_in(text: str | bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def prompts_in(text: str | bytes) -> list[str]:
    return [request["body"]["messages"][-1]["content"] for request in requests_in(text)]


def files() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def test_requests_go_to_standard_output(cli: Cli, table: Path) -> None:
    """And what is said about them to standard error, so that a pipe gets requests alone."""
    done = cli("requests", table, "-m", "gpt", "-t", "- {text}", "--id", "order")
    assert done.code == 0
    assert prompts_in(done.out) == ["- Boils in a minute.", "- ReceivedWebhook broken."]
    assert [request["custom_id"] for request in requests_in(done.out)] == ["k1", "k2"]
    assert done.err == f"reviews.csv: 2 requests, {len(done.out)} B\n"


def test_requests_go_to_a_file_that_the_other_commands_take(cli: Cli, table: Path) -> None:
    """What was written passes `validate`, and `-o` leaves standard output empty."""
    done = cli("requests", table, "-m", "gpt", "-t", "{text}", "-o", "requests.jsonl")
    assert (done.code, done.out) == (0, "")
    assert done.err.endswith(", in requests.jsonl\n")
    assert cli("validate", "requests.jsonl").code == 0
    assert files() == ["requests.jsonl", "reviews.csv"]


def test_what_is_piped_in_needs_its_format(cli: Cli) -> None:
    """Nothing is guessed: a table taken for text would make a prompt of each row."""
    done = cli("requests", "-", "-m", "gpt", stdin=b"one\n")
    assert (done.code, done.out) == (2, "")
    assert "'<stdin>' does not say by its name how it is written: the format can be csv, jsonl or text" in done.err
    assert "advice: See `openai-batches requests --help`" in done.err


def test_blank_lines_are_told(cli: Cli) -> None:
    """They are no prompts, and whoever counts requests knows why there are fewer."""
    done = cli("requests", "-", "-m", "gpt", "--format", "text", stdin=b"one\n\ntwo\n")
    assert prompts_in(done.out) == ["one", "two"]
    assert "1 blank line skipped" in done.err


def test_all_of_a_body_can_be_said(cli: Cli, table: Path) -> None:
    """System text, schema, and any further field; a value that is no JSON is text."""
    Path("mood.json").write_text('{"type": "object", "properties": {"mood": {"type": "string"}}}', "utf-8")
    Path("ask.txt").write_text("Into {language}:\n{text}\n", "utf-8")
    Path("system.txt").write_text("Be brief.\n", "utf-8")
    done = cli(
        *("requests", table, "-m", "gpt", "--template-file", "ask.txt", "--system-file", "system.txt"),
        *("--schema", "mood.json", "-p", "temperature=0", "-p", "reasoning_effort=low", "--body", '{"stop": ["x=y"]}'),
        *("--id", "{language}-{number:02d}", "--limit", 1),
    )
    (request,) = requests_in(done.out)
    assert request["custom_id"] == "French-01"
    body = request["body"]
    assert [message["content"] for message in body["messages"]] == ["Be brief.", "Into French:\nBoils in a minute."]
    assert body["response_format"]["json_schema"]["name"] == "mood"
    assert (body["temperature"], body["reasoning_effort"], body["stop"]) == (0, "low", ["x=y"])


@pytest.mark.parametrize(
    ("endpoint", "field", "prompt"),
    [
        ("/v1/responses", "input", "one"),
        ("/v1/embeddings", "input", "one"),
        ("/v1/chat/completions", "messages", [{"role": "user", "content": "one"}]),
    ],
)
def test_endpoints_take_prompts_in_their_own_fields(cli: Cli, endpoint: str, field: str, prompt: Any) -> None:
    done = cli("requests", "-", "-m", "m", "--endpoint", endpoint, "--format", "jsonl", stdin=b'"one"\n')
    (request,) = requests_in(done.out)
    assert (request["url"], request["body"]) == (endpoint, {"model": "m", field: prompt})


@pytest.mark.parametrize("delimiter", ["tab", "\\t", "\t"])
def test_a_table_can_have_another_delimiter(cli: Cli, delimiter: str) -> None:
    """A tab can be typed as a word."""
    Path("a.csv").write_text("id\ttext\n1\ta,b\n", "utf-8")
    assert prompts_in(cli("requests", "a.csv", "-m", "m", "-t", "{text}", "--delimiter", delimiter).out) == ["a,b"]


def test_a_file_is_packed_as_its_name_says(cli: Cli, table: Path) -> None:
    assert cli("requests", table, "-m", "gpt", "-t", "{text}", "-o", "a.jsonl.gz").code == 0
    assert len(requests_in(gzip.decompress(Path("a.jsonl.gz").read_bytes()))) == 2


def test_problems_are_named_and_nothing_is_written(cli: Cli) -> None:
    """One line for each, by file, line and field; exit code 2, for nothing was done."""
    Path("bad.csv").write_text("id,text\n1,a\n2\n3,\n1,b\n", "utf-8")
    done = cli("requests", "bad.csv", "-m", "gpt", "-t", "{text}", "--id", "id", "-o", "requests.jsonl")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "error: 3 problems in the prompts",
        "  bad.csv:3: This row has 1 field, the header has 2.",
        "  bad.csv:4: The field 'text' is empty. (custom_id '3')",
        "  bad.csv:5: The id of this row is that of line 2 too. (custom_id '1')",
        "advice: Fix the lines that are named, and try again",
    ]
    assert files() == ["bad.csv"]


def test_half_a_file_never_reaches_a_pipe(cli: Cli) -> None:
    """A program at the other end could not tell it from a whole one, and would send it."""
    rows = "".join(f"{number},{'words ' * 40}\n" for number in range(5_000))
    done = cli("requests", "-", "-m", "gpt", "-t", "{b}", "--format", "csv", stdin=f"a,b\n{rows}1\n".encode())
    assert (done.code, done.out) == (2, "")
    assert "<stdin>:5002: This row has 1 field, the header has 2." in done.err


def test_empty_fields_can_be_allowed(cli: Cli) -> None:
    call = ("requests", "-", "-m", "gpt", "-t", "<{a}>", "--format", "csv")
    assert prompts_in(cli(*call, "--allow-empty", stdin=b"a,b\n,1\n").out) == ["<>"]
    assert "<stdin>:2: The field 'a' is empty." in cli(*call, stdin=b"a,b\n,1\n").err


@pytest.mark.parametrize(
    ("arguments", "message", "advice"),
    [
        (["-t", "{texts}"], "1 problem in the prompts", "Fix the lines"),
        (["-t", "no place"], "the template has no {field} for a prompt to go into", "requests --help"),
        (["-t", "{text"], "the template:1:1: a '{' stands alone: double it", "requests --help"),
        (["-t", "{text}", "--template-file", "a"], "--template and --template-file cannot be used together", "one of"),
        (["--system", "a", "--system-file", "a"], "--system and --system-file cannot be used together", "one of"),
        (["-p", "temperature"], "'temperature' is not a field with a value", "-p temperature=0"),
        (["-p", "=1"], "'=1' is not a field with a value", "-p temperature=0"),
        (["-p", "a=1", "-p", "a=2"], "The field 'a' is given twice", "once"),
        (["--body", "[1]"], "--body is not a JSON object", "temperature"),
        (["--body", "{"], "--body is not a JSON object", "temperature"),
        (["-p", "stream=true"], "stream cannot be set in a batch", "requests --help"),
        (["-p", "model=x"], "'model' is no parameter of a body here", "requests --help"),
        (["--endpoint", "/v1/videos"], "prompts can be put to /v1/chat/completions", "requests --help"),
        (["--delimiter", "ab"], "delimiter must be one character", "requests --help"),
        (["--limit", "0"], "--limit", "requests --help"),
        (["-t", "Caf\udce9 {text}"], "template is not valid UTF-8: character 4 is the byte 0xe9", "requests --help"),
        (["--id", "\udce9{number}"], "custom_id is not valid UTF-8: character 1 is the byte 0xe9", "requests --help"),
        (["-t", "{order:99999999999d}"], "the template: {order:99999999999d} asks for more than 1,000", "requests --h"),
        (["--endpoint", "/v1/embeddings", "--system", "a"], "/v1/embeddings takes no system text", "requests --help"),
        (["-t", "{text:.2f}"], "2 problems in the prompts", "the lines that are named, or the template, and try again"),
        (["-t", "{text}", "--id", "{text:d}"], "2 problems", "named, or the template or --id, and try again"),
        ([], "1 problem in the prompts", "Give a template with -t, such as -t 'Sum up: {text}'"),
        (["-o", "--force"], "--force is not accepted as a file name", "./--force"),
        (["-o", "out.csv"], "out.csv ends in .csv, but requests are written as lines of JSON", "ends in .jsonl"),
        (["-o", "out.TXT.gz"], "out.TXT.gz ends in .txt, but requests are written as lines of JSON", "ends in .jsonl"),
        (["-"], "'<stdin>' does not say by its name how it is written", "requests --help"),
        (["-", "-"], "Standard input can be read only once", "Give - only once"),
        (["."], ". is a folder", "Name a file of prompts"),
        (["none.csv"], "There is no file none.csv", "Check the path"),
        (["-o", "reviews.csv"], "FILE and -o are the same file: reviews.csv", "another file"),
        (["-o", "none/a.jsonl"], "There is no folder none", "another file"),
        (["--template-file", "none.txt"], "There is no file none.txt", "Check the path"),
        (["--schema", "reviews.csv"], "reviews.csv:1:1: this is not valid JSON", "requests --help"),
    ],
)
def test_a_wrong_call_is_refused(cli: Cli, table: Path, arguments: list[str], message: str, advice: str) -> None:
    """With what is wrong, what to do, and nothing written."""
    done = cli("requests", table, "-m", "gpt", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err.splitlines()[0]
    assert advice in done.err.splitlines()[-1]
    assert files() == ["reviews.csv"]


@pytest.mark.parametrize(
    ("model", "message"),
    [("", "The model has no name"), ("\udcff", "model is not valid UTF-8: character 1 is the byte 0xff")],
)
def test_a_model_has_a_name(cli: Cli, table: Path, model: str, message: str) -> None:
    """One that can be sent; nobody hears of a request that was only made to try."""
    done = cli("requests", table, "-m", model, "-t", "{text}")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[0] == f"error: {message}"


def test_a_row_that_lacks_its_prompt_stands_for_all_like_it(cli: Cli) -> None:
    """The same sentence for each of them says nothing more; what else is wrong is still named."""
    rows = [*[{"a": "x", "b": "y"}] * 30, {"a": "x", "c": "y"}, {"prompt": ""}]
    done = cli("requests", "-", "-m", "m", "--format", "jsonl", stdin="\n".join(map(json.dumps, rows)).encode())
    assert (done.code, done.out) == (2, "")
    first, *problems, _ = done.err.splitlines()
    assert first == "error: 3 problems in the prompts"
    assert [problem.endswith("So it is in other rows.") for problem in problems] == [True, False, False]
    assert [problem.partition(": ")[0].strip() for problem in problems] == ["<stdin>:1", "<stdin>:31", "<stdin>:32"]


def test_no_more_than_a_hundred_problems_are_looked_for(cli: Cli) -> None:
    """What is said to be shown, and what more there is, add up."""
    done = cli("requests", "-", "-m", "m", "--format", "jsonl", stdin=b"{}x\n" * 200)
    first, *problems, more, _ = done.err.splitlines()
    assert first == "error: The first 100 problems in the prompts"
    assert (len(problems), more) == (20, "  and 80 more")


def test_several_files_become_one(cli: Cli, table: Path) -> None:
    """One after the other, each once, with one counter for all: what a shell makes of `*.csv` has ids of its own."""
    Path("more.txt").write_text("one\n\ntwo\n", "utf-8")
    call = ("requests", table, "more.txt", table, "-m", "gpt", "-t", "{text}")
    done = cli(*call, "--id", "row-{number:02d}", "-o", "requests.jsonl")
    assert done.code == 0
    assert done.err.startswith("2 files: 4 requests, ")
    assert "1 blank line skipped" in done.err
    requests = requests_in(Path("requests.jsonl").read_bytes())
    assert [request["custom_id"] for request in requests] == ["row-01", "row-02", "row-03", "row-04"]
    assert [request["custom_id"] for request in requests_in(cli(*call).out)][-1] == "request-0000004"
    assert prompts_in(cli("requests", table, "-", "-m", "gpt", "--format", "text", stdin=b"x\n").out)[-1] == "x"


def test_problems_of_several_files_name_theirs(cli: Cli, table: Path) -> None:
    """And none of the files may be written over."""
    Path("more.csv").write_text("order,text\nk1,\nk1,c\n", "utf-8")
    done = cli("requests", table, "more.csv", "-m", "gpt", "-t", "{text}", "--id", "order")
    assert done.err.splitlines()[1:-1] == [
        "  more.csv:2: The field 'text' is empty. (custom_id 'k1')",
        "  more.csv:2: The id of this row is that of reviews.csv:2 too. (custom_id 'k1')",
        "  more.csv:3: The id of this row is that of reviews.csv:2 too. (custom_id 'k1')",
    ]
    done = cli("requests", table, "more.csv", "-m", "gpt", "-t", "{text}", "-o", "more.csv", "--force")
    assert done.err.startswith("error: FILE and -o are the same file: more.csv")


def test_numbers_are_written_as_the_template_says(cli: Cli) -> None:
    """In a table, too, where each cell is a text; a cell that is no number is named in the words of the template."""
    call = ("requests", "-", "-m", "m", "--format", "csv", "-t", "{price:.2f}")
    assert prompts_in(cli(*call, stdin=b"price\n2.5\n3\n").out) == ["2.50", "3.00"]
    done = cli(*call, stdin=b"price\n2.5\nn/a\n")
    assert "  <stdin>:3: 'n/a' in the field 'price' is no number, and {price:.2f} needs one." in done.err


@pytest.mark.parametrize("name", ["a", "a.v2", "a.json", "a.ndjson"])
def test_a_file_may_have_any_name_that_says_nothing_else(cli: Cli, table: Path, name: str) -> None:
    assert cli("requests", table, "-m", "gpt", "-t", "{text}", "-o", name).code == 0
    assert files() == sorted([name, "reviews.csv"])


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_has_no_lines_to_mend(cli: Cli, content: bytes) -> None:
    done = cli("requests", "-", "-m", "m", "--format", "text", stdin=content)
    assert done.code == 2
    assert done.err.splitlines()[-1] == "advice: Give a file that has requests"


@pytest.mark.parametrize(
    ("parameter", "is_doubted"),
    [("temperature=hot", True), ("top_p=O.5", True), ("temperature=0.5", False), ("reasoning_effort=low", False)],
)
def test_a_text_where_a_number_belongs_is_doubted(cli: Cli, table: Path, parameter: str, *, is_doubted: bool) -> None:
    """It is sent all the same: what the service takes is its own affair."""
    done = cli("requests", table, "-m", "m", "-t", "{text}", "-p", parameter)
    assert done.code == 0
    assert ("warning: " in done.err) == is_doubted
    assert ("is sent as a text: " in done.err) == is_doubted


def test_names_of_files_stay_on_one_line(cli: Cli, table: Path) -> None:
    """Whatever is in them."""
    table.rename("a\nb.csv")
    done = cli("requests", "a\nb.csv", "-m", "m", "-t", "{text}", "-o", "c\nd.jsonl")
    assert done.code == 0
    assert done.err.startswith("a\\nb.csv: 2 requests, ")
    assert done.err.splitlines()[0].endswith(", in c\\nd.jsonl")


def test_a_file_is_replaced_if_that_is_asked_for(cli: Cli, table: Path) -> None:
    Path("requests.jsonl").write_text("mine", "utf-8")
    call = ("requests", table, "-m", "gpt", "-t", "{text}", "-o", "requests.jsonl")
    assert cli(*call).code == 2
    assert Path("requests.jsonl").read_text("utf-8") == "mine"
    assert cli(*call, "--force").code == 0
    assert len(requests_in(Path("requests.jsonl").read_bytes())) == 2


def test_more_than_a_batch_can_have_is_said(cli: Cli) -> None:
    """Whoever made 50,001 requests is told what sends them."""
    done = cli("requests", "-", "-m", "m", "--format", "text", "-o", "a.jsonl", stdin=b"x\n" * 50_001)
    assert done.code == 0
    assert "one batch takes at most 50,000: `run` and `split` cut it into shards" in done.err


def test_a_reader_that_goes_ends_the_program_quietly() -> None:
    """`| head -1` shows the first request, and no complaint."""
    Path("a.txt").write_text("some words to ask\n" * 20_000, "utf-8")
    command = [sys.executable, "-m", "openai_batches.cli", "requests", "a.txt", "-m", "m"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(requests_in(process.stdout.readline())) == 1
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_ctrl_c_leaves_nothing_behind(terminal: Callable[..., DrivenTerminal]) -> None:
    """Interrupted while it waits for prompts, it ends at once, and no file is there."""
    driven = terminal("requests", "-", "-m", "m", "--format", "text", "-o", "a.jsonl")
    driven.wait_for("Ctrl-D")
    driven.interrupt()
    assert driven.finish() == 130
    assert files() == []
