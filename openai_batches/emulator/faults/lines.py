"""Faults of result files: lines that are shuffled, missing, doubled, foreign, unreadable or without an answer."""

import random
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self, Unpack

import attrs
import msgspec

from openai_batches.emulator.atomic import rewritten
from openai_batches.emulator.faults.aim import AimedFault, Where
from openai_batches.emulator.faults.kinds import field, kind

_RESULT_FILES = ("output", "error", "both")


@attrs.frozen(kw_only=True)
class _File:
    """Which result file is struck."""

    file: str = field(known=_RESULT_FILES)


@attrs.frozen(kw_only=True)
class _Lines(_File):
    """How many lines of a result file are struck, chosen by the seed."""

    lines: int = field(least=0)


@attrs.define
class LinePlan:
    """The lines that a result file will have: numbers stand for its own, bytes for others."""

    source: BinaryIO
    offsets: "array[int]"
    order: list[int | bytes]

    def line(self, place: int) -> bytes:
        """Return the line at a place of the plan, without its end."""
        entry = self.order[place]
        if isinstance(entry, bytes):
            return entry
        self.source.seek(self.offsets[entry])
        return self.source.read(self.offsets[entry + 1] - self.offsets[entry]).rstrip(b"\n")

    def choose(self, chance: random.Random, struck: _Lines) -> list[int]:
        """Return as many places as the fault strikes, in order."""
        return sorted(chance.sample(range(len(self.order)), min(struck.lines, len(self.order))))


def spoil_lines(paths: dict[str, Path], faults: Sequence[AimedFault]) -> None:
    """Change the result files, named `output` and `error`, by one fault after the other.

    It is called in a worker thread, and holds one line at a time.
    """
    for name, path in paths.items():
        hitting = [fault for fault in faults if fault.parameters.file in {name, "both"}]
        if hitting and path.exists():
            _rewrite(path, hitting)


def _rewrite(path: Path, faults: Sequence[AimedFault]) -> None:
    with path.open("rb") as source, rewritten(path) as target:
        offsets = array("Q", [0])
        for line in source:
            offsets.append(offsets[-1] + len(line))
        plan = LinePlan(source, offsets, list(range(len(offsets) - 1)))
        for fault in faults:
            # A seed that is text gives the same numbers in every process.
            fault.act(plan, random.Random(f"{fault.kind} {fault.seed} {fault.fired}"))
        for place in range(len(plan.order)):
            target.write(plan.line(place) + b"\n")


def _shuffled_lines(plan: LinePlan, chance: random.Random, _: _File) -> None:
    chance.shuffle(plan.order)


def _missing_lines(plan: LinePlan, chance: random.Random, struck: _Lines) -> None:
    for place in reversed(plan.choose(chance, struck)):
        del plan.order[place]


def _doubled_lines(plan: LinePlan, chance: random.Random, struck: _Lines) -> None:
    plan.order += [plan.order[place] for place in plan.choose(chance, struck)]


def _foreign_lines(plan: LinePlan, chance: random.Random, struck: _Lines) -> None:
    for place in plan.choose(chance, struck):
        record = _record(plan, place)
        record["custom_id"] = f"foreign-{chance.getrandbits(64):016x}"
        plan.order.append(msgspec.json.encode(record))


def _unparseable_lines(plan: LinePlan, chance: random.Random, struck: _Lines) -> None:
    for place in plan.choose(chance, struck):
        line = plan.line(place)
        plan.order[place] = line[: 2 * len(line) // 3]


def _status_zero_lines(plan: LinePlan, chance: random.Random, struck: _Lines) -> None:
    for place in plan.choose(chance, struck):
        record = _record(plan, place)
        record["response"] = {"status_code": 0, "request_id": "", "body": ""}
        plan.order[place] = msgspec.json.encode(record)


def _record(plan: LinePlan, place: int) -> dict[str, Any]:
    try:
        return msgspec.json.decode(plan.line(place), type=dict[str, Any])
    except ValueError:
        return {}


class LineFaults(AimedFault):
    """Names the faults of result files."""

    __slots__ = ()

    @classmethod
    @kind(_shuffled_lines, _File, subject="lines")
    def shuffled_lines(cls, *, file: str = "output", **where: Unpack[Where]) -> Self:
        """Shuffle the lines of a result file."""
        return cls("shuffled_lines", file=file, **where)

    @classmethod
    @kind(_missing_lines, _Lines, subject="lines")
    def missing_lines(cls, *, lines: int = 1, file: str = "output", **where: Unpack[Where]) -> Self:
        """Leave lines of a result file out."""
        return cls("missing_lines", lines=lines, file=file, **where)

    @classmethod
    @kind(_doubled_lines, _Lines, subject="lines")
    def doubled_lines(cls, *, lines: int = 1, file: str = "output", **where: Unpack[Where]) -> Self:
        """Write lines of a result file a second time, at its end."""
        return cls("doubled_lines", lines=lines, file=file, **where)

    @classmethod
    @kind(_foreign_lines, _Lines, subject="lines")
    def foreign_lines(cls, *, lines: int = 1, file: str = "output", **where: Unpack[Where]) -> Self:
        """Add lines to a result file whose `custom_id` belongs to no request."""
        return cls("foreign_lines", lines=lines, file=file, **where)

    @classmethod
    @kind(_unparseable_lines, _Lines, subject="lines")
    def unparseable_lines(cls, *, lines: int = 1, file: str = "output", **where: Unpack[Where]) -> Self:
        """Break lines of a result file off, so that they are no JSON."""
        return cls("unparseable_lines", lines=lines, file=file, **where)

    @classmethod
    @kind(_status_zero_lines, _Lines, subject="lines")
    def status_zero_lines(cls, *, lines: int = 1, file: str = "output", **where: Unpack[Where]) -> Self:
        """Answer lines of a result file with `status_code` 0 and an empty body."""
        return cls("status_zero_lines", lines=lines, file=file, **where)
