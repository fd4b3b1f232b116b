"""`files`: what is at the service, there and back again, whole, under harmless names, and gone when that is meant."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.bad_service import answering
from support.ended_batches import asked, ended, names
from support.request_lines import request_line

from openai_batches.cli.output.save import safe_name
from openai_batches.emulator import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches import FileObject
    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]
    Terminal = Callable[..., DrivenTerminal]

DATA = b"".join(request_line(f"r{number}", "hello") for number in range(500))


def uploaded(
    service: BackgroundServer, name: str = "notes.txt", content: bytes = DATA, purpose: str = "batch_output"
) -> FileObject:
    """A file at the service that may be downloaded, whatever it says that the file is called."""
    file: FileObject = asked(service, lambda session: session.files.create(DATA, filename="x.jsonl"))
    stored = service.store.files.items[file.id]
    stored.filename, stored.purpose, stored.bytes = name, purpose, len(content)
    stored.path.write_bytes(content)
    return file


def named(service: BackgroundServer, name: str) -> str:
    return uploaded(service, name).id


def routes(service: BackgroundServer) -> list[tuple[str, str]]:
    return [(request.method, request.path) for request in service.requests]


# list


def test_a_list_has_a_row_for_each_file_and_the_sum_on_standard_error(cli: Cli, service: BackgroundServer) -> None:
    """In a pipe nothing is cut, and the sum is not in the way."""
    long = "a" * 200 + ".txt"
    first, second = uploaded(service, long), uploaded(service, "requests.jsonl", b"{}\n" * 500_000, "batch")
    done = cli("files", "list")
    assert done.code == 0
    head, *rows = done.out.splitlines()
    assert head.split() == ["id", "size", "age", "left", "purpose", "name"]
    assert [row.split()[0] for row in rows] == [second.id, first.id]
    assert rows[0].split()[1:3] == ["1.5", "MB"]
    assert rows[0].split()[4:] == ["30d", "batch", "requests.jsonl"]
    assert rows[1].endswith(long)
    assert done.err.startswith("2 files, 1.6 MB")


def test_a_list_of_nothing_is_no_table(cli: Cli, service: BackgroundServer) -> None:
    """Nor is it no JSON."""
    assert cli("files", "list") == (0, "", "0 files, 0 B\n")
    assert cli("files", "list", "--json") == (0, "[]\n", "")
    assert cli("files", "list", "--jsonl") == (0, "", "")


def test_json_is_the_services_record(cli: Cli, service: BackgroundServer) -> None:
    """One document, or one line each, and nothing else."""
    wanted = [uploaded(service, name).id for name in ("b.txt", "a.txt")][::-1]
    document, lines = cli("files", "list", "--json"), cli("files", "list", "--jsonl")
    assert [file["id"] for file in json.loads(document.out)] == wanted
    assert [json.loads(line)["id"] for line in lines.out.splitlines()] == wanted
    assert json.loads(document.out)[0]["filename"] == "a.txt"
    assert (document.err, lines.err) == ("", "")


def test_a_list_asks_for_no_more_than_it_shows(cli: Cli, service: BackgroundServer) -> None:
    """A limit is a page of that size; a purpose is the service's to choose by."""
    for number in range(5):
        uploaded(service, f"{number}.txt", purpose="user_data" if number == 4 else "batch_output")
    before = len(service.requests)
    done = cli("files", "list", "--limit", "2")
    assert len(done.out.splitlines()) == 3
    assert len(service.requests) == before + 1
    assert "4.txt" not in cli("files", "list", "--purpose", "batch_output").out


def test_a_list_goes_on_page_after_page(cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files, one head, and columns that do not shift."""
    from openai_batches.cli.commands import files

    monkeypatch.setattr(files, "_PAGE", 2)
    for number in range(5):
        uploaded(service, f"{number}.txt")
    lines = cli("files", "list").out.splitlines()
    assert [line.split()[-1] for line in lines] == ["name", "4.txt", "3.txt", "2.txt", "1.txt", "0.txt"]
    assert len({len(line) for line in lines[1:]}) == 1
    assert len(cli("files", "list", "--limit", "3").out.splitlines()) == 4
    assert cli("files", "list", "--limit", "0").out == cli("files", "list").out


def test_what_the_service_does_not_say_is_blank(cli: Cli, service: BackgroundServer) -> None:
    """A file that does not expire has no time left to show."""
    stored = service.store.files.items[uploaded(service).id]
    stored.expires_at = None
    assert cli("files", "list").out.splitlines()[1].split()[3:] == ["0s", "batch_output", "notes.txt"]


def test_a_long_name_is_cut_at_the_end_of_the_line(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal alone, and however narrow it is."""
    from openai_batches.cli.commands import files

    uploaded(service, "abc" * 30)
    for is_terminal, length in ((True, 80), (False, 153)):
        monkeypatch.setattr(files, "out_is_terminal", lambda is_terminal=is_terminal: is_terminal)
        assert len(cli("files", "list").out.splitlines()[1]) == length


@pytest.mark.parametrize("columns", [80, 160])
def test_a_list_fits_the_terminal(service: BackgroundServer, terminal: Terminal, columns: int) -> None:
    """One line for each file, the name cut at the end if it must be; ids are whole, and no name is obeyed."""
    first, second = named(service, f"{'long-' * 10}name.jsonl"), named(service, "\x1b[31mred\n.txt")
    driven = terminal("files", "list", columns=columns)
    assert driven.finish() == 0
    lines = driven.screen.splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= columns
    assert lines[1].startswith(second)
    assert lines[2].startswith(first)
    assert lines[2].endswith("…" if columns == 80 else "name.jsonl")
    assert "\\x1b[31mred .txt"[:10] in lines[1]
    assert b"\x1b[1mid" in driven.raw
    assert lines[3].startswith("2 files, ")


def test_a_list_into_head_ends_quietly(service: BackgroundServer) -> None:
    """Exit code 141, no word."""
    uploaded(service)
    command = [sys.executable, "-m", "openai_batches.cli", "files", "list", "--jsonl"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


# upload


def test_upload_prints_the_id_alone(cli: Cli, service: BackgroundServer) -> None:
    """So that a script can take it; what a person wants to know is on standard error."""
    Path("requests.jsonl").write_bytes(DATA)
    done = cli("files", "upload", "requests.jsonl")
    stored = service.store.files.items[done.out.strip()]
    assert (stored.filename, stored.purpose, stored.bytes) == ("requests.jsonl", "batch", len(DATA))
    assert done.err == f"Uploaded requests.jsonl as {done.out.strip()}, 78.4 kB\n"


@pytest.mark.parametrize("how", [[], ["--parts"]])
def test_upload_takes_standard_input(cli: Cli, service: BackgroundServer, how: list[str]) -> None:
    """In parts, too; the service needs a name, and a life if one is given."""
    data = DATA * 8
    done = cli("files", "upload", "-", "--expires-after", "2h", *how, stdin=data)
    stored = service.store.files.items[done.out.strip()]
    assert service.store.read(stored.id) == data
    assert stored.filename == "requests.jsonl"
    assert stored.expires_at is not None
    assert stored.expires_at - stored.created_at == 7_200


def test_upload_takes_another_purpose_and_name(cli: Cli, service: BackgroundServer) -> None:
    """The record of the service is printed if that is asked for."""
    done = cli("files", "upload", "-", "--purpose", "user_data", "--json", stdin=b"notes")
    record = json.loads(done.out)
    assert (record["filename"], record["purpose"], record["bytes"]) == ("upload", "user_data", 5)
    Path("notes.txt").write_bytes(DATA)
    assert cli("files", "upload", "notes.txt", "--name", "requests.jsonl").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.jsonl"], "There is no file none.jsonl"),
        (["folder"], "called *.jsonl, not folder"),
        (["folder", "--purpose", "user_data"], "folder is a folder"),
        (["notes.txt"], "called *.jsonl, not notes.txt"),
        (["r.jsonl.gz"], "the service reads no packed files"),
        (["empty.jsonl"], "empty.jsonl is empty"),
        (["-"], "There is nothing on standard input"),
        (["r.jsonl", "--expires-after", "1m"], "--expires-after must be 1h to 30d, not 1m"),
        (["r.jsonl", "--expires-after", "31d"], "--expires-after must be 1h to 30d, not 31d"),
        (["r.jsonl", "--expires-after", "soon"], "soon"),
        (["--parts"], "is missing"),
    ],
)
def test_what_cannot_be_uploaded_is_refused_before_anything_is_sent(
    cli: Cli, service: BackgroundServer, arguments: list[str], message: str
) -> None:
    """Exit code 2, with what to do."""
    Path("folder").mkdir()
    Path("empty.jsonl").touch()
    Path("r.jsonl").write_bytes(DATA)
    done = cli("files", "upload", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert len(done.err.splitlines()) == 2
    assert service.requests == []


def test_a_pipe_with_a_name_is_sent_to_standard_input(cli: Cli, service: BackgroundServer) -> None:
    """It can be read once and has no size: nobody is told that it is empty."""
    os.mkfifo("pipe.jsonl")
    done = cli("files", "upload", "pipe.jsonl")
    assert (done.code, service.requests) == (2, [])
    assert done.err.startswith("error: pipe.jsonl is not a regular file\nadvice: Send it to standard input")


def test_an_upload_shows_how_far_it_is(service: BackgroundServer, terminal: Terminal) -> None:
    """While it goes on, and on a terminal alone; in the end there are the id and one line."""
    Path("requests.jsonl").write_bytes(DATA)
    driven = terminal("files", "upload", "requests.jsonl")
    assert driven.finish() == 0
    assert b"Uploading requests.jsonl" in driven.raw
    assert [line[:5] for line in driven.screen.splitlines()] == ["Uploa", "file-"]


def test_ctrl_c_ends_an_upload_that_waits_for_standard_input(service: BackgroundServer, terminal: Terminal) -> None:
    """A person who has second thoughts: 130, and nothing is at the service."""
    driven = terminal("files", "upload", "-")
    driven.wait_for("keyboard")
    driven.interrupt()
    assert driven.finish() == 130
    assert not service.store.files.items


# download


def test_a_download_has_its_own_name(cli: Cli, service: BackgroundServer) -> None:
    """Whole, its owner's alone; its name is what is printed."""
    done = cli("files", "download", uploaded(service).id)
    assert (done.code, done.out, done.err) == (0, "notes.txt\n", "Downloaded notes.txt, 78.4 kB\n")
    assert Path("notes.txt").read_bytes() == DATA
    assert stat.S_IMODE(Path("notes.txt").stat().st_mode) == 0o600


def test_a_download_goes_where_it_is_told_to(cli: Cli, service: BackgroundServer) -> None:
    """To a name, into a folder, or to standard output."""
    file = uploaded(service)
    Path("folder").mkdir()
    assert cli("files", "download", file.id, "-o", "other.jsonl").out == "other.jsonl\n"
    assert cli("files", "download", file.id, "-o", "folder").out == "folder/notes.txt\n"
    assert cli("files", "download", file.id, "-o", "-").out.encode() == DATA
    assert Path("folder/notes.txt").read_bytes() == Path("other.jsonl").read_bytes() == DATA


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/etc/shadow", "shadow"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("~root", "root"),
        ("a\x00b\x1b[2J\nc.txt", "a_b_[2J_c.txt"),
        ("cut\u202etxt.exe", "cut_txt.exe"),
        ("con.txt", "con_.txt"),
        ("what?<is>:this|*", "what__is__this__"),
        ("name. . ", "name"),
        ("a b.txt", "a b.txt"),
        ("été.txt", "été.txt"),
        ("é" * 300 + ".jsonl", "é" * 100 + ".jsonl"),
        ("x" * 10 + "." + "y" * 300, "x" * 10 + "." + "y" * 189),
        ("lone\ud800.txt", "lone_.txt"),
        ("", "file-1"),
        ("..", "file-1"),
        ("a/", "file-1"),
        ("\x00\x01", "file-1"),
    ],
)
def test_a_name_from_elsewhere_leads_nowhere_else(name: str, safe: str) -> None:
    """It names a file in this folder: no other folder, no hidden file, no option, no device."""
    assert safe_name(name, otherwise="file-1") == safe


@pytest.mark.parametrize("name", ["../../escaped.txt", "/tmp/escaped.txt", "..\\escaped.txt"])
def test_a_hostile_name_is_made_harmless(cli: Cli, service: BackgroundServer, name: str) -> None:
    """What the service calls a file is no path of ours."""
    done = cli("files", "download", named(service, name))
    assert (done.code, done.out) == (0, "escaped.txt\n")
    assert names() == ["escaped.txt"]


def test_a_file_without_a_usable_name_is_called_by_its_id(cli: Cli, service: BackgroundServer) -> None:
    """There is always a name."""
    file_id = named(service, "..")
    assert cli("files", "download", file_id).out == f"{file_id}\n"


@pytest.mark.parametrize("arguments", [[], ["-o", "a.jsonl"], ["-o", "-"]])
def test_a_page_in_place_of_a_file_is_no_file(cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """What answers everything with a page is no service, and its page is not kept."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with answering(200) as address:
        done = cli("files", "download", "file-1", *arguments, "--base-url", address)
    assert (done.code, done.out) == (3, "")
    assert "check --base-url" in done.err
    assert list(Path().iterdir()) == []


def test_a_download_replaces_nothing_unless_told_to(cli: Cli, service: BackgroundServer) -> None:
    """Not by its own name, which is not in the person's hands, and not by another."""
    file = uploaded(service)
    Path("notes.txt").write_text("precious")
    for arguments in ([], ["-o", "notes.txt"]):
        done = cli("files", "download", file.id, *arguments)
        assert (done.code, done.out) == (2, "")
        assert "notes.txt exists" in done.err
    assert Path("notes.txt").read_text() == "precious"
    assert cli("files", "download", file.id, "--force").code == 0
    assert Path("notes.txt").read_bytes() == DATA


def test_a_download_goes_on_where_it_was_cut(cli: Cli, service: BackgroundServer) -> None:
    """Each answer brings a part: the file is whole in the end."""
    file = uploaded(service)
    service.faults.add(Fault.cut_body(path="/content$", after_bytes=len(DATA) // 3, times=2))
    assert cli("files", "download", file.id).code == 0
    assert Path("notes.txt").read_bytes() == DATA
    assert routes(service).count(("GET", f"/v1/files/{file.id}/content")) == 3


def test_a_download_that_does_not_come_whole_leaves_nothing(cli: Cli, service: BackgroundServer) -> None:
    """Exit code 3; neither half a file nor a part of one."""
    file = uploaded(service)
    service.faults.add(Fault.error_before(403, path="/content$", times=None))
    done = cli("files", "download", file.id)
    assert (done.code, done.out, names()) == (3, "", [])


def test_ctrl_c_leaves_no_part_of_a_download(service: BackgroundServer, terminal: Terminal) -> None:
    """130, and the folder is as it was."""
    file = uploaded(service)
    service.faults.add(Fault.slow_drip(path="/content$", bytes_per_s=2_000, piece_bytes=1_000))
    driven = terminal("files", "download", file.id)
    driven.wait_for("Downloading")
    driven.interrupt()
    assert driven.finish() == 130
    assert names() == []


def test_a_download_somebody_else_is_at_is_left_to_them(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that write one file would spoil it."""
    from openai_batches.storage.atomic import PartFile

    file = uploaded(service)
    other = PartFile(Path("notes.txt"), compression=None, overwrite=False)
    other.open()
    try:
        for arguments in (["files", "download", file.id], ["results", "b", "-o", "notes.txt", "--raw"]):
            done = cli(*arguments)
            assert done.code == 2
            assert "another process is writing it" in done.err
    finally:
        other.discard()


@pytest.mark.parametrize("arguments", [["-o", "none/x"], ["-o", "plain/x"], ["-o", "-x"]])
def test_where_nothing_can_be_written_nothing_is_asked(
    cli: Cli, service: BackgroundServer, arguments: list[str]
) -> None:
    """Exit code 2."""
    Path("plain").touch()
    assert cli("files", "download", "file-1", *arguments).code == 2
    assert service.requests == []


def test_an_unknown_file_is_the_services_no(cli: Cli, service: BackgroundServer) -> None:
    """By whatever way it is asked for: exit code 3, and nothing stays behind."""
    for arguments in ([], ["-o", "x"], ["-o", "-"]):
        done = cli("files", "download", "file-1", *arguments)
        assert (done.code, done.out) == (3, "")
        assert "No such File object: file-1" in done.err
    assert names() == []


def test_a_download_shows_how_far_it_is(service: BackgroundServer, terminal: Terminal) -> None:
    """Bytes, speed and time left; in the end its name and one line."""
    file = uploaded(service)
    driven = terminal("files", "download", file.id)
    assert driven.finish() == 0
    assert b"Downloading notes.txt" in driven.raw
    assert driven.screen.splitlines() == ["notes.txt", "Downloaded notes.txt, 78.4 kB"]


def test_a_terminal_obeys_nothing_that_is_in_a_file(service: BackgroundServer, terminal: Terminal) -> None:
    """Escape sequences are shown, and bytes that are no text too."""
    file = uploaded(service, content=b"\x1b[2Jplain \xff\xc3\xa9\n")
    driven = terminal("files", "download", file.id, "-o", "-")
    assert driven.finish() == 0
    assert driven.screen == "\\x1b[2Jplain \N{REPLACEMENT CHARACTER}é"


def test_a_stream_that_is_cut_goes_on_or_is_not_taken_for_whole(cli: Cli, service: BackgroundServer) -> None:
    """It goes on while it gets further. What was written cannot be taken back: then the exit code is 3, with advice."""
    file = uploaded(service)
    service.faults.add(Fault.cut_body(path="/content$", after_bytes=len(DATA) // 3))
    assert cli("files", "download", file.id, "-o", "-").out.encode() == DATA
    cut = Fault.cut_body(path="/content$", after_bytes=len(DATA) // 3)
    service.faults.add(cut, Fault.error_before(404, path="/content$"))
    done = cli("files", "download", file.id, "-o", "-")
    assert done.code == 3
    assert DATA.startswith(done.out.encode())
    assert "were written, which is not the whole file" in done.err
    assert "-o FILE" in done.err


def test_head_ends_a_large_download(service: BackgroundServer) -> None:
    """The file is 300 MB long, and what is not read is not sent: exit code 141, silently."""
    file = uploaded(service)
    stored = service.store.files.items[file.id]
    os.truncate(stored.path, 300_000_000)
    stored.bytes = 300_000_000
    command = [sys.executable, "-m", "openai_batches.cli", "files", "download", file.id, "-o", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == request_line("r0", "hello")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_standard_output_in_a_file_shows_progress(
    cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-o - > file`: a person would see nothing otherwise."""
    from rich.console import Console

    from openai_batches.cli.commands import files
    from openai_batches.cli.output import live

    monkeypatch.setattr(files, "out_is_file", lambda: True)
    monkeypatch.setattr(live, "progress_is_shown", lambda: True)
    monkeypatch.setattr(live, "stderr", lambda: Console(file=sys.stderr, force_terminal=True, width=80))
    done = cli("files", "download", uploaded(service).id, "-o", "-")
    assert done.out.encode() == DATA
    assert "Downloading" in done.err


# delete


def test_delete_deletes_each_and_says_so(cli: Cli, service: BackgroundServer) -> None:
    """One that is named twice is deleted once."""
    first, second = uploaded(service), uploaded(service)
    done = cli("files", "delete", first.id, second.id, first.id)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{first.id}  deleted\n{second.id}  deleted\n"
    assert not service.store.files.items


def test_delete_takes_what_list_writes(cli: Cli, service: BackgroundServer) -> None:
    """`files list | files delete -`."""
    for _ in range(3):
        uploaded(service)
    listed = cli("files", "list").out
    assert cli("files", "delete", "-", stdin=listed.encode()).code == 0
    assert not service.store.files.items


def test_one_that_is_gone_does_not_keep_the_others(cli: Cli, service: BackgroundServer) -> None:
    """It is told, the rest is done, and the exit code is the worst."""
    first, second = uploaded(service), uploaded(service)
    cli("files", "delete", first.id)
    done = cli("files", "delete", "../batches", first.id, second.id)
    assert done.code == 3
    assert f"error: {first.id}: It is not there: it was deleted before, or belongs to another key" in done.err
    assert done.out == f"{second.id}  deleted\n"


def test_each_refusal_has_its_reason(cli: Cli, service: BackgroundServer) -> None:
    """What the service says is passed on, and the next file is tried."""
    first, second = uploaded(service), uploaded(service)
    service.faults.add(Fault.error_before(403, method="DELETE", times=1))
    done = cli("files", "delete", first.id, second.id)
    assert done.code == 3
    assert f"error: {first.id}: 403" in done.err
    assert done.out == f"{second.id}  deleted\n"
    assert cli("files", "delete", "bad\x00id").code == 2


def test_a_wrong_key_ends_it_at_once(cli: Cli, service: BackgroundServer) -> None:
    """All the others would be refused as well."""
    service.faults.add(Fault.error_before(401, method="DELETE", times=None))
    before = len(service.requests)
    done = cli("files", "delete", "file-1", "file-2")
    assert done.code == 3
    assert "Check the key" in done.err
    assert len(service.requests) == before + 1


@pytest.mark.parametrize(("answer", "is_gone"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_person_is_asked_first(service: BackgroundServer, terminal: Terminal, answer: str, *, is_gone: bool) -> None:
    """What is deleted does not come back: only a yes is a yes."""
    file = uploaded(service)
    driven = terminal("files", "delete", file.id)
    driven.wait_for(f"Delete {file.id}? [y/N]")
    driven.type(answer)
    assert driven.finish() == (0 if is_gone else 130)
    assert ("Nothing was deleted." not in driven.screen) == is_gone
    assert (file.id not in service.store.files.items) == is_gone


def test_a_no_deletes_nothing(cli: Cli, service: BackgroundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is not asked for anything."""
    from openai_batches.cli.commands import files

    async def no(question: str) -> bool:
        return question != "Delete file-1 and file-2?"

    monkeypatch.setattr(files, "can_ask", lambda: True)
    monkeypatch.setattr(files, "confirmed", no)
    assert cli("files", "delete", "file-1", "file-2") == (130, "", "Nothing was deleted.\n")
    assert service.requests == []


def test_a_person_who_is_sure_is_not_asked(service: BackgroundServer, terminal: Terminal) -> None:
    """`--yes`."""
    file = uploaded(service)
    driven = terminal("files", "delete", file.id, "--yes", columns=160)
    assert driven.finish() == 0
    assert driven.screen == f"{file.id}  deleted"


def test_many_files_are_counted_in_the_question_and_ctrl_c_is_a_no(
    service: BackgroundServer, terminal: Terminal
) -> None:
    """Nothing is asked of the service."""
    driven = terminal("files", "delete", *(f"file-{number}" for number in range(6)))
    driven.wait_for("Delete 6 files? [y/N]")
    driven.interrupt()
    assert driven.finish() == 130
    assert service.requests == []


# What all of them have.


@pytest.mark.parametrize("name", ["list", "upload", "download", "delete"])
def test_each_has_help_with_examples(cli: Cli, name: str) -> None:
    """`files NAME --help`."""
    done = cli("files", name, "--help")
    assert done.code == 0
    assert f"Usage: openai-batches files {name}" in done.out
    assert f"openai-batches files {name}" in done.out.partition("Examples:")[2]
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "--json", "--jsonl"], "cannot be used together"),
        (["list", "--limit", "-1"], "--limit"),
        (["list", "extra"], "extra"),
        (["delete"], "is missing"),
        (["download"], "is missing"),
        (["erase"], "erase"),
    ],
)
def test_a_wrong_call_of_files_is_refused(
    cli: Cli, service: BackgroundServer, arguments: list[str], message: str
) -> None:
    """Exit code 2, before anything is asked."""
    done = cli("files", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert service.requests == []


def test_files_alone_says_what_there_is(cli: Cli) -> None:
    """`files` without more is its help."""
    done = cli("files")
    assert done.code == 0
    assert "delete" in done.out


def test_the_results_of_a_batch_are_files_like_any_other(
    program: Callable[..., Finished], service: BackgroundServer
) -> None:
    """And in a pipe no escape code is written."""
    batch: Any = ended(service, [request_line("a", "hello")])
    done = program("files", "list", "--purpose", "batch_output")
    assert done.code == 0
    assert batch.output_file_id in done.out
    assert "\x1b" not in done.out + done.err
