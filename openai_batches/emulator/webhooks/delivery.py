"""Webhooks: telling receivers that a batch is over, until they accept it or their time is up."""

import asyncio
import contextlib
import functools
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from weakref import WeakKeyDictionary

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar

from openai_batches.emulator.clock import Clock
from openai_batches.emulator.schedule import Schedule
from openai_batches.emulator.store.records import StoredBatch, StoredMessage
from openai_batches.emulator.store.store import Store
from openai_batches.emulator.webhooks.endpoints import Delivery, WebhookEndpoint, WebhookMessage, signature_header

_USER_AGENT = "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)"
_REMEMBERED_DELIVERIES = 100_000


class Webhooks:
    """Delivers the events of one server, at least once and in no promised order.

    Assign another `plan` to disturb that.

    Args:
        clock: What time it is.
        schedule: Starts the attempts when they are due.
        store: Makes the ids of events and messages, and knows whose batches are whose.
        plan: Asked once for each message for the delays (emulated seconds) after which it is sent: `(0,)` is at once,
            `(0, 0)` doubles it, `(30,)` lets later ones overtake it and `()` loses it.
        endpoints: The receivers.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        schedule: Schedule,
        store: Store,
        plan: Callable[[WebhookMessage], Sequence[float]],
        endpoints: Iterable[WebhookEndpoint],
    ) -> None:
        self.endpoints: list[WebhookEndpoint] = list(endpoints)
        self.deliveries: deque[Delivery] = deque(maxlen=_REMEMBERED_DELIVERIES)
        self.plan = plan
        self._clock = clock
        self._schedule = schedule
        self._store = store
        # They belong to this server and its loop, while an endpoint may be given to several servers in turn.
        self._slots: WeakKeyDictionary[WebhookEndpoint, asyncio.Semaphore] = WeakKeyDictionary()
        self._session: ClientSession | None = None

    def announce(self, batch: StoredBatch) -> None:
        """Tell the receivers that want to know that `batch` is over."""
        event_type = f"batch.{batch.status}"
        event_id = self._store.ids.timed("evt_", self._clock.now())
        for endpoint in self.endpoints:
            if self._is_theirs(endpoint, batch.scope) and event_type in endpoint.event_types:
                self.send(endpoint, event_type=event_type, batch_id=batch.id, event_id=event_id)

    def send(self, endpoint: WebhookEndpoint, *, event_type: str, batch_id: str, event_id: str) -> None:
        """Send one event to one receiver."""
        stored = self._stored(endpoint, event_type, batch_id, event_id)
        self._store.keep_message(stored)
        self._schedule.at(stored.due, functools.partial(self._follow_plan, endpoint, stored))

    def _is_theirs(self, endpoint: WebhookEndpoint, owner: str) -> bool:
        """Tell whether an endpoint gets the events of an owner's batches; its project may be named as in the store."""
        return endpoint.project is None or owner in {endpoint.project, self._store.owner(endpoint.project)}

    def _stored(self, endpoint: WebhookEndpoint, event_type: str, batch_id: str, event_id: str) -> StoredMessage:
        now = self._clock.now()
        event = {
            "id": event_id,
            "object": "event",
            "created_at": int(now),
            "type": event_type,
            "data": {"id": batch_id},
        }
        return StoredMessage(
            id=self._store.ids.timed("wh_", now),
            url=endpoint.url,
            event_id=event_id,
            event_type=event_type,
            batch_id=batch_id,
            body=msgspec.json.encode(event),
            first=now,
            due=now,
        )

    async def send_sample(self, endpoint: WebhookEndpoint, event_type: str) -> Delivery:
        """Send a sample event to one receiver, one time, and return what came of it."""
        now = self._clock.now()
        ids = self._store.ids
        stored = self._stored(endpoint, event_type, ids.timed("batch_", now), ids.timed("evt_", now))
        return await self._deliver(endpoint, _message(stored), 1)

    def resume(self) -> None:
        """Go on with the messages that were not accepted when the server ended, where their receivers still are."""
        for stored in tuple(self._store.messages.items.values()):
            endpoint = self._receiver_of(stored)
            if endpoint is not None:
                self._schedule_attempt(endpoint, stored, attempts=stored.attempts, first=stored.first, due=stored.due)
            else:
                self._store.remove_message(stored)

    def _receiver_of(self, stored: StoredMessage) -> WebhookEndpoint | None:
        batch = self._store.batches.items.get(stored.batch_id)
        for endpoint in self.endpoints:
            # Several projects may have one address, and a secret each.
            if endpoint.url == stored.url and (batch is None or self._is_theirs(endpoint, batch.scope)):
                return endpoint
        return None

    async def close(self) -> None:
        """Close the connections; attempts run in the schedule and end with it."""
        if self._session is not None:
            await self._session.close()

    async def _follow_plan(self, endpoint: WebhookEndpoint, stored: StoredMessage) -> None:
        """Schedule the first attempts; in a task, so that a plan that fails does not fail the batch."""
        # No event is sent that a crash could still undo. A full disk is reported by the requests that fail.
        with contextlib.suppress(OSError):
            await self._store.commit()
        delays_s = self.plan(_message(stored))
        for delay_s in delays_s:
            first = stored.first + delay_s
            self._schedule_attempt(endpoint, stored, attempts=0, first=first, due=first)
        if not delays_s:
            self._store.remove_message(stored)

    def _schedule_attempt(
        self, endpoint: WebhookEndpoint, stored: StoredMessage, *, attempts: int, first: float, due: float
    ) -> None:
        self._schedule.at(due, functools.partial(self._attempt, endpoint, stored, attempts + 1, first))

    async def _attempt(self, endpoint: WebhookEndpoint, stored: StoredMessage, number: int, first: float) -> None:
        """Try once, and schedule the next attempt if it was not accepted and there is time left."""
        if endpoint in self.endpoints:
            delivery = await self._deliver(endpoint, _message(stored), number)
            due = self._clock.now() + endpoint.retries.pause_s(number)
            if not delivery.is_accepted and due - first <= endpoint.retries.give_up_after_s:
                self._schedule_attempt(endpoint, stored, attempts=number, first=first, due=due)
                stored.attempts, stored.first, stored.due = number, first, due
                self._store.keep_message(stored)
            else:
                self._store.remove_message(stored)
        else:
            self._store.remove_message(stored)
        await self._store.commit()

    async def _deliver(self, endpoint: WebhookEndpoint, message: WebhookMessage, number: int) -> Delivery:
        async with self._slots.setdefault(endpoint, asyncio.Semaphore(endpoint.max_concurrent)):
            started = self._clock.now()
            status, error = await self._post(endpoint, message)
        delivery = Delivery(message=message, attempt=number, time=started, status=status, error=error)
        self.deliveries.append(delivery)
        return delivery

    async def _post(self, endpoint: WebhookEndpoint, message: WebhookMessage) -> tuple[int | None, str | None]:
        now = self._clock.now()
        timestamp = int(now if endpoint.timestamps == "emulated" else time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": _USER_AGENT,
            "webhook-id": message.webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature_header(
                message.webhook_id, timestamp, message.body, endpoint.secrets_at(now)
            ),
        }
        try:
            # The answer's body is not read, since it may be endless.
            async with self._opened().post(
                endpoint.url,
                data=message.body,
                headers=headers,
                allow_redirects=False,
                timeout=ClientTimeout(total=endpoint.timeout_s),
            ) as answer:
                return answer.status, None
        except TimeoutError:
            return None, f"no answer within {endpoint.timeout_s:g} s"
        except (ClientError, OSError, ValueError) as error:
            return None, f"{type(error).__name__}: {error}"

    def _opened(self) -> ClientSession:
        if self._session is None:
            self._session = ClientSession(cookie_jar=DummyCookieJar())
        return self._session


def _message(stored: StoredMessage) -> WebhookMessage:
    return WebhookMessage(
        webhook_id=stored.id,
        event_id=stored.event_id,
        event_type=stored.event_type,
        batch_id=stored.batch_id,
        url=stored.url,
        body=stored.body,
    )
