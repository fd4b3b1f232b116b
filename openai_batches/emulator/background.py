"""An emulator in a thread of its own, for code that blocks."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import FIRST_COMPLETED, Future, wait
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from openai_batches._names import public
from openai_batches.emulator.clock import Clock
from openai_batches.emulator.faults.faults import Faults
from openai_batches.emulator.http.context import RequestRecord
from openai_batches.emulator.keys import ANY_KEY, keys_by_name
from openai_batches.emulator.server import BatchServer
from openai_batches.emulator.store.store import Store
from openai_batches.emulator.webhooks.endpoints import Delivery

_STOP_S = 10.0

P = ParamSpec("P")
T = TypeVar("T")


def _taking(
    constructor: Callable[P, BatchServer],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, P], None]]:
    """Show another constructor's parameters to type checkers and to `help`."""

    def decorate(init: Callable[..., None]) -> Callable[Concatenate[Any, P], None]:
        own = next(iter(inspect.signature(init).parameters.values()))
        theirs = inspect.signature(constructor)
        vars(init)["__signature__"] = theirs.replace(parameters=[own, *theirs.parameters.values()])
        return init

    return decorate


@public
class BackgroundServer:
    """A `BatchServer` with a thread and an event loop of its own, for tests and code without asyncio.

    Use it as a context manager, or call `start` and `close`; it takes the parameters of `BatchServer`. Every method
    and attribute may be used from any thread, several at a time, except the server's own. The methods block, so where
    a loop has other work meanwhile, such as a receiver of webhooks, call them as `asyncio.to_thread(server.settle)`.

    Attributes:
        server: The server itself; what is not offered here may be reached by `call`.
        api_key: A key that it accepts: the first of `api_keys`, or any.
    """

    server: BatchServer
    api_key: str

    @_taking(BatchServer)
    def __init__(self, **options: Any) -> None:
        self.server = BatchServer(**options)
        self.api_key = next(iter(keys_by_name(options.get("api_keys")) or ()), ANY_KEY)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._advancing = asyncio.Lock()
        self._is_closing = False
        self._over: Future[Any] = Future()

    @property
    def base_url(self) -> str:
        """The URL for clients, `/v1` included.

        Raises:
            RuntimeError: The server is not running.
        """
        return self.server.base_url

    @property
    def clock(self) -> Clock:
        """What time it is inside; any thread may read it, and only `advance` may move it."""
        return self.server.clock

    @property
    def faults(self) -> Faults:
        """The faults; any thread may add, clear and count them."""
        return self.server.faults

    @property
    def requests(self) -> list[RequestRecord]:
        """What was asked until now: a list of its own, which does not grow."""
        return self.call(lambda: list(self.server.requests))

    @property
    def deliveries(self) -> list[Delivery]:
        """The latest attempts at delivering webhooks until now: a list of its own, which does not grow."""
        return self.call(lambda: list(self.server.deliveries))

    @property
    def store(self) -> Store:
        """The batches and files; any thread may look one up, but walk over all of them within `call`."""
        return self.server.store

    def start(self) -> Self:
        """Listen, and return the server itself.

        Raises:
            OSError: The address cannot be listened on.
            RuntimeError: The server was started before.
        """
        with self._lock:
            if self._thread is not None:
                raise RuntimeError("a server starts once")
            started: Future[None] = Future()
            name = "openai-batches-emulator-loop"
            self._thread = threading.Thread(target=self._run, args=(started,), name=name, daemon=True)
            self._thread.start()
        try:
            started.result()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Stop listening, drop what runs, and end the thread; a second call does nothing.

        Raises:
            TimeoutError: The thread does not end within ten seconds, since an executor of yours blocks.
        """
        with self._lock:
            thread, loop = self._thread, self._loop
            # Set before it begins, so that other threads do not call a server that closes.
            is_first, self._is_closing = not self._is_closing, True
            if loop is not None and is_first and not self._over.done():
                loop.call_soon_threadsafe(self._stop.set)
        if thread is not None:
            if not wait((self._over,), _STOP_S).done:
                raise TimeoutError(f"the emulator did not stop within {_STOP_S:g} s: an executor blocks it")
            thread.join(_STOP_S)
            self._over.result()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def settle(self) -> None:
        """Return when nothing moves any more: every batch is over, or waits for a clock that stands still.

        Raises:
            RuntimeError: The server is not running, or was closed meanwhile.
        """
        self._finish(self.server.settle)

    def advance(self, *, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Walk a `SteppedClock` forward through all that happens in between, and settle.

        Raises:
            RuntimeError: The server is not running, or was closed meanwhile.
            TypeError: The clock runs by itself.
            ValueError: The step leads backwards.
        """

        async def advance() -> None:
            # One after the other, since two threads could move the clock backwards.
            async with self._advancing:
                await self.server.advance(hours=hours, minutes=minutes, seconds=seconds)

        self._finish(advance)

    def call(self, function: Callable[[], T]) -> T:
        """Run a short `function` in the server's thread, where nothing else happens meanwhile, and return its result.

        Before the start and after the end there is no such thread, and the function runs in the caller's.

        Raises:
            RuntimeError: The server was closed meanwhile.
        """

        async def run() -> T:
            return function()

        if self._loop is None or threading.current_thread() is self._thread:
            return function()
        if self._is_closing:
            wait((self._over,), _STOP_S)
            return function()
        return self._finish(run)

    def _finish(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do `work` in the server's loop and return its result."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("the server's own thread cannot wait for itself")
        with self._lock:
            if self._loop is None or self._is_closing:
                raise RuntimeError("the server is not running")
            # Under the lock it is scheduled before the loop is stopped, and is done or cancelled when the loop ends.
            future = asyncio.run_coroutine_threadsafe(work(), self._loop)
        try:
            wait((future, self._over), return_when=FIRST_COMPLETED)
        except BaseException:
            future.cancel()
            raise
        if not future.done() or future.cancelled():
            raise RuntimeError("the server was closed meanwhile")
        return future.result()

    def _run(self, started: Future[None]) -> None:
        """Run in the thread: `started` gets the outcome of the start, and `_over` that of the end."""
        try:
            asyncio.run(self._serve(started))
        except BaseException as error:  # noqa: BLE001 - raised by `start` or `close`
            if started.done():
                self._over.set_exception(error)
                return
            started.set_exception(error)
        self._over.set_result(None)

    async def _serve(self, started: Future[None]) -> None:
        async with self.server:
            with self._lock:
                self._loop = asyncio.get_running_loop()
                if self._is_closing:
                    self._stop.set()
            started.set_result(None)
            await self._stop.wait()
