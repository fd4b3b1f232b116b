"""One emulator from its start to its end."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Literal, Self

from aiohttp import web

from .app import build_app
from .clock import Clock, RealClock
from .desk import Desk, RequestRecord
from .echo import EchoExecutor
from .execution import Executor
from .faults import Fault, Faults
from .lifecycle import Lifecycle
from .rules import Rules, Timings
from .store import Store

_REMEMBERED_REQUESTS = 100_000
_SHUTDOWN_S = 1.0
_THREADS = 4


class BatchServer:
    """A real HTTP server of the Batch API on this machine.

    Use it as an asynchronous context manager, or call `start` and `close`.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        api_keys: Keys that are accepted; None accepts any. Each key sees its own batches and files only.
        clock: What time it is inside; a `RealClock` by default.
        speed: Emulated seconds per real second of the default clock.
        executor: Answers the lines; an `EchoExecutor` by default.
        timings: How long each state of a batch lasts, in emulated seconds.
        models: Models that validation knows; None knows any.
        enqueued_token_limit: Most estimated input tokens of a key's running batches of one model; None has no limit.
        max_lines: Most requests of a batch.
        max_bytes: Longest input file of a batch.
        max_file_bytes: Longest upload.
        unknown_cursor: What a listing does with an `after` it does not know: start over, show nothing, or answer 400.
        unknown_input_file: Whether a batch of a file that is not there fails in validation, or is refused with 400.
        faults: Faults to start with.
        seed: Makes ids repeatable; None draws them from the system's entropy.

    Raises:
        ValueError: A parameter makes no sense, such as a `clock` together with a `speed`.
        TypeError: A clock, timings or keys are of the wrong type.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_keys: Collection[str] | None = None,
        clock: Clock | None = None,
        speed: float = 1.0,
        executor: Executor | None = None,
        timings: Timings | None = None,
        models: Collection[str] | None = None,
        enqueued_token_limit: int | None = None,
        max_lines: int = 50_000,
        max_bytes: int = 209_715_200,
        max_file_bytes: int = 512 * 1024 * 1024,
        unknown_cursor: Literal["restart", "empty", "error"] = "error",
        unknown_input_file: Literal["fail_batch", "reject"] = "fail_batch",
        faults: Iterable[Fault] | Fault | None = None,
        seed: int | None = None,
    ) -> None:
        if clock is not None and speed != 1.0:
            raise ValueError("speed belongs to the default clock; give either clock or speed")
        _check_types(clock, timings, api_keys)
        rules = Rules(
            api_keys=api_keys,
            models=models,
            enqueued_token_limit=enqueued_token_limit,
            max_lines=max_lines,
            max_bytes=max_bytes,
            max_file_bytes=max_file_bytes,
            unknown_cursor=unknown_cursor,
            unknown_input_file=unknown_input_file,
        )
        self.clock: Clock = RealClock(speed=speed) if clock is None else clock
        self.store: Store = Store(seed=seed)
        self.faults: Faults = Faults((faults,) if isinstance(faults, Fault) else faults or ())
        self.requests: deque[RequestRecord] = deque(maxlen=_REMEMBERED_REQUESTS)
        self._host, self._port = host, port
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="openai-batches-emulator")
        self._lifecycle = Lifecycle(
            store=self.store,
            clock=self.clock,
            executor=executor or EchoExecutor(now=self.clock.now),
            timings=timings or Timings(),
            rules=rules,
            pool=self._pool,
        )
        self._desk = Desk(
            rules=rules,
            store=self.store,
            clock=self.clock,
            lifecycle=self._lifecycle,
            faults=self.faults,
            requests=self.requests,
        )
        self._runner: web.AppRunner | None = None
        self._is_started = False

    @property
    def base_url(self) -> str:
        """The URL for clients, `/v1` included.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._runner is None:
            raise RuntimeError("the server is not running")
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"

    async def start(self) -> Self:
        """Listen, and return the server itself.

        Raises:
            OSError: The address cannot be listened on.
            RuntimeError: The server was started before.
        """
        if self._is_started:
            raise RuntimeError("a server starts once")
        self._is_started = True
        await asyncio.to_thread(self.store.open)
        self._runner = web.AppRunner(build_app(self._desk), access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Stop listening, drop what runs and remove the temporary folder; a second call does nothing."""
        runner, self._runner = self._runner, None
        self.faults.closing.set()
        await self._lifecycle.close()
        if runner is not None:
            await runner.cleanup()
        await asyncio.to_thread(self._pool.shutdown)
        await asyncio.to_thread(self.store.close)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def settle(self) -> None:
        """Return when nothing moves any more: every batch is over, or waits for a clock that stands still."""
        await self._lifecycle.settle()

    async def advance(self, *, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Walk a `SteppedClock` forward through all that happens in between, and settle.

        Raises:
            TypeError: The clock runs by itself.
            ValueError: The step leads backwards.
        """
        await self._lifecycle.advance_to(self.clock.now() + hours * 3600 + minutes * 60 + seconds)


def _check_types(clock: object, timings: object, api_keys: object) -> None:
    if isinstance(clock, type) or (clock is not None and not hasattr(clock, "now")):
        raise TypeError(f"clock must be a clock, such as SteppedClock(), not {clock!r}")
    if timings is not None and not isinstance(timings, Timings):
        raise TypeError(f"timings must be Timings(...), not {timings!r}")
    if isinstance(api_keys, str):
        raise TypeError("api_keys must be a collection of keys, not one str")
