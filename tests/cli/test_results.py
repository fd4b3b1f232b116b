"""`results`: what became of each request, whole, in time and in every shape, in every state a batch can end in."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import json
import os
import resource
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.ended_batches import asked, created, ended, names, output_of
from support.full_pipes import wait_until_full
from support.machine_needs import needs_full_device
from support.request_lines import request_line

from openai_batches.cli.commands import results as results_command
from openai_batches.emulator import Fault, LineError, ScriptExecutor, SteppedClock, Timings

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches import Batch
    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]

LINES = [request_line("a", "one\ntwo\\three"), request_line("b"), request_line("c")]
ROW = {"custom_id", "outcome", "status_code", "text", "input_tokens", "output_tokens", "error_code", "error_message"}
SOME_FAIL = ScriptExecutor(
    {"b": (400, {"error": {"message": "no such thing", "code": "bad"}}), "c": LineError("server_error", "try again")}
)
BIG_LINE = json.dumps(
    {
        "id": "batch_req_1",
        "custom_id": "a",
        "response": {
            "status_code": 200,
            "request_id": "req_1",
            "body": {
                "model": "gpt-4o-mini",
                "choices": [{"message": {"role": "assistant", "content": "lorem ipsum " * 60}}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 20},
            },
        },
        "error": None,
    }
).encode()


def records(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


# The states a batch can end in.


def test_results_of_a_completed_batch_are_json_lines(cli: Cli, service: BackgroundServer) -> None:
    """A line for each request, the sums on standard error, exit code 0."""
    done = cli("results", ended(service, LINES).id)
    assert done.code == 0
    rows = records(done.out)
    assert [row["custom_id"] for row in rows] == ["a", "b", "c"]
    assert set(rows[0]) == ROW
    assert rows[0]["text"] == "[echo] one\ntwo\\three"
    assert done.err.startswith("3 results: 3 succeeded; ")
    assert "tokens in, " in done.err
    assert "; <$0.0001" in done.err


@pytest.mark.batch_server(executor=SOME_FAIL)
def test_requests_that_failed_are_results_too_and_the_exit_code_is_1(cli: Cli, service: BackgroundServer) -> None:
    """The error file is read as well: a script sees that not all is well."""
    done = cli("results", ended(service, LINES).id)
    assert done.code == 1
    assert {row["custom_id"]: (row["outcome"], row["error_code"]) for row in records(done.out)} == {
        "a": ("succeeded", None),
        "b": ("failed", "bad"),
        "c": ("failed", "server_error"),
    }
    assert "1 succeeded, 2 failed" in done.err


@pytest.mark.batch_server(executor=ScriptExecutor({}, default=(500, {"error": {"message": "down"}})))
def test_a_batch_without_an_output_file_has_results(cli: Cli, service: BackgroundServer) -> None:
    """Nothing succeeded: the error file alone says so, and there is no cost."""
    batch = ended(service, LINES)
    assert batch.output_file_id is None
    done = cli("results", batch.id)
    assert (done.code, len(done.out.splitlines())) == (1, 3)
    assert done.err == "3 results: 3 failed\n"


def test_a_batch_without_any_file_is_not_taken_for_a_success(cli: Cli, service: BackgroundServer) -> None:
    """The service counts requests, and has no file: the person is told, and the exit code says so."""
    batch = ended(service, LINES)
    service.store.batches.items[batch.id].output_file_id = None
    done = cli("results", batch.id)
    assert (done.code, done.out) == (1, "")
    assert "0 results\n" in done.err
    assert "warning: the service counts 3 completed requests, 0 succeeded" in done.err


@pytest.mark.batch_server(clock=SteppedClock(), timings=Timings(line_s=10 * 3600))
def test_what_an_expired_batch_had_finished_is_there(cli: Cli, service: BackgroundServer) -> None:
    """It was paid for; the rest is `expired`."""
    batch = created(service, LINES)
    service.advance(hours=25)
    done = cli("results", batch.id, "--ordered")
    assert done.code == 1
    assert [row["outcome"] for row in records(done.out)] == ["succeeded", "succeeded", "expired"]


@pytest.mark.batch_server(clock=SteppedClock(), timings=Timings(line_s=3600))
def test_what_a_cancelled_batch_had_finished_is_there(cli: Cli, service: BackgroundServer) -> None:
    """The rest is `cancelled`."""
    batch = created(service, LINES)
    service.advance(minutes=90)
    asked(service, lambda session: session.batches.cancel(batch.id))
    service.advance(hours=1)
    done = cli("results", batch.id)
    assert done.code == 1
    assert sorted(row["outcome"] for row in records(done.out)) == ["cancelled", "cancelled", "succeeded"]


def test_a_batch_that_failed_has_reasons_and_no_results(cli: Cli, service: BackgroundServer) -> None:
    """The service refused its file: exit code 3, with the lines that are wrong."""
    done = cli("results", ended(service, [request_line("a"), request_line("a")]).id)
    assert (done.code, done.out) == (3, "")
    assert "failed before any of its requests ran" in done.err
    assert "line 2" in done.err


@pytest.mark.batch_server(clock=SteppedClock(), timings=Timings(line_s=3600))
def test_a_batch_that_goes_on_is_refused_with_the_command_that_waits(cli: Cli, service: BackgroundServer) -> None:
    """Exit code 4: the same command does it later. No file is made."""
    batch = created(service, LINES)
    service.advance(minutes=90)
    done = cli("results", batch.id, "-o", "out.jsonl")
    assert (done.code, done.out) == (4, "")
    assert f"error: Batch {batch.id} is in_progress, with 1 of 3 requests done" in done.err
    assert f"advice: Wait for it: openai-batches results {batch.id} -o out.jsonl --wait" in done.err
    assert names() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--resend", "-"], "Wait for it: "), (["--inputs", "-", "--ordered"], "Wait for it, with the same input: ")],
)
@pytest.mark.batch_server(clock=SteppedClock(), timings=Timings(validating_s=60))
def test_the_command_that_waits_is_the_one_that_was_typed(
    cli: Cli, service: BackgroundServer, options: list[str], said: str
) -> None:
    """With each `-` in it; before anything is counted, nothing is said of counts."""
    batch = created(service, LINES)
    done = cli("results", batch.id, *options)
    first, second = done.err.splitlines()
    assert first == f"error: Batch {batch.id} is validating: there are no results before it has ended"
    assert second == f"advice: {said}openai-batches results {batch.id} {' '.join(options)} --wait"


@pytest.mark.batch_server(timings=Timings(line_s=600))
def test_wait_waits(cli: Cli, service: BackgroundServer) -> None:
    """`--wait` gives the results once they are there."""
    done = cli("results", created(service, LINES).id, "--wait", "--interval", "0.01")
    assert (done.code, len(done.out.splitlines())) == (0, 3)
    assert "Waiting for batch" in done.err


def test_an_unknown_batch_is_the_services_no(cli: Cli, service: BackgroundServer) -> None:
    """Exit code 3, and no file stays behind."""
    done = cli("results", "batch_nope", "-o", "out.jsonl")
    assert done.code == 3
    assert "No batch found with id 'batch_nope'" in done.err
    assert names() == []


def test_files_that_are_gone_are_named_as_the_reason(cli: Cli, service: BackgroundServer) -> None:
    """The batch is there still, its output file is not: that is what the person is told."""
    batch = ended(service, LINES)
    asked(service, lambda session: session.files.delete(batch.output_file_id))
    done = cli("results", batch.id)
    assert (done.code, done.out) == (3, "")
    assert f"Not all files of batch {batch.id} are still at the service" in done.err


def test_a_line_that_cannot_be_read_is_one_invalid_result(cli: Cli, service: BackgroundServer) -> None:
    """The others are not lost with it; `--raw` shows it as it is."""
    service.faults.add(Fault.unparseable_lines())
    batch = ended(service, LINES)
    done = cli("results", batch.id)
    assert done.code == 1
    assert sorted(row["outcome"] for row in records(done.out)) == ["invalid", "succeeded", "succeeded"]
    raw = cli("results", batch.id, "--raw", "--failed").out
    with pytest.raises(json.JSONDecodeError):
        json.loads(raw)


# The shapes.


def test_raw_is_what_the_service_wrote(cli: Cli, service: BackgroundServer) -> None:
    """Byte for byte."""
    batch = ended(service, LINES)
    assert cli("results", batch.id, "--raw").out.encode() == service.store.read(batch.output_file_id or "")


@pytest.mark.batch_server(executor=SOME_FAIL)
def test_text_is_one_line_for_each_result(cli: Cli, service: BackgroundServer) -> None:
    r"""Line feeds and backslashes are written as `\n` and `\\`; what has no text is an empty line."""
    batch = ended(service, LINES)
    assert cli("results", batch.id, "--text", "--ordered").out == "[echo] one\\ntwo\\\\three\n\n\n"
    assert cli("results", batch.id, "--text", "--ids", "--ordered").out == "a\t[echo] one\\ntwo\\\\three\nb\t\nc\t\n"
    assert cli("results", batch.id, "--text", "--null").out == "[echo] one\ntwo\\three\0\0\0"
    assert cli("results", batch.id, "--text", "-0", "--ids").out.split("\0")[0] == "a\t[echo] one\ntwo\\three"


@pytest.mark.parametrize("shape", [[], ["--format", "csv"], ["--text"], ["--text", "-0"], ["--raw"]])
def test_what_is_no_text_is_written_all_the_same(cli: Cli, service: BackgroundServer, shape: list[str]) -> None:
    """Half a surrogate pair and a byte of zero, which models write: there is one record for each result, in UTF-8."""
    batch = ended(service, [request_line("a")])
    output_of(service, batch, (BIG_LINE.replace(b"lorem", b"\\ud800\\u0000", 1) + b"\n") * 2)
    done = cli("results", batch.id, *shape)
    assert done.code == 1, "the service counts one request, there are two lines"
    if "-0" in shape:
        assert done.out.count("\0") == 2
    else:
        assert done.out.count("\n") == 2 + ("csv" in shape)


@pytest.mark.batch_server(executor=ScriptExecutor({"b": {"object": "chat.completion", "choices": []}}))
def test_answers_without_text_are_told(cli: Cli, service: BackgroundServer) -> None:
    """Embeddings and calls of tools have none: nobody takes an empty column for all there was."""
    batch = ended(service, LINES)
    for shape in ([], ["--text"], ["--format", "csv"]):
        done = cli("results", batch.id, *shape)
        assert "warning: 1 answer without text: --raw has all that was answered" in done.err
    assert "warning" not in cli("results", batch.id, "--raw").err


def choice(index: int | None, text: str) -> dict[str, Any]:
    """A choice of an answer."""
    return {**({} if index is None else {"index": index}), "message": {"role": "assistant", "content": text}}


SEVERAL = {"object": "chat.completion", "choices": [choice(2, "third"), choice(0, "first"), choice(1, "second")]}


@pytest.mark.parametrize("shape", [[], ["--text"], ["--format", "csv"], ["-o", "out.parquet"]])
@pytest.mark.batch_server(executor=ScriptExecutor({"b": SEVERAL}))
def test_of_several_choices_the_first_is_written_and_the_others_are_told(
    cli: Cli, service: BackgroundServer, shape: list[str]
) -> None:
    """That of index 0, wherever it stands; nobody takes it for all there was."""
    batch = ended(service, LINES)
    if "out.parquet" in shape:
        pytest.importorskip("pyarrow")
    done = cli("results", batch.id, *shape)
    assert "warning: 1 answer has several choices, of which only the first is written: --raw has all" in done.err
    text = Path("out.parquet").read_bytes() if "out.parquet" in shape else done.out.encode()
    assert (b"first" in text, b"third" in text) == (True, False)
    assert "warning" not in cli("results", batch.id, "--raw").err


@pytest.mark.parametrize("shape", [["--text", "--ids", "-0"], ["--text", "-0"]])
def test_no_record_ends_before_its_end(cli: Cli, service: BackgroundServer, shape: list[str]) -> None:
    """A byte of zero in an id or in a text would end a record of `-0`."""
    batch = ended(service, [request_line("a")])
    output_of(service, batch, BIG_LINE.replace(b'"a"', b'"a\\u0000b"').replace(b"lorem", b"\\u0000", 1) + b"\n")
    assert cli("results", batch.id, *shape).out.count("\0") == 1


@pytest.mark.batch_server(executor=SOME_FAIL)
def test_failed_leaves_out_what_succeeded(cli: Cli, service: BackgroundServer) -> None:
    """The sums still count all."""
    done = cli("results", ended(service, LINES).id, "--failed")
    assert sorted(row["custom_id"] for row in records(done.out)) == ["b", "c"]
    assert done.err.startswith("3 results: 1 succeeded, 2 failed")


def test_csv_goes_to_standard_output_too(cli: Cli, service: BackgroundServer) -> None:
    """A line of names, and the same cells."""
    done = cli("results", ended(service, LINES).id, "--format", "csv", "-o", "-")
    rows = list(csv.DictReader(io.StringIO(done.out, newline="")))
    assert set(rows[0]) == ROW
    assert rows[0]["text"] == "[echo] one\ntwo\\three"


def test_csv_of_nothing_has_its_names(cli: Cli, service: BackgroundServer) -> None:
    """A program that reads it finds the columns."""
    done = cli("results", ended(service, LINES).id, "--format", "csv", "--failed")
    assert (done.code, done.out.strip().split(",")[0]) == (0, "custom_id")


def test_ordered_takes_the_order_from_the_service_or_from_the_inputs(cli: Cli, service: BackgroundServer) -> None:
    """Results come in any order; a file or standard input says which is wanted."""
    service.faults.add(Fault.shuffled_lines(seed=3))
    batch = ended(service, [request_line(f"r{number}") for number in range(20)])
    wanted = [f"r{number}" for number in range(20)]
    assert [row["custom_id"] for row in records(cli("results", batch.id).out)] != wanted
    assert [row["custom_id"] for row in records(cli("results", batch.id, "--ordered").out)] == wanted
    turned = b"".join(request_line(custom_id) for custom_id in reversed(wanted))
    Path("in.jsonl").write_bytes(turned)
    for inputs, stdin in (("in.jsonl", b""), ("-", turned)):
        done = cli("results", batch.id, "--ordered", "--inputs", inputs, stdin=stdin)
        assert [row["custom_id"] for row in records(done.out)] == wanted[::-1]


def test_inputs_without_a_result_are_missing(cli: Cli, service: BackgroundServer) -> None:
    """Each request has exactly one result; raw lines there are only of those that have one."""
    service.faults.add(Fault.missing_lines(), Fault.doubled_lines())
    batch = ended(service, LINES)
    done = cli("results", batch.id, "--ordered")
    assert done.code == 1
    assert [row["custom_id"] for row in records(done.out)] == ["a", "b", "c"]
    assert sorted(row["outcome"] for row in records(done.out)) == ["missing", "succeeded", "succeeded"]
    assert "2 succeeded, 1 missing, 1 doubled and left out" in done.err
    assert "warning: the batch is completed, and 1 input is in neither file" in done.err
    assert len(cli("results", batch.id, "--ordered", "--raw").out.splitlines()) == 2


def test_inputs_of_another_batch_are_told(cli: Cli, service: BackgroundServer) -> None:
    """All would be missing: the reason is named."""
    Path("in.jsonl").write_bytes(request_line("x"))
    done = cli("results", ended(service, LINES).id, "--inputs", "in.jsonl")
    assert done.code == 1
    assert "are they those of another one?" in done.err


@pytest.mark.batch_server(models=None)
def test_a_model_without_a_price_is_named(cli: Cli, service: BackgroundServer) -> None:
    """No sum is made up."""
    lines = [request_line("a").replace(b"gpt-4o-mini", b"my-model")]
    assert "no price known for my-model" in cli("results", ended(service, lines).id).err


@pytest.mark.parametrize("shape", [[], ["--ordered"], ["-o", "out.jsonl"]])
def test_a_connection_that_breaks_is_taken_up_again(cli: Cli, service: BackgroundServer, shape: list[str]) -> None:
    """No result is lost or doubled, whether it is streamed, joined or saved: a reader may pause for long."""
    batch = ended(service, [request_line(f"r{number}") for number in range(200)])
    for after_bytes in (20_000, 40_000):
        service.faults.add(Fault.cut_body(path=f"/{batch.output_file_id}/content$", after_bytes=after_bytes))
    done = cli("results", batch.id, *shape)
    assert done.code == 0
    rows = records(done.out or Path("out.jsonl").read_text())
    assert sorted(row["custom_id"] for row in rows) == sorted(f"r{number}" for number in range(200))


# Files.


@pytest.mark.parametrize(
    "name", ["out.jsonl", "out.jsonl.gz", "out.CSV", "out.csv.zst", "out.JSONL.GZ", "out.Parquet", "out.txt"]
)
def test_files_are_whole_and_their_owners_alone(cli: Cli, service: BackgroundServer, name: str) -> None:
    """The suffix says the format; what is in them is what standard output gets. Nothing else stays behind."""
    if name.endswith(".Parquet") and importlib.util.find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not there")
    batch = ended(service, LINES)
    shape = ["--text"] if name.endswith(".txt") else []
    done = cli("results", batch.id, "-o", name, *shape)
    assert (done.code, done.out) == (0, "")
    assert names() == [name]
    assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600
    assert content_of(Path(name)).startswith(
        {"jsonl": b'{"custom_id":"a"', "csv": b"custom_id,", "parquet": b"PAR1", "txt": b"[echo]"}[
            name.lower().split(".")[1]
        ]
    )


def content_of(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix.lower() == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(data).read()
    return data


def test_a_format_is_said_where_the_name_says_none(cli: Cli, service: BackgroundServer) -> None:
    """A name of any kind will do."""
    batch = ended(service, LINES)
    assert cli("results", batch.id, "-o", "out.dat", "--format", "csv").code == 0
    assert Path("out.dat").read_bytes().startswith(b"custom_id,")


def test_nothing_is_overwritten_unless_that_is_asked_for(cli: Cli, service: BackgroundServer) -> None:
    """The file stays as it is, and the service is not asked for results."""
    batch = ended(service, LINES)
    Path("out.jsonl").write_text("precious")
    before = len(service.requests)
    done = cli("results", batch.id, "-o", "out.jsonl")
    assert done.code == 2
    assert done.err == "error: out.jsonl exists\nadvice: Name another file, or replace it with --force\n"
    assert len(service.requests) == before
    assert Path("out.jsonl").read_text() == "precious"
    assert cli("results", batch.id, "-o", "out.jsonl", "--force").code == 0
    assert len(Path("out.jsonl").read_text().splitlines()) == 3


def test_a_file_that_comes_up_meanwhile_is_kept(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever else wrote it loses nothing."""
    from openai_batches.storage.atomic import PartFile

    batch = ended(service, LINES)
    write = PartFile.write

    def write_and_disturb(part: PartFile, chunks: list[bytes]) -> None:
        write(part, chunks)
        part.target.write_text("precious")

    monkeypatch.setattr(PartFile, "write", write_and_disturb)
    done = cli("results", batch.id, "-o", "out.jsonl")
    assert done.code == 2
    assert "out.jsonl" in done.err
    assert (Path("out.jsonl").read_text(), names()) == ("precious", ["out.jsonl"])


def test_a_service_that_breaks_off_leaves_no_file(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not half of the results under a name that looks whole."""
    batch = ended(service, LINES)
    service.faults.add(Fault.cut_body(path="/content$", times=None))
    monkeypatch.setattr("openai_batches.policies.RetryPolicy.delay_s", lambda *_, **__: None)
    done = cli("results", batch.id, "-o", "out.jsonl")
    assert done.code == 3
    assert names() == []


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_asked(cli: Cli, service: BackgroundServer) -> None:
    """A folder that is a file will do for that, even for root."""
    batch = ended(service, LINES)
    before = len(service.requests)
    Path("plain").write_text("")
    Path("folder").mkdir()
    for name, message in (
        ("plain/out.jsonl", "There is no folder plain"),
        ("none/out.jsonl", "There is no folder none"),
        ("folder", "folder is a folder"),
        ("/proc/out.jsonl", "/proc/out.jsonl.part"),
    ):
        done = cli("results", batch.id, "-o", name, "--format", "jsonl")
        assert done.code == 2
        assert message in done.err
    assert len(service.requests) == before


def test_a_device_is_not_replaced_by_a_file(cli: Cli, service: BackgroundServer, tmp_path: Path) -> None:
    """`-o /dev/null --force` must not take the device away."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = cli("results", ended(service, LINES).id, "-o", pipe, "--format", "jsonl", "--force")
    assert done.code == 2
    assert "is not a regular file" in done.err
    assert stat.S_ISFIFO(pipe.stat().st_mode)


# Sending again.


@pytest.mark.batch_server(executor=SOME_FAIL)
def test_resend_writes_the_requests_that_are_worth_another_try(cli: Cli, service: BackgroundServer) -> None:
    """Their lines as they were sent; what would fail again is counted. The results are not written besides."""
    batch = ended(service, LINES)
    done = cli("results", batch.id, "--resend", "again.jsonl")
    assert (done.code, done.out) == (1, "")
    assert Path("again.jsonl").read_bytes() == LINES[2]
    assert "1 request to send again in again.jsonl; 1 request would fail again" in done.err
    assert cli("results", batch.id, "--resend", "-").out.encode() == LINES[2]
    Path("in.jsonl").write_bytes(b"".join(LINES))
    more = ["--resend-all", "--inputs", "in.jsonl", "-o", "out.jsonl", "--failed"]
    done = cli("results", batch.id, "--resend", "all.jsonl", *more)
    assert Path("all.jsonl").read_bytes() == LINES[1] + LINES[2]
    assert "2 requests to send again in all.jsonl\n" in done.err
    assert len(Path("out.jsonl").read_bytes().splitlines()) == 2


def lines_of(*results: tuple[str, int]) -> bytes:
    """Lines of a result file: an id and a status each."""
    return b"".join(
        json.dumps(
            {"custom_id": custom_id, "response": {"status_code": status, "body": {"choices": []}}, "error": None}
        ).encode()
        + b"\n"
        for custom_id, status in results
    )


@pytest.mark.parametrize("how", [[], ["--ordered"], ["--inputs", "in.jsonl"]])
@pytest.mark.parametrize(
    ("results", "again"),
    [
        ([("a", 200), ("b", 200)], ["c"]),
        ([("a", 200), ("b", 500), ("b", 200), ("c", 200)], []),
        ([("a", 200), ("b", 200), ("c", 200), ("strange", 500)], []),
        ([("strange", 500), ("b", 500), ("c", 400)], ["a", "b"]),
    ],
)
def test_each_request_has_one_outcome_when_it_is_to_be_sent_again(
    cli: Cli, service: BackgroundServer, results: list[tuple[str, int]], again: list[str], how: list[str]
) -> None:
    """What never ran is among them; what succeeded at last is not, nor a line of nobody's. Nothing is paid twice."""
    batch = ended(service, LINES)
    output_of(service, batch, lines_of(*results))
    Path("in.jsonl").write_bytes(b"".join(LINES))
    done = cli("results", batch.id, "--resend", "-", *how)
    assert [json.loads(line)["custom_id"] for line in done.out.splitlines()] == again
    assert ("There is nothing to send again" in done.err) is not again


def test_requests_of_another_batch_are_not_sent_again(cli: Cli, service: BackgroundServer) -> None:
    """All of them would be missing, and none of them is meant."""
    Path("in.jsonl").write_bytes(request_line("x"))
    batch = ended(service, LINES)
    done = cli("results", batch.id, "--inputs", "in.jsonl", "--resend", "again.jsonl")
    assert (done.code, names()) == (2, ["in.jsonl"])
    assert f"error: None of the requests of in.jsonl is in batch {batch.id}\n" in done.err


def test_requests_that_are_gone_can_be_given(cli: Cli, service: BackgroundServer) -> None:
    """Input files are deleted first: whoever has a copy names it."""
    batch = ended(service, LINES)
    asked(service, lambda session: session.files.delete(batch.input_file_id))
    for options in (["--ordered"], ["--resend", "-"]):
        done = cli("results", batch.id, *options)
        assert (done.code, done.out) == (3, "")
        assert "--inputs FILE" in done.err.splitlines()[1]


def test_without_anything_to_send_again_there_is_no_file(cli: Cli, service: BackgroundServer) -> None:
    """An empty request file would be refused by the service."""
    done = cli("results", ended(service, LINES).id, "--resend", "again.jsonl")
    assert (done.code, names()) == (0, [])
    assert "There is nothing to send again\n" in done.err


# Misuse.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--raw", "--text"], "--raw, --text and --format cannot be used together"),
        (["--ids"], "--ids and --null are only used with --text"),
        (["--text", "--failed"], "a request that failed has no answer"),
        (["--format", "parquet"], "Parquet is written to a file"),
        (["--format", "xml"], "xml"),
        (["-o", "results.xlsx"], "results.xlsx does not say in which format"),
        (["-o", "results.parquet.gz"], "Parquet is already compressed"),
        (["-o", "results.parquet.ZST"], "Parquet is already compressed"),
        (["-o", "mix.csv", "--format", "jsonl"], "mix.csv means csv, but --format says jsonl"),
        (["-o", "mix.JSONL.gz", "--format", "csv"], "mix.JSONL.gz means jsonl, but --format says csv"),
        (["-o", "x.parquet", "--raw"], "x.parquet means parquet, but --raw writes the service's own lines"),
        (["-o", "x.csv.gz", "--raw"], "x.csv.gz means csv, but --raw"),
        (["-o", "x.csv", "--text"], "x.csv means csv, but --text writes texts alone"),
        (["-o", "x.jsonl", "--text"], "x.jsonl means jsonl, but --text"),
        (["-o", "new/"], "There is no folder new/"),
        (["--resend", "new/"], "There is no folder new/"),
        (["-o", "--force"], "--force is not accepted as a file name"),
        (["--resend", "-", "-o", "-"], "cannot both go to standard output"),
        (["--resend-all"], "--resend-all is only used with --resend"),
        (["--resend", "a.jsonl", "--inputs", "-"], "standard input can be read only once"),
        (["--resend", "a.jsonl", "-o", "a.jsonl"], "-o and --resend are the same file: a.jsonl"),
        (["--inputs", "none.jsonl"], "There is no file none.jsonl"),
        (["--interval", "5s"], "--interval is only used with --wait"),
        (["--wait", "--interval", "0"], "--interval must be longer than 0"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_asked(
    cli: Cli, service: BackgroundServer, arguments: list[str], message: str
) -> None:
    """Exit code 2, one line of what and one of advice, no file."""
    done = cli("results", "batch_1", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert len(done.err.splitlines()) == 2
    assert service.requests == []
    assert names() == []


def test_parquet_without_force_keeps_what_is_there(cli: Cli, service: BackgroundServer) -> None:
    """As every format does."""
    Path("out.parquet").write_text("precious")
    done = cli("results", "batch_1", "-o", "out.parquet")
    assert (done.code, Path("out.parquet").read_text()) == (2, "precious")


# Pipes.


@pytest.fixture
def large(service: BackgroundServer) -> Batch:
    """A batch whose output file is 300 MB long; it is full of holes on the disk."""
    batch = ended(service, [request_line("a")])
    stored = service.store.files.items[batch.output_file_id or ""]
    with stored.path.open("r+b") as file:
        file.write((BIG_LINE + b"\n") * 20_000)
        file.truncate(300_000_000)
    stored.bytes = 300_000_000
    return batch


def started(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "openai_batches.cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("shape", [[], ["--raw"], ["--text"]])
def test_head_ends_a_large_download_at_once(large: Batch, shape: list[str]) -> None:
    """Exit code 141, not a word, and no more is written than a pipe and a little more holds."""
    with started("results", large.id, *shape) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_a_reader_who_pauses_costs_no_memory(large: Batch) -> None:
    """Like `less`: what is not read yet stays at the service."""
    with started("results", large.id, "--raw") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        before = resident_bytes(process.pid)
        wait_until_full(process.stdout.fileno())
        assert resident_bytes(process.pid) - before < 16_000_000
        process.stdout.close()
        assert process.wait(60) == 141


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_ctrl_c_does_not_wait_for_a_reader_who_pauses(large: Batch) -> None:
    """The program ends, though its pipe is full and nobody reads it."""
    with started("results", large.id, "--raw") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        wait_until_full(process.stdout.fileno())
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        process.stdout.close()


def test_the_first_line_comes_while_the_rest_is_on_its_way(service: BackgroundServer) -> None:
    """A slow service does not keep a person waiting for what has arrived."""
    batch = ended(service, [request_line("a")])
    output_of(service, batch, (BIG_LINE + b"\n") * 40)
    service.faults.add(Fault.slow_drip(path="/content$", bytes_per_s=4_000, piece_bytes=1_000))
    with started("results", batch.id) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b'{"custom_id":"a"')
        assert process.poll() is None
        process.stdout.close()
        process.terminate()
        process.wait(60)


@needs_full_device
def test_a_full_disk_is_told(service: BackgroundServer) -> None:
    """Standard output that cannot be written is an error of what is local, not a silent end."""
    batch = ended(service, LINES)
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "openai_batches.cli", "results", batch.id]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 2
    assert b"error: Standard output cannot be written: No space left on device" in done.stderr


def test_a_pipe_that_does_not_block_is_waited_for(service: BackgroundServer) -> None:
    """Some programs start others with such a pipe: nothing is lost when it is full."""
    batch = ended(service, [request_line("a")])
    output_of(service, batch, (BIG_LINE + b"\n") * 1_000)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    command = [sys.executable, "-m", "openai_batches.cli", "results", batch.id, "--raw"]
    with subprocess.Popen(command, stdout=writing, stderr=subprocess.DEVNULL) as process:
        os.close(writing)
        wait_until_full(reading)
        with os.fdopen(reading, "rb") as pipe:
            assert len(pipe.read().splitlines()) == 1_000
        assert process.wait(60) == 1, "the service counts one request"


# Terminals.


def test_a_terminal_obeys_nothing_that_is_in_an_answer(
    service: BackgroundServer, terminal: Callable[..., DrivenTerminal]
) -> None:
    """Escape sequences of a model's answer are shown, not carried out."""
    batch = ended(service, [request_line("a", "\x1b[2J\x1b]0;owned\x07 \u009b31m")])
    driven = terminal("results", batch.id, "--text")
    assert driven.finish() == 0
    assert "[echo] \\x1b[2J\\x1b]0;owned\\x07 \\x9b31m" in driven.screen
    assert "1 result: 1 succeeded; " in driven.screen


@pytest.mark.batch_server(timings=Timings(line_s=600))
def test_waiting_and_reading_are_shown_on_a_terminal(
    service: BackgroundServer, terminal: Callable[..., DrivenTerminal]
) -> None:
    """The state of the batch while it goes on; in the end the sums, and nothing else is left on the screen."""
    batch = created(service, LINES)
    driven = terminal("results", batch.id, "--wait", "--interval", "0.05", "-o", "out.jsonl")
    assert driven.finish() == 0
    assert driven.screen.startswith("3 results: 3 succeeded; ")
    assert len(Path("out.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("options", [[], ["-o", "out.jsonl"]])
@pytest.mark.batch_server(clock=SteppedClock())
def test_ctrl_c_while_it_waits_touches_nothing(
    service: BackgroundServer, terminal: Callable[..., DrivenTerminal], options: list[str]
) -> None:
    """Exit code 4: the same command waits again. No file is left."""
    batch = created(service, LINES)
    driven = terminal("results", batch.id, "--wait", *options)
    driven.wait_for("validating")
    driven.interrupt()
    assert driven.finish() == 4
    assert "continues to run" in driven.screen
    assert names() == []
    assert service.store.batches.items[batch.id].status == "validating"


def test_waiting_is_told_by_the_lines_of_the_batch(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same way as on a terminal, whatever the service counts."""
    service.faults.add(Fault.null_counts(path="/batches/", times=2), Fault.stuck("in_progress", for_s=600))
    batch = created(service, LINES)
    monkeypatch.setattr(results_command, "progress_is_shown", lambda: True)
    assert cli("results", batch.id, "--wait", "--interval", "0.01").code == 0


def test_ctrl_c_while_it_waits_in_a_pipe_is_exit_code_4(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch goes on, and so can the command."""
    service.faults.add(Fault.stuck("in_progress"))
    batch = created(service, LINES)
    monkeypatch.setattr(results_command, "note", lambda _: signal.raise_signal(signal.SIGINT))
    done = cli("results", batch.id, "--wait")
    assert (done.code, done.out) == (4, "")
    assert f"error: Batch {batch.id} continues to run\nadvice: The same command waits for it again\n" == done.err


def test_results_in_a_pipe_have_no_escape_codes(program: Callable[..., Finished], service: BackgroundServer) -> None:
    """Neither in the results nor in what is said about them."""
    done = program("results", ended(service, LINES).id)
    assert (done.code, "\x1b" in done.out + done.err) == (0, False)


def test_a_redirected_output_shows_progress(
    service: BackgroundServer, terminal: Callable[..., DrivenTerminal], tmp_path: Path
) -> None:
    """`> file` on a terminal: a person would see nothing otherwise."""
    batch = ended(service, LINES)
    out = shlex.quote(str(tmp_path / "out"))
    script = f"{shlex.quote(sys.executable)} -m openai_batches.cli results {batch.id} > {out}"
    from support.driven_terminal import DrivenTerminal

    driven = DrivenTerminal(["sh", "-c", script], columns=80, rows=30, env=dict(os.environ))
    try:
        assert driven.finish() == 0
        assert b"results" in driven.raw
        assert len((tmp_path / "out").read_text().splitlines()) == 3
    finally:
        driven.close()
