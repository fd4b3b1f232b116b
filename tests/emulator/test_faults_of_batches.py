"""Each fault of batches, of their result files and of webhooks, as a plain client sees it."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.asking import MakeRaw, Raw, chat_file, records
from support.fault_showing import shows

from openai_batches.emulator import BatchServer, Fault, SteppedClock, Timings, WebhookEndpoint

TIMINGS = Timings(validating_s=5, line_s=10, finalizing_s=5, cancelling_s=5)
LINES = 4


async def odd_lines_fail(url: str, body: dict[str, Any], custom_id: str) -> tuple[int, dict[str, Any]]:
    """Answer every other line with an error."""
    return (400, {"error": {"message": "no"}}) if int(custom_id[1:]) % 2 else (200, {"id": custom_id})


@pytest.fixture
async def slow() -> AsyncIterator[BatchServer]:
    async with BatchServer(clock=SteppedClock(), timings=TIMINGS, executor=odd_lines_fail) as running:
        yield running


@pytest.fixture
def raw(slow: BatchServer, make_raw: MakeRaw) -> Raw:
    return make_raw(slow)


async def start(raw: Raw, lines: int = LINES) -> str:
    return (await raw.create((await raw.upload(chat_file(lines)))["id"]))["id"]


async def status(raw: Raw, batch_id: str) -> str:
    return (await raw.batch(batch_id))["status"]


async def results(server: BatchServer, raw: Raw, *faults: Fault, lines: int = LINES) -> tuple[Any, Any, dict[str, int]]:
    """Run a batch; return the lines of its files, undecoded if they are no JSON, and its counts."""
    server.faults.add(*faults)
    batch_id = await start(raw, lines)
    await server.advance(hours=1)
    batch = await raw.batch(batch_id)
    output, errors = [
        [_decoded(line) for line in (await raw.content(batch[name])).splitlines()]
        for name in ("output_file_id", "error_file_id")
    ]
    return output, errors, batch["request_counts"]


def _decoded(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line


def ids(lines: list[Any]) -> list[str]:
    return [line["custom_id"] for line in lines]


@shows("stuck")
@pytest.mark.parametrize(
    ("state", "after_s"), [("validating", 0), ("in_progress", 5), ("finalizing", 45), ("cancelling", 0)]
)
async def test_a_batch_is_stuck_until_it_is_released(slow: BatchServer, raw: Raw, state: Any, after_s: float) -> None:
    """It stays in the state for hours, and goes on from there once it is let go."""
    fault = Fault.stuck(state)
    slow.faults.add(fault)
    batch_id = await start(raw)
    if state == "cancelling":
        await raw("POST", f"/batches/{batch_id}/cancel")
    await slow.advance(hours=20)
    is_held = slow.faults.is_holding(slow.store.batches.items[batch_id])
    assert (await status(raw, batch_id), fault.fired, is_held) == (state, 1, True)
    other = await start(raw)
    fault.release()
    await slow.advance(seconds=100)
    ended = "cancelled" if state == "cancelling" else "completed"
    assert (await status(raw, batch_id), await status(raw, other)) == (ended, "completed")
    assert [(firing.fault, firing.subject) for firing in slow.faults.fired] == [(fault, batch_id)]


async def test_a_batch_is_stuck_for_a_while(slow: BatchServer, raw: Raw) -> None:
    """The seconds are emulated and count from the moment at which it should have gone on; only one is stuck."""
    slow.faults.add(Fault.stuck("validating", for_s=60))
    first, second = await start(raw), await start(raw)
    await slow.advance(seconds=64)
    assert (await status(raw, first), await status(raw, second)) == ("validating", "completed")
    await slow.advance(seconds=1)
    assert await status(raw, first) == "in_progress"
    await slow.advance(seconds=50)
    assert await status(raw, first) == "completed"


async def test_a_stuck_batch_expires_and_can_be_cancelled(slow: BatchServer, raw: Raw) -> None:
    """It expires with its window, and can be cancelled."""
    slow.faults.add(Fault.stuck("in_progress", times=None))
    first, second = await start(raw), await start(raw)
    await slow.advance(seconds=10)
    await raw("POST", f"/batches/{second}/cancel")
    await slow.advance(hours=25)
    assert (await status(raw, first), await status(raw, second)) == ("expired", "cancelled")


async def test_removed_faults_release_their_batches(slow: BatchServer, raw: Raw) -> None:
    """Removing one fault, or all, releases what they hold; a fault that is not there cannot be removed."""
    first, second = Fault.stuck("validating"), Fault.stuck("validating")
    slow.faults.add(first, second)
    batches = [await start(raw), await start(raw)]
    await slow.settle()
    await slow.advance(seconds=10)
    assert [await status(raw, batch_id) for batch_id in batches] == ["validating"] * 2
    slow.faults.remove(first)
    await slow.advance(seconds=10)
    assert [await status(raw, batch_id) for batch_id in batches] == ["in_progress", "validating"]
    with pytest.raises(ValueError, match="is not among the faults"):
        slow.faults.remove(first)
    slow.faults.clear()
    await slow.advance(seconds=100)
    assert [await status(raw, batch_id) for batch_id in batches] == ["completed"] * 2


async def test_a_stuck_batch_is_not_waited_for(make_raw: MakeRaw) -> None:
    """On a clock that runs, nothing moves any more once all that is left is stuck; another batch still moves."""
    fault = Fault.stuck("validating")
    async with BatchServer(speed=10_000, faults=fault) as server:
        raw = make_raw(server)
        first, second = await start(raw), await start(raw)
        await asyncio.wait_for(server.settle(), 60)
        assert (await status(raw, first), await status(raw, second)) == ("validating", "completed")
        fault.release()
        await asyncio.wait_for(server.settle(), 60)
        assert await status(raw, first) == "completed"


async def test_a_stuck_batch_goes_on_in_the_next_server(tmp_path: Path, make_raw: MakeRaw) -> None:
    """A fault ends with its server, and the batch goes on from the state in which it was stuck."""
    clock = SteppedClock()
    for faults, ended in (
        ([Fault.stuck("validating")], "validating"),
        ([Fault.stuck()], "in_progress"),
        ([], "completed"),
    ):
        async with BatchServer(clock=clock, data=tmp_path, faults=faults) as server:
            raw = make_raw(server)
            batch_id = next(iter(server.store.batches.items), None) or await start(raw)
            await server.advance(minutes=1)
            assert await status(raw, batch_id) == ended


async def test_a_release_from_another_thread(slow: BatchServer, raw: Raw) -> None:
    """It is carried out in the server's loop; after the server it does nothing."""
    fault = Fault.stuck("validating")
    slow.faults.add(fault)
    batch_id = await start(raw)
    await slow.advance(seconds=10)
    await asyncio.to_thread(fault.release)
    await asyncio.sleep(0)
    await slow.advance(seconds=10)
    assert await status(raw, batch_id) == "in_progress"


def test_a_release_after_the_end() -> None:
    """A loop that is gone needs no release."""
    fault = Fault.stuck("validating")

    async def life() -> None:
        async with BatchServer(clock=SteppedClock(), faults=fault) as server:
            now = server.clock.now()
            batch = server.store.new_batch(scope="a", now=now, endpoint="/v1/responses", input_file_id="f")
            server._lifecycle.begin(batch)
            await server.advance(seconds=5)

    thread = threading.Thread(target=asyncio.run, args=(life(),))
    thread.start()
    thread.join()
    assert len(fault.parameters.held) == 1
    fault.release()
    assert fault.parameters.held == {}


@shows("file_not_found_in_validation", "token_limit_exceeded", "billing_hard_limit_reached")
async def test_a_batch_fails_in_validation(slow: BatchServer, raw: Raw) -> None:
    """One batch each fails with the service's code and sentence, and nothing ran."""
    slow.faults.add(
        Fault.file_not_found_in_validation(path="/chat/"),
        Fault.token_limit_exceeded(limit=90_000),
        Fault.billing_hard_limit_reached(),
        Fault.billing_hard_limit_reached(path="/embeddings"),
    )
    made = [await start(raw) for _ in range(4)]
    await slow.advance(hours=1)
    *failed, completed = [await raw.batch(batch_id) for batch_id in made]
    assert [batch["status"] for batch in failed] == ["failed"] * 3
    assert completed["status"] == "completed"
    (lost,), (limit,), (billing,) = [batch["errors"]["data"] for batch in failed]
    assert (lost["code"], lost["param"]) == ("invalid_request", "file_id")
    assert lost["message"].startswith(f"Cannot find file {failed[0]['input_file_id']}, or organization ")
    assert limit["code"] == "token_limit_exceeded"
    assert "for gpt-4o-mini in organization org-" in limit["message"]
    assert "Limit: 90,000 enqueued tokens" in limit["message"]
    assert billing["code"] == "billing_hard_limit_reached"
    assert (failed[1]["output_file_id"], failed[1]["request_counts"]["total"]) == (None, 0)


@shows("expired_early")
async def test_a_batch_expires_in_the_middle(slow: BatchServer, raw: Raw) -> None:
    """Some lines have run, the others are told to have expired; the record says when."""
    slow.faults.add(Fault.expired_early(for_s=28))
    batch_id = await start(raw)
    await slow.advance(seconds=30)
    batch = await raw.batch(batch_id)
    assert (batch["status"], batch["expires_at"] - batch["created_at"]) == ("expired", 28)
    assert ids(records(await raw.content(batch["output_file_id"]))) == ["r0"]
    codes = {line["custom_id"]: line["error"] and line["error"]["code"] for line in await _errors(raw, batch)}
    assert codes == {"r1": None, "r2": "batch_expired", "r3": "batch_expired"}


async def _errors(raw: Raw, batch: Any) -> list[Any]:
    return records(await raw.content(batch["error_file_id"]))


@shows("shuffled_lines")
async def test_lines_are_shuffled(make_raw: MakeRaw) -> None:
    """All lines are there, in an order that the seed decides."""
    orders = []
    for seed in (1, 1, 2):
        fault = Fault.shuffled_lines(seed=seed, file="both", times=None)
        async with BatchServer(clock=SteppedClock(), executor=odd_lines_fail) as server:
            output, errors, _ = await results(server, make_raw(server), fault, lines=24)
        assert sorted(ids(output) + ids(errors)) == sorted(f"r{index}" for index in range(24))
        orders.append(ids(output) + ids(errors))
    assert orders[0] == orders[1]
    assert orders[1] != orders[2]


@shows("missing_lines", "doubled_lines", "foreign_lines")
async def test_lines_are_missing_doubled_and_foreign(slow: BatchServer, raw: Raw) -> None:
    """The counts stay as they were, whatever the files hold."""
    output, errors, counts = await results(slow, raw, Fault.missing_lines(), Fault.doubled_lines(file="error", lines=9))
    assert (len(output), Counter(ids(errors))) == (1, {"r1": 2, "r3": 2})
    assert counts == {"total": 4, "completed": 2, "failed": 2}
    output, _, _ = await results(slow, raw, Fault.foreign_lines(lines=2))
    assert ids(output)[:2] == ["r0", "r2"]
    assert all(custom_id.startswith("foreign-") for custom_id in ids(output)[2:])
    assert len(set(ids(output))) == 4


@shows("unparseable_lines", "status_zero_lines")
async def test_lines_without_an_answer(slow: BatchServer, raw: Raw) -> None:
    """A line breaks off, one has a status of 0 and no body, and faults of lines meet in one file."""
    output, errors, _ = await results(slow, raw, Fault.unparseable_lines(), Fault.status_zero_lines(file="error"))
    assert [type(line) for line in output].count(bytes) == 1
    (zero,) = [line["response"] for line in errors if line["response"]["status_code"] != 400]
    assert zero == {"status_code": 0, "request_id": "", "body": ""}
    both = [Fault.unparseable_lines(lines=2), Fault.status_zero_lines(lines=2), Fault.doubled_lines(lines=1)]
    output, _, _ = await results(slow, raw, *both)
    assert [line["response"]["status_code"] for line in output] == [0, 0, 0]


async def test_a_file_without_lines_is_not_made(slow: BatchServer, raw: Raw) -> None:
    """Where there is no file, there is nothing to spoil."""
    slow.faults.add(Fault.foreign_lines(file="error"))
    batch_id = await start(raw, lines=1)
    await slow.advance(hours=1)
    assert (await raw.batch(batch_id))["error_file_id"] is None


@shows("duplicate_webhook", "reordered_webhook", "lost_webhook")
async def test_webhooks_come_twice_late_or_not_at_all(make_raw: MakeRaw) -> None:
    """The copies of an event have one id; a late one is overtaken; others come once and in order."""
    got: list[tuple[str, Any]] = []

    async def receive(request: web.Request) -> web.Response:
        got.append((request.headers["webhook-id"], (await request.json())["data"]["id"]))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/", receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    faults = [
        Fault.lost_webhook(path="failed"),
        Fault.duplicate_webhook(copies=2, delay_s=10),
        Fault.reordered_webhook(delay_s=60),
    ]
    endpoint = WebhookEndpoint(f"http://{host}:{port}/")
    async with BatchServer(clock=SteppedClock(), webhooks=endpoint, faults=faults) as server:
        raw = make_raw(server)
        made = []
        for _ in range(3):
            made.append(await start(raw, lines=1))
            await server.advance(seconds=20)
        await raw.create("file-x")
        await server.advance(hours=1)
        assert [batch_id for _, batch_id in got] == [made[0], made[0], made[2], made[1]]
        assert len({webhook_id for webhook_id, _ in got}) == 3
        assert len(server.faults.fired) == 3
    await runner.cleanup()
