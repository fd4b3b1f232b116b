"""How a service writes its result files: which there are, and what a line of them looks like."""

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import msgspec

from openai_batches.emulator.atomic import rewritten
from openai_batches.emulator.store.records import Counts

Line = dict[str, Any]
Place = tuple[Path, int]

_decode = msgspec.json.Decoder(Line).decode
_encode = msgspec.json.Encoder().encode


@attrs.frozen(kw_only=True)
class ResultStyle:
    """The habits of one service; the default ones are OpenAI's, and leave the files as they were written.

    Args:
        line: Returns a line as this service writes it; given one of its own lines it returns the same.
        is_mixed: One output file holds all lines, in the order of the input, and there is no error file.
        always: Which of `output` and `error` are made even if nothing stands in them.
    """

    line: Callable[[Line], Line] | None = None
    is_mixed: bool = False
    always: frozenset[str] = frozenset()

    def has_file(self, name: str, counts: Counts) -> bool:
        """Tell whether a batch with these counts has a file of this name, `output` or `error`."""
        if self.is_mixed:
            return name == "output" and counts.completed + counts.failed > 0
        return name in self.always or (counts.completed if name == "output" else counts.failed) > 0

    def rewrite(self, source: Path, output: Path, errors: Path) -> None:
        """Bring finished files into this style; meant for a worker thread, and harmless when done twice.

        Args:
            source: The input file.
            output: The successes; need not exist.
            errors: The other lines; need not exist.
        """
        for name, path in (("output", output), ("error", errors)):
            if name in self.always:
                path.touch()
        paths = [path for path in (output, errors) if path.exists()]
        if self.is_mixed:
            places = list(_in_order(source, paths))
            _replace(output, (self._shaped(line) for line in _lines_at(places)))
            errors.unlink(missing_ok=True)
        elif self.line is not None:
            for path in paths:
                with path.open("rb") as lines:
                    _replace(path, map(self._shaped, lines))

    def _shaped(self, line: bytes) -> bytes:
        return line if self.line is None else _encode(self.line(_decode(line))) + b"\n"


def _replace(path: Path, lines: Iterator[bytes]) -> None:
    """Write lines that may come from the file itself, and give them its name."""
    with rewritten(path) as target:
        target.writelines(lines)


def _in_order(source: Path, paths: list[Path]) -> Iterator[Place]:
    """Yield where the line of each input stands; of inputs with one id, the first has the first line."""
    places: dict[str, deque[Place]] = {}
    for path in paths:
        with path.open("rb") as lines:
            start = 0
            for line in lines:
                places.setdefault(_decode(line)["custom_id"], deque()).append((path, start))
                start += len(line)
    with source.open("rb") as inputs:
        for line in inputs:
            if line.strip() and (found := places.get(_decode(line)["custom_id"])):
                yield found.popleft()


def _lines_at(places: list[Place]) -> Iterator[bytes]:
    opened = {path: path.open("rb") for path in {path for path, _ in places}}
    try:
        for path, start in places:
            opened[path].seek(start)
            yield opened[path].readline()
    finally:
        for file in opened.values():
            file.close()
