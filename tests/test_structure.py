"""The package's folders stay small enough to be understood from their listing."""

from __future__ import annotations

import ast
from pathlib import Path

import openai_batches

FOLDER = Path(openai_batches.__file__).parent
FOLDERS = [path.parent for path in FOLDER.rglob("__init__.py")]
# Users import from these, so that they hold more than a description.
FACES = {FOLDER, FOLDER / "emulator", FOLDER / "cli"}


def test_no_folder_has_more_modules_than_one_overlooks() -> None:
    """Twenty at the most, and fourteen at the top."""
    counts = {folder: len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) for folder in FOLDERS}
    assert len(counts) > 10
    assert {str(folder): count for folder, count in counts.items() if count > (14 if folder == FOLDER else 20)} == {}


def test_an_init_describes_its_folder() -> None:
    """A docstring of three to six lines, and nothing else."""
    others = []
    for folder in FOLDERS:
        tree = ast.parse(folder.joinpath("__init__.py").read_text("utf-8"))
        lines = (ast.get_docstring(tree) or "").splitlines()
        if folder not in FACES and (len(tree.body) != 1 or not 3 <= len(lines) <= 6):
            others.append(folder)
    assert others == []
