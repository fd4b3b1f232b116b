"""How long to pause before a request is repeated or a batch is asked about again, and when to stop.

Pure functions of values: no clock, no randomness, no sleeping.
"""

from __future__ import annotations

from typing import Any

import attrs

from openai_batches._names import public
from openai_batches.errors import InputError

__all__ = ["PollPolicy", "RetryPolicy", "as_poll_policy"]


def _check_number(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{type(instance).__name__}.{attribute.name} must be a number, not {value!r}")


def _positive(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    _check_number(instance, attribute, value)
    if not value > 0:
        raise InputError(f"{type(instance).__name__}.{attribute.name} must be above 0, not {value!r}")


def _not_negative(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    _check_number(instance, attribute, value)
    if not value >= 0:
        raise InputError(f"{type(instance).__name__}.{attribute.name} must be 0 or more, not {value!r}")


def _share(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    _check_number(instance, attribute, value)
    if not 0 <= value <= 1:
        raise InputError(f"{type(instance).__name__}.{attribute.name} must be between 0 and 1, not {value!r}")


@public
@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often, and after which pauses, an attempt that may be repeated is repeated.

    Whether an attempt *may* be repeated depends on the call, not on the policy. A pause the service asks for
    (``retry-after-ms``, ``Retry-After``) is kept exactly; where that pause is longer than ``max_retry_after_s``, or
    would end after the budget, the error is raised at once instead of after a useless wait.

    Args:
        attempts: attempts in all, the first included; 1 switches retries off.
        budget_s: seconds from the first failure in which a further attempt may still start; an upload's own length
            does not count against it.
        initial_delay_s: the pause after the first failure; it doubles with each further one.
        max_delay_s: the longest pause that the policy chooses.
        jitter: the share of each pause that the policy chooses, 0 to 1, that is taken off at random.
        max_retry_after_s: the longest pause that is kept when the service asks for one.

    Raises:
        InputError: a number is out of its range.
    """

    attempts: int = attrs.field(default=5, validator=_positive)
    budget_s: float = attrs.field(default=120.0, validator=_not_negative)
    initial_delay_s: float = attrs.field(default=0.5, validator=_not_negative)
    max_delay_s: float = attrs.field(default=20.0, validator=_not_negative)
    jitter: float = attrs.field(default=0.25, validator=_share)
    max_retry_after_s: float = attrs.field(default=120.0, validator=_not_negative)

    def delay_s(
        self, attempt: int, *, elapsed_s: float, retry_after_s: float | None = None, chance: float = 0.0
    ) -> float | None:
        """Return the pause before the next attempt, in seconds, or None to stop.

        Args:
            attempt: the number of the attempt that failed, from 1.
            elapsed_s: seconds since the first failure.
            retry_after_s: the pause the service asked for, if any.
            chance: a random number, 0 to 1, for the jitter.
        """
        if attempt >= self.attempts:
            return None
        if retry_after_s is not None and retry_after_s > 0:
            delay = retry_after_s
            if delay > self.max_retry_after_s:
                return None
        else:
            # 2 ** 1100 is no float; the pause has long reached its ceiling by then.
            doubled = self.initial_delay_s * 2.0 ** min(attempt - 1, 60)
            delay = min(doubled, self.max_delay_s) * (1 - self.jitter * chance)
        return delay if elapsed_s + delay <= self.budget_s else None


@public
@attrs.frozen(kw_only=True)
class PollPolicy:
    """How long to wait before a batch is polled again: new batches are polled often, old ones rarely.

    The pause is a share of the batch's age, between a shortest and a longest pause, so that the end of a batch is
    noticed with a delay that is a small part of its duration, and never more than ``max_delay_s``. If the end can be
    estimated from its progress, the pause is at most half of the time until then, so that polls become more frequent
    towards the end.

    Args:
        min_delay_s: the shortest pause, in seconds.
        max_delay_s: the longest pause, in seconds.
        share_of_age: the pause as a share of the batch's age.
        jitter: the share of the pause, 0 to 1, that is taken off at random, so that the polls of many programs are
            spread out.

    Raises:
        InputError: a number is out of its range, or the shortest pause lies above the longest.
    """

    min_delay_s: float = attrs.field(default=5.0, validator=_positive)
    max_delay_s: float = attrs.field(default=300.0, validator=_positive)
    share_of_age: float = attrs.field(default=0.05, validator=_not_negative)
    jitter: float = attrs.field(default=0.1, validator=_share)

    def __attrs_post_init__(self) -> None:
        if self.min_delay_s > self.max_delay_s:
            raise InputError(
                f"PollPolicy.min_delay_s ({self.min_delay_s!r}) must not be above max_delay_s ({self.max_delay_s!r})"
            )

    @classmethod
    def every(cls, seconds: float) -> PollPolicy:
        """Return the policy that asks at a fixed interval, without jitter.

        Args:
            seconds: the interval, above 0.

        Raises:
            InputError: the interval is 0 or less.
        """
        return cls(min_delay_s=seconds, max_delay_s=seconds, jitter=0.0)

    def delay_s(self, *, age_s: float, remaining_s: float | None = None, chance: float = 0.0) -> float:
        """Return the pause before the next question, in seconds.

        Args:
            age_s: seconds since the batch was created, or since something began that makes it worth a closer look.
            remaining_s: seconds until the batch may end, as far as its progress tells.
            chance: a random number, 0 to 1, for the jitter.
        """
        delay = min(max(self.min_delay_s, age_s * self.share_of_age), self.max_delay_s)
        if remaining_s is not None:
            delay = min(delay, max(self.min_delay_s, remaining_s / 2))
        return delay * (1 - self.jitter * chance)


def as_poll_policy(poll: PollPolicy | float | None, otherwise: PollPolicy) -> PollPolicy:
    """Return the policy a caller means: a policy, a fixed number of seconds, or None for another's."""
    if isinstance(poll, PollPolicy):
        return poll
    if poll is None:
        return otherwise
    seconds: Any = poll
    if not isinstance(seconds, int | float) or not seconds > 0:
        raise InputError(f"poll must be seconds above 0 or a PollPolicy, not {seconds!r}")
    return PollPolicy.every(seconds)
