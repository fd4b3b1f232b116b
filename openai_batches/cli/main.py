"""Run a command line: call the command, report its error if it fails, and return the exit code."""

import io
import sys
import traceback
from collections.abc import Sequence

from rich.text import Text

from openai_batches.cli.advice import TYPED
from openai_batches.cli.app import app
from openai_batches.cli.errors import ClosedPipeError, CommandError, ExitCode
from openai_batches.cli.logs import relay
from openai_batches.cli.options.environment import DEBUG, variable
from openai_batches.cli.output.signals import signals_as_interrupts
from openai_batches.cli.output.terminal import (
    check_output,
    discard_errors,
    discard_output,
    flush,
    flush_or_discard_output,
    note,
    say_advice,
    say_error,
    stdout,
)

__all__ = ["run"]

# These options write to standard output.
_WORDS = frozenset({"--help", "-h", "--version"})


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command line, and return its exit code."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    is_debugging = "--debug" in tokens or variable(DEBUG) is not None
    relay(is_debugging=is_debugging)
    _escape_unencodable()
    TYPED.set(tokens)
    with signals_as_interrupts():
        code = _ended(tokens, is_debugging=is_debugging)
    discard_errors()
    return code


def _ended(tokens: Sequence[str], *, is_debugging: bool) -> int:
    """Run the command; return the exit code, whatever it came to."""
    try:
        code = _called(tokens)
        flush()
    except ClosedPipeError:
        discard_output()
        return ExitCode.UNREAD
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ExitCode.DONE if end.code is None else ExitCode.MISUSED
    except BaseException as error:  # noqa: BLE001  # whatever it is, a person is told of it
        flush_or_discard_output()
        if isinstance(error, KeyboardInterrupt) and not is_debugging:
            # It may have come before the modules that explain errors were imported.
            say_error("Interrupted")
            return ExitCode.INTERRUPTED
        return _tell(error, tokens, is_debugging=is_debugging)
    return code


def _escape_unencodable() -> None:
    """Write what the person's encoding does not have as an escape, rather than not at all."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None, where the shell has closed it
            stream.reconfigure(errors="backslashreplace")


def _called(tokens: Sequence[str]) -> int:
    if any(token.partition("=")[0] in {"--api-key", "--key"} for token in tokens):
        raise CommandError(
            "A key is not given on the command line, where others on this machine can read it",
            "Set OPENAI_API_KEY, or name the variable that holds it with --api-key-env",
        )
    if not _WORDS.isdisjoint(tokens):
        check_output()
    result = app(list(tokens), exit_on_error=False, print_error=False, result_action="return_value", console=stdout())
    return result if isinstance(result, int) else ExitCode.DONE


def _tell(error: BaseException, tokens: Sequence[str], *, is_debugging: bool) -> int:
    # A command that ends well does not load what explains errors.
    from openai_batches.cli.explain import explain  # noqa: PLC0415

    if is_debugging:
        note("".join(traceback.format_exception(error)).rstrip())
    explanation = explain(error, tokens)
    say_error(explanation.message)
    for detail in explanation.details:
        note(f"  {detail}")
    if explanation.advice:
        say_advice(explanation.advice)
    # What the command itself has to add, such as how to go on; it may be copied, and stands as it is.
    for line in getattr(error, "__notes__", ()) if isinstance(error, CommandError) else ():
        note(Text(line))
    return explanation.code
