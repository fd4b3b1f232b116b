"""Let public classes say that they come from the package, whichever module defines them."""

import sys
from typing import Any, TypeVar

__all__ = ["public"]

C = TypeVar("C", bound=type[Any])


def public(cls: C) -> C:
    """Return a class whose ``__module__`` is the package that offers it, so that pickles outlive a move of its module.

    Annotations that are text are evaluated first, since cattrs and msgspec look their names up in ``__module__``.
    """
    defined_in = sys.modules[cls.__module__]
    if hasattr(cls, "__attrs_attrs__"):
        annotations = cls.__dict__.get("__annotations__", {})
        for name, annotation in annotations.items():
            if isinstance(annotation, str):
                annotations[name] = eval(annotation, vars(defined_in))  # noqa: S307  # our own source
    package, _, rest = cls.__module__.partition(".")
    cls.__module__ = f"{package}.emulator" if rest.startswith("emulator.") else package
    return cls
