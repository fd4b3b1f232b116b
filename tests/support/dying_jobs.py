"""A program that lives several lives: in each it carries the same job, and is killed at a moment that it was told.

It reads one life a line, as JSON, and answers with one line when that life has ended. Each life is a process of its
own, forked here, so that it need not import anything; what ends it is SIGKILL, which no code of a process gets to see.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from openai_batches import BatchJob, BatchSession, PollPolicy, RetryPolicy, ShardLimits
from openai_batches.jobs.journal.records import Step
from openai_batches.jobs.journal.sqlite import Journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai_batches.jobs.journal.records import Attempt

_TICK_S = 0.002
_RETRY = RetryPolicy(attempts=10, initial_delay_s=0.005, max_delay_s=0.05)


class Death:
    """Ends the process at one commit of the journal, and writes down which commits there were."""

    def __init__(self, life: dict[str, Any]) -> None:
        self._kind, self._side, self._left = life.get("kind"), life.get("side"), life.get("nth", 0)
        self._log = os.open(life["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for name in ("begin", "save", "cancel", "finish"):
            setattr(Journal, name, self._wrapped(name, getattr(Journal, name)))

    def _wrapped(self, name: str, method: Callable[..., None]) -> Callable[..., None]:
        def commit(journal: Journal, *args: Any) -> None:
            kind = _kind(name, args)
            is_here = self._kind in {None, kind} and self._left > 0
            self._left -= is_here
            is_last = is_here and self._left == 0
            if is_last and self._side == "before":
                self._die(kind)
            method(journal, *args)
            if is_last:
                self._die(kind)
            os.write(self._log, f"{kind}\n".encode())

        return commit

    def _die(self, kind: str) -> None:
        os.write(self._log, f"{self._side} {kind}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


def _kind(name: str, args: tuple[Any, ...]) -> str:
    """What a commit is about: the method, or the step that an attempt has come to."""
    if name != "save":
        return name
    attempt: Attempt = args[0]
    return "tidied" if attempt.is_tidy and attempt.step is Step.VERIFIED else attempt.step.value


async def _carry(life: dict[str, Any]) -> None:
    limits = ShardLimits(max_requests=life["per_shard"])
    async with (
        BatchSession("any-key", base_url=life["url"], retry=_RETRY) as session,
        BatchJob(session, life["source"], limits=limits, poll=PollPolicy.every(0.02)) as job,
    ):
        ledger = await (job.cancel() if life.get("is_cancelled") else job.run())
        assert ledger.is_complete
        assert ledger.balances


def _live(life: dict[str, Any]) -> None:
    """Be the process of one life."""
    status = 1
    try:
        Death(life)
        asyncio.run(_carry(life))
        status = 0
    except BaseException:  # noqa: BLE001  # whatever it is, this process must not go on as its parent
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _ended(pid: int, kill_after_s: float | None) -> int:
    """Return how a life ended: 0 well, 1 with an error, -9 killed."""
    kill_at = None if kill_after_s is None else time.monotonic() + kill_after_s
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if kill_at is not None and time.monotonic() >= kill_at:
            os.kill(pid, signal.SIGKILL)
            kill_at = None
        time.sleep(_TICK_S)


def main() -> None:
    """Live the lives that are asked for."""
    for line in sys.stdin:
        life = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _live(life)
        status = _ended(pid, life.get("kill_after_s"))
        sys.stdout.write(json.dumps({"status": status}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
