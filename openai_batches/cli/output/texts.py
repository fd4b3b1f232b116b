"""Numbers, sizes, times and foreign text, as a person reads them."""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal

from openai_batches._text import as_money, largest_units

__all__ = [
    "age_text",
    "clean",
    "cut",
    "lasting_text",
    "money_text",
    "one_line",
    "path_text",
    "size_text",
    "time_text",
]

_UNITS = ("kB", "MB", "GB", "TB", "PB")


def clean(text: str) -> str:
    r"""Return text of others with its control characters made visible: no terminal obeys them.

    A line feed stays one, a tab becomes a space; escape becomes ``\x1b``.
    """
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character == "\n" or character.isprintable():
        return character
    if character == "\t":
        return " "
    return _escaped(character)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def one_line(text: str) -> str:
    """Return text of others on one line."""
    return clean(" ".join(text.split()))


def path_text(path: object) -> str:
    r"""Return the name of a file or folder on one line, with every character of it: a line feed is ``\\n``."""
    text = str(path)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def cut(text: str, width: int) -> str:
    """Return text on one line of at most so many characters."""
    text = one_line(text)
    return text if len(text) <= width else f"{text[: max(width, 1) - 1]}…"


def size_text(size: int) -> str:
    """Return a number of bytes as ``512 B``, ``1.5 kB``, ``200 MB``."""
    if size < 1_000:
        return f"{size} B"
    number, power = size / 1_000, 0
    # 999.5 would be written as 1,000.
    while number >= 999.5 and power < len(_UNITS) - 1:
        number, power = number / 1_000, power + 1
    return f"{number:.1f} {_UNITS[power]}" if number < 99.95 else f"{number:,.0f} {_UNITS[power]}"


def lasting_text(seconds: float) -> str:
    """Return a length of time in its two largest units: ``45s``, ``3m 20s``, ``2h 5m``, ``3d 4h``."""
    return " ".join(f"{count}{unit}" for count, unit in largest_units(max(0, round(seconds))))


def age_text(then: dt.datetime | None, now: dt.datetime) -> str:
    """Return how long ago, or how far ahead, a moment is: ``3m 20s ago``, ``in 2h``, ``now``; empty without one."""
    if then is None:
        return ""
    seconds = (now - then).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{lasting_text(seconds)} ago" if seconds > 0 else f"in {lasting_text(-seconds)}"


def time_text(then: dt.datetime | None) -> str:
    """Return a moment in the person's own time zone, to the second; empty without one."""
    return "" if then is None else f"{then.astimezone():%Y-%m-%d %H:%M:%S}"


def money_text(amount: Decimal | float | None, currency: str = "USD") -> str:
    """Return an amount as reports write it, and ``?`` where no price is known."""
    return "?" if amount is None else as_money(amount, one_line(currency))


def words(items: Iterable[object]) -> str:
    """Return ``a, b and c``."""
    texts = [str(item) for item in items]
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)
