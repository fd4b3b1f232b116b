"""What every fault has: its kind, whom it befalls, how often, and its parameters."""

import random
import re
from collections.abc import Callable
from typing import Any, Protocol, TypedDict, get_args

import attrs
from aiohttp import web

from openai_batches.emulator.faults.kinds import KINDS, SELECTING, Kind
from openai_batches.emulator.store.records import StoredBatch

RESULT_FILES = ("output", "error", "both")
STATES = ("validating", "in_progress", "finalizing", "cancelling")
_NOT_NEGATIVE = ("times", "after_n", "after_bytes", "for_s", "delay_s", "younger_than_s", "lines", "copies", "limit")
_POSITIVE = ("bytes_per_s", "piece_bytes")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
WORDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


class Where(TypedDict, total=False):
    """The parameters that select, which every constructor of a fault takes."""

    method: str | None
    path: str | None
    times: int | None
    after_n: int
    probability: float
    seed: int


class Dice(Protocol):
    """Decides for many faults at once, so that they do not get in each other's way."""

    def roll(self, request: web.Request) -> None:
        """Throw once for a request; its faults then ask `shows`."""
        ...

    def shows(self, subject: web.Request | str) -> float:
        """Return what was thrown for a request, or is thrown once for a batch by its id: 0 to 1."""
        ...

    def forget(self, request: web.Request) -> None:
        """Forget what was thrown for a request that is over."""
        ...


@attrs.define(kw_only=True, eq=False, repr=False)
class AimedFault:
    """One way to fail, which requests or batches it befalls, and how often; `Fault` names the kinds.

    Args:
        kind: A name from the registry.
        method: HTTP method it befalls; None is the kind's own, or every method. Not for faults on batches.
        path: Regular expression searched in the request's path, in the batch's endpoint or in the webhook's event
            type; None is the kind's own, or every one.
        times: How many requests, answers, batches or deliveries it befalls; None is no end.
        after_n: How many that match pass unharmed first.
        probability: Chance to befall one that matches, 0 to 1.
        seed: Makes the chances, and the lines that are chosen, repeatable.
        status: HTTP status of the kinds that answer.
        html: Answer with a page of HTML, as a proxy does, instead of JSON.
        retry_after_s: The `Retry-After` header in seconds; None leaves it out.
        retry_after_ms: The `retry-after-ms` header; None leaves it out.
        retry_after_date_s: The `Retry-After` header as an HTTP date so many seconds from the server's present.
        after_bytes: How much of a body passes before it breaks; None is half of it.
        is_chunked: Send the body in chunks, without a `Content-Length`.
        off_by: How much larger the `Content-Length` is than the body, in bytes; negative is smaller.
        bytes_per_s: How fast a body drips, in bytes per real second.
        piece_bytes: In pieces of which size it drips.
        state: The state in which a batch is stuck.
        for_s: For how many emulated seconds; None is until `release` is called.
        word: The status that the service makes up.
        younger_than_s: Emulated seconds for which a listing does not show a new batch.
        has_cursor: Whether an empty page says where the list goes on.
        has_members: Whether the counts are there, and their members are null.
        limit: Enqueued tokens that the service says it allows.
        lines: How many lines of a result file are hit, chosen by the seed.
        file: Which result file is hit: `output`, `error` or `both`.
        copies: How often a webhook is delivered.
        delay_s: Emulated seconds by which a webhook comes late.

    Attributes:
        fired: How often it has happened.

    Raises:
        ValueError: The kind is not registered, or a parameter is wrong or belongs to another kind.
    """

    kind: str = attrs.field(default="", kw_only=False)
    method: str | None = None
    path: str | None = None
    times: int | None = 1
    after_n: int = 0
    probability: float = 1.0
    seed: int = 0
    status: int = 500
    html: bool = False
    retry_after_s: float | None = None
    retry_after_ms: float | None = None
    retry_after_date_s: float | None = None
    after_bytes: int | None = None
    is_chunked: bool = False
    off_by: int = 10
    bytes_per_s: float = 1024.0
    piece_bytes: int = 16
    state: str = "in_progress"
    for_s: float | None = None
    word: str = "paused"
    younger_than_s: float = 60.0
    has_cursor: bool = True
    has_members: bool = False
    limit: int = 2_000_000
    lines: int = 1
    file: str = "output"
    copies: int = 2
    delay_s: float = 0.0
    fired: int = attrs.field(default=0, init=False)
    is_released: bool = attrs.field(default=False, init=False)
    # What a fault has to remember from one time to the next: the batches it holds, the end of a page.
    memory: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)
    held: dict[str, Callable[[], None]] = attrs.field(factory=dict[str, Callable[[], None]], init=False)
    share: tuple[Dice, float, float] | None = attrs.field(default=None, init=False)
    _seen: int = attrs.field(default=0, init=False)
    _random: random.Random = attrs.field(init=False)
    _pattern: re.Pattern[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault {self.kind!r}; there are {', '.join(sorted(KINDS))}")
        self._check_belonging()
        if self.status not in range(100, 600):
            raise ValueError(f"status must be an HTTP status, not {self.status!r}")
        self._check_types()
        self._check_values()
        self.method = (self.method or self.about.method or "").upper() or None
        self.path = self.path or self.about.path
        self._random = random.Random(self.seed)
        try:
            self._pattern = re.compile(self.path or "")
        except re.error as error:
            raise ValueError(f"path {self.path!r} is no regular expression: {error}") from error

    def __repr__(self) -> str:
        return f"<Fault {self.text}, fired {self.fired}>"

    @property
    def about(self) -> Kind:
        """The kind, as it is registered."""
        return KINDS[self.kind]

    @property
    def text(self) -> str:
        """The compact form, which `Fault.parse` reads."""
        defaults = {field.name: field.default for field in attrs.fields(AimedFault) if field.name in SELECTING}
        defaults |= {"method": self.about.method, "path": self.about.path, **self.about.parameters}
        named = ((name, getattr(self, name)) for name in defaults)
        said = ",".join(f"{name}={_said(value)}" for name, value in named if value != defaults[name])
        return f"{self.kind}:{said}" if said else self.kind

    def befalls(self, request: web.Request) -> bool:
        """Tell whether this request is hit, and count it."""
        if self.method not in {None, request.method} or not self._pattern.search(request.path):
            return False
        return self._hits(request)

    def befalls_batch(self, batch: StoredBatch) -> bool:
        """Tell whether this batch is hit, and count it."""
        return bool(self._pattern.search(batch.endpoint)) and self._hits(batch.id)

    def befalls_event(self, event_type: str, batch_id: str) -> bool:
        """Tell whether this event of a batch is hit, and count it."""
        return bool(self._pattern.search(event_type)) and self._hits(batch_id)

    def _hits(self, subject: web.Request | str) -> bool:
        self._seen += 1
        if self._seen <= self.after_n or (self.times is not None and self.fired >= self.times):
            return False
        if self.share is not None:
            dice, low, high = self.share
            if not low <= dice.shows(subject) < high:
                return False
        elif self._random.random() >= self.probability:
            return False
        self.fired += 1
        return True

    def _check_belonging(self) -> None:
        takes = self.about.takes
        for field in attrs.fields(AimedFault):
            is_strange = field.init and field.name not in {"kind", *takes}
            if is_strange and getattr(self, field.name) != field.default:
                raise ValueError(f"{self.kind} takes no {field.name!r}; it takes {', '.join(takes)}")

    def _check_types(self) -> None:
        for field in attrs.fields(AimedFault):
            if not field.init:
                continue
            value, wanted = getattr(self, field.name), field.type
            simple: Any = next((each for each in get_args(wanted) if each is not type(None)), wanted)
            fits = isinstance(value, (int, float) if simple is float else simple) and not _is_odd(value, simple)
            if not fits and not (value is None and simple is not wanted):
                raise TypeError(f"{field.name} must be {WORDS[simple]}, not {value!r}")

    def _check_values(self) -> None:
        for name in _NOT_NEGATIVE:
            if (value := getattr(self, name)) is not None and not value >= 0:
                raise ValueError(f"{name} must be 0 or more, not {value!r}")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)!r}")
        if self.method is not None and self.method.upper() not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, not {self.method!r}")
        if self.times == 0:
            raise ValueError("times must be 1 or more, or None for no end: a fault of 0 times never happens")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be 0 to 1, not {self.probability!r}")
        for name, known in (("state", STATES), ("file", RESULT_FILES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")


def _is_odd(value: object, wanted: type) -> bool:
    """Tell whether a value is of its type in name only: truth is no number, and NaN neither."""
    return (isinstance(value, bool) and wanted is not bool) or value != value  # noqa: PLR0124 - NaN alone is not itself


def _said(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
