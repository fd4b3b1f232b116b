"""What a report is drawn in can be told apart by everybody, in the light and in the dark."""

from __future__ import annotations

import importlib.resources
import re
from itertools import pairwise

import pytest

from openai_batches import Outcome
from openai_batches.report.charts import STATES

STYLE = importlib.resources.files("openai_batches.report").joinpath("style.css").read_text("utf-8")
LIGHT, DARK = (
    re.findall(r"--([a-z_]+): (#[0-9a-f]+);", rules) for rules in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
)
THEMES = {"light": dict(LIGHT), "dark": dict(DARK)}
SETS = {
    "outcomes": {*(outcome.value for outcome in Outcome), "unfinished"} - {"foreign"},
    "states": set(STATES),
    "tokens": {"fresh", "cached", "written", "reasoning"},
}


def luminance(colour: str) -> float:
    """Source: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def lightness(colour: str) -> float:
    """From 0, black, to 100, white, as the eye sees it (CIE L*)."""
    return 116 * luminance(colour) ** (1 / 3) - 16


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
def test_colours_of_one_kind_differ_in_lightness(names: set[str], theme: dict[str, str]) -> None:
    """Who does not see hues, or prints in grey, tells them apart all the same."""
    ordered = sorted(lightness(theme[name]) for name in names)
    assert all(following - one >= 5 for one, following in pairwise(ordered))


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
@pytest.mark.parametrize("ground", ["paper", "card", "track"])
@pytest.mark.parametrize("ink", ["text", "quiet", "accent"])
def test_text_has_contrast_enough(ink: str, ground: str, theme: dict[str, str]) -> None:
    """Source: https://www.w3.org/TR/WCAG22/#contrast-minimum."""
    assert contrast(theme[ink], theme[ground]) >= 4.5


def test_names_of_colours_are_used_once() -> None:
    """They share one space of names in the sheet, and each has a value in the light and in the dark."""
    names = [name for name, _ in LIGHT]
    assert names == [name for name, _ in DARK]
    assert len(names) == len(set(names)) == 9 + sum(map(len, SETS.values()))
    used = set(re.findall(r"var\(--([a-z_]+)\)", STYLE))
    assert used == {*names, "step"}
    assert STYLE.count("{") == STYLE.count("}")


def test_whatever_is_drawn_has_a_colour() -> None:
    """A class that the sheet does not have would be drawn in no colour at all."""
    for name in set().union(*SETS.values()):
        assert re.search(
            rf"^\.c-{name}\b[^{{]*\{{ background-color: var\(--{name}\); fill: var\(--{name}\)", STYLE, re.MULTILINE
        )
