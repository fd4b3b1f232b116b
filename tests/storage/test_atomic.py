"""A new file gets its name when it is whole; until then it is one file beside it, of one writer."""

from __future__ import annotations

import errno
import importlib.util
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from openai_batches import InputError
from openai_batches.storage import atomic
from openai_batches.storage.atomic import NewFile, PartFile

if TYPE_CHECKING:
    from pathlib import Path


def names_in(folder: Path) -> list[str]:
    return sorted(found.name for found in folder.iterdir())


@pytest.fixture(params=["locks", "no locks"])
def _system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every system has locks, or lets an open file be renamed."""
    if request.param == "no locks":
        monkeypatch.setattr(atomic, "fcntl", None)


@pytest.mark.usefixtures("_system")
@pytest.mark.parametrize("overwrite", [True, False])
def test_it_has_its_name_when_it_is_whole(tmp_path: Path, *, overwrite: bool) -> None:
    """Until then it stands beside it, readable to its owner alone; discarding it afterwards does nothing."""
    target = tmp_path / "out.csv"
    new = NewFile(target, overwrite=overwrite)
    new.stream.write(b"a,b\n")
    assert names_in(tmp_path) == ["out.csv.part"]
    new.keep()
    new.discard()
    assert (names_in(tmp_path), target.read_bytes()) == (["out.csv"], b"a,b\n")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.usefixtures("_system")
def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    """Twice is as good as once, and the file that was there before stays."""
    target = tmp_path / "out.csv"
    target.write_bytes(b"before")
    new = NewFile(target, overwrite=True)
    new.stream.write(b"a")
    new.discard()
    new.discard()
    assert (names_in(tmp_path), target.read_bytes()) == (["out.csv"], b"before")


@pytest.mark.usefixtures("_system")
def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    """The next one takes its place, from its start."""
    (tmp_path / "out.csv.part").write_bytes(b"half of a longer table")
    new = NewFile(tmp_path / "out.csv", overwrite=False)
    new.stream.write(b"a")
    new.keep()
    assert (names_in(tmp_path), (tmp_path / "out.csv").read_bytes()) == (["out.csv"], b"a")


@pytest.mark.usefixtures("_system")
def test_two_writers_do_not_write_into_each_other(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The second is told so at once."""
    if "no locks" in request.node.name:
        pytest.skip("nothing tells them apart")
    first = NewFile(tmp_path / "out.csv", overwrite=True)
    with pytest.raises(FileExistsError, match="another process is writing it"):
        NewFile(tmp_path / "out.csv", overwrite=True)
    first.keep()
    second = NewFile(tmp_path / "out.csv", overwrite=True)
    first.discard()
    assert names_in(tmp_path) == ["out.csv", "out.csv.part"], "who is done does not take away what is another's"
    second.discard()


@pytest.mark.usefixtures("_system")
@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_comes_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_links: bool
) -> None:
    """Whether the file system has links or not."""

    def link(*_: object) -> None:
        raise OSError(1, "no links here")

    if not has_links:
        monkeypatch.setattr(atomic.os, "link", link)
    for is_there in (True, False):
        target = tmp_path / "out.csv"
        new = NewFile(target, overwrite=False)
        new.stream.write(b"mine")
        if is_there:
            target.write_bytes(b"theirs")
            with pytest.raises(InputError, match="exists"):
                new.keep()
            new.discard()
            assert (names_in(tmp_path), target.read_bytes()) == (["out.csv"], b"theirs")
            target.unlink()
        else:
            new.keep()
            assert (names_in(tmp_path), target.read_bytes()) == (["out.csv"], b"mine")


def test_a_process_killed_when_the_file_had_both_names(tmp_path: Path) -> None:
    """What is whole stays whole."""
    target = tmp_path / "out.csv"
    target.write_bytes(b"whole")
    os.link(target, tmp_path / "out.csv.part")
    new = NewFile(target, overwrite=True)
    new.stream.write(b"half")
    new.stream.flush()
    assert target.read_bytes() == b"whole"
    new.discard()
    assert (names_in(tmp_path), target.read_bytes()) == (["out.csv"], b"whole")


@given(
    lines=st.lists(st.sampled_from([b"{}", b"", b" ", b"\r", b"a b", b"\xc2\x85"]), max_size=12), size=st.integers(1, 7)
)
def test_rows_are_lines_with_text(lines: list[bytes], size: int) -> None:
    """Rows are counted alike however the content is cut."""
    rows = atomic._Rows()
    data = b"\n".join(lines)
    for start in range(0, len(data), size):
        rows.feed(data[start : start + size])
    assert rows.count == sum(1 for line in lines if line.strip())


class TestPartFile:
    def part(self, folder: Path, **options: Any) -> PartFile:
        return PartFile(folder / "out", **{"compression": None, "overwrite": False, **options})

    def test_only_its_owner_can_read_it(self, tmp_path: Path) -> None:
        """The part is the owner's alone, even where an earlier one was not."""
        (tmp_path / "out.part").write_bytes(b"old")
        (tmp_path / "out.part").chmod(0o666)
        part = self.part(tmp_path)
        part.open()
        assert part.path.stat().st_mode & 0o777 == 0o600
        assert part.path.read_bytes() == b""
        part.discard()
        part.discard()
        assert list(tmp_path.iterdir()) == []

    def test_it_follows_no_link(self, tmp_path: Path) -> None:
        """A link under the part's name is not followed, and what is no file is not written to."""
        (tmp_path / "out.part").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match=r"symbolic link"):
            self.part(tmp_path).open()
        (tmp_path / "out.part").unlink()
        os.mkfifo(tmp_path / "out.part")
        with pytest.raises(FileExistsError, match="no regular file"):
            self.part(tmp_path).open()

    def test_threads_that_come_too_late(self, tmp_path: Path) -> None:
        """What a cancelled download left running in a thread finds the part closed."""
        part = self.part(tmp_path)
        part.discard()
        part.open()
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(OSError, match="Bad file descriptor"):
            part.write([b"x"])

    def test_a_name_that_is_given_away_while_waiting(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who gets the lock of a file that has another name by then, or none, makes a new one."""
        lock = atomic._lock
        steps = [lambda path: path.rename(tmp_path / "whole"), lambda path: path.unlink()]

        def lock_late(descriptor: int, path: Path) -> None:
            lock(descriptor, path)
            if steps:
                steps.pop(0)(path)

        monkeypatch.setattr(atomic, "_lock", lock_late)
        part = self.part(tmp_path)
        part.open()
        part.restart(None)
        part.write([b"x"])
        part.keep()
        part.discard()
        assert (tmp_path / "out").read_bytes() == b"x"
        assert (tmp_path / "whole").read_bytes() == b""

    @pytest.mark.parametrize("is_kept", [True, False])
    def test_systems_without_locks(self, is_kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where files cannot be locked, they are written all the same."""
        monkeypatch.setattr(atomic, "fcntl", None)
        monkeypatch.delattr(os, "fchmod")
        part = self.part(tmp_path)
        part.open()
        part.restart(None)
        part.write([b"x"])
        if is_kept:
            part.keep()
        part.discard()
        assert [path.name for path in tmp_path.iterdir()] == ["out"] * is_kept

    def test_systems_without_the_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where there is no module for locks, the module can still be imported."""
        monkeypatch.setitem(sys.modules, "fcntl", None)
        assert atomic.__file__ is not None
        spec = importlib.util.spec_from_file_location("atomic_without_locks", atomic.__file__)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.fcntl is None

    def test_file_systems_without_locks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """So they are where the file system has no locks."""

        def flock(*_: Any) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(atomic.fcntl, "flock", flock)
        part = self.part(tmp_path)
        part.open()
        part.discard()
        assert list(tmp_path.iterdir()) == []
