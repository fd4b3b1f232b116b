"""What a report is drawn in can be told apart by everybody, in the light and in the dark."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest

from openai_batches.report.stylesheet import OUTCOME_COLOURS, PAPER, STATE_COLOURS, STYLE, TOKEN_COLOURS

THEMES = {"light": 0, "dark": 1}
SETS = {"outcomes": OUTCOME_COLOURS, "states": STATE_COLOURS, "tokens": TOKEN_COLOURS}


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
@pytest.mark.parametrize("colours", SETS.values(), ids=SETS)
def test_colours_of_one_kind_differ_in_lightness(colours: dict[str, tuple[str, str]], theme: int) -> None:
    """Who does not see hues, or prints in grey, tells them apart all the same."""
    ordered = sorted(lightness(pair[theme]) for pair in colours.values())
    assert all(following - one >= 5 for one, following in pairwise(ordered))


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
@pytest.mark.parametrize("ground", ["paper", "card", "track"])
@pytest.mark.parametrize("ink", ["text", "quiet", "accent"])
def test_text_has_contrast_enough(ink: str, ground: str, theme: int) -> None:
    """Source: https://www.w3.org/TR/WCAG22/#contrast-minimum."""
    assert contrast(PAPER[ink][theme], PAPER[ground][theme]) >= 4.5


def test_names_of_colours_are_used_once() -> None:
    """They share one space of names in the sheet."""
    assert not any(one.keys() & other.keys() for one, other in combinations((PAPER, *SETS.values()), 2))
    assert STYLE.count("{") == STYLE.count("}")
