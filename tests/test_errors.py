"""What goes wrong: the tree of exceptions, and what each of them carries."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from openai_batches import (
    AmbiguousCreateError,
    APIError,
    Batch,
    BatchesError,
    BatchesWarning,
    BatchFailedError,
    BatchResult,
    BatchStatus,
    DecodeError,
    InputError,
    Outcome,
    PaginationError,
    RateLimitError,
    TransportError,
    TransportTimeoutError,
    WaitTimeoutError,
    WebhookSignatureError,
    errors,
)
from openai_batches.models import Problem

BATCH = Batch(id="batch_1", status=BatchStatus.FAILED)
CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "BatchesWarning"]
VALUES: dict[str, Any] = {
    "was_sent": False,
    "can_pass": False,
    "status": 429,
    "code": "c",
    "type": "t",
    "param": "p",
    "request_id": "req_1",
    "retry_after": 1.5,
    "should_retry": True,
    "body": {"message": "m"},
    "details": ("no @ $.id",),
    "line_number": 7,
    "after": "batch_0",
    "batch": BATCH,
    "batches": (BATCH, BATCH),
    "idempotency_key": "key",
    "problems": (Problem(code="invalid_url", message="m", line=3),),
    "more_problems": 2,
    "refusal": "I cannot help with that.",
    "reason": "length",
    "result": BatchResult(custom_id="a", outcome=Outcome.FAILED),
}


def full(cls: type[BatchesError]) -> BatchesError:
    """Return an exception of this class whose every attribute has a value of its own."""
    if cls.__init__ in {Exception.__init__, BatchesError.__init__, InputError.__init__}:
        return cls("message")
    names = [name for name in inspect.signature(cls).parameters if name != "message"]
    return cls("message", **{name: VALUES[name] for name in names})


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_every_error_survives_a_copy(cls: type[BatchesError], copied: Any) -> None:
    """Errors cross processes (pools, queues, workers) with all they carry."""
    error = full(cls)
    error.add_note("a note")
    other = copied(error)
    assert type(other) is cls
    assert other.args == error.args
    assert vars(other) == vars(error)
    assert str(other) == str(error)
    assert other.__notes__ == ["a note"]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_needs_nothing(cls: type[BatchesError]) -> None:
    """Each can be made without arguments, as pickle and tests do."""
    error = cls()
    assert isinstance(error, BatchesError)
    assert isinstance(str(error), str)
    assert type(pickle.loads(pickle.dumps(error))) is cls


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_shows_its_message(cls: type[BatchesError]) -> None:
    """The message is in the text and in the repr, with its arguments where Python looks for them."""
    error = full(cls)
    assert "message" in str(error)
    assert "message" in repr(error)
    assert error.args == ("message",)


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (TransportTimeoutError, TimeoutError),
        (WaitTimeoutError, TimeoutError),
        (InputError, ValueError),
        (WebhookSignatureError, ValueError),
    ],
)
def test_errors_are_what_python_calls_them(cls: type[BatchesError], builtin: type[Exception]) -> None:
    """Timeouts are caught as ``TimeoutError``, mistakes of the caller as ``ValueError``."""
    assert issubclass(cls, builtin)
    assert isinstance(full(cls), builtin)


def test_a_timeout_of_the_transport_is_a_transport_error() -> None:
    """Whoever handles "no answer came" handles silence too."""
    assert issubclass(TransportTimeoutError, TransportError)
    error = TransportTimeoutError("m", was_sent=False)
    assert (error.was_sent, error.can_pass, error.errno) == (False, True, None)


def test_a_warning_is_a_user_warning() -> None:
    """Python shows it by default."""
    assert issubclass(BatchesWarning, UserWarning)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "429 too many"),
        ({"code": "rate_limit_exceeded"}, "429 too many (code: rate_limit_exceeded)"),
        ({"param": "limit", "request_id": "req_1"}, "429 too many (param: limit, request id: req_1)"),
        ({"code": "c", "param": "p", "request_id": "r"}, "429 too many (code: c, param: p, request id: r)"),
        ({"type": "requests", "body": {"secret": 1}, "retry_after": 1.0}, "429 too many"),
    ],
)
def test_the_text_of_an_api_error(fields: dict[str, Any], text: str) -> None:
    """Status, message, and what one looks for first; not the body."""
    assert str(RateLimitError("too many", status=429, **fields)) == text


def test_defaults_claim_nothing() -> None:
    """An attribute that was not set is None; a failure without a reason may have been sent, and may pass."""
    error = APIError("m", status=500)
    for name in ("code", "type", "param", "request_id", "retry_after", "should_retry", "body"):
        assert getattr(error, name) is None
    assert (TransportError().was_sent, TransportError().can_pass) == (True, True)
    assert (DecodeError().details, DecodeError().line_number) == ((), None)
    assert PaginationError().after is None
    assert BatchFailedError().batch is WaitTimeoutError().batch is None
    assert WaitTimeoutError().batches == ()
    assert AmbiguousCreateError().idempotency_key is None


def test_the_tree_in_the_pages_is_the_tree() -> None:
    """The page on errors draws every class, under its parent."""
    page = Path(__file__).parents[1].joinpath("docs", "errors.md").read_text("utf-8")
    lines = page.partition("```\n")[2].partition("```")[0].splitlines()
    parents: list[str] = []
    drawn = set()
    for line in lines:
        depth = max(line.find("── "), 0) // 4 + ("── " in line)
        names = re.findall(r"[A-Z]\w*Error", line.partition(";")[0].partition(" also ")[0])
        assert names, line
        for name in names:
            assert depth == 0 or getattr(errors, name).__mro__[1].__name__ == parents[depth - 1]
        parents[depth:] = [names[0]]
        drawn.update(names)
    assert drawn == set(errors.__all__) - {"BatchesWarning"}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """The tree at the top of the module names every class, under its parent."""
    lines = [line for line in (errors.__doc__ or "").splitlines() if "Error" in line or "Warning" in line]
    drawn = {
        next(word for word in line.split() if word.isidentifier()): line for line in lines if line.startswith("    ")
    }
    assert sorted(drawn) == sorted(errors.__all__)
    for name, line in drawn.items():
        parent = getattr(errors, name).__mro__[1].__name__
        column = line.index(name)
        assert (column > drawn[parent].index(parent)) if parent in drawn else column == 4
