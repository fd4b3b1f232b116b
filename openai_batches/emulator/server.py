"""The server: what it consists of, how it starts and closes, and how it is run as a program."""

import asyncio
import contextlib
import os
import shlex
import signal
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

import attrs
from aiohttp import web

from openai_batches._names import public
from openai_batches.emulator import checking
from openai_batches.emulator.batches.lifecycle import Lifecycle
from openai_batches.emulator.batches.retention import ExpiredCleanup
from openai_batches.emulator.clock import Clock, RealClock
from openai_batches.emulator.executors.echo import EchoExecutor
from openai_batches.emulator.executors.executor import Executor, ExecutorHandle, check_executor
from openai_batches.emulator.faults.faults import Fault, Faults
from openai_batches.emulator.http.app import build_app
from openai_batches.emulator.http.connections import Connection, OpenTransports, Site
from openai_batches.emulator.http.context import Context, RequestRecord
from openai_batches.emulator.keys import ApiKey, keys_by_name
from openai_batches.emulator.profiles.profiles import OPENAI, Profile, named
from openai_batches.emulator.rules import Choices, Rules, Timings
from openai_batches.emulator.schedule import Schedule
from openai_batches.emulator.store.store import Store
from openai_batches.emulator.threads import Threads
from openai_batches.emulator.webhooks.delivery import Webhooks
from openai_batches.emulator.webhooks.endpoints import Delivery, WebhookEndpoint, endpoints_of

_REMEMBERED_REQUESTS = 100_000
_SHUTDOWN_S = 1.0
_THREADS = 4
# Where clients on this machine find a server that listens on all addresses.
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - they are compared with, not bound


@public
class BatchServer:
    """A real HTTP server of the Batch API on this machine.

    Use it as an asynchronous context manager, or call `start` and `close`.

    Args:
        host: Address to listen on; one that is not loopback wants `api_keys`.
        port: Port to listen on; 0 takes a free one.
        profile: The service to play: `openai`, `azure`, `groq`, `siliconflow`, `vllm`, `ogx`, or a `Profile` of yours.
        api_keys: Keys that are accepted, as text, as `ApiKey` or as a mapping of keys to projects; None accepts any.
            Each key sees the batches and files of its project only, and is a project of its own if it has none.
        clock: What time it is inside; a `RealClock` by default.
        speed: Emulated seconds per real second of the default clock, up to a million.
        executor: Answers the lines; an `EchoExecutor` by default.
        timings: How long each state of a batch lasts, in emulated seconds.
        models: Models that validation knows; None knows any.
        enqueued_token_limit: Most estimated input tokens of a project's running batches of one model, for every model
            or by model; None has no limit.
        enqueued_request_limit: Most requests of a project's running batches of all models; None has no limit.
        max_batches_per_hour: Most batches that a project makes in any hour; None has no limit.
        max_uploads_per_minute: Most uploads that a key begins in any minute; None has no limit.
        max_project_bytes: Most bytes of all files of a project; None has no limit.
        batch_retention_s: How long after its creation a batch that is over can be retrieved, in emulated seconds; None
            keeps it for ever.
        max_embedding_inputs: Most inputs of all lines of a batch of embeddings.
        max_lines: Most requests of a batch; None is the profile's, at OpenAI 50,000.
        max_bytes: Longest input file of a batch; None is the profile's, at OpenAI 209,715,200.
        max_file_bytes: Longest upload.
        client_timeout_s: Real seconds that a client may be silent before or within a request, or not take an answer.
        unknown_cursor: What a listing does with an `after` it does not know: start over, show nothing, or answer 400;
            None is what the profile does.
        unknown_input_file: Whether a batch of a file that is not there fails in validation, or is refused with 400.
        choices: What is done where nothing is published about what the service does.
        webhooks: Who is told of batches that are over; more can be appended to `webhooks.endpoints` later.
        faults: Faults to start with, or texts for `Fault.parse`.
        seed: Makes ids repeatable; None draws them from the system's entropy.
        data: Folder in which everything outlives the server, however it ends, for the next one to take up; None keeps
            everything as long as the server runs. What was answered is on disk by then, and batches go on where
            they were.

    Raises:
        ValueError: A parameter makes no sense, such as a `clock` together with a `speed`.
        TypeError: A parameter is of the wrong type.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        profile: Profile | str = OPENAI,
        api_keys: Mapping[str, str | None] | Collection[str | ApiKey] | None = None,
        clock: Clock | None = None,
        speed: float = 1.0,
        executor: Executor | None = None,
        timings: Timings | None = None,
        models: Collection[str] | None = None,
        enqueued_token_limit: int | Mapping[str, int] | None = None,
        enqueued_request_limit: int | None = None,
        max_batches_per_hour: int | None = 2_000,
        max_uploads_per_minute: int | None = 1_000,
        max_project_bytes: int | None = 2_500_000_000_000,
        batch_retention_s: float | None = None,
        max_embedding_inputs: int = 50_000,
        max_lines: int | None = None,
        max_bytes: int | None = None,
        max_file_bytes: int = 512 * 1024 * 1024,
        client_timeout_s: float = 60.0,
        unknown_cursor: Literal["restart", "empty", "error"] | None = None,
        unknown_input_file: Literal["fail_batch", "reject"] = "fail_batch",
        choices: Choices = Choices(),  # noqa: B008 - it is frozen
        webhooks: Iterable[WebhookEndpoint] | WebhookEndpoint = (),
        faults: Iterable[Fault | str] | Fault | str | None = None,
        seed: int | None = None,
        data: Path | str | None = None,
    ) -> None:
        given = dict(locals())
        if clock is not None and speed != 1.0:
            raise ValueError("speed belongs to the default clock; give either clock or speed")
        _check_types(clock, api_keys, executor)
        checking.host(host, has_keys=api_keys is not None)
        checking.whole("port", port, most=65_535)
        folder = checking.folder("data", data)
        endpoints = endpoints_of(webhooks)
        self.profile: Profile = named(profile)
        self._rules = _rules_of(given, self.profile)
        self.clock: Clock = RealClock(speed=speed) if clock is None else clock
        self.store: Store = Store(seed=seed, data=folder, clock=self.clock, new_ids=self.profile.ids)
        self.faults: Faults = Faults(() if faults is None else faults, now=self.clock.now)
        self.requests: deque[RequestRecord] = deque(maxlen=_REMEMBERED_REQUESTS)
        self._host, self._port = host, port
        self._threads = Threads(_THREADS, "openai-batches-emulator")
        self._executor = ExecutorHandle(executor or EchoExecutor(now=self.clock.now))
        self._schedule = Schedule(self.clock)
        self.webhooks: Webhooks = Webhooks(
            clock=self.clock,
            schedule=self._schedule,
            store=self.store,
            plan=self.faults.deliveries,
            endpoints=endpoints,
        )
        self._lifecycle = Lifecycle(
            store=self.store,
            clock=self.clock,
            schedule=self._schedule,
            executor=self._executor,
            rules=self._rules,
            threads=self._threads,
            results=self.profile.results,
            faults=self.faults,
            ended=self.webhooks.announce,
        )
        self._context = self._new_context()
        self._cleanup = ExpiredCleanup(self.store, self.clock, self._schedule, self._rules)
        self._open_transports = OpenTransports()
        self._runner: web.AppRunner | None = None
        self._is_started = False

    @property
    def deliveries(self) -> deque[Delivery]:
        """The latest attempts at delivering webhooks, in the order in which they ended."""
        return self.webhooks.deliveries

    @property
    def base_url(self) -> str:
        """The URL for clients on this machine, `/v1` or the profile's own prefix included.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._runner is None:
            raise RuntimeError("the server is not running")
        host, port = self._runner.addresses[0][:2]
        host = _WILDCARDS.get(str(host), str(host))
        origin = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        return origin + self.profile.prefixes[0]

    @property
    def connection_count(self) -> int:
        """How many connections clients have open."""
        return len(self._open_transports)

    async def start(self) -> Self:
        """Listen, and return the server itself.

        Raises:
            OSError: The address cannot be listened on; a `DataFolderError`, the data folder cannot be used.
            RuntimeError: The server was started before.
        """
        if self._is_started:
            raise RuntimeError("a server starts once")
        self._is_started = True
        await asyncio.to_thread(self.store.open)
        try:
            await self._cleanup.run()
            await self._executor.start()
            self.webhooks.resume()
            await self._lifecycle.resume()
            app = build_app(self._context, self.webhooks)
            self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
            await self._runner.setup()
            await Site(self._runner, self._host, self._port, self._connect).start()
        except BaseException:
            await self.close()
            await asyncio.to_thread(self.store.undo)
            raise
        return self

    def _new_context(self) -> Context:
        return Context(
            rules=self._rules,
            store=self.store,
            clock=self.clock,
            lifecycle=self._lifecycle,
            faults=self.faults,
            requests=self.requests,
            profile=self.profile,
        )

    def _connect(self, server: web.Server) -> Connection:
        return Connection(
            server,
            client_timeout_s=self._rules.client_timeout_s,
            new_request_id=self.store.ids.request,
            open_transports=self._open_transports,
        )

    async def close(self) -> None:
        """Stop listening, drop what runs and remove what was temporary; a second call does nothing."""
        runner, self._runner = self._runner, None
        self.faults.closing.set()
        await self._schedule.close()
        await self._executor.close()
        await self.webhooks.close()
        if runner is not None:
            await runner.cleanup()
        await asyncio.to_thread(self._threads.close)
        await self.store.close()
        await self._open_transports.abort()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def settle(self) -> None:
        """Return when nothing moves any more: every batch is over, or waits for a clock that stands still.

        Webhooks that are due are sent and answered; those that wait to be sent again are not waited for.
        """
        await self._schedule.settle(self._lifecycle.is_busy)

    async def advance(self, *, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Walk a `SteppedClock` forward through all that happens in between, and settle.

        Raises:
            TypeError: The clock runs by itself.
            ValueError: The step leads backwards.
        """
        when = self.clock.now() + hours * 3600 + minutes * 60 + seconds
        await self._schedule.advance_to(when, self._lifecycle.is_busy)


def _rules_of(given: Mapping[str, Any], profile: Profile) -> Rules:
    """Return the rules among a server's parameters, which have the same names, and those of its profile."""
    rules = {rule.name: given[rule.name] for rule in attrs.fields(Rules) if rule.name in given}
    defaults = {
        "timings": Timings(),
        "max_lines": profile.max_lines,
        "max_bytes": profile.max_bytes,
        "unknown_cursor": profile.unknown_cursor,
    }
    rules |= {name: default for name, default in defaults.items() if rules[name] is None}
    return Rules(terms=profile.terms, keys=keys_by_name(given["api_keys"]), **rules)


def _check_types(clock: object, api_keys: object, executor: object) -> None:
    if isinstance(clock, type) or (clock is not None and not hasattr(clock, "now")):
        raise TypeError(f"clock must be a clock, such as SteppedClock(), not {clock!r}")
    if isinstance(api_keys, str):
        raise TypeError("api_keys must be a collection of keys, not one str")
    if api_keys is not None and not isinstance(api_keys, Collection):
        raise TypeError(f"api_keys must be a collection of keys, not {type(api_keys).__name__}")
    if executor is not None:
        check_executor(executor)


async def serve(
    server: BatchServer,
    exports: Mapping[str, str],
    *,
    around: Callable[[BatchServer], AbstractContextManager[object]] = contextlib.nullcontext,
) -> None:
    """Serve until SIGINT or SIGTERM, and write on standard output what a client's shell has to export.

    `exports` are variables besides the address, as words that a shell reads. `around` makes a context manager that is
    entered when the server listens, and left before it ends.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    async with server:
        with around(server):
            say("".join(f"export {name}={value}\n" for name, value in _variables(server, exports).items()))
            await stop.wait()


def _variables(server: BatchServer, exports: Mapping[str, str]) -> dict[str, str]:
    profile = server.profile
    variables = {"OPENAI_BASE_URL": shlex.quote(server.base_url), **exports}
    if profile.root_variable:
        variables[profile.root_variable] = shlex.quote(server.base_url.removesuffix(profile.prefixes[0]))
        variables[profile.key_variable] = variables["OPENAI_API_KEY"]
    return variables


def say(text: str) -> None:
    """Write to standard output."""
    output: TextIO | None = sys.stdout
    if output is None:
        raise OSError("standard output is closed")
    try:
        output.write(text)
        output.flush()
    except OSError as error:
        # Otherwise the interpreter reports what is left in the buffer once more when it ends.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
        raise OSError(f"standard output cannot be written: {error.strerror}") from error
