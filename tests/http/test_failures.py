"""Whether what failed may be tried again."""

from __future__ import annotations

from typing import Any

import pytest

from openai_batches.errors import (
    APIError,
    AuthenticationError,
    BatchFailedError,
    DecodeError,
    InputError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
    TransportError,
    TransportTimeoutError,
)
from openai_batches.http.failures import (
    Repeat,
    can_pass,
    is_ambiguous,
    is_out_of_quota,
    is_refusal,
    may_repeat,
    may_succeed_later,
)

UNSENT = TransportError("refused", was_sent=False)
CUT = TransportError("reset")
LATE = TransportTimeoutError("silence")
LATE_CONNECT = TransportTimeoutError("no connection", was_sent=False)
HOPELESS = TransportError("certificate", was_sent=False, can_pass=False)
TOO_LARGE = TransportError("too large", can_pass=False)
QUOTA = {"code": "insufficient_quota"}
QUOTA_TYPE = {"type": "insufficient_quota"}


def status(number: int, **fields: Any) -> APIError:
    return APIError("m", status=number, **fields)


# error -> may be repeated: SAFELY, SAFELY_ALSO_CONFLICTS, ONLY_UNDONE; ambiguous
TABLE: list[tuple[Any, bool, bool, bool, bool]] = [
    (UNSENT, True, True, True, False),
    (CUT, True, True, False, True),
    (LATE, True, True, False, True),
    (LATE_CONNECT, True, True, True, False),
    (HOPELESS, False, False, False, False),
    (TOO_LARGE, False, False, False, True),
    (DecodeError("no JSON"), False, False, False, True),
    (InputError("no key"), False, False, False, False),
    (BatchFailedError("failed"), False, False, False, False),
    (status(302), False, False, False, False),
    (status(400), False, False, False, False),
    (status(401), False, False, False, False),
    (status(403), False, False, False, False),
    (status(404), False, False, False, False),
    (status(408), True, True, False, True),
    (status(409), False, True, False, False),
    (status(413), False, False, False, False),
    (status(422), False, False, False, False),
    (status(425), False, False, False, False),
    (status(429), True, True, True, False),
    (status(429, **QUOTA), False, False, False, False),
    (status(429, **QUOTA_TYPE), False, False, False, False),
    (status(429, code="billing_hard_limit_reached"), False, False, False, False),
    (status(429, should_retry=True, **QUOTA), False, False, False, False),
    (status(500), True, True, False, True),
    (status(503), True, True, False, True),
    (status(500, **QUOTA), False, False, False, True),
    # The service's own word
    (status(400, should_retry=True), True, True, False, False),
    (status(409, should_retry=True), True, True, False, False),
    (status(409, should_retry=False), False, False, False, False),
    (status(429, should_retry=True), True, True, True, False),
    (status(429, should_retry=False), False, False, False, False),
    (status(500, should_retry=True), True, True, False, True),
    (status(500, should_retry=False), False, False, False, True),
]


@pytest.mark.parametrize(("error", "safely", "also_conflicts", "only_undone", "ambiguous"), TABLE, ids=repr)
def test_what_may_be_repeated(
    error: Any, safely: bool, also_conflicts: bool, only_undone: bool, ambiguous: bool
) -> None:
    """Each failure and each kind of verb: may it be sent again, and may it have been done already?"""
    assert may_repeat(Repeat.SAFELY, error) is safely
    assert may_repeat(Repeat.SAFELY_ALSO_CONFLICTS, error) is also_conflicts
    assert may_repeat(Repeat.ONLY_UNDONE, error) is only_undone
    assert is_ambiguous(error) is ambiguous


@pytest.mark.parametrize(("error", "only_undone", "ambiguous"), [(row[0], row[3], row[4]) for row in TABLE], ids=repr)
def test_what_may_have_been_done_is_never_sent_blindly_again(error: Any, only_undone: bool, ambiguous: bool) -> None:
    """No failure that leaves open whether a batch was created is one after which a create is repeated."""
    assert not (only_undone and ambiguous)
    assert not (may_repeat(Repeat.ONLY_UNDONE, error) and is_ambiguous(error))


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (TransportError("cut"), True),
        (TransportError("certificate", can_pass=False), False),
        (RateLimitError(status=429), True),
        (APIError(status=408), True),
        (InternalServerError(status=500), True),
        (AuthenticationError(status=401), False),
        (NotFoundError(status=404), False),
        (ValueError(), False),
    ],
)
def test_what_passes(error: Exception, passes: bool) -> None:
    """No answer, too many questions and trouble at the service pass; a refusal does not."""
    assert can_pass(error) == passes


def test_the_account_is_out_of_quota() -> None:
    """By the code or the type of an error, under either of its names."""
    assert is_out_of_quota(None, "insufficient_quota")
    assert is_out_of_quota("billing_hard_limit_reached")
    assert not is_out_of_quota("rate_limit_exceeded", None)
    assert not is_out_of_quota()


@pytest.mark.parametrize("row", TABLE, ids=repr)
def test_a_refusal_is_neither_passing_nor_ambiguous(row: Any) -> None:
    """What was refused is not waited for, and was not done."""
    error = row[0]
    assert not (is_refusal(error) and (can_pass(error) or is_ambiguous(error)))
    is_4xx = isinstance(error, APIError) and 400 <= error.status < 500
    assert is_refusal(error) == (is_4xx and error.status not in {408, 429})


@pytest.mark.parametrize(
    ("number", "code", "kind", "may"),
    [
        (429, "rate_limit_exceeded", None, True),
        (None, None, "server_error", True),
        (0, None, None, True),
        (409, None, None, True),
        (500, None, None, True),
        (400, "invalid_value", None, False),
        (None, None, None, False),
        (429, "billing_hard_limit_reached", None, False),
        (500, None, "insufficient_quota", False),
    ],
)
def test_what_may_succeed_in_another_batch(number: int | None, code: str | None, kind: str | None, may: bool) -> None:
    """A conflict and an answer without a status may; what costs money that is not there may not."""
    assert may_succeed_later(number, code, kind) is may
