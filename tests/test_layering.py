"""The rooms and who may import whom: a new edge in the code needs a new word in this table."""

from __future__ import annotations

import ast
import graphlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "openai_batches"

# floor -> room -> the rooms it imports, inside functions and for type checkers alone too.
# Floors are in order: a room imports from its own floor and from those that stand before it here.
HOUSE: dict[str, dict[str, set[str]]] = {
    "foundation": {
        "version": set(),
        "errors": {"models", "problems"},
        "models": set(),
        "policy": {"errors"},
        "problems": set(),
        "providers": set(),
    },
    "study": {
        "billing": {"models", "outputs", "pricing", "results"},
        "counting": set(),
        "formats": {"compression", "errors", "rows"},
        "pricing": {"errors", "models", "outputs"},
        "rows": {"errors", "results"},
        "checking": {"errors"},
        "compression": {"errors"},
        "converters": {"errors", "models"},
        "encoding": {"errors"},
        "judging": {"problems"},
        "lines": {"errors"},
        "multipart": set(),
        "pagination": {"errors", "models"},
        "progress": {"models"},
        "timeline": {"models"},
        "markup": set(),
        "wording": set(),
        "scales": set(),
        "stylesheet": set(),
        "protocol": {"converters", "errors", "models"},
        "reports": {"errors", "problems"},
        "ranges": set(),
        "requests": {"encoding", "errors"},
        "outputs": {"errors", "models"},
        "dialects": {"outputs"},
        "results": {"dialects", "errors", "models", "outputs"},
        "reading": {"outputs", "results"},
        "summaries": {"billing", "models", "outputs", "pricing", "results", "wording"},
        "schemas": {"errors"},
        "webhooks": {"errors"},
        "response_formats": {"errors", "schemas"},
        "templates": {"encoding", "errors", "value_formats"},
        "value_formats": set(),
        "sharding": {"errors", "problems", "providers", "validation"},
        "validation": {"judging", "problems", "providers", "reports"},
    },
    "doors": {
        "estimating": {"counting", "errors", "pricing", "readers"},
        "newfile": {"errors", "partfile"},
        "writers": {"compression", "errors", "formats", "newfile", "results", "rows"},
        "duplicates": set(),
        "exchange": {"errors", "multipart", "protocol"},
        "readers": {"errors", "requests"},
        "composing": {"duplicates", "errors", "problems", "prompts", "requests", "templates", "wording"},
        "prompts": {"errors", "judging", "problems", "readers"},
        "request_files": {
            "composing",
            "compression",
            "encoding",
            "errors",
            "partfile",
            "prompts",
            "readers",
            "response_formats",
            "templates",
        },
        "resending": {"dialects", "errors", "outputs", "readers", "requests", "results", "wording"},
        "joining": {"errors", "reading", "results", "summaries"},
        "collecting": {"errors", "joining", "models", "reading", "resending", "results", "summaries"},
        "partfile": {"compression"},
        "shards": {
            "checking",
            "duplicates",
            "errors",
            "judging",
            "problems",
            "providers",
            "readers",
            "reports",
            "sharding",
            "validation",
        },
        "sources": {"errors"},
        "transport": {"errors", "exchange", "policy", "protocol"},
    },
    "workshop": {
        "downloads": {
            "compression",
            "errors",
            "exchange",
            "models",
            "partfile",
            "protocol",
            "ranges",
            "resuming",
            "transport",
        },
        "resuming": {"errors", "exchange", "protocol", "ranges", "transport"},
        "content": {"errors", "exchange", "lines", "resuming", "transport"},
        "files": {
            "checking",
            "compression",
            "content",
            "downloads",
            "errors",
            "models",
            "pagination",
            "parts",
            "protocol",
            "providers",
            "sources",
            "transport",
        },
        "creating": {
            "checking",
            "errors",
            "models",
            "pagination",
            "policy",
            "protocol",
            "transport",
        },
        "parts": {"errors", "models", "pagination", "protocol", "sources", "transport"},
        "looking": {"errors", "models", "pagination"},
        "waiting": {
            "errors",
            "looking",
            "models",
            "pagination",
            "policy",
            "progress",
        },
        "watching": {"checking", "errors", "models", "policy", "progress", "protocol", "waiting"},
        "receiving": {"batches", "errors", "exchange", "webhooks"},
        "batches": {
            "checking",
            "collecting",
            "compression",
            "creating",
            "downloads",
            "errors",
            "files",
            "models",
            "pagination",
            "policy",
            "protocol",
            "providers",
            "resending",
            "transport",
            "waiting",
            "watching",
        },
    },
    "engine room": {
        "attempts": {"models"},
        "events": {"models"},
        "ledgers": {"attempts", "results", "summaries"},
        "admission": {"errors", "models"},
        "locking": {"errors"},
        "entries": {"attempts", "converters", "errors", "models"},
        "journal": {"attempts", "entries", "errors", "locking"},
        "figures": {"attempts", "billing", "journal", "ledgers", "models", "pricing", "timeline"},
        "charts": {"figures", "markup", "models", "scales", "stylesheet", "timeline", "wording"},
        "tables": {"billing", "charts", "figures", "ledgers", "markup", "models", "results", "wording"},
        "page": {
            "charts",
            "figures",
            "ledgers",
            "markup",
            "stylesheet",
            "tables",
            "version",
            "wording",
        },
        "reporting": {
            "arguments",
            "errors",
            "figures",
            "journal",
            "newfile",
            "ledgers",
            "page",
            "partfile",
            "pricing",
        },
        "reconciling": {
            "attempts",
            "errors",
            "models",
            "partfile",
            "readers",
            "reading",
            "resending",
            "results",
            "summaries",
        },
        "planning": {
            "arguments",
            "attempts",
            "errors",
            "journal",
            "partfile",
            "providers",
            "readers",
            "sharding",
            "shards",
        },
        "harvesting": {"errors", "models", "reading", "reconciling", "results"},
        "merging": {"errors", "resending", "results"},
        "service": {"batches", "files", "providers"},
        "bookkeeping": {
            "admission",
            "attempts",
            "errors",
            "events",
            "harvesting",
            "journal",
            "looking",
            "models",
            "planning",
        },
        "sweeping": {"attempts", "batches", "errors", "files", "models"},
        "launching": {
            "creating",
            "admission",
            "attempts",
            "bookkeeping",
            "errors",
            "events",
            "models",
            "reconciling",
            "service",
            "sweeping",
        },
        "finishing": {
            "admission",
            "attempts",
            "bookkeeping",
            "errors",
            "events",
            "launching",
            "models",
            "policy",
            "progress",
            "reconciling",
            "results",
            "service",
        },
        "runner": {
            "admission",
            "attempts",
            "bookkeeping",
            "errors",
            "events",
            "finishing",
            "launching",
            "models",
            "planning",
            "policy",
            "service",
            "sweeping",
        },
        "discarding": {"attempts", "errors", "journal", "planning"},
        "adopting": {"attempts", "bookkeeping", "errors", "journal", "models", "planning", "reconciling", "service"},
        "walking": {"bookkeeping", "harvesting", "merging", "planning", "results"},
        "stopping": {"errors"},
        "arguments": {"checking", "errors", "models", "policy", "readers", "sharding"},
        "holding": {"errors", "journal"},
        "jobs": {
            "adopting",
            "arguments",
            "bookkeeping",
            "checking",
            "discarding",
            "errors",
            "events",
            "holding",
            "journal",
            "ledgers",
            "models",
            "planning",
            "policy",
            "readers",
            "results",
            "runner",
            "service",
            "sharding",
            "stopping",
            "walking",
        },
        "doctoring": {"attempts", "errors", "journal", "models", "planning", "service"},
    },
    "hall": {
        "session": {
            "arguments",
            "batches",
            "doctoring",
            "errors",
            "exchange",
            "files",
            "jobs",
            "models",
            "policy",
            "protocol",
            "providers",
            "readers",
            "results",
            "transport",
            "version",
        },
    },
    "porch": {
        "__init__": {
            "attempts",
            "batches",
            "billing",
            "collecting",
            "content",
            "converters",
            "doctoring",
            "downloads",
            "errors",
            "estimating",
            "events",
            "files",
            "jobs",
            "ledgers",
            "models",
            "pagination",
            "policy",
            "pricing",
            "problems",
            "progress",
            "prompts",
            "protocol",
            "providers",
            "readers",
            "receiving",
            "reporting",
            "reports",
            "request_files",
            "requests",
            "resending",
            "results",
            "schemas",
            "session",
            "sharding",
            "shards",
            "summaries",
            "version",
            "watching",
            "webhooks",
            "writers",
        },
        # A server that shared the client's code could not disagree with it.
        "emulator": set(),
        "cli": {
            "wording",
            "__init__",
            "admission",
            "attempts",
            "checking",
            "compression",
            "discarding",
            "emulator",
            "formats",
            "journal",
            "looking",
            "partfile",
            "planning",
            "progress",
            "rows",
            "timeline",
            "version",
        },
        "pytest_plugin": {"__init__", "emulator", "providers"},
    },
}

# What each room may take from aiohttp at run time. For type checkers, every room may name any of it.
AIOHTTP: dict[str, set[str]] = {
    "exchange": {"aiohttp"},
    "receiving": {"aiohttp.web"},
    "cli": {"aiohttp.web"},
    "emulator": {
        "aiohttp.BodyPartReader",
        "aiohttp.ClientConnectorError",
        "aiohttp.ClientError",
        "aiohttp.ClientSession",
        "aiohttp.ClientTimeout",
        "aiohttp.ConnectionTimeoutError",
        "aiohttp.DummyCookieJar",
        "aiohttp.MultipartReader",
        "aiohttp.TCPConnector",
        "aiohttp.abc",
        "aiohttp.http_exceptions",
        "aiohttp.typedefs",
        "aiohttp.web",
    },
}


class Import(NamedTuple):
    """One imported name: where from, on which line, and whether only type checkers see it."""

    name: str
    line: int
    is_typing_only: bool


def walk(source: str, package: str) -> Iterator[Import]:
    """Every import of a module that lives in `package`, made absolute, wherever in the file it stands."""

    def visit(node: ast.AST, is_typing_only: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, is_typing_only)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            origin = ".".join(filter(None, (above, node.module)))
            for alias in node.names:
                yield Import(f"{origin}.{alias.name}", node.lineno, is_typing_only)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for statement in node.body:
                yield from visit(statement, is_typing_only=True)
            for statement in node.orelse:
                yield from visit(statement, is_typing_only)
        else:
            for child in ast.iter_child_nodes(node):
                yield from visit(child, is_typing_only)

    return visit(ast.parse(source), is_typing_only=False)


def _find_modules() -> dict[str, Path]:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    home = Path(spec.origin).parent
    modules = {}
    for path in sorted(home.rglob("*.py")):
        parts = path.relative_to(home.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def _imports(module: str) -> list[Import]:
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return list(walk(path.read_text("utf-8"), package))


def _inside(name: str) -> str | None:
    """The package's own module that an imported name is or comes from."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


MODULES = _find_modules()
TABLE = {room: imported for floor in HOUSE.values() for room, imported in floor.items()}
FLOORS = {room: number for number, floor in enumerate(HOUSE.values()) for room in floor}
GRAPH = {module: {_inside(found.name) for found in _imports(module)} - {None, module} for module in MODULES}


def test_the_table_names_every_room_and_no_other() -> None:
    """A new file is given its place in the house before it lands; a removed one loses it."""
    assert sorted(TABLE) == sorted({_room(module) for module in MODULES})


@pytest.mark.parametrize("room", TABLE)
def test_a_room_imports_exactly_what_the_table_says(room: str) -> None:
    """No edge that is not in the table, and no edge in the table that the code does not need."""
    targets = {_room(target) for module in MODULES if _room(module) == room for target in GRAPH[module] if target}
    found = targets - {room}
    names = ", ".join(f'"{name}"' for name in sorted(found))
    assert found == TABLE[room], (
        f"not in the table: {sorted(found - TABLE[room])}; not in the code: {sorted(TABLE[room] - found)}; "
        f'the code has "{room}": {f"{{{names}}}" if names else "set()"},'
    )


@pytest.mark.parametrize("room", TABLE)
def test_data_walks_one_way(room: str) -> None:
    """A room imports only rooms of its own floor and of the floors behind it."""
    assert {other for other in TABLE[room] if FLOORS[other] > FLOORS[room]} <= set()


def test_no_import_cycle() -> None:
    """The modules have an order in which each is whole before another asks for it, for type checkers too."""
    tuple(graphlib.TopologicalSorter(GRAPH).static_order())


@pytest.mark.parametrize("room", TABLE)
def test_only_one_door_has_aiohttps_client(room: str) -> None:
    """Whatever goes over the network goes through one room; the emulator has aiohttp's server, which is no door."""
    allowed = AIOHTTP.get(room, set())
    found = {
        f"{imported.name}."
        for module in MODULES
        if _room(module) == room
        for imported in _imports(module)
        if imported.name.split(".")[0] == "aiohttp" and not imported.is_typing_only
    }
    assert {name for name in found if not any(name.startswith(f"{prefix}.") for prefix in allowed)} == set()
    assert {prefix for prefix in allowed if not any(name.startswith(f"{prefix}.") for name in found)} == set()


def test_the_walker_overlooks_no_import() -> None:
    """Absolute or relative, in a function, behind TYPE_CHECKING or in its `else`: all are seen for what they are."""
    source = """
import a.b as c
from . import d
from .e import f
from ..g import h
if TYPE_CHECKING:
    from i import j
else:
    import k
def function():
    try:
        from l import m
    finally:
        pass
"""
    assert [(found.name, found.is_typing_only) for found in walk(source, "top.room")] == [
        ("a.b", False),
        ("top.room.d", False),
        ("top.room.e.f", False),
        ("top.g.h", False),
        ("i.j", True),
        ("k", False),
        ("l.m", False),
    ]
