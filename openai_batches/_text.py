"""Numbers, money and times as people read them, and why bytes are no JSON.

Pure functions of values: no network, no clock.
"""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

__all__ = ["as_count", "as_duration", "as_moment", "as_money", "as_share", "largest_units", "why_no_json"]

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
# From a cent on, cents are exact enough.
_CENT, _LEAST = Decimal("0.01"), Decimal("0.0001")


def as_count(number: int, one: str, many: str | None = None) -> str:
    """Return ``1 batch`` or ``1,200 batches``."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def as_duration(seconds: float) -> str:
    """Return ``4.2 s``, ``45 s``, ``3 min 20 s``, ``2 h 5 min`` or ``3 d 4 h``: two parts at most."""
    if seconds < 10 and round(seconds, 1) != int(seconds):
        return f"{seconds:.1f} s"
    parts = largest_units(round(seconds))
    return " ".join(f"{count:,} {'min' if unit == 'm' else unit}" for count, unit in parts)


def largest_units(seconds: int) -> list[tuple[int, str]]:
    """Return whole seconds in their two largest units, d, h, m and s; the second one only where it counts."""
    for large_s, small_s, large, small in (
        (_DAY_S, _HOUR_S, "d", "h"),
        (_HOUR_S, _MINUTE_S, "h", "m"),
        (_MINUTE_S, 1, "m", "s"),
    ):
        if seconds >= large_s:
            rest = seconds % large_s // small_s
            return [(seconds // large_s, large), *([(rest, small)] if rest else [])]
    return [(seconds, "s")]


def as_moment(time: dt.datetime) -> str:
    """Return ``2026-03-25 10:33 UTC``."""
    return time.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def as_money(amount: Decimal | float, currency: str) -> str:
    """Return ``$12.34`` or ``12.34 CNY``; below a cent two digits (``$0.0042``), down to ``<$0.0001``."""
    sign, name = ("$", "") if currency == "USD" else ("", f" {currency}")
    if not amount:
        return f"{sign}0{name}"
    if amount < _LEAST:
        return f"<{sign}{_LEAST}{name}"
    return f"{sign}{amount:,.2f}{name}" if amount >= _CENT else f"{sign}{float(amount):.2g}{name}"


def as_share(part: int, whole: int) -> str:
    """Return ``12.5 %``; what is not nothing is never 0 %, and what is not all never 100 %."""
    if not whole or not part:
        return "0 %"
    percent = 100 * part / whole
    if part == whole:
        return "100 %"
    if percent < 0.1:
        return "< 0.1 %"
    return "> 99.9 %" if percent > 99.9 else f"{percent:.1f} %"


def why_no_json(data: bytes) -> str:
    """Return why bytes that could not be decoded are no JSON, in words that no release of another library changes."""
    try:
        text = data.decode()
        json.loads(text)
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1:,} is not UTF-8"
    except RecursionError:
        return "it is nested too deeply"
    except json.JSONDecodeError as error:
        if not text.strip():
            return "it is empty"
        if error.pos >= len(text.rstrip()):
            return "it ends too early"
        return f"it is no JSON from byte {len(text[: error.pos].encode()) + 1:,} on"
    except ValueError:  # Python bounds the digits of a whole number
        pass
    return "it holds NaN, Infinity, a number that is too large, or one half of a surrogate pair"
