"""Checks of parameters: they raise TypeError or ValueError with a sentence that names the parameter."""

import ipaddress
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import attrs


def number(
    name: str, value: object, *, least: float | None = None, above: float | None = None, most: float = math.inf
) -> None:
    """Check that a value is a finite number in its range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{name} must be {least:g} or more, not {value!r}")
    if above is not None and value <= above:
        raise ValueError(f"{name} must be above {above:g}, not {value!r}")
    if value > most:
        raise ValueError(f"{name} must be at most {most:g}, not {value!r}")


def whole(name: str, value: object, *, least: int = 0, most: float = math.inf) -> None:
    """Check that a value is a whole number in its range."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    number(name, value, least=least, most=most)


def text(name: str, value: object) -> None:
    """Check that a value is a text that is not empty."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {value!r}")
    if not value:
        raise ValueError(f"{name} must not be empty")


def texts(name: str, value: Any) -> None:
    """Check that a value is a collection of texts, not one text."""
    if isinstance(value, str):
        raise TypeError(f"{name} must be a collection of str, not the one str {value!r}")
    if not isinstance(value, Collection):
        raise TypeError(f"{name} must be a collection of str, not {value!r}")
    each: Collection[Any] = value
    if not all(isinstance(one, str) for one in each):
        raise TypeError(f"{name} must be a collection of str, not {value!r}")


def one_of(name: str, value: object, known: Iterable[object]) -> None:
    """Check that a value is one of those that are known."""
    known = tuple(known)
    if not any(type(value) is type(each) and value == each for each in known):
        raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, not {value!r}")


def instance(name: str, value: object, wanted: type, example: str) -> None:
    """Check that a value is of a type, and not the type itself."""
    if not isinstance(value, wanted):
        raise TypeError(f"{name} must be {example}, not {value!r}")


def token_limit(name: str, value: Any) -> None:
    """Check that a value is a number of tokens, or a mapping of models to such numbers."""
    if not isinstance(value, Mapping):
        whole(name, value)
        return
    limits: Mapping[Any, Any] = value
    for model, limit in limits.items():
        text(f"a model of {name}", model)
        whole(f"{name}[{model!r}]", limit)


def host(value: object, *, has_keys: bool) -> None:
    """Check that a value is an address to listen on, and that it is reached from outside only with a key."""
    text("host", value)
    if not is_loopback(str(value)) and not has_keys:
        raise ValueError(f"host {value!r} can be reached from outside: give api_keys")


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def folder(name: str, value: object) -> Path | None:
    """Return the folder that a value names; an empty one would be the current directory by mistake."""
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike) or isinstance(path := os.fspath(cast("str", value)), bytes):
        raise TypeError(f"{name} must be the path of a folder, not {value!r}")
    if not path.strip() or "\0" in path:
        raise ValueError(f"{name} must be the path of a folder, not {path!r}")
    return Path(path)


def field(
    check: Callable[..., None],
    *more: Any,
    default: Any = attrs.NOTHING,
    allows_none: bool = False,
    kw_only: bool = False,
    **limits: Any,
) -> Any:
    """Return a field of an attrs class whose value is checked under the field's name."""

    def validate(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if value is not None or not allows_none:
            check(attribute.name, value, *more, **limits)

    return attrs.field(default=default, validator=validate, kw_only=kw_only)
