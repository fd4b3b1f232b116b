"""A text with places in it, which the fields of a row fill."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import attrs

from openai_batches.errors import InputError
from openai_batches.requests.encode import check_utf_8, encode
from openai_batches.requests.value_formats import ValueFormat

__all__ = ["FieldError", "Template", "TemplateError", "named_fields"]

_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")
# The parts of a way into an object: a.b, a[b].
_PART = re.compile(r"[.\[]")
_ABSENT = object()
_MOST_NAMES = 10
_NUMBERS = frozenset({int, float})
_MOST_CHARS = 40
# More digits than the place of any item has.
_MOST_DIGITS = 18


class TemplateError(InputError):
    """A template is seen to be wrong once there is a row: no row can fill it."""


class FieldError(InputError):
    """A row does not fill a template.

    Attributes:
        code: what kind of problem it is, as :class:`~openai_batches.problems.Problem` has them.
        field: the place that cannot be filled.
    """

    def __init__(self, message: str, *, code: str, field: str) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


@attrs.frozen
class _Place:
    """A place of a template.

    Attributes:
        text: what stands between the braces; a field of this very name fills it.
        path: where that is no field: the names that lead to the value, through objects and lists.
        name: what to call what is asked for: the way to the value, or the whole text where no format follows it.
        format: how the value is written; None: as it is.
    """

    text: str
    path: tuple[str, ...]
    name: str
    format: ValueFormat | None

    @classmethod
    def of(cls, text: str) -> _Place:
        way, _, spec = text.partition(":")
        path = tuple(part.removesuffix("]") for part in _PART.split(way))
        made = ValueFormat.of(spec) if spec else None
        return cls(text, path, text if made and made.fault else way, made)

    def is_among(self, names: Collection[str]) -> bool:
        """Whether a row with these fields may have a value for it."""
        return self.text in names or self.path[0] in names

    def found_in(self, values: Mapping[str, Any]) -> str:
        """Return the value that the path leads to, written as the format says."""
        value: Any = values
        for part in self.path:
            value = _inside(value, part)
        if value is _ABSENT:
            raise FieldError(f"This row has no {self.name!r}.", code="missing_required_parameter", field=self.name)
        text = self.as_it_is(value)
        if self.format is None or value is None:
            return text
        if self.format.fault:
            raise TemplateError(f"{{{self.text}}} {self.format.fault}")
        if not text.strip() and not self.format.takes_text:
            return ""
        try:
            return self.format.written(value if type(value) in _NUMBERS else text)
        except ValueError as error:
            raise self._unfit(value if isinstance(value, str) else None, text, str(error)) from error

    def as_it_is(self, value: Any) -> str:
        """Return a value as text: texts as they are, others as JSON, null as nothing."""
        if type(value) is str:
            return value
        if value is None:
            return ""
        try:
            return encode(value, path=f"The field {self.name}").decode()
        except InputError as error:
            raise FieldError(f"{error}.", code="invalid_type", field=self.name) from error

    def _unfit(self, quoted: str | None, text: str, what: str) -> FieldError:
        shown = f"{text[:_MOST_CHARS]}…" if len(text) > _MOST_CHARS else text
        shown = shown if quoted is None else repr(shown)
        need = f", and {{{self.text}}} needs one" if what.startswith("no ") else f" for {{{self.text}}}"
        message = f"{shown} in the field {self.name!r} is {what}{need}."
        return FieldError(message, code="invalid_type", field=self.name)


class Template:
    """A text with places such as ``{name}``; a brace that is meant as one is doubled.

    A place is filled by the field of its name. Where there is none of that name, dots and brackets lead into objects
    and lists (``{author.name}``, ``{tags[0]}``), and what follows a colon says how the value is written
    (``{price:.2f}``, ``{name:>10}``): a text that is written as a number is one there, if one is needed. Text stands as
    it is; numbers, truth, objects and lists are written as JSON.

    Args:
        text: the template.
        name: what to call it in errors, such as the path of its file.

    Attributes:
        fields: the names of the fields it asks for.

    Raises:
        InputError: a brace stands alone, a place has no name beside others, or there is no place at all; or the text
            cannot be written in UTF-8.
    """

    def __init__(self, text: str, *, name: str = "the template") -> None:
        check_utf_8(text, name)
        self._name = name
        self._pieces: list[tuple[str, _Place | None]] = []
        literal, end = "", 0
        for token in _TOKEN.finditer(text):
            literal += text[end : token.start()]
            end = token.end()
            found = token[0]
            if found in {"{{", "}}"}:
                literal += found[0]
            elif len(found) == 1:
                raise InputError(f"{self._at(text, token.start())}: a {found!r} stands alone: double it")
            else:
                self._pieces.append((literal, _Place.of(found[1:-1])))
                literal = ""
        self._pieces.append((literal + text[end:], None))
        self._places = list({place.text: place for _, place in self._pieces if place is not None}.values())
        self.fields: tuple[str, ...] = tuple(dict.fromkeys(place.path[0] for place in self._places))
        if not self._places:
            raise InputError(f"{name} has no {{field}} for a prompt to go into")
        if len(self.fields) > 1 and not all(self.fields):
            raise InputError(f"{name} has a place without a name: {{}} can only stand alone")

    def _at(self, text: str, start: int) -> str:
        line = text.count("\n", 0, start) + 1
        return f"{self._name}:{line}:{start - text.rfind(chr(10), 0, start)}"

    def lacking(self, names: Collection[str]) -> list[str]:
        """Return the places that no row with these fields can fill."""
        return [place.name for place in self._places if not place.is_among(names)]

    def fill(self, values: Mapping[str, Any], *, allow_empty: bool = False) -> str:
        """Return the text with the values in their places.

        Args:
            values: the fields of a row; others than those of the places are not looked at.
            allow_empty: whether a value may be null, or text of nothing but spaces.

        Raises:
            FieldError: a value is missing, empty, or cannot be written as its place says.
            TemplateError: no value can be written so.
        """
        parts: list[str] = []
        for literal, place in self._pieces:
            parts.append(literal)
            if place is None:
                continue
            value = values.get(place.text, _ABSENT)
            if type(value) is not str:
                value = self._found(place, values) if value is _ABSENT else place.as_it_is(value)
            if not allow_empty and (not value or value.isspace()):
                raise FieldError(f"The field {place.name!r} is empty.", code="invalid_value", field=place.name)
            parts.append(value)
        return "".join(parts)

    def _found(self, place: _Place, values: Mapping[str, Any]) -> str:
        try:
            return place.found_in(values)
        except TemplateError as error:
            raise TemplateError(f"{self._name}: {error}") from None


def _inside(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(part, _ABSENT)
    if isinstance(value, list) and part.isdecimal() and len(part) <= _MOST_DIGITS:
        items, number = cast("Sequence[Any]", value), int(part)
        return items[number] if number < len(items) else _ABSENT
    return _ABSENT


def named_fields(lacking: str, names: Iterable[str]) -> str:
    """Return the fields there are, as a hint for one there is not."""
    known = [name for name in names if name]
    if close := difflib.get_close_matches(lacking, known, n=1):
        return f"did you mean {close[0]!r}?"
    if not known:
        return "there are none"
    more = f" and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else ""
    return f"there are {', '.join(map(repr, known[:_MOST_NAMES]))}{more}"
