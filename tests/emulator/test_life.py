"""The life of a batch, from its creation to each of its ends."""

import asyncio
import json
import logging
from collections import Counter
from typing import Any

import pytest
from support.asking import MakeRaw, Raw, chat_file, chat_line, jsonl, records

from openai_batches.emulator import BatchServer, RealClock, SteppedClock, Timings


async def test_a_batch_passes_through_its_states(server: BatchServer, raw: Raw) -> None:
    """Each state lasts as long as the timings say, and each is stamped when it begins."""
    file = await raw.upload(chat_file(4))
    batch = await raw.create(file["id"], metadata={"job": "nightly"})
    t0 = batch["created_at"]
    assert (batch["status"], batch["expires_at"], batch["model"]) == ("validating", t0 + 86_400, None)
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert batch["metadata"] == {"job": "nightly"}
    assert int(batch["id"].removeprefix("batch_")[:8], 16) == t0

    await server.advance(seconds=2.9)
    assert (await raw.batch(batch["id"]))["status"] == "validating"
    await server.advance(seconds=0.1 + 2 * 0.05)
    batch = await raw.batch(batch["id"])
    assert (batch["status"], batch["in_progress_at"], batch["model"]) == ("in_progress", t0 + 3, "gpt-4o-mini")
    assert batch["request_counts"] == {"total": 4, "completed": 2, "failed": 0}
    assert batch["output_file_id"] is None
    await server.advance(seconds=2 * 0.05)
    assert (await raw.batch(batch["id"]))["status"] == "finalizing"
    await server.advance(hours=23)

    batch = await raw.batch(batch["id"])
    assert (batch["status"], batch["finalizing_at"], batch["completed_at"]) == ("completed", t0 + 3, t0 + 5)
    assert batch["error_file_id"] is None
    lines = records(await raw.content(batch["output_file_id"]))
    assert [line["custom_id"] for line in lines] == ["r0", "r1", "r2", "r3"]
    assert all(line["error"] is None and line["response"]["status_code"] == 200 for line in lines)
    assert lines[1]["response"]["body"]["choices"][0]["message"]["content"] == "[echo] question 1"
    usage = Counter()
    for line in lines:
        usage.update({key: value for key, value in line["response"]["body"]["usage"].items() if isinstance(value, int)})
    assert batch["usage"]["total_tokens"] == usage["total_tokens"] > 0
    status, record, _ = await raw("GET", f"/files/{batch['output_file_id']}")
    assert (status, record["purpose"], record["filename"]) == (200, "batch_output", f"{batch['id']}_output.jsonl")
    assert record["expires_at"] == batch["completed_at"] + 30 * 86_400


async def test_a_long_batch_is_run_in_steps(server: BatchServer, raw: Raw) -> None:
    """The counts of a batch of many lines climb, and every line is answered once; blank lines are none."""
    content = chat_file(1200).replace(b"\n", b"\n\n")
    batch = await raw.create((await raw.upload(content))["id"])
    await server.advance(seconds=3 + 600 * 0.05)
    assert 590 <= (await raw.batch(batch["id"]))["request_counts"]["completed"] <= 600
    await server.advance(hours=1)
    batch = await raw.batch(batch["id"])
    assert batch["request_counts"] == {"total": 1200, "completed": 1200, "failed": 0}
    lines = records(server.store.read(batch["output_file_id"]))
    assert len({line["custom_id"] for line in lines}) == len({line["id"] for line in lines}) == 1200


async def test_expiry_keeps_what_is_done(make_raw: MakeRaw) -> None:
    """After 24 hours the finished lines are in the output file and the others are `batch_expired`."""
    async with BatchServer(clock=SteppedClock(), timings=Timings(line_s=10_000)) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(20) + b"\n"))["id"])
        await server.advance(hours=24)
        batch = await raw.batch(batch["id"])
        assert (batch["status"], batch["expired_at"]) == ("expired", batch["expires_at"])
        assert batch["request_counts"] == {"total": 20, "completed": 8, "failed": 12}
        assert len(records(await raw.content(batch["output_file_id"]))) == 8
        lost = records(await raw.content(batch["error_file_id"]))
        assert [line["custom_id"] for line in lost] == [f"r{index}" for index in range(8, 20)]
        assert {line["error"]["code"] for line in lost} == {"batch_expired"}
        assert all(line["response"] is None for line in lost)
        assert lost[0]["error"]["message"] == (
            "This request could not be executed before the completion window expired."
        )


async def test_cancelling_keeps_what_is_done(make_raw: MakeRaw) -> None:
    """Cancelling lasts a while and then leaves the finished lines, and `batch_cancelled` for the others."""
    async with BatchServer(clock=SteppedClock(), timings=Timings(line_s=1)) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(1000)))["id"])
        await server.advance(seconds=3 + 10.5)
        status, batch, _ = await raw("POST", f"/batches/{batch['id']}/cancel")
        assert (status, batch["status"]) == (200, "cancelling")
        status, again, _ = await raw("POST", f"/batches/{batch['id']}/cancel")
        assert (status, again) == (200, batch)
        await server.advance(seconds=5)
        batch = await raw.batch(batch["id"])
        assert batch["status"] == "cancelled"
        assert batch["cancelled_at"] == batch["cancelling_at"] + 5
        assert batch["request_counts"] == {"total": 1000, "completed": 10, "failed": 990}
        lost = records(await raw.content(batch["error_file_id"]))
        assert {line["error"]["code"] for line in lost} == {"batch_cancelled"}
        status, again, _ = await raw("POST", f"/batches/{batch['id']}/cancel")
        assert (status, again) == (200, batch)
        await server.advance(hours=48)
        assert await raw.batch(batch["id"]) == batch


async def test_an_executor_decides_each_line(make_raw: MakeRaw) -> None:
    """Statuses outside 200 to 299 go to the error file with `error` null; an exception is a line of status 500."""

    async def execute(url: Any, body: Any, custom_id: Any) -> Any:
        await asyncio.sleep(0)
        if custom_id == "r1":
            raise LookupError("no such model")
        if custom_id == "r2":
            return 404, {"error": {"message": "gone", "type": "x", "param": None, "code": None}}
        if custom_id == "r3":
            return 200, {"unspeakable": object()}
        usage = {"input_tokens": 3, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}}
        return 200, {"usage": usage | {"output_tokens_details": {"reasoning_tokens": 1}}, "url": url}

    async with BatchServer(clock=SteppedClock(), executor=execute) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(5)))["id"])
        await server.advance(hours=1)
        batch = await raw.batch(batch["id"])
        assert batch["request_counts"] == {"total": 5, "completed": 2, "failed": 3}
        assert batch["usage"] == {
            "input_tokens": 6,
            "input_tokens_details": {"cached_tokens": 2},
            "output_tokens": 4,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 10,
        }
        failed = {line["custom_id"]: line for line in records(await raw.content(batch["error_file_id"]))}
        assert {name: line["response"]["status_code"] for name, line in failed.items()} == {
            "r1": 500,
            "r2": 404,
            "r3": 500,
        }
        assert all(line["error"] is None for line in failed.values())
        assert failed["r1"]["response"]["body"]["error"]["type"] == "server_error"


async def test_all_failed_is_completed_without_output(make_raw: MakeRaw) -> None:
    """A batch whose every line failed is completed, with an error file only."""

    class Refusing:
        def answer(self, url: Any, body: Any, custom_id: Any) -> Any:
            if custom_id == "r0":
                raise ValueError
            return 400, {"error": None}

        async def __call__(self, url: Any, body: Any, custom_id: Any) -> Any:
            raise NotImplementedError

    async with BatchServer(clock=SteppedClock(), executor=Refusing()) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(3)))["id"])
        await server.advance(hours=1)
        batch = await raw.batch(batch["id"])
        assert (batch["status"], batch["output_file_id"]) == ("completed", None)
        assert batch["request_counts"] == {"total": 3, "completed": 0, "failed": 3}


async def test_deleting_the_input_file(server: BatchServer, raw: Raw) -> None:
    """Deleted before validation it fails the batch; deleted later it does not disturb it."""
    early, late = await raw.upload(chat_file(3)), await raw.upload(chat_file(3))
    first, second = await raw.create(early["id"]), await raw.create(late["id"])
    await raw("DELETE", f"/files/{early['id']}")
    await server.advance(seconds=3.05)
    await raw("DELETE", f"/files/{late['id']}")
    await server.advance(hours=1)
    first, second = await raw.batch(first["id"]), await raw.batch(second["id"])
    assert first["status"] == "failed"
    assert first["errors"]["data"] == [
        {
            "code": "invalid_request",
            "message": f"Cannot find file {early['id']}, or organization org-emulator does not have access to it.",
            "param": "file_id",
            "line": None,
        }
    ]
    assert second["status"] == "completed"


async def test_validation_looks_again_after_reading(
    server: BatchServer, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file deleted while validation reads it fails the batch as if it had never been there."""
    file = await raw.upload(chat_file(1))
    batch = await raw.create(file["id"])

    def validate(path: Any, **_: Any) -> Any:
        server.store.remove_file(server.store.files.items[file["id"]])
        raise FileNotFoundError(path)

    monkeypatch.setattr("openai_batches.emulator.batches.lifecycle.validate", validate)
    await server.advance(minutes=1)
    assert (await raw.batch(batch["id"]))["errors"]["data"][0]["param"] == "file_id"


async def test_a_batch_cancelled_while_it_moves_stays_cancelled(make_raw: MakeRaw) -> None:
    """Lines in flight when the cancel comes still finish, and their results are kept."""
    started, go_on = asyncio.Event(), asyncio.Event()

    async def execute(url: Any, body: Any, custom_id: Any) -> Any:
        started.set()
        await go_on.wait()
        return 200, {}

    async with BatchServer(clock=SteppedClock(), executor=execute) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(2)))["id"])
        walking = asyncio.create_task(server.advance(minutes=1))
        await started.wait()
        await raw("POST", f"/batches/{batch['id']}/cancel")
        # Cancel and expiry are both due while the lines still run: the first of them ends the batch.
        server.clock.move_to(server.clock.now() + 100_000)
        server._schedule._fire()
        go_on.set()
        with pytest.raises(ValueError, match="backwards"):
            await walking
        batch = await raw.batch(batch["id"])
        assert (batch["status"], batch["request_counts"]["completed"]) == ("cancelled", 1)


async def test_a_batch_cancelled_while_it_expires_is_cancelled(make_raw: MakeRaw) -> None:
    """The cancel wins over an expiry that is still waiting for lines in flight."""
    started, go_on = asyncio.Event(), asyncio.Event()

    async def execute(url: Any, body: Any, custom_id: Any) -> Any:
        started.set()
        await go_on.wait()
        return 200, {}

    timings = Timings(validating_s=0, line_s=86_400)
    async with BatchServer(clock=SteppedClock(), executor=execute, timings=timings) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(1)))["id"])
        walking = asyncio.create_task(server.advance(hours=25))
        await started.wait()
        await raw("POST", f"/batches/{batch['id']}/cancel")
        go_on.set()
        await walking
        assert (await raw.batch(batch["id"]))["status"] == "cancelled"


async def test_a_batch_cancelled_while_it_is_validated_is_cancelled(
    server: BatchServer, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verdict that comes too late changes nothing."""
    import openai_batches.emulator.batches.lifecycle as module

    real, loop = module.validate, asyncio.get_running_loop()
    batch = await raw.create((await raw.upload(chat_file(2)))["id"])

    def validate(path: Any, **options: Any) -> Any:
        record = server.store.batches.items[batch["id"]]
        loop.call_soon_threadsafe(server._lifecycle.cancel, record)
        while record.status != "cancelling":
            pass
        return real(path, **options)

    monkeypatch.setattr(module, "validate", validate)
    await server.advance(minutes=1)
    batch = await raw.batch(batch["id"])
    assert (batch["status"], batch["in_progress_at"]) == ("cancelled", None)


async def test_a_batch_that_is_finalizing_does_not_expire(make_raw: MakeRaw) -> None:
    """Once all lines are done the window does not matter any more."""
    async with BatchServer(clock=SteppedClock(), timings=Timings(finalizing_s=90_000)) as server:
        raw = make_raw(server)
        batch = await raw.create((await raw.upload(chat_file(1)))["id"])
        await server.advance(hours=30)
        assert (await raw.batch(batch["id"]))["status"] == "completed"


async def test_a_crash_half_way_leaves_no_results(server: BatchServer, raw: Raw) -> None:
    """A batch that cannot go on fails, and its half-written files go."""
    batch = await raw.create((await raw.upload(chat_file(9)))["id"])
    await server.advance(seconds=3.1)
    server._lifecycle._open[batch["id"]].work.run.source.unlink()
    await server.advance(hours=1)
    batch = await raw.batch(batch["id"])
    assert (batch["status"], batch["output_file_id"]) == ("failed", None)
    assert len(list(server.store.folder.iterdir())) == 1


async def test_a_crash_inside_fails_the_batch(
    server: BatchServer, raw: Raw, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the emulator cannot do is said in the batch and in the log."""

    def validate(*_: Any, **__: Any) -> Any:
        raise OSError("disk full")

    monkeypatch.setattr("openai_batches.emulator.batches.lifecycle.validate", validate)
    batch = await raw.create((await raw.upload(chat_file(1)))["id"])
    with caplog.at_level(logging.ERROR):
        await server.advance(minutes=1)
    batch = await raw.batch(batch["id"])
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "server_error")
    assert "disk full" in caplog.text


async def test_enqueued_tokens_are_counted_per_key_and_model(make_raw: MakeRaw) -> None:
    """A batch that would exceed the tokens of its key's running batches of the model fails in validation."""
    timings = Timings(line_s=100)
    async with BatchServer(clock=SteppedClock(), timings=timings, enqueued_token_limit=150) as server:
        alice, bob = make_raw(server), make_raw(server, "sk-bob")
        first = await alice.create((await alice.upload(chat_file(3)))["id"])
        await server.advance(seconds=4)
        second = await alice.create((await alice.upload(chat_file(3)))["id"])
        foreign = await bob.create((await bob.upload(chat_file(3)))["id"])
        await server.advance(seconds=4)
        assert (await alice.batch(first["id"]))["status"] == "in_progress"
        assert (await bob.batch(foreign["id"]))["status"] == "in_progress"
        second = await alice.batch(second["id"])
        assert second["errors"]["data"] == [
            {
                "code": "token_limit_exceeded",
                "message": "Enqueued token limit reached for gpt-4o-mini in organization org-emulator. "
                "Limit: 150 enqueued tokens. Please try again once some in_progress batches have been completed.",
                "param": None,
                "line": None,
            }
        ]
        await server.advance(hours=1)
        third = await alice.create((await alice.upload(chat_file(3)))["id"])
        await server.advance(hours=1)
        assert (await alice.batch(third["id"]))["status"] == "completed"


async def test_output_lives_as_long_as_asked(server: BatchServer, raw: Raw) -> None:
    """`output_expires_after` counts from the output file's creation; then the file is gone."""
    file = await raw.upload(chat_file(1))
    batch = await raw.create(file["id"], output_expires_after={"anchor": "created_at", "seconds": 3600})
    await server.advance(minutes=1)
    output = (await raw.batch(batch["id"]))["output_file_id"]
    assert (await raw("GET", f"/files/{output}"))[1]["expires_at"] == (await raw.batch(batch["id"]))[
        "completed_at"
    ] + 3600
    await server.advance(hours=1)
    assert len((await raw("GET", "/files"))[1]["data"]) == 1
    status, body, _ = await raw("GET", f"/files/{output}")
    assert (status, body["error"]["message"]) == (404, f"No such File object: {output}")
    assert len(server.store.files.items) == 1


async def test_the_same_seed_gives_the_same_records(make_raw: MakeRaw) -> None:
    """With a stepped clock and a seed every byte of the results is repeatable."""
    lives = []
    for _ in range(2):
        async with BatchServer(clock=SteppedClock(), seed=7) as server:
            raw = make_raw(server)
            batch = await raw.create((await raw.upload(chat_file(300)))["id"])
            await server.advance(hours=24)
            batch = await raw.batch(batch["id"])
            lives.append((json.dumps(batch), server.store.read(batch["output_file_id"])))
    assert lives[0] == lives[1]


async def test_a_running_clock_moves_by_itself(make_raw: MakeRaw) -> None:
    """With a real clock time passes alone, `speed` times as fast, and `settle` waits for the end."""
    async with BatchServer(speed=200) as server:
        raw = make_raw(server)
        assert server.clock.now() == pytest.approx(RealClock().now(), abs=60)
        batch = await raw.create((await raw.upload(chat_file(10)))["id"])
        await server.settle()
        batch = await raw.batch(batch["id"])
        assert batch["status"] == "completed"
        assert 5 <= batch["completed_at"] - batch["created_at"] < 60
        with pytest.raises(TypeError, match="SteppedClock"):
            await server.advance(hours=1)


async def test_closing_stops_what_runs(make_raw: MakeRaw) -> None:
    """A server that closes waits for nothing and leaves no folder behind."""

    async def never(url: Any, body: Any, custom_id: Any) -> Any:
        await asyncio.Event().wait()

    server = await BatchServer(speed=10_000, executor=never).start()
    raw = make_raw(server)
    batch = await raw.create((await raw.upload(jsonl(chat_line("a"))))["id"])
    while (await raw.batch(batch["id"]))["status"] == "validating":  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)
    folder = server.store.folder
    assert folder.is_dir()
    await asyncio.wait_for(server.close(), 60)
    await server.close()
    assert not folder.exists()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.base_url
    with pytest.raises(RuntimeError, match="starts once"):
        await server.start()
    with pytest.raises(RuntimeError, match="closed"):
        server.store.new_path()


def test_clocks_refuse_impossible_times() -> None:
    """Time neither stands still at a speed nor runs backwards."""
    with pytest.raises(ValueError, match="above 0"):
        RealClock(speed=0)
    clock = SteppedClock(start=100)
    assert (clock.real_delay(100), clock.real_delay(101)) == (0, None)
    with pytest.raises(ValueError, match="backwards"):
        clock.move_to(99)
    with pytest.raises(ValueError, match="either clock or speed"):
        BatchServer(clock=clock, speed=2)
    assert RealClock(start=5).now() == pytest.approx(5, abs=1)
