"""Build the lines of a request file from prompts and a template.

All that is wrong with the prompts is named, up to a hundred problems; after the first, no more lines are made.
"""

from __future__ import annotations

import uuid
from bisect import bisect_left
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from openai_batches._text import as_count
from openai_batches.errors import InputError, InvalidRequestsError
from openai_batches.models import Problem
from openai_batches.requests.duplicates import DuplicateFinder
from openai_batches.requests.prompts import RowReader
from openai_batches.requests.request import encode_request, requests_from
from openai_batches.requests.templates import FieldError, Template, TemplateError, named_fields

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping

__all__ = ["Composer", "LineMaker", "id_template"]

_MAX_PROBLEMS = 100
_SHOWN_PROBLEMS = 3
_HELD_IDS = 1000
_BLOCK_BYTES = 256 * 1024
_CUSTOM_ID = "custom_id"
_NUMBER = "number"
_PROMPT = "prompt"
_MISSING = "missing_required_parameter"
# A field called as the endpoint calls it holds what it takes.
_PROMPT_FIELDS = (_PROMPT, "messages", "input")
_DELIMITERS = {";": "';'", "\t": "a tab", "|": "'|'"}
_encode = msgspec.json.Encoder().encode


class LineMaker:
    """Makes lines of a request file, which differ in their ids and prompts alone.

    The arguments are those of :func:`requests_from`, but for the prompts.
    """

    def __init__(self, **arguments: Any) -> None:
        self._arguments = arguments
        # One request is made and encoded as all are, with marks where the others differ.
        marks = uuid.uuid4().hex, uuid.uuid4().hex
        try:
            line = encode_request(next(iter(requests_from([marks], **arguments))))
        except InputError as error:
            # The error names the mark as an id.
            raise InputError(str(error).partition(" (in the request ")[0]) from error
        self._head, rest = line.split(_encode(marks[0]))
        self._middle, self._end = rest.split(_encode(marks[1]))

    def line(self, custom_id: str, prompt: Any) -> bytes:
        """Return a request as a line, with its end."""
        if type(prompt) is str:
            return b"%b%b%b%b%b\n" % (self._head, _encode(custom_id), self._middle, _encode(prompt), self._end)
        try:
            return encode_request(next(iter(requests_from([(custom_id, prompt)], **self._arguments)))) + b"\n"
        except InputError as error:
            raise InputError(str(error).removeprefix("prompt 1: ")) from error


def id_template(custom_id: object) -> Template | None:
    """Return a field's name, or a pattern of fields, as a template; None for None."""
    if custom_id is None:
        return None
    if not isinstance(custom_id, str) or not custom_id:
        raise InputError(f"custom_id must be a field, or a pattern such as '{{shop}}-{{item}}', not {custom_id!r}")
    has_braces = "{" in custom_id or "}" in custom_id
    return Template(custom_id if has_braces else f"{{{custom_id}}}", name="custom_id")


@attrs.define
class Composer:
    """Turns the rows of files, one after the other, into lines of requests; used once, in a thread."""

    readers: tuple[RowReader, ...]
    maker: LineMaker
    # None: one of the fields of a row is the prompt.
    template: Template | None = None
    # None: a field ``custom_id`` is the id, and rows without it are numbered.
    ids: Template | None = None
    limit: int | None = None
    allow_empty: bool = False
    # How many lines were made.
    requests: int = attrs.field(default=0, init=False)
    # How many rows of all files were read.
    _rows: int = attrs.field(default=0, init=False)
    # How many lines there were before each file that was begun: to find ids that occur twice, lines are counted on.
    _starts: list[int] = attrs.field(factory=list[int], init=False)
    # Each with the number of its file.
    _problems: list[tuple[int, Problem]] = attrs.field(factory=list[tuple[int, Problem]], init=False)
    # How many rows lack their prompt in the same way.
    _alike: Counter[str] = attrs.field(factory=Counter[str], init=False)
    _held: tuple[list[str], list[int]] = attrs.field(factory=lambda: ([], []), init=False)
    # Whether a row that is numbered may have the id that another row has of its own.
    _may_meet: bool = attrs.field(default=False, init=False)

    def blocks(self) -> Generator[bytes, None, None]:
        """Yield the lines in blocks, and raise what is wrong with the rows once they have all been read."""
        finder = DuplicateFinder()
        try:
            lines: list[bytes] = []
            size = 0
            for line in self._lines(finder):
                lines.append(line)
                size += len(line)
                if size >= _BLOCK_BYTES:
                    yield b"".join(lines)
                    lines.clear()
                    size = 0
            self._conclude(finder)
            if lines:
                yield b"".join(lines)
        finally:
            finder.close()

    def _lines(self, finder: DuplicateFinder) -> Generator[bytes, None, None]:
        formats = [reader.format for reader in self.readers]
        self._may_meet = "jsonl" in formats or (len(formats) > 1 and "csv" in formats)
        before = 0
        for reader in self.readers:
            if self._is_enough():
                return
            self._starts.append(before)
            last = yield from self._lines_of(reader, finder)
            before += last

    def _is_enough(self) -> bool:
        return self._rows == self.limit or len(self._problems) + self._alike.total() >= _MAX_PROBLEMS

    def _lines_of(self, reader: RowReader, finder: DuplicateFinder) -> Generator[bytes, None, int]:
        """Yield the lines of one file, and return the number of its last row."""
        number = 0
        with closing(reader.rows()) as rows:
            for row in rows:
                self._rows += 1
                if not number and not self._fits(reader):
                    return reader.header_line
                number = (row.line or 0) if isinstance(row, Problem) else row[0]
                if isinstance(row, Problem):
                    self._note(row)
                elif (line := self._line(*row)) and not self._problems:
                    self.requests += 1
                    yield line
                if len(self._held[0]) >= _HELD_IDS:
                    self._note_ids(finder)
                if self._is_enough():
                    return number
        if not number:
            self._note(_no_rows(reader))
        return number

    @property
    def _reader(self) -> RowReader:
        return self.readers[len(self._starts) - 1]

    def _line(self, number: int, prompt: str | dict[str, Any]) -> bytes:
        """Return the line of a row, or nothing if something is wrong with it, which is noted."""
        values = {self._only_place(): prompt} if isinstance(prompt, str) else prompt
        own = None
        try:
            own = self._own_id(values, is_text=isinstance(prompt, str))
            custom_id = f"request-{self._rows:07d}" if own is None else own
            if own is not None or self._may_meet:
                self._held[0].append(custom_id)
                self._held[1].append(self._starts[-1] + number)
            return self.maker.line(custom_id, self._prompt(prompt, values))
        except TemplateError:
            raise
        except FieldError as error:
            if not self._is_told(error):
                self._blame(number, error.code, str(error), param=error.field, custom_id=own)
        except InputError as error:
            self._blame(number, "invalid_type", f"The prompt cannot be sent: {error}.", custom_id=own)
        return b""

    def _is_told(self, error: FieldError) -> bool:
        """Return whether a row lacks its prompt for the same reason as one before it, whose problem is for both."""
        if self.template is not None or error.code != _MISSING or error.field != _PROMPT:
            return False
        self._alike[str(error)] += 1
        return self._alike[str(error)] > 1

    def _only_place(self) -> str:
        fields = () if self.template is None else self.template.fields
        return fields[0] if len(fields) == 1 else _PROMPT

    def _own_id(self, values: Mapping[str, Any], *, is_text: bool) -> str | None:
        template = self.ids
        if template is None and _CUSTOM_ID in values and not is_text:
            template = _CUSTOM_ID_TEMPLATE
        if template is None:
            return None
        return template.fill({_NUMBER: self._rows, **values} if _NUMBER in template.fields else values)

    def _prompt(self, prompt: str | dict[str, Any], values: Mapping[str, Any]) -> Any:
        if self.template is not None:
            if isinstance(prompt, str) and len(self.template.fields) > 1:
                message = f"A text fills one place, the template has {len(self.template.fields)}: give an object."
                raise FieldError(message, code="invalid_type", field=_PROMPT)
            return self.template.fill(values, allow_empty=self.allow_empty)
        if isinstance(prompt, str):
            name, value = _PROMPT, prompt
        else:
            name = self._prompt_field(prompt)
            value = prompt[name]
        if not self.allow_empty and (value is None or (isinstance(value, str) and not value.strip())):
            raise FieldError(f"The field {name!r} is empty.", code="invalid_value", field=name)
        if value is not None and type(value) not in {str, list}:
            raise FieldError(f"The field {name!r} must be a text or a list.", code="invalid_type", field=name)
        return "" if value is None else value

    def _prompt_field(self, names: Collection[str]) -> str:
        for name in _PROMPT_FIELDS:
            if name in names:
                return name
        taken = {_CUSTOM_ID} if self.ids is None else {_CUSTOM_ID, *self.ids.fields}
        others = [name for name in names if name not in taken]
        if len(others) == 1:
            return others[0]
        nameless = " and one without a name" if "" in names else ""
        message = (
            "Without a template, the prompt is a field called 'prompt', 'messages' or 'input', or the only one: "
            f"{named_fields('', names)}{nameless}."
        )
        raise FieldError(message, code=_MISSING, field=_PROMPT)

    def _fits(self, reader: RowReader) -> bool:
        """Return whether a table has what its rows are asked for; where it has not, that is noted once for all."""
        names = reader.header
        if names is None:
            return True
        before = len(self._problems)
        lacking = [("template", name) for name in self.template.lacking(names)] if self.template else []
        lacking += [("custom_id", name) for name in self.ids.lacking([*names, _NUMBER])] if self.ids else []
        for asking, name in lacking:
            message = f"The {asking} asks for {name!r}, which the header does not have: {_hint(name, names)}"
            self._blame(reader.header_line, _MISSING, message, param=name)
        if self.template is None:
            try:
                # Whether columns without a name have something in them, their rows say.
                self._prompt_field([name for name in names if name] or names)
            except FieldError as error:
                self._blame(reader.header_line, error.code, str(error), param=error.field)
        return len(self._problems) == before

    def _conclude(self, finder: DuplicateFinder) -> None:
        """Raise what is wrong, if anything is."""
        self._note_ids(finder)
        found, _ = finder.find(_MAX_PROBLEMS)
        param = _CUSTOM_ID if self.ids is None else ", ".join(self.ids.fields)
        for custom_id, place, first_place in found:
            (file, line), (first_file, first_line) = self._found_at(place), self._found_at(first_place)
            where = f"line {first_line:,}"
            if first_file != file:
                name = self.readers[first_file].file
                where = f"{name}:{first_line}" if name else f"{where} of another file"
            problem = Problem(
                code="duplicate_custom_id",
                message=f"The id of this row is that of {where} too.",
                line=line,
                param=param,
                custom_id=custom_id,
                first_line=first_line if first_file == file else None,
                file=self.readers[file].file,
            )
            self._problems.append((file, problem))
        self._raise_problems()

    def _found_at(self, place: int) -> tuple[int, int]:
        """Return the file and the line of a line that was counted through all files."""
        file = bisect_left(self._starts, place) - 1
        return file, place - self._starts[file]

    def _note_ids(self, finder: DuplicateFinder) -> None:
        custom_ids, lines = self._held
        finder.add(custom_ids, lines)
        custom_ids.clear()
        lines.clear()

    def _blame(self, line: int, code: str, message: str, **where: Any) -> None:
        self._note(Problem(code=code, message=message, line=line, file=self._reader.file, **where))

    def _note(self, problem: Problem) -> None:
        self._problems.append((len(self._starts) - 1, problem))

    def _raise_problems(self) -> None:
        found = sorted(self._problems, key=lambda each: (each[0], each[1].line or 0))
        if not (problems := [self._for_all(problem) for _, problem in found[:_MAX_PROBLEMS]]):
            return
        count = len(problems)
        counted = f"The first {count} problems" if count == _MAX_PROBLEMS else as_count(count, "problem")
        named = [str(problem) for problem in problems[:_SHOWN_PROBLEMS]]
        if count > _SHOWN_PROBLEMS:
            named.append(f"and {count - _SHOWN_PROBLEMS} more")
        raise InvalidRequestsError(f"{counted} in the prompts: {'; '.join(named)}", problems=tuple(problems))

    def _for_all(self, problem: Problem) -> Problem:
        """Return a problem that also stands for other rows with a sentence that says so."""
        is_alone = self._alike[problem.message] < 2
        return problem if is_alone else attrs.evolve(problem, message=f"{problem.message} So it is in other rows.")


def _no_rows(reader: RowReader) -> Problem:
    what = "has only blank lines" if reader.blank_lines else "is empty"
    what = "has a header, and no rows" if reader.header is not None else what
    return Problem(code="empty_file", message=f"There are no prompts: the file {what}.", file=reader.file)


_CUSTOM_ID_TEMPLATE = Template(f"{{{_CUSTOM_ID}}}")


def _hint(name: str, names: list[str]) -> str:
    if len(names) == 1 and (found := [word for mark, word in _DELIMITERS.items() if mark in names[0]]):
        return f"it is all one field, is {found[0]} the delimiter?"
    return named_fields(name, names)
