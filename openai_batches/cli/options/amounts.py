"""Options that take a length of time, a size or an amount of money, such as ``2h``, ``200MB`` and ``$5``."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any

from cyclopts import Parameter, Token

from openai_batches.cli.errors import CommandError
from openai_batches.cli.output.texts import lasting_text

__all__ = [
    "Bytes",
    "Seconds",
    "Usd",
    "bytes_of",
    "check_interval",
    "check_times",
    "checked_life",
    "seconds_of",
    "usd_of",
]

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
# More than anything that can be meant.
_MOST_DIGITS = 20
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)", re.ASCII)


def seconds_of(text: str) -> float:
    """Return ``90``, ``90s``, ``15m``, ``2h``, ``1h30m`` or ``7d`` in seconds."""
    parts = _AMOUNT.findall(text)
    if not parts or _AMOUNT.sub("", text).strip() or (len(parts) > 1 and any(not unit for _, unit in parts)):
        raise ValueError(f"{text!r} is not a length of time such as 90s, 15m, 2h or 7d")
    return float(sum(_times(number, unit.lower() or "s", _SECONDS, text, "length of time") for number, unit in parts))


def check_times(**given: float | None) -> None:
    """Check that times to wait are longer than nothing."""
    for name, seconds in given.items():
        if seconds is not None and not seconds > 0:
            raise CommandError(f"--{name} must be longer than 0", "Write a time such as 5s or 2h")


def check_interval(interval: float | None, *, option: str, is_given: bool) -> None:
    """Check how often to ask: not without a pause, and only where there is more than one question."""
    check_times(interval=interval)
    if interval is not None and not is_given:
        raise CommandError(f"--interval is only used with {option}", f"Add {option}, or leave --interval out")


def checked_life(seconds: float | None, *, option: str, range_s: tuple[int, int]) -> int | None:
    """Return for how many seconds a file is to live; None where it was not said."""
    shortest_s, longest_s = range_s
    if seconds is not None and not shortest_s <= int(seconds) <= longest_s:
        shortest, longest = lasting_text(shortest_s), lasting_text(longest_s)
        text = f"{option} must be {shortest} to {longest}, not {lasting_text(seconds)}"
        raise CommandError(text, f"Write a time such as {longest}")
    return None if seconds is None else int(seconds)


def bytes_of(text: str) -> int:
    """Return ``1000``, ``64kB``, ``200MB`` or ``1GiB`` in bytes."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 64kB, 200MB or 1GiB")
    return int(_times(match[1], match[2].lower(), _BYTES, text, "size"))


def usd_of(text: str) -> float:
    """Return ``5``, ``$5`` or ``0.50`` in dollars."""
    match = _AMOUNT.fullmatch(text.strip().removeprefix("$"))
    if match is None or match[2]:
        raise ValueError(f"{text!r} is not an amount of dollars such as 5 or 0.50")
    return float(_times(match[1], "", {"": 1}, text, "amount of dollars"))


def _times(number: str, unit: str, units: Mapping[str, int], text: str, what: str) -> Decimal:
    if unit not in units:
        raise ValueError(f"{text!r} is not a valid {what}: {unit!r} is none of {', '.join(filter(None, units))}")
    if len(number) > _MOST_DIGITS:
        raise ValueError(f"{text[:_MOST_DIGITS]!r}... is too long for a {what}")
    return Decimal(number) * units[unit]


def _seconds(_: Any, tokens: Sequence[Token]) -> float:
    return seconds_of(tokens[0].value)


def _bytes(_: Any, tokens: Sequence[Token]) -> int:
    return bytes_of(tokens[0].value)


def _usd(_: Any, tokens: Sequence[Token]) -> float:
    return usd_of(tokens[0].value)


# Annotations of a command's parameters.
Seconds = Annotated[float, Parameter(converter=_seconds, n_tokens=1, metavar="TIME")]
Bytes = Annotated[int, Parameter(converter=_bytes, n_tokens=1, metavar="SIZE")]
Usd = Annotated[float, Parameter(converter=_usd, n_tokens=1, metavar="USD")]
