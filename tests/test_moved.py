"""What was pickled by an earlier version can be loaded, and what is pickled today will be."""

from __future__ import annotations

import base64
import json
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support.public_values import values

import openai_batches
import openai_batches.emulator
from openai_batches._moved import _MOVED

_SAMPLES = json.loads(Path(__file__).with_name("samples").joinpath("pickles.json").read_text("utf-8"))


def _said(value: Any) -> Any:
    """What can be compared: errors are equal to themselves alone."""
    if isinstance(value, BaseException):
        return (type(value), value.args, vars(value))
    return value.by_model if isinstance(value, openai_batches.Bill) else value


@pytest.mark.parametrize("name", sorted(_SAMPLES))
def test_pickles_of_the_version_before_load(name: str) -> None:
    """They name modules that are gone."""
    loaded = pickle.loads(base64.b64decode(_SAMPLES[name]))
    expected = values().get(name)
    if expected is None:
        assert repr(loaded)
    elif name == "RequestFailedError":  # its result is compared apart
        assert (loaded.args, loaded.result) == (expected.args, expected.result)
    else:
        assert repr(_said(loaded)) == repr(_said(expected))


@pytest.mark.parametrize(
    "name", ["BatchResult", "BatchRequest", "RateLimitError", "emulator.Fault", "emulator.Profile"]
)
def test_a_fresh_process_loads_them(name: str) -> None:
    """Nothing has been imported before the pickle asks for it."""
    code = "import base64, pickle, sys; print(type(pickle.loads(base64.b64decode(sys.argv[1]))).__name__)"
    done = subprocess.run([sys.executable, "-c", code, _SAMPLES[name]], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == name.removeprefix("emulator.")


@pytest.mark.parametrize("name", sorted(values()))
def test_pickles_of_today_name_the_package_alone(name: str) -> None:
    """A module may move once more."""
    pickled = pickle.dumps(values()[name])
    assert repr(_said(pickle.loads(pickled))) == repr(_said(values()[name]))
    assert type(values()[name]).__module__ == "openai_batches"


def test_public_classes_name_the_package() -> None:
    """Tracebacks and reprs show the name that a user imports."""
    faces = (openai_batches, openai_batches.emulator)
    elsewhere = [
        name
        for face in faces
        for name in face.__all__
        if isinstance(getattr(face, name), type) and getattr(face, name).__module__ != face.__name__
    ]
    assert elsewhere == []


def test_a_module_that_never_was_is_not_found() -> None:
    """Only modules of old are looked for."""
    with pytest.raises(ModuleNotFoundError):
        __import__("openai_batches.nothing")


def test_every_module_of_old_stands_for_one_of_today() -> None:
    """The table is kept when a module moves once more."""
    assert len(_MOVED) > 20
    for module in _MOVED.values():
        import_module(f"openai_batches.{module}")
