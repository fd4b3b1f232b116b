"""What the project checks: `nox` runs lint, typing and tests, `nox -l` lists the rest."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tomllib
import zipfile
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "typing", "tests"]
nox.options.error_on_missing_interpreters = False

# Nothing here needs a key, and nothing here may use one that happens to lie around.
NO_KEY: dict[str, str | None] = {name: None for name in os.environ if name.startswith("OPENAI_")}
# The package lies beside the tests: without a safe path, `python -m` would import the checkout instead of the wheel.
INSTALLED = {**NO_KEY, "PYTHONSAFEPATH": "1"}
# What every check but two is made with, so that it says tomorrow what it said today.
PINNED = ("--constraint", str(ROOT / "constraints.txt"))
# What sessions install beside the package and its extras.
TOOLS: tuple[str, ...] = (
    "build",
    "codespell",
    "editables",
    "hatchling",
    "import-linter",
    "jinja2",
    "mypy",
    "openai[aiohttp]",
    "orjson",
)
TOOLS += ("pyright[nodejs]", "ruff", "towncrier", "twine", "validate-pyproject")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format, spelling, metadata, and who imports whom."""
    session.install(*PINNED, ".", "codespell>=2.4", "import-linter>=2.4", "ruff>=0.15", "validate-pyproject>=0.24")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("validate-pyproject", "pyproject.toml")
    session.run("lint-imports", "--no-cache")


@nox.session
def typing(session: nox.Session) -> None:
    """The code is typed, the public API completely so, and the types say what `tests/typing/api.py` expects."""
    session.install(*PINNED, ".[cli]", "mypy>=1.18", "pyright[nodejs]>=1.1.407", "nox", "pytest>=8.3")
    session.run("mypy")
    session.run("pyright", "--verifytypes", "openai_batches", "--ignoreexternal")
    session.run("pyright", "tests/typing/api.py")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The tests against the installed wheel; arguments after `--` go to pytest."""
    session.install(*PINNED, ".[test]")
    session.run("python", "-m", "pytest", *session.posargs, env=INSTALLED)


@nox.session
def tests_newest(session: nox.Session) -> None:
    """The tests with the newest release of everything, whatever `constraints.txt` says."""
    session.install("--upgrade", "--upgrade-strategy", "eager", ".[test]")
    session.run("python", "-m", "pytest", *session.posargs, env=INSTALLED)


@nox.session
def tests_lowest(session: nox.Session) -> None:
    """The tests with the oldest release of each direct dependency that the project says it works with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    bounds = [*project["dependencies"], *project["optional-dependencies"]["cli"]]
    constraints = Path(session.create_tmp()) / "lowest.txt"
    lowest = [_lowest(bound) for bound in bounds]
    constraints.write_text("\n".join(lowest), "utf-8")
    session.log("with %s", ", ".join(lowest))
    session.install(".[test]", "--constraint", str(constraints))
    session.run("python", "-m", "pytest", *session.posargs, env=INSTALLED)


def _lowest(bound: str) -> str:
    """`cattrs[msgspec]>=24.1.2,<27; ...` becomes `cattrs==24.1.2`: a constraint may not name extras."""
    match = re.match(r"([\w.-]+)(?:\[[^\]]*\])?\s*>=\s*([\w.]+)", bound)
    if match is None:
        raise ValueError(f"{bound!r} in pyproject.toml names no lowest version")
    return f"{match[1]}=={match[2]}"


@nox.session
@nox.parametrize("profile", ["openai", "azure", "groq", "siliconflow", "vllm", "ogx"])
def profiles(session: nox.Session, profile: str) -> None:
    """The client's tests against each service that the emulator plays."""
    session.install(*PINNED, ".[test]")
    command = ("python", "-m", "pytest", "--ignore=tests/emulator", "--profile", profile)
    session.run(*command, *session.posargs, env=INSTALLED)


@nox.session
def simulate(session: nox.Session) -> None:
    """Thousands of schedules of jobs in simulated time; `SEED=… nox -s simulate` goes through a single one again."""
    session.install(*PINNED, ".[test]")
    env = {**INSTALLED, "SCHEDULES": os.environ.get("SCHEDULES", "5000"), "SEED": os.environ.get("SEED")}
    session.run("python", "-m", "pytest", "tests/jobs/test_simulated.py", "-m", "exhaustive", *session.posargs, env=env)


@nox.session
def coverage(session: nox.Session) -> None:
    """Every line and every branch is run by the tests, or by a program that they start."""
    session.install(*PINNED, ".[test]")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs, env=INSTALLED)
    session.run("coverage", "combine")
    session.run("coverage", "report", "--fail-under=100")


@nox.session
def crashes(session: nox.Session) -> None:
    """A job is killed before and after every commit of its journal, and at many random moments; it takes minutes."""
    session.install(*PINNED, ".[test]")
    command = ("python", "-m", "pytest", "tests/jobs/test_crashes.py", "-m", "exhaustive", "-s")
    session.run(*command, *session.posargs, env=INSTALLED)


@nox.session
def examples(session: nox.Session) -> None:
    """Every example runs to its end, without a key, against the emulator."""
    session.install(*PINNED, ".")
    for example in sorted(ROOT.glob("examples/*.py")):
        session.run("python", str(example.relative_to(ROOT)), env=INSTALLED)


@nox.session
def demo(session: nox.Session) -> None:
    """The README's first command, word by word but for its environment, in a folder that is new."""
    line = re.search(r"bin/(openai-batches run [^\n]+)", (ROOT / "README.md").read_text("utf-8"))
    if line is None:
        session.error("README.md does not begin with `openai-batches run`")
    session.install(*PINNED, ".[cli]")
    folder = Path(session.create_tmp()) / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("*.job", "*.emulator"))
    with session.chdir(folder):
        session.run(*shlex.split(line[1]), env=INSTALLED)


@nox.session
def bench(session: nox.Session) -> None:
    """Every benchmark, beside what it is compared with."""
    session.install(*PINNED, ".[arrow,cli,zstd]", "orjson", "openai[aiohttp]")
    for benchmark in sorted(ROOT.glob("benchmarks/bench_*.py")):
        session.run("python", str(benchmark.relative_to(ROOT)), *session.posargs, env=INSTALLED)


FROZEN: dict[str, dict[str, str]] = {}


@nox.session(python=PYTHONS)
def constraints(session: nox.Session) -> None:
    """`constraints.txt`, written anew with the newest releases, under each Python that is found."""
    session.install(".[arrow,cli,dev,tokens,zstd]", *TOOLS)
    frozen = session.run("python", "-m", "pip", "freeze", "--exclude", "setuptools", silent=True, log=False)
    found = re.findall(r"(?m)^([\w.-]+)==(\S+)$", str(frozen))
    FROZEN[str(session.python)] = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}
    lines = [line for name in sorted(set().union(*FROZEN.values())) for line in _constraints(name)]
    file = ROOT / "constraints.txt"
    head = re.match(r"(?:#.*\n)+", file.read_text("utf-8"))
    file.write_text((head[0] if head else "") + "\n".join(lines) + "\n", "utf-8")


def _constraints(name: str) -> list[str]:
    """Return the lines of a package: one where it is the same under every Python, else one for each of its versions."""
    pythons: dict[str, list[str]] = {}
    for python, packages in FROZEN.items():
        if name in packages:
            pythons.setdefault(packages[name], []).append(f'python_version == "{python}"')
    return [
        f"{name}=={version}" + ("" if len(markers) == len(FROZEN) else f" ; {' or '.join(markers)}")
        for version, markers in pythons.items()
    ]


@nox.session
def captures(session: nox.Session) -> None:
    """The pictures of the command line in the docs, taken anew."""
    session.install(*PINNED, ".[cli]", "pyte>=0.8")
    session.run("python", "docs/captures/make.py", env=INSTALLED)


@nox.session
def build(session: nox.Session) -> None:
    """What would be released: it builds, is described well, and works alone in a fresh environment."""
    session.install(*PINNED, "build", "twine>=6.1")
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist))
    session.run("twine", "check", "--strict", *map(str, sorted(dist.iterdir())))

    (wheel,) = dist.glob("*.whl")
    data = {
        f"openai_batches/{name}" for name in ("py.typed", "report/page.html", "report/macros.html", "report/style.css")
    }
    if missing := data.difference(zipfile.ZipFile(wheel).namelist()):
        session.error(f"{wheel.name} lacks {', '.join(sorted(missing))}")

    fresh = Path(session.create_tmp()) / "fresh"
    session.run("python", "-m", "venv", "--clear", str(fresh))
    python = str(fresh / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
    session.run(python, "-m", "pip", "install", "--quiet", *PINNED, str(wheel), external=True)
    session.run(python, "-I", "-W", "error", "-c", "import openai_batches", external=True)
