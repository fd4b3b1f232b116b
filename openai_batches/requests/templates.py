"""Templates: a text with places for fields, in the syntax of prompt files and in that of Python's format strings.

Source: https://docs.python.org/3/library/string.html#format-specification-mini-language
"""

from __future__ import annotations

import difflib
import math
import re
import string
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import attrs

from openai_batches.errors import InputError
from openai_batches.requests.encode import check_utf_8, encode

__all__ = ["FieldError", "FormatString", "Template", "TemplateError", "named_fields"]

_TOKEN = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")
# The parts of a way into an object: a.b, a[b].
_PART = re.compile(r"[.\[]")
_ABSENT = object()
_MOST_NAMES = 10
_NUMBERS = frozenset({int, float})
_MOST_CHARS = 40
# More digits than the index of any item has.
_MOST_DIGITS = 18
# Wider than any prompt needs, and quickly written.
_MAX_WIDTH = 1_000
_MAX_WIDTH_DIGITS = 9
_COUNT = re.compile(r"(\.?)(\d+)")
_ZEROS = re.compile(r"0\d")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class TemplateError(InputError):
    """No row can fill a template, which is only known once there is one."""


class FieldError(InputError):
    """A row does not fill a place of a template; the code is that of a :class:`Problem`."""

    def __init__(self, message: str, *, code: str, field: str) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


@attrs.frozen
class ValueFormat:
    """How values are written, texts, numbers or both: the format after the colon of ``{price:.2f}``."""

    spec: str
    # Why no value can be written so; empty where some can.
    fault: str
    takes_text: bool
    takes_whole: bool
    takes_fraction: bool

    @classmethod
    def of(cls, spec: str) -> ValueFormat:
        """Return the format that a text describes, which may be none."""
        large = {
            dot for dot, digits in _COUNT.findall(spec) if len(digits) > _MAX_WIDTH_DIGITS or int(digits) > _MAX_WIDTH
        }
        is_wide, is_precise = "" in large, "." in large
        # Zeros pad a number on its left. Python would pad a text on its right, which is not meant.
        takes_text = not is_wide and not _ZEROS.match(spec) and _takes(spec, "a")
        # A number in a table does not mean the character of this number.
        takes_numbers = not is_wide and not is_precise and not spec.endswith("c")
        takes_whole, takes_fraction = takes_numbers and _takes(spec, 1), takes_numbers and _takes(spec, 1.5)
        fault = ""
        if not (takes_text or takes_whole or takes_fraction):
            fault = "has no known format behind its colon, such as .2f"
            fault = f"asks for more than {_MAX_WIDTH:,} characters" if is_wide or is_precise else fault
        return cls(spec, fault, takes_text, takes_whole, takes_fraction)

    def written(self, value: str | float) -> str:
        """Return a value as the format has it.

        A text that is written as a number is one where the format needs it: a whole number or another, as it is
        written. Nothing else is guessed.
        It is a ValueError where it cannot be written so; the message is what it is not, such as ``"no number"``.
        """
        if isinstance(value, str) and not self.takes_text:
            value = _number_in(value)
        if isinstance(value, str):
            return format(value, self.spec)
        if not self.takes_whole and not self.takes_fraction:
            raise ValueError("no text")
        if isinstance(value, float) and not self.takes_fraction:
            raise ValueError("no whole number")
        try:
            return format(value if self.takes_whole else float(value), self.spec)
        except (OverflowError, ValueError) as error:
            raise ValueError("too large") from error


@attrs.frozen
class _Place:
    """A place of a template."""

    # What stands between the braces; a field of exactly this name fills it.
    text: str
    # Where there is no such field: the names that lead to the value, through objects and lists.
    path: tuple[str, ...]
    # What to call the value in errors.
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
    it is; numbers, booleans, objects and lists are written as JSON. ``fields`` are the names it asks for.
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
        self.fields: tuple[str, ...] = _fields_of((place.path[0] for place in self._places), name)
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

        With ``allow_empty`` a value may be null, or text of nothing but spaces.
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


class FormatString:
    """A template in the syntax of Python's format strings, which :func:`requests_from` takes."""

    def __init__(self, text: str) -> None:
        self._text = text
        try:
            names = [_PART.split(way)[0] for _, way, _, _ in string.Formatter().parse(text) if way is not None]
        except ValueError as error:
            message = f"template is no format string, {error}; a brace that is meant as one is doubled"
            raise InputError(message) from error
        self.fields: tuple[str, ...] = _fields_of(names, "template")

    def fill(self, values: str | Mapping[str, Any]) -> str:
        """Return the text with the values of a mapping in its places, or with a text in its only one."""
        if isinstance(values, str):
            if len(self.fields) > 1:
                raise InputError(f"it is a str, but the template has {len(self.fields)} fields: give a mapping")
            (name,) = self.fields
            if not name or name.isdecimal():
                return self._text.format(values)
            values = {name: values}
        try:
            return self._text.format_map(values)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"the template cannot be filled: {reason}") from error


def _fields_of(names: Iterable[str], name: str) -> tuple[str, ...]:
    """Return each field once, of which a template must have at least one."""
    if not (fields := tuple(dict.fromkeys(names))):
        raise InputError(f"{name} has no {{field}} for a prompt to go into")
    return fields


def _inside(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(part, _ABSENT)
    if isinstance(value, list) and part.isdecimal() and len(part) <= _MOST_DIGITS:
        items, number = cast("Sequence[Any]", value), int(part)
        return items[number] if number < len(items) else _ABSENT
    return _ABSENT


def _takes(spec: str, sample: str | float) -> bool:
    try:
        format(sample, spec)
    except ValueError:
        return False
    return True


def _number_in(text: str) -> int | float:
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError("no number")
    # Python limits the digits of a whole number, and no format takes as many.
    if len(text) > _MAX_WIDTH or not math.isfinite(float(text)):
        raise ValueError("too large")
    return int(text) if _WHOLE.fullmatch(text) else float(text)


def named_fields(lacking: str, names: Iterable[str]) -> str:
    """Return the fields there are, as a hint for one there is not."""
    known = [name for name in names if name]
    if close := difflib.get_close_matches(lacking, known, n=1):
        return f"did you mean {close[0]!r}?"
    if not known:
        return "there are none"
    more = f" and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else ""
    return f"there are {', '.join(map(repr, known[:_MOST_NAMES]))}{more}"
