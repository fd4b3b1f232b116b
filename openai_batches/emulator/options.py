"""The command line of the program: its options, as parameters of a server."""

import argparse
import functools
import os
import shlex
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import attrs

from openai_batches.emulator.checking import is_loopback, number
from openai_batches.emulator.clock import MAX_SPEED
from openai_batches.emulator.executors.upstream import CONCURRENCY, UpstreamExecutor
from openai_batches.emulator.faults.faults import Fault
from openai_batches.emulator.faults.kinds import KINDS
from openai_batches.emulator.http.health import package_version
from openai_batches.emulator.keys import ANY_KEY, keys_by_name
from openai_batches.emulator.profiles.profiles import PROFILES
from openai_batches.emulator.server import say
from openai_batches.emulator.webhooks.endpoints import WebhookEndpoint

PROGRAM = "python -m openai_batches.emulator"
_EXAMPLES = f"""examples:
  {PROGRAM} --speed 3600
      an hour passes in a second
  {PROGRAM} --data ./batches --upstream http://localhost:8000/v1
      batches for a model server of yours, which outlive the program
  {PROGRAM} --fault rate_limited:retry_after_s=2,probability=0.1,times=none
      a service that often wants to be asked later
  BATCH_KEY=... {PROGRAM} --host 0.0.0.0 --api-key-env BATCH_KEY
      reachable from outside, with the key that the variable holds
"""

_Add = Callable[..., Any]


@attrs.frozen(kw_only=True)
class Options:
    """The parameters of the `BatchServer`, and variables for a client's shell, as words that a shell reads."""

    server: dict[str, Any]
    exports: dict[str, str]


def read_options(argv: Sequence[str] | None = None, *, refuse: Callable[[str], NoReturn] | None = None) -> Options:
    """Return what `argv` says; None is the process's own.

    Options such as `--help` end the program, and so do wrong ones, unless `refuse` is called with what is wrong.
    """
    parser = _parser(refuse)
    given = parser.parse_args(argv)
    _check(parser, given)
    keys = _keys(parser, given)
    if not is_loopback(given.host) and not keys:
        parser.error(f"{given.host} can be reached from outside: give an --api-key-env")
    exports = {"OPENAI_API_KEY": shlex.quote(keys[0] if keys else ANY_KEY)}
    if keys and not given.api_key:
        # A key that came in a variable is not shown.
        exports["OPENAI_API_KEY"] = f'"${given.api_key_env[0]}"'
    server: dict[str, Any] = {
        "host": given.host,
        "port": given.port,
        "profile": given.profile,
        "speed": given.speed,
        "data": given.data,
        "api_keys": keys or None,
        "faults": given.fault or (),
        "executor": _made(parser, "--upstream", _upstream, parser, given),
        "webhooks": _made(parser, "--webhook", _webhooks, parser, given, exports),
    }
    return Options(server=server, exports=exports)


class _Parser(argparse.ArgumentParser):
    """Calls `refuse`, if it is given, with the error of wrong arguments."""

    refuse: Callable[[str], NoReturn] | None = None

    def error(self, message: str) -> NoReturn:
        if self.refuse is not None:
            self.refuse(message)
        super().error(message)


def _parser(refuse: Callable[[str], NoReturn] | None = None) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        usage="%(prog)s [OPTION ...]",
        description="Serve the Batch API on this machine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.refuse = refuse
    _add_service(parser.add_argument)
    _add_upstream(parser.add_argument_group("answers of another server").add_argument)
    _add_webhook(parser.add_argument_group("webhooks").add_argument)
    _add_lists(parser.add_argument_group("what there is").add_argument)
    return parser


def _add_service(add: _Add) -> None:
    add("--host", default="127.0.0.1", help="address to listen on; others than loopback want a key (%(default)s)")
    add("--port", type=int, default=8080, help="port, 0 for a free one (%(default)s)")
    add("--profile", default="openai", choices=profile_names(), metavar="NAME", help="service to play (%(default)s)")
    add("--speed", type=float, default=1.0, metavar="X", help="emulated seconds per second, up to 1e6 (%(default)s)")
    add("--data", metavar="DIR", help="keep batches and files in this folder, and go on with those that are there")
    add("--fault", type=_fault, action="append", metavar="FAULT", help="let something fail; may be repeated")
    add("--api-key-env", action="append", metavar="NAME", help="accept the key in this variable; may be repeated")
    help_of_key = "accept this key; may be repeated (others on this machine can see it: prefer --api-key-env)"
    add("--api-key", action="append", metavar="KEY", help=help_of_key)


def _add_upstream(add: _Add) -> None:
    add("--upstream", metavar="URL", help="answer lines by asking this server, such as http://localhost:8000/v1")
    add("--upstream-key-env", metavar="NAME", help="variable that holds its key")
    add(
        "--upstream-model",
        action="append",
        metavar="[FROM=]TO",
        help="model to ask for in place of FROM, or of every model; may be repeated",
    )
    add("--upstream-concurrency", type=int, metavar="N", help=f"requests that run at once ({CONCURRENCY})")
    add("--upstream-attempts", type=int, metavar="N", help="most tries for a line (5)")
    add("--upstream-timeout", type=float, metavar="SECONDS", help="longest time of a request (600)")


def _add_webhook(add: _Add) -> None:
    add("--webhook", metavar="URL", help="tell this receiver of batches that are over")
    add("--webhook-secret-env", metavar="NAME", help="variable that holds its secret (a random one)")


def _add_lists(add: _Add) -> None:
    add("--list-faults", action=_List, lines=fault_lines, help="show the faults and end")
    add("--version", action=_List, lines=_version, help="show the version and end")
    add("--list-profiles", action=_List, lines=profile_names, help="show the profiles and end")


class _List(argparse.Action):
    """Prints lines and ends the program, as `--help` does."""

    def __init__(self, *, lines: Callable[[], Sequence[str]], **options: Any) -> None:
        super().__init__(nargs=0, **options)
        self._lines = lines

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        try:
            say("".join(f"{line}\n" for line in self._lines()))
        except OSError as error:
            parser.exit(1, f"{PROGRAM}: {error}\n")
        parser.exit()


def profile_names() -> list[str]:
    """Return the services that can be played."""
    return list(PROFILES)


def _version() -> list[str]:
    return [package_version()]


def fault_lines() -> list[str]:
    """Return the kinds of faults, with a sentence and the parameters of each."""
    return [f"{name}: {kind.sentence}\n    {', '.join(kind.takes)}" for name, kind in sorted(KINDS.items())]


def _fault(text: str) -> Fault:
    try:
        return Fault.parse(text)
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    if not 0 <= given.port <= 65_535:
        parser.error("--port must be 0 to 65535")
    for name, host in (("upstream", given.upstream), ("webhook", given.webhook), ("data", given.data)):
        if host is not None and not host.strip():
            parser.error(f"--{name} must not be empty")
    _made(parser, "--speed", functools.partial(number, above=0, most=MAX_SPEED), "the speed", given.speed)
    for leader in ("upstream", "webhook"):
        for name, value in vars(given).items():
            if name.startswith(f"{leader}_") and value is not None and getattr(given, leader) is None:
                parser.error(f"--{name.replace('_', '-')} needs --{leader}")


def _keys(parser: argparse.ArgumentParser, given: argparse.Namespace) -> list[str]:
    keys: list[str] = given.api_key or []
    for key in keys:
        _made(parser, "--api-key", keys_by_name, [key])
    for name in given.api_key_env or ():
        key = _variable(parser, "--api-key-env", name)
        _made(parser, f"--api-key-env {name}", keys_by_name, [key])
        keys = [*keys, key]
    return keys


def _variable(parser: argparse.ArgumentParser, option: str, name: str) -> str:
    value = os.environ.get(name)
    if not value:
        parser.error(f"{option}: the variable {name} is {'not set' if value is None else 'empty'}")
    return value


def _made(parser: argparse.ArgumentParser, option: str, make: Callable[..., Any], *given: Any) -> Any:
    """Return what `make` makes of an option, or end the program with the sentence that says why not."""
    try:
        return make(*given)
    except (TypeError, ValueError) as error:
        parser.error(f"{option}: {error}")


def _upstream(parser: argparse.ArgumentParser, given: argparse.Namespace) -> UpstreamExecutor | None:
    if given.upstream is None:
        return None
    options: dict[str, Any] = {
        "model": _made(parser, "--upstream-model", _models, given.upstream_model or ()),
        "concurrency": given.upstream_concurrency,
        "attempts": given.upstream_attempts,
        "timeout_s": given.upstream_timeout,
    }
    if given.upstream_key_env is not None:
        options["api_key"] = _variable(parser, "--upstream-key-env", given.upstream_key_env)
    return UpstreamExecutor(given.upstream, **{name: value for name, value in options.items() if value is not None})


def _models(given: Sequence[str]) -> str | dict[str, str] | None:
    """Return one name for all models, or a table of names."""
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    table: dict[str, str] = {}
    for text in given:
        name, equals, to = text.partition("=")
        if not (name and equals and to):
            raise ValueError(f"several models are given as FROM=TO, one also as TO, not {text!r}")
        if name in table:
            raise ValueError(f"{name!r} is given twice")
        table[name] = to
    return table


def _webhooks(
    parser: argparse.ArgumentParser, given: argparse.Namespace, exports: dict[str, str]
) -> tuple[WebhookEndpoint, ...]:
    if given.webhook is None:
        return ()
    if given.webhook_secret_env is None:
        endpoint = WebhookEndpoint(given.webhook)
        exports["OPENAI_WEBHOOK_SECRET"] = shlex.quote(str(endpoint.secret))
    else:
        secret = _variable(parser, "--webhook-secret-env", given.webhook_secret_env)
        endpoint = WebhookEndpoint(given.webhook, secret=secret)
        exports["OPENAI_WEBHOOK_SECRET"] = f'"${given.webhook_secret_env}"'
    return (endpoint,)
