"""Webhooks: what is sent, to whom, how it is signed, and what happens when nobody listens."""

import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web
from support.asking import MakeRaw, Raw, chat_file
from support.receiving import Receiver

from openai_batches.emulator import (
    BatchServer,
    Delivery,
    RealClock,
    SteppedClock,
    Timings,
    WebhookEndpoint,
    WebhookRetries,
)
from openai_batches.emulator.webhooks.endpoints import new_secret, secret_of, signature_header, signing_key

SECRET = secret_of(b"0123456789abcdef0123456789abcdef")
OTHER = secret_of(b"another key of thirty-two bytes.")


def stepped(*endpoints: WebhookEndpoint, **options: Any) -> BatchServer:
    return BatchServer(clock=SteppedClock(), webhooks=endpoints, **options)


def whole_content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def finish(server: BatchServer, raw: Raw) -> Any:
    batch = await raw.create((await raw.upload(chat_file(1)))["id"])
    await server.advance(seconds=10)
    return batch


def outcomes(server: BatchServer) -> list[tuple[int, int | None]]:
    return [(delivery.attempt, delivery.status) for delivery in server.deliveries]


async def test_a_finished_batch_is_told_once(make_raw: MakeRaw, receiver: Receiver) -> None:
    """One event at the moment of the end, with the service's headers and nothing but the batch's id as its data."""
    async with stepped(WebhookEndpoint(receiver.url, secret=SECRET)) as server:
        batch = await finish(server, make_raw(server))
        ((headers, body),) = receiver.got
        event = json.loads(body)
        assert set(event) == {"id", "object", "created_at", "type", "data"}
        assert event["id"].startswith("evt_")
        assert (event["object"], event["type"]) == ("event", "batch.completed")
        assert event["created_at"] == batch["created_at"] + 5
        assert event["data"] == {"id": batch["id"]}
        assert headers["content-type"] == "application/json"
        assert headers["user-agent"].startswith("OpenAI/1.0 ")
        assert headers["webhook-id"].startswith("wh_")
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
        (delivery,) = server.deliveries
        assert (delivery.status, delivery.error, delivery.attempt) == (204, None, 1)
        assert delivery.is_accepted
        assert (int(delivery.time), delivery.message.batch_id) == (event["created_at"], batch["id"])
        await server.advance(hours=100)
        assert len(receiver.got) == 1


async def test_each_end_has_its_event(make_raw: MakeRaw, receiver: Receiver) -> None:
    """Completed, failed, expired and cancelled batches are told of as such, to those who asked for it."""
    everything = WebhookEndpoint(receiver.url + "/all", secret=SECRET)
    failures = WebhookEndpoint(receiver.url + "/some", event_types=["batch.failed", "batch.expired"])
    async with stepped(everything, failures, timings=Timings(line_s=30_000)) as server:
        raw = make_raw(server)
        short, long = (await raw.upload(chat_file(1)))["id"], (await raw.upload(chat_file(9)))["id"]
        wanted = {
            (await raw.create(short))["id"]: "batch.completed",
            (await raw.create("file-nowhere"))["id"]: "batch.failed",
            (await raw.create(long))["id"]: "batch.expired",
        }
        cancelled = await raw.create(long)
        await raw("POST", f"/batches/{cancelled['id']}/cancel")
        wanted[cancelled["id"]] = "batch.cancelled"
        await server.advance(hours=25)
        told = {event["data"]["id"]: event["type"] for event in receiver.events}
        assert told == wanted
        urls = [(delivery.message.url[-4:], delivery.message.event_type) for delivery in server.deliveries]
        assert sorted(kind for url, kind in urls if url == "/all") == sorted(wanted.values())
        assert sorted(kind for url, kind in urls if url == "some") == ["batch.expired", "batch.failed"]
        # The same event for both, a message of its own for each.
        assert len({event["id"] for event in receiver.events}) == 4
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 6


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_official_client_accepts_the_signature(make_raw: MakeRaw, receiver: Receiver, is_async: Any) -> None:
    """`unwrap` and `verify_signature` accept what was sent, and nothing that was changed or is old."""
    make: Any = openai.AsyncOpenAI if is_async else openai.OpenAI
    client = make(api_key="sk-x", webhook_secret=SECRET)
    async with stepped(WebhookEndpoint(receiver.url, secret=SECRET)) as server:
        batch = await finish(server, make_raw(server))
        headers, body = receiver.got[0]
        event = client.webhooks.unwrap(body, headers)
        assert (event.type, event.data.id) == ("batch.completed", batch["id"])
        client.webhooks.verify_signature(body, headers)
        for spoiled, arguments in (
            (body, {"secret": OTHER}),
            (body.replace(b"completed", b"cancelled"), {}),
        ):
            with pytest.raises(openai.InvalidWebhookSignatureError):
                client.webhooks.verify_signature(spoiled, headers, **arguments)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.verify_signature(body, headers | {"webhook-id": "wh_other"})
        old = int(headers["webhook-timestamp"]) - 301
        stale = signature_header(headers["webhook-id"], old, body, [SECRET])
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.verify_signature(
                body, headers | {"webhook-timestamp": str(old), "webhook-signature": stale}
            )
    await client.close() if is_async else client.close()


async def test_timestamps_can_be_emulated(make_raw: MakeRaw, receiver: Receiver) -> None:
    """On demand the header tells the time inside, which a receiver of today finds old."""
    async with stepped(WebhookEndpoint(receiver.url, secret=SECRET, timestamps="emulated")) as server:
        await finish(server, make_raw(server))
        headers, body = receiver.got[0]
        assert int(headers["webhook-timestamp"]) == json.loads(body)["created_at"]
        with openai.OpenAI(api_key="sk-x") as client:
            with pytest.raises(openai.InvalidWebhookSignatureError):
                client.webhooks.verify_signature(body, headers, secret=SECRET)
            client.webhooks.verify_signature(body, headers, secret=SECRET, tolerance=2**40)


async def test_a_rotated_secret_signs_beside_the_old_one(make_raw: MakeRaw, receiver: Receiver) -> None:
    """While the old secret lives, the header has two signatures and either secret verifies; then only the new one."""
    endpoint = WebhookEndpoint(receiver.url, secret=SECRET)
    async with stepped(endpoint) as server, openai.AsyncOpenAI(api_key="sk-x") as client:
        raw = make_raw(server)
        new = endpoint.rotate_secret(now=server.clock.now(), keep_old_s=3600)
        assert (endpoint.secret, new.startswith("whsec_")) == (new, True)
        await finish(server, raw)
        headers, body = receiver.got[0]
        assert len(headers["webhook-signature"].split()) == 2
        for secret in (new, SECRET):
            client.webhooks.verify_signature(body, headers, secret=secret)
        await server.advance(hours=1)
        await finish(server, raw)
        headers, body = receiver.got[1]
        assert len(headers["webhook-signature"].split()) == 1
        client.webhooks.verify_signature(body, headers, secret=new)
        assert endpoint.rotate_secret(OTHER, now=server.clock.now()) == OTHER
        assert endpoint.secrets_at(server.clock.now()) == [OTHER]


def test_several_secrets_sign_in_their_order() -> None:
    """An endpoint may start with several secrets, the newest first; one without a secret makes one."""
    endpoint = WebhookEndpoint("https://localhost/x", secret=[SECRET, "plain words"])
    assert endpoint.secrets_at(0) == [SECRET, "plain words"]
    assert signature_header("wh_1", 5, b"{}", endpoint.secrets_at(0)).count("v1,") == 2
    assert signing_key("plain words") == b"plain words"
    assert len(signing_key(str(WebhookEndpoint("https://localhost/x").secret))) == 32
    assert new_secret() != new_secret()
    assert SECRET not in repr(endpoint)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "ftp://localhost"}, "http or https"),
        ({"url": "http://"}, "http or https"),
        ({"event_types": ["batch.done"]}, "unknown event type 'batch.done'"),
        ({"secret": "whsec_?"}, "base64"),
        ({"secret": "whsec_"}, "empty"),
        ({"secret": ""}, "empty"),
        ({"secret": []}, "needs a secret"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"timestamps": "x"}, "timestamps"),
    ],
)
def test_an_unusable_endpoint_is_refused(arguments: Any, message: str) -> None:
    """Mistakes show when the endpoint is made, not when the first batch ends."""
    with pytest.raises(ValueError, match=message):
        WebhookEndpoint(**{"url": "https://localhost/x", **arguments})


async def test_what_is_not_accepted_is_sent_again(make_raw: MakeRaw, receiver: Receiver) -> None:
    """Errors and redirects, which are not followed, lead to the same message again, after doubling pauses."""
    receiver.statuses = [500, 302, 404, 200]
    async with stepped(WebhookEndpoint(receiver.url, secret=SECRET)) as server:
        await finish(server, make_raw(server))
        await server.advance(hours=1)
        assert outcomes(server) == [(1, 500), (2, 302), (3, 404), (4, 200)]
        times = [delivery.time for delivery in server.deliveries]
        assert [after - before for before, after in itertools.pairwise(times)] == [5, 10, 20]
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
        assert len({body for _, body in receiver.got}) == 1
        with openai.OpenAI(api_key="sk-x") as client:
            for headers, body in receiver.got:
                client.webhooks.verify_signature(body, headers, secret=SECRET)


async def test_it_gives_up_after_three_days(make_raw: MakeRaw, receiver: Receiver) -> None:
    """A receiver that never accepts is left alone after 72 hours, in a bounded number of attempts."""

    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    receiver.answering = refuse
    async with stepped(WebhookEndpoint(receiver.url)) as server:
        await finish(server, make_raw(server))
        await server.advance(hours=200)
        times = [delivery.time for delivery in server.deliveries]
        assert 68 * 3600 < times[-1] - times[0] <= 72 * 3600
        assert len(times) < 40
        assert max(after - before for before, after in itertools.pairwise(times)) == 4 * 3600
    assert WebhookRetries(first_s=1).pause_s(10_000) == 4 * 3600


async def test_a_dead_receiver_delays_no_batch(make_raw: MakeRaw, receiver: Receiver) -> None:
    """Where nobody listens, or nobody answers in time, the batch completes and the log says why."""

    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    receiver.answering = hang
    retries = WebhookRetries(give_up_after_s=0)
    dead = WebhookEndpoint("http://127.0.0.1:9/", retries=retries)
    slow = WebhookEndpoint(receiver.url, timeout_s=0.02, retries=retries)
    unspeakable = WebhookEndpoint("http://[::1]:9/", retries=retries)
    async with stepped(dead, slow, unspeakable) as server:
        raw = make_raw(server)
        batch = await finish(server, raw)
        assert (await raw.batch(batch["id"]))["status"] == "completed"
        errors = {delivery.message.url: str(delivery.error) for delivery in server.deliveries}
        assert errors[slow.url] == "no answer within 0.02 s"
        assert "ClientConnectorError" in errors[dead.url]
        assert [delivery.is_accepted for delivery in server.deliveries] == [False] * 3


async def test_an_answer_without_end_is_accepted(make_raw: MakeRaw, receiver: Receiver) -> None:
    """The status decides; a body is not waited for."""

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=200)
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 1000)
            await asyncio.sleep(0.001)

    receiver.answering = endless
    async with stepped(WebhookEndpoint(receiver.url, timeout_s=5)) as server:
        await asyncio.wait_for(finish(server, make_raw(server)), 60)
        assert outcomes(server) == [(1, 200)]


async def test_attempts_at_one_time_are_bounded(make_raw: MakeRaw, receiver: Receiver) -> None:
    """Of many events at one moment, no more than `max_concurrent` are under way to one endpoint."""
    now = most = 0

    async def count(_: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return web.Response()

    receiver.answering = count
    async with stepped(WebhookEndpoint(receiver.url, max_concurrent=3)) as server:
        raw = make_raw(server)
        for _ in range(12):
            await raw.create("file-nowhere")
        await server.advance(seconds=10)
        assert (len(receiver.got), most) == (12, 3)


async def test_closing_does_not_wait_for_a_receiver(make_raw: MakeRaw, receiver: Receiver) -> None:
    """A server that is closed while a receiver thinks drops the attempt."""
    arrived = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        arrived.set()
        await asyncio.sleep(60)
        raise AssertionError

    receiver.answering = hang
    server = BatchServer(clock=RealClock(speed=1000), webhooks=WebhookEndpoint(receiver.url))
    async with server:
        raw = make_raw(server)
        await raw.create("file-nowhere")
        await asyncio.wait_for(arrived.wait(), 60)
        started = time.monotonic()
    assert time.monotonic() - started < 60
    assert not server.deliveries


async def test_settling_on_a_running_clock_does_not_wait_for_retries(make_raw: MakeRaw, receiver: Receiver) -> None:
    """`settle` returns when the batch is over and its first attempt answered, also of a receiver that refuses."""
    receiver.statuses = [500] * 99
    slowly = WebhookRetries(first_s=360_000, longest_s=360_000)
    async with BatchServer(speed=1000, webhooks=WebhookEndpoint(receiver.url, retries=slowly, timeout_s=3)) as server:
        await make_raw(server).create("file-nowhere")
        await asyncio.wait_for(server.settle(), 60)
        assert outcomes(server) == [(1, 500)]


async def test_events_of_one_project_can_be_picked(make_raw: MakeRaw, receiver: Receiver) -> None:
    """An endpoint of a project gets events of that project's batches only."""
    async with stepped(WebhookEndpoint(receiver.url, project="sk-bob")) as server:
        await finish(server, make_raw(server))
        assert receiver.got == []
        batch = await finish(server, make_raw(server, "sk-bob"))
        assert [event["data"]["id"] for event in receiver.events] == [batch["id"]]


async def test_endpoints_are_added_and_removed(make_raw: MakeRaw, receiver: Receiver) -> None:
    """An endpoint can be added to a running server; what waits for one that was removed is dropped."""
    endpoint = WebhookEndpoint(receiver.url)
    async with BatchServer(clock=SteppedClock()) as server:
        server.webhooks.endpoints.append(endpoint)
        receiver.statuses = [500]
        await finish(server, make_raw(server))
        assert len(receiver.got) == 1
        server.webhooks.endpoints.remove(endpoint)
        await server.advance(hours=72)
        assert len(receiver.got) == 1


@pytest.mark.parametrize(("plan", "wanted"), [((0.0, 0.0), ["a", "a", "b"]), ((), ["b"]), ((30.0,), ["b", "a"])])
async def test_a_plan_disturbs_deliveries(make_raw: MakeRaw, receiver: Receiver, plan: Any, wanted: Any) -> None:
    """Messages can be doubled, lost and overtaken; a double has the `webhook-id` of the first."""
    async with stepped(WebhookEndpoint(receiver.url)) as server:
        raw = make_raw(server)
        names: dict[str, str] = {}
        server.webhooks.plan = lambda message: plan if names.get(message.batch_id) == "a" else (0.0,)
        for name in "ab":
            names[(await raw.create("file-nowhere"))["id"]] = name
            await server.advance(seconds=10)
        await server.advance(minutes=1)
        assert [names[event["data"]["id"]] for event in receiver.events] == wanted
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == len(set(wanted))


def test_a_delivery_without_an_answer_is_not_accepted() -> None:
    """Only statuses from 200 to 299 are."""
    accepted = [
        Delivery(message=None, attempt=1, time=0, status=status).is_accepted for status in (None, 199, 200, 299, 300)
    ]  # type: ignore[arg-type]
    assert accepted == [False, False, True, True, False]


async def test_a_plan_that_fails_does_not_fail_the_batch(
    make_raw: MakeRaw, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told in the log, and the batch ends as it would have."""

    def fail(_: Any) -> Any:
        raise LookupError("no plan")

    async with stepped(WebhookEndpoint(receiver.url)) as server:
        server.webhooks.plan = fail
        raw = make_raw(server)
        batch = await finish(server, raw)
        assert (await raw.batch(batch["id"]))["status"] == "completed"
        assert receiver.got == []
        assert "no plan" in caplog.text


class TestRestarts:
    def server(self, data: Path, *endpoints: WebhookEndpoint, start: float = 1_750_000_000) -> BatchServer:
        return BatchServer(data=data, clock=SteppedClock(start=start), webhooks=endpoints)

    async def test_what_was_not_accepted_is_sent_after_a_restart(
        self, make_raw: MakeRaw, receiver: Receiver, tmp_path: Path
    ) -> None:
        """The same message goes on from its next attempt, with the time it has left."""
        receiver.statuses = [500] * 2
        async with self.server(tmp_path, WebhookEndpoint(receiver.url)) as server:
            await finish(server, make_raw(server))
            await server.advance(seconds=1)
            first, now = server.deliveries[0].time, server.clock.now()
            assert outcomes(server) == [(1, 500), (2, 500)]
        sent = receiver.got[-1]
        receiver.got.clear()
        async with self.server(tmp_path, WebhookEndpoint(receiver.url), start=now) as server:
            await server.advance(seconds=60)
            (delivery,) = server.deliveries
            assert (delivery.attempt, delivery.status, delivery.time) == (3, 204, first + 15)
            ((headers, body),) = receiver.got
            assert (headers["webhook-id"], body) == (sent[0]["webhook-id"], sent[1])
        async with self.server(tmp_path, WebhookEndpoint(receiver.url), start=now + 60) as server:
            await server.advance(hours=72)
            assert not server.deliveries

    async def test_projects_of_one_address_keep_their_secrets(
        self, make_raw: MakeRaw, receiver: Receiver, tmp_path: Path
    ) -> None:
        """After a restart a message is still signed with the secret of its own project."""
        receiver.statuses = [500] * 2
        endpoints = [
            WebhookEndpoint(receiver.url, secret=name, project=f"sk-{name}", retries=WebhookRetries(first_s=600))
            for name in ("ann", "bob")
        ]
        async with self.server(tmp_path, *endpoints) as server:
            await finish(server, make_raw(server, "sk-bob"))
            now = server.clock.now()
            assert [status for _, status in outcomes(server)] == [500]
        receiver.got.clear()
        async with self.server(tmp_path, *endpoints, start=now) as server:
            await server.advance(hours=1)
        for headers, body in receiver.got:
            stamp = int(headers["webhook-timestamp"])
            expected = signature_header(headers["webhook-id"], stamp, body, ["bob"])
            assert headers["webhook-signature"] == expected
        assert receiver.got

    async def test_an_attempt_under_way_at_the_end_is_made_again(
        self, make_raw: MakeRaw, receiver: Receiver, tmp_path: Path
    ) -> None:
        """The server cannot know whether it arrived, so the same message is sent once more, by the same endpoint."""
        arrived = asyncio.Event()

        async def hang(_: web.Request) -> web.StreamResponse:
            arrived.set()
            await asyncio.sleep(60)
            raise AssertionError

        receiver.answering = hang
        endpoint = WebhookEndpoint(receiver.url, max_concurrent=1)
        server = BatchServer(data=tmp_path, clock=RealClock(speed=1000), webhooks=endpoint)
        async with server:
            raw = make_raw(server)
            for _ in range(2):
                await raw.create("file-nowhere")
            await asyncio.wait_for(arrived.wait(), 60)
            # The other one waits for its slot, if it has ended yet.
            await server.store.commit()
            now = server.clock.now()
        receiver.answering = None
        (first, _), *_ = receiver.got
        async with self.server(tmp_path, endpoint, start=now) as server:
            await server.advance(minutes=10)
        again = [headers["webhook-id"] for headers, _ in receiver.got[1:]]
        assert len(again) == len(set(again)) == 2
        assert first["webhook-id"] in again

    async def test_a_message_without_a_receiver_is_dropped(
        self, make_raw: MakeRaw, receiver: Receiver, tmp_path: Path
    ) -> None:
        """One whose endpoint is not there at the next start is not sent at the one after that either."""
        receiver.statuses = [500] * 9
        async with self.server(tmp_path, WebhookEndpoint(receiver.url)) as server:
            await finish(server, make_raw(server))
            now = server.clock.now()
        async with self.server(tmp_path, start=now):
            pass
        receiver.got.clear()
        async with self.server(tmp_path, WebhookEndpoint(receiver.url), start=now) as server:
            await server.advance(hours=1)
            assert receiver.got == []

    async def test_projects_are_known_by_their_keys(
        self, make_raw: MakeRaw, receiver: Receiver, tmp_path: Path
    ) -> None:
        """No key is written to a data folder, and yet its endpoint gets the events of its batches."""
        async with self.server(tmp_path, WebhookEndpoint(receiver.url, project="sk-alice")) as server:
            await finish(server, make_raw(server, "sk-bob"))
            batch = await finish(server, make_raw(server))
            assert [event["data"]["id"] for event in receiver.events] == [batch["id"]]
        assert b"sk-alice" not in whole_content(tmp_path)
