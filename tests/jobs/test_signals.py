"""A signal stops a task where it can go on from, and says so; nobody else's wish to stop it is mistaken for one."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from openai_batches import InputError, JobStoppedError
from openai_batches.jobs.signals import stopped_elsewhere, stopping

if TYPE_CHECKING:
    from collections.abc import Coroutine

pytestmark = pytest.mark.skipif(os.name == "nt", reason="loops watch signals on POSIX alone")

BOTH = (signal.SIGTERM, signal.SIGUSR1)


def watched() -> set[signal.Signals]:
    """The signals that somebody handles."""
    return {number for number in BOTH if signal.getsignal(number) not in {signal.SIG_DFL, signal.SIG_IGN}}


async def endless() -> None:
    await asyncio.Event().wait()


async def stopped(work: Coroutine[None, None, None], number: signal.Signals | None) -> asyncio.Task[None]:
    """Run some work under a watch, and send a signal."""
    task = asyncio.ensure_future(work)
    try:
        with stopping(task, BOTH):
            assert watched() == set(BOTH)
            if number is not None:
                asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
            await task
    finally:
        assert watched() == set()
    return task


@pytest.mark.parametrize("number", BOTH)
async def test_a_signal_cancels_the_task_and_says_which_it_was(number: signal.Signals) -> None:
    with pytest.raises(
        JobStoppedError, match=f"{number.name} stopped the job: the batches that it has created, if any"
    ):
        await asyncio.wait_for(stopped(endless(), number), 60)


async def test_the_task_has_time_to_stop(tmp_path: object) -> None:
    steps: list[str] = []

    async def careful() -> None:
        try:
            await endless()
        finally:
            await asyncio.sleep(0.01)
            steps.append("written down")

    with pytest.raises(JobStoppedError):
        await asyncio.wait_for(stopped(careful(), signal.SIGTERM), 60)
    assert steps == ["written down"]


async def test_a_task_that_ends_all_the_same_has_ended() -> None:
    async def stubborn() -> None:
        try:
            await endless()
        except asyncio.CancelledError:
            return

    assert (await asyncio.wait_for(stopped(stubborn(), signal.SIGTERM), 60)).done()


async def test_without_a_signal_nothing_changes() -> None:
    await stopped(asyncio.sleep(0), None)


async def test_errors_of_the_task_are_its_own() -> None:
    async def failing() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stopped(failing(), None)


async def test_no_signals_leave_everything_as_it_is() -> None:
    task = asyncio.ensure_future(asyncio.sleep(0))
    with stopping(task, ()):
        assert watched() == set()
        await task


async def test_a_task_that_somebody_else_cancels_is_cancelled() -> None:
    task = asyncio.ensure_future(endless())
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError), stopping(task, BOTH):
        await task


async def test_a_waiter_that_is_cancelled_as_well_is_cancelled() -> None:
    """A ``timeout`` or a ``TaskGroup`` around it counts on that."""

    async def waiter() -> None:
        task = asyncio.ensure_future(endless())
        loop = asyncio.get_running_loop()
        current = asyncio.current_task()
        assert current is not None
        with stopping(task, BOTH):
            loop.call_soon(os.kill, os.getpid(), signal.SIGTERM)
            loop.call_later(0.02, current.cancel)
            try:
                await asyncio.shield(asyncio.wait([task]))
            finally:
                assert task.done()
            await asyncio.Event().wait()

    waiting = asyncio.ensure_future(waiter())
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(waiting, 60)
    assert watched() == set()


async def test_a_task_that_somebody_else_has_stopped_is_no_cancellation_of_the_waiter() -> None:
    task = asyncio.ensure_future(endless())
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(JobStoppedError, match="stopped elsewhere"), stopped_elsewhere():
        await task
    with stopped_elsewhere():
        await asyncio.sleep(0)


async def test_a_waiter_that_is_cancelled_is_cancelled() -> None:
    async def waiter() -> None:
        with stopped_elsewhere():
            await endless()

    waiting = asyncio.ensure_future(waiter())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_signals_that_cannot_be_watched_are_named_and_none_is_watched() -> None:
    task = asyncio.ensure_future(asyncio.sleep(0))
    with pytest.raises(InputError, match=r"stop_on cannot watch .*SIGKILL"), stopping(task, (*BOTH, signal.SIGKILL)):
        pytest.fail("nothing is run")
    assert watched() == set()
    await task


def test_signals_come_to_the_main_thread_alone() -> None:
    said: list[str] = []

    async def watch() -> None:
        task = asyncio.ensure_future(asyncio.sleep(0))
        try:
            with stopping(task, BOTH):
                pytest.fail("nothing is run")
        except InputError as error:
            said.append(str(error))
        await task

    thread = threading.Thread(target=lambda: asyncio.run(watch()))
    thread.start()
    thread.join()
    assert len(said) == 1
    assert "cannot watch" in said[0]
