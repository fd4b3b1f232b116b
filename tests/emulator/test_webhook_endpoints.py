"""Webhook endpoints over the API, as the official client asks for them."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from support.asking import MakeRaw, Raw, check_error
from support.receiving import Receiver

from openai_batches.emulator import ApiKey, BatchServer, SteppedClock

ALL = ["batch.cancelled", "batch.completed", "batch.expired", "batch.failed"]


@pytest.fixture
async def bob(server: BatchServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="sk-bob", max_retries=0) as client:
        yield client


async def fail_a_batch(server: BatchServer, raw: Raw) -> str:
    batch = await raw.create("file-nowhere")
    await server.advance(seconds=10)
    return str(batch["id"])


async def test_an_endpoint_from_its_beginning_to_its_end(
    server: BatchServer, raw: Raw, sdk: openai.AsyncOpenAI, receiver: Receiver
) -> None:
    """Made, told, changed and deleted; its secret is shown once and verifies what it is sent."""
    made = await sdk.webhooks.create(name="mine", url=receiver.url, event_types=["batch.failed"])
    assert (made.object, made.name, made.url, made.event_types) == (
        "webhook_endpoint",
        "mine",
        receiver.url,
        ["batch.failed"],
    )
    assert made.created_at == made.updated_at == 1_750_000_000
    assert made.signing_secret_hint == f"whsec_***{made.signing_secret[-4:]}"
    batch_id = await fail_a_batch(server, raw)
    headers, body = receiver.got.pop()
    event: Any = sdk.webhooks.unwrap(body, headers, secret=made.signing_secret)
    assert (event.type, event.data.id) == ("batch.failed", batch_id)

    found = await sdk.webhooks.retrieve(made.id)
    assert (found.id, "signing_secret" in found.model_dump()) == (made.id, False)
    changed = await sdk.webhooks.update(made.id, name="mine", event_types=["batch.failed"], url=receiver.url)
    assert changed == found
    changed = await sdk.webhooks.update(made.id, name="yours", event_types=["batch.completed"], url=receiver.url)
    assert (changed.name, changed.event_types) == ("yours", ["batch.completed"])
    assert changed.updated_at == made.created_at + 10
    await fail_a_batch(server, raw)
    assert receiver.got == []

    deleted = await sdk.webhooks.delete(made.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (made.id, "webhook_endpoint.deleted", True)
    assert server.webhooks.endpoints == []
    with pytest.raises(openai.NotFoundError):
        await sdk.webhooks.retrieve(made.id)


async def test_only_what_is_given_changes(sdk: openai.AsyncOpenAI, raw: Raw, receiver: Receiver) -> None:
    """An update without a field leaves it as it was."""
    made = await sdk.webhooks.create(name="a", url=receiver.url, event_types=["batch.failed"])
    for change in ({"name": "b"}, {"url": f"{receiver.url}/b"}, {"event_types": ["batch.expired"]}, {}):
        status, body, _ = await raw("POST", f"/webhook_endpoints/{made.id}", json=change)
        assert status == 200
    assert (body["name"], body["url"], body["event_types"]) == ("b", f"{receiver.url}/b", ["batch.expired"])


async def test_endpoints_belong_to_a_project(
    server: BatchServer, raw: Raw, sdk: openai.AsyncOpenAI, bob: openai.AsyncOpenAI, receiver: Receiver
) -> None:
    """Another project neither sees them nor has its batches told to them."""
    made = await sdk.webhooks.create(name="mine", url=receiver.url, event_types=["batch.failed"])
    assert [item.id async for item in bob.webhooks.list()] == []
    for act in (bob.webhooks.retrieve, bob.webhooks.delete, bob.webhooks.rotate_secret):
        with pytest.raises(openai.NotFoundError, match=f"No webhook endpoint found with id '{made.id}'"):
            await act(made.id)
    await fail_a_batch(server, Raw(raw.session, raw.base_url, "sk-bob"))
    assert receiver.got == []


async def test_listing(sdk: openai.AsyncOpenAI, raw: Raw, receiver: Receiver) -> None:
    """The newest first, in pages; an unknown cursor is refused."""
    ids = [
        (await sdk.webhooks.create(name=str(number), url=receiver.url, event_types=["batch.failed"])).id
        for number in range(5)
    ]
    assert [item.id async for item in sdk.webhooks.list(limit=2)] == ids[::-1]
    _, page, _ = await raw("GET", "/webhook_endpoints", params={"limit": 3})
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[4], ids[2], True)
    _, page, _ = await raw("GET", "/webhook_endpoints", params={"after": ids[0]})
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert (await raw("GET", "/webhook_endpoints", params={"after": "none"}))[0] == 404
    _, types, _ = await raw("GET", "/webhook_event_types")
    assert types == {"object": "list", "data": ALL}


@pytest.mark.parametrize("keep", [None, False, True])
async def test_rotation(server: BatchServer, raw: Raw, sdk: openai.AsyncOpenAI, receiver: Receiver, keep: Any) -> None:
    """The new secret signs at once; the old one for a day more if that is asked for."""
    made = await sdk.webhooks.create(name="mine", url=receiver.url, event_types=["batch.failed"])
    options = {} if keep is None else {"keep_old_secret_active_for_24_hours": keep}
    new = (await sdk.webhooks.rotate_secret(made.id, **options)).signing_secret
    assert new != made.signing_secret
    for is_kept in (bool(keep), False):
        await fail_a_batch(server, raw)
        headers, body = receiver.got.pop()
        sdk.webhooks.verify_signature(body, headers, secret=new)
        assert len(headers["webhook-signature"].split()) == 1 + is_kept
        if is_kept:
            sdk.webhooks.verify_signature(body, headers, secret=made.signing_secret)
        await server.advance(hours=24)


async def test_a_test_event(sdk: openai.AsyncOpenAI, server: BatchServer, receiver: Receiver) -> None:
    """Sent once and at once; the answer tells the receiver's status, whatever it is."""
    made = await sdk.webhooks.create(name="mine", url=receiver.url, event_types=["batch.failed"])
    receiver.statuses = [200, 500]
    for status in (200, 500):
        result = await sdk.webhooks.test(made.id, event_type="batch.completed")
        assert (result.object, result.webhook_endpoint_id, result.event_type, result.status_code, result.success) == (
            "webhook_endpoint.test",
            made.id,
            "batch.completed",
            status,
            True,
        )
        headers, body = receiver.got.pop()
        assert sdk.webhooks.unwrap(body, headers, secret=made.signing_secret).type == "batch.completed"
    await server.advance(hours=1)
    assert receiver.got == []
    dead = await sdk.webhooks.create(name="dead", url="http://127.0.0.1:9/", event_types=["batch.failed"])
    with pytest.raises(openai.BadRequestError, match="could not be reached"):
        await sdk.webhooks.test(dead.id, event_type="batch.failed")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"name": None}, "name"),
        ({"url": "ftp://x"}, "url"),
        ({"url": 5}, "url"),
        ({"event_types": "batch.failed"}, "event_types"),
        ({"event_types": ["batch.failed", "batch.done"]}, "event_types[1]"),
        ({"event_types": [["batch.failed"]]}, "event_types[0]"),
        ({"more": 1}, "more"),
        ({"name": ...}, "name"),
        ({"url": ...}, "url"),
        ({"event_types": ...}, "event_types"),
    ],
)
async def test_unusable_endpoints(server: BatchServer, raw: Raw, changes: Any, param: str) -> None:
    """Are refused with the parameter at fault, and not made."""
    wanted = {"name": "a", "url": "http://127.0.0.1:9/", "event_types": ["batch.failed"], **changes}
    wanted = {name: value for name, value in wanted.items() if value is not ...}
    status, body, _ = await raw("POST", "/webhook_endpoints", json=wanted)
    assert (status, check_error(body)["param"]) == (400, param)
    assert server.webhooks.endpoints == []


async def test_rotation_takes_a_boolean(raw: Raw, sdk: openai.AsyncOpenAI, receiver: Receiver) -> None:
    """A body is not needed, but if there is one, it must be right."""
    made = await sdk.webhooks.create(name="mine", url=receiver.url, event_types=["batch.failed"])
    path = f"/webhook_endpoints/{made.id}/rotate_secret"
    assert (await raw("POST", path))[0] == 200
    status, body, _ = await raw("POST", path, json={"keep_old_secret_active_for_24_hours": "yes"})
    assert (status, check_error(body)["code"]) == (400, "invalid_type")


async def test_restricted_keys_need_a_scope(make_raw: MakeRaw) -> None:
    """That of webhooks, for reading or for writing."""
    keys = [ApiKey("sk-r", scopes=["api.webhooks.read"]), ApiKey("sk-b", scopes=["api.batch.write"])]
    async with BatchServer(clock=SteppedClock(), api_keys=keys) as server:
        assert (await make_raw(server, "sk-r")("GET", "/webhook_event_types"))[0] == 200
        assert (await make_raw(server, "sk-r")("POST", "/webhook_endpoints", json={}))[0] == 403
        assert (await make_raw(server, "sk-b")("GET", "/webhook_endpoints"))[0] == 403
