"""What the package offers is complete, sorted and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import openai_batches
import openai_batches.emulator

if TYPE_CHECKING:
    from types import ModuleType

FOLDER = Path(openai_batches.__file__).parent
FACES = (openai_batches, openai_batches.emulator)
# These are used by their own names, and offer nothing through the package.
APART = ("openai_batches.cli", "openai_batches.emulator", "openai_batches.pytest_plugin")
EXPORTS: dict[str, Any] = {name: getattr(openai_batches, name) for name in openai_batches.__all__}
MODULES: list[ModuleType] = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(openai_batches.__path__, f"{openai_batches.__name__}.")
    if not found.ispkg and not found.name.endswith((".__main__", ".version"))
]


def _as_ruff_sorts(names: list[str]) -> list[str]:
    """CONSTANTS, then Classes, then the rest, each in the order of the alphabet (RUF022)."""
    return sorted(names, key=lambda name: (0 if name.isupper() else 1 if name[:1].isupper() else 2, name))


def _imported_names() -> set[tuple[str, str]]:
    """The names that the package's modules and the tests import, each with the module it comes from."""
    return {
        (node.module or "", alias.name)
        for path in [*FOLDER.rglob("*.py"), *Path(__file__).parent.rglob("*.py")]
        if path != FOLDER / "__init__.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_every_module_lists_its_names_in_order() -> None:
    """`__all__` is there, sorted, without doubles, and each of its names exists; in the emulator it may be left out."""
    listing = [
        module
        for module in [*FACES, *MODULES]
        if hasattr(module, "__all__") or not module.__name__.startswith("openai_batches.emulator.")
    ]
    assert len(listing) > 100
    assert [
        module.__name__
        for module in listing
        if module.__all__ != _as_ruff_sorts(list(set(module.__all__)))
        or not all(hasattr(module, name) for name in module.__all__)
    ] == []


def test_a_public_name_is_offered_by_the_package_or_used_by_another_module() -> None:
    """What is for users can be imported from the package; no other module has to be known."""
    imported = _imported_names()
    assert [
        f"{module.__name__}.{name}"
        for module in MODULES
        if not module.__name__.startswith(APART)
        for name in module.__all__
        if (name.islower() or name.isupper())
        and EXPORTS.get(name) is not getattr(module, name)
        and (module.__name__, name) not in imported
        and (module.__name__.rpartition(".")[0], module.__name__.rpartition(".")[2]) not in imported
    ] == []


def test_the_package_offers_nothing_that_its_module_keeps_to_itself() -> None:
    """Each exported name is in the `__all__` of the module that defines it."""
    listed = {name for module in MODULES if not module.__name__.startswith(APART) for name in module.__all__}
    assert set(EXPORTS) - listed == {"__version__"}


def test_every_exported_name_is_documented() -> None:
    """Each exported class and function, and what a user can reach on a class, has a docstring."""
    classes = [value for value in EXPORTS.values() if inspect.isclass(value)]
    functions = [value for value in EXPORTS.values() if inspect.isroutine(value)]
    members = [
        value
        for exported in classes
        for owner in exported.__mro__
        if owner.__module__.split(".")[0] == openai_batches.__name__
        for name, value in vars(owner).items()
        if not name.startswith("_") and (inspect.isroutine(value) or isinstance(value, property))
    ]
    assert len(members) > 100
    assert [value for value in [*classes, *functions, *members] if not (value.__doc__ or "").strip()] == []


def test_every_exception_has_the_one_root() -> None:
    """`except BatchesError` misses nothing that the package raises by name; warnings are warned, not raised."""
    errors = [value for value in EXPORTS.values() if inspect.isclass(value) and issubclass(value, Exception)]
    assert len(errors) > 20
    assert [error for error in errors if not issubclass(error, (EXPORTS["BatchesError"], Warning))] == []


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_names_that_are_loaded_later_are_shown_and_found(face: ModuleType) -> None:
    """`dir()` shows what is not loaded yet, `import *` brings it, and an unknown name is an AttributeError."""
    assert set(face.__all__) <= set(dir(face))
    brought: dict[str, Any] = {}
    exec(f"from {face.__name__} import *", brought)
    assert set(face.__all__) <= set(brought)
    with pytest.raises(AttributeError, match="no attribute 'nowhere'"):
        _ = face.nowhere


def test_each_name_is_written_once() -> None:
    """One line of the package's face makes a name public, and no second one has to agree with it."""
    for face in FACES:
        assert face.__file__ is not None
        tree = ast.parse(Path(face.__file__).read_text("utf-8"))
        offered = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
        assert sorted(offered) == sorted({*face.__all__, "LazyNames", "load_old_names"})


def test_the_face_works_without_docstrings_and_without_sources(tmp_path: Path) -> None:
    """Under `-OO`, and where only compiled files were installed."""
    code = (
        "import compileall, pathlib, shutil, sys; source, target = sys.argv[1:]; "
        "shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__', 'cli', 'emulator')); "
        "compileall.compile_dir(target, quiet=1, legacy=True, optimize=2); "
        "[path.unlink() for path in pathlib.Path(target).rglob('*.py')]"
    )
    target = tmp_path / "openai_batches"
    subprocess.run([sys.executable, "-c", code, str(FOLDER), str(target)], check=True)
    code = "import openai_batches as o; print(o.__file__); print(*[name for name in o.__all__ if getattr(o, name)])"
    command = [sys.executable, "-OO", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env={"PYTHONPATH": "."})
    file, names = done.stdout.splitlines()
    assert Path(file).suffix == ".pyc"
    assert names.split() == openai_batches.__all__
