"""The executor of tests: each line is answered by what a table or a function says."""

import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from openai_batches._names import public
from openai_batches.emulator.executors.echo import EchoExecutor
from openai_batches.emulator.executors.executor import Answer, LineAnswer, checked, is_pair

Scripted = str | Mapping[str, Any] | tuple[int, dict[str, Any]] | LineAnswer | Exception | type[Exception]
ScriptFunction = Callable[[str, dict[str, Any], str], Any]

_WANTED = "a text, a body, a pair of status and body, or an exception"


@public
class ScriptExecutor:
    """Answers each line as a script says: a table from `custom_id`, or a function.

    A scripted answer is one of:

    * a str: an answer of status 200 with this text, in the shape of the line's endpoint;
    * a dict: the body of an answer of status 200;
    * a pair of status and body, or a `LineAnswer`;
    * an exception, or a class of exceptions: `TimeoutError` becomes the error `request_timeout`, `LineError` the error
      it names, and any other an answer of status 500.

    A function is called with the line's url, body and `custom_id`, and returns one of these, or None to leave the line
    to `default`. It may be async; a plain one is called in worker threads.

    Args:
        script: The table, which is copied, or the function.
        default: The answer of lines that the script does not know; None echoes them.
        now: Returns the Unix seconds to put in `created` of texts and echoes; the wall clock by default.

    Raises:
        TypeError: The script, one of its answers or `default` is something else.
    """

    def __init__(
        self,
        script: Mapping[str, Scripted] | ScriptFunction,
        *,
        default: Scripted | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._echo = EchoExecutor(now=now)
        self._default = default
        self._function: ScriptFunction | None = None
        self._table: dict[str, Scripted] = {}
        if default is not None:
            _check(default, "default")
        if isinstance(script, Mapping):
            self._table = {**script}
            for custom_id, scripted in self._table.items():
                _check_entry(custom_id, scripted)
        elif callable(script) and not isinstance(script, type):
            self._function = script
        else:
            raise TypeError(f"script must be a table from custom_id to answer, or a function, not {script!r}")
        # Only a script that does not wait is run in worker threads.
        is_async = self._function is not None and _is_async(self._function)
        self.answer: Callable[[str, dict[str, Any], str], Answer] | None = None if is_async else self._answer

    async def __call__(self, url: str, body: dict[str, Any], custom_id: str) -> Answer:
        """Answer one request.

        Raises:
            Exception: The script says so.
            TypeError: The function returned no answer.
        """
        if self.answer is not None:
            return self._answer(url, body, custom_id)
        return self._play(await self._find(url, body, custom_id), url, body, custom_id)

    def _answer(self, url: str, body: dict[str, Any], custom_id: str) -> Answer:
        scripted = self._find(url, body, custom_id)
        if inspect.iscoroutine(scripted):
            scripted.close()
            raise TypeError("the script's function returned a coroutine: define it with `async def`")
        return self._play(scripted, url, body, custom_id)

    def _find(self, url: str, body: dict[str, Any], custom_id: str) -> Any:
        if self._function is None:
            return self._table.get(custom_id)
        return self._function(url, body, custom_id)

    def _play(self, scripted: Any, url: str, body: dict[str, Any], custom_id: str) -> Answer:
        if scripted is None:
            scripted = self._default
        if scripted is None:
            return self._echo.answer(url, body, custom_id)
        _check(scripted, f"the answer to {custom_id!r}")
        if isinstance(scripted, (Exception, type)):
            raise cast("Exception", scripted)
        if isinstance(scripted, str):
            return self._echo.say(scripted, url, body, custom_id)
        if isinstance(scripted, Mapping):
            return 200, dict(cast("Mapping[str, Any]", scripted))
        return checked(scripted)


def _check_entry(custom_id: Any, scripted: Any) -> None:
    if not isinstance(custom_id, str):
        raise TypeError(f"the keys of a script are custom_ids, not {custom_id!r}")
    _check(scripted, f"the answer to {custom_id!r}")


def _check(scripted: Any, what: str) -> None:
    if isinstance(scripted, type):
        is_answer = issubclass(scripted, Exception)
    elif isinstance(scripted, tuple):
        is_answer = is_pair(scripted) and 100 <= scripted[0] <= 599
    else:
        is_answer = isinstance(scripted, (str, Mapping, LineAnswer, Exception))
    if not is_answer:
        raise TypeError(f"{what} must be {_WANTED}, not {scripted!r}")


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
