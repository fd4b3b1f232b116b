"""What the user is told of an error: a message, advice, and the exit code of the program."""

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast, get_args, get_origin

import attrs
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError as UnknownShortOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from openai_batches import (
    AmbiguousCreateError,
    APIError,
    AuthenticationError,
    BatchesError,
    BatchFailedError,
    ConflictError,
    DecodeError,
    IncompleteOutputError,
    InputError,
    InternalServerError,
    InvalidRequestsError,
    JobError,
    JobPausedError,
    JobStoppedError,
    JournalError,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    RateLimitError,
    RefusalError,
    RequestFailedError,
    TransportError,
    TransportTimeoutError,
    WaitTimeoutError,
    WebhookSignatureError,
)
from openai_batches._text import as_count
from openai_batches.cli.errors import CommandError, ExitCode, UnknownOptionError
from openai_batches.cli.output.terminal import say_advice, say_error
from openai_batches.cli.output.texts import closest, lasting_text, one_line, path_text
from openai_batches.http.failures import is_out_of_quota
from openai_batches.jobs.admission import lacks_capacity

if TYPE_CHECKING:
    from cyclopts.argument import Argument

__all__ = ["Explanation", "Failures", "explain"]


@attrs.frozen
class Explanation:
    """What a person is told of an error.

    Attributes:
        message: what happened, on one line.
        advice: what to do, on one line; empty where nothing can be done.
        code: what the shell is told.
        details: further lines, such as one for each problem of a file.
    """

    message: str
    advice: str
    code: ExitCode
    details: tuple[str, ...] = ()


_NO_API_ADVICE = "The service does not answer as the Batch API does: check --base-url and --provider"
# The first that fits counts: subclasses stand before their classes.
_ADVICE: tuple[tuple[type[BaseException], str, ExitCode], ...] = (
    (InvalidRequestsError, "Fix the lines that are named, and try again", ExitCode.MISUSED),
    (InputError, "Fix this, and try again", ExitCode.MISUSED),
    (AuthenticationError, "Check the key, and that it is the key of this service", ExitCode.REFUSED),
    (PermissionDeniedError, "Check what the key is allowed to do", ExitCode.REFUSED),
    (
        NotFoundError,
        "Check the id; `openai-batches list` and `files list` show what this key can see",
        ExitCode.REFUSED,
    ),
    (
        ConflictError,
        "Its status does not allow this: check it with `openai-batches show`",
        ExitCode.REFUSED,
    ),
    (RateLimitError, "Wait a moment, and try again", ExitCode.REFUSED),
    (InternalServerError, "The service has an internal problem: try again later", ExitCode.REFUSED),
    (APIError, "Change what the service objects to, and try again", ExitCode.REFUSED),
    (TransportTimeoutError, "The service is silent: check the network and --base-url, or try again", ExitCode.REFUSED),
    (TransportError, "Check the network, and the address of the service (--base-url)", ExitCode.REFUSED),
    (BatchFailedError, "Fix the lines that are named, and create the batch again", ExitCode.REFUSED),
    (AmbiguousCreateError, "Look with `openai-batches list` before you create it again", ExitCode.REFUSED),
    (WaitTimeoutError, "The batch continues at the service: wait again with the same command", ExitCode.STOPPED),
    (JobPausedError, "Add quota; the same command then continues where it stopped", ExitCode.STOPPED),
    (JobStoppedError, "The same command continues where it stopped", ExitCode.STOPPED),
    (JournalError, "Fix this, or keep the job in another directory: --directory", ExitCode.MISUSED),
    (JobError, "What the job has done so far is in its directory", ExitCode.REFUSED),
    (PaginationError, "The service's list is inconsistent: try again, or name single ids", ExitCode.REFUSED),
    (RefusalError, "Ask the model something else", ExitCode.FAILED),
    (IncompleteOutputError, "Allow the model a longer answer", ExitCode.FAILED),
    (DecodeError, _NO_API_ADVICE, ExitCode.REFUSED),
    (RequestFailedError, "`openai-batches results --failed` shows the requests that failed", ExitCode.FAILED),
    (
        WebhookSignatureError,
        "Check the secret of the endpoint, and the clock of this machine; do not act on it",
        ExitCode.REFUSED,
    ),
    (BatchesError, "Try again with --debug, which shows more of it", ExitCode.REFUSED),
    # Another process writes the file, or has made it meanwhile.
    (FileExistsError, "Wait, or name another file", ExitCode.MISUSED),
    (OSError, "Check the path, its permissions and the space on the disk", ExitCode.MISUSED),
    (asyncio.CancelledError, "", ExitCode.INTERRUPTED),
    (KeyboardInterrupt, "", ExitCode.INTERRUPTED),
)
_MOST_DETAILS = 20
# What fails where a packed file is cut or broken: zlib's, and that of a package which need not be there.
_UNPACKING = frozenset({"EOFError", "ZstdError", "error"})
_EMPTY = frozenset({"empty_file", "empty_batch"})
_TOO_LARGE = 413
_QUOTA_ADVICE = "Add credit, or raise the limit of the account: waiting does not help"


def explain(error: BaseException, tokens: Sequence[str] = ()) -> Explanation:
    """Return what a person is told of an error that ends the program."""
    # What failed beside the first one failed because of it, or would be told next.
    while group := cast("tuple[BaseException, ...]", getattr(error, "exceptions", ())):
        error = group[0]
    if isinstance(error, UnknownOptionError):
        advice = "; ".join(filter(None, [f"See {_help(tokens)}", one_line(error.advice)]))
        return Explanation(_unknown(error.option, tokens), advice, error.code)
    if isinstance(error, CommandError):
        return Explanation(one_line(str(error)), one_line(error.advice), error.code, error.details)
    if isinstance(error, CycloptsError):
        return Explanation(_usage(error), f"See {_help(tokens)}", ExitCode.MISUSED)
    for kind, advice, code in _ADVICE:
        if isinstance(error, kind):
            return Explanation(_message(error), _special_advice(error) or advice, code, _details(error))
    text = f"This is a bug in the program: {type(error).__name__}: {one_line(str(error))}"
    return Explanation(text, "Add --debug to see where it happened, and report it", ExitCode.BROKEN)


def _special_advice(error: BaseException) -> str:
    """Return better advice than that of the error's class, if there is."""
    if isinstance(error, APIError) and is_out_of_quota(error.code):
        return _QUOTA_ADVICE
    if isinstance(error, APIError) and lacks_capacity(error):
        return "Try again when some of your batches have ended, or use `openai-batches run`, which waits for that"
    if isinstance(error, APIError) and error.status == _TOO_LARGE:
        return "Send less at once: a smaller --max-bytes (run, split), or in parts (files upload --parts)"
    if isinstance(error, RateLimitError) and error.retry_after:
        return f"Try again in {lasting_text(error.retry_after)}: the service asks for it"
    if isinstance(error, APIError) and error.status < 500 and str(error.body).lstrip().startswith("<"):
        return _NO_API_ADVICE
    return _job_advice(error, error.__cause__) if isinstance(error, JobError) else _input_advice(error)


def _job_advice(error: JobError, cause: BaseException | None) -> str:
    if isinstance(error, JournalError) and isinstance(cause, BlockingIOError):
        return "Wait until the other process is done, or stop it: the job can be continued"
    if isinstance(error, JournalError) and isinstance(cause, sqlite3.OperationalError):
        return "Free space on the disk if it is full, otherwise check the permissions of the folder; nothing was lost"
    if isinstance(cause, NotFoundError):
        return "Name the service, the key or the folder (--local-data) that the job was started with: nothing was lost"
    return ""


def _input_advice(error: BaseException) -> str:
    if isinstance(error, InputError) and isinstance(error.__cause__, ImportError):
        return "Install it, and try again"
    if isinstance(error, InputError) and type(error.__cause__).__name__ in _UNPACKING:
        return "Compress or download the file again: it is incomplete, or its suffix is wrong"
    if isinstance(error, InvalidRequestsError) and _names_no_line(error):
        is_empty = {problem.code for problem in error.problems} <= _EMPTY
        return "Give a file that has requests" if is_empty else "Fix this, and try again"
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return "Check the path"
    return ""


def _names_no_line(error: InvalidRequestsError) -> bool:
    return bool(error.problems) and all(problem.line is None for problem in error.problems)


def _message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt | asyncio.CancelledError):
        return "Interrupted"
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return f"There is no file {path_text(error.filename)}"
    if isinstance(error, OSError) and not isinstance(error, BatchesError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return one_line(f"{where}{error.strerror}")
    if isinstance(error, InvalidRequestsError):
        # The problems have lines of their own.
        text = str(error).partition("\n")[0]
        shown = str(error.problems[0]) if error.problems else ""
        head = text.partition(shown)[0] if shown else text
        return one_line(head).rstrip(":") or as_count(len(error.problems) + error.more_problems, "problem")
    return one_line(str(error)) or type(error).__name__


def _details(error: BaseException) -> tuple[str, ...]:
    if isinstance(error, InvalidRequestsError):
        shown = [one_line(str(problem)) for problem in error.problems[:_MOST_DETAILS]]
        more = len(error.problems) + error.more_problems - len(shown)
    elif isinstance(error, BatchFailedError) and error.batch is not None and error.batch.errors is not None:
        problems = error.batch.errors.data or ()
        shown = [
            one_line(f"line {problem.line}: {problem.message}" if problem.line else problem.message or "")
            for problem in problems[:_MOST_DETAILS]
        ]
        more = len(problems) - len(shown)
    else:
        return ()
    return (*shown, f"and {more:,} more") if more > 0 else tuple(shown)


def _usage(error: CycloptsError) -> str:
    if isinstance(error, UnknownCommandError) and error.unused_tokens and error.app is not None:
        typed = error.unused_tokens[0]
        close = closest(typed, [name for name in error.app if not name.startswith("-")])
        return one_line(f"There is no command {typed!r}" + (f": did you mean {close!r}?" if close else ""))
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return one_line(f"Too many arguments: {' '.join(error.unused_tokens)}")
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        return one_line(_missing(error, error.argument))
    if isinstance(error, UnknownShortOptionError):
        return one_line(f"Unknown option: {error.token.keyword or error.token.value}")
    return one_line(_unfit(error)).rstrip(".")


def _unfit(error: CycloptsError) -> str:
    """Return what to say of a value that an option cannot have."""
    if isinstance(error, ValidationError) and error.argument is not None:
        # What a number must be is told by its validator.
        bounds = error.exception_message
        return f"{_called(error.argument)} cannot be {error.argument.value}: {bounds[:1].lower()}{bounds[1:]}"
    if isinstance(error, CoercionError) and error.argument is not None and error.token is not None:
        return _not_converted(error, _called(error.argument), error.token.value)
    return str(error)


def _not_converted(error: CoercionError, name: str, typed: str) -> str:
    if error.msg is not None:
        return f"{name}: {error.msg}"
    if get_origin(error.target_type) is Literal:
        return f"{name} cannot be {typed!r}: it is one of {', '.join(map(str, get_args(error.target_type)))}"
    return f"{name} cannot be {typed!r}" + (": it is a number" if error.target_type in {int, float} else "")


def _unknown(option: str, tokens: Sequence[str]) -> str:
    """Return what to say of an option that the command has not, with the one that may have been meant."""
    from openai_batches.cli.app import app  # noqa: PLC0415  # as below

    _, apps, _ = app.parse_commands(list(tokens))
    known = [name for argument in apps[-1].assemble_argument_collection() for name in argument.names]
    close = closest(option, [name for name in known if name.startswith("-")])
    return one_line(f"Unknown option: {option}" + (f". Did you mean {close}?" if close else ""))


def _missing(error: MissingArgumentError, argument: "Argument") -> str:
    if error.keyword is not None:
        return f"{error.keyword} needs a value"
    return f"{_called(argument)} is missing"


def _called(argument: "Argument") -> str:
    """Return what an option is called; what has no name of its own to type is called as in the help."""
    return argument.name if argument.name.startswith("-") else argument.parameter.metavar or argument.name


def _help(tokens: Sequence[str]) -> str:
    """Return the help that fits what was typed: of the command, if one was recognised."""
    from openai_batches.cli.app import app  # noqa: PLC0415  # the app need not be whole to say what went wrong

    chain, _, _ = app.parse_commands(list(tokens))
    return f"`{' '.join(['openai-batches', *chain, '--help'])}`"


class Failures:
    """Tells what went wrong with some of several things, and what to do about it once.

    Attributes:
        code: the worst exit code of them; DONE while there are none.
    """

    def __init__(self) -> None:
        self.code: ExitCode = ExitCode.DONE
        self._advice: dict[str, None] = {}

    def tell(self, subject: str, error: Exception) -> None:
        """Say what happened to one of them."""
        explanation = explain(error)
        self.code = max(self.code, explanation.code)
        if explanation.advice:
            self._advice[explanation.advice] = None
        say_error(f"{subject}: {explanation.message}")

    def advise(self) -> None:
        """Say what to do about all of them."""
        for advice in self._advice:
            say_advice(advice)
