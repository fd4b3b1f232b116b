"""``openai-batches serve``: run the emulator."""

import contextlib
import errno
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import attrs
from cyclopts import App, Group, Parameter

from openai_batches.cli.command import command
from openai_batches.cli.errors import ClosedPipeError, CommandError, ExitCode
from openai_batches.cli.options.amounts import Seconds
from openai_batches.cli.options.environment import CONFIG, DEBUG, LOCAL_DATA
from openai_batches.cli.options.local import announced, local_timings, unusable
from openai_batches.cli.options.service import USUAL_LOCAL_DATA, Service, local_data
from openai_batches.cli.output.terminal import note, say
from openai_batches.cli.output.texts import path_text
from openai_batches.emulator import BatchServer, DataFolderError
from openai_batches.emulator.options import Options, fault_lines, profile_names, read_options
from openai_batches.emulator.server import serve as serve_until_stopped

__all__ = ["app"]

app: App = command(
    "serve",
    examples="""\
openai-batches serve --speed 3600   # an hour passes in a second
openai-batches serve --local   # what commands with --local use, and keep

# Batches for a model server of yours, which outlive the program:
openai-batches serve --data ./batches --upstream http://localhost:8000/v1

# A service that often wants to be asked later:
openai-batches serve --fault rate_limited:probability=0.1,times=none

# Reachable from outside, with the key that the variable holds:
openai-batches serve --host 0.0.0.0 --api-key-env BATCH_KEY""",
)

_UPSTREAM = Group("Answers of another server", sort_key=10)
_WEBHOOK = Group("Webhooks", sort_key=20)
_LOCAL = Group("For other commands", sort_key=30)
_LISTS = Group("What there is", sort_key=40)
_UNLISTENABLE = frozenset({errno.EACCES, errno.EADDRNOTAVAIL})


def _profiles(_: object) -> list[str]:
    return profile_names()


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class EmulatorOptions:
    """What the emulator's own program takes, which checks it."""

    host: Annotated[
        str, Parameter(metavar="HOST", help="Address to listen on; others than loopback need a key (127.0.0.1).")
    ] = "127.0.0.1"
    port: Annotated[int, Parameter(metavar="PORT", help="Port, 0 for a free one (8080).")] = 8080
    profile: Annotated[
        str | None, Parameter(metavar="NAME", completer=_profiles, help="Service to emulate (openai).")
    ] = None
    speed: Annotated[float, Parameter(metavar="X", help="Emulated seconds per second, up to 1e6 (1).")] = 1.0
    data: Annotated[
        Path | None,
        Parameter(metavar="DIR", help="Keep batches and files in this folder, and continue with those that are there."),
    ] = None
    fault: Annotated[
        tuple[str, ...], Parameter(metavar="FAULT", help="Make something fail, see --list-faults; may be repeated.")
    ] = ()
    api_key_env: Annotated[
        tuple[str, ...],
        Parameter(metavar="VARIABLE", help="Accept the key in this variable, and no other; may be repeated."),
    ] = ()
    upstream: Annotated[
        str | None,
        Parameter(
            metavar="URL",
            group=_UPSTREAM,
            help="Answer lines by asking this server, such as http://localhost:8000/v1.",
        ),
    ] = None
    upstream_key_env: Annotated[
        str | None, Parameter(metavar="VARIABLE", group=_UPSTREAM, help="Variable that holds its key.")
    ] = None
    upstream_model: Annotated[
        tuple[str, ...],
        Parameter(
            metavar="[FROM=]TO",
            group=_UPSTREAM,
            help="Model to ask for in place of FROM, or of every model; may be repeated.",
        ),
    ] = ()
    upstream_concurrency: Annotated[
        int | None, Parameter(metavar="N", group=_UPSTREAM, help="Requests that run at once (32).")
    ] = None
    upstream_attempts: Annotated[
        int | None, Parameter(metavar="N", group=_UPSTREAM, help="Most tries for a line (5).")
    ] = None
    upstream_timeout: Annotated[Seconds | None, Parameter(group=_UPSTREAM, help="Longest time of a request (10m).")] = (
        None
    )
    webhook: Annotated[
        str | None, Parameter(metavar="URL", group=_WEBHOOK, help="Tell this receiver of batches that are over.")
    ] = None
    webhook_secret_env: Annotated[
        str | None,
        Parameter(metavar="VARIABLE", group=_WEBHOOK, help="Variable that holds its secret (a random one)."),
    ] = None

    def argv(self) -> list[str]:
        """Return it as the emulator's own program would be told."""
        words: list[str] = []
        for field in attrs.fields(type(self)):
            given: Any = getattr(self, field.name)
            values: list[object] = [*given] if field.default == () else [given]
            words += [f"--{field.name.replace('_', '-')}={value}" for value in values if value is not None]
        return words


@Parameter(name="*", group=_LOCAL)
@attrs.frozen(kw_only=True)
class _LocalOptions:
    """Whether other commands use the server, and where its data is then."""

    local: Annotated[
        bool,
        Parameter(help="Serve the folder that commands with --local use: they share this server as long as it runs."),
    ] = False
    local_data: Annotated[
        Path | None,
        Parameter(metavar="DIR", help=f"That folder ({LOCAL_DATA}, or else {USUAL_LOCAL_DATA})."),
    ] = None
    config: Annotated[
        Path | None,
        Parameter(
            metavar="FILE",
            help=f"The configuration file, which may name another folder ({CONFIG}, or else"
            " ~/.config/openai-batches.toml).",
        ),
    ] = None
    debug: Annotated[bool, Parameter(help=f"Show tracebacks ({DEBUG}).")] = False


@app.default
async def serve(
    *,
    emulated: EmulatorOptions = EmulatorOptions(),
    list_faults: Annotated[bool, Parameter(group=_LISTS)] = False,
    list_profiles: Annotated[bool, Parameter(group=_LISTS)] = False,
    sharing: _LocalOptions = _LocalOptions(),
) -> ExitCode:
    """Serve the Batch API on this machine, until Ctrl-C.

    Standard output says what a shell has to export, so that clients find the server.

    Args:
        emulated: what the emulator is told.
        list_faults: Show the faults, and end.
        list_profiles: Show the services that can be emulated, and end.
        sharing: whether commands with --local use it.
    """
    if list_faults or list_profiles:
        say("\n".join([*(fault_lines() if list_faults else ()), *(profile_names() if list_profiles else ())]))
        return ExitCode.DONE
    folder = _folder(emulated, sharing)
    options = read_options(emulated.argv(), refuse=_refuse)
    with _explained(emulated, folder):
        await serve_until_stopped(
            _server(options, folder),
            options.exports,
            around=lambda server: _announcing(server, emulated, folder),
        )
    return ExitCode.DONE


def _folder(emulated: EmulatorOptions, sharing: _LocalOptions) -> Path | None:
    """Return the folder that commands with ``--local`` use, if they are to use this server."""
    service = Service(local=sharing.local, local_data=sharing.local_data, config=sharing.config)
    if not sharing.local:
        return None
    # Commands with --local bring no key of their own, and speak as to OpenAI.
    for name in ("data", "api_key_env", "profile"):
        if getattr(emulated, name):
            option = f"--{name.replace('_', '-')}"
            raise CommandError(
                f"{option} cannot be used with --local, whose commands could not use such a server",
                "Leave one of them out; --local-data names another folder",
            )
    return local_data(service)


def _refuse(message: str) -> NoReturn:
    text = message.removeprefix("argument ")
    raise CommandError(text[:1].upper() + text[1:], "See `openai-batches serve --help`")


def _server(options: Options, folder: Path | None) -> BatchServer:
    given: dict[str, Any] = dict(options.server)
    if folder is not None:
        given |= {"data": folder, "timings": local_timings()}
    try:
        return BatchServer(**given)
    except (TypeError, ValueError) as error:
        _refuse(str(error))


@contextlib.contextmanager
def _announcing(server: BatchServer, emulated: EmulatorOptions, folder: Path | None) -> Generator[None]:
    """Tell the person, and with ``--local`` other commands, where the server is."""
    what = f"the profile {emulated.profile}" if emulated.profile else "OpenAI's Batch API"
    with announced(folder, server.base_url) if folder is not None else contextlib.nullcontext():
        note(f"Serving {what} at {server.base_url} until Ctrl-C")
        if folder is not None:
            note(f"Commands with --local use it, too; it keeps its batches and files in {path_text(folder)}")
        yield


@contextlib.contextmanager
def _explained(emulated: EmulatorOptions, folder: Path | None) -> Generator[None]:
    place = f"{emulated.host}, port {emulated.port}"
    try:
        yield
    except DataFolderError as error:
        if folder is not None:
            raise unusable(folder, error) from error
        raise CommandError(f"The folder cannot be used: {error}", "Name another one with --data") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            advice = "Choose another port with --port, or let it choose a free one: --port 0"
            raise CommandError(f"There is a server already at {place}", advice) from error
        if error.errno in _UNLISTENABLE or isinstance(error, socket.gaierror):
            reason = error.strerror or str(error)
            raise CommandError(f"Nothing can listen on {place}: {reason}", "Choose others: --host, --port") from error
        if isinstance(error.__cause__, BrokenPipeError):
            raise ClosedPipeError from error
        if error.errno is None:
            text = str(error)
            advice = "Leave it open, or send it to a file"
            raise CommandError(text[:1].upper() + text[1:], advice) from error
        raise
