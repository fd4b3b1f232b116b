"""Blocking work in threads, so that the event loop is not held up: one function for each way to wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

__all__ = [
    "OneThread",
    "begin_in_thread",
    "ends_within",
    "in_daemon_thread",
    "in_thread",
    "in_thread_to_its_end",
    "in_thread_without_fail",
    "in_threads",
]

T = TypeVar("T")
P = ParamSpec("P")

_END: Final = object()


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what a function returns, run in a thread; a cancelled caller does not wait for its end."""
    return await asyncio.to_thread(function, *args, **kwargs)


async def in_thread_without_fail(function: Callable[[], object]) -> None:
    """Run a function in a thread, also where the caller is cancelled before there is a thread for it: to clean up."""
    await asyncio.shield(asyncio.to_thread(function))


async def in_thread_to_its_end(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what a function returns, run in a thread; a cancelled caller waits until it has ended."""
    task = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Its exception is looked at, so that it is not reported as lost.
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        raise


def begin_in_thread(function: Callable[[], object]) -> asyncio.Future[object]:
    """Begin to run a function in a thread, where its end need not be waited for."""
    return asyncio.get_running_loop().run_in_executor(None, function)


async def in_threads(generator: Generator[T, None, None]) -> AsyncGenerator[T, None]:
    """Yield what a generator yields, each step of it taken in a worker thread; leaving early closes it."""
    # A step that a cancelled task left behind still runs in its thread: the generator is closed when it has ended.
    lock = threading.Lock()

    def step() -> T | object:
        with lock:
            return next(generator, _END)

    def close() -> None:
        with lock:
            generator.close()

    try:
        while (item := await asyncio.to_thread(step)) is not _END:
            yield cast("T", item)
    finally:
        is_stepping = lock.locked()
        closed = begin_in_thread(close)
        if not is_stepping:
            await closed


async def in_daemon_thread(function: Callable[[], T]) -> T:
    """Return what a function returns, run in a thread that the end of the program does not wait for.

    A thread that waits for a reader of a pipe, or for a person, may never end.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(setter: Callable[[Any], None], value: object) -> None:
        if not future.done():
            setter(value)

    def run() -> None:
        setter: Callable[[Any], None] = future.set_result
        value: object
        try:
            value = function()
        except BaseException as error:  # noqa: BLE001  # it is raised where it is waited for
            setter, value = future.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop is closed, and so nothing waits for it
            loop.call_soon_threadsafe(settle, setter, value)

    threading.Thread(target=run, daemon=True).start()
    return await future


def ends_within(function: Callable[[], None], seconds: float, *, name: str) -> bool:
    """Run a function in a daemon thread of this name, and return whether it ended in time; it is left running if not.

    This blocks: it is for a thread that calls what cannot be given a timeout.
    """
    thread = threading.Thread(target=function, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


class OneThread:
    """A thread of the caller's own, in which functions run one after the other, in the order they were given."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Return what a function returns; it runs to its end also where the caller is cancelled."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, function, *args)
        # Where the caller is cancelled, nothing else retrieves the exception.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(future)

    def close(self) -> None:
        """Let the thread end after what was given to it; this does not wait."""
        self._executor.shutdown(wait=False)
