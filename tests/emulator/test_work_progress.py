"""How a batch's lines are worked through: how many at once, in which turns, and what is written when."""

import asyncio
import gc
import logging
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.asking import chat_line, jsonl
from support.working import Watched, WorkMaker, ids_of, lines_of, until

from openai_batches.emulator import EchoExecutor, LineAnswer, LineError
from openai_batches.emulator.executors.executor import CallLimit, ExecutorHandle


class Slowish(EchoExecutor):
    """A plain executor that takes its time, and can be told when it is enough."""

    takes_real_time = True

    def __init__(self) -> None:
        super().__init__()
        self.before = lambda: None

    def answer(self, url: str, body: dict[str, Any], custom_id: str) -> Any:
        self.before()
        return super().answer(url, body, custom_id)


async def test_the_bound_holds_over_all_batches(maker: WorkMaker) -> None:
    """No more calls run at once than the executor allows, however many batches there are, and it does use them all."""
    watched = Watched(concurrency=5)
    handle = ExecutorHandle(watched)
    works = [maker.work(handle, f"batch_{number}") for number in range(30)]
    await asyncio.gather(*(work.run_to(10) for work in works))
    assert watched.most_running == 5
    assert set(watched.answered.values()) == {1}
    assert sum(len(ids_of(work.run.output)) for work in works) == len(watched.answered) == 300


async def test_two_hundred_batches_take_turns_with_lines(maker: WorkMaker) -> None:
    """Lines are let in by the order of asking, and each batch asks for one at a time: all go on together."""
    gate = asyncio.Event()
    watched = Watched(concurrency=8, gate=gate)
    handle = ExecutorHandle(watched)
    works = [maker.work(handle, f"batch_{number}", lines=20) for number in range(200)]
    running = asyncio.gather(*(work.run_to(20) for work in works))
    await until(lambda: all(work._slot for work in works))
    before = len(watched.asked)
    gate.set()
    await running
    begun = Counter({f"batch_{number}": 0 for number in range(200)})
    spread = []
    for custom_id in watched.asked[before : before + 200 * 10]:
        begun[custom_id.rpartition("-")[0]] += 1
        spread.append(max(begun.values()) - min(begun.values()))
    assert before <= 8
    assert max(spread) <= 3
    assert set(watched.answered.values()) == {1}


async def test_plain_executors_take_turns_too(maker: WorkMaker) -> None:
    """A batch of many lines that run in threads does not keep others waiting until its end."""
    handle = ExecutorHandle(EchoExecutor())
    large, small = maker.work(handle, "large", lines=4000), maker.work(handle, "small", lines=10)
    running = asyncio.create_task(large.run_to(4000))
    await until(lambda: large.done)
    await small.run_to(10)
    assert 0 < large.done < 4000
    await running
    assert ids_of(large.run.output) == [f"large-{index}" for index in range(4000)]


async def test_an_answer_is_written_when_it_is_there(maker: WorkMaker) -> None:
    """A line that hangs does not keep the answers of others out of the file, nor do lines wait for each other."""
    gate = asyncio.Event()

    async def execute(url: Any, body: Any, custom_id: str) -> Any:
        if custom_id == "batch_1-0":
            await gate.wait()
        return 200, {}

    work = maker.work(execute, lines=300)
    running = asyncio.create_task(work.run_to(300))
    await until(lambda: work.done == 299)
    assert len(ids_of(work.run.output)) == 299
    gate.set()
    await running
    assert ids_of(work.run.output)[-1] == "batch_1-0"


async def test_a_slot_is_taken_until_the_answer_is_written(maker: WorkMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash can lose is never more than runs at once: an unwritten answer counts as running."""
    watched = Watched(concurrency=4)
    work = maker.work(watched, lines=40)
    unwritten = []
    write = work._results.write

    def watch(group: Any) -> None:
        unwritten.append(len(watched.asked) - work.done)
        write(group)

    monkeypatch.setattr(work._results, "write", watch)
    await work.run_to(40)
    assert max(unwritten) <= 4


async def test_a_goal_is_kept_exactly(maker: WorkMaker) -> None:
    """Timed progress runs as many lines as are due, in the order of the file, whichever kind the executor is."""
    for number, executor in enumerate([EchoExecutor(), Watched()]):
        work = maker.work(executor, f"batch_{number}")
        for goal in (0, 3, 3, 2, 7):
            await work.run_to(goal)
        assert work.done == 7
        assert sorted(ids_of(work.run.output)) == [f"batch_{number}-{index}" for index in range(7)]
        await work.give_up("batch_expired", "too late")
        assert ids_of(work.run.errors) == [f"batch_{number}-{index}" for index in range(7, 10)]
        assert work.done == 10


@pytest.mark.parametrize("executor", [EchoExecutor(), Watched()])
async def test_blank_lines_are_none(maker: WorkMaker, executor: Any) -> None:
    """Empty lines are passed over, those that are worked through and those that are given up."""
    source = maker.folder / "batch_1.in"
    source.write_bytes(b"\n".join(jsonl(chat_line(f"r{index}")) for index in range(4)) + b" \n")
    work = maker.work(executor, lines=4)
    await work.run_to(2)
    await work.give_up("batch_expired", "expired")
    assert (ids_of(work.run.output), ids_of(work.run.errors)) == (["r0", "r1"], ["r2", "r3"])


async def test_equal_inputs_give_equal_bytes(maker: WorkMaker, tmp_path: Path) -> None:
    """The ids of a line follow from its batch and its custom_id, not from its turn."""
    contents = set()
    for number, steps in enumerate([(10,), (1, 2, 3, 10), (9, 10)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        work = WorkMaker(folder, maker.threads).work(EchoExecutor(now=lambda: 0))
        for goal in steps:
            await work.run_to(goal)
        contents.add(work.run.output.read_bytes())
    assert len(contents) == 1
    lines = lines_of(work.run.output)
    assert len({line["id"] for line in lines}) == len({line["response"]["request_id"] for line in lines}) == 10
    assert all(line["id"].startswith("batch_req_684ee180") and len(line["id"]) == 42 for line in lines)
    other = maker.work(EchoExecutor(), lines=1, batch_id="another")
    await other.run_to(1)
    assert lines_of(other.run.output)[0]["id"] != lines[0]["id"]


async def test_what_an_executor_can_say(maker: WorkMaker, caplog: pytest.LogCaptureFixture) -> None:
    """A pair or an answer with its request id; or an error without a response; anything else is a 500."""

    async def execute(url: Any, body: Any, custom_id: str) -> Any:
        match custom_id[-1]:
            case "0":
                return LineAnswer(200, {"usage": {"input_tokens": 3}}, "req-7")
            case "1":
                raise LineError("custom", "As it were.")
            case "2":
                raise TimeoutError
            case "3":
                raise asyncio.CancelledError
            case "4":
                return 200, {"deep": "\ud800"}
            case "5":
                return None
            case _:
                return 299, {"usage": "free"}

    work = maker.work(execute, lines=7)
    with caplog.at_level(logging.ERROR):
        await work.run_to(7)
    first, last = sorted(lines_of(work.run.output), key=lambda line: line["custom_id"])
    assert first["response"] == {"status_code": 200, "request_id": "req-7", "body": {"usage": {"input_tokens": 3}}}
    assert last["response"]["status_code"] == 299
    failed = {line["custom_id"][-1]: line for line in lines_of(work.run.errors)}
    assert failed["1"]["response"] is failed["2"]["response"] is None
    assert failed["1"]["error"] == {"code": "custom", "message": "As it were."}
    assert failed["2"]["error"] == {"code": "request_timeout", "message": "The request timed out."}
    assert [failed[name]["response"]["status_code"] for name in "345"] == [500, 500, 500]
    assert caplog.text.count("the executor failed") == 1


async def test_stopping_lets_calls_end(maker: WorkMaker) -> None:
    """After a stop no line starts, and those that run are waited for."""
    gate = asyncio.Event()
    watched = Watched(concurrency=3, gate=gate)
    work = maker.work(watched)
    running = asyncio.create_task(work.run_to(10))
    await until(lambda: watched.running == 3)
    work.stop()
    await asyncio.sleep(0.01)
    assert not running.done()
    gate.set()
    await running
    assert (work.done, watched.most_running) == (3, 3)
    await work.run_to(10)
    await work.give_up("batch_cancelled", "cancelled")
    assert ids_of(work.run.errors) == [f"batch_1-{index}" for index in range(3, 10)]


async def test_interrupting_cancels_calls(maker: WorkMaker) -> None:
    """Calls that were cut short have no result; their lines are given up with the others, each once."""
    watched = Watched(concurrency=3, gate=asyncio.Event())
    handle = ExecutorHandle(watched)
    work = maker.work(handle)
    running = asyncio.create_task(work.run_to(10))
    await until(lambda: watched.running == 3)
    work.interrupt()
    await running
    assert (work.done, watched.running) == (0, 0)
    await work.give_up("batch_expired", "expired")
    assert Counter(ids_of(work.run.errors)) == Counter(f"batch_1-{index}" for index in range(10))
    assert not work.run.output.exists()
    assert [handle.limit.acquire().done() for _ in range(4)] == [True, True, True, False]


async def test_a_call_is_cancelled_before_it_begins(maker: WorkMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line whose call was only about to begin is not lost."""
    watched = Watched()
    work = maker.work(watched, lines=1)
    enter = work._acquire_slot

    async def enter_and_be_late() -> bool:
        asyncio.get_running_loop().call_soon(work.interrupt)
        return await enter()

    monkeypatch.setattr(work, "_acquire_slot", enter_and_be_late)
    await work.run_to(1)
    assert watched.asked == []
    await work.give_up("batch_expired", "expired")
    assert ids_of(work.run.errors) == ["batch_1-0"]


async def test_stopping_does_not_wait_for_other_batches(maker: WorkMaker) -> None:
    """A batch that waits for a place which another one holds leaves the queue at once."""
    gate = asyncio.Event()
    watched = Watched(concurrency=1, gate=gate)
    handle = ExecutorHandle(watched)
    first, second, third = (maker.work(handle, name) for name in ("batch_1", "batch_2", "batch_3"))
    running = asyncio.create_task(first.run_to(1))
    await until(lambda: watched.running)
    waiting = asyncio.create_task(second.run_to(10))
    queued = asyncio.create_task(third.run_to(1))
    await until(lambda: second._slot and third._slot)
    second.stop()
    await asyncio.wait_for(waiting, 60)
    assert second.done == 0
    gate.set()
    await asyncio.gather(running, queued)
    await second.give_up("batch_cancelled", "cancelled")
    assert len(ids_of(second.run.errors)) == 10


async def test_stopping_with_a_free_slot(maker: WorkMaker) -> None:
    """A batch that is stopped in the moment its turn comes gives its place to the next."""
    handle = ExecutorHandle(Watched(concurrency=1))
    work = maker.work(handle)
    held = handle.limit.acquire()
    running = asyncio.create_task(work.run_to(1))
    await until(lambda: work._slot)
    assert held.done()
    handle.limit.release()
    work.stop()
    await running
    assert work.done == 0
    assert handle.limit.acquire().done()


@pytest.mark.parametrize("has_turn", [False, True])
async def test_cancelled_in_the_queue(maker: WorkMaker, has_turn: Any) -> None:
    """Cancelling the task that runs the lines frees its place, whether its turn has come or not."""
    handle = ExecutorHandle(Watched(concurrency=1))
    work = maker.work(handle)
    handle.limit.acquire()
    running = asyncio.create_task(work.run_to(1))
    await until(lambda: work._slot)
    if has_turn:
        handle.limit.release()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    if not has_turn:
        handle.limit.release()
    assert handle.limit.acquire().done()


async def test_cancelled_on_the_way(maker: WorkMaker) -> None:
    """When the server closes, calls are cancelled, and what was answered before is written."""
    gate = asyncio.Event()

    async def execute(url: Any, body: Any, custom_id: str) -> Any:
        if custom_id != "batch_1-0":
            await gate.wait()
        return 200, {}

    work = maker.work(execute)
    running = asyncio.create_task(work.run_to(10))
    await until(lambda: work._answered or work.done)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ids_of(work.run.output) == ["batch_1-0"]
    assert (work._calls, work._writer) == (set(), None)


async def test_a_full_disk_ends_the_work(maker: WorkMaker) -> None:
    """An answer that cannot be written is an error of the batch; nothing runs on behind its back."""
    watched = Watched(concurrency=2)
    handle = ExecutorHandle(watched)
    work = maker.work(handle, lines=50)
    work.run.output.mkdir()
    with pytest.raises(OSError, match=r"batch_1\.out"):
        await work.run_to(50)
    assert len(watched.asked) <= 4
    assert (work._calls, work._writer) == (set(), None)
    assert [handle.limit.acquire().done() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("executor", [EchoExecutor(), Watched()])
async def test_an_input_that_was_cut(maker: WorkMaker, executor: Any) -> None:
    """A file that has fewer lines than validation counted is an error, not a wait without end."""
    work = maker.work(executor, lines=10)
    with pytest.raises(EOFError, match="fewer lines"):
        await work.run_to(11)
    assert work.done == 10


async def test_plain_executors_that_take_time(maker: WorkMaker) -> None:
    """A plain executor that is slow is stopped between two lines, and its answers are in the file soon."""
    executor = Slowish()
    work = maker.work(executor, lines=2000)
    executor.before = lambda: work.stop() if work.done == 700 else None
    await work.run_to(2000)
    assert work.done == len(ids_of(work.run.output)) == 701


async def test_a_thread_is_held_briefly(maker: WorkMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines that a thread has read when its time is over are the first of the next."""
    monkeypatch.setattr("openai_batches.emulator.batches.execution._PIECE_S", 0)
    work = maker.work(EchoExecutor())
    await work.run_to(10)
    assert ids_of(work.run.output) == [f"batch_1-{index}" for index in range(10)]


async def test_results_are_on_the_disk_when_all_are_there(maker: WorkMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A durable work makes sure of its files at the end, when it gives up and when it is restored; others do not."""
    synced = []
    monkeypatch.setattr("os.fsync", lambda _: synced.append(1))
    work = maker.work(EchoExecutor(), is_durable=True)
    await work.run_to(9)
    assert len(synced) == 0
    await work.run_to(10)
    assert len(synced) == 1
    again = maker.work(EchoExecutor(), is_durable=True)
    await again.restore()
    assert len(synced) == 2
    other = maker.work(EchoExecutor(), "batch_2", is_durable=True)
    await other.run_to(1)
    await other.give_up("batch_expired", "expired")
    assert len(synced) == 4
    plain = maker.work(EchoExecutor(), "batch_3")
    await plain.run_to(10)
    await plain.restore()
    assert len(synced) == 4


@pytest.mark.parametrize("executor", [EchoExecutor(), Watched()])
async def test_memory_is_flat(maker: WorkMaker, executor: Any) -> None:
    """A file of 8 MB is worked through in a small part of that."""
    lines = 2000
    source = maker.folder / "batch_1.in"
    source.write_bytes(b"".join(jsonl(chat_line(f"r{index}", "x" * 4000)) for index in range(lines)))
    work = maker.work(executor, lines=lines)
    gc.collect()
    tracemalloc.start()
    await work.run_to(lines // 2)
    await work.give_up("batch_expired", "expired")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert work.done == lines
    assert peak_bytes < 2_600_000


async def test_the_limit_skips_calls_that_left_the_queue() -> None:
    """A place goes to the first in the queue who still wants it."""
    limit = CallLimit(1)
    assert limit.acquire().done()
    left, gone, third = limit.acquire(), limit.acquire(), limit.acquire()
    left.set_result(False)
    gone.cancel()
    limit.release()
    assert third.result() is True
    limit.release()
    assert limit.acquire().done()


class AsyncAnswer:
    async def answer(self, url: Any, body: Any, custom_id: Any) -> Any: ...


def _saying(**words: Any) -> Any:
    return type("Saying", (Watched,), {"__init__": lambda self: vars(self).update(words)})()


@pytest.mark.parametrize(
    ("executor", "error", "message"),
    [
        (EchoExecutor, TypeError, r"executor must be an async callable, such as EchoExecutor\(\)"),
        (5, TypeError, "executor must be an async callable"),
        (AsyncAnswer(), TypeError, "one that is async is its `__call__`"),
        (_saying(concurrency="8"), TypeError, "`concurrency` is a number of calls, not '8'"),
        (_saying(concurrency=0), ValueError, "`concurrency` is at least 1, not 0"),
    ],
)
def test_what_is_no_executor(executor: Any, error: Any, message: Any) -> None:
    """A wrong executor is refused where it is given, not in its first batch."""
    with pytest.raises(error, match=message):
        ExecutorHandle(executor)
