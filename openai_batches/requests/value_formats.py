"""How a value is written into a text: what stands behind the colon of ``{price:.2f}``.

Source: https://docs.python.org/3/library/string.html#format-specification-mini-language
"""

from __future__ import annotations

import math
import re

import attrs

__all__ = ["ValueFormat"]

# Wider than any prompt needs, and soon written.
_MAX_CHARS = 1_000
_MAX_DIGITS = 9
_COUNT = re.compile(r"(\.?)(\d+)")
_ZEROS = re.compile(r"0\d")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@attrs.frozen
class ValueFormat:
    """A way to write values, for texts, for numbers, or for both.

    Attributes:
        spec: in the words of Python's format strings, such as ``.2f`` or ``>10``; empty for values as they are.
        fault: why nothing can be written so; empty where something can.
        takes_text: whether a text can be written so as it is.
        takes_whole: whether a whole number can.
        takes_fraction: whether any other number can.
    """

    spec: str
    fault: str
    takes_text: bool
    takes_whole: bool
    takes_fraction: bool

    @classmethod
    def of(cls, spec: str) -> ValueFormat:
        """Return the format that a text describes, which may be none."""
        large = {dot for dot, digits in _COUNT.findall(spec) if len(digits) > _MAX_DIGITS or int(digits) > _MAX_CHARS}
        is_wide, is_precise = "" in large, "." in large
        # Zeros before a number are no zeros behind a text, though Python sees it so.
        takes_text = not is_wide and not _ZEROS.match(spec) and _takes(spec, "a")
        # A character by its number, or a half of one, is not what a number means in a table.
        takes_numbers = not is_wide and not is_precise and not spec.endswith("c")
        takes_whole, takes_fraction = takes_numbers and _takes(spec, 1), takes_numbers and _takes(spec, 1.5)
        fault = ""
        if not (takes_text or takes_whole or takes_fraction):
            fault = "has no known format behind its colon, such as .2f"
            fault = f"asks for more than {_MAX_CHARS:,} characters" if is_wide or is_precise else fault
        return cls(spec, fault, takes_text, takes_whole, takes_fraction)

    def written(self, value: str | float) -> str:
        """Return a value as the format has it.

        A text that is written as a number is one where the format needs it: a whole number or another, as it is
        written. Nothing else is guessed.

        Raises:
            ValueError: it cannot be written so; the message is what it is, or is not, such as ``"no number"``.
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
    # As many digits as Python makes a whole number of, and more, are beyond every format.
    if len(text) > _MAX_CHARS or not math.isfinite(float(text)):
        raise ValueError("too large")
    return int(text) if _WHOLE.fullmatch(text) else float(text)
