"""Limits on how often a client may do something, and on how many bytes a project may keep."""

import math
from collections import OrderedDict, deque

from openai_batches.emulator.answers import APIError
from openai_batches.emulator.clock import Clock
from openai_batches.emulator.rules import Rules
from openai_batches.emulator.store.store import Store


class RateLimit:
    """At most so many acts of each owner in any span of time.

    Remembers the moments of the acts of one span (emulated seconds), and forgets owners without any. None has no limit.
    """

    def __init__(self, *, clock: Clock, limit: int | None, span_s: float, name: str) -> None:
        self._clock = clock
        self._limit = limit
        self._span_s = span_s
        self._name = name
        # Owners in the order of their latest act.
        self._acts: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many moments are remembered."""
        return sum(map(len, self._acts.values()))

    def take(self, owner: str) -> None:
        """Count one act."""
        if self._limit is None:
            return
        now = self._clock.now()
        self._forget(now)
        acts = self._acts.get(owner) or deque()
        while acts and acts[0] <= now - self._span_s:
            acts.popleft()
        if len(acts) >= self._limit:
            raise self._refusal(acts[0] + self._span_s if acts else now + self._span_s)
        acts.append(now)
        self._acts[owner] = acts
        self._acts.move_to_end(owner)

    def _forget(self, now: float) -> None:
        while self._acts:
            owner, acts = next(iter(self._acts.items()))
            if acts[-1] > now - self._span_s:
                return
            del self._acts[owner]

    def _refusal(self, free_at: float) -> APIError:
        # A client waits in real seconds. Where waiting alone does not help, it gets the emulated seconds.
        delay_s = self._clock.real_delay(free_at)
        wait_s = max(1, math.ceil(free_at - self._clock.now() if delay_s is None else delay_s))
        message = (
            f"Rate limit reached for {self._name}: limit {self._limit} in {self._span_s:g} s. "
            f"Please try again in {wait_s} s."
        )
        headers = {"Retry-After": str(wait_s)}
        return APIError(message, status=429, type="requests", code="rate_limit_exceeded", headers=headers)


class Limits:
    """The limits of one server on what its clients do."""

    def __init__(self, *, rules: Rules, clock: Clock, store: Store) -> None:
        self._rules = rules
        self._clock = clock
        self._store = store
        self._batches = RateLimit(
            clock=clock, limit=rules.max_batches_per_hour, span_s=3600, name="batches created in your project"
        )
        self._uploads = RateLimit(
            clock=clock, limit=rules.max_uploads_per_minute, span_s=60, name="files uploaded with your API key"
        )

    def count_batch(self, project: str) -> None:
        """Count a batch that is going to be made."""
        self._batches.take(project)

    def count_upload(self, key: str) -> None:
        """Count an upload."""
        self._uploads.take(key)

    def check_space(self, project: str, size: int) -> None:
        """Check that a project may keep `size` more bytes."""
        limit, store = self._rules.max_project_bytes, self._store
        if limit is None or size + store.bytes_of(project) <= limit:
            return
        for file in store.files.of(project):
            # This removes the file if it has expired.
            store.find_file(project, file.id, self._clock.now())
        if size + store.bytes_of(project) > limit:
            raise APIError(f"The files of a project may have {limit} bytes together. Delete some first.")
