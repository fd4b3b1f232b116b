"""Receiving webhooks: who waits is told at once, and nothing that goes wrong with them does harm."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from support.http_servers import CHAT, KEY, chat_lines

from openai_batches import (
    BatchSession,
    DecodeError,
    InputError,
    WebhookReceiver,
    WebhookSignatureError,
    sign_webhook,
)
from openai_batches.emulator import BatchServer, SteppedClock
from openai_batches.resources.webhooks import _REMEMBERED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from openai_batches import Batch

SECRET = "whsec_c2VjcmV0IG9mIHRlc3Rz"
NOW = 1_750_000_000


def event(batch_id: str = "batch_1", kind: str = "batch.completed") -> bytes:
    return json.dumps({"id": "evt_1", "type": kind, "created_at": NOW, "data": {"id": batch_id}}).encode()


def headers(body: bytes, webhook_id: str = "wh_1") -> dict[str, str]:
    return sign_webhook(body, SECRET, webhook_id=webhook_id, timestamp=NOW)


class Waker:
    """Stands for the batches of a session, and notes which are woken."""

    def __init__(self, session: BatchSession, monkeypatch: pytest.MonkeyPatch) -> None:
        self.woken: list[str] = []
        monkeypatch.setattr(session.batches, "wake", self.woken.append)
        self.receiver = WebhookReceiver(session, SECRET, now=lambda: NOW)


@pytest.fixture
def waker(session: BatchSession, monkeypatch: pytest.MonkeyPatch) -> Waker:
    return Waker(session, monkeypatch)


@pytest.fixture
async def post(waker: Waker) -> AsyncIterator[Callable[..., Any]]:
    """Sends a webhook to a server of the receiver, and gives the status of its answer."""
    app = web.Application()
    app.router.add_post("/webhook", waker.receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
    async with aiohttp.ClientSession() as client:

        async def send(body: Any, given: dict[str, str]) -> int:
            async with client.post(url, data=body, headers=given) as answer:
                return answer.status

        yield send
    await runner.cleanup()


async def test_the_end_is_known_at_once(server: BatchServer, session: BatchSession) -> None:
    """Who waits with a long interval is told by the webhook, through the session's own question."""
    file = await session.files.create(chat_lines(1), filename="a.jsonl")
    batch = await session.batches.create(input_file_id=file.id, endpoint=CHAT)
    receiver = WebhookReceiver(session.batches, SECRET, now=lambda: NOW)
    changes = session.batches.watch(batch, poll=3_600)
    await anext(changes)
    await server.advance(hours=1)
    body = event(batch.id)
    received = await receiver.receive(headers(body), body)
    assert (received.batch_id, received.is_repeated) == (batch.id, False)
    assert (await anext(changes)).batch.status == "completed"


async def test_a_webhook_that_comes_again(waker: Waker) -> None:
    """It is known by its id, and asks nothing a second time."""
    body = event()
    received = [await waker.receiver.receive(headers(body, name), body) for name in ("a", "b", "a", "a")]
    assert [one.is_repeated for one in received] == [False, False, True, True]
    assert waker.woken == ["batch_1", "batch_1"]


async def test_the_memory_of_ids_is_bounded(waker: Waker) -> None:
    """The oldest ids are forgotten first; one that comes again after that does no harm."""
    body = event()
    for number in range(_REMEMBERED + 1):
        await waker.receiver.receive(headers(body, str(number)), body)
    assert len(waker.receiver._known) == _REMEMBERED
    assert not (await waker.receiver.receive(headers(body, "0"), body)).is_repeated
    assert (await waker.receiver.receive(headers(body, str(_REMEMBERED)), body)).is_repeated


async def test_events_of_other_things(waker: Waker) -> None:
    """They are given to the caller, and wake nobody; one about a batch of an unknown type does."""
    for number, kind in enumerate(["response.completed", "batch.paused"]):
        body = event(kind=kind)
        assert (await waker.receiver.receive(headers(body, str(number)), body)).type == kind
    assert waker.woken == ["batch_1"]


async def test_what_is_forged_wakes_nobody(waker: Waker) -> None:
    """A signature that does not fit raises, and its id is not taken for known."""
    body = event()
    with pytest.raises(WebhookSignatureError):
        await waker.receiver.receive(headers(event("batch_2")), body)
    with pytest.raises(DecodeError):
        await waker.receiver.receive(headers(b"no event"), b"no event")
    assert waker.woken == []
    assert not (await waker.receiver.receive(headers(body), body)).is_repeated


async def test_an_id_that_leads_elsewhere_is_only_an_id(session: BatchSession) -> None:
    """A batch that nobody waits for is not asked about, whatever it is called."""
    receiver = WebhookReceiver(session, SECRET, now=lambda: NOW)
    body = event("../files")
    assert (await receiver.receive(headers(body), body)).batch_id == "../files"


class TestHandler:
    """As a handler of aiohttp.web."""

    async def test_it_answers_what_the_service_expects(
        self, post: Callable[..., Any], waker: Waker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """200 for what is right, again too; 400 for what is not, with a word in the log that shows no secret."""
        body = event()
        assert [await post(body, headers(body)) for _ in range(2)] == [200, 200]
        assert await post(body, {}) == 400
        assert await post(b"{}", headers(b"{}")) == 400
        assert waker.woken == ["batch_1"]
        assert [line.levelno for line in caplog.records if line.name == "openai_batches"] == [logging.WARNING] * 2
        assert SECRET not in caplog.text

    async def test_a_body_without_end(self, post: Callable[..., Any], waker: Waker) -> None:
        """More than a MiB is not read, announced or not."""
        refused = 0

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(400):
                yield bytes(16_384)

        try:
            refused = await post(chunks(), headers(b""))
        except aiohttp.ClientError:
            refused = 413  # the server hung up while we were still sending
        assert refused == 413
        assert waker.woken == []


class TestMaking:
    """What a receiver needs."""

    def test_a_secret_from_the_environment(self, session: BatchSession, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a secret OPENAI_WEBHOOK_SECRET is read; without that there is nothing to check with."""
        with pytest.raises(InputError, match=r"No webhook secret: pass secret=…, or set .* OPENAI_WEBHOOK_SECRET"):
            WebhookReceiver(session)
        monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
        assert WebhookReceiver(session)._secrets == (SECRET,)

    @pytest.mark.parametrize(
        "options",
        [
            {"secret": []},
            {"secret": "whsec_A"},
            {"secret": "x", "tolerance_s": -1},
            {"secret": "x", "tolerance_s": "1"},
        ],
    )
    def test_what_cannot_be_right(self, session: BatchSession, options: dict[str, Any]) -> None:
        """A mistake is found where it is made, not at the first webhook."""
        with pytest.raises(InputError):
            WebhookReceiver(session, **options)

    def test_no_secret_is_shown(self, session: BatchSession) -> None:
        """Neither by repr, nor among the attributes."""
        receiver = WebhookReceiver(session, [SECRET, "another"])
        assert repr(receiver) == "<WebhookReceiver>"
        assert "c2Vjc" not in repr(vars(receiver))


async def test_without_webhooks_polling_goes_on() -> None:
    """A webhook that never comes costs time, not the end."""
    async with (
        BatchServer(clock=SteppedClock()) as server,
        BatchSession(KEY, base_url=server.base_url, poll=0.01) as session,
    ):
        WebhookReceiver(session, SECRET)
        file = await session.files.create(chat_lines(1), filename="a.jsonl")
        batch: Batch = await session.batches.create(input_file_id=file.id, endpoint=CHAT)
        waiting = asyncio.create_task(session.batches.wait(batch, timeout=60))
        await server.advance(hours=1)
        assert (await waiting).status == "completed"
