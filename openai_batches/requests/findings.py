"""What a look at an input file found: its contents in numbers, and its problems, of which the first are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from openai_batches.errors import InvalidRequestsError
from openai_batches.problems import Problem, Repair

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ProblemList", "ValidationReport"]

_SHOWN_PROBLEMS = 3


@attrs.frozen(kw_only=True)
class ValidationReport:
    """What is in the requests that were looked at, and what is wrong with them.

    Attributes:
        requests: how many requests there are, good and bad; blank lines are none.
        bytes: how large the good ones are as lines of a file, after repairs.
        models: the models of the good ones, in the order in which they appear.
        endpoints: the endpoints of the good ones, likewise.
        embedding_inputs: how many inputs the embedding requests among them have together.
        problems: what is wrong, in the order of the lines; what is about the whole file comes last.
        more_problems: how many more there are than ``problems`` holds.
        repairs: what was put right: byte order marks, line ends, blank lines.
    """

    requests: int = 0
    bytes: int = 0
    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    embedding_inputs: int = 0
    problems: tuple[Problem, ...] = ()
    more_problems: int = 0
    repairs: tuple[Repair, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def raise_for_problems(self) -> None:
        """Raise what is wrong, if anything is.

        Raises:
            InvalidRequestsError: there are problems; it has all that the report has.
        """
        if self.is_valid:
            return
        count = len(self.problems) + self.more_problems
        named = [str(problem) for problem in self.problems[:_SHOWN_PROBLEMS]]
        if count > _SHOWN_PROBLEMS:
            named.append(f"and {count - _SHOWN_PROBLEMS:,} more")
        raise InvalidRequestsError(
            f"{count:,} problem{'s' if count > 1 else ''} in the requests: {'; '.join(named)}",
            problems=self.problems,
            more_problems=self.more_problems,
        )


class ProblemList:
    """The first problems of a file, and the number of the others.

    Args:
        maximum: how many to keep.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.kept: list[Problem] = []
        self.more: int = 0

    def __bool__(self) -> bool:
        return bool(self.kept)

    def add(self, problems: Iterable[Problem], *, more: int = 0) -> None:
        """Add problems, which may stand anywhere among those that are there, and the number of some others."""
        self.kept = sorted((*self.kept, *problems), key=_by_line)
        self.more += max(len(self.kept) - self.maximum, 0) + more
        del self.kept[self.maximum :]


def _by_line(problem: Problem) -> tuple[bool, int]:
    return problem.line is None, problem.line or 0
