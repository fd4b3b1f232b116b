"""What every fault has: its kind, its parameters, which requests or batches it strikes, and how often."""

import random
import re
from typing import Any, Self, TypedDict

import attrs
from aiohttp import web

from openai_batches.emulator.faults.kinds import KINDS, SELECTING, Kind, field, read_value, written_value
from openai_batches.emulator.faults.schedule import ScheduledNumbers
from openai_batches.emulator.store.records import StoredBatch

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")


class Where(TypedDict, total=False):
    """The parameters that select, which every constructor of a fault takes."""

    method: str | None
    path: str | None
    times: int | None
    after_n: int
    probability: float
    seed: int


@attrs.define(init=False, kw_only=True, eq=False, repr=False)
class AimedFault:
    """One way to fail, which requests or batches it strikes, and how often; `Fault` names the kinds.

    Args:
        kind: A name from the registry.
        parameters: What the kind takes besides the following, in a class of its own; each is an attribute, too.
        method: HTTP method that it strikes; None is the kind's own, or every method. Not for faults on batches.
        path: Regular expression searched in the request's path, in the batch's endpoint or in the webhook's event
            type; None is the kind's own, or every one.
        times: How many requests, answers, batches or deliveries it strikes; None is no end.
        after_n: How many that match pass unharmed first.
        probability: Chance to strike one that matches, 0 to 1.
        seed: Makes the chances, and the lines that are chosen, repeatable.

    Attributes:
        fired: How often it has happened.

    Raises:
        ValueError: The kind is not registered, or a parameter is wrong or belongs to another kind.
    """

    kind: str
    parameters: Any
    method: str | None = field(default=None)
    path: str | None = field(default=None)
    times: int | None = field(default=1, least=0)
    after_n: int = field(default=0, least=0)
    probability: float = field(default=1.0)
    seed: int = field(default=0)
    fired: int = attrs.field(default=0, init=False)
    # The random choice of a schedule, and the range of its numbers that belongs to this fault.
    share: tuple[ScheduledNumbers, float, float] | None = attrs.field(default=None, init=False)
    _seen: int = attrs.field(default=0, init=False)
    _random: random.Random = attrs.field(init=False)
    _pattern: re.Pattern[str] = attrs.field(init=False)

    def __init__(self, kind: str = "", **given: Any) -> None:
        about = KINDS.get(kind)
        if about is None:
            raise ValueError(f"unknown kind of fault {kind!r}; there are {', '.join(sorted(KINDS))}")
        for name, value in given.items():
            if name not in about.takes and value is not None:
                raise ValueError(f"{kind} takes no {name!r}; it takes {', '.join(about.takes)}")
        own = {name: given.get(name, default) for name, default in about.parameters.items()}
        parameters = None if about.shape is None else about.shape(**own)
        selecting = {name: given[name] for name in SELECTING if name in given}
        self.__attrs_init__(kind=kind, parameters=parameters, **selecting)

    def __attrs_post_init__(self) -> None:
        if self.method is not None and self.method.upper() not in _METHODS:
            raise ValueError(f"method must be one of {', '.join(_METHODS)}, not {self.method!r}")
        if self.times == 0:
            raise ValueError("times must be 1 or more, or None for no end: a fault of 0 times never happens")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be 0 to 1, not {self.probability!r}")
        self.method = (self.method or self.about.method or "").upper() or None
        self.path = self.path or self.about.path
        self._random = random.Random(self.seed)
        try:
            self._pattern = re.compile(self.path or "")
        except re.error as error:
            raise ValueError(f"path {self.path!r} is no regular expression: {error}") from error

    def __getattr__(self, name: str) -> Any:
        # `copy` asks for attributes before there are parameters.
        if name.startswith("_") or name in {"kind", "parameters"} or name not in self.about.parameters:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.parameters, name)

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in attrs.fields(AimedFault)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        about = KINDS[state["kind"]]
        if "parameters" not in state:  # an earlier version kept the parameters of all kinds side by side
            own = {name: state[name] for name in about.parameters}
            state = {**state, "parameters": None if about.shape is None else about.shape(**own)}
        for one in attrs.fields(AimedFault):
            setattr(self, one.name, state[one.name])

    def __repr__(self) -> str:
        return f"<Fault {self.text}, fired {self.fired}>"

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
        try:
            return cls(name, **(_given(about, rest) if about is not None else {}))
        except (TypeError, ValueError) as error:
            raise ValueError(f"fault {text!r}: {error}") from None

    @property
    def about(self) -> Kind:
        """The kind, as it is registered."""
        return KINDS[self.kind]

    @property
    def text(self) -> str:
        """The compact form, which `Fault.parse` reads."""
        defaults = {name: attrs.fields_dict(AimedFault)[name].default for name in SELECTING}
        defaults |= {"method": self.about.method, "path": self.about.path, **self.about.parameters}
        named = ((name, getattr(self, name)) for name in defaults)
        said = ",".join(f"{name}={written_value(value)}" for name, value in named if value != defaults[name])
        return f"{self.kind}:{said}" if said else self.kind

    def act(self, *subject: Any) -> Any:
        """Carry the fault out on what it strikes."""
        return self.about.act(*subject) if self.parameters is None else self.about.act(*subject, self.parameters)

    def strikes(self, request: web.Request) -> bool:
        """Tell whether this request is struck, and count it."""
        if self.method not in {None, request.method} or not self._pattern.search(request.path):
            return False
        return self._hits(request)

    def strikes_batch(self, batch: StoredBatch) -> bool:
        """Tell whether this batch is struck, and count it."""
        return bool(self._pattern.search(batch.endpoint)) and self._hits(batch.id)

    def strikes_event(self, event_type: str, batch_id: str) -> bool:
        """Tell whether this event of a batch is struck, and count it."""
        return bool(self._pattern.search(event_type)) and self._hits(batch_id)

    def _hits(self, subject: web.Request | str) -> bool:
        self._seen += 1
        if self._seen <= self.after_n or (self.times is not None and self.fired >= self.times):
            return False
        if self.share is not None:
            numbers, low, high = self.share
            if not low <= numbers.of(subject) < high:
                return False
        elif self._random.random() >= self.probability:
            return False
        self.fired += 1
        return True


def _given(about: Kind, text: str) -> dict[str, Any]:
    """Return the parameters that stand behind the colon of a compact text."""
    fields = {**attrs.fields_dict(AimedFault), **(attrs.fields_dict(about.shape) if about.shape is not None else {})}
    given: dict[str, Any] = {}
    for part in re.split(r",(?=\s*[a-z_]+\s*=)", text) if text.strip() else ():
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in about.takes:
            raise ValueError(f"{about.name} takes no {name!r}; it takes {', '.join(about.takes)}")
        if name in given:
            raise ValueError(f"{name} is given twice")
        given[name] = read_value(name, fields[name].type, value)
    return given
