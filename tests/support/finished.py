"""What a run of the program left."""

from typing import NamedTuple


class Finished(NamedTuple):
    """Its exit code, and what it wrote."""

    code: int
    out: str
    err: str
