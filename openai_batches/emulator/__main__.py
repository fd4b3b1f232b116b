"""Serve the emulator from the command line: `python -m openai_batches.emulator`."""

try:
    import asyncio
    import contextlib
    import errno
    import sys
    from collections.abc import Sequence

    from openai_batches.emulator.options import PROGRAM, read_options
    from openai_batches.emulator.server import BatchServer, serve
except KeyboardInterrupt:
    raise SystemExit(130) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM and return the exit status."""
    try:
        options = read_options(argv)
        server = BatchServer(**options.server)
    except (TypeError, ValueError) as error:
        return _report(str(error), 2)
    except KeyboardInterrupt:
        return 130
    try:
        asyncio.run(serve(server, options.exports))
    except OSError as error:
        hint = "; --port chooses another, 0 a free one" if error.errno == errno.EADDRINUSE else ""
        return _report(f"{error}{hint}", 1)
    except KeyboardInterrupt:
        # Where the loop cannot handle signals, this ends it, after the server was closed.
        return 0
    return 0


def _report(sentence: str, status: int) -> int:
    with contextlib.suppress(AttributeError, OSError):  # standard error may be closed, too
        sys.stderr.write(f"{PROGRAM}: {sentence}\n")
    return status


if __name__ == "__main__":  # pragma: no cover - its test runs it in a process of its own
    raise SystemExit(main())
