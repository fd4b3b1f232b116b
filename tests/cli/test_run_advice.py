"""What `run` says where it cannot do as it was asked, and the commands that it advises."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.run_stage import LOCAL, ask_often, write_requests

from openai_batches import BatchJob, JournalError
from openai_batches.cli.run import save
from openai_batches.emulator import Fault, SteppedClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished

    from openai_batches.emulator import BackgroundServer

    Cli = Callable[..., Finished]

REFUSING = pytest.mark.batch_server(faults=[Fault.error_before(400, method="POST", path="/v1/batches$")])
LOCAL_DATA = Path("openai-batches-local")


@pytest.fixture(autouse=True)
def _requests(monkeypatch: pytest.MonkeyPatch) -> None:
    write_requests(Path("requests.jsonl"))
    ask_often(monkeypatch)


@pytest.mark.batch_server(clock=SteppedClock())
def test_a_service_that_knows_nothing_of_the_job(
    cli: Cli, terminal: Callable[..., DrivenTerminal], service: BackgroundServer
) -> None:
    """It is told at once, and not to type the same again; how many batches are under way is told as well."""
    running = terminal("run", "requests.jsonl", "--yes")
    running.wait_for("validating")
    running.interrupt()
    assert running.finish() == 4
    unknown = service.faults.add(Fault.error_before(404, method="GET", path="/(batches|files)/", times=None))
    assert unknown is None
    done = cli("run", "requests.jsonl")
    assert done.code == 3
    assert "4 of 4 requests are left, 1 batch under way at the service" in done.err
    assert "error: The service does not know batch_" in done.err
    assert "begun with another service, key or project" in done.err
    assert "advice: Name the service, the key or the folder (--local-data)" in done.err
    assert "To continue" not in done.err


class TestDryRun:
    def test_it_needs_no_key(self, cli: Cli) -> None:
        """Nothing is sent."""
        done = cli("run", "requests.jsonl", "--dry-run")
        assert (done.code, done.err) == (0, "")
        assert "  requests  4 in 1 shard" in done.out

    def test_it_needs_no_emulator(self, cli: Cli) -> None:
        """Nor leaves one behind."""
        assert cli("run", "requests.jsonl", "--dry-run", *LOCAL).code == 0
        assert not LOCAL_DATA.exists()


def test_a_run_that_cannot_begin_leaves_no_emulator(cli: Cli) -> None:
    """Requests that would be refused are told before anything is stored; what else lies in the folder stays."""
    Path("bad.jsonl").write_text("{}\n")
    assert cli("run", "bad.jsonl", *LOCAL).code == 2
    assert not LOCAL_DATA.exists()


@REFUSING
class TestAnotherJob:
    @pytest.fixture(autouse=True)
    def _begun(self, cli: Cli, service: BackgroundServer) -> None:
        assert cli("run", "requests.jsonl", "--yes").code == 3
        service.faults.clear()

    def test_another_window(self, cli: Cli) -> None:
        """In the words of the command line."""
        done = cli("run", "requests.jsonl", "--window", "1h")
        assert done.code == 2
        assert "was started with --window 24h, and cannot continue with --window 1h" in done.err
        assert "advice: Use --window 24h, or start another job: --directory DIR" in done.err

    def test_another_service(self, cli: Cli) -> None:
        """Both are named."""
        done = cli("run", "requests.jsonl", "--base-url", "https://other.test/v1")
        assert done.code == 2
        assert "and this is https://other.test/v1" in done.err
        assert "advice: Name the service that it was started with" in done.err

    def test_other_requests(self, cli: Cli) -> None:
        """From standard input they are as good as from a file; a directory that was named is not named twice."""
        done = cli("run", "-", "--directory", "requests.jsonl.job", stdin=b"{}\n")
        assert (
            "error: What came from standard input is not what the job in requests.jsonl.job was started with"
            in done.err
        )
        assert "Continue the job as it is: openai-batches run --directory requests.jsonl.job;" in done.err

    def test_a_job_of_adopted_batches(self, cli: Cli, service: BackgroundServer) -> None:
        """It takes no requests."""
        made = cli("create", "requests.jsonl").out.strip()
        assert cli("adopt", made, "--directory", "taken").code == 0
        done = cli("run", "requests.jsonl", "--directory", "taken")
        assert done.code == 2
        assert "The job in taken was made of adopted batches, and takes no requests" in done.err

    def test_another_mistake(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the job itself finds wrong stays in its own words."""
        monkeypatch.setattr(BatchJob, "plan", _failing(save.CommandError("odd")))
        assert "error: odd" in cli("run", "requests.jsonl.job").err
        monkeypatch.setattr(BatchJob, "plan", _failing(_input_error("odder")))
        assert "error: odder\n" in cli("run", "requests.jsonl.job").err

    def test_limits_that_come_too_late(self, cli: Cli) -> None:
        """The batches are cut; that is said, and the job goes on."""
        done = cli("run", "requests.jsonl", "--max-requests", 1)
        assert done.code == 0
        assert "The shards of the job stay as they are: --max-requests, --max-bytes and --endpoint" in done.err
        assert "--max-requests" not in cli("run", "requests.jsonl", "--max-requests", 1, "--quiet").err

    def test_a_journal_on_a_full_disk(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """No other process is to blame, and the way on is named."""
        error = JournalError("database or disk is full")
        error.__cause__ = __import__("sqlite3").OperationalError("full")
        monkeypatch.setattr(BatchJob, "plan", _failing(error))
        done = cli("run", "requests.jsonl")
        assert done.code == 2
        assert "advice: Free space on the disk" in done.err
        assert "To continue once this is fixed:\n  openai-batches run requests.jsonl\n" in done.err


def _input_error(text: str) -> Exception:
    from openai_batches import InputError

    return InputError(text)


def _failing(error: BaseException) -> Any:
    async def fail(*_: object, **__: object) -> None:
        await asyncio.sleep(0)
        raise error

    return fail


class TestPlaces:
    def test_a_disk_that_is_full_names_the_file(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """A write that fails does not say of itself which file it was of."""
        monkeypatch.setattr(save, "write_results", _failing(OSError(28, "No space left on device")))
        done = cli("run", "requests.jsonl", "-o", "out.jsonl", *LOCAL)
        assert done.code == 2
        assert "error: out.jsonl: No space left on device" in done.err
        assert "To continue" in done.err

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("-o", "folder"), "folder is a folder"),
            (("-o", "foo"), "foo does not say in which format to write"),
            (("--report", "o2.jsonl"), "--report writes HTML, and the name o2.jsonl does not say so"),
            (("--report", "there.html"), "--report: there.html exists"),
            (("-o", "requests.jsonl"), "SOURCE and OUT are the same file"),
        ],
    )
    def test_what_is_cheap_to_see_is_told_first(self, cli: Cli, arguments: tuple[str, ...], told: str) -> None:
        """Also where the requests are others than the job's."""
        assert cli("run", "requests.jsonl", *LOCAL).code == 0
        write_requests(Path("requests.jsonl"), 5)
        Path("folder").mkdir()
        Path("there.html").touch()
        done = cli("run", "requests.jsonl", *arguments, *LOCAL)
        assert done.code == 2
        assert f"error: {told}" in done.err

    def test_a_source_that_is_gone(self, cli: Cli) -> None:
        """The job goes on without it, with all else that was typed."""
        cli("run", "requests.jsonl", *LOCAL)
        cli("run", "requests.jsonl", "--directory", "kept", *LOCAL)
        Path("requests.jsonl").unlink()
        done = cli("run", "requests.jsonl", "--local", "-o", "c.jsonl")
        assert "openai-batches run requests.jsonl.job --local -o c.jsonl\n" in done.err
        done = cli("run", "requests.jsonl", "--directory=kept", "--local")
        assert "openai-batches run --directory=kept --local\n" in done.err


class TestWhatIsTyped:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("shwo",), "There is no command 'shwo': did you mean 'show'?\nadvice: See `openai-batches --help`"),
            (("xyzzy",), "There is no command 'xyzzy'\n"),
            (("files", "lst"), "There is no command 'lst': did you mean 'list'?\n"),
            (("requests", "requests.jsonl"), "--model is missing\n"),
            (("requests", "requests.jsonl", "--model"), "--model needs a value\n"),
            (("wait",), "ID is missing\n"),
            (("jobs", "show"), "DIR is missing\n"),
        ],
    )
    def test_what_is_missing_or_unknown_is_named(self, cli: Cli, arguments: tuple[str, ...], told: str) -> None:
        """As a person would, without a list of what else there is."""
        done = cli(*arguments)
        assert done.code == 2
        assert f"error: {told}" in done.err

    def test_an_empty_key(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is set, and it is empty."""
        monkeypatch.setenv("OPENAI_API_KEY", "")
        assert "the environment variable OPENAI_API_KEY is empty" in cli("list").err
        monkeypatch.delenv("OPENAI_API_KEY")
        assert "the environment variable OPENAI_API_KEY is not set" in cli("list").err

    @pytest.mark.parametrize(
        ("key", "arguments", "advice"),
        [
            ("sk-test-1", ("--base-url", "nowhere"), "Check --base-url"),
            ("sk-\u00e9 x", (), "Check the variable or the file that holds the key"),
        ],
    )
    def test_what_cannot_be_right(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch, key: str, arguments: tuple[str, ...], advice: str
    ) -> None:
        """The advice names the place where it is mended."""
        monkeypatch.setenv("OPENAI_API_KEY", key)
        done = cli("list", *arguments)
        assert done.code == 2
        assert f"advice: {advice}" in done.err
