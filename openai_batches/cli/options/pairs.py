"""Metadata, as a person types them: ``key=value``."""

from collections.abc import Iterable

from openai_batches.cli.errors import CommandError

__all__ = ["pairs_of"]


def pairs_of(texts: Iterable[str]) -> dict[str, str]:
    """Return ``key=value`` texts as a dict; the value may have further ``=`` in it, or be empty.

    Raises:
        CommandError: one has no key or no ``=``, or two have the same key.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise CommandError(f"{text!r} is no pair of metadata", "Write --metadata key=value")
        if key in pairs:
            raise CommandError(f"The metadata key {key!r} is given twice", "Give each key once")
        pairs[key] = value
    return pairs
