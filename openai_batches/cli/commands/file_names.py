"""Names of files that come from elsewhere, as names of files here."""

import unicodedata

__all__ = ["safe_name"]

_MOST_BYTES = 200
# What leads elsewhere, or means something to a shell or another system.
_FORBIDDEN = frozenset('<>:"|?*')
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in "123456789")}
)


def safe_name(name: str, *, otherwise: str) -> str:
    """Return a name that stands for a file in the folder it is put into, and for nothing else.

    What stands before a slash or backslash is left out, and so are dots, dashes and spaces at the start. Characters
    that cannot be seen, or mean something to a system, become ``_``. It is cut to 200 bytes before its suffix.

    Args:
        name: the name, from anywhere.
        otherwise: the name to take where nothing is left of it.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    shown = "".join("_" if _is_odd(character) else character for character in unicodedata.normalize("NFC", last))
    kept = shown.strip().lstrip(".-~ ").rstrip(". ")
    if not kept.strip("_"):
        return otherwise
    stem, dot, suffix = kept.rpartition(".")
    if not dot or len(suffix) > 16:
        stem, dot, suffix = kept, "", ""
    if stem.lower() in _RESERVED:
        stem = f"{stem}_"
    return _cut(stem) + dot + suffix


def _is_odd(character: str) -> bool:
    return character in _FORBIDDEN or not character.isprintable()


def _cut(text: str) -> str:
    return text.encode("utf-8", "replace")[:_MOST_BYTES].decode("utf-8", "ignore")
