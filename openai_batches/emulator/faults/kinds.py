"""The registry of faults: what each kind does in one sentence, what it strikes, and which parameters it takes."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, Literal, TypeVar, cast, get_args

import attrs

# Where in a server's work a fault strikes. One on requests takes the place of an answer, one on answers changes it;
# "creation", "validation", "state" and "lines" are moments in the life of a batch.
Subject = Literal["request", "answer", "creation", "validation", "state", "lines", "delivery"]
SELECTING = ("method", "path", "times", "after_n", "probability", "seed")
_WORDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
F = TypeVar("F", bound=Callable[..., Any])


@attrs.frozen(kw_only=True)
class Kind:
    """One kind of fault, as its constructor in `Fault` describes it.

    `parameters` are those besides the ones that select, with their defaults, and `shape` is the class that holds their
    values. `act` carries the fault out. `method` and `path` select unless a fault says otherwise; None is every one.
    """

    name: str
    subject: Subject
    sentence: str
    parameters: Mapping[str, Any]
    shape: type | None
    act: Callable[..., Any]
    method: str | None
    path: str | None

    @property
    def has_method(self) -> bool:
        """Whether it strikes HTTP requests, rather than batches or webhooks."""
        return self.subject in {"request", "answer"}

    @property
    def takes(self) -> tuple[str, ...]:
        """The names of all the parameters that it takes."""
        return (*self.parameters, *(SELECTING if self.has_method else SELECTING[1:]))


KINDS: dict[str, Kind] = {}


def kind(
    act: Callable[..., Any],
    shape: type | None = None,
    *,
    subject: Subject = "request",
    method: str | None = None,
    path: str | None = None,
) -> Callable[[F], F]:
    """Register the constructor that is decorated: its name, its first line and its parameters describe the kind."""

    def register(make: F) -> F:
        given = inspect.signature(make).parameters.values()

        @functools.wraps(make)
        def checked(cls: Any, *arguments: Any, **named: Any) -> Any:
            takes = KINDS[make.__name__].takes
            for name in named:
                if name not in takes:
                    raise TypeError(f"{make.__name__} takes no {name!r}; it takes {', '.join(takes)}")
            return make(cls, *arguments, **named)

        KINDS[make.__name__] = Kind(
            name=make.__name__,
            subject=subject,
            sentence=(inspect.getdoc(make) or "").partition("\n")[0],
            parameters={each.name: each.default for each in given if each.name not in {"cls", "where"}},
            shape=shape,
            act=act,
            method=method,
            path=path,
        )
        return cast("F", checked)

    return register


def field(
    *, default: Any = attrs.NOTHING, least: float | None = None, above: float | None = None, known: Sequence[str] = ()
) -> Any:
    """Return a field of a fault's parameters, whose value is checked by its annotation and against its limits."""

    def check(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        name, (wanted, allows_none) = attribute.name, simple_type(attribute.type)
        if value is None and allows_none:
            return
        accepted = int | float if wanted is float else wanted
        # Python's bool is an int, which is not meant here.
        fits = isinstance(value, accepted) and isinstance(value, bool) is (wanted is bool)
        if not fits or value != value:  # noqa: PLR0124 - NaN alone is not itself
            raise TypeError(f"{name} must be {_WORDS[wanted]}, not {value!r}")
        if least is not None and value < least:
            raise ValueError(f"{name} must be {least:g} or more, not {value!r}")
        if above is not None and value <= above:
            raise ValueError(f"{name} must be above {above:g}, not {value!r}")
        if known and value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")

    return attrs.field(default=default, validator=check)


def simple_type(annotation: Any) -> tuple[type, bool]:
    """Return bool, int, float or str from a parameter's annotation, and whether None is allowed, too."""
    each = get_args(annotation) or (annotation,)
    return next(one for one in each if one is not NoneType), NoneType in each


def read_value(name: str, annotation: Any, text: str) -> Any:
    """Return the value of a parameter that was written as text."""
    wanted, allows_none = simple_type(annotation)
    if allows_none and text.lower() == "none":
        return None
    if wanted is bool and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        if wanted is not bool and text:
            return wanted(text)
    except ValueError:
        pass
    raise ValueError(f"{name} must be {_WORDS[wanted]}{' or none' if allows_none else ''}, not {text!r}")


def written_value(value: object) -> str:
    """Return a parameter's value as text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
