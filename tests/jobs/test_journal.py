"""The journal: what is written is there, whoever dies; what is damaged is never taken for what was written."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings, strategies as st
from support.job_parts import attempt, batch, job_record

from openai_batches import JournalError
from openai_batches.jobs.journal import sqlite
from openai_batches.jobs.journal.records import Step, Tally
from openai_batches.jobs.journal.rows import sealed
from openai_batches.jobs.journal.sqlite import Journal, JournalView, journal_path, read_attempts, read_journal
from openai_batches.models import TokenCounts
from openai_batches.storage import locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "job")
    yield journal
    journal.close()


def altered(directory: Path, *statements: str) -> None:
    """Change a journal behind its back."""
    db = sqlite3.connect(journal_path(directory), isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


def resealed(directory: Path, table: str, **values: Any) -> None:
    """Write a row that was written properly, by somebody who meant something else."""
    db = sqlite3.connect(journal_path(directory), isolation_level=None)
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[1] not in {"id", "seal"}]
    (row,) = db.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
    changed = tuple({**dict(zip(columns, row, strict=True)), **values}.values())
    *_, seal = sealed(changed)
    assignments = ", ".join(f"{name} = ?" for name in (*columns, "seal"))
    db.execute(f"UPDATE {table} SET {assignments}", (*changed, seal))
    db.close()


class TestMemory:
    def test_a_new_journal_knows_no_job(self, journal: Journal) -> None:
        assert journal.job() is None
        assert journal.attempts() == []
        assert journal.marks() == (False, False)

    def test_what_was_begun_is_there_in_the_next_life(self, journal: Journal) -> None:
        attempts = [attempt(shard) for shard in (3, 1, 2)]
        journal.begin(job_record(), attempts)
        journal.close()
        again = Journal(journal.directory)
        try:
            assert again.job() == job_record()
            assert again.attempts() == sorted(attempts, key=lambda one: one.shard)
        finally:
            again.close()

    @pytest.mark.parametrize(
        "fields",
        [
            {"step": Step.UPLOADED, "file_id": "file-1", "file_created_s": 1_774_437_191.0},
            {"step": Step.CREATING, "key": "0a" * 16, "refusals": 3, "model": None},
            {"step": Step.CREATED, "batch": batch(), "is_tidy": True, "is_adopted": True},
            {"step": Step.ENDED, "batch": batch(status="a_status_of_next_year", metadata={"a": "ü"})},
            {
                "step": Step.ENDED,
                "batch": batch(
                    status="failed",
                    failed_at=1_774_437_200,
                    errors={"object": "list", "data": [{"code": "token_limit_exceeded", "message": "x", "line": 7}]},
                    request_counts={"total": 3, "completed": 1, "failed": 2},
                ),
            },
            {
                "step": Step.VERIFIED,
                "output_name": "batch_1_output.jsonl",
                "error_name": "batch_1_error.jsonl",
                "tally": Tally(
                    outcomes={"succeeded": 2, "failed": 1},
                    resent=1,
                    error_codes={"": 1},
                    tokens={"gpt-4o-mini": TokenCounts(1, 2, 3, 4)},
                    doubled=1,
                    foreign=2,
                    is_plain=False,
                ),
            },
        ],
    )
    def test_every_field_of_an_attempt_comes_back_as_it_was(self, journal: Journal, fields: dict[str, Any]) -> None:
        one = attempt(**fields)
        journal.save(one)
        assert journal.attempts() == [one]
        assert read_attempts(journal.directory) == [one]

    def test_a_tally_is_written_as_earlier_versions_read_it(self, journal: Journal) -> None:
        """Token counts are a list of four numbers."""
        tally = Tally(outcomes={"succeeded": 2}, tokens={"gpt-4o": TokenCounts(1, 2, 3, 4)})
        journal.save(attempt(tally=tally))
        db = sqlite3.connect(journal_path(journal.directory))
        ((written,),) = db.execute("SELECT tally FROM attempts").fetchall()
        db.close()
        assert json.loads(written) == {
            "outcomes": {"succeeded": 2},
            "resent": 0,
            "error_codes": {},
            "tokens": {"gpt-4o": [1, 2, 3, 4]},
            "doubled": 0,
            "foreign": 0,
            "is_plain": True,
        }

    def test_saving_replaces_the_attempt_of_that_number_alone(self, journal: Journal) -> None:
        journal.begin(job_record(), [attempt(1), attempt(2)])
        changed = attrs.evolve(attempt(1), step=Step.UPLOADING)
        journal.save(changed, attempt(1, 2))
        assert journal.attempts() == [changed, attempt(1, 2), attempt(2)]

    def test_marks_are_remembered_and_only_finished_is_taken_back(self, journal: Journal) -> None:
        journal.begin(job_record(), [])
        journal.finish()
        assert journal.marks() == (False, True)
        journal.cancel()
        assert journal.marks() == (True, True)
        journal.reopen()
        assert journal.marks() == (True, False)
        assert journal.job() == job_record()

    def test_a_mark_without_a_job_says_nothing(self, journal: Journal) -> None:
        journal.cancel()
        assert journal.marks() == (False, False)
        assert journal.job() is None

    def test_any_thread_may_write(self, journal: Journal) -> None:
        threads = [threading.Thread(target=journal.save, args=(attempt(shard),)) for shard in range(1, 21)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [one.shard for one in journal.attempts()] == list(range(1, 21))

    def test_closing_twice_does_nothing_and_a_closed_journal_says_so(self, journal: Journal) -> None:
        journal.close()
        journal.close()
        for use in (journal.job, journal.attempts, journal.marks, journal.finish, lambda: journal.save(attempt())):
            with pytest.raises(JournalError, match="is closed"):
                use()

    @pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
    def test_only_its_owner_can_read_it(self, tmp_path: Path) -> None:
        """Files have the mode 0600 and folders 0700, whatever the process leaves to others."""
        before = os.umask(0)
        try:
            journal = Journal(tmp_path / "a job")
            journal.begin(job_record(), [attempt()])
            modes = {path.name: path.stat().st_mode & 0o777 for path in journal.directory.iterdir()}
            assert set(modes) == {"journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm", "journal.lock"}
            assert set(modes.values()) == {0o600}
            assert journal.directory.stat().st_mode & 0o777 == 0o700
            journal.close()
        finally:
            os.umask(before)

    def test_each_commit_is_on_the_disk_before_it_returns(self, journal: Journal) -> None:
        assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


HOLDER = """
import sys
from pathlib import Path
from openai_batches.jobs.journal.sqlite import Journal
journal = Journal(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


class TestLock:
    def test_a_second_process_is_refused_until_the_first_is_dead(self, tmp_path: Path) -> None:
        """The lock dies with its holder, even with one that had no time to let go of it."""
        command = [sys.executable, "-c", HOLDER, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            try:
                assert holder.stdout is not None
                assert holder.stdout.readline() == "held\n"
                with pytest.raises(JournalError, match="Another process is at work on the job") as caught:
                    Journal(tmp_path)
                assert str(tmp_path) in str(caught.value)
            finally:
                holder.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
        Journal(tmp_path).close()

    def test_a_second_journal_in_this_process_is_refused_too(self, journal: Journal) -> None:
        with pytest.raises(JournalError, match="Another process"):
            Journal(journal.directory)
        journal.save(attempt())
        assert journal.attempts() == [attempt()]

    def test_what_cannot_be_opened_holds_no_lock(self, tmp_path: Path) -> None:
        journal_path(tmp_path).write_bytes(b"no database" * 100)
        for _ in range(2):
            with pytest.raises(JournalError, match="is damaged"):
                Journal(tmp_path)

    @pytest.mark.skipif(os.name == "nt", reason="flock is POSIX's")
    def test_a_file_system_without_locks_is_not_taken_for_another_process(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(locks, "_lock", refuse)
        with pytest.raises(JournalError, match=r"cannot be locked.*No locks available"):
            Journal(tmp_path)


class TestTrouble:
    def test_a_file_in_the_place_of_the_directory(self, tmp_path: Path) -> None:
        (tmp_path / "job").write_text("mine")
        with pytest.raises(JournalError, match="job is a file, and a job is kept in a folder"):
            Journal(tmp_path / "job")
        with pytest.raises(JournalError, match="cannot be opened: Not a directory"):
            Journal(tmp_path / "job" / "within")
        assert (tmp_path / "job").read_text() == "mine"

    def test_a_folder_in_the_place_of_the_journal(self, tmp_path: Path) -> None:
        journal_path(tmp_path).mkdir()
        with pytest.raises(JournalError, match=r"cannot be opened: (Is a directory|Permission denied)"):
            Journal(tmp_path)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
    def test_a_directory_that_cannot_be_written_to(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(JournalError, match="Permission denied"):
                Journal(tmp_path)
        finally:
            tmp_path.chmod(0o700)

    def test_a_journal_of_a_newer_library_is_not_touched(self, journal: Journal) -> None:
        journal.begin(job_record(), [attempt()])
        journal.close()
        altered(journal.directory, "PRAGMA user_version = 7")
        with pytest.raises(JournalError, match=r"newer version of openai_batches \(schema 7.*update the library"):
            Journal(journal.directory)
        with pytest.raises(JournalError, match=r"newer version of openai_batches \(schema 7.*update the library"):
            read_attempts(journal.directory)
        altered(journal.directory, "PRAGMA user_version = 1")
        assert read_attempts(journal.directory) == [attempt()]

    def test_a_full_disk_loses_nothing_and_the_next_try_goes_on(self, journal: Journal) -> None:
        journal.begin(job_record(), [attempt()])
        (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
        journal._db.execute(f"PRAGMA max_page_count = {pages}")
        many = [attempt(shard) for shard in range(2, 500)]
        with pytest.raises(JournalError, match=r"cannot be read or written: .*; nothing was lost"):
            journal.save(*many)
        assert journal.attempts() == [attempt()]
        journal._db.execute("PRAGMA max_page_count = 100000")
        journal.save(*many)
        assert journal.attempts() == [attempt(), *many]

    def test_what_fails_half_way_is_not_there_at_all(self, journal: Journal) -> None:
        journal.save(attempt(1))
        broken = attrs.evolve(attempt(3), file_id=object())  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            journal.save(attempt(2), broken)
        assert journal.attempts() == [attempt(1)]
        journal.save(attempt(2))

    def test_a_transaction_that_sqlite_has_ended_itself_needs_no_end(self, journal: Journal) -> None:
        def fail() -> None:
            with journal._transaction() as db:
                db.execute("ROLLBACK")
                raise sqlite3.OperationalError("disk I/O error")

        with pytest.raises(JournalError, match="disk I/O error"):
            fail()
        journal.save(attempt())

    def test_there_is_no_journal_to_read(self, tmp_path: Path) -> None:
        with pytest.raises(JournalError, match="cannot be read or written"):
            read_attempts(tmp_path)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("directory", ["50% of #1?mode=rw", "ünï çødé"])
    def test_any_name_of_a_directory_will_do(self, tmp_path: Path, directory: str) -> None:
        journal = Journal(tmp_path / directory)
        journal.save(attempt())
        assert read_attempts(tmp_path / directory) == [attempt()]
        journal.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestSomebodyElses:
    @pytest.mark.parametrize("version", [0, 1, 7])
    @pytest.mark.parametrize("mode", ["DELETE", "WAL"])
    def test_a_database_that_is_not_ours_is_refused_and_left_byte_for_byte(
        self, tmp_path: Path, version: int, mode: str
    ) -> None:
        db = sqlite3.connect(journal_path(tmp_path), isolation_level=None)
        for statement in (f"PRAGMA journal_mode = {mode}", "CREATE TABLE mine (a)", f"PRAGMA user_version = {version}"):
            db.execute(statement)
        db.close()
        before = contents(tmp_path)
        with pytest.raises(JournalError, match="is not a journal of this library, and is left as it is"):
            read_attempts(tmp_path)
        with pytest.raises(JournalError, match="is not a journal of this library, and is left as it is"):
            Journal(tmp_path)
        assert contents(tmp_path) == {**before, "journal.lock": b""}

    def test_a_newer_journal_is_left_byte_for_byte(self, journal: Journal) -> None:
        journal.begin(job_record(), [attempt()])
        journal.close()
        altered(journal.directory, "PRAGMA user_version = 7")
        before = contents(journal.directory)
        with pytest.raises(JournalError, match="update the library"):
            Journal(journal.directory)
        assert contents(journal.directory) == before

    def test_a_journal_says_whose_it_is_before_its_first_commit(self, tmp_path: Path) -> None:
        """A process may die before the log is carried over: the file itself must tell."""
        journal = Journal(tmp_path / "job")
        journal.begin(job_record(), [attempt()])
        (tmp_path / "copy").mkdir()
        for path in journal.directory.iterdir():
            shutil.copy(path, tmp_path / "copy")
        journal.close()
        again = Journal(tmp_path / "copy")
        assert again.job() == job_record()
        again.close()


class TestTraces:
    def test_a_journal_that_nothing_was_written_to_does_not_stay(self, tmp_path: Path) -> None:
        Journal(tmp_path / "a" / "b").close()
        assert list(tmp_path.iterdir()) == []

    def test_what_was_there_before_stays(self, tmp_path: Path) -> None:
        (tmp_path / "mine").write_text("mine")
        Journal(tmp_path).close()
        assert [path.name for path in tmp_path.iterdir()] == ["mine"]
        journal_path(tmp_path).touch()
        Journal(tmp_path).close()
        assert journal_path(tmp_path).exists()

    def test_a_new_journal_that_cannot_be_opened_does_not_stay(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(db: sqlite3.Connection, _: Path) -> None:
            db.close()
            raise sqlite3.OperationalError("disk full")

        monkeypatch.setattr(sqlite, "_migrate", fail)
        with pytest.raises(JournalError, match="disk full"):
            Journal(tmp_path / "job")
        assert list(tmp_path.iterdir()) == []

    def test_a_journal_that_cannot_say_what_it_knows_stays(self, journal: Journal) -> None:
        altered(journal.directory, "DROP TABLE attempts")
        journal.close()
        assert journal_path(journal.directory).exists()

    @pytest.mark.skipif(os.name == "nt", reason="open files cannot be removed on Windows")
    def test_a_lock_whose_file_was_removed_is_no_lock(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who opened it before its holder removed it would be alone with it, and another one with the next."""
        lock = locks._lock

        def late(descriptor: int) -> None:
            (tmp_path / "job" / "journal.lock").unlink()
            lock(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(locks, "_lock", late)
            with pytest.raises(JournalError, match="Another process"):
                Journal(tmp_path / "job")
        Journal(tmp_path / "job").close()

    def test_a_reader_of_a_closed_journal_leaves_no_trace(self, journal: Journal) -> None:
        journal.begin(job_record(), [attempt()])
        journal.close()
        before = contents(journal.directory)
        assert read_attempts(journal.directory) == [attempt()]
        assert contents(journal.directory) == before

    def test_a_journal_that_is_written_to_while_it_is_read_is_read_again(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal.begin(job_record(), [attempt()])
        journal.close()
        read = sqlite._read
        modes = []

        def disturbed(path: Path, mode: str, take: Any) -> Any:
            modes.append(mode)
            found = read(path, mode, take)
            if len(modes) == 1:
                other = Journal(path.parent)
                other.save(attempt(2))
                other.close()
                os.utime(path, ns=(1, 1))
            return found

        monkeypatch.setattr(sqlite, "_read", disturbed)
        assert read_attempts(journal.directory) == [attempt(), attempt(2)]
        assert modes == ["immutable=1", "mode=ro"]


class TestReaders:
    def test_a_reader_sees_whole_commits_while_a_writer_works(self, journal: Journal) -> None:
        """Two attempts are always saved together: nobody sees one without the other."""
        done = threading.Event()
        seen: list[int] = []

        def read() -> None:
            while not done.is_set():
                found = read_attempts(journal.directory)
                seen.append(len(found))
                assert len({one.refusals for one in found}) <= 1

        with_reader = threading.Thread(target=read)
        journal.save(attempt(1), attempt(2))
        with_reader.start()
        for refusals in range(60):
            journal.save(attempt(1, refusals=refusals), attempt(2, refusals=refusals))
        done.set()
        with_reader.join()
        assert set(seen) == {2}

    def test_a_reader_does_not_hold_a_writer_up(self, journal: Journal) -> None:
        journal.save(attempt())
        db = sqlite3.connect(journal_path(journal.directory), isolation_level=None)
        db.execute("BEGIN")
        db.execute("SELECT * FROM attempts").fetchall()
        journal.save(attempt(2))
        db.execute("COMMIT")
        db.close()
        assert len(read_attempts(journal.directory)) == 2


class TestViews:
    """Whoever shows a job reads it whole, beside the process that is at work on it."""

    def test_a_view_has_the_job_its_attempts_and_its_marks(self, journal: Journal) -> None:
        attempts = (attempt(1, batch=batch()), attempt(2))
        journal.begin(job_record(), [*attempts])
        seen = read_journal(journal.directory)
        assert seen == JournalView(job=job_record(), attempts=attempts, is_cancelled=False, is_finished=False)
        journal.cancel()
        assert read_journal(journal.directory) == attrs.evolve(seen, is_cancelled=True)
        journal.finish()
        journal.close()
        assert read_journal(journal.directory) == attrs.evolve(seen, is_cancelled=True, is_finished=True)

    def test_a_view_is_of_one_moment(self, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is written down between two questions to the journal is in the next view, as a whole."""
        journal.begin(job_record(), [attempt()])
        ask = sqlite.attempts_in

        def late(db: sqlite3.Connection) -> Any:
            journal.save(attempt(2))
            journal.finish()
            return ask(db)

        with monkeypatch.context() as patch:
            patch.setattr(sqlite, "attempts_in", late)
            seen = read_journal(journal.directory)
        assert (seen.attempts, seen.is_finished) == ((attempt(),), False)
        seen = read_journal(journal.directory)
        assert (seen.attempts, seen.is_finished) == ((attempt(), attempt(2)), True)

    def test_a_journal_without_a_job_has_nothing_to_show(self, journal: Journal) -> None:
        with pytest.raises(JournalError, match=r"There is no job in .*job yet"):
            read_journal(journal.directory)

    def test_a_directory_without_a_journal_has_nothing_to_show(self, tmp_path: Path) -> None:
        with pytest.raises(JournalError, match="There is no job in "):
            read_journal(tmp_path / "nowhere")
        assert list(tmp_path.iterdir()) == []

    def test_a_damaged_job_is_not_shown(self, journal: Journal) -> None:
        journal.begin(job_record(), [attempt()])
        altered(journal.directory, "UPDATE job SET is_finished = 1")
        with pytest.raises(JournalError, match=r"is damaged.*not what was written"):
            read_journal(journal.directory)


class TestDamage:
    def test_a_row_that_is_not_what_was_written_is_refused(self, journal: Journal) -> None:
        """SQLite would give an id with one letter changed without a word."""
        journal.begin(job_record(), [attempt(file_id="file-1")])
        altered(journal.directory, "UPDATE attempts SET file_id = 'file-2'")
        with pytest.raises(JournalError, match=r"is damaged.*not what was written"):
            journal.attempts()
        with pytest.raises(JournalError, match="is damaged"):
            read_attempts(journal.directory)
        altered(journal.directory, "UPDATE job SET is_finished = 1")
        for use in (journal.job, journal.marks, journal.cancel):
            with pytest.raises(JournalError, match=r"is damaged.*not what was written"):
                use()

    @pytest.mark.parametrize(
        "values",
        [
            {"step": "halfway"},
            {"batch": b"{"},
            {"tally": b'{"outcomes": 1}'},
            {"tally": b'{"outcomes": {"\xff": 1}}'},
        ],
    )
    def test_a_row_that_says_what_nobody_understands_is_refused(self, journal: Journal, values: dict[str, Any]) -> None:
        journal.save(attempt())
        resealed(journal.directory, "attempts", **values)
        with pytest.raises(JournalError, match="is damaged"):
            journal.attempts()

    def test_a_job_that_nobody_understands_is_refused(self, journal: Journal) -> None:
        journal.begin(job_record(), [])
        resealed(journal.directory, "job", record=b"[]")
        with pytest.raises(JournalError, match="is damaged"):
            journal.job()

    def test_a_table_that_is_not_there(self, journal: Journal) -> None:
        journal.begin(job_record(), [])
        altered(journal.directory, "DROP TABLE attempts")
        with pytest.raises(JournalError, match="cannot be read or written"):
            journal.attempts()

    def test_an_index_that_does_not_fit_is_found_at_opening(self, journal: Journal) -> None:
        journal.begin(job_record(), [attempt(shard) for shard in range(1, 300)])
        journal.close()
        altered(
            journal.directory,
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET rootpage = rootpage + 2 WHERE name = 'attempts'",
        )
        with pytest.raises(JournalError):
            Journal(journal.directory)

    def test_every_damage_is_found_or_does_none(self, tmp_path: Path) -> None:
        """Whatever is overwritten: a journal says what was written, or that it is damaged, never another thing."""
        journal = Journal(tmp_path / "whole")
        attempts = [attempt(shard, file_id=f"file-{shard:032x}", key="ab" * 16) for shard in range(1, 301)]
        journal.begin(job_record(), attempts)
        journal.finish()
        journal.close()
        whole = journal_path(journal.directory).read_bytes()
        rng = random.Random(5)
        found = 0
        for number in range(250):
            directory = tmp_path / str(number)
            directory.mkdir()
            place = rng.randrange(len(whole))
            noise = rng.randbytes(rng.choice([1, 2, 16, 200]))
            journal_path(directory).write_bytes((whole[:place] + noise + whole[place + len(noise) :])[: len(whole)])
            try:
                damaged = Journal(directory)
                try:
                    said = (damaged.job(), damaged.attempts(), damaged.marks())
                finally:
                    damaged.close()
            except JournalError:
                found += 1
            else:
                assert said == (job_record(), attempts, (False, True)), (place, noise)
            shutil.rmtree(directory)
        assert found > 150

    @settings(max_examples=40)
    @given(data=st.data())
    def test_a_torn_log_keeps_what_was_committed_before_it(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        """A power cut may tear the last frames of the log: every commit that is whole in it is there."""
        home = tmp_path_factory.mktemp("torn")
        journal = Journal(home / "job")
        wal = journal_path(journal.directory).with_name("journal.sqlite-wal")
        ends = []
        for shard in range(1, 9):
            journal.save(attempt(shard))
            ends.append(wal.stat().st_size)
        cut = data.draw(st.integers(ends[0], ends[-1]))
        (home / "copy").mkdir()
        shutil.copy(journal_path(journal.directory), home / "copy")
        (home / "copy" / wal.name).write_bytes(wal.read_bytes()[:cut])
        journal.close()
        survivor = Journal(home / "copy")
        whole = sum(end <= cut for end in ends)
        assert [one.shard for one in survivor.attempts()] == list(range(1, whole + 1))
        survivor.save(attempt(99))
        survivor.close()
        shutil.rmtree(home)


class TestMigrations:
    @staticmethod
    def _steps(*names: str) -> tuple[Callable[[sqlite3.Connection], None], ...]:
        def step(name: str) -> Callable[[sqlite3.Connection], None]:
            return lambda db: sqlite._run_script(db, f"CREATE TABLE {name} (a); CREATE TABLE {name}_too (a);")

        return tuple(map(step, names))

    def _tables(self, directory: Path) -> tuple[int, set[str]]:
        db = sqlite3.connect(journal_path(directory))
        (version,) = db.execute("PRAGMA user_version").fetchone()
        names = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
        db.close()
        return version, names

    def test_a_new_journal_has_the_newest_schema(self, journal: Journal) -> None:
        version, names = self._tables(journal.directory)
        assert version == len(sqlite._MIGRATIONS) == 1
        assert names == {"job", "attempts"}

    def test_a_journal_of_an_older_library_takes_the_steps_it_lacks(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal.begin(job_record(), [attempt()])
        journal.close()
        steps = (*sqlite._MIGRATIONS, *self._steps("two", "three"))
        monkeypatch.setattr(sqlite, "_MIGRATIONS", steps)
        with pytest.raises(JournalError, match="an older version"):
            read_attempts(journal.directory)
        again = Journal(journal.directory)
        assert again.attempts() == [attempt()]
        again.close()
        assert self._tables(journal.directory) == (3, {"job", "attempts", "two", "two_too", "three", "three_too"})

    def test_a_step_that_fails_leaves_the_version_before_it(
        self, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        journal.begin(job_record(), [attempt()])
        journal.close()

        def fail(db: sqlite3.Connection) -> None:
            db.execute("CREATE TABLE three (a)")
            raise sqlite3.OperationalError("disk full, say")

        one = sqlite._MIGRATIONS
        monkeypatch.setattr(sqlite, "_MIGRATIONS", (*one, *self._steps("two"), fail))
        with pytest.raises(JournalError, match="disk full, say"):
            Journal(journal.directory)
        assert self._tables(journal.directory) == (2, {"job", "attempts", "two", "two_too"})
        monkeypatch.setattr(sqlite, "_MIGRATIONS", (*one, *self._steps("two")))
        again = Journal(journal.directory)
        assert again.job() == job_record()
        again.close()


async def test_the_journal_works_from_the_threads_of_a_loop(tmp_path: Path) -> None:
    journal = await asyncio.to_thread(Journal, tmp_path)
    await asyncio.gather(*(asyncio.to_thread(journal.save, attempt(shard)) for shard in range(1, 9)))
    assert len(await asyncio.to_thread(journal.attempts)) == 8
    await asyncio.to_thread(journal.close)
