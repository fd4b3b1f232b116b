"""The command line, ``openai-batches``: options become calls of the library, and what comes of them is written.

Begin with ``main``, which runs a command line; ``app`` is the table of commands, each in its module in ``commands``.
``options`` reads what is typed, ``output`` writes, ``run`` has the parts of the command ``run``, and ``explain`` turns
each error into a message, advice and an exit code. It imports all of the library, and nothing imports it.
"""

__all__ = ["main"]

_NEEDED = frozenset({"cyclopts", "rich"})


def main() -> int:
    """Run the program with the process's arguments; return its exit code."""
    import sys  # noqa: PLC0415

    try:
        from openai_batches.cli.main import run  # noqa: PLC0415

        return run()
    except ModuleNotFoundError as error:
        lacking = (error.name or "").partition(".")[0]
        if lacking not in _NEEDED:
            raise
        sys.stderr.write(
            f"error: openai-batches needs {lacking}, which is not installed\n"
            "advice: Install the extra: pip install 'openai_batches[cli]'\n"
        )
        return 2
    except KeyboardInterrupt:
        # Before there is a command that could end in another way, or behind it.
        return 130
