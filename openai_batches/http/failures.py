"""Whether something that failed may be tried again: what errors, statuses and error codes say about it.

Pure functions, which everything that repeats, waits or sends again asks. Nothing here knows the network.
"""

from __future__ import annotations

import enum

from openai_batches.errors import APIError, BatchesError, DecodeError, TransportError

__all__ = [
    "Repeat",
    "can_pass",
    "is_ambiguous",
    "is_out_of_quota",
    "is_refusal",
    "may_repeat",
    "may_succeed_later",
]

_OUT_OF_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
# Codes and types of errors in result lines, some of which have no status.
_PASSING = frozenset({"request_timeout", "rate_limit_exceeded", "server_error", "timeout"})
_CONFLICT, _TOO_MANY = 409, 429


class Repeat(enum.Enum):
    """When an attempt may be repeated."""

    SAFELY = "after any failure that can pass: doing it twice does no harm"
    SAFELY_ALSO_CONFLICTS = "likewise, and also after 409, since the state may be another one later"
    ONLY_UNDONE = "only when it is certain that the service did nothing"


def may_repeat(repeat: Repeat, error: BatchesError) -> bool:
    """Return whether a call that failed so may be tried again at once, as far as it depends on what the call does.

    A quota that is used up is not restored by trying again. The service's own ``x-should-retry`` decides whether a
    call that may be repeated is, never whether a create may be sent twice.
    """
    if isinstance(error, TransportError):
        return error.can_pass and (repeat is not Repeat.ONLY_UNDONE or not error.was_sent)
    if not isinstance(error, APIError) or is_out_of_quota(error.code, error.type):
        return False
    if repeat is Repeat.ONLY_UNDONE and error.status != _TOO_MANY:
        return False
    if error.should_retry is not None:
        return error.should_retry
    return _passes(error.status) or (error.status == _CONFLICT and repeat is Repeat.SAFELY_ALSO_CONFLICTS)


def can_pass(error: BaseException | None) -> bool:
    """Return whether the same call may succeed later: it was not answered, or the service has a problem of its own.

    A quota that is used up counts: it may be raised while a batch is waited for.
    """
    if isinstance(error, TransportError):
        return error.can_pass
    return isinstance(error, APIError) and _passes(error.status)


def is_refusal(error: BatchesError) -> bool:
    """Return whether the service understood the call and said no, so that it would say no again."""
    return isinstance(error, APIError) and 400 <= error.status < 500 and not _passes(error.status)


def is_ambiguous(error: BatchesError) -> bool:
    """Return whether the service may have done what was asked although the call failed so.

    Refused connections and answers that say no (3xx, 4xx) are clear. Silence, cuts, 408, 5xx, and an answer of success
    that cannot be read are not.
    """
    if isinstance(error, TransportError):
        return error.was_sent
    if isinstance(error, APIError):
        return error.status != _TOO_MANY and _passes(error.status)
    return isinstance(error, DecodeError)


def may_succeed_later(status: int | None, code: str | None, type: str | None) -> bool:
    """Return whether a request that failed, as its result line says, may succeed in another batch."""
    if is_out_of_quota(code, type):
        return False
    if code in _PASSING or type in _PASSING:
        return True
    return status is not None and (status in {0, _CONFLICT} or _passes(status))


def is_out_of_quota(*words: str | None) -> bool:
    """Return whether codes or types of an error say that the account has no money left."""
    return any(word in _OUT_OF_QUOTA for word in words)


def _passes(status: int) -> bool:
    return status in {408, _TOO_MANY} or status >= 500
