"""How the package offers its names: loaded when they are first used, and known as the package's own."""

import builtins
import sys
from _thread import allocate_lock
from importlib import import_module
from types import SimpleNamespace
from typing import Any, TypeVar

__all__ = ["LazyNames", "public"]

C = TypeVar("C", bound=type[Any])

# The fields of records have few types between them, and evaluating one takes longer than looking it up.
_evaluated: dict[tuple[str, str], Any] = {}


def public(cls: C) -> C:
    """Return a class whose ``__module__`` is the package that offers it, so that pickles outlive a move of its module.

    Annotations that are text are evaluated first, since cattrs and msgspec look their names up in ``__module__``.
    """
    if hasattr(cls, "__attrs_attrs__"):
        namespace = vars(sys.modules[cls.__module__])
        annotations = cls.__dict__.get("__annotations__", {})  # noqa: RUF063  # its own, to be changed in place
        for name, annotation in annotations.items():
            if isinstance(annotation, str):
                key = (cls.__module__, annotation)
                if key not in _evaluated:
                    _evaluated[key] = eval(annotation, namespace)  # noqa: S307  # our own source
                annotations[name] = _evaluated[key]
    package, _, rest = cls.__module__.partition(".")
    cls.__module__ = f"{package}.emulator" if rest.startswith("emulator.") else package
    return cls


# Only one block at a time may replace the import statement.
_lock = allocate_lock()


class LazyNames:
    """The names that a package offers, each with the module that defines it.

    Used as a context, it notes the import statements in the block instead of carrying them out, so that each public
    name is written once: a type checker reads ordinary imports, and at run time a module is loaded when one of its
    names is first used.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._modules: dict[str, str] = {}

    def __enter__(self) -> None:
        _lock.acquire()
        self._import = builtins.__import__
        builtins.__import__ = self._note

    def _note(self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if globals is not self._namespace:
            return self._import(name, globals, locals, fromlist, level)
        self._modules.update(dict.fromkeys(fromlist, name))
        return SimpleNamespace(**dict.fromkeys(fromlist))  # the statement binds the names to something

    def __exit__(self, *_: object) -> None:
        builtins.__import__ = self._import
        _lock.release()
        for name in self._modules:
            self._namespace.pop(name, None)
        self._namespace["__all__"] = sorted(self._modules, key=_constants_and_classes_first)

    def load(self, name: str) -> Any:
        """Return what a name stands for; this is the package's ``__getattr__``."""
        if name not in self._modules:
            raise AttributeError(f"module {self._namespace['__name__']!r} has no attribute {name!r}")
        value = self._namespace[name] = getattr(import_module(self._modules[name]), name)
        return value

    def dir(self) -> list[str]:
        """Return all names, loaded or not; this is the package's ``__dir__``."""
        return sorted({*self._namespace, *self._modules})


def _constants_and_classes_first(name: str) -> tuple[int, str]:
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)
