"""The registry of faults: what each kind does in one sentence, what it befalls and what it takes."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, cast

import attrs

# Where in a server's work a fault strikes. One on requests takes the place of an answer, one on answers changes it;
# "birth", "verdict", "state" and "lines" are moments in the life of a batch.
Subject = Literal["request", "answer", "birth", "verdict", "state", "lines", "delivery"]
SELECTING = ("method", "path", "times", "after_n", "probability", "seed")
F = TypeVar("F", bound=Callable[..., Any])


@attrs.frozen(kw_only=True)
class Kind:
    """One kind of fault.

    Args:
        name: What it is called in code, on the command line and in the log.
        befalls: What it happens to.
        sentence: What it does.
        parameters: The parameters that it takes besides those that select, and their defaults.
        act: Carries it out; each family has its own signature.
        method: HTTP method that it befalls unless told otherwise; None is every method.
        path: Regular expression of the paths that it befalls unless told otherwise; None is every path.
    """

    name: str
    befalls: Subject
    sentence: str
    parameters: Mapping[str, Any]
    act: Callable[..., Any]
    method: str | None
    path: str | None

    @property
    def has_method(self) -> bool:
        """Whether it befalls HTTP requests, rather than batches or webhooks."""
        return self.befalls in {"request", "answer"}

    @property
    def takes(self) -> tuple[str, ...]:
        """The names of all the parameters that it takes."""
        return (*self.parameters, *(SELECTING if self.has_method else SELECTING[1:]))


KINDS: dict[str, Kind] = {}


def kind(
    act: Callable[..., Any], *, befalls: Subject = "request", method: str | None = None, path: str | None = None
) -> Callable[[F], F]:
    """Register the constructor that is decorated: its name, its first line and its parameters describe the kind.

    Args:
        act: Carries the fault out.
        befalls: What it happens to.
        method: HTTP method that it befalls unless told otherwise.
        path: Regular expression of the paths that it befalls unless told otherwise.
    """

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
            befalls=befalls,
            sentence=(inspect.getdoc(make) or "").partition("\n")[0],
            parameters={each.name: each.default for each in given if each.name not in {"cls", "where"}},
            act=act,
            method=method,
            path=path,
        )
        return cast("F", checked)

    return register
