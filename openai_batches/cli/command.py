"""``command()``, with which each command makes its cyclopts app, so that all have the same style of help."""

import inspect
from typing import Any

from cyclopts import App, Parameter

__all__ = ["command"]


class _Command(App):
    """A command whose help is its function's docstring; the line that the table has of it is for the table alone."""

    def _get_help(self) -> str:
        return App.help.fget(self)  # type: ignore[attr-defined, no-any-return]

    def _keep_help(self, _: str | None) -> None:
        pass

    help = property(_get_help, _keep_help)  # pyright: ignore[reportIncompatibleMethodOverride]

    def default(self, obj: Any = None, *args: Any, **options: Any) -> Any:
        """Bind a function, whose docstring is written again as wide as the terminal is."""
        if inspect.isfunction(obj):
            obj.__doc__ = _unwrapped(obj.__doc__ or "")
        return super().default(obj, *args, **options)


def command(name: str, *, examples: str = "", help: str | None = None) -> App:
    """Return the app of one command, to which ``default`` binds its function; the function's docstring is its help."""
    return _Command(
        name=name,
        help=help,
        help_epilogue=f"Examples:\n\n{examples.strip()}" if examples else "",
        help_format="plaintext",
        # A flag that is off has no second name that says so, and defaults stand in the help texts where they are news.
        default_parameter=Parameter(negative=(), show_default=False),
        version_flags=[],
    )


def _unwrapped(docstring: str) -> str:
    """Return a docstring with each paragraph, and each parameter, on one line."""
    lines: list[str] = []
    indent = None
    for line in inspect.cleandoc(docstring).splitlines():
        depth = len(line) - len(line.lstrip())
        goes_on = indent is not None and line.strip() and (depth == indent == 0 or depth > indent > 0)
        if goes_on:
            lines[-1] += f" {line.strip()}"
            continue
        lines.append(line)
        indent = depth if line.strip() and line != "Args:" else None
    return "\n".join(lines)
