"""Let a package offer names without loading the modules that define them.

A type checker reads ordinary imports. At run time each import statement in the block is noted instead of carried out,
and the module is loaded when one of its names is first used. So each public name is written once.
"""

import builtins
from _thread import allocate_lock
from importlib import import_module
from types import SimpleNamespace
from typing import Any

__all__ = ["LazyNames"]

# Only one block at a time may replace the import statement.
_lock = allocate_lock()


class LazyNames:
    """The names that a package offers, each with the module that defines it."""

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
        self._namespace["__all__"] = sorted(self._modules)

    def load(self, name: str) -> Any:
        """Return what a name stands for; this is the package's ``__getattr__``."""
        if name not in self._modules:
            raise AttributeError(f"module {self._namespace['__name__']!r} has no attribute {name!r}")
        value = self._namespace[name] = getattr(import_module(self._modules[name]), name)
        return value

    def dir(self) -> list[str]:
        """Return all names, loaded or not; this is the package's ``__dir__``."""
        return sorted({*self._namespace, *self._modules})
