"""A new file has its name when it is whole; what is beside it until then is one file, and nobody else's."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from openai_batches import InputError
from openai_batches.storage import atomic as partfile_room, newfile as newfile_room
from openai_batches.storage.newfile import NewFile

if TYPE_CHECKING:
    from pathlib import Path


def names_in(folder: Path) -> list[str]:
    return sorted(found.name for found in folder.iterdir())


@pytest.fixture(params=["locks", "no locks"], autouse=True)
def _system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every system has locks, or lets an open file be renamed."""
    if request.param == "no locks":
        monkeypatch.setattr(partfile_room, "fcntl", None)


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


def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    """Twice is as good as once, and the file that was there before stays."""
    target = tmp_path / "out.csv"
    target.write_bytes(b"before")
    new = NewFile(target, overwrite=True)
    new.stream.write(b"a")
    new.discard()
    new.discard()
    assert (names_in(tmp_path), target.read_bytes()) == (["out.csv"], b"before")


def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    """The next one takes its place, from its start."""
    (tmp_path / "out.csv.part").write_bytes(b"half of a longer table")
    new = NewFile(tmp_path / "out.csv", overwrite=False)
    new.stream.write(b"a")
    new.keep()
    assert (names_in(tmp_path), (tmp_path / "out.csv").read_bytes()) == (["out.csv"], b"a")


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


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_comes_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_links: bool
) -> None:
    """Whether the file system has links or not."""

    def link(*_: object) -> None:
        raise OSError(1, "no links here")

    if not has_links:
        monkeypatch.setattr(newfile_room.os, "link", link)
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
