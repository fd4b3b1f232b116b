"""The command line, ``openai-batches``: argv to session and jobs, and what comes of them to a terminal.

It has no logic of its own: what is worth having without a terminal is in the library. It comes with the extra ``cli``.

For those who work on it:

* ``app`` is the table of commands; each names the room that holds it, which is loaded when it is called
* ``main`` runs a command line and turns what goes wrong into two lines and an exit code (``explaining``, ``endings``)
* ``connecting`` has the options that every command has, and opens the session (``configuration``,
  ``environment``, ``addressing``, ``local``)
* ``terminal`` writes: ``say`` and ``write`` to standard output, ``note`` and ``warn`` to standard error
* ``texts`` writes numbers, sizes and times; ``amounts`` reads them
* ``advising`` writes command lines that a person is told to type
* ``interrupting`` ends a block or a job at Ctrl-C; ``hearing`` lets SIGTERM and SIGHUP be the same to all commands
* ``sourcing`` gives the requests of a file or of standard input, ``asking`` asks, ``documents`` writes ``--json``
* each command has a room of its name, made with ``commanding``::

    app = command("cancel", examples="openai-batches cancel batch_abc   # ...")

    @app.default
    async def cancel(ids: ..., /, *, service: Service = DEFAULT_SERVICE) -> int:
        async with connected(service) as session:
            ...
        return ExitCode.DONE
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
