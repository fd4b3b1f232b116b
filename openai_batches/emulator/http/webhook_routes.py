"""The operations on webhook endpoints."""

from typing import Any

import attrs
from aiohttp import web

from openai_batches.emulator.answers import APIError, json_response, missing, page_of, wrong_type, wrong_value
from openai_batches.emulator.http import parameters
from openai_batches.emulator.http.context import Context
from openai_batches.emulator.json_values import is_array
from openai_batches.emulator.rules import SECONDS_PER_DAY
from openai_batches.emulator.store.index import Index
from openai_batches.emulator.webhooks.delivery import Webhooks
from openai_batches.emulator.webhooks.endpoints import EVENT_TYPES, Delivery, WebhookEndpoint

_DEFAULT_LIMIT = 20
_MAX_LIMIT = 100
_SHOWN_TAIL = 4


@attrs.define(kw_only=True)
class _Registered:
    """An endpoint that was made over the API."""

    id: str
    scope: str
    name: str
    endpoint: WebhookEndpoint
    created_at: int
    updated_at: int

    def to_wire(self, *, secret: str | None = None) -> dict[str, Any]:
        hint = f"whsec_***{str(self.endpoint.secret)[-_SHOWN_TAIL:]}"
        record = {
            "id": self.id,
            "object": "webhook_endpoint",
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "name": self.name,
            "url": self.endpoint.url,
            "event_types": list(self.endpoint.event_types),
            "signing_secret_hint": hint,
        }
        return record if secret is None else {**record, "signing_secret": secret}


class WebhookRoutes:
    """Create, list, retrieve, change, test and delete a project's endpoints; they last as long as the server runs."""

    def __init__(self, context: Context, webhooks: Webhooks) -> None:
        self._context = context
        self._webhooks = webhooks
        self._index: Index[_Registered] = Index("webhook_endpoint")

    def add_to(self, app: web.Application) -> None:
        """Register the routes."""
        guarded, router = self._context.guarded, app.router
        router.add_get("/v1/webhook_event_types", guarded(self.event_types), allow_head=False)
        router.add_post("/v1/webhook_endpoints", guarded(self.create))
        router.add_get("/v1/webhook_endpoints", guarded(self.list), allow_head=False)
        router.add_get("/v1/webhook_endpoints/{id}", guarded(self.retrieve), allow_head=False)
        router.add_post("/v1/webhook_endpoints/{id}", guarded(self.update))
        router.add_delete("/v1/webhook_endpoints/{id}", guarded(self.delete))
        router.add_post("/v1/webhook_endpoints/{id}/rotate_secret", guarded(self.rotate_secret))
        router.add_post("/v1/webhook_endpoints/{id}/test", guarded(self.test))

    async def event_types(self, _: web.Request, __: str) -> web.StreamResponse:
        """Answer the events there are."""
        return json_response({"object": "list", "data": EVENT_TYPES})

    async def create(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Make an endpoint, and show its secret this once."""
        body = await parameters.json_object(request)
        parameters.refuse_unknown(body, ("event_types", "name", "url"))
        name = parameters.text(body, "name")
        endpoint = WebhookEndpoint(_url(body), event_types=_event_types(body), project=scope)
        now = self._context.clock.now()
        made = _Registered(
            id=self._context.store.ids.timed("we_", now),
            scope=scope,
            name=name,
            endpoint=endpoint,
            created_at=int(now),
            updated_at=int(now),
        )
        self._index.put(made)
        self._webhooks.endpoints.append(endpoint)
        return json_response(made.to_wire(secret=str(endpoint.secret)))

    async def list(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Answer one page, the newest endpoint first."""
        limit = parameters.limit(request, default=_DEFAULT_LIMIT, minimum=1, maximum=_MAX_LIMIT)
        after = request.query.get("after") or None
        if after is not None and not self._index.knows(scope, after):
            raise _unknown(after)
        items, has_more = self._index.page(scope, after=after, limit=limit, newest_first=True, keep=lambda _: True)
        return json_response(page_of([item.to_wire() for item in items], has_more=has_more))

    async def retrieve(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Answer one endpoint."""
        return json_response(self._found(request, scope).to_wire())

    async def update(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Change what is given of an endpoint."""
        found = self._found(request, scope)
        before = found.to_wire()
        body = await parameters.json_object(request)
        parameters.refuse_unknown(body, ("event_types", "name", "url"))
        name = parameters.text(body, "name") if "name" in body else found.name
        url = _url(body) if "url" in body else found.endpoint.url
        event_types = _event_types(body) if "event_types" in body else found.endpoint.event_types
        found.name, found.endpoint.url, found.endpoint.event_types = name, url, event_types
        if found.to_wire() != before:
            found.updated_at = int(self._context.clock.now())
        return json_response(found.to_wire())

    async def delete(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Delete an endpoint; messages that wait for it are dropped."""
        found = self._found(request, scope)
        self._index.remove(found)
        self._webhooks.endpoints.remove(found.endpoint)
        return json_response({"id": found.id, "object": "webhook_endpoint.deleted", "deleted": True})

    async def rotate_secret(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Give an endpoint a new secret, and show it this once."""
        found = self._found(request, scope)
        name = "keep_old_secret_active_for_24_hours"
        body = await parameters.json_object(request) if request.can_read_body else {}
        parameters.refuse_unknown(body, (name,))
        is_kept = body.get(name, False)
        if not isinstance(is_kept, bool):
            raise wrong_type(name, "a boolean", is_kept)
        now = self._context.clock.now()
        secret = found.endpoint.rotate_secret(now=now, keep_old_s=SECONDS_PER_DAY if is_kept else 0)
        found.updated_at = int(now)
        return json_response(found.to_wire(secret=secret))

    async def test(self, request: web.Request, scope: str) -> web.StreamResponse:
        """Send a sample event once, and answer with the status of the receiver."""
        found = self._found(request, scope)
        body = await parameters.json_object(request)
        parameters.refuse_unknown(body, ("event_type",))
        event_type = parameters.choice(body, "event_type", EVENT_TYPES)
        delivery = await self._webhooks.send_sample(found.endpoint, event_type)
        return json_response(_tested(found, delivery))

    def _found(self, request: web.Request, scope: str) -> _Registered:
        endpoint_id = request.match_info["id"]
        found = self._index.get(scope, endpoint_id)
        if found is None:
            raise _unknown(endpoint_id)
        return found


def _tested(found: _Registered, delivery: Delivery) -> dict[str, Any]:
    """Return what a test found, as the API shows it."""
    if delivery.status is None:
        raise APIError(f"The endpoint could not be reached: {delivery.error}.")
    return {
        "object": "webhook_endpoint.test",
        "webhook_endpoint_id": found.id,
        "event_type": delivery.message.event_type,
        "status_code": delivery.status,
        "success": True,
    }


def _unknown(endpoint_id: str) -> APIError:
    return APIError(f"No webhook endpoint found with id '{endpoint_id}'.", status=404)


def _url(body: dict[str, Any]) -> str:
    url = parameters.text(body, "url")
    try:
        WebhookEndpoint(url)
    except ValueError as error:
        raise APIError(f"Invalid 'url': {error}.", param="url", code="invalid_value") from error
    return url


def _event_types(body: dict[str, Any]) -> tuple[str, ...]:
    if "event_types" not in body:
        raise missing("event_types")
    given: Any = body["event_types"]
    if not is_array(given):
        raise wrong_type("event_types", "an array of strings", given)
    names: tuple[Any, ...] = tuple(given)
    for index, name in enumerate(names):
        if name not in EVENT_TYPES:
            raise wrong_value(f"event_types[{index}]", str(name), EVENT_TYPES)
    return names
