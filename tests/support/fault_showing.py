"""Which test shows which kind of fault; `test_fault_table` reads the decorators and misses none."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from openai_batches.emulator.faults.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F")


def shows(*kinds: str) -> Callable[[F], F]:
    """Say that a test shows these kinds of faults."""
    unknown = set(kinds) - set(KINDS)
    assert unknown == set()
    return lambda test: test
