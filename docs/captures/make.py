"""Makes the pictures of the command line: runs it in terminals of 80 and 160 columns and draws what a person sees.

nox -s captures
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.driven_terminal import DrivenTerminal  # noqa: E402  # the terminal of the tests is the terminal of the pictures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyte.screens import Char

CELL_WIDTH, LINE_HEIGHT, MARGIN = 8.4, 19, 14
FOREGROUND, BACKGROUND = "#d7dae0", "#16181d"
COLOURS = {
    "black": "#3f4451",
    "red": "#e06c75",
    "green": "#8cc265",
    "brown": "#d9a441",
    "blue": "#5aa2e0",
    "magenta": "#c678dd",
    "cyan": "#4fb6c3",
    "white": "#d7dae0",
    "brightblack": "#7f8694",
    "brightred": "#ef7f88",
    "brightgreen": "#a0d97b",
    "brightbrown": "#e8bd6a",
    "brightblue": "#7cbcf0",
    "brightmagenta": "#d893eb",
    "brightcyan": "#6fd0dc",
    "brightwhite": "#ffffff",
}
WIDTHS = (80, 160)
# Slow enough for a second terminal to be opened meanwhile.
UNHURRIED = ("--max-open", "2", "--local-speed", "0.3")


def drawn(rows: Sequence[Sequence[Char]]) -> str:
    """Return a screen as SVG: text in the reader's own monospaced font, each run at its place."""
    columns = len(rows[0])
    width = round(columns * CELL_WIDTH + 2 * MARGIN)
    height = len(rows) * LINE_HEIGHT + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f'<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>',
        '<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" font-size="14">',
    ]
    for number, row in enumerate(rows):
        baseline = MARGIN + (number + 0.75) * LINE_HEIGHT
        for start, text, char in _runs(row):
            x = MARGIN + start * CELL_WIDTH
            style = "" if char.reverse or char.fg == "default" else f' fill="{_colour(char.fg)}"'
            style = style or f' fill="{FOREGROUND}"'
            weight = ' font-weight="bold"' if char.bold else ""
            length = f' textLength="{len(text) * CELL_WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"'
            lines.append(f'<text x="{x:.1f}" y="{baseline:.1f}"{length}{style}{weight}>{html.escape(text)}</text>')
    return "\n".join([*lines, "</g>", "</svg>", ""])


def _colour(name: str) -> str:
    return COLOURS.get(name) or f"#{name}"


def _runs(row: Sequence[Char]) -> Iterator[tuple[int, str, Char]]:
    """Yield what stands together in one style, with the column where it begins; what is blank is left out."""
    start = 0
    while start < len(row):
        first = row[start]
        end = start
        while end < len(row) and (row[end].fg, row[end].bold) == (first.fg, first.bold):
            end += 1
        text = "".join(char.data for char in row[start:end])
        # Not everything that draws SVG keeps several blanks in a row.
        for piece in re.finditer(r"\S+(?: \S+)*", text):
            yield start + piece.start(), piece[0], first
        start = end


class Stage:
    """A folder with requests in it, in which the program is run and looked at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(ROOT / "examples" / "requests.jsonl", folder)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "NO_COLOR"))}
        self._env = {**kept, "TERM": "xterm-256color", "XDG_CONFIG_HOME": str(folder), "TZ": "UTC"}

    def terminal(self, *arguments: str, columns: int, rows: int) -> DrivenTerminal:
        """Run the program in a terminal."""
        command = [sys.executable, "-m", "openai_batches.cli", *arguments]
        return DrivenTerminal(command, columns=columns, rows=rows, env=self._env, cwd=self.folder)

    def output(self, *arguments: str) -> str:
        """Run the program, and return what it writes."""
        command = [sys.executable, "-m", "openai_batches.cli", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self._env, check=True, capture_output=True, text=True)
        return done.stdout


def keep(driven: DrivenTerminal, name: str, columns: int, arguments: Sequence[str]) -> None:
    """Draw what is on the screen now, below the command that was typed."""
    rows = driven.rows
    blank = rows[-1][-1]._replace(data=" ", fg="default", bold=False)
    prompt = [
        blank._replace(data=character) for character in f"$ {' '.join(('openai-batches', *arguments))}".ljust(columns)
    ]
    while rows and not "".join(char.data for char in rows[-1]).strip():
        rows = rows[:-1]
    path = HERE / f"{name}-{columns}.svg"
    path.write_text(drawn([prompt, *rows]), "utf-8")
    print(path.relative_to(ROOT))


def take_run(stage: Stage, columns: int) -> None:
    """A job half way, a list that is watched meanwhile, and the job at its end."""
    typed = ("run", "requests.jsonl", "--local", "-o", "results.jsonl", "--max-requests", "25")
    running = stage.terminal(*typed, *UNHURRIED, columns=columns, rows=24)
    running.wait_for("in_progress")
    watching = stage.terminal("list", "--watch", "--interval", "1s", "--local", columns=columns, rows=14)
    while not all(status in watching.screen for status in ("in_progress", "completed")):
        look_at(running, watching)
    keep(running, "run", columns, typed)
    keep(watching, "list-watch", columns, ("list", "--watch", "--local"))
    watching.interrupt()
    watching.finish()
    running.finish()
    keep(running, "run-done", columns, typed)
    for driven in (running, watching):
        driven.close()


def look_at(*terminals: DrivenTerminal) -> None:
    """Take what the programs write in some moments: one whose output nobody takes stands still."""
    for driven in terminals:
        driven.look(0.05)


def take_show(stage: Stage, columns: int) -> None:
    """All that is known of a batch."""
    (id, *_) = [record["id"] for record in json.loads(stage.output("list", "--local", "--json", "--limit", "1"))]  # noqa: A001
    driven = stage.terminal("show", id, "--local", columns=columns, rows=48)
    driven.finish()
    keep(driven, "show", columns, ("show", id, "--local"))
    driven.close()


def main() -> None:
    """Take all pictures anew."""
    for columns in WIDTHS:
        with tempfile.TemporaryDirectory() as folder:
            stage = Stage(Path(folder))
            take_run(stage, columns)
            take_show(stage, columns)


if __name__ == "__main__":
    main()
