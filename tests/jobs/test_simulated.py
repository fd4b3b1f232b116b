"""Jobs in simulated time: weeks of a service's life in seconds, with everything that can go wrong in them.

Each number is one schedule. ``SCHEDULES=5000 pytest tests/test_jobs_simulated.py`` goes through as many, and
``SEED=123`` through that one alone, the same way each time.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from support import simulated_job

if TYPE_CHECKING:
    from pathlib import Path

_SCHEDULES = int(os.environ.get("SCHEDULES", "0"))
_SEED = os.environ.get("SEED")
# What the default run may take.
_DEFAULT_SCHEDULES, _DEFAULT_S = 60, 15.0


def seeds() -> range:
    """Return the schedules of this run: one, or many, or as many as the default run has time for."""
    return range(int(_SEED), int(_SEED) + 1) if _SEED else range(_SCHEDULES or _DEFAULT_SCHEDULES)


# Who is killed while a thread opens a file does not close it.
@pytest.mark.filterwarnings(r"ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(120 if not _SCHEDULES else _SCHEDULES * 10)
def test_a_job_comes_to_its_end_whatever_happens(tmp_path: Path) -> None:
    """One outcome each, nothing paid is lost, nothing is created or sent needlessly, and nothing is left behind."""
    begun = time.monotonic()
    for seed in seeds():
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            simulated_job.live(seed, folder)
        except BaseException as error:
            error.add_note(f"to see it again: SEED={seed} pytest tests/test_jobs_simulated.py")
            raise
        shutil.rmtree(folder)
        if not (_SCHEDULES or _SEED) and time.monotonic() - begun > _DEFAULT_S:
            break


def test_a_seed_gives_the_same_schedule_each_time(tmp_path: Path) -> None:
    """A failure can be looked at again: the same events at the same times, and the same requests."""
    seen = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        job = simulated_job.live(5, folder)
        seen.append((job.lives, job.service.asked, job.trace))
    assert seen[0] == seen[1]
