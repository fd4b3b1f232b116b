"""Faults: the ways in which a service, or the road to it, disappoints its clients."""

import asyncio
import functools
import math
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, get_args

import attrs
from aiohttp import web

from openai_batches.emulator.faults.aim import WORDS, AimedFault
from openai_batches.emulator.faults.bodies import BodyFaults
from openai_batches.emulator.faults.cases import Case, Handler
from openai_batches.emulator.faults.connections import ConnectionFaults
from openai_batches.emulator.faults.deliveries import Delays, DeliveryFaults
from openai_batches.emulator.faults.kinds import KINDS, Subject
from openai_batches.emulator.faults.lines import LineFaults, spoil_lines
from openai_batches.emulator.faults.lives import LifeFaults
from openai_batches.emulator.faults.pages import PageFaults
from openai_batches.emulator.faults.records import RecordFaults
from openai_batches.emulator.faults.refusals import RefusalFaults
from openai_batches.emulator.faults.schedule import ScheduledDice
from openai_batches.emulator.store.records import StoredBatch
from openai_batches.emulator.validation import Verdict

_REMEMBERED_FIRINGS = 100_000


class Fault(
    ConnectionFaults, RefusalFaults, BodyFaults, RecordFaults, PageFaults, LifeFaults, LineFaults, DeliveryFaults
):
    """One fault. Its class methods name the kinds, and take the parameters of the kind and those that select.

    Every kind takes `times`, how often it happens (1; None is no end), `after_n`, how many pass unharmed first,
    `probability` and `seed`, and `path`, a regular expression. Faults on requests also take `method`.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the fault that a compact text describes, such as `lost_answer:method=POST,path=/v1/batches$,times=2`.

        Args:
            text: The kind, and behind a colon its parameters, separated by commas. Numbers are written as such, truth
                as `true` and `false`, nothing as `none`. A value may hold commas, unless what follows reads `name=`.

        Raises:
            TypeError: It is no text.
            ValueError: The text does not describe a fault; the message names the part at fault.
        """
        if not isinstance(text, str):
            raise TypeError(f"a fault is a Fault, or a text such as 'lost_answer:times=2', not {text!r}")
        name, _, rest = text.strip().partition(":")
        about = KINDS.get(name)
        if about is None:
            raise ValueError(f"fault {text!r}: unknown kind of fault {name!r}; there are {', '.join(sorted(KINDS))}")
        given: dict[str, Any] = {}
        for part in re.split(r",(?=\s*[a-z_]+\s*=)", rest) if rest.strip() else ():
            field, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or field not in about.takes:
                raise ValueError(f"fault {text!r}: {name} takes no {field!r}; it takes {', '.join(about.takes)}")
            if field in given:
                raise ValueError(f"fault {text!r}: {field} is given twice")
            try:
                given[field] = _value(field, value)
            except ValueError as error:
                raise ValueError(f"fault {text!r}: {error}") from None
        try:
            return cls(name, **{**about.parameters, **given})
        except (TypeError, ValueError) as error:
            raise ValueError(f"fault {text!r}: {error}") from None


def _value(name: str, text: str) -> Any:
    """Return what the text of a parameter stands for, by the type of the field that it goes to."""
    wanted: Any = attrs.fields_dict(AimedFault)[name].type
    allows_none = type(None) in get_args(wanted)
    simple: Any = next((each for each in get_args(wanted) if each is not type(None)), wanted)
    if allows_none and text.lower() == "none":
        return None
    if simple is bool and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        if simple is not bool and text:
            return simple(text)
    except ValueError:
        pass
    raise ValueError(f"{name} must be {WORDS[simple]}{' or none' if allows_none else ''}, not {text!r}")


@attrs.frozen(kw_only=True)
class Firing:
    """One time that a fault happened.

    Args:
        fault: The fault.
        time: When, in emulated Unix seconds.
        subject: What it befell: a method and a path, the id of a batch, or an event and the id of its batch.
    """

    fault: Fault
    time: float
    subject: str


class _Message(Protocol):
    @property
    def event_type(self) -> str: ...
    @property
    def batch_id(self) -> str: ...


class Faults:
    """The faults of a server, in the order in which they were added.

    Of those that take the place of an answer, or fail a batch, the first that matches happens. Those that change an
    answer or a result file all happen.

    Args:
        faults: Faults to start with, or texts for `Fault.parse`; one alone needs no list.
        now: Returns the server's time in Unix seconds.
    """

    def __init__(
        self, faults: Iterable[Fault | str] | Fault | str = (), *, now: Callable[[], float] = time.time
    ) -> None:
        self._faults = _each(faults)
        self._now = now
        self.fired: deque[Firing] = deque(maxlen=_REMEMBERED_FIRINGS)
        self.closing: asyncio.Event = asyncio.Event()

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._faults))

    def __len__(self) -> int:
        return len(self._faults)

    @staticmethod
    def schedule(
        *faults: Fault | str, seed: int = 0, method: str | None = None, path: str | None = None, **shares: float
    ) -> list[Fault]:
        """Return faults that share one throw of dice per request, so that each request has at most one of them.

        Which fault the n-th request to a method and route has depends on the seed and on n alone, not on the time, on
        requests to other routes, or on faults that are not of the schedule. Ids in a path count by the order in which
        they were first asked for at their route. Requests of the same method, route and id that are on their way at
        once may change places. Batches are thrown for once in their life, by the order in which they were made.

        Args:
            faults: Faults with parameters of their own; `probability` is their share, `times` their number.
            seed: Makes the throws repeatable.
            method: HTTP method of the requests that the named kinds befall.
            path: Regular expression of the paths that the named kinds befall.
            shares: The share of requests, 0 to 1, that a kind befalls, without end.

        Raises:
            ValueError: A kind does not exist, a share is wrong, or all shares are more than 1 together.
        """
        dice, low = ScheduledDice(seed), 0.0
        given = _each(faults)
        named = [_of_share(name, share, method, path) for name, share in shares.items()]
        for fault in (*given, *named):
            fault.share = (dice, low, low + fault.probability)
            low += fault.probability
        if low > 1 + 1e-9:
            raise ValueError(f"the shares of a schedule must be at most 1 together, not {low:g}")
        return [*given, *named]

    def add(self, *faults: Fault | str) -> None:
        """Add faults, or what `Fault.parse` makes of texts, behind those that are there.

        Raises:
            TypeError: One is neither.
            ValueError: A text does not describe a fault.
        """
        self._faults.extend(_each(faults))

    def remove(self, fault: Fault) -> None:
        """Take one fault away; batches that it holds go on.

        Raises:
            ValueError: It is not there.
        """
        if not any(each is fault for each in self._faults):
            raise ValueError(f"{fault!r} is not among the faults")
        self._faults = [each for each in self._faults if each is not fault]
        fault.release()

    def clear(self) -> None:
        """Take all faults away; batches that they hold go on."""
        faults, self._faults = self._faults, []
        for fault in faults:
            fault.release()

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer through the faults that befall the request, or undisturbed."""
        faults = tuple(self)
        thrown = {fault.share[0] for fault in faults if fault.share is not None}
        for dice in thrown:
            dice.roll(request)
        try:
            return await self._answer(faults, request, handler)
        finally:
            for dice in thrown:
                dice.forget(request)

    async def _answer(self, faults: Sequence[Fault], request: web.Request, handler: Handler) -> web.StreamResponse:
        async def changed(request: web.Request) -> web.StreamResponse:
            through = handler
            for fault in faults:
                if fault.about.befalls == "answer" and fault.befalls(request):
                    through = functools.partial(self._through, fault, handler=through)
            return await through(request)

        for fault in faults:
            if fault.about.befalls == "request" and fault.befalls(request):
                return await self._through(fault, request, changed)
        return await changed(request)

    async def _through(self, fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._note(fault, f"{request.method} {request.path}")
        case = Case(fault, request, handler, self.closing, self._now)
        answer: web.StreamResponse = await fault.about.act(case)
        return answer

    def begin(self, batch: StoredBatch) -> None:
        """Let faults have their way with a batch that was just made."""
        for fault in self:
            if fault.share is not None:
                # Thrown for now, so that the order in which batches were made decides.
                fault.share[0].shows(batch.id)
        if (first := self._first(batch, "birth")) is not None:
            first.about.act(first, batch)

    def refusing(self, batch: StoredBatch) -> Callable[[Verdict], None] | None:
        """Return what adds to the verdict on a batch that will be validated, or None to leave it alone."""
        fault = self._first(batch, "verdict")
        return None if fault is None else functools.partial(fault.about.act, fault, batch)

    def _first(self, batch: StoredBatch, subject: Subject) -> Fault | None:
        for fault in self._of(subject):
            if fault.befalls_batch(batch):
                self._note(fault, batch.id)
                return fault
        return None

    def hold(self, batch: StoredBatch, again: Callable[[float], None]) -> bool:
        """Tell whether a batch is stuck in its state.

        Args:
            batch: The batch, whose next step is due.
            again: Called in the running loop with the moment (Unix seconds) at which to ask once more.
        """
        now = self._now()
        for fault in self._of("state"):
            before = fault.fired
            until: float | None = fault.about.act(fault, batch, now)
            if fault.fired > before:
                self._note(fault, batch.id)
            if until is not None:
                if until == math.inf:
                    loop = asyncio.get_running_loop()
                    fault.held[batch.id] = functools.partial(_call_in, loop, functools.partial(again, now))
                else:
                    again(until)
                return True
        return False

    def is_holding(self, batch: StoredBatch) -> bool:
        """Tell whether a batch is stuck where it is until its fault is released."""
        return any(fault.state == batch.status and batch.id in fault.held for fault in self)

    def spoiling(self, batch: StoredBatch) -> Callable[[dict[str, Path]], None] | None:
        """Return what rewrites the result files of a batch, for a worker thread, or None to leave them.

        It takes the paths of the files by their names, `output` and `error`.
        """
        hitting = [fault for fault in self._of("lines") if fault.befalls_batch(batch)]
        for fault in hitting:
            self._note(fault, batch.id)
        return functools.partial(spoil_lines, faults=hitting) if hitting else None

    def deliveries(self, message: _Message) -> Delays:
        """Return after how many emulated seconds each copy of a webhook is sent."""
        for fault in self._of("delivery"):
            if fault.befalls_event(message.event_type, message.batch_id):
                self._note(fault, f"{message.event_type} {message.batch_id}")
                delays: Delays = fault.about.act(fault)
                return delays
        return (0.0,)

    def _of(self, subject: Subject) -> Iterator[Fault]:
        return (fault for fault in self if fault.about.befalls == subject)

    def _note(self, fault: Fault, subject: str) -> None:
        self.fired.append(Firing(fault=fault, time=self._now(), subject=subject))


def _each(faults: Any) -> list[Fault]:
    """Return faults, and what texts describe."""
    each: list[Any] = list(faults) if isinstance(faults, Iterable) and not isinstance(faults, str) else [faults]
    return [fault if isinstance(fault, Fault) else Fault.parse(fault) for fault in each]


def _of_share(name: str, share: float, method: str | None, path: str | None) -> Fault:
    about = KINDS.get(name)
    parameters = dict(about.parameters) if about is not None else {}
    has_method = about is not None and about.has_method
    return Fault(name, **parameters, probability=share, times=None, path=path, method=method if has_method else None)


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call a function in its loop, from whichever thread."""
    if loop.is_closed():
        return
    try:
        is_inside = asyncio.get_running_loop() is loop
    except RuntimeError:
        is_inside = False
    if is_inside:
        function()
    else:
        loop.call_soon_threadsafe(function)
