"""The names of the program's environment variables, and how they are read."""

import os

__all__ = ["CONFIG", "CONFIRM_ABOVE_USD", "DEBUG", "LOCAL_DATA", "PROFILE", "variable"]

CONFIG = "OPENAI_BATCHES_CONFIG"
CONFIRM_ABOVE_USD = "OPENAI_BATCHES_CONFIRM_ABOVE_USD"
DEBUG = "OPENAI_BATCHES_DEBUG"
LOCAL_DATA = "OPENAI_BATCHES_LOCAL_DATA"
PROFILE = "OPENAI_BATCHES_PROFILE"


def variable(name: str) -> str | None:
    """Return what a variable of the environment holds, without blanks around it; None if that is nothing."""
    return os.environ.get(name, "").strip() or None
