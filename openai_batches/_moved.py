"""Load what was pickled when the modules had other names.

A pickle names the module of each class. Modules that are gone stand for what holds their classes today; three whose
names are families now look there for what they lack.
"""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["load_old_names"]

# old module -> the module that holds its classes
_MOVED = {
    "attempts": "jobs.journal.records",
    "billing": "costs.bill",
    "counting": "costs.tokens",
    "doctoring": "jobs.cleanup.doctor",
    "downloads": "resources.downloads",
    "estimating": "costs.estimate",
    "events": "jobs.events",
    "jobs": "jobs.job",
    "ledgers": "jobs.ledger",
    "outputs": "results.bodies",
    "policy": "policies",
    "pricing": "costs.prices",
    "problems": "models",
    "progress": "resources.progress",
    "protocol": "http.wire",
    "reports": "requests.validate",
    "request_files": "requests.write",
    "requests": "requests.request",
    "results": "results.result",
    "sharding": "requests.packing",
    "summaries": "results.summary",
    "timeline": "resources.progress",
    "webhooks": "resources.webhooks",
    "emulator.ids": "emulator.store.records",
    "emulator.echo": "emulator.executors.echo",
    "emulator.executors": "emulator.executors.executor",
    "emulator.fault_aim": "emulator.faults.aim",
    "emulator.faults": "emulator.faults.faults",
    "emulator.folder": "emulator.store.folder",
    "emulator.profiles": "emulator.profiles.profiles",
    "emulator.records": "emulator.store.records",
    "emulator.result_style": "emulator.profiles.result_style",
    "emulator.shaping": "emulator.profiles.shaping",
    "emulator.webhook_endpoints": "emulator.webhooks.endpoints",
}
_PACKAGE = __name__.rpartition(".")[0]


class _OldNames(ModuleType):
    """A module that is gone, or a family that has its name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(import_module(f"{_PACKAGE}.{_MOVED[self.__name__.removeprefix(f'{_PACKAGE}.')]}"), name)


class _Finder:
    """Finds and loads modules that are gone; it has no base class, since ``importlib.abc`` takes long to import."""

    def find_spec(self, fullname: str, *_path_and_target: object) -> ModuleSpec | None:
        package, _, rest = fullname.partition(".")
        loader: Any = self
        return ModuleSpec(fullname, loader) if package == _PACKAGE and rest in _MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _OldNames(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Have nothing to run."""


def load_old_names(*families: str) -> None:
    """Let the modules that are gone be found, and families that have the name of one offer its classes."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
    for family in families:
        import_module(f"{_PACKAGE}.{family}").__class__ = _OldNames
