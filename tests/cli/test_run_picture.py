"""What `run` shows while it runs: numbers that are true, in a picture that fits."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from rich.console import Console
from support.run_stage import CHAT, LOCAL, ask_often, write_requests

from openai_batches import Batch, BatchStatus, JobEvent, JobEventKind, Ledger, RequestCounts, Step
from openai_batches.cli.advice import TYPED, resume_command
from openai_batches.cli.options.local import announced
from openai_batches.cli.run import display as display_module, messages as messages_module, run as run_module
from openai_batches.cli.run.display import Frame
from openai_batches.cli.run.messages import EventMessages, ledger_lines
from openai_batches.cli.run.progress import JobProgress, Pace
from openai_batches.costs.prices import PRICES
from openai_batches.emulator import BackgroundServer, SteppedClock
from openai_batches.jobs.journal.records import Attempt, JobRecord, Tally
from openai_batches.jobs.journal.sqlite import JournalView
from openai_batches.models import TokenCounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.driven_terminal import DrivenTerminal
    from support.finished import Finished


NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def attempt(shard: int, step: Step = Step.PLANNED, **fields: Any) -> Attempt:
    given = {
        "number": 1,
        "endpoint": CHAT,
        "model": "gpt-4o-mini",
        "requests": 10,
        "bytes": 100,
        "tokens": 25,
        **fields,
    }
    return Attempt(shard=shard, step=step, **given)


def job_record() -> JobRecord:
    return JobRecord(
        job_id="job",
        created_s=0.0,
        base_url="http://127.0.0.1/v1",
        source=None,
        source_digest="",
        source_bytes=0,
        source_mtime_ns=0,
        requests=0,
    )


def batch(name: str, status: str = "in_progress", completed: int = 0, failed: int = 0) -> Batch:
    counts = RequestCounts(total=10, completed=completed, failed=failed)
    return Batch(id=f"batch_{name}", status=BatchStatus(status), request_counts=counts)


def event(kind: JobEventKind, shard: int | None = None, seen: Batch | None = None, message: str = "news") -> JobEvent:
    return JobEvent(kind=kind, at=NOW, message=message, shard=shard, batch=seen)


def progress_of(*attempts: Attempt) -> JobProgress:
    progress = JobProgress()
    progress.add_journal(JournalView(job=job_record(), attempts=attempts, is_cancelled=False, is_finished=False))
    progress.update(Ledger.of(attempts))
    return progress


def drawn(progress: JobProgress, columns: int, rows: int, **fields: Any) -> list[str]:
    picture = Frame(**{"progress": progress, "left_s": None, "elapsed_s": 61.0, **fields})
    console = Console(width=columns, height=rows, record=True, file=Path("/dev/null").open("w"), legacy_windows=False)  # noqa: SIM115
    console.print(picture.drawn(columns, rows))
    console.file.close()
    empty, *lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert empty == ""
    return lines


class TestProgress:
    def test_a_shard_has_the_state_of_its_batch(self) -> None:
        """Before there is one, and after it has ended, the step that is being taken."""
        mine = batch("a", completed=3, failed=1)
        progress = progress_of(
            attempt(1, Step.CREATED, batch=mine),
            attempt(2, Step.ENDED, batch=batch("b", "completed", completed=10)),
            attempt(3, Step.UPLOADING),
            attempt(
                4, Step.VERIFIED, batch=batch("d", "completed"), tally=Tally(outcomes={"succeeded": 9, "failed": 1})
            ),
            attempt(5),
        )
        states = [(row.state, row.done, row.failed, row.batch_id) for row in progress.rows]
        assert states == [
            ("in_progress", 4, 1, "batch_a"),
            ("downloading", 10, 0, "batch_b"),
            ("uploading", 0, 0, None),
            ("done", 10, 1, "batch_d"),
            ("waiting", 0, 0, None),
        ]
        assert (progress.done, progress.total, progress.failed, progress.shards_done) == (24, 50, 2, 1)

    def test_events_bring_counts_up_to_date(self) -> None:
        """A batch is asked for between two steps of the journal; counts that are none are no counts."""
        first = attempt(1, Step.CREATED, batch=batch("a"))
        progress = progress_of(first)
        progress.add_event(event(JobEventKind.CHANGED, 1, batch("a", completed=7)))
        progress.update(Ledger.of([first]))
        assert progress.done == 7
        progress.add_event(event(JobEventKind.CHANGED, 1, attrs.evolve(batch("a"), request_counts=None)))
        progress.update(Ledger.of([first]))
        assert progress.done == 0
        progress.add_event(event(JobEventKind.CHANGED, 1, batch("of an attempt that is not known yet")))
        progress.update(Ledger.of([first]))
        assert progress.rows[0].state == "validating"

    def test_requests_that_are_sent_again_are_not_done(self) -> None:
        """The second attempt counts from what the first one left."""
        tally = Tally(outcomes={"succeeded": 6}, resent=4)
        progress = progress_of(attempt(1, Step.VERIFIED, tally=tally), attempt(1, number=2, requests=4))
        progress.add_event(event(JobEventKind.RESENT, 1))
        (row,) = progress.rows
        assert (row.done, row.attempt, row.state, progress.resent) == (6, 2, "waiting", 1)

    def test_a_shard_without_room_says_so_until_it_gets_some(self) -> None:
        """Waiting for others is not the same as being uploaded."""
        first = attempt(1, Step.UPLOADED)
        progress = progress_of(first)
        assert progress.rows[0].state == "uploaded"
        progress.add_event(event(JobEventKind.REFUSED, 1))
        progress.update(Ledger.of([first]))
        assert progress.rows[0].state == "no capacity"
        progress.add_event(event(JobEventKind.CREATED, 1))
        progress.add_event(event(JobEventKind.FINISHED))
        progress.update(Ledger.of([first]))
        assert progress.rows[0].state == "uploaded"


class TestPace:
    def test_nothing_is_said_before_there_is_something_to_say_it_from(self) -> None:
        """Neither at once, nor after a single answer of a thousand."""
        pace = Pace()
        assert pace.left_s(0, 1_000) is None
        pace.note(0, 0)
        pace.note(1, 500)
        assert pace.left_s(1, 1_000) is None
        pace = Pace()
        pace.note(0, 0)
        pace.note(60, 1)
        assert pace.left_s(60, 1_000) is None

    def test_the_last_half_counts(self) -> None:
        """A slow beginning is forgotten after a while, and a pause is noticed."""
        pace = Pace()
        for now_s in range(0, 1_000, 10):
            pace.note(now_s, max(0, now_s - 500))
        assert pace.left_s(990, 1_000) == pytest.approx(510, rel=0.05)
        for now_s in range(1_000, 2_000, 10):
            pace.note(now_s, 500)
        left_s = pace.left_s(1_990, 1_000)
        assert left_s is None or left_s > 900

    def test_a_job_that_goes_on_counts_from_where_it_stands(self) -> None:
        """What an earlier run has done is no sign of speed."""
        pace = Pace()
        pace.note(0, 900)
        pace.note(10, 950)
        assert pace.left_s(10, 1_000) == pytest.approx(10)


class TestPicture:
    @pytest.mark.parametrize(("columns", "rows"), [(80, 24), (160, 24), (40, 10), (20, 5)])
    def test_it_fits(self, columns: int, rows: int) -> None:
        """However many shards there are, and however large the screen is."""
        running = [attempt(number, Step.CREATED, batch=batch(f"{number:032}")) for number in range(1, 400)]
        lines = drawn(progress_of(*running), columns, rows)
        assert max(map(len, lines)) < columns
        assert len(lines) <= max(rows, 6)
        assert ("+  " in lines[-1]) or columns < 40

    def test_all_of_it_at_80_columns(self) -> None:
        """The whole line of each shard with its id, and numbers below each other."""
        done = attempt(1, Step.VERIFIED, batch=batch("a" * 32), tally=Tally(outcomes={"succeeded": 8, "failed": 2}))
        progress = progress_of(done, attempt(2, Step.CREATED, batch=batch("b" * 32, completed=5)), attempt(3))
        progress.add_event(event(JobEventKind.RESENT, 1))
        lines = drawn(progress, 80, 24, left_s=130.0, cost=0.01, expected=0.5)
        assert lines[0].endswith("  15/30   50 %  2m 10s left")
        assert lines[1] == "1m 1s · 1 of 3 shards · 2 failed · 1 retry · $0.01 of at most $0.50"
        assert lines[3:] == [
            "shard  state        try  requests  id",
            f"    1  done           1     10/10  batch_{'a' * 32}",
            f"    2  in_progress    1      5/10  batch_{'b' * 32}",
            "    3  waiting        1      0/10",
        ]

    def test_where_there_is_room_each_shard_has_a_bar(self) -> None:
        """At 160 columns; what failed is a part of it."""
        progress = progress_of(attempt(1, Step.CREATED, batch=batch("a", completed=4, failed=1)))
        line = drawn(progress, 160, 24)[4]
        assert (line.count("━"), line.count("─")) == (12, 12)

    def test_the_shards_where_something_happens_come_first(self) -> None:
        """Then those that come next, then those that were done last; in their order."""
        tally = Tally(outcomes={"succeeded": 10})
        old = [attempt(number, Step.VERIFIED, tally=tally) for number in range(1, 51)]
        running = [attempt(number, Step.CREATED, batch=batch(str(number))) for number in range(51, 54)]
        waiting = [attempt(number) for number in range(54, 60)]
        lines = drawn(progress_of(*old, *running, *waiting), 80, 16)
        assert [line.split()[0] for line in lines[4:]] == [*map(str, range(51, 60)), "+"]
        assert lines[-1] == "    +  50 more: 50 done"

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"is_stopping": True}, "stopping"),
            ({}, "time left: ?"),
            ({"is_free": True}, "no cost"),
            ({"cost": 0.25}, "$0.25"),
            ({"cost": 0.25, "expected": 1.0, "currency": "CNY"}, "0.25 CNY of at most 1.00 CNY"),
            ({"cost": None, "expected": 1.0}, "? of at most $1.00"),
        ],
    )
    def test_what_is_said_of_time_and_money(self, fields: dict[str, Any], text: str) -> None:
        """What is not known is not made up."""
        progress = progress_of(attempt(1, Step.CREATED, batch=batch("a", completed=4)))
        assert text in "\n".join(drawn(progress, 100, 24, **fields)[:2])

    def test_all_answered_is_not_all_done(self) -> None:
        """The files are still to come."""
        progress = progress_of(attempt(1, Step.CREATED, batch=batch("a", "finalizing", completed=10)))
        assert "10/10  100 %  finishing" in drawn(progress, 80, 24)[0]


class TestTelling:
    def test_one_line_of_each_kind_in_ten_seconds(self) -> None:
        """A network that is down does not fill the screen, and is not kept quiet either."""
        said: list[str] = []
        now = [0.0]
        teller = EventMessages(said.append, lambda: now[0])
        teller.tell(event(JobEventKind.CREATED))
        for _ in range(3):
            teller.tell(event(JobEventKind.POSTPONED, message="no\nnetwork"))
        teller.tell(event(JobEventKind.RESENT))
        now[0] = 10.0
        teller.tell(event(JobEventKind.POSTPONED, message="no network"))
        assert [line.partition("  ")[2] for line in said] == ["no network", "news", "no network (and 2 more like it)"]

    def test_what_became_of_the_requests(self) -> None:
        """Outcomes, the most frequent errors, tokens, cost; a model without a price is named."""
        codes = {f"code{number}": number for number in range(1, 11)} | {"": 20}
        tally = Tally(
            outcomes={"succeeded": 1, "failed": 9}, error_codes=codes, tokens={"odd": TokenCounts(5, 6, 0, 0)}
        )
        lines = dict(
            ledger_lines(Ledger.of([attempt(1, Step.VERIFIED, tally=tally), attempt(2)]), PRICES, is_free=False)
        )
        assert lines["requests"] == "1 succeeded, 9 failed, 10 unfinished"
        assert lines["errors"].startswith("no code 20, code10 10, code9 9")
        assert lines["errors"].endswith(", and 3 more")
        assert lines["tokens"] == "5 in, 6 out"
        assert lines["cost"] == "unknown: there is no price for 'odd'"
        many = Tally(outcomes={}, tokens={f"m{number}": TokenCounts(1, 1, 0, 0) for number in range(60)})
        lines = dict(ledger_lines(Ledger.of([attempt(1, Step.VERIFIED, tally=many)]), PRICES, is_free=False))
        assert lines["cost"] == "unknown: there is no price for 'm0', 'm1', 'm2', 'm3', 'm4' and others"
        assert dict(ledger_lines(Ledger.of([]), PRICES, is_free=False))["requests"] == "none"


class TestResumeCommand:
    @pytest.mark.parametrize(
        ("called", "program"),
        [
            ("/usr/bin/pytest", "openai-batches"),
            ("bin/openai-batches", "bin/openai-batches"),
            ("path/openai-batches", "openai-batches"),
            ("/x/openai_batches/cli/__main__.py", f"{shlex.quote(sys.executable)} -m openai_batches.cli"),
        ],
    )
    def test_it_calls_the_program_as_it_was_called(
        self, monkeypatch: pytest.MonkeyPatch, called: str, program: str
    ) -> None:
        """By its name where the shell finds it so, and standard input is not read twice."""
        for folder in ("bin", "path"):
            Path(folder).mkdir()
            Path(folder, "openai-batches").touch(mode=0o755)
        monkeypatch.setattr(sys, "argv", [called])
        monkeypatch.setenv("PATH", str(Path("path").absolute()))
        token = TYPED.set(["run", "-", "-o", "-", "--directory", "it's"])
        try:
            assert resume_command() == f"{program} run -o - --directory 'it'\"'\"'s'"
            TYPED.set(["results", "batch_1", "--inputs", "-"])
            assert resume_command() == f"{program} results batch_1 --inputs -", "only a job keeps what it has read"
        finally:
            TYPED.reset(token)

    def test_a_program_that_nobody_finds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its name is the best there is."""
        monkeypatch.setattr(sys, "argv", ["/gone/openai-batches"])
        monkeypatch.setenv("PATH", "")
        assert resume_command().partition(" ")[0] == "openai-batches"


class TestInATerminal:
    @pytest.mark.parametrize("columns", [80, 160])
    def test_a_whole_run(self, terminal: Callable[..., DrivenTerminal], columns: int) -> None:
        """The plan, the picture while it runs, and the summary in its place; in colour."""
        write_requests(Path("requests.jsonl"), 40)
        data = Path("openai-batches-local")
        options = ("--local", "-o", "out.jsonl", "--max-requests", 10)
        # Nothing goes on there before it has been seen.
        with BackgroundServer(data=data, clock=SteppedClock()) as server, announced(data, server.base_url):
            driven = terminal("run", "requests.jsonl", *options, columns=columns)
            screen = driven.wait_for("Planned requests.jsonl", "shard  state", "/40", "    4  validating")
            server.advance(hours=1)
            assert driven.finish() == 0
        assert re.search(r"━*─* +\d+/40 +\d+ %  ", screen)
        assert all(
            len(re.findall(rf"^ +{number}  \w+ +1 +\d+/10  .*batch_\w{{32}}$", screen, re.MULTILINE))
            for number in range(1, 5)
        )
        assert "shard  state" not in driven.screen
        assert "Done in" in driven.screen
        assert "all of 40 requests succeeded" in driven.screen
        assert b"\x1b[36m" in driven.raw
        assert driven.raw.count(b"\x1b[?25l") == driven.raw.count(b"\x1b[?25h")

    def test_no_colours_without_colours(self, terminal: Callable[..., DrivenTerminal]) -> None:
        """NO_COLOR counts for the picture, too."""
        write_requests(Path("requests.jsonl"))
        driven = terminal("run", "requests.jsonl", *LOCAL, env={"NO_COLOR": "1"})
        assert driven.finish() == 0
        assert not re.search(rb"\x1b\[[0-9;]*m", driven.raw.replace(b"\x1b[0m", b""))

    def test_results_on_the_screen_leave_no_place_for_a_picture(self, terminal: Callable[..., DrivenTerminal]) -> None:
        """Rows and summary, and nothing in between."""
        write_requests(Path("requests.jsonl"))
        driven = terminal("run", "requests.jsonl", "-o", "-", *LOCAL, columns=160)
        assert driven.finish() == 0
        assert driven.screen.count('"custom_id":"r') == 4
        assert "shard  state" not in driven.screen


class TestDrawing:
    """The drawing itself, in this process."""

    @pytest.fixture(autouse=True)
    def _shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write_requests(Path("requests.jsonl"))
        ask_often(monkeypatch)
        for module in (run_module, messages_module):
            monkeypatch.setattr(module, "progress_is_shown", lambda: True)
        monkeypatch.setattr(display_module, "_FRAME_S", 0.001)

    @pytest.mark.parametrize("is_quiet", [True, False])
    def test_it_is_drawn_while_the_job_runs(self, cli: Callable[..., Finished], is_quiet: bool) -> None:
        """And not where nobody wants it."""
        done = cli("run", "requests.jsonl", *LOCAL, *(["-q"] if is_quiet else []))
        assert done.code == 0
        assert (done.err == "") == is_quiet

    async def test_where_nothing_happens_little_is_drawn(self) -> None:
        """One frame in five, for the clock's sake."""
        asked, frames = 0, 0
        is_enough = asyncio.Event()

        async def picture() -> Frame:
            nonlocal frames
            frames += 1
            await asyncio.sleep(0)
            return Frame(progress=progress_of(attempt(1)), left_s=None, elapsed_s=1.0)

        def is_new() -> bool:
            nonlocal asked
            asked += 1
            if asked == 11:
                is_enough.set()
            return False

        async with display_module.shown_live(picture, is_new):
            await is_enough.wait()
        assert frames == 3

    def test_a_finished_job_is_not_drawn(self, cli: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
        """There is nothing to see."""
        assert cli("run", "requests.jsonl", *LOCAL).code == 0
        monkeypatch.setattr(run_module, "shown_live", None)
        assert cli("run", "requests.jsonl", *LOCAL).code == 0

    @pytest.mark.batch_server(clock=SteppedClock())
    def test_a_price_that_is_not_known(
        self, cli: Callable[..., Finished], service: BackgroundServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The picture of such a job says so."""
        seen: list[Frame] = []
        whole = Frame.drawn

        def note(picture: Frame, columns: int, rows: int) -> Any:
            seen.append(picture)
            service.advance(minutes=10)
            return whole(picture, columns, rows)

        write_requests(Path("requests.jsonl"), model="house-model")
        monkeypatch.setattr(Frame, "drawn", note)
        assert cli("run", "requests.jsonl", "--yes").code == 0
        assert seen[0].expected is None
