"""The faults of a server: which of them strike a request, a batch or a webhook, and what is recorded of that."""

import asyncio
import functools
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, Unpack

import attrs
from aiohttp import web

from openai_batches._names import public
from openai_batches.emulator.faults.aim import AimedFault, Where
from openai_batches.emulator.faults.batches import BatchFaults, Stuck
from openai_batches.emulator.faults.bodies import BodyFaults
from openai_batches.emulator.faults.cases import Case, Handler
from openai_batches.emulator.faults.connections import ConnectionFaults
from openai_batches.emulator.faults.kinds import KINDS, Subject, field, kind
from openai_batches.emulator.faults.lines import LineFaults, spoil_lines
from openai_batches.emulator.faults.pages import PageFaults
from openai_batches.emulator.faults.records import RecordFaults
from openai_batches.emulator.faults.refusals import RefusalFaults
from openai_batches.emulator.faults.schedule import ScheduledNumbers
from openai_batches.emulator.store.records import StoredBatch
from openai_batches.emulator.validation import Verdict

_REMEMBERED_FIRINGS = 100_000


# When each copy of an event is sent, in emulated seconds from now.
Delays = tuple[float, ...]


@attrs.frozen(kw_only=True)
class _Delay:
    """Emulated seconds by which a webhook comes late."""

    delay_s: float = field(least=0)


@attrs.frozen(kw_only=True)
class _Copies(_Delay):
    """How often a webhook is delivered, with the delay between two of them."""

    copies: int = field(least=0)


def _duplicate_webhook(repeated: _Copies) -> Delays:
    return tuple(number * repeated.delay_s for number in range(repeated.copies))


def _late_webhook(late: _Delay) -> Delays:
    return (late.delay_s,)


def _lost_webhook() -> Delays:
    return ()


class DeliveryFaults(AimedFault):
    """Names the faults of webhooks."""

    __slots__ = ()

    @classmethod
    @kind(_duplicate_webhook, _Copies, subject="delivery")
    def duplicate_webhook(cls, *, copies: int = 2, delay_s: float = 0.0, **where: Unpack[Where]) -> Self:
        """Deliver an event so many times, `delay_s` emulated seconds apart."""
        return cls("duplicate_webhook", copies=copies, delay_s=delay_s, **where)

    @classmethod
    @kind(_late_webhook, _Delay, subject="delivery")
    def reordered_webhook(cls, *, delay_s: float = 60.0, **where: Unpack[Where]) -> Self:
        """Deliver an event late by `delay_s` emulated seconds, so that younger ones overtake it."""
        return cls("reordered_webhook", delay_s=delay_s, **where)

    @classmethod
    @kind(_lost_webhook, subject="delivery")
    def lost_webhook(cls, **where: Unpack[Where]) -> Self:
        """Never deliver an event."""
        return cls("lost_webhook", **where)


@public
class Fault(
    ConnectionFaults, RefusalFaults, BodyFaults, RecordFaults, PageFaults, BatchFaults, LineFaults, DeliveryFaults
):
    """One fault. Its class methods name the kinds, and take the parameters of the kind and those that select.

    Every kind takes `times`, how often it happens (1; None is no end), `after_n`, how many pass unharmed first,
    `probability` and `seed`, and `path`, a regular expression. Faults on requests also take `method`.
    """

    __slots__ = ()


@public
@attrs.frozen(kw_only=True)
class Firing:
    """One time that a fault happened.

    Args:
        fault: The fault.
        time: When, in emulated Unix seconds.
        subject: What it struck: a method and a path, the id of a batch, or an event and the id of its batch.
    """

    fault: Fault
    time: float
    subject: str


class _Message(Protocol):
    @property
    def event_type(self) -> str: ...
    @property
    def batch_id(self) -> str: ...


@public
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
        """Return faults that share one random number per request, so that each request has at most one of them.

        Which fault the n-th request to a method and route has depends on the seed and on n alone, not on the time, on
        requests to other routes, or on faults that are not of the schedule. Ids in a path count by the order in which
        they were first asked for at their route. Requests of the same method, route and id that are on their way at
        once may change places. For each batch one number is drawn, in the order in which they were made.

        Args:
            faults: Faults with parameters of their own; `probability` is their share, `times` their number.
            seed: Makes the numbers repeatable.
            method: HTTP method of the requests that the named kinds strike.
            path: Regular expression of the paths that the named kinds strike.
            shares: The share of requests, 0 to 1, that a kind strikes, without end.

        Raises:
            ValueError: A kind does not exist, a share is wrong, or all shares are more than 1 together.
        """
        numbers, low = ScheduledNumbers(seed), 0.0
        given = _each(faults)
        named = [_of_share(name, share, method, path) for name, share in shares.items()]
        for fault in (*given, *named):
            fault.share = (numbers, low, low + fault.probability)
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
        """Answer through the faults that strike the request, or undisturbed."""
        faults = tuple(self)
        drawn = {fault.share[0] for fault in faults if fault.share is not None}
        for numbers in drawn:
            numbers.draw(request)
        try:
            return await self._answer(faults, request, handler)
        finally:
            for numbers in drawn:
                numbers.forget(request)

    async def _answer(self, faults: Sequence[Fault], request: web.Request, handler: Handler) -> web.StreamResponse:
        async def changed(request: web.Request) -> web.StreamResponse:
            through = handler
            for fault in faults:
                if fault.about.subject == "answer" and fault.strikes(request):
                    through = functools.partial(self._through, fault, handler=through)
            return await through(request)

        for fault in faults:
            if fault.about.subject == "request" and fault.strikes(request):
                return await self._through(fault, request, changed)
        return await changed(request)

    async def _through(self, fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._note(fault, f"{request.method} {request.path}")
        answer: web.StreamResponse = await fault.act(Case(request, handler, self.closing, self._now))
        return answer

    def begin(self, batch: StoredBatch) -> None:
        """Let the first fault that strikes a new batch change it."""
        for fault in self:
            if fault.share is not None:
                # Drawn now, so that the order in which batches were made decides.
                fault.share[0].of(batch.id)
        if (first := self._first(batch, "creation")) is not None:
            first.act(batch)

    def refusing(self, batch: StoredBatch) -> Callable[[Verdict], None] | None:
        """Return what adds to the verdict on a batch that will be validated, or None to leave it alone."""
        fault = self._first(batch, "validation")
        return None if fault is None else functools.partial(fault.act, batch)

    def _first(self, batch: StoredBatch, subject: Subject) -> Fault | None:
        for fault in self._of(subject):
            if fault.strikes_batch(batch):
                self._note(fault, batch.id)
                return fault
        return None

    def hold(self, batch: StoredBatch, again: Callable[[float], None]) -> bool:
        """Tell whether a batch is stuck in its state.

        `again` is called in the running loop with the moment (Unix seconds) at which to ask once more.
        """
        now = self._now()
        for fault in self._of("state"):
            before = fault.fired
            until: float | None = fault.act(batch, now, fault.strikes_batch)
            if fault.fired > before:
                self._note(fault, batch.id)
            if until is not None:
                if until == math.inf:
                    loop = asyncio.get_running_loop()
                    fault.parameters.held[batch.id] = functools.partial(_call_in, loop, functools.partial(again, now))
                else:
                    again(until)
                return True
        return False

    def is_holding(self, batch: StoredBatch) -> bool:
        """Tell whether a batch is stuck where it is until its fault is released."""
        return any(stuck.state == batch.status and batch.id in stuck.held for stuck in self._stuck())

    def spoiling(self, batch: StoredBatch) -> Callable[[dict[str, Path]], None] | None:
        """Return what rewrites the result files of a batch, for a worker thread, or None to leave them.

        It takes the paths of the files by their names, `output` and `error`.
        """
        hitting = [fault for fault in self._of("lines") if fault.strikes_batch(batch)]
        for fault in hitting:
            self._note(fault, batch.id)
        return functools.partial(spoil_lines, faults=hitting) if hitting else None

    def deliveries(self, message: _Message) -> Delays:
        """Return after how many emulated seconds each copy of a webhook is sent."""
        for fault in self._of("delivery"):
            if fault.strikes_event(message.event_type, message.batch_id):
                self._note(fault, f"{message.event_type} {message.batch_id}")
                delays: Delays = fault.act()
                return delays
        return (0.0,)

    def _of(self, subject: Subject) -> Iterator[Fault]:
        return (fault for fault in self if fault.about.subject == subject)

    def _stuck(self) -> Iterator[Stuck]:
        return (fault.parameters for fault in self._of("state"))

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
