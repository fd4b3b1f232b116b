"""Executors: what answers the lines of batches, what they may say, and how many of their calls run at once."""

import asyncio
import inspect
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import attrs

from openai_batches._names import public
from openai_batches.emulator.answers import error_object

if TYPE_CHECKING:
    from collections.abc import Callable

_CONCURRENT_CALLS = 64


@public
@attrs.frozen
class LineAnswer:
    """An executor's answer that says more than a pair can.

    Args:
        status: HTTP status.
        body: JSON body.
        request_id: The id that the line's record shows; None makes one up.

    Raises:
        TypeError: The status is no int, or the body no dict.
        ValueError: The status is none of HTTP's.
    """

    status: int = attrs.field()
    body: dict[str, Any] = attrs.field()
    request_id: str | None = None

    def __attrs_post_init__(self) -> None:
        # Not in validators: there is one of these for each line.
        status: object = self.status
        if type(status) is not int or not isinstance(self.body, dict):
            raise TypeError(f"an answer is an int and a dict, not {status!r} and {type(self.body).__name__}")
        if not 100 <= status <= 599:
            raise ValueError(f"status must be an HTTP status, not {status!r}")


@public
class LineError(Exception):
    """Raised by an executor to leave the line without a response, and with this `error` in the error file.

    Args:
        code: The machine-readable cause, such as `request_timeout`.
        message: The sentence for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


Answer = tuple[int, dict[str, Any]] | LineAnswer
Outcome = LineAnswer | LineError


@public
class Executor(Protocol):
    """Answers one request of a batch.

    What an executor may have besides, and is asked for by name:

    * `answer`: a plain function with the same parameters, which is used instead, in a worker thread.
    * `concurrency`: how many calls may run at once, over all batches together; 64 if it does not say.
    * `takes_real_time`: true if its calls take the time they take; then `Timings.line_s` does not slow them down,
      and a batch that is cancelled or expires does not wait for them. Else it waits for the lines that were due by
      then, unless none is answered for ten real seconds.
    * `start()` and `close()`: coroutine functions that are called when the server starts and closes.
    """

    async def __call__(self, url: str, body: dict[str, Any], custom_id: str) -> Answer:
        """Return the HTTP status and the JSON body, as a pair or as a `LineAnswer`.

        Raises:
            LineError: The line has no response; it goes to the error file with this error.
            TimeoutError: Likewise, with the error `request_timeout`.
            Exception: Anything else becomes an answer of status 500.
        """
        ...


class CallLimit:
    """Bounds how many calls run at once; who waits gets a slot in the order of asking.

    A batch stands in the queue with one line at a time, so that batches take turns.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._queue: deque[asyncio.Future[bool]] = deque()

    def acquire(self) -> asyncio.Future[bool]:
        """Return a future of true once a slot is taken; who sets it to false itself, or cancels it, is passed over."""
        slot: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._free:
            self._free -= 1
            slot.set_result(True)
        else:
            self._queue.append(slot)
        return slot

    def release(self) -> None:
        """Give a slot back."""
        while self._queue:
            slot = self._queue.popleft()
            if not slot.done():
                slot.set_result(True)
                return
        self._free += 1


class ExecutorHandle:
    """One executor: its limit of calls, its hooks, and its answers."""

    def __init__(self, executor: Executor) -> None:
        plain = check_executor(executor)
        concurrency = getattr(executor, "concurrency", _CONCURRENT_CALLS)
        if not isinstance(concurrency, int):
            raise TypeError(f"an executor's `concurrency` is a number of calls, not {concurrency!r}")
        if concurrency < 1:
            raise ValueError(f"an executor's `concurrency` is at least 1, not {concurrency}")
        self.limit: CallLimit = CallLimit(concurrency)
        self.takes_real_time: bool = bool(getattr(executor, "takes_real_time", False))
        self.plain: Callable[..., Any] | None = plain
        self._executor = executor
        self._is_started = False

    async def start(self) -> None:
        """Call the executor's `start`, if it has one."""
        self._is_started = True
        await self._call_hook("start")

    async def close(self) -> None:
        """Call the executor's `close` once, if it has one and was started."""
        if self._is_started:
            self._is_started = False
            await self._call_hook("close")

    async def answer(self, url: str, body: dict[str, Any], custom_id: str) -> LineAnswer:
        """Ask the executor; what it raises is passed on."""
        return checked(await self._executor(url, body, custom_id))

    async def _call_hook(self, name: str) -> None:
        hook = getattr(self._executor, name, None)
        if hook is not None:
            await hook()


def check_executor(executor: object) -> "Callable[..., Any] | None":
    """Return the plain function of an executor, if it has one."""
    plain: Any = getattr(executor, "answer", None)
    if isinstance(executor, type) or not (callable(plain) or _is_async(executor)):
        raise TypeError(f"executor must be an async callable, such as EchoExecutor(), not {executor!r}")
    if inspect.iscoroutinefunction(plain):
        raise TypeError("an executor's `answer` is a plain function; one that is async is its `__call__`")
    return plain if callable(plain) else None


def _is_async(executor: Any) -> bool:
    """Tell whether a call is awaited, as far as that shows; what decorators wrapped counts."""
    if not callable(executor):
        return False
    called = (executor, inspect.unwrap(executor), type(executor).__call__)
    return any(map(inspect.iscoroutinefunction, called))


def checked(answer: Any) -> LineAnswer:
    """Return what an executor returned as an answer."""
    if isinstance(answer, LineAnswer):
        return answer
    if is_pair(answer):
        return LineAnswer(*answer)
    raise TypeError(f"an executor returns (status, body), an int and a dict, not {answer!r}")


def is_pair(answer: Any) -> TypeGuard[tuple[int, dict[str, Any]]]:
    """Tell whether this is a status and a body."""
    if not isinstance(answer, tuple):
        return False
    parts: list[Any] = [*answer]
    return len(parts) == 2 and isinstance(parts[0], int) and isinstance(parts[1], dict)


def broken() -> LineAnswer:
    """Return the answer of an executor that failed."""
    message = "The server had an error while processing your request."
    return LineAnswer(500, {"error": error_object(message, type="server_error")})
