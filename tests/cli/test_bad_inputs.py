"""Every command, and all that can be wrong with what it is given: one sentence, one line of advice, the right code."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.bad_service import answering
from support.batch_stage import held, submit
from support.command_table import leaves
from support.finished import Finished
from support.leftovers import at_service, planned
from support.machine_needs import needs_full_device
from support.request_lines import request_lines

from openai_batches.cli.main import run
from openai_batches.emulator import BackgroundServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Cli = Callable[..., Finished]

KEY = "sk-test-right-0123456789"
WRONG_KEY = "sk-test-wrong-9876543210"
NOT_JSONL = b"\x89PNG\r\n\x1a\n\x00\x01\xff\xfe\nnot json\n"


class Given(NamedTuple):
    """A command line, with places for what is right or wrong in it, and what kinds of things it takes.

    Attributes:
        line: a call that goes well. ID is a batch that has ended, OPEN one that has not, FILE a file at the service,
            IN a request file, JOB the directory of a job, OUT a file or folder to be written.
        asks: whether it speaks to the service.
        has_config: whether it needs to know which service is meant.
        empty: its exit code if IN is empty; None: IN may be.
        other: its exit code if IN is not JSONL; None: IN may be anything.
        goes_on: whether it tries again for as long as it takes, and keeps what it has done.
        said: what it may say where nobody reads its output.
        is_read: whether it writes to standard output and ends.
    """

    line: str
    asks: bool = True
    has_config: bool = True
    empty: int | None = 2
    other: int | None = 2
    goes_on: bool = False
    said: str = ""
    is_read: bool = True


TABLE = {
    "list": Given("list"),
    "show": Given("show ID"),
    "create": Given("create IN", said="The batch batch_"),
    "wait": Given("wait ID"),
    "cancel": Given("cancel OPEN"),
    "results": Given("results ID --inputs IN -o OUT.jsonl", empty=None, is_read=False),
    "results (stdout)": Given("results ID"),
    "results --resend": Given("results ID --inputs IN --resend OUT.jsonl", empty=None, is_read=False),
    "run": Given("run IN --dry-run --directory OUT", asks=False),
    "run (whole)": Given("run IN -y --directory job -o OUT.jsonl", goes_on=True, is_read=False),
    "jobs": Given("jobs JOB", asks=False, has_config=False),
    "jobs show": Given("jobs show JOB", asks=False, has_config=False),
    "jobs cancel": Given("jobs cancel JOB", goes_on=True, is_read=False),
    "adopt": Given("adopt ID -d OUT"),
    "requests": Given("requests IN -m gpt-4o-mini --format text -o OUT.jsonl", asks=False, other=None, is_read=False),
    "requests (stdout)": Given("requests IN -m gpt-4o-mini --format text", asks=False, other=None),
    "validate": Given("validate IN", asks=False, empty=1, other=1),
    "estimate": Given("estimate IN --approximate", asks=False, has_config=False),
    "split": Given("split IN -d OUT", asks=False),
    "files list": Given("files list"),
    "files upload": Given("files upload IN", empty=None, other=None, said="Uploaded "),
    "files download": Given("files download FILE -o OUT.jsonl"),
    "files download (stdout)": Given("files download FILE -o -"),
    "files delete": Given("files delete FILE"),
    "doctor": Given("doctor"),
    "gc": Given("gc --older-than 0s"),
    "webhook listen": Given("webhook listen --port 0 --fetch", is_read=False),
    "serve": Given("serve --port 0", asks=False, has_config=False, said="Serving "),
    "--install-completion": Given("--install-completion --shell bash -o OUT", asks=False, has_config=False),
    "--install-completion (stdout)": Given("--install-completion --shell bash -o -", asks=False, has_config=False),
}
# What no table can hold: it waits for others, and asks the service later.
ASKS_LATER = {"webhook listen"}
# A job that has no batch yet is cancelled without the service.
ASKS_NOTHING = {"jobs cancel"}
# It makes the folder that is not there.
MAKES_FOLDERS = {"run", "adopt", "split", "--install-completion"}


def rows(
    condition: Callable[[Given], object] = lambda _: True, *, but: frozenset[str] | set[str] = frozenset()
) -> list[str]:
    return [name for name, given in TABLE.items() if name not in but and condition(given)]


def test_every_command_has_its_rows() -> None:
    """A command that comes later is tried with everything that was found to go wrong before."""
    assert {name.partition(" (")[0].partition(" --")[0] for name in TABLE} == set(leaves())


class Place:
    """What command lines name: good files and batches, unless something else is put in their place."""

    def __init__(self, service: BackgroundServer, ended: str) -> None:
        self.service = service
        self.words = {"ID": ended, "IN": "good.jsonl", "OUT": "out"}
        Path("good.jsonl").write_bytes(request_lines("a", "b"))

    def argv(self, name: str, **others: str) -> list[str]:
        """Return the command line of a row; what it needs at the service is made."""
        line = TABLE[name].line
        words = self.words | others
        if "OPEN" in line and "OPEN" not in words:
            words["OPEN"] = submit(self.service)
        data = request_lines("a")
        if "FILE" in line and "FILE" not in words:
            file = at_service(self.service, lambda session: session.files.create(data, filename="own.jsonl"))
            words["FILE"] = file.id
        if "JOB" in line and "JOB" not in words:
            file = at_service(self.service, lambda session: session.files.create(data, filename="own.jsonl"))
            words["JOB"] = str(planned(Path("made.job"), file, base_url=self.service.base_url))
        return re.sub(r"\b(ID|OPEN|FILE|IN|JOB|OUT)\b", lambda found: words[found[0]], line).split()


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[BackgroundServer, str]]:
    """A service that wants a key, with a batch that has ended."""
    with BackgroundServer(**held(api_keys=[KEY])) as server:
        ended = submit(server, request_lines("a", "b"))
        server.advance(hours=20)
        yield server, ended


@pytest.fixture
def place(shared: tuple[BackgroundServer, str], monkeypatch: pytest.MonkeyPatch, home: Path) -> Place:
    """The service, named by the environment, with the right key; nothing is tried twice."""
    assert home.is_dir()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", shared[0].base_url)
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    monkeypatch.setattr("openai_batches.policies.RetryPolicy.delay_s", lambda *_, **__: None)
    return Place(*shared)


def there() -> dict[str, int]:
    """All files below the working folder, with their sizes."""
    return {str(path): path.stat().st_size if path.is_file() else -1 for path in sorted(Path().rglob("*"))}


def check(done: Finished, *codes: int, names: str = "") -> None:
    """See that a person was told what happened, and what to do where the one does not say the other."""
    shown = done.out + done.err
    assert done.code in codes, shown
    assert "Traceback" not in shown
    assert "mistake" not in shown
    assert KEY not in shown
    assert WRONG_KEY not in shown
    said = done.err.splitlines()
    errors = [line for line in said if line.startswith("error: ")]
    assert len(errors) == 1, shown
    assert names in errors[0]
    # What cannot be right says in its message how it can be.
    assert len([line for line in said if line.startswith("advice: ")]) <= 1, shown
    assert done.out == "", shown


class TestKeys:
    @pytest.mark.parametrize("name", rows(lambda given: given.asks))
    def test_none(self, cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """Exit code 2: which variable it belongs in, and how to try without."""
        argv = place.argv(name)
        monkeypatch.delenv("OPENAI_API_KEY")
        before = there()
        check(cli(*argv), 2, names="There is no key for OpenAI: the environment variable OPENAI_API_KEY")
        assert there() == before

    @pytest.mark.parametrize("name", rows(lambda given: given.asks, but=ASKS_LATER | ASKS_NOTHING))
    def test_a_wrong_one(self, cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """Exit code 3, and the key that was refused is not shown."""
        argv = place.argv(name)
        monkeypatch.setenv("OPENAI_API_KEY", WRONG_KEY)
        before = there()
        check(cli(*argv), 3)
        assert TABLE[name].goes_on or there() == before


@pytest.mark.parametrize("name", rows(lambda given: re.search(r"\b(ID|OPEN|FILE)\b", given.line)))
@pytest.mark.parametrize("id", ["batch_none", "x\x1b]0;y\x07", "é/../x", "a" * 5_000])
def test_an_id_that_nobody_knows(cli: Cli, place: Place, name: str, id: str) -> None:
    """Exit code 3, or 2 for what cannot be an id; nothing is written, and no terminal is made to obey it."""
    before = there()
    done = cli(*place.argv(name, ID=id, OPEN=id, FILE=id))
    check(done, 2, 3)
    assert "\x1b" not in done.err
    assert there() == before


class TestInputs:
    @pytest.mark.parametrize("name", rows(lambda given: re.search(r"\bIN\b", given.line)))
    @pytest.mark.parametrize("source", ["none.jsonl", "none/none.jsonl", "good.jsonl/x.jsonl", "x" * 300])
    def test_a_file_that_is_not_there(self, cli: Cli, place: Place, name: str, source: str) -> None:
        """Exit code 2, and the file is named."""
        before = there()
        check(cli(*place.argv(name, IN=source)), 2, names=source)
        assert there() == before

    @pytest.mark.parametrize("name", rows(lambda given: re.search(r"\bIN\b", given.line)))
    def test_a_folder(self, cli: Cli, place: Place, name: str) -> None:
        """Exit code 2, and the folder is named."""
        Path("folder").mkdir()
        before = there()
        check(cli(*place.argv(name, IN="folder")), 2, names="folder")
        assert there() == before

    @pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that even root cannot read")
    @pytest.mark.parametrize("name", rows(lambda given: re.search(r"\bIN\b", given.line)))
    def test_a_file_that_cannot_be_read(self, cli: Cli, place: Place, name: str) -> None:
        """Exit code 2, and the system's reason."""
        before = there()
        check(cli(*place.argv(name, IN="/proc/self/mem")), 2)
        assert there() == before

    @pytest.mark.parametrize("name", rows(lambda given: re.search(r"\bIN\b", given.line) and given.empty is not None))
    @pytest.mark.parametrize("content", [b"", b"\n\n  \n", b"\xef\xbb\xbf"])
    def test_an_empty_file(self, cli: Cli, place: Place, name: str, content: bytes) -> None:
        """There is nothing to be done, and that is no success."""
        Path("empty.jsonl").write_bytes(content)
        before = there()
        self._refused(cli(*place.argv(name, IN="empty.jsonl")), TABLE[name].empty)
        assert there() == before

    @pytest.mark.parametrize("name", rows(lambda given: re.search(r"\bIN\b", given.line) and given.other is not None))
    @pytest.mark.parametrize("content", [NOT_JSONL, b"[1, 2]\n", b'{"a": \n', b"[" * 20_000])
    def test_a_file_that_is_no_jsonl(self, cli: Cli, place: Place, name: str, content: bytes) -> None:
        """The file and the line are named, and nothing of it is sent."""
        Path("other.jsonl").write_bytes(content)
        before = there()
        self._refused(cli(*place.argv(name, IN="other.jsonl")), TABLE[name].other)
        assert there() == before

    @pytest.mark.parametrize("name", rows(lambda given: re.search(r"\bIN\b", given.line) and given.other is not None))
    def test_a_packed_file_that_is_broken(self, cli: Cli, place: Place, name: str) -> None:
        """It cannot be read, which is no problem of a line."""
        Path("other.jsonl.gz").write_bytes(b"\x1f\x8bnot gzip")
        before = there()
        check(cli(*place.argv(name, IN="other.jsonl.gz")), 2)
        assert there() == before

    def _refused(self, done: Finished, code: int | None) -> None:
        if code == 1:
            # What was asked for is what is wrong.
            assert done.code == 1
            assert re.search(r"\d problems?", done.out)
            assert "Traceback" not in done.err
        else:
            check(done, code or 2)


class TestOutputs:
    @pytest.mark.parametrize("name", rows(lambda given: re.search(r"\bOUT\b", given.line), but=MAKES_FOLDERS))
    def test_a_folder_that_is_not_there(self, cli: Cli, place: Place, name: str) -> None:
        """Exit code 2, before anything is done."""
        before = there()
        argv = place.argv(name, OUT="none/out")
        asked = len(place.service.requests)
        check(cli(*argv), 2, names="none")
        assert there() == before
        assert [r for r in place.service.requests[asked:] if r.method == "POST"] == []

    @pytest.mark.parametrize("name", rows(lambda given: re.search(r"\bOUT\b", given.line)))
    @pytest.mark.parametrize("out", ["good.jsonl/out", "/proc/none/out"])
    def test_a_place_that_cannot_be_written(self, cli: Cli, place: Place, name: str, out: str) -> None:
        """Exit code 2, and the place is named."""
        before = there()
        check(cli(*place.argv(name, OUT=out)), 2, names=out.rpartition("/")[0])
        assert there() == before


def call_with_stdout(
    monkeypatch: pytest.MonkeyPatch, stream: io.TextIOWrapper | None, argv: list[str]
) -> tuple[int, str]:
    """Run the program in this process with a standard output of its own; return its code and what it said."""
    said = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", said)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        return run(argv), said.getvalue()


class TestStandardOutput:
    @pytest.mark.parametrize("name", rows(lambda given: given.is_read))
    def test_nobody_reads_it(self, place: Place, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """Exit code 141 and not a word, but for what would be lost otherwise."""
        argv = place.argv(name)
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w") as stream:
            code, said = call_with_stdout(monkeypatch, stream, argv)
        assert code == 141, said
        assert "error" not in said
        assert "advice" not in said
        given = TABLE[name].said
        assert given in said

    @pytest.mark.parametrize("name", rows(lambda given: given.is_read))
    def test_it_is_closed(self, place: Place, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """As with `>&-`: exit code 2."""
        code, said = call_with_stdout(monkeypatch, None, place.argv(name))
        check(Finished(code, "", said), 2, names="tandard output is closed")

    @needs_full_device
    @pytest.mark.parametrize("name", rows(lambda given: given.is_read))
    def test_there_is_no_room(self, place: Place, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """Exit code 2, and the system's reason."""
        argv = place.argv(name)
        with Path("/dev/full").open("w") as stream:
            code, said = call_with_stdout(monkeypatch, stream, argv)
        check(Finished(code, "", said), 2, names="tandard output cannot be written: No space left")


class TestServices:
    @pytest.mark.parametrize("name", rows(lambda given: given.asks and not given.goes_on, but=ASKS_LATER))
    def test_nobody_listens(self, cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """Exit code 3, and nothing is written."""
        argv = place.argv(name)
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
        before = there()
        check(cli(*argv), 3)
        assert there() == before

    @pytest.mark.parametrize(
        ("name", "status"),
        [
            (name, status)
            for name in rows(lambda given: given.asks and not given.goes_on, but=ASKS_LATER)
            for status in (200, 404, 500)
            # A file may hold a web page.
            if status != 200 or not name.startswith("files download")
        ],
    )
    def test_something_else_answers(
        self, cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch, name: str, status: int
    ) -> None:
        """Exit code 3, and not a page of HTML."""
        argv = place.argv(name)
        before = there()
        with answering(status) as url:
            monkeypatch.setenv("OPENAI_BASE_URL", url)
            done = cli(*argv)
        check(done, 3)
        assert len(max(done.err.splitlines(), key=len)) < 400
        assert status == 200 or "<" not in done.err
        assert "Check the id" not in done.err
        assert there() == before


@pytest.mark.parametrize("name", rows(lambda given: given.has_config))
@pytest.mark.parametrize("content", [b'profile = "wo', b"\xff\xfe", b"[profiles.x]\nbase = 1\n", b'profile = "none"\n'])
def test_a_configuration_that_is_half_written(cli: Cli, place: Place, home: Path, name: str, content: bytes) -> None:
    """Exit code 2: the file, and where in it."""
    argv = place.argv(name)
    path = home / ".config" / "openai-batches.toml"
    path.parent.mkdir()
    path.write_bytes(content)
    before = there()
    check(cli(*argv), 2, names="openai-batches.toml")
    assert there() == before


def test_the_good_lines_are_good(cli: Cli, place: Place) -> None:
    """What is tried with something wrong in it goes well without."""
    for name in rows(but={"webhook listen", "serve", "run (whole)", "jobs cancel"}):
        done = cli(*place.argv(name, OUT=f"out{len(there())}"))
        assert done.code == (1 if name == "doctor" else 0), (name, done)
