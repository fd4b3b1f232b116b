"""How long batches, files and uploads are kept, and the removal of what has expired."""

import asyncio
import itertools

from openai_batches.emulator.clock import Clock
from openai_batches.emulator.rules import Rules
from openai_batches.emulator.schedule import Schedule
from openai_batches.emulator.store.records import StoredBatch
from openai_batches.emulator.store.store import Store

_RUN_EVERY_S = 6 * 3600.0
# Real seconds between two runs, however fast the clock runs.
_PAUSE_S = 0.2
_AT_ONCE = 10_000


def is_kept(batch: StoredBatch, rules: Rules, now: float) -> bool:
    """Tell whether a batch can still be retrieved at `now` (emulated Unix seconds)."""
    kept_s = rules.batch_retention_s
    return kept_s is None or now < batch.created_at + kept_s or not batch.is_over


class ExpiredCleanup:
    """Frees the disk of files and uploads that have expired, and forgets batches that are kept no longer.

    What has expired is gone for clients at that very moment; its space is free a few emulated hours later at most.
    """

    def __init__(self, store: Store, clock: Clock, schedule: Schedule, rules: Rules) -> None:
        self._store = store
        self._clock = clock
        self._schedule = schedule
        self._rules = rules

    async def run(self) -> None:
        """Remove what has expired, and schedule the next run."""
        now = self._clock.now()
        self._store.give_up_uploads(now)
        files = tuple(self._store.files.items.values())
        for start in range(0, len(files), _AT_ONCE):
            some = files[start : start + _AT_ONCE]
            for file in [file for file in some if file.expires_at is not None and file.expires_at <= now]:
                self._store.find_file(file.scope, file.id, now)
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        for batch in self._forgettable(now):
            self._store.remove_batch(batch)
        self._schedule.at(self._clock.now() + self._until_next(), self.run)
        # With a data folder, bytes are deleted when the database does not name them any more.
        await self._store.commit()

    def _forgettable(self, now: float) -> list[StoredBatch]:
        kept_s = self._rules.batch_retention_s
        if kept_s is None:
            return []
        # Batches are in the order of their creation.
        old = itertools.takewhile(lambda batch: batch.created_at + kept_s <= now, self._store.batches.items.values())
        return [batch for batch in old if not is_kept(batch, self._rules, now)]

    def _until_next(self) -> float:
        """Return the emulated seconds until the next run."""
        delay_s = self._clock.real_delay(self._clock.now() + _RUN_EVERY_S)
        return _RUN_EVERY_S if not delay_s else _RUN_EVERY_S * max(1.0, _PAUSE_S / delay_s)
