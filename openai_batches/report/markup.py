"""HTML out of texts that anybody may have written: what is not HTML already is escaped where it is put in.

Pure functions of values: no network, no clock, no disk.
"""

from __future__ import annotations

import html
import unicodedata

__all__ = ["Html", "bounded", "joined", "tag"]

_VOID = frozenset({"br", "col", "meta"})


class Html(str):
    """Text that is HTML, and is put into a page as it is."""

    __slots__ = ()


def tag(name: str, /, *inside: str, **attributes: str | float | None) -> Html:
    """Return an element.

    Args:
        name: its name.
        inside: what is in it; text that is not :class:`Html` is escaped, and letters nobody sees are written out.
        attributes: its attributes: ``class_`` is ``class``, and ``data_name`` is ``data-name``. One that is None is
            left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(inside)}</{name}>")


def joined(parts: tuple[str, ...] | list[str]) -> Html:
    """Return elements and texts one behind the other."""
    return Html("".join(part if isinstance(part, Html) else _escaped(part) for part in parts))


def bounded(text: str, max_chars: int) -> str:
    """Return a text that is no longer than so many characters, which are at least 1."""
    return text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"


def _escaped(text: str) -> str:
    return html.escape(text if text.isprintable() else "".join(map(_visible, text)))


def _visible(letter: str) -> str:
    """Return a letter, or its number where it would show nothing, turn the text around, or not be allowed at all."""
    if letter.isprintable() or unicodedata.category(letter) == "Zs":
        return letter
    return letter.encode("unicode_escape").decode("ascii")
