"""`openai-batches create`: one batch of a file, once, and nothing left behind where there is none."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shlex
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.batch_stage import CHAT, ask, asked, in_terminal, interrupted_when, until
from support.request_lines import request_lines

from openai_batches.emulator import Fault, RealClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]
    Terminal = Callable[..., DrivenTerminal]

pytestmark = pytest.mark.batch_server(clock=RealClock(speed=36_000))

QUICK = ("--interval", "0.02s")
CREATE = r"/batches$"


@pytest.fixture
def requests() -> Path:
    """A request file in the working folder."""
    return written("requests.jsonl", request_lines("a", "b", "c"))


def written(name: str, data: bytes) -> Path:
    path = Path(name)
    path.write_bytes(data)
    return path


def batches(service: BackgroundServer) -> list[str]:
    return service.call(lambda: list(service.store.batches.items))


def uploads(service: BackgroundServer) -> list[str]:
    """The input files that are at the service."""
    found = ask(service, lambda session: session.files.list(purpose="batch").collect())
    return [file.id for file in found]


def created(service: BackgroundServer, out: str) -> object:
    """The batch whose id alone is on standard output."""
    (batch_id,) = batches(service)
    assert out == f"{batch_id}\n"
    return ask(service, lambda session: session.batches.retrieve(batch_id))


def content(service: BackgroundServer, file_id: str) -> bytes:
    async def read(session: object) -> bytes:
        async with session.files.content(file_id) as opened:  # type: ignore[attr-defined]
            data: bytes = await opened.read()
            return data

    return ask(service, read)  # type: ignore[no-any-return]


def test_the_id_alone_is_on_standard_output(cli: Cli, service: BackgroundServer, requests: Path) -> None:
    """`ID=$(openai-batches create FILE)`; what is said about it goes to standard error."""
    done = cli("create", requests, "--metadata", "team=search", "--metadata", "note=a=b", "--window", "24h")
    assert done.code == 0
    batch = created(service, done.out)
    assert (batch.endpoint, batch.completion_window) == (CHAT, "24h")  # type: ignore[attr-defined]
    pairs = dict(batch.metadata)  # type: ignore[attr-defined]
    assert pairs.pop("openai_batches_key")
    assert pairs == {"team": "search", "note": "a=b"}
    checked, uploaded, advice = done.err.splitlines()
    assert checked.startswith("Checked requests.jsonl: 3 requests for /v1/chat/completions, gpt-4o-mini, ")
    assert uploaded.startswith(f"Uploaded requests.jsonl as {batch.input_file_id}, ")  # type: ignore[attr-defined]
    assert advice == f"To wait for it: openai-batches wait {done.out.strip()}"
    assert content(service, batch.input_file_id) == request_lines("a", "b", "c")  # type: ignore[attr-defined]


def test_the_endpoint_is_that_of_the_requests(cli: Cli, service: BackgroundServer) -> None:
    path = written("embed.jsonl", request_lines("a", model="text-embedding-3-small", url="/v1/embeddings"))
    done = cli("create", path, "--output-expires-after", "7d")
    assert created(service, done.out).endpoint == "/v1/embeddings"  # type: ignore[attr-defined]
    (request,) = [request for request in service.requests if request.path == "/v1/batches"]
    assert request.method == "POST"


@pytest.mark.parametrize(
    ("name", "data", "stdin"),
    [
        ("requests.jsonl.gz", gzip.compress(request_lines("a", "b")), b""),
        (
            "requests.jsonl",
            b"\xef\xbb\xbf" + request_lines("a").replace(b"\n", b"\r\n") + b"\n\n" + request_lines("b"),
            b"",
        ),
        ("requests.txt", request_lines("a", "b"), b""),
        ("-", b"", request_lines("a", "b")),
        ("-", b"", gzip.compress(request_lines("a", "b"))),
    ],
)
def test_what_the_service_would_stumble_over_is_put_right(
    cli: Cli, service: BackgroundServer, name: str, data: bytes, stdin: bytes
) -> None:
    """Packed files, byte order marks, blank lines and other names: what arrives are plain lines of a .jsonl file."""
    if name != "-":
        written(name, data)
    done = cli("create", name, stdin=stdin)
    assert done.code == 0
    batch = created(service, done.out)
    assert content(service, batch.input_file_id) == request_lines("a", "b")  # type: ignore[attr-defined]
    file = ask(service, lambda session: session.files.retrieve(batch.input_file_id))  # type: ignore[attr-defined]
    assert file.filename in {"requests.jsonl", "requests.txt.jsonl"}


def test_a_pipe_with_a_name_is_read_once(cli: Cli, service: BackgroundServer) -> None:
    """As `create <(zcat requests.jsonl.gz)` gives one."""
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: written("pipe", request_lines("a")))
    writer.start()
    done = cli("create", "pipe")
    writer.join()
    assert done.code == 0
    assert content(service, created(service, done.out).input_file_id) == request_lines("a")  # type: ignore[attr-defined]


def test_a_bad_file_is_named_line_by_line_and_not_sent(cli: Cli, service: BackgroundServer) -> None:
    written("bad.jsonl", request_lines("a") + b"{no json\n" + request_lines("a"))
    done = cli("create", "bad.jsonl")
    assert (done.code, done.out) == (2, "")
    assert "bad.jsonl:2" in done.err
    assert "bad.jsonl:3" in done.err
    assert service.requests == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (request_lines("a") + request_lines("b", url="/v1/responses"), "does not match the batch endpoint"),
        (request_lines("a") + request_lines("b", model="gpt-4o"), "single model"),
        (b"".join(request_lines(f"r{number}") for number in range(5_001)), "5,001 requests, one batch of SiliconFlow"),
    ],
)
def test_a_file_of_more_than_one_batch_is_a_matter_of_run_or_split(
    cli: Cli, service: BackgroundServer, data: bytes, reason: str
) -> None:
    written("many.jsonl", data)
    done = cli(
        "create",
        "many.jsonl",
        "--provider",
        "siliconflow",
        "--base-url",
        service.base_url,
        "--api-key-env",
        "OPENAI_API_KEY",
    )
    assert (done.code, done.out) == (2, "")
    first, second = done.err.splitlines()
    assert first.startswith("error: many.jsonl makes more than one batch: ")
    assert reason in first
    assert "openai-batches run many.jsonl" in second
    assert "openai-batches split many.jsonl" in second
    assert service.requests == []
    assert (
        "`openai-batches run FILE"
        in cli(
            "create",
            "-",
            "--provider",
            "siliconflow",
            "--base-url",
            service.base_url,
            "--api-key-env",
            "OPENAI_API_KEY",
            stdin=data,
        ).err
    )


def test_without_validation_the_file_is_sent_as_it_is(cli: Cli, service: BackgroundServer) -> None:
    """The endpoint is that of the first line, or the one that is given."""
    data = request_lines("a") + b"{no json\n"
    written("odd.jsonl", data)
    done = cli("create", "odd.jsonl", "--no-validate")
    assert done.code == 0
    batch = created(service, done.out)
    assert content(service, batch.input_file_id) == data  # type: ignore[attr-defined]
    assert "Checked" not in done.err
    written("none.jsonl", b'{"custom_id": "a"}\n')
    done = cli("create", "none.jsonl", "--no-validate")
    assert done.code == 2
    assert "Name the endpoint" in done.err
    assert cli("create", "none.jsonl", "--no-validate", "--endpoint", CHAT).code == 0


def test_a_file_at_the_service_is_not_sent_again(cli: Cli, service: BackgroundServer, requests: Path) -> None:
    """Where its requests go is read from its first line."""
    file = ask(service, lambda session: session.files.create(requests))
    done = cli("create", file.id)
    assert done.code == 0
    assert created(service, done.out).input_file_id == file.id  # type: ignore[attr-defined]
    assert asked(service, "POST", "/v1/files") == 1
    assert cli("create", file.id, "--endpoint", CHAT).code == 0
    assert asked(service, "GET", f"/v1/files/{file.id}/content") == 1


def test_a_file_on_the_disk_goes_before_an_id(cli: Cli, service: BackgroundServer) -> None:
    written("file-abc", request_lines("a"))
    done = cli("create", "file-abc")
    assert done.code == 0
    assert created(service, done.out).input_file_id != "file-abc"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("data", "fault", "code", "message"),
    [
        (b"\n\n", None, 2, "has no request"),
        (b"\n{no json\n", None, 2, "is not a request"),
        (request_lines("a"), Fault.error_before(403, path="/content$"), 3, "cannot be read"),
    ],
)
def test_a_file_at_the_service_that_says_no_endpoint(
    cli: Cli, service: BackgroundServer, data: bytes, fault: Fault | None, code: int, message: str
) -> None:
    """The person is told to name it."""
    file = ask(service, lambda session: session.files.create(data, filename="odd.jsonl", purpose="fine-tune"))
    service.faults.add(*([fault] if fault else []))
    done = cli("create", file.id)
    assert (done.code, done.out) == (code, "")
    assert message in done.err.splitlines()[0]
    assert batches(service) == []


def test_an_unknown_file_is_the_services_no(cli: Cli, service: BackgroundServer) -> None:
    done = cli("create", "file-unknown")
    assert (done.code, done.out) == (3, "")
    assert "file-unknown" in done.err


def test_a_lost_answer_makes_no_second_batch(cli: Cli, service: BackgroundServer, requests: Path) -> None:
    """The batch is looked for, found, and is the one whose id is written."""
    service.faults.add(Fault.lost_answer(method="POST", path=CREATE))
    done = cli("create", requests)
    assert done.code == 0
    created(service, done.out)


def test_a_refused_batch_leaves_no_file_behind(cli: Cli, service: BackgroundServer, requests: Path) -> None:
    """What was uploaded for it is deleted again, and that is said."""
    service.faults.add(Fault.error_before(400, method="POST", path=CREATE))
    done = cli("create", requests)
    assert (done.code, done.out) == (3, "")
    assert "was deleted" in done.err
    assert uploads(service) == []


def test_a_file_that_cannot_be_deleted_is_named(cli: Cli, service: BackgroundServer, requests: Path) -> None:
    service.faults.add(
        Fault.error_before(400, method="POST", path=CREATE), Fault.error_before(403, method="DELETE", path="/files/")
    )
    done = cli("create", requests)
    assert done.code == 3
    (file_id,) = uploads(service)
    assert f"The file {file_id} could not be deleted; to delete it: openai-batches files delete {file_id}" in done.err


def test_what_cannot_be_asked_for_leaves_no_file_behind(cli: Cli, service: BackgroundServer, requests: Path) -> None:
    done = cli("create", requests, "--no-validate", "--window", "")
    assert (done.code, done.out) == (2, "")
    assert "was deleted" in done.err
    assert uploads(service) == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault.insufficient_quota(path=CREATE),
        Fault.token_limit_at_create(),
        Fault.error_before(408, method="POST", path=CREATE, times=None),
    ],
)
def test_a_file_that_is_of_use_later_stays(
    cli: Cli, service: BackgroundServer, requests: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After what can pass, the upload need not be repeated: the command that uses it is said."""
    monkeypatch.setattr("openai_batches.http.retries.asyncio.sleep", quickly)
    service.faults.add(fault)
    options = ["--metadata", "team=new search", "--output-expires-after", "7d", "--window", "24h", "--wait", *QUICK]
    done = cli("create", requests, *options)
    assert (done.code, done.out) == (3, "")
    (file_id,) = uploads(service)
    again = f"openai-batches create {file_id} {shlex.join(options)} --endpoint {CHAT}"
    gone = f"openai-batches files delete {file_id}"
    assert f"The file {file_id} stays at the service. To use it: {again}; to delete it: {gone}\n" in done.err
    service.faults.clear()
    done = cli(*shlex.split(again)[1:])
    assert done.code == 0
    assert dict(created(service, done.out).metadata)["team"] == "new search"  # type: ignore[attr-defined]


REAL_SLEEP = asyncio.sleep


async def quickly(_: float) -> None:
    """A pause that takes no time."""
    await REAL_SLEEP(0)


def test_where_nobody_can_tell_whether_the_batch_exists_its_file_stays(
    cli: Cli, service: BackgroundServer, requests: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost, and so is the list: the person is told what to look for, and nothing is sent twice."""
    monkeypatch.setattr("openai_batches.http.retries.asyncio.sleep", quickly)
    service.faults.add(
        Fault.lost_answer(method="POST", path=CREATE), Fault.error_before(500, method="GET", path=CREATE, times=None)
    )
    done = cli("create", requests)
    assert (done.code, done.out) == (3, "")
    assert "openai_batches_key=" in done.err
    assert "stays at the service: there may be a batch of it\n" in done.err
    assert "openai-batches create" not in done.err
    assert (len(batches(service)), len(uploads(service))) == (1, 1)


def test_a_key_of_ones_own_names_one_batch(cli: Cli, service: BackgroundServer, requests: Path) -> None:
    """The same command a second time finds the batch, and uploads nothing."""
    first = cli("create", requests, "--idempotency-key", "nightly-7")
    assert first.code == 0
    second = cli("create", requests, "--idempotency-key", "nightly-7")
    assert second.out == first.out
    assert "already exists" in second.err
    assert asked(service, "POST", "/v1/files") == 1
    assert len(batches(service)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "is missing"),
        (["none.jsonl"], "There is no file none.jsonl"),
        (["."], ". is a folder"),
        (["requests.jsonl", "--metadata", "x"], "'x' is not a pair of metadata"),
        (["requests.jsonl", "--metadata", f"{'k' * 65}=x"], "at most 64 characters"),
        (["requests.jsonl", "--output-expires-after", "1m"], "--output-expires-after must be 1h to 30d, not 1m"),
        (["requests.jsonl", "--idempotency-key", ""], "idempotency_key must be"),
        (["requests.jsonl", "--endpoint", "chat"], "There is no endpoint 'chat'"),
        (["requests.jsonl", "--interval", "0"], "--interval must be longer"),
        (["requests.jsonl", "--interval", "5s"], "--interval is only used with --wait"),
        (["--bogus"], "Unknown option: --bogus"),
        (
            ["requests.jsonl", *(f"--metadata=k{number}=v" for number in range(16))],
            "A batch takes 15 pairs of yours, and these are 16",
        ),
    ],
)
def test_a_wrong_call_sends_nothing(
    cli: Cli, service: BackgroundServer, requests: Path, arguments: list[str], message: str
) -> None:
    done = cli("create", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in " ".join(done.err.splitlines())
    assert len(done.err.splitlines()) == 2
    assert service.requests == []


def test_wait_goes_on_to_the_end(cli: Cli, service: BackgroundServer, requests: Path) -> None:
    """The id alone stays on standard output, the end is said on standard error, and is the exit code."""
    done = cli("create", requests, "--wait", *QUICK)
    assert done.code == 0
    batch = created(service, done.out)
    assert done.err.splitlines()[-1] == f"{batch.id}  completed"  # type: ignore[attr-defined]
    service.faults.add(Fault.expired_early(for_s=1))
    assert cli("create", requests, "--wait", *QUICK).code == 1


@pytest.mark.parametrize(("options", "code"), [((), 130), (("--idempotency-key", "k"), 4)])
def test_ctrl_c_while_waiting_leaves_the_batch(
    cli: Cli, service: BackgroundServer, requests: Path, options: tuple[str, ...], code: int
) -> None:
    """The same command goes on only where a key of the person's own names the batch."""
    service.faults.add(Fault.stuck("validating"))

    def is_waiting() -> bool:
        return any(request.path.startswith("/v1/batches/") for request in service.requests)

    with interrupted_when(is_waiting):
        done = cli("create", requests, "--wait", *options, *QUICK)
    assert done.code == code
    assert f"The batch continues to run. To wait for it: openai-batches wait {done.out.strip()}\n" in done.err
    assert len(batches(service)) == 1


def test_ctrl_c_while_it_is_created_tells_the_id_all_the_same(
    cli: Cli, service: BackgroundServer, requests: Path
) -> None:
    """Nobody is left with a batch that he does not know of."""
    service.faults.add(Fault.slow_drip(method="POST", path=CREATE, bytes_per_s=1_000))
    with interrupted_when(lambda: len(service.store.batches.items) > 0):
        done = cli("create", requests)
    assert done.code == 130
    created(service, done.out)
    assert "waiting for its id" in done.err
    assert f"To cancel it: openai-batches cancel {done.out.strip()}" in done.err


def test_a_terminal_shows_the_upload(terminal: Terminal, service: BackgroundServer, requests: Path) -> None:
    """Progress while it lasts, then the words that stay, and the id on a line of its own."""
    driven = terminal("create", requests)
    assert driven.finish() == 0
    screen = driven.screen.splitlines()
    (batch_id,) = batches(service)
    assert batch_id in screen
    assert screen[0].startswith("Checked requests.jsonl: 3 requests for /v1/chat/completions, gpt-4o-mini")
    assert b"Uploading" in driven.raw
    assert "Uploading" not in driven.screen


def test_ctrl_c_during_the_upload_leaves_nothing(terminal: Terminal, service: BackgroundServer, requests: Path) -> None:
    service.faults.add(Fault.hang_before(method="POST", path="/files$"))
    driven = terminal("create", requests)
    until(lambda: bool(service.faults.fired))
    driven.interrupt()
    assert driven.finish() == 130
    assert (uploads(service), batches(service)) == ([], [])


def test_progress_is_drawn_in_this_process(
    cli: Cli, service: BackgroundServer, requests: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, waiting is drawn below, and the end is said above."""
    with in_terminal(monkeypatch, columns=120):
        done = cli("create", requests, "--wait", *QUICK)
    assert done.code == 0
    assert done.out.strip() == batches(service)[0]
    assert "completed" in done.err


def test_json_of_a_batch_that_was_created_is_a_matter_of_show(
    cli: Cli, service: BackgroundServer, requests: Path
) -> None:
    """The commands work together."""
    batch_id = cli("create", requests, "--wait", *QUICK).out.strip()
    assert json.loads(cli("show", batch_id, "--json").out)["status"] == "completed"


def test_problems_of_standard_input_name_no_file(cli: Cli, service: BackgroundServer) -> None:
    """The copy that is made of it is gone before anybody could look into it."""
    done = cli("create", "-", stdin=b"{oops}\n")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[1].startswith("  line 1, column 2: ")
    assert "/" not in done.err
    assert service.requests == []


def test_problems_of_a_pipe_name_the_pipe(cli: Cli, service: BackgroundServer) -> None:
    """As a shell makes one of `<(...)`."""
    os.mkfifo("pipe")
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(Path("pipe").write_bytes, b"{oops}\n")
        done = cli("create", "pipe")
        written.result(10)
    assert done.code == 2
    assert done.err.splitlines()[1].startswith("  pipe:1:2: ")
    assert service.requests == []


def test_standard_input_is_written_as_within_a_sentence(cli: Cli, service: BackgroundServer) -> None:
    done = cli("create", "-", stdin=request_lines("a"))
    assert (done.code, len(batches(service))) == (0, 1)
    assert done.err.startswith("Checked standard input: 1 request for ")


def test_an_output_that_is_closed_is_found_before_anything_is_paid(
    cli: Cli, service: BackgroundServer, requests: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id would be lost."""
    monkeypatch.setattr(sys, "stdout", None)
    done = cli("create", requests)
    assert done.code == 2
    assert done.err.startswith("error: Standard output is closed")
    assert service.requests == []
