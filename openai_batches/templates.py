"""A text with places in it, which the fields of a row fill."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Any, cast

import attrs
import msgspec

from openai_batches.errors import InputError

__all__ = ["FieldError", "Template", "named_fields"]

_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")
# The parts of a way into an object: a.b, a[b].
_PART = re.compile(r"[.\[]")
_ABSENT = object()
_MOST_NAMES = 10


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
        spec: how the value is written, in the words of Python's format strings.
    """

    text: str
    path: tuple[str, ...]
    spec: str

    @classmethod
    def of(cls, text: str) -> _Place:
        way, _, spec = text.partition(":")
        return cls(text, tuple(part.removesuffix("]") for part in _PART.split(way)), spec)

    def is_among(self, names: Collection[str]) -> bool:
        """Whether a row with these fields may have a value for it."""
        return self.text in names or self.path[0] in names

    def found_in(self, values: Mapping[str, Any]) -> Any:
        """Return the value that the path leads to, written as the spec says."""
        value: Any = values
        for part in self.path:
            value = _inside(value, part)
        if value is _ABSENT:
            raise FieldError(f"This row has no {self.text!r}.", code="missing_required_parameter", field=self.text)
        if not self.spec or value is None:
            return value
        try:
            return format(value, self.spec)
        except (TypeError, ValueError) as error:
            message = f"The value of {self.text!r} cannot be written so: {error}."
            raise FieldError(message, code="invalid_type", field=self.text) from error


class Template:
    """A text with places such as ``{name}``; a brace that is meant as one is doubled.

    A place is filled by the field of its name. Where there is none of that name, dots and brackets lead into objects
    and lists (``{author.name}``, ``{tags[0]}``), and what follows a colon says how a number is written
    (``{price:.2f}``). Text stands as it is; numbers, truth, objects and lists are written as JSON.

    Args:
        text: the template.
        name: what to call it in errors, such as the path of its file.

    Attributes:
        fields: the names of the fields it asks for.

    Raises:
        InputError: a brace stands alone, a place has no name beside others, or there is no place at all.
    """

    def __init__(self, text: str, *, name: str = "the template") -> None:
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
        return [place.text for place in self._places if not place.is_among(names)]

    def fill(self, values: Mapping[str, Any], *, allow_empty: bool = False) -> str:
        """Return the text with the values in their places.

        Args:
            values: the fields of a row; others than those of the places are not looked at.
            allow_empty: whether a value may be null, or text of nothing but spaces.

        Raises:
            FieldError: a value is missing, empty, or cannot be written as its place says.
        """
        parts: list[str] = []
        for literal, place in self._pieces:
            parts.append(literal)
            if place is None:
                continue
            value = values.get(place.text, _ABSENT)
            if value is _ABSENT:
                value = place.found_in(values)
            if type(value) is not str:
                value = _written(value)
            if not allow_empty and (not value or value.isspace()):
                raise FieldError(f"The field {place.text!r} is empty.", code="invalid_value", field=place.text)
            parts.append(value)
        return "".join(parts)


def _inside(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(part, _ABSENT)
    if isinstance(value, list) and part.isdecimal():
        return next(islice(cast("Iterable[Any]", value), int(part), None), _ABSENT)
    return _ABSENT


def _written(value: Any) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()


def named_fields(lacking: str, names: Iterable[str]) -> str:
    """Return the fields there are, as a hint for one there is not."""
    known = [name for name in names if name]
    if close := difflib.get_close_matches(lacking, known, n=1):
        return f"did you mean {close[0]!r}?"
    if not known:
        return "there are none"
    more = f" and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else ""
    return f"there are {', '.join(map(repr, known[:_MOST_NAMES]))}{more}"
