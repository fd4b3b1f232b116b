"""Jobs in simulated time: weeks of a service's life in seconds, with everything that can go wrong in them.

Each number is one schedule. ``SCHEDULES=5000 nox -s simulate`` goes through as many, and ``SEED=123`` through that one
alone, the same way each time.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from support import simulated_job

if TYPE_CHECKING:
    from pathlib import Path

_FEW, _MORE = 20, 60
_MANY = int(os.environ.get("SCHEDULES", "400"))
_SEED = os.environ.get("SEED")

# Who is killed while a thread opens a file does not close it.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"
)


def _live(seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            simulated_job.live(seed, folder)
        except BaseException as error:
            error.add_note(f"to see it again: SEED={seed} pytest -m exhaustive tests/jobs/test_simulated.py")
            raise
        shutil.rmtree(folder)


def test_a_job_comes_to_its_end_whatever_happens(tmp_path: Path) -> None:
    """One outcome each, nothing paid is lost, nothing is created or sent needlessly, and nothing is left behind."""
    _live(range(_FEW), tmp_path)


@pytest.mark.slow
def test_also_in_more_schedules(tmp_path: Path) -> None:
    """The more schedules, the more of what is rare."""
    _live(range(_FEW, _MORE), tmp_path)


@pytest.mark.exhaustive
@pytest.mark.timeout(max(600, _MANY * 10))
def test_also_in_many_schedules(tmp_path: Path) -> None:
    """What is rare is met in hundreds of schedules; a single one is gone through again by its number."""
    _live(range(int(_SEED), int(_SEED) + 1) if _SEED else range(_MANY), tmp_path)


def test_a_seed_gives_the_same_schedule_each_time(tmp_path: Path) -> None:
    """A failure can be looked at again: the same events at the same times, and the same requests."""
    seen = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        job = simulated_job.live(5, folder)
        seen.append((job.lives, job.service.asked, job.trace))
    assert seen[0] == seen[1]
