"""What a job is told: where it cannot be right it is refused at once, by its name, and nothing begins."""

from __future__ import annotations

import functools
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support.request_lines import request

from openai_batches import BatchJob, BatchSession, InputError, PollPolicy
from openai_batches.jobs.arguments import checked_source
from openai_batches.jobs.signals import checked_signals


def job(**options: Any) -> BatchJob:
    return BatchJob(BatchSession("k"), [request("a")], **{"directory": "never-made", **options})


async def told(_: object) -> None:
    """Nobody awaits this."""


class Told:
    async def __call__(self, _: object) -> None:
        """Nobody awaits this either."""


class Raw:
    def __fspath__(self) -> bytes:
        return b"x"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("max_open", 0, "whole number of at least 1"),
        ("patience_s", -1, "0 or more seconds"),
        ("patience_s", "6h", "0 or more seconds"),
        ("patience_s", None, "0 or more seconds"),
        ("patience_s", True, "0 or more seconds"),
        ("patience_s", math.nan, "0 or more seconds"),
        ("strict", "x", "True or False"),
        ("keep_files", 1, "True or False"),
        ("resend_cancelled", None, "True or False"),
        ("directory", 5, "path of a folder"),
        ("directory", "", "path of a folder"),
        ("directory", "\0", "path of a folder"),
        ("directory", Raw(), "path of a folder"),
        ("on_event", 5, "function that takes an event"),
        ("on_event", told, "called and not awaited"),
        ("on_event", functools.partial(told), "called and not awaited"),
        ("on_event", Told(), "called and not awaited"),
        ("stall_after", {"bogus": 5}, "status 'bogus', batches have validating"),
        ("stall_after", {"finalizing": 0}, "seconds above 0"),
        ("stall_after", "1h", "seconds above 0"),
        ("stall_after", True, "seconds above 0"),
        ("limits", 5, "must be a ShardLimits"),
        ("poll", "often", "PollPolicy"),
    ],
)
def test_an_option_is_refused_by_its_name(name: str, value: Any, said: str) -> None:
    with pytest.raises(InputError, match=rf"^{name}.*{said}"):
        job(**{name: value})


@pytest.mark.parametrize("session", ["x", None])
def test_a_session_is_one(session: Any) -> None:
    with pytest.raises(InputError, match="must be a BatchSession"):
        BatchJob(session, [request("a")], directory="never-made")


def test_a_source_without_a_name() -> None:
    with pytest.raises(InputError, match="source must be the path of a file"):
        BatchJob(BatchSession("k"), "")


def test_what_can_be_right_is_taken(tmp_path: Path) -> None:
    """Nothing is made before the job is started."""
    one = job(
        directory=tmp_path / "job",
        patience_s=math.inf,
        stall_after={"finalizing": 3_600, "in_progress": 0.5},
        poll=PollPolicy.every(1),
        on_event=print,
        max_open=1,
    )
    assert not one.directory.exists()
    assert BatchJob(BatchSession("k"), Path("a.jsonl")).directory == Path("a.jsonl.job")


@pytest.mark.parametrize("value", [signal.SIGTERM, "SIGTERM", ["SIGTERM"], [15], None, 5])
async def test_signals_are_signals(value: Any) -> None:
    with pytest.raises(InputError, match="stop_on must"):
        await job().run(stop_on=value)
    assert not job().directory.exists()


def test_signals_may_come_in_any_collection() -> None:
    assert checked_signals({signal.SIGTERM}) == (signal.SIGTERM,)
    assert checked_signals(()) == ()


@pytest.mark.parametrize("value", [None, 5, [], b"batch_1"])
async def test_what_is_adopted_is_a_batch(value: Any) -> None:
    with pytest.raises(InputError, match="adopt takes a Batch or its id"):
        await job().adopt(value)


@pytest.mark.parametrize("value", [None, 5, b"x", "", [5], [""], ("a\0",)])
async def test_directories_are_paths(value: Any) -> None:
    for ask in (BatchSession("k").doctor, BatchSession("k").gc):
        with pytest.raises(InputError, match="directories must be"):
            await ask(value)


async def test_directories_may_come_one_by_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no job in"):
        await BatchSession("k").gc(iter([tmp_path]))


@pytest.mark.parametrize("value", ["1d", -1, None, True])
async def test_ages_are_seconds(value: Any) -> None:
    session = BatchSession("k")
    with pytest.raises(InputError, match="older_than_s must be"):
        await session.gc(older_than_s=value)
    with pytest.raises(InputError, match="stalled_after_s must be"):
        await session.doctor(stalled_after_s=value)
    with pytest.raises(InputError, match="expiring_within_s must be"):
        await session.doctor(expiring_within_s=value)


@pytest.mark.parametrize("name", ["dry_run", "with_results"])
async def test_what_deletes_is_told_clearly(name: str) -> None:
    """``dry_run=None`` is not taken for False."""
    options: dict[str, Any] = {name: None}
    with pytest.raises(InputError, match=f"{name} must be True or False"):
        await BatchSession("k").gc(**options)


def test_a_source_whose_name_no_journal_can_hold_is_refused(tmp_path: Path) -> None:
    """Before anything is planned: its name is written down, and found again by it."""
    source = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    source.write_bytes(b"{}\n")
    with pytest.raises(InputError, match=r"source must have a name in UTF-8, not .*: rename it"):
        checked_source(source)
    with pytest.raises(InputError, match="source must have a name in UTF-8"):
        checked_source(tmp_path / os.fsdecode(b"caf\xe9") / "requests.jsonl")
