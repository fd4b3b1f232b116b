"""What not every machine has, and some tests need."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
