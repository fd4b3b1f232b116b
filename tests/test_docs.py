"""What the README and the docs show is Python, and names what there is."""

from __future__ import annotations

import ast
import importlib
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = {
    f"{page.name}, block {number}": block
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL), 1)
}


def fault_of(block: str) -> str | None:
    """Say why a block cannot be compiled as it stands, or which name that it imports from the package is not there."""
    try:
        compile(block, "<docs>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        for node in ast.walk(ast.parse(textwrap.dedent(block))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("openai_batches"):
                module = importlib.import_module(node.module or "")
                if missing := [alias.name for alias in node.names if not hasattr(module, alias.name)]:
                    return f"{node.module} has no {', '.join(missing)}"
    except (SyntaxError, ImportError) as error:
        return str(error)
    return None


def test_blocks_are_python_and_import_what_exists() -> None:
    """Each block can be compiled as it stands, and each name it imports from the package is there."""
    assert len(BLOCKS) > 10
    assert {place: fault for place, block in BLOCKS.items() if (fault := fault_of(block))} == {}


def test_links_lead_to_files() -> None:
    """A link within the project is not broken."""
    assert len(PAGES) > 5
    links = re.compile(r"\]\((?!https?:)([^)#\s]+)")
    found = [(page, link) for page in PAGES for link in links.findall(page.read_text("utf-8"))]
    assert [f"{page.name}: {link}" for page, link in found if not (page.parent / link).exists()] == []
