"""A report in a real browser: it says nothing to the console, and it fits on a phone."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.report_parts import NOW, past_attempts, view_of

from openai_batches.report.figures import figures_of
from openai_batches.report.write import page_of

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # Whatever a page or the browser itself asks for, nothing leaves this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
    "--v=0",
    "--dump-dom",
)
# As wide as a small phone; the frame tells how wide what is in it would like to be.
FRAME = """<!DOCTYPE html>
<iframe src="report.html" style="width:{width}px;height:700px;border:0"></iframe>
<script>
onload = () => {{
  const root = document.querySelector("iframe").contentDocument.documentElement;
  document.body.dataset.widths = root.scrollWidth + " " + root.clientWidth;
}};
</script>
"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser is found: {', '.join(NAMES)}")


def opened(page: Path, profile: Path, *options: str) -> tuple[str, list[str]]:
    """What a browser makes of a page, and the messages on its console."""
    command = [str(BROWSER), *OPTIONS, f"--user-data-dir={profile}", *options, page.as_uri()]
    environment = {**os.environ, "HOME": str(profile)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240, env=environment)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A report of a job with long names, in which much happened."""
    source = f"/data/{'a-very-long-name-without-any-break-' * 5}.jsonl"
    view = view_of(past_attempts(90, left_open=5), is_finished=False, source=source, base_url="https://x.example/" * 9)
    path = tmp_path / "report.html"
    path.write_text(page_of(figures_of(view, NOW)), "utf-8")
    return path


def test_a_page_with_something_wrong_is_found_out(report: Path, tmp_path: Path) -> None:
    """Else a browser that tells nothing would be taken for a page without a fault: the policy blocks both of these."""
    bad = tmp_path / "bad.html"
    text = report.read_text("utf-8")
    bad.write_text(text.replace("</main>", "<img src='x.png'><script>alert(1)</script></main>"), "utf-8")
    _, messages = opened(bad, tmp_path / "profile")
    assert any("Content Security Policy" in message for message in messages)


def test_the_console_stays_silent_and_the_page_is_whole(report: Path, tmp_path: Path) -> None:
    seen, messages = opened(report, tmp_path / "profile")
    assert messages == []
    (heading,) = re.findall(r"<h1>(.*?)</h1>", seen)
    assert html.unescape(heading).startswith("a-very-long-name")
    # What the browser has understood is what was written: it has mended nothing.
    written = report.read_text("utf-8")
    for name in ("section", "tr", "td", "svg", "path", "li"):
        assert seen.count(f"<{name}") == written.count(f"<{name}")


@pytest.mark.parametrize("width", [320, 360, 768])
def test_the_page_is_never_wider_than_the_window(report: Path, tmp_path: Path, width: int) -> None:
    """Tables that have no room scroll in boxes of their own."""
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width), "utf-8")
    seen, messages = opened(frame, tmp_path / "profile", "--allow-file-access-from-files")
    found = re.search(r'data-widths="(\d+) (\d+)"', seen)
    assert found is not None, messages
    wanted, there = map(int, found.groups())
    assert wanted <= there <= width
