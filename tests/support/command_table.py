"""The names of all commands, for tests that leave none out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openai_batches.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cyclopts import App


def leaves(parent: App = app, *chain: str) -> Iterator[str]:
    """Give each command that does something, as it is typed: ``files list``."""
    for name in parent:
        if name.startswith("-") and name != "--install-completion":
            continue
        child = parent[name]
        if child.default_command is not None:
            yield " ".join([*chain, name])
        yield from leaves(child, *chain, name)
