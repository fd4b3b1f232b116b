"""Webhooks: whose word is taken, for how long, and that the official SDK is of the same opinion."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from hypothesis import example, given, strategies as st
from multidict import CIMultiDict
from openai import InvalidWebhookSignatureError, OpenAI

from openai_batches import (
    DecodeError,
    InputError,
    WebhookEvent,
    WebhookSignatureError,
    sign_webhook,
    verify_webhook,
)

KEY = b"a key of some bytes \x00\xff"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
NOW = 1_750_287_078
SDK = OpenAI(api_key="unused")
BODY = json.dumps(
    {
        "id": "evt_abc123",
        "object": "event",
        "created_at": 1_719_168_000,
        "type": "batch.completed",
        "data": {"id": "batch_abc123"},
    }
).encode()
EVENT = WebhookEvent(
    id="evt_abc123",
    type="batch.completed",
    created_at=dt.datetime.fromtimestamp(1_719_168_000, dt.UTC),
    data={"id": "batch_abc123"},
    webhook_id="wh_1",
)

secrets = st.one_of(
    st.binary(min_size=1).map(lambda key: f"whsec_{base64.b64encode(key).decode()}"),
    st.text(min_size=1).filter(lambda text: not text.startswith("whsec_")),
)
header_texts = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


def signature(body: bytes = BODY, *, key: bytes = KEY, webhook_id: str = "wh_1", sent: str = str(NOW)) -> str:
    """What the documents say, written down once more."""
    digest = hmac.new(key, f"{webhook_id}.{sent}.".encode() + body, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def signed(body: bytes = BODY, **options: Any) -> dict[str, str]:
    return {
        "webhook-id": options.get("webhook_id", "wh_1"),
        "webhook-timestamp": options.get("sent", str(NOW)),
        "webhook-signature": f"v1,{signature(body, **options)}",
    }


def the_sdk_takes(headers: dict[str, str], body: bytes | str, secret: str, *, tolerance: int = 300) -> bool:
    """Whether the official SDK, whose clock is the real one, verifies a webhook."""
    try:
        SDK.webhooks.verify_signature(body, headers, secret=secret, tolerance=tolerance)
    except (InvalidWebhookSignatureError, ValueError):
        return False
    return True


def we_take(headers: dict[str, str], body: bytes | str, secret: str, *, tolerance: int = 300) -> bool:
    try:
        verify_webhook(headers, body, secret, now=time.time(), tolerance_s=tolerance)
    except DecodeError:
        return True  # signed, though no event
    except WebhookSignatureError:
        return False
    return True


class TestWhatIsTaken:
    """A webhook that is right becomes an event."""

    def test_an_event(self) -> None:
        """All that the body says is in the event, and the id of the delivery."""
        event = verify_webhook(signed(), BODY, SECRET, now=NOW)
        assert event == EVENT
        assert event.batch_id == "batch_abc123"
        assert hash(event) == hash(EVENT)

    @pytest.mark.parametrize("body", [BODY, BODY.decode(), bytearray(BODY)])
    def test_a_body_of_any_bytes(self, body: Any) -> None:
        """Text is taken as its UTF-8."""
        assert verify_webhook(signed(), body, SECRET, now=NOW) == EVENT

    def test_headers_of_any_framework(self) -> None:
        """Names are found in any case, in any mapping."""
        upper = {name.title(): value for name, value in signed().items()}
        assert verify_webhook(upper, BODY, SECRET, now=NOW) == EVENT
        assert verify_webhook(CIMultiDict(upper), BODY, SECRET, now=NOW) == EVENT

    @pytest.mark.parametrize("given", ["{}", "v1,{}", "v1,b2xk v1,{}", "v1,{} v1,b2xk", "v2,x {}", "\udcff v1,{}"])
    def test_several_signatures_in_the_header(self, given: str) -> None:
        """While a secret is replaced, each has its signature: one that fits is enough, with its version or bare."""
        headers = signed() | {"webhook-signature": given.format(signature())}
        assert verify_webhook(headers, BODY, SECRET, now=NOW) == EVENT

    def test_several_secrets(self) -> None:
        """Old and new secret are both good while one replaces the other."""
        assert verify_webhook(signed(), BODY, ["another", SECRET], now=NOW) == EVENT
        with pytest.raises(WebhookSignatureError):
            verify_webhook(signed(), BODY, ["another", "third"], now=NOW)

    def test_a_secret_without_its_prefix(self) -> None:
        """It is its own UTF-8 bytes."""
        headers = signed(key="schlüssel".encode())
        assert verify_webhook(headers, BODY, "schlüssel", now=NOW) == EVENT

    @pytest.mark.parametrize("age", [300, 0, -300])
    def test_the_edges_of_the_tolerance(self, age: int) -> None:
        """Five minutes either way are still in time, whatever the fraction of the second."""
        assert verify_webhook(signed(), BODY, SECRET, now=NOW + age + 0.9) == EVENT

    @pytest.mark.parametrize(
        ("fields", "batch_id"),
        [
            ({"type": "response.completed", "data": {"id": "resp_1"}}, None),
            ({"type": "batch.paused"}, "batch_abc123"),
            ({"type": "batch.failed", "data": None}, None),
            ({"type": "batch.failed", "data": {"id": 5}}, None),
            ({"type": "batch.failed", "data": {"id": ""}}, None),
            ({"created_at": None}, "batch_abc123"),
            ({"created_at": "soon", "new": [1]}, "batch_abc123"),
        ],
    )
    def test_events_that_are_not_known(self, fields: dict[str, Any], batch_id: str | None) -> None:
        """Other types pass, and only events of batches have a batch."""
        body = json.dumps(json.loads(BODY) | fields).encode()
        event = verify_webhook(signed(body), body, SECRET, now=NOW)
        assert event.type == fields.get("type", "batch.completed")
        assert event.batch_id == batch_id


class TestWhatIsRefused:
    """Nothing else is taken."""

    @pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
    def test_a_header_that_is_missing(self, name: str) -> None:
        """Each of the three is needed."""
        headers = signed()
        del headers[name]
        with pytest.raises(WebhookSignatureError, match=f"no header {name}"):
            verify_webhook(headers, BODY, SECRET, now=NOW)

    @pytest.mark.parametrize(
        ("now", "message"), [(NOW + 301, "too old: it was sent 301 s ago"), (NOW - 301, "too new: .* 301 s ahead")]
    )
    def test_one_that_is_too_old_or_too_new(self, now: float, message: str) -> None:
        """A webhook that was recorded and played again is refused, unless the tolerance allows it."""
        with pytest.raises(WebhookSignatureError, match=message):
            verify_webhook(signed(), BODY, SECRET, now=now)
        assert verify_webhook(signed(), BODY, SECRET, now=now, tolerance_s=301) == EVENT

    @pytest.mark.parametrize("sent", ["", "soon", "1.5", "nan", "9" * 5_000])
    def test_a_timestamp_that_is_none(self, sent: str) -> None:
        """A timestamp is a number of whole seconds."""
        with pytest.raises(WebhookSignatureError):
            verify_webhook(signed(sent=sent), BODY, SECRET, now=NOW)

    @pytest.mark.parametrize("given", ["", " ", "v1,", "v1", "v1,AAAA", "\udcff"])
    def test_a_signature_that_is_none(self, given: str) -> None:
        """Whatever stands there, it is compared and does not fit."""
        with pytest.raises(WebhookSignatureError, match="No signature of the webhook fits"):
            verify_webhook(signed() | {"webhook-signature": given}, BODY, SECRET, now=NOW)

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            (b"", "it is empty"),
            (b"[]", "it is no JSON object"),
            (b"{", "it ends too early"),
            (b"\xff", "byte 1 is not UTF-8"),
            (b"[" * 100_000, "it is nested too deeply"),
            (b"{}", "it has no id$"),
            (b'{"id":"a"}', "it has no type$"),
            (b'{"id":1,"type":"t"}', "its id or its type is no text"),
            (b'{"id":"a","type":1}', "its id or its type is no text"),
        ],
    )
    def test_a_body_that_is_no_event(self, body: bytes, why: str) -> None:
        """A signature that is right makes no event of it; what is wrong is said in words."""
        with pytest.raises(DecodeError, match=f"^The webhook holds no event: .*({why})") as caught:
            verify_webhook(signed(body), body, SECRET, now=NOW)
        assert "Error(" not in str(caught.value)

    def test_a_time_beyond_all_calendars(self) -> None:
        """A created_at that is no time of this world is no event either."""
        body = b'{"id":"a","type":"t","created_at":1e300}'
        with pytest.raises(DecodeError, match="holds no event"):
            verify_webhook(signed(body), body, SECRET, now=NOW)

    @pytest.mark.parametrize("secret", ["whsec_!!!", "whsec_A", "whsec_ü", "whsec_c2Vj-_8=", "whsec_c2Vj cmV0"])
    def test_a_secret_that_is_not_base64(self, secret: str) -> None:
        """What was cut or changed in copying is found at once, and not at the first webhook."""
        with pytest.raises(InputError, match="what follows is not base64") as caught:
            verify_webhook(signed(), BODY, secret, now=NOW)
        assert secret not in str(caught.value)

    def test_white_space_behind_a_secret(self) -> None:
        """A file or a variable that ends with a line feed has the same secret."""
        assert verify_webhook(signed(), BODY, f"{SECRET}\n", now=NOW).webhook_id

    @pytest.mark.parametrize("secret", ["", "whsec_", "whsec_A", "whsec_ü", [], [""], 5, [b"x"]])
    def test_a_secret_that_is_none(self, secret: Any) -> None:
        """An empty secret would let anybody in; what is wrong is said without showing it."""
        with pytest.raises(InputError) as caught:
            verify_webhook(signed(), BODY, secret, now=NOW)
        assert "whsec_A" not in str(caught.value)

    @pytest.mark.parametrize(
        "wrong", [{"tolerance_s": -1}, {"tolerance_s": float("nan")}, {"tolerance_s": "x"}, {"body": {"id": 1}}]
    )
    def test_arguments_that_cannot_be_right(self, wrong: dict[str, Any]) -> None:
        """A parsed body cannot be checked any more, and a tolerance below 0 takes nothing."""
        arguments: dict[str, Any] = {"body": BODY, **wrong}
        with pytest.raises(InputError):
            verify_webhook(signed(), arguments.pop("body"), SECRET, now=NOW, **arguments)


class TestTheOfficialSdk:
    """The two verifiers agree."""

    @given(secret=secrets, body=st.text(), webhook_id=header_texts)
    def test_what_we_sign_it_takes(self, secret: str, body: str, webhook_id: str) -> None:
        """A webhook signed here is one to the SDK, and one that is signed by the documents is one here."""
        headers = sign_webhook(body, secret, webhook_id=webhook_id, timestamp=time.time())
        assert the_sdk_takes(headers, body.encode(), secret)
        assert we_take(headers, body, secret)
        key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
        digest = signature(body.encode(), key=key, webhook_id=webhook_id, sent=headers["webhook-timestamp"])
        assert headers["webhook-signature"] == f"v1,{digest}"

    @given(
        name=st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature", "body", "secret"]),
        change=st.sampled_from(["replace", "append", "drop"]),
        place=st.integers(0, 300),
        text=header_texts,
        age=st.sampled_from([0, 0, 290, 310, -290, -310]),
    )
    @example(name="webhook-signature", change="append", place=0, text="x", age=0)
    def test_what_was_tampered_with_neither_takes(
        self, name: str, change: str, place: int, text: str, age: int
    ) -> None:
        """Whatever is changed on the way, both are of the same opinion, and only what is unchanged is taken."""
        original = sign_webhook(BODY, SECRET, webhook_id="wh_1", timestamp=time.time() - age)
        values = {**original, "body": BODY.decode(), "secret": SECRET}
        before = values[name]
        at = place % len(before)
        values[name] = {
            "replace": before[:at] + text + before[at + len(text) :],
            "append": f"{before} {text}",
            "drop": before[:at] + before[at + 1 :],
        }[change]
        body, secret = values.pop("body"), values.pop("secret")
        try:
            ours = we_take(values, body, secret)
        except InputError:
            return  # a secret that cannot be one
        assert ours == the_sdk_takes(values, body, secret)
        if name not in {"webhook-signature", "secret"} and values.get(name, body) != before:
            assert not ours
