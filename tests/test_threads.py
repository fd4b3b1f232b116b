"""Blocking work in threads."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from openai_batches._threads import (
    begin_in_thread,
    ends_within,
    in_daemon_thread,
    in_thread,
    in_thread_to_its_end,
    in_thread_without_fail,
    in_threads,
)

if TYPE_CHECKING:
    from collections.abc import Generator


async def test_work_in_the_background_gives_its_value_or_its_error() -> None:
    """As a call would."""
    assert await in_daemon_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await in_daemon_thread(lambda: 1 // 0)


def test_nobody_waits_for_work_that_was_given_up() -> None:
    """Neither while the loop runs on, nor when it is closed."""
    for runs_on in (True, False):
        go, is_over = threading.Event(), threading.Event()

        def work(go: threading.Event = go, is_over: threading.Event = is_over) -> None:
            go.wait(30)
            is_over.set()

        async def run(go: threading.Event = go, *, runs_on: bool = runs_on) -> None:
            task = asyncio.ensure_future(in_daemon_thread(work))
            await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.wait({task})
            if runs_on:
                before = threading.active_count()
                go.set()
                while threading.active_count() >= before:  # noqa: ASYNC110  # threads set no events
                    await asyncio.sleep(0.001)
                await asyncio.sleep(0)

        asyncio.run(run())
        go.set()
        assert is_over.wait(30)


async def test_steps_of_a_generator_may_be_false() -> None:
    """The end is not taken from what the generator yields."""
    async with aclosing(in_threads(step for step in (0, None, []))) as steps:
        assert [step async for step in steps] == [0, None, []]


async def test_a_generator_that_is_left_early_is_closed_when_its_step_has_ended() -> None:
    """Never while a thread is still inside it."""
    is_inside, go, is_closed = threading.Event(), threading.Event(), threading.Event()

    def steps() -> Generator[int]:
        try:
            is_inside.set()
            go.wait(30)
            yield 1
        finally:
            is_closed.set()

    task = asyncio.ensure_future(anext(in_threads(steps())))
    assert await in_thread(is_inside.wait, 30)
    task.cancel()
    await asyncio.wait({task})
    assert not is_closed.is_set()
    go.set()
    assert await in_thread(is_closed.wait, 30)


async def test_cleaning_up_happens_for_a_caller_that_is_cancelled() -> None:
    """Also where every thread was busy."""
    is_done = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    go = threading.Event()
    busy = begin_in_thread(lambda: go.wait(30))
    task = asyncio.ensure_future(in_thread_without_fail(is_done.set))
    await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait({task})
    go.set()
    await busy
    assert await in_thread(is_done.wait, 30)


async def test_a_cancelled_caller_waits_for_the_end() -> None:
    """Where nothing may run on behind it."""
    is_inside, go, is_over = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        is_inside.set()
        go.wait(30)
        is_over.set()

    task = asyncio.ensure_future(in_thread_to_its_end(work))
    assert await in_thread(is_inside.wait, 30)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_over.is_set()


def test_what_does_not_end_in_time_is_left_running() -> None:
    """And what does is waited for."""
    go = threading.Event()
    assert ends_within(lambda: None, 30, name="quick")
    assert not ends_within(lambda: go.wait(30) and None, 0.01, name="slow")
    go.set()
