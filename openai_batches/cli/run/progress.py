"""How far a job is, from its events and its ledger, and how much time is left."""

from collections import deque
from typing import TYPE_CHECKING

import attrs

from openai_batches import BatchStatus, JobEventKind, Outcome, Step

if TYPE_CHECKING:
    from openai_batches import Batch, JobEvent, Ledger, ShardLedger
    from openai_batches.jobs.journal.sqlite import JournalView

__all__ = ["JobProgress", "Pace", "ShardRow"]

# What a person calls the steps between which no batch runs.
_STATES = {
    Step.PLANNED: "waiting",
    Step.UPLOADING: "uploading",
    Step.UPLOADED: "uploaded",
    Step.CREATING: "creating",
    Step.CREATED: BatchStatus.VALIDATING.value,
    Step.ENDED: "downloading",
    Step.COLLECTED: "counting",
    Step.VERIFIED: "done",
}
_WITH_BATCH = frozenset({Step.CREATED, Step.ENDED, Step.COLLECTED})
# A pace is that of the last half of the time, and of a minute at least; it is none without so much of either.
_SHORTEST_S, _LEAST_S, _LEAST_SHARE = 60.0, 3.0, 0.01
_MAX_POINTS = 2_000


@attrs.frozen(kw_only=True)
class ShardRow:
    """A shard as it is shown.

    Attributes:
        shard: its number.
        state: in a word.
        attempt: the attempt at it.
        inputs: its requests.
        done: how many of them have an outcome, or an answer as the service counts.
        failed: how many of these did not succeed.
        batch_id: its batch.
    """

    shard: int
    state: str
    attempt: int
    inputs: int
    done: int
    failed: int
    batch_id: str | None

    @property
    def is_active(self) -> bool:
        """Whether something happens to it right now."""
        return self.state not in {"waiting", "uploaded", "no capacity", "done"}


class Pace:
    """How fast requests are done, as far as that can be told."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque(maxlen=_MAX_POINTS)
        self._begin_s = 0.0

    def note(self, now_s: float, done: int) -> None:
        """Note how many requests are done at a moment."""
        if not self._points:
            self._begin_s = now_s
        if not self._points or self._points[-1][1] != done:
            self._points.append((now_s, done))
        while len(self._points) > 1 and self._points[1][0] <= self._since_s(now_s):
            self._points.popleft()

    def left_s(self, now_s: float, total: int) -> float | None:
        """Return in how many seconds all will be done; None as long as there is too little to tell it from."""
        if not self._points:
            return None
        (first_s, before), (last_s, done) = self._points[0], self._points[-1]
        took_s, gained = now_s - max(first_s, self._since_s(now_s)), done - before
        if took_s < _LEAST_S or gained < max(1, total * _LEAST_SHARE):
            return None
        # Where nothing has come for a while, nothing will for as long, at least.
        return max((total - done) * took_s / gained, now_s - last_s)

    def _since_s(self, now_s: float) -> float:
        return now_s - max(_SHORTEST_S, (now_s - self._begin_s) / 2)


class JobProgress:
    """How far each shard of a job is, and all of it."""

    def __init__(self) -> None:
        self.rows: tuple[ShardRow, ...] = ()
        self.ledger: Ledger | None = None
        self.resent: int = 0
        self._batches: dict[int, Batch] = {}
        self._refused: set[int] = set()

    def add_journal(self, view: "JournalView") -> None:
        """Take in what the journal says of the batches of an earlier run."""
        for attempt in view.attempts:
            if attempt.batch is not None:
                self._batches[attempt.shard] = attempt.batch

    def add_event(self, event: "JobEvent") -> None:
        """Take in what happened."""
        if event.shard is not None and event.batch is not None:
            self._batches[event.shard] = event.batch
        if event.kind is JobEventKind.RESENT:
            self.resent += 1
        if event.shard is not None:
            # Any other news of a shard is that it goes on.
            (self._refused.add if event.kind is JobEventKind.REFUSED else self._refused.discard)(event.shard)

    def update(self, ledger: "Ledger") -> None:
        """Take in what the job says of itself."""
        self.ledger = ledger
        self.rows = tuple(map(self._row, ledger.shards))

    @property
    def total(self) -> int:
        """The number of requests."""
        return sum(row.inputs for row in self.rows)

    @property
    def done(self) -> int:
        """How many of them have an outcome, or an answer as the service counts."""
        return sum(row.done for row in self.rows)

    @property
    def failed(self) -> int:
        """How many of these did not succeed."""
        return sum(row.failed for row in self.rows)

    @property
    def shards_done(self) -> int:
        """How many shards are done."""
        return sum(row.state == "done" for row in self.rows)

    def _row(self, shard: "ShardLedger") -> ShardRow:
        ended = sum(shard.outcomes.values())
        failed = ended - shard.outcomes.get(Outcome.SUCCEEDED, 0)
        state, batch_id = _STATES[shard.step], shard.batch_ids[-1] if shard.batch_ids else None
        batch = self._batches.get(shard.shard)
        if shard.step in _WITH_BATCH and batch is not None and batch.id == batch_id:
            state = state if shard.step is not Step.CREATED or batch.is_terminal else batch.status.value
            counts = batch.request_counts
            if counts is not None:
                ended += min(counts.completed + counts.failed, shard.unfinished)
                failed += min(counts.failed, shard.unfinished)
        is_refused = shard.step is Step.UPLOADED and shard.shard in self._refused
        return ShardRow(
            shard=shard.shard,
            state="no capacity" if is_refused else state,
            attempt=shard.attempts,
            inputs=shard.inputs,
            done=ended,
            failed=failed,
            # That of an attempt that failed is no news of the one that waits.
            batch_id=batch_id if shard.step in _WITH_BATCH or shard.step is Step.VERIFIED else None,
        )
